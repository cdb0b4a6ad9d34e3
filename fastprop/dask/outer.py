"""The outer optimizer: what makes a step of the mean change that a round brought.

For it minus the mean change is a gradient. SGD with a rate of 1 and no momentum is plain averaging; Nesterov's momentum
is DiLoCo (Douillard et al. 2023), post-local SGD with slow momentum (Wang et al. 2019).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..optimizers import PUBLIC, Optimizer
from ..schedules import tabulate

Slots: TypeAlias = "tuple[np.ndarray, ...]"


def check_outer(outer: Any) -> Optimizer | None:
    """None, or one of the built-in optimizers.

    Raises
    ------
    TypeError
    """
    if outer is None or (isinstance(outer, Optimizer) and type(outer) in PUBLIC.values()):
        return outer
    names = ", ".join(f"fp.{cls.__name__}" for cls in PUBLIC.values())
    raise TypeError(
        f"outer must be None or an optimizer ({names}), such as fp.SGD(lr=0.7, momentum=0.9), got {outer!r}"
    )


def first_slots(outer: Optimizer | None, parameters: np.ndarray) -> Slots:
    """The state that an outer optimizer begins with: zeros."""
    return () if outer is None else tuple(np.zeros_like(parameters) for _ in range(outer.rule().n_slots))


def stepped(
    outer: Optimizer | None, parameters: np.ndarray, change: np.ndarray, slots: Slots, n_done: int
) -> tuple[np.ndarray, Slots]:
    """Parameters and slots after a round; new arrays.

    Parameters
    ----------
    outer : Optimizer or None
        None adds the change. Its learning rate may be a schedule over rounds.
    parameters, change : ndarray of shape (n_parameters,)
    slots : tuple of ndarray
    n_done : int
        Rounds before this one.
    """
    if outer is None:
        return parameters + change, slots
    rule, rate = outer.rule(), float(tabulate(outer.lr, n_done, 1)[0])
    t = rule.clock(n_done + 1.0) if hasattr(rule, "clock") else n_done + 1.0
    made, slots = rule.update(parameters, -change, slots, rate, t)
    # What a clock gives is float64, and arithmetic with it too.
    return made.astype(parameters.dtype), tuple(slot.astype(parameters.dtype) for slot in slots)
