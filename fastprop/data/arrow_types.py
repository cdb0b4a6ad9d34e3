"""Which types of Arrow are numbers or text, and the one type in which a column of several files comes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..arrow import kind_of
from ..errors import FileError
from .paths import option

HOW_TO = {
    "date": "store numbers made from it (year, month, day of the week) or leave it out",
    "nested": "store its parts as columns of their own or leave it out",
    "other": "leave it out",
}


def usable_kind(path: str, name: str, type_: Any) -> str:
    """ "number" or "text"; FileError for a column that is neither, with what to do about it."""
    kind = kind_of(type_)
    if kind not in ("number", "text"):
        advice = f"{HOW_TO[kind]} ({option('ignore', name)})"
        raise FileError(f"{path}, column {name!r} holds {type_}, which is neither numbers nor text: {advice}")
    return kind


def common_type(stored: Collection[Any], coded: bool) -> Any:
    """The type in which a column comes that is stored in these types, all numbers or all text.

    One type of integers or floats comes as it is, several as float64; text as strings, coded if `coded`.
    """
    import pyarrow as pa
    from pyarrow import types

    first, *others = set(stored)
    if kind_of(first) == "text":
        return pa.dictionary(pa.int32(), pa.string()) if coded else pa.string()
    if others:
        return pa.float64()
    if types.is_boolean(first):
        return pa.uint8()
    if types.is_float16(first):
        return pa.float32()
    return first if types.is_integer(first) or types.is_floating(first) else pa.float64()


def cast(array: Any, type_: Any) -> Any:
    """The array in another type of the same kind; ArrowInvalid if its text is damaged.

    Parquet's reader does not look whether strings are UTF-8 and codes are within their dictionary; who takes them does
    not either, and would read past the end.
    """
    import pyarrow as pa

    if kind_of(array.type) == "text":
        array.validate(full=True)
    if array.type == type_:
        return array
    if pa.types.is_dictionary(array.type) and not pa.types.is_dictionary(type_):
        array = array.dictionary_decode()
    return array.cast(type_, safe=False)  # 2**53 + 1 as float64 is meant


def constant(value: str | None, type_: Any, n: int) -> Any:
    """`n` times one value, given as text; None is missing."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        codes = pa.array([0 if value is not None else None], type_.index_type)
        return pa.DictionaryArray.from_arrays(pa.repeat(codes[0], n), pa.array([value or ""], type_.value_type))
    return pa.repeat(pa.scalar(None if value is None else float(value), type_), n)
