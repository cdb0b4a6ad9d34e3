"""Which rows of a block can be used: finite numbers, targets that are there, labels that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..labels import is_range, positions, some
from .source import Block

SUM_TOLERANCE = 1e-3  # of a row of soft targets
LEAVE_OUT = "; such rows can be left out: on_bad_rows='skip', --on-bad-rows skip"


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels that y may hold, sorted; turns them into codes."""

    classes: np.ndarray

    def encode(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes int32 (n,), and which labels are known; y is (n,) or (n, 1)."""
        y = one_column(y)
        if y.dtype.kind in "biuf" and is_range(self.classes):
            known = (y >= 0) & (y < len(self.classes)) & (y == np.rint(y))  # not NaN
            return np.where(known, y, 0).astype(np.int32), known
        return positions(y, self.classes)


@dataclass(frozen=True)
class Numbers:
    """What y may be where it holds numbers or soft targets.

    Attributes
    ----------
    dtype : dtype
        Larger floats become this.
    low, high : float
    what : str
        What must be so, for messages: ">= 0 for the loss poisson".
    sums_to_one : bool
        Whether each row must.
    """

    dtype: Any
    low: float = -np.inf
    high: float = np.inf
    what: str = ""
    sums_to_one: bool = False

    def allowed(self, y: np.ndarray) -> np.ndarray | None:
        """Which rows are so, those with NaN among them; None where all are."""
        if not self.what or y.dtype.kind not in "biuf":
            return None
        rows = y.reshape(len(y), -1)
        allowed = ~((rows < self.low) | (rows > self.high)).any(axis=1)
        if self.sums_to_one:
            allowed &= ~(np.abs(rows.sum(axis=1, dtype=np.float64) - 1.0) > SUM_TOLERANCE)
        return np.asarray(allowed)


def usable(
    X: Any,
    y: np.ndarray | None,
    labels: Labels | None,
    block: Block,
    kept: np.ndarray | None,
    skip: bool,
    names: Sequence[str] | None = None,
    targets: Sequence[str] = (),
    numbers: Numbers | None = None,
) -> tuple[Any, np.ndarray | None, np.ndarray | None]:
    """Rows that can be used.

    Parameters
    ----------
    X, y
        Of the rows `kept` of the block, or of all.
    labels : Labels, optional
        y then comes back as codes.
    skip : bool
        Whether to leave bad rows out instead of raising.
    names : sequence of str, optional
        Of the columns of X.
    targets : sequence of str
        Those of y, where they have names.
    numbers : Numbers, optional
        What y must be.

    Returns
    -------
    X, y
    good : ndarray of int64, or None
        Which of the rows they are, where not all are good.

    Raises
    ------
    FileError
        For the first bad row, with file, row and column.
    """
    codes, is_known = (y, None) if labels is None or y is None else labels.encode(y)
    allowed = None if numbers is None or y is None else numbers.allowed(y)
    masks = [is_known, None if labels is not None else finite_rows(y), allowed, finite_rows(X)]
    bad = [~mask for mask in masks if mask is not None and not mask.all()]
    if not bad:
        return X, codes, None
    is_bad = np.logical_or.reduce(bad)
    if not skip:
        i = int(is_bad.argmax())
        if allowed is not None and not allowed[i] and numbers is not None and y is not None:
            name = targets[0] if len(targets) == 1 else None
            raise block.bad(i, f"the target must be {numbers.what}, got {y[i]}", name, kept, of_y=True)
        wrong = _wrong_y(y, labels, i, None if is_known is None else bool(is_known[i]))
        if wrong is not None:
            what, column = wrong
            raise block.bad(i, what, targets[column or 0] if targets else column, kept, of_y=True)
        what, j = _wrong_x(X, i)
        raise block.bad(i, what, block.first_column + j if names is None else names[j], kept)
    good = np.flatnonzero(~is_bad)
    return X[good], None if codes is None else codes[good], good


def one_column(y: np.ndarray) -> np.ndarray:
    """Labels (n,) that may have come as (n, 1)."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def finite_rows(values: Any) -> np.ndarray | None:
    """Which rows are finite and not missing; None where all are.

    A sum is finite if its terms are, unless they are huge: so most blocks are read once, at the speed of memory.
    """
    if values is None:
        return None
    if hasattr(values, "indptr"):
        return _finite_rows_of_csr(values)
    if values.dtype.kind == "O":
        missing = np.array([v is None or v != v for v in values.ravel()]).reshape(values.shape)
        return _whole_rows(~missing)
    if values.dtype.kind != "f":
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float32 if values.dtype.itemsize == 2 else None)):
            return None
    return _whole_rows(np.isfinite(values))


def _whole_rows(good: np.ndarray) -> np.ndarray:
    return good if good.ndim == 1 else np.asarray(good.all(axis=1))


def _finite_rows_of_csr(X: Any) -> np.ndarray | None:
    stored = X.data[: X.indptr[-1]]
    finite = finite_rows(stored)
    if finite is None or finite.all():
        return None
    is_good = np.ones(X.shape[0], bool)
    is_good[np.searchsorted(X.indptr, np.flatnonzero(~finite), side="right") - 1] = False
    return is_good


def _wrong_y(y: Any, labels: Labels | None, i: int, is_known: bool | None) -> tuple[str, int | None] | None:
    """What is wrong with the target of row i, and in which of several columns; None if nothing is."""
    if y is None:
        return None
    if labels is not None:
        if is_known:
            return None
        y = one_column(y)
        label = y[i].item() if isinstance(y[i], np.generic) else y[i]
        if label is None or label != label:
            return f"the target is missing{LEAVE_OUT}", None
        return f"the label {label!r} was never seen before; known are {some(labels.classes)}", None
    target = np.ravel(y[i])
    finite = finite_rows(target)
    if finite is None or finite.all():
        return None
    j = int(np.argmin(finite))
    how = LEAVE_OUT if np.isnan(target[j]) else ""
    return f"the target must be finite, got {target[j]}{how}", j if len(target) > 1 else None


def _wrong_x(X: Any, i: int) -> tuple[str, int]:
    """What is wrong with row i of X, and in which column."""
    row = (X[[i]].toarray() if hasattr(X, "indptr") else X[i : i + 1]).ravel()
    column = int(np.argmin(np.isfinite(row)))
    return f"X must be finite, got {row[column]}; fill or drop it", column
