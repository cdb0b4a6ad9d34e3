"""A model of the time of a round, fitted to rounds that are measured here, and what it says of 1,000 workers and 1 TB.

    python benchmarks/cluster_model.py                  two minutes
    python benchmarks/cluster_model.py --json docs/pictures/cluster_model.json      what the picture is drawn from

What a round costs beyond computing is taken as

    latency (1 + levels) + worker W + bytes (1 / bandwidth + handling) transfers

for W workers and the bytes of a network's state, sent to the workers and summed from theirs. Measured here are
networks of five sizes whose computing is next to nothing, the least of many rounds each. `worker` is what one worker
more costs the one process of client and scheduler in processor time, a slope over 1, 2 and 4 workers. Latency and
handling, the seconds of a byte in one transfer, are least squares of the relative errors of rounds with 1 and 2
workers: here four processes wait for two processors.

Assumed are, beyond what can be measured on one machine: the network's bandwidth at each worker; that the state spreads
from worker to worker, so that it has reached all after log2(W + 1) transfers; that sums go through a tree of tasks
with eight arms, one level of latency for each; that rows lie at the workers or are read as fast as they are used, and
that no worker is slower than the others. More workers are said to pay as long as each trains at least half of the
time.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from clusters import BATCH, WIDE, made_on_workers, network, rows, started, watched
from distributed import Client

from fastprop import dask
from fastprop.dask.crew import FAN_IN

SIZES = ((28, 64, 64, 2), (784, 32, 10), (784, 128, 10), (784, 512, 512, 10), (784, 1024, 1024, 10))
WORKERS = (1, 2, 4)
BANDWIDTHS = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9}
ROUND_SECONDS = (0.25, 1.0, 10.0)  # of computing, between two meetings
SYNC_ROWS = (1024, 16384)  # of a batch of mode "sync"
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ROW_BYTES = 4 * WIDE[0]
TERABYTE = 1e12
LEAST_SHARE = 0.5  # of a worker's time that is training, where it pays
MOST_WORKERS = 1024
FITTED = 2  # workers at most in the rounds that latency and handling are fitted to

# ---- the model ------------------------------------------------------------------------------------------------------


def transfers(n_workers: int) -> float:
    """Transfers of a state that follow each other in a round: to the workers, and into the sums."""
    down, left = 0.0, n_workers
    while left > 1 or not down:
        down += min(left, FAN_IN)
        left = -(-left // FAN_IN)
    return math.ceil(math.log2(n_workers + 1)) + down


def levels(n_workers: int) -> int:
    """Levels of tasks that add sums, before those that the client adds."""
    found, left = 0, n_workers
    while left > FAN_IN:
        found, left = found + 1, -(-left // FAN_IN)
    return found


@dataclass
class Model:
    """Seconds: `latency` of a round, a `worker` more, a byte's `handling` in a transfer, a `row` of computing."""

    latency: float
    worker: float
    handling: float
    row: float = 0.0

    def overhead(self, n_workers: int, n_bytes: float, bandwidth: float = math.inf) -> float:
        """What a round costs beyond computing."""
        moving = n_bytes * (1.0 / bandwidth + self.handling) * transfers(n_workers)
        return self.latency * (1 + levels(n_workers)) + self.worker * n_workers + moving

    def speedup(self, n_workers: int, n_bytes: float, bandwidth: float, seconds: float) -> float:
        """Times one worker without a cluster, if all compute for `seconds` a round."""
        return n_workers / (1.0 + self.overhead(n_workers, n_bytes, bandwidth) / seconds)

    def speedup_sync(self, n_workers: int, n_bytes: float, bandwidth: float, n_rows: int) -> float:
        """The same of mode "sync", where a round is a batch of `n_rows`."""
        alone = n_rows * self.row
        return alone / (alone / n_workers + self.overhead(n_workers, n_bytes, bandwidth))


def pays_until(speedup: Any) -> int:
    """The most workers that still train half of their time, of 1,024."""
    return max((n for n in range(1, MOST_WORKERS + 1) if speedup(n) >= LEAST_SHARE * n), default=0)


@dataclass
class Seen:
    """The least of some rounds: seconds beyond computing, and those of processor time of client and scheduler."""

    n_workers: int
    n_bytes: int
    overhead: float
    own: float


def fitted(seen: list[Seen]) -> Model:
    """The model nearest to what was seen; no number is below 0."""
    least = min(one.n_bytes for one in seen)
    small = [(one.n_workers, one.own) for one in seen if one.n_bytes == least]
    worker = float(np.polyfit(*np.transpose(small), 1)[0])
    used = [one for one in seen if one.n_workers <= FITTED]
    terms = np.array([[1.0, one.n_bytes * transfers(one.n_workers)] for one in used])
    rest = np.array([one.overhead - worker * one.n_workers for one in used])
    weight = 1.0 / np.array([one.overhead for one in used])
    (latency, handling), *_ = np.linalg.lstsq(terms * weight[:, None], rest * weight, rcond=None)
    return Model(max(0.0, float(latency)), max(0.0, worker), max(0.0, float(handling)))


# ---- measuring ------------------------------------------------------------------------------------------------------


def seen_rounds(client: Client, n_workers: int, widths: tuple[int, ...], n_rounds: int) -> Seen:
    """Rounds that make one update of few rows in each partition."""
    net = network(widths)
    data = made_on_workers(16, n_features=widths[0], n_classes=widths[-1])
    with watched() as found:
        dask.fit(net, client.compute(data), epochs=n_rounds + 2, batch_size=16, client=client, progress=False)
    n_bytes = 2 * 4 * sum(W.size + b.size for W, b in net.get_weights())  # and momentum
    overhead, own = (min(getattr(one, name) for one in found[2:]) for name in ("overhead", "own"))
    return Seen(n_workers, n_bytes, overhead, own)


def row_seconds() -> float:
    """What a row costs on one thread at 784-512-512-10."""
    X, y = rows(0, 64 * BATCH)
    net = network()
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        net.fit(X, y, epochs=1, batch_size=BATCH, n_threads=1, progress=False)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / len(X)


def measured(n_rounds: int) -> tuple[Model, list[Seen]]:
    """The model, and what it was fitted to."""
    seen = []
    for n_workers in WORKERS:
        with started(n_workers) as client:
            seen += [seen_rounds(client, n_workers, widths, n_rounds) for widths in SIZES]
    model = fitted(seen)
    model.row = row_seconds()
    return model, seen


# ---- what it says ---------------------------------------------------------------------------------------------------


def report(model: Model, seen: list[Seen]) -> str:
    """What was measured beside the model, and what follows for many workers."""
    lines = ["| workers | state | measured | model | own processor time |", "| ---: | ---: | ---: | ---: | ---: |"]
    errors = []
    for one in seen:
        found = model.overhead(one.n_workers, one.n_bytes)
        note = " (not fitted)"
        if one.n_workers <= FITTED:
            note = ""
            errors.append(abs(found / one.overhead - 1))
        figures = f"{1e3 * one.overhead:.0f} ms | {1e3 * found:.0f} ms{note} | {1e3 * one.own:.0f} ms"
        lines.append(f"| {one.n_workers} | {one.n_bytes / 1e6:.2f} MB | {figures} |")
    lines += [
        "",
        f"latency {1e3 * model.latency:.1f} ms, a worker {1e3 * model.worker:.2f} ms, handling "
        f"{1e9 * model.handling:.2f} ns a byte, a row {1e6 * model.row:.1f} us; "
        f"relative error {median(errors):.0%}, most {max(errors):.0%}",
        "",
        "| network | bandwidth | rounds of | overhead at 16, 128, 1,024 | speedup there | pays until |",
        "| --- | --- | --- | --- | --- | ---: |",
    ]
    for curve in curves(model):
        at = [COUNTS.index(n) for n in (16, 128, 1024)]
        overheads = ", ".join(f"{1e3 * curve['overhead'][i]:.0f}" for i in at)
        speedups = ", ".join(f"{curve['speedup'][i]:.1f}" for i in at)
        case = f"{curve['network']} | {curve['bandwidth']} | {curve['rounds']}"
        lines.append(f"| {case} | {overheads} ms | {speedups} | {curve['pays']} |")
    hours = TERABYTE / ROW_BYTES * model.row / 3600
    lines += ["", f"1 TB of rows of {ROW_BYTES} bytes: {hours:.1f} hours of one thread an epoch at 784-512-512-10"]
    return "\n".join(lines)


def curves(model: Model) -> list[dict[str, Any]]:
    """Overhead and speedup over the number of workers for each case that is drawn."""
    found = []
    for widths, (name, bandwidth) in itertools.product((SIZES[0], WIDE), BANDWIDTHS.items()):
        n_bytes = 8 * sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(widths))
        state = {"n_bytes": n_bytes, "bandwidth": bandwidth}
        gradient = {"n_bytes": n_bytes // 2, "bandwidth": bandwidth}  # without the optimizer's slots
        cases = {f"{s:g} s": functools.partial(model.speedup, **state, seconds=s) for s in ROUND_SECONDS}
        for n_rows in SYNC_ROWS if widths == WIDE else ():
            cases[f"sync, {n_rows:,} rows"] = functools.partial(model.speedup_sync, **gradient, n_rows=n_rows)
        over = [model.overhead(n, **state) for n in COUNTS]
        for title, speedup in cases.items():
            case = {"network": "-".join(map(str, widths)), "bandwidth": name, "rounds": title, "overhead": over}
            found.append({**case, "speedup": [speedup(n) for n in COUNTS], "pays": pays_until(speedup)})
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each size and number of workers; default 20")
    parser.add_argument("--json", type=Path, help="write model, measurements and curves to this file")
    options = parser.parse_args()
    model, seen = measured(options.rounds)
    print(report(model, seen))
    if options.json:
        content = {
            "model": asdict(model),
            "seen": [asdict(one) for one in seen],
            "workers": COUNTS,
            "curves": curves(model),
        }
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
