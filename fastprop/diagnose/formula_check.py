"""Whether the derivative of an activation, or the gradient of a loss, is that of its own value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..network import Network
from .differences import STEP, noise, relative_error
from .formulas import evaluate
from .trace import Trace

POINTS = 2000  # at which a formula is checked at most: some milliseconds


@dataclass(frozen=True)
class FormulaCheck:
    """A formula against central differences of its value, at the points that occurred.

    Attributes
    ----------
    what : str
        "derivative of the activation tanh", "gradient of the loss mse".
    where : str
        The layers, or the outputs.
    n_checked : int
        Points.
    error : float
        The largest relative error.
    at : str
        Its point: "z = 0.5".
    got, expected : float
        There: what the formula gives, and the slope of the value.
    """

    what: str
    where: str
    n_checked: int
    error: float
    at: str
    got: float
    expected: float

    def __str__(self) -> str:
        return (
            f"the {self.what} ({self.where}) is wrong at {self.at}: it gives {self.got:.6g}, the slope of its value is "
            f"{self.expected:.6g}"
        )


def check_formulas(net: Network, found: Trace, Y: np.ndarray, tol: float) -> list[FormulaCheck]:
    """Check each activation that is in use, and the loss, at what came before them in a trace."""
    checks = [_check_activation(act, *places, tol) for act, places in _activations(found)]
    if not net.loss.across_outputs:
        checks.append(_check_loss(net.loss, Y, found.outputs, tol))
    return checks


def _activations(found: Trace) -> list[tuple[Any, tuple[list[str], np.ndarray]]]:
    """Each activation with the layers that it stands in, and the z that occurred there."""
    places: dict[Any, tuple[Any, list[str], list[np.ndarray]]] = {}
    for record in found.records:
        if record.op.is_dense:
            act = record.op.out.activation
            _, names, zs = places.setdefault((type(act), tuple(act)), (act, [], []))
            names.append(record.op.name)
            zs.append(record.z.ravel())
    return [(act, (names, spread_out(np.concatenate(zs)))) for act, names, zs in places.values()]


def spread_out(points: np.ndarray) -> np.ndarray:
    """At most `POINTS` of the points, from the smallest to the largest."""
    ordered = np.unique(points)
    chosen = np.linspace(0, len(ordered) - 1, min(len(ordered), POINTS)).astype(np.intp)
    return np.asarray(ordered[chosen])


def _check_activation(act: Any, names: list[str], z: np.ndarray, tol: float) -> FormulaCheck:
    value = partial(evaluate, act, "value")
    got = evaluate(act, "derivative", z, value(z))
    error, expected = compare(value, z, got, tol)
    k = int(error.argmax())
    what = f"derivative of the activation {act.component_name}"
    where = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return FormulaCheck(what, where, len(z), float(error[k]), f"z = {z[k]:.6g}", float(got[k]), float(expected[k]))


def _check_loss(loss: Any, Y: np.ndarray, outputs: np.ndarray, tol: float) -> FormulaCheck:
    order = np.argsort(outputs, axis=None)
    chosen = order[np.linspace(0, len(order) - 1, min(len(order), POINTS)).astype(np.intp)]
    y, p = Y.ravel()[chosen], outputs.ravel()[chosen]
    got = evaluate(loss.kernel, "gradient", y, p)
    error, expected = compare(lambda p: evaluate(loss.kernel, "value", y, p), p, got, tol)
    k, what = int(error.argmax()), f"gradient of the loss {loss.name}"
    at = f"y = {y[k]:.6g}, p = {p[k]:.6g}"
    return FormulaCheck(what, "at the outputs", len(p), float(error[k]), at, float(got[k]), float(expected[k]))


def compare(value: Any, x: np.ndarray, got: np.ndarray, tol: float) -> tuple[np.ndarray, np.ndarray]:
    """The error of a derivative at points x, and the slope of `value` there.

    At a corner, and within a step of it, a number between the slopes of the two sides is right.
    """
    h = STEP * np.maximum(1.0, np.abs(x))
    below, here, above = value(x - h), value(x), value(x + h)
    with np.errstate(invalid="ignore"):
        slope, left, right = (above - below) / (2 * h), (here - below) / h, (above - here) / h
    floor = noise(np.maximum(np.abs(above), np.abs(below)), h)
    expected = np.clip(got, np.minimum(left, right), np.maximum(left, right))
    error = np.minimum(relative_error(got, slope, floor, tol), relative_error(got, expected, floor, tol))
    return error, slope
