"""Layers of one unit, whose weights are a vector: wherever one may stand, by every way to an update."""

import naive
import numpy as np
import pytest

import fastprop as fp

QUIET = {"progress": False}
BOUND = {"float64": 1e-10, "float32": 2e-5}
SHAPES = {
    "linear": lambda: [fp.Dense(1)],
    "no bias": lambda: [fp.Dense(1, bias=False)],
    "output": lambda: [fp.Dense(37, "tanh"), fp.Dense(1)],
    "bottleneck": lambda: [fp.Dense(1, "gelu"), fp.Dense(18, "tanh"), fp.Dense(1, "tanh", bias=False), fp.Dense(3)],
    "in a block": lambda: [fp.Dense(20, "gelu"), fp.Residual([fp.Dense(1, "tanh"), fp.Dense(20)]), fp.Dense(1)],
}
WAYS = {
    "batches": ({}, {"batch_size": 17}),
    "full": ({}, {"batch_size": None}),
    "penalty": ({"l1": 0.003, "l2": 0.01}, {"batch_size": 17}),
    "clip_value": ({"clip_value": 0.1}, {"batch_size": 17}),
    "clip_norm": ({"clip_norm": 0.1}, {"batch_size": 17}),
    "stored penalty": ({"l1": 0.003, "l2": 0.01}, {"batch_size": 17, "accumulate": 2}),
    "csr": ({}, {"batch_size": 17}),
    "single": ({}, {"batch_size": 1}),
}


def data(n_rows, n_features, n_outputs, dtype):
    rng = np.random.default_rng([n_rows, n_features])
    X, Y = rng.normal(size=(n_rows, n_features)), rng.normal(size=(n_rows, n_outputs))
    return (X * (rng.random(X.shape) < 0.7)).astype(dtype), Y.astype(dtype)


def network(shape, n_features, dtype, **settings):
    net = fp.Network(SHAPES[shape](), dtype=dtype, **settings).build(n_features)
    rng = np.random.default_rng(3)  # biases that are not 0
    net.set_weights([(W, None if b is None else rng.normal(size=b.shape)) for W, b in net.get_weights()])
    return net


def compare_gradients(shape, dtype, sizes=(1, 7, 16, 33, 100)):
    for n_features, n_rows in zip(sizes, reversed(sizes), strict=True):
        net = network(shape, n_features, dtype, l2=0.01)
        X, Y = data(n_rows, n_features, net.layers[-1].units, dtype)
        reference, weights = naive.Reference(net), net.get_weights()
        expected_loss, expected = reference.gradients(weights, X, Y)
        for given in (X, pytest.importorskip("scipy.sparse").csr_array(X)):
            loss, found = net.gradients(given, Y)
            assert abs(loss - expected_loss) < BOUND[dtype] * expected_loss
            assert max(naive.errors(found, expected)) < BOUND[dtype]
            assert naive.error(net.predict(given).reshape(n_rows, -1), reference.forward(weights, X)[0]) < BOUND[dtype]


def compare_training(shape, way, dtype, n_features=21, n_rows=61):
    settings, arguments = WAYS[way]
    net = network(shape, n_features, dtype, optimizer=fp.Adam(1e-3), **settings)
    X, Y = data(n_rows, n_features, net.layers[-1].units, dtype)
    size = arguments.get("accumulate", 1) * (arguments["batch_size"] or n_rows)
    batches = [(X[i : i + size], Y[i : i + size], None) for i in range(0, n_rows, size)]
    expected, losses = naive.Reference(net).train(net.get_weights(), batches)
    given = pytest.importorskip("scipy.sparse").csr_array(X) if way == "csr" else X
    net.fit(given, Y, epochs=1, shuffle=False, **arguments, **QUIET)
    for ours, theirs in zip(naive.arrays(net.get_weights()), naive.arrays(expected), strict=True):
        assert abs(ours - theirs).max() < (1e-4 if dtype == "float32" else 1e-9)  # Adam: see test_instruction_sets
    mean = np.average(losses, weights=[len(X) for X, *_ in batches])
    assert net.history_["loss"][0] == pytest.approx(mean, rel=10 * BOUND[dtype])
    return net


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(shape, dtype):
    compare_gradients(shape, dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "in a block"])
def test_training(shape, way):
    compare_training(shape, way, "float64")


@pytest.mark.parametrize("way", ["batches", "clip_norm", "single"])
def test_training_in_float32(way):
    compare_training("bottleneck", way, "float32")


def test_a_bad_number_in_csr():
    X, Y = data(50, 21, 1, "float64")
    X[33, 4] = np.nan
    with pytest.raises(ValueError, match="row 33, column 4"):
        network("linear", 21, "float64").fit(pytest.importorskip("scipy.sparse").csr_array(X), Y, **QUIET)


@pytest.mark.parametrize("n_features", [1, 16, 19])
def test_weights_come_back(n_features):
    net = network("linear", n_features, "float32")
    ((W, b),) = net.get_weights()
    assert W.shape == (n_features, 1)
    assert b.shape == (1,)
    net.set_weights([(W + 1.0, b)])
    np.testing.assert_array_equal(net.get_weights()[0][0], W + np.float32(1.0))
    assert np.count_nonzero(net._parameters.rows[0]) == n_features + 1


def test_two_threads_give_the_same_bits():
    X, Y = data(3000, 21, 1, "float32")
    nets = [network("output", 21, "float32", optimizer=fp.Adam(1e-3)) for _ in range(2)]
    for n_threads, net in enumerate(nets, start=1):
        net.fit(X, Y, epochs=3, batch_size=500, n_threads=n_threads, **QUIET)
    assert nets[0]._parameters.rows.tobytes() == nets[1]._parameters.rows.tobytes()
