"""explain_step: the numbers of a step against the seeds' exercise by hand, the engine and the reference; its texts."""

import re

import covering
import naive
import numpy as np
import pytest

import fastprop as fp
from fastprop.diagnose import explain_step


def two_layers(**settings):
    """2-2-1, sigmoid everywhere: the network of the exercise, whose matrices are (n_out, n_in)."""
    W1, W2 = np.array([[0.5, 0.3], [0.2, 0.8]]), np.array([[0.9, 0.7]])
    layers = [
        fp.Dense(2, "sigmoid", init=W1.T, bias_init=[0.1, 0.4]),
        fp.Dense(1, "sigmoid", init=W2.T, bias_init=[0.2]),
    ]
    settings = {"loss": "mse", "optimizer": fp.SGD(0.1), "dtype": "float64", **settings}
    return fp.Network(layers, **settings)


def sigma(z):
    return 1.0 / (1.0 + np.exp(-z))


def test_by_hand():
    step = explain_step(two_layers(), [1, 2], 0.8)
    first, last = step.layers
    z1 = np.array([0.5 * 1 + 0.3 * 2 + 0.1, 0.2 * 1 + 0.8 * 2 + 0.4])
    a1 = sigma(z1)
    z2 = 0.9 * a1[0] + 0.7 * a1[1] + 0.2
    a2 = sigma(z2)
    d2 = 2 * (a2 - 0.8) * a2 * (1 - a2)
    d1 = d2 * np.array([0.9, 0.7]) * a1 * (1 - a1)
    assert first.z[0] == pytest.approx(z1)
    assert first.a[0] == pytest.approx(a1)
    assert last.z[0, 0] == pytest.approx(z2)
    assert last.a[0, 0] == step.output[0, 0] == pytest.approx(a2)
    assert step.loss == pytest.approx((a2 - 0.8) ** 2)
    assert last.error[0, 0] == pytest.approx(2 * (a2 - 0.8))
    assert last.slope[0, 0] == pytest.approx(a2 * (1 - a2))
    assert last.delta[0, 0] == last.db[0] == pytest.approx(d2)
    assert last.dW[:, 0] == pytest.approx(d2 * a1)
    assert first.delta[0] == pytest.approx(d1)
    assert first.dW == pytest.approx(np.outer([1, 2], d1))
    assert first.W_new == pytest.approx(first.W - 0.1 * np.outer([1, 2], d1))
    assert last.b_new[0] == pytest.approx(0.2 - 0.1 * d2)
    assert step.loss_after < step.loss


@pytest.mark.parametrize("k", range(covering.N_CASES), ids=covering.loss_name)
def test_every_layer_and_loss(k, rng):
    net = covering.network(k, rate=0.0, l2=1e-2, optimizer=fp.Adam(1e-2))
    X, y, Y = covering.data(k, 5, rng)
    step = explain_step(net, X, y)
    loss, expected = naive.Reference(net).gradients(net.get_weights(), X, Y)
    assert step.loss == pytest.approx(loss)
    layers = [layer for layer in step.layers if layer.W is not None]
    for layer, (dW, db) in zip(layers, expected, strict=True):
        assert layer.dW == pytest.approx(dW, abs=1e-9)
        assert db is None or layer.db == pytest.approx(db, abs=1e-9)
    net.partial_fit(
        X, y, **({} if net.loss.task == "regression" else {"classes": np.unique(y) if y.ndim == 1 else None})
    )
    for layer, (W, b) in zip(layers, net.get_weights(), strict=True):
        assert layer.W_new == pytest.approx(W, abs=1e-12)
        assert b is None or layer.b_new == pytest.approx(b, abs=1e-12)
    for written in (str(step), step.to_latex()):
        assert written.count("\n") > 60


def test_text_has_every_number():
    text = str(explain_step(two_layers(), [1, 2], 0.8))
    for line in (
        "z1 = x W1 + b1 = [1.2, 2.2]",
        "a1 = sigmoid(z1) = [0.768525,  0.90025]",
        "z2 = a1 W2 + b2 = [1.52185]",
        "a2 = sigmoid(z2) = [0.82081]",
        "L = MSE() = 0.000433068",
        "delta2 = dL/da2 * sigmoid'(z2) = [0.00612159]",
        "dL/da1 = delta2 W2^T = [0.00550943, 0.00428511]",
        "delta1 = dL/da1 * sigmoid'(z1) = [0.000980097, 0.000384804]",
        "b2 new = b2 - 0.1 db2 = [0.199388]",
        "L after the update = 0.000423455",
    ):
        assert line in text


def test_latex_is_balanced_and_has_the_formulas(rng):
    net = covering.network(2)
    X, y, _ = covering.data(2, 3, rng)
    for latex in (explain_step(two_layers(), [1, 2], 0.8).to_latex(), explain_step(net, X, y).to_latex()):
        assert latex.count("{") == latex.count("}")
        assert latex.count(r"\left") == latex.count(r"\right")
        for name in ("align*", "pmatrix"):
            assert latex.count(rf"\begin{{{name}}}") == latex.count(rf"\end{{{name}}}") > 3
        assert not re.search(r"\d_\d|(?<!\\operatorname\{hard)(?<!\\)_(?![{])", latex)  # no bare underscore
    step = explain_step(two_layers(), [1, 2], 0.8)
    assert step._repr_latex_() == step.to_latex()
    assert (
        r"\delta^{(1)} &= \frac{\partial L}{\partial a^{(1)}} \odot \operatorname{sigmoid}'\left(z^{(1)}\right)"
        in step.to_latex()
    )
    assert r"W^{(1)}_{\text{new}} &= W^{(1)} - 0.1 \frac{\partial L}{\partial W^{(1)}}" in step.to_latex()


def test_latex_draws():
    """Every line goes through matplotlib's own TeX, which has no matrices: they are taken out."""
    mathtext = pytest.importorskip("matplotlib.mathtext")
    latex = explain_step(two_layers(), [1, 2], 0.8).to_latex()
    for line in re.sub(r"\\(begin|end)\{align\*\}", "", latex).split(" \\\\\n"):
        plain = re.sub(r"\\begin\{pmatrix\}.*?\\end\{pmatrix\}", "M", line.strip())
        plain = plain.replace("&", "").replace(r"\text", r"\mathrm").replace("\n", " ").strip()
        mathtext.MathTextParser("path").parse(f"${plain}$")


def test_the_update_is_that_of_the_optimizer():
    plain = explain_step(two_layers(), [1, 2], 0.8)
    assert plain.is_plain
    clipped = explain_step(two_layers(clip_norm=1e-4), [1, 2], 0.8)
    assert not clipped.is_plain
    assert "W1 new = [[" in str(clipped)
    assert not explain_step(two_layers(optimizer=fp.Adam(0.1)), [1, 2], 0.8).is_plain
    net = two_layers(optimizer=fp.SGD(fp.schedules.Step(0.4, every=1, factor=0.5)))
    net.partial_fit([[1.0, 2.0]], [0.8])
    assert explain_step(net, [1, 2], 0.8).lr == pytest.approx(0.2)


def test_it_changes_nothing():
    net = two_layers()
    explain_step(net, [1, 2], 0.8)
    assert not net.is_built
    net.build(2)
    before = net.state_dict()
    explain_step(net, [1, 2], 0.8)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())


def test_one_sample_comes_in_any_form():
    expected = explain_step(two_layers(), [1, 2], 0.8).loss
    for x, y in (([[1, 2]], [0.8]), (np.array([1, 2]), [0.8]), ([1, 2], [[0.8]]), ([[1, 2]], [[0.8]])):
        assert explain_step(two_layers(), x, y).loss == expected
    three = fp.Network([fp.Dense(3)], loss="cross_entropy")
    assert explain_step(three, [1, 2], 2).y.tolist() == [[0.0, 0.0, 1.0]]
    assert explain_step(three, [1, 2], [0.5, 0.5, 0.0]).y.tolist() == [[0.5, 0.5, 0.0]]


def test_bad_input_is_named():
    net = two_layers().build(2)
    with pytest.raises(TypeError, match="net must be a Network"):
        explain_step(3, [1, 2], 0.8)
    with pytest.raises(ValueError, match="X has 3"):
        explain_step(net, [1, 2, 3], 0.8)
    with pytest.raises(ValueError, match="y "):
        explain_step(net, [1, 2], [0.8, 0.1])
    with pytest.raises(ValueError, match="X must be finite"):
        explain_step(net, [1, np.nan], 0.8)
    with pytest.raises(ValueError, match="x must have at least 2 samples with BatchNorm"):
        explain_step(fp.Network([fp.BatchNorm(), fp.Dense(1)]), [1, 2], 0.8)
    with pytest.raises(ValueError, match="net has 20,201 parameters"):
        explain_step(fp.Network([fp.Dense(100), fp.Dense(100), fp.Dense(1)], seed=1), np.ones(99), 0.8)
