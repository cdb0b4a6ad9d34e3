"""What a user waits for in a new process: importing, compiling, loading what was compiled. See `start`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from start import MNIST, NETWORK, TABLE, first_fits, imports, in_turns, python, save

# Nothing that it computes with is in MNIST: another activation, loss and optimizer.
OTHER = {
    **MNIST, "layers": '[fp.Dense(128, activation="tanh"), fp.Dense(1)]', "loss": "huber", "optimizer": "RMSProp()",
}  # fmt: skip


class Start:
    """Seconds, medians of few: each is a process of its own."""

    timeout = 300.0  # a busy machine took 80 s for a first fit

    def setup_cache(self) -> dict[str, str]:
        """Folders with the data of the networks."""
        here = Path(os.getcwd())  # kept by asv for as long as the benchmarks below run
        return {"mnist": save(here / "mnist", 1280, 784, 10), "table": save(here / "table", 10_000, 28, 2)}

    def track_import_beyond_numba(self, folders: dict[str, str]) -> float:
        return float(np.median(imports(3)[-1].seconds))

    def track_first_fit(self, folders: dict[str, str]) -> float:
        """784-128-10 with Adam where nothing is compiled."""
        return first_fits(folders["mnist"], 1).seconds[0]

    def track_further_combination(self, folders: dict[str, str]) -> float:
        """A fit with another activation, loss and optimizer, where only the first one is compiled."""
        with tempfile.TemporaryDirectory() as cache:
            python(NETWORK.format(**MNIST), folders["mnist"], FASTPROP_CACHE_DIR=cache)
            return python(NETWORK.format(**OTHER), folders["mnist"], FASTPROP_CACHE_DIR=cache)

    def track_warm_process(self, folders: dict[str, str]) -> float:
        """From the start of Python's first line to a trained 28-64-64-1, two epochs of 10,000 rows."""
        (seconds,) = in_turns(3, lambda: python(NETWORK.format(**TABLE), folders["table"]))
        return float(np.median(seconds))

    track_import_beyond_numba.unit = track_first_fit.unit = "seconds"
    track_further_combination.unit = track_warm_process.unit = "seconds"
