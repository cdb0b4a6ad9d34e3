"""Files as partitions: every worker reads its pieces for itself."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import data as readers
from ..data.dataset import LOAD_SHARE, Dataset
from ..data.npy import BLOCK_BYTES, NpySource, read_header
from ..data.parquet import ENDINGS, ParquetSource, folder_keys
from ..data.paths import find_files
from ..data.source import AsTheyAre
from ..data.usable import Numbers
from ..models import n_outputs
from ..stream_training import name_features, refuse_beside
from ..streams import numbers_in, sample_of, suited
from .file_parts import FilePart, loaded, pass_rows

if TYPE_CHECKING:
    from ..network import Network
    from .cluster import Cluster
    from .looks import Question

PIECES = 16  # of a partition of an .npy file at least: drawn in random order, they are what mixes a sorted file
ROOM = 0.5  # of the memory of the workers, for partitions that are loaded


def dataset_of(X: Any, y: Any, n_partitions: int) -> Dataset:
    """The dataset of a path or several.

    Parameters
    ----------
    X : Dataset, path-like or sequence of path-like
        .npy; or Parquet: a file, several, a pattern or a folder.
    y : str, int, path-like or sequence of str
        Of Parquet the name of the column of the target, or several; of .npy the path of another file, or a column's
        number. None for a dataset, which brings its own.
    n_partitions : int

    Raises
    ------
    ValueError
        If the rows can be read in one order only.
    """
    _check_local(X)
    if isinstance(X, Dataset):
        refuse_beside(X, y=y)
        data = X
    elif _is_npy(X):
        data = _of_npy(X, y, n_partitions)
    else:
        data = _of_parquet(X, y)
    if data.is_sequential:
        raise ValueError(
            f"{data.source.name} can be read in one order only, so that workers cannot share it: write it as "
            f"Parquet or .npy before"
        )
    return data


def _check_local(X: Any) -> None:
    """Refuse addresses such as s3://bucket/x.parquet, which look like paths."""
    for path in [X] if isinstance(X, (str, os.PathLike)) else X if isinstance(X, (list, tuple)) else []:
        if "://" in os.fspath(path):
            raise ValueError(
                f"{path} is no path: every worker must have the files in a folder of its own or a shared one; or give "
                f"dask.dataframe.read_parquet({os.fspath(path)!r})"
            )


def _is_npy(X: Any) -> bool:
    return isinstance(X, (str, os.PathLike)) and os.fspath(X).endswith(".npy")


def _of_npy(X: Any, y: Any, n_partitions: int) -> Dataset:
    """Of one .npy file; in blocks so small that each partition has several."""
    X = os.path.abspath(os.fspath(X))  # workers may have another working directory
    header = read_header(X, "X")
    block_bytes = min(BLOCK_BYTES, header.shape[0] * header.row_bytes // (PIECES * n_partitions))
    if y is not None and not isinstance(y, (str, os.PathLike)):
        if np.ndim(y) and np.size(y) >= header.shape[-1]:
            raise TypeError(f"y beside {X} must be the path of another .npy file, or a column's number; got rows")
        return Dataset(NpySource(X, None, block_bytes), readers.from_npy(X, target=y).features)
    y = None if y is None else os.path.abspath(os.fspath(y))
    source = NpySource(X, y, block_bytes)
    return Dataset(source, AsTheyAre(source.n_columns, y is not None))


def _of_parquet(X: Any, y: Any) -> Dataset:
    given = [X] if isinstance(X, (str, os.PathLike)) else list(X)
    files = find_files(given, ENDINGS)
    absolute = [os.path.abspath(file) for file in files]
    if [folder_keys(file).keys() for file in files] == [folder_keys(file).keys() for file in absolute]:
        files = absolute  # else folders above, named key=value, would be columns
    other = [file for file in files if not file.lower().endswith(ENDINGS)]
    if other:
        raise ValueError(
            f"{other[0]} is neither Parquet nor one .npy file: write the rows as Parquet, or give a fp.data.Dataset"
        )
    data = readers.from_parquet(files, target=y)
    assert isinstance(data.source, ParquetSource)
    if (found := data.source.mixed()) is not None:
        name, path, type_, first, expected = found
        raise TypeError(
            f"{path}, column {name!r} holds {type_}, but {expected} in {first}: make them one once you know why they "
            f"differ, or give fp.data.from_parquet(...), which takes all as float64"
        )
    return data


def as_known(data: Dataset, net: Network | None) -> Dataset:
    """The dataset with its columns as a network knows them, if there is one yet."""
    if net is None:
        return data
    data = suited(net, data)
    net._check_x(data.head(1)[0])
    return data


def tell(net: Network, data: Dataset) -> None:
    """Let the network remember the columns, and what prepared them."""
    net.preparation_ = data.preparation
    name_features(net, data)


def file_parts(question: Question, data: Dataset, n_partitions: int, mode: str, cluster: Cluster) -> list[Any]:
    """Futures of the partitions of a dataset, of which nothing is counted yet."""
    numbers = numbers_of(question, data)
    in_memory = _is_in_memory(data, question.dtype, mode, cluster)
    if not in_memory:
        warn_of_large_pieces(data, question.dtype)
    pieces = np.arange(data.source.n_pieces)
    n = min(n_partitions, len(pieces))
    shared = cluster.submit(_shared, data, name="files")
    futures = []
    places = [address for numbers, address in cluster.groups([1] * n) for _ in numbers]
    for number, where in enumerate(places):
        ours = pieces[number::n]
        part = cluster.submit(FilePart, number, shared, ours, numbers, question.seed, name="part", address=where)
        if in_memory:
            part = cluster.submit(loaded, part, question.dtype, name="part", address=where)
        futures.append(part)
    return futures


def warn_of_large_pieces(data: Dataset, dtype: str) -> None:
    """RuntimeWarning if rounds read parts of row groups: each reads one from its beginning again."""
    most, largest = (
        pass_rows(data, dtype),
        max(data.source.rows_of(piece) or 0 for piece in range(data.source.n_pieces)),
    )
    if largest > 2 * most:
        warnings.warn(
            f"{data.source.name} has row groups of {largest:,} rows, of which a round takes {most:,} at most and reads "
            f"the rows before them again: write it with row groups of {most:,} rows or fewer",
            RuntimeWarning,
            stacklevel=5,
        )


def numbers_of(question: Question, data: Dataset) -> Numbers | None:
    """What the targets of a dataset must be; None for labels. Its first rows decide."""
    y = sample_of(data)
    width = n_outputs(question.layers, data.n_features) if question.layers else y.reshape(len(y), -1).shape[1]
    return numbers_in(question.loss, question.dtype, question.classes, y, width)


def _shared(data: Dataset) -> Dataset:
    """What the partitions of a worker have in common: footers of a thousand row groups are megabytes."""
    return data


def _is_in_memory(data: Dataset, dtype: str, mode: str, cluster: Cluster) -> bool:
    """Whether partitions are loaded: those of mode "sync", and small ones, as `Network.fit` would.

    Raises
    ------
    ValueError
        If they are to be, and the workers have no room for them.
    """
    n_rows, in_share = data.n_samples or 0, data.rows_in(LOAD_SHARE, dtype=dtype)
    if mode != "sync" or in_share >= n_rows:
        return in_share >= n_rows
    n_bytes = n_rows * LOAD_SHARE * data.memory_limit / max(1, in_share)
    limits = _memory_limits(cluster)
    if limits is not None and n_bytes > ROOM * limits:
        raise ValueError(
            f"mode='sync' takes single rows, so that workers hold them all: {data.source.name} needs "
            f"{n_bytes / 1e6:,.0f} MB, and {100 * ROOM:.0f} % of the workers' memory are "
            f"{ROOM * limits / 1e6:,.0f} MB; give them more, or take mode='local', which reads files round by round"
        )
    return True


def _memory_limits(cluster: Cluster) -> int | None:
    """What all workers may take together; None if one has no limit."""
    workers = cluster.client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] for worker in workers]
    return None if not limits or any(not limit for limit in limits) else sum(limits)
