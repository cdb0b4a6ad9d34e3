"""Every activation, loss, optimizer and kind of layer, in a network where it weighs; one thread."""

from __future__ import annotations

import numpy as np
from cells import Cell

import fastprop as fp
from fastprop.kernels.activations import ACTIVATIONS
from fastprop.kernels.losses import LOSSES

from .steps import Training, labels, network

OPTIMIZERS = {
    "sgd": fp.SGD(lr=1e-3),
    "momentum": fp.SGD(lr=1e-3, momentum=0.9),
    "nesterov": fp.SGD(lr=1e-3, momentum=0.9, nesterov=True),
    "rmsprop": fp.RMSProp(lr=1e-4),
    "adagrad": fp.Adagrad(lr=1e-4),
    "adam": fp.Adam(lr=1e-4),
    "adamw": fp.AdamW(lr=1e-4),
}

LAYERS = {
    "dense": lambda: [fp.Dense(64, activation="relu")],
    "dropout": lambda: [fp.Dense(64, activation="relu"), fp.Dropout(0.2)],
    "batch norm": lambda: [fp.Dense(64), fp.BatchNorm()],
    "layer norm": lambda: [fp.Dense(64), fp.LayerNorm()],
    "residual": lambda: [fp.Dense(64), fp.Residual([fp.Dense(64, activation="relu")])],
}


class Activations(Training):
    """16-256-1 at batch 128: 272 multiply-adds forward for 256 values of the activation."""

    params = list(ACTIVATIONS)
    param_names = ["activation"]
    cell = Cell((16, 256, 1), 128, 12_800, 12_800)

    def setup(self, name: str) -> None:
        net = fp.Network([fp.Dense(256, activation=name), fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=1e-3))
        self.prepare(self.cell, net=net)

    def time_step(self, name: str) -> None:
        self.train()


class Losses(Training):
    """A linear model of 8 columns and 8 outputs at batch 1,024: small products, many losses."""

    params = list(LOSSES)
    param_names = ["loss"]
    cell = Cell((8, 8), 1024, 65_536, 65_536)

    def setup(self, name: str) -> None:
        n_rows, n_outputs = self.cell.n_rows, self.cell.widths[-1]
        classes = name in ("cross_entropy", "hinge", "squared_hinge", "modified_huber")
        y = labels(n_rows, n_outputs) if classes else labels(n_rows * n_outputs).reshape(n_rows, -1).astype(np.float32)
        X = np.random.default_rng(0).standard_normal((n_rows, self.cell.widths[0]), np.float32)
        net = fp.Network([fp.Dense(n_outputs)], loss=name, optimizer=fp.SGD(lr=1e-3))
        self.prepare(self.cell, net=net, data=(X, y))

    def time_step(self, name: str) -> None:
        self.train()


class Optimizers(Training):
    """128-128-10: at batch 16 the rule has few samples to hide behind, at batch 128 it should hardly show."""

    params = [list(OPTIMIZERS), [16, 128]]
    param_names = ["optimizer", "batch"]

    def setup(self, name: str, batch: int) -> None:
        cell = Cell((128, 128, 10), batch, 100 * batch, 100 * batch)
        self.prepare(cell, net=network(cell, optimizer=OPTIMIZERS[name]))

    def time_step(self, name: str, batch: int) -> None:
        self.train()


class Layers(Training):
    """Kinds of layers between 28 columns and one output, batches of 128."""

    params = list(LAYERS)
    param_names = ["layer"]
    cell = Cell((28, 64, 1), 128, 12_800, 12_800)

    def setup(self, name: str) -> None:
        net = fp.Network([*LAYERS[name](), fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=1e-3))
        self.prepare(self.cell, net=net)

    def time_step(self, name: str) -> None:
        self.train()
