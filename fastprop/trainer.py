"""Training: epochs of updates, shuffled; watching the clock, the losses and the user.

Work goes to the engine in *slices* of some 15 ms on the calling thread, so that Ctrl-C, progress and callbacks never
wait long, and in *segments*: tables of updates that were laid out ahead, of several epochs where epochs are short.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .callbacks import EarlyStopping, Watch
from .engine import Engine
from .errors import DivergenceError
from .failures import bad_row_message, divergence_message
from .kernels import records
from .pace import TRIAL_SECONDS, ThreadChooser, candidates
from .segments import Segment, Segments
from .threads import pool

if TYPE_CHECKING:
    from .network import Network

SLICE_SECONDS = 0.015


@dataclass
class Settings:
    """How to fit, checked."""

    epochs: int
    batch_size: int | None
    shuffle: bool
    seed: int
    accumulate: int = 1
    n_threads: int | None = None
    early_stopping: EarlyStopping | None = None
    callbacks: tuple[Any, ...] = ()
    counts: bool = True  # whether epochs enter the network's history


@dataclass
class Mark:
    """Where training can go back to: the state before an epoch, and the segment that begins there."""

    epoch: int
    snapshot: tuple[np.ndarray, np.ndarray, int]
    segment: Segment | None = None


class Trainer:
    """Runs a fit.

    Parameters
    ----------
    net : Network
        Built; its parameters are changed in place.
    engine : Engine
        In mode "train", bound to the data.
    n_rows : int
    weights : ndarray of shape (n_rows,), or None
    settings : Settings
    validate : callable, optional
        Gives the validation results as a dict of "val_..." after an epoch.
    progress : progress.Silent
    """

    def __init__(
        self,
        net: Network,
        engine: Engine,
        n_rows: int,
        weights: np.ndarray | None,
        settings: Settings,
        validate: Any,
        progress: Any,
    ) -> None:
        self.net, self.engine, self.settings = net, engine, settings
        self.validate, self.progress = validate, progress
        self.segments = Segments(
            engine,
            n_rows,
            weights,
            settings.batch_size,
            settings.accumulate,
            settings.shuffle,
            settings.seed,
            first_epoch=net.epochs_done,
        )
        self.history: dict[str, list[float]] = {"loss": [], "lr": [], "time": []}
        self.chooser = engine.choosers.setdefault(settings.n_threads, ThreadChooser(candidates(settings.n_threads)))
        self.seconds_a_chunk = 0.0
        self.watch: Watch | None = settings.early_stopping.start() if settings.early_stopping else None
        self.best: tuple[np.ndarray, np.ndarray] | None = None
        self.step_callbacks = [c for c in settings.callbacks if hasattr(c, "on_step")]
        self.epoch_callbacks = [c for c in settings.callbacks if hasattr(c, "on_epoch_end")]
        self.n_closed = 0  # complete epochs of this fit
        self.stopped = False
        self.started = time.perf_counter()

    # ---- epochs ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, list[float]]:
        """Train; returns the history."""
        self.sums = np.zeros((self.settings.epochs, 2))  # weighted losses, weights
        self.rates = np.zeros(self.settings.epochs)
        self.marks: deque[Mark] = deque(maxlen=2)
        try:
            for segment in self._segments():
                self._run_segment(segment)
                if self.stopped:
                    break
        finally:
            self._discard_partial_update()
            self._finish_history()
            if self.settings.counts:
                self.net.history_, self.net.epochs_done = self.history, self.segments.first_epoch + self.n_closed
        if self.best is not None:
            self.engine.parameters.rows[0], self.engine.parameters.statistics[:] = self.best
        return self.history

    @property
    def _stops_at_epochs(self) -> bool:
        """Whether something happens between epochs."""
        rate = self.net.optimizer.lr
        return bool(
            self.epoch_callbacks or self.step_callbacks or self.validate or self.watch or hasattr(rate, "after_epoch")
        )

    def _segments(self) -> Iterator[Segment]:
        """The fit as tables; before each run of epochs a mark to go back to."""
        n_epochs = 1 if self._stops_at_epochs else self.segments.most_epochs
        for epoch in range(0, self.settings.epochs, n_epochs):
            epochs = range(epoch, min(self.settings.epochs, epoch + n_epochs))
            self.marks.append(Mark(epoch, self.engine.parameters.snapshot()))
            yield from self.segments.of(epochs, self.net.optimizer.lr)

    # ---- slices ---------------------------------------------------------------------------------------------------

    def _run_segment(self, segment: Segment) -> None:
        """Run all chunks, and close the epochs that end in it."""
        engine = self.engine
        engine.set_rows(segment.rows)
        engine.set_chunks(segment.chunks)
        self.segment = segment
        if self.marks[-1].segment is None:
            self.marks[-1].segment = segment
        done = 0
        while done < len(segment.chunks) and not self.stopped:
            last = self._slice_end(done)
            n_threads = self.chooser.choose()
            start = time.perf_counter()
            try:
                used = pool.run(engine.prepare(done, last), n_threads, engine.abort)
            finally:  # Ctrl-C comes after updates that count
                self._book(done, engine.done)
            self._timed(used, (time.perf_counter() - start) / (last - done))
            if engine.status != records.OK:
                self._fail(engine.status, engine.done)
            self._after_slice(done, last)
            done = last
        if done and not np.isfinite(engine.parameters.rows[0]).all():  # the last update is followed by no loss to tell
            self._diverged(int(segment.epochs[done - 1]), segment.chunks[done - 1], "weights")
        closes = segment.closes
        if self.stopped and done:  # by a callback, perhaps in the middle: the running epoch ends here
            closes = range(len(self.history["loss"]), int(segment.epochs[done - 1]) + 1)
        looked_at = closes if self._stops_at_epochs else closes[-1:]
        self._write_history(range(closes.start, looked_at.start))
        for epoch in looked_at:
            self._close_epoch(epoch)

    def _slice_end(self, done: int) -> int:
        """Where the next slice ends: after SLICE_SECONDS, or where a step callback wants to look."""
        n = len(self.segment.chunks)
        seconds = TRIAL_SECONDS if self.chooser.is_trying else SLICE_SECONDS
        size = max(1, int(seconds / self.seconds_a_chunk)) if self.seconds_a_chunk else 1
        last = min(n, done + size)
        for callback in self.step_callbacks:
            every = getattr(callback, "every", 1)
            counts = self.segment.chunks["count"][done:last]
            hits = np.flatnonzero(self.segment.chunks["is_last"][done:last] & (counts % every == 0))
            if len(hits):
                last = done + int(hits[0]) + 1
        return last

    def _timed(self, n_threads: int, seconds: float) -> None:
        self.chooser.record(n_threads, seconds)
        self.seconds_a_chunk = seconds if not self.seconds_a_chunk else max(seconds, 0.5 * self.seconds_a_chunk)

    def _book(self, first: int, last: int) -> None:
        """Add the losses of completed chunks to their epochs."""
        part = self.segment.chunks[first:last]
        if not len(part):
            return
        epochs, weights = self.segment.epochs[first:last], self.segment.weights[first:last]
        is_last = part["is_last"].astype(bool)
        np.add.at(self.sums[:, 0], epochs, (part["loss"] + part["penalty"]) * weights)
        np.add.at(self.sums[:, 1], epochs[is_last], weights[is_last])
        self.rates[epochs] = part["lr"]  # the last one stays
        if is_last.any():
            self.engine.parameters.count = int(part["count"][is_last][-1])
        if last < len(self.segment.epochs):
            self.n_closed = int(self.segment.epochs[last])
        elif self.segment.closes:
            self.n_closed = self.segment.closes.stop

    def _after_slice(self, first: int, last: int) -> None:
        chunk = self.segment.chunks[last - 1]
        if chunk["is_last"]:
            self._call_step_callbacks(chunk)
        epoch_chunks = self.segment.epochs == self.segment.epochs[last - 1]
        start = int(np.argmax(epoch_chunks))
        self.progress.advance(min(1.0, (last - start) / max(1, int(epoch_chunks.sum()))))

    def _call_step_callbacks(self, chunk: Any) -> None:
        step = int(chunk["count"]) - 1
        for callback in self.step_callbacks:
            if (step + 1) % getattr(callback, "every", 1) == 0:
                logs = {"loss": float(chunk["loss"] + chunk["penalty"]), "lr": float(chunk["lr"])}
                self.stopped |= callback.on_step(self.net, step, logs) is True

    # ---- the end of an epoch --------------------------------------------------------------------------------------

    def _close_epoch(self, epoch: int) -> None:
        """History, validation, schedules, early stopping, callbacks, progress."""
        self.n_closed = max(self.n_closed, epoch + 1)
        self._write_history(range(epoch, epoch + 1))
        logs = {name: values[-1] for name, values in self.history.items() if values}
        if self.validate is not None:
            results = self._validated(epoch)
            for name, value in results.items():
                self.history.setdefault(name, [math.nan] * epoch).append(value)
            logs.update(results)
        rate = self.net.optimizer.lr
        if hasattr(rate, "after_epoch"):
            rate.after_epoch(logs.get("val_loss", logs["loss"]))
        if self.watch is not None:
            self._watch(logs, epoch)
        for callback in self.epoch_callbacks:
            self.stopped |= callback.on_epoch_end(self.net, epoch, dict(logs)) is True
        self.progress.epoch(epoch + 1, logs)

    def _write_history(self, epochs: range) -> None:
        part = slice(epochs.start, epochs.stop)
        with np.errstate(invalid="ignore"):  # NaN where no sample had a weight
            self.history["loss"] += (self.sums[part, 0] / self.sums[part, 1]).tolist()
        self.history["lr"] += self.rates[part].tolist()
        self.history["time"] += [time.perf_counter() - self.started] * len(epochs)

    def _finish_history(self) -> None:
        """Bring all lists to the number of complete epochs, wherever Ctrl-C or divergence came; NaN for the unknown."""
        n = min(self.n_closed, *map(len, self.history.values()))
        for values in self.history.values():
            del values[n:]
        self._write_history(range(n, self.n_closed))
        for values in self.history.values():
            values += [math.nan] * (self.n_closed - len(values))

    def _validated(self, epoch: int) -> dict[str, float]:
        """The validation results; a loss that is not finite is divergence."""
        assert self.validate is not None
        try:
            return dict(self.validate())
        except DivergenceError:
            self._diverged(epoch, self.segment.chunks[-1], "validation loss")

    def _watch(self, logs: dict[str, float], epoch: int) -> None:
        assert self.watch is not None
        improved, stop = self.watch.update(logs[self.watch.stopping.monitor], epoch)
        if improved:
            parameters = self.engine.parameters
            self.best = parameters.rows[0].copy(), parameters.statistics.copy()
        self.stopped |= stop

    # ---- what may go wrong ----------------------------------------------------------------------------------------

    def _discard_partial_update(self) -> None:
        """Forget gradients of an update that was not completed."""
        self.engine.parameters.rows[1] = 0

    def _fail(self, status: int, at: int) -> None:
        """Report bad input or divergence that chunk number `at` met."""
        chunk, epoch = self.segment.chunks[at], int(self.segment.epochs[at])
        if status == records.BAD_INPUT:
            self._go_back(self.marks[-1].epoch)
            raise ValueError(bad_row_message(self.engine, self.segment.rows, chunk))
        first = self.segment.chunks[np.searchsorted(self.segment.epochs, epoch)]
        begins = self.segment is self.marks[-1].segment and chunk["count"] == first["count"]
        self._diverged(epoch, chunk, "loss", bad_epoch=epoch - 1 if begins else epoch)

    def _diverged(self, epoch: int, chunk: Any, what: str, bad_epoch: int | None = None) -> NoReturn:
        """Go back to before `bad_epoch`, which made the weights bad: the former if the first loss of `epoch` is bad."""
        good = max(0, epoch if bad_epoch is None else bad_epoch)
        self._go_back(good)
        raise DivergenceError(divergence_message(epoch, chunk, what, good))

    def _go_back(self, epoch: int) -> None:
        """Restore the state before this or the former epoch; others of its segment run again, to the same bits."""
        mark = self.marks[-1] if epoch >= self.marks[-1].epoch else self.marks[0]
        self.engine.parameters.restore(mark.snapshot)
        self.n_closed = epoch
        assert mark.segment is not None
        last = int(np.searchsorted(mark.segment.epochs, epoch))
        if epoch > mark.epoch and last:
            self.engine.set_rows(mark.segment.rows)
            self.engine.set_chunks(mark.segment.chunks)
            self.engine.run(0, last)
            self.engine.parameters.count = int(mark.segment.chunks["count"][last - 1])
