"""Every snippet of README.md runs, in one temporary folder, and prints what the README says (see `printed`).

Lines that call make must name targets of the Makefile.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from printed import prints, run_snippet, snippets

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"

pytestmark = [
    pytest.mark.readme,
    pytest.mark.skipif(not README.is_file(), reason="README.md is not beside the tests: they run on an installation"),
]

SNIPPETS = snippets(README.read_text(encoding="utf-8")) if README.is_file() else []


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
    run_snippet(snippet, folder)


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
