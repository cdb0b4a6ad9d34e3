"""What pictures are drawn of: models of any library, labels of any type, numbers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..checks import as_array, check_rows
from ..labels import positions, some, unique_labels
from ..network import Network

Array = np.ndarray


def numbers(values: Any, name: str) -> Array:
    """`values` as float64 of shape (n,).

    Raises
    ------
    TypeError
        If they are no numbers.
    ValueError
        If they are not one list of them.
    """
    array = as_array(values, name)
    if array.dtype.kind not in "biuf" and len(array.reshape(-1)):
        raise TypeError(f"{name} must hold numbers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers, got shape {array.shape}")
    return array.astype(np.float64)


def check_finite(array: Array, name: str) -> None:
    """Refuse NaN and infinity in an array of one or two axes, naming the first row that has one."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = tuple(np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[place]} in row {place[0]}")


def check_model(model: Any, task: str) -> None:
    """Refuse what cannot predict, and what learnt the other task: "classification" or "regression".

    Raises
    ------
    TypeError
        If `model` has no `predict`, or is a class and no object of it.
    ValueError
        If it is known to do the other task.
    """
    if isinstance(model, type):
        raise TypeError(f"model must be an object, got the class {model.__name__}: call it, and fit")
    if not callable(getattr(model, "predict", None)):
        raise TypeError(f"model must be a Network or an estimator with predict, got {type(model).__name__}")
    other = {"classification": "regression", "regression": "classification"}[task]
    if task_of(model) == other:
        wanted = {"classification": "predict labels", "regression": "predict numbers"}[task]
        raise ValueError(f"model must {wanted}; this {type(model).__name__} does {other}")


def task_of(model: Any) -> str | None:
    """ "classification", "regression", or None where nobody knows."""
    if isinstance(model, Network):
        return "regression" if model.loss.task == "regression" else "classification"
    base = sys.modules.get("sklearn.base")  # whoever has an estimator of it has loaded it
    if base is not None and hasattr(model, "__sklearn_tags__"):
        if base.is_regressor(model):
            return "regression"
        if base.is_classifier(model):
            return "classification"
    return None


def predicted_labels(model: Any, X: Any) -> Array:
    """One label a row.

    Raises
    ------
    ValueError
        If the model gives several.
    """
    found = as_array(model.predict(X), "predictions")
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ValueError(
            f"model must predict one label a row, this {type(model).__name__} gives {found.shape[1]} answers: "
            f"draw one of them at a time"
        )
    return found


def labels(y: Any, n_rows: int) -> Array:
    """y as labels of shape (n_rows,).

    Raises
    ------
    ValueError, TypeError
        If there are several a row, not as many as rows, or some are missing.
    """
    array = as_array(y, "y")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"y must hold one label a row, shape (n_samples,), got shape {array.shape}")
    check_rows(array, n_rows, "y")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"y must hold labels, got {array[row]} in row {row}")
    unique_labels(array, "y")
    return array


def classes_of(model: Any, *seen: Array) -> Array:
    """All labels there are: those of the model if it says them, else those that were seen."""
    known = getattr(model, "classes_", None)
    if known is not None:
        return np.asarray(known)
    kinds = {array.dtype.kind in "biuf" for array in seen}
    parts = [array.astype(object) for array in seen] if len(kinds) > 1 else list(seen)
    return unique_labels(np.concatenate(parts), "y and predictions")[0]


def codes(values: Array, classes: Array, name: str) -> Array:
    """The place of each label among the classes.

    Raises
    ------
    ValueError
        Naming labels that are none of them.
    """
    places, known = positions(values, classes)
    if not known.all():
        unseen = list(dict.fromkeys(values[~known].tolist()))
        raise ValueError(f"{name} has labels that the model does not know: {some(unseen)}; it knows {some(classes)}")
    return places
