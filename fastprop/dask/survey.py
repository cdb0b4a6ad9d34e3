"""One pass over all partitions before the first round: what is wrong with one is said with its number; labels, counts.

Each partition is looked at where it lies; the client merges what it is told in the order of partitions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import check_fraction
from ..checks import Matrix
from ..data.dataset import Dataset
from ..errors import FileError
from ..labels import some
from ..models import n_outputs
from ..targets import Targets, class_weights, prepare_targets
from .datasets import as_known, dataset_of, file_parts, tell
from .drafts import Draft, Facts, Ready
from .file_parts import PASS_BYTES, FilePart
from .inputs import are_paths, blocks_of, placed
from .looks import Labels, Look, Question, look
from .parts import MemoryPart
from .skew import warn_of_skew

if TYPE_CHECKING:
    from ..network import Network
    from .cluster import Cluster


@dataclass(frozen=True, eq=False)
class Partitions:
    """Partitions that fit a network, in their order; empty ones are not among them.

    Attributes
    ----------
    parts : list of Future
        Of a `parts.Part` each, numbered from 0.
    rows, held : list of int
        Rows to train on, and to validate with.
    classes : ndarray or None
        The sorted labels.
    class_weight : dict of label to weight, or None
    n_features : int
    names : tuple of str, or None
        Of the columns.
    n_empty : int
        Partitions without rows that were left out.
    n_skipped : int
        Bad rows that are left out.
    mean_weight : float
        Of a row, class weights included.
    least_rounds : int
        Rounds of an epoch that bound what one reads from files.
    """

    parts: list[Any]
    rows: list[int]
    held: list[int]
    classes: np.ndarray | None
    class_weight: dict[Any, float] | None
    n_features: int
    names: tuple[str, ...] | None
    n_empty: int = 0
    n_skipped: int = 0
    mean_weight: float = 1.0
    least_rounds: int = 1

    def updates(self, batch_size: int | None) -> list[int]:
        """Updates of an epoch, of each partition."""
        return [-(-n // min(n, batch_size or n)) for n in self.rows]


def partitions(
    net: Network | Draft,
    X: Any,
    y: Any,
    sample_weight: Any,
    cluster: Cluster,
    *,
    n_partitions: int = 8,
    class_weight: Any = None,
    validation_fraction: float = 0.0,
    mode: str = "local",
    suffix: str = "",
) -> Partitions:
    """Put the rows on the workers, look at them, and build the network for them.

    Parameters
    ----------
    net : Network or Draft
        Is built, and told labels and names of columns; a draft gives its network now.
    X, y, sample_weight
        See `inputs.blocks_of`; or X a path, several, or a `fp.data.Dataset`.
    cluster : Cluster
    n_partitions : int, default 8
        Of what does not come in partitions. The result of a fit depends on it.
    class_weight : "balanced" or dict of label to weight, optional
        "balanced" counts the labels of all partitions.
    validation_fraction : float in [0, 1), default 0
        Of each partition.
    mode : {"local", "sync"}
    suffix : str, default ""
        Of the names of X and y in messages: "_val" for rows to validate with.

    Raises
    ------
    ValueError, TypeError
        Naming the partition, counted from 0, and what does not fit.
    FileError, OSError
        Naming the file.

    Warns
    -----
    RuntimeWarning
        If there are fewer partitions than workers, or partitions hold quite different rows.
    """
    fraction = check_fraction("validation_fraction", validation_fraction)
    draft, data = net if isinstance(net, Draft) else Ready(net), None
    question = replace(draft.question(), validation_fraction=fraction, suffix=suffix)
    if isinstance(X, Dataset) or are_paths(X):
        if sample_weight is not None:
            raise ValueError("sample_weight is for rows that are not in files: it must be None")
        data = as_known(dataset_of(X, y, n_partitions), draft.net)
        parts = file_parts(question, data, n_partitions, mode, cluster)
    else:
        parts = placed(_blocks(X, y, sample_weight, n_partitions, suffix), cluster)
    looks = _looked(parts, question, cluster)
    kept = _check(looks, draft.net)
    _check_held(kept, fraction)
    rows = [seen.n_rows - seen.n_held for seen in kept]
    built = draft.network(_facts(kept, rows, None if isinstance(draft, Ready) else class_weight))
    if data is not None:
        tell(built, data)
    classes = _adopt(built, kept)
    resolved = _resolve(class_weight, kept, classes)
    if mode == "local":
        warn_of_skew(kept)
    _warn_of_few(len(kept), len(cluster.workers()))
    first = kept[0]
    return Partitions(
        _renumbered(parts, kept, cluster),
        rows,
        [seen.n_held for seen in kept],
        classes,
        resolved,
        first.n_columns,
        first.names,
        n_empty=len(looks) - len(kept),
        n_skipped=sum(seen.n_skipped for seen in looks),
        mean_weight=_mean_weight(kept, resolved),
        least_rounds=max(1 if seen.sizes is None else -(-seen.n_bytes // PASS_BYTES) for seen in kept),
    )


def _blocks(X: Any, y: Any, sample_weight: Any, n_partitions: int, suffix: str) -> Any:
    """See `inputs.blocks_of`, whose messages say X and y whatever these are to the user."""
    try:
        return blocks_of(X, y, sample_weight, n_partitions)
    except (ValueError, TypeError) as error:
        if not suffix:
            raise
        raise type(error)(f"X{suffix}, y{suffix}: {error}") from error


def _looked(parts: list[Any], question: Question, cluster: Cluster) -> list[Look]:
    """What is seen of the partitions; Dask runs each task where its partition lies.

    Raises
    ------
    ValueError
        If a partition cannot be made, naming it.
    Lost
        If the cluster cannot go on, such as by a partition that kills the workers that make it, which is named.
    """
    from .cluster import Lost

    try:
        return cluster.run(
            lambda: [cluster.submit(look, part, question, name="look") for part in parts], "looking at the partitions"
        )
    except Exception as error:
        for number, part in enumerate(parts):
            if part.status == "error" and isinstance(error, Lost):
                raise Lost(f"partition {number} could not be made: {error}") from error
            if part.status == "error" and not isinstance(error, (FileError, OSError)):
                what = f"{type(error).__name__}: {error}"
                of = f" of X{question.suffix}" if question.suffix else ""
                raise ValueError(f"partition {number}{of} could not be made: {what}") from error
        raise


# ---- what was seen --------------------------------------------------------------------------------------------------


def _check(looks: list[Look], net: Network | None) -> list[Look]:
    """Those with rows, which all fit the network and each other; raises for the first that does not."""
    for seen in looks:
        if seen.error is not None:
            raise seen.error
    kept = [seen for seen in looks if seen.n_rows]
    if not kept:
        raise ValueError(f"X{looks[0].suffix} is empty: none of its {len(looks)} partitions has rows")
    names = getattr(net, "feature_names_in_", None)
    for seen in kept:
        _check_columns(seen, kept[0], None if names is None else tuple(names))
        if net is not None and net.is_built and seen.n_columns != net.n_features_:
            raise ValueError(f"{seen.x} has {seen.n_columns} features, expected {net.n_features_}")
        if seen.y_shape != kept[0].y_shape:
            shapes = [("n", *shape) for shape in (seen.y_shape, kept[0].y_shape)]
            raise ValueError(
                f"{seen.of_y} has the shape ({', '.join(map(str, shapes[0]))}), that of partition "
                f"{kept[0].number} ({', '.join(map(str, shapes[1]))})"
            )
    if not sum(seen.weight for seen in kept):
        raise ValueError("sample_weight must not be zero for all samples")
    return kept


def _check_columns(seen: Look, first: Look, fitted: tuple[str, ...] | None) -> None:
    """Refuse a partition with other columns than the first one, or than those of a former fit, or of other dtypes.

    Kernels read any dtype, but a partition with another one was mostly made in another way: bytes 0..255 among floats
    of 0..1 train without an error.
    """
    for names, whose in ((fitted, "those of the fit before"), (first.names, f"those of partition {first.number}")):
        if names is not None and seen.names is not None and seen.names != names:
            missing, more = [n for n in names if n not in seen.names], [n for n in seen.names if n not in names]
            parts = [f"{what} {some(found)}" for what, found in (("lacks", missing), ("adds", more)) if found]
            what = " and ".join(parts) or "has them in another order"
            raise ValueError(f"{seen.x} must have the columns as {whose}; it {what}")
    if (seen.names is None) != (first.names is None):
        which = "no names" if seen.names is None else "names"
        raise ValueError(
            f"{seen.x} has {which} of columns, that of partition {first.number} has "
            f"{'none' if first.names is None else 'some'}: give all as arrays, or all as data frames"
        )
    if seen.n_columns != first.n_columns:
        raise ValueError(f"{seen.x} has {seen.n_columns} columns, that of partition {first.number} {first.n_columns}")
    for j, (ours, theirs) in enumerate(zip(seen.dtypes, first.dtypes, strict=False)):
        if ours != theirs:
            column = f", column {seen.names[j]!r}," if seen.names is not None and len(seen.dtypes) > 1 else ""
            raise TypeError(
                f"{seen.x}{column} has dtype {ours}, that of partition {first.number} {theirs}: "
                f"make them one, as by astype({theirs!r}), once you know why they differ"
            )


def _facts(kept: list[Look], rows: list[int], class_weight: Any) -> Facts:
    """What a draft is told."""
    first, classes = kept[0], None
    weights = None
    if isinstance(first.y, Labels):
        classes = merged_labels(kept)
        weights = _resolve(class_weight, kept, classes)
    mean_weight = _mean_weight(kept, weights)
    dtype = "float32" if set(first.dtypes) == {"float32"} else "float64"
    return Facts(first.n_columns, dtype, classes, first.y_shape[0] if first.y_shape else 1, rows, mean_weight)


def _mean_weight(kept: list[Look], weights: Mapping[Any, float] | None) -> float:
    """Of a row, as if labels and sample weights had nothing to do with each other."""
    n_rows = sum(seen.n_rows for seen in kept)
    of_class = 1.0
    if weights is not None:
        of_rows = [weights[label] * n for seen in kept for label, n in zip(*_counted(seen), strict=True)]
        of_class = sum(of_rows) / n_rows
    return of_class * sum(seen.weight for seen in kept) / n_rows


def _counted(seen: Look) -> tuple[list[Any], list[int]]:
    """The labels of a partition, and the rows of each."""
    assert isinstance(seen.y, Labels)
    return seen.y.distinct.tolist(), seen.y.counts.tolist()


def _adopt(net: Network, kept: list[Look]) -> np.ndarray | None:
    """Build the network for the partitions, as `Network.fit` does for its rows; returns the classes."""
    first = kept[0]
    width = n_outputs(net.layers, first.n_columns)
    targets = _targets(net, kept, width)
    net._adopt(Matrix.of(np.zeros((1, first.n_columns), net.dtype), "X", first.names), targets)
    return targets.classes_


def _targets(net: Network, kept: list[Look], width: int) -> Targets:
    """What y is to the network: targets like those of all partitions together."""
    first = kept[0]
    if not isinstance(first.y, Labels):
        sample = np.full((1, *first.y_shape), 1.0 / max(1, width))  # soft targets of the sum 1, too
        return prepare_targets(sample, net.loss, 1, width, net.classes_, may_infer=False)
    distinct = merged_labels(kept, max(2, width))
    if len(first.y_shape) and first.y_shape[0] > 1:  # one-hot: labels are places
        distinct = np.eye(width)[:1]
    if any(isinstance(seen.y, Labels) and seen.y.probabilities for seen in kept):
        distinct = np.array([0.5])
    return prepare_targets(distinct, net.loss, None, width, net.classes_)


def merged_labels(kept: list[Look], most: int | None = None) -> np.ndarray:
    """The labels of all partitions, sorted.

    Raises
    ------
    TypeError
        If they cannot be sorted, naming the first partition with labels of another kind.
    ValueError
        If there are more than `most`, naming the partition with the first that is too many.
    """
    found: np.ndarray | None = None
    for seen in kept:
        assert isinstance(seen.y, Labels)
        labels = seen.y.distinct
        if found is not None and (labels.dtype.kind in "biuf") != (found.dtype.kind in "biuf"):
            kinds = ["numbers" if a.dtype.kind in "biuf" else "no numbers" for a in (labels, found)]
            raise TypeError(
                f"labels in y{seen.suffix} must be of one type: in partition {seen.number} they are {kinds[0]} "
                f"({some(labels)}), before {kinds[1]} ({some(found)})"
            )
        try:
            found = labels if found is None else np.unique(np.concatenate([found, labels]))
        except TypeError as error:
            raise TypeError(f"labels in y{seen.suffix} must be of one type that can be sorted: {error}") from error
        if most is not None and len(found) > most:
            raise ValueError(
                f"{seen.of_y} has the labels {some(labels)}: with those of the partitions before "
                f"there are {len(found)} ({some(found)}), but the network is for {most} classes"
            )
    assert found is not None
    return found


def _resolve(class_weight: Any, kept: list[Look], classes: np.ndarray | None) -> dict[Any, float] | None:
    """The weight of each label."""
    if class_weight is None:
        return None
    if classes is None or not all(isinstance(seen.y, Labels) and not seen.y.probabilities for seen in kept):
        raise ValueError("class_weight needs labels in y, not numbers, soft or multilabel targets: use sample_weight")
    counts = np.zeros(len(classes), np.intp)
    for seen in kept:
        assert isinstance(seen.y, Labels)
        counts[np.searchsorted(classes, seen.y.distinct)] += seen.y.counts
    weights = class_weights(class_weight, counts, classes)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))


def _check_held(kept: list[Look], fraction: float) -> None:
    """Refuse a fraction that leaves nothing to validate with, or nothing of a partition to train on."""
    if fraction and not any(seen.n_held for seen in kept):
        raise ValueError(
            f"validation_fraction={fraction} of partitions of at most {max(seen.n_rows for seen in kept)} rows leaves "
            f"none to validate with"
        )
    for seen in kept:
        if seen.n_held == seen.n_rows:
            raise ValueError(
                f"validation_fraction={fraction} of the {seen.n_rows} rows of partition {seen.number} leaves "
                f"none to train on"
            )


def _warn_of_few(n: int, n_workers: int) -> None:
    if n < n_workers:
        warnings.warn(
            f"{n} partition{'s' if n > 1 else ''} for {n_workers} workers: {n_workers - n} will have nothing to do; "
            f"cut X into more (rechunk, repartition, n_partitions)",
            RuntimeWarning,
            stacklevel=4,
        )


def _renumbered(parts: list[Any], kept: list[Look], cluster: Cluster) -> list[Any]:
    """The partitions with rows, numbered from 0 again: the bits of a fit are those without the empty ones.

    Those in files are told what was counted.
    """
    futures = []
    for number, seen in enumerate(kept):
        part = parts[seen.number]
        if seen.sizes is not None:
            part = cluster.submit(FilePart.counted, part, number, seen.sizes, seen.n_held, name="part")
        elif number != seen.number:
            part = cluster.submit(MemoryPart.numbered, part, number, name="part")
        futures.append(part)
    return futures
