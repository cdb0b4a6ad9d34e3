"""Labels of classifiers: which there are, what each weighs, and one yes-or-no target for each class.

A million rows are not sorted for it, nor are they looked up one by one.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Masks: TypeAlias = list[NDArray[np.bool_]]

PLAIN_MOST = 20  # labels; of more, scikit-learn asks whether they are labels at all
FEW = 1000  # that are sorted faster than counted
COUNTED = 1 << 16  # integers that lie closer together are counted: 5 ms for a million, where sorting takes 20


def split_labels(y: Array) -> tuple[Array, Masks | None]:
    """The sorted labels in y, as `np.unique` gives them; of two, or one, also which rows have them."""
    if y.dtype.kind in "biuf":
        one = y == y[0]
        two = y == y[one.argmin()]
        if np.count_nonzero(one) == len(y):
            return y[:1].copy(), [one]
        if np.count_nonzero(one) + np.count_nonzero(two) == len(y):
            masks = [one, two] if y[0] < y[two.argmax()] else [two, one]
            return np.array([y[mask.argmax()] for mask in masks], y.dtype), masks
        if y.dtype.kind in "iu" and len(y) > FEW:
            low, high = y.min(), y.max()
            if int(high) - int(low) < COUNTED:
                above = (y - low).view(f"u{y.itemsize}")  # y's own dtype may have no room for the difference: it wraps
                counted = np.flatnonzero(np.bincount(above.astype(np.int64))).astype(y.dtype)
                return (counted + low).astype(y.dtype), None
    return np.unique(y), None


def memberships(y: Array, classes: Array) -> Masks:
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


def class_weights(class_weight: Any, classes: Array, counts: Any) -> Array:
    """The weight of each class: 1, of a dict, or "balanced": inversely proportional to its rows, `counts`.

    Raises
    ------
    ValueError
        If a class that is to be balanced has no rows, or for what scikit-learn's `compute_class_weight` raises.
    """
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        if not np.all(counts):
            raise ValueError("classes should have valid labels that are in y: a class without rows cannot be balanced")
        balanced: Array = np.sum(counts) / (len(classes) * np.asarray(counts))
        return balanced
    from sklearn.utils import compute_class_weight

    weights: Array = compute_class_weight(class_weight, classes=classes, y=classes)
    return weights
