"""Every snippet of README.md runs, and prints what the README says that it prints.

A block of python or bash is run in one temporary folder, in the order of the file, each python block as a script of
its own. A block of text that follows it is its output: `...` stands for anything, the rest must be equal but for
numbers, which may differ by what a comment before the block says: `<!-- numbers within 2 % -->`. Lines that call make
must name targets of the Makefile. A block after `<!-- not run: why -->` is not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
NUMBER = r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)

pytestmark = [
    pytest.mark.readme,
    pytest.mark.skipif(not README.is_file(), reason="README.md is not beside the tests: they run on an installation"),
]


class Snippet(NamedTuple):
    line: int
    language: str
    code: str
    output: str | None  # what it must print, if the README says so
    tolerance: float  # relative, of the numbers in it


def snippets(text):
    found = []
    for match in BLOCK.finditer(text):
        note, language, code = match["note"] or "", match["language"], match["code"]
        if language == "text":
            within = re.search(r"numbers within ([\d.]+) %", note)
            found[-1] = found[-1]._replace(output=code, tolerance=float(within[1]) / 100 if within else 0.0)
        elif not note.startswith("not run:"):
            found.append(Snippet(text[: match.start("code")].count("\n") + 1, language, code, None, 0.0))
    return found


SNIPPETS = snippets(README.read_text(encoding="utf-8")) if README.is_file() else []


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: f"line{snippet.line}-{snippet.language}")
def test_snippet(snippet, folder):
    lines = [line for line in snippet.code.splitlines() if line and not line.startswith("#")]
    if snippet.language == "bash" and all(line.startswith("make ") for line in lines):
        for line in lines:
            subprocess.run(["make", "-n", line.split()[1]], cwd=REPOSITORY, check=True, capture_output=True)
        return
    script = folder / f"snippet.{snippet.language}"
    script.write_text(snippet.code, encoding="utf-8")
    command = {"python": [sys.executable, script.name], "bash": ["bash", "-e", script.name]}[snippet.language]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if snippet.output is not None:
        assert prints(snippet.output, done.stdout, snippet.tolerance), f"README:\n{snippet.output}\ngot:\n{done.stdout}"


def test_the_readme_opens_with_the_two_commands():
    assert re.findall(r"^make (\w+)", SNIPPETS[0].code, re.MULTILINE) == ["demo", "test"]


def test_files_that_the_readme_links_exist():
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text(encoding="utf-8")):
        assert (REPOSITORY / link).exists(), link


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("R2  0.80", "R2   0.81\n", True),
        ("R2  0.80", "R2   0.85\n", False),
        ("took ... s", "took 1.5 s", True),
        ("a (b) 1,000 c", "a (b) 1010 c", True),
        ("a 1", "a 1\nb", False),
        ("a\n  b", "a\n b", True),
    ],
)
def test_comparison_of_output(expected, actual, same):
    assert prints(expected, actual, 0.02) is same
