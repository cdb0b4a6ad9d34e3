"""Networks for the tests of exports: every layer, activation and loss, with weights that training has moved."""

from __future__ import annotations

import numpy as np

import fastprop as fp
from fastprop.kernels.activations import ACTIVATIONS, Elu, LeakyRelu

N_FEATURES, N_ROWS = 5, 40
RNG = np.random.default_rng(3)
X = RNG.normal(size=(N_ROWS, N_FEATURES)) * 2
THREE = np.arange(N_ROWS) % 3
NUMBERS = X[:, 0] - X[:, 1]
PAIRS = np.column_stack([NUMBERS, NUMBERS**2])

# What a loss is trained on: labels or numbers, and the outputs.
LOSSES = {
    "mse": (NUMBERS, 1), "squared_error": (PAIRS, 2), "mae": (PAIRS[:, :1], 1), "huber": (PAIRS, 2),
    "quantile": (NUMBERS, 1), "poisson": (THREE, 1), "bce": (THREE > 0, 1),
    "multilabel": ((THREE[:, None] == np.arange(3)).astype(float), 3),
    "cross_entropy": (np.array(["a", "bc", "\u2603"])[THREE], 3), "hinge": (np.array([-7, 7])[THREE % 2], 1),
    "squared_hinge": (THREE, 3), "modified_huber": (THREE * 1.5 // 1, 1 + 2),
    "modified_huber, one output": (np.array(["no", "yes"], object)[THREE % 2], 1),
}  # fmt: skip


def activations():
    """All of our own, the two with settings with other ones."""
    ours = [name for name, cls in ACTIVATIONS.items() if cls.__module__ == Elu.__module__]
    return [*sorted(ours), Elu(0.7), LeakyRelu(0.3)]


def network(layers, loss="mse", y=NUMBERS, dtype="float64", epochs=2):
    """Trained a little, from biases that are not zero."""
    net = fp.Network(layers, loss, fp.SGD(0.01), dtype=dtype, seed=2)
    net.fit(X, y, epochs=epochs, batch_size=8, progress=False)
    return net


def of_loss(name, dtype="float64"):
    y, n = LOSSES[name]
    loss = {"multilabel": "bce"}.get(name, name.partition(",")[0])
    return network([fp.Dense(4, "tanh"), fp.Dense(n, bias_init=np.ones(n))], loss, y, dtype)


def of_activation(activation, dtype="float64"):
    return network([fp.Dense(6, activation, bias_init=np.linspace(-1, 1, 6)), fp.Dense(1)], dtype=dtype)


def of_layers(dtype="float64"):
    inner = [fp.Dense(4, "relu"), fp.Dropout(0.4), fp.LayerNorm(1e-3), fp.Residual([fp.Dense(4, bias=False)])]
    layers = [
        fp.LayerNorm(), fp.Dense(4, "x_tanh"), fp.BatchNorm(0.3, 1e-2), fp.Dropout(0.2), fp.Residual(inner),
        fp.BatchNorm(), fp.Dense(2),
    ]  # fmt: skip
    return network(layers, "mse", PAIRS, dtype)
