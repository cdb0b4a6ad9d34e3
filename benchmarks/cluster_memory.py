"""Memory while a file is trained that is larger than the cluster: client, scheduler and workers.

    python benchmarks/cluster_memory.py                 0.2 and 2 GB of .npy, two workers with a limit of 500 MB each
    python benchmarks/cluster_memory.py --gb 0.1 0.5 --folder /mnt/scratch

An epoch of 784-128-10 at batch 128. The files are written to a temporary folder and removed. Resident memory is looked
at every 20 ms. Client and scheduler are one process here: what it grows by during `fit` must not depend on the file,
and is marked (!) where it is more than 100 MB; so is a worker above its limit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from clusters import BATCH, network, resident, rows, started
from dask.utils import parse_bytes

import fastprop as fp
from fastprop import dask

WIDTHS = (784, 128, 10)
CHUNK = 1 << 14  # rows that are made and written at a time
MOST_GROWTH = 100e6
SAMPLE_SECONDS = 0.02


def write(folder: Path, gigabytes: float) -> int:
    """X.npy of float32 and y.npy; returns the rows."""
    n_rows = int(gigabytes * 1e9 / (4 * WIDTHS[0]))
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n_rows, WIDTHS[0]))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int64, (n_rows,))
    for number, first in enumerate(range(0, n_rows, CHUNK)):
        last = min(n_rows, first + CHUNK)
        X[first:last], y[first:last] = rows(number, last - first)
    return n_rows


@contextmanager
def peaks(pids: dict[str, int | str]) -> Iterator[dict[str, int]]:
    """The most resident memory of each process meanwhile, in bytes."""
    found, done = {name: resident(pid) for name, pid in pids.items()}, threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_SECONDS):
            for name, pid in pids.items():
                found[name] = max(found[name], resident(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def measure(gigabytes: float, folder: Path, memory_limit: str) -> str:
    """A row of the table."""
    n_rows = write(folder, gigabytes)
    with started(2, memory_limit) as client:
        net = network(WIDTHS, lambda: fp.SGD(0.01, momentum=0.9))
        workers = {f"worker {i}": pid for i, pid in enumerate(client.run(os.getpid).values())}
        begin, start = resident(), time.perf_counter()
        with peaks({"client": "self"} | workers) as found:
            history = dask.fit(
                net, folder / "X.npy", folder / "y.npy", epochs=1, batch_size=BATCH, client=client, progress=False
            )
        seconds = time.perf_counter() - start
    growth = found.pop("client") - begin
    over = " (!)" if growth > MOST_GROWTH else ""
    most = max(found.values())
    late = " (!)" if most > parse_bytes(memory_limit) else ""
    held = f"{begin / 1e6:.0f} MB + {growth / 1e6:.0f}{over} | {most / 1e6:.0f} MB{late}"
    return f"| {gigabytes:g} GB | {n_rows:,} | {held} | {history['rounds'][-1]:.0f} | {seconds:.1f} |"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, nargs="+", default=[0.2, 2.0], help="of X.npy")
    parser.add_argument("--memory", default="500MB", help="memory_limit of a worker")
    parser.add_argument("--folder", type=Path, default=None, help="for the files; default: that of temporary files")
    options = parser.parse_args()
    print("| file | rows | client and scheduler: before + growth | most of a worker | rounds | seconds |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for gigabytes in options.gb:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(measure(gigabytes, Path(folder), options.memory), flush=True)


if __name__ == "__main__":
    main()
