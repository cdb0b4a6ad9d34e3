"""What the benchmarks of training on a cluster share: clusters of processes, their data, and a look at each round."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
from distributed import Client, LocalCluster
from mnist98_trainers import DATA, read_idx

import fastprop as fp
import fastprop.dask  # the parts of it, which are patched
from fastprop.dask import crew, rounds

WIDE = (784, 512, 512, 10)
N_PARTITIONS = 8
BATCH = 128  # of a partition
ALL_BATCH = N_PARTITIONS * BATCH  # of all: what `fit` is given

# ---- clusters -------------------------------------------------------------------------------------------------------


@contextmanager
def started(n_workers: int, memory_limit: Any = 0) -> Iterator[Client]:
    """A client of a cluster of processes with one thread each, which a nanny starts again if they are killed."""
    options: dict[str, Any] = dict(threads_per_worker=1, memory_limit=memory_limit, dashboard_address=":0")
    # LocalCluster drops a worker for good that died and is not there 15 s later, though it may have died anew.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}):
        cluster = LocalCluster(n_workers=n_workers, processes=True, silence_logs="CRITICAL", **options)
        with cluster, Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=60)
            yield client


# ---- data -----------------------------------------------------------------------------------------------------------


def rows(number: int, n_rows: int, n_features: int = WIDE[0], n_classes: int = WIDE[-1]) -> tuple[Any, Any]:
    """X and y of a partition: normal numbers, and which of `n_classes` sums of them is the largest."""
    X = np.random.default_rng(number).standard_normal((n_rows, n_features), np.float32)
    return X, X[:, : 4 * n_classes].reshape(n_rows, n_classes, 4).sum(axis=2).argmax(axis=1)


def made_on_workers(n_rows: int, n_partitions: int = N_PARTITIONS, **options: int) -> list[Any]:
    """Partitions of `rows` that workers make, and make again if one is lost: delayed pairs (X, y)."""
    return [dask.delayed(rows, pure=False)(number, n_rows, **options) for number in range(n_partitions)]


def mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """X within 0..1 and the labels of "train" or "t10k"."""
    if not DATA.is_dir():
        raise SystemExit(f"needs the four files of MNIST in {DATA}")
    X = read_idx(DATA / f"{part}-images-idx3-ubyte.gz")
    y = read_idx(DATA / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    return np.multiply(X.reshape(len(X), -1), np.float32(1 / 255)), y


def mnist_order(seed: int | None) -> np.ndarray:
    """An order of MNIST's rows for training: shuffled by a seed, or sorted by label."""
    y = mnist("train")[1]
    return np.argsort(y, kind="stable") if seed is None else np.random.default_rng(seed).permutation(len(y))


# ---- networks -------------------------------------------------------------------------------------------------------


def network(
    widths: tuple[int, ...] = WIDE, optimizer: Callable[[], Any] = lambda: fp.SGD(0.01, momentum=0.9), seed: int = 0
) -> fp.Network:
    """A network of these widths: relu, cross entropy."""
    layers = [fp.Dense(n, "relu") for n in widths[1:-1]]
    return fp.Network([*layers, fp.Dense(widths[-1])], "cross_entropy", optimizer(), seed=seed)


def digest(net: fp.Network) -> str:
    """Ten letters that tell the bits of its weights."""
    arrays = [array for pair in net.get_weights() for array in pair if array is not None]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:10]


# ---- rounds ---------------------------------------------------------------------------------------------------------


@dataclass
class Round:
    """A round as the client saw it.

    Attributes
    ----------
    seconds : float
    compute : float
        The seconds of the slowest worker's own work, reading included.
    own : float
        Seconds of processor time that this process, client and scheduler, took for it.
    """

    seconds: float
    compute: float
    own: float

    @property
    def overhead(self) -> float:
        """The seconds that were not the slowest worker's work."""
        return self.seconds - self.compute


@contextmanager
def watched() -> Iterator[list[Round]]:
    """A list of the rounds of all fits meanwhile."""
    found: list[Round] = []
    slowest = [0.0]
    answers, kinds = crew.Crew.answers, (rounds.LocalRounds, rounds.SyncRounds)
    nexts = [kind.next for kind in kinds]

    def noting(*arguments: Any, **options: Any) -> Any:
        got = answers(*arguments, **options)
        seconds: dict[str, float] = {}
        for answer in got:
            seconds[answer.worker] = seconds.get(answer.worker, 0.0) + sum(told.seconds for told in answer.statistics)
        slowest[0] = max(seconds.values())
        return got

    def timed(original: Any) -> Any:
        def next_round(*arguments: Any, **options: Any) -> Any:
            start, own = time.perf_counter(), time.process_time()
            point = original(*arguments, **options)
            found.append(Round(time.perf_counter() - start, slowest[0], time.process_time() - own))
            return point

        return next_round

    crew.Crew.answers = noting
    for kind, original in zip(kinds, nexts, strict=True):
        kind.next = timed(original)
    try:
        yield found
    finally:
        crew.Crew.answers = answers
        for kind, original in zip(kinds, nexts, strict=True):
            kind.next = original


def resident(pid: int | str = "self") -> int:
    """Bytes of VmRSS of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell VmRSS")
