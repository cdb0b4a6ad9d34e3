"""In which order the pieces of a source are read.

Data are often sorted, by label, by day or by place, so that a random handful of pieces is a poor sample. Pieces are
therefore read in *rounds*: of every stretch of pieces that follow each other a round takes one, drawn by the seed, and
reads them in an order in which those that follow each other lie far apart. So each round, and each part of one, is as
even a sample of the whole as so many pieces can be.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import numpy as np

from .source import Block, Memory, Source


def rounds(n_pieces: int, at_once: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The pieces of each round of an epoch.

    Parameters
    ----------
    n_pieces : int
    at_once : int
        Pieces of a round at most.
    seed, epoch : int
        Give the same order again; another epoch has another.

    Returns
    -------
    list of ndarray of int
        Each piece is in one of them.
    """
    rng = np.random.default_rng([seed, 2, epoch])
    n_rounds = -(-n_pieces // at_once)
    found: list[list[int]] = [[] for _ in range(n_rounds)]
    for first in range(0, n_pieces, n_rounds):
        stretch = np.arange(first, min(first + n_rounds, n_pieces))
        for number, piece in zip(rng.permutation(n_rounds), rng.permutation(stretch), strict=False):
            found[number].append(int(piece))
    return [np.array(pieces)[far_apart(len(pieces), rng)] for pieces in found]


def far_apart(n: int, rng: np.random.Generator) -> np.ndarray:
    """0..n-1 so that any stretch is spread evenly over all: by reversed bits (van der Corput), begun anywhere."""
    numbers = np.arange(1 << max(0, n - 1).bit_length())
    reversed_bits = np.zeros_like(numbers)
    for bit in range(len(numbers).bit_length() - 1):
        reversed_bits = 2 * reversed_bits + (numbers >> bit) % 2
    return np.roll(reversed_bits[reversed_bits < n], int(rng.integers(n)))


def side_by_side(
    source: Source, pieces: Iterable[int], skip_bad: bool, memory: Memory | None = None
) -> Iterator[tuple[int, Block]]:
    """The blocks of several pieces, always the next one of the piece that is furthest behind; with its number."""
    options = {"memory": memory} if source.reads_into_memory else {}
    readers = {piece: source.read(piece, skip_bad, **options) for piece in map(int, pieces)}
    totals = {piece: max(1, source.rows_of(piece) or 1) for piece in readers}
    behind = [(0.0, place, piece, 0) for place, piece in enumerate(readers)]
    try:
        while behind:
            _, place, piece, done = heapq.heappop(behind)
            block = next(readers[piece], None)
            if block is None:
                continue
            yield piece, block
            done += len(block) + block.n_bad
            heapq.heappush(behind, (done / totals[piece], place, piece, done))
    finally:
        for reader in readers.values():
            reader.close()  # type: ignore[attr-defined]  # generators: files are closed now, not some day


def uniform(seed: int, level: int, rows: np.ndarray) -> np.ndarray:
    """A number within [0, 1) for each row of a source. SplitMix64, Steele, Lea and Flood 2014."""
    key = np.random.SeedSequence([seed, 4, level]).generate_state(1, np.uint64)[0]
    z = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn: np.ndarray = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn
