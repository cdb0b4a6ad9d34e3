"""Partitions that stay in files: each round reads its rows again, and no more than them.

Partition p of P has pieces p, p + P, p + 2 P, ... of the source, so that of a sorted file each has an even share. A
round takes pieces from all over the partition (`data.order`), and draws their rows at random.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import AnyMatrix, Matrix, SparseMatrix
from ..data.dataset import Dataset
from ..data.filling import Part as GoodRows
from ..data.filling import stacked
from ..data.order import rounds
from ..data.usable import Labels, Numbers
from ..data.windows import Windows
from ..errors import FileError
from ..segments import epoch_keys, shuffle_rows
from ..targets import Targets, combine_weights, prepare_targets
from ..validation import Rows
from .messages import Share
from .parts import MemoryPart, rows_of_round

if TYPE_CHECKING:
    from ..network import Network
    from .job import Job

PASS_BYTES = (
    32 << 20
)  # of X that are read at a time: with 2 GB, a worker of two took 341 MB in all; with twice as much 372


class FilePart:
    """A partition in files that the workers read.

    Parameters
    ----------
    number : int
    data : Dataset
        The same object for all partitions of a worker.
    pieces : ndarray of int
        Those of the source that are this partition.
    numbers : Numbers or None
        What y must be; None for labels.
    seed : int
        By which rows are held out.
    sizes : ndarray of int, shape (len(pieces),)
        How many rows of each there are to train on.
    n_held : int
        How many rows are to validate with, in all.
    """

    def __init__(
        self,
        number: int,
        data: Dataset,
        pieces: np.ndarray,
        numbers: Numbers | None,
        seed: int,
        sizes: np.ndarray | None = None,
        n_held: int = 0,
    ) -> None:
        self.number, self.data, self.pieces, self.numbers = number, data, pieces, numbers
        self.seed, self.sizes, self.n_held = seed, sizes, n_held
        self._written: dict[str, int] = {}  # when each file was, as this worker saw it first

    def counted(self, number: int, sizes: np.ndarray, n_held: int) -> FilePart:
        """The same partition under this number, with what was counted in a first pass."""
        part = FilePart(number, self.data, self.pieces, self.numbers, self.seed, sizes, n_held)
        part._written = self._written
        return part

    def __getstate__(self) -> dict[str, Any]:
        """Without the times of files: another worker may have copies of them."""
        return {**self.__dict__, "_written": {}}

    def round_rows(self, net: Network, share: Share, job: Job) -> Rows:
        """See `parts.Part`."""
        order = self._order(share, job)
        first, last = rows_of_round(int(self._counted().sum()), job.batch_size, share)
        if first == last:  # more rounds than updates
            rows = self._read(net, job, order, 0, 1)
            return Rows(rows.matrix, rows.targets, rows.weights, np.empty(0, np.int64))
        rows = self._read(net, job, order, first, last)
        numbers = np.arange(last - first, dtype=np.int64)
        if job.shuffle:
            keys = epoch_keys(job.seed, share.epoch, self.number + (share.number << 32))
            shuffle_rows(numbers, len(numbers), keys, 0)
        return Rows(rows.matrix, rows.targets, rows.weights, numbers)

    def _order(self, share: Share, job: Job) -> np.ndarray:
        """In which order an epoch takes the pieces: those of a round come from all over the partition."""
        n = len(self.pieces)
        if not job.shuffle:
            return np.arange(n)
        of_rounds = rounds(n, -(-n // share.n_rounds), job.seed, share.epoch + (self.number << 32))
        return np.concatenate(of_rounds)

    def rows_at(self, net: Network, numbers: range | np.ndarray, job: Job) -> Rows:
        """Not for files: a step of mode "sync" takes single rows, so that these partitions are loaded for it."""
        raise TypeError("mode='sync' needs partitions in memory")

    def held_out(self, net: Network, job: Job) -> Iterator[Rows]:
        if self.n_held:
            yield from self._passes(net, self.split(job.validation_fraction)[1])

    def everything(self, net: Network, job: Job | None) -> Iterator[Rows]:
        yield from self._passes(net, self.data)

    def split(self, fraction: float) -> tuple[Dataset, Dataset]:
        """The rows of the whole dataset to train on, and those held out."""
        return self.data.split(fraction, self.seed)

    # ---- reading --------------------------------------------------------------------------------------------------

    def windows(self, data: Dataset, dtype: Any, labels: Labels | None, pieces: np.ndarray) -> Windows:
        """What reads pieces of a dataset in their order."""
        _ = data.dtype  # found out once a worker, and not of each round's first piece
        self._check_files(pieces)
        rows = max(1, pass_rows(data, dtype))
        return Windows(data.of_pieces(pieces), rows, dtype=dtype, labels=labels, numbers=self.numbers, share=1.0)

    def _check_files(self, pieces: np.ndarray) -> None:
        """FileError if a file was written since the first pass: rows of the same size could be any others."""
        for path in {path: None for piece in pieces for path in self.data.source.files_of(int(piece))}:
            now = os.stat(path).st_mtime_ns
            if self._written.setdefault(path, now) != now:
                raise FileError(f"{path} was written since training began: it must not change meanwhile")

    def _read(self, net: Network, job: Job, order: np.ndarray, first: int, last: int) -> Rows:
        """Rows first..last of those to train on, where pieces come in this order."""
        data = self.split(job.validation_fraction)[0] if job.validation_fraction else self.data
        ends = np.cumsum(self._counted()[order])
        begin, end = np.searchsorted(ends, first, side="right"), np.searchsorted(ends, last)
        pieces = self.pieces[order[begin : end + 1]]
        before = int(ends[begin - 1]) if begin else 0
        parts = self.windows(data, net.dtype, self._labels(net), pieces).parts(0)
        X, y, n = taken(parts, first - before, last - before)
        if n < last - first:
            raise FileError(f"{data.source.name} has other rows than before training: it must not change meanwhile")
        return self._rows(net, X, y, job.class_weight)

    def _counted(self) -> np.ndarray:
        assert self.sizes is not None
        return self.sizes

    def _passes(self, net: Network, data: Dataset) -> Iterator[Rows]:
        """All rows of a dataset that are ours, some at a time."""
        for window in self.windows(data, net.dtype, self._labels(net), self.pieces).of(0):
            assert window.y is not None
            yield self._rows(net, window.X, window.y, None)
            window.release()

    def _labels(self, net: Network) -> Labels | None:
        return Labels(net.classes_) if self.numbers is None and net.classes_ is not None else None

    def _rows(self, net: Network, X: Any, y: np.ndarray, class_weight: Any) -> Rows:
        matrix: AnyMatrix = SparseMatrix.of(X) if hasattr(X, "indptr") else Matrix.of(X, "X", self.data.feature_names)
        n_outputs = net.n_outputs_
        if self.numbers is None:
            targets = Targets(Matrix.of(y.reshape(len(y), 1), "y"), True, net.classes_, n_outputs, True)
        else:
            targets = prepare_targets(y, net.loss, len(y), n_outputs, net.classes_, may_infer=False)
        return Rows(matrix, targets, combine_weights(None, class_weight, targets))


def pass_rows(data: Dataset, dtype: Any) -> int:
    """How many rows a pass reads at a time."""
    return data.rows_in(PASS_BYTES / data.memory_limit, dtype=dtype)


def taken(parts: Iterator[GoodRows], first: int, last: int) -> tuple[Any, np.ndarray, int]:
    """Rows first..last of what is read, in memory of their own, and how many there are."""
    Xs: list[Any] = []
    ys: list[np.ndarray] = []
    X, done, n = None, 0, 0
    for part in parts:
        k, done = max(0, first - done), done + part.X.shape[0]
        rows, y = part.X[k : k + last - first - n], part.y
        if not rows.shape[0]:
            continue
        assert y is not None
        if hasattr(rows, "indptr"):
            Xs.append(rows)
        else:
            X = np.empty((last - first, rows.shape[1]), rows.dtype) if X is None else X
            X[n : n + len(rows)] = rows
        ys.append(np.array(y[k : k + rows.shape[0]]))
        n += rows.shape[0]
        if n == last - first:
            break
    if not n:
        return np.empty((0, 0)), np.empty(0), 0
    return (stacked(Xs) if X is None else X[:n]), np.concatenate(ys), n


def loaded(part: FilePart, dtype: str) -> MemoryPart:
    """All rows of a partition, in memory: bad ones are left out where the dataset says so."""
    rows = part.windows(part.data, dtype, None, part.pieces).parts(0)
    try:
        X, y, _ = taken(rows, 0, sum(part.data.source.rows_of(int(piece)) or 0 for piece in part.pieces))
    except FileError as error:
        raise FileError(f"partition {part.number}: {error}") from None
    return MemoryPart(part.number, X, y)
