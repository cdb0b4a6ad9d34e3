"""A round of training on a cluster, as the client sees it: a pure function from where training stands to where it does.

Mode "local": each partition trains a replica, and the mean change, weighted by rows or the sums of their weights, is
what the round brings. Mode "sync": one update of the network, by the gradient of one batch whose rows lie in any
partitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import DivergenceError
from ..failures import ADVICE
from ..optimizers import Optimizer
from ..schedules import tabulate
from . import outer as outers
from .batches import Batch, Span
from .crew import Crew, Task
from .messages import Answer, Share, State, Statistics
from .outer import Slots
from .replica import gradient_group, train_group
from .state import layout_of, put, shown, taken
from .sums import total
from .update import Updater

if TYPE_CHECKING:
    from ..network import Network
    from .job import Job
    from .parts import Part


@dataclass(frozen=True, eq=False)
class Point:
    """Where training stands between two rounds.

    Attributes
    ----------
    state : State
    slots : tuple of ndarray
        The outer optimizer's state.
    epoch, number : int
        The epoch of this fit, and how many of its rounds are done.
    cursor : int
        Mode "sync": how far the epoch's permutation is used up.
    sums : (float, float, float)
        Of the epoch under way, as in a `Ledger`: weighted losses (penalties included), weights, weighted penalties.
    rate : float
        The learning rate of the last update.
    n_rows : int
        That the last round trained on.
    """

    state: State
    slots: Slots = ()
    epoch: int = 0
    number: int = 0
    cursor: int = 0
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rate: float = 0.0
    n_rows: int = 0

    @property
    def loss(self) -> float:
        """The mean loss of the epoch under way."""
        return self.sums[0] / self.sums[1] if self.sums[1] else math.nan

    def after(self, told: tuple[float, float, float], **values: Any) -> Point:
        """The next one, after a round with these sums."""
        a, b, c = (old + new for old, new in zip(self.sums, told, strict=True))
        return replace(self, number=self.number + 1, sums=(a, b, c), **values)


class Rounds(Protocol):
    """What a mode must be able to do."""

    n_rounds: int
    """Of an epoch."""

    def next(self, point: Point, rate: Any) -> Point:
        """Do a round with the learning rate (a number, schedule or callable) as it is now."""


def told_by(answers: Sequence[Answer]) -> list[Statistics]:
    """What all partitions tell, in their order."""
    return sorted((told for answer in answers for told in answer.statistics), key=lambda told: told.number)


class LocalRounds:
    """Mode "local".

    Parameters
    ----------
    net : Network
    crew : Crew
    first_epoch : int
        Epochs before this fit.
    batch_size : int or None
        Of a replica.
    rate_factor : float
        Learning rates of replicas, as multiples of those of the network.
    sync_every : int
        Updates of the largest partition from one round to the next, at most.
    least_rounds : int
        Of an epoch.
    outer : Optimizer or None
    mean_weight : float, default 1
        Of a row.
    """

    def __init__(
        self,
        net: Network,
        crew: Crew,
        first_epoch: int,
        batch_size: int | None,
        rate_factor: float,
        sync_every: int,
        least_rounds: int,
        outer: Optimizer | None,
        mean_weight: float = 1.0,
    ) -> None:
        self.layout, self.crew, self.first_epoch, self.outer = layout_of(net), crew, first_epoch, outer
        self.rate_factor, self.mean_weight = rate_factor, mean_weight
        self.updates = np.array([-(-n // min(n, batch_size or n)) if n else 0 for n in crew.rows])
        self.n_rounds = max(1, least_rounds, -(-int(self.updates.max()) // sync_every))

    def next(self, point: Point, rate: Any) -> Point:
        """Average what the replicas of all partitions learn; see `Rounds`."""
        crew, n_partitions = self.crew, len(self.crew.parts)
        first, last = (self.updates * number // self.n_rounds for number in (point.number, point.number + 1))
        count = point.state.count
        rates = self.rate_factor * tabulate(rate, count, int((last - first).max()))
        share = Share(self.first_epoch + point.epoch, point.number, self.n_rounds, rates, self.mean_weight)

        def work(state: Any, numbers: range) -> Task:
            return train_group, crew.job, state, share, [crew.parts[i] for i in numbers], n_partitions

        what = f"round {point.number} of epoch {share.epoch}"
        answers = crew.answers(point.state, work, what, "round")
        told = told_by(answers)
        n_rows, mass = sum(one.n_rows for one in told), sum(one.mass for one in told)
        busiest = int(self.updates.argmax())
        made = State(point.state.vector, count + int(last[busiest] - first[busiest]))
        slots = point.slots
        if mass:  # else all weights were zero
            with np.errstate(over="ignore", invalid="ignore"):
                change = total([node for answer in answers for node in answer.sums], n_partitions) / mass
                vector, slots = self._stepped(point, change)
            if not np.isfinite(vector).all():
                raise DivergenceError(f"the weights became NaN or infinite in {what}. {ADVICE}")
            made = State(vector, made.count)
        sums = sum(one.loss for one in told), sum(one.weight for one in told), sum(one.penalty for one in told)
        last_rate = float(rates[-1]) / self.rate_factor if len(rates) else point.rate
        return point.after(sums, state=made, slots=slots, rate=last_rate, n_rows=n_rows)

    def _stepped(self, point: Point, change: np.ndarray) -> tuple[np.ndarray, Slots]:
        """The state vector after a mean change, and the outer optimizer's slots."""
        vector, n = point.state.vector, self.layout.n_parameters
        made = self.layout.origin(vector) + change
        n_done = point.epoch * self.n_rounds + point.number
        made[:n], slots = outers.stepped(self.outer, vector[:n], change[:n], point.slots, n_done)
        return made, slots


class SyncRounds:
    """Mode "sync": the batches are those of `Network.fit` on the partitions one behind the other.

    Parameters
    ----------
    net : Network
        The updates are made in its parameters.
    crew : Crew
    first_epoch : int
    batch_size : int or None
    shuffle : bool
    """

    def __init__(self, net: Network, crew: Crew, first_epoch: int, batch_size: int | None, shuffle: bool) -> None:
        self.net, self.crew, self.first_epoch = net, crew, first_epoch
        self.ends = np.cumsum(crew.rows)
        self.n = int(self.ends[-1])
        self.batch_rows = min(self.n, batch_size or self.n)
        self.shuffles = shuffle and self.batch_rows < self.n
        self.n_rounds = -(-self.n // self.batch_rows)
        self.updater = Updater(net)

    def next(self, point: Point, rate: Any) -> Point:
        """Make one update; see `Rounds`."""
        crew, n_partitions, state = self.crew, len(self.crew.parts), point.state
        batch = self._batch(point)
        n_batch = batch.last - batch.first
        spans, cursor = batch.spans(self.ends)

        def work(sent: Any, numbers: range) -> Task | None:
            used = [i for i in numbers if i in spans]
            if not used:
                return None
            parts = [crew.parts[i] for i in used]
            of_parts = [spans[i] for i in used]
            return batch_gradient, crew.job, sent, batch, of_parts, float(n_batch), parts, n_partitions

        what = f"update {point.number} of epoch {point.epoch}"
        answers = crew.answers(shown(self.net, state), work, what, "gradient")
        told = told_by(answers)
        weight = sum(one.weight for one in told)
        if not weight > 0:  # all of its rows have the weight zero: no update
            return point.after((0.0, 0.0, 0.0), cursor=cursor, n_rows=n_batch)
        lr = float(tabulate(rate, state.count, 1)[0])
        put(self.net, state)
        gradient = total([node for answer in answers for node in answer.sums], n_partitions)
        if weight != n_batch:  # workers know the weights of their own rows only
            gradient *= n_batch / weight
        penalty = self.updater.apply(gradient, lr, weight)
        loss = sum(one.loss for one in told) / weight + penalty
        made = taken(self.net)
        if not (math.isfinite(loss) and np.isfinite(made.vector).all()):
            put(self.net, state)
            epoch = self.first_epoch + point.epoch
            raise DivergenceError(
                f"the loss became {loss:g} in update {point.number} of epoch {epoch}, at learning rate {lr:g}. {ADVICE}"
            )
        share = n_batch if self.net.divides_penalties else weight
        return point.after((loss * share, share, penalty * share), state=made, cursor=cursor, rate=lr, n_rows=n_batch)

    def _batch(self, point: Point) -> Batch:
        """The rows of the next update."""
        first = point.number * self.batch_rows
        last = min(first + self.batch_rows, self.n)
        cursor = point.cursor if self.shuffles else None
        return Batch(self.n, first, last, cursor, self.net.seed, self.first_epoch + point.epoch)


def batch_gradient(
    job: Job,
    state: State,
    batch: Batch,
    spans: Sequence[Span],
    weight_sum: float,
    parts: Sequence[Part],
    n_partitions: int,
) -> Answer:
    """On a worker: what some partitions add to the gradient of a batch; see `replica.gradient_group`."""
    return gradient_group(job, state, batch.steps(spans), weight_sum, parts, n_partitions)
