"""check_gradients: right gradients pass, whatever the layers; wrong formulas of a user's are found and named."""

import re

import covering
import numpy as np
import pytest
from names import built_in

import fastprop as fp
from fastprop.diagnose import GradientError, check_gradients
from fastprop.diagnose.formula_check import compare
from fastprop.diagnose.formulas import evaluate
from fastprop.kernels.activations import ACTIVATIONS
from fastprop.kernels.losses import LOSSES


@fp.activation
class DiagnoseWrongSquare:
    def value(self, z):
        return z * z

    def derivative(self, z, a):
        return 1.9 * z


@fp.activation
class DiagnoseWrongFar:
    """Wrong only where z > 1."""

    def value(self, z):
        return np.tanh(z)

    def derivative(self, z, a):
        return np.where(z > 1.0, 0.3, 1.0 - a * a)


@fp.activation
class DiagnoseWrongWhereSaturated:
    """Wrong where no z of standardised data comes."""

    def value(self, z):
        return np.tanh(z)

    def derivative(self, z, a):
        return np.where(abs(z) > 8.0, 0.5, 1.0 - a * a)


@fp.activation
class DiagnoseRoot:
    """Meant for z > 0 only: elsewhere it is NaN."""

    def value(self, z):
        return np.sqrt(z)

    def derivative(self, z, a):
        return 0.5 / a


@fp.activation
class DiagnoseBranchless:
    """A relu of one's own, with corners at -1 and 1."""

    def value(self, z):
        return max(z, -1.0) + min(z, 1.0)

    def derivative(self, z, a):
        return np.where(z > -1.0, 1.0, 0.0 * z) + np.where(z < 1.0, 1.0, 0.0 * z)


@fp.loss
class DiagnoseLogCosh:
    def value(self, y, p):
        r = abs(p - y)
        return r + np.log1p(np.exp(-2.0 * r)) - 0.6931471805599453

    def gradient(self, y, p):
        return np.tanh(p - y)


@fp.loss
class DiagnoseWrongLoss:
    def value(self, y, p):
        return (p - y) * (p - y)

    def gradient(self, y, p):
        return p - y


@fp.loss
class DiagnoseLogLoss:
    """Of a probability p: what a last sigmoid gives. Elsewhere its gradient is not that of its value."""

    def value(self, y, p):
        q = min(max(p, 1e-7), 1.0 - 1e-7)
        return -y * np.log(q) - (1.0 - y) * np.log(1.0 - q)

    def gradient(self, y, p):
        return (p - y) / (p * (1.0 - p))


@fp.loss
class DiagnoseWrongFarLoss:
    """Its gradient is that of a huber loss, its value is not."""

    def value(self, y, p):
        return 0.5 * (p - y) * (p - y)

    def gradient(self, y, p):
        return min(max(p - y, -9.0), 9.0)


def network(activation="tanh", loss="mse", **settings):
    settings.setdefault("dtype", "float64")
    return fp.Network([fp.Dense(5, activation=activation), fp.Dense(2)], loss=loss, **settings)


@pytest.fixture
def X(rng):
    return rng.normal(size=(12, 3))


@pytest.fixture
def Y(rng):
    return rng.normal(size=(12, 2))


# ---- what is right ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(covering.N_CASES), ids=covering.loss_name)
def test_all_layers_activations_and_losses_pass(k, rng):
    net = covering.network(k, l1=1e-3, l2=1e-2)
    net.divides_penalties = k % 2 == 1
    X, y, _ = covering.data(k, 8, rng)
    check = check_gradients(net, X, y, rng.uniform(0.5, 2.0, 8))
    assert check.passed
    assert check.worst.error == max(row.error for row in check.rows)
    assert {row.name for row in check.rows} == {name for name in net.state_dict() if "running" not in name}
    assert sum(row.n_checked for row in check.rows) == net._built().n_parameters
    # Each activation once, and the loss if it has a formula for one output. A last sigmoid belongs to bce.
    assert len(check.formulas) in (len(covering.ACTIVATIONS), len(covering.ACTIVATIONS) + 1)
    assert any("gradient of the loss" in f.what for f in check.formulas) != LOSSES[covering.loss_name(k)].across_outputs


def test_custom_formulas_pass(X, Y):
    check = check_gradients(network("diagnose_branchless", "diagnose_log_cosh"), X, Y)
    assert [f.what for f in check.formulas] == [
        "derivative of the activation diagnose_branchless",
        "derivative of the activation identity",
        "gradient of the loss diagnose_log_cosh",
    ]


def test_a_float32_network_is_checked_in_float64_and_stays_as_it_is(X, Y):
    net = network("relu", dtype="float32")
    assert check_gradients(net, X, Y).worst.error < 1e-6
    assert not net.is_built
    net.build(3)
    before = net.state_dict()
    check_gradients(net, X, Y)
    assert net.dtype == "float32"
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "hard_tanh"])
def test_corners_raise_no_alarm(activation, X, Y):
    # All z are 0, a corner of relu; then all of them 1, a corner of hard_tanh; then outputs on the corner of hinge.
    net = fp.Network([fp.Dense(5, activation, init="zeros"), fp.Dense(2)], dtype="float64")
    check = check_gradients(net, X, Y)
    assert check.passed
    assert sum(row.n_corners for row in check.rows) == (0 if activation == "hard_tanh" else 20)
    net = fp.Network([fp.Dense(5, activation, init="zeros", bias_init=np.ones(5)), fp.Dense(2)], dtype="float64")
    assert check_gradients(net, X, Y).passed
    net = fp.Network([fp.Dense(1, init="zeros", bias_init=np.ones(1))], loss="hinge", dtype="float64")
    assert check_gradients(net, X, np.arange(12) % 2).passed


@pytest.mark.parametrize("loss", ["mae", "quantile", "huber"])
def test_residuals_of_zero_raise_no_alarm(loss, X):
    net = fp.Network([fp.Dense(2, init="zeros")], loss=loss, l1=0.1, dtype="float64")
    assert check_gradients(net, X, np.zeros((12, 2))).passed


def test_dead_and_constant_units_divide_nothing_by_zero(X, Y):
    net = fp.Network([fp.Dense(5, "relu", bias_init=np.full(5, -1e3)), fp.Dense(2)], dtype="float64")
    check = check_gradients(net, X, Y)
    assert [row.error for row in check.rows[:2]] == [0.0, 0.0]
    assert check.rows[0].analytic == check.rows[0].numeric == 0.0


def test_features_in_thousands_and_vanishing_gradients_raise_no_alarm(X, Y):
    assert check_gradients(network("tanh"), 1e3 * X, Y).passed
    assert check_gradients(network("relu"), 1e4 * X, 1e3 * Y).passed
    deep = fp.Network([*(fp.Dense(6, "sigmoid") for _ in range(12)), fp.Dense(2)], dtype="float64")
    assert check_gradients(deep, X, Y).passed


BUILT_IN_LOSSES = [name for name in built_in(LOSSES) if name != "cross_entropy"]
FAR = np.array([0.0, 5.0, 8.0, 10.0, 40.0, 100.0, 735.0, 740.0, 1e4])


@pytest.mark.parametrize("name", built_in(ACTIVATIONS))
def test_activations_that_are_right_raise_no_alarm_far_out(name):
    act, z = ACTIVATIONS[name](), np.concatenate([-FAR, FAR, np.linspace(-30, 30, 400)])
    a = evaluate(act, "value", z)
    error, _ = compare(lambda z: evaluate(act, "value", z), z, evaluate(act, "derivative", z, a), 1e-5)
    assert error.max() < 1e-6


@pytest.mark.parametrize("name", BUILT_IN_LOSSES)
def test_losses_that_are_right_raise_no_alarm_far_out(name):
    loss, p = LOSSES[name](), np.concatenate([-FAR, FAR, np.linspace(-30, 30, 400)])
    for y in map(np.full_like, [p] * 5, (-1.0, 0.0, 0.3, 1.0, 1000.0)):
        got = evaluate(loss, "gradient", y, p)
        error, _ = compare(lambda p, y=y: evaluate(loss, "value", y, p), p, got, 1e-5)
        assert error.max() < 1e-6


def test_features_that_are_not_scaled_raise_no_alarm():
    from sklearn.datasets import load_breast_cancer, load_digits

    X, y = load_digits(return_X_y=True)
    gelu = fp.Network([fp.Dense(4, activation="gelu"), fp.Dense(10)], loss="cross_entropy")
    assert check_gradients(gelu, X[:30], y[:30]).passed
    X, y = load_breast_cancer(return_X_y=True)
    assert check_gradients(fp.Network([fp.Dense(1)], loss="bce"), X[:50], y[:50]).passed


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_a_perfect_fit_raises_no_alarm(activation, X):
    net = network(activation).build(3)
    check = check_gradients(net, X, net.predict(X))  # all gradients are 0, and the loss a small square
    assert check.worst.error < 1e-5


def test_formulas_that_are_meant_for_a_range_only(X, Y):
    net = fp.Network([fp.Dense(5, "diagnose_root", init="zeros", bias_init=np.ones(5)), fp.Dense(2)])
    assert check_gradients(net, X, Y).passed
    net = fp.Network([fp.Dense(5, "tanh"), fp.Dense(2, "sigmoid")], loss="diagnose_log_loss")
    assert check_gradients(net, X, 1.0 * (Y > 0)).passed


def test_large_arrays_are_checked_in_part(rng):
    X = rng.normal(size=(6, 30))
    net = fp.Network([fp.Dense(20, "tanh"), fp.Dense(1)], dtype="float64").build(30)
    check = check_gradients(net, X, X[:, 0], max_per_array=200)
    assert [(row.n_checked, row.n_parameters) for row in check.rows] == [(200, 600), (20, 20), (20, 20), (1, 1)]
    assert "200 of 600" in str(check)
    assert "241 of 641 parameters" in str(check)
    assert check_gradients(net, X, X[:, 0], max_per_array=200).rows == check.rows  # the same ones
    assert check_gradients(net, X, X[:, 0], max_per_array=7).rows[0].n_checked == 7
    everything = check_gradients(net, X, X[:, 0])
    assert [row.n_checked for row in everything.rows] == [600, 20, 20, 1]
    assert "\n641 parameters" in str(everything)
    assert everything.worst.error >= check.worst.error
    large = fp.Network([fp.Dense(40, "tanh"), fp.Dense(1)]).build(30)
    assert check_gradients(large, X, X[:, 0]).rows[0].n_checked == 1000
    assert check_gradients(large, X, X[:, 0], max_per_array=None).rows[0].n_checked == 1200


def test_sparse_rows_and_labels(X):
    import scipy.sparse

    y = np.array(["yes", "no"])[np.arange(12) % 2]
    net = fp.Network([fp.Dense(5, "relu"), fp.Dense(2)], loss="cross_entropy")
    assert check_gradients(net, scipy.sparse.csr_array(np.where(X > 0, X, 0.0)), y).passed


# ---- what is wrong ------------------------------------------------------------------------------------------------


def test_a_wrong_derivative_is_found_and_named(X, Y):
    net = fp.Network([fp.Dense(4, "tanh"), fp.Dense(5, "diagnose_wrong_square"), fp.Dense(2)])
    with pytest.raises(GradientError) as caught:
        check_gradients(net, X, Y)
    message, check = str(caught.value), caught.value.check
    assert message.startswith("The derivative of the activation diagnose_wrong_square (layers[1]) is wrong at z = ")
    assert f"The gradient of {check.worst.parameter} is" in message
    assert re.fullmatch(r"layers\.\d\.[Wb]\[\d(, \d)?\]", check.worst.parameter)
    (wrong,) = check.wrong_formulas
    z = float(wrong.at.removeprefix("z = "))
    assert wrong.got == pytest.approx(1.9 * z, rel=1e-5)
    assert wrong.expected == pytest.approx(2.0 * z, rel=1e-5)
    # What lies behind it on the way back is wrong, what lies before is right.
    wrong_rows = {row.name for row in check.rows if row.error > check.tol}
    assert wrong_rows == {"layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b"}
    assert "DISAGREE" in str(check)


def test_a_derivative_wrong_at_few_points_is_found(X, Y):
    net = network("diagnose_wrong_far")
    with pytest.raises(GradientError, match=r"diagnose_wrong_far \(layers\[0\]\) is wrong at z = [1-9]"):
        check_gradients(net, 3 * X, Y)


def test_a_slip_where_no_sample_comes_is_found(X, Y):
    with pytest.raises(GradientError, match=r"where_saturated \(layers\[0\]\) is wrong at z = ") as caught:
        check_gradients(network("diagnose_wrong_where_saturated"), X, Y)
    assert caught.value.check.worst.error <= 1e-5
    with pytest.raises(GradientError, match="The gradient of the loss diagnose_wrong_far_loss") as caught:
        check_gradients(network("tanh", "diagnose_wrong_far_loss"), X, Y)
    assert caught.value.check.worst.error <= 1e-5


def test_a_wrong_formula_that_no_gradient_shows_is_found(X, Y):
    net = fp.Network([fp.Dense(4, "diagnose_wrong_square"), fp.Dense(2, init="zeros")])
    with pytest.raises(GradientError, match="derivative of the activation diagnose_wrong_square") as caught:
        check_gradients(net, X, Y)
    assert caught.value.check.worst.error <= 1e-5


def test_a_wrong_gradient_of_a_loss_is_found_and_named(X, Y):
    with pytest.raises(GradientError, match="The gradient of the loss diagnose_wrong_loss") as caught:
        check_gradients(network("relu", "diagnose_wrong_loss"), X, Y)
    (wrong,) = caught.value.check.wrong_formulas
    assert wrong.expected == pytest.approx(2 * wrong.got, rel=1e-6)
    assert caught.value.check.worst.error == pytest.approx(0.5, rel=1e-4)


def test_a_wrong_gradient_of_the_engine_is_found(X, Y, monkeypatch):
    from fastprop.diagnose import gradient_check

    true = gradient_check.loss_and_gradients

    def wrong(*args):
        loss, pairs = true(*args)
        pairs[0][0][2, 3] *= 1.001
        return loss, pairs

    monkeypatch.setattr(gradient_check, "loss_and_gradients", wrong)
    with pytest.raises(GradientError, match=r"^The gradient of layers\.0\.W\[2, 3\] is") as caught:
        check_gradients(network(), X, Y)
    assert caught.value.check.wrong_formulas == []
    assert caught.value.check.worst.error == pytest.approx(1e-3, rel=0.3)


def test_bad_input_is_named(X, Y):
    net = network()
    with pytest.raises(ValueError, match="tol must be a finite number > 0, got 0"):
        check_gradients(net, X, Y, tol=0)
    with pytest.raises(ValueError, match="max_per_array must be"):
        check_gradients(net, X, Y, max_per_array=0)
    with pytest.raises(ValueError, match="net must have a layer with parameters"):
        check_gradients(fp.Network([fp.Dropout(0.5)]), X, X)
    with pytest.raises(TypeError, match="net must be a Network"):
        check_gradients(None, X, Y)
    with pytest.raises(ValueError, match="y has 11 rows"):
        check_gradients(net, X, Y[1:])
    with pytest.raises(ValueError, match="X must be finite"):
        check_gradients(net, X * np.inf, Y)
