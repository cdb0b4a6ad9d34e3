"""Tables as columns: reads .csv, .tsv (either with .gz), .npy and .npz for the command line, with NumPy and csv only.

A column is float64 with NaN where a value is missing, or an object array of str with "" where one is missing.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import itertools
import math
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

MISSING = frozenset({"", "na", "n/a", "nan", "null"})
BLOCK = 20_000  # rows that are held as Python strings at a time: a float64 column takes 8 bytes a value, its text 50


@dataclass(frozen=True)
class Table:
    """Columns of equal length by name.

    Attributes
    ----------
    path : Path
        The file, for messages.
    columns : dict of str to ndarray
        float64 (NaN is missing) or object, holding str ("" is missing); from arrays, any real dtype as it is stored.
    """

    path: Path
    columns: dict[str, np.ndarray]

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str, role: str = "column") -> np.ndarray:
        """The column `name`; ValueError with the nearest name if there is none."""
        if name in self.columns:
            return self.columns[name]
        close = difflib.get_close_matches(name, self.columns, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"{role}: no column {name!r} in {self.path}; {hint}its columns: {', '.join(self.columns)}")

    def without(self, names: Collection[str]) -> Table:
        """The table with some of its columns left out."""
        for name in names:
            self.column(name, "ignore")
        kept = {name: values for name, values in self.columns.items() if name not in names}
        if not kept:
            raise ValueError(f"no column of {self.path} is left to learn from")
        return Table(self.path, kept)


def read_table(path: str | Path, text: Collection[str] = ()) -> Table:
    """Read a table.

    Parameters
    ----------
    path : str or Path
        `.csv`, `.tsv`, either followed by `.gz`, `.npy` (columns are named "0", "1", ...) or `.npz` (each vector is a
        column under its name; the columns of a matrix `X` are named "0", "1", ..., those of another one `name[0]`).
    text : collection of str
        Columns to keep as text even if they look like numbers.

    Raises
    ------
    ValueError
        For a file that is none of these, is empty, is damaged, or has rows of unequal length.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]
    if kind in ([".csv"], [".tsv"]):
        table = _read_text(path, set(text))
    elif suffixes[-1:] in ([".npy"], [".npz"]):
        table = _read_arrays(path)
    else:
        raise ValueError(f"data must be a .csv, .tsv, .npy or .npz file, got {str(path)!r}")
    if table.n_rows == 0:
        raise ValueError(f"{path} holds no rows")
    return table


# --- text ---


def _read_text(path: Path, text: set[str]) -> Table:
    """Columns become numbers block by block; one whose text turns up only in a later block costs a second reading."""
    try:
        while True:
            known = set(text)
            with _open(path) as file:
                names, rows = _header(path, file)
                blocks, reread = _blocks(names, rows, text)
            if not reread:
                break
            assert text > known  # each reading adds a column, so this ends
    except csv.Error as error:
        raise ValueError(f"{path} is not a table of text: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    columns = {name: np.concatenate(parts) for name, parts in zip(names, blocks, strict=True)}
    return Table(path, columns)


def _open(path: Path) -> TextIO:
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    file: TextIO = opener(path, "rt", encoding="utf-8-sig", newline="")
    return file


def _header(path: Path, file: TextIO) -> tuple[list[str], Iterator[list[str]]]:
    """Names of the columns, and the rows.

    A first line of numbers only is a row, unless it counts 0, 1, 2, ...: the columns are then named so.
    """
    first = file.readline()
    delimiter = max("\t;," if ".tsv" in path.name.lower() else ",;\t", key=first.count)
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    names = [name.strip() for name in next(reader, [])]
    if not names:
        raise ValueError(f"{path} is empty: its first line must name the columns")
    counted = [str(index) for index in range(len(names))]
    if names != counted and _numbers(names) is not None and all(names):
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        names = counted
    names = [name or f"column_{index}" for index, name in enumerate(names)]
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise ValueError(f"{path}: two columns are named {twice[0]!r}")
    return names, _rows(path, reader, names)


def _rows(path: Path, reader: Any, names: Sequence[str]) -> Iterator[list[str]]:
    """The rows that are not blank; ValueError for one that is too short or too long."""
    for row in reader:
        if len(row) == len(names):
            yield row
        elif len(row) > len(names):
            raise ValueError(
                f"{path}, line {reader.line_num}: {len(row)} values for {len(names)} columns; the first one too many, "
                f"{row[len(names)]!r}, stands after column {names[-1]!r}"
            )
        elif row:
            raise ValueError(
                f"{path}, line {reader.line_num}: {len(row)} values for {len(names)} columns; "
                f"there is none for column {names[len(row)]!r}"
            )


def _blocks(names: list[str], rows: Iterator[list[str]], text: set[str]) -> tuple[list[list[np.ndarray]], bool]:
    """The columns in parts, and whether to read again because numbers came before text. Adds names to `text`."""
    parts: list[list[np.ndarray]] = [[] for _ in names]
    reread = False
    while block := list(itertools.islice(rows, BLOCK)):
        for name, cells, out in zip(names, zip(*block, strict=True), parts, strict=True):
            numbers = None if name in text else _numbers(cells)
            if numbers is None:
                reread |= name not in text and bool(out)
                text.add(name)
                numbers = np.array([_string(cell) for cell in cells], dtype=object)
            out.append(numbers)
    return [out or [np.empty(0)] for out in parts], reread


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    """The cells as float64, or None if one of them is text. `1_000` is text, though Python would read it."""
    try:
        values = np.array(list(map(float, cells)))
    except ValueError:
        try:
            values = np.array([math.nan if cell.strip().lower() in MISSING else float(cell) for cell in cells])
        except ValueError:
            return None
    return None if "_" in "".join(cells) else values


def _string(cell: str) -> str:
    stripped = cell.strip()
    return "" if stripped.lower() in MISSING else stripped


# --- arrays ---


def _read_arrays(path: Path) -> Table:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays = {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else {"X": loaded}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or not a file of arrays: {error}") from None
    columns: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        for key, values in _split(path, name, array):
            if key in columns:
                raise ValueError(f"{path}: two columns are named {key!r}")
            columns[key] = values
    if not columns:
        raise ValueError(f"{path} holds no column")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: arrays must be of equal length, got {lengths}")
    return Table(path, columns)


def _split(path: Path, name: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if array.ndim not in (1, 2):
        raise ValueError(f"{path}: array {name!r} must have 1 or 2 dimensions, got shape {array.shape}")
    if array.ndim == 1:
        yield name, _column(path, name, array)
        return
    for index in range(array.shape[1]):
        key = str(index) if name == "X" else f"{name}[{index}]"
        yield key, _column(path, key, array[:, index])


def _column(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "biuf":
        return values  # a view: cast when it is used
    if values.dtype.kind == "U":
        return np.array([_string(cell) for cell in values], dtype=object)
    raise ValueError(f"{path}: column {name!r} must hold real numbers or text, got dtype {values.dtype}")
