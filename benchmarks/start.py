"""How long a user waits before training goes at full speed.

    python benchmarks/start.py              a table of medians beside the targets, some two minutes

Everything is measured in new processes: importing, the first fit of a machine (an empty cache of kernels), a warm
process from its start to a trained network, and the many short epochs of a small example, beside NumPy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

IMPORT = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""

NETWORK = """
import sys, time
start = time.perf_counter()
import numpy as np
import fastprop as fp
net = fp.Network({layers}, loss="{loss}", optimizer=fp.{optimizer})
X, y = np.load(sys.argv[1] + "/X.npy"), np.load(sys.argv[1] + "/y.npy")
before = time.perf_counter()
net.fit(X, y, epochs={epochs}, batch_size={batch}, progress=False)
print({printed})
"""

MNIST = {
    "layers": '[fp.Dense(128, activation="relu"), fp.Dense(10)]', "loss": "cross_entropy", "optimizer": "Adam(lr=1e-3)",
    "epochs": 1, "batch": 128, "printed": "time.perf_counter() - before",
}  # fmt: skip
TABLE = {
    "layers": '[fp.Dense(64, activation="relu"), fp.Dense(64, activation="relu"), fp.Dense(1)]', "loss": "bce",
    "optimizer": "Adam(lr=1e-3)", "epochs": 2, "batch": 128, "printed": "time.perf_counter() - start",
}  # fmt: skip

MOONS = """
import time
import numpy as np
import fastprop as fp
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
X, y = make_moons(n_samples=200, noise=0.2, random_state=42)
X, _, y, _ = train_test_split(X, y, test_size=0.3, random_state=42)
net = fp.Network([fp.Dense(4, activation="sigmoid"), fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=0.1))
net.fit(X, y, epochs=10, batch_size=None, progress=False)
start = time.perf_counter()
net.fit(X, y, epochs=10_000, batch_size=None, progress=False)
print(time.perf_counter() - start)
"""

# The example that the time is compared with: full batches, one matrix product after the other, columns are samples.
MOONS_NUMPY = """
import time
import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
X, y = make_moons(n_samples=200, noise=0.2, random_state=42)
X, _, y, _ = train_test_split(X, y, test_size=0.3, random_state=42)
X, Y = X.T, y.reshape(1, -1)
rng = np.random.default_rng(0)
W1, b1 = rng.standard_normal((4, 2)) * 0.01, np.zeros((4, 1))
W2, b2 = rng.standard_normal((1, 4)) * 0.01, np.zeros((1, 1))
sigmoid, m, losses = lambda z: 1 / (1 + np.exp(-z)), Y.shape[1], []
start = time.perf_counter()
for epoch in range(10_000):
    A1 = sigmoid(W1 @ X + b1)
    A2 = sigmoid(W2 @ A1 + b2)
    losses.append(-(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)).mean())
    d2 = A2 - Y
    d1 = (W2.T @ d2) * A1 * (1 - A1)
    W2 -= 0.1 / m * d2 @ A1.T
    b2 -= 0.1 / m * d2.sum(axis=1, keepdims=True)
    W1 -= 0.1 / m * d1 @ X.T
    b1 -= 0.1 / m * d1.sum(axis=1, keepdims=True)
print(time.perf_counter() - start)
"""


class Row(NamedTuple):
    """A line of the report: seconds, and the most that they may be."""

    name: str
    seconds: list[float]
    target: float | None = None


def python(code: str, *arguments: str, **variables: str) -> float:
    """The last number that a new process prints."""
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, **variables}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else Python compiles all our modules in each process, for 0.08 s
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"a measurement failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def in_turns(repeats: int, *measurements: Callable[[], float]) -> list[list[float]]:
    """Each measurement `repeats` times, in turns, after one that does not count."""
    for measurement in measurements:
        measurement()
    times: list[list[float]] = [[] for _ in measurements]
    for _ in range(repeats):
        for seconds, measurement in zip(times, measurements, strict=True):
            seconds.append(measurement())
    return times


def imports(repeats: int) -> list[Row]:
    """Importing fastprop, and what it costs beyond Numba."""
    ours, numbas = in_turns(repeats, *(lambda m=m: python(IMPORT.format(module=m)) for m in ("fastprop", "numba")))
    more = [a - b for a, b in zip(ours, numbas, strict=True)]
    return [Row("import numba", numbas), Row("import fastprop", ours), Row("import fastprop, beyond numba", more, 0.1)]


def save(folder: Path, n_rows: int, n_features: int, n_classes: int) -> str:
    """Write X.npy and y.npy; returns the folder."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    np.save(folder / "X.npy", rng.standard_normal((n_rows, n_features), np.float32))
    np.save(folder / "y.npy", rng.integers(0, n_classes, n_rows))
    return str(folder)


def first_fits(folder: str, repeats: int) -> Row:
    """784-128-10 with nothing compiled; a small epoch, so that compiling is all there is."""
    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            seconds.append(python(NETWORK.format(**MNIST), folder, FASTPROP_CACHE_DIR=cache))
    return Row("first fit of a machine, 784-128-10, Adam", seconds, 4.0)


def rows(repeats: int) -> list[Row]:
    """All measurements."""
    with tempfile.TemporaryDirectory() as name:
        mnist, table = save(Path(name, "mnist"), 1280, 784, 10), save(Path(name, "table"), 10_000, 28, 2)
        found = [*imports(repeats), first_fits(mnist, max(1, repeats // 3))]
        (warm,) = in_turns(repeats, lambda: python(NETWORK.format(**TABLE), table))
        found.append(Row("warm process to trained 28-64-64-1, 2 epochs of 10,000", warm, 0.5))
    ours, numpys = in_turns(repeats, lambda: python(MOONS), lambda: python(MOONS_NUMPY, OPENBLAS_NUM_THREADS="1"))
    return [*found, Row("moons 2-4-1, 10,000 full batches, NumPy", numpys), Row("the same, fastprop", ours, 0.05)]


def table(found: list[Row]) -> str:
    """A markdown table."""
    lines = ["| what | median, s | from - to | target |", "| --- | ---: | ---: | ---: |"]
    for row in found:
        middle, target = float(np.median(row.seconds)), "" if row.target is None else f"<= {row.target:g}"
        missed = " (!)" if row.target is not None and middle > row.target else ""
        spread = f"{min(row.seconds):.3f} - {max(row.seconds):.3f}"
        lines.append(f"| {row.name} | {middle:.3f}{missed} | {spread} | {target} |")
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="of each measurement; default 7")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args()
    found = rows(options.repeats)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps({row.name: row.seconds for row in found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
