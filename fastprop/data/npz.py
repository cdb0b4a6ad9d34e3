"""Rows of .npz archives: each vector is a column under its name, each matrix several. They are held in memory."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import FileError
from .source import Block, Source

BLOCK_ROWS = 1 << 15


class NpzSource(Source):
    """Rows of an .npz archive, in memory.

    The columns of a matrix `X` are named "0", "1", ..., those of another one `name[0]`, `name[1]`, ...

    Parameters
    ----------
    path : path-like

    Raises
    ------
    FileError
        If it is no such archive, or its arrays have unequal lengths, more than two dimensions, or hold neither real
        numbers nor text.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import pyarrow as pa

        self.name = os.fspath(path)
        arrays = _read(self.name)
        columns: dict[str, Any] = {}
        for name, array in arrays.items():
            for key, values in _split(self.name, name, array):
                if key in columns:
                    raise FileError(f"{self.name}: two columns are named {key!r}")
                columns[key] = pa.array(values)
        self.columns = {key: "text" if pa.types.is_string(c.type) else "number" for key, c in columns.items()}
        self._table = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        self.n_samples: int | None = self._table.num_rows
        if self.n_samples == 0:
            raise FileError(f"{self.name} holds no rows")

    @property
    def n_pieces(self) -> int:
        return -(-(self.n_samples or 0) // BLOCK_ROWS)

    def rows_of(self, piece: int) -> int:
        return min(BLOCK_ROWS, (self.n_samples or 0) - piece * BLOCK_ROWS)

    def read(self, piece: int, skip_bad: bool = False) -> Iterator[Block]:
        first = piece * BLOCK_ROWS
        yield Block(self._table.slice(first, BLOCK_ROWS), None, self.name, first)


def _read(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise FileError(f"{path} is damaged or not a file of arrays: {error}") from None
    if not arrays:
        raise FileError(f"{path} holds no column")
    for name, array in arrays.items():
        if array.ndim not in (1, 2):
            raise FileError(f"{path}: array {name!r} must have 1 or 2 dimensions, got shape {array.shape}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise FileError(f"{path}: arrays must be of equal length, got {lengths}")
    return arrays


def _split(path: str, name: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if array.dtype.kind not in "biufU" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        raise FileError(f"{path}: array {name!r} must hold real numbers or text, got dtype {array.dtype}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 1:
        yield name, array
        return
    for index, column in enumerate(np.ascontiguousarray(array.T)):
        yield (str(index) if name == "X" else f"{name}[{index}]"), column
