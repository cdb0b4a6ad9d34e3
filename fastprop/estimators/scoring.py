"""Held-out rows of an MLP's fit, and the score on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from ..checks import AnyMatrix
from ..losses import Loss
from ..network import Network
from ..passes import raw_outputs
from ..targets import decode
from ..validation import accuracy, r2
from .mlp_labels import Labels


def split_rows(
    n_rows: int, fraction: float, random_state: Any, stratify: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to train on and of those to hold out, sorted; drawn by scikit-learn."""
    train, held = train_test_split(np.arange(n_rows), test_size=fraction, random_state=random_state, stratify=stratify)
    if len(held) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return np.sort(train), np.sort(held)


def scorer(
    matrix: AnyMatrix, y: np.ndarray, weights: np.ndarray | None, loss: Loss, labels: Labels | None
) -> Callable[[Network], float]:
    """A function that gives the accuracy (multilabel: exact matches) or R2 of a network on these rows.

    Parameters
    ----------
    matrix : Matrix or SparseMatrix
    y : ndarray
        Codes as of `Labels.encode`, or numbers.
    weights : ndarray of shape (n_rows,), or None
    loss : Loss
    labels : Labels or None
        None for numbers.
    """

    def score(net: Network) -> float:
        raw = raw_outputs(net, matrix)
        if not np.isfinite(raw).all():
            return float("nan")
        if labels is None:
            return r2(y.reshape(len(y), -1), decode(raw, loss, None, False), weights)
        return accuracy(labels.codes_of(raw, loss) == y, weights)

    return score
