"""The bits of training on a cluster: for 1, 2 and 4 workers, with workers that are killed, with one that joins late.

    python benchmarks/cluster_kills.py                  20 runs with a kill: some minutes
    python benchmarks/cluster_kills.py --runs 3 --rounds 4

784-512-512-10, batch 128, over 8 partitions that workers make from a seed. A round is what `sync_every` is by default,
about a second of two workers. In each run one of two workers is killed by SIGKILL at a random moment, and Dask's nanny
starts another process in its place. "Lost" is what such a run takes longer than the median of the runs without a kill,
in rounds of them. A run whose bits differ, or that loses more than two rounds, is marked (!).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import threading
import time
from statistics import median
from typing import Any

import numpy as np
from clusters import BATCH, WIDE, digest, made_on_workers, network, started, watched
from distributed import Client

from fastprop import dask
from fastprop.dask.cost import usual_sync_every

MOST_LOST = 2.0  # rounds


def partition_rows() -> int:
    """Rows of a partition that make an epoch one round of the usual length."""
    return BATCH * usual_sync_every(network().build(WIDE[0])._built(), BATCH)


def run(client: Client, n_rounds: int, mode: str = "local") -> tuple[str, float, list[Any]]:
    """The bits, the seconds and the rounds of a fit."""
    net = network()
    with watched() as found:
        start = time.perf_counter()
        if mode == "local":
            dask.fit(net, made_on_workers(partition_rows()), epochs=n_rounds, client=client, progress=False)
        else:  # an update a round
            dask.fit(net, made_on_workers(8 * BATCH), epochs=1, mode="sync", client=client, progress=False)
        return digest(net), time.perf_counter() - start, found


def bits(n_rounds: int) -> list[str]:
    """Rows of the table of bits, and whether they are the same."""
    lines = ["| mode | 1 worker | 2 workers | 4 workers |", "| --- | --- | --- | --- |"]
    found: dict[str, list[str]] = {"local": [], "sync": []}
    for n_workers in (1, 2, 4):
        with started(n_workers) as client:
            for mode, seen in found.items():
                seen.append(run(client, min(3, n_rounds), mode)[0])
    for mode, seen in found.items():
        wrong = " (!)" if len(set(seen)) > 1 else ""
        lines.append(f"| {mode} | {' | '.join(seen)}{wrong} |")
    return lines


def kill_later(client: Client, seconds: float, index: int) -> threading.Timer:
    """Kill a worker by SIGKILL some seconds from now."""
    pids = list(client.run(os.getpid).values())
    timer = threading.Timer(seconds, os.kill, (pids[index % len(pids)], signal.SIGKILL))
    timer.start()
    return timer


def kills(n_runs: int, n_rounds: int, seed: int) -> list[str]:
    """A line for each run with a kill."""
    chance, lines, lost = random.Random(seed), [], []
    with started(2) as client:
        run(client, 2)  # loads the kernels
        references = [run(client, n_rounds) for _ in range(3)]
        expected, usual = references[0][0], median(seconds for _, seconds, _ in references)
        round_seconds = median(one.seconds for _, _, found in references for one in found)
        first = usual - n_rounds * round_seconds  # making and surveying the partitions
        lines.append(f"without a kill: bits {expected}, {usual:.2f} s, a round {round_seconds:.2f} s")
        for i in range(n_runs):
            moment = first + chance.random() * n_rounds * round_seconds
            timer = kill_later(client, moment, chance.randrange(2))
            found, seconds, seen = run(client, n_rounds)
            timer.join()
            lost.append((seconds - usual) / round_seconds)
            wrong = "" if found == expected and lost[-1] <= MOST_LOST else " (!)"
            worst = max(one.seconds for one in seen)
            lines.append(
                f"run {i + 1}, killed at {moment:.2f} s: bits {found}, {seconds:.2f} s, lost {lost[-1]:.2f} rounds, "
                f"longest round {worst:.2f} s{wrong}"
            )
            client.wait_for_workers(2, timeout=60)
        lines.append(f"lost rounds: median {median(lost):.2f}, most {max(lost):.2f}" if lost else "")
    return lines


def late_join(n_rounds: int) -> str:
    """A line: one worker, and a second one from the middle on."""
    with started(1) as client:
        expected, seconds, _ = run(client, n_rounds)
        timer = threading.Timer(seconds / 3, client.cluster.scale, (2,))
        timer.start()
        found, joined, seen = run(client, n_rounds)
        timer.join()
        wrong = "" if found == expected else " (!)"
        shares = np.array([one.seconds for one in seen])
        return (
            f"a second worker joins after {seconds / 3:.1f} s: bits {found}{wrong}, {joined:.2f} s instead of "
            f"{seconds:.2f}; first round {shares[0]:.2f} s, last {shares[-1]:.2f} s"
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="with a kill; default 20")
    parser.add_argument("--rounds", type=int, default=8, help="of a run; default 8")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--only", choices=["bits", "kills", "late"], help="one of the three parts")
    options = parser.parse_args()
    if options.only in (None, "bits"):
        print("\n".join(bits(options.rounds)), flush=True)
    if options.only in (None, "kills"):
        print("\n".join(kills(options.runs, options.rounds, options.seed)), flush=True)
    if options.only in (None, "late"):
        print(late_join(options.rounds), flush=True)


if __name__ == "__main__":
    main()
