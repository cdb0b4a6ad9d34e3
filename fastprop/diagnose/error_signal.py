"""The error signal on its way back through a network: how much of it arrives where, and who changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .flow import LayerFlow

VANISHED = 0.01  # of the error that the loss sends: a layer that gets less hardly learns
EXPLODED = 100.0
MANY = 0.5  # a share of dead or saturated units that is worth a word
MOST = 0.5  # of a fall, on a logarithmic scale: who does so much is to blame for it
ENOUGH_ROWS = 10  # that a unit is 0 for fewer samples says nothing
NOTHING = 1e-300  # what a signal of exactly zero counts as, for its logarithm


def trunk(layers: Sequence[LayerFlow]) -> list[LayerFlow]:
    """The Dense layers on the way through the network; of a residual block that with the largest error signal.

    The skip carries the signal past a block: one whose last layer starts from zeros, as it may, starves nobody else.
    """
    found: dict[str, LayerFlow] = {}
    for layer in layers:
        place = layer.name.partition(".")[0]
        if layer.kind == "dense" and (place not in found or layer.delta > found[place].delta):
            found[place] = layer
    return list(found.values())


@dataclass(frozen=True)
class Signal:
    """The error signal on its way back through the trunk, and who changes it.

    Attributes
    ----------
    layers : list of LayerFlow
        From the input to the output.
    n_rows : int
        How many samples were looked at.
    """

    layers: list[LayerFlow]
    n_rows: int

    @property
    def error(self) -> float:
        """What the loss sends: before the slope of the output, which may lose it at once."""
        return self.layers[-1].error

    @property
    def sizes(self) -> np.ndarray:
        """Of each layer, as a part of `error`."""
        return np.array([layer.delta for layer in self.layers]) / self.error

    def blame_slopes(self, guilty: Callable[[LayerFlow], bool]) -> bool:
        """Whether most of the fall, down to the smallest signal, is at layers of some kind."""
        sizes = np.maximum(np.append(self.sizes, 1.0), NOTHING)
        steps, low = np.diff(np.log(sizes)), int(sizes.argmin())
        fall = sum(float(steps[k]) for k in range(low, len(steps)) if guilty(self.layers[k]))
        return fall > MOST * float(steps[low:].sum())

    def blame_weights(self, end: int) -> bool:
        """Whether W of another size than that of init="auto" explain most of the change from the output to a layer.

        The signal at a layer has come through the W of all layers after it.
        """
        change = np.log(max(self.sizes[end], NOTHING))
        scales = [max(layer.scale or 0.0, NOTHING) for layer in self.layers[end + 1 :]]
        return bool(scales) and bool(np.log(scales).sum() / change > MOST)

    def is_dead(self, layer: LayerFlow) -> bool:
        """Whether most units of a layer have a slope of 0 for all samples, and there are enough of these."""
        return is_dead(layer, self.n_rows)


def is_dead(layer: LayerFlow, n_rows: int) -> bool:
    """Whether most units of a layer have a slope of 0 for all samples, and there are enough of these.

    With W of zero that is no wonder, and no fault of the activation.
    """
    return n_rows >= ENOUGH_ROWS and layer.scale != 0.0 and (layer.dead or 0.0) >= MANY


def is_saturated(layer: LayerFlow) -> bool:
    """Whether most outputs of a layer are near the bounds of its activation."""
    return (layer.saturated or 0.0) >= MANY
