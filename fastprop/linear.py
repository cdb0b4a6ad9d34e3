"""Linear models trained sample by sample: one output, dense or CSR rows.

For each row x with target y, in this order:

    z = w x + b                                          the margin
    c = -eta dloss/dz * weight                           clipped; passive-aggressive schedules: from the loss and |x|^2
    w = max(0, 1 - eta alpha (1 - l1_ratio)) w + c x
    b = b + c intercept_decay
    w truncated towards 0 by alpha l1_ratio eta          all that is owed since it was last seen: Tsuruoka et al. 2009

which is what scikit-learn's SGD computes, to rounding. A dense row is one pass over w for the dot and one for the
update; a CSR row costs its non-zeros only (w is kept as a scalar times a vector, l1 and the average are lazy).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .checks import DTYPE_CODES, AnyMatrix, SparseMatrix
from .kernels import records
from .kernels.catalogue import inverse_scaling, linear, sum_losses
from .plan import aligned
from .threads import pool

OK, NON_FINITE = records.OK, records.NON_FINITE  # Descent.status

#: Losses by name. Targets are -1/+1 for the first three, 0/1 for log_loss, numbers for the others.
LOSSES = {
    "hinge": records.HINGE,
    "squared_hinge": records.SQUARED_HINGE,
    "modified_huber": records.MODIFIED_HUBER,
    "log_loss": records.LOG,
    "squared_error": records.SQUARED_ERROR,
    "huber": records.HUBER,
    "epsilon_insensitive": records.EPSILON_INSENSITIVE,
    "squared_epsilon_insensitive": records.SQUARED_EPSILON_INSENSITIVE,
}
SCHEDULES = {
    "constant": records.RATES,
    "optimal": records.RATES,
    "invscaling": records.RATES,
    "adaptive": records.RATES,
    "pa1": records.PA1,
    "pa2": records.PA2,
}

BLOCK_ROWS = 8192  # rows of a call: their margins, targets and rates stay in L2
CALL_NUMBERS = 1 << 22  # numbers of X that a call reads: at 1 to 3 ns each, Ctrl-C waits some 10 ms
FIRST_ROWS = 512  # on several threads: rows before the copies are first made one, later as many as there were before
PAD = 16  # numbers behind an array that kernels take in whole registers
LINE, MAX_LINES, SPARSE_AHEAD = 64, 8, 16
AHEAD_BYTES = 4096  # of rows that are prefetched; with rows of 112 bytes, 24 rows


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
        The threshold of "hinge" (1; 0 is the perceptron's) and "squared_hinge" (1), the epsilon of "huber" and of the
        epsilon-insensitive losses; the others do not look at it.
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
        More than 1, for CSR without l1 and without `average`: each thread trains a copy of the model on its share of
        some thousand rows, then all go on from the mean of the copies (Zinkevich et al. 2010). The result depends on
        the number of threads.

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
        self.dtype, self.matrix, self.status, self.eta = np.dtype(dtype).name, matrix, OK, float(eta0)
        self.learning_rate, self._n_threads = learning_rate, n_threads
        l1, l2 = penalty_parts(penalty, alpha, l1_ratio)
        # Bottou's first step is as long as a typical weight: eta = sqrt(1 / sqrt(alpha)) where t = 1.
        self._optimal = alpha, alpha**-0.75 if learning_rate == "optimal" else 0.0
        self._arrays: dict[str, NDArray[Any]] = {}  # what the record points to
        self._records = np.zeros(n_threads, records.DESCENT)  # one a thread, the first is the model
        self._record = record = self._records[0]
        self._address = int(self._records.ctypes.data)
        record["loss"], record["parameter"] = LOSSES[loss], parameter
        record["schedule"], record["eta0"], record["power_t"] = SCHEDULES[learning_rate], eta0, power_t
        record["negative_weight"], record["positive_weight"] = class_weights
        record["intercept_rate"] = intercept_decay if fit_intercept else 0.0
        record["l1"], record["l2"], record["average_from"] = l1, l2, average
        record["t"], record["intercept"], record["average_intercept"] = t, intercept, average_intercept
        record["scale"] = record["b"] = 1.0
        self._pass = linear[matrix.is_sparse, self.dtype]
        if n_threads > 1:
            check_threads(matrix, l1, average)
        self._set_data(y, sample_weight)
        self._set_model(coef, average_coef, average)

    def _set_data(self, y: NDArray[Any], sample_weight: NDArray[Any] | None) -> None:
        """Tell the kernels of X, y and weights."""
        matrix, record = self.matrix, self._record
        self._point("source", np.array(matrix.source, np.int64).view(records.SOURCE))
        self._point("y", np.ascontiguousarray(y, self.dtype))
        if sample_weight is not None:
            self._point("weights", np.ascontiguousarray(sample_weight, np.float64))
        itemsize = 8 if self.dtype == "float64" else 4
        length = matrix.n_columns
        if isinstance(matrix, SparseMatrix):
            mean = matrix.n_stored // matrix.n_rows + 1
            record["data_lines"] = min(MAX_LINES, 2 + mean * itemsize // LINE)
            record["index_lines"] = min(MAX_LINES, 2 + mean * matrix.buffers[1].itemsize // LINE)
            record["ahead"] = SPARSE_AHEAD
            casts = matrix.dtype_code != DTYPE_CODES[np.dtype(self.dtype).str]
            length = int(np.diff(matrix.buffers[2]).max()) if casts else 0
        else:
            mean = matrix.n_columns
            record["ahead"] = max(1, min(24, AHEAD_BYTES // (mean * abs(matrix.column_stride) + 1)))
        self._point("row", aligned(length + PAD, self.dtype))
        self._block = max(1, min(BLOCK_ROWS, CALL_NUMBERS // mean, matrix.n_rows))
        if self._n_threads > 1:  # the mean of the copies takes time in proportion to the features
            self._block = self._n_threads * max(2 * self._block, matrix.n_columns // mean)
        for name in ("rates", "margins", "targets"):
            self._arrays[name] = np.zeros(self._block + PAD)
        record["rates"] = self._arrays["rates"].ctypes.data
        self._arrays["ramp"] = np.arange(float(self._block))

    def _set_model(self, coef: NDArray[Any], average_coef: NDArray[Any] | None, average: int) -> None:
        """Copy weights, and what goes with them, to arrays with zeros behind them."""
        n = self._record["n_features"] = self.matrix.n_columns
        self._n_features = int(n)
        self._point("w", self._padded(coef))
        if average > 0:  # what came before the first update that counts does not
            counts = average_coef is not None and self.t > average
            self._point("average_w", self._padded(average_coef if counts else None))
        if self._record["l1"] > 0:
            self._point("paid", self._padded(None))
        self._record["n_copies"] = 1
        self._copies = [(self._arrays["w"], self._arrays["row"])]
        for _ in range(1, self._n_threads):
            self._copies.append((self._padded(None), aligned(len(self._arrays["row"]), self.dtype)))

    def _padded(self, values: NDArray[Any] | None) -> NDArray[Any]:
        array = aligned(self._n_features + PAD, self.dtype)
        if values is not None:
            array[: self._n_features] = values
        return array

    def _point(self, name: str, array: NDArray[Any]) -> None:
        """Let the field `name` of the record point to `array`."""
        self._arrays[name] = array
        self._record[name] = array.ctypes.data

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
        record, address = self._record, self._address
        n = self.matrix.n_rows if order is None else len(order)
        if order is not None:
            self._point("rows", np.ascontiguousarray(order, np.int64))
        else:
            record["rows"] = 0
        counts_penalty = tracks and record["schedule"] == records.RATES
        for name in ("margins", "targets"):
            record[name] = self._arrays[name].ctypes.data if tracks else 0
        record["counts_penalty"], record["penalty_sum"] = counts_penalty, 0.0
        total, self.status = 0.0, OK
        first = 0
        while first < n and self.status == OK:
            last = min(n, first + (self._block if self._n_threads == 1 else min(self._block, FIRST_ROWS + first)))
            record["first"], record["last"] = first, last
            self._tabulate(last - first)
            self.status = self._pass(address, 0, 1) if self._n_threads == 1 else self._run_copies(first, last)
            if tracks:
                total += self._sum_losses()
            first = last
        if not (np.isfinite(self._arrays["w"]).all() and math.isfinite(self.intercept)):
            self.status = NON_FINITE
        if not tracks:
            return math.nan
        return total + float(record["penalty_sum"]) if counts_penalty else total

    def _tabulate(self, n: int) -> None:
        """Write the rates of the next n rows."""
        rates = self._arrays["rates"]
        if self.learning_rate == "invscaling":
            inverse_scaling(self._address, n)
        elif self.learning_rate == "optimal":
            alpha, start = self._optimal
            np.add(self._arrays["ramp"][:n], start + self.t - 1.0, out=rates[:n])
            np.divide(1.0 / alpha, rates[:n], out=rates[:n])
        else:
            rates[:n] = self.eta

    def _sum_losses(self) -> float:
        """The sum of the losses of the rows that the last call went over."""
        for i in range(self._n_threads):
            sum_losses(self._address + i * self._records.itemsize)
        return float(self._records["loss_sum"].sum())

    def _run_copies(self, first: int, last: int) -> int:
        """Rows first to last, each thread a part of them on a copy of the model, then the mean of the copies."""
        copies, n = self._records, self._n_threads
        n_rows, t, penalty_sum = last - first, self.t, float(self._record["penalty_sum"])
        copies[1:] = copies[0]
        copies["n_copies"], copies["penalty_sum"] = n, 0.0
        edges = first + n_rows * np.arange(n + 1) // n
        copies["first"], copies["last"] = edges[:-1], edges[1:]
        rates = [self._arrays["rates"][i:n_rows:n].copy() for i in range(n)]  # all go through the same ones
        rates[-1] = np.append(rates[-1], rates[-1][-1:])  # the last part may be longer by a row
        copies["rates"] = [array.ctypes.data for array in rates]
        for name in ("margins", "targets"):
            if self._record[name]:
                copies[name] = self._arrays[name].ctypes.data + 8 * (edges[:-1] - first)
        for i in range(1, n):
            self._copies[i][0][:] = self._arrays["w"]
        copies["w"], copies["row"] = zip(*((w.ctypes.data, row.ctypes.data) for w, row in self._copies), strict=True)
        pool.run(self._address, n, lambda: None, self._pass.function)
        self._unite(t + n_rows)
        self._record["penalty_sum"] += penalty_sum
        return OK if (copies["done"] == edges[1:]).all() else NON_FINITE

    def _unite(self, t: float) -> None:
        """Make the model the mean of its copies."""
        copies, w = self._records, self._arrays["w"]
        factors = (copies["scale"] / self._n_threads).astype(w.dtype)
        w *= factors[0]
        for (other, _), factor in zip(self._copies[1:], factors[1:], strict=True):
            other *= factor  # in place: it is written anew before it is used
            w += other
        record = self._record
        record["scale"], record["t"], record["intercept"] = 1.0, t, copies["intercept"].mean()
        record["penalty_sum"] = copies["penalty_sum"].sum()
        record["rates"] = self._arrays["rates"].ctypes.data

    @property
    def coef(self) -> NDArray[Any]:
        """The weights."""
        w: NDArray[Any] = self._arrays["w"][: self._n_features]
        return w * w.dtype.type(self._record["scale"]) if self.matrix.is_sparse else w.copy()

    @property
    def average_coef(self) -> NDArray[Any] | None:
        """The mean of the weights after each update from `average` on."""
        if "average_w" not in self._arrays:
            return None
        record, n = self._record, self._n_features
        mean: NDArray[Any] = self._arrays["average_w"][:n].copy()
        if self.matrix.is_sparse:
            mean += mean.dtype.type(record["a"]) * self._arrays["w"][:n]
            mean /= mean.dtype.type(record["b"])
        return mean

    @property
    def intercept(self) -> float:
        """The intercept."""
        return float(self._record["intercept"])

    @property
    def average_intercept(self) -> float:
        """The mean of the intercepts after each update from `average` on."""
        return float(self._record["average_intercept"])

    @property
    def t(self) -> float:
        """The number of the next update."""
        return float(self._record["t"])


def penalty_parts(penalty: str | None, alpha: float, l1_ratio: float) -> tuple[float, float]:
    """The factors of |w|_1 and of |w|^2 / 2."""
    ratio = {"l1": 1.0, "l2": 0.0, "elasticnet": l1_ratio}.get(penalty or "")
    return (0.0, 0.0) if ratio is None else (alpha * ratio, alpha * (1.0 - ratio))


def check_threads(matrix: AnyMatrix, l1: float, average: int) -> None:
    """What several threads cannot do at once."""
    if not matrix.is_sparse:
        raise ValueError("several threads train a linear model on sparse rows only: on dense ones they gain nothing")
    if l1 > 0 or average > 0:
        raise ValueError("several threads train a linear model with penalty 'l2' or None and without average")
