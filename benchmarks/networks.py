"""Networks of the cells, with any optimizer and with layers between, for benchmarks that look inside."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from cells import CELLS, Cell

import fastprop as fp
from fastprop.engine import Engine, samples_of_chunk
from fastprop.engines import batch_rows, job_of
from fastprop.samples import tables

OPTIMIZERS = {
    "sgd": lambda: fp.SGD(lr=0.01),
    "momentum": lambda: fp.SGD(lr=0.01, momentum=0.9),
    "adam": lambda: fp.Adam(lr=1e-3),
    "rmsprop": lambda: fp.RMSProp(lr=1e-3),
}
BETWEEN = {"none": list, "dropout": lambda: [fp.Dropout(0.5)], "batch_norm": lambda: [fp.BatchNorm()]}
MAX_BYTES = 1 << 26  # of the rows of a cell that is given by its widths


def cell_of(text: str) -> Cell:
    """A cell by its key, or by widths and batch as in 28-64-64-1:256."""
    if text in CELLS:
        return CELLS[text]
    match = re.fullmatch(r"(\d+(?:-\d+)+):(\d+)", text)
    if match is None:
        raise ValueError(f"{text!r} is none of {', '.join(CELLS)}, nor such as 28-64-64-1:256")
    widths, batch = tuple(map(int, match[1].split("-"))), int(match[2])
    n_steps = max(8, min(2000, MAX_BYTES // (4 * widths[0] * batch)))
    return Cell(widths, batch, n_steps * batch, batch)


def network(cell: Cell, optimizer: str | None = None, between: str = "none") -> fp.Network:
    """A network of the cell's widths; `between` is what follows each hidden layer."""
    layers: list[Any] = []
    for n in cell.widths[1:-1]:
        layers += [fp.Dense(n, activation=cell.activation), *BETWEEN[between]()]
    loss = "bce" if cell.is_binary else "cross_entropy"
    return fp.Network([*layers, fp.Dense(cell.widths[-1])], loss, OPTIMIZERS[optimizer or cell.optimizer](), seed=0)


def fit(net: fp.Network, cell: Cell, X: np.ndarray, y: np.ndarray, n_threads: int | None = 1, epochs: int = 1) -> None:
    """`Network.fit` as the cell wants it."""
    batch = None if cell.is_full_batch else cell.batch
    net.fit(X, y, epochs=epochs, batch_size=batch, n_threads=n_threads, progress=False)


@contextlib.contextmanager
def engine_of(net: fp.Network, cell: Cell, X: np.ndarray, y: np.ndarray, n_workers: int) -> Iterator[Engine]:
    """An engine that trains a network that was fitted before, with the chunks of a shuffled epoch."""
    matrix, targets = net._check_data(X, y)
    batch = None if cell.is_full_batch else cell.batch
    job = job_of(net, "train", matrix, targets)
    engine = Engine(job.plan, job.parameters, job.recipe, job.form, batch_rows(job.plan, len(X), batch), n_workers)
    engine.bind(matrix, targets.matrix)
    n_rows = len(X)
    if engine.is_online and n_rows > samples_of_chunk(engine.plan):  # chunks of as many updates
        n_rows -= n_rows % samples_of_chunk(engine.plan)
    segments = tables(engine, (), n_rows, None, None, batch, 1, True, 0, 0)
    segment = next(segments.of(range(1), net.optimizer.lr))
    engine.set_rows(segment.rows)
    engine.set_chunks(segment.chunks, segment.rates)
    yield engine
    engine.release()


def pin(n: int) -> None:
    """Keep this process to the last `n` processors that it may use: the first serve the most interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n:])
