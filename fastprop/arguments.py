"""Checks of single arguments. Each returns the value to use, or says what came and what was expected."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any, Literal, overload

import numpy as np

from .kernels.components import nearest

Inclusive = Literal["both", "left", "right", "neither"]


@overload
def check_positive_int(name: str, value: Any, allow_none: Literal[False] = False) -> int: ...


@overload
def check_positive_int(name: str, value: Any, allow_none: bool) -> int | None: ...


def check_positive_int(name: str, value: Any, allow_none: bool = False) -> int | None:
    """`value` as an int of at least 1; Python and NumPy integers, no booleans.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is below 1.
    """
    if value is None and allow_none:
        return None
    expected = "a positive integer" + (" or None" if allow_none else "")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be {expected}, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be {expected}, got {value}")
    return operator.index(value)


@overload
def check_number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    inclusive: Inclusive = "both",
    allow_none: Literal[False] = False,
) -> float: ...


@overload
def check_number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    inclusive: Inclusive = "both",
    *,
    allow_none: bool,
) -> float | None: ...


def check_number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    inclusive: Inclusive = "both",
    allow_none: bool = False,
) -> float | None:
    """`value` as a finite float within the interval from `low` to `high`; no booleans.

    Parameters
    ----------
    name : str
        What the error calls it.
    value : object
    low, high : float, optional
        The ends of the interval; None is no limit.
    inclusive : {"both", "left", "right", "neither"}
        The ends that belong to it.
    allow_none : bool, default False
        Whether None passes.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is not finite or outside the interval.
    """
    if value is None and allow_none:
        return None
    with_low, with_high = inclusive in ("both", "left"), inclusive in ("both", "right")
    expected = "a finite number" + _interval(low, high, with_low, with_high) + (" or None" if allow_none else "")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be {expected}, got {value!r}")
    number = float(value)
    above = low is None or number > low or (with_low and number == low)
    below = high is None or number < high or (with_high and number == high)
    if not (math.isfinite(number) and above and below):
        raise ValueError(f"{name} must be {expected}, got {number:g}")
    return number


def _interval(low: float | None, high: float | None, with_low: bool, with_high: bool) -> str:
    """The interval as the end of "a finite number"."""
    if low is not None and high is not None:
        return f" in {'[' if with_low else '('}{low:g}, {high:g}{']' if with_high else ')'}"
    if low is not None:
        return f" {'>=' if with_low else '>'} {low:g}"
    if high is not None:
        return f" {'<=' if with_high else '<'} {high:g}"
    return ""


def check_fraction(name: str, value: Any) -> float:
    """`value` as a float in [0, 1)."""
    return check_number(name, value, 0.0, 1.0, "left")


def check_bool(name: str, value: Any) -> bool:
    """`value` as a bool; other types are refused, for 1 and "no" are mistakes more often than not."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """`value` if it is among `choices`; else an error with the nearest of them."""
    known = tuple(choices)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; {nearest(value, known)}")
    return value
