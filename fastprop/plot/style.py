"""What all pictures share: where they are drawn, and colours that colour-blind readers tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, the most distinct pair first; its yellow is last, for it is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^v<>p"
GREY, FAINT = "#595959", "#B3B3B3"
FROM_ZERO, AROUND_ZERO, IN_ORDER = "Blues", "PuOr", "viridis"  # maps of colours, by what the numbers mean
DECADE = 10.0  # a logarithmic axis helps from here on
UPRIGHT = 36  # characters that fit below an axis side by side
SIZE = (6.0, 3.8)  # inches


def need_matplotlib() -> None:
    """Load matplotlib.

    Raises
    ------
    ImportError
        If it is not installed; the message says how it gets there.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("fastprop.plot needs matplotlib: pip install 'fastprop-jit[plot]'") from error


def check_axes(ax: Any) -> None:
    """Refuse what nothing can be drawn into, before anything is computed.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `ax` is neither None nor an Axes.
    """
    need_matplotlib()
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        several = "; give one of them" if isinstance(ax, (np.ndarray, list, tuple)) else ""
        raise TypeError(f"ax must be a matplotlib Axes or None, got {type(ax).__name__}{several}")


def axes_for(ax: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """`ax`, or those of a new figure of this size in inches, which notebooks and galleries show by themselves."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def off_screen(size: tuple[float, float] = SIZE) -> Axes:
    """Axes of a figure that is to be saved only: no window, and nothing of pyplot's."""
    need_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").subplots()


def open_frame(ax: Axes) -> None:
    """Leave the left and the lower edge of the frame only."""
    ax.spines[["top", "right"]].set_visible(False)


def whole_ticks(axis: Any) -> None:
    """Numbers at whole places only, for what is counted."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def name_ticks(ax: Axes, places: Any, names: list[str]) -> None:
    """Write names below the axis, turned where they would run into each other."""
    many = len(names) > 12
    turned: dict[str, Any] = {"rotation": 90 if many else 60, "ha": "right", "va": "center" if many else "top"}
    ax.set_xticks(places, names, **(turned | {"rotation_mode": "anchor"} if sum(map(len, names)) > UPRIGHT else {}))


def colours(n: int) -> list[Any]:
    """`n` colours, for things without an order; more than eight come from a map."""
    return list(COLOURS[:n]) if n <= len(COLOURS) else in_order(n)


def in_order(n: int) -> list[Any]:
    """`n` colours from dark to light, for things that follow each other; the lightest part of the map is left out."""
    from matplotlib import colormaps

    return [tuple(colour) for colour in colormaps[IN_ORDER](np.linspace(0.0, 0.88, n))]


def spans_a_decade(values: np.ndarray) -> bool:
    """Whether all finite values are positive, and the largest is ten times the smallest or more."""
    finite = values[np.isfinite(values)]
    return bool(len(finite)) and finite.min() > 0 and finite.max() >= DECADE * finite.min()


def thinned(x: np.ndarray, y: np.ndarray, most: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """A line of at most so many points that looks the same: of each stretch its lowest and its highest point.

    Agg refuses noisy lines of some 100,000 points ("Exceeded cell block limit"), and no screen shows them.
    """
    if len(y) <= most:
        return x, y
    kept = [0, len(y) - 1]
    for stretch in np.array_split(np.arange(len(y)), most // 2 - 1):
        part = y[stretch]
        if np.isfinite(part).all():
            kept += [stretch[part.argmin()], stretch[part.argmax()]]
        else:  # the gap stays one
            kept += [stretch[~np.isfinite(part)][0]]
    places = np.unique(kept)
    return x[places], y[places]
