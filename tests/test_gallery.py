"""Every script of the gallery runs without a display, prints what is expected of it, and ends in a picture.

What NAME.py must print lies in tests/gallery/NAME.txt: `...` stands for anything, and numbers may differ by what its
first line says ("numbers within 2 %"), as in the pages of the documentation (see `printed`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from printed import prints, run_script, tolerance_of

TESTS = Path(__file__).resolve().parent
EXAMPLES, EXPECTED = TESTS.parent / "examples", TESTS / "gallery"
NAMES = sorted(path.stem for path in EXPECTED.glob("*.txt"))

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the repository's examples/")


@pytest.mark.parametrize("name", NAMES)
def test_script(name, tmp_path):
    note, _, expected = (EXPECTED / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    printed = run_script([sys.executable, str(EXAMPLES / f"{name}.py")], tmp_path)
    assert prints(expected, printed, tolerance_of(note)), f"expected:\n{expected}\ngot:\n{printed}"
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_every_example_has_its_output():
    others = {"digits", "large_sgd"}  # tested by themselves
    assert {path.stem for path in EXAMPLES.glob("*.py")} - others == set(NAMES)
