"""Updates laid out ahead: which rows, which learning rate, in tables that kernels walk.

A segment is part of a long epoch, or several short ones, so that neither memory nor Python's time grow with the rows.
Only one update is never cut: its row numbers are in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .engine import Engine, chunks_of
from .kernels import records
from .kernels.catalogue import shuffle
from .schedules import Rate, tabulate

SEGMENT_UPDATES = 1 << 15
# 1 MB of row numbers, of which three segments may be alive. With eight times as many, 28-64-64-1 took 29 MB for an
# epoch of 2 GB instead of 4, and was 0.5 % faster.
SEGMENT_ROWS = 1 << 17


@dataclass
class Place:
    """How far an epoch is done, so that its segments can be laid out again from there.

    Attributes
    ----------
    first : int
        Of the segment under way: the update of the epoch with which it begins, counting those without weight.
    base : int
        `parameters.count` when that segment was laid out.
    count : int
        `parameters.count` now.
    cursor : anything that goes through JSON
        What else laying out that segment needs: here, how far the permutation is used up.
    """

    first: int
    base: int
    count: int
    cursor: Any = None


@dataclass
class Segment:
    """A table of chunks, laid out ahead.

    Attributes
    ----------
    chunks : ndarray of records.CHUNK
    epochs : ndarray of int
        The epoch of each chunk; does not decrease.
    weights : ndarray of float64
        What the loss of each chunk's update, or per sample of the chunk, weighs in its epoch's: the sum of its sample
        weights, or its rows.
    rows : ndarray of int64 or None
        Row numbers that chunks count in.
    closes : range
        The epochs that end with this segment.
    rates : ndarray of float64, or None
        Per sample: the learning rate of each row's update.
    epoch, first, base, cursor
        Where it was laid out: the epoch, and what a `Place` in it needs.
    count : int
        `parameters.count` before the first of its chunks.
    span : (float, float)
        Which part of an epoch it covers, from 0 to 1.
    """

    chunks: np.ndarray
    epochs: np.ndarray
    weights: np.ndarray
    rows: np.ndarray | None
    closes: range
    rates: np.ndarray | None = None
    epoch: int = 0
    first: int = 0
    base: int = 0
    cursor: Any = None
    count: int = 0
    span: tuple[float, float] = (0.0, 1.0)

    @functools.cached_property
    def _counts(self) -> np.ndarray:
        """The count of updates after each chunk."""
        return np.ascontiguousarray(self.chunks["count"])

    def update_of(self, at: int, sample: int = 0) -> Any:
        """Chunk number `at`; per sample, as it would be if it held nothing but this one of its samples."""
        chunk = self.chunks[at].copy()
        if self.rates is not None:
            chunk["count"] += sample + 1 - chunk["n_rows"]
            chunk["first"] += sample
            chunk["position"] += sample
            chunk["n_rows"], chunk["lr"] = 1, self.rates[chunk["position"]]
        return chunk

    def next_step(self, done: int, every: int) -> int:
        """The chunk after the next update, from chunk `done` on, whose count is a multiple of `every`."""
        count = -(-int(self._counts[done]) // every) * every
        return int(np.searchsorted(self._counts, count, side="right"))

    def share(self, last: int) -> float:
        """Which part of the epoch of chunk last - 1 is done after it."""
        epoch = self.epochs[last - 1]
        start, stop = np.searchsorted(self.epochs, [epoch, epoch + 1])
        begin, end = self.span
        return begin + (end - begin) * float((last - start) / (stop - start))

    def place(self, done: int) -> tuple[int, Place]:
        """The epoch under way after the first `done` chunks, of whole updates, and how far it is.

        The last epoch is under way until the segments after this one are taken.
        """
        epoch = int(self.epochs[done]) if done < len(self.epochs) else max(self.epoch, self.closes.stop - 1)
        if epoch == self.epoch:
            return epoch, Place(self.first, self.base, self._count_after(done), self.cursor)
        at = int(np.searchsorted(self.epochs, epoch))
        return epoch, Place(0, self._count_after(at), self._count_after(done))

    def _count_after(self, done: int) -> int:
        return int(self._counts[done - 1]) if done else self.count

    def after(self, count: int) -> Segment:
        """What is left of it once `parameters.count` is `count`: whole chunks."""
        done = int(np.searchsorted(self._counts, count, side="right"))
        if not done:
            return self
        begin, end = self.span
        span = begin + (end - begin) * done / len(self.chunks), end
        parts = {name: getattr(self, name)[done:] for name in ("chunks", "epochs", "weights")}
        return replace(self, **parts, span=span, count=count)


class Segments:
    """Lays out the segments of a fit.

    Parameters
    ----------
    engine : Engine
    n_rows : int
    weights : ndarray of shape (n_rows,), or None
    numbers : ndarray of shape (n_rows,), int64, or None
        Where the rows lie in the data; None for all of the data.
    batch_size : int or None
    accumulate : int
    shuffle : bool
    seed : int
    first_epoch : int
        Epochs before this fit: each has a permutation of its own.
    counts_rows : bool, default False
        Whether an update weighs in its epoch's loss by its rows, whatever their weights.

    Attributes
    ----------
    window : int
        Which window of a stream the rows are: each has a permutation of its own.
    """

    window = 0

    def __init__(
        self,
        engine: Engine,
        n_rows: int,
        weights: np.ndarray | None,
        numbers: np.ndarray | None,
        batch_size: int | None,
        accumulate: int,
        shuffle: bool,
        seed: int,
        first_epoch: int,
        counts_rows: bool = False,
    ) -> None:
        self.counts_rows = counts_rows
        self.engine, self.n_rows, self.weights, self.numbers = engine, n_rows, weights, numbers
        self.update_rows = min(n_rows, (batch_size or n_rows) * accumulate)
        self.updates_of_epoch = -(-n_rows // self.update_rows)
        self.most_updates = max(1, min(self.updates_of_table, SEGMENT_ROWS // self.update_rows))
        self.shuffles = shuffle and self.update_rows < n_rows
        self.seed, self.first_epoch = seed, first_epoch
        self.limit = engine.chunk_rows
        if accumulate > 1 and batch_size:  # batch norms see batches, not groups of them
            self.limit = min(self.limit, batch_size)

    @property
    def updates_of_table(self) -> int:
        """Updates that a segment holds at most."""
        return SEGMENT_UPDATES

    @property
    def most_epochs(self) -> int:
        """Epochs that fit into a segment."""
        return max(1, min(self.updates_of_table // self.updates_of_epoch, SEGMENT_ROWS // self.n_rows))

    def of(self, epochs: range, rate: Rate, start: Place | None = None) -> Iterator[Segment]:
        """The segments of these epochs, from `start` in the first; the learning rate is asked when a segment is.

        Whoever takes them runs each before the next. Of an epoch that begins behind its first update, no other follows.
        """
        count = self.engine.parameters.count
        place = start or Place(0, count, count)
        while place.first < self.updates_of_epoch:
            segment, cursor = self._segment(epochs, place, rate)
            yield segment
            count = self.engine.parameters.count
            place = Place(place.first + self.most_updates, count, count, cursor)

    def logs(self, epoch: int) -> dict[str, float]:
        """What an epoch has to tell besides its losses, for the history, once it is over."""
        return {}

    def _segment(self, epochs: range, place: Place, rate: Rate) -> tuple[Segment, int]:
        """What is left at `place` of the updates that are laid out together, of each of `epochs`; the next cursor.

        Several epochs are whole ones.
        """
        first, count = place.first, place.base
        n_updates = min(self.most_updates, self.updates_of_epoch - first)
        starts = (first + np.arange(n_updates)) * self.update_rows
        n_rows = np.minimum(self.update_rows, self.n_rows - starts)
        total = int(n_rows.sum())
        rows, firsts, sizes, cursor = None, starts, n_rows, 0
        if len(epochs) > 1:
            firsts, sizes = np.concatenate([starts] * len(epochs)), np.concatenate([n_rows] * len(epochs))
        if self.shuffles:
            rows, cursor = self._shuffled_rows(epochs, total, place.cursor)
            firsts = firsts + np.repeat(np.arange(len(epochs)) * total - first * self.update_rows, n_updates)
        epoch_of = np.repeat(np.arange(epochs.start, epochs.stop), n_updates)
        sums = sizes.astype(np.float64)
        if self.weights is not None:
            sums = self._weight_sums(firsts, sizes, rows)
            kept = sums > 0  # an update whose weights are all zero is skipped
            firsts, sizes, sums, epoch_of = firsts[kept], sizes[kept], sums[kept], epoch_of[kept]
        updates = np.zeros(len(firsts), records.CHUNK)
        updates["first"] = firsts
        updates["count"] = np.arange(count + 1, count + 1 + len(updates))
        updates["lr"] = tabulate(rate, count, len(updates))
        updates["inverse_weight"] = 1.0 / sums
        chunks = chunks_of(updates, sizes, self.limit)
        if self.counts_rows:
            sums = sizes.astype(np.float64)
        if len(chunks) > len(updates):
            parts = np.maximum(1, -(-sizes // self.limit))
            epoch_of, sums = np.repeat(epoch_of, parts), np.repeat(sums, parts)
        return self._rest(Segment(chunks, epoch_of, sums, self._in_data(rows), range(0)), epochs, place), cursor

    def _rest(self, segment: Segment, epochs: range, place: Place) -> Segment:
        """A segment laid out at `place`, and what is left of it there."""
        end = min(self.updates_of_epoch, place.first + self.most_updates)
        segment.closes = epochs if end == self.updates_of_epoch else range(0)
        segment.epoch, segment.first, segment.cursor = epochs.start, place.first, place.cursor
        segment.base = segment.count = place.base
        segment.span = place.first / self.updates_of_epoch, end / self.updates_of_epoch
        return segment.after(place.count) if place.count > place.base else segment

    def _in_data(self, rows: np.ndarray | None) -> np.ndarray | None:
        """Row numbers of the data for numbers of our rows; None means all in order."""
        if rows is None:
            return self.numbers
        return rows if self.numbers is None else self.numbers[rows]

    def _shuffled_rows(self, epochs: range, total: int, cursor: int | None) -> tuple[np.ndarray, int]:
        """The next `total` rows of each epoch's permutation, and the cursor behind them."""
        rows, end = np.empty(len(epochs) * total, np.int64), 0
        for i, epoch in enumerate(epochs):
            keys = epoch_keys(self.seed, self.first_epoch + epoch, self.window)
            end = shuffle_rows(rows[i * total : (i + 1) * total], self.n_rows, keys, cursor or 0)
        return rows, end

    def _weight_sums(self, firsts: np.ndarray, sizes: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """The sum of the sample weights of each update."""
        assert self.weights is not None
        if rows is not None:
            return np.add.reduceat(self.weights[rows], firsts)
        return np.array([self.weights[f : f + n].sum() for f, n in zip(firsts, sizes, strict=True)])


def shuffle_rows(out: np.ndarray, n: int, keys: np.ndarray, cursor: int) -> int:
    """The next len(out) members of a random permutation of range(n), into `out`; start with cursor 0.

    Returns
    -------
    int
        The cursor for the next part of the permutation.
    """
    return int(shuffle(out.ctypes.data, out.size, n, keys.ctypes.data, cursor))


def epoch_keys(seed: int, epoch: int, window: int = 0) -> np.ndarray:
    """Six odd numbers that determine the permutation of an epoch, or of a window of one."""
    key, counter = np.array([seed % 2**64, 2**63 + epoch], np.uint64), np.array([0, 0, 0, window], np.uint64)
    generator = np.random.Generator(np.random.Philox(counter=counter, key=key))
    keys: np.ndarray = odd_keys(generator, 1)[0]
    return keys


def odd_keys(generator: np.random.Generator, n_epochs: int) -> np.ndarray:
    """Keys of the permutations of several epochs, shape (n_epochs, 6)."""
    return generator.integers(0, 2**64, (n_epochs, records.N_KEYS), dtype=np.uint64) | np.uint64(1)
