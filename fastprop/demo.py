"""`fastprop demo`: a network for the handwritten digits that come with scikit-learn, and how long each phase takes."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import Adam, Dense, Dropout, Network, plot
from .kernels import handles

EPOCHS = 40
TEST_FRACTION = 0.2

Say = Callable[[str, str], None]


class Digits(NamedTuple):
    """X (n, 64) float32 from 0 to 1, y (n,) the digit."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def run(say: Say, folder: Path, seed: int = 0, n_threads: int | None = None) -> float:
    """Train on the digits, write the model (and the loss curve) into `folder`, and return the test accuracy.

    Parameters
    ----------
    say : callable
        Told the name of each phase and its result.
    folder : Path
        Where `fastprop-demo.safetensors` and, if matplotlib is installed, `fastprop-demo.png` go.
    seed : int, default 0
        Of the split and of the network.
    n_threads : int, optional
        As in `Network.fit`.
    """
    data = _digits(seed)
    say("data", f"digits of 8 x 8 pixels: {len(data.y_train)} to learn from, {len(data.y_test)} to test on")

    # Another network of the same kind meets a few rows first, so that what is timed below is training alone.
    known, start = len(handles.compiled), time.perf_counter()
    few = data._replace(X_train=data.X_train[:64], y_train=data.y_train[:64])
    _train(few, 1, seed, n_threads)[0].evaluate(data.X_test[:64], data.y_test[:64])
    n_compiled = len(handles.compiled) - known
    how = f"{n_compiled} kernels, kept on disk for the next time" if n_compiled else "all kernels were found on disk"
    say("compile", f"{time.perf_counter() - start:.2f} s, {how}")

    start = time.perf_counter()
    net, history = _train(data, EPOCHS, seed, n_threads)
    say("train", f"{time.perf_counter() - start:.2f} s, {len(history['loss'])} epochs, loss {history['loss'][-1]:.4f}")
    accuracy = net.evaluate(data.X_test, data.y_test)["accuracy"]
    say("test", f"{accuracy:.1%} of {len(data.y_test)} digits that it never saw are right")

    model = os.path.join(folder, "fastprop-demo.safetensors")  # not Path: it would drop the "./"
    net.save(model)
    say("model", model)
    if importlib.util.find_spec("matplotlib"):
        picture = os.path.join(folder, "fastprop-demo.png")
        plot.save(plot.history(history, plot.off_screen()), picture)
        say("loss curve", picture)
    return float(accuracy)


def _digits(seed: int) -> Digits:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = (X / 16.0).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(X))
    n_test = round(TEST_FRACTION * len(X))
    test, train = order[:n_test], order[n_test:]
    return Digits(X[train], y[train], X[test], y[test])


def _train(
    data: Digits, epochs: int, seed: int, n_threads: int | None
) -> tuple[Network, Mapping[str, Sequence[float]]]:
    net = Network(
        [Dense(128, activation="relu"), Dropout(0.2), Dense(64, activation="relu"), Dense(10)],
        loss="cross_entropy",
        optimizer=Adam(lr=1e-3),
        seed=seed,
    )
    net.build(data.X_train.shape[1])
    history = net.fit(
        data.X_train,
        data.y_train,
        epochs=epochs,
        batch_size=32,
        validation_fraction=0.1,
        n_threads=n_threads,
        progress=True if epochs == EPOCHS else "auto",  # of a fit as short as this one "auto" shows nothing
    )
    return net, history
