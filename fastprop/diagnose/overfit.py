"""`overfit_one_batch`: whether a network can learn a few rows by heart, as every sound one can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_positive_int
from ..errors import DivergenceError
from ..models import dense_layers
from ..network import Network
from .copies import Problem, prepare
from .flow import gradient_flow

FITTED_R2, ENOUGH_R2 = 0.99, 0.995  # what counts as learnt, and what is enough to stop at
LOOKS = 30
UNMOVED = 0.01  # of the first loss: a fall below that is none
STILL_FALLING = 0.01  # of the fall in all, over the last tenth of the steps
SPREAD = 1e-6  # of the largest y: targets of a smaller deviation are all the same


@dataclass(frozen=True)
class Overfit:
    """What `overfit_one_batch` found.

    Attributes
    ----------
    losses : ndarray of shape (n_steps_done,)
        Before each update.
    score : float
        Of the batch in the end: accuracy for labels, else R2; where all targets are the same, which leaves R2 without a
        meaning, 1 less the error (its root mean square) as a part of the target.
    succeeded : bool
        Whether all labels are right, or the score of numbers is above 0.99.
    verdict : str
        What that says about the network, and where to look if it failed.
    """

    losses: np.ndarray
    score: float
    succeeded: bool
    verdict: str

    def __str__(self) -> str:
        first, last = f"{self.losses[0]:.3g}", f"{self.losses[-1]:.3g}"
        return f"loss {first} -> {last} in {len(self.losses)} steps, score {self.score:.3f}\n{self.verdict}"


def overfit_one_batch(net: Any, X: Any, y: Any, batch_size: int = 32, n_steps: int = 3000) -> Overfit:
    """Train a copy on one batch until it knows it by heart: the first test of a network that does not learn.

    Dropout, l1 and l2 are off, since they are there to prevent it; the optimizer and its rate are the network's own.

    Parameters
    ----------
    net : Network
        It is not changed. One that is not built yet starts from the weights that it would have.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    batch_size : int, default 32
        So many rows, drawn by the network's seed.
    n_steps : int, default 3000
        Updates; training stops before if the batch is learnt.

    Returns
    -------
    Overfit
        The loss of each step, the score in the end, and what they say.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the network has no parameters.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> net = fp.Network([fp.Dense(64, activation="relu"), fp.Dense(1)], optimizer=fp.Adam(1e-2))
    >>> fp.diagnose.overfit_one_batch(net, X, X[:, 0] * X[:, 1]).succeeded
    True
    """
    size, n_steps = check_positive_int("batch_size", batch_size), check_positive_int("n_steps", n_steps)
    problem = prepare(net, X, y, dropout=False, l1=0.0, l2=0.0)
    if not problem.net._built().parametric:
        raise ValueError("net must have a layer with parameters: without one it cannot learn")
    rows = np.sort(np.random.default_rng(problem.net.seed).permutation(problem.matrix.n_rows)[:size])
    if len(rows) == 1 and problem.net._built().has_batch_norm:
        raise ValueError("batch_size must be at least 2 with BatchNorm, and so must be the rows of X")
    losses, score, diverged = _train(problem, rows, n_steps)
    succeeded = not diverged and score >= (FITTED_R2 if problem.net.loss.task == "regression" else 1.0)
    verdict = _verdict(problem, rows, losses, succeeded, diverged)
    return Overfit(np.array(losses), score, succeeded, verdict)


def _train(problem: Problem, rows: np.ndarray, n_steps: int) -> tuple[list[float], float, bool]:
    """The losses, the score in the end, and whether training diverged. Looks `LOOKS` times whether it is learnt."""
    net, X, y = problem.net, problem.matrix.array[rows], problem.labels[rows]
    losses: list[float] = []
    target = ENOUGH_R2 if net.loss.task == "regression" else 1.0
    try:
        for k in range(1, n_steps + 1):
            losses.append(net.partial_fit(X, y))
            if k % max(1, n_steps // LOOKS) == 0 and _score(net, X, y) >= target:
                break
        return losses, _score(net, X, y), False
    except DivergenceError:
        return [*losses, float("inf")], float("nan"), True


def _score(net: Network, X: Any, y: Any) -> float:
    if net.loss.task == "regression" and np.std(y, axis=0).max() <= SPREAD * abs(y).max():
        error = float(np.sqrt(np.mean((np.reshape(net.predict(X), np.shape(y)) - y) ** 2)))
        return 1.0 - error / max(float(abs(y).max()), SPREAD)
    (score,) = [value for name, value in net.evaluate(X, y).items() if name != "loss"]
    return score


def _verdict(problem: Problem, rows: np.ndarray, losses: list[float], succeeded: bool, diverged: bool) -> str:
    n = len(rows)
    if succeeded:
        if problem.targets.codes is not None and len(np.unique(problem.labels[rows])) == 1:
            return (
                f"It learns {n} rows by heart: they are all of one class, which says little. Take a larger batch_size."
            )
        return (
            f"It learns {n} rows by heart: gradients, loss and targets fit together. If it does poorly on all rows, it "
            f"lacks time, data or regularisation."
        )
    where = f"It does not learn {n} rows by heart"
    if diverged:
        return (
            f"{where}: training diverges. Try a lower learning rate (lr_find suggests one), clip_norm=1.0, or X and y "
            f"of mean 0 and deviation 1."
        )
    twins = _contradictions(problem.X[rows], problem.Y[rows])
    if twins is not None:
        return f"{where}, and cannot: rows {rows[twins[0]]} and {rows[twins[1]]} have the same X but another y."
    return f"{where}{_course(losses) or _sickness(problem, rows) or _standstill(problem, rows, losses)}"


def _course(losses: list[float]) -> str | None:
    """Words for a loss that is on its way: up, or still down."""
    first, last, fall = losses[0], losses[-1], losses[0] - losses[-1]
    if fall < -UNMOVED * abs(first):
        return f": the loss rises from {first:.3g} to {last:.3g}. Try a lower learning rate (lr_find suggests one)."
    tenth = losses[-max(2, len(losses) // 10)] if len(losses) > 1 else first
    if fall > UNMOVED * abs(first) and tenth - last > STILL_FALLING * fall:
        return (
            f" yet: the loss still falls, from {first:.3g} to {last:.3g} so far. Try more steps or a higher learning "
            f"rate (lr_find suggests one)."
        )
    return None


def _sickness(problem: Problem, rows: np.ndarray) -> str | None:
    """What `gradient_flow` says of the network after training, unless that is healthy."""
    if not dense_layers(problem.net.layers):
        return None
    flow = gradient_flow(problem.net, problem.matrix.array[rows], problem.labels[rows])
    return None if flow.finding == "healthy" else f": gradients are sick. {flow.verdict}"


def _standstill(problem: Problem, rows: np.ndarray, losses: list[float]) -> str:
    """Words for a loss that stays where it is though gradients arrive."""
    if losses[0] - losses[-1] < UNMOVED * abs(losses[0]):
        return (
            ": the loss does not fall at all, though gradients reach all layers. Look whether the learning rate is far "
            "too low (lr_find), and whether formulas of your own are right (check_gradients)."
        )
    return f": the loss stays at {losses[-1]:.3g}. {_against_plateau(problem, rows)}"


def _against_plateau(problem: Problem, rows: np.ndarray) -> str:
    dense = [layer.units for layer in dense_layers(problem.net.layers)]
    tries = ["more or wider hidden layers" if dense else "Dense layers, of which there are none"]
    if len(dense) > 1:
        tries[0] += f" (the narrowest has {min(dense[:-1])} units)"
    spread = problem.Y[rows].std()
    if problem.net.loss.task == "regression" and not 0.1 < spread < 10.0:
        tries.append(f"targets of mean 0 and deviation 1 (theirs is {spread:.2g})")
    scale = problem.X[rows].std()
    if not 0.1 < scale < 10.0:
        tries.append(f"inputs of mean 0 and deviation 1 (theirs is {scale:.2g})")
    return f"Try {', '.join([*tries, 'another learning rate (lr_find)'])}, and look at gradient_flow."


def _contradictions(X: np.ndarray, Y: np.ndarray) -> tuple[int, int] | None:
    """Two rows of the same X and another y, if there are any."""
    order = np.lexsort(X.T)
    for i, k in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        if np.array_equal(X[i], X[k]) and not np.array_equal(Y[i], Y[k]):
            return i, k
    return None
