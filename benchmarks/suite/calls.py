"""Calls on a trained network: one row at a time, as a service or a bandit makes them, and many rows."""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
from cells import CELLS, Cell, make_data

import fastprop as fp

from .parts import OPTIMIZERS
from .steps import Timed, Training, clock_of, network

N_CALLS = 500  # of a timing
NETWORKS = {
    "2-16-1": CELLS["tiny-1"].widths,
    "28-64-64-1": CELLS["table-1"].widths,
    "784-128-10": CELLS["mnist-128"].widths,
    "784-512-512-10": CELLS["wide-128"].widths,
}


class OneRow(Timed):
    """Seconds a call with one row, the checks of it included."""

    params = list(NETWORKS)
    param_names = ["network"]

    def setup(self, name: str) -> None:
        cell = Cell(NETWORKS[name], 1, 64, 64)
        self.net, data = network(cell), make_data(cell)
        self.X, self.y = data.X[:1], data.y[:1]
        self.timer = clock_of(N_CALLS)
        for call in (self.net.partial_fit, lambda X, y: self.net.predict(X)):
            for _ in range(10):
                call(self.X, self.y)

    def time_partial_fit(self, name: str) -> None:
        X, y, partial_fit = self.X, self.y, self.net.partial_fit
        for _ in range(N_CALLS):
            partial_fit(X, y)

    def time_predict(self, name: str) -> None:
        X, predict = self.X, self.net.predict
        for _ in range(N_CALLS):
            predict(X)


class OnlineStep(Training):
    """Seconds a step of `fit` with one sample an update, by the rule: no call from Python in between."""

    params = [["2-16-1", "28-64-64-1", "784-128-10"], ["sgd", "momentum", "adam"]]
    param_names = ["network", "optimizer"]

    def setup(self, name: str, optimizer: str) -> None:
        n_rows = 1_000 if name == "784-128-10" else 10_000
        cell = Cell(NETWORKS[name], 1, n_rows, n_rows)
        self.prepare(cell, net=network(cell, optimizer=OPTIMIZERS[optimizer]))

    def time_step(self, name: str, optimizer: str) -> None:
        self.train()


class ManyRows(Timed):
    """Seconds a call of `predict`, on the threads that it takes by itself."""

    params = [list(NETWORKS), [100, 10_000, 200_000]]
    param_names = ["network", "n_rows"]
    repeat = (3, 10, 0.5)

    def setup(self, name: str, n_rows: int) -> None:
        if n_rows * NETWORKS[name][0] > 1e7:
            raise NotImplementedError("more than 40 MB of X")
        cell = Cell(NETWORKS[name], 1, n_rows, n_rows)
        self.net = network(cell)
        self.X = np.random.default_rng(0).standard_normal((n_rows, cell.widths[0]), np.float32)
        self.net.partial_fit(self.X[:64], np.zeros(64, int), classes=np.arange(max(2, cell.widths[-1])))
        self.net.predict(self.X)

    def time_predict(self, name: str, n_rows: int) -> None:
        self.net.predict(self.X)


class PredictionCeiling:
    """The share of one core's multiply-adds that prediction of 784-512-512-10 makes use of."""

    timeout = 120.0

    def setup(self) -> None:
        os.environ["FASTPROP_NUM_THREADS"] = "1"  # of this process, which runs nothing else
        self.net = fp.Network([fp.Dense(512, activation="relu"), fp.Dense(512, activation="relu"), fp.Dense(10)])
        self.net.build(784)
        self.X = np.random.default_rng(0).standard_normal((10_000, 784), np.float32)

    def track_fraction(self) -> float:
        from fastprop.kernels import ceiling

        flops = 2 * len(self.X) * (784 * 512 + 512 * 512 + 512 * 10)
        found = []
        for _ in range(8):
            start = time.perf_counter()
            self.net.predict(self.X)
            found.append(flops / (time.perf_counter() - start) / 1e9 / ceiling.measure("float32", 0.005))
        return round(statistics.median(found), 4)

    track_fraction.unit = "of the ceiling"
