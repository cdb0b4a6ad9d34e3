"""Hogwild: all threads train one linear model on CSR rows at once, without locks (Recht et al. 2011)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import AnyMatrix
from .kernels import records
from .kernels.catalogue import hogwild, scales_ahead
from .linear import OK, PAD, Descent
from .plan import aligned
from .threads import pool

SHARED_ROWS = 65536  # of a call: waking threads takes 20 to 50 us
LEAST_ROWS = 512  # of a call on several threads: they take about as long as waking them


class Hogwild(Descent):
    """A `Descent` whose rows are shared out among threads that change the same weights without locks.

    Steps are those of `Descent`; what a thread reads may lack others' last rows, and of two updates of one weight at
    the same moment one is lost. So results differ from run to run, whatever the order of rows. One thread does what
    `Descent` does, to rounding. For CSR without l1 and without `average`: all rows would change what these keep.

    Parameters
    ----------
    matrix, y, sample_weight, **settings
        As for `Descent`.
    n_threads : int
        With this one. Calls of less than 512 rows go on this one alone.

    Raises
    ------
    ValueError
        Where X is dense, with l1, or with `average`.
    """

    _most_rows = SHARED_ROWS

    def __init__(self, matrix: AnyMatrix, *data: Any, n_threads: int, **settings: Any) -> None:
        super().__init__(matrix, *data, **settings)
        record = self._record
        if not matrix.is_sparse:
            raise ValueError("hogwild trains linear models on sparse rows only: dense ones all change the same weights")
        if record["l1"] > 0 or record["average_w"] != 0:
            raise ValueError("hogwild trains linear models with penalty 'l2' or None and without average")
        self._n_threads = n_threads
        length = -(-len(self._arrays["row"]) // PAD) * PAD
        self._point("row", aligned(length * n_threads, self.dtype))
        record["row_bytes"] = length * self._arrays["row"].itemsize
        self._point("board", aligned((1 + n_threads) * records.BOARD_LINE, "float64"))
        self._point("scales", np.ones(self._block + 1))
        self._least_scale = records.LEAST_SCALE_64 if self.dtype == "float64" else records.LEAST_SCALE_32

    def _go(self) -> int:
        n = self._rows_ahead()
        if n < LEAST_ROWS:  # or the scale soon goes into the weights, which is for one thread
            return super()._go()
        record, board = self._record, self._arrays["board"].reshape(-1, records.BOARD_LINE)
        record["last"] = record["first"] + n
        board[:], record["square_norm"] = 0.0, self._arrays["w"] @ self._arrays["w"]
        pool.run(self._address, self._n_threads, lambda: None, hogwild[self.dtype].function)
        workers = board[1:]
        record["intercept"] = workers[0, records.BOARD_INTERCEPT] + workers[1:, records.BOARD_CHANGE].sum()
        record["t"] += workers[:, records.BOARD_UPDATES].sum()
        record["scale"] = self._arrays["scales"][n]
        record["penalty_sum"] += workers[:, records.BOARD_PENALTY].sum()
        status = int(workers[:, records.BOARD_STATUS].max())
        record["done"] = record["last"] if status == OK else record["first"]
        return status

    def _rows_ahead(self) -> int:
        """Tabulate scales; returns how many rows there are until the scale gets too small."""
        n = int(self._record["last"] - self._record["first"])
        if self._record["l2"] == 0.0:
            return n
        scales = self._arrays["scales"]
        scales_ahead(self._address, n)
        if scales[n] >= self._least_scale:  # they only fall
            return n
        return n - int(np.searchsorted(scales[n:0:-1], self._least_scale))
