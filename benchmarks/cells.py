"""What is trained in the comparison: networks, data, initial weights, and the loss that tells what was learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Pairs = list[tuple[np.ndarray, np.ndarray]]  # (W, b) of each layer, W of shape (n_in, n_out)


@dataclass(frozen=True)
class Cell:
    """One training problem: logistic loss for one output, softmax cross-entropy for more; float32.

    Attributes
    ----------
    widths : tuple of int
        Features, hidden units, outputs.
    batch : int
    n_rows : int
        Rows of an epoch for peers that are compiled.
    n_few : int
        Rows of an epoch for peers that dispatch each step, and of the check that all learn the same.
    epochs : int
        Epochs that one timing takes: more than one where an epoch is a single step.
    activation : "relu" or "tanh"
    optimizer : "momentum", "sgd" or "adam"
        SGD with lr 0.01 and momentum 0.9, the same without momentum, or Adam with lr 0.001.
    """

    widths: tuple[int, ...]
    batch: int
    n_rows: int
    n_few: int
    epochs: int = 1
    activation: str = "relu"
    optimizer: str = "momentum"

    @property
    def name(self) -> str:
        """Such as "28-64-64-1, batch 32"."""
        kind = "" if self.activation == "relu" else f" {self.activation}"
        optimizer = {"momentum": "", "sgd": ", plain SGD", "adam": ", Adam"}[self.optimizer]
        batch = f"full batch {self.batch:,}" if self.is_full_batch else f"batch {self.batch}"
        return f"{'-'.join(map(str, self.widths))}{kind}, {batch}{optimizer}"

    @property
    def is_full_batch(self) -> bool:
        """Whether an epoch is one step."""
        return self.batch == self.n_rows

    @property
    def is_linear(self) -> bool:
        """Whether there is no hidden layer."""
        return len(self.widths) == 2

    @property
    def momentum(self) -> float:
        """Of SGD."""
        return 0.9 if self.optimizer == "momentum" else 0.0

    @property
    def is_binary(self) -> bool:
        """Whether the loss is the logistic one."""
        return self.widths[-1] == 1

    @property
    def flops(self) -> int:
        """Multiplications and additions of a step's matrix products."""
        products = [n_in * n_out for n_in, n_out in zip(self.widths, self.widths[1:], strict=False)]
        return 2 * self.batch * (3 * sum(products) - products[0])  # nobody asks for the error of X

    def n_steps(self, n_rows: int) -> int:
        """Steps of an epoch over `n_rows` rows."""
        return -(-n_rows // self.batch)


CELLS = {
    "tiny-1": Cell((2, 16, 1), 1, 200_000, 500),
    "table-1": Cell((28, 64, 64, 1), 1, 50_000, 500),
    "table-32": Cell((28, 64, 64, 1), 32, 96_000, 9_600),
    "table-256": Cell((28, 64, 64, 1), 256, 204_800, 25_600),
    "mnist-32": Cell((784, 128, 10), 32, 19_200, 4_800),
    "mnist-128": Cell((784, 128, 10), 128, 57_600, 9_600),
    "wide-128": Cell((784, 512, 512, 10), 128, 19_200, 2_560),
    "linear-28": Cell((28, 1), 1, 200_000, 500, optimizer="sgd"),
    "linear-784": Cell((784, 1), 1, 19_200, 500, optimizer="sgd"),
    "full": Cell((4, 32, 16, 4), 10_000, 10_000, 10_000, 20, "tanh", "adam"),
}


class Data(NamedTuple):
    """Rows, classes as integers, and the same for the peers that time fewer rows."""

    X: np.ndarray
    y: np.ndarray
    X_few: np.ndarray
    y_few: np.ndarray


def make_data(cell: Cell) -> Data:
    """Normal features; the class is the largest of as many linear functions as there are outputs."""
    rng = np.random.default_rng(0)
    n_in, n_out = cell.widths[0], cell.widths[-1]
    X = rng.standard_normal((cell.n_rows, n_in), np.float32)
    scores = X @ rng.standard_normal((n_in, n_out), np.float32)
    y = (scores[:, 0] > 0).astype(np.int64) if cell.is_binary else scores.argmax(axis=1)
    return Data(X, y, X[: cell.n_few], y[: cell.n_few])


def initial_weights(cell: Cell) -> Pairs:
    """Weights of variance 2 / n_in, biases of zero: what all peers start from."""
    rng = np.random.default_rng(1)
    pairs = zip(cell.widths, cell.widths[1:], strict=False)
    return [
        ((rng.standard_normal((n_in, n_out)) * np.sqrt(2.0 / n_in)).astype(np.float32), np.zeros(n_out, np.float32))
        for n_in, n_out in pairs
    ]


def loss_of(cell: Cell, weights: Pairs, X: np.ndarray, y: np.ndarray) -> float:
    """The mean loss in float64, by the same plain code for every peer."""
    a = X.astype(np.float64)
    for W, b in weights[:-1]:
        z = a @ W.astype(np.float64) + b
        a = np.tanh(z) if cell.activation == "tanh" else np.maximum(z, 0.0)
    W, b = weights[-1]
    z = a @ W.astype(np.float64) + b
    if cell.is_binary:
        return float(np.mean(np.logaddexp(0.0, z[:, 0]) - y * z[:, 0]))
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-np.mean(log_p[np.arange(len(y)), y]))
