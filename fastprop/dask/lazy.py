"""Predicting and evaluating by partition, lazily: the network goes to the rows, and predictions stay with them.

A task works on one thread: a worker runs as many tasks at a time as it has threads.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import streams
from ..checks import AnyMatrix
from ..data.dataset import Dataset
from ..errors import FileError
from ..models import fitting
from ..optimizers import resolve_optimizer
from ..passes import raw_outputs
from ..targets import decode, probabilities
from ..validation import Rows
from .datasets import as_known, dataset_of, numbers_of
from .drafts import Ready
from .file_parts import FilePart, pass_rows
from .inputs import Blocks, are_paths, blocks_of, is_dask, is_remote
from .looks import check_finite_x
from .scores import Score, merged, score_of

if TYPE_CHECKING:
    from ..network import Network

N_PARTITIONS = 8  # of rows in memory, and of files that are evaluated


def predict(net: Network, X: Any) -> Any:
    """Predictions as `Network.predict` gives them, partition by partition, of the weights that the network has now.

    Parameters
    ----------
    net : Network
    X : dask array or data frame, list of delayed objects or futures, path or paths, fp.data.Dataset, or array-like

    Returns
    -------
    dask array of shape (n_samples,) or (n_samples, n_outputs)
        Of a dask array, in its row chunks; of files, in the order of their rows.
    dask series or data frame
        Of a dask data frame, with its index.
    list of Delayed
        Of a list of delayed objects or futures: an array each.
    ndarray
        Of rows in memory, at once.

    Raises
    ------
    ValueError, TypeError
        If X has other columns than in training. What is wrong with a partition is said when it is computed.
    """
    return _applied(net, X, "predict")


def predict_proba(net: Network, X: Any) -> Any:
    """Probabilities as `Network.predict_proba` gives them; otherwise as `predict`.

    Raises
    ------
    ValueError
        If the loss gives none.
    """
    return _applied(net, X, "predict_proba")


def decision_function(net: Network, X: Any) -> Any:
    """The outputs before the link, shape (n_samples,) for one output; otherwise as `predict`."""
    return _applied(net, X, "decision_function")


def predict_log_proba(net: Network, X: Any) -> Any:
    """The logarithm of `predict_proba`."""
    return _applied(net, X, "predict_log_proba")


def evaluate(net: Network, X: Any, y: Any = None) -> Any:
    """The loss, and accuracy or R2, as `Network.evaluate` gives them.

    Parameters
    ----------
    net : Network
    X, y
        As for `fastprop.dask.fit`.

    Returns
    -------
    Delayed
        Of a dict of str to float. Partitions are added in their order: the bits do not depend on the workers.
    """
    from dask import delayed

    net._built()
    shared, one, end = delayed(bare(net), pure=False, traverse=False), delayed(_score, pure=False), delayed(_metrics)
    if isinstance(X, Dataset) or are_paths(X):
        data = as_known(dataset_of(X, y, N_PARTITIONS), net)
        files, numbers = delayed(data, pure=False, traverse=False), numbers_of(Ready(net).question(), data)
        of_files = delayed(_score_of_files, pure=False)
        return end([of_files(shared, files, span, numbers, net.seed) for span in _spans(data, net.dtype)])
    blocks: Blocks = blocks_of(X, y, None, N_PARTITIONS)
    ys = blocks.y or [None] * len(blocks)
    return end([one(shared, number, *of_one) for number, of_one in enumerate(zip(blocks.X, ys, strict=True))])


def bare(net: Network) -> Network:
    """A copy of a network with its weights, without what only training needs."""
    net._built()
    made = copy.copy(net)
    made.optimizer, made._run, made.extra = resolve_optimizer("sgd"), None, {}
    made._parameters = fitting(made._built(), made._parameters, made.optimizer.rule())
    return made


# ---- of each kind ---------------------------------------------------------------------------------------------------


def _applied(net: Network, X: Any, method: str) -> Any:
    from dask import delayed

    of_rows = functions[method]
    like = of_rows(np.zeros((1, net._built().output.n), net.dtype), net)  # what all of them look like
    if isinstance(X, Dataset) or are_paths(X):
        return _of_files(net, X, method, like)
    if not (is_dask(X, "array") or is_dask(X, "dataframe") or is_remote(X) or _has_remote(X)):
        return of_rows(raw_outputs(net, net._check_x(X)), net)
    shared = delayed(bare(net), pure=False, traverse=False)
    if is_dask(X, "array"):
        return _of_array(shared, X, method, like, net.n_features_)
    if is_dask(X, "dataframe"):
        return _of_frame(net, shared, X, method, like)
    one = delayed(_predicted, pure=False)
    if is_remote(X):
        return one(shared, X, method)
    return [one(shared, part, method, number) for number, part in enumerate(X)]


def _has_remote(X: Any) -> bool:
    return isinstance(X, (list, tuple)) and any(map(is_remote, X))


def _of_array(shared: Any, X: Any, method: str, like: np.ndarray, n_features: int) -> Any:
    if X.ndim != 2 or (X.shape[1] == X.shape[1] and X.shape[1] != n_features):  # NaN is unknown
        raise ValueError(f"X must have the shape (n_samples, {n_features}), got {X.shape}")
    X = X.rechunk({1: -1}) if X.numblocks[1] > 1 else X
    shape: dict[str, Any] = {"drop_axis": 1} if like.ndim == 1 else {"chunks": (X.chunks[0], like.shape[1:])}
    return X.map_blocks(_predicted_for, shared, method, dtype=like.dtype, meta=like[:0], **shape)


def _of_frame(net: Network, shared: Any, X: Any, method: str, like: np.ndarray) -> Any:
    names = streams.column_names(net, like, method in ("predict_proba", "predict_log_proba"))
    meta = _framed(like[:0], X._meta.index[:0], names)
    net._check_x(X._meta_nonempty)
    return X.map_partitions(_predicted_frame, shared, method, names, meta=meta)


def _of_files(net: Network, X: Any, method: str, like: np.ndarray) -> Any:
    """A dask array of the rows of files in their order."""
    import dask.array as da
    from dask import delayed

    data = as_known(dataset_of(X, None, N_PARTITIONS), net)
    if net.preparation_ is not None and method == "predict":
        like = net.preparation_.decode(like)
    shared, files = delayed(bare(net), pure=False, traverse=False), delayed(data, pure=False, traverse=False)
    one, parts = delayed(_predicted_files, pure=False), []
    for span in _spans(data, net.dtype):
        n = None if data.skips else sum(data.source.rows_of(piece) or 0 for piece in span)
        shape = (np.nan if n is None else n, *like.shape[1:])
        part = one(shared, files, span, method, n)
        parts.append(da.from_delayed(part, shape, dtype=like.dtype, meta=like[:0]))
    return da.concatenate(parts)


def _spans(data: Dataset, dtype: str) -> list[range]:
    """Pieces of files that follow each other, in stretches that one pass reads."""
    most, sizes = max(1, pass_rows(data, dtype)), [data.source.rows_of(p) or 0 for p in range(data.source.n_pieces)]
    starts = np.flatnonzero(np.diff(np.cumsum([0, *sizes[:-1]]) // most, prepend=-1)).tolist()
    return [range(first, last) for first, last in itertools.pairwise([*starts, len(sizes)])]


# ---- on workers -----------------------------------------------------------------------------------------------------


def _predicted_for(X: Any, net: Network, method: str, block_id: Any = None) -> np.ndarray:
    """Of a chunk, whose place Dask tells."""
    return _predicted(net, X, method, None if block_id is None else block_id[0])


def _predicted(net: Network, X: Any, method: str, number: int | None = None) -> np.ndarray:
    """What a method of the network gives for the rows of a partition, of which there may be none."""
    of_rows, n = functions[method], int(X.shape[0] if hasattr(X, "shape") else len(X))
    if n == 0:
        return of_rows(np.zeros((1, net.n_outputs_), net.dtype), net)[:0]
    name = "X" if number is None else f"X of partition {number}"
    matrix = net._check_x(X, name)
    with _named(matrix, net, name):
        return of_rows(raw_outputs(net, matrix, n_threads=1), net)


@contextlib.contextmanager
def _named(matrix: AnyMatrix, net: Network, name: str) -> Iterator[None]:
    """Let the error of kernels that meet NaN say in what; to look for it before would take as long as they do."""
    try:
        yield
    except ValueError:
        check_finite_x(matrix, net.dtype, name)
        raise


def _predicted_frame(X: Any, net: Network, method: str, names: Sequence[str], partition_info: Any = None) -> Any:
    number = None if partition_info is None else partition_info["number"]
    return _framed(_predicted(net, X, method, number), X.index, names)


def _framed(values: np.ndarray, index: Any, names: Sequence[str]) -> Any:
    """Predictions with the index of their rows."""
    import pandas as pd

    if values.ndim == 1:
        return pd.Series(values, index=index, name=names[0])
    return pd.DataFrame(values, index=index, columns=list(names))


def _predicted_files(net: Network, data: Dataset, span: range, method: str, n: int | None) -> np.ndarray:
    raws = streams.raw_parts(net, data.of_pieces(span), n_threads=1)
    found = np.concatenate([functions[method](raw, net) for raw in raws])
    if net.preparation_ is not None and method == "predict":
        found = net.preparation_.decode(found)
    if n is not None and len(found) != n:
        raise FileError(f"{data.source.name} has {len(found)} rows where it had {n} before")
    return found


def _score(net: Network, number: int, X: Any, y: Any) -> Score:
    """Of one partition, of which there may be no rows."""
    if y is None and isinstance(X, (tuple, list)) and len(X) == 2:
        X, y = X
    if int(X.shape[0] if hasattr(X, "shape") else len(X)) == 0:
        return Score()
    names = f"X of partition {number}", f"y of partition {number}"
    matrix, targets = net._check_data(X, y, may_infer=False, names=names)
    with _named(matrix, net, names[0]):
        return score_of(net, Rows(matrix, targets, None), n_threads=1)


def _score_of_files(net: Network, data: Dataset, span: range, numbers: Any, seed: int) -> Score:
    part = FilePart(0, data, np.asarray(span), numbers, seed)
    return merged(score_of(net, rows, n_threads=1) for rows in part.everything(net, None))


def _metrics(scores: Sequence[Score]) -> dict[str, float]:
    return merged(scores).metrics()


def _predictions(raw: np.ndarray, net: Network) -> np.ndarray:
    return decode(raw, net.loss, net.classes_, net._one_dimensional)


def _probabilities(raw: np.ndarray, net: Network) -> np.ndarray:
    return probabilities(raw, net.loss)


def _logarithms(raw: np.ndarray, net: Network) -> np.ndarray:
    with np.errstate(divide="ignore"):  # modified Huber gives 0
        logarithms: np.ndarray = np.log(_probabilities(raw, net))
    return logarithms


def _scores(raw: np.ndarray, net: Network) -> np.ndarray:
    return raw[:, 0] if raw.shape[1] == 1 else raw


functions: dict[str, Callable[[np.ndarray, Network], np.ndarray]] = {
    "predict": _predictions,
    "predict_proba": _probabilities,
    "predict_log_proba": _logarithms,
    "decision_function": _scores,
}
