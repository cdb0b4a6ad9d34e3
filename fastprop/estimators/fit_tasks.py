"""A fit as scikit-learn's callbacks see it: one task, and below it one for each epoch.

    @with_callbacks
    def fit(self, X, y, sample_weight=None):
        tasks = FitTasks(self, max_epochs, X, y, sample_weight)
        for ...:
            tasks.begin_epoch(self._fitted)
            ...
            if tasks.end_epoch(self._fitted):
                break
        tasks.end()

The estimator derives from `CallbackSupportMixin`, which has `set_callbacks`; scikit-learn's `with_callbacks` tells
callbacks when all is over. Without callbacks nothing is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Attributes: TypeAlias = Callable[[], dict[str, Any]]
"""Gives the fitted attributes that a copy of the estimator needs to predict; called only if a callback asks for one."""


class FitTasks:
    """The tasks of one call of `fit`; making it begins the outer one.

    Parameters
    ----------
    estimator : CallbackSupportMixin
    max_epochs : int or None
        How many epochs there are at most, if known.
    X, y : array-like
        The validated data.
    sample_weight : ndarray of shape (n_samples,), optional
    """

    def __init__(self, estimator: Any, max_epochs: int | None, X: Any, y: Any, sample_weight: Any = None) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit: Any = None
        self._epoch: Any = None
        if getattr(estimator, "_skl_callbacks", None):
            self._fit = estimator._init_callback_context(max_subtasks=max_epochs)
            self._fit.call_on_fit_task_begin(**self._given)

    def begin_epoch(self, attributes: Attributes) -> None:
        """Begin the next epoch."""
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._given, reconstruction_attributes=attributes)

    def end_epoch(self, attributes: Attributes) -> bool:
        """End the epoch; returns whether a callback wants to stop."""
        if self._fit is None:
            return False
        return bool(self._epoch.call_on_fit_task_end(**self._given, reconstruction_attributes=attributes))

    def end(self) -> None:
        """End the fit; the estimator has its fitted attributes."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._given, reconstruction_attributes={})
