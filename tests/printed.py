"""Code blocks of a page: what they print must be what the page says that they print.

A block of python or bash is run in the order of the page, each python block as a script of its own. A block of text
that follows it is its output: `...` stands for anything, the rest must be equal but for numbers, which may differ by
what a comment before the block says: `<!-- numbers within 2 % -->`. A block after `<!-- not run: why -->` is not run;
one after `<!-- needs torch -->` is skipped where that package is not installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

NUMBER = r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Snippet(NamedTuple):
    line: int
    language: str
    code: str
    output: str | None  # what it must print, if the page says so
    tolerance: float  # relative, of the numbers in it
    needs: str | None  # a package


def snippets(text):
    """The blocks of a page in Markdown that are to be run."""
    found, is_run = [], False
    for match in BLOCK.finditer(text):
        note, language, code = match["note"] or "", match["language"], match["code"]
        if language == "text":
            if is_run:
                found[-1] = found[-1]._replace(output=code, tolerance=tolerance_of(note))
        elif language in ("python", "bash"):
            is_run = not note.startswith("not run:")
            if is_run:
                needs = re.fullmatch(r"needs (\w+)", note)
                line = text[: match.start("code")].count("\n") + 1
                found.append(Snippet(line, language, code, None, 0.0, needs and needs[1]))
    return found


def tolerance_of(note):
    within = re.search(r"numbers within ([\d.]+) %", note)
    return float(within[1]) / 100 if within else 0.0


def prints(expected, actual, tolerance):
    """Whether `actual` is `expected` but for `...` and for numbers within the tolerance."""
    pattern, claimed = "", []
    for part in re.split(rf"(\.\.\.|{NUMBER})", expected.strip()):
        if part == "...":
            pattern += ".*?"
        elif re.fullmatch(NUMBER, part):
            pattern += f"({NUMBER})"
            claimed.append(part)
        else:
            pattern += re.sub(r"(\\ |\\\n|\s)+", r"\\s+", re.escape(part))
    match = re.fullmatch(pattern, actual.strip(), re.DOTALL)
    if match is None:
        return False
    pairs = [(value(claim), value(got)) for claim, got in zip(claimed, match.groups(), strict=True)]
    return all(abs(got - claim) <= tolerance * abs(claim) for claim, got in pairs)


def value(number):
    return float(number.replace(",", ""))


def run_script(command, folder):
    """What a command prints, run in `folder` without a display; it must end well."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_snippet(snippet, folder):
    """Run a snippet in `folder` and compare what it prints."""
    if snippet.needs and importlib.util.find_spec(snippet.needs) is None:
        pytest.skip(f"{snippet.needs} is not installed")
    script = folder / f"snippet.{snippet.language}"
    script.write_text(snippet.code, encoding="utf-8")
    printed = run_script(
        {"python": [sys.executable, script.name], "bash": ["bash", "-e", script.name]}[snippet.language], folder
    )
    if snippet.output is not None:
        assert prints(snippet.output, printed, snippet.tolerance), f"expected:\n{snippet.output}\ngot:\n{printed}"
