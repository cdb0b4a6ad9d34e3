"""What users have, as partitions: dask arrays and data frames, delayed objects, futures, and what lies in memory."""

from __future__ import annotations

import itertools
import math
import os
import sys
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import as_array, is_sparse
from ..frames import is_frame
from .parts import MemoryPart

if TYPE_CHECKING:
    from .cluster import Cluster


@dataclass(frozen=True, eq=False)
class Blocks:
    """X, y and sample weights, partition by partition: delayed objects, futures, or rows in memory.

    `pairs` says that each of X is (X, y); y and `weights` are None where there are none.
    """

    X: list[Any]
    y: list[Any] | None
    weights: list[Any] | None
    pairs: bool = False

    def __len__(self) -> int:
        return len(self.X)


def is_dask(value: Any, kind: str) -> bool:
    """Whether it is a dask collection of a kind, "array" or "dataframe"; imports neither."""
    if kind == "array":
        module = sys.modules.get("dask.array")
        return module is not None and isinstance(value, module.Array)
    return any(c.__module__.startswith(("dask_expr", "dask.dataframe")) for c in type(value).__mro__)


def is_remote(value: Any) -> bool:
    """Whether it stands for one value that a cluster makes: a delayed object or a future."""
    if not type(value).__module__.startswith(("dask", "distributed")):
        return False
    return hasattr(value, "dask") or hasattr(value, "key")


def are_paths(value: Any) -> bool:
    """Whether it is a path or several."""
    several = value if isinstance(value, (list, tuple)) and value else [value]
    return all(isinstance(path, (str, os.PathLike)) for path in several)


def blocks_of(X: Any, y: Any, sample_weight: Any, n_partitions: int) -> Blocks:
    """The partitions of X with what belongs to them of y and the weights.

    Parameters
    ----------
    X : dask array or data frame, list of delayed objects or futures, array, or data frame
        Of a list with y=None, each is (X, y).
    y : of the same kind
        Of a dask data frame also the names of columns of X.
    sample_weight : of the same kind, optional
    n_partitions : int
        Into which rows that are in memory are cut.

    Raises
    ------
    TypeError
        If X, y and the weights are not of one kind.
    ValueError
        If their partitions are not as many, or, where that is known, not as long.
    """
    if is_dask(X, "array"):
        return _of_arrays(X, y, sample_weight)
    if is_dask(X, "dataframe"):
        return _of_frames(X, y, sample_weight)
    if is_remote(X):
        raise TypeError("X is one delayed object or future: give a list of them, one for each partition")
    if isinstance(X, (list, tuple)) and any(map(is_remote, X)):
        return _of_lists(X, y, sample_weight)
    return _of_memory(X, y, sample_weight, n_partitions)


# ---- of dask --------------------------------------------------------------------------------------------------------


def _of_arrays(X: Any, y: Any, sample_weight: Any) -> Blocks:
    """Of a dask array: its row chunks."""
    if X.ndim != 2:
        raise ValueError(f"X must be 2-D (n_samples, n_features), got shape {X.shape}")
    if y is None:
        raise ValueError("y must be given beside a dask array")
    _check_known(X, "X")
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    return Blocks(_chunks(X), _fitting(y, X, "y"), None if sample_weight is None else _fitting(sample_weight, X))


def _check_known(array: Any, name: str) -> None:
    if any(math.isnan(n) for chunks in array.chunks for n in chunks):
        raise ValueError(
            f"{name} has chunks of unknown size: call {name}.compute_chunk_sizes() first, or "
            f"to_dask_array(lengths=True) where it comes from a data frame"
        )


def _fitting(array: Any, X: Any, name: str = "sample_weight") -> list[Any]:
    """The chunks of a dask array that belong to the row chunks of X."""
    if not is_dask(array, "array"):
        how = "its to_dask_array(lengths=True)" if is_dask(array, "dataframe") else "da.from_array"
        raise TypeError(f"{name} must be a dask array beside one, got {type(array).__name__}; {how} makes one")
    _check_known(array, name)
    if array.ndim == 2 and array.numblocks[1] > 1:
        array = array.rechunk({1: -1})
    if array.shape[:1] != X.shape[:1]:
        raise ValueError(f"{name} has {array.shape[0] if array.ndim else 0} rows but X has {X.shape[0]}")
    for number, (ours, of_x) in enumerate(itertools.zip_longest(array.chunks[0], X.chunks[0], fillvalue=0)):
        if ours != of_x:
            raise ValueError(
                f"partition {number} of {name} has {ours} rows but that of X {of_x}: give "
                f"{name}.rechunk({{0: X.chunks[0]}})"
            )
    return _chunks(array)


def _chunks(array: Any) -> list[Any]:
    """The row chunks as delayed objects."""
    return list(array.to_delayed().ravel())


def _of_frames(X: Any, y: Any, sample_weight: Any) -> Blocks:
    """Of a dask data frame: its partitions; how long they are is seen when they are read."""
    if not hasattr(X, "columns") or X.ndim != 2:
        raise ValueError("X must be a data frame, got a series: X.to_frame() makes one")
    columns = [y] if isinstance(y, str) else y
    if isinstance(columns, (list, tuple)) and columns and all(isinstance(name, str) for name in columns):
        absent = [name for name in columns if name not in X.columns]
        if absent:
            raise ValueError(f"y names {absent[0]!r}, which is no column of X: {', '.join(map(str, X.columns))}")
        X, y = X.drop(columns=list(columns)), X[y if isinstance(y, str) else list(y)]
    if y is None:
        raise ValueError("y must be given beside a dask data frame: a series, or the name of its column")
    found = {"X": X.to_delayed()}
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            found[name] = _of_same_number(value, X.npartitions, name)
    return Blocks(found["X"], found["y"], found.get("sample_weight"))


def _of_same_number(value: Any, n: int, name: str) -> list[Any]:
    """The partitions of what stands beside a dask data frame."""
    if is_dask(value, "array"):
        parts = _chunks(value if value.ndim == 1 or value.numblocks[1] == 1 else value.rechunk({1: -1}))
    elif is_dask(value, "dataframe"):
        parts = list(value.to_delayed())
    else:
        raise TypeError(f"{name} must be a dask series, data frame or array beside one, got {type(value).__name__}")
    if len(parts) != n:
        raise ValueError(f"{name} has {len(parts)} partitions but X has {n}")
    return parts


def _of_lists(X: Sequence[Any], y: Any, sample_weight: Any) -> Blocks:
    """Of lists of delayed objects or futures."""
    for name, value in (("X", X), ("y", y), ("sample_weight", sample_weight)):
        if value is None:
            continue
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} must be a list of delayed objects or futures as X is, got {type(value).__name__}")
        if len(value) != len(X):
            raise ValueError(f"{name} has {len(value)} partitions but X has {len(X)}")
    weights = None if sample_weight is None else list(sample_weight)
    return Blocks(list(X), None if y is None else list(y), weights, pairs=y is None)


# ---- in memory ------------------------------------------------------------------------------------------------------


def _of_memory(X: Any, y: Any, sample_weight: Any, n_partitions: int) -> Blocks:
    """Of rows in memory: as many parts as there are to be, of equal length but for one row."""
    if y is None:
        raise ValueError("y must be given beside rows in memory")
    if isinstance(X, (list, tuple)) and X and all(getattr(part, "ndim", 0) == 2 for part in X):
        raise TypeError("X is a list of arrays: give np.concatenate(X), or [dask.delayed(part) for part in X]")
    X, y = _with_names(X, y)
    values = [value if value is None else _sliceable(value, name) for value, name in ((X, "X"), (y, "y"))]
    values.append(None if sample_weight is None else _sliceable(sample_weight, "sample_weight"))
    n = _length(values[0])
    for value, name in zip(values[1:], ("y", "sample_weight"), strict=True):
        if value is not None and _length(value) != n:
            raise ValueError(f"{name} has {_length(value)} rows but X has {n}")
    if n == 0:
        raise ValueError("X is empty: it has 0 rows")
    ends = [n * number // n_partitions for number in range(n_partitions + 1)]
    parts = [(first, last) for first, last in itertools.pairwise(ends) if last > first]
    cut = [None if value is None else [_rows(value, *part) for part in parts] for value in values]
    assert cut[0] is not None
    return Blocks(cut[0], cut[1], cut[2])


def _with_names(X: Any, y: Any) -> tuple[Any, Any]:
    """X without the columns that y names, and these; as they are where y is no name of a column, but targets."""
    several = [y] if isinstance(y, str) else y
    if not (isinstance(several, (list, tuple)) and several and all(isinstance(name, str) for name in several)):
        return X, y
    columns = list(getattr(X, "column_names", getattr(X, "columns", ()))) if is_frame(X) else []
    absent = [name for name in several if name not in columns]
    if not isinstance(y, str) and (absent or len(y) == _length(X)):
        return X, y  # labels
    if absent:
        raise ValueError(
            f"y names {y!r}, which is no column of X{': ' if columns else ''}{', '.join(map(str, columns))}"
        )
    left = [name for name in columns if name not in several]
    targets = [np.asarray(X[name]) for name in several]
    return X[left] if hasattr(X, "iloc") else X.select(left), targets[0] if isinstance(y, str) else np.stack(targets, 1)


def _sliceable(value: Any, name: str) -> Any:
    if not (isinstance(value, np.ndarray) or is_sparse(value) or is_frame(value) or hasattr(value, "iloc")):
        value = as_array(value, name)
    if value.shape == ():
        raise TypeError(f"{name} must be an array with a value for each row, got {value.item()!r}")
    return value


def _length(value: Any) -> int:
    return int(value.shape[0]) if hasattr(value, "shape") else len(value)


def _rows(value: Any, first: int, last: int) -> Any:
    if hasattr(value, "iloc"):
        return value.iloc[first:last]
    return (
        value.slice(first, last - first)
        if hasattr(value, "schema") and not hasattr(value, "lazy")
        else value[first:last]
    )


# ---- on the cluster -------------------------------------------------------------------------------------------------


def placed(blocks: Blocks, cluster: Cluster) -> list[Any]:
    """The partitions as futures of `MemoryPart`, each made by a task on the worker that is to train it, if it can.

    Rows in memory go up to the scheduler with their task, so that another worker can have them when one is lost.

    Raises
    ------
    ValueError
        If a partition is a future that was cancelled, or that is on another cluster, naming it.
    """
    from dask import delayed

    _check_futures(blocks, cluster)
    make, n = delayed(_made, pure=False), len(blocks)
    y, weights = blocks.y or [None] * n, blocks.weights or [None] * n
    of_each = zip(range(n), blocks.X, y, weights, strict=True)
    tasks = [make(*values, blocks.pairs, dask_key_name=_key(cluster)) for values in of_each]
    futures: list[Any] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # rows in memory: see above
        for numbers, address in cluster.groups([1] * n):
            some = tasks[numbers.start : numbers.stop]
            futures += cluster.client.compute(some, workers=[address], allow_other_workers=True)
    return list(map(cluster.adopted, futures))


def _check_futures(blocks: Blocks, cluster: Cluster) -> None:
    """Refuse futures that the scheduler does not have: it would take them for lost with a worker."""
    from distributed import Future

    for name, parts in (("X", blocks.X), ("y", blocks.y), ("sample_weight", blocks.weights)):
        for number, part in enumerate(parts or []):
            if not isinstance(part, Future):
                continue
            if part.status == "cancelled":
                raise ValueError(
                    f"{name} of partition {number} is a future that was cancelled, or its client is closed"
                )
            if part.client is not cluster.client and _scheduler(part.client) != _scheduler(cluster.client):
                raise ValueError(
                    f"{name} of partition {number} is on the cluster of {part.client.scheduler.address}, but the "
                    f"client is for {cluster.client.scheduler.address}: give client= of the former"
                )


def _scheduler(client: Any) -> Any:
    """What tells one scheduler from another, by whatever address it is known."""
    return client.scheduler_info(n_workers=0)["id"]


def _key(cluster: Cluster) -> str:
    """For a partition: one of ours, which `Cluster.close` finds."""
    from .cluster import PREFIX

    return f"{PREFIX}part-{cluster.token}-{uuid.uuid4().hex[:10]}"


def _made(number: int, X: Any, y: Any, weight: Any, is_pair: bool) -> MemoryPart:
    """A partition of what a task was given."""
    if is_pair and isinstance(X, (tuple, list)) and len(X) == 2:
        X, y = X
    return MemoryPart(number, X, y, weight)
