"""`lr_find`: the loss while the learning rate grows from step to step, and the rate that follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_number, check_positive_int
from ..errors import DivergenceError
from ..network import Network
from .copies import Problem, prepare

PROBE_ROWS = 512  # that the loss is measured on: losses of batches differ by more than a step changes them
SMOOTHING = 0.02  # of all steps: the width of the Gaussian that the losses are averaged with
BLOWN_UP = 2.0  # times the first loss, or what it fell by, above the first: the sweep ends there
FALL = 0.02  # of the first loss: less is noise
RISEN = 0.33  # of the fall so far: what comes after such a rise is often a fall to the loss of a dead network
ENOUGH = 0.9  # of the fall, at the suggestion: of 0.5 to 0.95 the one that trained best over 27 problems


@dataclass(frozen=True)
class Rates:
    """What `lr_find` found.

    Attributes
    ----------
    rates : ndarray of shape (n_steps_done,)
        Growing by the same factor from step to step.
    losses : ndarray of the same shape
        After each step, of the same rows (512 at most) with dropout off; that of the step that diverged is left out.
    smoothed : ndarray of the same shape
        The losses averaged over steps nearby.
    suggestion : float
        The rate at which the smoothed loss has come nine tenths of the way down to its least value before the first
        lasting rise; NaN if it does not fall.
    diverged_at : float or None
        The rate at which the sweep ended, for the loss had grown too large or not finite.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    diverged_at: float | None

    def __str__(self) -> str:
        tried = f"{len(self.rates)} rates from {self.rates[0]:.1e} to {self.rates[-1]:.1e}"
        end = "" if self.diverged_at is None else f"; training diverges from {self.diverged_at:.1e} on"
        if np.isnan(self.suggestion):
            return f"{tried}: the loss falls at none of them{end}. Look at gradient_flow, or try a lower lr_min."
        return f"{tried}: at {self.suggestion:.1e} nine tenths of the fall are done{end}. Try {self.suggestion:.1e}."


def lr_find(
    net: Any,
    X: Any,
    y: Any,
    lr_min: float = 1e-6,
    lr_max: float = 10.0,
    n_steps: int = 100,
    batch_size: int = 32,
) -> Rates:
    """Train a copy with a learning rate that grows from step to step, and see how far down the loss goes.

    The range test of Smith, "Cyclical learning rates for training neural networks" (2017), section 3.3, with rates in
    geometric progression. It ends early where training diverges. The suggestion is a rate to start from: the best one
    over many epochs may be a few times lower or higher.

    Parameters
    ----------
    net : Network
        It is not changed. One that is not built yet starts from the weights that it would have.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    lr_min, lr_max : float > 0, default 1e-6 and 10
        The first and the last rate.
    n_steps : int, default 100
        At least 10; more of them make the curve smoother.
    batch_size : int, default 32
        As in the fit that the rate is for: larger batches bear larger rates.

    Returns
    -------
    Rates
        The loss at each rate, and the suggestion; `fp.plot.lr_find` draws it.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the network has no parameters.
    DivergenceError
        A ValueError, if the loss is not finite before the first update.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> rates = fp.diagnose.lr_find(fp.Network([fp.Dense(16, activation="relu"), fp.Dense(1)]), X, X[:, 0])
    >>> 1e-4 < rates.suggestion < 1.0
    True
    """
    lr_min = check_number("lr_min", lr_min, 0.0, inclusive="neither")
    lr_max = check_number("lr_max", lr_max, 0.0, inclusive="neither")
    if lr_min >= lr_max:
        raise ValueError(f"lr_min must be below lr_max, got {lr_min:g} and {lr_max:g}")
    if check_positive_int("n_steps", n_steps) < 10:
        raise ValueError(f"n_steps must be at least 10, got {n_steps}")
    problem = prepare(net, X, y)
    if not problem.net._built().parametric:
        raise ValueError("net must have a layer with parameters: without one no rate changes anything")
    size = min(check_positive_int("batch_size", batch_size), problem.matrix.n_rows)
    if size == 1 and problem.net._built().has_batch_norm:
        raise ValueError("batch_size must be at least 2 with BatchNorm, and so must be the rows of X")
    rates = np.geomspace(lr_min, lr_max, n_steps)
    losses, diverged_at = _sweep(problem, rates, size)
    smoothed = smooth(losses, SMOOTHING * n_steps)
    rates = rates[: len(losses)]
    return Rates(rates, losses, smoothed, suggest(rates, smoothed), diverged_at)


def _sweep(problem: Problem, rates: np.ndarray, size: int) -> tuple[np.ndarray, float | None]:
    """The loss after each step, and the rate at which training diverged."""
    net, done = problem.net, problem.net._parameters.count
    net.optimizer.lr = lambda update: float(rates[min(max(update - done, 0), len(rates) - 1)])
    rng = np.random.default_rng(net.seed)
    X: Any = problem.matrix.array
    y, n_rows = problem.labels, problem.matrix.n_rows
    probe = np.sort(rng.permutation(n_rows)[:PROBE_ROWS])
    first = _loss(net, X[probe], y[probe])
    losses: list[float] = []
    for rate, rows in zip(rates, _batches(n_rows, size, len(rates), rng), strict=True):
        try:
            net.partial_fit(X[rows], y[rows])
            loss = _loss(net, X[probe], y[probe])
        except DivergenceError:
            loss = np.inf
        best = min(losses, default=first)
        if not losses or loss - first < BLOWN_UP * max(first - best, abs(first), 1e-6):
            losses.append(loss)
        if losses[-1] != loss:
            return np.array(losses), float(rate)
    return np.array(losses), None


def _loss(net: Network, X: Any, y: Any) -> float:
    """The loss of the rows; batch norm takes their statistics, for the running ones lag behind large steps."""
    if net._built().has_batch_norm:
        return net.gradients(X, y)[0]
    return net.evaluate(X, y)["loss"]


def _batches(n_rows: int, size: int, n_steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of each step: whole batches, from a new order each time that the rows run out."""
    order = rng.permutation(n_rows)
    for _ in range(n_steps):
        if len(order) < size:
            order = rng.permutation(n_rows)
        yield np.sort(order[:size])
        order = order[size:]


def smooth(losses: np.ndarray, width: float) -> np.ndarray:
    """Weighted means over steps nearby, by a Gaussian of `width` steps; it does not lag behind."""
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / max(width, 0.5)) ** 2)
    return np.asarray(weights @ losses / weights.sum(axis=1))


def suggest(rates: np.ndarray, smoothed: np.ndarray) -> float:
    """The rate at which the loss has come nine tenths of the way down; NaN if it does not fall.

    The steepest place, which is often taken, is too low where a sweep is short of steps: the loss of 100 steps falls
    fastest long before the rate that does most in ten epochs.
    """
    first = float(np.median(smoothed[: max(3, len(smoothed) // 5)]))
    smoothed = smoothed[: _first_lasting_rise(smoothed, first)]
    best = int(smoothed.argmin())
    fall = first - smoothed[best]
    if best < 2 or fall < FALL * abs(first):
        return float("nan")
    above = np.flatnonzero(smoothed[:best] > first - ENOUGH * fall)
    return float(rates[above[-1] if len(above) else 0])


def _first_lasting_rise(smoothed: np.ndarray, first: float) -> int:
    """Where the loss, once it has fallen, is back by a third of the fall; the length if it never is.

    A network whose units died in a step too large may fall again after that, to the loss of a constant.
    """
    least = np.minimum.accumulate(smoothed)
    fall = first - least
    rises = np.flatnonzero(
        (fall > FALL * abs(first)) & (smoothed - least > np.maximum(RISEN * fall, FALL * abs(first)))
    )
    return int(rises[0]) if len(rises) else len(smoothed)
