"""Lines of libsvm text, `label index:value index:value ...`, to labels and CSR.

A block is parsed by looking at all its separators at once and reading all its numbers as one column; the rules are
checked on whole arrays. Only a block that breaks one is read line by line, to say where.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .salvage import Place
from .source import bad_row

LARGEST = 2**31 - 1  # index: scipy's products take int32
BLANK, COLON, LINE = 1, 2, 3
SEPARATORS = bytes({32: BLANK, 9: BLANK, 13: BLANK, 58: COLON, 10: LINE}.get(byte, 0) for byte in range(256))
TO_LINES = bytes.maketrans(b" \t\r:", b"\n\n\n\n")
COMMENT = re.compile(rb"#[^\n]*")
QUERY = re.compile(rb"(?<=[ \t])qid:\d+(?=\s)")


@dataclass(frozen=True)
class Rules:
    """What indices may be.

    Attributes
    ----------
    first : int
        The smallest: 1, or 0 in files that count from there.
    n_features : int
        How many there are.
    """

    first: int
    n_features: int

    @property
    def last(self) -> int:
        return self.first + self.n_features - 1


@dataclass(frozen=True)
class Lines:
    """Rows of a text.

    Attributes
    ----------
    y : ndarray of float64, shape (n,)
    indptr : ndarray of int32, shape (n + 1,)
    indices : ndarray of int32
        From 0.
    values : ndarray of float64
    numbers : ndarray of int64, shape (n,), or None
        Which rows of the text they are, where some were left out.
    n_bad : int
    """

    y: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    numbers: np.ndarray | None = None
    n_bad: int = 0


def parse_lines(text: bytes, rules: Rules) -> Lines | None:
    """The rows of a text, or None if one of them is bad.

    A word ends at a separator: an index at a colon; a value begins behind one, a label behind the end of a line.
    """
    if b"#" in text:
        text = COMMENT.sub(b"", text)
    text += b"\n"
    if b"qid" in text:
        text = QUERY.sub(b"", text)
    kinds = np.frombuffer(text.translate(SEPARATORS), np.uint8)
    places = np.flatnonzero(kinds != 0)
    kinds = kinds[places]
    has_word = np.diff(places, prepend=-1) > 1
    if not has_word[kinds == COLON].all() or not has_word[1:][kinds[:-1] == COLON].all():
        return None
    kept = has_word | (kinds == LINE)
    kinds, has_word = kinds[kept], has_word[kept]
    before = np.append(np.uint8(LINE), kinds[:-1])[has_word]
    is_index, is_label = kinds[has_word] == COLON, before == LINE
    if (is_index == (is_label | (before == COLON))).any():
        return None
    numbers = _numbers(text, len(before))
    return None if numbers is None else _checked(numbers, np.flatnonzero(is_label), np.flatnonzero(is_index), rules)


def _numbers(text: bytes, n: int) -> np.ndarray | None:
    """The `n` numbers of a text, or None if one is not a number."""
    import pyarrow as pa
    from pyarrow import csv

    if not n:
        return np.empty(0)
    try:
        table = csv.read_csv(
            pa.BufferReader(text.translate(TO_LINES)),
            csv.ReadOptions(column_names=["x"], use_threads=False, block_size=len(text) + 1),
            csv.ParseOptions(delimiter="\1", quote_char=False),
            csv.ConvertOptions(column_types={"x": pa.float64()}, null_values=[]),
        )
    except pa.ArrowException:
        return None
    numbers: np.ndarray = table.column(0).to_numpy()
    return numbers if len(numbers) == n else None


def _checked(numbers: np.ndarray, at_label: np.ndarray, at_index: np.ndarray, rules: Rules) -> Lines | None:
    """The rows that these numbers are, or None if an index is not allowed or a label is not finite."""
    y, indices, values = numbers[at_label], numbers[at_index], numbers[at_index + 1]
    if not np.isfinite(y).all() or not ((indices >= rules.first) & (indices <= rules.last)).all():
        return None
    indptr = np.append((at_label - np.arange(len(y))) // 2, len(indices)).astype(np.int32)
    whole = indices.astype(np.int32)
    grows = np.diff(whole, prepend=-1) > 0
    grows[indptr[:-1][np.diff(indptr) > 0]] = True  # the first of a row has none before it
    if not grows.all() or (whole != indices).any():
        return None
    return Lines(y, indptr, whole - np.int32(rules.first), values)


def read_lines(text: bytes, place: Place, rules: Rules, skip_bad: bool) -> Lines:
    """As `parse_lines`, line by line; FileError for the first bad row unless such rows are left out."""
    y: list[float] = []
    values: list[float] = []
    indices: list[int] = []
    indptr = [0]
    numbers: list[int] = []
    n_rows = 0
    for index, words in _rows_of(text):
        try:
            label, pairs = _row(words, rules)
        except BadEntry as bad:
            if not skip_bad:
                raise bad_row(place.path, place.row + n_rows, bad.what, bad.column, place.line + index) from None
        else:
            y.append(label)
            indices += [column - rules.first for column, _ in pairs]
            values += [value for _, value in pairs]
            indptr.append(len(indices))
            numbers.append(n_rows)
        n_rows += 1
    return Lines(
        np.array(y, float),
        np.array(indptr, np.int32),
        np.array(indices, np.int32),
        np.array(values, float),
        np.array(numbers, np.int64) if len(numbers) < n_rows else None,
        n_rows - len(numbers),
    )


def line_of(row: int, text: bytes, place: Place) -> int:
    """In which line of its file a row of it is that is in this text."""
    index, _ = next(itertools.islice(_rows_of(text), row - place.row, None))
    return place.line + index


def _rows_of(text: bytes) -> Iterator[tuple[int, list[str]]]:
    """The lines that are rows: which line of the text, and its words."""
    for index, line in enumerate(text.split(b"\n")):
        words = line.partition(b"#")[0].decode("latin-1").split()
        if words:
            yield index, words


class BadEntry(Exception):
    """Why a row cannot be read, and at which index."""

    def __init__(self, column: int | str, what: str) -> None:
        self.column = column
        self.what = what


def _row(words: list[str], rules: Rules) -> tuple[float, list[tuple[int, float]]]:
    label = _number(words[0])
    if label is None:
        several = ": a row may have one label only" if "," in words[0] or ":" in words[0] else ""
        raise BadEntry("label", f"got {words[0][:40]!r}, expected a number{several}")
    if not np.isfinite(label):
        raise BadEntry("label", f"got {words[0]}, which is not finite")
    pairs: list[tuple[int, float]] = []
    for word in words[1:]:
        if re.fullmatch(r"qid:\d+", word):
            continue
        column, value = _entry(word)
        if not rules.first <= column <= rules.last:
            raise BadEntry(column, _out_of_range(column, rules))
        if pairs and column <= pairs[-1][0]:
            what = "the index stands twice" if column == pairs[-1][0] else f"the index follows {pairs[-1][0]}"
            raise BadEntry(column, f"{what}; those of a row must grow")
        pairs.append((column, value))
    return label, pairs


def _entry(word: str) -> tuple[int, float]:
    index, colon, text = word.partition(":")
    value = _number(text)
    if not colon or not (index.isascii() and index.isdigit()):
        raise BadEntry("index", f"got {word[:40]!r}, expected index:value")
    if value is None:
        raise BadEntry(int(index), f"got {text[:40]!r}, expected a number")
    return int(index), value


def _out_of_range(column: int, rules: Rules) -> str:
    if column < rules.first:
        return "indices count from 1 (zero_based=True reads files that count from 0)"
    if column > LARGEST:
        return f"the index is larger than {LARGEST}"
    return f"the index is larger than {rules.last}, the last of n_features={rules.n_features}"


def _number(text: str) -> float | None:
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None
