"""What fills whole registers up beside the parameters and the rows never learns and never hurts.

Pads have the gradient 0, which some rules and activations do not take to 0: Adam without eps divides 0 by 0, 1 / z has
a pole there. Whatever they do, the parameters are those of the reference.
"""

import naive
import numpy as np
import pytest

import fastprop as fp

QUIET = {"progress": False}
N_ROWS = 61  # fills no register and no panel

# Of a network, and of its fit: every way to an update.
WAYS = {
    "batches": ({}, {"batch_size": 16}),
    "full": ({}, {"batch_size": None}),
    "penalty": ({"l2": 0.01}, {"batch_size": 16}),
    "clip_value": ({"clip_value": 10.0}, {"batch_size": 16}),
    "clip_norm": ({"clip_norm": 1e3}, {"batch_size": 16}),
    "accumulate": ({}, {"batch_size": 8, "accumulate": 2}),
    "chunks": ({}, {"batch_size": 61}),
    "csr": ({}, {"batch_size": 16}),
    "single": ({}, {"batch_size": 1}),
}


@fp.optimizer
class Drifting:
    """Moves also where the gradient is 0."""

    n_slots = 0

    def update(self, w, g, slots, lr, t):
        return w - lr * (g + 1.0), slots


@fp.optimizer
class DriftingState:
    """Its state, too."""

    n_slots = 1

    def update(self, w, g, slots, lr, t):
        v = 0.5 * slots[0] + (g + 1.0)
        return w - lr * v, (v,)


def drifting_state(w, g, state, lr, t):
    state["v"] = v = 0.5 * state.get("v", 0.0) + (g + 1.0)
    return w - lr * v


@fp.activation
class Reciprocal:
    """A pole at 0."""

    def value(self, z):
        return 1.0 / z

    def derivative(self, z, a):
        return -a * a


@pytest.fixture(autouse=True)
def reference_knows(monkeypatch):
    monkeypatch.setitem(naive.OPTIMIZERS, "drifting", lambda w, g, state, lr, t: w - lr * (g + 1.0))
    monkeypatch.setitem(naive.OPTIMIZERS, "drifting_state", drifting_state)
    monkeypatch.setitem(naive.ACTIVATIONS, "reciprocal", (lambda z: 1.0 / z, lambda z: -1.0 / z**2, ()))


def data(n_features=16, n_outputs=3, n_rows=N_ROWS):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, n_features)), rng.normal(size=(n_rows, n_outputs))


def layers(norm):
    """No width is a multiple of a panel and some are of no register; every parameter has a gradient."""
    middle = [fp.LayerNorm()] if norm else []
    return [fp.Dense(30, "tanh"), *middle, fp.Dense(32, "sigmoid", bias=False), fp.Dense(5, "tanh"), fp.Dense(3)]


def compare(optimizer, way, dtype, bound, monkeypatch, epochs=2):
    """Train in one of `WAYS`, and with the reference."""
    if way == "chunks":
        monkeypatch.setattr("fastprop.engine.MAX_ROWS", 32)
    settings, arguments = WAYS[way]
    X, y = data()
    X, y = X.astype(dtype), y.astype(dtype)
    net = fp.Network(layers(norm=way != "single"), optimizer=optimizer, dtype=dtype, **settings).build(16)
    size = arguments.get("accumulate", 1) * (arguments["batch_size"] or N_ROWS)
    batches = [(X[i : i + size], y[i : i + size], None) for i in range(0, N_ROWS, size)] * epochs
    expected, losses = naive.Reference(net).train(net.get_weights(), batches)
    given = pytest.importorskip("scipy.sparse").csr_matrix(X) if way == "csr" else X
    net.fit(given, y, epochs=epochs, shuffle=False, **arguments, **QUIET)
    assert max(naive.errors(net.get_weights(), expected)) < bound
    last = len(batches) // epochs
    weights = [len(b[0]) for b in batches[-last:]]
    assert net.history_["loss"][-1] == pytest.approx(np.average(losses[-last:], weights=weights), rel=bound)
    assert all(np.isfinite(a).all() for a in net.state_dict().values())
    return net


# ---- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_adam_without_eps(way, monkeypatch):
    """0 / 0 at every pad. Rounding decides the size of a step whose gradient is small: hence the bound."""
    compare(fp.Adam(1e-3, eps=0.0), way, "float64", 1e-8, monkeypatch)


@pytest.mark.parametrize("way", ["batches", "clip_norm", "single"])
def test_adam_without_eps_in_float32(way, monkeypatch):
    compare(fp.Adam(1e-4, eps=0.0), way, "float32", 3e-3, monkeypatch, epochs=1)


@pytest.mark.parametrize("way", ["batches", "clip_norm", "single"])
@pytest.mark.parametrize("optimizer", [fp.RMSProp, fp.Adagrad, fp.AdamW])
def test_other_rules_without_eps(optimizer, way, monkeypatch):
    compare(optimizer(1e-3, eps=0.0), way, "float64", 1e-8, monkeypatch)


def test_adam_without_eps_goes_on():
    """What a pad holds after one call must not come back in the next."""
    X, y = data()
    net = fp.Network(layers(norm=True), optimizer=fp.Adam(1e-3, eps=0.0), dtype="float64")
    first = net.fit(X, y, epochs=20, batch_size=16, **QUIET)["loss"][0]
    assert net.fit(X, y, epochs=20, batch_size=16, **QUIET)["loss"][-1] < first
    net.partial_fit(X, y)
    assert np.isfinite(net.predict(X)).all()


@pytest.mark.parametrize("rule", [Drifting, DriftingState], ids=["plain", "state"])
@pytest.mark.parametrize("way", WAYS)
def test_a_rule_that_moves_without_a_gradient(way, rule, monkeypatch):
    """Neither pads nor the bias of a layer that has none may reach the outputs."""
    compare(rule(lr=0.003), way, "float64", 1e-11, monkeypatch)


@pytest.mark.parametrize("n_features", [1, 3, 17])
@pytest.mark.parametrize("width", [1, 9, 37, 70])
def test_a_drifting_rule_and_other_widths(width, n_features):
    X, y = data(n_features, 2)
    net = fp.Network([fp.Dense(width, "sigmoid"), fp.Dense(2)], optimizer=Drifting(lr=0.003), dtype="float64")
    net.build(n_features)
    batches = [(X[i : i + 20], y[i : i + 20], None) for i in range(0, N_ROWS, 20)] * 5
    expected, _ = naive.Reference(net).train(net.get_weights(), batches)
    net.fit(X, y, epochs=5, batch_size=20, shuffle=False, **QUIET)
    assert max(naive.errors(net.get_weights(), expected)) < 1e-11
    assert naive.error(net.predict(X), naive.Reference(net).forward(expected, X)[0]) < 1e-11


# ---- an activation with a pole ------------------------------------------------------------------------------------


def positive(layers, n_features, dtype="float64", **settings):
    """A network with weights > 0 and biases 0: with X > 0 only pads come near the pole."""
    net = fp.Network(layers, dtype=dtype, **settings).build(n_features)
    rng = np.random.default_rng(1)

    def drawn(W, b):
        W = rng.uniform(0.5, 1.5, W.shape) / W.shape[0] if W.ndim == 2 else W
        return W, b

    net.set_weights([drawn(*pair) for pair in net.get_weights()])
    return net


POLES = {
    "hidden": lambda: [fp.Dense(5, Reciprocal), fp.Dense(2)],
    "no bias": lambda: [fp.Dense(19, Reciprocal, bias=False), fp.Dense(5, Reciprocal, bias=False), fp.Dense(2)],
    "output": lambda: [fp.Dense(2, Reciprocal)],
    "before a norm": lambda: [fp.Dense(7, Reciprocal), fp.LayerNorm(), fp.Dense(2)],
    "before a batch norm": lambda: [fp.Dense(7, Reciprocal), fp.BatchNorm(), fp.Dense(2)],
    "residual": lambda: [fp.Residual([fp.Dense(6, Reciprocal)]), fp.Dense(5, Reciprocal), fp.Dense(2)],
}


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", POLES)
def test_a_pole_at_zero(name, dtype, is_sparse):
    X, y = data(6, 2)
    X = abs(X) + 3.0
    net = positive(POLES[name](), 6, dtype)
    weights, reference = net.get_weights(), naive.Reference(net)
    given = X
    if is_sparse:
        if not isinstance(net.layers[0], fp.Dense):
            pytest.skip("the first layer is not Dense")
        given = pytest.importorskip("scipy.sparse").csr_matrix(X)
    loss, gradients = net.gradients(given, y)
    expected_loss, expected = reference.gradients(weights, X, y)
    bound = {"float64": 1e-10, "float32": 1e-3 if "norm" in name else 1e-5}[dtype]
    assert loss == pytest.approx(expected_loss, rel=bound)
    assert all(np.isfinite(a).all() for a in naive.arrays(gradients))
    assert max(naive.errors(gradients, expected)) < bound or "batch norm" in name
    largest = max(abs(a).max() for a in naive.arrays(expected))  # the bias that feeds a batch norm has no gradient
    for got, wanted in zip(naive.arrays(gradients), naive.arrays(expected), strict=True):
        assert abs(got - wanted).max() < bound * largest
    if name != "before a batch norm":  # which predicts with its running statistics
        assert naive.error(net.predict(given), reference.forward(weights, X)[0]) < bound


@pytest.mark.parametrize("way", WAYS)
def test_training_with_a_pole_at_zero(way, monkeypatch):
    if way == "chunks":
        monkeypatch.setattr("fastprop.engine.MAX_ROWS", 32)
    settings, arguments = WAYS[way]
    X, y = data(6, 2)
    X = abs(X) + 3.0
    net = positive(POLES["hidden"](), 6, optimizer=fp.SGD(1e-3, momentum=0.5), **settings)
    size = arguments.get("accumulate", 1) * (arguments["batch_size"] or N_ROWS)
    batches = [(X[i : i + size], y[i : i + size], None) for i in range(0, N_ROWS, size)] * 2
    expected, _ = naive.Reference(net).train(net.get_weights(), batches)
    given = pytest.importorskip("scipy.sparse").csr_matrix(X) if way == "csr" else X
    net.fit(given, y, epochs=2, shuffle=False, **arguments, **QUIET)
    assert max(naive.errors(net.get_weights(), expected)) < 1e-11


# ---- weights of samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", ["batches", "full", "clip_norm", "accumulate", "chunks", "csr", "single"])
@pytest.mark.parametrize("constant", [1.0, 1e-30, 1e-46, 1e39, 1e-310, 1e307])
def test_the_unit_of_weights_does_not_matter(constant, way, dtype, monkeypatch):
    """1e-46 is 0 in float32, 1e39 is infinite; the loss of an update is sum(w loss) / sum(w) all the same."""
    if way == "chunks":
        monkeypatch.setattr("fastprop.engine.MAX_ROWS", 32)
    settings, arguments = WAYS[way]
    X, y = data()
    given = pytest.importorskip("scipy.sparse").csr_matrix(X) if way == "csr" else X
    for weights in (np.ones(N_ROWS), np.random.default_rng(2).uniform(0.5, 2.0, N_ROWS)):
        nets = []
        for factor in (1.0, constant):
            net = fp.Network(layers(norm=False), optimizer=fp.SGD(0.05), dtype=dtype, **settings)
            net.fit(given, y, epochs=2, sample_weight=factor * weights, **arguments, **QUIET)
            nets.append(net)
        assert nets[0].history_["loss"] == pytest.approx(nets[1].history_["loss"], rel=1e-6)
        assert max(naive.errors(nets[1].get_weights(), nets[0].get_weights())) < 1e-6
        loss, gradients = nets[0].gradients(given, y, constant * weights)
        expected_loss, expected = nets[0].gradients(given, y, weights)
        assert loss == pytest.approx(expected_loss, rel=1e-6)
        assert max(naive.errors(gradients, expected)) < 1e-6


# ---- a batch of one row -------------------------------------------------------------------------------------------


def normed(momentum=0.1, **settings):
    layers = [fp.Dense(7, "tanh"), fp.BatchNorm(momentum=momentum), fp.Dense(2)]
    return fp.Network(layers, optimizer=fp.SGD(0.05), **settings)


def statistics(net):
    found = {name: a for name, a in net.state_dict().items() if "running" in name}
    assert len(found) == 2
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("arguments", [{}, {"n_threads": 2}, {"accumulate": 2}], ids=str)
def test_a_batch_of_one_row_has_no_statistics(arguments, dtype):
    """One row has no variance: such a batch is trained, but running mean and variance stay as if it had not been."""
    X, y = data(6, 2)
    one, other = normed(dtype=dtype), normed(dtype=dtype)
    one.fit(X, y, epochs=1, batch_size=30, shuffle=False, **arguments, **QUIET)
    other.fit(X[:60], y[:60], epochs=1, batch_size=30, shuffle=False, **arguments, **QUIET)
    for name, expected in statistics(other).items():
        np.testing.assert_array_equal(statistics(one)[name], expected, err_msg=name)
    assert one._parameters.count == other._parameters.count + 1  # it is trained
    assert max(naive.errors(one.get_weights(), other.get_weights())) > 1e-4


def test_epochs_that_end_with_one_row():
    """At learning rate 0 every epoch sees the same batches: the statistics are those of the formula."""
    X, y = data(6, 2)
    net = normed(dtype="float64")
    net.optimizer.lr = 0.0
    net.fit(X, y, epochs=40, batch_size=30, shuffle=False, **QUIET)
    W, b = net.get_weights()[0]
    mean, variance = np.zeros(7), np.ones(7)
    for batch in [X[:30], X[30:60]] * 40:
        a = np.tanh(batch @ W + b)
        mean, variance = 0.9 * mean + 0.1 * a.mean(axis=0), 0.9 * variance + 0.1 * a.var(axis=0, ddof=1)
    found = list(statistics(net).values())
    assert min(naive.error(s, mean) for s in found) < 1e-10
    assert min(naive.error(s, variance) for s in found) < 1e-10
