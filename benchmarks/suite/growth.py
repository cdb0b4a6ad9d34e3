"""How the time of a training step grows with each size, the others held."""

from __future__ import annotations

from cells import Cell

from .steps import SHORT, Training, shortened

MANY = 100_000  # rows at most; `shortened` takes what a timing needs


class Batch(Training):
    """28-64-64-1, by the samples of a batch."""

    params = [1, 4, 16, 64, 256, 1024, 4096]
    param_names = ["batch"]

    def setup(self, batch: int) -> None:
        self.prepare(shortened(Cell((28, 64, 64, 1), batch, MANY, MANY)))

    def time_step(self, batch: int) -> None:
        self.train()


class Width(Training):
    """Two hidden layers of a width, 64 features, 10 classes, batches of 64."""

    params = [8, 32, 128, 512, 1024]
    param_names = ["width"]

    def setup(self, width: int) -> None:
        self.prepare(shortened(Cell((64, width, width, 10), 64, MANY, MANY)))

    def time_step(self, width: int) -> None:
        self.train()


class Depth(Training):
    """Hidden layers of 64 units, 28 features, batches of 64."""

    params = [0, 1, 2, 4, 8, 16]
    param_names = ["n_hidden"]

    def setup(self, n_hidden: int) -> None:
        self.prepare(shortened(Cell((28, *[64] * n_hidden, 1), 64, MANY, MANY)))

    def time_step(self, n_hidden: int) -> None:
        self.train()


class Rows(Training):
    """28-64-64-1, batches of 256, by the rows of X: from the cache, then from memory; what a fit costs before it."""

    params = [256, 4_096, 65_536, 1_048_576]
    param_names = ["n_rows"]

    def setup(self, n_rows: int) -> None:
        self.prepare(Cell((28, 64, 64, 1), 256, n_rows, n_rows))

    def time_step(self, n_rows: int) -> None:
        self.train()


class Threads(Training):
    """Threads, as many as there are processors; 0 is the trainer's own choice."""

    params = [["table-256", "wide-128", "full"], [1, 2, 4, 8, 16, 0]]
    param_names = ["cell", "n_threads"]

    def setup(self, key: str, n_threads: int) -> None:
        self.prepare(SHORT[key], n_threads or None)

    def time_step(self, key: str, n_threads: int) -> None:
        self.train()
