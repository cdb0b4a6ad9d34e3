"""The columns of a block by name, whatever its rows are, and those of numbers as a matrix.

A row-major matrix is made of some thousand rows at a time: its columns are written one below the other and then turned
at once, all in L2 (28 columns of float32: 2.3 ns a value; each written where it belongs, with the stride of a row, 5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrow import codes_of, distinct_of, dtype_of, kind_of, numbers_of
from ..errors import FileError
from .source import Block

SLICE_BYTES = 1 << 20  # of the matrix
LEAST_ROWS, MOST_ROWS = 1024, 8192  # of a slice: fewer are all overhead of NumPy's calls, more gain nothing


@dataclass(frozen=True)
class BlockColumns:
    """A block as columns: those of a record batch, or those of a matrix under the names "0", "1", ...

    Parameters
    ----------
    block : Block
        Its rows are a record batch or an ndarray.
    """

    block: Block

    def __len__(self) -> int:
        return len(self.block)

    @property
    def names(self) -> list[str]:
        rows = self.block.rows
        if not self.is_matrix:
            names: list[str] = rows.schema.names
            return names
        return [str(i) for i in range(rows.shape[1])]

    @property
    def is_matrix(self) -> bool:
        """Whether the rows are those of an ndarray."""
        return not hasattr(self.block.rows, "schema")

    def require(self, names: Collection[str]) -> None:
        """FileError naming the columns that are not there."""
        there = set(self.names)
        absent = [name for name in names if name not in there]
        if absent:
            raise FileError(f"{self.block.file} lacks {_listed(absent)} that the model was trained on")

    def numbers(self, name: str) -> np.ndarray:
        """A column (n,) of any real dtype, NaN where it is missing; FileError for what is no number."""
        rows = self.block.rows
        if self.is_matrix:
            values: np.ndarray = rows[:, int(name)]
            return values
        array = rows.column(name)
        kind = kind_of(array.type)
        if kind == "number":
            return numbers_of(array)
        if kind == "text":
            return self._parsed(name, array)
        raise FileError(f"{self.block.file}: column {name!r} must hold numbers, got {array.type}; convert it")

    def dtype(self, name: str) -> np.dtype[Any]:
        """Of a column of numbers, the same whether or not some are missing."""
        if self.is_matrix:
            dtype: np.dtype[Any] = self.block.rows.dtype
            return dtype
        type_ = self.block.rows.schema.field(name).type
        return dtype_of(type_) if kind_of(type_) == "number" else np.dtype(np.float64)

    def codes(self, name: str, categories: Sequence[str]) -> np.ndarray:
        """The position of each text among `categories` (n,), -1 where it is none of them."""
        return codes_of(self._text(name), categories)

    def distinct(self, name: str) -> list[str]:
        """The different texts of a column, "" among them if some are missing."""
        return distinct_of(self._text(name))

    def missing(self, name: str) -> np.ndarray:
        """Where a column of text is missing or empty, (n,) of bool."""
        missing: np.ndarray = self.codes(name, [""]) == 0
        return missing

    def is_text(self, name: str) -> bool:
        """Whether a column holds text."""
        return not self.is_matrix and kind_of(self.block.rows.schema.field(name).type) == "text"

    def bad(self, i: int, what: str, name: str) -> FileError:
        """The error for row `i` of the block."""
        return self.block.bad(i, what, name)

    def _text(self, name: str) -> Any:
        rows = self.block.rows
        got = "numbers" if self.is_matrix else rows.schema.field(name).type
        if str(got) == "null":  # a file may hold nothing but gaps where another one has text
            return rows.column(name).cast("string")
        if not self.is_text(name):
            raise FileError(f"{self.block.file}: column {name!r} must hold text as in training, got {got}")
        return rows.column(name)

    def _parsed(self, name: str, array: Any) -> np.ndarray:
        """Numbers that were written as text: a file may hold nothing but gaps where another one has numbers."""
        texts = distinct_of(array)
        values = np.array([_number(text) for text in texts])
        wrong = [text for text, value in zip(texts, values, strict=True) if value is None]
        if wrong:
            i = int((codes_of(array, wrong) >= 0).argmax())
            got = wrong[int(codes_of(array.slice(i, 1), wrong)[0])]
            raise self.bad(i, f"got {got!r}, expected a number", name)
        return np.take(values.astype(np.float64), codes_of(array, texts))


def _number(text: str) -> float | None:
    """The number that a text is; NaN for an empty one, None for another text. Python would read 1_000."""
    if not text.strip():
        return float("nan")
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
    return f"the column{'s' if len(names) > 1 else ''} {shown}"


def slices(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Rows to make at a time, so that they stay in the cache from the first step to the last."""
    step = rows_of_slice(n_columns)
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def rows_of_slice(n_columns: int) -> int:
    """How many rows of float32 a slice has at most."""
    return min(max(SLICE_BYTES // (4 * max(1, n_columns)), LEAST_ROWS), MOST_ROWS)


def scratch_of(n_rows: int, n_columns: int, dtype: Any = np.float32) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of rows, each with an array (n_columns, rows) to write them to by columns before they are turned."""
    # 16 more: of rows of 32 KB all columns would want the same few lines of L1 (1.6 instead of 0.6 ns a value).
    scratch = np.empty((n_columns, min(rows_of_slice(n_columns), n_rows) + 16), dtype)
    for rows in slices(n_rows, n_columns):
        yield rows, scratch[:, : rows.stop - rows.start]


def stack(columns: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    """Columns of equal length side by side in a row-major matrix (n, k), each cast once."""
    X = np.empty((len(columns[0]), len(columns)), dtype)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite there, and refused by the reader
        for rows, turned in scratch_of(len(X), len(columns), dtype):
            for row, column in zip(turned, columns, strict=True):
                row[:] = column[rows]
            X[rows] = turned.T
    return X


@dataclass(frozen=True)
class PlainColumns:
    """Columns of numbers as they are.

    Attributes
    ----------
    feature_names : tuple of str
        The columns of X, in this order.
    targets : tuple of str
        Those of y; none: y is what lies beside the rows.
    has_target : bool
        Whether there is a y.
    """

    feature_names: tuple[str, ...]
    targets: tuple[str, ...] = ()
    has_target: bool = False

    @property
    def n_features(self) -> int:
        return len(self.feature_names)

    def transform(self, block: Block) -> tuple[np.ndarray, np.ndarray | None]:
        """X (n, n_features) float32, or float64 if that may not hold a column; y (n,) or (n, k), labels if text."""
        columns = BlockColumns(block)
        columns.require(self.feature_names)
        arrays = [columns.numbers(name) for name in self.feature_names]
        is_narrow = all(np.can_cast(columns.dtype(name), np.float32) for name in self.feature_names)
        return stack(arrays, np.float32 if is_narrow else np.float64), self.target(block)

    def target(self, block: Block) -> np.ndarray | None:
        """The y of `transform`."""
        if not self.targets:
            return block.y
        columns = BlockColumns(block)
        columns.require(self.targets)
        if len(self.targets) == 1 and columns.is_text(self.targets[0]):
            return labels_of(columns, self.targets[0])
        arrays = [columns.numbers(name) for name in self.targets]
        return arrays[0] if len(arrays) == 1 else stack(arrays, np.result_type(*arrays))


def labels_of(columns: BlockColumns, name: str) -> np.ndarray:
    """A column of text as NumPy's strings (n,); as objects, None where it is missing, if some are."""
    texts = sorted(columns.distinct(name))
    codes = columns.codes(name, texts)
    if texts and texts[0] == "":
        return np.take(np.array([None, *texts[1:]], dtype=object), codes)
    return np.take(np.array(texts, dtype=np.str_), codes)
