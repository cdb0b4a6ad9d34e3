"""Partitions on workers: what a round, a step or an evaluation takes of the rows of one.

Everything is a function of the partition, the seed and the epoch: not of the worker, nor of how many there are. What is
kept between two calls (targets as codes, how far a permutation is used up) saves time and changes no result.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..data.sizes import bytes_of
from ..frames import is_frame
from ..segments import epoch_keys, shuffle_rows
from ..targets import combine_weights, prepare_targets
from ..validation import Rows, check_finite_in, held_out_rows, take
from .messages import Share

if TYPE_CHECKING:
    from ..network import Network
    from .job import Job


class Part(Protocol):
    """The rows of a partition. Those to train on are counted from 0, without the ones that are held out."""

    number: int

    def round_rows(self, net: Network, share: Share, job: Job) -> Rows:
        """The rows of a round, in the order of training: their numbers, and weights if there are any."""

    def rows_at(self, net: Network, numbers: range | np.ndarray, job: Job) -> Rows:
        """These of the rows to train on, in this order."""

    def held_out(self, net: Network, job: Job) -> Iterator[Rows]:
        """The rows to validate with, in one or several parts."""

    def everything(self, net: Network, job: Job | None) -> Iterator[Rows]:
        """All rows, in one or several parts, for an evaluation."""


def rows_of_round(n_rows: int, batch_size: int | None, share: Share) -> tuple[int, int]:
    """From where to where a round goes in the permutation of a partition: whole updates, see `Share`."""
    size = min(n_rows, batch_size or n_rows)
    n_updates = -(-n_rows // max(1, size))
    first, last = (n_updates * number // share.n_rounds for number in (share.number, share.number + 1))
    return first * size, min(last * size, n_rows)


class MemoryPart:
    """A partition in the memory of a worker; the result of a task, never changed.

    Parameters
    ----------
    number : int
    X : array-like of shape (n, n_features)
        As `Network.fit` takes it.
    y : array-like of shape (n,) or (n, n_outputs), optional
    weight : array-like of shape (n,), optional
        Sample weights.
    """

    def __init__(self, number: int, X: Any, y: Any = None, weight: Any = None) -> None:
        self.number, self.X, self.y, self.weight = number, X, y, weight
        self._forget()

    def _forget(self) -> None:
        self._prepared: tuple[Any, Rows, Rows | None] | None = None  # for which job, rows to train on, held out
        self._place = (-1, 0, 0)  # epoch, how many rows of its permutation are used up, and the cursor there

    def numbered(self, number: int) -> MemoryPart:
        """The same rows as another partition."""
        return MemoryPart(number, self.X, self.y, self.weight)

    def round_rows(self, net: Network, share: Share, job: Job) -> Rows:
        """See `Part`. The permutation of an epoch is that of `Network.fit` on window `number` of a stream."""
        rows, _ = self._rows(net, job)
        n = rows.n_used
        first, last = rows_of_round(n, job.batch_size, share)
        if not job.shuffle or (job.batch_size or n) >= n:
            return _some(rows, range(first, last))
        return _some(rows, self._shuffled(n, first, last, job.seed, share.epoch))

    def rows_at(self, net: Network, numbers: range | np.ndarray, job: Job) -> Rows:
        return _some(self._rows(net, job)[0], numbers)

    def held_out(self, net: Network, job: Job) -> Iterator[Rows]:
        held = self._rows(net, job)[1]
        if held is not None and held.n_used:
            yield held

    def everything(self, net: Network, job: Job | None) -> Iterator[Rows]:
        yield self._all(net, None)

    def _rows(self, net: Network, job: Job) -> tuple[Rows, Rows | None]:
        """The rows to train on, and those held out; made once for a job, since codes of labels take a pass over y."""
        if self._prepared is not None and self._prepared[0]() is job:
            return self._prepared[1:]
        rows = self._all(net, job.class_weight)
        made = split(rows, job.validation_fraction, job.seed, self.number)
        self._prepared = (weakref.ref(job), *made)
        self._place = (-1, 0, 0)
        return made

    def _all(self, net: Network, class_weight: Any) -> Rows:
        name = f"X of partition {self.number}", f"y of partition {self.number}"
        matrix = net._check_x(self.X, name[0])
        known, n_outputs = net.classes_, net.n_outputs_
        targets = prepare_targets(self.y, net.loss, matrix.n_rows, n_outputs, known, may_infer=False, name=name[1])
        if not np.can_cast(targets.matrix.array.dtype, net.dtype):
            check_finite_in(targets.matrix, net.dtype, name[1])
        return Rows(matrix, targets, combine_weights(self.weight, class_weight, targets))

    def _shuffled(self, n: int, first: int, last: int, seed: int, epoch: int) -> np.ndarray:
        """Members first..last of the epoch's permutation of n rows; those before are walked through only if need be."""
        done, cursor = self._place[1:] if self._place[0] == epoch and self._place[1] <= first else (0, 0)
        keys, out = epoch_keys(seed, epoch, self.number), np.empty(last - done, np.int64)
        cursor = shuffle_rows(out, n, keys, cursor)
        self._place = epoch, last, cursor
        return out[first - done :]

    def __len__(self) -> int:
        return int(self.X.shape[0] if hasattr(self.X, "shape") else len(self.X))

    def __sizeof__(self) -> int:
        """Bytes, by which a worker decides what to write to disk: it asks once, before a job has prepared the rows."""
        given = sum(_bytes(values) for values in (self.X, self.y, self.weight))
        made = 16 * len(self)  # codes, and weights with those of classes
        if is_frame(self.X):
            made += 8 * len(self) * self.X.shape[1]  # the matrix of one, mostly a copy
        return object.__sizeof__(self) + given + made

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("number", "X", "y", "weight")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


def split(rows: Rows, fraction: float, seed: int, number: int) -> tuple[Rows, Rows | None]:
    """The rows of a partition to train on and those held out, drawn by its number; of each class alike for labels."""
    if not fraction:
        return rows, None
    n = rows.matrix.n_rows
    held = held_out_rows(n, fraction, rows.targets.codes, seed, number)
    train = np.setdiff1d(np.arange(n, dtype=np.int64), held, assume_unique=True)
    return Rows(rows.matrix, rows.targets, rows.weights, train), take(rows, held)


def _some(rows: Rows, numbers: range | np.ndarray) -> Rows:
    """Some of the rows to use, by their place among them; all of them need no numbers."""
    if isinstance(numbers, range):
        if len(numbers) == rows.n_used:
            return rows
        numbers = np.arange(numbers.start, numbers.stop)
    numbers = numbers.astype(np.int64, copy=False) if rows.numbers is None else rows.numbers[numbers]
    return Rows(rows.matrix, rows.targets, rows.weights, np.ascontiguousarray(numbers))


def _bytes(values: Any) -> int:
    """Bytes of an array, CSR or a data frame."""
    if values is None:
        return 0
    if hasattr(values, "memory_usage"):  # pandas
        return int(np.sum(values.memory_usage(deep=True)))
    return bytes_of(values) if hasattr(values, "indptr") or hasattr(values, "nbytes") else sys.getsizeof(values)
