"""The words of `gradient_flow`: whether the error signal vanishes or explodes on its way back, and what to try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .flow import LayerFlow

VANISHED = 0.01  # of the error signal of the output: a layer that gets less hardly learns
EXPLODED = 100.0
MANY = 0.5  # a share of dead or saturated units that is worth a word
LARGE_UPDATE = 0.3  # of the weights, in one step
SQUASHING = ("sigmoid", "tanh", "hard_tanh", "softsign")


class Verdict(NamedTuple):
    """A finding, the layer where it starts, and both in words."""

    finding: str
    where: str | None
    text: str


def judge(layers: Sequence[LayerFlow], loss: float, loss_after: float) -> Verdict:
    """What the sizes of the error signals say.

    Parameters
    ----------
    layers : sequence of LayerFlow
        In the order of the forward pass.
    loss, loss_after : float
        Before and after one update.
    """
    dense = trunk(layers)
    output, notes = dense[-1], _notes(layers, loss, loss_after)
    if output.delta == 0.0:
        text = "healthy: the error signal of the output is zero, so there is nothing to learn from these samples"
        return Verdict("healthy", None, " ".join([f"{text}.", *notes]))
    sizes = np.array([layer.delta for layer in dense]) / output.delta
    if sizes[:-1].min(initial=np.inf) < VANISHED and not sizes[:-1].max(initial=0.0) > EXPLODED:
        return _vanishing(dense, sizes, notes)
    if sizes[:-1].max(initial=0.0) > EXPLODED:
        return _exploding(dense, sizes, notes)
    low, high = sizes.min(), sizes.max()
    text = f"healthy: the error signals of all layers are within {low:.2g} and {high:.2g} times that of the output."
    return Verdict("healthy", None, " ".join([text, *notes]))


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


def _per_layer(sizes: np.ndarray) -> float:
    """By what factor the signal changes from a layer to the one before: the geometric mean."""
    return float(sizes[0] ** (1.0 / max(1, len(sizes) - 1)))


def _vanishing(dense: Sequence[LayerFlow], sizes: np.ndarray, notes: list[str]) -> Verdict:
    start = int(np.flatnonzero(sizes < VANISHED)[-1])  # the first on the way back
    where = dense[start].name
    text = f"vanishing: on the way back the error signal falls below {VANISHED:g} of the output's at {where}"
    if sizes[0] > 0.0 and len(dense) > 2:
        text += f" and arrives at {dense[0].name} as {sizes[0]:.1e} of it, a factor of {_per_layer(sizes):.2g} a layer"
    elif sizes[start] == 0.0:
        text += ", where nothing of it arrives"
    return Verdict("vanishing", where, " ".join([f"{text}. Try {_against_vanishing(dense)}.", *notes]))


def _against_vanishing(dense: Sequence[LayerFlow]) -> str:
    hidden = dense[:-1]
    if any(layer.dead is not None and layer.dead >= MANY for layer in hidden):
        return (
            "leaky_relu or elu in place of relu, a lower learning rate, inputs of mean 0 and deviation 1, or "
            "BatchNorm: most units of a layer are dead"
        )
    if any(layer.saturated is not None and layer.saturated >= MANY for layer in hidden):
        return (
            "smaller initial weights (init='auto'), inputs of mean 0 and deviation 1, or BatchNorm: units are saturated"
        )
    if sum(layer.activation in SQUASHING for layer in hidden) > len(hidden) / 2:
        return (
            "activation='relu' (init='auto' then draws He's weights), Residual around the hidden layers, BatchNorm or "
            "LayerNorm, or fewer layers"
        )
    return "larger initial weights (init='auto' fits them to the activation), Residual, or BatchNorm or LayerNorm"


def _exploding(dense: Sequence[LayerFlow], sizes: np.ndarray, notes: list[str]) -> Verdict:
    start = int(np.flatnonzero(sizes > EXPLODED)[-1])
    where = dense[start].name
    text = f"exploding: on the way back the error signal grows above {EXPLODED:g} times the output's at {where}"
    if len(dense) > 2:
        text += f" and is {sizes.max():.1e} times it at its largest, a factor of {_per_layer(sizes):.2g} a layer"
    remedy = "smaller initial weights (init='auto'), clip_norm=1.0, a lower learning rate, or BatchNorm or LayerNorm"
    return Verdict("exploding", where, " ".join([f"{text}. Try {remedy}.", *notes]))


def _notes(layers: Sequence[LayerFlow], loss: float, loss_after: float) -> list[str]:
    """What else is worth a word, whatever the finding."""
    notes = []
    dead = [layer for layer in layers if layer.activation != "identity" and (layer.dead or 0.0) >= MANY]
    saturated = [layer for layer in layers if (layer.saturated or 0.0) >= MANY]
    if dead:
        worst = max(dead, key=lambda layer: layer.dead or 0.0)
        notes.append(f"{_count(len(dead))} mostly dead units, most {worst.name} ({worst.dead:.0%}).")
    if saturated:
        worst = max(saturated, key=lambda layer: layer.saturated or 0.0)
        notes.append(f"{_count(len(saturated))} mostly saturated units, most {worst.name} ({worst.saturated:.0%}).")
    if not np.isfinite(loss_after) or loss_after > 10 * abs(loss):
        notes.append(f"One update takes the loss from {loss:.3g} to {loss_after:.3g}: lower the learning rate.")
    else:
        large = max(layers, key=lambda layer: layer.ratio if np.isfinite(layer.ratio) else 0.0)  # inf: W was zero
        if LARGE_UPDATE < large.ratio < np.inf:
            notes.append(f"One update changes {large.name} by {large.ratio:.0%}: try a lower learning rate.")
    return notes


def _count(n: int) -> str:
    return "1 layer has" if n == 1 else f"{n} layers have"
