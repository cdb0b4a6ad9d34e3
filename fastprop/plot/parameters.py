"""The weights of a network: how they are distributed, or one matrix as a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..network import Network
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = (5, 60)  # at least and at most; in between the square root of the number of weights
MOST_IN_LEGEND = 10  # layers
ELONGATED = 4.0  # a matrix so many times as wide as high, or the other way round, is not drawn with square cells


def weights(net: Any, layer: int | str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how the weights of each Dense layer are distributed, or those of one layer as a map.

    Parameters
    ----------
    net : Network or estimator
        A Network with weights, or an estimator of ours (its `network_`).
    layer : int or str, optional
        None draws a line for each W. A number is a place in `net.layers`, from the end if negative; a string is a name
        as in `net.state_dict()`, such as "layers.2.layers.0" of a layer inside Residual, or "layers[2].layers[0]". W of
        shape (n_in, n_out) is drawn with a row for each input and a column for each unit.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or those of the new figure.

    Raises
    ------
    TypeError
        If `net` or `layer` is something else.
    ValueError
        If the network has no weights yet, or `layer` is no Dense layer; the message names those that are.

    Examples
    --------
    >>> import fastprop as fp
    >>> net = fp.Network([fp.Dense(16, activation="relu"), fp.Dense(3)]).build(n_features=4)
    >>> ax = fp.plot.weights(net)
    >>> fp.plot.weights(net, layer=0).get_images()[0].get_array().shape
    (4, 16)
    """
    style.check_axes(ax)
    matrices = _matrices(net)
    if layer is not None:
        return _map(*_chosen(matrices, layer, net), ax)
    ax = style.axes_for(ax)
    for (name, W), colour in zip(matrices.items(), style.in_order(len(matrices)), strict=True):
        _distribution(ax, name, W, colour)
    ax.set(xlabel="weight", ylabel="density")
    ax.set_ylim(bottom=0.0)
    style.legend(ax, MOST_IN_LEGEND, frameon=False, fontsize="small")
    style.open_frame(ax)
    return ax


def _matrices(net: Any) -> dict[str, np.ndarray]:
    """W of each Dense layer by the name of the layer, "layers.0"."""
    inside = getattr(net, "network_", net)
    if not isinstance(inside, Network):
        raise TypeError(f"net must be a Network, or a fitted estimator of fastprop, got {type(net).__name__}")
    arrays = inside.state_dict()
    found = {name.removesuffix(".W"): W for name, W in arrays.items() if name.endswith(".W")}
    if not found:
        raise ValueError("net has no Dense layer")
    return found


def _chosen(matrices: dict[str, np.ndarray], layer: Any, net: Any) -> tuple[str, np.ndarray]:
    names = ", ".join(repr(int(name[7:])) if name[7:].isdigit() else repr(name) for name in matrices)
    if isinstance(layer, (bool, np.bool_)) or not isinstance(layer, (int, np.integer, str)):
        raise TypeError(f"layer must be the number or the name of a Dense layer ({names}) or None, got {layer!r}")
    n_layers = len(getattr(net, "network_", net).layers)
    place = layer if isinstance(layer, str) else layer + n_layers if layer < 0 else layer
    name = place.replace("[", ".").replace("]", "").removesuffix(".W") if isinstance(place, str) else f"layers.{place}"
    if name not in matrices:
        raise ValueError(f"layer must be a Dense layer: one of {names}, got {layer!r}")
    return name, matrices[name]


def _distribution(ax: Axes, name: str, W: np.ndarray, colour: Any) -> None:
    """The outline of a histogram of area 1."""
    values = W[np.isfinite(W)].astype(np.float64)
    label = f"{name} {W.shape[0]} x {W.shape[1]}"
    if not len(values) or values.min() == values.max():
        same = f"all {values[0]:g}" if len(values) else "none is finite"
        place, upright = [values[0] if len(values) else 0.0] * 2, ax.get_xaxis_transform()
        ax.plot(place, [0, 1], color=colour, linestyle=":", transform=upright, label=f"{label}, {same}")
        return
    heights, edges = np.histogram(values, int(np.clip(np.sqrt(len(values)), *BINS)), density=True)
    ax.plot(np.repeat(edges, 2), np.concatenate([[0], np.repeat(heights, 2), [0]]), color=colour, label=label)


def _map(name: str, W: np.ndarray, ax: Axes | None) -> Axes:
    n_in, n_out = W.shape
    ax = style.axes_for(ax)
    bound = float(np.abs(W[np.isfinite(W)]).max(initial=0.0)) or 1.0
    is_elongated = max(n_in, n_out) > ELONGATED * min(n_in, n_out)
    image = ax.imshow(
        W, cmap=style.AROUND_ZERO, vmin=-bound, vmax=bound, aspect="auto" if is_elongated else "equal",
        interpolation="nearest",
    )  # fmt: skip
    ax.set(xlabel="unit", ylabel="input", title=f"{name}.W")
    for axis in (ax.xaxis, ax.yaxis):
        style.whole_ticks(axis)
    ax.figure.colorbar(image, ax=ax, label="weight")
    return ax
