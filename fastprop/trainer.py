"""Training: epochs of updates, shuffled; watching the clock, the losses and the user.

Work goes to the engine in *slices* of some 15 ms on the calling thread, so that Ctrl-C, progress and callbacks never
wait long, and in *segments*: tables of updates that were laid out ahead, of several epochs where epochs are short.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .callbacks import EarlyStopping, Watch
from .engine import Engine, chunks_of
from .errors import DivergenceError
from .kernels import records
from .kernels.rng import shuffle_rows
from .schedules import tabulate
from .threads import limit, pool

if TYPE_CHECKING:
    from .network import Network

SLICE_SECONDS = 0.015
SEGMENT_UPDATES = 1 << 15
SEGMENT_ROWS = 1 << 20
LOOK_AGAIN_SECONDS = 2.0  # when to time other numbers of threads anew: a neighbour may have come or gone


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
class Segment:
    """A table of chunks, laid out ahead.

    Attributes
    ----------
    chunks : ndarray of records.CHUNK
    epochs : ndarray of int
        The epoch of each chunk.
    weights : ndarray of float64
        The sum of the sample weights of each chunk's update.
    rows : ndarray of int64 or None
        Row numbers that chunks count in.
    closes : range
        The epochs that end with this segment.
    """

    chunks: np.ndarray
    epochs: np.ndarray
    weights: np.ndarray
    rows: np.ndarray | None
    closes: range


@dataclass
class Mark:
    """Where training can go back to: the state before an epoch, and the segment that begins there."""

    epoch: int
    snapshot: tuple[np.ndarray, np.ndarray, int]
    segment: Segment | None = None


@dataclass
class ThreadChooser:
    """Times slices on one thread and on all, and keeps the faster; the bits do not depend on it.

    `candidates` are tried in turn, twice each; the best median is used until it is time to look again.
    """

    candidates: list[int]
    trials: list[tuple[int, float]] = field(default_factory=list)
    best: int = 1
    looked: float = 0.0
    settled: bool = False

    def choose(self) -> int:
        """The number of threads for the next slice."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        if self.settled and time.perf_counter() - self.looked < LOOK_AGAIN_SECONDS:
            return self.best
        if self.settled:
            self.settled, self.trials = False, []
        return self.candidates[len(self.trials) % len(self.candidates)]

    def record(self, n_threads: int, seconds_a_chunk: float) -> None:
        """Take note of a slice."""
        if self.settled or len(self.candidates) == 1:
            return
        self.trials.append((n_threads, seconds_a_chunk))
        if len(self.trials) == 3 * len(self.candidates):  # the first round warms caches
            fastest = {n: min(s for m, s in self.trials[len(self.candidates) :] if m == n) for n in self.candidates}
            self.best = min(fastest, key=lambda n: (fastest[n] * (1.0 + 0.03 * (n > 1)), n))
            self.settled, self.looked = True, time.perf_counter()


def candidates(n_threads: int | None) -> list[int]:
    """Numbers of threads to choose from."""
    if n_threads is not None:
        return [n_threads]
    n = limit()[0]
    return sorted({1, n})


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
        self, net: Network, engine: Engine, n_rows: int, weights: np.ndarray | None, settings: Settings, validate: Any, progress: Any
    ) -> None:  # fmt: skip
        self.net, self.engine, self.settings = net, engine, settings
        self.n_rows, self.weights, self.validate, self.progress = n_rows, weights, validate, progress
        self.update_rows = min(n_rows, (settings.batch_size or n_rows) * settings.accumulate)
        self.updates_of_epoch = -(-n_rows // self.update_rows)
        self.shuffles = settings.shuffle and self.update_rows < n_rows
        self.history: dict[str, list[float]] = {"loss": [], "lr": [], "time": []}
        self.chooser = ThreadChooser(candidates(settings.n_threads))
        self.seconds_a_chunk = 0.0
        self.watch: Watch | None = settings.early_stopping.start() if settings.early_stopping else None
        self.best: tuple[np.ndarray, np.ndarray] | None = None
        self.step_callbacks = [c for c in settings.callbacks if hasattr(c, "on_step")]
        self.epoch_callbacks = [c for c in settings.callbacks if hasattr(c, "on_epoch_end")]
        self.first_epoch, self.n_closed = net.epochs_done, 0  # epochs before this fit, and complete ones of it
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
                self.net.history_, self.net.epochs_done = self.history, self.first_epoch + self.n_closed
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
        """The fit as tables: part of an epoch, or several short ones."""
        many = max(1, min(SEGMENT_UPDATES // self.updates_of_epoch, SEGMENT_ROWS // self.n_rows))
        n_epochs = 1 if self._stops_at_epochs else many
        for epoch in range(0, self.settings.epochs, n_epochs):
            last = min(self.settings.epochs, epoch + n_epochs)
            self.marks.append(Mark(epoch, self.engine.parameters.snapshot()))
            cursors = [0] * (last - epoch)
            for first in range(0, self.updates_of_epoch, SEGMENT_UPDATES):
                n = min(SEGMENT_UPDATES, self.updates_of_epoch - first)
                yield self._segment(range(epoch, last), first, n, cursors)
                if self.stopped:
                    return

    def _segment(self, epochs: range, first: int, n_updates: int, cursors: list[int]) -> Segment:
        """Updates first..first + n_updates of each of `epochs`."""
        starts = (first + np.arange(n_updates)) * self.update_rows
        n_rows = np.minimum(self.update_rows, self.n_rows - starts)
        total = int(n_rows.sum())
        rows = self._shuffled_rows(epochs, total, cursors) if self.shuffles else None
        updates = np.zeros(len(epochs) * n_updates, records.CHUNK)
        shift = np.repeat(np.arange(len(epochs)) * total - first * self.update_rows, n_updates) if self.shuffles else 0
        updates["first"] = np.tile(starts, len(epochs)) + shift
        sizes = np.tile(n_rows, len(epochs))
        sums = sizes.astype(np.float64) if self.weights is None else self._weight_sums(updates["first"], sizes, rows)
        kept = sums > 0  # an update whose weights are all zero is skipped
        updates, sizes, sums = updates[kept], sizes[kept], sums[kept]
        count = self.engine.parameters.count
        updates["count"] = count + 1 + np.arange(len(updates))
        updates["lr"] = tabulate(self.net.optimizer.lr, count, len(updates))
        updates["inverse_weight"] = 1.0 / sums
        epoch_of = np.repeat(np.asarray(epochs), n_updates)[kept]
        limit_rows = self.engine.chunk_rows
        if self.settings.accumulate > 1 and self.settings.batch_size:
            limit_rows = min(limit_rows, self.settings.batch_size)
        parts = np.maximum(1, -(-sizes // limit_rows))
        is_end = first + n_updates == self.updates_of_epoch
        return Segment(
            chunks_of(updates, sizes, limit_rows), np.repeat(epoch_of, parts), np.repeat(sums, parts), rows,
            epochs if is_end else range(0),
        )  # fmt: skip

    def _shuffled_rows(self, epochs: range, total: int, cursors: list[int]) -> np.ndarray:
        """The next `total` rows of each epoch's permutation."""
        rows = np.empty(len(epochs) * total, np.int64)
        for i, epoch in enumerate(epochs):
            keys = epoch_keys(self.settings.seed, self.first_epoch + epoch)
            cursors[i] = shuffle_rows(rows[i * total : (i + 1) * total], self.n_rows, keys, cursors[i])
        return rows

    def _weight_sums(self, firsts: np.ndarray, sizes: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """The sum of the sample weights of each update."""
        assert self.weights is not None
        if rows is not None:
            return np.add.reduceat(self.weights[rows], firsts)
        return np.array([self.weights[f : f + n].sum() for f, n in zip(firsts, sizes, strict=True)])

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
        if done < len(segment.chunks):  # a callback stopped in the middle: the running epoch ends here
            closes = range(len(self.history["loss"]), int(segment.epochs[done - 1]) + 1)
        for epoch in closes:
            self._close_epoch(epoch)

    def _slice_end(self, done: int) -> int:
        """Where the next slice ends: after SLICE_SECONDS, or where a step callback wants to look."""
        n = len(self.segment.chunks)
        size = max(1, int(SLICE_SECONDS / self.seconds_a_chunk)) if self.seconds_a_chunk else 1
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
        self._write_history(epoch)
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

    def _write_history(self, epoch: int) -> None:
        loss, weight = self.sums[epoch]
        self.history["loss"].append(float(loss / weight) if weight else math.nan)
        self.history["lr"].append(float(self.rates[epoch]))
        self.history["time"].append(time.perf_counter() - self.started)

    def _finish_history(self) -> None:
        """Bring all lists to the number of complete epochs, wherever Ctrl-C or divergence came; NaN for what is unknown."""
        n = min(self.n_closed, *map(len, self.history.values()))
        for values in self.history.values():
            del values[n:]
        for epoch in range(n, self.n_closed):
            self._write_history(epoch)
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
        """Go back to before `bad_epoch`, which made the weights bad: a loss that is bad at once shows the former one was."""
        good = max(0, epoch if bad_epoch is None else bad_epoch)
        self._go_back(good)
        raise DivergenceError(divergence_message(epoch, chunk, what, good))

    def _go_back(self, epoch: int) -> None:
        """Restore the state before this or the former epoch; those that share its segment run again, to the same bits."""
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


def divergence_message(epoch: int, chunk: Any, what: str, n_good: int) -> str:
    """What happened, where, and what to try."""
    kept = f"the weights after epoch {n_good - 1}, the last good one, are restored" if n_good else "the weights are as before the call"
    return (
        f"the {what} became NaN or infinite in epoch {epoch}, step {int(chunk['count']) - 1} at learning rate "
        f"{chunk['lr']:g}; {kept}. Try a smaller learning rate, clip_norm=1.0, or inputs and targets of mean 0 and "
        f"deviation 1"
    )


def epoch_keys(seed: int, epoch: int) -> np.ndarray:
    """Six odd numbers that determine the permutation of an epoch."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, 2**63 + epoch], np.uint64)))
    return generator.integers(0, 2**64, 6, dtype=np.uint64) | np.uint64(1)


def bad_row_message(engine: Engine, rows: np.ndarray | None, chunk: Any) -> str:
    """Names the first number of a chunk of X that is not finite (in the network's dtype)."""
    matrix: Any = engine.data
    first, n = int(chunk["first"]), int(chunk["n_rows"])
    numbers = np.arange(first, first + n) if rows is None else rows[first : first + n]
    for row in numbers:
        values = np.asarray(matrix.array[[int(row)]].toarray() if matrix.is_sparse else matrix.array[int(row)]).ravel()
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(values.astype(engine.plan.dtype)))
        if len(bad):
            names = matrix.feature_names
            column = repr(names[bad[0]]) if names is not None else int(bad[0])
            value = values[bad[0]]
            why = "must be finite" if not np.isfinite(value) else f"must be finite in {engine.plan.dtype}"
            return f"X {why}, got {value} in row {int(row)}, column {column}; fill or drop it, the weights are unchanged"
    return "X or y must be finite and must not change during a fit; the weights are unchanged"
