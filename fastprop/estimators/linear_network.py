"""mode="minibatch": a linear model as a network of one layer, with an optimizer such as Adam."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import losses
from ..checks import AnyMatrix
from ..layers import Dense
from ..linear import penalty_parts
from ..losses import Loss, loss
from ..network import Network
from ..optimizers import SGD, Adam, Optimizer
from .courses import Stopping
from .inputs import require_finite
from .linear_scores import Array, Judge

AUTO_BATCH = 200  # rows at most of a batch, as scikit-learn's MLPs have it


@loss
class Perceptron(NamedTuple):
    """max(-y p, 0), y in {-1, 1}. Rosenblatt 1958."""

    task = "binary"  # type: ignore[misc]
    target_low = -1.0  # type: ignore[misc]

    def value(self, y, p):  # type: ignore[no-untyped-def]
        return max(-y * p, 0.0)

    def gradient(self, y, p):  # type: ignore[no-untyped-def]
        m = -y * p
        return np.where(m >= 0.0, -y, 0.0 * m)


@loss
class EpsilonInsensitive(NamedTuple):
    """max(|p - y| - epsilon, 0)."""

    epsilon: float = 0.1

    def value(self, y, p):  # type: ignore[no-untyped-def]
        return max(abs(p - y) - self.epsilon, 0.0)

    def gradient(self, y, p):  # type: ignore[no-untyped-def]
        r = p - y
        return np.where(r > self.epsilon, 1.0, np.where(r < -self.epsilon, -1.0, 0.0 * r))


@loss
class SquaredEpsilonInsensitive(NamedTuple):
    """max(|p - y| - epsilon, 0)^2."""

    epsilon: float = 0.1

    def value(self, y, p):  # type: ignore[no-untyped-def]
        m = max(abs(p - y) - self.epsilon, 0.0)
        return m * m

    def gradient(self, y, p):  # type: ignore[no-untyped-def]
        r = p - y
        return 2.0 * (max(r - self.epsilon, 0.0) - max(-r - self.epsilon, 0.0))


def loss_of(name: str, epsilon: float) -> Loss:
    """The network's loss by scikit-learn's name."""
    own: dict[str, Any] = {
        "perceptron": Perceptron,
        "epsilon_insensitive": EpsilonInsensitive,
        "squared_epsilon_insensitive": SquaredEpsilonInsensitive,
        "huber": losses.Huber,
    }
    if name in own:
        made: Loss = own[name]() if name == "perceptron" else own[name](epsilon)
        return made
    return losses.resolve_loss({"log_loss": "bce"}.get(name, name))


def targets_of(loss: Loss, masks: list[Array], dtype: Any) -> Array:
    """What the network learns for classes: their codes, or where it must be numbers a column for each class."""
    if loss.task == "binary" and (loss.is_margin or len(masks) == 2):
        codes = np.zeros(len(masks[0]), np.int64)
        for code, mask in enumerate(masks):
            codes += code * mask
        return codes
    columns = masks[1:] if len(masks) == 2 else masks
    members = np.stack(columns, axis=1).astype(dtype)
    return members if loss.task == "binary" else 2.0 * members - 1.0


def make_network(estimator: Any, loss: Loss, n_outputs: int, seed: int, dtype: str) -> Network:
    """The network of an estimator; its weights are 0 once it is built."""
    optimizer = estimator.solver
    if not isinstance(optimizer, Optimizer):
        scale = n_outputs if loss.averages else 1  # of the loss of one model
        optimizer = Adam(lr=estimator.eta0) if optimizer == "adam" else SGD(lr=estimator.eta0 * scale)
    layers = [Dense(n_outputs, init="zeros", bias=estimator.fit_intercept)]
    return Network(layers, loss=loss, optimizer=optimizer, seed=seed, dtype=dtype)


def start_network(net: Network, estimator: Any, mean_weight: float) -> None:
    """Let the network go on from `_weights` and `_biases`, which may not be what it had; its optimizer goes on."""
    bias = estimator._biases if estimator.fit_intercept else None
    net.set_weights([(np.ascontiguousarray(estimator._weights.T), bias)])
    set_penalties(net, estimator, len(estimator._weights), mean_weight)


def set_penalties(net: Network, estimator: Any, n_outputs: int, mean_weight: float) -> None:
    """Set l1 and l2 to what `alpha` means.

    The objective of one model is the sum of weighted losses over the number of rows, plus the penalty; a network
    divides by the sum of weights, and by the number of outputs if its loss is their mean. The penalty follows.
    """
    divisor = mean_weight * (n_outputs if net.loss.averages else 1)
    l1, l2 = penalty_parts(estimator.penalty, estimator.alpha, estimator.l1_ratio or 0.0)
    net.l1, net.l2 = l1 / divisor, l2 / divisor


def solution_of(net: Network, intercept: Array) -> tuple[Array, Array]:
    """Weights (n_outputs, n_features) and intercepts, which stay what they were if there is no bias."""
    ((W, b),) = net.get_weights()
    return np.ascontiguousarray(W.T), intercept if b is None else b


class Watch:
    """Tells callbacks about epochs, and stops when the objective or the score of rows held out stalls."""

    def __init__(self, stopping: Stopping, judge: Judge | None, max_epochs: int, tasks: Any, solution: Any) -> None:
        self.stopping, self.judge, self.max_epochs = stopping, judge, max_epochs
        self.tasks, self.solution, self.n_epochs = tasks, solution, 0

    def on_epoch_end(self, net: Network, epoch: int, logs: dict[str, float]) -> bool:
        """Called by `Network.fit`."""
        self.n_epochs += 1
        found = self.solution()
        value = logs["loss"] if self.judge is None else -self.judge(found["coef_"], found["intercept_"])
        stops = self.stopping.stalls(value)
        if self.tasks is not None:
            stops |= self.tasks.end_epoch(self.solution)
            if not stops and self.n_epochs < self.max_epochs:
                self.tasks.begin_epoch(self.solution)
        return stops


def train_network(
    estimator: Any, matrix: AnyMatrix, y: Array, sample_weight: Array | None, train: Array | None,
    judge: Judge | None, max_epochs: int, tasks: Any, seed: int,
) -> None:  # fmt: skip
    """Train `estimator.network_`, and set the fitted attributes from it.

    Parameters
    ----------
    estimator : LinearSGD
    y : ndarray
        As the network takes it.
    train : ndarray of int64, optional
        The rows to train on; the others lose their weight.
    judge : callable, optional
        By which to stop in place of the objective.
    """
    n_rows = matrix.n_rows if train is None else len(train)
    if train is not None:
        weights = np.zeros(matrix.n_rows)
        weights[train] = 1.0 if sample_weight is None else sample_weight[train]
        sample_weight = weights
    if estimator.__dict__.get("network_") is None:
        loss, dtype = loss_of(estimator.loss, estimator.epsilon), estimator._weights.dtype.name
        estimator.network_ = make_network(estimator, loss, len(estimator._weights), seed, dtype)
    net, biases = estimator.network_, estimator._biases
    total = n_rows if sample_weight is None else float(sample_weight.sum())
    start_network(net, estimator, total / n_rows or 1.0)  # `fit` refuses weights that are all 0

    def solution() -> dict[str, Any]:
        coef, intercept = solution_of(net, biases)
        t = estimator.t_ + watch.n_epochs * matrix.n_rows
        return dict(estimator._shaped({"n_iter_": watch.n_epochs, "t_": t, "coef_": coef, "intercept_": intercept}))

    watch = Watch(estimator._stopping(), judge, max_epochs, tasks, solution)
    size = min(AUTO_BATCH, matrix.n_rows) if estimator.batch_size == "auto" else estimator.batch_size
    if tasks is not None:
        tasks.begin_epoch(solution)
    try:
        net.fit(
            matrix.array, y, epochs=max_epochs, batch_size=size, shuffle=estimator.shuffle, sample_weight=sample_weight,
            callbacks=watch, n_threads=estimator.n_threads, progress=bool(estimator.verbose),
        )  # fmt: skip
    except ValueError:
        require_finite(estimator, matrix.array)
        raise
    estimator._publish(solution())
