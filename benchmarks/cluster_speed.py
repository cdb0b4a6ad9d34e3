"""Training on one and on two workers of a thread each: rows a second, and what a round costs beyond computing.

    python benchmarks/cluster_speed.py                  a minute; wants two processors to itself
    python benchmarks/cluster_speed.py --repeats 9

784-512-512-10, batches of 128 rows in each of 8 partitions in the workers' memory, rounds as long as they are by
default. Both clusters live side by side and take turns, after a run that loads the kernels. Overhead is the time of a
round, as the client sees it, minus that of the slowest worker's own work. A speedup below 1.6, or a median overhead
above 60 ms, is marked (!). `--all-rounds` counts rounds of updates in mode "sync" as well.
"""

from __future__ import annotations

import argparse
import os
from statistics import median
from typing import Any

from cluster_kills import round_updates
from clusters import ALL_BATCH, BATCH, N_PARTITIONS, Round, made_on_workers, network, started, watched
from distributed import Client, wait

from fastprop import dask

LEAST_SPEEDUP, MOST_OVERHEAD = 1.6, 0.060


def fit(client: Client, data: list[Any], n_rounds: int, mode: str = "local") -> list[Round]:
    """The rounds of a fit."""
    every = round_updates() if mode == "local" else None
    with watched() as found:
        common: dict[str, Any] = dict(batch_size=ALL_BATCH, mode=mode, sync_every=every)
        dask.fit(network(), data, epochs=n_rounds, client=client, progress=False, **common)
    return found


def held(client: Client, n_rows: int) -> list[Any]:
    """Partitions as futures that are finished."""
    futures = client.compute(made_on_workers(n_rows))
    with client.as_current():
        wait(futures, timeout=120)
    return futures


def report(seconds: dict[int, list[float]], overheads: dict[int, list[float]], n_rows: int) -> str:
    """The table."""
    lines = [
        "| workers | a round, s | million rows/s | overhead, median | from - to |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for n, found in seconds.items():
        over, typical = overheads[n], median(found)
        wrong = " (!)" if median(over) > MOST_OVERHEAD else ""
        spread = f"{1e3 * min(over):.0f} - {1e3 * max(over):.0f} ms"
        lines.append(
            f"| {n} | {typical:.3f} | {n_rows / typical / 1e6:.3f} | {1e3 * median(over):.0f} ms{wrong} | {spread} |"
        )
    speedup = median(seconds[1]) / median(seconds[2])
    best = min(seconds[1]) / min(seconds[2])
    wrong = " (!)" if speedup < LEAST_SPEEDUP else ""
    return "\n".join([*lines, "", f"two workers: {speedup:.2f} times one{wrong}; by the best round of each {best:.2f}"])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns; default 5")
    parser.add_argument("--rounds", type=int, default=3, help="of a turn; default 3")
    parser.add_argument("--all-rounds", action="store_true", help='updates of mode "sync" too')
    options = parser.parse_args()
    n_rows = BATCH * round_updates()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    overheads: dict[int, list[float]] = {1: [], 2: []}
    steps: dict[int, list[float]] = {1: [], 2: []}
    with started(1) as one, started(2) as two:
        data = {1: (one, held(one, n_rows)), 2: (two, held(two, n_rows))}
        for client, parts in data.values():
            fit(client, parts, 1)
        for _ in range(options.repeats):
            for n, (client, parts) in data.items():
                found = fit(client, parts, options.rounds)
                seconds[n] += [r.seconds for r in found]
                overheads[n] += [r.overhead for r in found]
        for n, (client, parts) in data.items() if options.all_rounds else ():
            steps[n] = [r.overhead for r in fit(client, parts, 1, "sync")]
    print(f"load of the machine {os.getloadavg()[0]:.1f}; {len(seconds[1])} rounds of each")
    print(report(seconds, overheads, N_PARTITIONS * n_rows))
    for n, found in steps.items():
        if found:
            print(f'an update of mode "sync" on {n}: overhead {1e3 * median(found):.0f} ms')


if __name__ == "__main__":
    main()
