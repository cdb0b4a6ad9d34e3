"""Labels of classifiers: which there are, and one yes-or-no target for each class, without sorting a million rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

COUNTED = 1 << 16  # labels that lie closer together are counted: 3 ms for a million, where sorting takes 20


def distinct_labels(y: Array) -> Array:
    """The sorted labels in y, as `np.unique` gives them."""
    whole = _whole_numbers(y)
    if whole is None:
        distinct: Array = np.unique(y)
        return distinct
    low = whole.min()
    return (np.flatnonzero(np.bincount(whole - low)) + low).astype(y.dtype)


def _whole_numbers(y: Array) -> NDArray[np.int64] | None:
    """y as integers, where it is that and they can be counted."""
    if y.dtype.kind not in "biuf" or len(y) < 1000:
        return None
    low, high = y.min(), y.max()
    if float(high) - float(low) >= COUNTED or max(abs(float(low)), abs(float(high))) >= 2.0**53:
        return None
    whole = y.astype(np.int64)
    return whole if y.dtype.kind != "f" or np.array_equal(whole, y) else None


def memberships(y: Array, classes: Array) -> list[NDArray[np.bool_]]:
    """Whether each row belongs to a class, for each class.

    Raises
    ------
    ValueError
        If y has a label that is not in `classes`.
    """
    masks = [np.asarray(y == c) if y.dtype.kind != "O" else np.fromiter((v == c for v in y), bool) for c in classes]
    if sum(map(np.count_nonzero, masks)) != len(y):
        raise ValueError(f"classes should include all valid labels that can be in y; they are {classes}")
    return masks


def signed(mask: NDArray[np.bool_], low: float, dtype: Any) -> Array:
    """1 for members of a class, `low` for the others."""
    target = mask.astype(dtype)
    if low != 0.0:
        target *= 1.0 - low
        target += low
    return target


def class_weights(class_weight: Any, classes: Array, masks: list[NDArray[np.bool_]]) -> Array:
    """The weight of each class: 1, of a dict, or "balanced": inversely proportional to its number of rows."""
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        counts = np.array([np.count_nonzero(mask) for mask in masks])
        return len(masks[0]) / (len(classes) * np.maximum(counts, 1))
    from sklearn.utils import compute_class_weight

    weights: Array = compute_class_weight(class_weight, classes=classes, y=classes)
    return weights
