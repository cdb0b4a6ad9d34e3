"""Evaluating and predicting on a `Dataset`, window by window; and what its rows are to a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import AnyMatrix, Matrix, SparseMatrix, dtype_code
from .data.dataset import Dataset
from .data.usable import Labels, finite_rows, one_column
from .data.windows import WINDOW_SHARE, Window
from .labels import unique_labels
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
    sample : Targets
        Of some of the first rows.
    """

    def __init__(self, net: Network, data: Dataset, n_outputs: int) -> None:
        self.net, self.n_outputs = net, n_outputs
        self.labels: Labels | None = None
        y = data.head(SAMPLE_ROWS)[1]
        if y is None:
            raise ValueError(f"{data.source.name} has no target: name its column, or give the file of y")
        good = finite_rows(y)
        y = y if good is None else y[good]
        if net.loss.task != "regression" and (y.ndim == 1 or y.shape[1] == 1):
            self.labels = self._labels(data, one_column(y))
        if self.labels is not None:
            codes, is_known = self.labels.encode(y)
            y = codes[is_known]
        self.sample = self.of(y)

    def _labels(self, data: Dataset, y: np.ndarray) -> Labels | None:
        """The labels; None if y holds soft targets.

        Those of a sample will do if there are as many as the network is for: one more would be an error anyway. Rows
        that can be read once are not looked through: codes are taken for what they are.
        """
        net = self.net
        if is_multilabel(net.loss, self.n_outputs):
            return None
        if self.n_outputs == 1 and not net.loss.is_margin and are_probabilities(y, net.classes_):
            return None
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
    n_outputs = net._built().output.n
    data = suited(net, data)
    targets = StreamTargets(net, data, n_outputs)
    n_rows = data.rows_in(WINDOW_SHARE, dtype=net.dtype, labels=targets.labels)
    total = loss_sum = right = 0.0
    r2 = RunningR2(n_outputs)
    with data.windows(n_rows, dtype=net.dtype, labels=targets.labels) as windows:
        for window in windows:
            assert window.y is not None
            found = targets.of(window.y)
            loss, raw = loss_and_outputs(net, matrix_of(window, data.feature_names), found)
            loss_sum, total = loss_sum + loss * window.n_rows, total + window.n_rows
            if net.loss.task == "regression":
                r2.add(found.matrix.array, decode(raw, net.loss, None, one_dimensional=False))
            else:
                right += score(raw, found, net.loss)["accuracy"] * window.n_rows
            window.release()
    return {
        "loss": loss_sum / total,
        **({"r2": r2.value} if net.loss.task == "regression" else {"accuracy": right / total}),
    }


def predict(net: Network, data: Dataset, out: Any = None, proba: bool = False) -> np.ndarray | None:
    """`Network.predict` and `predict_proba` of a dataset: an array, or a file that is written as a stream."""
    parts = outputs(net, data, proba)
    if out is None:
        return np.concatenate(list(parts))
    from .data.sinks import open_sink

    first = next(parts)
    with open_sink(out, column_names(net, first, proba)) as sink:
        sink.write(first)
        for part in parts:
            sink.write(part)
    return None


def outputs(net: Network, data: Dataset, proba: bool = False) -> Iterator[np.ndarray]:
    """Predictions of the rows of a dataset, in order, part by part."""
    net._built()
    data = suited(net, data)
    n_rows = data.rows_in(WINDOW_SHARE, dtype=net.dtype, with_targets=False)
    with data.windows(n_rows, dtype=net.dtype, with_targets=False) as windows:
        for window in windows:
            raw = raw_outputs(net, matrix_of(window, data.feature_names))
            window.release()
            if proba:
                yield probabilities(raw, net.loss)
                continue
            predictions = decode(raw, net.loss, net.classes_, net._one_dimensional)
            yield predictions if net.preparation_ is None else net.preparation_.decode(predictions)


def column_names(net: Network, part: np.ndarray, proba: bool) -> list[str]:
    """What the columns of predictions are called in a table."""
    if proba and net.classes_ is not None:
        return [f"p({label})" for label in net.classes_.tolist()]
    if part.ndim == 1:
        return ["prediction"]
    return [f"prediction[{k}]" for k in range(part.shape[1])]
