"""gradient_flow: its numbers against the reference, its words on sane and on sick networks, and the callback."""

import covering
import naive
import numpy as np
import pytest

import fastprop as fp
from fastprop.diagnose import GradientFlow, gradient_flow


@pytest.fixture
def X(rng):
    return rng.normal(size=(200, 16))


@pytest.fixture
def y(rng, X):
    return np.sin(X[:, 0]) + 0.5 * X[:, 1]


def dense(depth, width, activation, **settings):
    return [*(fp.Dense(width, activation, **settings) for _ in range(depth)), fp.Dense(1)]


def digits():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images / 16, labels


# ---- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(covering.N_CASES), ids=covering.loss_name)
def test_gradients_are_those_of_the_reference(k, rng):
    net = covering.network(k, l1=1e-3, l2=1e-2)
    X, y, Y = covering.data(k, 9, rng)
    weights = rng.uniform(0.5, 2.0, 9)
    flow = gradient_flow(net, X, y, weights)
    _, expected = naive.Reference(net).gradients(net.get_weights(), X, Y, weights)
    norms = [np.sqrt((dW**2).sum() + (0.0 if db is None else (db**2).sum())) for dW, db in expected]
    assert [layer.gradient for layer in flow.layers] == pytest.approx(norms, rel=1e-9)
    assert [layer.name for layer in flow.layers] == [op.name for op in net._built().parametric]


def test_by_hand():
    # z = 0.5 x1 + 0.3 x2 + 0.1; a relu that is dead for the second unit; squared error, so delta = p - y.
    W, b, V = np.array([[0.5, -1.0], [0.3, -1.0]]), np.array([0.1, 0.0]), np.array([[2.0], [1.0]])
    net = fp.Network(
        [fp.Dense(2, "relu", init=W, bias_init=b), fp.Dense(1, init=V)],
        loss="squared_error", optimizer=fp.SGD(0.1), dtype="float64",
    )  # fmt: skip
    flow = gradient_flow(net, [[1.0, 2.0]], [1.4])
    first, last = flow.layers  # z = (1.2, -3), a = (1.2, 0), p = 2.4, delta = 1, then (2, 0)
    assert (first.delta, last.delta) == pytest.approx((2.0, 1.0))
    assert first.gradient == pytest.approx(2 * np.sqrt(1 + 4 + 1))
    assert last.gradient == pytest.approx(np.sqrt(1.2**2 + 1))
    assert first.ratio == pytest.approx(0.1 * 2 * np.sqrt(5) / np.sqrt(0.25 + 0.09 + 2))
    assert (first.dead, last.dead, first.saturated) == (0.5, 0.0, None)
    assert flow.loss == pytest.approx(0.5)
    z = 0.3 * 1 + (0.3 - 0.4) * 2 - 0.1  # every weight moved by 0.1 times its gradient
    assert flow.loss_after == pytest.approx(0.5 * (1.88 * max(z, 0.0) - 0.1 - 1.4) ** 2)


def test_delta_does_not_depend_on_the_number_of_rows(X, y):
    net = fp.Network(dense(2, 8, "tanh"))
    once, twice = gradient_flow(net, X, y), gradient_flow(net, np.tile(X, (2, 1)), np.tile(y, 2))
    assert [a.delta for a in twice.layers] == pytest.approx([a.delta for a in once.layers])
    half = gradient_flow(net, np.tile(X, (2, 1)), np.tile(y, 2), np.repeat([1.0, 0.0], len(X)))
    assert [a.delta for a in half.layers] == pytest.approx([a.delta for a in once.layers])


@pytest.mark.parametrize(
    ("activation", "bound"), [("sigmoid", (0.0127, 0.9873)), ("tanh", (-0.9747, 0.9747)), ("hard_tanh", (-1, 1))]
)
def test_saturated_is_the_share_near_the_bounds(activation, bound, X, y):
    net = fp.Network([fp.Dense(32, activation, init=fp.init.Normal(1.0)), fp.Dense(1)], dtype="float64").build(16)
    a = fp.Network([fp.Dense(32, activation)], dtype="float64").build(16)
    a.set_weights(net.get_weights()[:1])
    out = a.predict(X)
    expected = ((out <= bound[0]) | (out >= bound[1])).mean()
    assert 0.1 < expected < 0.9
    layer = gradient_flow(net, X, y).layers[0]
    assert layer.saturated == pytest.approx(expected, abs=0.005)
    assert layer.dead is None


def test_it_changes_nothing(X, y):
    net = fp.Network([fp.Dense(8, "relu"), fp.Dropout(0.5), fp.BatchNorm(), fp.Dense(1)])
    assert gradient_flow(net, X, y).finding == "healthy"
    assert not net.is_built
    net.fit(X, y, epochs=2, progress=False)
    before, rows = net.state_dict(), net._parameters.rows.copy()
    gradient_flow(net, X, y)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())
    assert np.array_equal(rows, net._parameters.rows)


# ---- words --------------------------------------------------------------------------------------------------------

SANE = {
    **{f"{a} {d}": dense(d, 32, a) for a in ("relu", "tanh", "selu", "elu", "gelu") for d in (1, 4, 9)},
    "batch norm": [part for _ in range(9) for part in (fp.Dense(32, bias=False), fp.BatchNorm())] + [fp.Dense(1)],
    "layer norm": [part for _ in range(6) for part in (fp.Dense(32, "relu"), fp.LayerNorm())] + [fp.Dense(1)],
    "residual": [*(fp.Residual([fp.Dense(32, "relu"), fp.Dense(16)]) for _ in range(8)), fp.Dense(1)],
    "residual from zeros": [
        fp.Dense(16, "relu"),
        *(fp.Residual([fp.Dense(32, "relu"), fp.Dense(16, init="zeros")]) for _ in range(8)),
        fp.Dense(1),
    ],
    "sigmoid 1": dense(1, 32, "sigmoid"),
    "sigmoid 2": dense(2, 32, "sigmoid"),
}


@pytest.mark.parametrize("layers", SANE.values(), ids=SANE)
def test_sane_networks_are_healthy_before_and_after_training(layers, X, y):
    net = fp.Network(layers)
    before = gradient_flow(net, X, y)
    net.fit(X, y, epochs=5, batch_size=20, progress=False)
    after = gradient_flow(net, X, y)
    assert (before.finding, before.where) == (after.finding, after.where) == ("healthy", None)


def test_sane_networks_on_images_are_healthy():
    images, labels = digits()
    for layers in ([fp.Dense(64, "relu"), fp.Dense(32, "relu")], [fp.Dense(64, "relu"), fp.BatchNorm()]):
        net = fp.Network([*layers, fp.Dense(10)], loss="cross_entropy")
        assert gradient_flow(net, images[:300], labels[:300]).finding == "healthy"
        net.fit(images, labels, epochs=5, batch_size=32, progress=False)
        assert gradient_flow(net, images[:300], labels[:300]).finding == "healthy"


def test_twenty_sigmoid_layers_vanish(X, y):
    flow = gradient_flow(fp.Network(dense(20, 32, "sigmoid")), X, y)
    assert flow.finding == "vanishing"
    assert flow.layers[0].delta < 1e-8 * flow.layers[-1].delta
    names = [layer.name for layer in flow.layers]
    start = names.index(flow.where)
    assert flow.layers[start].delta < 0.01 * flow.layers[-1].delta <= flow.layers[start + 1].delta
    for words in (flow.where, "relu", "He", "Residual", "BatchNorm"):
        assert words in flow.verdict
    assert flow.verdict in str(flow)


def test_twenty_relu_layers_do_not(X, y):
    assert gradient_flow(fp.Network(dense(20, 32, "relu")), X, y).finding == "healthy"


def test_large_weights_explode(X, y):
    flow = gradient_flow(fp.Network(dense(8, 32, "relu", init=fp.init.Normal(1.0))), X, y)
    assert flow.finding == "exploding"
    for words in (flow.where, "clip_norm", "init", "learning rate"):
        assert words in flow.verdict


def test_small_weights_dead_and_saturated_units_have_words_of_their_own(X, y):
    small = gradient_flow(fp.Network(dense(8, 32, "relu", init=fp.init.Normal(0.01))), X, y)
    assert small.finding == "vanishing"
    assert "larger initial weights" in small.verdict
    dead = gradient_flow(fp.Network(dense(2, 32, "relu", bias_init=np.full(32, -50.0))), X, y)
    assert (dead.finding, dead.where) == ("vanishing", "layers[1]")
    assert "leaky_relu" in dead.verdict
    assert dead.layers[0].dead == 1.0
    full = gradient_flow(fp.Network(dense(4, 32, "tanh", bias_init=np.full(32, 9.0))), X, y)
    assert full.finding == "vanishing"
    assert "saturated" in full.verdict


def test_a_perfect_fit_is_healthy(X):
    flow = gradient_flow(fp.Network(dense(2, 8, "relu", bias=False)), X * 0.0, np.zeros(len(X)))
    assert flow.finding == "healthy"
    assert "nothing to learn" in flow.verdict


def test_a_learning_rate_too_high_has_a_word(X, y):
    flow = gradient_flow(fp.Network(dense(2, 32, "relu"), optimizer=fp.SGD(100.0)), X, y)
    assert flow.loss_after > 10 * flow.loss
    assert "lower the learning rate" in flow.verdict


def relu_then(last, **settings):
    return [fp.Dense(16, "relu"), fp.Dense(1, last, **settings)]


SMALL, LARGE = fp.init.Normal(1e-2), fp.init.Normal(5.0)
CASES = {  # layers, a factor of X, then the finding, words of the verdict, and words that would be wrong
    "saturated output": (relu_then("sigmoid"), 1e4, "vanishing", "at the output: layers[1]|saturated", "nothing"),
    "dead output": (relu_then("relu", bias_init=[-100.0]), 1, "vanishing", "at the output: layers[1]|dead", "nothing"),
    "saturated by large weights": (
        dense(5, 32, "tanh", init=LARGE), 1, "healthy", "healthy in size|5 layers|try smaller initial", "healthy:",
    ),
    "saturated by the inputs": (
        dense(2, 32, "tanh"), 1000, "healthy", "healthy in size|1 layer has|try inputs of mean 0", "init='auto'",
    ),
    **{f"50 layers of {a}": (dense(50, 16, a), 1, "vanishing", "Try Residual", "init=") for a in ("gelu", "silu")},
    **{
        f"{n} sigmoid layers on large inputs": (
            dense(n, 32, "sigmoid"), 12, "vanishing", "Try activation='relu'|1 layer has mostly sat", "Try smaller",
        )
        for n in (5, 20)
    },
    "zeros, relu": (dense(5, 32, "relu", init="zeros"), 1, "vanishing", "Try init='auto': all W of layers[4]", "dead"),
    "zeros, tanh": (dense(5, 32, "tanh", init="zeros"), 1, "vanishing", "Try init='auto': all W of layers[4]", "relu"),
    "small weights, tanh": (dense(5, 32, "tanh", init=SMALL), 1, "vanishing", "larger initial weights", "relu"),
    "tiny weights": (dense(5, 32, "tanh", init=fp.init.Normal(1e-4)), 1, "vanishing", "larger initial", "relu"),
    "dead": (dense(2, 32, "relu", bias_init=np.full(32, -50.0)), 1, "vanishing", "place of relu|dead", "Try larger"),
    "large weights, relu": (dense(9, 32, "relu", init=LARGE), 1, "exploding", "Try smaller initial", "Residual"),
}  # fmt: skip


@pytest.mark.parametrize(("layers", "factor", "finding", "words", "wrong"), CASES.values(), ids=CASES)
def test_finding_and_advice_fit_the_cause(layers, factor, finding, words, wrong, X, y):
    flow = gradient_flow(fp.Network(layers, loss="mse"), factor * X, (y > 0) * 1.0)
    assert flow.finding == finding
    assert all(word in flow.verdict for word in words.split("|")), flow.verdict
    assert wrong not in flow.verdict


def test_a_trained_network_is_not_told_to_start_as_it_did(X, y):
    net = fp.Network(dense(5, 32, "tanh")).build(16)
    net.set_weights([(W / 50, b) for W, b in net.get_weights()])  # as a large l2 does
    verdict = gradient_flow(net, X, y).verdict
    assert "less l1, l2 or weight_decay" in verdict
    assert "auto" not in verdict


def test_few_rows_say_nothing_about_dead_units(X, y):
    net = fp.Network([fp.Dense(32, "relu", bias_init=np.full(32, -4.0)), fp.Dense(1)])
    few, many = gradient_flow(net, X[:9], y[:9]), gradient_flow(net, X[:10], y[:10])
    assert few.layers[0].dead > 0.5
    assert many.layers[0].dead > 0.5
    assert "dead" not in few.verdict
    assert "dead" in many.verdict


def test_the_factor_a_layer_is_the_geometric_mean_over_the_steps_between_layers(X, y):
    flow = gradient_flow(fp.Network(dense(4, 32, "sigmoid", init="orthogonal")), X, y)
    factor = (flow.layers[0].delta / flow.layers[-1].delta) ** (1 / 4)
    assert f"a factor of {factor:.2g} a layer" in flow.verdict
    assert f"{factor:.2g}" != f"{factor ** (4 / 5):.2g}"


def test_a_large_update_has_a_word(X, y):
    def look(lr):
        return gradient_flow(fp.Network(dense(1, 32, "tanh"), optimizer=fp.SGD(lr)), X, y)

    per_rate = max(layer.ratio for layer in look(1e-4).layers) / 1e-4
    assert "One update changes layers[" in look(0.35 / per_rate).verdict
    assert "One update" not in look(0.25 / per_rate).verdict


def test_scale_is_one_for_automatic_weights(X, y):
    for activation in ("relu", "selu", "tanh"):
        first = gradient_flow(fp.Network(dense(1, 256, activation)), X, y).layers[0]
        assert (first.scale, first.is_auto) == (pytest.approx(1.0, rel=0.05), True)
    twice = fp.Dense(256, "tanh", init=fp.init.Normal(2 * np.sqrt(2 / (16 + 256))))
    first = gradient_flow(fp.Network([twice, fp.LayerNorm(), fp.Dense(1)]), X, y).layers[0]
    assert (first.scale, first.is_auto) == (pytest.approx(2.0, rel=0.05), False)


# ---- the callback -------------------------------------------------------------------------------------------------


def test_the_callback_records_and_disturbs_nothing(X, y):
    def train(*callbacks):
        net = fp.Network([fp.Dense(8, "relu"), fp.Dropout(0.3), fp.Dense(1)])
        net.fit(X, y, epochs=7, batch_size=20, callbacks=callbacks, progress=False)
        return net.state_dict()

    watch = GradientFlow(X[:50], y[:50], every=3)
    expected, got = train(), train(watch)
    assert all(np.array_equal(array, expected[name]) for name, array in got.items())
    assert watch.epochs == [0, 3, 6]
    assert [flow.finding for flow in watch.flows] == ["healthy"] * 3
    assert watch.flows[2].loss < watch.flows[0].loss


def test_the_callback_counts_on_in_a_second_fit(X, y):
    watch = GradientFlow(X[:50], y[:50], every=2)
    net = fp.Network(dense(1, 8, "relu"))
    for epochs in (3, 1, 4):
        net.fit(X, y, epochs=epochs, callbacks=watch, progress=False)
    assert watch.epochs == [0, 2, 4, 6]
    assert len(watch.flows) == 4


def test_the_callback_names_its_own_data(X, y):
    net = fp.Network(dense(1, 8, "relu"))
    with pytest.raises(ValueError, match="GradientFlow: X has 3 features, expected 16"):
        net.fit(X, y, epochs=1, callbacks=GradientFlow(X[:, :3], y), progress=False)
    with pytest.raises(TypeError, match="X must be array-like, got None"):
        GradientFlow(None, y)
    with pytest.raises(TypeError, match="y must be array-like, got None"):
        GradientFlow(X, None)


# ---- bad input ----------------------------------------------------------------------------------------------------


def test_bad_input_is_named(X, y):
    net = fp.Network(dense(2, 8, "relu"))
    with pytest.raises(TypeError, match="net must be a Network"):
        gradient_flow("net", X, y)
    with pytest.raises(ValueError, match="net must have a Dense layer"):
        gradient_flow(fp.Network([fp.LayerNorm()]), X, X)
    with pytest.raises(ValueError, match="X must be finite"):
        gradient_flow(net, np.where(X > 3, np.nan, X), y)
    with pytest.raises(ValueError, match="y has 199 rows"):
        gradient_flow(net, X, y[1:])
    with pytest.raises(TypeError, match="every must be a positive integer"):
        GradientFlow(X, y, every=0.5)
    with pytest.raises(fp.DivergenceError, match=r"z of layers\[\d\] is"):
        gradient_flow(fp.Network(dense(3, 8, "relu", init=fp.init.Normal(1e160)), dtype="float64"), X, y)
