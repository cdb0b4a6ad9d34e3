"""Rows of .npy files, read in blocks with pread: no page of them counts as ours, and a file that shrinks is an error.

A memory-mapped file that is truncated under a run kills the process (SIGBUS), and its pages count as resident.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks import DTYPE_CODES
from ..errors import FileError
from .paths import check_size
from .source import Block, Memory, Source

BLOCK_BYTES = 1 << 19  # of a block: stays in L2 from the read to the copy into the window
MIN_BLOCK_BYTES = 1 << 12  # with small memory limits, for many blocks in a window; reading one takes 60 us besides


class Array(NamedTuple):
    """What the header of an .npy file says."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool
    offset: int
    n_bytes: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, first: int, n: int, memory: np.ndarray | None = None) -> np.ndarray:
        """Rows first..first + n; in `memory`, if it is given and they lie in the file as they do there."""
        file = os.open(self.path, os.O_RDONLY)
        try:
            if os.fstat(file).st_size > self.n_bytes:  # other rows may stand in it; one that shrank ends too early
                check_size(self.path, self.n_bytes)
            if not self.by_columns or len(self.shape) == 1:
                out = np.empty((n, *self.shape[1:]), self.dtype) if memory is None else memory
                self._fill(file, out, self.offset + first * self.row_bytes)
                return out
            columns = np.empty((self.shape[1], n), self.dtype)
            for k, column in enumerate(columns):
                self._fill(file, column, self.offset + (k * self.shape[0] + first) * self.dtype.itemsize)
            return columns.T
        finally:
            os.close(file)

    def _fill(self, file: int, out: np.ndarray, at: int) -> None:
        """Read as many bytes as `out` has."""
        view = out.reshape(-1).view(np.uint8)
        done = 0
        while done < len(view):
            n = os.preadv(file, [view[done:]], at + done)  # type: ignore[list-item]  # NumPy says not that it is one
            if n == 0:
                raise FileError(
                    f"{self.path} shrank while it was read: it ends at byte {os.fstat(file).st_size}, its header "
                    f"promises {self.offset + self.shape[0] * self.row_bytes}"
                )
            done += n


def read_header(path: str | os.PathLike[str], what: str) -> Array:
    """The header of an .npy file of rows.

    Raises
    ------
    FileError
        If the file is none, holds objects or records, or is shorter than its header says.
    """
    from numpy.lib import format as npy

    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = read(file)
        except (ValueError, EOFError, OverflowError, SyntaxError, TypeError) as error:
            raise FileError(f"cannot read {path}: not an .npy file, or its header is damaged ({error})") from error
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
    if dtype.hasobject:
        raise FileError(f"cannot read {path}: it holds Python objects; save {what} as an array of numbers")
    if len(shape) not in (1, 2) or 0 in shape:
        raise FileError(f"cannot read {path}: {what} must have 1 or 2 dimensions and not be empty, got shape {shape}")
    array = Array(path, tuple(shape), dtype, bool(by_columns), offset, size)
    if size < offset + shape[0] * array.row_bytes:
        raise FileError(
            f"cannot read {path}: it is truncated: {size} bytes instead of {offset + shape[0] * array.row_bytes}"
        )
    return array


class NpySource(Source):
    """Rows of one .npy file, with targets in another one if there are any.

    Parameters
    ----------
    X_path : path-like
        Of shape (n_samples, n_features), any real dtype, stored by rows or by columns.
    y_path : path-like, optional
        Of shape (n_samples,) or (n_samples, n_outputs); numbers, or labels of any type.
    block_bytes : int
        Of X in a block.
    """

    reads_into_memory = True

    def __init__(
        self,
        X_path: str | os.PathLike[str],
        y_path: str | os.PathLike[str] | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.X = read_header(X_path, "X")
        self.y = None if y_path is None else read_header(y_path, "y")
        self.name, self.n_samples, self.columns = self.X.path, self.X.shape[0], {}
        if len(self.X.shape) != 2:
            raise FileError(f"cannot read {self.name}: X must be 2-D (n_samples, n_features), got shape {self.X.shape}")
        if self.X.dtype.str not in DTYPE_CODES:
            raise FileError(f"cannot read {self.name}: X must hold real numbers, got dtype {self.X.dtype}")
        if self.y is not None and self.y.shape[0] != self.X.shape[0]:
            raise FileError(f"{self.y.path} has {self.y.shape[0]} rows, but {self.name} has {self.X.shape[0]}")
        self.reads_x = True
        self.block_rows = max(1, block_bytes // self.X.row_bytes)

    @property
    def n_columns(self) -> int:
        """Columns of the matrix."""
        return int(self.X.shape[1])

    @property
    def n_pieces(self) -> int:
        return -(-self.X.shape[0] // self.block_rows)

    def rows_of(self, piece: int) -> int:
        return min(self.block_rows, self.X.shape[0] - piece * self.block_rows)

    def at_once(self, n_bytes: int) -> int:
        return max(1, n_bytes // (self.block_rows * self.X.row_bytes))

    def files_of(self, piece: int) -> tuple[str, ...]:
        return (self.X.path,) if self.y is None else (self.X.path, self.y.path)

    def only(self, columns: Sequence[str] = ()) -> NpySource:
        """The targets without X: the rows of its blocks have no columns."""
        bare = copy.copy(self)
        bare.reads_x = False
        return bare

    def read(self, piece: int, skip_bad: bool = False, memory: Memory | None = None) -> Iterator[Block]:
        first, n = piece * self.block_rows, self.rows_of(piece)
        if self.reads_x:
            X = self.X.read(first, n, None if memory is None else memory(n, self.X.dtype))
        else:
            X = np.empty((n, 0), self.X.dtype)
        if self.y is None:
            yield Block(X, None, self.name, first)
        else:
            yield Block(X, self.y.read(first, n), self.name, first, y_file=self.y.path)
