"""Scores of a linear model, what they say, and how good they are on rows held out of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.utils.extmath import safe_sparse_dot

from ..checks import is_sparse
from ..validation import accuracy, r2

Array = NDArray[Any]
Judge: TypeAlias = Callable[[Any, Any], float]
"""From weights and intercept to a number, higher is better."""

BLOCK = 1 << 20  # numbers that are cast at once


def linear_scores(X: Any, coef: Any, intercept: Any) -> Array:
    """X @ coef.T + intercept. X of another dtype than coef is cast a block of rows at a time, not copied whole."""
    scores: Array
    if type(X) is np.ndarray and type(coef) is np.ndarray and (X.dtype == coef.dtype or X.size <= BLOCK):
        scores = X @ coef.T + intercept
        return scores
    if is_sparse(X) or is_sparse(coef):
        scores = safe_sparse_dot(X, coef.T, dense_output=True) + intercept
        return scores
    step = max(1, BLOCK // X.shape[1])
    blocks: Array = np.concatenate([X[i : i + step] @ coef.T for i in range(0, len(X), step)])
    blocks += intercept
    return blocks


def probabilities(scores: Array, loss: str) -> Array:
    """Probabilities of the classes from scores of shape (n_samples,) or (n_samples, n_classes)."""
    p = expit(scores) if loss == "log_loss" else (np.clip(scores, -1.0, 1.0) + 1.0) / 2.0
    if p.ndim == 1:
        return np.stack([1.0 - p, p], axis=1)
    p[p.sum(axis=1) == 0.0] = 1.0  # no class wants the row: all are equal
    p /= p.sum(axis=1, keepdims=True)
    return np.asarray(p)


def accuracy_judge(X: Any, member: Array, sample_weight: Array | None) -> Judge:
    """The part of the rows (or of their weights) on the right side of a hyperplane."""
    return lambda coef, intercept: accuracy((linear_scores(X, coef, intercept).ravel() > 0) == member, sample_weight)


def classes_judge(X: Any, codes: Array, sample_weight: Array | None) -> Judge:
    """The part of the rows whose class has the highest score, or is on the right side of the only hyperplane."""

    def judge(coef: Any, intercept: Any) -> float:
        scores = linear_scores(X, coef, intercept)
        found = scores.argmax(axis=1) if scores.shape[1] > 1 else scores.ravel() > 0
        return accuracy(found == codes, sample_weight)

    return judge


def r2_judge(X: Any, y: Array, sample_weight: Array | None) -> Judge:
    """R2 of the predictions."""
    return lambda coef, intercept: r2(y, linear_scores(X, coef, intercept).ravel(), sample_weight)
