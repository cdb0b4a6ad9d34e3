"""fastprop's estimators beside scikit-learn's and Vowpal Wabbit, in one run and in turns.

    python benchmarks/peers.py --estimators                         every row, some five minutes
    python benchmarks/peers.py --estimators --rows log,sparse,tiny --json estimators.json
    python benchmarks/peers.py --estimators --readme                the table into README.md

The same classes with the same parameters on the same data. A round is a timing of each contestant; a ratio is the
median over rounds of the other's time over fastprop's in that round. Rows of one thread run in a process pinned to one
processor, rows of two in one on two: there fastprop on two threads is beside itself on one. What a timing holds is said
in estimator_rows.py; Vowpal Wabbit's never holds parsing. Nothing is compiled within a timing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from estimator_rows import ROWS, Row, Seconds
from peers import environment, numbers, pin
from report import Result, describe_machine, figure, write_between

TITLES = {"sklearn": "scikit-learn", "vw": "Vowpal Wabbit", "one": "fastprop, one thread"}
BEGIN, END = "<!-- estimators:begin -->", "<!-- estimators:end -->"
MIN_ROUNDS, MAX_ROUNDS = 3, 60
WORSE = 0.02  # of accuracy on the training rows, before the report says that something else was learnt

# ---- in the measuring process -------------------------------------------------------------------------------------


def measure(row: Row, seconds: float, scale: float) -> Result:
    """Time the contestants in turns for `seconds`, some rounds at least."""
    contestants = row.make(scale)
    for contestant in contestants.values():
        contestant()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    start = time.perf_counter()
    for n_rounds in range(MAX_ROUNDS):
        if time.perf_counter() - start > seconds and n_rounds >= MIN_ROUNDS:
            break
        for name, contestant in contestants.items():
            times[name].append(contestant())
    return summary(row, times, contestants)


def summary(row: Row, times: dict[str, list[float]], contestants: dict[str, Seconds]) -> Result:
    """What goes into the report of a row."""
    found: Result = {"title": row.title, "rounds": len(times["fastprop"]), "contestants": {}}
    for name, seconds in times.items():
        low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        entry = {"seconds": middle, "low": low, "high": high, "min": min(seconds)}
        if name != "fastprop":
            entry["ratio"] = float(np.median(np.divide(seconds, times["fastprop"])))
        for what in ("accuracy", "epochs"):
            if hasattr(contestants[name], what):
                entry[what] = getattr(contestants[name], what)()
        found["contestants"][name] = entry
    return found


def work(keys: list[str], seconds: float, scale: float) -> None:
    """Measure rows; prints a line of JSON for each."""
    warnings.filterwarnings("ignore", category=UserWarning)
    for key in keys:
        print(json.dumps({"key": key, **measure(ROWS[key], seconds, scale)}), flush=True)


# ---- in the calling process ---------------------------------------------------------------------------------------


def run(keys: list[str], n_threads: int, seconds: float, scale: float) -> dict[str, Result]:
    """The results of a process on `n_threads` processors, by row."""
    command = [sys.executable, __file__, ",".join(keys), str(n_threads), str(seconds), str(scale)]
    results = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(n_threads)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                result = json.loads(line)
                results[result.pop("key")] = result
                print(line_of(result), file=sys.stderr, flush=True)
    if process.returncode:
        raise SystemExit(f"measuring {', '.join(keys)} failed with status {process.returncode}")
    return results


def line_of(result: Result) -> str:
    """A result in a line, for those who wait."""
    parts = [f"{name} {span(entry['seconds'])}" for name, entry in result["contestants"].items()]
    return f"{result['title']:66s} {', '.join(parts)} ({result['rounds']} rounds)"


def span(seconds: float) -> str:
    """A time with its unit."""
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("us", 1e6)
    return f"{figure(seconds * factor)} {unit}"


def missed(result: Result, row: Row) -> list[str]:
    """Promises that a result does not keep."""
    found = []
    ours = result["contestants"]["fastprop"]["seconds"]
    if row.seconds is not None and ours > row.seconds:
        found.append(f"{span(ours)}, wanted {span(row.seconds)}")
    for name, wanted in row.wanted.items():
        entry = result["contestants"].get(name)
        if entry and entry["ratio"] < wanted:
            found.append(f"{figure(entry['ratio'])}x {TITLES[name]}, wanted {wanted:g}x")
    return found


def strayed(result: Result) -> list[str]:
    """Contestants that learnt better than fastprop on the same rows."""
    scores = {name: e["accuracy"] for name, e in result["contestants"].items() if "accuracy" in e}
    ours = scores.pop("fastprop", 1.0)
    better = {TITLES[name]: score for name, score in scores.items() if ours < score - WORSE}
    return [f"accuracy {ours:.3f}, {title} {score:.3f}" for title, score in better.items()]


def table(results: dict[str, Result]) -> str:
    """A markdown table, a line for each peer of each row."""
    lines = ["| training | fastprop | beside | its time | ratio | wanted |", f"| --- | ---: | --- |{' ---: |' * 3}"]
    for key, result in results.items():
        row, ours = ROWS[key], result["contestants"]["fastprop"]
        mine = f"{span(ours['seconds'])} [{span(ours['low'])}-{span(ours['high'])}]"
        for name, entry in result["contestants"].items():
            if name == "fastprop":
                continue
            wanted = f"{row.wanted[name]:g}x" if name in row.wanted else f"{span(row.seconds)}" if row.seconds else ""
            ratio = f"**{figure(entry['ratio'])}x**"
            lines.append(f"| {row.title} | {mine} | {TITLES[name]} | {span(entry['seconds'])} | {ratio} | {wanted} |")
    return "\n".join(lines)


def report(machine: str, results: dict[str, Result]) -> str:
    """The table, and what is not as promised."""
    notes = [f"Medians [quartiles] of rounds in turns, and the other's time over fastprop's. {machine}."]
    if any("vw" in r["contestants"] for r in results.values()):
        notes.append("Vowpal Wabbit's time is that of learning examples parsed beforehand, few enough for its caches.")
    for key, result in results.items():
        notes += [f"(!) {result['title']}: {what}." for what in [*missed(result, ROWS[key]), *strayed(result)]]
    return f"{table(results)}\n\n" + "\n".join(notes)


def compare(options: argparse.Namespace) -> None:
    """Measure the rows that `peers.py --estimators` asks for, and print or write the report."""
    results: dict[str, Result] = {}
    for n_threads in options.threads:
        keys = [key for key in options.rows if ROWS[key].n_threads == n_threads]
        if keys:
            results |= run(keys, n_threads, options.seconds, options.scale)
    machine = describe_machine(["sklearn", "numpy", "vw"])
    text = report(machine, results)
    print(text)
    if options.json:
        content: dict[str, Any] = {"machine": machine, "scale": options.scale, "rows": results}
        Path(options.json).write_text(json.dumps(content, indent=1), encoding="utf-8")
    if options.readme:
        write_between(BEGIN, END, text)


if __name__ == "__main__":
    pin(numbers(sys.argv[2])[0])
    work(sys.argv[1].split(","), float(sys.argv[3]), float(sys.argv[4]))
