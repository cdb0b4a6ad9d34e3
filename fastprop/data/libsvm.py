"""libsvm files as one sequence of sparse rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial

from ..arguments import check_positive_int
from .libsvm_parse import LARGEST, Lines, Rules, line_of, parse_lines, read_lines
from .paths import Paths, file_size, find_files, title
from .salvage import Place, parse
from .source import Block, Source
from .text import last_line, text_blocks

ENDINGS = tuple(kind + packed for kind in (".libsvm", ".svm", ".svmlight") for packed in ("", ".gz", ".bz2", ".zst"))


class LibsvmSource(Source):
    """Rows of libsvm files, in the order in which they stand there: CSR of float64 and labels of float64.

    A line is `label index:value index:value ...`; the indices count from 1 and grow. `qid:` entries and what follows
    `#` are left out, empty lines too.

    Parameters
    ----------
    paths : path, str with a pattern, or an iterable of them
        Files of any name, plain or compressed (.gz, .bz2, .zst); folders are searched for .libsvm, .svm and .svmlight.
    n_features : int, optional
        By default the files are read once to find the largest index. Rows with a larger one are bad.
    zero_based : bool, default=False
        Whether indices count from 0.

    Attributes
    ----------
    n_features : int

    Raises
    ------
    FileError
        If a file is damaged.
    OSError
        If a file is missing or cannot be read.
    """

    is_sequential = True

    def __init__(self, paths: Paths, n_features: int | None = None, zero_based: bool = False) -> None:
        n_features = check_positive_int("n_features", n_features, allow_none=True)
        self._files = {path: file_size(path) for path in find_files(paths, ENDINGS)}
        self.name = title(list(self._files))
        self.columns: dict[str, str] = {}
        self.n_samples: int | None = None
        self._first = 0 if zero_based else 1
        if n_features is None:
            self.n_features = LARGEST - 1
            self.n_samples, n_features = self._scan()
        self.n_features = n_features

    def _scan(self) -> tuple[int, int]:
        """How many rows there are, bad ones included, and how many features the good ones have."""
        n_rows = n_features = 0
        for block in self.read(0, skip_bad=True):
            n_rows += len(block) + block.n_bad
            n_features = max(n_features, int(block.rows.indices.max(initial=-1)) + 1)
        return n_rows, max(1, n_features)

    @property
    def n_pieces(self) -> int:
        return 1

    def rows_of(self, piece: int) -> int | None:
        return self.n_samples

    def read(self, piece: int, skip_bad: bool = False) -> Iterator[Block]:
        for path, n_bytes in self._files.items():
            row, line = 0, 1
            for text, _ in text_blocks(path, n_bytes, last_line):
                row += yield from self._parse(text, Place(path, row, line), skip_bad)
                line += text.count(b"\n")

    def _parse(self, text: bytes, place: Place, skip_bad: bool) -> Generator[Block, None, int]:
        return parse(text, place, last_line, self._at_once, partial(self._by_lines, skip_bad=skip_bad))

    def _at_once(self, text: bytes, place: Place) -> Block | None:
        lines = parse_lines(text, Rules(self._first, self.n_features))
        return None if lines is None else self._block(lines, text, place)

    def _by_lines(self, text: bytes, place: Place, skip_bad: bool) -> Block:
        return self._block(read_lines(text, place, Rules(self._first, self.n_features), skip_bad), text, place)

    def _block(self, lines: Lines, text: bytes, place: Place) -> Block:
        from scipy.sparse import csr_matrix

        rows = csr_matrix((lines.values, lines.indices, lines.indptr), shape=(len(lines.y), self.n_features))
        rows.has_canonical_format = True
        numbers = None if lines.numbers is None else lines.numbers + place.row
        where = partial(line_of, text=text, place=place)
        return Block(rows, lines.y, place.path, place.row, numbers, lines.n_bad, where, self._first)
