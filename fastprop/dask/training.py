"""Epochs of rounds: validation, early stopping, callbacks, history, checkpoints; the client's side of a fit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..callbacks import Watch
from ..errors import DivergenceError
from ..ledger import Ledger
from ..runs import Run, Standing, Weights
from ..schedules import watches
from ..segments import Place
from ..trainer import Settings, state_of
from .outer import Slots
from .rounds import Point, Rounds
from .state import layout_of, put, taken

if TYPE_CHECKING:
    from ..network import Network

Validate = Callable[[Point], dict[str, float]]
SETTLED = ("l1", "l2", "clip_value", "clip_norm", "divides_penalties", "loss", "seed")


class Settled:
    """What workers are told of a network before the first round, which callbacks may not change behind their backs."""

    def __init__(self, net: Network) -> None:
        self.net, self.optimizer = net, net.optimizer
        self.values = {name: getattr(net, name) for name in SETTLED}
        self.settings, self.rule = copy.copy(net.optimizer.settings), net.optimizer.rule()

    def check(self) -> None:
        """Refuse other settings than those at the beginning, and restore these; the learning rate may be any.

        Raises
        ------
        ValueError
        """
        net, rule = self.net, self.net.optimizer.rule()
        changed = {name: getattr(net, name) for name in SETTLED if getattr(net, name) != self.values[name]}
        if type(rule) is not type(self.rule) or rule != self.rule:
            changed["optimizer"] = repr(net.optimizer)
            net.optimizer, self.optimizer.settings = self.optimizer, self.settings
        if not changed:
            self.optimizer = net.optimizer  # may be another one with the same rule
            return
        for name, value in self.values.items():
            setattr(net, name, value)
        what = ", ".join(f"net.{name} from {getattr(net, name)} to {value}" for name, value in changed.items())
        raise ValueError(
            f"a callback changed {what}: on a cluster only weights and learning rates may change within a fit"
        )


class Training:
    """Runs a fit on a cluster, from round to round.

    Parameters
    ----------
    net : Network
        Built. Its parameters are those of the last complete round whenever somebody looks: callbacks, checkpoints, and
        after `run`, however that ends.
    rounds : Rounds
    settings : trainer.Settings
    validate : callable or None
        Gives the validation results as a dict of "val_...".
    bar : progress.Silent
    run : runs.Run
        Where to begin.
    slots : tuple of ndarray
        That the outer optimizer begins with.
    keeper : keeping.Keeper, optional
        Writes checkpoints.
    """

    is_pending = False  # as a run that is under way

    def __init__(
        self,
        net: Network,
        rounds: Rounds,
        settings: Settings,
        validate: Validate | None,
        bar: Any,
        run: Run,
        slots: Slots,
        keeper: Any = None,
    ) -> None:
        self.net, self.rounds, self.settings, self.validate = net, rounds, settings, validate
        self.bar, self.begun, self.keeper = bar, run, keeper
        standing, rate = run.standing, net.optimizer.lr
        if standing.schedule is not None and hasattr(rate, "load_state"):
            rate.load_state(standing.schedule)
        if run.state is not None:
            net._parameters.restore(run.state)
        stopping = settings.early_stopping
        self.watch: Watch | None = stopping.start(standing.watch) if stopping else None
        self.standing = Standing(standing.n_epochs, rate, state_of(rate), standing.watch, standing.best)
        self.stopped, self.settled = run.is_stopped, Settled(net)
        self.ledger = Ledger(run, settings.epochs)
        place = run.place or Place(0, 0, 0, 0)
        if run.outer:
            slots = tuple(vector_of_row(net, row) for row in run.outer)
        self.point = Point(
            taken(net), slots, standing.n_epochs, place.first, int(place.cursor or 0), run.sums, run.last_rate
        )

    def run(self) -> dict[str, list[float]]:
        """Train; returns the history."""
        net = self.net
        net._run = self
        if self.point.epoch:
            self.bar.epoch(self.point.epoch, {name: values[-1] for name, values in self.ledger.history.items()})
        try:
            while self.standing.n_epochs < self.settings.epochs and not self.stopped:
                while self.point.number < self.rounds.n_rounds:
                    self._round()
                self._close_epoch()
        finally:
            put(net, self.point.state)
            self.ledger.finish(self.standing.n_epochs)
            net.history_, net._penalties = self.ledger.history, self.ledger.penalties
            net.epochs_done = self.begun.first_epoch + self.standing.n_epochs
            net._run = self.now()
        if self.standing.best is not None:
            self._restore_best(self.standing.best)
        return self.ledger.history

    def _round(self) -> None:
        self.point = self.rounds.next(self.point, self.net.optimizer.lr)  # in one stroke: Ctrl-C finds either
        if self.keeper is not None:
            if self.keeper.is_due:
                put(self.net, self.point.state)
            self.keeper.look(self)
        self.bar.round(self.point.number, self.rounds.n_rounds, self.point.loss, self.point.n_rows)

    def now(self) -> Run:
        """Where this fit stands: a run that goes on from here."""
        standing, point, rate = self.standing, self.point, self.net.optimizer.lr
        history, penalties = self.ledger.until(standing.n_epochs)
        count = point.state.count
        return Run(
            arguments=self.begun.arguments,
            first_epoch=self.begun.first_epoch,
            standing=standing if standing.rate is rate else replace(standing, schedule=None),
            place=Place(point.number, count, count, point.cursor) if point.number else None,
            sums=point.sums,
            last_rate=point.rate,
            history=history,
            penalties=penalties,
            seconds=self.ledger.seconds,
            is_stopped=self.stopped,
            outer=tuple(row_of_vector(self.net, slot) for slot in point.slots),
        )

    # ---- the end of an epoch --------------------------------------------------------------------------------------

    def _close_epoch(self) -> None:
        """Validation, schedules, early stopping, callbacks, progress."""
        net, point, epoch = self.net, self.point, self.standing.n_epochs
        put(net, point.state)
        results = {"rounds": float(self.rounds.n_rounds)} | self._validated(epoch)
        self.ledger.sums[epoch], self.ledger.rates[epoch] = point.sums, point.rate
        self.ledger.write(range(epoch, epoch + 1))
        logs = self.ledger.logs(epoch, results)
        rate: Any = net.optimizer.lr
        if watches(rate):
            rate.after_epoch(logs.get("val_loss", logs["loss"]))
        best, stop = self._watched(logs, epoch)
        watch = None if self.watch is None else self.watch.state
        standing = Standing(epoch + 1, rate, state_of(rate), watch, best)
        following = replace(point, epoch=epoch + 1, number=0, cursor=0, sums=(0.0, 0.0, 0.0))
        self.standing, self.point, self.stopped = standing, following, stop
        for callback in self.settings.callbacks:
            self.stopped |= callback.on_epoch_end(net, epoch, dict(logs)) is True
        if self.settings.callbacks:  # they may have set weights
            self.settled.check()
            self.point = replace(following, state=taken(net))
        self.bar.epoch(epoch + 1, logs)

    def _validated(self, epoch: int) -> dict[str, float]:
        if self.validate is None:
            return {}
        results = self.validate(self.point)
        if not math.isfinite(results["val_loss"]):
            raise DivergenceError(f"the validation loss became {results['val_loss']} in epoch {epoch}")
        return results

    def _watched(self, logs: dict[str, float], epoch: int) -> tuple[Weights | None, bool]:
        """The best weights so far, and whether to stop."""
        if self.watch is None:
            return None, False
        improved, stop = self.watch.update(logs[self.watch.stopping.monitor], epoch)
        if not improved:
            return self.standing.best, stop
        parameters = self.net._parameters
        return (parameters.rows[0].copy(), parameters.statistics.copy()), stop

    def _restore_best(self, best: Weights) -> None:
        """Give the network its best weights; the run goes on from the last ones, should there be more epochs."""
        parameters = self.net._parameters
        self.net._run = replace(self.now(), state=parameters.snapshot())
        parameters.rows[0], parameters.statistics[:] = best


def row_of_vector(net: Network, vector: np.ndarray) -> np.ndarray:
    """Numbers of parameters as a row of `Parameters`, which checkpoints name and write."""
    return layout_of(net).padded(vector)


def vector_of_row(net: Network, row: np.ndarray) -> np.ndarray:
    """The reverse of `row_of_vector`."""
    return layout_of(net).unpadded(row)
