"""The comparison with peers compares the same thing: on a tiny cell all that are installed learn the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ is not beside the tests")


@pytest.fixture
def modules(monkeypatch):
    """The benchmark's modules, as the script sees them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    cells, contestants, peers = (importlib.import_module(name) for name in ("cells", "contestants", "peers"))
    yield cells, contestants, peers
    for name in ("cells", "contestants", "peers"):
        sys.modules.pop(name, None)


def installed(contestants):
    package = {"jax": "jax", "torch": "torch", "sklearn": "sklearn"}
    return [name for name in contestants.CONTESTANTS if name not in package or importlib.util.find_spec(package[name])]


TINY = {
    "binary": dict(widths=(3, 8, 1), batch=16, n_rows=320, n_few=160),
    "classes": dict(widths=(3, 8, 4), batch=16, n_rows=320, n_few=160),
    "full": dict(widths=(4, 8, 3), batch=200, n_rows=200, n_few=200, epochs=20, activation="tanh", optimizer="adam"),
}


@pytest.mark.parametrize("kind", TINY)
def test_all_peers_learn_the_same(modules, kind):
    cells, contestants, peers = modules
    cell = cells.Cell(**TINY[kind])
    data, names = cells.make_data(cell), installed(contestants)
    found, missing = peers.prepare(names, cell, data, 1)
    assert not missing
    losses = {name: peers.learn(contestant, data) for name, contestant in found.items()}
    assert not peers.disagreements(losses)
    initial, in_order, shuffled = np.transpose(list(losses.values()))
    np.testing.assert_allclose(in_order, in_order[0], rtol=1e-3)  # far within what the benchmark asks for
    assert np.all(in_order < initial)
    assert np.all(shuffled < initial)


def test_a_peer_that_learns_something_else_is_named(modules):
    peers = modules[2]
    same = [0.7, 0.4, 0.3]
    assert peers.disagreements({"a": same, "b": same, "c": same}) == {}
    assert set(peers.disagreements({"a": same, "b": same, "c": [0.7, 0.5, 0.3]})) == {"c"}
    assert set(peers.disagreements({"a": same, "b": same, "c": [0.7, 0.4, float("nan")]})) == {"c"}


def test_missing_peers_are_skipped_with_a_reason(modules, monkeypatch):
    cells, _, peers = modules
    cell = cells.Cell(**TINY["binary"])
    monkeypatch.setitem(sys.modules, "torch", None)
    found, missing = peers.prepare(["torch", "numpy"], cell, cells.make_data(cell), 1)
    assert list(found) == ["numpy"]
    assert "torch" in missing["torch"]


def test_script_reports_times_and_ratios(modules, tmp_path):
    path = tmp_path / "peers.json"
    command = [sys.executable, str(FOLDER / "peers.py"), "--cells", "table-32", "--peers", "fastprop,numpy"]
    command += ["--threads", "1", "--seconds", "0", "--json", str(path)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stderr
    assert "| 28-64-64-1, batch 32 |" in done.stdout
    result = json.loads(path.read_text())["threads"]["1"]["table-32"]
    assert result["peers"]["fastprop"]["us"] > 0
    assert result["peers"]["numpy"]["ratio"] > 1
    assert 0 < result["fraction"] < 1.1


def test_readme_section_is_replaced(modules, monkeypatch, tmp_path):
    peers = modules[2]
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{peers.BEGIN}\nold\n{peers.END}\nafter\n")
    monkeypatch.setattr(peers, "README", readme)
    peers.write_readme("new")
    assert readme.read_text() == f"before\n{peers.BEGIN}\nnew\n{peers.END}\nafter\n"
    readme.write_text("none")
    with pytest.raises(SystemExit, match="peers:begin"):
        peers.write_readme("new")
