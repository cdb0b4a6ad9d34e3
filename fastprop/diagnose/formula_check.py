"""Whether the derivative of an activation, or the gradient of a loss, is that of its own value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..network import Network
from .differences import SMALLER_STEPS, STEP, noise, relative_error
from .formulas import evaluate
from .trace import Trace

POINTS = 2000  # at which a formula is checked at most: some milliseconds
# Besides those that occur: a slip may show only where a unit is nearly saturated. No corner of a usual formula is met.
_SIDE = np.geomspace(0.0103, 31.0, 60)
GRID = np.concatenate([-_SIDE[::-1], _SIDE])
INNER_GRID = GRID[np.abs(GRID) < 5.0]


@dataclass(frozen=True)
class FormulaCheck:
    """A formula against central differences of its value, at the points that occurred and on a fixed grid.

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
    """Check each activation that is in use, and the loss, at what came before them in a trace and beyond it."""
    checks = [_check_activation(act, *places, tol) for act, places in _activations(found)]
    if not net.loss.across_outputs:
        checks.append(_check_loss(net.loss, Y, found, tol))
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


def _check_activation(act: Any, names: list[str], occurred: np.ndarray, tol: float) -> FormulaCheck:
    value = partial(evaluate, act, "value")
    z = np.concatenate([occurred, GRID])
    got = evaluate(act, "derivative", z, value(z))
    error, expected = compare(value, z, got, tol)
    k = _worst(error, len(occurred), tol)
    what = f"derivative of the activation {act.component_name}"
    where = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return FormulaCheck(what, where, len(z), float(error[k]), f"z = {z[k]:.6g}", float(got[k]), float(expected[k]))


def _check_loss(loss: Any, Y: np.ndarray, found: Trace, tol: float) -> FormulaCheck:
    order = np.argsort(found.outputs, axis=None)
    chosen = order[np.linspace(0, len(order) - 1, min(len(order), POINTS)).astype(np.intp)]
    further = _further(Y, found)
    y, p = np.concatenate([[Y.ravel()[chosen], found.outputs.ravel()[chosen]], further], axis=1)
    got = evaluate(loss.kernel, "gradient", y, p)
    error, expected = compare(lambda p: evaluate(loss.kernel, "value", y, p), p, got, tol)
    k, what = _worst(error, len(chosen), tol), f"gradient of the loss {loss.name}"
    at = f"y = {y[k]:.6g}, p = {p[k]:.6g}"
    return FormulaCheck(what, "at the outputs", len(p), float(error[k]), at, float(got[k]), float(expected[k]))


def _further(Y: np.ndarray, found: Trace) -> np.ndarray:
    """Pairs (y, p) beside those that occurred: some of the targets, with outputs on the grid around each.

    A last layer with an activation gives what that makes of the inner grid, for such a loss may be meant for its range
    only: probabilities, positive numbers.
    """
    y = np.quantile(Y, np.linspace(0.0, 1.0, 5), method="nearest")[:, None]
    last = found.records[-1].op
    if last.is_dense and last.out.activation.component_name != "identity":
        p = np.broadcast_to(evaluate(last.out.activation, "value", INNER_GRID), (5, len(INNER_GRID)))
    else:
        p = y + GRID
    return np.stack([np.broadcast_to(y, p.shape).ravel(), p.ravel()])


def _worst(error: np.ndarray, n_occurred: int, tol: float) -> int:
    """The worst point; one that occurred, if one of those is wrong."""
    occurred = int(error[:n_occurred].argmax())
    return occurred if error[occurred] > tol else int(error.argmax())


def compare(value: Any, x: np.ndarray, got: np.ndarray, tol: float) -> tuple[np.ndarray, np.ndarray]:
    """The error of a derivative at points x, and the slope of `value` there, by the step that agrees best.

    At a corner, and within a step of it, a number between the slopes of the two sides is right. Where `value` or its
    neighbours are not finite, nothing can be said: the error is 0.
    """
    best = np.full(len(x), np.inf)
    expected = np.zeros(len(x))
    for step in (STEP, *SMALLER_STEPS):
        error, slope = _compare(value, x, got, step * np.maximum(1.0, np.abs(x)), tol)
        expected = np.where(error < best, slope, expected)
        best = np.minimum(error, best)
    return best, expected


def _compare(value: Any, x: np.ndarray, got: np.ndarray, h: np.ndarray, tol: float) -> tuple[np.ndarray, np.ndarray]:
    below, here, above = values = np.stack([value(x - h), value(x), value(x + h)])
    with np.errstate(invalid="ignore", over="ignore"):
        slope, left, right = (above - below) / (2 * h), (here - below) / h, (above - here) / h
        # A value is seldom more exact than numbers of the size of 1 and of x, of which it may be a small difference:
        # z Phi(z) = z (1 + erf) / 2 at z = -9, or max(p, 0) - y p + log(1 + exp(-|p|)) at p = 700.
        floor = noise(np.maximum(abs(values).max(axis=0), np.maximum(1.0, abs(x))), h)
        expected = np.clip(got, np.minimum(left, right), np.maximum(left, right))
        error = np.minimum(relative_error(got, slope, floor, tol), relative_error(got, expected, floor, tol))
    return np.where(np.isfinite(values).all(axis=0), error, 0.0), slope
