"""Data larger than memory: files that are read, prepared and shuffled block by block while a network trains."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from .batches import BatchSource
from .dataset import Dataset
from .npy import BLOCK_BYTES, MIN_BLOCK_BYTES, NpySource
from .sizes import parse_bytes
from .source import AsTheyAre

__all__ = ["Dataset", "from_batches", "from_npy"]

Path = str | os.PathLike[str]


def from_npy(
    X_path: Path, y_path: Path | None = None, memory_limit: int | str = "1GB", on_bad_rows: str = "error"
) -> Dataset:
    """Rows of an .npy file.

    Read in blocks (not memory-mapped), which are shuffled in random order; rows are shuffled within windows of them.

    Parameters
    ----------
    X_path : path-like
        An array of shape (n_samples, n_features), any real dtype.
    y_path : path-like, optional
        An array of shape (n_samples,) or (n_samples, n_outputs): numbers, or labels of any type.
    memory_limit : int or str, default "1GB"
        For what reading and shuffling hold.
    on_bad_rows : {"error", "skip"}
        See `Dataset`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileError
        If a file is not an .npy file of such an array, or truncated.

    Examples
    --------
    >>> data = fp.data.from_npy("X.npy", "y.npy", memory_limit="500MB")
    >>> net.fit(data, epochs=3)
    """
    block_bytes = max(MIN_BLOCK_BYTES, min(BLOCK_BYTES, parse_bytes("memory_limit", memory_limit) // 1024))
    source = NpySource(X_path, y_path, block_bytes)
    return Dataset(source, AsTheyAre(source.n_columns, y_path is not None), memory_limit, on_bad_rows)


def from_batches(
    make_iterator: Callable[[], Iterable[Any]] | Iterable[Any],
    n_samples: int | None = None,
    memory_limit: int | str = "1GB",
    on_bad_rows: str = "error",
) -> Dataset:
    """Rows that Python code gives.

    Parameters
    ----------
    make_iterator : callable or iterable
        A function without arguments that returns an iterator of batches, such as a generator function: it is called
        for each epoch. An iterator can be read for one epoch. A batch is (X, y), or X alone, of any number of rows;
        X may be an array, a data frame or CSR.
    n_samples : int, optional
        Rows in all, if they are known.
    memory_limit, on_bad_rows
        See `from_npy`. Rows are shuffled within windows.

    Returns
    -------
    Dataset
    """
    source = BatchSource(make_iterator, n_samples)
    first = source.peek()
    names = getattr(source, "feature_names", None)
    return Dataset(source, AsTheyAre(first.rows.shape[1], first.y is not None, names), memory_limit, on_bad_rows)
