"""Losses as lines: over the epochs of a training, and over the learning rates that were tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .inputs import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = {"loss": "training", "val_loss": "validation"}
ROOM = 0.15  # of the height between the lowest loss and the first, left free above and below in `lr_find`


def history(history: Any, ax: Axes | None = None) -> Axes:
    """Draw the training loss, and the validation loss if there is one, after each epoch.

    The loss axis is logarithmic where losses are positive and span a factor of ten. The lowest validation loss is
    marked, and so is the first epoch whose loss is not finite.

    Parameters
    ----------
    history : dict of str to sequence of float, Network or estimator
        What `Network.fit` returns; or what has been fitted: its `history_`, or the `loss_curve_` of an estimator.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or those of the new figure.

    Raises
    ------
    TypeError
        If `history` is none of these, or holds something else than numbers.
    ValueError
        If it has no loss, no epoch, or lists of several lengths.

    Examples
    --------
    >>> import fastprop as fp
    >>> ax = fp.plot.history({"loss": [1.0, 0.4, 0.2], "val_loss": [1.1, 0.6, 0.7]})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['training', 'validation', 'lowest: epoch 2']
    """
    style.check_axes(ax)
    losses = _losses(history)
    ax = style.axes_for(ax)
    epochs = np.arange(1, len(losses["loss"]) + 1)
    for name, colour in zip(losses, style.COLOURS, strict=False):
        style.line(ax, epochs, losses[name], color=colour, label=LINES[name])
    if "val_loss" in losses and len(epochs) > 1 and np.isfinite(losses["val_loss"]).any():
        best = int(np.nanargmin(losses["val_loss"]))
        ax.plot(
            epochs[best], losses["val_loss"][best], "o", color=style.COLOURS[1], label=f"lowest: epoch {epochs[best]}"
        )
    everything = np.concatenate(list(losses.values()))
    if not np.isfinite(everything).all():
        bad = int(np.argmin(np.all([np.isfinite(values) for values in losses.values()], axis=0)))
        ax.axvline(epochs[bad], color=style.GREY, linestyle=":", label=f"not finite: epoch {epochs[bad]}")
    ax.set(xlabel="epoch", ylabel="loss", yscale="log" if style.spans_a_decade(everything) else "linear")
    style.whole_ticks(ax.xaxis)
    ax.legend(frameon=False)
    style.open_frame(ax)
    return ax


def _losses(history: Any) -> dict[str, np.ndarray]:
    """The loss and perhaps the validation loss, with NaN for what is not finite."""
    if not isinstance(history, Mapping):
        history = _fitted(history)
    if "loss" not in history:
        raise ValueError(
            f"history must have 'loss', as what fit returns has; got {', '.join(map(repr, history)) or 'none'}"
        )
    found = {name: numbers(history[name], f"history[{name!r}]") for name in LINES if name in history}
    if not len(found["loss"]):
        raise ValueError("history is empty: it has no epoch")
    if len({len(values) for values in found.values()}) > 1:
        lengths = ", ".join(f"{len(values)} of {name}" for name, values in found.items())
        raise ValueError(f"history must have one number an epoch, got {lengths}")
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}


def _fitted(model: Any) -> Mapping[str, Any]:
    """The history of what has been fitted."""
    if hasattr(model, "history_"):
        found: Mapping[str, Any] = model.history_
        return found
    if hasattr(model, "loss_curve_"):
        return {"loss": model.loss_curve_}
    if hasattr(model, "fit"):
        raise ValueError(f"history must be of something fitted; this {type(model).__name__} has none yet")
    raise TypeError(f"history must be the dict that fit returns, or a fitted Network, got {type(model).__name__}")


def lr_find(rates: Any, ax: Axes | None = None) -> Axes:
    """Draw the loss against the learning rate, and mark the suggested rate and the one at which training diverged.

    Parameters
    ----------
    rates : fp.diagnose.Rates
        What `fp.diagnose.lr_find` returns.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or those of the new figure.

    Raises
    ------
    TypeError
        If `rates` is something else.
    ValueError
        If it is empty.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> net = fp.Network([fp.Dense(16, activation="tanh"), fp.Dense(1)])
    >>> ax = fp.plot.lr_find(fp.diagnose.lr_find(net, X, X[:, 0]))
    """
    style.check_axes(ax)
    if not all(hasattr(rates, name) for name in ("rates", "losses", "smoothed", "suggestion")):
        raise TypeError(f"rates must be what fp.diagnose.lr_find returns, got {type(rates).__name__}")
    x, raw, smoothed = (numbers(getattr(rates, name), f"rates.{name}") for name in ("rates", "losses", "smoothed"))
    if not (len(x) == len(raw) == len(smoothed) and np.isfinite(smoothed).any()):
        raise ValueError(f"rates must have a finite loss for each rate, got {len(x)} rates, {len(raw)} losses")
    ax = style.axes_for(ax)
    style.line(ax, x, raw, color=style.FAINT, linewidth=1, label="each step")
    style.line(ax, x, smoothed, color=style.COLOURS[0], label="smoothed")
    suggestion = float(rates.suggestion)
    if np.isfinite(suggestion):
        ax.axvline(suggestion, color=style.COLOURS[1], linestyle="--", label=f"suggested: {suggestion:.2g}")
    if getattr(rates, "diverged_at", None) is not None:
        end = float(rates.diverged_at)
        ax.axvline(end, color=style.GREY, linestyle=":", label=f"diverges from {end:.2g}")
    finite = smoothed[np.isfinite(smoothed)]
    low, high = float(finite.min()), float(max(finite[0], finite[: max(1, len(finite) // 4)].max()))
    room = ROOM * (high - low) or 1.0
    ax.set(xlabel="learning rate", ylabel="loss", xscale="log", ylim=(low - room, high + 2 * room))  # not up to 1e9
    ax.legend(frameon=False)
    style.open_frame(ax)
    return ax
