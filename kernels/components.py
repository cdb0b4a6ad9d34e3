"""What activations, losses and update rules have in common: small NamedTuple classes, found by name.

A component holds float fields (its settings) and methods that are plain arithmetic on registers or scalars. Built-in
and user-defined classes go the same way: the decorator turns a class into a NamedTuple, checks its methods and files
it in a `Registry`.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any, NamedTuple


def snake_case(name: str) -> str:
    """`LeakyRelu` -> `leaky_relu`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def nearest(name: object, known: Any) -> str:
    """The ending of an error message: the nearest known name, and all of them."""
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(name), names, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known names: {', '.join(names)}"


class Registry(Mapping[str, type]):
    """The classes of one kind by name.

    Parameters
    ----------
    kind : str
        "activation", "loss" or "optimizer", for messages.
    methods : dict of str to tuple of str
        The methods that a class must have, with the names of their arguments after self.
    """

    def __init__(self, kind: str, methods: dict[str, tuple[str, ...]]) -> None:
        self.kind = kind
        self.methods = methods
        self._classes: dict[str, type] = {}

    def __getitem__(self, name: str) -> type:
        if name not in self._classes:
            raise ValueError(f"unknown {self.kind} {name!r}; {nearest(name, self._classes)}")
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def register(self, cls: type) -> type:
        """Turn `cls` into a component and file it under its snake-case name.

        Parameters
        ----------
        cls : type
            A NamedTuple, or a plain class whose annotated attributes are the fields (floats, with defaults).

        Returns
        -------
        type
            The NamedTuple class to use from now on.

        Raises
        ------
        TypeError
            If a method is missing or has other arguments, or a field is not a number.
        """
        self._check_methods(cls)
        made = cls if hasattr(cls, "_fields") else as_named_tuple(cls)
        for field, default in made._field_defaults.items():  # type: ignore[attr-defined]
            if not isinstance(default, (int, float)):
                raise TypeError(f"field {field!r} of {self.kind} {cls.__name__} must be a number, got {default!r}")
        made.component_name = snake_case(cls.__name__)  # type: ignore[attr-defined]
        made.component_kind = self.kind  # type: ignore[attr-defined]
        self._classes[made.component_name] = made  # type: ignore[attr-defined]
        return made

    def _check_methods(self, cls: type) -> None:
        for method, arguments in self.methods.items():
            function = getattr(cls, method, None)
            if not inspect.isfunction(function):
                raise TypeError(f"{self.kind} {cls.__name__} needs a method {method}(self, {', '.join(arguments)})")
            got = tuple(inspect.signature(function).parameters)
            if got != ("self", *arguments):
                expected = ", ".join(("self", *arguments))
                raise TypeError(f"{self.kind} {cls.__name__}: {method} must take ({expected}), got ({', '.join(got)})")


def as_named_tuple(cls: type) -> type:
    """A NamedTuple class with the annotated fields, methods and attributes of a plain class."""
    fields = dict.fromkeys(inspect.get_annotations(cls), float)
    defaults = {name: getattr(cls, name) for name in fields if hasattr(cls, name)}
    base = NamedTuple(cls.__name__, list(fields.items()))  # type: ignore[misc]
    base.__new__.__defaults__ = tuple(defaults.values())  # type: ignore[attr-defined]
    base._field_defaults = defaults  # type: ignore[attr-defined]
    body = {k: v for k, v in cls.__dict__.items() if k not in {*fields, "__dict__", "__weakref__", "__annotations__"}}
    return type(cls.__name__, (base,), {**body, "__slots__": (), "__qualname__": cls.__qualname__})


# ---- what a class's arithmetic is, as text ------------------------------------------------------------------------


@functools.cache
def fingerprint(cls: type) -> str:
    """A hash of everything in a user's class that compiled code depends on; "" for the package's own classes.

    Methods, what they call, and the constants that they read: an edit in any of them must never be served old code,
    and a class defined anew in a notebook must not be taken for the former one.
    """
    if cls.__module__.startswith(__name__.rpartition(".")[0] + "."):
        return ""  # the stamp of the package covers it
    parts: list[str] = [repr(getattr(cls, "_fields", ()))]
    for name in sorted(dir(cls)):
        value = inspect.getattr_static(cls, name)
        if not name.startswith("__") and not hasattr(tuple, name):
            parts.append(f"{name}={_describe(value, set())}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _describe(value: Any, seen: set[int]) -> str:
    """What compiled code could see of `value`: code of functions, numbers as they are, else the name of the type."""
    value = getattr(value, "py_func", value)  # a jitted function
    if inspect.isfunction(value):
        return _describe_function(value, seen)
    if isinstance(value, (int, float, bool, str, bytes, tuple, type(None))):
        return repr(value)
    if inspect.ismodule(value):
        return value.__name__
    if hasattr(value, "tobytes"):  # arrays and NumPy scalars are frozen into compiled code
        return hashlib.sha256(value.tobytes()).hexdigest()
    return type(value).__qualname__


def _describe_function(function: Any, seen: set[int]) -> str:
    if id(function) in seen:
        return function.__qualname__
    seen.add(id(function))
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = [_describe(v, seen) for v in (*cells, *(function.__defaults__ or ()))]
    return "|".join([_describe_code(function.__code__, function.__globals__, seen), *parts])


def _describe_code(code: CodeType, scope: dict[str, Any], seen: set[int]) -> str:
    parts = [code.co_code.hex(), repr(code.co_names), repr(code.co_varnames)]
    for constant in code.co_consts:
        parts.append(_describe_code(constant, scope, seen) if isinstance(constant, CodeType) else repr(constant))
    parts += [f"{name}={_describe(scope[name], seen)}" for name in code.co_names if name in scope]
    modules = [scope[name] for name in code.co_names if inspect.ismodule(scope.get(name))]
    for module in modules:  # grows: module.helper(z), package.module.CONSTANT
        if module.__name__.partition(".")[0] in ("numpy", "math", "numba"):
            continue
        for name in code.co_names:
            value = getattr(module, name, None)
            parts.append(f"{module.__name__}.{name}={_describe(value, seen)}")
            if inspect.ismodule(value) and value not in modules:
                modules.append(value)
    return "|".join(parts)
