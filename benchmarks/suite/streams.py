"""An epoch from files that are read while a network trains, and the memory that it takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import fastprop as fp

from .steps import Timed, clock_of

N_ROWS, N_FEATURES = 200_000, 28
NAMES = [f"x{j}" for j in range(N_FEATURES)]


def write(folder: Path) -> None:
    """The same rows as .npy, Parquet and CSV."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    X = np.random.default_rng(0).standard_normal((N_ROWS, N_FEATURES), np.float32)
    y = X[:, 0] * X[:, 1] + X[:, 2]
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    table = pa.table([*map(pa.array, X.T.copy()), pa.array(y)], names=[*NAMES, "y"])
    pq.write_table(table, folder / "rows.parquet", row_group_size=20_000, compression="zstd")
    pyarrow.csv.write_csv(table, folder / "rows.csv")


def dataset(kind: str, folder: Path) -> fp.data.Dataset:
    """In windows of an eighth of 16 MB: nine an epoch."""
    if kind == "npy":
        return fp.data.from_npy(folder / "X.npy", folder / "y.npy", memory_limit="16MB")
    read = {"parquet": fp.data.from_parquet, "csv": fp.data.from_csv}[kind]
    return read(folder / f"rows.{kind}", target="y", memory_limit="16MB")


class Epoch(Timed):
    """Seconds a row of 28-64-64-1 at batch 256."""

    params = ["npy", "parquet", "csv"]
    param_names = ["file"]

    def setup(self, kind: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        write(Path(self.folder.name))
        self.data = dataset(kind, Path(self.folder.name))
        self.net = fp.Network([fp.Dense(64, "relu"), fp.Dense(64, "relu"), fp.Dense(1)], optimizer=fp.SGD(1e-3))
        self.timer = clock_of(N_ROWS)
        self.time_epoch(kind)

    def teardown(self, kind: str) -> None:
        self.folder.cleanup()

    def time_epoch(self, kind: str) -> None:
        self.net.fit(self.data, epochs=1, batch_size=256, progress=False)

    def peakmem_epoch(self, kind: str) -> None:
        self.time_epoch(kind)
