"""Compile the usual kernels ahead, so that no fit has to wait for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .layers import BatchNorm, Dense, Dropout, LayerNorm, Residual
from .network import Network
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSProp

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu")
LOSSES = ("mse", "bce", "cross_entropy")
OPTIMIZERS: tuple[Optimizer, ...] = (Adam(), AdamW(), SGD(momentum=0.9), SGD(), RMSProp())


def warmup(say: Callable[[str], None], dtype: str = "float32") -> None:
    """Compile the usual kernels into the cache.

    Parameters
    ----------
    say : callable
        Told what comes next.
    dtype : "float32" or "float64", default "float32"

    Notes
    -----
    Kernels are compiled one by one, so networks that hold many activations, losses and optimizers between them cover
    all combinations.
    """
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    y = np.arange(40) % 2
    deep = [Dense(20, activation=name) for name in ACTIVATIONS]
    narrow = [[Dense(20, activation=name), Dense(1)] for name in ACTIVATIONS]  # layers of one unit have kernels apart
    for loss in LOSSES:
        say(f"loss {loss}, activations {', '.join(ACTIVATIONS)}")
        net = Network([*deep, Dense(2 if loss == "cross_entropy" else 1)], loss=loss, dtype=dtype)
        _use(net, X, y)
        net.evaluate(X, y)
    for optimizer in OPTIMIZERS:  # per sample, an activation and a rule share a kernel
        say(f"optimizer {optimizer.name}")
        _use(Network([*deep, Dense(2)], loss="cross_entropy", optimizer=optimizer, dtype=dtype), X, y)
        for layers in (*narrow, [Dense(1)]):
            _use(Network(layers, optimizer=optimizer, dtype=dtype), X, y)
        net = Network([Dense(20), BatchNorm(), Dense(1)], optimizer=optimizer, dtype=dtype)
        net.fit(X, y, epochs=1, batch_size=16, progress=False)
    say("dropout, layer norm, residual, clipping")
    block = [Dense(20, activation="relu"), Dropout(0.1), Dense(20)]
    net = Network([Dense(20), Residual(block), LayerNorm(), Dense(1)], clip_norm=1.0, dtype=dtype)
    net.fit(X, y, epochs=1, batch_size=16, progress=False)


def _use(net: Network, X: np.ndarray, y: np.ndarray) -> None:
    """Train and predict, a batch and a row at a time."""
    for batch_size in (16, 1):
        net.fit(X, y, epochs=1, batch_size=batch_size, progress=False)
    for rows in (X, X[:1]):
        net.predict(rows)
