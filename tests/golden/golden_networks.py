"""The networks of a golden set: each kind of layer, loss, optimizer, schedule and label at least once."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fastprop as fp
from fastprop import losses, schedules

N_ROWS, N_FEATURES = 12, 5
RNG = np.random.default_rng(7)
X = np.round(RNG.normal(size=(N_ROWS, N_FEATURES)), 3)
NUMBERS = np.round(X[:, 0] - 2 * X[:, 1] + 0.1 * RNG.normal(size=N_ROWS), 3)
PAIRS = np.column_stack([NUMBERS, -(NUMBERS**2)])
THREE = np.arange(N_ROWS) % 3
SMOOTH = ["elu", "gelu", "identity", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh", "x_tanh"]
CORNERS = ["hard_tanh", "leaky_relu", "relu"]


# ---- what a user would write: their names are in the files ---------------------------------------------------------


@fp.activation
class GoldenCube:
    scale: float = 0.5

    def value(self, z):
        return self.scale * z * z * z

    def derivative(self, z, a):
        return 3.0 * self.scale * z * z


@fp.loss
class GoldenLogCosh:
    def value(self, y, p):
        return np.log1p((p - y) * (p - y))

    def gradient(self, y, p):
        return 2.0 * (p - y) / (1.0 + (p - y) * (p - y))


@fp.optimizer
class GoldenSign:
    n_slots = 1
    beta: float = 0.9

    def update(self, w, g, slots, lr, t):
        m = self.beta * slots[0] + (1.0 - self.beta) * g
        return w - lr * m, (m,)


def golden_rate(update: int) -> float:
    """A schedule that is a plain function."""
    return 0.1 / (1 + update)


CUSTOM = {
    "golden_cube": GoldenCube, "golden_log_cosh": GoldenLogCosh, "golden_sign": GoldenSign, "golden_rate": golden_rate,
}  # fmt: skip

# ---- the set --------------------------------------------------------------------------------------------------------


def trained(layers: list[fp.Dense], loss: Any, optimizer: Any, y: Any, **settings: Any) -> fp.Network:
    net = fp.Network(layers, loss, optimizer, **{"dtype": "float64", "seed": 3, **settings})
    net.fit(X, y, epochs=3, batch_size=4, progress=False)
    return net


def estimator(made: Any, y: Any) -> fp.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made.fit(X, y).network_


def layers_of_all_kinds(activations: list[str], n_out: int) -> list[Any]:
    inner = [fp.Dense(4, "tanh"), fp.Dropout(0.25), fp.LayerNorm(eps=1e-4), fp.Residual([fp.Dense(4, bias=False)])]
    hidden = [fp.Dense(3, name) for name in activations]
    return [*hidden, fp.Dense(4, fp.kernels.activations.LeakyRelu(0.2)), fp.BatchNorm(0.3), fp.Residual(inner),
            fp.Dense(n_out, init=fp.init.Normal(0.3), bias_init=np.ones(n_out))]  # fmt: skip


def small(n_out: int = 1, hidden: Any = "tanh", last: str = "identity") -> list[Any]:
    return [fp.Dense(4, hidden), fp.Dense(n_out, last)]


NETWORKS: dict[str, Callable[[], fp.Network]] = {
    "smooth": lambda: trained(layers_of_all_kinds(SMOOTH, 2), "mse", fp.Adam(schedules.Constant(0.01)), PAIRS),
    "corners": lambda: trained(
        layers_of_all_kinds(CORNERS, 1), losses.Huber(0.7), fp.AdamW(schedules.Step(0.01, 2, 0.5)), NUMBERS, l1=0.01,
        l2=0.02, clip_norm=1.0, clip_value=0.5,
    ),
    "float32": lambda: trained(small(2), "squared_error", fp.SGD(0.05, 0.9, True, 1e-3), PAIRS, dtype="float32"),
    "quantile": lambda: trained(
        small(2), losses.Quantile(0.2, output_weights=[1, 3]), fp.RMSProp(schedules.Exponential(0.01, 0.9), 0.8), PAIRS
    ),
    "poisson": lambda: trained(small(), "poisson", fp.Adagrad(schedules.Cosine(0.1, 9, 0.01), 0.1), THREE),
    "mae": lambda: trained(small(), "mae", fp.SGD(schedules.OneCycle(0.1, 9)), NUMBERS[:, None]),
    "integers": lambda: trained(
        small(3), losses.CrossEntropy(0.1, output_weights=[1, 2, 3]),
        fp.Adam(schedules.Warmup(schedules.Plateau(0.01, 1), 3)), np.array([-5, 2, 70])[THREE],
    ),
    "strings": lambda: trained(
        small(3, last="softmax"), "cross_entropy", fp.SGD(schedules.InverseScaling(0.1, 0.5)),
        np.array(["no", "yes", "h\u00e9\u2603"])[THREE],
    ),
    "objects": lambda: trained(small(), "hinge", "sgd", np.array(["a", "bc"], dtype=object)[THREE % 2]),
    "booleans": lambda: trained(small(1, last="sigmoid"), "bce", "rmsprop", THREE > 0),
    "floats": lambda: trained(small(3), "squared_hinge", "adagrad", THREE * 0.0 + 1.0 * THREE),
    "days": lambda: trained(
        small(3), "modified_huber", "adamw", np.array(["2024-01-01", "2024-01-02", "2025-03-04"], "M8[D]")[THREE]
    ),
    "multilabel": lambda: trained(small(3), "bce", "adam", (THREE[:, None] == np.arange(3)).astype(float)),
    "custom": lambda: trained(small(1, GoldenCube(0.25)), GoldenLogCosh(), GoldenSign(golden_rate), NUMBERS),
    "mlp_classifier": lambda: estimator(
        fp.MLPClassifier((3,), solver="sgd", max_iter=3, random_state=0), np.array(["r", "g", "b"])[THREE]
    ),
    "mlp_regressor": lambda: estimator(
        fp.MLPRegressor(hidden_layer_sizes=(3, 2), activation="logistic", learning_rate="adaptive", solver="sgd",
        max_iter=3, random_state=0), NUMBERS
    ),
    "sgd_classifier": lambda: estimator(
        fp.SGDClassifier("perceptron", mode="minibatch", max_iter=3, tol=None, random_state=0), THREE
    ),
    "sgd_regressor": lambda: estimator(
        fp.SGDRegressor("epsilon_insensitive", mode="minibatch", epsilon=0.2, max_iter=3, tol=None,
        random_state=0), NUMBERS
    ),
}  # fmt: skip

# ---- a run that is stopped in the middle of an epoch ---------------------------------------------------------------

FIT = {"epochs": 12, "batch_size": 3, "early_stopping": 6, "progress": False}


class Stop:
    """A callback that ends a fit after so many updates, as the user's Ctrl+C does."""

    every = 1

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def on_step(self, net: fp.Network, step: int, logs: Any) -> None:
        if step == self.updates:
            raise KeyboardInterrupt


def stopped_run() -> fp.Network:
    """In the seventh epoch of four updates, after a worse one: Adam, Plateau and early stopping have a state."""
    rate = schedules.Plateau(0.1, patience=0, factor=0.5)
    layers = [fp.Dense(4, "tanh"), fp.BatchNorm(), fp.Dropout(0.25), fp.Dense(1)]
    net = fp.Network(layers, "mse", fp.Adam(rate), l2=0.01, dtype="float64", seed=3)
    with contextlib.suppress(KeyboardInterrupt):
        net.fit(X, NUMBERS, X_val=X[:4], y_val=NUMBERS[:4], callbacks=[Stop(26)], **FIT)
    return net


EXTRA = {"note": "snow \u2603", "numbers": [1, 2.5, -1e300, None, True], "nested": {"": {"a": []}}}

TABLE = "size,place,mood,price\n" + "".join(
    f"{size},{place},{mood},{price}\n"
    for size, place, mood, price in [
        (1.5, "north", "good", 10), (2.5, "south", "", 21), ("", "north", "bad", 13.5), (4, "", "good", 44),
        (5.25, "south", "bad", 48), (6, '"\u00e9ast, far"', "good", 61), (7, "south", "good", 73),
        (8, "north", "bad", 77.5),
    ] * 3
)  # fmt: skip
TABLES = {"regression": "price", "classification": "mood"}
