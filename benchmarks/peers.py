"""fastprop beside JAX, PyTorch, scikit-learn, NumPy and Vowpal Wabbit: the same training, in one run, in turns.

    python benchmarks/peers.py                      every cell and peer, one thread and two, some ten minutes
    python benchmarks/peers.py --cells table-32,mnist-128 --peers fastprop,jax --threads 1
    python benchmarks/peers.py --json peers.json --plot peers.png
    python benchmarks/peers.py --readme             tables into README.md, the plot beside this script
    python benchmarks/peers.py --estimators         the scikit-learn estimators instead: see estimators.py

All start from the same weights and see the same rows. First each trains one epoch in the rows' order and one shuffled,
and its loss must be that of the others. Then they are timed in turns, so that a busy neighbour hits all alike: a
round is an epoch of each, shuffled. Peers that dispatch each step from Python get shorter epochs. Compiling is never
timed. Vowpal Wabbit takes part in linear cells only, where scikit-learn is `SGDClassifier`.

Numbers are microseconds a step: the median over rounds and, in brackets, the quartiles. A ratio is the median over
rounds of the peer's time over fastprop's in that round: above 1 fastprop is faster. Rows that fastprop loses stay.

Each number of threads has a process of its own, pinned to as many processors: JAX and PyTorch fix their pools when
they are imported.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from cells import CELLS, Cell, Data, initial_weights, loss_of, make_data
from contestant import CannotRunError, Contestant
from contestants import CONTESTANTS
from estimator_rows import ROWS
from report import PLOT, Result, describe_machine, line_of, plot, report, write_readme

SETTLE_SECONDS = 0.25
ENOUGH_ROUNDS, MIN_ROUNDS, MAX_ROUNDS = 5, 3, 60  # fewer than enough only where twice the time is up
# How far losses may lie from their median: in the same order relative to it, shuffled to the initial loss.
SAME_ORDER, SHUFFLED = 0.02, 0.1

# ---- in the measuring process -------------------------------------------------------------------------------------


def prepare(names: list[str], cell: Cell, data: Data, n_threads: int) -> tuple[dict[str, Contestant], dict[str, str]]:
    """The contestants that there are, and why others are missing."""
    found, missing = {}, {}
    for name in names:
        if not CONTESTANTS[name].suits(cell):
            continue
        try:
            contestant = CONTESTANTS[name](cell, data, n_threads)
            contestant.set_weights(initial_weights(cell))
        except (ImportError, CannotRunError) as error:
            missing[name] = str(error)
        else:
            found[name] = contestant
    return found, missing


def learn(contestant: Contestant, data: Data) -> list[float]:
    """The losses at the start, after an epoch in the rows' order, and after a shuffled one more."""
    losses = [loss_of(contestant.cell, contestant.weights(), data.X_few, data.y_few)]
    for shuffle in (False, True):
        contestant.train(few=True, shuffle=shuffle)
        losses.append(loss_of(contestant.cell, contestant.weights(), data.X_few, data.y_few))
    return losses


def disagreements(losses: dict[str, list[float]]) -> dict[str, str]:
    """What is wrong with the losses of each peer that learnt something else."""
    found = {}
    start, ordered, shuffled = np.nanmedian(list(losses.values()), axis=0)
    for name, (_, in_order, at_random) in losses.items():
        if not abs(in_order - ordered) <= SAME_ORDER * ordered:
            found[name] = f"loss {in_order:.4f} after an epoch in order, the others {ordered:.4f}"
        elif not abs(at_random - shuffled) <= SHUFFLED * start:
            found[name] = f"loss {at_random:.4f} after a shuffled epoch more, the others {shuffled:.4f}"
    return found


def time_epoch(contestant: Contestant) -> float:
    """Microseconds a step, of one timing."""
    cell, few = contestant.cell, contestant.dispatches
    if contestant.n_threads > 1:  # threads of OpenMP spin for 200 ms after their work, on whoever comes next
        time.sleep(SETTLE_SECONDS)
    start = time.perf_counter()
    contestant.train(few)
    seconds = time.perf_counter() - start
    return seconds / (cell.epochs * cell.n_steps(cell.n_few if few else cell.n_rows)) * 1e6


def measure(cell: Cell, names: list[str], n_threads: int, seconds: float) -> Result:
    """Check that all learn the same, then time them in turns for `seconds`, some rounds at least."""
    data = make_data(cell)
    contestants, missing = prepare(names, cell, data, n_threads)
    losses = {name: learn(contestant, data) for name, contestant in contestants.items()}
    for contestant in contestants.values():
        time_epoch(contestant)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    ceilings: list[float] = []
    start = time.perf_counter()
    for n_rounds in range(MAX_ROUNDS):
        elapsed = time.perf_counter() - start
        if elapsed > seconds and n_rounds >= (ENOUGH_ROUNDS if elapsed < 2 * seconds else MIN_ROUNDS):
            break
        if "fastprop" in contestants and n_threads == 1:  # what several cores could do depends on the neighbours
            from fastprop.kernels import ceiling

            ceilings.append(ceiling.measure("float32", 0.005))
        for name, contestant in contestants.items():
            times[name].append(time_epoch(contestant))
    return summary(cell, times, losses, missing, ceilings)


def summary(
    cell: Cell, times: dict[str, list[float]], losses: dict[str, list[float]], missing: dict[str, str],
    ceilings: list[float],
) -> Result:  # fmt: skip
    """What goes into the report of a cell."""
    wrong = disagreements(losses)
    peers = {}
    for name, us in times.items():
        low, middle, high = np.quantile(us, [0.25, 0.5, 0.75])
        peers[name] = {"us": middle, "low": low, "high": high, "min": min(us), "losses": losses[name]}
        if "fastprop" in times:
            peers[name]["ratio"] = float(np.median(np.divide(us, times["fastprop"])))
        if name in wrong:
            peers[name]["wrong"] = wrong[name]
    n_rounds = len(next(iter(times.values()), []))
    result: Result = {"cell": cell.name, "rounds": n_rounds, "peers": peers, "missing": missing}
    if ceilings:
        # Of the ceiling just before each timing: a lower clock, or a neighbour, hits both.
        result["ceiling"] = float(np.median(ceilings))
        result["fraction"] = cell.flops / 1e3 / float(np.median(np.multiply(times["fastprop"], ceilings)))
    return result


def work(options: argparse.Namespace) -> None:
    """Measure all cells on one number of threads; prints a line of JSON for each."""
    warnings.filterwarnings("ignore", category=UserWarning)
    for key in options.cells:
        result = measure(CELLS[key], options.peers, options.threads[0], options.seconds)
        print(json.dumps({"key": key, **result}), flush=True)


# ---- in the calling process ---------------------------------------------------------------------------------------


def environment(n_threads: int) -> dict[str, str]:
    """Variables that libraries read when they are imported."""
    variables = {name: str(n_threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    if n_threads == 1:
        variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {**os.environ, **variables, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}


def pin(n_threads: int) -> None:
    """Keep this process to the last `n_threads` processors that it may use: the first serve the most interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n_threads:])


def run(options: argparse.Namespace, n_threads: int) -> dict[str, Result]:
    """The results of a process on `n_threads` threads, by cell."""
    command = [
        sys.executable, __file__, "--work", "--threads", str(n_threads), "--seconds", str(options.seconds),
        "--cells", ",".join(options.cells), "--peers", ",".join(options.peers),
    ]  # fmt: skip
    results = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(n_threads)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                result = json.loads(line)
                results[result.pop("key")] = result
                print(f"{n_threads} thread(s)  {line_of(result)}", file=sys.stderr, flush=True)
    if process.returncode:
        raise SystemExit(f"measuring on {n_threads} threads failed with status {process.returncode}")
    return results


def names_in(known: Any) -> Any:
    """A parser of comma-separated names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def numbers(text: str) -> list[int]:
    """Integers, comma-separated."""
    return [int(n) for n in text.split(",")]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, known in (("--cells", CELLS), ("--peers", CONTESTANTS)):
        parser.add_argument(name, type=names_in(known), default=list(known), help="of " + ", ".join(known))
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="numbers of threads; default 1,2")
    parser.add_argument("--seconds", type=float, default=7.0, help="to time each cell for; default 7")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--plot", type=Path, help="draw all numbers into this file (with matplotlib)")
    parser.add_argument("--readme", action="store_true", help=f"write tables into README.md, the plot to {PLOT.name}")
    parser.add_argument("--estimators", action="store_true", help="compare the scikit-learn estimators instead")
    parser.add_argument("--rows", type=names_in(ROWS), default=list(ROWS), help="of them: " + ", ".join(ROWS))
    parser.add_argument("--scale", type=float, default=1.0, help="of their data: below 1 for a trial")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the command line."""
    options = parse()
    if options.work:
        pin(options.threads[0])
        work(options)
        return
    if options.estimators:
        import estimators  # it takes this module's process handling

        estimators.compare(options)
        return
    by_threads = {n: run(options, n) for n in options.threads}
    machine = describe_machine(options.peers)
    text = report(machine, by_threads, options.peers)
    print(text)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "threads": by_threads}, indent=1), encoding="utf-8")
    if options.plot:
        plot(by_threads, options.peers, options.plot)
    if options.readme:
        plot(by_threads, options.peers, PLOT)
        write_readme(text)
    if "(!)" in text:
        raise SystemExit("some peers did not learn the same")


if __name__ == "__main__":
    main()
