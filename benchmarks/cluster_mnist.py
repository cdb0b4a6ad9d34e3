"""MNIST on a cluster of 8 partitions beside one machine: test accuracy after each of ten epochs.

    python benchmarks/cluster_mnist.py                      all settings, 3 seeds: some ten minutes
    python benchmarks/cluster_mnist.py --seeds 1 --only shuffled
    python benchmarks/cluster_mnist.py --json docs/pictures/cluster_mnist.json   renews the picture's data

784-128-10, SGD with Nesterov momentum 0.9 at a rate of 0.05, batch 128, two workers of one thread. A setting that the
documentation advises, and that is further from one machine than 0.3 points (shuffled) or below 95 % (sorted by label),
is marked (!).
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clusters import N_PARTITIONS, mnist, mnist_order, network, started

import fastprop as fp
from fastprop import dask

EPOCHS = 10
NEAR, LEAST = 0.3, 95.0  # points of one machine, per cent of sorted partitions


@dataclass(frozen=True)
class Setting:
    """How to train, in other ways than by default; `advised` settings must reach what the documentation says."""

    name: str
    kind: str = "shuffled"  # or "sorted"
    mode: str = "local"  # or "sync", or "one machine"
    batch_size: int = 128
    sync_every: int | None = None
    lr: float = 0.05
    outer: bool = False
    advised: bool = False
    epochs: int = EPOCHS  # fewer are run with one seed: it is slow, and equals one machine

    def fit(self, net: fp.Network, data: tuple[Any, Any], client: Any, follow: Any) -> dict[str, list[float]]:
        """Train `net`; `follow` is called after each epoch."""
        common: dict[str, Any] = dict(epochs=self.epochs, batch_size=self.batch_size, callbacks=follow, progress=False)
        if self.mode == "one machine":
            return net.fit(*data, n_threads=1, **common)
        outer = fp.SGD(lr=0.7, momentum=0.9, nesterov=True) if self.outer else None
        if self.mode == "local":
            common |= dict(sync_every=self.sync_every, outer=outer)
        return dask.fit(net, *data, mode=self.mode, client=client, n_partitions=N_PARTITIONS, **common)


SETTINGS = (
    Setting("one machine", mode="one machine"),
    Setting("local", advised=True),
    Setting("local, a round an epoch", sync_every=10_000),
    Setting("local, outer momentum", outer=True),
    Setting("local, batch 1,024", batch_size=1024),
    Setting("sync", mode="sync", epochs=2),
    Setting("sorted: sync_every=4", "sorted", sync_every=4, advised=True),
    Setting("sorted: sync_every=8", "sorted", sync_every=8, advised=True),
    Setting("sorted: sync_every=16", "sorted", sync_every=16),
    Setting("sorted: by default", "sorted"),
)


class Follow:
    """The test accuracy after each epoch, in per cent, and when."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y
        self.accuracies: list[float] = []

    def on_epoch_end(self, net: fp.Network, epoch: int, logs: dict[str, float]) -> None:
        self.accuracies.append(float(100 * np.mean(net.predict(self.X) == self.y)))


def measure(setting: Setting, seed: int, client: Any) -> dict[str, Any]:
    """The accuracies, the rounds and the seconds of a run."""
    X, y = mnist("train")
    order = mnist_order(None if setting.kind == "sorted" else seed)
    net = network((784, 128, 10), lambda: fp.SGD(setting.lr, momentum=0.9, nesterov=True), seed)
    follow, start = Follow(*mnist("t10k")), time.perf_counter()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        history = setting.fit(net, (X[order], y[order]), client, follow)
    seconds = time.perf_counter() - start
    messages = [str(one.message) for one in warned if issubclass(one.category, RuntimeWarning)]
    n_rounds = int(sum(history.get("rounds", [])))
    return {"accuracies": follow.accuracies, "rounds": n_rounds, "seconds": seconds, "warned": messages}


def line(setting: Setting, runs: list[dict[str, Any]], single: float | None) -> str:
    """A row of the table."""
    effort = f"{runs[0]['rounds'] or ''} | {np.median([run['seconds'] for run in runs]):.0f}"
    early = f"| {setting.name} | {np.mean([run['accuracies'][1] for run in runs]):.2f}"
    if setting.epochs < EPOCHS:
        return f"{early} | | | {effort} |"
    ends = np.array([run["accuracies"][-1] for run in runs])
    is_near = ends.mean() >= LEAST if setting.kind == "sorted" else single is None or ends.mean() >= single - NEAR
    wrong = " (!)" if setting.advised and not is_near else ""
    return f"{early} | {ends.mean():.2f}{wrong} | {' '.join(f'{a:.2f}' for a in ends)} | {effort} |"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many; default 3")
    parser.add_argument("--only", default="", help="settings whose name or kind has this")
    parser.add_argument("--json", type=Path, help="put the mean curves into this file")
    options = parser.parse_args()
    chosen = [s for s in SETTINGS if options.only in s.name or options.only in s.kind]
    print("| | after 2 epochs | after 10 | of each seed | rounds | seconds |")
    print("| --- | ---: | ---: | --- | ---: | ---: |")
    single, warned = None, set()
    with started(2) as client:
        for setting in chosen:
            runs = [measure(setting, seed, client) for seed in range(options.seeds if setting.epochs == EPOCHS else 1)]
            curve = np.mean([run["accuracies"] for run in runs], axis=0)
            if setting.mode == "one machine":
                single = float(curve[-1])
            print(line(setting, runs, single), flush=True)
            warned |= {text for run in runs for text in run["warned"]}
            if options.json:
                keep(options.json, setting, curve.round(2).tolist())
    for text in sorted(warned):
        print(f"\nwarned: {text}")


def keep(path: Path, setting: Setting, curve: list[float]) -> None:
    """Put a curve into a file of them."""
    curves = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    made = {"name": setting.name, "kind": setting.kind, "curve": curve}
    if all(one["name"] != setting.name for one in curves):
        curves.append(made)
    curves = [made if one["name"] == setting.name else one for one in curves]
    path.write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
