"""Windows: parts of a stream that are in memory as ordinary arrays while a network trains on them.

Rows of many pieces flow into a window until it is full; rows are drawn in random order within it. A window holds whole
updates, so that a stream makes the same number of them as data in memory.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .filling import Cursor, Filling, FillingCsr, Part, Window
from .order import rounds, side_by_side
from .reader import Ahead
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
        self._filling: Filling | None = None
        self._n_skipped = 0
        self._free: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            self._free.put(None)  # allocated when it is used

    @property
    def n_skipped(self) -> int:
        """Bad rows that were left out in the latest epoch, as far as it was read."""
        return self._n_skipped

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
        for part in self.parts(epoch, begins or Cursor()):
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

    def _begin(self, part: Part, k: int) -> Filling:
        """A window whose first row is row k of a part."""
        if hasattr(part.X, "indptr"):
            return FillingCsr(self.n_rows, part.cursor(k), self.update_rows, self.most_bytes)
        return Filling(self.n_rows, part.cursor(k), self._take_buffer(part.X.shape[1]))

    def parts(self, epoch: int, begins: Cursor = Cursor()) -> Iterator[Part]:  # noqa: B008  # it is immutable
        """Good rows, in the order of the epoch, as they are read; each part may be overwritten by the next."""
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


class WindowsAhead(Ahead[Window]):
    """Windows that another thread fills, one or two ahead; `close` ends it."""

    def __init__(self, windows: Windows, epochs: Sequence[int], begins: Cursor | None) -> None:
        self.windows = windows
        super().__init__(_chained(windows, epochs, begins), BUFFERS - 2)

    def __enter__(self) -> WindowsAhead:
        return self

    @property
    def skipped(self) -> list[tuple[str, int]]:
        """File and row of the first bad rows that were left out in the epoch that is read."""
        return self.windows.skipped

    def close(self) -> None:
        self.windows.close()
        super().close()


def _chained(windows: Windows, epochs: Sequence[int], begins: Cursor | None) -> Iterator[Window]:
    for epoch in epochs:
        yield from windows.of(epoch, begins)
        begins = None
