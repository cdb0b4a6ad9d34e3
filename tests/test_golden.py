"""Models of every release load and give what they gave when they were saved; `tests/golden/make.py` writes the files.

The instruction set may be another one: numbers agree to 1e-9 (float64) or 1e-4, labels exactly.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import fastprop as fp
from fastprop import files, optimizers, schedules

FOLDER = Path(__file__).parent / "golden"
sys.path.insert(0, str(FOLDER))

import golden_networks as networks  # noqa: E402
import make  # noqa: E402

RELEASES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir() and path.name[0].isdigit())
NETWORKS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.json"))
RUNS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/checkpoints/*.ckpt"))
TABLES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.expected.csv"))


def test_this_version_has_its_files():
    assert fp.__version__ in RELEASES, "run tests/golden/make.py"
    expected = {f"{fp.__version__}/{name}.json" for name in networks.NETWORKS}
    assert expected <= set(NETWORKS)
    assert len([path for path in TABLES if path.startswith(f"{fp.__version__}/")]) == len(networks.TABLES)
    assert f"{fp.__version__}/checkpoints/run.ckpt" in RUNS


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_what_they_gave(name, tmp_path):
    path = (FOLDER / name).with_suffix(".safetensors")
    expected = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    net, X = fp.load(path, custom=networks.CUSTOM), np.array(expected.pop("X"))
    assert net.extra == networks.EXTRA
    check_outputs(net, X, expected)
    net.save(tmp_path / "again")  # in the format of this version
    check_outputs(fp.load(tmp_path / "again", custom=networks.CUSTOM), X, expected)
    net.partial_fit(X[:4], net.predict(X[:4]))  # its optimizer and its schedule work


def check_outputs(net, X, expected):
    tolerance = 1e-9 if net.dtype == "float64" else 1e-4
    for method, values in expected.items():
        got, values = getattr(net, method)(X), np.array(values)
        assert got.shape == values.shape
        if values.dtype.kind == "f":
            np.testing.assert_allclose(got, values, tolerance, tolerance)
        else:
            assert make.as_json(got) == values.tolist()


@pytest.mark.parametrize("name", RUNS)
def test_runs_go_on_to_what_they_came_to(name, tmp_path):
    """In the middle of an epoch, with the state of the optimizer, the schedule, early stopping and dropout."""
    path = FOLDER / name
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert files.read(path)[0]["run"]["place"] is not None
    net = fp.resume(path)
    net.checkpoint(tmp_path / "again.ckpt")  # in the format of this version
    for resumed in (net, fp.resume(tmp_path / "again.ckpt")):
        data = {name: np.array(values) for name, values in expected["data"].items()}
        history = resumed.fit(**data, **expected["fit"])
        for key in expected["history"].keys() - {"time"}:
            np.testing.assert_allclose(history[key], expected["history"][key], 1e-9)
        for key, array in resumed.state_dict().items():
            np.testing.assert_allclose(array, expected["weights"][key], 1e-9, 1e-9)


PREDICT = """
    from fastprop.cli import main
    try:
        main()
    except SystemExit as end:
        assert not end.code
"""


@pytest.mark.parametrize("name", TABLES)
def test_tables_give_what_they_gave(name, tmp_path, run_script):
    expected = FOLDER / name
    model, data = (expected.with_name(expected.name.replace("expected.csv", end)) for end in ("safetensors", "csv"))
    run_script(PREDICT, "predict", model, data, "--out", tmp_path / "out.csv")
    got, values = (list(csv.reader(path.open(encoding="utf-8"))) for path in (tmp_path / "out.csv", expected))
    assert got[0] == values[0]
    assert len(got) == len(values)
    for a, b in zip(got[1:], values[1:], strict=True):
        assert a == b or [float(v) for v in a] == pytest.approx([float(v) for v in b], rel=1e-4)


def components(value):
    """What a description names: layers, activations, losses, optimizers, schedules."""
    if isinstance(value, dict):
        yield from (value[key] for key in ("layer", "name", "schedule") if key in value)
        for inner in value.values():
            yield from components(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from components(inner)


def test_the_set_has_everything_that_a_file_can_name():
    found, dtypes, labels = set(), set(), set()
    for path in (FOLDER / fp.__version__).glob("*.safetensors"):
        description = files.read(path)[0]
        found |= set(components({key: description[key] for key in ("layers", "loss", "optimizer")}))
        dtypes.add(description["dtype"])
        labels.add(description["classes"] and np.dtype(description["classes"]["dtype"]).kind)
    known = {
        "dense", "dropout", "batch_norm", "layer_norm", "residual", "softmax", *schedules.SCHEDULES,
        *built_in(fp.kernels.activations.ACTIVATIONS), *built_in(fp.losses.PUBLIC), *built_in(optimizers.PUBLIC),
    }  # fmt: skip
    assert known <= found, f"give tests/golden/golden_networks.py one with {known - found}"
    assert dtypes == {"float32", "float64"}
    assert labels == {None, *"biufUMO"} - {"u"}


def built_in(registry):
    return {name for name, cls in registry.items() if cls.__module__ in ("fastprop.losses", "fastprop.optimizers")
            or cls.__module__.startswith("fastprop.kernels")}  # fmt: skip


def test_the_files_are_small():
    sizes = {path: path.stat().st_size for path in FOLDER.glob("*/*.safetensors")}
    assert max(sizes.values()) < 10_000


def test_a_set_is_never_written_over():
    with pytest.raises(SystemExit, match="stay as they are"):
        make.main(RELEASES[0])
