"""The suite of asv holds all that there is to measure, and measures what it says."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ is not beside the tests")


@pytest.fixture
def suite(monkeypatch):
    """The modules of the suite by name, as asv imports them; among them `cells`, which they share with the scripts."""
    monkeypatch.syspath_prepend(str(FOLDER))
    package = importlib.import_module("suite")
    found = [info.name for info in pkgutil.iter_modules(package.__path__)]
    yield {name: importlib.import_module(f"suite.{name}") for name in found} | {"cells": sys.modules["cells"]}
    beside = ("suite", "cells", "start", "estimator_rows")
    for name in [name for name in sys.modules if name.partition(".")[0] in beside]:
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
    return {name for name, cls in registry.items() if cls.__module__.startswith("fastprop.kernels.")}


def test_every_cell_is_in_the_suite(suite):
    cells, training = suite["cells"], suite["training"]
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


def test_a_step_is_timed_as_one(suite, monkeypatch):
    """A timing covers an epoch; the clock that asv reads goes slower by its number of steps."""
    layers = suite["parts"].Layers()
    layers.setup("dense")
    assert layers.n_steps == 100
    with monkeypatch.context() as patch:
        patch.setattr(layers, "train", lambda: None)
        patch.setattr(suite["steps"].time, "perf_counter", iter((200.0, 500.0)).__next__)
        assert layers.seconds() == 3.0
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
