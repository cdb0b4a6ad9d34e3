"""The test loss after an epoch of streamed training on files sorted by label, beside training in memory.

    python benchmarks/sorted_rows.py                      5,000,000 rows of 28, default memory limit: five minutes
    python benchmarks/sorted_rows.py --rows 100000 --memory 8MB --seeds 1

28-64-64-1 at batch 256, bce and Adam, on a function of six of 28 normal numbers with noise. In memory all rows are
shuffled; the files hold them sorted by label, the order in which windows of neighbouring rows would have one label
each. Ratios above 1.02 are marked (!).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import fastprop as fp

N_FEATURES, N_TEST, BATCH = 28, 200_000, 256
LARGEST_RATIO = 1.02
ROW_GROUPS = (65_536, 1_048_576)  # of Parquet; the latter is pyarrow's default


def rows(n: int) -> tuple[np.ndarray, np.ndarray]:
    """X (n, 28) float32 and labels 0 and 1."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, N_FEATURES), np.float32)
    score = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.5 * X[:, 3] - 0.3 * X[:, 4] * X[:, 5]
    return X, (score + 0.5 * rng.standard_normal(n, np.float32) > 0.3).astype(np.int32)


def write(folder: Path, X: np.ndarray, y: np.ndarray) -> None:
    """The rows sorted by label, as .npy and as Parquet files of small and of large row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    table = pa.table({**{f"x{j}": X[:, j] for j in range(N_FEATURES)}, "y": y})
    for n in ROW_GROUPS:
        pq.write_table(table, folder / f"{n}.parquet", row_group_size=n, compression="zstd")


def datasets(folder: Path, memory: str) -> dict[str, fp.data.Dataset]:
    """The files by what the table calls them."""
    found = {"npy": fp.data.from_npy(folder / "X.npy", folder / "y.npy", memory_limit=memory)}
    for n in ROW_GROUPS:
        name = f"Parquet, row groups of {n:,}"
        found[name] = fp.data.from_parquet(folder / f"{n}.parquet", target="y", memory_limit=memory)
    return found


def loss(train: tuple[object, ...], test: tuple[np.ndarray, np.ndarray], seed: int) -> float:
    """The test loss after an epoch."""
    net = fp.Network([fp.Dense(64, "relu"), fp.Dense(64, "relu"), fp.Dense(1)], "bce", "adam", seed=seed)
    net.fit(*train, epochs=1, batch_size=BATCH, progress=False)
    return net.evaluate(*test)["loss"]


def main() -> None:
    """Write the files, train on each, print the table and remove the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--memory", default="1GB", help="memory_limit")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="for the files; default: that of temporary files")
    given = parser.parse_args()
    X, y = rows(given.rows + N_TEST)
    train, test = (X[:-N_TEST], y[:-N_TEST]), (X[-N_TEST:], y[-N_TEST:])
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        write(Path(name), *train)
        whole = [loss(train, test, seed) for seed in range(given.seeds)]
        print("| rows | windows | test loss over that in memory, by seed |\n| --- | ---: | --- |")
        print(f"| in memory | | {' '.join(f'{value:.4f}' for value in whole)} |")
        for kind, data in datasets(Path(name), given.memory).items():
            ratios = [loss((data,), test, seed) / beside for seed, beside in enumerate(whole)]
            shown = " ".join(f"{ratio:.4f}{' (!)' if ratio > LARGEST_RATIO else ''}" for ratio in ratios)
            print(f"| {kind} | {-(-given.rows // data.window_rows(BATCH, 'float32'))} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
