"""The pass in plain NumPy: equal to the engine's gradients and to the reference, for every layer, loss and formula."""

import copy

import covering
import naive
import numpy as np
import pytest
from names import built_in

import fastprop as fp
from fastprop.diagnose.copies import duplicate, prepare
from fastprop.diagnose.formulas import evaluate
from fastprop.diagnose.trace import trace
from fastprop.kernels.activations import ACTIVATIONS


def pairs(found):
    return [(record.dW, record.db) for record in found.records if record.dW is not None]


@pytest.mark.parametrize("k", range(covering.N_CASES), ids=covering.loss_name)
def test_gradients_are_those_of_the_engine_and_of_the_reference(k, rng):
    net = covering.network(k, l1=1e-3, l2=1e-2)
    net.divides_penalties = k % 2 == 1
    X, y, Y = covering.data(k, 11, rng)
    weights = rng.uniform(0.5, 2.0, 11)
    found = trace(prepare(net, X, y, weights))

    loss, gradients = net.gradients(X, y, weights)
    expected_loss, expected = naive.Reference(net).gradients(net.get_weights(), X, Y, weights)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert found.loss == pytest.approx(expected_loss, rel=1e-12)
    for got, ours, reference in zip(*map(naive.arrays, (pairs(found), gradients, expected)), strict=True):
        scale = abs(reference).max() + 1e-4  # a bias that feeds a batch norm has no gradient: all is rounding
        assert abs(got - ours).max() < 1e-9 * scale
        assert abs(got - reference).max() < 1e-9 * scale


def test_the_network_does_not_change(rng):
    net = covering.network(0)
    X, y, _ = covering.data(0, 9, rng)
    net.fit(X, y, epochs=1, batch_size=3, progress=False)
    before, state, history = net.state_dict(), copy.deepcopy(net._parameters.rows), copy.deepcopy(net.history_)
    twin = duplicate(net, dtype="float32", dropout=False)
    assert not hasattr(twin, "history_")
    twin.fit(X, y, epochs=2, progress=False)
    assert all(np.array_equal(before[name], array) for name, array in net.state_dict().items())
    assert np.array_equal(state, net._parameters.rows)
    assert net.history_ == history
    assert twin.dtype == "float32"
    assert [layer.rate for layer in twin.layers if isinstance(layer, fp.Dropout)] == [0.0]


def test_a_copy_goes_on_with_the_state_of_the_optimizer(rng):
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    net = fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(1)], optimizer=fp.Adam(1e-2))
    net.fit(X, y, epochs=3, batch_size=5, progress=False)
    twin = duplicate(net)
    assert net.partial_fit(X, y) == twin.partial_fit(X, y)
    assert all(np.array_equal(array, twin.state_dict()[name]) for name, array in net.state_dict().items())


def test_zero_weights_hide_samples(rng):
    X, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    net = fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(1)])
    weights = np.array([1.0, 0.0, 2.0, 0.0, 0.5, 0.0])
    found, rest = trace(prepare(net, X, y, weights)), trace(prepare(net, X[::2], y[::2], weights[::2]))
    assert found.loss == pytest.approx(rest.loss)
    assert abs(found.records[0].dW - rest.records[0].dW).max() < 1e-15


# ---- formulas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", built_in(ACTIVATIONS))
def test_formulas_on_arrays_are_those_on_numbers(name):
    act = ACTIVATIONS[name]()
    z = np.linspace(-6, 6, 26).reshape(2, 13)
    a = evaluate(act, "value", z)
    assert a.shape == z.shape
    assert a.ravel() == pytest.approx([float(act.value(v)) for v in z.ravel()], rel=1e-12, abs=1e-15)
    slope = evaluate(act, "derivative", z, a)
    assert slope.shape == z.shape
    expected = [float(act.derivative(v, w)) for v, w in zip(z.ravel(), a.ravel(), strict=True)]
    assert slope.ravel() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_formulas_that_want_single_numbers():
    class Branches:
        def value(self, z):
            return z if z > 0 else z / (1.0 - z)

        def derivative(self, z, a):
            return 1.0 / 0.0 if z > 3 else 1.0

    z = np.array([-1.0, 0.0, 2.0, 5.0])
    assert evaluate(Branches(), "value", z).tolist() == [-0.5, 0.0, 2.0, 5.0]
    assert np.isnan(evaluate(Branches(), "derivative", z, z)[3])


# ---- bad input ----------------------------------------------------------------------------------------------------


def test_errors_name_what_is_wrong(rng):
    X, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    net = fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(1)]).build(3)
    with pytest.raises(TypeError, match="net must be a Network, got list"):
        prepare([1], X, y)
    with pytest.raises(TypeError, match="give its network_"):
        prepare(type("Estimator", (), {"network_": net})(), X, y)
    with pytest.raises(ValueError, match="X must be finite in float64, got nan in row 1"):
        prepare(net, np.where(np.arange(6)[:, None] == 1, np.nan, X), y)
    with pytest.raises(ValueError, match="X has 2"):
        prepare(net, X[:, :2], y)
    with pytest.raises(ValueError, match="y has 5 rows but X has 6"):
        prepare(net, X, y[:5])
    with pytest.raises(ValueError, match="sample_weight must not be zero"):
        prepare(net, X, y, np.zeros(6))
    with pytest.raises(TypeError, match="not at a Dataset"):
        prepare(net, fp.data.from_batches(lambda: iter([(X, y)])), None)


def test_overflow_names_the_layer(rng):
    X, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    huge = fp.init.Normal(1e160)
    net = fp.Network([fp.Dense(4, init=huge), fp.Dense(4, init=huge), fp.Dense(1)], dtype="float64")
    with pytest.raises(fp.DivergenceError, match=r"z of layers\[1\] is -?inf in sample 0"):
        trace(prepare(net, X, y))
