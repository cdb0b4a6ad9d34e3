"""A window while it is being filled, and when it is full: rows in memory, and where in the epoch they begin."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .source import Block


class Cursor(NamedTuple):
    """Where a window begins in an epoch: the round of pieces, the rows of it that came before, and bad rows so far."""

    round: int = 0
    taken: int = 0
    n_skipped: int = 0


@dataclass(eq=False)
class Window:
    """Rows in memory.

    Attributes
    ----------
    X : ndarray of shape (n, d), or scipy CSR
    y : ndarray or None
    epoch, number : int
        The epoch, and which window of it this is.
    begins : Cursor
    n_skipped : int
        Bad rows of the epoch that were left out up to its end.
    is_last : bool
        Whether the epoch ends with it.
    """

    X: Any
    y: np.ndarray | None
    epoch: int
    number: int
    begins: Cursor
    n_skipped: int
    is_last: bool
    _buffer: tuple[Any, np.ndarray] | None = field(default=None, repr=False)

    @property
    def n_rows(self) -> int:
        return int(self.X.shape[0])

    def release(self) -> None:
        """Its memory may be used again."""
        if self._buffer is not None:
            free, memory = self._buffer
            self._buffer, self.X = None, self.X[:0]
            free.put(memory)


@dataclass(frozen=True)
class Part:
    """Good rows of a block, and where they were.

    Attributes
    ----------
    kept : ndarray of int64, or None
        Which rows of the block they are; None for all.
    round, taken : int
        Rows of the round that came before the block.
    n_skipped : tuple of int
        Bad rows of the epoch before the block and after it.
    """

    X: Any
    y: np.ndarray | None
    block: Block
    kept: np.ndarray | None
    round: int
    taken: int
    n_skipped: tuple[int, int]
    is_rest: bool = False  # whether the block's first rows were read before

    def cursor(self, k: int) -> Cursor:
        """Where a window begins whose first row is row k of this part."""
        if k == 0 and not self.is_rest:
            return Cursor(self.round, self.taken, self.n_skipped[0])
        return Cursor(self.round, self.taken + (k if self.kept is None else int(self.kept[k])), self.n_skipped[1])

    def from_row(self, first: int) -> Part | None:
        """Without rows of the block before `first`; None if none is left. They count as having been read."""
        if first <= 0:
            return self
        kept = np.arange(len(self.block)) if self.kept is None else self.kept
        at = int(np.searchsorted(kept, first))
        if at == len(kept):
            return None
        y = None if self.y is None else self.y[at:]
        done = self.n_skipped[0], self.n_skipped[0]
        return Part(self.X[at:], y, self.block, kept[at:], self.round, self.taken, done, is_rest=True)


class Filling:
    """A window while it is being filled."""

    def __init__(self, n_rows: int, begins: Cursor, memory: np.ndarray | None) -> None:
        self.room, self.begins, self.memory = n_rows, begins, memory
        self.n, self.n_skipped = 0, begins.n_skipped
        self.y: list[np.ndarray] = []

    @property
    def is_full(self) -> bool:
        return self.n == self.room

    def add(self, part: Part, k: int) -> int:
        """Take rows of a part from row k on; returns how many."""
        n = self._take(part, k, min(self.room - self.n, int(part.X.shape[0]) - k))
        if part.y is not None:
            self.y.append(np.array(part.y[k : k + n]))  # the block's memory may be used again
        self.n, self.n_skipped = self.n + n, part.n_skipped[1]
        return n

    def _take(self, part: Part, k: int, n: int) -> int:
        """Take up to n rows of X; returns how many."""
        assert self.memory is not None
        rows, there = part.X[k : k + n], self.memory[self.n : self.n + n]
        if not np.can_cast(rows.dtype, there.dtype, "safe"):
            types = f"X is {rows.dtype}, in the first rows {there.dtype}, which cannot hold it"
            raise part.block.bad(k, f"{types}: give all rows one dtype", rows=part.kept)
        if rows.__array_interface__["data"] != there.__array_interface__["data"]:  # not read there
            there[:] = rows
        return n

    def _matrix(self) -> Any:
        assert self.memory is not None
        return self.memory[: self.n]

    def window(self, epoch: int, number: int, free: queue.SimpleQueue[np.ndarray | None]) -> Window:
        y = np.concatenate(self.y) if self.y else None
        buffer = None if self.memory is None else (free, self.memory)
        return Window(self._matrix(), y, epoch, number, self.begins, self.n_skipped, False, buffer)


class FillingCsr(Filling):
    """One of CSR, which is put together at the end.

    How many entries its rows have is seen only when they are read: it ends with the update that reaches `most_bytes`.
    """

    def __init__(self, n_rows: int, begins: Cursor, update_rows: int, most_bytes: int) -> None:
        super().__init__(n_rows, begins, None)
        self.update_rows, self.most_bytes = update_rows, most_bytes
        self.n_bytes = 0
        self.parts: list[Any] = []

    @property
    def is_full(self) -> bool:
        return super().is_full or (self.n_bytes >= self.most_bytes and self.n % self.update_rows == 0)

    def _take(self, part: Part, k: int, n: int) -> int:
        X = part.X
        entry, row = X.data.itemsize + X.indices.itemsize, X.indptr.itemsize
        ends = (X.indptr[k + 1 : k + n + 1].astype(np.int64) - X.indptr[k]) * entry + np.arange(1, n + 1) * row
        fitting = int(np.searchsorted(ends, self.most_bytes - self.n_bytes))  # the row behind them reaches the limit
        behind = self.n + fitting + (1 if self.n_bytes < self.most_bytes else 0)
        n = min(n, -(-behind // self.update_rows) * self.update_rows - self.n)
        self.parts.append(X[k : k + n])
        self.n_bytes += int(ends[n - 1])
        return n

    def _matrix(self) -> Any:
        return stacked(self.parts)


def stacked(parts: list[Any]) -> Any:
    """CSR matrices on top of each other, their indices in the smallest type that holds them."""
    from scipy.sparse import csr_array

    n_stored = sum(int(part.indptr[-1]) for part in parts)
    itype = np.int32 if max(n_stored, parts[0].shape[1]) < 2**31 else np.int64
    starts = np.cumsum([0, *(int(part.indptr[-1]) for part in parts)])
    indptr = np.concatenate([[0], *(part.indptr[1:] + start for part, start in zip(parts, starts, strict=False))])
    data, indices = (np.concatenate([getattr(p, name)[: p.indptr[-1]] for p in parts]) for name in ("data", "indices"))
    shape = sum(part.shape[0] for part in parts), parts[0].shape[1]
    return csr_array((data, indices.astype(itype, copy=False), indptr.astype(itype, copy=False)), shape=shape)
