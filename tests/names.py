"""Names of test cases that are the same in every process: pytest-xdist compares them."""

import re


def shown(value):
    """The repr of a value, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def built_in(registry):
    """The package's own components by name: other tests of this process, and estimators, may register more."""
    return [name for name, cls in registry.items() if cls.__module__.startswith("fastprop.kernels.")]
