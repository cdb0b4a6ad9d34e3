"""What a classifier says about each point of a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_matrix
from ..frames import is_frame
from ..network import Network
from . import style
from .inputs import check_finite, check_model, classes_of, codes, labels, predicted_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = 200  # of the grid, each way
MARGIN = 0.1  # of the range of the points, on each side
LARGEST = 1e300  # of X: matplotlib fails where a range overflows
FEW_CLASSES = 8  # that colours alone tell apart well; more have their labels written into their regions
LEAST_DEPTH = 4  # steps of the grid around such a label
LIGHTNESS = 0.4  # share of the colour in the background


def decision_boundary(model: Any, X: Any, y: Any, ax: Axes | None = None) -> Axes:
    """Draw the regions of the classes in a plane of two features, and the samples over them.

    With two classes the shade follows the probability, or the decision function; more classes have one colour each,
    and more than eight their labels in their regions.

    Parameters
    ----------
    model : Network, estimator or pipeline
        A fitted classifier of two features, with `predict` and perhaps `predict_proba` or `decision_function`.
    X : array-like of shape (n_samples, 2)
        The samples to show; the plane reaches a tenth beyond them. Columns of a data frame give the axes their names.
    y : array-like of shape (n_samples,)
        Their labels, of any type.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or those of the new figure.

    Raises
    ------
    TypeError, ValueError
        If the model cannot predict labels or is for another number of features, X has not two features or holds NaN, or
        y has labels that the model does not know.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same", "other")
    >>> net = fp.Network([fp.Dense(8, activation="tanh"), fp.Dense(1)], loss="bce", optimizer=fp.Adam(lr=0.01))
    >>> history = net.fit(X, y, epochs=20, batch_size=20, progress=False)
    >>> ax = fp.plot.decision_boundary(net, X, y)
    """
    style.check_axes(ax)
    check_model(model, "classification")
    points, names = _points(X)
    truth = labels(y, len(points))
    _check_width(model)
    axis_x, axis_y = (_axis(points[:, j]) for j in range(2))
    grid = np.stack(np.meshgrid(axis_x, axis_y), axis=-1).reshape(-1, 2)
    asked = _like(X, grid)
    predicted = predicted_labels(model, asked)
    classes = classes_of(model, predicted, truth)
    truth_codes, region = codes(truth, classes, "y"), codes(predicted, classes, "predictions")
    ax = style.axes_for(ax, (5.0, 4.2))
    palette = style.colours(len(classes))
    plane = _Plane(ax, axis_x, axis_y)
    if len(classes) == 2:
        plane.shade(_score(model, asked), region, palette)
    else:
        plane.colour(region, palette)
    if len(classes) > FEW_CLASSES:
        plane.write(region, [style.plain(label) for label in classes])
    size = float(np.clip(6000 / len(points), 9, 32))
    for k, (label, marker) in enumerate(zip(classes, style.markers(len(classes)), strict=True)):
        own = points[truth_codes == k]
        ax.scatter(
            own[:, 0], own[:, 1], size, color=[palette[k]], marker=marker, edgecolors="white",
            linewidths=0.6, label=style.plain(label),
        )  # fmt: skip
    ax.set(xlabel=names[0], ylabel=names[1], xlim=axis_x[[0, -1]], ylim=axis_y[[0, -1]])
    if len(classes) <= style.MOST_IN_LEGEND:
        for sign in style.legend(ax, framealpha=0.8, edgecolor="none"):
            sign.set_sizes([32.0])  # those of many samples are small
    return ax


def _points(X: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """X as float64 of shape (n, 2), and the names of its columns."""
    matrix = check_matrix(X)
    if matrix.n_columns != 2:
        raise ValueError(f"X must have 2 features to be drawn in a plane, got {matrix.n_columns}")
    if matrix.is_sparse:
        raise TypeError("X must be dense to be drawn; give X.toarray()")
    points = np.asarray(matrix.array, np.float64)
    check_finite(points, "X")
    if np.abs(points).max() > LARGEST:
        raise ValueError(
            f"X must be at most {LARGEST:g} in size to be drawn, got {points.flat[np.abs(points).argmax()]}"
        )
    return points, tuple(map(style.plain, matrix.feature_names or ("feature 0", "feature 1")))


def _check_width(model: Any) -> None:
    is_built = isinstance(model, Network) and model.is_built
    n = model.n_features_ if is_built else getattr(model, "n_features_in_", 2)
    if n != 2:
        raise ValueError(f"model must be trained on 2 features to be drawn in a plane, got one of {n}")


def _axis(values: np.ndarray) -> np.ndarray:
    """Steps from below the least value to above the largest."""
    low, high = values.min(), values.max()
    room = MARGIN * (high - low) or 1.0
    return np.linspace(low - room, high + room, STEPS)


def _like(X: Any, grid: np.ndarray) -> Any:
    """The grid as a frame of the same columns, if X is one: models that were trained on frames want frames."""
    library = type(X).__module__.split(".")[0]
    if not is_frame(X) or library not in ("pandas", "polars"):
        return grid
    return type(X)(grid, columns=X.columns) if library == "pandas" else type(X)(grid, schema=list(X.columns))


def _score(model: Any, points: Any) -> np.ndarray | None:
    """For each point how much speaks for the second class, from -1 to 1 and 0 where nothing does; None if not known."""
    if isinstance(model, Network) and model.loss.is_margin:
        raw = model._raw(points)
        return _scaled(raw[:, -1] - (raw[:, 0] if raw.shape[1] == 2 else 0.0))
    if callable(getattr(model, "predict_proba", None)):
        return 2.0 * np.asarray(model.predict_proba(points), np.float64)[:, 1] - 1.0
    if callable(getattr(model, "decision_function", None)):
        return _scaled(np.asarray(model.decision_function(points), np.float64).reshape(len(points)))
    return None


def _scaled(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores / (np.abs(scores).max() or 1.0), np.float64)


def _light(colour: Any) -> tuple[float, ...]:
    """The same colour mixed with white, for the background: samples keep the strong ones."""
    from matplotlib.colors import to_rgb

    return tuple(1 - LIGHTNESS * (1 - part) for part in to_rgb(colour))


def _depth(places: np.ndarray) -> np.ndarray:
    """For each place the steps (up, down, left, right) to the nearest of another region, or beyond the plane."""
    framed = np.pad(places, 1, constant_values=-1)
    middle, beside = framed[1:-1, 1:-1], (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
    left = np.logical_and.reduce([other == middle for other in beside])
    depth = np.ones(places.shape, int)
    while left.any():  # a region loses its edge at a time
        depth += left
        framed = np.pad(left, 1)
        left = left & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return depth


class _Plane:
    """The background."""

    def __init__(self, ax: Axes, axis_x: np.ndarray, axis_y: np.ndarray) -> None:
        self.ax, self.axis_x, self.axis_y = ax, axis_x, axis_y
        half = (axis_x[1] - axis_x[0]) / 2, (axis_y[1] - axis_y[0]) / 2  # pixels lie around the points of the grid
        self.extent = (axis_x[0] - half[0], axis_x[-1] + half[0], axis_y[0] - half[1], axis_y[-1] + half[1])

    def shade(self, score: np.ndarray | None, region: np.ndarray, palette: list[Any]) -> None:
        """Two classes: from the colour of one over white to that of the other, and the line where `predict` changes."""
        from matplotlib.colors import LinearSegmentedColormap

        ends: list[Any] = [_light(palette[0]), "white", _light(palette[1])]
        fades = LinearSegmentedColormap.from_list("two classes", ends)
        sides = np.where(region == 1, 1.0, -1.0)
        values = sides if score is None else score
        self._image(values, fades, -1.0, 1.0)
        # A smooth line, unless the model decides by something else than the sign, as with a threshold of its own.
        self._line(values if np.array_equal(values > 0, sides > 0) else sides, 0.0)

    def colour(self, region: np.ndarray, palette: list[Any]) -> None:
        """Any number of classes, a colour each."""
        from matplotlib.colors import ListedColormap

        self._image(region, ListedColormap([_light(colour) for colour in palette]), -0.5, len(palette) - 0.5)
        for k in range(len(palette)):
            self._line((region == k) - 0.5, 0.0)

    def write(self, region: np.ndarray, names: list[str]) -> None:
        """The name of each class where its region is widest."""
        from matplotlib.patheffects import withStroke

        places = region.reshape(STEPS, STEPS)
        depth = _depth(places)
        halo = [withStroke(linewidth=3, foreground="white")]
        for k, name in enumerate(names):
            own = np.where(places == k, depth, 0)
            row, column = np.unravel_index(own.argmax(), own.shape)
            if own[row, column] >= LEAST_DEPTH:
                self.ax.text(
                    self.axis_x[column], self.axis_y[row], name, ha="center", va="center", fontsize="small",
                    path_effects=halo, zorder=3,
                )  # fmt: skip

    def _image(self, values: np.ndarray, cmap: Any, low: float, high: float) -> None:
        self.ax.imshow(
            values.reshape(STEPS, STEPS), cmap=cmap, vmin=low, vmax=high, extent=self.extent, origin="lower",
            aspect="auto", interpolation="nearest",
        )  # fmt: skip

    def _line(self, values: np.ndarray, level: float) -> None:
        if values.min() < level < values.max():
            self.ax.contour(
                self.axis_x, self.axis_y, values.reshape(STEPS, STEPS), [level], colors="#333333", linewidths=1.2
            )
