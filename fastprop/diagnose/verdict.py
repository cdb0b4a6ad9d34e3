"""The words of `gradient_flow`: whether the error signal vanishes or explodes on its way back, why, and what to try.

The reasoning is that of an engineer. Follow the signal from the loss back to the first layer. Where it is lost, ask in
turn what is to blame, from the plain to the subtle: `VANISHING` and `EXPLODING` are these questions in their order, and
the first that is answered with yes gives the advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .flow import LayerFlow

VANISHED = 0.01  # of the error that the loss sends: a layer that gets less hardly learns
EXPLODED = 100.0
MANY = 0.5  # a share of dead or saturated units that is worth a word
MOST = 0.5  # of a fall, on a logarithmic scale: who does so much is to blame for it
ENOUGH_ROWS = 10  # that a unit is 0 for fewer samples says nothing
LARGE_WEIGHTS = 1.25  # times those that init="auto" draws
LARGE_UPDATE = 0.3  # of the weights, in one step
NOTHING = 1e-300  # what a signal of exactly zero counts as, for its logarithm
SQUASHING = ("sigmoid", "tanh", "hard_tanh", "softsign")
SCALED = "inputs of mean 0 and deviation 1"


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


# ---- causes -------------------------------------------------------------------------------------------------------


class Cause(NamedTuple):
    """A question about a sick signal, and the advice if it is answered with yes."""

    applies: Callable[[Signal], bool]
    advice: Callable[[Signal], str]


def _output_is_flat(signal: Signal) -> bool:
    return bool(signal.sizes[-1] < VANISHED)


def _for_the_output(signal: Signal) -> str:
    output = signal.layers[-1]
    state = "saturated" if output.saturated is not None else "dead"
    return (
        f"activation='identity' in the last layer, with a loss that fits y ('bce' and 'cross_entropy' apply sigmoid or "
        f"softmax themselves), or {SCALED}: the last layer, {output.activation}, is {state}"
    )


def _blocked(signal: Signal) -> list[str]:
    """The layers whose W are zero and send nothing back."""
    return [layer.name for layer in signal.layers[1:] if layer.scale == 0.0]


def _for_zeros(signal: Signal) -> str:
    start = "init='auto'" if not _all_automatic(signal.layers[1:]) else "weights of another start"
    return f"{start}: all W of {_blocked(signal)[-1]} are 0, so that nothing passes back through them"


def _for_small_weights(signal: Signal) -> str:
    typical = np.median([layer.scale or 0.0 for layer in signal.layers[1:]])
    if _all_automatic(signal.layers):  # they were right once
        return f"less l1, l2 or weight_decay: typical W have shrunk to {typical:.2g} times their size at the start"
    return (
        f"larger initial weights (init='auto' fits them to the activation; typical W are {typical:.2g} times as large)"
        f", Residual, or BatchNorm or LayerNorm"
    )


def _for_saturation(signal: Signal) -> str:
    return f"{_against_saturation(signal.layers[0], filter(is_saturated, signal.layers))}: units are saturated"


def _against_saturation(first: LayerFlow, saturated: Iterable[LayerFlow]) -> str:
    layers = list(saturated)
    large = [layer for layer in layers if (layer.scale or 0.0) > LARGE_WEIGHTS]
    remedies = [_smaller_weights(large)] if large else []
    if first in layers:
        remedies.append(SCALED)
    return ", ".join([*remedies, "BatchNorm before them, or relu in place of " + _names(layers)])


def _for_dead_units(signal: Signal) -> str:
    return f"{_against_death(filter(signal.is_dead, signal.layers))}: most units of a layer are dead"


def _against_death(dead: Iterable[LayerFlow]) -> str:
    return f"leaky_relu or elu in place of {_names(dead)}, a lower learning rate, {SCALED}, or BatchNorm"


def _squashes(signal: Signal) -> bool:
    hidden = signal.layers[:-1]
    return sum(layer.activation in SQUASHING for layer in hidden) > len(hidden) / 2


def _for_large_weights(signal: Signal) -> str:
    return f"{_smaller_weights(signal.layers)}, clip_norm=1.0, a lower learning rate, or BatchNorm or LayerNorm"


def _smaller_weights(layers: Sequence[LayerFlow]) -> str:
    return "smaller weights (more l2)" if _all_automatic(layers) else "smaller initial weights (init='auto')"


def _all_automatic(layers: Sequence[LayerFlow]) -> bool:
    return all(layer.is_auto for layer in layers)


def _names(layers: Iterable[LayerFlow]) -> str:
    """Their activations, each once."""
    return " and ".join(dict.fromkeys(layer.activation for layer in layers))


VANISHING = (
    Cause(_output_is_flat, _for_the_output),
    Cause(lambda signal: bool(_blocked(signal)) and signal.sizes.min() == 0.0, _for_zeros),
    Cause(lambda signal: signal.blame_weights(int(signal.sizes.argmin())), _for_small_weights),
    Cause(lambda signal: signal.blame_slopes(is_saturated), _for_saturation),
    Cause(lambda signal: signal.blame_slopes(signal.is_dead), _for_dead_units),
    Cause(
        _squashes,
        lambda signal: (
            "activation='relu' (init='auto' then draws He's weights), Residual around the hidden layers, BatchNorm or "
            "LayerNorm, or fewer layers"
        ),
    ),
    Cause(
        lambda signal: True,
        lambda signal: "Residual around the hidden layers, BatchNorm or LayerNorm, or fewer layers",
    ),
)
EXPLODING = (
    Cause(lambda signal: signal.blame_weights(int(signal.sizes.argmax())), _for_large_weights),
    Cause(lambda signal: True, lambda signal: "BatchNorm or LayerNorm, clip_norm=1.0, or a lower learning rate"),
)


def _advice(causes: Sequence[Cause], signal: Signal) -> str:
    return next(cause.advice(signal) for cause in causes if cause.applies(signal))


# ---- words --------------------------------------------------------------------------------------------------------


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
    return where, text, _advice(VANISHING, signal)


def _exploding(signal: Signal) -> tuple[str, str, str]:
    """Where it starts, how large it becomes, and what to try."""
    sizes, layers = signal.sizes, signal.layers
    where = layers[int(np.flatnonzero(sizes[:-1] > EXPLODED)[-1])].name
    text = f"exploding: on the way back the error signal grows above {EXPLODED:g} times the output's at {where}"
    if len(layers) > 2:
        text += f" and is {sizes.max():.1e} times it at its largest"
        if sizes[-1] > 0.0:
            text += f", a factor of {_per_layer(sizes):.2g} a layer"
    return where, text, _advice(EXPLODING, signal)


def _idle(layers: Sequence[LayerFlow], n_rows: int, said: str) -> list[str]:
    """Words for dead and for saturated units of hidden layers, whatever the finding; what is `said` is not repeated."""
    notes = []
    dead = [layer for layer in layers if is_dead(layer, n_rows)]
    saturated = [layer for layer in layers if is_saturated(layer)]
    if dead:
        worst, remedy = max(dead, key=lambda layer: layer.dead or 0.0), _against_death(dead)
        note = f"{_count(dead)} mostly dead units, most {worst.name} ({worst.dead:.0%})"
        notes.append(f"{note}." if remedy in said else f"{note}: try {remedy}.")
    if saturated:
        worst = max(saturated, key=lambda layer: layer.saturated or 0.0)
        remedy = _against_saturation(layers[0], saturated)
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
