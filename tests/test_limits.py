"""limits.py says which targets are missed, and measures memory where it grows."""

from __future__ import annotations

import importlib
import mmap
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = ("cells", "networks", "limit_sections", "memory", "limits")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ is not beside the tests")


@pytest.fixture
def modules(monkeypatch):
    """The benchmark's modules, as the script sees them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    for name in NAMES:
        sys.modules.pop(name, None)


def test_targets_are_upper_or_lower_bounds(modules):
    Row = modules.limit_sections.Row
    assert Row("a", 1.2, "", 1.15).is_missed
    assert not Row("a", 1.1, "", 1.15).is_missed
    assert Row("a", 1.7, "x", -1.8).is_missed
    assert not Row("a", 1.9, "x", -1.8).is_missed
    assert not Row("a", 1.9, "x", None).is_missed
    assert Row("failed", None, "", None).is_missed
    assert (Row("a", 1.0, " us", 5.0).target, Row("a", 1.0, "x", -1.8).target) == ("<= 5 us", ">= 1.8x")


def test_table_marks_what_is_missed(modules):
    Row = modules.limit_sections.Row
    text = modules.limits.table({"one": [Row("slow", 7.0, " us", 5.0), Row("fast", 3.0, " us", 5.0, "note")]})
    assert "| one | slow | 7 us (!) | <= 5 us |  |" in text
    assert "| one | fast | 3 us | <= 5 us | note |" in text


def test_ratio_is_taken_within_rounds(modules):
    times = np.array([[1.0, 2.0], [10.0, 20.0], [3.0, 6.3]])
    assert modules.limit_sections.ratios(times, 1)[0] == 2.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell RssAnon")
def test_memory_that_came_and_went_is_seen(modules, monkeypatch):
    memory = modules.memory
    with memory.highest() as peak:
        before = peak[0]
        # Of the system: what malloc gives may be resident already.
        private = mmap.mmap(-1, 50_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for _ in range(50):
            private.write(b"1" * 1_000_000)
        for _ in range(100):  # the thread that looks may have to wait for a processor
            if peak[0] > before + 49e6:
                break
            memory.time.sleep(0.05)
        private.close()
    assert 49e6 < peak[0] - before < 80e6
    monkeypatch.setattr(memory, "FILE_BYTES", 2_000_000)
    row = memory.train((5, 8, 2), 32)
    assert "100,000 rows" in row.note
    assert row.measured >= 0.0
    with memory.mapped(5) as X:
        assert (X.shape, X.dtype) == ((100_000, 5), np.float32)
        name = X.filename
        assert Path(name).exists()
    assert not Path(name).exists()


def test_script_writes_a_table():
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(FOLDER / "limits.py"), "one-row"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stderr
    assert "| one-row | predict, one row |" in done.stdout
