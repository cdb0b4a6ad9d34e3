"""How a CSV file is written: its delimiter, its header, and where its rows end."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FileError

MISSING = frozenset({"", "na", "n/a", "nan", "null"})
MARK = b"\xef\xbb\xbf"  # that some editors put before UTF-8
QUOTE = ord('"')


@dataclass(frozen=True)
class Format:
    """How a file is written.

    Attributes
    ----------
    delimiter : str
    names : tuple of str
        Of the columns.
    start : int
        Bytes before the first row: a mark of UTF-8, empty lines, the header.
    line : int
        Which line of the file the first row is in, from 1.
    """

    delimiter: str
    names: tuple[str, ...]
    start: int
    line: int


def read_format(path: str, head: bytes, delimiter: str | None = None) -> Format:
    """The format of a file from its first bytes, which hold its header.

    A first line of numbers only is a row, unless it counts 0, 1, 2, ...: the columns are then named so.

    Raises
    ------
    FileError
        If it is empty, is not UTF-8, or two columns have the same name.
    """
    mark = len(MARK) if head.startswith(MARK) else 0
    lines = _lines(head[mark:])
    try:
        blank = 0
        while blank < len(lines) and not lines[blank].strip():
            blank += 1
        if blank == len(lines):
            raise FileError(f"{path} is empty: its first line must name the columns")
        first = lines[blank].decode()
        delimiter = delimiter or max("\t;," if ".tsv" in path.lower() else ",;\t", key=first.count)
        taken: list[int] = []
        reader = csv.reader(_decoded(lines[blank:], taken), delimiter=delimiter, skipinitialspace=True)
        names = [name.strip() for name in next(reader)]
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text: {error.reason} in its first line") from None
    except csv.Error as error:
        raise FileError(f"{path} is not a table of text: {error}") from None
    start = mark + sum(map(len, lines[:blank]))
    counted = [str(index) for index in range(len(names))]
    if names != counted and all(is_number(name) for name in names):
        return Format(delimiter, tuple(counted), start, blank + 1)
    names = [name or f"column_{index}" for index, name in enumerate(names)]
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise FileError(f"{path}: two columns are named {twice[0]!r}")
    return Format(delimiter, tuple(names), start + sum(taken), blank + len(taken) + 1)


def is_number(cell: str) -> bool:
    """Whether the text is a number; `1_000` and digits of other scripts are not, though Python would read them."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.isascii()


def cut_rows(text: bytes, delimiter: str) -> int:
    """Where the last row that is whole in a text ends; lines may break within quotes."""
    end = text.rfind(b"\n") + 1
    if not end or b'"' not in text:
        return end
    quotes = quote_places(text)
    if not quotes_are_plain(text, quotes, delimiter):
        return _cut_by_rows(text, end, delimiter)
    while (n := np.searchsorted(quotes, end)) % 2:
        end = text.rfind(b"\n", 0, quotes[n - 1]) + 1
    return end


def quote_places(text: bytes) -> np.ndarray:
    """Where the quotes of a text stand."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == QUOTE)


def quotes_are_plain(text: bytes, quotes: np.ndarray, delimiter: str) -> bool:
    """Whether every quote that opens, which are every other one then, begins a value or follows one that closes.

    Otherwise a quote stands within a value without quotes (5" pipe) or behind a blank, and they cannot be counted.
    """
    opening = quotes[::2] if quotes.size and quotes[0] else quotes[2::2]
    before = np.frombuffer(text, np.uint8)[opening - 1]
    return bool(np.isin(before, np.frombuffer(b'"\n\r' + delimiter.encode(), np.uint8)).all())


def _cut_by_rows(text: bytes, end: int, delimiter: str) -> int:
    """As `cut_rows`, by reading the rows one by one; `end` is that of the last line.

    A last row of our own shows whether the one before it was whole.
    """
    taken: list[int] = []
    whole = done = 0
    lines = (line.decode("latin-1") for line in _counted([*_lines(text[:end]), b"\0"], taken))
    try:
        for _ in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
            if done == end:
                return end
            whole, done = done, done + sum(taken)
            taken.clear()
    except csv.Error:  # a value of more than 131,072 letters: its row is not whole
        return done
    return whole


def _lines(text: bytes) -> list[bytes]:
    return list(io.BytesIO(text)) if b"\n" in text else text.splitlines(keepends=True)


def _counted(lines: Sequence[bytes], taken: list[int]) -> Iterator[bytes]:
    """The lines; adds the length of each one that is taken."""
    for line in lines:
        taken.append(len(line))
        yield line


def _decoded(lines: Sequence[bytes], taken: list[int]) -> Iterator[str]:
    return (line.decode() for line in _counted(lines, taken))
