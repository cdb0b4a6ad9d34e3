"""Names of test cases that are the same in every process: pytest-xdist compares them."""

import re


def shown(value):
    """The repr of a value, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
