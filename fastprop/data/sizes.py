"""Amounts of memory as people write them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(name: str, value: object) -> int:
    """Bytes of a size such as 500_000_000, "500MB", "1.5 GB" or "2GiB".

    Raises
    ------
    TypeError
        If it is neither an int nor a string.
    ValueError
        If it cannot be read or is not positive; the message has `name`.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", value.lower())
        if match is None or match[2] not in UNITS:
            raise ValueError(f'{name} must be a size such as "500MB" or "2GiB", got {value!r}')
        n = int(float(match[1]) * UNITS[match[2]])
    elif hasattr(value, "__index__") and not isinstance(value, bool):
        n = int(value)
    else:
        raise TypeError(f'{name} must be bytes as an int, or a size such as "500MB", got {value!r}')
    if n <= 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return n


def row_bytes_of(rows: np.ndarray, dtype: Any) -> int:
    """Bytes of a row of an array, whose floats are at most as large as `dtype`."""
    size = rows.dtype.itemsize
    if dtype is not None and rows.dtype.kind == "f":
        size = min(size, np.dtype(dtype).itemsize)
    return size * math.prod(rows.shape[1:])


def bytes_of(X: Any) -> int:
    """Bytes of a matrix."""
    if hasattr(X, "indptr"):
        return int(X.data.nbytes + X.indices.nbytes + X.indptr.nbytes)
    return int(X.nbytes)
