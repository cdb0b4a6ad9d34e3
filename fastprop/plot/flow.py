"""How large gradients are from layer to layer: of one moment, or over a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_IN_LEGEND = 10


def gradient_flow(flow: Any, ax: Axes | None = None) -> Axes:
    """Draw the norm of each layer's gradient, on a logarithmic axis.

    Parameters
    ----------
    flow : fp.diagnose.Flow or fp.diagnose.GradientFlow
        Of a `Flow`, a bar a layer, with its error signal as a dot. Of the callback, a line a layer over the epochs.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or those of the new figure.

    Raises
    ------
    TypeError
        If `flow` is neither.
    ValueError
        If it has no layer, or has recorded no epoch yet.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> net = fp.Network([*(fp.Dense(16, activation="sigmoid") for _ in range(8)), fp.Dense(1)])
    >>> ax = fp.plot.gradient_flow(fp.diagnose.gradient_flow(net, X, X[:, 0]))
    """
    style.check_axes(ax)
    if hasattr(flow, "flows") and hasattr(flow, "epochs"):
        return _over_epochs(flow, ax)
    if hasattr(flow, "layers") and all(hasattr(layer, "gradient") for layer in flow.layers):
        return _bars(flow, ax)
    raise TypeError(f"flow must be of fp.diagnose: a Flow or a GradientFlow, got {type(flow).__name__}")


def _bars(flow: Any, ax: Axes | None) -> Axes:
    if not flow.layers:
        raise ValueError("flow has no layers")
    norms, deltas = (_sizes(flow, name) for name in ("gradient", "delta"))
    drawn = np.concatenate([norms, deltas])
    drawn = drawn[drawn > 0]
    ax = style.axes_for(ax)
    places = np.arange(len(norms))
    ax.bar(places, norms, 0.7, color=style.COLOURS[0], label="gradient")
    ax.plot(places, deltas, "o", color=style.COLOURS[1], label="error signal")
    ax.set_ylim(*((drawn.min() / 4, drawn.max() * 4) if len(drawn) else (1e-8, 1.0)))
    ax.set_yscale("log", nonpositive="clip")  # "mask" would drop the bars, which begin at 0
    for place in places[~(norms > 0)]:  # on this axis a bar of nothing has no place
        ax.annotate(
            "0" if norms[place] == 0 else "not finite", (place, 0), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", ha="center", color=style.GREY,
        )  # fmt: skip
    style.name_ticks(ax, places, [layer.name for layer in flow.layers])
    ax.set(xlabel="layer, from the input to the output", ylabel="norm", xlim=(-0.6, len(norms) - 0.4))
    if hasattr(flow, "finding"):
        ax.set_title(f"gradients: {flow.finding}", loc="left", fontsize="medium")
    ax.legend(frameon=False)
    style.open_frame(ax)
    return ax


def _sizes(flow: Any, name: str) -> np.ndarray:
    """A number of each layer, NaN where it is not finite."""
    values = np.array([getattr(layer, name) for layer in flow.layers], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _over_epochs(record: Any, ax: Axes | None) -> Axes:
    if not len(record.flows):
        raise ValueError("flow has recorded no epoch yet: give it to fit as a callback")
    names = [layer.name for layer in record.flows[0].layers]
    norms = np.array([_sizes(flow, "gradient") for flow in record.flows])
    epochs = np.asarray(record.epochs) + 1  # as in `history`: 1 is after the first
    ax = style.axes_for(ax)
    for j, colour in enumerate(style.in_order(len(names))):
        style.line(ax, epochs, np.where(norms[:, j] > 0, norms[:, j], np.nan), color=colour, label=names[j])
    ax.set(xlabel="epoch", ylabel="norm of the gradient", yscale="log")
    style.whole_ticks(ax.xaxis)
    style.legend(ax, MOST_IN_LEGEND, is_beside=True)
    style.open_frame(ax)
    return ax
