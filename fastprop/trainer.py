"""Training: epochs of updates, shuffled; watching the clock, the losses and the user.

Work goes to the engine in *slices* of some 15 ms on the calling thread, so that Ctrl-C, progress and callbacks never
wait long, and in *segments*: tables of updates that were laid out ahead, of several epochs where epochs are short.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .callbacks import EarlyStopping, Watch
from .engine import Engine
from .errors import DivergenceError
from .failures import bad_row_message, divergence_message
from .kernels import records
from .ledger import Ledger
from .pace import TRIAL_SECONDS, ThreadChooser, candidates
from .runs import Run, Standing, Weights
from .samples import tables
from .schedules import watches
from .segments import Place, Segment, Segments
from .threads import pool

if TYPE_CHECKING:
    from .network import Network
    from .validation import Rows

SLICE_SECONDS = 0.015
# Epochs that run ahead of a callback, at most: they may have to run again. Asking takes 0.1 ms.
AHEAD_SECONDS = 0.002


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
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_every: float = 60.0  # seconds
    counts: bool = True  # whether epochs enter the network's history: not those of partial_fit


def steps_between(callback: Any) -> int:
    """The updates from one call of a step callback to the next."""
    return int(getattr(callback, "every", 1))


def lay_out(net: Network, engine: Engine, rows: Rows, settings: Settings, first_epoch: int) -> Segments:
    """The tables of a fit on rows in memory."""
    callbacks = [c for c in settings.callbacks if hasattr(c, "on_step")]
    return tables(
        engine,
        map(steps_between, callbacks),
        rows.n_used,
        rows.weights_used,
        rows.numbers,
        settings.batch_size,
        settings.accumulate,
        settings.shuffle,
        settings.seed,
        first_epoch,
        net.divides_penalties,
    )


def state_of(rate: Any) -> dict[str, Any] | None:
    """What a learning rate's schedule remembers of the losses it saw, as JSON."""
    return dict(rate.state) if hasattr(rate, "load_state") and watches(rate) else None


@dataclass
class Mark:
    """Where training can go back to: the state before some epochs, and the segment that begins there.

    That of a run that goes on may lie within the first of them, at a place.
    """

    epoch: int
    state: Any
    standing: Standing
    place: Place | None
    sums: tuple[float, float, float]
    rate: float
    segment: Segment | None = None


class Trainer:
    """Runs a fit.

    Parameters
    ----------
    net : Network
        Built; its parameters are changed in place.
    engine : Engine
        In mode "train", bound to the data.
    segments : segments.Segments
        Lays out the tables of this fit.
    settings : Settings
    validate : callable, optional
        Gives the validation results as a dict of "val_..." after an epoch.
    progress : progress.Silent
    run : runs.Run
        Where to begin.
    keeper : keeping.Keeper, optional
        Writes checkpoints.
    """

    is_pending = False  # as a run that is under way

    def __init__(
        self,
        net: Network,
        engine: Engine,
        segments: Segments,
        settings: Settings,
        validate: Any,
        progress: Any,
        run: Run,
        keeper: Any = None,
    ) -> None:
        self.net, self.engine, self.settings = net, engine, settings
        self.validate, self.progress, self.keeper = validate, progress, keeper
        self.step_callbacks = [c for c in settings.callbacks if hasattr(c, "on_step")]
        self.epoch_callbacks = [c for c in settings.callbacks if hasattr(c, "on_epoch_end")]
        self.segments = segments
        n_threads = 1 if engine.is_online else settings.n_threads
        if n_threads not in engine.choosers:
            engine.choosers[n_threads] = ThreadChooser(candidates(n_threads))
        self.chooser = engine.choosers[n_threads]
        self.seconds_a_chunk = 0.0
        self.booked = engine.done  # chunks of the segment whose losses are in `sums`
        self.is_careful = False
        self._begin(run)

    def _begin(self, run: Run) -> None:
        """Stand where `run` does."""
        settings, standing = self.settings, run.standing
        n = standing.n_epochs
        self.begun = run
        self.ledger = Ledger(run, settings.epochs)
        rate: Any = self.net.optimizer.lr
        if standing.schedule is not None and hasattr(rate, "load_state"):
            rate.load_state(standing.schedule)
        self.watch: Watch | None = settings.early_stopping.start(standing.watch) if settings.early_stopping else None
        self.standing = Standing(n, rate, state_of(rate), standing.watch, standing.best)
        self.go = range(n, n)  # epochs that are run before somebody is asked
        self.go_rate = run.rate
        self.start = run.place  # of the segment to come
        self.under_way: Segment | None = None
        self.n_closed, self.stopped = n, run.is_stopped  # complete epochs
        self.marks: deque[Mark] = deque(maxlen=2)

    # ---- epochs ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, list[float]]:
        """Train; returns the history."""
        if self.settings.counts:
            self.net._run = self
        if self.begun.state is not None:
            self.engine.parameters.restore(self.begun.state)
        if self.n_closed:
            self.progress.epoch(self.n_closed, {name: values[-1] for name, values in self.ledger.history.items()})
        try:
            for segment in self._segments():
                self._run_segment(segment)
                if self.stopped:
                    break
        finally:
            self._book()  # Ctrl-C may come after updates that count
            self._discard_partial_update()
            self.ledger.finish(self.n_closed)
            if self.settings.counts:
                self.net.history_ = self.ledger.history
                self.net.epochs_done = self.segments.first_epoch + self.n_closed
                self.net._penalties = self.ledger.penalties
                self.net._run = self.now()
        if self.standing.best is not None:
            self._restore_best(self.standing.best)
        return self.ledger.history

    def _restore_best(self, best: Weights) -> None:
        """Give the network its best weights; the run goes on from the last ones, should there be more epochs."""
        parameters = self.engine.parameters
        self.net._run = replace(self.now(), state=parameters.snapshot())
        parameters.rows[0], parameters.statistics[:] = best

    def now(self) -> Run:
        """Where this fit stands: a run that goes on from here."""
        standing, rate = self.standing, self.net.optimizer.lr
        if self._is_ahead:  # of a callback, which will be asked: back to where it was
            mark = self.marks[-1]
            standing, place, sums, last_rate, state = mark.standing, mark.place, mark.sums, mark.rate, mark.state
        else:
            n, place = self._position()
            state = None
            if n != standing.n_epochs:
                standing = replace(standing, n_epochs=n)
            sums, last_rate = self.ledger.of(n)
        history, penalties = self.ledger.until(standing.n_epochs)
        return Run(
            arguments=self.begun.arguments,
            first_epoch=self.begun.first_epoch,
            standing=standing if standing.rate is rate else replace(standing, schedule=None),
            place=place,
            sums=sums,
            last_rate=last_rate,
            rate=self.go_rate if place is not None and self.go_rate is not rate else None,
            history=history,
            penalties=penalties,
            seconds=self.ledger.seconds,
            is_stopped=self.stopped,
            state=state,
        )

    @property
    def _is_ahead(self) -> bool:
        """Whether the parameters are further than what callbacks have been asked about."""
        return bool(self.epoch_callbacks) and len(self.go) > 1 and self.standing.n_epochs < self.go.stop

    def _position(self) -> tuple[int, Place | None]:
        """The epoch under way, and the place in it; None at its beginning."""
        if self.under_way is None:
            return self.standing.n_epochs, self.start
        return self.under_way.place(self.booked)

    @property
    def _makes_one_update(self) -> bool:
        """Whether this is a call of partial_fit in which nothing follows the update."""
        return not self.settings.counts and self.segments.updates_of_epoch == 1

    @property
    def _looks_at_epochs(self) -> bool:
        """Whether somebody looks at every epoch."""
        looks = self.epoch_callbacks or self.step_callbacks or self.validate or self.watch
        return bool(looks) or watches(self.net.optimizer.lr)

    @property
    def _epochs_in_a_go(self) -> int:
        """Epochs to run before somebody is asked: to the next horizon, or ahead of it if they are short."""
        if self.is_careful or self.step_callbacks or self.validate or self.watch or watches(self.net.optimizer.lr):
            return 1
        if not self.epoch_callbacks:
            return self.segments.most_epochs
        if not all(hasattr(c, "horizon") for c in self.epoch_callbacks):
            return 1
        if self.segments.most_epochs == 1:
            return 1
        horizon = min(int(c.horizon) for c in self.epoch_callbacks)
        seconds_an_epoch = self.seconds_a_chunk * self.segments.updates_of_epoch
        ahead = int(AHEAD_SECONDS / seconds_an_epoch) if seconds_an_epoch else 1
        return min(self.segments.most_epochs, max(1, horizon, ahead))

    def _segments(self) -> Iterator[Segment]:
        """The fit as tables; before each run of epochs a mark to go back to."""
        while self.n_closed < self.settings.epochs and not self.stopped:
            epoch, place, rate = self.n_closed, self.start, self.go_rate
            n = 1 if place is not None and place.first else self._epochs_in_a_go
            if rate is None:
                rate = self.net.optimizer.lr
            self.marks.append(Mark(epoch, self._snapshot(), self.standing, place, *self.ledger.of(epoch)))
            self.go, self.go_rate = range(epoch, min(self.settings.epochs, epoch + n)), rate
            yield from self.segments.of(self.go, rate, place)
            self.go_rate = None

    def _snapshot(self) -> Any:
        """The state to go back to: all of it, or where a call makes one update, what that changes before its loss."""
        parameters = self.engine.parameters
        return parameters.statistics.copy() if self._makes_one_update else parameters.snapshot()

    # ---- slices ---------------------------------------------------------------------------------------------------

    def _run_segment(self, segment: Segment) -> None:
        """Run all chunks, and close the epochs that end in it."""
        self._take(segment)
        if self.marks[-1].segment is None:
            self.marks[-1].segment = segment
        done = 0
        while done < len(segment.chunks) and not self.stopped:
            last = self._slice_end(done)
            self._run_slice(done, last)
            if self.engine.status != records.OK:
                if self._ran_ahead(segment):
                    return
                self._fail(self.engine.status, self.engine.done)
            self._after_slice(done, last)
            done = last
        if done and self.settings.counts and not np.isfinite(self.engine.parameters.rows[0]).all():
            # The last update is followed by no loss to tell.
            if self._ran_ahead(segment):
                return
            self._diverged(int(segment.epochs[done - 1]), segment.chunks[done - 1], "weights")
        closes = segment.closes
        if self.stopped and done:  # by a callback, perhaps in the middle: the running epoch ends here
            closes = range(self.ledger.n_written, int(segment.epochs[done - 1]) + 1)
        self.ledger.write(closes)
        was_stopped = self.stopped
        for epoch in closes if self._looks_at_epochs else closes[-1:]:
            rate = self.net.optimizer.lr
            self._close_epoch(epoch)
            is_other = self.stopped is not was_stopped or self.net.optimizer.lr is not rate
            if is_other and epoch < closes[-1]:  # what ran ahead did not know
                self._forget(epoch + 1)
                break

    def _take(self, segment: Segment) -> None:
        """Make `segment` the one that slices are of."""
        self.engine.set_rows(segment.rows)
        self.engine.set_chunks(segment.chunks, segment.rates)
        self.segment, self.booked, self.under_way, self.start = segment, 0, segment, None

    def _run_slice(self, first: int, last: int) -> None:
        """Run chunks first..last of the segment."""
        n_threads = self.chooser.choose()
        start = time.perf_counter()
        used = pool.run(self.engine.prepare(first, last), n_threads, self.engine.abort)
        self._book()
        self._timed(used, (time.perf_counter() - start) / (last - first))

    def _slice_end(self, done: int) -> int:
        """Where the next slice ends: after SLICE_SECONDS, or where a step callback wants to look."""
        steps = [self.segment.next_step(done, steps_between(c)) for c in self.step_callbacks]
        if self.keeper is not None and self.keeper.is_due:
            steps.append(self.segment.next_step(done, 1))
        return min(len(self.segment.chunks), done + self._slice_chunks(), *steps)

    def _slice_chunks(self) -> int:
        """Chunks of the next slice."""
        seconds = TRIAL_SECONDS if self.chooser.is_trying else SLICE_SECONDS
        return max(1, int(seconds / self.seconds_a_chunk)) if self.seconds_a_chunk else 1

    def _timed(self, n_threads: int, seconds: float) -> None:
        self.chooser.record(n_threads, seconds)
        self.seconds_a_chunk = seconds if not self.seconds_a_chunk else max(seconds, 0.5 * self.seconds_a_chunk)

    def _book(self) -> None:
        """Add the losses of chunks that were completed since the last time to their epochs."""
        first, last = self.booked, self.engine.done
        if first >= last:
            return
        ends = self.segment.chunks["is_last"]
        if not ends[last - 1]:  # the rest of an update counts with it: training may go on before its beginning
            whole = np.flatnonzero(ends[first:last])
            if not len(whole):
                return
            last = first + int(whole[-1]) + 1
        segment = self.segment
        touched, sums = self.ledger.summed(segment, first, last)
        count, n_closed = int(segment.chunks["count"][last - 1]), self.n_closed
        if last < len(segment.epochs):
            n_closed = int(segment.epochs[last])
        elif segment.closes:
            n_closed = segment.closes.stop
        # Ctrl-C comes after calls: there is none from here on, so all of this is done or nothing.
        self.ledger.sums[touched] = sums
        self.engine.parameters.count, self.n_closed, self.booked = count, n_closed, last

    def _after_slice(self, first: int, last: int) -> None:
        chunk = self.segment.chunks[last - 1]
        if chunk["is_last"]:
            self._call_step_callbacks(chunk)
            if self.keeper is not None:
                self.keeper.look(self)
        if self.progress.is_shown:  # 10 us less for a tiny fit
            self.progress.advance(self.segment.share(last), int(self.segment.chunks["n_rows"][first:last].sum()))

    def _call_step_callbacks(self, chunk: Any) -> None:
        step = int(chunk["count"]) - 1
        for callback in self.step_callbacks:
            if (step + 1) % steps_between(callback) == 0:
                logs = {"loss": float(chunk["loss"] + chunk["penalty"]), "lr": float(chunk["lr"])}
                self.stopped |= callback.on_step(self.net, step, logs) is True

    # ---- the end of an epoch --------------------------------------------------------------------------------------

    def _close_epoch(self, epoch: int) -> None:
        """Validation, schedules, early stopping, callbacks, progress."""
        self.n_closed = max(self.n_closed, epoch + 1)
        logs = self.ledger.logs(epoch, self.segments.logs(epoch) | self._validated(epoch))
        rate: Any = self.net.optimizer.lr
        if watches(rate):
            rate.after_epoch(logs.get("val_loss", logs["loss"]))
        best, stop = self._watched(logs, epoch)
        watch = None if self.watch is None else self.watch.state
        standing = Standing(epoch + 1, rate, state_of(rate), watch, best)
        under_way = None if epoch + 1 == self.go.stop or self.stopped else self.under_way
        stopped = self.stopped or stop
        # All or nothing, as in `_book`: an epoch that Ctrl-C finds not yet closed is closed again after `resume`.
        self.standing, self.under_way, self.stopped = standing, under_way, stopped
        for callback in self.epoch_callbacks:
            self.stopped |= callback.on_epoch_end(self.net, epoch, dict(logs)) is True
        self.progress.epoch(epoch + 1, logs)

    def _ran_ahead(self, segment: Segment) -> bool:
        """Whether a failure came in epochs of which some callback was not asked; then they run again, one by one."""
        if not self.epoch_callbacks or len(segment.closes) <= 1:
            return False
        self.is_careful = True
        self._forget(segment.closes.start)
        return True

    def _forget(self, epoch: int) -> None:
        """Go back to before `epoch`, which ran ahead."""
        self._go_back(epoch)
        self.ledger.forget(epoch)

    def _validated(self, epoch: int) -> dict[str, float]:
        """The validation results, if there are any; a loss that is not finite is divergence."""
        if self.validate is None:
            return {}
        try:
            return dict(self.validate())
        except DivergenceError:
            self._diverged(epoch, self.segment.chunks[-1], "validation loss")

    def _watched(self, logs: dict[str, float], epoch: int) -> tuple[Weights | None, bool]:
        """The best weights so far, and whether to stop."""
        if self.watch is None:
            return None, False
        improved, stop = self.watch.update(logs[self.watch.stopping.monitor], epoch)
        if not improved:
            return self.standing.best, stop
        parameters = self.engine.parameters
        return (parameters.rows[0].copy(), parameters.statistics.copy()), stop

    # ---- what may go wrong ----------------------------------------------------------------------------------------

    def _discard_partial_update(self) -> None:
        """Forget gradients of an update that was not completed."""
        if self.engine.has_partial_update:
            self.engine.parameters.rows[1] = 0

    def _fail(self, status: int, at: int) -> None:
        """Report bad input or divergence that chunk number `at` met."""
        if status == records.BAD_INPUT:
            message = bad_row_message(self.engine, self.segment.rows, self.segment.chunks[at])
            self._go_back(self.marks[-1].epoch)
            raise ValueError(message)
        chunk, epoch = self.segment.update_of(at, self.engine.failed), int(self.segment.epochs[at])
        first = self.segment.update_of(int(np.searchsorted(self.segment.epochs, epoch)))
        begins = self.segment is self.marks[-1].segment and chunk["count"] == first["count"]
        self._diverged(epoch, chunk, "loss", bad_epoch=epoch - 1 if begins else epoch)

    def _diverged(self, epoch: int, chunk: Any, what: str, bad_epoch: int | None = None) -> NoReturn:
        """Go back to before `bad_epoch`, which made the weights bad: the former if the first loss of `epoch` is bad."""
        good = max(0, epoch if bad_epoch is None else bad_epoch)
        self._go_back(good)
        raise DivergenceError(divergence_message(epoch, chunk, what, good, self.start))

    def _go_back(self, epoch: int) -> None:
        """Restore the state before this or the former epoch; others of its segment run again, to the same bits."""
        mark = self.marks[-1] if epoch >= self.marks[-1].epoch else self.marks[0]
        if self._makes_one_update:
            self.engine.parameters.statistics[:] = mark.state
        else:
            self.engine.parameters.restore(mark.state)
        self.n_closed, self.start, self.under_way = mark.epoch, mark.place, None
        self.standing = replace(mark.standing, n_epochs=mark.epoch)
        self.go = range(mark.epoch, mark.epoch)
        self.ledger.go_back(mark.epoch, mark.sums, mark.rate)
        if epoch > mark.epoch:
            self._run_again(mark, epoch)

    def _run_again(self, mark: Mark, epoch: int) -> None:
        """From a mark to before `epoch`, in slices, so that Ctrl-C gets through."""
        assert mark.segment is not None
        self._take(mark.segment)
        done, end = 0, int(np.searchsorted(mark.segment.epochs, epoch))
        while done < end:
            last = min(end, done + self._slice_chunks())
            self._run_slice(done, last)
            done = last
        self.n_closed = epoch  # those without an update count as well
        self.standing, self.under_way = replace(self.standing, n_epochs=epoch), None
