"""What the suite's benchmarks share: networks, rows, and a clock that tells the time of one step."""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cells import CELLS, Cell, Data, initial_weights, make_data

import fastprop as fp

EPOCH_FLOPS = 2e9  # of a timing: some 40 ms on a core of 50 GFLOP/s
MIN_STEPS, MAX_STEPS = 10, 20_000  # of a timing, whatever they cost


def shortened(cell: Cell) -> Cell:
    """The cell with an epoch that takes tens of milliseconds."""
    if cell.is_full_batch:
        return cell
    steps = int(min(max(EPOCH_FLOPS / cell.flops, MIN_STEPS), MAX_STEPS))
    n_rows = min(cell.n_rows, steps * cell.batch)
    return dataclasses.replace(cell, n_rows=n_rows, n_few=n_rows)


SHORT = {key: shortened(cell) for key, cell in CELLS.items()}
IS_MATMUL = {key: cell.batch > 1 for key, cell in CELLS.items()}  # one row a step has products of vectors

rows = functools.cache(make_data)  # setup runs before every sample


def network(cell: Cell, **settings: Any) -> fp.Network:
    """A network of the cell with its initial weights; `settings` change what the cell says."""
    hidden = [fp.Dense(n, activation=cell.activation) for n in cell.widths[1:-1]]
    optimizers = {"momentum": fp.SGD(lr=0.01, momentum=0.9), "sgd": fp.SGD(lr=0.01), "adam": fp.Adam(lr=1e-3)}
    loss = "bce" if cell.is_binary else "cross_entropy"
    chosen = {"loss": loss, "optimizer": optimizers[cell.optimizer], **settings}
    net = fp.Network([*hidden, fp.Dense(cell.widths[-1])], **chosen)
    net.set_weights(initial_weights(cell))
    return net


def available_threads() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clock_of(n: int) -> Callable[[], float]:
    """A clock on which n equal parts take the time of one."""
    return lambda: time.perf_counter() / n


class Timed:
    """How all benchmarks are timed: one call a sample, which does many steps; samples for half a second.

    asv runs setup again before every sample, and would before every call if a sample had several.
    """

    number = 1
    warmup_time = 0.0  # setup has done it all once: compiled, or loaded what was compiled, and filled the caches
    repeat = (5, 30, 0.5)
    timeout = 120.0


class Training(Timed):
    """Timings of training steps; `setup` of a subclass calls `prepare`."""

    def prepare(self, cell: Cell, n_threads: int | None = 1, net: fp.Network | None = None, data: Any = None) -> None:
        """Make a network (of the cell, or another one) that is ready to go on, and a clock that counts its steps.

        `data` are (X, y) in place of the cell's own.
        """
        if n_threads is not None and n_threads > available_threads():
            raise NotImplementedError(f"needs {n_threads} processors")  # asv writes n/a
        self.net = network(cell) if net is None else net
        data = rows(cell) if data is None else data
        self.data = (data.X, data.y) if isinstance(data, Data) else data
        self.n_steps = cell.epochs * cell.n_steps(cell.n_rows)
        self.timer = clock_of(self.n_steps)
        self.arguments = dict(
            epochs=cell.epochs,
            batch_size=None if cell.is_full_batch else cell.batch,
            n_threads=n_threads,
            progress=False,
        )
        self.train()

    def train(self) -> None:
        """The cell's epochs, rows in another order each time."""
        self.net.fit(*self.data, **self.arguments)

    def seconds(self) -> float:
        """Of one training step, once."""
        start = self.timer()
        self.train()
        return self.timer() - start

    def median_seconds(self, n: int = 15) -> float:
        """Of one training step."""
        return statistics.median(self.seconds() for _ in range(n))


def labels(n_rows: int, n_classes: int = 2) -> np.ndarray:
    """Classes as integers."""
    return np.random.default_rng(1).integers(0, n_classes, n_rows)
