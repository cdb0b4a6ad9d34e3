"""`solver="lbfgs"`: scipy's L-BFGS-B on the gradients of all rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from ..errors import DivergenceError
from ..network import Network
from ..passes import loss_and_gradients
from ..validation import Rows


class Objective:
    """The training loss of a network and its gradient, as functions of one vector of all parameters.

    Parameters
    ----------
    net : Network
        Built; its weights are those of the last call.
    rows : Rows
    """

    def __init__(self, net: Network, rows: Rows) -> None:
        self.net, self.rows = net, rows
        self.slope = self.point

    @property
    def point(self) -> np.ndarray:
        """The parameters as a vector, float64."""
        return _flat(self.net.get_weights())

    @point.setter
    def point(self, point: np.ndarray) -> None:
        plan, start = self.net._built(), 0
        for op in plan.parametric:
            W, b = plan.unpack(op, self.net._parameters.rows[0])
            middle = start + W.size
            end = middle + (0 if b is None else b.size)
            W = point[start:middle].reshape(W.shape)
            plan.pack(op, self.net._parameters.rows[0], W, None if b is None else point[middle:end])
            start = end

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss, penalties included, and its gradient; infinity where the loss is not finite."""
        self.point = point
        try:
            loss, gradients = loss_and_gradients(self.net, self.rows.matrix, self.rows.targets, self.rows.weights)
        except DivergenceError:  # a step too far: the line search comes back
            return np.inf, self.slope
        self.slope = _flat(gradients)
        return loss, self.slope


def _flat(pairs: Any) -> np.ndarray:
    return np.concatenate([np.ravel(a) for pair in pairs for a in pair if a is not None]).astype(np.float64, copy=False)


def minimise(
    net: Network, rows: Rows, tol: float, max_iter: int, max_fun: int, ends: Callable[[], bool] | None
) -> tuple[int, float]:
    """Train to a minimum.

    Parameters
    ----------
    net : Network
    rows : Rows
    tol : float
        Of the largest component of the gradient.
    max_iter, max_fun : int
        Iterations and evaluations at most.
    ends : callable, optional
        Called after each iteration; True stops.

    Returns
    -------
    n_iter, loss : int, float

    Raises
    ------
    DivergenceError
        If the loss is finite nowhere, not even at the start.
    """
    objective = Objective(net, rows)

    def callback(point: np.ndarray) -> None:
        if ends is not None and ends():
            raise StopIteration

    result = scipy.optimize.minimize(
        objective, objective.point, method="L-BFGS-B", jac=True, callback=None if ends is None else callback,
        options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
    )  # fmt: skip
    if not np.isfinite(result.fun):
        raise DivergenceError("The loss of the initial weights is not finite: scale X and y.")
    objective.point = result.x
    n_iter = min(int(result.nit), max_iter)
    if result.status not in (0, 99):  # 99: a callback stopped it
        more = f" Increase max_iter={max_iter}, or scale the data." if n_iter == max_iter else " Scale the data."
        warnings.warn(
            f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}): {result.message}.{more}",
            ConvergenceWarning,
            stacklevel=2,
        )
    return n_iter, float(result.fun)


def penalty_of(net: Network, rows: Rows) -> float:
    """The part of the loss that is due to `alpha`."""
    n = rows.matrix.n_rows if rows.weights is None else float(rows.weights.sum())
    pairs = zip(net._built().parametric, net.get_weights(), strict=True)
    return 0.5 * net.l2 / n * sum(float(np.vdot(W, W)) for op, (W, _) in pairs if op.is_dense)
