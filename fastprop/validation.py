"""Held-out rows: splitting them off, evaluating them, scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import check_fraction
from .callbacks import EarlyStopping
from .checks import AnyMatrix, Matrix, SparseMatrix, first_row
from .losses import Loss
from .targets import Targets, decode, is_multilabel

if TYPE_CHECKING:
    from .network import Network


@dataclass(frozen=True, eq=False)
class Rows:
    """X, y and weights as the kernels read them; `numbers` are the rows to use, by default all."""

    matrix: AnyMatrix
    targets: Targets
    weights: np.ndarray | None
    numbers: np.ndarray | None = None

    @property
    def n_used(self) -> int:
        """How many rows to use."""
        return self.matrix.n_rows if self.numbers is None else len(self.numbers)

    @property
    def weights_used(self) -> np.ndarray | None:
        """The weights of the rows to use."""
        return self.weights if self.weights is None or self.numbers is None else self.weights[self.numbers]


def check_some_weight(weights: np.ndarray | None) -> None:
    """Refuse weights that are all zero."""
    if weights is not None and not weights.any():
        raise ValueError("sample_weight must not be zero for all samples")


def check_finite_in(matrix: AnyMatrix, dtype: str, name: str) -> None:
    """Refuse numbers that are not finite in the network's dtype: now, and not after an epoch of training."""
    array = matrix.buffers[0][: matrix.n_stored] if isinstance(matrix, SparseMatrix) else matrix.array
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        at = first_row(array, lambda rows: ~np.isfinite(rows.astype(dtype, copy=False)))
        if at is None:
            return
        bad = np.ravel(array[at])[~np.isfinite(np.ravel(array[at]).astype(dtype))][0]
    row = int(np.searchsorted(matrix.buffers[2], at, side="right")) - 1 if isinstance(matrix, SparseMatrix) else at
    raise ValueError(f"{name} must be finite in {dtype}, got {bad} in row {row}; fill or drop it")


def check_monitor(stopping: EarlyStopping | None, loss: Loss, validates: bool) -> None:
    """Refuse to watch what is not measured."""
    if stopping is None:
        return
    score_name = "r2" if loss.task == "regression" else "accuracy"
    measured = ["loss", *(["val_loss", f"val_{score_name}"] if validates else [])]
    if stopping.monitor not in measured:
        remedy = "" if validates else "; give X_val and y_val, or validation_fraction"
        raise ValueError(
            f"early_stopping: monitor {stopping.monitor!r} is not measured; there are {', '.join(measured)}{remedy}"
        )


def split(net: Network, rows: Rows, X_val: Any, y_val: Any, fraction: Any) -> tuple[Rows, Rows | None]:
    """Rows to train on and rows to validate with.

    Parameters
    ----------
    net : Network
    rows : Rows
    X_val, y_val : array-like or None
    fraction : float in [0, 1)
        Excludes X_val.

    Returns
    -------
    train, held_out : Rows, Rows or None
        A fraction is copied out of X, the rest of X is described by row numbers.
    """
    fraction = check_fraction("validation_fraction", fraction)
    if (X_val is None) != (y_val is None):
        raise ValueError(f"X_val and y_val must be given together, got only {'y_val' if X_val is None else 'X_val'}")
    if X_val is not None:
        if fraction:
            raise ValueError(f"give either X_val and y_val or validation_fraction, got both (fraction {fraction})")
        matrix, targets = net._check_data(X_val, y_val, names=("X_val", "y_val"))
        check_finite_in(matrix, net.dtype, "X_val")
        return rows, Rows(matrix, targets, None)
    if not fraction:
        return rows, None
    check_finite_in(rows.matrix, net.dtype, "X")
    n = rows.matrix.n_rows
    held = held_out_rows(n, fraction, rows.targets.codes, net.seed)
    if len(held) in (0, n):
        raise ValueError(f"validation_fraction={fraction} of {n} rows leaves no rows to validate with or to train on")
    train = np.setdiff1d(np.arange(n, dtype=np.int64), held, assume_unique=True)
    return replace(rows, numbers=train), take(rows, held)


def held_out_rows(n: int, fraction: float, codes: np.ndarray | None, seed: int, partition: int = 0) -> np.ndarray:
    """Sorted row numbers of a random part; the same part of each class where there are labels.

    Partitions of a cluster draw each their own; those of partition 0 are those of rows that are no partition.
    """
    rng = np.random.default_rng([seed, 1, partition])  # with 0 the same as without this word
    groups = [np.arange(n)] if codes is None else [np.flatnonzero(codes == c) for c in np.unique(codes)]
    order = np.concatenate([rng.permutation(g) for g in groups])
    # Of each group its share, remainders carried on: the total is right to one row.
    ends = np.cumsum([len(g) for g in groups])
    take_until = np.rint(ends * fraction).astype(int)
    counts = np.diff(take_until, prepend=0)
    starts = ends - [len(g) for g in groups]
    return np.sort(np.concatenate([order[s : s + c] for s, c in zip(starts, counts, strict=True)]))


def take(rows: Rows, numbers: np.ndarray) -> Rows:
    """These rows, copied."""
    array = rows.matrix.array[numbers]
    matrix = type(rows.matrix).of(array) if rows.matrix.is_sparse else Matrix.of(array, "X", rows.matrix.feature_names)
    targets = rows.targets
    y = replace(targets, matrix=Matrix.of(targets.matrix.array[numbers], "y"))
    return Rows(matrix, y, None if rows.weights is None else np.ascontiguousarray(rows.weights[numbers]))


def validator(net: Network, rows: Rows | None) -> Callable[[], dict[str, float]] | None:
    """A function that evaluates the network on held-out rows: {"val_loss": ..., "val_accuracy": ...}."""
    if rows is None:
        return None
    return lambda: {f"val_{k}": v for k, v in net._evaluate(rows.matrix, rows.targets).items()}


def score(raw: np.ndarray, targets: Targets, loss: Loss) -> dict[str, float]:
    """{"accuracy": ...} for labels, {"r2": ...} for numbers, from raw outputs."""
    y = targets.matrix.array
    if loss.task == "regression":
        return {"r2": r2(y, decode(raw, loss, None, one_dimensional=False))}
    codes = decode(raw, loss, None)
    if is_multilabel(loss, raw.shape[1]):
        return {"accuracy": accuracy(codes == (y > 0.5))}
    if targets.codes is not None:
        return {"accuracy": accuracy(codes == targets.codes)}
    truth = y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0.5)
    return {"accuracy": accuracy(codes == truth)}


def r2(y: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> float:
    """1 - residual / total sum of squares, mean over outputs; an output that does not vary scores 1 or 0."""
    y, p = y.astype(np.float64), p.astype(np.float64)
    residual = np.average((y - p) ** 2, axis=0, weights=weights)
    total = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    return _r2(residual, total)


def _r2(residual: np.ndarray, total: np.ndarray) -> float:
    scores = np.where(total > 0, 1.0 - residual / np.where(total > 0, total, 1.0), np.where(residual > 0, 0.0, 1.0))
    return float(scores.mean())


class RunningR2:
    """`r2` of rows that come part by part. Chan, Golub and LeVeque 1983."""

    def __init__(self, n_outputs: int) -> None:
        self.n = 0
        self.mean, self.total, self.residual = (np.zeros(n_outputs) for _ in range(3))

    def add(self, y: np.ndarray, p: np.ndarray) -> None:
        """Take account of targets and predictions, both of shape (n, n_outputs)."""
        y = y.astype(np.float64)
        n, mean = self.n + len(y), y.mean(axis=0)
        step = mean - self.mean
        self.total += ((y - mean) ** 2).sum(axis=0) + step**2 * (self.n * len(y) / n)
        self.residual += ((y - p) ** 2).sum(axis=0)
        self.mean += step * (len(y) / n)
        self.n = n

    def merge(self, other: RunningR2) -> None:
        """Take account of the rows of another one."""
        n = self.n + other.n
        if other.n:
            step = other.mean - self.mean
            self.total += other.total + step**2 * (self.n * other.n / n)
            self.residual += other.residual
            self.mean += step * (other.n / n)
        self.n = n

    @property
    def value(self) -> float:
        """The score of all rows so far."""
        return _r2(self.residual, self.total)


def accuracy(right: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The part of the rows, or of their weights, that is right; of several labels a row all must be."""
    return float(np.average(right.all(axis=1) if right.ndim == 2 else right, weights=weights))
