"""What fastprop promises besides the comparison with peers, one section a promise, measured.

    python benchmarks/limits.py                       all sections, some four minutes
    python benchmarks/limits.py layers memory         these

    layers      a step with Adam, RMSProp, dropout, batch norm beside one with plain SGD, in turns
    threads     two threads beside one, and two independent runs side by side: whether the second core is free
    choice      n_threads=None beside n_threads=1 in every cell, with the second core idle and busy
    one-row     partial_fit and predict with one row
    prediction  of 200,000 rows, as a fraction of the ceiling
    memory      that training on a 2 GB file adds
    compile     first fit with an empty cache, and each further combination
    avx2        the fraction of its ceiling that an AVX2 target reaches

Each section runs in a process of its own, pinned to as many processors as it needs. A target that is missed is
marked (!).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from limit_sections import Row, avx2, choice, compile_times, layers, one_row, prediction, threads
from memory import memory
from networks import pin


class Section(NamedTuple):
    """What to run on how many processors, with which variables; `is_cold`: with an empty cache of kernels."""

    measure: Callable[[], list[Row]]
    processors: int = 1
    variables: dict[str, str] = {}  # noqa: RUF012
    is_cold: bool = False


SECTIONS = {
    "layers": Section(layers),
    "threads": Section(threads, 2),
    "choice": Section(choice, 2),
    "one-row": Section(one_row),
    "prediction": Section(prediction),
    "memory": Section(memory, 2),
    "compile": Section(compile_times, is_cold=True),
    "avx2": Section(avx2, variables={"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}),
}


def run(name: str) -> list[Row]:
    """The rows of a section, measured in a new process."""
    section = SECTIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        variables = {**section.variables, **({"FASTPROP_CACHE_DIR": folder} if section.is_cold else {})}
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": paths, **variables}
        command = [sys.executable, __file__, name, "--work"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return [Row(f"{name}: the measurement failed", None, "", None)]
    return [Row(*row) for row in json.loads(done.stdout.splitlines()[-1])]


def table(found: dict[str, list[Row]]) -> str:
    """A markdown table."""
    lines = ["| section | what | measured | target | |", "| --- | --- | ---: | ---: | --- |"]
    for name, rows in found.items():
        for row in rows:
            measured = "" if row.measured is None else f"{row.measured:.3g}{row.unit}"
            missed = " (!)" if row.is_missed else ""
            lines.append(f"| {name} | {row.what} | {measured}{missed} | {row.target} | {row.note} |")
    return "\n".join(lines)


def known(name: str) -> str:
    """The name of a section, checked."""
    if name not in SECTIONS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SECTIONS)}")
    return name


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", type=known, help="by default all")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.sections or list(SECTIONS)
    if options.work:
        pin(SECTIONS[names[0]].processors)
        print(json.dumps(SECTIONS[names[0]].measure()))
        return
    found = {name: run(name) for name in names}
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
