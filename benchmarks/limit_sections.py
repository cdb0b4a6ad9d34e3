"""The sections of limits.py but memory: each measures and returns rows of its table."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from cells import CELLS, Cell, make_data
from networks import fit, network

import fastprop as fp
from fastprop.kernels import ceiling

WIDE = CELLS["wide-128"]
FEW_STEPS = 20  # of the wide network in one timing: some 40 ms
PREDICTED_ROWS = 200_000


class Row(NamedTuple):
    """A line of the report.

    Attributes
    ----------
    what : str
    measured : float or None
    unit : str
        Follows the number.
    limit : float or None
        At most this; at least its absolute value if it is negative; None for what has no target.
    note : str
    """

    what: str
    measured: float | None
    unit: str
    limit: float | None
    note: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether the target is not met."""
        if self.measured is None:
            return True
        if self.limit is None:
            return False
        return self.measured < -self.limit if self.limit < 0 else self.measured > self.limit

    @property
    def target(self) -> str:
        """Such as "<= 1.15"."""
        if self.limit is None:
            return ""
        return f"{'>=' if self.limit < 0 else '<='} {abs(self.limit):g}{self.unit}"


def clock(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(seconds: float, *actions: Callable[[], object]) -> np.ndarray:
    """Times of shape (n_rounds, n_actions): rounds for `seconds` after one that does not count, four at least."""
    for action in actions:
        action()
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < 4:
        rounds.append([clock(action) for action in actions])
    return np.array(rounds)


def ratios(times: np.ndarray, k: int) -> tuple[float, str]:
    """The median over rounds of column k over column 0, and the quartiles for a note."""
    low, middle, high = np.quantile(times[:, k] / times[:, 0], [0.25, 0.5, 0.75])
    return float(middle), f"{low:.3f} - {high:.3f}, {len(times)} rounds"


def trainer(cell: Cell, n_rows: int | None = None, n_threads: int | None = 1, **kind: str) -> Callable[[], None]:
    """A call that fits a network of its own to the cell's data for an epoch."""
    data = make_data(cell)
    net, X, y = network(cell, **kind), data.X[:n_rows], data.y[:n_rows]
    return lambda: fit(net, cell, X, y, n_threads, cell.epochs)


# ---- training -----------------------------------------------------------------------------------------------------


def layers() -> list[Row]:
    """784-512-512-10, batch 128: what follows SGD costs at most 15 % more than it."""
    kinds = {
        "plain SGD": {"optimizer": "sgd"},
        "SGD with momentum": {"optimizer": "momentum"},
        "Adam": {"optimizer": "adam"},
        "RMSProp": {"optimizer": "rmsprop"},
        "dropout 0.5": {"optimizer": "sgd", "between": "dropout"},
        "batch norm": {"optimizer": "sgd", "between": "batch_norm"},
    }
    times = in_turns(20.0, *(trainer(WIDE, FEW_STEPS * WIDE.batch, **kind) for kind in kinds.values()))
    us = float(np.median(times[:, 0])) / FEW_STEPS * 1e6
    return [
        Row("a step with plain SGD, 784-512-512-10, batch 128", us, " us", None),
        *(Row(f"{name} / plain SGD", *_as_row(times, k, 1.15)) for k, name in enumerate(kinds) if k),
    ]


def _as_row(times: np.ndarray, k: int, limit: float | None) -> tuple[float, str, float | None, str]:
    middle, note = ratios(times, k)
    return middle, "", limit, note


def threads() -> list[Row]:
    """Two threads, and whether there is a second core for them."""
    n_rows = 2 * FEW_STEPS * WIDE.batch
    one, two, other = (trainer(WIDE, n_rows, n) for n in (1, 2, 1))
    alone, together = [], []

    def side_by_side() -> None:
        thread = threading.Thread(target=lambda: together.append(clock(other)))
        thread.start()
        together.append(clock(one))
        thread.join()

    times = in_turns(15.0, one, two, side_by_side)
    alone = times[:, 0]
    beside = np.reshape(together[2:], (-1, 2)).mean(axis=1)
    speedup = alone / times[:, 1]
    free = beside / alone - 1 < 0.1
    low, middle, high = np.quantile(speedup, [0.25, 0.5, 0.75])
    rows = [
        Row("two threads over one, 784-512-512-10, batch 128", float(middle), "x", -1.8, f"{low:.2f} - {high:.2f}"),
        Row(
            "loss of two one-thread runs side by side",
            float(np.median(beside / alone - 1)),
            "",
            0.1,
            "it is free if so",
        ),
    ]
    if free.any():
        note = f"{free.sum()} of {len(free)} rounds"
        rows.append(Row("two threads over one where it was free", float(np.median(speedup[free])), "x", -1.8, note))
    return rows


BURN = "from fastprop.kernels import ceiling\nwhile True: ceiling.measure('float32', 1.0)"


def choice() -> list[Row]:
    """n_threads=None is never more than 5 % slower than one thread."""
    rows = []
    for state in ("idle", "busy"):
        burner = _burner() if state == "busy" else None
        try:
            for cell in CELLS.values():
                times = in_turns(1.0, trainer(cell), trainer(cell, n_threads=None))
                rows.append(Row(f"None / 1 thread, second core {state}: {cell.name}", *_as_row(times, 1, 1.05)))
        finally:
            if burner is not None:
                burner.kill()
                burner.wait()
    return rows


def _burner() -> subprocess.Popen[bytes]:
    """A process that keeps one of our processors busy."""
    process = subprocess.Popen([sys.executable, "-c", BURN])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    time.sleep(2.0)
    return process


# ---- one row and many ---------------------------------------------------------------------------------------------


def one_row() -> list[Row]:
    """28-64-64-1: a call with one row of plain float32."""
    cell = CELLS["table-1"]
    data = make_data(cell)
    net = network(cell)
    fit(net, cell, data.X_few, data.y_few)
    rows = [(data.X[i : i + 1], data.y[i : i + 1]) for i in range(100)]

    def partial_fit() -> None:
        for X, y in rows:
            net.partial_fit(X, y)

    def predict() -> None:
        for X, _ in rows:
            net.predict(X)

    us = np.median(in_turns(4.0, partial_fit, predict), axis=0) * 1e6 / len(rows)
    return [Row("partial_fit, one row", us[0], " us", 10.0), Row("predict, one row", us[1], " us", 5.0)]


def prediction() -> list[Row]:
    """784-512-512-10: the outputs of 200,000 rows."""
    X = np.random.default_rng(0).standard_normal((PREDICTED_ROWS, WIDE.widths[0]), np.float32)
    net = network(WIDE)
    fit(net, WIDE, X[: WIDE.batch], np.arange(WIDE.batch) % 10)
    gflops = max(ceiling.measure() for _ in range(3))
    seconds = in_turns(8.0, lambda: net.predict(X))
    flops = 2 * len(X) * sum(n * m for n, m in itertools.pairwise(WIDE.widths))
    fraction, best = (flops / s / 1e9 / gflops for s in (float(np.median(seconds)), seconds.min()))
    return [Row("predict, 200,000 rows: of the ceiling", fraction, "", -0.85, f"best {best:.3f}")]


# ---- compiling ----------------------------------------------------------------------------------------------------

COMBINATIONS = {
    "first fit: relu, cross_entropy, Adam": ("relu", "cross_entropy", lambda: fp.Adam()),
    "tanh, bce, SGD with momentum": ("tanh", "bce", lambda: fp.SGD(lr=0.01, momentum=0.9)),
    "sigmoid, mse, RMSProp": ("sigmoid", "mse", lambda: fp.RMSProp()),
    "gelu, mae, Adagrad": ("gelu", "mae", lambda: fp.Adagrad()),
}


def compile_times() -> list[Row]:
    """The first fit on a machine, and of each further combination, with nothing compiled before."""
    X = np.random.default_rng(0).standard_normal((256, 20), np.float32)
    labels, rows = np.arange(256) % 2, []
    for name, (activation, loss, optimizer) in COMBINATIONS.items():
        n_outputs = 2 if loss == "cross_entropy" else 1
        net = fp.Network([fp.Dense(32, activation=activation), fp.Dense(n_outputs)], loss, optimizer())
        seconds = clock(lambda net=net: net.fit(X, labels, epochs=1, batch_size=32, progress=False))
        rows.append(Row(name, seconds, " s", 2.0 if rows else 4.0))
    return rows


def avx2() -> list[Row]:
    """784-512-512-10, batch 128, for the target of this process."""
    net_fit = trainer(WIDE, FEW_STEPS * WIDE.batch)
    net_fit()
    gflops = [ceiling.measure("float32", 0.02) for _ in range(20)]
    speed = WIDE.flops * FEW_STEPS / in_turns(8.0, net_fit)[:, 0] / 1e9 / max(gflops)
    note = f"best {speed.max():.3f}; ceiling {max(gflops):.0f} GFLOP/s"
    return [Row("784-512-512-10, batch 128: of the ceiling", float(np.median(speed)), "", -0.85, note)]
