"""Why an error signal is sick, and what to try.

The reasoning is that of an engineer. Follow the signal from the loss back to the first layer. Where it is lost, ask in
turn what is to blame, from the plain to the subtle: `VANISHING` and `EXPLODING` are these questions in their order, and
the first that is answered with yes gives the advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .error_signal import VANISHED, Signal, is_saturated

if TYPE_CHECKING:
    from .flow import LayerFlow

LARGE_WEIGHTS = 1.25  # times those that init="auto" draws
SQUASHING = ("sigmoid", "tanh", "hard_tanh", "softsign")
SCALED = "inputs of mean 0 and deviation 1"


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
    return f"{against_saturation(signal.layers[0], filter(is_saturated, signal.layers))}: units are saturated"


def against_saturation(first: LayerFlow, saturated: Iterable[LayerFlow]) -> str:
    """What to try where layers are saturated; `first` is the layer that sees the inputs."""
    layers = list(saturated)
    large = [layer for layer in layers if (layer.scale or 0.0) > LARGE_WEIGHTS]
    remedies = [_smaller_weights(large)] if large else []
    if first in layers:
        remedies.append(SCALED)
    return ", ".join([*remedies, "BatchNorm before them, or relu in place of " + _names(layers)])


def _for_dead_units(signal: Signal) -> str:
    return f"{against_death(filter(signal.is_dead, signal.layers))}: most units of a layer are dead"


def against_death(dead: Iterable[LayerFlow]) -> str:
    """What to try where most units of layers are dead."""
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


def advice_for(causes: Sequence[Cause], signal: Signal) -> str:
    """The advice of the first cause that applies."""
    return next(cause.advice(signal) for cause in causes if cause.applies(signal))
