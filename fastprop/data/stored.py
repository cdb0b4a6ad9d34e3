"""What a description from a file must be: each check gives the value back, or raises FileError with the place."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..errors import FileError


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """An object of JSON."""
    if not isinstance(value, Mapping):
        raise _error(name, "must be an object", value)
    return value


def entry(description: Any, key: str, name: str) -> Any:
    """What an object of JSON has under `key`."""
    if key not in mapping(description, name):
        raise FileError(f"{name} must have {key!r}")
    return description[key]


def count(value: Any, name: str, least: int, most: int) -> int:
    """A whole number within least..most."""
    if type(value) is not int or not least <= value <= most:  # True is no number here
        raise _error(name, f"must be a whole number within {least}..{most}", value)
    return value


def number(value: Any, name: str) -> float:
    """A finite number; a whole one may be beyond all floats."""
    if type(value) is bool or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise _error(name, "must be a finite number", value)
    return float(value)


def numbers(value: Any, name: str) -> tuple[float, ...]:
    """A list of finite numbers; one alone is a list of one."""
    values = value if isinstance(value, list) else [value]
    return tuple(number(v, f"{name}[{i}]") for i, v in enumerate(values))


def flag(value: Any, name: str) -> bool:
    """True or False."""
    if type(value) is not bool:
        raise _error(name, "must be true or false", value)
    return value


def different(value: Any, name: str, kind: type) -> list[Any]:
    """A list of different values, all of one type."""
    if not isinstance(value, list) or not all(type(v) is kind for v in value):
        raise _error(name, f"must be a list of {kind.__name__}", value)
    if len(set(value)) != len(value):
        raise _error(name, "must hold each value once", value)
    return value


def _error(name: str, what: str, value: Any) -> FileError:
    return FileError(f"{name} {what}, got {_short(value)}")


def _short(value: Any) -> str:
    """A value for a message; one that is long to print, as 10**10000 or a list of a million, by its type alone."""
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 10**30):
        return repr(value)
    return repr(value) if isinstance(value, str) and len(value) < 100 else f"a value of type {type(value).__name__}"
