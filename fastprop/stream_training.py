"""Fitting a network to a `Dataset`: windows as segments for the trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import check_fraction
from .data.dataset import Dataset
from .data.filling import Cursor, Window
from .data.windows import WindowsAhead
from .engine import Engine
from .labels import positions
from .models import n_outputs
from .samples import tables
from .schedules import Rate
from .segments import Place, Segment
from .streams import StreamTargets, evaluated, loaded, matrix_of, suited
from .targets import class_weights
from .trainer import steps_between
from .validation import Rows, check_finite_in, check_monitor, validator

if TYPE_CHECKING:
    from .network import Network
    from .trainer import Settings


class StreamSegments:
    """Lays out the segments of a fit to a dataset: of each window those of a fit to its rows, in random order.

    The interface of `segments.Segments`; the engine is bound to a window before its first segment is yielded. The
    cursor of a place says where its window begins, which one it is, how many rows came before, and the cursor in it.

    Parameters
    ----------
    engine : Engine
    data : Dataset
    targets : StreamTargets
    of_class : ndarray of float64, or None
        The weight of each class.
    window_rows : int
    settings : trainer.Settings
    every : sequence of int
        See `samples.Samples`.
    first_epoch : int
    counts_rows : bool
        See `segments.Segments`.
    """

    most_epochs = 1

    def __init__(
        self,
        engine: Engine,
        data: Dataset,
        targets: StreamTargets,
        of_class: np.ndarray | None,
        window_rows: int,
        settings: Settings,
        every: Sequence[int],
        first_epoch: int,
        counts_rows: bool,
    ) -> None:
        self.engine, self.data, self.targets, self.of_class = engine, data, targets, of_class
        self.window_rows, self.settings, self.every = window_rows, settings, every
        self.first_epoch, self.counts_rows = first_epoch, counts_rows
        self.windows: WindowsAhead | None = None
        self._logs: dict[int, dict[str, float]] = {}

    @property
    def updates_of_epoch(self) -> int | None:
        """Updates of an epoch, where the number of rows is known."""
        n = self.data.n_samples
        return None if n is None else -(-n // (self.settings.batch_size * self.settings.accumulate))  # type: ignore[operator]

    def of(self, epochs: range, rate: Rate, start: Place | None = None) -> Iterator[Segment]:
        """The segments of one epoch, from `start` on."""
        epoch = epochs.start
        begins, number, n_done, within = Cursor(), 0, 0, None
        if start is not None and start.cursor is not None:
            begins, number = Cursor(*start.cursor["begins"]), start.cursor["window"]
            n_done = start.cursor["rows"]
            within = dataclasses.replace(start, cursor=start.cursor["within"])
        if self.windows is None:
            self.windows = self._open(epoch, begins)
        waited = self.windows.waited
        for window in self.windows:
            span = self._span(n_done, window)
            if window.is_last:
                self._logs[epoch] = self._told(window.n_skipped, self.windows.waited - waited)
            for segment in self._segments_of(window, number, epochs, rate, within):
                segment.cursor = {
                    "begins": list(window.begins),
                    "window": number,
                    "rows": n_done,
                    "within": segment.cursor,
                }
                segment.closes = segment.closes if window.is_last else range(0)
                begin, end = segment.span
                segment.span = tuple(span[0] + (span[1] - span[0]) * part for part in (begin, end))  # type: ignore[assignment]
                yield segment
            n_done, number, within = n_done + window.n_rows, number + 1, None
            window.release()
            if window.is_last:
                return

    def close(self) -> None:
        """Stop reading."""
        if self.windows is not None:
            self.windows.close()
            self.windows = None

    def logs(self, epoch: int) -> dict[str, float]:
        """Rows left out in an epoch, if they may be, and the seconds that training waited for reading."""
        return self._logs.get(epoch, {})

    def _open(self, epoch: int, begins: Cursor) -> WindowsAhead:
        settings = self.settings
        return self.data.windows(
            self.window_rows,
            range(epoch, settings.epochs),
            begins,
            dtype=self.engine.plan.dtype,
            labels=self.targets.labels,
            numbers=self.targets.numbers,
            shuffle=settings.shuffle,
            seed=settings.seed,
            first_epoch=self.first_epoch,
            update_rows=settings.batch_size * settings.accumulate,  # type: ignore[operator]  # checked by StreamFit
        )

    def _segments_of(
        self, window: Window, number: int, epochs: range, rate: Rate, start: Place | None
    ) -> Iterator[Segment]:
        """The segments of a window; binds the engine to it."""
        assert window.y is not None
        targets = self.targets.of(window.y)
        weights = None if self.of_class is None else self.of_class[window.y.reshape(window.n_rows)]
        cancels = self.engine.is_online and self.counts_rows
        self.engine.bind(matrix_of(window, self.data.feature_names), targets.matrix, None if cancels else weights)
        settings = self.settings
        inner = tables(
            self.engine,
            self.every,
            window.n_rows,
            weights,
            None,
            settings.batch_size,
            settings.accumulate,
            settings.shuffle,
            settings.seed,
            self.first_epoch,
            self.counts_rows,
        )
        inner.window = number
        return inner.of(epochs, rate, start)

    def _span(self, n_done: int, window: Window) -> tuple[float, float]:
        """Which part of the epoch a window is; NaN where the number of rows is unknown."""
        n = self.data.n_samples
        if n is None:
            return (1.0, 1.0) if window.is_last else (np.nan, np.nan)
        return min(1.0, n_done / n), min(1.0, (n_done + window.n_rows) / n)

    def _told(self, n_skipped: int, waited: float) -> dict[str, float]:
        return {"waited": waited} | ({"skipped": n_skipped} if self.data.skips else {})


class StreamFit:
    """A fit to a dataset, checked.

    Parameters
    ----------
    net : Network
        Is built, if it is not.
    data : Dataset
    settings : trainer.Settings
    class_weight
        As for `Network.fit`.
    """

    def __init__(self, net: Network, data: Dataset, settings: Settings, class_weight: Any) -> None:
        if settings.batch_size is None:
            raise ValueError("batch_size must be given: a full batch would have to be in memory")
        if data.source.reads_once and settings.epochs > 1:
            raise ValueError(
                f"epochs must be 1, got {settings.epochs}: an iterator can be read once; give from_batches a function "
                f"that makes a new one, such as a generator function"
            )
        self.net, self.data, self.settings = net, data, settings
        matrix = net._check_x(data.head(1)[0])
        self.targets = StreamTargets(net, data, n_outputs(net.layers, matrix.n_columns))
        update_rows = settings.batch_size * settings.accumulate
        self.window_rows = data.window_rows(update_rows, net.dtype, self.targets.labels)
        name_features(net, data)
        net._adopt(matrix, self.targets.sample)
        self.rows = Rows(matrix, self.targets.sample, None)
        self.of_class = None if class_weight is None else self._of_class(class_weight)

    def _of_class(self, class_weight: Any) -> np.ndarray:
        if self.targets.labels is None:
            raise ValueError("class_weight needs labels in y, not numbers, soft or multilabel targets")
        classes = self.targets.labels.classes
        counts = np.zeros(len(classes), np.intp)
        if isinstance(class_weight, str):
            found, n = self.data.labels()
            codes, is_known = positions(found, classes)
            counts[codes[is_known]] = n[is_known]
        return class_weights(class_weight, counts, classes)

    def segments(self, engine: Engine, first_epoch: int) -> StreamSegments:
        """What the trainer takes its work from."""
        every = [steps_between(c) for c in self.settings.callbacks if hasattr(c, "on_step")]
        net = self.net
        return StreamSegments(
            engine, self.data, self.targets, self.of_class, self.window_rows, self.settings, every, first_epoch,
            net.divides_penalties,
        )  # fmt: skip


def fit_dataset(
    net: Network, data: Dataset, settings: Settings, class_weight: Any, held_out: tuple[Any, Any, float], bar: Any
) -> dict[str, list[float]]:
    """`Network.fit` of a dataset: in memory, if a quarter of the memory limit holds it, else window by window."""
    data = suited(net, data)
    net.preparation_ = data.preparation
    in_memory = loaded(net, data)
    if in_memory is not None:
        X, y, n_skipped = in_memory
        name_features(net, data)
        history = net._fit(X, y, settings, (None, class_weight), held_out, bar)
        if data.skips:
            history["skipped"] = [n_skipped] * len(history["loss"])
        return history
    X_val, y_val, fraction = held_out
    if fraction:
        data, part = data.split(check_fraction("validation_fraction", fraction), net.seed)
        if X_val is not None:
            raise ValueError(f"give either X_val and y_val or validation_fraction, got both (fraction {fraction})")
        X_val = part
    fit = StreamFit(net, data, settings, class_weight)
    validate = dataset_validator(net, X_val, y_val)
    check_monitor(settings.early_stopping, net.loss, validate is not None)
    return net._train(fit.rows, settings, validate, bar, fit)


def name_features(net: Network, data: Dataset) -> None:
    """Remember the columns of a dataset, as those of a data frame are."""
    if data.feature_names is not None and not net._has_seen_data:
        net.feature_names_in_ = np.array(data.feature_names, dtype=object)


def dataset_validator(
    net: Network, X_val: Any, y_val: Any, fraction: float = 0.0
) -> Callable[[], dict[str, float]] | None:
    """What evaluates held-out rows: in memory if they fit, else window by window. None if there are none."""
    if X_val is None and y_val is None:
        return None
    if isinstance(X_val, Dataset):
        refuse_beside(X_val, y_val=y_val, validation_fraction=fraction or None)
        held = suited(net, X_val)
        in_memory = loaded(net, held)
        if in_memory is None:
            return lambda: {f"val_{name}": value for name, value in evaluated(net, held)[0].items()}
        X_val, y_val, _ = in_memory
    matrix, targets = net._check_data(X_val, y_val, names=("X_val", "y_val"))
    check_finite_in(matrix, net.dtype, "X_val")
    return validator(net, Rows(matrix, targets, None))


def refuse_beside(data: Dataset, **arguments: Any) -> None:
    """Refuse what a dataset brings itself, or cannot have."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name} must be None beside the dataset {data.source.name!r}")
