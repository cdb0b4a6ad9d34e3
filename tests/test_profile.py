"""profile.py sees every instruction of a step, changes nothing in what is trained, and hides nobody's `profile`."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = ("cells", "networks", "marks", "floors", "step_profile")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ is not beside the tests")


@pytest.fixture
def modules(monkeypatch):
    """The benchmark's modules, as the script sees them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    for name in NAMES:
        sys.modules.pop(name, None)


KINDS = {
    "mini-batches": (dict(widths=(3, 20, 2), batch=40, n_rows=160, n_few=40), "momentum", "none", 1),
    "two threads": (dict(widths=(3, 20, 2), batch=256, n_rows=1024, n_few=256), "adam", "none", 2),
    "one sample": (dict(widths=(3, 20, 1), batch=1, n_rows=64, n_few=8), "rmsprop", "none", 1),
    "barriers inside": (dict(widths=(3, 20, 2), batch=256, n_rows=1024, n_few=256), "sgd", "batch_norm", 2),
    "dropout": (dict(widths=(3, 20, 2), batch=40, n_rows=160, n_few=40), "sgd", "dropout", 1),
    "several chunks": (dict(widths=(3, 8, 2), batch=10_000, n_rows=10_000, n_few=10_000), "momentum", "none", 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_marks_see_each_instruction_and_change_nothing(modules, kind):
    sizes, optimizer, between, n_threads = KINDS[kind]
    cell = modules.cells.Cell(**sizes)
    X, y, _, _ = modules.cells.make_data(cell)
    weights = []
    for marked in (False, True):
        net = modules.networks.network(cell, optimizer, between)
        modules.networks.fit(net, cell, X, y)
        with (
            modules.marks.named() as names,
            modules.networks.engine_of(net, cell, X, y, n_threads) as engine,
        ):
            job = modules.marks.Marked(engine, names)
            for _ in range(2):
                job.run(0, len(engine.chunks), marked)
            weights.append(engine.parameters.rows.copy())
            scene = modules.step_profile.scene_of(engine, cell, X, y)
            programs = engine.programs
    np.testing.assert_array_equal(*weights)
    called = [p for p in job.places if p.operation is not None]
    assert len(called) == sum(map(len, (programs.rows, programs.weights, programs.finish, programs.gather)))
    assert {p.name for p in called} <= set(names.values())
    ticks = job.tables[:, 1 : 1 + len(job.places)]
    assert (ticks > 0).all()
    assert (np.diff([p.stage for p in job.places]) >= 0).all()
    if kind == "one sample":  # kernels of their own, which may do several phases in one
        return
    assert {*modules.step_profile.PHASES, "mark"} == set(modules.step_profile.phases_of(job.places))
    for place in called:  # a kernel without a floor would be missing in the sum of floors
        assert modules.floors.work_of(place.name, place.operation, scene) is not None, place.name


def test_floors_are_arithmetic_or_bytes(modules):
    floors = modules.floors
    bandwidth = floors.Bandwidth.__new__(floors.Bandwidth)
    bandwidth.table = {kind: np.full(len(floors.SIZES), gb) for kind, gb in zip(floors.KINDS, (8, 4, 2), strict=True)}
    bandwidth.table["change"][-1] = 1  # the largest arrays
    op = np.zeros(1, modules.marks.records.OPERATION)[0]
    op["n_in"], op["n_out"] = 100, 50
    scene = floors.Scene(1000, 1, 1, 1, False, {0: 400, 1: 8}, 1e3, 1e9, 1e3)
    forward = floors.floor_of("dense_forward", op, scene, 10.0, bandwidth)
    assert forward.bound == "arithmetic"
    assert forward.arithmetic == pytest.approx(2 * 1000 * 100 * 50 / 10e9)
    assert forward.bytes == pytest.approx((4 * 1000 * 100 + 4 * 100 * 50) / 8e9 + 4 * 1000 * 50 / 4e9)
    stored = floors.floor_of("stored_update", op, scene, 10.0, bandwidth)
    assert stored.bound == "bytes"
    assert stored.seconds == pytest.approx(3 * 4 * 100 * 50 / 1e9)
    gather = floors.floor_of("gather", op, scene._replace(n_workers=2), 10.0, bandwidth)
    assert gather.seconds == pytest.approx((1000 * 400 / 8e9 + 4 * 1000 * 50 / 4e9) / 2)
    assert floors.floor_of("unheard_of", op, scene, 10.0, bandwidth) is None


def test_cells_by_key_and_by_widths(modules):
    assert modules.networks.cell_of("wide-128") is modules.cells.CELLS["wide-128"]
    cell = modules.networks.cell_of("28-64-1:256")
    assert (cell.widths, cell.batch, cell.n_rows % 256) == ((28, 64, 1), 256, 0)
    for text in ("wide", "28-64-1", "28:3", "28-64-1:0x"):
        with pytest.raises(ValueError, match="none of"):
            modules.networks.cell_of(text)


def run(*command):
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env={**os.environ, **paths})


def test_script_writes_a_table_and_numbers(tmp_path):
    path = tmp_path / "profile.json"
    done = run(str(FOLDER / "profile.py"), "5-8-2:16", "--seconds", "0", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "dense_update 5-8" in done.stdout
    found = json.loads(path.read_text())
    assert found["step"] > 0
    assert found["fit"] > 0
    assert sum(line["us"] for line in found["lines"]) > 0


def test_scripts_in_the_folder_still_find_the_profile_of_python(tmp_path):
    script = "import sys; sys.path.insert(0, sys.argv[1]); import cProfile, profile; print(profile.Profile.__module__)"
    done = run("-c", script, str(FOLDER))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["profile"]
