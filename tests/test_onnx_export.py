"""`to_onnx`: onnxruntime gives what `predict` and `predict_proba` give, from arrays and from the columns of tables."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from export_networks import LOSSES, N_FEATURES, PAIRS, X, activations, network, of_activation, of_layers, of_loss

import fastprop as fp
from fastprop.data.preparation import Hashed, Number, Preparation
from fastprop.data.target import Target

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def run(path, **inputs):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def check(net, path, seed=0, tolerance=None):
    """On random rows, one row and no row."""
    assert net.to_onnx(path) == ["X"]
    tolerance = tolerance or {"float64": 1e-11, "float32": 2e-5}[net.dtype]
    for n in (33, 1, 0):
        rows = np.random.default_rng(seed).normal(size=(n, N_FEATURES)).astype(net.dtype) * 3
        got = run(path, X=rows)
        if n == 0:
            assert all(len(values) == 0 for values in got.values())
            continue
        expected = net.predict(rows)
        first = got.pop("label", None) if net.loss.task != "regression" else got.pop("prediction")
        if net.loss.task == "regression":
            np.testing.assert_allclose(first, expected, tolerance, tolerance)
        else:
            text = expected.dtype.kind not in "biuf"
            np.testing.assert_array_equal(first, expected.astype(str).astype(object) if text else expected)
        if "probabilities" in got:
            np.testing.assert_allclose(got.pop("probabilities"), net.predict_proba(rows), tolerance, tolerance)
        elif "scores" in got:
            np.testing.assert_allclose(got.pop("scores"), net._raw(rows), tolerance, tolerance)
        assert not got
        assert first.shape == expected.shape
    return onnx.load(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", activations(), ids=str)
def test_activations(activation, dtype, tmp_path):
    tolerance = 1e-6 if activation == "gelu" and dtype == "float64" else None  # its erf is of float32
    check(of_activation(activation, dtype), tmp_path / "m.onnx", tolerance=tolerance)


@pytest.mark.parametrize("activation", ["elu", "selu", "softplus", "sigmoid", "silu", "gelu", "tanh"])
def test_activations_of_large_numbers(activation, tmp_path):
    net = fp.Network([fp.Dense(1, activation)], dtype="float64").build(1)
    net.set_weights([(np.ones((1, 1)), np.zeros(1))])
    net.to_onnx(tmp_path / "m.onnx")
    rows = np.array([[-1e4], [-800.0], [-30.0], [30.0], [800.0], [1e4]])
    np.testing.assert_allclose(run(tmp_path / "m.onnx", X=rows)["prediction"], net.predict(rows), 1e-11, 1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers(dtype, tmp_path):
    model = check(of_layers(dtype), tmp_path / "m.onnx")
    assert "Dropout" not in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss, dtype, tmp_path):
    net = of_loss(loss, dtype)
    model = check(net, tmp_path / "m.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 15)]
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    assert (dimensions[0].dim_param, dimensions[1].dim_value) == ("n", N_FEATURES)
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata["loss"] == net.loss.name
    if net.classes_ is not None:
        assert json.loads(metadata["classes"]) == net.classes_.tolist()


def test_dates_and_names(tmp_path):
    days = np.array(["2024-01-01", "2024-01-02"], "M8[D]")[np.arange(len(X)) % 2]
    net = network([fp.Dense(1, "sigmoid")], "bce", days)
    net.feature_names_in_ = np.array(list("abcde"), object)
    model = check(net, tmp_path / "m.onnx")
    assert json.loads({p.key: p.value for p in model.metadata_props}["feature_names"]) == list("abcde")


def test_what_onnx_cannot_have(tmp_path):
    @fp.activation
    class OnnxlessCube:
        def value(self, z):
            return z * z * z

        def derivative(self, z, a):
            return 3.0 * z * z

    net = fp.Network([fp.Dense(2, OnnxlessCube), fp.Dense(1)]).build(2)
    with pytest.raises(ValueError, match=r"activation 'onnxless_cube' of layer layers\.0"):
        net.to_onnx(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="no weights yet"):
        fp.Network([fp.Dense(1)]).to_onnx(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_labels_that_no_integer_of_onnx_can_hold(tmp_path):
    net = network([fp.Dense(1)], "bce", np.array([1, 2**63 + 5], np.uint64)[np.arange(len(X)) % 2])
    with pytest.raises(ValueError, match="the label 9223372036854775813"):
        net.to_onnx(tmp_path / "m.onnx")
    net = network([fp.Dense(1)], "bce", np.array([1, 2**63 - 1], np.uint64)[np.arange(len(X)) % 2])
    check(net, tmp_path / "m.onnx")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    net = of_layers("float32")
    net.to_onnx(tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        net.to_onnx(tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == before


# ---- tables -----------------------------------------------------------------------------------------------------


COLUMNS = {
    "size": Number(2.0, 3.0, 0.5),
    "place": ["", "a, b", "caf\u00e9"],
    "flat": Number(0.0, 1.0, 0.0),
    "prediction": ["x"],
}
TABLE = {
    "size": np.array([[1.0], [np.nan], [1e9], [-3.5]]),
    "place": np.array([["caf\u00e9"], [""], ["never seen"], ["a, b"]], object),
    "flat": np.array([[5.0], [np.nan], [1.0], [2.0]]),
    "prediction": np.array([["x"], ["y"], ["x"], ["x"]], object),
}  # fmt: skip


def features(dtype):
    size = np.where(np.isnan(TABLE["size"]), 2.0, TABLE["size"])
    place = np.equal(TABLE["place"], np.array(COLUMNS["place"], object))
    return np.hstack([(size - 3.0) * 0.5, place, np.zeros((4, 1)), TABLE["prediction"] == "x"]).astype(dtype)


def of_table(target, loss, y, n, dtype="float32"):
    net = fp.Network([fp.Dense(4, "tanh"), fp.Dense(n)], loss, dtype=dtype, seed=1)
    rows = np.random.default_rng(0).normal(size=(len(y), 6))
    net.fit(rows, y, epochs=1, progress=False)
    net.preparation_ = Preparation(dict(COLUMNS), target)
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("log", [False, True])
def test_tables_of_numbers(log, dtype, tmp_path):
    target = Target(("a", "b"), "regression", (1.0, -2.0), (0.5, 0.25), log)
    net = of_table(target, "mse", PAIRS, 2, dtype)
    assert net.to_onnx(tmp_path / "m.onnx") == list(COLUMNS)
    got = run(tmp_path / "m.onnx", **TABLE)
    expected = net.predict(features(dtype)).astype(np.float64) * [0.5, 0.25] + [1.0, -2.0]
    np.testing.assert_allclose(got["prediction_"], np.exp(expected) if log else expected, 1e-5)
    assert net.to_onnx(tmp_path / "plain.onnx", preparation=False) == ["X"]
    got = run(tmp_path / "plain.onnx", X=features(dtype))
    np.testing.assert_allclose(got["prediction"], net.predict(features(dtype)), 1e-5)


def test_tables_of_labels(tmp_path):
    labels = np.array(["no", "yes"])[np.arange(40) % 2]
    net = of_table(Target(("y",), "classification", text=True, classes=("no", "yes")), "cross_entropy", labels, 2)
    net.to_onnx(tmp_path / "m.onnx")
    got = run(tmp_path / "m.onnx", **TABLE)
    assert got["label"].tolist() == net.predict(features("float32")).tolist()
    np.testing.assert_allclose(got["probabilities"], net.predict_proba(features("float32")), 1e-5)


def test_hashed_columns(tmp_path):
    net = of_table(None, "mse", np.arange(40.0), 1)
    net.preparation_ = Preparation({"url": Hashed(6)})
    with pytest.raises(ValueError, match=r"hashing of column 'url'.*preparation=False.*6 features"):
        net.to_onnx(tmp_path / "m.onnx")
    assert net.to_onnx(tmp_path / "m.onnx", preparation=False) == ["X"]
