"""Data larger than memory: files that are read, prepared and shuffled block by block while a network trains.

All functions take these arguments, besides their own:

prepare : None, True, Prepare or Preparation, default None
    What to do with the columns: nothing, or `Dataset.prepare`. Without it all columns must hold numbers.
memory_limit : int or str, default "1GB"
    For what reading and shuffling hold, in bytes or as "500MB".
on_bad_rows : {"error", "skip"}, default "error"
    Whether a row that cannot be used is an error that names file, row and column, or is left out and counted in
    `history["skipped"]`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from .batches import BatchSource
from .columns import PlainColumns
from .csv_files import CsvSource
from .dataset import Dataset
from .libsvm import LibsvmSource
from .npy import BLOCK_BYTES, MIN_BLOCK_BYTES, NpySource
from .parquet import ParquetSource
from .paths import check_names, names_of, places_of
from .preparation import Preparation, Prepare
from .sizes import parse_bytes
from .source import AsTheyAre, Features, Source
from .windows import READING_SHARE

__all__ = [
    "Dataset",
    "Preparation",
    "Prepare",
    "from_batches",
    "from_csv",
    "from_libsvm",
    "from_npy",
    "from_parquet",
]

Path = str | os.PathLike[str]
Paths = Path | Sequence[Path]
How = bool | Prepare | Preparation | None


def from_npy(
    X_path: Path,
    y_path: Path | None = None,
    target: int | Sequence[int] | None = None,
    *,
    ignore: int | Collection[int] = (),
    prepare: How = None,
    memory_limit: int | str = "1GB",
    on_bad_rows: str = "error",
) -> Dataset:
    """Rows of an .npy file.

    They are read in blocks with pread, not memory-mapped; blocks are read in random order, and rows shuffled within
    windows of them.

    Parameters
    ----------
    X_path : path-like
        An array of shape (n_samples, n_features), any real dtype.
    y_path : path-like, optional
        An array of shape (n_samples,) or (n_samples, n_outputs): numbers, or labels of any type.
    target : int or sequence of int, optional
        Columns of X that are y, where there is no second file, counted from 0.
    ignore : int or collection of int
        Columns to leave out.
    prepare, memory_limit, on_bad_rows
        See `fastprop.data`.

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
    >>> history = net.fit(data, epochs=3)
    """
    block_bytes = max(MIN_BLOCK_BYTES, min(BLOCK_BYTES, parse_bytes("memory_limit", memory_limit) // 1024))
    source = NpySource(X_path, y_path, block_bytes)
    targets, left_out = places_of("target", target), places_of("ignore", ignore)
    if not targets and not left_out:
        return _dataset(source, AsTheyAre(source.n_columns, y_path is not None), prepare, memory_limit, on_bad_rows)
    if targets and y_path is not None:
        raise ValueError(f"target names columns of X, but y_path is given, too: {os.fspath(y_path)}")
    names = [str(i) for i in range(source.n_columns)]
    features = _plain(source.name, names, targets, left_out, y_path is not None)
    return _dataset(source, features, prepare, memory_limit, on_bad_rows)


def from_parquet(
    paths: Paths,
    target: str | Sequence[str] | None = None,
    *,
    ignore: str | Collection[str] = (),
    prepare: How = None,
    memory_limit: int | str = "1GB",
    on_bad_rows: str = "error",
) -> Dataset:
    """Rows of Parquet files.

    Row groups are read in random order, several side by side, and rows shuffled within windows of them: files with row
    groups that are small beside a window (an eighth of `memory_limit`) are shuffled best.

    The index of a data frame that pandas or Dask wrote is no feature: its columns are left out, unless one is the
    target, or a network was trained on a column of that name. `frame.reset_index()` before writing keeps them.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        A file, several, a pattern such as `data/*.parquet`, or a folder, whose folders `key=value` are columns.
    target : str or sequence of str, optional
        The column of y, or several.
    ignore : str or collection of str
        Columns to leave out.
    prepare, memory_limit, on_bad_rows
        See `fastprop.data`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileError
        If a file is not Parquet or damaged, or files have different columns.

    Warns
    -----
    RuntimeWarning
        If a row group is so large that reading it takes more than half of `memory_limit`.
    """
    n_bytes = parse_bytes("memory_limit", memory_limit)
    source = ParquetSource(paths, ignore=names_of(ignore), memory_limit=n_bytes, keep=names_of(target))
    source.warn_of_large_groups(int(READING_SHARE * n_bytes))
    return _table(source, target, prepare, memory_limit, on_bad_rows)


def from_csv(
    paths: Paths,
    target: str | Sequence[str] | None = None,
    *,
    ignore: str | Collection[str] = (),
    text: str | Collection[str] = (),
    delimiter: str | None = None,
    prepare: How = None,
    memory_limit: int | str = "1GB",
    on_bad_rows: str = "error",
) -> Dataset:
    """Rows of CSV files, in the order of the files; rows are shuffled within windows.

    Words are text, True and False too: as a target they are the labels "False" and "True", where Parquet gives 0 and 1.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        A file, several or a pattern: .csv or .tsv, as they are or with .gz, .bz2 or .zst. All have the same header.
    target : str or sequence of str, optional
        The column of y, or several.
    ignore : str or collection of str
        Columns to leave out.
    text : str or collection of str
        Columns that hold text even where it looks like numbers.
    delimiter : str, optional
        By default that of comma, semicolon and tab which occurs most often in the header.
    prepare, memory_limit, on_bad_rows
        See `fastprop.data`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileError
        If a file is empty, or files have different columns.
    """
    source = CsvSource(paths, text=names_of(text), delimiter=delimiter, ignore=names_of(ignore))
    return _table(source, target, prepare, memory_limit, on_bad_rows)


def from_libsvm(
    paths: Paths,
    n_features: int | None = None,
    *,
    zero_based: bool = False,
    prepare: How = None,
    memory_limit: int | str = "1GB",
    on_bad_rows: str = "error",
) -> Dataset:
    """Rows of files in LIBSVM's format as CSR, in the order of the files; rows are shuffled within windows.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        A file, several or a pattern; as they are or with .gz or .bz2.
    n_features : int, optional
        By default the largest index in the files, which are read once to find it.
    zero_based : bool, default False
        Whether indices count from 0.
    prepare, memory_limit, on_bad_rows
        See `fastprop.data`; columns of CSR are left as they are.

    Returns
    -------
    Dataset
    """
    source = LibsvmSource(paths, n_features=n_features, zero_based=zero_based)
    return _dataset(source, AsTheyAre(source.n_features, True), prepare, memory_limit, on_bad_rows)


def from_batches(
    make_iterator: Callable[[], Iterable[Any]] | Iterable[Any],
    *,
    n_samples: int | None = None,
    prepare: How = None,
    memory_limit: int | str = "1GB",
    on_bad_rows: str = "error",
) -> Dataset:
    """Rows that Python code gives, in its order; rows are shuffled within windows.

    Parameters
    ----------
    make_iterator : callable or iterable
        A function without arguments that returns an iterator of batches, such as a generator function: it is called
        for each epoch. An iterator can be read for one epoch. A batch is (X, y), also as a list, or X alone, of any
        number of rows; X may be an array, a data frame or CSR, with the same columns in all batches.
    n_samples : int, optional
        Rows in all, if they are known; others are a FileError.
    prepare, memory_limit, on_bad_rows
        See `fastprop.data`.

    Returns
    -------
    Dataset
    """
    source = BatchSource(make_iterator, n_samples)
    first = source.peek()
    features = AsTheyAre(first.rows.shape[1], first.y is not None, source.feature_names)
    return _dataset(source, features, prepare, memory_limit, on_bad_rows)


def _dataset(source: Source, features: Features, prepare: How, memory_limit: int | str, on_bad_rows: str) -> Dataset:
    data = Dataset(source, features, memory_limit, on_bad_rows)
    return data if prepare is None or prepare is False else data.prepare(prepare)


def _table(
    source: Source, target: str | Sequence[str] | None, prepare: How, memory_limit: int | str, on_bad_rows: str
) -> Dataset:
    features = _plain(source.name, list(source.columns), names_of(target), (), False)
    return _dataset(source, features, prepare, memory_limit, on_bad_rows)


def _plain(
    file: str, names: Sequence[str], targets: tuple[str, ...], ignore: Collection[str], has_target: bool
) -> PlainColumns:
    """The columns to learn from, and those to predict."""
    check_names(file, names, [*targets, *ignore])
    left = tuple(name for name in names if name not in {*targets, *ignore})
    if not left:
        raise ValueError(f"no column of {file} is left to learn from")
    return PlainColumns(left, targets, has_target or bool(targets))
