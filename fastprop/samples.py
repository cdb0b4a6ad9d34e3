"""Tables of updates of one sample each: a chunk holds many, so that a sample costs 16 bytes and no Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .engine import Engine, samples_of_chunk
from .kernels import records
from .schedules import Rate, tabulate
from .segments import Place, Segment, Segments


class Samples(Segments):
    """Lays out the segments of a fit whose engine makes an update of each sample.

    Parameters
    ----------
    every : iterable of int
        After which updates somebody looks at the network: each multiple of each has a chunk of its own, whose loss is
        that of this one update.
    *args
        Of `Segments`.
    """

    def __init__(self, every: Iterable[int], *args: Any) -> None:
        super().__init__(*args)
        self.every = tuple(every)
        self.limit = samples_of_chunk(self.engine.plan)

    @property
    def updates_of_table(self) -> int:
        """Four times as many as of batches, which take 72 bytes each: laying out a segment takes a millisecond."""
        return 4 * super().updates_of_table

    def _segment(self, epochs: range, place: Place, rate: Rate) -> tuple[Segment, int]:
        first, count, cursor = place.first, place.base, 0
        n_updates = min(self.most_updates, self.updates_of_epoch - first)
        if self.shuffles:
            rows, cursor = self._shuffled_rows(epochs, n_updates, place.cursor)
        else:
            rows = np.tile(np.arange(first, first + n_updates), len(epochs))
        weights = None if self.weights is None else self.weights[rows]
        if weights is not None and not weights.all():  # a sample without weight is skipped
            rows, weights = rows[weights > 0], weights[weights > 0]
        rates = tabulate(rate, count, len(rows))
        n_each = len(rows) // len(epochs)  # several epochs are whole ones: they have as many samples with a weight
        ends = self._ends(n_each, len(epochs), place)
        chunks = np.zeros(len(ends), records.CHUNK)
        chunks["first"][1:] = ends[:-1]
        chunks["position"], chunks["n_rows"] = chunks["first"], ends - chunks["first"]
        chunks["count"], chunks["lr"], chunks["is_last"] = count + ends, rates[ends - 1], 1
        sums = chunks["n_rows"]
        if weights is not None and len(ends) and not self.counts_rows:
            sums = np.add.reduceat(weights, chunks["first"])
        epoch_of = np.asarray(epochs)[(ends - 1) // max(n_each, 1)]
        segment = Segment(chunks, epoch_of, sums.astype(np.float64), self._in_data(rows), range(0), rates)
        return self._rest(segment, epochs, place), cursor

    def _ends(self, n_each: int, n_epochs: int, place: Place) -> np.ndarray:
        """Where chunks end, in samples: after `limit` of an epoch, with it, and around updates that are looked at.

        And at `place`: callbacks may have been others when it was reached.
        """
        parts = np.minimum(np.arange(self.limit, n_each + self.limit, self.limit), n_each)
        ends = (n_each * np.arange(n_epochs)[:, None] + parts).ravel()
        for every in self.every:
            looks = np.arange(every - place.base % every, n_each * n_epochs + 1, every)
            ends = np.union1d(ends, np.concatenate([looks, looks - 1]))
        done = place.count - place.base
        if 0 < done < n_each * n_epochs:
            ends = np.union1d(ends, [done])
        return ends[ends > 0]


def tables(engine: Engine, every: Iterable[int], *args: Any) -> Segments:
    """The segments of a fit on `engine`, of batches or of samples; see `Segments` and `Samples` for the arguments."""
    return Samples(every, engine, *args) if engine.is_online else Segments(engine, *args)
