"""Training from files beside training in memory: rows a second, and the peak of the resident memory.

    python benchmarks/streams.py                          a 4 GB .npy file: some minutes and 13 GB of disk
    python benchmarks/streams.py --gb 0.2 --repeats 3     in a minute
    python benchmarks/streams.py --formats npy --folder /mnt/scratch

An epoch of 28-64-64-1 at batch 256, mse and SGD. The files hold the same rows, normal numbers of float32 (CSV an eighth
of them), and are in the page cache; they are removed at the end. Every measurement is a process of its own on two
processors; kinds take turns, and medians of the repeats are compared. Beside Parquet and CSV stands what pyarrow needs
to decode the file, with its defaults and on one thread, and do nothing with it: the slower of that and of training in
memory is the ceiling of what can be reached. A ratio below 0.9, or a peak over the limit and 200 MB, is marked (!).
`waited` is the share of the time that training waited for rows.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from networks import pin

import fastprop as fp

N_FEATURES, BATCH = 28, 256
CHUNK = 1 << 17  # rows that are made and written at a time, and that are a row group of Parquet
CSV_SHARE = 8
ALLOWED = 200 * 10**6  # bytes of resident memory beside memory_limit: Python, Numba, pyarrow
LEAST_RATIO = 0.9
NAMES = [f"x{j}" for j in range(N_FEATURES)]
FILES = {"npy": "X.npy", "parquet": "rows.parquet", "csv": "rows.csv"}

# ---- files ----------------------------------------------------------------------------------------------------------


def chunks(n_rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """X (n, 28) and y (n,), float32."""
    for start in range(0, n_rows, CHUNK):
        X = np.random.default_rng(start).standard_normal((min(CHUNK, n_rows - start), N_FEATURES), np.float32)
        yield X, (X[:, 0] * X[:, 1] + X[:, 2]).astype(np.float32)


def rows_of(kind: str, n_rows: int) -> int:
    """How many of the rows of X.npy a file has."""
    return -(-n_rows // CSV_SHARE) if kind == "csv" else n_rows


def write(folder: Path, n_rows: int, formats: list[str]) -> None:
    """X.npy and y.npy, and the same rows as one Parquet (zstd) and one CSV file."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    X_file = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n_rows, N_FEATURES))
    y_file = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float32, (n_rows,))
    schema = pa.schema([(name, pa.float32()) for name in [*NAMES, "y"]])
    parquet = pq.ParquetWriter(folder / "rows.parquet", schema, compression="zstd") if "parquet" in formats else None
    csv = pa.csv.CSVWriter(folder / "rows.csv", schema) if "csv" in formats else None
    at = 0
    for X, y in chunks(n_rows):
        X_file[at : at + len(X)], y_file[at : at + len(X)] = X, y
        table = pa.table([*map(pa.array, X.T.copy()), pa.array(y)], schema=schema)
        if parquet is not None:
            parquet.write_table(table)
        if csv is not None:
            csv.write_table(table.slice(0, max(0, rows_of("csv", n_rows) - at)))
        at += len(X)
    for file in (parquet, csv):
        if file is not None:
            file.close()


# ---- one measurement, in a process of its own -----------------------------------------------------------------------


def network() -> fp.Network:
    return fp.Network([fp.Dense(64, "relu"), fp.Dense(64, "relu"), fp.Dense(1)], "mse", fp.SGD(1e-3))


def dataset(kind: str, folder: Path, memory: str) -> fp.data.Dataset:
    if kind == "npy":
        return fp.data.from_npy(folder / "X.npy", folder / "y.npy", memory_limit=memory)
    read = fp.data.from_parquet if kind == "parquet" else fp.data.from_csv
    return read(folder / FILES[kind], target="y", memory_limit=memory)


def decode(kind: str, path: Path, use_threads: bool) -> int:
    """Read a file with pyarrow, batch by batch, and drop it; returns the number of rows."""
    if kind == "parquet":
        import pyarrow.parquet as pq

        batches = pq.ParquetFile(path).iter_batches(CHUNK, use_threads=use_threads)
    else:
        import pyarrow.csv

        batches = pyarrow.csv.open_csv(path, read_options=pyarrow.csv.ReadOptions(use_threads=use_threads))
    return sum(batch.num_rows for batch in batches)


def measure(kind: str, folder: Path, memory: str) -> dict[str, float]:
    """Rows a second, the share of waiting and the peak of the resident memory of one kind.

    A kind is a format, "memory", "pyarrow <format>" or "pyarrow <format>, 1 thread".
    """
    pin(2)
    first = (
        np.load(folder / "X.npy", mmap_mode="r")[: 40 * BATCH],
        np.load(folder / "y.npy", mmap_mode="r")[: 40 * BATCH],
    )
    network().fit(*first, epochs=2, batch_size=BATCH, progress=False)  # compiles
    for module in ("pyarrow.parquet", "pyarrow.csv") if kind not in ("memory", "npy") else ():
        importlib.import_module(module)  # a second that is no reading
    net, n_rows, waited = network(), 0, 0.0
    if kind == "memory":
        X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
        start, n_rows = time.perf_counter(), len(X)
        net.fit(X, y, epochs=1, batch_size=BATCH, progress=False)
    elif kind.startswith("pyarrow "):
        name, _, one = kind.removeprefix("pyarrow ").partition(", ")
        start = time.perf_counter()
        n_rows = decode(name, folder / FILES[name], use_threads=not one)
    else:
        start = time.perf_counter()
        history = net.fit(dataset(kind, folder, memory), epochs=1, batch_size=BATCH, progress=False)
        waited = history["waited"][0] if "waited" in history else 0.0
        n_rows = rows_of(kind, len(np.load(folder / "X.npy", mmap_mode="r")))
    seconds = time.perf_counter() - start
    return {"rate": n_rows / seconds, "peak": peak_resident(), "waited": waited / seconds}


def peak_resident() -> int:
    """Bytes of VmHWM."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


# ---- the report -----------------------------------------------------------------------------------------------------


def report(found: dict[str, list[dict[str, float]]], formats: list[str], limit: int) -> str:
    """A markdown table."""
    rate = {kind: statistics.median(one["rate"] for one in runs) for kind, runs in found.items()}
    peak = {kind: max(one["peak"] for one in runs) for kind, runs in found.items()}
    lines = [
        "| what | million rows/s | of the ceiling | waited | peak RSS |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind, runs in found.items():
        share, over, waited = "", "", ""
        if kind in formats:
            waited = f"{statistics.median(one['waited'] for one in runs):.0%}"
            ceiling = min(rate["memory"], rate.get(f"pyarrow {kind}", rate["memory"]))
            ratio = rate[kind] / ceiling
            share = f"{ratio:.2f}{' (!)' if ratio < LEAST_RATIO else ''}"
            over = " (!)" if peak[kind] > limit + ALLOWED else ""
        lines.append(f"| {kind} | {rate[kind] / 1e6:.3f} | {share} | {waited} | {peak[kind] / 1e6:.0f} MB{over} |")
    return "\n".join(lines)


def main() -> None:
    """Write the files, measure in turns, print the table and remove the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=4.0, help="of X.npy")
    parser.add_argument("--folder", type=Path, default=None, help="for the files; default: that of temporary files")
    parser.add_argument("--memory", default="500MB", help="memory_limit")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)  # kind and folder: one measurement
    given = parser.parse_args()
    if given.work:
        print(json.dumps(measure(given.work[0], Path(given.work[1]), given.memory)))
        return
    n_rows = int(given.gb * 1e9 / (4 * N_FEATURES))
    kinds = ["memory"]
    for name in given.formats:
        kinds += [name] if name == "npy" else [name, f"pyarrow {name}", f"pyarrow {name}, 1 thread"]
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        write(folder, n_rows, given.formats)
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(given.repeats):
            for kind in kinds:
                command = [sys.executable, __file__, "--memory", given.memory, "--work", kind, name]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    print(report(found, given.formats, fp.data.sizes.parse_bytes("memory", given.memory)))


if __name__ == "__main__":
    main()
