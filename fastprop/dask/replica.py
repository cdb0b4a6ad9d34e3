"""A round on a worker: pure functions of the state, the partitions and their share of an epoch.

Nothing that a worker holds changes what comes out, so that any worker can do the same round again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..engine import chunks_of
from ..engines import batch_rows, job_of, next_power
from ..errors import DivergenceError
from ..failures import ADVICE, bad_row_message
from ..kernels import records
from ..plan import Plan
from ..progress import progress_for
from ..runs import Run
from ..schedules import Floats, Schedule
from ..threads import pool
from ..trainer import Settings, Trainer
from . import job as jobs
from .batches import Step
from .job import Job
from .messages import Answer, Share, State, Statistics
from .scores import Score, merged, score_of
from .state import Replicas, layout_of, put
from .sums import OrderedSum

if TYPE_CHECKING:
    from ..validation import Rows
    from .parts import Part

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: seeds of partitions that share no bits


@dataclass(frozen=True)
class Given(Schedule):
    """Learning rates that are known: `values` of the updates from `first` on."""

    first: int
    values: Floats

    def rates(self, t: Floats) -> Floats:
        return self.values[t.astype(np.int64) - self.first]


def train_group(job: Job, state: State, share: Share, parts: Sequence[Part], n_partitions: int) -> Answer:
    """One round of mode "local" on some partitions that follow each other, in order.

    Each trains a replica that begins with `state`, and adds `Statistics.mass` times the change of it to the sums; see
    `Layout.origin` for what the change is counted from. A partition that makes no update adds nothing.

    Parameters
    ----------
    job : Job
    state : State
    share : Share
    parts : sequence of Part
        Of growing numbers.
    n_partitions : int
        Of the fit.

    Returns
    -------
    Answer
        In its statistics `n_rows` are 0 where there was no update, and `loss` has the penalties.

    Raises
    ------
    DivergenceError
        If a loss or what was learnt is not finite; names the partition and the round.
    ValueError
        If a row is not finite; names the partition, row and column.
    """
    address, n_threads = job.check_worker()
    sums, statistics = OrderedSum(n_partitions), []
    with jobs.working:
        replicas = Replicas(job.net, state)
        for part in parts:
            jobs.check_wanted()
            start = time.perf_counter()
            replicas.begin()
            told = _round(job, share, part, n_threads)
            if told.n_updates:
                if not replicas.is_finite():
                    raise _divergence("weights", part.number, _place(share))
                sums.add(part.number, replicas.change(told.mass))
            statistics.append(replace(told, seconds=time.perf_counter() - start))
        nodes = [replace(node, vector=replicas.vector(node.vector)) for node in sums.nodes]
    return Answer(nodes, statistics, address)


def _round(job: Job, share: Share, part: Part, n_threads: int) -> Statistics:
    """Train the job's network from where it is on a partition; returns what that has to tell."""
    net = job.net
    before = net._parameters.count
    rows = part.round_rows(net, share, job)
    loss, weight, penalty = train(job, share, part.number, rows, n_threads) if rows.n_used else (0.0, 0.0, 0.0)
    n_updates = net._parameters.count - before
    return Statistics(
        number=part.number,
        n_rows=rows.n_used if n_updates else 0,
        n_updates=n_updates,
        loss=loss,
        weight=weight,
        penalty=penalty,
        seconds=0.0,  # not over yet
        mass=_mass(rows, share.mean_weight) if n_updates else 0.0,
    )


def _mass(rows: Rows, mean_weight: float) -> float:
    """What rows count for in the mean of the replicas: as in the loss of all rows together."""
    weights = rows.weights_used
    return float(rows.n_used if weights is None else weights.sum() / mean_weight)


def train(job: Job, share: Share, number: int, rows: Rows, n_threads: int) -> tuple[float, float, float]:
    """Train the job's network on `rows`, in their order, as partition `number`.

    Returns
    -------
    loss, weight, penalty : float
        Sums over rows, as in a `Ledger`: weighted losses (penalties included), weights, weighted penalties.
    """
    net, settings = job.net, Settings(1, job.batch_size, False, job.seed, n_threads=n_threads, counts=False)
    net.optimizer.lr = Given(net._parameters.count, share.rates)
    kind = job_of(net, "train", rows.matrix, rows.targets)
    size = engine_rows(net._built(), rows.n_used, job.batch_size)
    with net._engines.lend(kind, size, n_threads) as engine:
        # Otherwise dropout would drop the same units in all replicas.
        engine.rebind(kind.plan, kind.parameters, replace(kind.recipe, seed=seed_of(net.seed, number)))
        trainer = net._trainer(engine, rows, settings, Run({}, share.epoch), None, progress_for(False, 1))
        _run(trainer, number, share)
    return trainer.ledger.of(0)[0]


def _run(trainer: Trainer, number: int, share: Share) -> None:
    try:
        trainer.run()
    except DivergenceError as error:
        raise _divergence("loss", number, _place(share)) from error
    except ValueError as error:
        raise ValueError(f"partition {number}: {error}") from error


def _place(share: Share) -> str:
    rates = f"{share.rates.min():g} to {share.rates.max():g}" if len(share.rates) else "none"
    return f"epoch {share.epoch}, round {share.number} of {share.n_rounds}, at learning rates of {rates}"


def _divergence(what: str, number: int, place: str) -> DivergenceError:
    return DivergenceError(f"the {what} of partition {number} became NaN or infinite in {place}. {ADVICE}")


def seed_of(seed: int, number: int) -> int:
    """The seed of dropout in a partition's replica; that of partition 0 is the network's."""
    return (seed + number * GOLDEN) % 2**63


def engine_rows(plan: Plan, n_rows: int, batch_size: int | None) -> int:
    """Rows of the largest batch that an engine is made for: one engine serves all rounds of all partitions.

    The last round of an epoch may have a single row, which makes the same update with the kernels of batches, and is
    normal to BatchNorm where it ends an epoch.
    """
    if batch_size is None:
        return batch_rows(plan, n_rows, None)
    return min(batch_size, max(2, next_power(n_rows)))


# ---- mode "sync" --------------------------------------------------------------------------------------------------


def gradient_group(
    job: Job,
    state: State,
    steps: Sequence[Step],
    weight_sum: float,
    parts: Sequence[Part],
    n_partitions: int,
) -> Answer:
    """What some partitions that follow each other add to the gradient of one batch.

    Parameters
    ----------
    job : Job
    state : State
        The optimizer's slots may be left out.
    steps : sequence of (ndarray of int64 or range, int)
        For each part the rows of it that the batch has, maybe none, and how many rows of the batch are before them:
        what dropout drops of a row depends on that place. In a batch that is shuffled over partitions it is not where
        the row is on one machine, since kernels number the rows of a chunk one after the other: other units are
        dropped, as often.
    weight_sum : float
        Of the sample weights of the whole batch, or its rows.
    parts : sequence of Part
        Of growing numbers.
    n_partitions : int
        Of the fit.

    Returns
    -------
    Answer
        The sums are gradients of sum(w loss) / weight_sum, without penalties, shape (n_parameters,). Statistics have
        sum(w loss) and sum(w) of the rows, no penalty, and one update.

    Raises
    ------
    DivergenceError
        If a loss is not finite; names the partition and the step.
    ValueError
        If a row is not finite; names the partition, row and column.
    """
    address, n_threads = job.check_worker()
    sums, statistics = OrderedSum(n_partitions), []
    with jobs.working:
        put(job.net, state, slots=False)
        for part, (numbers, position) in zip(parts, steps, strict=True):
            start = time.perf_counter()
            loss, weight = 0.0, 0.0
            if len(numbers):
                rows = part.rows_at(job.net, numbers, job)
                gradient, loss = _gradient(job, state.count, part.number, rows, position, weight_sum, n_threads)
                weight = float(rows.n_used if rows.weights_used is None else rows.weights_used.sum())
                sums.add(part.number, gradient)
            seconds = time.perf_counter() - start
            n_updates = int(len(numbers) > 0)
            told = Statistics(part.number, len(numbers), n_updates, loss * weight_sum, weight, 0.0, seconds)
            statistics.append(told)
        layout = layout_of(job.net)
        nodes = [replace(node, vector=layout.unpadded(node.vector)) for node in sums.nodes]
    return Answer(nodes, statistics, address)


def _gradient(
    job: Job, count: int, number: int, rows: Rows, position: int, weight_sum: float, n_threads: int
) -> tuple[np.ndarray, float]:
    """The gradient of sum(w loss) / weight_sum over some rows, as a row of `Parameters`, and that number."""
    net, update = job.net, np.zeros(1, records.CHUNK)
    plan, parameters = net._built(), net._parameters
    update["count"], update["inverse_weight"] = count + 1, 1.0 / weight_sum
    kind = job_of(net, "train", rows.matrix, rows.targets)
    size = engine_rows(plan, rows.matrix.n_rows, job.batch_size)
    with net._engines.lend(kind, size, n_threads, accumulates=True) as engine:
        engine.bind(rows.matrix, rows.targets.matrix, rows.weights)
        chunks = chunks_of(update, np.array([rows.n_used]), engine.chunk_rows)
        chunks["position"] += position
        chunks["is_last"] = 0  # gradients are stored, and stay
        engine.set_rows(rows.numbers)
        engine.set_chunks(chunks)
        try:
            pool.run(engine.prepare(0, len(chunks)), min(n_threads, engine.n_workers_for(chunks)), engine.abort)
            if engine.status == records.BAD_INPUT:
                raise ValueError(f"partition {number}: {bad_row_message(engine, rows.numbers, chunks[engine.done])}")
            if engine.status == records.DIVERGED:
                raise _divergence("loss", number, f"step {count}")
            gradient = parameters.rows[1].copy()
        finally:
            parameters.rows[1] = 0
    return gradient, float(chunks["loss"].sum())


# ---- evaluation ---------------------------------------------------------------------------------------------------


def evaluate_group(job: Job, vector: np.ndarray, parts: Sequence[Part], held_out: bool = True) -> list[Score]:
    """The scores of partitions, each of the rows that are held out of training, or of all.

    Parameters
    ----------
    job : Job
    vector : ndarray
        Of a `State`; the optimizer's slots may be left out.
    parts : sequence of Part
    held_out : bool, default True

    Returns
    -------
    list of Score
        One for each part, without rows where it has none; to be merged in the order of partitions.

    Raises
    ------
    DivergenceError
        If a loss is not finite; names the partition.
    ValueError
        If a row is not finite; names the partition, row and column.
    """
    _, n_threads = job.check_worker()
    net, scores = job.net, []
    with jobs.working:
        put(net, State(vector, 0), slots=False)
        for part in parts:
            jobs.check_wanted()
            pieces = part.held_out(net, job) if held_out else part.everything(net, job)
            try:
                scores.append(merged(score_of(net, rows, n_threads) for rows in pieces if rows.n_used))
            except DivergenceError as error:
                raise DivergenceError(f"partition {part.number}: {error}") from error
            except ValueError as error:
                raise ValueError(f"partition {part.number}: {error}") from error
    return scores
