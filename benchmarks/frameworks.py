"""The frameworks for deep learning: JAX and PyTorch, eager and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from cells import Cell, Data, Pairs
from contestant import ADAM_LR, BETA_1, BETA_2, EPS, LR, CannotRunError, Contestant


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
        if self.cell.optimizer == "sgd":
            return jax.tree.map(lambda w, g: w - LR * g, weights, g), m, v, t
        if self.cell.optimizer == "momentum":
            m = jax.tree.map(lambda m, g: self.cell.momentum * m + g, m, g)
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


def tensors(cell: Cell, X: np.ndarray, y: np.ndarray, n_threads: int) -> tuple[Any, Any]:
    """Rows and targets for PyTorch, which is told its number of threads."""
    import torch

    torch.set_num_threads(n_threads)
    return torch.from_numpy(X), torch.from_numpy(y).float()[:, None] if cell.is_binary else torch.from_numpy(y)


class Torch(Contestant):
    """Eager PyTorch: rows by index, `foreach` optimizers."""

    name, title, dispatches = "torch", "PyTorch eager", True

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        super().__init__(cell, data, n_threads)
        self.few, self.all = (tensors(cell, *rows, n_threads) for rows in (self.few, self.all))

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
        parameters = self.model.parameters()
        if self.cell.optimizer == "adam":
            self.optimizer: Any = torch.optim.Adam(parameters, lr=ADAM_LR, foreach=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=LR, momentum=self.cell.momentum, foreach=True)

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


class TorchCompiled(Contestant):
    """The whole step (gather, loss, gradient by `torch.func`, update in place) as one function of `torch.compile`."""

    name, title, dispatches = "torch_compiled", "PyTorch compiled", True

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        super().__init__(cell, data, n_threads)
        import torch

        self.few, self.all = (tensors(cell, *rows, n_threads) for rows in (self.few, self.all))
        # The limit of specialisations is for one piece of code: without a reset the cells of a run add up to it.
        torch.compiler.reset()
        self._compiled = torch.compile(self._step, fullgraph=True, dynamic=False)

    def _loss(self, weights: Any, x: Any, y: Any) -> Any:
        import torch

        act = torch.tanh if self.cell.activation == "tanh" else torch.relu
        for W, b in weights[:-1]:
            x = act(x @ W + b)
        z = x @ weights[-1][0] + weights[-1][1]
        if self.cell.is_binary:
            return torch.nn.functional.binary_cross_entropy_with_logits(z, y)
        return torch.nn.functional.cross_entropy(z, y)

    def _step(self, weights: Any, slots: Any, t: Any, X: Any, y: Any, rows: Any) -> None:
        """Write weights, slots (two of each parameter's shape) and t, the count of updates as a tensor."""
        import torch

        x, target = (X, y) if self.cell.is_full_batch else (X[rows], y[rows])
        gradients = torch.func.grad(self._loss)(weights, x, target)
        t += 1
        for pair, pair_slots, pair_gradients in zip(weights, slots, gradients, strict=True):
            for w, (m, v), g in zip(pair, pair_slots, pair_gradients, strict=True):
                self._update(w, m, v, g, t)

    def _update(self, w: Any, m: Any, v: Any, g: Any, t: Any) -> None:
        if self.cell.optimizer == "sgd":
            w -= LR * g
        elif self.cell.optimizer == "momentum":
            m.mul_(self.cell.momentum).add_(g)
            w -= LR * m
        else:
            m.mul_(BETA_1).add_((1 - BETA_1) * g)
            v.mul_(BETA_2).add_((1 - BETA_2) * g * g)
            w -= ADAM_LR / (1 - BETA_1**t) * m / ((v / (1 - BETA_2**t)).sqrt() + EPS)

    def set_weights(self, weights: Pairs) -> None:
        self._start(weights)
        try:
            self.train(few=True, epochs=1)  # compiles
        except Exception as error:
            raise CannotRunError(f"torch.compile failed: {str(error).strip().splitlines()[0]}") from error
        self._start(weights)

    def _start(self, weights: Pairs) -> None:
        import torch

        self._weights = [[torch.tensor(p) for p in pair] for pair in weights]
        self._slots = [[(torch.zeros_like(p), torch.zeros_like(p)) for p in pair] for pair in self._weights]
        self._t = torch.zeros(())

    def weights(self) -> Pairs:
        return [(W.numpy().copy(), b.numpy().copy()) for W, b in self._weights]

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        import torch

        X, y = self.few if few else self.all
        for order in self._orders(len(X), shuffle, epochs):
            rows = torch.from_numpy(order)
            for first in range(0, len(X), self.cell.batch):
                at = rows[first : first + self.cell.batch]
                self._compiled(self._weights, self._slots, self._t, X, y, at)
