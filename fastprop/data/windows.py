"""Windows: parts of a stream that are in memory as ordinary arrays while a network trains on them.

Rows of many pieces flow into a window until it is full; rows are drawn in random order within it. A window holds whole
updates, so that a stream makes the same number of them as data in memory.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .order import rounds, side_by_side
from .source import AsTheyAre
from .usable import Numbers, usable

if TYPE_CHECKING:
    from .dataset import Dataset
    from .source import Block

WINDOW_SHARE = 1 / 8  # of the memory limit; BUFFERS of them exist
BUFFERS = 3  # one that is trained on, one that is full, one that is being filled
SHOWN = 5  # bad rows that messages name
READING_SHARE = 1 / 2  # of the memory limit, for what reading pieces side by side holds


class Abandoned(Exception):
    """Nobody takes windows any more."""


class Cursor(NamedTuple):
    """Where a window begins in an epoch: the round of pieces, the rows of it that came before, and bad rows so far."""

    round: int = 0
    taken: int = 0
    n_skipped: int = 0


class Origin(NamedTuple):
    """Rows of a window, from `start` on, are those of a block from `offset` on, among the ones that were kept.

    The block itself is not kept: its memory would be.
    """

    start: int
    file: str
    first: int
    numbers: np.ndarray | None
    kept: np.ndarray | None
    offset: int

    def number(self, row: int) -> int:
        """Which row of the file row `row` of the window is."""
        i = self.offset + row - self.start
        i = i if self.kept is None else int(self.kept[i])
        return self.first + i if self.numbers is None else int(self.numbers[i])


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
    origins : list of Origin
    """

    X: Any
    y: np.ndarray | None
    epoch: int
    number: int
    begins: Cursor
    n_skipped: int
    is_last: bool
    origins: list[Origin] = field(repr=False)
    _buffer: tuple[Any, np.ndarray] | None = field(default=None, repr=False)

    @property
    def n_rows(self) -> int:
        return int(self.X.shape[0])

    def origin(self, row: int) -> tuple[str, int]:
        """The file and the row in it that a row of the window comes from."""
        at = int(np.searchsorted([o.start for o in self.origins], row, side="right")) - 1
        found = self.origins[at]
        return found.file, found.number(row)

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

    def origin(self, k: int, start: int) -> Origin:
        """Where row `start` of a window comes from, which is row k of this part."""
        return Origin(start, self.block.file, self.block.first, self.block.numbers, self.kept, k)

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


class Windows:
    """The windows of a dataset, epoch after epoch.

    Parameters
    ----------
    data : Dataset
    n_rows : int
        Rows of each window but the last of an epoch.
    dtype : dtype, optional
        Floats of X that are larger become this.
    labels : Labels, optional
        Turns y into codes.
    numbers : Numbers, optional
        What y must be otherwise, and in which dtype; without both it stays as it is.
    shuffle : bool
        Whether pieces are read in random order. Within a window rows stay as they come: drawing them is for those who
        train.
    seed : int
    with_targets : bool
        Whether to give y.
    first_epoch : int
        What the first epoch counts as in the order of pieces.
    update_rows : int
        Rows of an update, of which a window holds whole ones.
    share : float
        Of the memory limit: a window of CSR ends with the update that reaches it, however many rows that are.

    Attributes
    ----------
    skipped : list of (str, int)
        File and row of the first bad rows that were left out in the latest epoch.
    """

    def __init__(
        self,
        data: Dataset,
        n_rows: int,
        dtype: Any = None,
        labels: Any = None,
        shuffle: bool = False,
        seed: int = 0,
        with_targets: bool = True,
        first_epoch: int = 0,
        update_rows: int = 1,
        share: float = WINDOW_SHARE,
        numbers: Numbers | None = None,
    ) -> None:
        self.data, self.n_rows, self.labels, self.numbers = data, n_rows, labels, numbers
        self.dtype = smaller(data.dtype, dtype)
        self.shuffle, self.seed, self.with_targets = shuffle, seed, with_targets
        self.first_epoch, self.update_rows = first_epoch, update_rows
        self.most_bytes = int(share * data.memory_limit)
        self.is_closed = False
        self.skipped: list[tuple[str, int]] = []
        self._filling: _Filling | None = None
        self._n_skipped = 0
        self._free: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            self._free.put(None)  # allocated when it is used

    def close(self) -> None:
        """Nobody takes windows any more: a thread that waits for memory gives up."""
        self.is_closed = True

    def of(self, epoch: int, begins: Cursor | None = None) -> Iterator[Window]:
        """The windows of an epoch, from the beginning or from where a window began.

        Raises
        ------
        FileError
            If there are no rows, or bad ones that are not left out.
        """
        self._filling, self.skipped = None, []
        full: Window | None = None
        number = 0
        for part in self._parts(epoch, begins or Cursor()):
            k, n = 0, part.X.shape[0]
            while k < n:
                if full is not None:  # there are rows behind it
                    yield full
                    full, number = None, number + 1
                if self._filling is None:
                    self._filling = self._begin(part, k)
                k += self._filling.add(part, k)
                if self._filling.is_full:
                    full, self._filling = self._filling.window(epoch, number, self._free), None
        if self._filling is not None:
            full, self._filling = self._filling.window(epoch, number, self._free), None
        if full is None:
            raise self.data.without_rows()
        full.is_last, full.n_skipped = True, self._n_skipped  # bad rows behind the last good one too
        yield full

    def _begin(self, part: Part, k: int) -> _Filling:
        """A window whose first row is row k of a part."""
        if hasattr(part.X, "indptr"):
            return _FillingCsr(self.n_rows, part.cursor(k), self.update_rows, self.most_bytes)
        return _Filling(self.n_rows, part.cursor(k), self._take_buffer(part.X.shape[1]))

    def _parts(self, epoch: int, begins: Cursor) -> Iterator[Part]:
        """Good rows, in the order of the epoch."""
        self._n_skipped = n_skipped = begins.n_skipped
        room = self._room if isinstance(self.data.features, AsTheyAre) else None  # else rows are no rows of X yet
        for number, pieces in enumerate(self._rounds(epoch)):
            if number < begins.round:
                continue
            taken, first = 0, begins.taken if number == begins.round else 0
            seen: dict[int, int] = {}
            for piece, block in side_by_side(self.data.source, pieces, self.data.skips, room):
                offset = seen.get(piece, 0)
                seen[piece] = offset + len(block)
                if taken + len(block) > first:
                    part = self._good(block, piece, offset, number, taken, n_skipped)
                    if taken >= first:
                        n_skipped = part.n_skipped[1]
                    rest = part.from_row(first - taken)
                    if rest is not None and rest.X.shape[0]:
                        yield rest
                elif number > begins.round or taken > first or begins == Cursor():  # else it was counted in `begins`
                    n_skipped += self._unreadable(block)  # all rows were bad
                self._n_skipped = n_skipped
                taken += len(block)

    def _rounds(self, epoch: int) -> list[np.ndarray]:
        source = self.data.source
        if not self.shuffle:
            return [np.array([piece]) for piece in range(source.n_pieces)]
        return rounds(source.n_pieces, source.at_once(self.data.reading_bytes), self.seed, self.first_epoch + epoch)

    def _good(self, block: Block, piece: int, offset: int, number: int, taken: int, n_skipped: int) -> Part:
        """Rows of a block that belong to this dataset and can be used."""
        X, y = self.data.features.transform(block)
        y = y if self.with_targets else None
        X = narrowed(X, self.dtype)
        if y is not None and self.numbers is not None:
            y = narrowed(y, self.numbers.dtype)
        kept = self.data.members(piece, offset, len(block))
        if kept is not None:
            X, y = X[kept], None if y is None else y[kept]
        features = self.data.features
        names, targets = features.feature_names, getattr(features, "targets", ())
        X, y, good = usable(X, y, self.labels, block, kept, self.data.skips, names, targets, self.numbers)
        n_bad = self._unreadable(block)
        if good is not None:
            ours = np.arange(len(block)) if kept is None else kept
            self._note(block.file, block.row_numbers(np.delete(ours, good)[:SHOWN]).tolist())
            n_bad += len(ours) - len(good)
            kept = good if kept is None else kept[good]
        return Part(X, y, block, kept, number, taken, (n_skipped, n_skipped + n_bad))

    def _unreadable(self, block: Block) -> int:
        """Rows that were left out of a block when it was read, as far as they count here."""
        if not self.data.counts_unreadable:
            return 0
        if block.n_bad and len(self.skipped) < SHOWN:
            self._note(block.file, block.unreadable(SHOWN))
        return block.n_bad

    def _note(self, file: str, rows: list[int]) -> None:
        """Remember bad rows of a file, if there are not enough yet."""
        self.skipped += [(file, row) for row in rows[: SHOWN - len(self.skipped)]]

    def _room(self, n: int, dtype: np.dtype[Any]) -> np.ndarray | None:
        """Where the next n rows would lie in the window: to read them there saves a copy."""
        filling = self._filling
        if filling is None or filling.memory is None or filling.memory.dtype != dtype or n > filling.room - filling.n:
            return None
        return filling.memory[filling.n : filling.n + n]

    def _take_buffer(self, n_columns: int) -> np.ndarray:
        """Memory for a window."""
        while not self.is_closed:
            try:
                memory = self._free.get(timeout=0.05)
            except queue.Empty:
                continue
            return np.empty((self.n_rows, n_columns), self.dtype) if memory is None else memory
        raise Abandoned


class _Filling:
    """A window while it is being filled."""

    def __init__(self, n_rows: int, begins: Cursor, memory: np.ndarray | None) -> None:
        self.room, self.begins, self.memory = n_rows, begins, memory
        self.n, self.n_skipped = 0, begins.n_skipped
        self.y: list[np.ndarray] = []
        self.origins: list[Origin] = []

    @property
    def is_full(self) -> bool:
        return self.n == self.room

    def add(self, part: Part, k: int) -> int:
        """Take rows of a part from row k on; returns how many."""
        n = self._take(part, k, min(self.room - self.n, int(part.X.shape[0]) - k))
        if part.y is not None:
            self.y.append(np.array(part.y[k : k + n]))  # the block's memory may be used again
        self.origins.append(part.origin(k, self.n))
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
        return Window(self._matrix(), y, epoch, number, self.begins, self.n_skipped, False, self.origins, buffer)


class _FillingCsr(_Filling):
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


def smaller(dtype: np.dtype[Any], most: Any) -> np.dtype[Any]:
    """A dtype, or `most` where that is a float that is larger."""
    is_larger = most is not None and dtype.kind == "f" and dtype.itemsize > np.dtype(most).itemsize
    return np.dtype(most) if is_larger else dtype


def narrowed(values: Any, dtype: Any) -> Any:
    """Floats that are larger than `dtype` as it; what is too large for it becomes infinite, and so is bad."""
    floats = values.data if hasattr(values, "indptr") else values
    if np.dtype(dtype).kind != "f" or smaller(floats.dtype, dtype) == floats.dtype:
        return values
    with np.errstate(over="ignore"):
        if floats is not values:
            return type(values)((floats.astype(dtype), values.indices, values.indptr), shape=values.shape)
        return values.astype(dtype)
