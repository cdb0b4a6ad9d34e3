"""A training step of every cell of the comparison with the peers, and what it makes of the machine."""

from __future__ import annotations

import statistics

from .steps import IS_MATMUL, SHORT, Training

KEYS = list(SHORT)


class Cells(Training):
    """Seconds a step: gather, forward, loss, backward, update; on one thread and on two."""

    params = [KEYS, [1, 2]]
    param_names = ["cell", "n_threads"]

    def setup(self, key: str, n_threads: int) -> None:
        if n_threads > 1 and not IS_MATMUL[key]:
            raise NotImplementedError("one row a step is one thread's work")
        self.prepare(SHORT[key], n_threads)

    def time_step(self, key: str, n_threads: int) -> None:
        self.train()


class Throughput(Training):
    """Samples a second on one thread."""

    params = KEYS
    param_names = ["cell"]

    def setup(self, key: str) -> None:
        self.prepare(SHORT[key])

    def track_samples_a_second(self, key: str) -> float:
        return round(SHORT[key].batch / self.median_seconds())

    track_samples_a_second.unit = "samples/s"


class Ceiling(Training):
    """The share of the multiply-adds of one core that the matrix products of a step make use of.

    The ceiling is measured beside every timing, so that a slower clock or a neighbour hits both alike.
    """

    params = [key for key in KEYS if IS_MATMUL[key]]
    param_names = ["cell"]

    def setup(self, key: str) -> None:
        self.prepare(SHORT[key])

    def track_fraction(self, key: str) -> float:
        from fastprop.kernels import ceiling

        flops = SHORT[key].flops / 1e9
        shares = [flops / self.seconds() / ceiling.measure("float32", 0.005) for _ in range(15)]
        return round(statistics.median(shares), 4)

    track_fraction.unit = "of the ceiling"
