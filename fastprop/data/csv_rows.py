"""Rows of CSV text one by one: slow, and says exactly which one is wrong, and why."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import FileError
from .csv_format import MISSING, is_number
from .paths import option
from .salvage import Place
from .source import bad_row


@dataclass
class Rows:
    """The good rows of a text as columns.

    Attributes
    ----------
    columns : dict of str to list
        float or str; None is missing.
    numbers : list of int
        Which rows of the text they are.
    n_rows : int
        Rows of the text, bad ones included.
    """

    columns: dict[str, list[float | str | None]]
    numbers: list[int] = field(default_factory=list)
    n_rows: int = 0


def read_rows(
    text: bytes, place: Place, delimiter: str, names: Sequence[str], kinds: Mapping[str, str], skip_bad: bool
) -> Rows:
    """Read the rows of a text.

    Parameters
    ----------
    text : bytes
    place : Place
    delimiter : str
    names : sequence of str
        Of all columns.
    kinds : mapping of str to str
        "number" or "text" for each column that is wanted.
    skip_bad : bool
        Leave out rows that cannot be read, instead of raising FileError for the first.
    """
    rows = Rows({name: [] for name in kinds})
    for row, line in _split(text, place, delimiter):
        try:
            values = _values(row, names, kinds)
        except BadCell as bad:
            if not skip_bad:
                raise bad_row(place.path, place.row + rows.n_rows, bad.what, bad.column, line) from None
        else:
            rows.numbers.append(rows.n_rows)
            for name, value in values.items():
                rows.columns[name].append(value)
        rows.n_rows += 1
    return rows


def line_of(row: int, text: bytes, place: Place, delimiter: str) -> int | None:
    """In which line of its file a row of it begins that is in this text."""
    try:
        return next(line for _, line in itertools.islice(_split(text, place, delimiter), row - place.row, None))
    except (FileError, StopIteration):  # a value of more than 131,072 letters before it, which pyarrow takes
        return None


class BadCell(Exception):
    """Why a row cannot be read, and at which column."""

    def __init__(self, column: str, what: str) -> None:
        self.column = column
        self.what = what


def _split(text: bytes, place: Place, delimiter: str) -> Iterator[tuple[list[str], int]]:
    """The rows that are not empty, each with the line in which it begins."""
    lines = io.StringIO(text.decode(errors="surrogateescape"), newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    line = place.line
    try:
        for row in reader:
            if row:
                yield row, line
            line = place.line + reader.line_num
    except csv.Error as error:
        raise FileError(f"{place.path}, line {line}: not a table of text: {error}") from None


def _values(row: list[str], names: Sequence[str], kinds: Mapping[str, str]) -> dict[str, float | str | None]:
    """The value of each wanted column; BadCell for the first that there is not."""
    if len(row) < len(names):
        raise BadCell(names[len(row)], f"missing: the row has {len(row)} values for {len(names)} columns")
    if len(row) > len(names):
        count = f"{len(row)} values for {len(names)} columns"
        raise BadCell(names[-1], f"{_shown(row[len(names)])} follows it: the row has {count}")
    cells = zip(names, row, strict=True)
    return {name: _value(name, cell, kinds[name]) for name, cell in cells if name in kinds}


def _value(name: str, cell: str, kind: str) -> float | str | None:
    cell = cell.strip()
    if cell.lower() in MISSING:
        return None
    if kind == "text":
        if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
            raise BadCell(name, f"got {_shown(cell)}, which is not UTF-8 text")
        return cell
    if not is_number(cell):
        raise BadCell(name, f"got {_shown(cell)}, expected a number ({option('text', name)} keeps the column as text)")
    value = float(cell)
    return None if math.isnan(value) else value


def _shown(cell: str) -> str:
    """The cell as bytes or letters that can be printed, at most 40 of them."""
    short = cell if len(cell) <= 40 else f"{cell[:37]}..."
    return repr(short) if short.isprintable() else repr(short.encode(errors="surrogateescape"))
