"""The table of profile.py: marks of a cell's step, gathered into phases, beside their floors."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cells import Cell, make_data
from floors import Bandwidth, Floor, Scene, floor_of
from marks import Marked, Place, Times, at, measure, named, steps_of
from networks import BETWEEN, OPTIMIZERS, cell_of, engine_of, fit, network, pin

import fastprop as fp
from fastprop.engine import Engine
from fastprop.kernels import ceiling, records

PHASES = ("gather", "forward", "loss", "backward", "update", "barrier")


class Line(NamedTuple):
    """One instruction of a step, or all barriers: its phase, its label, seconds on each worker, its floor if known."""

    phase: str
    label: str
    seconds: np.ndarray
    floor: Floor | None


def phases_of(places: Sequence[Place]) -> list[str]:
    """The phase of each place: after the loss, errors go backward."""
    found, after_loss = [], False
    for place in places:
        name, is_loss = place.name, "loss" in place.name or "cross_entropy" in place.name
        if name in ("barrier", "mark"):
            found.append(name)
        elif "gather" in name or name == "sample_weights":
            found.append("gather")
        elif place.stage != records.ROWS:
            found.append("update")
        else:
            found.append("loss" if is_loss else "backward" if after_loss else "forward")
        after_loss |= is_loss
    return found


def label_of(place: Place) -> str:
    """The kernel and its shape."""
    assert place.operation is not None
    n_in, n_out = int(place.operation["n_in"]), int(place.operation["n_out"])
    return f"{place.name} {'-'.join(str(n) for n in (n_in, n_out) if n)}"


def scene_of(engine: Engine, cell: Cell, X: np.ndarray, y: np.ndarray) -> Scene:
    """Sizes that floors depend on."""
    plan, n_slots = engine.plan, len(engine.parameters.rows) - 2
    block = int(at(int(engine.job[0]["programs"]), records.PROGRAM, 1)["block"][0]) * plan.shape.lanes
    features = sum(value.n for value in plan.values)
    n_weights = sum(op.x.n * op.out.n for op in plan.operations if op.is_dense)
    assert engine.chunks is not None
    n_chunks = max(1, len(engine.chunks) // steps_of(engine))
    stores = engine.programs.stores
    return Scene(
        rows=cell.batch,
        chunks=n_chunks,
        n_workers=len(engine.steps),
        n_slots=n_slots,
        stores=stores,
        row_bytes={0: X[:1].nbytes, 1: y[:1].nbytes},
        data_bytes=X.nbytes,
        parameter_bytes=4.0 * ((1 + n_slots + stores) * n_weights + 2 * features * min(cell.batch, engine.chunk_rows)),
        activation_bytes=8.0 * features * min(block, cell.batch),
    )


def lines_of(times: Times, places: list[Place], floor: Any) -> list[Line]:
    """One line for each instruction in the order of the step, barriers in one; `floor(place)` gives floors."""
    lines, waits = [], np.zeros(len(times.places))
    for place, phase, seconds in zip(places, phases_of(places), times.places.T, strict=True):
        if phase == "barrier":
            waits = waits + seconds
        elif phase != "mark":
            lines.append(Line(phase, label_of(place), seconds, floor(place)))
    return [*lines, Line("barrier", "barriers, sum of the loss", waits, None)]


def profile(cell: Cell, n_threads: int, seconds: float, optimizer: str | None, between: str) -> dict[str, Any]:
    """All that is known about a cell's step; times in us."""
    X, y, _, _ = make_data(cell)
    net = network(cell, optimizer, between)
    fit(net, cell, X, y, n_threads)
    gflops = max(ceiling.measure("float32", 0.2) for _ in range(3))
    bandwidth = Bandwidth()
    with named() as names, engine_of(net, cell, X, y, n_threads) as engine:
        marked, scene = Marked(engine, names), scene_of(engine, cell, X, y)
        times = measure(marked, seconds)
    lines = lines_of(times, marked.places, lambda p: floor_of(p.name, p.operation, scene, gflops, bandwidth))
    return {
        "cell": cell.name,
        "n_threads": n_threads,
        "gflops": gflops,
        "bandwidth": str(bandwidth),
        "step": times.plain * 1e6,
        "marked": times.marked * 1e6,
        "fit": fit_time(net, cell, X, y, n_threads) * 1e6,
        "fraction": cell.flops / times.plain / 1e9 / gflops / n_threads,
        "lines": [
            {
                "phase": line.phase,
                "label": line.label,
                "us": float(line.seconds.mean()) * 1e6,
                "workers": (line.seconds * 1e6).tolist(),
                "floor": None if line.floor is None else line.floor.seconds * 1e6,
                "bound": "" if line.floor is None else line.floor.bound,
            }
            for line in lines
        ],
    }


def fit_time(net: fp.Network, cell: Cell, X: np.ndarray, y: np.ndarray, n_threads: int) -> float:
    """Seconds a step of `Network.fit`: the best of eight."""
    best = np.inf
    for _ in range(8):
        start = time.perf_counter()
        fit(net, cell, X, y, n_threads, cell.epochs)
        best = min(best, time.perf_counter() - start)
    return float(best / cell.epochs / cell.n_steps(cell.n_rows))


def row(name: str, us: float, whole: float, floor: float | None, bound: str, workers: Sequence[float]) -> str:
    """A line of the table."""
    floor_text, part = ("-", "") if not floor else (f"{floor:.3f}", f"{floor / us:.2f}" if us else "")
    each = "  ".join(f"{w:.3f}" for w in workers) if len(workers) > 1 else ""
    return f"{name:36s} {us:11.3f} {us / whole:7.1%} {floor_text:>11s}  {bound:11s} {part:>8s}  {each}".rstrip()


def table(found: dict[str, Any]) -> str:
    """The report of a profile."""
    lines, whole = found["lines"], sum(line["us"] for line in found["lines"])
    text = [
        f"{found['cell']}, {found['n_threads']} thread(s), times in us",
        f"ceiling {found['gflops']:.0f} GFLOP/s a core; {found['bandwidth']}",
        "",
        f"{'phase':36s} {'us':>11s} {'share':>7s} {'floor':>11s}  {'bound':11s} {'reached':>8s}",
    ]
    for phase in PHASES:
        members = [line for line in lines if line["phase"] == phase]
        if not members:
            continue
        floors = [line["floor"] for line in members if line["floor"] is not None]
        workers = np.sum([line["workers"] for line in members], axis=0).tolist()
        longest = max(members, key=lambda line: line["floor"] or 0.0)
        us = sum(line["us"] for line in members)
        text.append(row(phase, us, whole, sum(floors), longest["bound"], workers))
        if phase != "barrier":
            text += [row("  " + m["label"], m["us"], whole, m["floor"], m["bound"], m["workers"]) for m in members]
    floor = sum(line["floor"] or 0.0 for line in lines)
    text += [
        row("all phases", whole, whole, floor, "", []),
        "",
        f"whole step {found['step']:.3f} us = {found['fraction']:.3f} of the ceiling; with marks {found['marked']:.3f};"
        f" in Network.fit {found['fit']:.3f}",
    ]
    return "\n".join(text)


def parse(description: str | None, arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="profile.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cell", type=known_cell, help="a key of cells.py, or widths and batch as in 28-64-64-1:256")
    parser.add_argument("--threads", type=int, default=1, help="default 1")
    parser.add_argument("--seconds", type=float, default=2.0, help="to measure for; default 2")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="by default the cell's own")
    parser.add_argument("--between", choices=BETWEEN, default="none", help="what follows each hidden layer")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    return parser.parse_args(arguments)


def known_cell(text: str) -> Cell:
    """See `networks.cell_of`."""
    try:
        return cell_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(description: str | None = None) -> None:
    """Run the command line."""
    options = parse(description)
    pin(options.threads)
    found = profile(options.cell, options.threads, options.seconds, options.optimizer, options.between)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
