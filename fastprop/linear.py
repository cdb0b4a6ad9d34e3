"""Linear models trained sample by sample: one output, dense or CSR rows.

For each row x with target y, in this order:

    z = w x + b                                          the margin
    c = -eta dloss/dz * weight                           clipped; passive-aggressive schedules: from the loss and |x|^2
    w = max(0, 1 - eta alpha (1 - l1_ratio)) w + c x
    b = b + c intercept_decay
    w truncated towards 0 by alpha l1_ratio eta          Tsuruoka, Tsujii and Ananiadou 2009: what is owed since it was last seen

which is what scikit-learn's SGD computes, to rounding. A dense row is one pass over w for the dot and one for the
update; a CSR row costs its non-zeros only (w is kept as a scalar times a vector, l1 and the average are lazy).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .checks import AnyMatrix

OK, NON_FINITE = 0, 1  # Descent.status

#: Losses by name: targets -1/+1, but 0/1 for log_loss and numbers for those of regression. `parameter` is the threshold
#: of hinge (1; 0 is the perceptron's) and squared_hinge (1), and the epsilon of huber and the epsilon-insensitive ones.
LOSSES = (
    "hinge",
    "log_loss",
    "modified_huber",
    "squared_hinge",
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
)
SCHEDULES = ("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2")


class Descent:
    """Per-sample descent of one linear model with one output; `run` makes a pass over rows.

    Parameters
    ----------
    matrix : Matrix or SparseMatrix
        X, from `checks`: any dtype and strides; CSR with int32 or int64 indices. Not copied. Its finiteness need not be
        known: every margin is checked.
    y : ndarray of shape (n_samples,)
        Targets: numbers, -1/+1, or 0/1 for log_loss. Copied only if not contiguous or of another dtype than `dtype`.
    sample_weight : ndarray of shape (n_samples,), optional
        What multiplies each update.
    dtype : "float32" or "float64"
        Of the model.
    loss : str
        One of `LOSSES`.
    parameter : float
        The loss's threshold or epsilon; losses without one do not look at it.
    penalty : {"l2", "l1", "elasticnet", None}
    alpha : float
        The penalty is alpha (l1_ratio |w|_1 + (1 - l1_ratio) |w|^2 / 2).
    l1_ratio : float
        For "elasticnet" only: 0 for "l2" and 1 for "l1" whatever is given.
    learning_rate : {"constant", "optimal", "invscaling", "adaptive", "pa1", "pa2"}
        eta0; 1 / (alpha (t0 + t - 1)) with Bottou's t0; eta0 / t**power_t; `eta`, which who stops training divides
        between passes; passive-aggressive steps (Crammer et al. 2006) of aggressiveness eta0.
    eta0, power_t : float
    fit_intercept : bool
    intercept_decay : float
        What multiplies updates of the intercept; scikit-learn's is 0.01 on sparse data.
    average : int
        0, or the number `t` of the first update from which on weights and intercept are averaged.
    class_weights : (float, float)
        What multiplies updates of targets <= 0, and of those > 0.
    coef : ndarray of shape (n_features,)
        The weights to start from; copied.
    intercept : float
    average_coef : ndarray of shape (n_features,), optional
        The average to go on from; zeros by default. Copied; means nothing while t <= average.
    average_intercept : float
    t : float
        The number of the next update; the first is 1.
    n_threads : int
        More than 1: Hogwild (Recht et al. 2011), for CSR without l1 and without averaging. All threads change the same
        weights without locks, so that results differ from run to run.

    Attributes
    ----------
    coef, average_coef : ndarray of shape (n_features,), of `dtype`
        Copies; average_coef is None if average = 0.
    intercept, average_intercept : float
    t : float
        The number of the next update.
    eta : float
        The rate of "constant" and "adaptive"; may be set between passes.
    status : int
        `OK`, or `NON_FINITE` if a margin (so a number of a row, or the model) or the model after a pass was not finite.
        The pass ended before that row's update.
    """

    def __init__(
        self,
        matrix: AnyMatrix,
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None = None,
        *,
        dtype: DTypeLike,
        loss: str,
        parameter: float = 1.0,
        penalty: str | None,
        alpha: float,
        l1_ratio: float = 0.0,
        learning_rate: str,
        eta0: float,
        power_t: float = 0.5,
        fit_intercept: bool = True,
        intercept_decay: float = 1.0,
        average: int = 0,
        class_weights: tuple[float, float] = (1.0, 1.0),
        coef: NDArray[Any],
        intercept: float,
        average_coef: NDArray[Any] | None = None,
        average_intercept: float = 0.0,
        t: float = 1.0,
        n_threads: int = 1,
    ) -> None:
        self.status = OK
        self.eta = eta0

    def run(self, order: NDArray[np.int64] | None = None, tracks: bool = True) -> float:
        """One pass over rows.

        Parameters
        ----------
        order : ndarray of int64, optional
            The numbers of the rows, in order; all rows as they stand by default. Must lie within the matrix.
        tracks : bool
            Whether to sum the objective.

        Returns
        -------
        float
            The sum over rows of loss + penalty before each row's update, weights of samples and classes not counted;
            for "pa1" and "pa2" the loss alone. NaN without `tracks`.
        """
        return math.nan
