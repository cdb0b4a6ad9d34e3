"""What all pictures share: where they are drawn, and colours that colour-blind readers tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, the most distinct pair first; its yellow is last, for it is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# Each the most distant from all before it, as deuteranopes, protanopes and others see them (CIE Lab, Machado's model):
# of the twenty the nearest two are 17 apart to deuteranopes; of matplotlib's tab20 the nearest two are 3 apart.
MORE = (
    "#0000FF", "#000096", "#C3E187", "#782D00", "#3C69FF", "#00004B",
    "#B4E1C3", "#2D3C5A", "#78A55A", "#96E1F0", "#4B96FF", "#3C3C2D",
)  # fmt: skip
MARKERS = "osD^v<>p"
GREY, FAINT = "#595959", "#B3B3B3"
FROM_ZERO, AROUND_ZERO, IN_ORDER = "Blues", "PuOr", "viridis"  # maps of colours, by what the numbers mean
DECADE = 10.0  # a logarithmic axis helps from here on
LOGARITHMIC = (1e-250, 1e250)  # beyond, the margins of matplotlib's logarithmic axis overflow
UPRIGHT = 36  # characters that fit below an axis side by side
LONGEST = 30  # characters of a name; one of 140 would leave no room for the picture
MOST_IN_LEGEND, MOST_INSIDE = 20, 5  # names; a long legend would cover the picture, and stands beside it
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
        If `ax` is neither None nor an Axes, or has no straight axes for x and y.
    """
    need_matplotlib()
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        several = "; give one of them" if isinstance(ax, (np.ndarray, list, tuple)) else ""
        raise TypeError(f"ax must be a matplotlib Axes or None, got {type(ax).__name__}{several}")
    if ax is not None and ax.name != "rectilinear":
        raise TypeError(f"ax must have straight axes for x and y, got those of projection={ax.name!r}")


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


def plain(name: Any) -> str:
    """A name of the user's as matplotlib shows it unchanged, on one line; the middle of a long one is left out."""
    text = " ".join(str(name).split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 11]}…{text[-10:]}"
    hidden = not text or text[0] == "_"  # legends leave such names out
    return " " * hidden + text.replace("$", r"\$")  # between two $ there would be mathematics


def legend(ax: Axes, most: int = MOST_IN_LEGEND, is_beside: bool = False, **style: Any) -> list[Any]:
    """Name what was drawn, an even choice of `most` at most; beside the picture if they are many. Returns the signs."""
    handles, names = ax.get_legend_handles_labels()
    shown = np.unique(np.linspace(0, len(names) - 1, min(len(names), most)).round().astype(int))
    if is_beside or len(shown) > MOST_INSIDE:
        style |= {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False}
        style |= {"fontsize": "small", "labelspacing": 0.3}  # twenty names are as high as the picture
    signs: list[Any] = ax.legend([handles[j] for j in shown], [names[j] for j in shown], **style).legend_handles
    return signs


def line(ax: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """Draw a line with gaps where y is not finite, and a point where a number has no neighbour to be joined to."""
    x, y = thinned(x, np.where(np.isfinite(y), y, np.nan))
    joined = np.isfinite(y[:-1]) & np.isfinite(y[1:])
    alone = np.isfinite(y) & ~np.append(joined, False) & ~np.append(False, joined)
    ax.plot(x, y, marker="o" if alone.any() else None, markevery=np.flatnonzero(alone).tolist(), **style)


def colours(n: int) -> list[Any]:
    """`n` colours, for things without an order; after twenty they come again."""
    several = COLOURS + MORE
    return [several[k % len(several)] for k in range(n)]


def markers(n: int) -> list[str]:
    """`n` markers; together with `colours` no two of forty are the same."""
    return [MARKERS[k % len(MARKERS)] for k in range(n)]


def in_order(n: int) -> list[Any]:
    """`n` colours from dark to light, for things that follow each other; the lightest part of the map is left out."""
    from matplotlib import colormaps

    return [tuple(colour) for colour in colormaps[IN_ORDER](np.linspace(0.0, 0.88, n))]


def spans_a_decade(values: np.ndarray) -> bool:
    """Whether all finite values are positive, and the largest is ten times the smallest or more."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return False
    low, high = finite.min(), finite.max()
    return bool(LOGARITHMIC[0] < low and DECADE * low <= high < LOGARITHMIC[1])


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
