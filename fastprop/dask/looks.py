"""What a worker tells of a partition before the first round: what its rows look like, and the first that is bad."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import AnyMatrix, SparseMatrix, check_matrix, check_rows, check_weights, first_row
from ..data.dataset import Dataset
from ..data.filling import Part as GoodRows
from ..data.usable import Labels as data_labels
from ..data.usable import one_column
from ..errors import FileError
from ..frames import is_frame
from ..labels import first_fraction, positions, some, unique_labels
from ..layers import Layer
from ..losses import Loss
from ..models import check_sparse, n_outputs
from ..targets import are_probabilities, is_multilabel, prepare_targets, read_targets
from ..validation import check_finite_in
from .file_parts import PASS_BYTES, FilePart, pass_rows
from .job import this_worker
from .parts import MemoryPart, Part

TARGETS_AT_A_TIME = 1 << 18  # of a file


@dataclass(frozen=True, eq=False)
class Question:
    """What a network is, as far as rows have to fit it; without layers it has as many outputs as y needs."""

    layers: Sequence[Layer]
    loss: Loss
    dtype: str
    classes: np.ndarray | None
    validation_fraction: float = 0.0
    seed: int = 0
    suffix: str = ""  # of the names of X and y in messages, such as "_val"


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of y, sorted, and how many rows have each; `probabilities` are numbers instead, within 0..1."""

    distinct: np.ndarray
    counts: np.ndarray
    probabilities: bool = False


@dataclass(frozen=True, eq=False)
class Numbers:
    """Rows, and mean and variance of y, where it holds numbers or soft targets."""

    n: int
    mean: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of a partition.

    Attributes
    ----------
    number, n_rows, n_columns, n_bytes : int
        The bytes are those of X.
    names : tuple of str, or None
        Of the columns.
    dtypes : tuple of str
        Of X; of each column of a data frame.
    y_shape : tuple of int
        Of one row of y.
    y : Labels or Numbers, or None
        None where there are no rows.
    weight : float
        The sum of the sample weights.
    error : Exception, or None
        What is wrong with the first bad row, or with all of them.
    n_held : int
        Of the rows, those to validate with.
    n_skipped : int
        Bad rows that are left out.
    sizes : ndarray of int, or None
        Of files: rows to train on of each piece.
    suffix : str
        See `Question`.
    """

    number: int
    n_rows: int = 0
    n_columns: int = 0
    n_bytes: int = 0
    names: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] = ()
    y_shape: tuple[int, ...] = ()
    y: Labels | Numbers | None = None
    weight: float = 0.0
    error: Exception | None = None
    n_held: int = 0
    n_skipped: int = 0
    sizes: np.ndarray | None = None
    suffix: str = ""

    @property
    def x(self) -> str:
        """What messages call the rows."""
        return f"X{self.suffix} of partition {self.number}"

    @property
    def of_y(self) -> str:
        """What messages call their targets."""
        return f"y{self.suffix} of partition {self.number}"


def look(part: Part, question: Question) -> Look:
    """Look at all rows of a partition. An error is part of what is told: the client raises that of the first one."""
    name = f"partition {part.number}" + (f" of X{question.suffix}" if question.suffix else "")
    try:
        if isinstance(part, FilePart):
            return replace(_look_at_files(part, question), suffix=question.suffix)
        assert isinstance(part, MemoryPart)
        return replace(_look(part, question), suffix=question.suffix)
    except FileError as error:
        return Look(part.number, error=FileError(f"{name}: {error}"))
    except OSError as error:
        what = f"worker {this_worker()[0]} cannot read {name}: {error.strerror}"
        return Look(part.number, error=type(error)(error.errno, what, error.filename))
    except (ValueError, TypeError) as error:
        return Look(part.number, error=error)


def _look(part: MemoryPart, question: Question) -> Look:
    suffix, of = question.suffix, f"of partition {part.number}"
    x, y_name = f"X{suffix} {of}", f"y{suffix} {of}"
    if part.X is None or not hasattr(part.X, "__len__"):
        raise TypeError(f"{x} must be a 2-D array or a data frame, got {type(part.X).__name__}")
    n = len(part)
    if part.y is None:
        raise ValueError(f"{y_name} is missing: lists of X alone must hold pairs (X, y)")
    if n == 0:
        check_rows(np.asarray(part.y), 0, y_name)
        return Look(part.number)
    matrix = check_matrix(part.X, x)
    if question.layers:
        check_sparse(question.layers, matrix, x)
    check_finite_x(matrix, question.dtype, x)
    array = read_targets(part.y, y_name)
    weights = check_weights(part.weight, n, f"sample_weight {of}")
    if weights is not None and not (weights.max() == 0 or 1e-100 < weights.max() < 1e100):
        raise ValueError(f"sample_weight {of} must be within 1e-100..1e100, got {weights.max():g}")
    return Look(
        part.number,
        n,
        matrix.n_columns,
        _bytes_of(matrix),
        matrix.feature_names,
        dtypes_of(part.X, matrix),
        array.shape[1:],
        look_at_targets(array, question, n, _outputs(question.layers, matrix.n_columns), y_name),
        float(n if weights is None else weights.sum()),
        n_held=round(n * question.validation_fraction),
    )


def _look_at_files(part: FilePart, question: Question) -> Look:
    """One pass over the pieces, block by block."""
    data, known, fraction = part.data, question.classes, question.validation_fraction
    codes = data_labels(known) if part.numbers is None and known is not None else None
    windows = part.windows(data, question.dtype, codes, part.pieces)
    train = part.split(fraction)[0].of_pieces(part.pieces) if fraction else None
    sizes, n_rows = np.zeros(len(part.pieces), np.int64), 0
    seen: list[Labels | Numbers] = []
    ys: list[np.ndarray] = []
    width = _outputs(question.layers, data.n_features)
    name = f"y{question.suffix} of partition {part.number}"
    y_shape: tuple[int, ...] = ()

    def look_at_ys() -> None:
        y = np.concatenate(ys)
        seen.append(look_at_targets(y, question, len(y), width, name))
        ys.clear()

    for rows in windows.parts(0):
        assert rows.y is not None
        sizes[rows.round] += _n_to_train(rows, train)
        n_rows += rows.X.shape[0]
        ys.append(np.array(rows.y) if codes is None else codes.classes[rows.y])
        y_shape = ys[-1].shape[1:]
        if sum(map(len, ys)) > TARGETS_AT_A_TIME:
            look_at_ys()
    if ys:
        look_at_ys()
    return Look(
        part.number,
        n_rows,
        data.n_features,
        int(n_rows * PASS_BYTES / max(1, pass_rows(data, question.dtype))),
        None,
        (str(data.dtype),),
        y_shape,
        functools.reduce(merged, seen) if seen else None,
        float(n_rows),
        n_held=n_rows - int(sizes.sum()),
        n_skipped=windows.n_skipped,
        sizes=sizes,
    )


def _n_to_train(rows: GoodRows, train: Dataset | None) -> int:
    """How many rows of a block are not held out."""
    n = int(rows.X.shape[0])
    if train is None:
        return n
    members = train.members(rows.round, rows.taken, len(rows.block))
    if members is None or rows.kept is None:
        return n if members is None else len(members)
    return int(np.isin(rows.kept, members, assume_unique=True).sum())


def merged(one: Labels | Numbers, other: Labels | Numbers) -> Labels | Numbers:
    """What is told of the rows of both."""
    if isinstance(one, Labels) and isinstance(other, Labels):
        distinct, at = np.unique(np.concatenate([one.distinct, other.distinct]), return_inverse=True)
        counts = np.bincount(at, np.concatenate([one.counts, other.counts]), len(distinct)).astype(np.intp)
        return Labels(distinct, counts, one.probabilities or other.probabilities)
    assert isinstance(one, Numbers)
    assert isinstance(other, Numbers)
    n = one.n + other.n
    mean = one.mean + (other.mean - one.mean) * (other.n / n)
    apart = (one.mean - other.mean) ** 2 * (one.n * other.n / n**2)
    return Numbers(n, mean, (one.n * one.variance + other.n * other.variance) / n + apart)


def _outputs(layers: Sequence[Layer], n_columns: int) -> int | None:
    return n_outputs(layers, n_columns) if layers else None


def dtypes_of(X: Any, matrix: AnyMatrix) -> tuple[str, ...]:
    """The dtype of an array, or those of the columns of a data frame."""
    if is_frame(X):
        dtypes = X.schema.types if hasattr(X, "schema") and hasattr(X.schema, "types") else X.dtypes
        return tuple(map(str, dtypes))
    return (str(matrix.array.dtype),)


def check_finite_x(matrix: AnyMatrix, dtype: str, name: str) -> None:
    """Refuse numbers that are not finite in the network's dtype, naming row and column."""
    if isinstance(matrix, SparseMatrix):
        check_finite_in(matrix, dtype, name)
        return
    array = matrix.array
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        row = first_row(array, lambda rows: ~np.isfinite(rows.astype(dtype, copy=False)))
        if row is None:
            return
        column = int(np.argmin(np.isfinite(array[row].astype(dtype))))
    shown = column if matrix.feature_names is None else repr(matrix.feature_names[column])
    value = array[row, column]
    why = "must be finite" if not np.isfinite(value) else f"must be finite in {dtype}"
    raise ValueError(f"{name} {why}, got {value} in row {row}, column {shown}; fill or drop it")


def look_at_targets(
    y: np.ndarray, question: Question, n_rows: int, n_outputs: int | None, name: str
) -> Labels | Numbers:
    """What y is: as `targets.prepare_targets` sees it, but that a partition need not hold all labels."""
    loss, known = question.loss, question.classes
    check_rows(y, n_rows, name)
    holds_labels = loss.task != "regression" and not is_multilabel(loss, n_outputs or 1) and one_column(y).ndim == 1
    if not holds_labels:
        targets = prepare_targets(y, loss, n_rows, n_outputs, known, may_infer=False, name=name)
        check_finite_in(targets.matrix, question.dtype, name)
        if targets.codes is not None and targets.classes_ is not None:  # one-hot
            counts = np.bincount(targets.codes, minlength=len(targets.classes_))
            return Labels(targets.classes_[counts > 0], counts[counts > 0])
        numbers = targets.matrix.array.astype(np.float64)
        return Numbers(n_rows, numbers.mean(axis=0), numbers.var(axis=0))
    y = one_column(y)
    if not question.layers and y.dtype.kind == "f" and (row := first_fraction(y)) is not None:
        raise ValueError(f"labels in {name} must be whole numbers, got {y[row]} in row {row}")
    if y.dtype.kind in "fcV" and (y.dtype.kind != "f" or not np.isfinite(y).all() or first_fraction(y) is not None):
        prepare_targets(y, loss, n_rows, n_outputs, known, may_infer=False, name=name)  # refuses all but probabilities
        assert are_probabilities(y, known)
        return Labels(np.arange(2), np.zeros(2, np.intp), probabilities=True)
    distinct, codes = unique_labels(y, name)
    if known is not None:
        _, is_known = positions(distinct, known)
        if not is_known.all():
            raise ValueError(
                f"{name} has labels never seen in fit: {some(distinct[~is_known])}; known are {some(known)}"
            )
    n_classes = len(distinct) if n_outputs is None else max(2, n_outputs)
    if len(distinct) > n_classes:
        raise ValueError(
            f"{name} has {len(distinct)} distinct labels ({some(distinct)}), but the network is for {n_classes} classes"
        )
    return Labels(distinct, np.bincount(codes))


def _bytes_of(matrix: AnyMatrix) -> int:
    if isinstance(matrix, SparseMatrix):
        return sum(buffer.nbytes for buffer in matrix.buffers)
    return int(matrix.array.nbytes)
