"""The bits of training on a cluster: for 1, 2 and 4 workers, with workers that are killed, with one that joins late.

    python benchmarks/cluster_kills.py                  20 runs with a kill: some minutes
    python benchmarks/cluster_kills.py --runs 3 --rounds 4

784-512-512-10, batches of 128 rows in each of 8 partitions that workers make from a seed. A round is what a core
should do in 0.25 s for a partition, about a second of two workers. In each run one of two workers is killed by SIGKILL
at a random moment, and Dask's nanny starts another process in its place. "Lost" is what such a run takes longer than
the mean of those without a kill before and after it, in rounds of the latter. A run whose bits differ, or that loses
more than two rounds, is marked (!).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import threading
import time
from statistics import median
from typing import Any

import numpy as np
from clusters import ALL_BATCH, BATCH, WIDE, Round, digest, made_on_workers, network, started, watched
from distributed import Client

from fastprop import dask
from fastprop.dask.cost import usual_sync_every

MOST_LOST = 2.0  # rounds


def round_updates() -> int:
    """Updates of a partition in a round of the usual length: an epoch of as many is one round."""
    return usual_sync_every(network().build(WIDE[0])._built(), BATCH)


def run(
    client: Client, n_rounds: int, n_updates: int, mode: str = "local", watch: Any = None
) -> tuple[str, float, list[Round]]:
    """The bits, the seconds and the rounds of a fit; a thread runs `watch` on the list of its rounds."""
    net = network()
    with watched() as found:
        thread = threading.Thread(target=watch or (lambda rounds: None), args=(found,))
        thread.start()
        start = time.perf_counter()
        common: dict[str, Any] = dict(batch_size=ALL_BATCH, client=client, progress=False)
        if mode == "local":
            dask.fit(net, made_on_workers(n_updates * BATCH), epochs=n_rounds, sync_every=n_updates, **common)
        else:  # an update a round
            dask.fit(net, made_on_workers(8 * BATCH), epochs=1, mode="sync", **common)
        seconds = time.perf_counter() - start
        thread.join()
        return digest(net), seconds, found


def bits(n_rounds: int, n_updates: int) -> list[str]:
    """Rows of the table of bits, and whether they are the same."""
    lines = ["| mode | 1 worker | 2 workers | 4 workers |", "| --- | --- | --- | --- |"]
    found: dict[str, list[str]] = {"local": [], "sync": []}
    for n_workers in (1, 2, 4):
        with started(n_workers) as client:
            for mode, seen in found.items():
                seen.append(run(client, min(3, n_rounds), n_updates, mode)[0])
    for mode, seen in found.items():
        wrong = " (!)" if len(set(seen)) > 1 else ""
        lines.append(f"| {mode} | {' | '.join(seen)}{wrong} |")
    return lines


def pids(client: Client, n: int) -> list[int]:
    """The processes of n workers, once there are so many."""
    deadline = time.monotonic() + 300.0
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # some are on their way
            found = client.run(os.getpid)
            if len(found) == n:
                return [found[address] for address in sorted(found)]
        time.sleep(0.5)
    raise SystemExit(f"there were no {n} workers in five minutes")


class Kill:
    """Kills a process by SIGKILL when so many rounds are done, fractions counted by the length of the last one."""

    def __init__(self, pid: int, moment: float) -> None:
        self.pid, self.moment = pid, moment

    def __call__(self, rounds: list[Round]) -> None:
        while len(rounds) < int(self.moment):
            time.sleep(0.005)
        time.sleep(self.moment % 1.0 * rounds[-1].seconds)
        os.kill(self.pid, signal.SIGKILL)


def kills(n_runs: int, n_rounds: int, n_updates: int, seed: int) -> None:
    """Print a line for each run with a kill."""
    chance, lost = random.Random(seed), []
    with started(2) as client:
        run(client, 2, n_updates)  # loads the kernels
        expected, before, _ = run(client, n_rounds, n_updates)
        print(f"without a kill: bits {expected}", flush=True)
        for i in range(n_runs):
            kill = Kill(pids(client, 2)[chance.randrange(2)], chance.uniform(1, n_rounds))
            found, seconds, _ = run(client, n_rounds, n_updates, watch=kill)
            pids(client, 2)
            _, after, whole = run(client, n_rounds, n_updates)
            usual, round_seconds = 0.5 * (before + after), median(one.seconds for one in whole)
            before = after
            lost.append((seconds - usual) / round_seconds)
            wrong = "" if found == expected and lost[-1] <= MOST_LOST else " (!)"
            text = f"run {i + 1}, killed after {kill.moment:.2f} rounds of {round_seconds:.2f} s: bits {found}"
            print(f"{text}, {seconds:.2f} s instead of {usual:.2f}, lost {lost[-1]:.2f} rounds{wrong}", flush=True)
        print(f"lost rounds: median {median(lost):.2f}, most {max(lost):.2f}")


def late_join(n_rounds: int, n_updates: int) -> str:
    """A line: one worker, and a second one from the middle on."""
    with started(1) as client:
        run(client, 2, n_updates)  # loads the kernels
        expected, seconds, _ = run(client, n_rounds, n_updates)
        timer = threading.Timer(seconds / 3, client.cluster.scale, (2,))
        timer.start()
        found, joined, seen = run(client, n_rounds, n_updates)
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
    parser.add_argument("--updates", type=int, default=round_updates(), help="of a partition in a round")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--only", choices=["bits", "kills", "late"], help="one of the three parts")
    options = parser.parse_args()
    if options.only in (None, "bits"):
        print("\n".join(bits(options.rounds, options.updates)), flush=True)
    if options.only in (None, "kills"):
        kills(options.runs, options.rounds, options.updates, options.seed)
    if options.only in (None, "late"):
        print(late_join(options.rounds, options.updates), flush=True)


if __name__ == "__main__":
    main()
