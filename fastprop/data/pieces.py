"""Some pieces of a source, for one of several who read it together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from .source import Block, Source


class PiecesOf(Source):
    """Some pieces of a source, in the order given; rows have the numbers that they have in the whole.

    Parameters
    ----------
    source : Source
        Not sequential.
    pieces : sequence of int
    """

    def __init__(self, source: Source, pieces: Sequence[int] | np.ndarray) -> None:
        self.source, self.pieces = source, np.asarray(pieces, np.int64)
        self.name, self.columns = source.name, source.columns
        self.reads_into_memory = source.reads_into_memory  # type: ignore[misc]  # of this source as of that one
        self.n_samples = sum(self.rows_of(piece) or 0 for piece in range(self.n_pieces))

    @property
    def n_pieces(self) -> int:
        return len(self.pieces)

    @property
    def starts(self) -> np.ndarray:
        return self.source.starts[self.pieces]

    def rows_of(self, piece: int) -> int | None:
        return self.source.rows_of(int(self.pieces[piece]))

    def at_once(self, n_bytes: int) -> int:
        return self.source.at_once(n_bytes)

    def only(self, columns: Sequence[str] = ()) -> PiecesOf:
        return PiecesOf(self.source.only(columns), self.pieces)

    def including(self, names: Collection[str]) -> PiecesOf:
        return PiecesOf(self.source.including(names), self.pieces)

    def read(self, piece: int, skip_bad: bool = False, **options: Any) -> Iterator[Block]:
        return self.source.read(int(self.pieces[piece]), skip_bad, **options)
