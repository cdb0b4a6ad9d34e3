"""Engines kept for the next call, and passes over data that change nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .engine import Engine, chunk_limit, chunks_of
from .errors import DivergenceError
from .failures import bad_row_message
from .kernels import records
from .plan import Plan
from .threads import pool
from .workspace import Form, Parameters, Recipe

MAX_KINDS = 8  # of engines that are kept
PASS_ROWS = 1024  # rows of a chunk of prediction at most
SLICE_CHUNKS = 16  # chunks between two looks for Ctrl-C


@dataclass(frozen=True)
class Job:
    """What an engine is for; engines of equal jobs are alike."""

    plan: Plan
    parameters: Parameters
    recipe: Recipe
    form: Form


class Engines:
    """Lends engines: several threads may predict at once, each with its own."""

    def __init__(self) -> None:
        self._idle: dict[tuple[Any, ...], list[Engine]] = {}

    @contextlib.contextmanager
    def lend(self, job: Job, batch_rows: int, n_workers: int, accumulates: bool = False) -> Iterator[Engine]:
        """An engine for this call; one that fails is not used again.

        Parameters
        ----------
        job : Job
        batch_rows, n_workers, accumulates
            See `Engine`.
        """
        # Components are tuples: those of different classes are equal if their values are.
        key = job, type(job.recipe.loss), type(job.recipe.rule), batch_rows, n_workers, accumulates
        try:
            engine = self._idle[key].pop()
        except (KeyError, IndexError):
            engine = Engine(job.plan, job.parameters, job.recipe, job.form, batch_rows, n_workers, accumulates)
        yield engine
        engine.release()
        if key not in self._idle and len(self._idle) >= MAX_KINDS:
            oldest, *_ = self._idle
            self._idle.pop(oldest, None)  # another thread may be first
        self._idle.setdefault(key, []).append(engine)


def pass_rows(n_rows: int) -> int:
    """Rows of a chunk for a pass over `n_rows`: a power of two, so that few kinds of engines serve all."""
    return min(PASS_ROWS, next_power(n_rows))


def batch_rows(plan: Plan, n_rows: int, batch_size: int | None) -> int:
    """Rows of the largest batch that an engine is made for.

    Where one batch takes all rows, a power of two: calls with more or less rows share an engine. Batch norms see whole
    batches, for which memory is taken; and a batch that fits a chunk must go on to do so.
    """
    if batch_size is not None and batch_size < n_rows:
        return batch_size
    if plan.has_batch_norm:
        return n_rows
    limit = chunk_limit(plan)
    return min(next_power(n_rows), limit) if n_rows <= limit else next_power(n_rows)


def next_power(n: int) -> int:
    """The smallest power of two that is not below n >= 1."""
    return 1 << (n - 1).bit_length()


def one_pass(engine: Engine, n_rows: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Run all rows in order as one update, in slices, so that Ctrl-C gets through; returns the chunks.

    Raises
    ------
    ValueError
        If X is not finite; names the row and column.
    DivergenceError
        If the loss is not.
    """
    update = np.zeros(1, records.CHUNK)
    update["count"], update["inverse_weight"] = 1, 1.0 / (n_rows if weights is None else float(weights.sum()))
    chunks = chunks_of(update, np.array([n_rows]), engine.chunk_rows)
    engine.set_rows(None)
    engine.set_chunks(chunks)
    n_workers = engine.n_workers_for(chunks)
    for start in range(0, len(chunks), SLICE_CHUNKS):
        pool.run(engine.prepare(start, min(len(chunks), start + SLICE_CHUNKS)), n_workers, engine.abort)
        if engine.status == records.BAD_INPUT:
            raise ValueError(bad_row_message(engine, None, chunks[engine.done]))
        if engine.status == records.DIVERGED:
            raise DivergenceError("the loss is NaN or infinite: the weights or the targets are too large")
    return chunks
