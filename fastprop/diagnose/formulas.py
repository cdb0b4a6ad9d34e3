"""The formulas of activations and losses on whole arrays, without compiling them.

A component's methods are written for one number. Most are arithmetic that NumPy does on arrays as well, all but `max`
and `min`, for which NumPy's own stand in; what still wants single numbers (an `if`, `math.exp`) gets them one by one.
A relu of 1,000 x 512 numbers takes a millisecond so, and half a second one by one; a compiled loop would take seconds
to compile at its first call.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels.functions import erf

ELEMENTWISE = {"max": np.maximum, "min": np.minimum}


@functools.cache
def on_arrays(function: Any) -> Callable[..., Any]:
    """A method of a component whose `max` and `min` take arrays."""
    scope = {**ELEMENTWISE, **function.__globals__}
    if scope.get("erf") is erf:  # that of math, number by number: 1,000 x 512 of gelu took a second
        from scipy.special import erf as fast_erf

        scope["erf"] = fast_erf
    made = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def evaluate(component: Any, method: str, *arrays: np.ndarray) -> np.ndarray:
    """`component.method(*arrays)`, number by number.

    Parameters
    ----------
    component : NamedTuple
        An activation or the kernel of a loss, with its settings.
    method : str
    *arrays : ndarray, float64
        Of one shape.

    Returns
    -------
    ndarray of that shape, float64
        Numbers that are too large are inf, undefined ones NaN, as in compiled code.
    """
    function = getattr(type(component), method)
    with np.errstate(all="ignore"):
        try:
            result = on_arrays(function)(component, *arrays)
            return np.array(np.broadcast_to(np.asarray(result, np.float64), arrays[0].shape))
        except (TypeError, ValueError):  # it branches, or calls what takes single numbers
            result = np.vectorize(functools.partial(_number, function, component), otypes=[np.float64])(*arrays)
            return np.asarray(result)


def _number(function: Any, component: Any, *numbers: np.float64) -> float:
    """A formula at one point; where Python raises an error and compiled code does not, the latter's result."""
    try:
        return float(function(component, *map(np.float64, numbers)))
    except OverflowError:
        return np.inf
    except (ZeroDivisionError, ValueError):
        return np.nan
