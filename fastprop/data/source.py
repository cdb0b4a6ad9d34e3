"""Where rows come from: what each kind of file gives to training, block by block."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np

from ..errors import FileError


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of a file that follow each other, as they were read.

    Attributes
    ----------
    rows : ndarray of shape (n, d), scipy CSR of shape (n, d), or pyarrow.RecordBatch
        May be overwritten when the next block is read. Of a record batch the target is one of the columns.
    y : ndarray of shape (n,) or (n, k), or None
        Targets that lie beside the rows.
    file : str
        Where they come from, for messages.
    first : int
        Which row of the file the first one is, from 0; in a file of text the header is none.
    numbers : ndarray of int64, shape (n,), or None
        Which rows of the file they are, where rows between them were left out.
    n_bad : int
        How many were left out because they could not be read.
    line_of : callable, optional
        In which line (from 1) of a file of text a row of it (from 0) begins; None if that cannot be told.
    first_column : int
        The number of the first column in the file, for messages: 1 in most of LIBSVM's format.
    y_file : str, optional
        Where y comes from, if not from `file`.
    """

    rows: Any
    y: np.ndarray | None
    file: str
    first: int
    numbers: np.ndarray | None = None
    n_bad: int = 0
    line_of: Callable[[int], int | None] | None = None
    first_column: int = 0
    y_file: str | None = None

    def __len__(self) -> int:
        return int(self.rows.num_rows if hasattr(self.rows, "num_rows") else self.rows.shape[0])

    def of(self, kept: np.ndarray) -> Block:
        """The block with these of its rows."""
        rows = self.rows.take(kept) if hasattr(self.rows, "schema") else self.rows[kept]
        y = None if self.y is None else self.y[kept]
        return replace(self, rows=rows, y=y, numbers=self.row_numbers(kept))

    def row_numbers(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Which rows of the file these rows of the block are; by default all."""
        numbers = np.arange(self.first, self.first + len(self)) if self.numbers is None else self.numbers
        return numbers if rows is None else numbers[rows]

    def bad(
        self, i: int, what: str, column: object = None, rows: np.ndarray | None = None, of_y: bool = False
    ) -> FileError:
        """The error for row `i` of the block, or of these rows of it; `of_y` says that its target is what is wrong."""
        row = int(self.row_numbers(rows)[i])
        line = None if self.line_of is None else self.line_of(row)
        return bad_row((of_y and self.y_file) or self.file, row, what, column, line)

    def unreadable(self, most: int) -> list[int]:
        """Which rows of the file were left out, the first `most` of them."""
        missing = np.setdiff1d(np.arange(self.first, self.first + len(self) + self.n_bad), self.row_numbers())
        rows: list[int] = missing[:most].tolist()
        return rows


Memory: TypeAlias = Callable[[int, np.dtype[Any]], "np.ndarray | None"]  #: room for n rows of a dtype, if there is


class Source(ABC):
    """Rows on disk, or from an iterator.

    A source whose rows can be had in any order is made of *pieces*, each of which is read from its beginning: blocks of
    an .npy file, row groups of Parquet. A sequential one is a single piece. A source may be read by several threads at
    once, each with iterators of its own.

    Attributes
    ----------
    name : str
        For people: a path, or "12 files, first train-00.parquet".
    n_samples : int or None
        Rows, where they are known without reading all.
    columns : dict of str to str
        For record batches: name and kind, "number" or "text", of each column, target included. Else empty.
    """

    is_sequential: ClassVar[bool] = False
    reads_into_memory: ClassVar[bool] = False  #: whether `read` takes `memory`, to put rows where they are wanted
    likely_rows: int | None = None  #: an estimate, where `n_samples` is unknown
    reads_once: bool = False  #: whether the rows are gone when they have been read

    name: str
    n_samples: int | None
    columns: dict[str, str]

    @property
    @abstractmethod
    def n_pieces(self) -> int:
        """How many pieces there are."""

    @abstractmethod
    def rows_of(self, piece: int) -> int | None:
        """Rows of a piece, bad ones included; None where only reading tells."""

    @abstractmethod
    def read(self, piece: int, skip_bad: bool = False) -> Iterator[Block]:
        """The blocks of a piece, in the order of the file, of some 0.5 to 8 MB each.

        Parameters
        ----------
        piece : int
        skip_bad : bool
            Leave out rows that cannot be read and count them in `Block.n_bad`, instead of raising. What is damaged
            beyond rows is an error all the same.

        Raises
        ------
        FileError
            With file, row and column, if rows cannot be read, or the file is damaged or shrank.
        OSError
            If it cannot be opened.
        """

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """The number of the row that each piece begins with, bad rows counted: shape (n_pieces,), int64."""
        sizes = [self.rows_of(piece) or 0 for piece in range(self.n_pieces - 1)]
        return np.cumsum([0, *sizes], dtype=np.int64)

    def only(self, columns: Sequence[str] = ()) -> Source:
        """A source of the same targets that reads as little else as it can.

        Parameters
        ----------
        columns : sequence of str
            For record batches: the columns that are wanted.
        """
        return self

    def including(self, names: Collection[str]) -> Source:
        """A source that reads these columns too, where it leaves out some unless they are asked for."""
        return self

    def files_of(self, piece: int) -> tuple[str, ...]:
        """The files that a piece is read from, where rows can be had in any order."""
        return ()

    def at_once(self, n_bytes: int) -> int:
        """How many pieces may be read side by side with so much memory for what reading one holds; at least 1."""
        return 1


class Features(Protocol):
    """What turns a block into what a network learns from."""

    @property
    def n_features(self) -> int:
        """Columns of X."""

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Their names, where there are any."""

    @property
    def has_target(self) -> bool:
        """Whether `transform` gives a y."""

    def target(self, block: Block) -> np.ndarray | None:
        """The y of `transform`; the block need not have other columns than those of the target."""

    def transform(self, block: Block) -> tuple[Any, np.ndarray | None]:
        """X, an ndarray of shape (n, n_features) or CSR, and y.

        Missing and infinite numbers come through as they are, a missing label as None: the reader refuses or leaves
        out such rows. y may be numbers (n,) or (n, k), or labels of any type (n,).
        """


@dataclass(frozen=True)
class AsTheyAre:
    """Rows of a matrix without change."""

    n_features: int
    has_target: bool
    feature_names: tuple[str, ...] | None = None

    def target(self, block: Block) -> np.ndarray | None:
        return block.y

    def transform(self, block: Block) -> tuple[Any, np.ndarray | None]:
        return block.rows, block.y


def selected(blocks: Iterable[Block], columns: Iterable[str]) -> Iterator[Block]:
    """Blocks of record batches with these columns only."""
    names = list(columns)
    for block in blocks:
        yield replace(block, rows=block.rows.select(names))


def bad_row(file: str, row: int, what: str, column: object = None, line: int | None = None) -> FileError:
    """The error for a row that cannot be used.

    Parameters
    ----------
    file : str
    row : int
        From 0.
    what : str
        What is wrong: "got 'abc', expected a number".
    column : str or int, optional
    line : int, optional
        Of a file of text, from 1.
    """
    where = f"{file}, row {row}" + (f" (line {line})" if line is not None else "")
    if column is not None:
        where += f", column {column!r}"
    return FileError(f"{where}: {what}")
