"""Engines kept for the next call, and small ones for the next network of the same structure.

To make an engine takes 0.4 ms, as long as the training of a tiny network: of many alike, as in a search or an ensemble,
the first makes it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .checks import AnyMatrix
from .engine import Engine, chunk_limit
from .plan import Plan
from .targets import Targets
from .workspace import Form, Parameters, Recipe

if TYPE_CHECKING:
    from .network import Network

MAX_KINDS = 8  # of engines that are kept
MAX_BYTES, MAX_ALIKE = 1 << 18, 4  # of engines that are left for other networks, and how many of a kind are

_left: dict[tuple[Any, ...], list[Engine]] = {}  # by networks whose fit is over, or that are gone


@dataclass(frozen=True)
class Job:
    """What an engine is for; engines of equal jobs are alike."""

    plan: Plan
    parameters: Parameters
    recipe: Recipe
    form: Form

    @functools.cached_property
    def structure(self) -> tuple[Any, ...]:
        """What engines that can be rebound to each other have in common."""
        recipe = dataclasses.replace(self.recipe, seed=0)
        return self.plan.structure, recipe, type(recipe.loss), type(recipe.rule), self.form


def recipe_of(net: Network, mode: str) -> Recipe:
    """How a network trains, for one of the modes of `Recipe`."""
    if mode == "predict":  # does not depend on how it is trained
        return Recipe(mode, None, None)
    return Recipe(
        mode,
        net.loss.kernel,
        net.optimizer.rule(),
        coefficients=tuple(net.loss.coefficients(net.n_outputs_)),
        l1=net.l1,
        l2=net.l2,
        divides_penalties=net.divides_penalties,
        clip_value=net.clip_value,
        clip_norm=net.clip_norm,
        seed=net.seed,
    )


def job_of(net: Network, mode: str, matrix: AnyMatrix, targets: Targets | None = None) -> Job:
    """The job of a network on these data."""
    form = Form(is_sparse=matrix.is_sparse)
    if targets is not None:
        form = Form(targets.matrix.n_columns, targets.labels, matrix.is_sparse)
    return Job(net._built(), net._parameters, recipe_of(net, mode), form)


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
        size = batch_rows, n_workers, accumulates
        key = job, type(job.recipe.loss), type(job.recipe.rule), size
        engine = taken(self._idle, key)
        if engine is None:
            engine = taken(_left, (job.structure, size))
            if engine is None:
                engine = Engine(job.plan, job.parameters, job.recipe, job.form, *size)
            else:
                engine.rebind(job.plan, job.parameters, job.recipe)
        yield engine
        engine.release()
        give(self._idle, key, engine)

    def leave(self) -> None:
        """Leave small engines to networks of the same structure; this one gets one back in its next call."""
        idle, self._idle = self._idle, {}
        for key, engines in list(idle.items()):  # another thread may give one back
            job, *_, size = key
            for engine in engines:
                if engine.workspace.n_bytes > MAX_BYTES:
                    give(self._idle, key, engine)
                elif len(_left.get((job.structure, size), ())) < MAX_ALIKE:
                    engine.unbind()
                    give(_left, (job.structure, size), engine)

    def __del__(self) -> None:
        self.leave()


def taken(idle: dict[tuple[Any, ...], list[Engine]], key: tuple[Any, ...]) -> Engine | None:
    """An idle engine, no longer idle; other threads may take one at the same time."""
    try:
        return idle[key].pop()
    except (KeyError, IndexError):
        return None


def give(idle: dict[tuple[Any, ...], list[Engine]], key: tuple[Any, ...], engine: Engine) -> None:
    """Make an engine idle; the oldest kind gives way to a new one."""
    if key not in idle and len(idle) >= MAX_KINDS:
        oldest, *_ = idle
        idle.pop(oldest, None)  # another thread may be first
    idle.setdefault(key, []).append(engine)


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
