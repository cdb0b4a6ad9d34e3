"""What X looks like: every dtype and layout that is read without a copy."""

from __future__ import annotations

import numpy as np
from cells import Cell

import fastprop as fp

from .steps import Training, clock_of, labels

DTYPES = [
    "float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip
LAYOUTS = {
    "rows": lambda X: X,
    "fortran": np.asfortranarray,
    "every second": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "swapped": lambda X: X.astype(X.dtype.newbyteorder("S")),
}


class Gather(Training):
    """Seconds a row of 256 columns, of which a linear model is trained in batches of 128, shuffled.

    Forward and gradient are 512 multiply-adds a row; the rest is reading and casting 256 numbers.
    """

    params = [DTYPES, list(LAYOUTS)]
    param_names = ["dtype", "layout"]
    cell = Cell((256, 1), 128, 4_096, 4_096)

    def setup(self, dtype: str, layout: str) -> None:
        if layout == "swapped" and np.dtype(dtype).itemsize == 1:
            raise NotImplementedError("one byte has no order")
        n_rows, n_features = self.cell.n_rows, self.cell.widths[0]
        X = np.random.default_rng(0).integers(0, 2, (n_rows, n_features)).astype(dtype)
        net = fp.Network([fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=1e-4))
        self.prepare(self.cell, net=net, data=(LAYOUTS[layout](X), labels(n_rows)))
        self.timer = clock_of(n_rows)

    def time_row(self, dtype: str, layout: str) -> None:
        self.train()


class Sparse(Training):
    """Seconds a row of CSR with 38 of 10,000 columns, a linear model in batches of 128."""

    cell = Cell((10_000, 1), 128, 12_800, 12_800)

    def setup(self) -> None:
        import scipy.sparse

        n_rows, n_features = self.cell.n_rows, self.cell.widths[0]
        indices = np.random.default_rng(0).integers(0, n_features, (n_rows, 38)).ravel()
        indptr = np.arange(n_rows + 1) * 38
        X = scipy.sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), (n_rows, n_features))
        X.sum_duplicates()
        net = fp.Network([fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=1e-3))
        self.prepare(self.cell, net=net, data=(X, labels(n_rows)))
        self.timer = clock_of(n_rows)

    def time_row(self) -> None:
        self.train()
