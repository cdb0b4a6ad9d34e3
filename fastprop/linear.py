"""Linear models trained sample by sample: one output, dense or CSR rows.

For each row x with target y, in this order:

    z = w x + b                                          the margin
    c = -eta dloss/dz * weight                           clipped; passive-aggressive schedules: from the loss and |x|^2
    w = max(0, 1 - eta alpha (1 - l1_ratio)) w + c x
    b = b + c intercept_decay
    w truncated towards 0 by alpha l1_ratio eta          all that is owed since it was last seen: Tsuruoka et al. 2009
    averages of w and b, where they are asked for

which is what scikit-learn's SGD computes, to rounding; but for averages with l1, where it does not take the truncation
from what it has summed up before. A dense row is one pass over w for the dot and one for the
update; a CSR row costs its non-zeros only (w is kept as a scalar times a vector, l1 and the average are lazy).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .checks import DTYPE_CODES, AnyMatrix, SparseMatrix
from .kernels import records
from .kernels.catalogue import is_finite, linear, sum_losses, tabulate_rates
from .plan import aligned

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

RATES = {"optimal": records.OPTIMAL, "invscaling": records.INVERSE_SCALING}  # all others are EQUAL
# What Python reads or writes in each pass.
CELLS = (
    "rows", "first", "last", "t", "eta0", "intercept", "average_intercept", "owed", "scale", "margins", "targets",
    "counts_penalty", "penalty_sum", "loss_sum",
)  # fmt: skip

BLOCK_ROWS = 8192  # rows of a call: their margins, targets and rates stay in L2
CALL_NUMBERS = 1 << 22  # numbers of X that a call reads: at 1 to 3 ns each, Ctrl-C waits some 10 ms
MOST_COLUMNS = 1 << 31  # kernels read the low half of int64 indices
PAD = 16  # numbers behind an array that kernels take in whole registers
MAX_LINES, SPARSE_AHEAD = 8, 16
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

    Attributes
    ----------
    coef, average_coef : ndarray of shape (n_features,), of `dtype`
        Copies; average_coef is None if average = 0.
    intercept, average_intercept : float
    t : float
        The number of the next update.
    penalty_sum : float
        What penalties were of the sum that `run` returned last.
    eta : float
        The rate of "constant" and "adaptive"; may be set between passes.
    status : int
        `OK`, or `NON_FINITE` if a margin (so a number of a row, or the model) or the model after a pass was not finite.
        The pass ended before that row's update.

    Raises
    ------
    ValueError
        If X has 2^31 columns or more.
    """

    _most_rows = BLOCK_ROWS

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
    ) -> None:
        if matrix.n_columns >= MOST_COLUMNS:
            raise ValueError(f"a linear model takes fewer than 2^31 columns, got X of {matrix.n_columns} columns")
        self.dtype, self.matrix, self.status = np.dtype(dtype).name, matrix, OK
        l1, l2 = penalty_parts(penalty, alpha, l1_ratio)
        self._arrays: dict[str, NDArray[Any]] = {}  # what the record points to
        self._record = record = np.zeros((), records.DESCENT)
        self._address = int(record.ctypes.data)
        # One number of the record, as [0]: 0.06 us to read, where a field takes 0.4.
        fields: Any = record.reshape(1)
        self._cells: dict[str, Any] = {name: memoryview(fields[name]) for name in CELLS}
        record["loss"], record["parameter"] = LOSSES[loss], parameter
        record["schedule"], record["eta0"], record["power_t"] = SCHEDULES[learning_rate], eta0, power_t
        record["rate"] = RATES.get(learning_rate, records.EQUAL)
        if learning_rate == "optimal":  # Bottou's first step is as long as a typical weight: sqrt(1 / sqrt(alpha))
            record["inverse_alpha"], record["t0"] = 1.0 / alpha, alpha**-0.75
        record["negative_weight"], record["positive_weight"] = class_weights
        record["intercept_rate"] = intercept_decay if fit_intercept else 0.0
        record["l1"], record["l2"], record["average_from"] = l1, l2, average
        record["t"], record["intercept"], record["average_intercept"] = t, intercept, average_intercept
        record["scale"] = record["b"] = 1.0
        self._has_rates = SCHEDULES[learning_rate] == records.RATES
        self._order: NDArray[np.int64] | None = None  # the array that `rows` points to
        self._pass, self._is_finite = linear[matrix.is_sparse, self.dtype], is_finite[self.dtype].function
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
            record["data_lines"] = min(MAX_LINES, 2 + mean * itemsize // records.LINE)
            record["index_lines"] = min(MAX_LINES, 2 + mean * matrix.buffers[1].itemsize // records.LINE)
            record["ahead"] = SPARSE_AHEAD
            casts = matrix.dtype_code != DTYPE_CODES[np.dtype(self.dtype).str]
            length = int(np.diff(matrix.buffers[2]).max()) if casts else 0
        else:
            mean = matrix.n_columns
            record["ahead"] = max(1, min(24, AHEAD_BYTES // (mean * abs(matrix.column_stride) + 1)))
        self._point("row", aligned(length + PAD, self.dtype))
        self._block = max(1, min(self._most_rows, CALL_NUMBERS // mean, matrix.n_rows))
        for name in ("rates", "margins", "targets"):
            self._arrays[name] = np.zeros(self._block + PAD)
        self._buffers = [int(self._arrays[name].ctypes.data) for name in ("margins", "targets")]
        record["rates"] = self._arrays["rates"].ctypes.data

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

    def restart(self, coef: NDArray[Any], intercept: float, t: float) -> None:
        """Begin again, from other weights, as a new descent of the same data without `average`."""
        cells, w = self._cells, self._arrays["w"]
        w[: self._n_features], w[self._n_features :] = coef, 0.0  # steps that were not finite leave NaN behind them
        if "paid" in self._arrays:
            self._arrays["paid"].fill(0.0)
        cells["intercept"][0], cells["t"][0], cells["owed"][0], cells["scale"][0] = intercept, t, 0.0, 1.0

    def read_coef(self, out: NDArray[Any]) -> None:
        """Write the weights of a descent on dense rows to `out`."""
        out[:] = self._arrays["w"][: self._n_features]

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
        cells, address = self._cells, self._address
        n = self.matrix.n_rows if order is None else len(order)
        self._set_order(order)
        counts_penalty = tracks and self._has_rates
        cells["margins"][0], cells["targets"][0] = self._buffers if tracks else (0, 0)
        cells["counts_penalty"][0], cells["penalty_sum"][0] = counts_penalty, 0.0
        total, self.status, first = 0.0, OK, 0
        while first < n and self.status == OK:
            cells["first"][0], cells["last"][0] = first, min(n, first + self._block)
            tabulate_rates.function(address, cells["last"][0] - first)
            self.status = self._go()
            if tracks:
                sum_losses.function(address)
                total += cells["loss_sum"][0]
            first = cells["last"][0]
        if not (self._is_finite(address) and math.isfinite(cells["intercept"][0])):
            self.status = NON_FINITE
        if not tracks:
            return math.nan
        return total + float(cells["penalty_sum"][0]) if counts_penalty else total

    def _set_order(self, order: NDArray[np.int64] | None) -> None:
        """Let rows be read in this order. An array that comes again is known; it may have other numbers by then."""
        if order is None:
            self._cells["rows"][0] = 0
        elif order is not self._order or not self._cells["rows"][0]:
            self._point("rows", np.ascontiguousarray(order, np.int64))
            self._order = order if order is self._arrays["rows"] else None

    def _go(self) -> int:
        """Rows first to last of the record, whose rates are tabulated, or fewer; returns the status."""
        status: int = self._pass.function(self._address)
        return status

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
        return float(self._cells["intercept"][0])

    @property
    def average_intercept(self) -> float:
        """The mean of the intercepts after each update from `average` on."""
        return float(self._cells["average_intercept"][0])

    @property
    def penalty_sum(self) -> float:
        """What penalties were of the sum that `run` returned last."""
        return float(self._cells["penalty_sum"][0]) if self._cells["counts_penalty"][0] else 0.0

    @property
    def t(self) -> float:
        """The number of the next update."""
        return float(self._cells["t"][0])

    @property
    def eta(self) -> float:
        """The rate of "constant" and "adaptive"."""
        return float(self._cells["eta0"][0])

    @eta.setter
    def eta(self, eta: float) -> None:
        self._cells["eta0"][0] = eta


def penalty_parts(penalty: str | None, alpha: float, l1_ratio: float) -> tuple[float, float]:
    """The factors of |w|_1 and of |w|^2 / 2."""
    ratio = {"l1": 1.0, "l2": 0.0, "elasticnet": l1_ratio}.get(penalty or "")
    return (0.0, 0.0) if ratio is None else (alpha * ratio, alpha * (1.0 - ratio))
