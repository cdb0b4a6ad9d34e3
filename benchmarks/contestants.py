"""The contestants: fastprop, the frameworks, scikit-learn, NumPy by hand, and Vowpal Wabbit for linear models."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from cells import Cell, Data, Pairs
from contestant import ADAM_LR, BETA_1, BETA_2, EPS, LR, Contestant
from frameworks import Jax, Torch, TorchCompiled


class Fastprop(Contestant):
    """`Network.fit`, as a user calls it."""

    name, title = "fastprop", "fastprop"

    def set_weights(self, weights: Pairs) -> None:
        import fastprop as fp

        cell = self.cell
        hidden = [fp.Dense(n, activation=cell.activation) for n in cell.widths[1:-1]]
        optimizer = fp.Adam(lr=ADAM_LR) if cell.optimizer == "adam" else fp.SGD(lr=LR, momentum=cell.momentum)
        loss = "bce" if cell.is_binary else "cross_entropy"
        self.net = fp.Network([*hidden, fp.Dense(cell.widths[-1])], loss=loss, optimizer=optimizer)
        self.net.set_weights(weights)

    def weights(self) -> Pairs:
        return self.net.get_weights()

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        X, y = self.few if few else self.all
        batch = None if self.cell.is_full_batch else self.cell.batch
        n_threads = 1 if self.n_threads == 1 else None  # None: its own choice, as by default
        n_epochs = epochs or self.cell.epochs
        self.net.fit(X, y, epochs=n_epochs, batch_size=batch, shuffle=shuffle, n_threads=n_threads, progress=False)


class Sklearn(Contestant):
    """`partial_fit`, one pass over its rows: of `MLPClassifier`, or of `SGDClassifier` for linear models."""

    name, title = "sklearn", "scikit-learn"

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        super().__init__(cell, data, n_threads)
        self.dispatches = not cell.is_linear  # the loop over samples of SGDClassifier is compiled

    def set_weights(self, weights: Pairs) -> None:
        self.model = self._linear() if self.cell.is_linear else self._multilayer()
        X, y = self.few
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a batch larger than these few rows
            self.model.partial_fit(X[:2], y[:2], classes=np.arange(max(2, self.cell.widths[-1])))
        if self.cell.is_linear:
            ((W, b),) = weights
            self.model.coef_[:], self.model.intercept_[:] = W.T, b
            return
        for k, (W, b) in enumerate(weights):
            self.model.coefs_[k], self.model.intercepts_[k] = W.copy(), b.copy()
        del self.model._optimizer  # what the two rows left; the next call makes a new one

    def _linear(self) -> Any:
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(loss="log_loss", penalty=None, alpha=0.0, learning_rate="constant", eta0=LR)

    def _multilayer(self) -> Any:
        from sklearn.neural_network import MLPClassifier

        cell = self.cell
        solver: dict[str, Any] = {"solver": "adam", "learning_rate_init": ADAM_LR}
        if cell.optimizer != "adam":
            solver = {"solver": "sgd", "learning_rate_init": LR, "momentum": cell.momentum, "nesterovs_momentum": False}
        options = {"activation": cell.activation, "alpha": 0.0, "batch_size": cell.batch, **solver}
        return MLPClassifier(cell.widths[1:-1], **options)

    def weights(self) -> Pairs:
        if self.cell.is_linear:
            return [(self.model.coef_.T.copy(), self.model.intercept_.copy())]
        return [(W.copy(), b.copy()) for W, b in zip(self.model.coefs_, self.model.intercepts_, strict=True)]

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        X, y = self.few if few else self.all
        self.model.set_params(shuffle=shuffle and not self.cell.is_full_batch)
        for _ in range(epochs or self.cell.epochs):
            self.model.partial_fit(X, y)


class VowpalWabbit(Contestant):
    """`learn` for one example after the other, by plain SGD: neither adaptive, normalised nor invariant.

    Only learning is timed: the few examples are parsed beforehand, and handed over without the checks of the Python
    wrapper. That takes 0.6 us an example of 28 features and 2.5 of 784; reading its cache file takes 1.0 and 11, in the
    file's order. More examples would take longer (32 KB each: 1.4 us beyond a few thousand), for they leave the caches.
    """

    name, title, dispatches = "vw", "Vowpal Wabbit", True
    OPTIONS = f"--sgd --learning_rate {LR} --power_t 0 --loss_function logistic --quiet --no_stdin --bit_precision 18"
    CONSTANT = 11650396 % 2**18  # where it keeps the bias

    @classmethod
    def suits(cls, cell: Cell) -> bool:
        return cell.is_linear and cell.is_binary and cell.batch == 1

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        super().__init__(cell, data, n_threads)
        from vowpalwabbit import Workspace

        self._model = Workspace(self.OPTIONS)
        self._learn = super(Workspace, self._model).learn
        self._examples = [self._model.example(line) for line in self._lines()]

    def _lines(self) -> list[str]:
        """The few rows in VW's text: a label of -1 or 1, then pairs of index and value."""
        X, y = self.few
        rows = (" ".join(f"{k}:{value:.9g}" for k, value in enumerate(x)) for x in X.tolist())
        return [f"{label} | {row}" for label, row in zip((2 * y - 1).tolist(), rows, strict=True)]

    def set_weights(self, weights: Pairs) -> None:
        ((W, b),) = weights
        for k, w in [*enumerate(W[:, 0].tolist()), (self.CONSTANT, float(b[0]))]:
            self._model.set_weight(k, 0, w)

    def weights(self) -> Pairs:
        W = [[self._model.get_weight(k)] for k in range(self.cell.widths[0])]
        return [(np.array(W), np.array([self._model.get_weight(self.CONSTANT)]))]

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        examples, learn = self._examples, self._learn
        for order in self._orders(len(examples), shuffle, epochs):
            for row in order.tolist():
                learn(examples[row])


class Numpy(Contestant):
    """The loop that people write by hand."""

    name, title, dispatches = "numpy", "NumPy", True

    def set_weights(self, weights: Pairs) -> None:
        self.parameters = [array.copy() for pair in weights for array in pair]  # W, b, W, b, ...
        self.slots = [[np.zeros_like(p) for p in self.parameters] for _ in range(2)]
        self.t = 0

    def weights(self) -> Pairs:
        return list(zip(self.parameters[::2], self.parameters[1::2], strict=True))

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        X, y = self.few if few else self.all
        Y = y[:, None].astype(np.float32) if self.cell.is_binary else np.eye(self.cell.widths[-1], dtype=np.float32)[y]
        with np.errstate(over="ignore"):  # exp(-z) of a certain row: the probability is 0, as it should be
            for order in self._orders(len(X), shuffle, epochs):
                for first in range(0, len(X), self.cell.batch):
                    at = order[first : first + self.cell.batch]
                    self._step(*((X, Y) if self.cell.is_full_batch else (X[at], Y[at])))

    def _step(self, x: np.ndarray, y: np.ndarray) -> None:
        P, is_tanh = self.parameters, self.cell.activation == "tanh"
        a = [x]
        for W, b in zip(P[:-2:2], P[1:-2:2], strict=True):
            z = a[-1] @ W + b
            a.append(np.tanh(z) if is_tanh else np.maximum(z, 0))
        delta = (self._probabilities(a[-1] @ P[-2] + P[-1]) - y) / np.float32(len(x))
        gradients: list[np.ndarray] = []
        for k in range(len(P) - 2, -1, -2):
            gradients[:0] = [a[k // 2].T @ delta, delta.sum(axis=0)]
            if k:
                delta = delta @ P[k].T * (1 - a[k // 2] ** 2 if is_tanh else a[k // 2] > 0)
        self._update(gradients)

    def _probabilities(self, z: np.ndarray) -> np.ndarray:
        if self.cell.is_binary:
            return 1 / (1 + np.exp(-z))
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def _update(self, gradients: list[np.ndarray]) -> None:
        self.t += 1
        for p, m, v, g in zip(self.parameters, *self.slots, gradients, strict=True):
            if self.cell.optimizer == "sgd":
                p -= LR * g
            elif self.cell.optimizer == "momentum":
                m *= self.cell.momentum
                m += g
                p -= LR * m
            else:
                m += (1 - BETA_1) * (g - m)
                v += (1 - BETA_2) * (g * g - v)
                p -= ADAM_LR / (1 - BETA_1**self.t) * m / (np.sqrt(v / (1 - BETA_2**self.t)) + EPS)


CONTESTANTS: dict[str, type[Contestant]] = {
    c.name: c for c in (Fastprop, Jax, TorchCompiled, Torch, Sklearn, Numpy, VowpalWabbit)
}
