"""Evaluating and predicting on a `Dataset`, window by window; and what its rows are to a network."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import AnyMatrix, Matrix, SparseMatrix, dtype_code
from .data.dataset import Dataset
from .data.filling import Window
from .data.usable import Labels, Numbers, finite_rows, one_column
from .data.windows import WINDOW_SHARE
from .errors import FileError
from .labels import unique_labels
from .losses import Loss
from .models import n_outputs
from .passes import loss_and_outputs, raw_outputs
from .targets import Targets, are_probabilities, decode, is_multilabel, prepare_targets, probabilities
from .validation import RunningR2, score

if TYPE_CHECKING:
    from .network import Network


SAMPLE_ROWS = 4096  # that are looked at to know what y is


def matrix_of(window: Window, names: tuple[str, ...] | None) -> AnyMatrix:
    """A window's X as kernels read it."""
    if window.X.ndim == 2 and hasattr(window.X, "indptr"):
        return SparseMatrix.of(window.X)
    dtype_code(window.X.dtype, "X")
    return Matrix.of(window.X, "X", names)


class StreamTargets:
    """What y is to a network, decided once for all windows.

    Parameters
    ----------
    net : Network
    data : Dataset
    n_outputs : int

    Attributes
    ----------
    labels : Labels or None
        The known labels, where y holds labels; windows are to be read with them.
    numbers : Numbers or None
        What y must be where it holds none.
    sample : Targets
        Of some of the first rows.
    """

    def __init__(self, net: Network, data: Dataset, n_outputs: int) -> None:
        self.net, self.n_outputs = net, n_outputs
        y = sample_of(data)
        self.numbers = numbers_in(net.loss, net.dtype, net.classes_, y, n_outputs)
        self.labels = self._labels(data, one_column(y)) if self.numbers is None else None
        if self.labels is not None:
            codes, is_known = self.labels.encode(y)
            y = codes[is_known]
        elif self.numbers is not None and (allowed := self.numbers.allowed(y)) is not None:
            y = y[allowed]
        if len(y) == 0:
            raise FileError(f"{data.source.name}: none of the first {SAMPLE_ROWS} targets can be used")
        self.sample = self.of(y)

    def _labels(self, data: Dataset, y: np.ndarray) -> Labels:
        """The labels.

        Those of a sample will do if there are as many as the network is for: one more would be an error anyway. Rows
        that can be read once are not looked through: codes are taken for what they are.
        """
        net = self.net
        if net.classes_ is not None:
            return Labels(net.classes_)
        distinct = unique_labels(y, "y")[0]
        n_classes = max(2, self.n_outputs)
        if len(distinct) < n_classes and not (data.source.reads_once and _are_codes(distinct, n_classes)):
            distinct = data.labels()[0]
        classes = prepare_targets(distinct, net.loss, None, self.n_outputs).classes_
        assert classes is not None
        return Labels(classes)

    def of(self, y: np.ndarray) -> Targets:
        """The targets of a window that was read with `labels`."""
        if self.labels is None:
            return prepare_targets(y, self.net.loss, len(y), self.n_outputs, self.net.classes_, may_infer=False)
        return Targets(Matrix.of(y.reshape(len(y), 1), "y"), True, self.labels.classes, self.n_outputs, True)


def sample_of(data: Dataset) -> np.ndarray:
    """Those of the first targets that are there.

    Raises
    ------
    ValueError
        If the dataset has none.
    """
    y = data.head(SAMPLE_ROWS)[1] if data.has_target else None
    if y is None:
        raise ValueError(f"{data.source.name} has no target: name its column, or give the file of y")
    good = finite_rows(y)
    return y if good is None else y[good]


def numbers_in(loss: Loss, dtype: str, classes: np.ndarray | None, y: np.ndarray, n_outputs: int) -> Numbers | None:
    """What y must be where it holds numbers or soft targets; None for labels. As `targets.prepare_targets` sees it.

    The dtype and the classes are those of the network.
    """
    if loss.task == "regression":
        return Numbers(dtype, 0.0, what=">= 0 for the loss poisson") if loss.name == "poisson" else Numbers(dtype)
    if is_multilabel(loss, n_outputs):
        return Numbers(dtype, 0.0, 1.0, f"within 0..1 for the loss {loss.name}")
    if y.ndim == 2 and y.shape[1] > 1:
        if loss.across_outputs or loss.is_margin:
            return Numbers(dtype, 0.0, 1.0, f"soft, >= 0 and of sum 1, for the loss {loss.name}", sums_to_one=True)
        return Numbers(dtype, 0.0, what="soft, >= 0")
    if n_outputs == 1 and not loss.is_margin and are_probabilities(one_column(y), classes):
        return Numbers(dtype, 0.0, 1.0, "a probability within 0..1")
    return None


def loaded(net: Network, data: Dataset) -> tuple[Any, np.ndarray, int] | None:
    """`Dataset.load` of rows that a network can use, as it would read them window by window."""
    y = sample_of(data)
    numbers = numbers_in(net.loss, net.dtype, net.classes_, y, n_outputs(net.layers, data.n_features))
    labels = Labels(net.classes_) if numbers is None and net.classes_ is not None else None
    found = data.load(dtype=net.dtype, labels=labels, numbers=numbers)
    if found is None:
        return None
    X, y, n_skipped = found[0], found[1], found[2]  # type: ignore[assignment]  # there is a target
    return X, y if labels is None else labels.classes[y], n_skipped


def _are_codes(labels: np.ndarray, n_classes: int) -> bool:
    """Whether labels are their own codes: whole numbers within 0..n_classes - 1, or False and True."""
    if labels.dtype.kind == "b":
        return n_classes == 2
    return labels.dtype.kind in "iuf" and bool(np.isin(labels, np.arange(n_classes)).all())


def suited(net: Network, data: Dataset) -> Dataset:
    """The dataset with its columns as the network knows them."""
    return data.for_network(getattr(net, "feature_names_in_", None), net.preparation_, net._has_seen_data)


def evaluate(net: Network, data: Dataset) -> dict[str, float]:
    """`Network.evaluate` of a dataset."""
    metrics, n_skipped = evaluated(net, data)
    if n_skipped:
        _warn(f"{_bad_rows(n_skipped, data)} not counted in the metrics", depth=3)
    return metrics


def evaluated(net: Network, data: Dataset) -> tuple[dict[str, float], int]:
    """The metrics, and how many bad rows were left out."""
    n_outputs = net._built().output.n
    data = suited(net, data)
    targets = StreamTargets(net, data, n_outputs)
    n_rows = data.rows_in(WINDOW_SHARE, dtype=net.dtype, labels=targets.labels)
    total = loss_sum = right = 0.0
    r2 = RunningR2(n_outputs)
    with data.windows(n_rows, dtype=net.dtype, labels=targets.labels, numbers=targets.numbers) as windows:
        for window in windows:
            assert window.y is not None
            found = targets.of(window.y)
            loss, raw = loss_and_outputs(net, matrix_of(window, data.feature_names), found)
            loss_sum, total = loss_sum + loss * window.n_rows, total + window.n_rows
            if net.loss.task == "regression":
                r2.add(found.matrix.array, decode(raw, net.loss, None, one_dimensional=False))
            else:
                right += score(raw, found, net.loss)["accuracy"] * window.n_rows
            n_skipped = window.n_skipped
            window.release()
    metric = {"r2": r2.value} if net.loss.task == "regression" else {"accuracy": right / total}
    return {"loss": loss_sum / total, **metric}, n_skipped


def predict(net: Network, data: Dataset, out: Any = None, proba: bool = False) -> np.ndarray | None:
    """`Network.predict` and `predict_proba` of a dataset: an array, or a file that is written as a stream."""
    net._built()
    with contextlib.closing(outputs(net, data, proba)) as parts:
        if out is None:
            return np.concatenate(list(parts))
        from .data.sinks import open_sink

        row = _decoded(net, np.zeros((1, net._built().output.n), net.dtype), proba)  # what all of them look like
        with open_sink(out, column_names(net, row, proba)) as sink:
            for part in parts:
                sink.write(part)
    return None


def outputs(
    net: Network, data: Dataset, proba: bool = False, n_threads: int | None = None
) -> Generator[np.ndarray, None, None]:
    """Predictions of the rows of a dataset, in order, part by part."""
    for raw in raw_parts(net, data, n_threads, depth=5):
        yield _decoded(net, raw, proba)


def raw_parts(
    net: Network, data: Dataset, n_threads: int | None = None, depth: int = 4
) -> Generator[np.ndarray, None, None]:
    """The outputs before the link of the rows of a dataset, in order; a warning of bad rows goes `depth` calls up."""
    net._built()
    data = suited(net, data)
    n_rows = data.rows_in(WINDOW_SHARE, dtype=net.dtype, with_targets=False)
    with data.windows(n_rows, dtype=net.dtype, with_targets=False) as windows:
        for window in windows:
            raw = raw_outputs(net, matrix_of(window, data.feature_names), n_threads)
            n_skipped = window.n_skipped
            window.release()
            yield raw
    if n_skipped:
        shown = ", ".join(f"{file} row {row}" for file, row in windows.skipped)
        more = ", ..." if n_skipped > len(windows.skipped) else ""
        _warn(f"{_bad_rows(n_skipped, data)} without a prediction: {shown}{more}", depth)


def _decoded(net: Network, raw: np.ndarray, proba: bool) -> np.ndarray:
    """Predictions, or probabilities, of raw outputs (n, n_outputs)."""
    if proba:
        return probabilities(raw, net.loss)
    predictions = decode(raw, net.loss, net.classes_, net._one_dimensional)
    return predictions if net.preparation_ is None else net.preparation_.decode(predictions)


def _bad_rows(n: int, data: Dataset) -> str:
    return f"{n} bad row{'s' if n > 1 else ''} of {data.source.name} left out,"


def _warn(message: str, depth: int) -> None:
    """RuntimeWarning for who called the network's method, `depth` calls above."""
    warnings.warn(message, RuntimeWarning, stacklevel=depth + 1)


def column_names(net: Network, part: np.ndarray, proba: bool) -> list[str]:
    """What the columns of predictions are called in a table."""
    if proba and net.classes_ is not None:
        return [f"p({label})" for label in net.classes_.tolist()]
    if part.ndim == 1:
        return ["prediction"]
    return [f"prediction[{k}]" for k in range(part.shape[1])]
