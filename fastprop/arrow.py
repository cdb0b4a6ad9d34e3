"""Columns of Arrow as NumPy knows them: numbers without a copy where none is missing, text as codes of categories.

No column ever becomes an array of Python objects. A missing number is NaN, a missing text the empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def kind_of(type_: Any) -> str:
    """ "number" or "text" for a type of Arrow, else "date", "nested" or "other"."""
    from pyarrow import types

    if types.is_dictionary(type_):
        type_ = type_.value_type
    if types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_):
        return "number"
    if types.is_boolean(type_) or types.is_null(type_):
        return "number"
    if is_string(type_):
        return "text"
    if types.is_temporal(type_):
        return "date"
    return "nested" if types.is_nested(type_) else "other"


def is_string(type_: Any) -> bool:
    """Whether it is text that is not coded as a dictionary."""
    from pyarrow import types

    return bool(types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_))


def numbers_of(array: Any) -> np.ndarray:
    """A column of kind "number" as an ndarray of a real dtype, NaN where it is missing.

    A view of Arrow's memory, except of booleans, decimals, dictionaries and columns with gaps.
    """
    import pyarrow as pa

    dtype = array.type
    if pa.types.is_dictionary(dtype):
        return numbers_of(array.dictionary_decode())
    if pa.types.is_null(dtype):
        return np.full(len(array), np.nan, np.float32)
    if pa.types.is_boolean(dtype):
        array = array.cast(pa.uint8())  # NumPy would get objects for True, False and None
    elif pa.types.is_decimal(dtype):
        array = array.cast(pa.float64())
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values


def dtype_of(type_: Any) -> np.dtype[Any]:
    """The dtype of `numbers_of` for a column of numbers without gaps."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        return dtype_of(type_.value_type)
    if pa.types.is_null(type_):
        return np.dtype(np.float32)
    if pa.types.is_boolean(type_):
        return np.dtype(np.uint8)
    return np.dtype(np.float64 if pa.types.is_decimal(type_) else type_.to_pandas_dtype())


def codes_of(array: Any, categories: Sequence[str]) -> np.ndarray:
    """The position of each text of a column among `categories`, -1 where it is none of them; shape (n,), int32."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        of_entry = np.append(codes_of(array.dictionary, categories), codes_of(pa.array([""]), categories))
        indices = array.indices.cast(pa.int64()).fill_null(len(of_entry) - 1)
        spread: np.ndarray = of_entry[indices.to_numpy(zero_copy_only=False)]
        return spread
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if array.null_count:
        array = array.fill_null("")
    if len(array) == 0 or len(categories) == 0:
        return np.full(len(array), -1, np.int32)
    found = pc.index_in(array, value_set=pa.array(categories, array.type))
    codes: np.ndarray = found.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes


def distinct_of(array: Any) -> list[str]:
    """The different texts of a column, in no certain order; "" among them if some are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        return distinct_of(array.dictionary.take(pc.unique(array.indices)))
    return list(dict.fromkeys(text or "" for text in pc.unique(array).to_pylist()))
