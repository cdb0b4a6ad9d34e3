"""The words of `gradient_flow`: whether the error signal vanishes or explodes on its way back, why, and what to try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .causes import EXPLODING, VANISHING, advice_for, against_death, against_saturation
from .error_signal import EXPLODED, VANISHED, Signal, is_dead, is_saturated, trunk

if TYPE_CHECKING:
    from .flow import LayerFlow

LARGE_UPDATE = 0.3  # of the weights, in one step


class Verdict(NamedTuple):
    """A finding, the layer where it starts, and both in words."""

    finding: str
    where: str | None
    text: str


def judge(layers: Sequence[LayerFlow], n_rows: int, loss: float, loss_after: float) -> Verdict:
    """What the sizes of the error signals say.

    Parameters
    ----------
    layers : sequence of LayerFlow
        In the order of the forward pass.
    n_rows : int
        How many samples were looked at.
    loss, loss_after : float
        Before and after one update.

    Returns
    -------
    Verdict
        The finding, where it starts, and the advice.
    """
    signal = Signal(trunk(layers), n_rows)

    def notes(said: str = "") -> list[str]:
        hidden = [layer for layer in layers if layer is not signal.layers[-1]]
        return [*_idle(hidden, n_rows, said), *_large_steps(layers, loss, loss_after)]

    if signal.error == 0.0:
        text = "healthy: the error at the output is zero, so there is nothing to learn from these samples."
        return Verdict("healthy", None, " ".join([text, *notes()]))
    if signal.sizes[:-1].max(initial=0.0) > EXPLODED:
        where, text, advice = _exploding(signal)
        return Verdict("exploding", where, " ".join([f"{text}. Try {advice}.", *notes(advice)]))
    if signal.sizes.min() < VANISHED:
        where, text, advice = _vanishing(signal)
        return Verdict("vanishing", where, " ".join([f"{text}. Try {advice}.", *notes(advice)]))
    span = f"the error signals of all layers are within {signal.sizes.min():.2g} and {signal.sizes.max():.2g} times"
    if not notes():
        return Verdict("healthy", None, f"healthy: {span} that of the output.")
    return Verdict("healthy", None, f"healthy in size: {span} that of the output. All the same: {' '.join(notes())}")


def _per_layer(sizes: np.ndarray) -> float:
    """By what factor the signal changes from a layer to the one before: the geometric mean over n - 1 steps."""
    return float((sizes[0] / sizes[-1]) ** (1.0 / (len(sizes) - 1)))


def _vanishing(signal: Signal) -> tuple[str, str, str]:
    """Where it starts, how much is lost, and what to try."""
    sizes, layers = signal.sizes, signal.layers
    start = int(np.flatnonzero(sizes < VANISHED)[-1])  # the first on the way back
    where = layers[start].name
    if start == len(layers) - 1:
        text = f"vanishing at the output: {where} lets {sizes[start]:.1e} of the error of the loss through"
    else:
        text = f"vanishing: on the way back the error signal falls below {VANISHED:g} of the output's at {where}"
        if sizes[0] > 0.0 and len(layers) > 2:
            text += (
                f" and arrives at {layers[0].name} as {sizes[0]:.1e} of it, a factor of {_per_layer(sizes):.2g} a layer"
            )
        elif sizes[start] == 0.0:
            text += ", where nothing of it arrives"
    return where, text, advice_for(VANISHING, signal)


def _exploding(signal: Signal) -> tuple[str, str, str]:
    """Where it starts, how large it becomes, and what to try."""
    sizes, layers = signal.sizes, signal.layers
    where = layers[int(np.flatnonzero(sizes[:-1] > EXPLODED)[-1])].name
    text = f"exploding: on the way back the error signal grows above {EXPLODED:g} times the output's at {where}"
    if len(layers) > 2:
        text += f" and is {sizes.max():.1e} times it at its largest"
        if sizes[-1] > 0.0:
            text += f", a factor of {_per_layer(sizes):.2g} a layer"
    return where, text, advice_for(EXPLODING, signal)


def _idle(layers: Sequence[LayerFlow], n_rows: int, said: str) -> list[str]:
    """Words for dead and for saturated units of hidden layers, whatever the finding; what is `said` is not repeated."""
    notes = []
    dead = [layer for layer in layers if is_dead(layer, n_rows)]
    saturated = [layer for layer in layers if is_saturated(layer)]
    if dead:
        worst, remedy = max(dead, key=lambda layer: layer.dead or 0.0), against_death(dead)
        note = f"{_count(dead)} mostly dead units, most {worst.name} ({worst.dead:.0%})"
        notes.append(f"{note}." if remedy in said else f"{note}: try {remedy}.")
    if saturated:
        worst = max(saturated, key=lambda layer: layer.saturated or 0.0)
        remedy = against_saturation(layers[0], saturated)
        note = f"{_count(saturated)} mostly saturated units, most {worst.name} ({worst.saturated:.0%})"
        notes.append(f"{note}." if remedy in said else f"{note}: try {remedy}.")
    return notes


def _large_steps(layers: Sequence[LayerFlow], loss: float, loss_after: float) -> list[str]:
    """Words for an update that is too large."""
    if not np.isfinite(loss_after) or loss_after > 10 * abs(loss):
        return [f"One update takes the loss from {loss:.3g} to {loss_after:.3g}: lower the learning rate."]
    large = max(layers, key=lambda layer: layer.ratio if np.isfinite(layer.ratio) else 0.0)  # inf: W was zero
    if LARGE_UPDATE < large.ratio < np.inf:
        return [f"One update changes {large.name} by {large.ratio:.0%}: try a lower learning rate."]
    return []


def _count(layers: Sequence[LayerFlow]) -> str:
    return "1 layer has" if len(layers) == 1 else f"{len(layers)} layers have"
