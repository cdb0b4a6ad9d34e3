"""The report of a comparison: tables in markdown, a plot, and their place in the README."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
from contestants import CONTESTANTS

README = Path(__file__).resolve().parent.parent / "README.md"
PLOT = Path(__file__).resolve().parent / "peers.png"
BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"
PACKAGES = {"jax": "jax", "torch": "torch", "torch_compiled": "torch", "sklearn": "scikit-learn", "numpy": "numpy",
            "vw": "vowpalwabbit"}  # fmt: skip
OURS, THEIRS = "#d1495b", "#5b6770"  # colours
Result = dict[str, Any]


def line_of(result: Result) -> str:
    """A result in a line, for those who wait."""
    parts = [f"{name} {figure(peer['us'])} us" for name, peer in result["peers"].items()]
    return f"{result['cell']:34s} {', '.join(parts)} ({result['rounds']} rounds)"


def figure(x: float) -> str:
    """A number with three digits."""
    return f"{x:.0f}" if x >= 99.5 else f"{x:.1f}" if x >= 9.95 else f"{x:.2f}" if x >= 0.995 else f"{x:.3f}"


def table(results: dict[str, Result], peers: list[str]) -> str:
    """A markdown table of one number of threads."""
    present = [p for p in peers if any(p in r["peers"] for r in results.values())]
    has_fraction = any("fraction" in r for r in results.values())
    head = ["network", *(CONTESTANTS[p].title for p in present)]
    if has_fraction:
        head.insert(2, "of the ceiling")
    lines = [" | ".join(head), " | ".join(["---", *["---:"] * (len(head) - 1)])]
    for result in results.values():
        row = [result["cell"], *(entry(p, result["peers"].get(p)) for p in present)]
        if has_fraction:
            row.insert(2, f"{100 * result['fraction']:.0f} %")
        lines.append(" | ".join(row))
    return "\n".join(f"| {line} |" for line in lines)


def entry(name: str, peer: Result | None) -> str:
    """A peer in a cell of the table."""
    if peer is None:
        return ""
    text = f"{figure(peer['us'])} [{figure(peer['low'])}-{figure(peer['high'])}]"
    if name != "fastprop" and "ratio" in peer:
        text += f" **{figure(peer['ratio'])}x**"
    return text + (" (!)" if "wrong" in peer else "")


def report(machine: str, by_threads: dict[int, dict[str, Result]], peers: list[str]) -> str:
    """All tables, with what the reader must know."""
    parts = []
    for n_threads, results in by_threads.items():
        parts += [f"{'One thread' if n_threads == 1 else f'{n_threads} threads'}:", table(results, peers)]
    notes = [f"Microseconds a step, median [quartiles] and the peer's time over fastprop's. {machine}."]
    every = [r for results in by_threads.values() for r in results.values()]
    notes += missing_notes(every)
    notes += [f"(!) {r['cell']}, {p}: {x['wrong']}." for r in every for p, x in r["peers"].items() if "wrong" in x]
    return "\n\n".join([*parts, "\n".join(notes)])


def missing_notes(results: list[Result]) -> list[str]:
    """Why peers are missing, and where if not everywhere."""
    cells: dict[tuple[str, str], set[str]] = {}
    for result in results:
        for peer, why in result["missing"].items():
            cells.setdefault((CONTESTANTS[peer].title, why), set()).add(result["cell"])
    n_cells = len({result["cell"] for result in results})
    return [
        f"Missing: {title}{'' if len(where) == n_cells else ' in ' + '; '.join(sorted(where))}: {why}."
        for (title, why), where in sorted(cells.items())
    ]


def describe_machine(peers: list[str]) -> str:
    """Processor, number of them, and the versions of what is compared."""
    versions = []
    for name in dict.fromkeys(["numba", *(PACKAGES[p] for p in peers if p in PACKAGES)]):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        model = match[1] if match else model
    return f"{model}, {os.cpu_count()} processors, Python {platform.python_version()}, {', '.join(versions)}"


# ---- the plot -----------------------------------------------------------------------------------------------------


def plot(by_threads: dict[int, dict[str, Result]], peers: list[str], path: Path) -> None:
    """A panel a cell: microseconds a step of each peer, dots for one number of threads and rings for the next."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    keys = list(dict.fromkeys(key for results in by_threads.values() for key in results))
    n_columns = min(4, len(keys))
    n_lines = -(-len(keys) // n_columns)
    size = (2.4 * n_columns + 1.1, 1.75 * n_lines + 0.5)
    figure, panels = plt.subplots(n_lines, n_columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for panel, key in zip(panels.flat, keys, strict=False):
        for n, results in enumerate(by_threads.values()):
            if key in results:
                draw(panel, results[key], peers, is_first=n == 0)
    for panel in panels.flat[len(keys) :]:
        panel.set_axis_off()
    panels[0, 0].set_yticks(range(len(peers)), [CONTESTANTS[p].title for p in peers])
    panels[0, 0].set_ylim(len(peers) - 0.5, -0.5)
    threads = [f"{mark} {n} thread{'s' if n > 1 else ''}" for mark, n in zip("●○", by_threads, strict=False)]
    figure.supxlabel(f"microseconds a step, median and quartiles:  {'   '.join(threads)}", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw(panel: Any, result: Result, peers: list[str], is_first: bool) -> None:
    """The peers of a cell on one number of threads."""
    for line, name in enumerate(peers):
        if name not in result["peers"]:
            continue
        peer, color = result["peers"][name], OURS if name == "fastprop" else THEIRS
        at = line + (-0.15 if is_first else 0.15)
        panel.plot([peer["low"], peer["high"]], [at, at], color=color, linewidth=1.2)
        panel.plot(peer["us"], at, "o", color=color, markersize=4.5, markerfacecolor=color if is_first else "white")
        if name == "fastprop" and is_first:
            panel.axvline(peer["us"], color=OURS, linewidth=0.6, alpha=0.4)
    panel.set_xscale("log")
    low, high = np.log10(panel.dataLim.intervalx)
    panel.set_xlim(10 ** np.floor(low), 10 ** np.ceil(high))  # whole decades: two labelled ticks at least
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_title(result["cell"], fontsize=8)
    panel.tick_params(labelsize=7, length=2)
    panel.tick_params(which="minor", length=0)
    panel.grid(axis="x", linewidth=0.4, alpha=0.5)
    panel.spines[["top", "right", "left"]].set_visible(False)


# ---- the README ---------------------------------------------------------------------------------------------------


def write_readme(text: str) -> None:
    """Put the report, and below it the plot, between the two comments of the README."""
    picture = f"![Microseconds a step of every peer, on a logarithmic axis](benchmarks/{PLOT.name})"
    write_between(BEGIN, END, f"{text}\n\n{picture}")


def write_between(begin: str, end: str, text: str) -> None:
    """Put a text between two comments of the README, in place of what is there."""
    readme = README.read_text(encoding="utf-8")
    if begin not in readme or end not in readme:
        raise SystemExit(f"{README} has no {begin} and {end} to write between")
    before, rest = readme.split(begin, 1)
    README.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")
