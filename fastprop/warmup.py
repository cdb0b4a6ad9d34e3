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
    dense = [Dense(20, activation=name) for name in ACTIVATIONS]
    for loss in LOSSES:
        say(f"loss {loss}, activations {', '.join(ACTIVATIONS)}")
        net = Network([*dense, Dense(2 if loss == "cross_entropy" else 1)], loss=loss, dtype=dtype)
        for batch_size in (16, 1):
            net.fit(X, y, epochs=1, batch_size=batch_size, progress=False)
        net.evaluate(X, y)
        net.predict(X)
    say("layers of one unit")
    for name in ACTIVATIONS:
        for batch_size in (16, 1):
            net = Network([Dense(20, activation=name), Dense(1)], dtype=dtype)
            net.fit(X, y, epochs=1, batch_size=batch_size, progress=False)
    for optimizer in OPTIMIZERS:
        say(f"optimizer {optimizer.name}")
        for layers in ([Dense(20, activation="relu"), Dense(1)], [Dense(20), BatchNorm(), Dense(1)]):
            net = Network(layers, optimizer=optimizer, dtype=dtype)
            for batch_size in (16, 1) if len(layers) == 2 else (16,):
                net.fit(X, y, epochs=1, batch_size=batch_size, progress=False)
    say("dropout, layer norm, residual, clipping")
    block = [Dense(20, activation="relu"), Dropout(0.1), Dense(20)]
    net = Network([Dense(20), Residual(block), LayerNorm(), Dense(1)], clip_norm=1.0, dtype=dtype)
    net.fit(X, y, epochs=1, batch_size=16, progress=False)
