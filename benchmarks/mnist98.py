"""MNIST to 98 % test accuracy: seconds from the start of Python to the printed accuracy, files of data read included.

    python benchmarks/mnist98.py                                fastprop, JAX and PyTorch, 5 seeds each, in turns
    python benchmarks/mnist98.py --peers fastprop --seeds 10
    taskset -c 1 python benchmarks/mnist98.py                   on one processor

All train 784-128-10 by the same recipe from the same weights, in a new process for each seed: `mnist98_trainers.py`.
Compiled code is warm: a run that does not count comes first, and JAX keeps its own on disk as fastprop does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from mnist98_trainers import DATA, TRAINERS

SECONDS, ACCURACY = 1.2, 0.98  # what ours must reach in the median
Run = dict[str, Any]


def run(peer: str, seed: int, cache: str) -> Run:
    """A process of its own: its accuracy, its seconds, and how many of them each phase took."""
    variables = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache, "PYTHONPATH": os.pathsep.join(sys.path)}
    variables |= {f"JAX_PERSISTENT_CACHE_{name}": "0" for name in ("MIN_COMPILE_TIME_SECS", "MIN_ENTRY_SIZE_BYTES")}
    environment = {**os.environ, **variables}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else Python compiles all our modules in each run, for 0.08 s
    command = [sys.executable, str(Path(__file__).with_name("mnist98_trainers.py")), peer, str(seed)]
    start = time.time()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.time() - start
    if process.returncode:
        raise SystemExit(f"{peer} failed with status {process.returncode}")
    found = json.loads(line)
    phases, before = {}, start
    for name, now in found["marks"]:
        phases[name], before = now - before, now
    return {"seed": seed, "accuracy": found["accuracy"], "seconds": seconds, "phases": phases}


def compare(peers: list[str], n_seeds: int) -> dict[str, list[Run]]:
    """Runs of each peer, in turns, so that a busy neighbour hits all alike."""
    runs: dict[str, list[Run]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory() as cache:
        for peer in peers:
            run(peer, 0, cache)
        for seed in range(n_seeds):
            for peer in peers:
                runs[peer].append(run(peer, seed, cache))
    return runs


def table(runs: dict[str, list[Run]]) -> str:
    """A markdown table of medians and spread, and where the time goes."""
    lines = ["| | seconds | from - to | test accuracy | of each seed |", "| --- | ---: | ---: | ---: | --- |"]
    notes = []
    for peer, found in runs.items():
        seconds, accuracies = ([r[key] for r in found] for key in ("seconds", "accuracy"))
        is_late = peer == "fastprop" and median(seconds) > SECONDS
        late, wrong = " (!)" if is_late else "", " (!)" if median(accuracies) < ACCURACY else ""
        each = " ".join(f"{100 * a:.2f}" for a in accuracies)
        spread = f"{min(seconds):.2f} - {max(seconds):.2f}"
        middle = f"{100 * median(accuracies):.2f} %{wrong}"
        lines.append(f"| {peer} | {median(seconds):.2f}{late} | {spread} | {middle} | {each} |")
        phases = {name: median(r["phases"][name] for r in found) for name in found[0]["phases"]}
        notes.append(f"{peer}: " + ", ".join(f"{name} {s:.3f}" for name, s in phases.items()))
    return "\n".join([*lines, "", *notes])


def peers_in(text: str) -> list[str]:
    """Names, comma-separated."""
    names = text.split(",")
    for name in names:
        if name not in TRAINERS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(TRAINERS)}")
    return names


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=peers_in, default=list(TRAINERS), help="of " + ", ".join(TRAINERS))
    parser.add_argument("--seeds", type=int, default=5, help="how many; default 5")
    parser.add_argument("--json", type=Path, help="write all runs to this file")
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"needs the four files of MNIST in {DATA}")
    runs = compare([p for p in options.peers if importlib.util.find_spec(p)], options.seeds)
    print(table(runs))
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
