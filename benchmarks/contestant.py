"""What a peer is: something that trains a cell's network its own best way, behind the same four methods.

A library is imported when its contestant is made, so that one that is missing costs only its own column.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from cells import Cell, Data, Pairs

LR = 0.01
ADAM_LR, BETA_1, BETA_2, EPS = 1e-3, 0.9, 0.999, 1e-8


class CannotRunError(Exception):
    """A library is there and yet cannot train this cell; the message says why."""


class Contestant:
    """Trains one cell.

    Attributes
    ----------
    name : str
        As on the command line.
    title : str
        As in the table.
    dispatches : bool
        Whether every step goes through Python: such a peer is timed on fewer rows.

    Raises
    ------
    ImportError, CannotRunError
        When it is made or given weights, if its column must stay empty.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    dispatches: bool = False

    def __init__(self, cell: Cell, data: Data, n_threads: int) -> None:
        self.cell = cell
        self.few, self.all = (data.X_few, data.y_few), (data.X, data.y)
        self.n_threads = n_threads
        self._rng = np.random.default_rng(2)

    @classmethod
    def suits(cls, cell: Cell) -> bool:
        """Whether such a network is what the library is for; where not, nobody misses it."""
        return True

    def set_weights(self, weights: Pairs) -> None:
        """Start anew from these."""
        raise NotImplementedError

    def weights(self) -> Pairs:
        """The weights now."""
        raise NotImplementedError

    def train(self, few: bool, shuffle: bool = True, epochs: int | None = None) -> None:
        """Train on few rows or on all, in random order or in theirs; by default the cell's own number of epochs."""
        raise NotImplementedError

    def _orders(self, n_rows: int, shuffle: bool, epochs: int | None) -> list[np.ndarray]:
        """An order of rows for each epoch. Where the batch is full, order does not matter and nobody shuffles."""
        n_epochs = epochs or self.cell.epochs
        if not shuffle or self.cell.is_full_batch:
            return [np.arange(n_rows)] * n_epochs
        return [self._rng.permutation(n_rows) for _ in range(n_epochs)]
