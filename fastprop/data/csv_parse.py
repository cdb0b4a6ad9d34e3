"""Text of CSV files to record batches: by pyarrow, and row by row where it fails."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

import numpy as np

from .csv_format import MISSING, Format, cut_rows, quote_places, quotes_are_plain
from .csv_rows import line_of, read_rows
from .salvage import Place, parse
from .source import Block


def spellings(words: Iterable[str]) -> list[str]:
    """The words in small and capital letters, with a blank before them, and blanks: pyarrow compares as it stands."""
    cases = (itertools.product(*({letter, letter.upper()} for letter in word)) for word in words)
    found = {"".join(letters) for word in cases for letters in word}
    return sorted(found | {f" {word}" for word in found} | {" " * n for n in range(2, 9)})


NULLS = spellings(MISSING)


class Parser:
    """Reads the text of one file.

    Parameters
    ----------
    format : Format
    kinds : dict of str to str
        "number" or "text" for each column that is wanted.
    """

    def __init__(self, format: Format, kinds: dict[str, str]) -> None:
        import pyarrow as pa
        from pyarrow import csv

        self._format = format
        self._kinds = kinds
        types = {"number": pa.float64(), "text": pa.dictionary(pa.int32(), pa.string())}
        self._schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
        self._parse_options = csv.ParseOptions(delimiter=format.delimiter)
        self._convert_options = csv.ConvertOptions(
            column_types=self._schema, include_columns=list(kinds), null_values=NULLS, strings_can_be_null=True
        )
        blank = re.escape(format.delimiter.encode())
        self._blank_before_quote = re.compile(rb"(?:^|[\n\r" + blank + rb']) +"')

    def parse(self, text: bytes, place: Place, skip_bad: bool) -> Generator[Block, None, int]:
        """The rows of a text as blocks; returns how many there are, bad ones included."""
        return parse(text, place, self._cut, self._at_once, partial(self._by_rows, skip_bad=skip_bad))

    def _cut(self, text: bytes) -> int:
        return cut_rows(text, self._format.delimiter)

    def _at_once(self, text: bytes, place: Place) -> Block | None:
        import pyarrow as pa

        try:
            return Block(self._batch(text), None, place.path, place.row, line_of=self._line_of(text, place))
        except pa.ArrowException:
            return None

    def _batch(self, text: bytes) -> Any:
        import pyarrow as pa
        from pyarrow import csv

        if b' "' in text and self._is_odd(text):
            raise pa.ArrowInvalid("a blank before a quote, which pyarrow takes as part of the value")
        # With threads columns are converted side by side: a file of 29 columns is read 1.15 times as fast on two cores.
        options = csv.ReadOptions(column_names=self._format.names, use_threads=True, block_size=len(text) + 1)
        table = csv.read_csv(pa.BufferReader(text), options, self._parse_options, self._convert_options)
        arrays = [column.combine_chunks() for column in table.columns]
        arrays = [trimmed(array) if pa.types.is_dictionary(array.type) else array for array in arrays]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _is_odd(self, text: bytes) -> bool:
        """Whether a value in quotes has a blank before it."""
        if quotes_are_plain(text, quote_places(text), self._format.delimiter):
            return False
        return self._blank_before_quote.search(text) is not None

    def _by_rows(self, text: bytes, place: Place, skip_bad: bool) -> Block:
        import pyarrow as pa

        rows = read_rows(text, place, self._format.delimiter, self._format.names, self._kinds, skip_bad)
        arrays = []
        for column in self._schema:
            array = pa.array(rows.columns[column.name], getattr(column.type, "value_type", column.type))
            arrays.append(array.dictionary_encode() if pa.types.is_dictionary(column.type) else array)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        n_bad = rows.n_rows - len(rows.numbers)
        numbers = np.array(rows.numbers, np.int64) + place.row if n_bad else None
        return Block(batch, None, place.path, place.row, numbers, n_bad, self._line_of(text, place))

    def _line_of(self, text: bytes, place: Place) -> Callable[[int], int | None]:
        return partial(line_of, text=text, place=place, delimiter=self._format.delimiter)


def trimmed(array: Any) -> Any:
    """A dictionary array without blanks around its values; what says "missing" then is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.utf8_trim_whitespace(array.dictionary)
    if values.equals(array.dictionary):
        return array
    gone = pc.is_in(pc.utf8_lower(values), pa.array(sorted(MISSING)))
    values = pc.if_else(gone, pa.scalar(None, values.type), values)
    return values.take(array.indices).dictionary_encode()
