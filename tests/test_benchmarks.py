"""The comparison with peers compares the same thing, and the suite of asv holds all that there is to measure."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import pkgutil
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


# ---- the suite of asv ---------------------------------------------------------------------------------------------


@pytest.fixture
def suite(modules):
    """The modules of the suite by name, as asv imports them."""
    package = importlib.import_module("suite")
    found = [info.name for info in pkgutil.iter_modules(package.__path__)]
    yield {name: importlib.import_module(f"suite.{name}") for name in found}
    for name in [name for name in sys.modules if name == "suite" or name.startswith("suite.")]:
        del sys.modules[name]


def benchmarks_of(suite):
    """Triples (class, name, kind) of the suite's benchmarks."""
    classes = {c for module in suite.values() for c in vars(module).values() if inspect.isclass(c)}
    for cls in classes:
        for name in dir(cls):
            if name.startswith(("time_", "track_", "peakmem_")):
                yield cls, name, name.partition("_")[0]


def built_in(registry):
    """Names of the components of the package; other tests register their own."""
    return {name for name, cls in registry.items() if cls.__module__.startswith("fastprop.")}


def test_every_cell_is_in_the_suite(modules, suite):
    cells, training = modules[0], suite["training"]
    assert set(training.Cells.params[0]) == set(training.Throughput.params) == set(cells.CELLS)
    assert set(training.Ceiling.params) == {key for key, cell in cells.CELLS.items() if cell.batch > 1}
    for key, cell in suite["steps"].SHORT.items():
        assert (cell.widths, cell.batch) == (cells.CELLS[key].widths, cells.CELLS[key].batch)
        assert cell.is_full_batch == cells.CELLS[key].is_full_batch


def test_every_part_is_in_the_suite(suite):
    from fastprop.kernels.activations import ACTIVATIONS
    from fastprop.kernels.losses import LOSSES
    from fastprop.kernels.optimizers import RULES

    parts = suite["parts"]
    assert built_in(ACTIVATIONS) <= set(parts.Activations.params)
    assert built_in(LOSSES) <= set(parts.Losses.params)
    assert {o.rule().component_name for o in parts.OPTIMIZERS.values()} == built_in(RULES)


def test_every_benchmark_says_what_it_measures(suite):
    found = list(benchmarks_of(suite))
    assert {kind for *_, kind in found} == {"time", "track", "peakmem"}
    for cls, name, kind in found:
        assert cls.__doc__, cls
        assert kind != "track" or hasattr(getattr(cls, name), "unit"), name
        params = getattr(cls, "params", [])
        grid = params if params and isinstance(params[0], list) else [params] * bool(params)
        assert len(grid) == len(getattr(cls, "param_names", [])), cls


def test_a_step_is_timed_as_one(suite):
    """A timing covers an epoch; the clock that asv reads goes slower by its number of steps."""
    layers = suite["parts"].Layers()
    layers.setup("dense")
    assert layers.n_steps == 100
    assert layers.n_steps * layers.seconds() == pytest.approx(layers.net.history_["time"][-1], rel=0.9)
    before = layers.net.get_weights()[0][0]
    layers.time_step("dense")
    assert not np.array_equal(before, layers.net.get_weights()[0][0])


def test_more_threads_than_processors_are_left_out(suite, monkeypatch):
    monkeypatch.setattr(suite["steps"], "available_threads", lambda: 1)
    with pytest.raises(NotImplementedError, match="needs 2 processors"):
        suite["training"].Cells().setup("table-32", 2)


def test_asv_finds_the_suite():
    root = FOLDER.parent
    text = (root / "asv.conf.json").read_text(encoding="utf-8")
    conf = json.loads("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//")))
    assert (root / conf["benchmark_dir"] / "__init__.py").is_file()
    ignored = (root / ".gitignore").read_text(encoding="utf-8").split()
    assert all(conf[name].startswith(".asv/") for name in ("env_dir", "results_dir", "html_dir"))
    assert ".asv/" in ignored
