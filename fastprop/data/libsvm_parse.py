"""Lines of libsvm text, `label index:value index:value ...`, to labels and CSR.

A block is parsed by looking at all its separators at once and reading all its numbers as one column; the rules are
checked on whole arrays. Only a block that breaks one is read line by line, to say where.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .salvage import Place
from .source import bad_row

LARGEST = 2**31 - 1  # index: scipy's products take int32
BLANK, COLON, LINE = 1, 2, 3
SEPARATORS = np.zeros(256, np.uint8)
SEPARATORS[[ord(" "), ord(":"), ord("\n")]] = BLANK, COLON, LINE
TO_BLANKS = bytes.maketrans(b"\t\r", b"  ")
TO_LINES = bytes.maketrans(b" :", b"\n\n")
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
    """The rows of a text, or None if one of them is bad."""
    text = text.translate(TO_BLANKS)
    if b"#" in text:
        text = COMMENT.sub(b"", text)
    text += b"\n"
    if b"qid" in text:
        text = QUERY.sub(b"", text)
    kinds = SEPARATORS[np.frombuffer(text, np.uint8)]
    places = np.flatnonzero(kinds)
    kinds = kinds[places]
    has_token = np.diff(places, prepend=-1) > 1
    if ((kinds == COLON) & ~has_token).any():
        return None
    line = np.cumsum(kinds == LINE)
    tokens = np.flatnonzero(has_token)
    is_index = kinds[tokens] == COLON
    is_value = np.zeros_like(is_index)
    is_value[1:] = is_index[:-1]
    is_label = ~(is_index | is_value)
    begins = np.diff(np.where(kinds[tokens] == LINE, line[tokens] - 1, line[tokens]), prepend=-1) > 0
    follows_colon = kinds[np.maximum(tokens - 1, 0)] == COLON
    follows_colon[:1] &= tokens[:1] > 0
    if (is_value & is_index).any() or is_index[-1:].any() or (is_label != begins).any():
        return None
    if (follows_colon != is_value).any():
        return None
    numbers = _numbers(text, len(tokens))
    return None if numbers is None else _checked(numbers, is_label, is_index, is_value, rules)


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


def _checked(
    numbers: np.ndarray, is_label: np.ndarray, is_index: np.ndarray, is_value: np.ndarray, rules: Rules
) -> Lines | None:
    """The rows that these numbers are, or None if an index is not allowed or a label is not finite."""
    labels = np.flatnonzero(is_label)
    indptr = np.append((labels - np.arange(len(labels))) // 2, is_index.sum()).astype(np.int32)
    indices = numbers[is_index]
    grows = np.diff(indices, prepend=0) > 0
    grows[indptr[:-1][np.diff(indptr) > 0]] = True  # the first of a row has none before it
    whole = (indices >= rules.first) & (indices <= rules.last) & (indices == np.floor(indices))
    if not (grows & whole).all() or not np.isfinite(numbers[is_label]).all():
        return None
    return Lines(numbers[is_label], indptr, indices.astype(np.int32) - rules.first, numbers[is_value])


def read_lines(text: bytes, place: Place, rules: Rules, skip_bad: bool) -> Lines:
    """As `parse_lines`, line by line; FileError for the first bad row unless such rows are left out."""
    y: list[float] = []
    values: list[float] = []
    indices: list[int] = []
    indptr = [0]
    numbers: list[int] = []
    n_rows = 0
    for index, line in enumerate(text.split(b"\n")):
        words = line.partition(b"#")[0].decode("latin-1").split()
        if not words:
            continue
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
