"""Passes over the rows until a linear model has converged; several models, one for each class, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.catalogue import shuffle
from ..linear import CALL_NUMBERS, Descent
from ..segments import odd_keys

Array = NDArray[Any]

KEYS_AT_ONCE = 16  # epochs
SMALLEST_RATE = 1e-6  # below which an adaptive schedule gives up


class Orders:
    """The rows of each epoch, in pieces that a kernel may read without a pause.

    Parameters
    ----------
    rows : ndarray of int64, or None
        Those to train on; None means all.
    n_rows : int
        How many that are.
    shuffles : bool
    seed : int
        Of the permutations.
    row_size : float
        Numbers in a row of X.
    """

    def __init__(self, rows: Array | None, n_rows: int, shuffles: bool, seed: int, row_size: float) -> None:
        self.rows, self.n_rows, self.shuffles = rows, n_rows, shuffles and n_rows > 1
        self._generator = np.random.Generator(np.random.Philox(seed)) if self.shuffles else None
        self._n_keys = 0  # that are drawn and not used
        self.piece = max(1, min(n_rows, int(CALL_NUMBERS / max(1.0, row_size))))
        if self.shuffles:
            self._piece = np.empty(self.piece, np.int64)
            self._address = self._piece.ctypes.data

    def epoch(self) -> Iterator[Array | None]:
        """The pieces of the next epoch: row numbers, until the next piece is asked for; None for all as they stand."""
        if self.n_rows <= self.piece and not self.shuffles:
            yield self.rows
            return
        keys, cursor = self._keys(), 0
        for first in range(0, self.n_rows, self.piece):
            size = min(self.piece, self.n_rows - first)
            if keys:
                cursor = shuffle.function(self._address, size, self.n_rows, keys, cursor)
                at = self._piece if size == self.piece else self._piece[:size]
            else:
                at = np.arange(first, first + size)
            yield at if self.rows is None else self.rows[at]

    def _keys(self) -> int:
        """The address of what determines the next permutation, or 0; drawn for many epochs at once: a draw takes 20 us.

        The last of them comes first.
        """
        if self._generator is None:
            return 0
        if self._n_keys == 0:
            self._drawn = odd_keys(self._generator, KEYS_AT_ONCE)
            self._first_key, self._n_keys = self._drawn.ctypes.data, KEYS_AT_ONCE
        self._n_keys -= 1
        return self._first_key + self._n_keys * self._drawn.strides[0]


@dataclass
class Stopping:
    """When a fit has converged: `patience` epochs in a row without an improvement by `tol`; never if `tol` is None."""

    tol: float | None
    patience: int
    best: float = np.inf
    n_stale: int = 0

    def stalls(self, objective: float) -> bool:
        """Take note of an epoch's objective, lower is better; returns whether patience is at an end."""
        is_stale = self.tol is not None and objective > self.best - self.tol
        self.n_stale = self.n_stale + 1 if is_stale else 0
        self.best = min(self.best, objective)
        return self.n_stale >= self.patience


@dataclass
class Course:
    """One descent on its way.

    Attributes
    ----------
    descent : Descent
    stopping : Stopping
    is_adaptive : bool
        Whether the rate shrinks to a fifth before the course gives up.
    score : callable, optional
        From weights and intercept to a number, higher is better, by which to stop in place of the objective.
    verbose : int
        Report each epoch: in one piece after it, since courses may be on several threads.
    """

    descent: Descent
    stopping: Stopping
    is_adaptive: bool = False
    score: Callable[[Array, float], float] | None = None
    verbose: int = 0
    n_epochs: int = 0
    is_done: bool = False
    started: float = 0.0
    first_t: float = 1.0
    total: float = 0.0
    penalties: float = 0.0
    n_seen: int = 0

    @property
    def tracks(self) -> bool:
        """Whether the objective is of use."""
        return bool(self.verbose) or (self.score is None and self.stopping.tol is not None)

    def run(self, order: Array | None, n_rows: int) -> None:
        """A pass over a piece of the epoch."""
        if self.descent.status == 0:
            self.total += self.descent.run(order, self.tracks)
            self.penalties += self.descent.penalty_sum
            self.n_seen += n_rows

    def end_epoch(self) -> None:
        """See whether it was the last epoch."""
        n_rows = max(1, self.n_seen)
        objective, penalty = self.total / n_rows, self.penalties / n_rows
        self.n_epochs, self.n_seen, self.total, self.penalties = self.n_epochs + 1, 0, 0.0, 0.0
        if self.descent.status != 0:
            self.is_done = True
            return
        score = None if self.score is None else self.score(self.descent.coef, self.descent.intercept)
        if self.verbose:
            self._report(objective, penalty, score)
        if self.stopping.stalls(objective if score is None else -score):
            self._give_up()

    def _give_up(self) -> None:
        if self.is_adaptive and self.descent.eta > SMALLEST_RATE:
            self.descent.eta /= 5.0
            self.stopping.n_stale = 0
            return
        self.is_done = True
        if self.verbose:
            print(f"Convergence after {self.n_epochs} epochs took {self._seconds():.2f} seconds\n", end="")

    def _report(self, objective: float, penalty: float, score: float | None) -> None:
        coef = self.descent.coef
        print(
            f"-- Epoch {self.n_epochs}\n"
            f"Norm: {np.linalg.norm(coef):.2f}, NNZs: {np.count_nonzero(coef)}, Bias: {self.descent.intercept:.6f}, "
            f"T: {self.descent.t - self.first_t:.0f}, Avg. loss: {objective - penalty:f}, Objective: {objective:f}"
            + ("" if score is None else f", Validation score: {score:f}")
            + f"\nTotal training time: {self._seconds():.2f} seconds.\n",
            end="",
        )

    def _seconds(self) -> float:
        return time.perf_counter() - self.started


def run_epochs(courses: list[Course], orders: Orders, max_epochs: int, n_jobs: int, tasks: Any, solution: Any) -> None:
    """Run all courses until each is done.

    Parameters
    ----------
    n_jobs : int
        Threads that share the courses of an epoch.
    tasks : FitTasks, optional
        Whom to tell about epochs; may stop them.
    solution : callable
        Gives callbacks the fitted attributes.

    Raises
    ------
    ValueError
        If a model is no longer finite.
    """
    started = time.perf_counter()
    for course in courses:
        course.started, course.first_t = started, course.descent.t
    with Team(n_jobs if len(courses) > 1 else 1) as team:
        for epoch in range(max_epochs):
            active = [course for course in courses if not course.is_done]
            if not active:
                break
            if tasks is not None:
                tasks.begin_epoch(solution)
            for order in orders.epoch():
                n_rows = orders.n_rows if order is None else len(order)
                team.each(Course.run, active, order, n_rows)
            team.each(Course.end_epoch, active)
            if any(course.descent.status != 0 for course in active):
                raise FloatingPointError(epoch + 1)
            if tasks is not None and tasks.end_epoch(solution):
                break


class Team:
    """Calls a function for each of several objects, on threads if there is more than one.

    They live for the whole fit: to hand an epoch to joblib's takes 10 ms, here 0.2.
    """

    def __init__(self, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[..., None], objects: Iterable[Any], *arguments: Any) -> None:
        """function(object, *arguments) for each object; an error of one is raised here."""
        if self._pool is None:
            for item in objects:
                function(item, *arguments)
        else:
            for done in [self._pool.submit(function, item, *arguments) for item in objects]:
                done.result()
