"""Which classes are taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .inputs import check_model, classes_of, codes, labels, predicted_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_WITH_SHARES, MOST_WITH_COUNTS = 8, 20  # classes; with more there is room for the colours only
MOST_TICKS = 30


def confusion(model: Any, X: Any, y: Any, ax: Axes | None = None) -> Axes:
    """Draw how many samples of each class (rows) were taken for which (columns).

    The colour is the share of the row; up to 8 classes have count and share written in each cell, up to 20 the count.

    Parameters
    ----------
    model : Network, estimator or pipeline
        A fitted classifier.
    X : array-like of shape (n_samples, n_features)
        What `model.predict` takes.
    y : array-like of shape (n_samples,)
        The true labels, of any type.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or those of the new figure.

    Raises
    ------
    TypeError, ValueError
        If the model does not predict one label a row, or y does not fit.

    Examples
    --------
    >>> import fastprop as fp
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = fp.MLPClassifier(learning_rate_init=0.01, tol=1e-3, random_state=0).fit(X / X.max(axis=0), y)
    >>> ax = fp.plot.confusion(model, X / X.max(axis=0), y)
    """
    style.check_axes(ax)
    check_model(model, "classification")
    predicted = predicted_labels(model, X)
    truth = labels(y, len(predicted))
    if not len(truth):
        raise ValueError("y is empty: it has 0 rows")
    classes = classes_of(model, predicted, truth)
    rows, columns = codes(truth, classes, "y"), codes(predicted, classes, "predictions")
    n = len(classes)
    counts = np.bincount(rows * n + columns, minlength=n * n).reshape(n, n)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.0 + 0.55 * n, 3.6, 8.0))
    ax = style.axes_for(ax, (side + 0.9, side))
    image = ax.imshow(shares, cmap=style.FROM_ZERO, vmin=0.0, vmax=1.0)
    if n <= MOST_WITH_COUNTS:
        _write(ax, counts, shares)
    shown = np.unique(np.linspace(0, n - 1, min(n, MOST_TICKS)).round().astype(int))
    names = [style.plain(label) for label in classes[shown]]
    style.name_ticks(ax, shown, names)
    ax.set_yticks(shown, names)
    ax.set(xlabel="predicted", ylabel="true")
    n_right = int(np.trace(counts))
    ax.set_title(f"{n_right:,} of {len(truth):,} right ({n_right / len(truth):.1%})", loc="left", fontsize="medium")
    ax.figure.colorbar(image, ax=ax, label="share of the true class", shrink=0.8)
    return ax


def _write(ax: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """The number in each cell, and its share of the row where there is room."""
    n = len(counts)
    for i, j in np.ndindex(n, n):
        share = f"\n{shares[i, j]:.1%}" if n <= MOST_WITH_SHARES and counts[i, j] else ""
        ax.text(
            j, i, f"{counts[i, j]}{share}", ha="center", va="center", fontsize=9 if n <= MOST_WITH_SHARES else 7,
            color="white" if shares[i, j] > 0.5 else "black" if counts[i, j] else style.FAINT,
        )  # fmt: skip
