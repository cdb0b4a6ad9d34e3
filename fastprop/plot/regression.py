"""Numbers that were predicted, against those that were true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import check_bool
from ..checks import as_array, check_rows
from ..frames import column_names, is_frame
from . import style
from .inputs import check_finite, check_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 20_000  # of one output; with more, every k-th sample is drawn


def predictions(model: Any, X: Any, y: Any, residuals: bool = False, ax: Axes | None = None) -> Axes:
    """Draw predicted against true numbers with the diagonal, or what is missing from predictions against these.

    Parameters
    ----------
    model : Network, estimator or pipeline
        A fitted regressor, of one output or several.
    X : array-like of shape (n_samples, n_features)
        What `model.predict` takes.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The truth. Each output has a colour, and its name if y is a data frame.
    residuals : bool, default False
        Draw y - prediction against the prediction, and a line at 0.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or those of the new figure.

    Raises
    ------
    TypeError, ValueError
        If the model does not predict numbers, y does not fit or is not finite.

    Notes
    -----
    The legend has the R2 of each output over all samples, of at most 20 outputs. Of more than 20,000 samples an even
    choice is drawn.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> model = fp.SGDRegressor(random_state=0).fit(X, X @ [1.0, 2.0, 3.0])
    >>> ax = fp.plot.predictions(model, X, X @ [1.0, 2.0, 3.0], residuals=True)
    """
    style.check_axes(ax)
    check_bool("residuals", residuals)
    check_model(model, "regression")
    predicted = _columns(model.predict(X), "predictions")
    truth = _columns(y, "y")
    check_rows(truth, len(predicted), "y")
    if truth.shape != predicted.shape:
        raise ValueError(f"y must have the {predicted.shape[1]} outputs of the model, got {truth.shape[1]}")
    if not len(truth):
        raise ValueError("y is empty: it has 0 rows")
    ax = style.axes_for(ax, (5.0, 3.8) if residuals else (4.6, 4.4))
    names = _names(y, truth.shape[1])
    step = -(-len(truth) // MOST_POINTS)
    alpha = float(np.clip(300 / len(truth), 0.15, 0.8))
    for j, colour in enumerate(style.colours(truth.shape[1])):
        across, up = (predicted, truth - predicted) if residuals else (truth, predicted)
        label = f"{names[j]}R2 {_r2(truth[:, j], predicted[:, j]):.3f}"
        ax.scatter(across[::step, j], up[::step, j], 14, color=[colour], alpha=alpha, linewidths=0, label=label)
    if residuals:
        ax.axhline(0.0, color=style.GREY, linewidth=1)
        ax.set(xlabel="predicted", ylabel="true - predicted")
    else:
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        ax.plot(ends, ends, color=style.GREY, linewidth=1, label="_diagonal")
        ax.set(xlabel="true", ylabel="predicted")
        ax.set_aspect("equal", adjustable="datalim")
    for sign in style.legend(ax, frameon=False):
        sign.set_alpha(1.0)
    style.open_frame(ax)
    return ax


def _columns(values: Any, name: str) -> np.ndarray:
    """Finite numbers as float64 of shape (n, n_outputs)."""
    array = as_array(values, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, got {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must be of shape (n_samples,) or (n_samples, n_outputs), got {array.shape}")
    check_finite(array, name)
    return array.reshape(len(array), -1).astype(np.float64)


def _names(y: Any, n_outputs: int) -> list[str]:
    """What the legend calls outputs; one alone has no need of a name."""
    if n_outputs == 1:
        return [""]
    names = column_names(y, "y") if is_frame(y) else None
    return [f"{style.plain(name)}: " for name in names or [f"output {j}" for j in range(n_outputs)]]


def _r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """1 - sum of squared errors / sum of squares around the mean; NaN of a constant."""
    spread = ((truth - truth.mean()) ** 2).sum()
    return float(1.0 - ((truth - predicted) ** 2).sum() / spread) if spread else float("nan")
