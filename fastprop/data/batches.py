"""Rows that Python code gives, batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..arguments import check_positive_int
from ..checks import check_matrix, check_rows, is_sparse
from ..errors import FileError
from .source import Block, Source

NAME = "batches"  # what messages call such data


class BatchSource(Source):
    """Batches (X, y), or X alone, from an iterator.

    Parameters
    ----------
    batches : callable or iterable
        A function without arguments that gives a new iterator whenever the data are read again, such as a generator
        function; an iterable such as a list; or an iterator, whose data can be read once.
    n_samples : int, optional
        Rows in all; FileError when they turn out to be more or fewer.
    """

    is_sequential = True

    def __init__(self, batches: Callable[[], Iterable[Any]] | Iterable[Any], n_samples: int | None = None) -> None:
        if not (callable(batches) or isinstance(batches, Iterable)):
            raise TypeError(f"from_batches takes an iterable or a function that gives an iterator, got {batches!r}")
        self.name, self.columns = NAME, {}
        self.n_samples = None if n_samples is None else check_positive_int("n_samples", n_samples)
        self._batches = batches
        self.reads_once = isinstance(batches, Iterator)
        self._first: list[Any] = []  # of an iterator: what was looked at, to be read again
        self._is_spent = False

    n_pieces = 1

    def rows_of(self, piece: int) -> int | None:
        return self.n_samples

    def peek(self) -> Block:
        """The first block, which stays to be read."""
        return _block(self._first_batch(), 0, 0)[0]

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The columns of the first batch, if it is a data frame."""
        return _block(self._first_batch(), 0, 0)[1]

    def _first_batch(self) -> Any:
        if self.reads_once:
            assert isinstance(self._batches, Iterator)
            if self._is_spent:
                raise self._at_its_end()
            if not self._first:
                self._first = list(itertools.islice(self._batches, 1))
            batches: Iterable[Any] = self._first
        else:
            batches = self._start()
        for batch in batches:
            return batch
        raise FileError(f"{NAME} are empty: the iterator gave nothing")

    def read(self, piece: int, skip_bad: bool = False) -> Iterator[Block]:
        row, first, first_names = 0, None, None
        for number, batch in enumerate(self._start()):
            block, names = _block(batch, number, row)
            if len(block) == 0:
                continue
            if first is None:
                first, first_names = _form(block), names
            if _form(block) != first:
                raise FileError(f"batch {number} of the iterator has {_form(block)}, those before {first}")
            if names != first_names:
                raise FileError(
                    f"batch {number} of the iterator has {_listed(names)}, those before {_listed(first_names)}: all "
                    f"must have the same columns in the same order"
                )
            row += len(block)
            if self.n_samples is not None and row > self.n_samples:
                raise FileError(f"{NAME} hold more rows than n_samples={self.n_samples}: batch {number} ends at {row}")
            yield block
        if self.n_samples is not None and row < self.n_samples:
            raise FileError(f"{NAME} hold {row} rows, fewer than n_samples={self.n_samples}")

    def _start(self) -> Iterable[Any]:
        if callable(self._batches):
            return self._batches()
        if not self.reads_once:
            return self._batches
        if self._is_spent:
            raise self._at_its_end()
        self._is_spent = True
        first, self._first = self._first, []
        return itertools.chain(first, self._batches)

    @staticmethod
    def _at_its_end() -> FileError:
        return FileError(
            f"{NAME}: the iterator was read once and is at its end; give from_batches a function that makes a new "
            f"one, such as a generator function, to read the data again"
        )


def _form(block: Block) -> str:
    """What must be the same for all batches, in words."""
    kind = "CSR" if is_sparse(block.rows) else "dense"
    return f"{block.rows.shape[1]} columns ({kind}) and {'no y' if block.y is None else 'y'}"


def _listed(names: Sequence[str] | None) -> str:
    return "no names of columns" if names is None else f"the columns {', '.join(map(repr, names))}"


def _is_pair(batch: Any) -> bool:
    """Whether a batch is (X, y): a tuple of two, or a list of them, as PyTorch's DataLoader makes, not of two rows."""
    return (isinstance(batch, tuple) and len(batch) == 2) or (
        isinstance(batch, list) and len(batch) == 2 and len(np.shape(batch[0])) == 2
    )


def _block(batch: Any, number: int, row: int) -> tuple[Block, tuple[str, ...] | None]:
    """A batch as a block, and the names of its columns if it is a data frame; errors name its number."""
    X, y = batch if _is_pair(batch) else (batch, None)
    try:
        if not is_sparse(X) and not hasattr(X, "columns"):
            X = np.asarray(X)
            if X.ndim == 2 and len(X) == 0:
                return Block(X, None, NAME, row), None
        matrix = check_matrix(X, "X")
        if y is not None:
            y = np.asarray(y)
            check_rows(y, matrix.n_rows, "y")
    except (ValueError, TypeError) as error:
        raise type(error)(f"batch {number} of the iterator: {error}") from error
    return Block(matrix.array, y, NAME, row), matrix.feature_names
