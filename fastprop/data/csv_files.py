"""CSV files as one sequence of rows."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FileError
from .csv_format import Format, cut_rows, read_format
from .csv_parse import Parser
from .paths import Paths, check_names, file_size, find_files, title, wanted
from .salvage import Place
from .source import Block, Source, bad_row, selected
from .text import codec_of, text_blocks, text_head

ENDINGS = tuple(kind + packed for kind in (".csv", ".tsv") for packed in ("", ".gz", ".bz2", ".zst"))
HEAD = 16  # blocks of 1 MB from which the kinds of the columns are found
FEW = 0.1  # of the values of a column of numbers may be none; if more are, it is text
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity|nan))$"


@dataclass(frozen=True)
class CsvFile:
    """A file, its size in bytes, and how it is written."""

    path: str
    n_bytes: int
    format: Format

    def texts(self) -> Iterator[tuple[bytes, bool]]:
        """Blocks of whole rows; at last what stands behind them, if there is anything."""
        return text_blocks(self.path, self.n_bytes, self._cut, self.format.start)

    def _cut(self, text: bytes) -> int:
        return cut_rows(text, self.format.delimiter)

    def is_closed(self, text: bytes) -> bool:
        """Whether the text behind the last line break is a row, and not within a quote."""
        return self._cut(text + b"\n") > len(text)


class CsvSource(Source):
    """Rows of CSV files, in the order in which they stand there.

    Numbers come as float64, text as a dictionary of strings, both with null where a value is missing: nothing, NA, N/A,
    NaN or NULL. Blanks around values are dropped, empty lines too.

    Parameters
    ----------
    paths : path, str with a pattern, or an iterable of them
        Files of any name, plain or compressed (.gz, .bz2, .zst); folders are searched for .csv and .tsv. All must have
        the same header. Files in whose first line are only numbers have none: their columns are named "0", "1", ...
    text : collection of str, default=()
        Columns to keep as text even if they look like numbers. Others are text if more than one in ten of their values
        in the first 16 MB is not a number.
    delimiter : str, optional
        Default: that of comma, semicolon and tab which occurs most often in the first line.
    columns : collection of str, optional
        Columns to read; default all.
    ignore : collection of str, default=()
        Columns to leave out.

    Raises
    ------
    FileError
        If a file is empty or damaged, or has other columns than the first.
    OSError
        If a file is missing or cannot be read.
    """

    is_sequential = True

    def __init__(
        self,
        paths: Paths,
        text: Collection[str] = (),
        delimiter: str | None = None,
        columns: Collection[str] | None = None,
        ignore: Collection[str] = (),
    ) -> None:
        if delimiter is not None and len(delimiter) != 1:
            raise ValueError(f"delimiter must be one letter, got {delimiter!r}")
        self._files = [open_csv(path, delimiter) for path in find_files(paths, ENDINGS)]
        first = self._files[0]
        for file in self._files[1:]:
            check_header(first, file)
        names = wanted(first.path, first.format.names, columns, ignore)
        check_names(first.path, first.format.names, text)
        self.name = title([file.path for file in self._files])
        self.n_samples: int | None = None
        self.likely_rows = likely_rows(self._files)
        self.columns = find_kinds(first, names, set(text))
        self._whole: CsvSource | None = None

    def only(self, columns: Sequence[str] = ()) -> CsvSource:
        """Reads these columns; all of them where bad rows are left out, so that the same rows are."""
        if not columns:  # a record batch without columns would have no rows
            return self
        bare = copy.copy(self)
        bare.columns = {name: kind for name, kind in self.columns.items() if name in columns}
        bare._whole = self
        return bare

    @property
    def n_pieces(self) -> int:
        return 1

    def rows_of(self, piece: int) -> None:
        return None

    def read(self, piece: int, skip_bad: bool = False) -> Iterator[Block]:
        if skip_bad and self._whole is not None:
            yield from selected(self._whole.read(piece, skip_bad), self.columns)
            return
        for file in self._files:
            parser = Parser(file.format, self.columns)
            row, line = 0, file.format.line
            for text, is_whole in file.texts():
                if not is_whole and not file.is_closed(text):
                    raise bad_row(file.path, row, "a quote is opened and not closed before the file ends", line=line)
                row += yield from parser.parse(text, Place(file.path, row, line), skip_bad)
                line += text.count(b"\n")


def open_csv(path: str, delimiter: str | None) -> CsvFile:
    """Read the header of a file."""
    n_bytes = file_size(path)
    return CsvFile(path, n_bytes, read_format(path, text_head(path), delimiter))


def check_header(first: CsvFile, other: CsvFile) -> None:
    """FileError, with the first column that differs, unless both files have the same columns."""
    pairs = itertools.zip_longest(first.format.names, other.format.names)
    for index, (expected, name) in enumerate(pairs):
        if expected != name:
            has = "has no more columns" if name is None else f"is named {name!r}"
            want = "has no more" if expected is None else f"has {expected!r}"
            raise FileError(f"{other.path}: column {index} {has} where {first.path} {want}")


def likely_rows(files: Sequence[CsvFile]) -> int | None:
    """About how many rows files have, by their sizes and the lines of the first block; None if they are compressed."""
    text = next((text for text, _ in files[0].texts()), b"")
    if not text or any(codec_of(file.path) for file in files):
        return None
    return sum(file.n_bytes for file in files) * text.count(b"\n") // len(text)


def find_kinds(file: CsvFile, names: Collection[str], text: Collection[str]) -> dict[str, str]:
    """ "number" or "text" for each column, from the beginning of the file."""
    parser = Parser(file.format, dict.fromkeys(names, "text"))
    counts = {name: np.zeros(2, np.int64) for name in names if name not in text}
    for block_text, is_whole in itertools.islice(file.texts(), HEAD):
        if is_whole or file.is_closed(block_text):
            for block in parser.parse(block_text, Place(file.path, 0, 0), skip_bad=True):
                for name, count in counts.items():
                    count += count_text(block.rows.column(name))
    numbers = {name for name, (n_text, n_values) in counts.items() if n_text <= FEW * n_values}
    return {name: "number" if name in numbers else "text" for name in names}


def count_text(array: Any) -> tuple[int, int]:
    """How many values of a dictionary array are not numbers, and how many there are; missing ones do not count."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n_values = len(array) - array.null_count
    try:
        array.dictionary.cast(pa.float64())
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(array.dictionary, NUMBER).to_numpy(zero_copy_only=False)
        codes = array.indices.drop_null().to_numpy()
        return int(np.count_nonzero(~is_number[codes])), n_values
    return 0, n_values
