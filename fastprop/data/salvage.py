"""Text is parsed in whole blocks; where one fails, the bad row is found, and only its neighbours are read slowly."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from .source import Block

SMALL = 1 << 15  # bytes of text that are read row by row where a whole block cannot be parsed


@dataclass(frozen=True)
class Place:
    """Where a text begins: a file, which of its rows (from 0), and in which line (from 1)."""

    path: str
    row: int
    line: int


def parse(
    text: bytes,
    place: Place,
    cut: Callable[[bytes], int],
    fast: Callable[[bytes, Place], Block | None],
    slow: Callable[[bytes, Place], Block],
) -> Generator[Block, None, int]:
    """The rows of a text as blocks; returns how many there are, bad ones included.

    Parameters
    ----------
    text : bytes
        Whole rows.
    place : Place
    cut : callable
        Where the last row ends that is whole in a text.
    fast : callable
        Parses a text at once; None if that fails.
    slow : callable
        Reads it row by row, and raises FileError for a bad one or leaves it out.
    """
    block = fast(text, place)
    if block is None:
        middle = cut(text[: len(text) // 2]) if len(text) > SMALL else 0
        if middle:
            n = yield from parse(text[:middle], place, cut, fast, slow)
            behind = Place(place.path, place.row + n, place.line + text.count(b"\n", 0, middle))
            return n + (yield from parse(text[middle:], behind, cut, fast, slow))
        block = slow(text, place)
    n = len(block) + block.n_bad
    if n:
        yield block
    return n
