"""What one pass over the rows learns of each column: moments, range, median, different values.

Moments of blocks are joined as in Chan, Golub and LeVeque 1979, in float64; sums are NumPy's pairwise ones, so that the
same blocks give the same bits on any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

SAMPLE_BYTES = 32 << 20  # of all columns together
LEAST_SAMPLE, MOST_SAMPLE = 2048, 100_000  # rows; the median of 2,048 lies within 3 % of the rows around the true one


class Moments:
    """Count, mean, deviation and range of the finite numbers of one column."""

    def __init__(self) -> None:
        self.n, self.mean, self.m2 = 0, 0.0, 0.0  # m2: the sum of squared deviations from the mean
        self.low, self.high = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        """Take in more numbers, (n,) of any real dtype."""
        values = values.astype(np.float64)
        finite = np.isfinite(values)
        if not finite.all():
            values = values[finite]
        if not len(values):
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        mean = float(values.mean())
        values -= mean
        values *= values
        self.join(len(values), mean, float(values.sum()))

    def join(self, n: int, mean: float, m2: float) -> None:
        """Take in numbers of which only count, mean and m2 are known."""
        total, delta = self.n + n, mean - self.mean
        self.mean += delta * n / total
        self.m2 += m2 + delta * delta * self.n * n / total
        self.n = total

    @property
    def is_constant(self) -> bool:
        """The deviation of equal numbers is not 0 but rounding."""
        return self.n == 0 or self.low == self.high

    @property
    def deviation(self) -> float:
        """With the divisor n."""
        return float(np.sqrt(self.m2 / self.n)) if self.n else 0.0


class Sample:
    """A seeded sample of the rows, each with the same chance: all of them while they fit.

    Parameters
    ----------
    n_columns : int
    seed : int
    """

    def __init__(self, n_columns: int, seed: int) -> None:
        size = SAMPLE_BYTES // (8 * max(1, n_columns))
        self.size = min(max(size, LEAST_SAMPLE), MOST_SAMPLE)
        self.values = np.empty((n_columns, self.size))  # takes no memory before it is written
        self.n_seen = 0
        self.rng = np.random.default_rng([seed, 2])

    def draw(self, n_rows: int) -> None:
        """Choose which of the next rows are kept, and whose places they take."""
        first, self.n_seen = self.n_seen, self.n_seen + n_rows
        n_direct = min(max(self.size - first, 0), n_rows)
        later = np.arange(first + n_direct, self.n_seen)
        drawn = (self.rng.random(len(later)) * (later + 1)).astype(np.int64)  # row t stays by chance size / (t + 1)
        kept = np.flatnonzero(drawn < self.size)
        self._direct = slice(first, first + n_direct)
        self._rows, self._places = n_direct + kept, drawn[kept]

    def put(self, column: int, values: np.ndarray) -> None:
        """Keep the values of a column in the rows that were drawn."""
        kept = self.values[column]
        kept[self._direct] = values[: self._direct.stop - self._direct.start]
        kept[self._places] = values[self._rows]

    def median(self, column: int) -> float | None:
        """Of the finite numbers of a column in the sample; None if there are none."""
        values = self.values[column, : min(self.n_seen, self.size)]
        values = values[np.isfinite(values)]
        return float(np.median(values)) if len(values) else None


class Distinct:
    """The different values of one column, up to a number.

    Parameters
    ----------
    most : int
        When there are more, `overflows` is set and nothing more is kept.
    """

    def __init__(self, most: int) -> None:
        self.most, self.overflows = most, False
        self.values: set[Any] = set()

    def add(self, values: Iterable[Any]) -> None:
        """Take in the different values of a block."""
        if not self.overflows:
            self.values.update(values)
            self.overflows = len(self.values) > self.most
