"""The memory section of limits.py: what training on a large file adds to the process.

The limit is eight times the parameters, plus the engine's buffers for a chunk of 4,096 rows.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cells import Cell
from limit_sections import Row
from networks import network

from fastprop.engine import Engine

FILE_BYTES = 2 * 10**9
WIDTHS = ((784, 128, 10), (28, 64, 64, 1))
BATCHES = (128, None)
CHUNK_ROWS = 4096
SAMPLE_SECONDS = 0.002
MB = 1e6


def anonymous() -> int:
    """Bytes of RssAnon: resident memory that no file backs."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell RssAnon")


@contextmanager
def highest() -> Iterator[list[int]]:
    """A list that holds the most anonymous memory seen meanwhile."""
    peak, done = [anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak[0] = max(peak[0], anonymous())


@contextmanager
def mapped(n_features: int) -> Iterator[np.ndarray]:
    """Rows of zeros, float32, in a file without blocks on the disk that is removed again."""
    n_rows = FILE_BYTES // (4 * n_features)
    with tempfile.NamedTemporaryFile() as file:
        os.ftruncate(file.fileno(), 4 * n_features * n_rows)
        yield np.memmap(file.name, np.float32, mode="r", shape=(n_rows, n_features))


@contextmanager
def chunk_buffers() -> Iterator[list[float]]:
    """A list of what engines made meanwhile hold for a row of their chunks, in bytes."""
    found: list[float] = []
    init = Engine.__init__

    def noting(engine, *arguments, **options):
        init(engine, *arguments, **options)
        kept = engine.workspace._keep
        found.append(sum(a.nbytes for a in kept if a is not engine.parameters.rows) / engine.chunk_rows)

    Engine.__init__ = noting
    try:
        yield found
    finally:
        Engine.__init__ = init


def train(widths: tuple[int, ...], batch: int | None) -> Row:
    """What an epoch adds, beside what it may add."""
    with mapped(widths[0]) as X, highest() as peak:
        y = np.arange(len(X)) % max(2, widths[-1])
        cell = Cell(widths, batch or len(X), len(X), len(X))
        small, net = network(cell), network(cell)
        # Compiles, and lets Python, the allocator and the threads take what they take once.
        small.fit(X[:20_000], y[:20_000], epochs=5, batch_size=batch, progress=False)
        before = peak[0] = anonymous()
        start = time.perf_counter()
        with chunk_buffers() as buffers:
            net.fit(X, y, epochs=1, batch_size=batch, progress=False)
        seconds = time.perf_counter() - start
    parameters, a_chunk = 4 * sum(W.size + b.size for W, b in net.get_weights()), CHUNK_ROWS * sum(buffers)
    what = f"added by {'-'.join(map(str, widths))}, {'full batch' if batch is None else f'batch {batch}'}"
    note = f"{8 * parameters / MB:.2f} + {a_chunk / MB:.2f}; {len(X):,} rows in {seconds:.1f} s"
    return Row(what, (peak[0] - before) / MB, " MB", round((8 * parameters + a_chunk) / MB, 2), note)


def memory() -> list[Row]:
    """Anonymous resident memory that training on 2 GB of memory-mapped float32 adds; each time in a new process."""
    rows = []
    for widths, batch in itertools.product(WIDTHS, BATCHES):
        command = [sys.executable, __file__, json.dumps([widths, batch])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(Row(*json.loads(done.stdout)))
    return rows


if __name__ == "__main__":
    print(json.dumps(train(*json.loads(sys.argv[1]))))
