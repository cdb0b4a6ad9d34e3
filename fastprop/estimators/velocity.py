"""scikit-learn's momentum: the rate is inside the velocity, so that another rate leaves what was gathered as it is.

PyTorch's, which `fp.SGD` has, multiplies the whole velocity with the rate of the moment. At one rate both are the same;
under `learning_rate="invscaling"` the first epoch would end with a velocity divided by 30 for 1,000 samples.
"""

from __future__ import annotations

from ..optimizers import SGD, Optimizer, optimizer


@optimizer
class Velocity:
    """v = momentum v - lr g; w + v."""

    momentum: float = 0.9
    n_slots = 1

    def update(self, w, g, slots, lr, t):  # type: ignore[no-untyped-def]
        v = self.momentum * slots[0] - lr * g
        return w + v, (v,)


@optimizer
class NesterovVelocity:
    """v = momentum v - lr g; w + momentum v - lr g."""

    momentum: float = 0.9
    n_slots = 1

    def update(self, w, g, slots, lr, t):  # type: ignore[no-untyped-def]
        v = self.momentum * slots[0] - lr * g
        return w + (self.momentum * v - lr * g), (v,)


def sgd(lr: object, momentum: float, nesterov: bool) -> Optimizer:
    """The rule of `solver="sgd"`."""
    if not momentum:
        return SGD(lr)
    kind: type[Optimizer] = NesterovVelocity if nesterov else Velocity  # type: ignore[assignment]
    return kind(lr, momentum=float(momentum))
