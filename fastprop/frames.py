"""Data frames in memory as one array: pandas, polars and Arrow, column by column and never through Python objects.

A frame that is one block of numbers already is not copied. Others are filled into one row-major array of the columns'
common dtype; a missing number is NaN.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrow import kind_of, numbers_of

Array = NDArray[Any]
SLICE = 4096  # rows at a time: the strided writes of all columns then meet in the cache


def is_frame(X: Any) -> bool:
    """Whether X is a data frame: pandas, polars, or a table or record batch of Arrow."""
    return hasattr(X, "columns") and (hasattr(X, "to_numpy") or (_is_arrow(X) and hasattr(X, "schema")))


def column_names(frame: Any, name: str) -> tuple[str, ...] | None:
    """The names of a frame's columns; None where none of them is a string.

    Raises
    ------
    TypeError
        If some are strings and some not.
    ValueError
        If two are the same.
    """
    columns = list(frame.schema.names if _is_arrow(frame) else frame.columns)
    are_strings = [isinstance(c, str) for c in columns]
    if not any(are_strings):
        return None
    if not all(are_strings):
        raise TypeError(f"{name} has column names of mixed types; make all of them strings")
    if len(set(columns)) != len(columns):
        twice = sorted({c for c in columns if columns.count(c) > 1})
        raise ValueError(f"{name} has several columns named {', '.join(map(repr, twice))}")
    return tuple(columns)


def frame_values(frame: Any, name: str) -> Array:
    """The numbers of a frame, (n_rows, n_columns).

    Raises
    ------
    TypeError
        If columns hold no real numbers; the message names them and says what to do.
    """
    whole = _one_block(frame)
    if whole is not None:
        return whole
    columns = [(c, _column(series)) for c, series in _columns(frame)]
    refused = [f"{c!r} ({a if isinstance(a, str) else a.dtype})" for c, a in columns if not _is_real(a)]
    if refused:
        raise TypeError(f"{name} must hold real numbers; encode or drop the columns {', '.join(refused)}")
    arrays = [a for _, a in columns if not isinstance(a, str)]
    if not arrays:
        return np.empty((frame.shape[0], 0))
    values = np.empty((len(arrays[0]), len(arrays)), np.result_type(*arrays))
    for start in range(0, len(values), SLICE):
        for j, array in enumerate(arrays):
            values[start : start + SLICE, j] = array[start : start + SLICE]
    return values


def frame_targets(frame: Any, name: str) -> Array:
    """A frame as y: its numbers, or the labels of its only column (n_rows, 1)."""
    if frame.shape[1] != 1:
        return frame_values(frame, name)
    return np.asarray(series_values(_columns(frame)[0][1])).reshape(-1, 1)


def series_values(series: Any) -> Any:
    """A column of pandas, polars or Arrow as an ndarray: numbers with NaN for gaps, or labels; others as they are."""
    if _is_arrow(series) and not hasattr(series, "columns"):
        return numbers_of_chunks(series) if kind_of(series.type) == "number" else _labels(series)
    if _library(series) not in ("pandas", "polars") or hasattr(series, "columns"):
        return series
    values = _column(series)
    return series.to_numpy() if isinstance(values, str) or values.dtype == object else values


def numbers_of_chunks(array: Any) -> Array:
    """The numbers of an Arrow array, chunked or not."""
    if not hasattr(array, "chunks"):
        return numbers_of(array)
    parts = [numbers_of(chunk) for chunk in array.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0)])


def _library(value: Any) -> str:
    return type(value).__module__.split(".")[0]


def _is_arrow(value: Any) -> bool:
    return _library(value) == "pyarrow"


def _is_real(array: Any) -> bool:
    return not isinstance(array, str) and array.dtype.kind in "biuf" and array.dtype.itemsize <= 8


def _one_block(frame: Any) -> Array | None:
    """The frame's own array, where all of its columns are NumPy's and of one real dtype."""
    library = _library(frame)
    if library in (
        "polars",
        "pyarrow",
    ):  # one block there lies by columns and has no gaps; filled by rows it trains faster
        return None
    if library != "pandas":  # anybody's frame
        values = np.asarray(frame.to_numpy())
        return values if _is_real(values) else None
    dtypes = set(frame.dtypes)
    if len(dtypes) != 1 or not isinstance(dtype := dtypes.pop(), np.dtype) or dtype.kind not in "biuf":
        return None
    whole: Array = frame.to_numpy()
    return whole


def _columns(frame: Any) -> list[tuple[Any, Any]]:
    if _is_arrow(frame):
        return list(zip(frame.schema.names, frame.columns, strict=True))
    if _library(frame) == "pandas":  # by place: names that are no strings may be there twice
        return [(c, frame.iloc[:, j]) for j, c in enumerate(frame.columns)]
    return [(c, frame[c]) for c in frame.columns]


def _column(series: Any) -> Array | str:
    """A column as an array of a real dtype; the name of its type, or an array of objects, where it is none."""
    library = _library(series)
    if library == "pyarrow":
        return numbers_of_chunks(series) if kind_of(series.type) == "number" else str(series.type)
    if library == "polars":
        return _polars_column(series)
    if library == "pandas" and not isinstance(series.dtype, np.dtype):
        return _pandas_extension(series)
    return np.asarray(series)


def _pandas_extension(series: Any) -> Array | str:
    """Columns of nullable or Arrow's types. Integers with gaps become float64 (float32, where that holds them)."""
    dtype = getattr(series.dtype, "numpy_dtype", None)
    if dtype is None:  # text, categories, dates with a zone; or SparseDtype of numbers
        subtype = getattr(series.dtype, "subtype", None)
        return np.asarray(series) if isinstance(subtype, np.dtype) and subtype.kind in "biuf" else str(series.dtype)
    if dtype.kind not in "biuf":
        return str(series.dtype)
    if series.hasnans:
        small = dtype.itemsize <= 2 or dtype == np.float32
        values: Array = series.to_numpy(dtype=np.float32 if small else np.float64, na_value=np.nan)
        return values
    whole: Array = series.to_numpy(dtype=dtype)
    return whole


def _polars_column(series: Any) -> Array | str:
    polars = sys.modules["polars"]
    if series.dtype == polars.Boolean:
        if series.null_count():
            series = series.cast(polars.UInt8)
    elif series.dtype.is_decimal():
        series = series.cast(polars.Float64)
    elif not series.dtype.is_numeric() and series.dtype != polars.Null:
        return str(series.dtype)
    elif series.dtype == polars.Null:
        series = series.cast(polars.Float32)
    values: Array = series.to_numpy()
    return values


def _labels(array: Any) -> Array:
    """Labels of an Arrow column: NumPy's strings, by way of their codes; objects, with None, if some are missing."""
    import pyarrow as pa

    if hasattr(array, "combine_chunks"):
        array = array.combine_chunks()
    if kind_of(array.type) != "text":
        return np.asarray(array)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    texts: Array = np.array(array.dictionary.to_pylist(), dtype=np.str_)
    if array.null_count:
        texts = np.append(texts.astype(object), [None])
        array = array.indices.fill_null(len(texts) - 1)
    else:
        array = array.indices
    labels: Array = texts[array.to_numpy(zero_copy_only=False)]
    return labels
