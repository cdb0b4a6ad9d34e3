"""The comparisons compare the same thing: on a tiny cell all peers that are installed learn the same."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ is not beside the tests")


MODULES = (
    "cells", "contestant", "frameworks", "contestants", "report", "estimator_rows", "peers", "estimators",
    "mnist98_trainers", "mnist98",
)  # fmt: skip


@pytest.fixture
def modules(monkeypatch):
    """The modules of the benchmarks, as the scripts see them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)


def installed(contestants, cell):
    """Peers for the cell; not the compiled PyTorch, which takes a minute."""
    package = {"jax": "jax", "torch": "torch", "sklearn": "sklearn", "vw": "vowpalwabbit"}
    found = [name for name in contestants if name not in package or importlib.util.find_spec(package[name])]
    return [name for name in found if contestants[name].suits(cell) and name != "torch_compiled"]


TINY = {
    "binary": dict(widths=(3, 8, 1), batch=16, n_rows=320, n_few=160),
    "classes": dict(widths=(3, 8, 4), batch=16, n_rows=320, n_few=160),
    "linear": dict(widths=(5, 1), batch=1, n_rows=300, n_few=200, optimizer="sgd"),
    "full": dict(widths=(4, 8, 3), batch=200, n_rows=200, n_few=200, epochs=20, activation="tanh", optimizer="adam"),
}


@pytest.mark.parametrize("kind", TINY)
def test_all_peers_learn_the_same(modules, kind):
    peers, cell = modules.peers, modules.cells.Cell(**TINY[kind])
    data, names = modules.cells.make_data(cell), installed(modules.contestants.CONTESTANTS, cell)
    found, missing = peers.prepare(names, cell, data, 1)
    assert list(found) == names
    assert not missing
    losses = {name: peers.learn(contestant, data) for name, contestant in found.items()}
    assert not peers.disagreements(losses)
    initial, in_order, shuffled = np.transpose(list(losses.values()))
    np.testing.assert_allclose(in_order, in_order[0], rtol=1e-3)  # far within what the benchmark asks for
    assert np.all(in_order < initial)
    assert np.all(shuffled < initial)


@pytest.mark.parametrize("kind", ["binary", "full"])
def test_the_step_that_pytorch_compiles(modules, monkeypatch, kind):
    """Compiled by nobody, which is quick."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    cell = modules.cells.Cell(**TINY[kind])
    data = modules.cells.make_data(cell)
    found, _ = modules.peers.prepare(["numpy", "torch_compiled"], cell, data, 1)
    losses = {name: modules.peers.learn(contestant, data) for name, contestant in found.items()}
    np.testing.assert_allclose(losses["torch_compiled"][:2], losses["numpy"][:2], rtol=1e-3)


def test_where_compiling_fails_the_report_says_why(modules, monkeypatch):
    torch = pytest.importorskip("torch")

    def no_compiler(*_):
        raise RuntimeError("no C++ compiler found\nand a long story")

    monkeypatch.setattr(torch, "compile", lambda function, **_: no_compiler)
    cell = modules.cells.Cell(**TINY["binary"])
    found, missing = modules.peers.prepare(["torch_compiled"], cell, modules.cells.make_data(cell), 1)
    assert not found
    notes = modules.report.missing_notes([{"cell": cell.name, "missing": missing}, {"cell": "other", "missing": {}}])
    why = "torch.compile failed: no C++ compiler found"
    assert notes == [f"Missing: PyTorch compiled in 3-8-1, batch 16: {why}."]


def test_vowpal_wabbit_takes_part_in_linear_cells_only(modules):
    cell = modules.cells.Cell(**TINY["binary"])
    assert modules.peers.prepare(["vw"], cell, modules.cells.make_data(cell), 1) == ({}, {})


def test_a_peer_that_learns_something_else_is_named(modules):
    peers = modules.peers
    same = [0.7, 0.4, 0.3]
    assert peers.disagreements({"a": same, "b": same, "c": same}) == {}
    assert set(peers.disagreements({"a": same, "b": same, "c": [0.7, 0.5, 0.3]})) == {"c"}
    assert set(peers.disagreements({"a": same, "b": same, "c": [0.7, 0.4, float("nan")]})) == {"c"}


def test_missing_peers_are_skipped_with_a_reason(modules, monkeypatch):
    cell = modules.cells.Cell(**TINY["binary"])
    monkeypatch.setitem(sys.modules, "torch", None)
    found, missing = modules.peers.prepare(["torch", "numpy"], cell, modules.cells.make_data(cell), 1)
    assert list(found) == ["numpy"]
    assert "torch" in missing["torch"]


def test_script_reports_times_and_ratios(tmp_path):
    path = tmp_path / "peers.json"
    command = [sys.executable, str(FOLDER / "peers.py"), "--cells", "table-32", "--peers", "fastprop,numpy"]
    command += ["--threads", "1", "--seconds", "0", "--json", str(path)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stderr
    assert "| 28-64-64-1, batch 32 |" in done.stdout
    result = json.loads(path.read_text())["threads"]["1"]["table-32"]
    assert result["peers"]["fastprop"]["us"] > 0
    assert result["peers"]["numpy"]["ratio"] > 0
    assert result["fraction"] > 0


def test_streams_are_compared(tmp_path):
    command = [sys.executable, str(FOLDER / "streams.py"), "--gb", "0.002", "--repeats", "1", "--folder", str(tmp_path)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stderr
    kinds = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    beside = [[name, f"pyarrow {name}", f"pyarrow {name}, 1 thread"] for name in ("parquet", "csv")]
    assert kinds == ["memory", "npy", *beside[0], *beside[1]]
    assert not list(tmp_path.iterdir())  # the files are gone


def test_sorted_rows_are_compared(tmp_path):
    options = ["--rows", "20000", "--memory", "2MB", "--seeds", "1", "--folder", str(tmp_path)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(FOLDER / "sorted_rows.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stderr
    kinds = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    assert kinds == ["in memory", "npy", "Parquet, row groups of 65,536", "Parquet, row groups of 1,048,576"]


def test_readme_section_is_replaced(modules, monkeypatch, tmp_path):
    report, readme = modules.report, tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "README", readme)
    report.write_readme("new")
    before, rest = readme.read_text().split(f"{report.BEGIN}\nnew\n\n")
    picture, after = rest.split(f"\n{report.END}\n")
    assert (before, after) == ("before\n", "after\n")
    assert picture.endswith("(benchmarks/peers.png)")
    readme.write_text("none")
    with pytest.raises(SystemExit, match="peers:begin"):
        report.write_readme("new")


def result_of(cell, ours, vw=None):
    """A result as of `peers.measure`, of one peer or two."""
    peers = {"fastprop": {"us": ours, "low": 0.9 * ours, "high": 1.2 * ours}}
    if vw:
        peers["vw"] = {"us": vw, "low": vw, "high": 2 * vw, "ratio": vw / ours}
    return {"cell": cell, "peers": peers, "missing": {}}


def test_tables_keep_the_rows_that_are_lost(modules):
    table = modules.report.table({"a": result_of("28-1", 2.0, 1.0), "b": result_of("2-8-1", 3.0)}, ["fastprop", "vw"])
    _, _, first, second = table.splitlines()
    assert first == "| 28-1 | 2.00 [1.80-2.40] | 1.00 [1.00-2.00] **0.500x** |"
    assert second == "| 2-8-1 | 3.00 [2.70-3.60] |  |"


def test_plot_has_a_panel_for_each_cell(modules, monkeypatch, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    results = {"a": result_of("28-1", 2.0, 1.0), "b": result_of("2-8-1", 3.0)}
    modules.report.plot({1: results, 2: results}, ["fastprop", "vw"], tmp_path / "plot.png")
    first, second = figures[0].axes
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert [first.get_title(), second.get_title()] == ["28-1", "2-8-1"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["fastprop", "Vowpal Wabbit"]
    dots = [line.get_xdata()[0] for line in first.lines if line.get_marker() == "o"]
    assert dots == [2.0, 1.0, 2.0, 1.0]


# ---- MNIST to 98 % ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fastprop", "jax", "torch"])
def test_all_trainers_follow_the_recipe(modules, name):
    """Which pixel is bright tells the class."""
    pytest.importorskip(name)
    trainers, rng = modules.mnist98_trainers, np.random.default_rng(0)
    X, y = rng.random((1344, 784), np.float32) * np.float32(0.1), rng.integers(0, 10, 1344).astype(np.uint8)
    X[np.arange(1344), 7 * y] = 1.0
    reader = SimpleNamespace(result=lambda: (X, y))
    classes = trainers.TRAINERS[name](reader, reader, 0)
    assert classes.shape == y.shape
    assert np.mean(classes == y) > 0.5
    assert [mark[0] for mark in trainers.marks][-1] == "predict"


def test_rates_of_the_recipe(modules):
    trainers = modules.mnist98_trainers
    rates = [trainers.rate_of(t, 100) for t in range(100)]
    assert np.argmax(rates) == 9
    assert rates[9] == pytest.approx(trainers.LR)
    assert rates[0] == pytest.approx(trainers.LR / 10)
    assert rates[99] == pytest.approx(trainers.LR / 90)


def test_idx_files_are_read(modules, tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + np.array(array.shape, ">u4").tobytes() + array.tobytes()))
    np.testing.assert_array_equal(modules.mnist98_trainers.read_idx(path), array)


def test_mnist_98(modules, data_path, tmp_path):
    """The whole of a run, from its start to its accuracy."""
    data_path("mnist")
    run = modules.mnist98.run("fastprop", 0, str(tmp_path))
    assert run["accuracy"] > 0.975  # the median of seeds is 98.0 %
    assert 0 < sum(run["phases"].values()) <= run["seconds"]
    table = modules.mnist98.table({"fastprop": [run, {**run, "accuracy": 0.9, "seconds": 9.0}]})
    assert "(!)" in table.splitlines()[2]


# ---- the estimators -----------------------------------------------------------------------------------------------


def test_estimators_are_compared(tmp_path):
    """A trial of rows of every kind, from the command line to the table."""
    path = tmp_path / "estimators.json"
    command = [sys.executable, str(FOLDER / "peers.py"), "--estimators", "--rows", "hinge,sparse,tiny,proba,hogwild"]
    command += ["--scale", "0.003", "--seconds", "0", "--json", str(path)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert list(rows) == ["hinge", "sparse", "tiny", "proba", "hogwild"]
    for result in rows.values():
        assert result["title"] in done.stdout
        assert all(entry["seconds"] > 0 for entry in result["contestants"].values())
    assert rows["tiny"]["contestants"]["fastprop"]["epochs"] == 50
    for key in ("hinge", "sparse"):
        ours, theirs = (rows[key]["contestants"][name]["accuracy"] for name in ("fastprop", "sklearn"))
        assert ours > theirs - 0.05  # after few rows


def test_sparse_rows_are_as_promised(modules):
    X, y = modules.estimator_rows.sparse(500)
    assert X.shape == (500, 47_236)
    assert np.all(np.diff(X.indptr) == 38)
    assert X.has_canonical_format
    np.testing.assert_allclose((X**2).sum(axis=1), 1.0)
    counts = np.sort(np.bincount(X.indices, minlength=47_236))[::-1]
    assert counts[0] > 450  # of 500 rows: Zipf's first lies in nearly all, the hundredth in one of 25
    assert 10 < counts[99] < 40
    assert 0.2 < y.mean() < 0.8


def estimator_result(ours, theirs, accuracy=0.9):
    entry = {"seconds": theirs, "low": theirs, "high": theirs, "min": theirs}
    peers = {"sklearn": {**entry, "ratio": theirs / ours, "accuracy": 0.9}}
    mine = {"seconds": ours, "low": ours, "high": ours, "min": ours, "accuracy": accuracy}
    return {"title": "t", "rounds": 3, "contestants": {"fastprop": mine, **peers}}


def test_broken_promises_are_named(modules):
    estimators, rows = modules.estimators, modules.estimator_rows.ROWS
    assert estimators.missed(estimator_result(1.0, 9.0), rows["digits"]) == []
    assert estimators.missed(estimator_result(1.0, 7.0), rows["digits"]) == ["7.00x scikit-learn, wanted 8x"]
    assert estimators.missed(estimator_result(35e-6, 1e-3), rows["proba"]) == ["35.0 us, wanted 30.0 us"]
    assert estimators.strayed(estimator_result(1.0, 9.0)) == []
    assert estimators.strayed(estimator_result(1.0, 9.0, 0.8)) == ["accuracy 0.800, scikit-learn 0.900"]
    text = estimators.report("M", {"digits": estimator_result(1.0, 7.0)})
    assert "| 1.00 s [1.00 s-1.00 s] | scikit-learn | 7.00 s | **7.00x** | 8x |" in text
    assert "(!) t: 7.00x scikit-learn, wanted 8x." in text


# ---- clusters -------------------------------------------------------------------------------------------------------


def test_the_model_of_a_round_finds_what_it_was_made_of(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.syspath_prepend(str(FOLDER))
    model = importlib.import_module("cluster_model")
    for name in ("cluster_model", "clusters", "mnist98_trainers"):
        monkeypatch.delitem(sys.modules, name)
    truth = model.Model(latency=0.02, worker=0.001, handling=2e-9)
    cases = itertools.product((1, 2, 4), (50_000, 1_000_000, 20_000_000))
    seen = [model.Seen(n, size, truth.overhead(n, size), 0.005 + 0.001 * n) for n, size in cases]
    found = model.fitted(seen)
    np.testing.assert_allclose([found.latency, found.worker, found.handling], [0.02, 0.001, 2e-9], rtol=1e-6)
    assert [model.levels(n) for n in (1, 8, 9, 64, 65, 1024)] == [0, 0, 1, 1, 2, 3]
    assert [model.transfers(n) for n in (1, 2, 8, 16)] == [1 + 1, 2 + 2, 4 + 8, 5 + 8 + 2]
    assert model.pays_until(lambda n: n / (1 + n / 100)) == 100
