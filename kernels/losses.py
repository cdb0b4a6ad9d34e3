"""Losses: one small class each, its value and its gradient with respect to the raw output p of the network.

The link (sigmoid, exp, softmax) is inside the loss. Where a loss has a corner, the gradient there is a subgradient; a
NaN in y or p stays a NaN. Besides its formulas a loss says, as class attributes, how it is used:

averages : bool, default True
    The mean over outputs is taken, not the sum.
target_low : float, default 0.0
    What the lower of two labels becomes; the upper becomes 1.
task : {"regression", "binary", "classes"}, default "regression"
    What y may be: numbers, two labels (or one yes-or-no for each output), or one of several classes.
across_outputs : bool, default False
    One output's loss depends on the others. Such a loss has no `value` and `gradient`; it has a row kernel instead.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import numpy as np

from .components import Registry
from .functions import sigmoid, softplus

TASKS = ("regression", "binary", "classes")
OPTIONS = {"averages": True, "target_low": 0.0, "task": "regression", "across_outputs": False}


class LossRegistry(Registry):
    """Losses by name; fills in and checks the class attributes that say how a loss is used."""

    def register(self, cls: type) -> type:
        check_options(cls)
        made = super().register(cls)
        for name, default in OPTIONS.items():
            setattr(made, name, getattr(made, name, default))
        return made

    def _check_methods(self, cls: type) -> None:
        if not getattr(cls, "across_outputs", False):
            super()._check_methods(cls)


def check_options(cls: type) -> None:
    """Raise TypeError or ValueError if a class attribute of a loss is of no use."""
    fields = getattr(cls, "_fields", inspect.get_annotations(cls))
    for name, default in OPTIONS.items():
        if name in fields:
            raise TypeError(f"loss {cls.__name__}: write {name} = ... without a type; it is no setting of the formula")
        got = getattr(cls, name, default)
        number = isinstance(default, float) and isinstance(got, int) and not isinstance(got, bool)
        if not (number or isinstance(got, type(default))):
            raise TypeError(f"loss {cls.__name__}: {name} must be a {type(default).__name__}, got {got!r}")
    task = getattr(cls, "task", "regression")
    if task not in TASKS:
        raise ValueError(f"loss {cls.__name__}: task must be one of {', '.join(TASKS)}, got {task!r}")


LOSSES = LossRegistry("loss", {"value": ("y", "p"), "gradient": ("y", "p")})
loss = LOSSES.register


@loss
class Mse(NamedTuple):
    """(p - y)^2."""

    def value(self, y, p):
        return (p - y) * (p - y)

    def gradient(self, y, p):
        return 2.0 * (p - y)


@loss
class SquaredError(NamedTuple):
    """(p - y)^2 / 2, summed over outputs."""

    averages = False

    def value(self, y, p):
        return 0.5 * (p - y) * (p - y)

    def gradient(self, y, p):
        return p - y


@loss
class Mae(NamedTuple):
    """|p - y|; gradient 0 at 0."""

    def value(self, y, p):
        return abs(p - y)

    def gradient(self, y, p):
        return np.sign(p - y)


@loss
class Huber(NamedTuple):
    """(p - y)^2 / 2 up to |p - y| = delta > 0, a line of slope delta beyond. Huber 1964."""

    delta: float = 1.0

    def value(self, y, p):
        r = abs(p - y)
        k = min(r, self.delta)
        return k * (r - 0.5 * k)

    def gradient(self, y, p):
        return min(max(p - y, -self.delta), self.delta)


@loss
class Quantile(NamedTuple):
    """q (y - p) if p < y, else (1 - q) (p - y): least at the q-quantile of y, 0 < q < 1. Gradient 0 at 0."""

    q: float = 0.5

    def value(self, y, p):
        r = p - y
        return np.where(r > 0.0, (1.0 - self.q) * r, -self.q * r)

    def gradient(self, y, p):
        r = p - y
        return np.where(r > 0.0, 1.0 - self.q, np.where(r < 0.0, -self.q, r))


@loss
class Poisson(NamedTuple):
    """exp(p) - y p: minus the log-likelihood of a count y of mean exp(p), without the terms in y alone."""

    def value(self, y, p):
        return np.exp(p) - y * p

    def gradient(self, y, p):
        return np.exp(p) - y


@loss
class Bce(NamedTuple):
    """-y log s - (1 - y) log(1 - s), s = sigmoid(p), 0 <= y <= 1."""

    task = "binary"

    def value(self, y, p):
        # log(1 + exp p) - y p; this order keeps a small loss exact where p is large and y agrees
        return (max(p, 0.0) - y * p) + softplus(-abs(p))

    def gradient(self, y, p):
        return sigmoid(p) - y


@loss
class Hinge(NamedTuple):
    """max(1 - y p, 0), y in {-1, 1}."""

    task = "binary"
    target_low = -1.0

    def value(self, y, p):
        return max(1.0 - y * p, 0.0)

    def gradient(self, y, p):
        m = 1.0 - y * p
        return np.where(m >= 0.0, -y, 0.0 * m)


@loss
class SquaredHinge(NamedTuple):
    """max(1 - y p, 0)^2, y in {-1, 1}."""

    task = "binary"
    target_low = -1.0

    def value(self, y, p):
        m = max(1.0 - y * p, 0.0)
        return m * m

    def gradient(self, y, p):
        return -2.0 * y * max(1.0 - y * p, 0.0)


@loss
class ModifiedHuber(NamedTuple):
    """max(1 - y p, 0)^2 for y p >= -1, -4 y p beyond, y in {-1, 1}. Zhang 2004."""

    task = "binary"
    target_low = -1.0

    def value(self, y, p):
        m = max(1.0 - y * p, 0.0)
        k = min(m, 2.0)
        return k * (2.0 * m - k)

    def gradient(self, y, p):
        return -2.0 * y * min(max(1.0 - y * p, 0.0), 2.0)


@loss
class CrossEntropy(NamedTuple):
    """-sum_k t_k log softmax(p)_k over the outputs of a row, t the target smoothed by label_smoothing.

    t = (1 - label_smoothing) y + label_smoothing / n_outputs for a one-hot or soft y; gradient softmax(p) - t.
    """

    label_smoothing: float = 0.0

    task = "classes"
    averages = False
    across_outputs = True
