"""Update rules: one small class each, with PyTorch's formulas and defaults.

`update(w, g, slots, lr, t)` takes weights, their gradient and `n_slots` numbers of state for each, and gives new
weights and new state. `clock(t)`, if there is one, is computed in float64 once an update, t = 1, 2, ...; its result is
what `update` then receives as t. `weight_decay` adds weight_decay w to the gradient, but for AdamW.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import numpy as np

from .components import Registry


class RuleRegistry(Registry):
    """Update rules by name; checks `n_slots` and `clock`."""

    def register(self, cls: type) -> type:
        fields = getattr(cls, "_fields", inspect.get_annotations(cls))
        n_slots = getattr(cls, "n_slots", None)
        if "n_slots" in fields or isinstance(n_slots, bool) or not isinstance(n_slots, int) or n_slots < 0:
            raise TypeError(
                f"optimizer {cls.__name__} needs the number of states that a weight has as a class attribute "
                f"without a type: n_slots = 1; got {n_slots!r}"
            )
        clock = getattr(cls, "clock", None)
        if clock is not None and tuple(inspect.signature(clock).parameters) != ("self", "t"):
            raise TypeError(f"optimizer {cls.__name__}: clock must take (self, t)")
        return super().register(cls)


RULES = RuleRegistry("optimizer", {"update": ("w", "g", "slots", "lr", "t")})
rule = RULES.register


@rule
class Sgd(NamedTuple):
    """w - lr g."""

    weight_decay: float = 0.0
    n_slots = 0

    def update(self, w, g, slots, lr, t):
        return w - lr * (g + self.weight_decay * w), slots


@rule
class Momentum(NamedTuple):
    """v = momentum v + g; w - lr v."""

    momentum: float = 0.9
    weight_decay: float = 0.0
    n_slots = 1

    def update(self, w, g, slots, lr, t):
        v = self.momentum * slots[0] + (g + self.weight_decay * w)
        return w - lr * v, (v,)


@rule
class Nesterov(NamedTuple):
    """v = momentum v + g; w - lr (g + momentum v)."""

    momentum: float = 0.9
    weight_decay: float = 0.0
    n_slots = 1

    def update(self, w, g, slots, lr, t):
        d = g + self.weight_decay * w
        v = self.momentum * slots[0] + d
        return w - lr * (d + self.momentum * v), (v,)


@rule
class Rmsprop(NamedTuple):
    """v = alpha v + (1 - alpha) g^2; w - lr g / (sqrt v + eps). Hinton 2012, lecture 6e."""

    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    n_slots = 1

    def update(self, w, g, slots, lr, t):
        d = g + self.weight_decay * w
        v = self.alpha * slots[0] + (1.0 - self.alpha) * (d * d)
        return w - lr * d / (np.sqrt(v) + self.eps), (v,)


@rule
class Adagrad(NamedTuple):
    """v = v + g^2; w - lr / (1 + (t - 1) lr_decay) g / (sqrt v + eps). Duchi et al. 2011."""

    eps: float = 1e-10
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    n_slots = 1

    def clock(self, t):
        return 1.0 / (1.0 + (t - 1.0) * self.lr_decay)

    def update(self, w, g, slots, lr, t):
        d = g + self.weight_decay * w
        v = slots[0] + d * d
        return w - (lr * t) * d / (np.sqrt(v) + self.eps), (v,)


@rule
class Adam(NamedTuple):
    """m, v: running means of g and g^2, corrected for their start at 0; w - lr m / (sqrt v + eps).

    Kingma and Ba 2014, algorithm 1.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    n_slots = 2

    def clock(self, t):
        return 1.0 / (1.0 - self.beta1**t), 1.0 / np.sqrt(1.0 - self.beta2**t)

    def update(self, w, g, slots, lr, t):
        d = g + self.weight_decay * w
        m = self.beta1 * slots[0] + (1.0 - self.beta1) * d
        v = self.beta2 * slots[1] + (1.0 - self.beta2) * (d * d)
        return w - (lr * t[0]) * m / (np.sqrt(v) * t[1] + self.eps), (m, v)


@rule
class Adamw(NamedTuple):
    """Adam with the decay taken from the weights: w (1 - lr weight_decay). Loshchilov and Hutter 2017."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    n_slots = 2

    def clock(self, t):
        return 1.0 / (1.0 - self.beta1**t), 1.0 / np.sqrt(1.0 - self.beta2**t)

    def update(self, w, g, slots, lr, t):
        m = self.beta1 * slots[0] + (1.0 - self.beta1) * g
        v = self.beta2 * slots[1] + (1.0 - self.beta2) * (g * g)
        decayed = w - (lr * self.weight_decay) * w  # not w * (1 - ...): in float32 that would round the decay itself
        return decayed - (lr * t[0]) * m / (np.sqrt(v) * t[1] + self.eps), (m, v)


# ---- what stands in a rule's place ----------------------------------------------------------------------------------


class Accumulate(NamedTuple):
    """Not a rule: adds the gradient to the one that is stored, and leaves the parameters alone."""

    n_slots = 1
    component_kind = "optimizer"

    def update(self, w, g, slots, lr, t):
        return w, (slots[0] + g,)


class Penalised(NamedTuple):
    """Marks a kernel of updates that also knows l1, l2 and clip_value: most networks need not compile those."""
