"""The most memory that a training process takes."""

from __future__ import annotations

import numpy as np

import fastprop as fp


class Training:
    """784-512-512-10: 2.7 MB of parameters, as much for momentum; a chunk of rows at a time, however many there are.

    All rows are one row of X with a stride of 0, so X itself takes no memory: what grows with the rows is what
    training adds, the order in which they are shuffled (8 bytes a row).
    """

    params = [["mini-batch", "full batch"], [4_096, 65_536]]
    param_names = ["batch", "n_rows"]
    timeout = 120.0

    def setup_cache(self) -> None:
        """Compile in a process of its own: the compiler takes more memory than what it compiles."""
        for batch in self.params[0]:
            self.setup(batch, 4_096)
            self.peakmem_fit(batch, 4_096)

    def setup(self, batch: str, n_rows: int) -> None:
        self.X = np.broadcast_to(np.ones(784, np.float32), (n_rows, 784))
        self.y = np.broadcast_to(np.ones(10, np.float32), (n_rows, 10))

    def peakmem_fit(self, batch: str, n_rows: int) -> None:
        layers = [fp.Dense(512, activation="relu"), fp.Dense(512, activation="relu"), fp.Dense(10)]
        net = fp.Network(layers, optimizer=fp.SGD(lr=1e-3, momentum=0.9))
        net.fit(self.X, self.y, epochs=1, batch_size=128 if batch == "mini-batch" else None, progress=False)
