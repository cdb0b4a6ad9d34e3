"""Mode "sync": which rows of which partition a batch has. Whoever asks draws the same, so that no numbers are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..segments import epoch_keys, shuffle_rows

PIECE_ROWS = 1 << 17  # drawn at a time: 1 MB of numbers, whatever the batch is
Step: TypeAlias = "tuple[range | np.ndarray, int]"  # rows of a partition, and how many of the batch are before them


@dataclass(frozen=True)
class Span:
    """Where a partition lies in all rows, `first` to `last`, and how many rows of the batch are `before` its own."""

    first: int
    last: int
    before: int


@dataclass(frozen=True)
class Batch:
    """Members [first, last) of a permutation of `n` rows, those of all partitions one behind the other.

    Attributes
    ----------
    n, first, last : int
    cursor : int or None
        How far the permutation is used up before them; None takes the rows as they lie.
    seed, epoch : int
        The permutation is that of `Network.fit`.
    """

    n: int
    first: int
    last: int
    cursor: int | None = None
    seed: int = 0
    epoch: int = 0

    def spans(self, ends: np.ndarray) -> tuple[dict[int, Span], int]:
        """The partitions that have rows of the batch, by number, and the cursor behind it.

        Parameters
        ----------
        ends : ndarray of int, shape (n_partitions,)
            Of each partition, in all rows.
        """
        edges, cursor = np.concatenate([[0], ends]), 0
        if self.cursor is None:
            counts = np.diff(np.clip(edges, self.first, self.last))
        else:
            counts = np.zeros(len(ends), np.int64)
            for rows, behind in self._drawn():
                cursor = behind
                counts += np.bincount(np.searchsorted(ends, rows, side="right"), minlength=len(ends))
        before = np.cumsum(counts) - counts
        used = np.flatnonzero(counts).tolist()
        return {i: Span(int(edges[i]), int(edges[i + 1]), int(before[i])) for i in used}, cursor

    def steps(self, spans: Sequence[Span]) -> list[Step]:
        """The rows of each partition in the order of the batch, as they are numbered there."""
        if self.cursor is None:
            bounds = [(max(s.first, self.first) - s.first, min(s.last, self.last) - s.first) for s in spans]
            return [(range(*bound), s.before) for bound, s in zip(bounds, spans, strict=True)]
        found: list[list[np.ndarray]] = [[] for _ in spans]
        for rows, _ in self._drawn():
            for span, of_span in zip(spans, found, strict=True):
                of_span.append(rows[(rows >= span.first) & (rows < span.last)] - span.first)
        return [(np.concatenate(some), span.before) for span, some in zip(spans, found, strict=True)]

    def _drawn(self) -> Iterator[tuple[np.ndarray, int]]:
        """The numbers of the rows, some at a time, and the cursor behind them."""
        keys, cursor = epoch_keys(self.seed, self.epoch), self.cursor or 0
        for first in range(self.first, self.last, PIECE_ROWS):
            rows = np.empty(min(PIECE_ROWS, self.last - first), np.int64)
            cursor = shuffle_rows(rows, self.n, keys, cursor)
            yield rows, cursor
