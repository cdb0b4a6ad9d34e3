"""The peers: each trains a cell's network its own best way, behind the same four methods.

A library is imported when its contestant is made, so that one that is missing costs only its own column.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from cells import Cell, Data, Pairs

LR, MOMENTUM = 0.01, 0.9
ADAM_LR, BETA_1, BETA_2, EPS = 1e-3, 0.9, 0.999, 1e-8


class Contestant:
    """Trains one cell.

    Attributes
    ----------
    name : str
        As on the command line.
    title : str
        As in the table.
    dispatches : bool
        Whether every step goes through Python: such a peer is timed on fewer rows.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    dispatches: ClassVar[bool] = False

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        self.cell = cell
        self.few, self.all = (data.X_few, data.y_few), (data.X, data.y)
        self.n_threads = n_threads
        self._rng = np.random.default_rng(2)

    def set_weights(self, weights: Pairs) -> None:
        """Start anew from these."""
        raise NotImplementedError

    def weights(self) -> Pairs:
        """The weights now."""
        raise NotImplementedError

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        """Train on few rows or on all, in random order or in theirs; by default the cell's own number of epochs."""
        raise NotImplementedError

    def _orders(self, n_rows: int, shuffle: bool, epochs: int | None) -> list[np.ndarray]:
        """An order of rows for each epoch. Where the batch is full, order does not matter and nobody shuffles."""
        n_epochs = epochs or self.cell.epochs
        if not shuffle or self.cell.is_full_batch:
            return [np.arange(n_rows)] * n_epochs
        return [self._rng.permutation(n_rows) for _ in range(n_epochs)]


class Fastprop(Contestant):
    """`Network.fit`, as a user calls it."""

    name, title = "fastprop", "fastprop"

    def set_weights(self, weights: Pairs) -> None:
        import fastprop as fp

        cell = self.cell
        hidden = [fp.Dense(n, activation=cell.activation) for n in cell.widths[1:-1]]
        optimizer = fp.SGD(lr=LR, momentum=MOMENTUM) if cell.optimizer == "momentum" else fp.Adam(lr=ADAM_LR)
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


class Jax(Contestant):
    """One `jit` for all epochs: `lax.scan` over the steps, rows gathered inside, buffers donated."""

    name, title = "jax", "JAX scan"

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        super().__init__(cell, data, n_threads)
        import jax
        import jax.numpy as jnp

        self.few, self.all = ((jnp.asarray(X), jnp.asarray(y, jnp.int32)) for X, y in (self.few, self.all))
        self._epoch = jax.jit(self._scan, donate_argnums=(0,))

    def _loss(self, weights: Any, x: Any, y: Any) -> Any:
        import jax
        import jax.numpy as jnp

        act = jnp.tanh if self.cell.activation == "tanh" else jax.nn.relu
        for W, b in weights[:-1]:
            x = act(x @ W + b)
        z = x @ weights[-1][0] + weights[-1][1]
        if self.cell.is_binary:
            return jnp.mean(jnp.logaddexp(0.0, z[:, 0]) - y * z[:, 0])
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    def _update(self, state: Any, g: Any) -> Any:
        """The rule on (weights, first slot, second slot, count of updates)."""
        import jax
        import jax.numpy as jnp

        weights, m, v, t = state
        t = t + 1.0
        if self.cell.optimizer == "momentum":
            m = jax.tree.map(lambda m, g: MOMENTUM * m + g, m, g)
            return jax.tree.map(lambda w, m: w - LR * m, weights, m), m, v, t
        m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, g)
        rate, scale = ADAM_LR / (1 - BETA_1**t), 1 / jnp.sqrt(1 - BETA_2**t)
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) * scale + EPS), weights, m, v)
        return weights, m, v, t

    def _scan(self, state: Any, X: Any, y: Any, order: Any) -> Any:
        import jax

        def step(state: Any, rows: Any) -> Any:
            x, target = (X, y) if self.cell.is_full_batch else (X[rows], y[rows])
            loss, g = jax.value_and_grad(self._loss)(state[0], x, target)
            return self._update(state, g), loss

        return jax.lax.scan(step, state, order)

    def set_weights(self, weights: Pairs) -> None:
        import jax
        import jax.numpy as jnp

        start = [(jnp.array(W), jnp.array(b)) for W, b in weights]
        self.state = start, jax.tree.map(jnp.zeros_like, start), jax.tree.map(jnp.zeros_like, start), jnp.float32(0)

    def weights(self) -> Pairs:
        return [(np.asarray(W), np.asarray(b)) for W, b in self.state[0]]

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        import jax

        X, y = self.few if few else self.all
        if self.cell.is_full_batch:
            order = np.zeros((epochs or self.cell.epochs, 1), np.int32)  # only its length counts
        else:
            order = np.concatenate(self._orders(len(X), shuffle, epochs)).astype(np.int32).reshape(-1, self.cell.batch)
        self.state, losses = self._epoch(self.state, X, y, order)
        jax.block_until_ready((self.state, losses))


class Torch(Contestant):
    """Eager PyTorch: rows by index, `foreach` optimizers."""

    name, title, dispatches = "torch", "PyTorch eager", True

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        super().__init__(cell, data, n_threads)
        import torch

        torch.set_num_threads(n_threads)
        self.few, self.all = (
            (torch.from_numpy(X), torch.from_numpy(y).float()[:, None] if cell.is_binary else torch.from_numpy(y))
            for X, y in (self.few, self.all)
        )

    def set_weights(self, weights: Pairs) -> None:
        import torch

        layers: list[Any] = []
        for W, b in weights:
            layer = torch.nn.Linear(*W.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(W.T.copy()))
                layer.bias.copy_(torch.from_numpy(b))
            layers += [layer, torch.nn.Tanh() if self.cell.activation == "tanh" else torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.loss = torch.nn.BCEWithLogitsLoss() if self.cell.is_binary else torch.nn.CrossEntropyLoss()
        if self.cell.optimizer == "momentum":
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM, foreach=True)
        else:
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=ADAM_LR, foreach=True)

    def weights(self) -> Pairs:
        layers = [layer for layer in self.model if hasattr(layer, "weight")]
        return [(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in layers]

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        import torch

        X, y = self.few if few else self.all
        for order in self._orders(len(X), shuffle, epochs):
            rows = torch.from_numpy(order)
            for first in range(0, len(X), self.cell.batch):
                at = rows[first : first + self.cell.batch]
                x, target = (X, y) if self.cell.is_full_batch else (X[at], y[at])
                self.optimizer.zero_grad(set_to_none=True)
                self.loss(self.model(x), target).backward()
                self.optimizer.step()


class Sklearn(Contestant):
    """`MLPClassifier.partial_fit`, which takes one pass over its rows."""

    name, title, dispatches = "sklearn", "scikit-learn", True

    def set_weights(self, weights: Pairs) -> None:
        from sklearn.neural_network import MLPClassifier

        cell = self.cell
        solver: dict[str, Any] = {"solver": "adam", "learning_rate_init": ADAM_LR}
        if cell.optimizer == "momentum":
            solver = {"solver": "sgd", "learning_rate_init": LR, "momentum": MOMENTUM, "nesterovs_momentum": False}
        options = {"activation": cell.activation, "alpha": 0.0, "batch_size": cell.batch, **solver}
        self.model = MLPClassifier(cell.widths[1:-1], **options)
        X, y = self.few
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a batch larger than these few rows
            self.model.partial_fit(X[:2], y[:2], classes=np.arange(max(2, cell.widths[-1])))
        for k, (W, b) in enumerate(weights):
            self.model.coefs_[k], self.model.intercepts_[k] = W.copy(), b.copy()
        del self.model._optimizer  # what the two rows left; the next call makes a new one

    def weights(self) -> Pairs:
        return [(W.copy(), b.copy()) for W, b in zip(self.model.coefs_, self.model.intercepts_, strict=True)]

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        X, y = self.few if few else self.all
        self.model.set_params(shuffle=shuffle and not self.cell.is_full_batch)
        for _ in range(epochs or self.cell.epochs):
            self.model.partial_fit(X, y)


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
            if self.cell.optimizer == "momentum":
                m *= MOMENTUM
                m += g
                p -= LR * m
            else:
                m += (1 - BETA_1) * (g - m)
                v += (1 - BETA_2) * (g * g - v)
                p -= ADAM_LR / (1 - BETA_1**self.t) * m / (np.sqrt(v / (1 - BETA_2**self.t)) + EPS)


CONTESTANTS: dict[str, type[Contestant]] = {c.name: c for c in (Fastprop, Jax, Torch, Sklearn, Numpy)}
