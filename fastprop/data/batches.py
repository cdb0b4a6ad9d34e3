"""Rows that Python code gives, batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

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
    """

    is_sequential = True

    def __init__(self, batches: Callable[[], Iterable[Any]] | Iterable[Any], n_samples: int | None = None) -> None:
        if not (callable(batches) or isinstance(batches, Iterable)):
            raise TypeError(f"from_batches takes an iterable or a function that gives an iterator, got {batches!r}")
        self.name, self.n_samples, self.columns = NAME, n_samples, {}
        self._batches = batches
        self.reads_once = isinstance(batches, Iterator)
        self._first: list[Any] = []  # of an iterator: what was looked at, to be read again
        self._is_spent = False

    n_pieces = 1

    def rows_of(self, piece: int) -> int | None:
        return self.n_samples

    def peek(self) -> Block:
        """The first block, which stays to be read."""
        return _block(self._first_batch(), 0, 0)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The columns of the first batch, if it is a data frame."""
        batch = self._first_batch()
        X = batch[0] if isinstance(batch, tuple) else batch
        return check_matrix(X, "X").feature_names

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
        row, first = 0, None
        for number, batch in enumerate(self._start()):
            block = _block(batch, number, row)
            if len(block) == 0:
                continue
            first = first or _form(block)
            if _form(block) != first:
                raise FileError(f"batch {number} of the iterator has {_form(block)}, those before {first}")
            yield block
            row += len(block)

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


def _block(batch: Any, number: int, row: int) -> Block:
    """A batch as a block; errors name its number."""
    name = f"batch {number}"
    X, y = batch if isinstance(batch, tuple) and len(batch) == 2 else (batch, None)
    try:
        if not is_sparse(X) and not hasattr(X, "columns"):
            X = np.asarray(X)
            if X.ndim == 2 and len(X) == 0:
                return Block(X, None, NAME, row)
        matrix = check_matrix(X, "X")
        if y is not None:
            y = np.asarray(y)
            check_rows(y, matrix.n_rows, "y")
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name} of the iterator: {error}") from error
    return Block(matrix.array, y, NAME, row)
