"""explain_step: the numbers of a step against the seeds' exercise by hand, the engine and the reference; its texts."""

import re

import covering
import naive
import numpy as np
import pytest
from names import built_in

import fastprop as fp
from fastprop.diagnose import explain_step
from fastprop.diagnose.loss_formulas import FORMULAS, LINKS, formula_of
from fastprop.kernels.losses import LOSSES


@fp.loss
class DiagnoseQuartic:
    def value(self, y, p):
        return (p - y) ** 4

    def gradient(self, y, p):
        return 4.0 * (p - y) ** 3


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
        "p = a2 = [0.82081]",
        "L = (p - y)^2 = 0.000433068",
        "dL/da2 = 2 (p - y) = [0.0416206]",
        "delta2 = dL/da2 * sigmoid'(z2) = [0.00612159]",
        "dL/da1 = delta2 W2^T = [0.00550943, 0.00428511]",
        "delta1 = dL/da1 * sigmoid'(z1) = [0.000980097, 0.000384804]",
        "b2 new = b2 - 0.1 db2 = [0.199388]",
        "L after the update = 0.000423455",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("loss", "y", "link", "value"),
    [
        ("bce", [1], "sigmoid(a1)", "-y log p - (1 - y) log(1 - p)"),
        ("cross_entropy", [0, 1, 0], "softmax(a1)", "sum of [-y log p]"),
        ("poisson", [3], "exp(a1)", "p - y log p"),
    ],
)
def test_the_textbook_case_p_minus_y_can_be_followed(loss, y, link, value):
    net = fp.Network([fp.Dense(len(y))], loss=loss, dtype="float64", seed=1)
    step = explain_step(net, [1, 2], y)
    (layer,), text = step.layers, str(step)
    expected = fp.Network([fp.Dense(len(y))], loss=loss, dtype="float64", seed=1).build(2)
    p = {"bce": sigma, "poisson": np.exp, "cross_entropy": lambda a: np.exp(a) / np.exp(a).sum()}[loss](
        np.array([1, 2]) @ expected.get_weights()[0][0]
    )
    assert step.p[0] == pytest.approx(p)
    assert layer.delta[0] == pytest.approx(p - y)
    assert f"    p = {link} = [" in text
    assert f"    L = {value} = {step.loss:.6g}" in text
    assert "    delta1 = dL/da1 = p - y = [" in text
    assert r"\delta^{(1)} &= \frac{\partial L}{\partial a^{(1)}} = p - y = " in step.to_latex()


def test_each_built_in_loss_is_written_as_it_is():
    assert set(FORMULAS) == set(built_in(LOSSES))
    y, a = 0.7, np.array([[-1.3, -0.4, 0.6, 2.2]])
    for loss in (
        fp.losses.Huber(0.5),
        fp.losses.Quantile(0.2),
        *(n for n in FORMULAS if n not in ("huber", "quantile")),
    ):
        net = fp.Network([fp.Dense(1)], loss=loss)
        formula = formula_of(net.loss, 1)
        if net.loss.across_outputs:
            continue
        p = LINKS[formula.link][1](a)
        assert not re.search(r"{\w+:g}", "".join((*formula.value, *formula.gradient)))
        for written, method in ((formula.value, net.loss.value), (formula.gradient, net.loss.gradient)):
            if not re.search("where|between|k =", written.text):
                expected = [float(method(y, v)) for v in a[0]]
                assert number_of(written.text, y, p)[0] == pytest.approx(expected), written.text


def number_of(text, y, p):
    """A formula of the text as Python has it."""
    text = re.sub(r"\|(.*?)\|", r"abs(\1)", text.replace("^", "**").replace("log p", "log(p)"))
    names = {"y": y, "p": p, "abs": abs, "log": np.log, "max": np.maximum, "min": np.minimum, "sign": np.sign}
    return eval(re.sub(r"(?<=[\w)]) (?=[\w(])", "*", text), names)


def test_sums_weights_smoothing_and_custom_losses_are_written():
    X, Y = np.ones((2, 3)), np.ones((2, 4))
    layers = [fp.Dense(4)]

    def text(loss):
        return str(explain_step(fp.Network(layers, loss=loss, dtype="float64"), X, Y / 4))

    assert "L = 1/8 sum of [(p - y)^2]" in text("mse")
    assert "dL/da1 = 1/8 [2 (p - y)] = " in text("mse")
    assert "L = 1/2 sum of [(p - y)^2 / 2]" in text("squared_error")
    weighted = text(fp.losses.MSE(output_weights=[1, 2, 3, 4]))
    assert "w = [0.1, 0.2, 0.3, 0.4]" in weighted
    assert "L = 1/2 sum of w [(p - y)^2]" in weighted
    assert "dL/da1 = 1/2 w [2 (p - y)]" in weighted
    smoothed = text(fp.losses.CrossEntropy(label_smoothing=0.2, output_weights=[1, 2, 3, 4]))
    assert "t = w (0.8 y + 0.2 / 4)" in smoothed
    assert "L = 1/2 sum of [-t log p]" in smoothed
    assert "dL/da1 = 1/2 [p * (sum of t) - t]" in smoothed
    custom = text("diagnose_quartic")
    assert "L = 1/8 sum of [diagnose_quartic(y, p)]" in custom
    assert "dL/da1 = 1/8 [diagnose_quartic'(y, p)]" in custom


def test_every_way_back_is_written():
    layers = [
        fp.Dense(3, "tanh"),
        fp.LayerNorm(),
        fp.Residual([fp.Dense(3, "relu"), fp.Dropout(0.5)]),
        fp.Dense(1),
    ]
    net = fp.Network(layers, l2=0.1, l1=0.01, dtype="float64")
    net.divides_penalties = True
    step = explain_step(net, np.ones((2, 3)), [1, 2])
    text, latex = str(step), step.to_latex()
    for line in (
        "L = 1/2 sum of [(p - y)^2] + 0.025 sum of W^2 + 0.005 sum of |W| = ",
        "delta5 = dL/da5 = delta6 W6^T = ",
        "delta4 = dL/da4 = delta5 = ",
        "dL/da3 = delta4 = ",
        "delta2 = dL/da2 = delta3 W3^T + delta5 = ",
        "g2 = delta2 gamma2 = ",
        "dL/da1 = (g2 - mean of g2 - z2 * mean of g2 z2) / sqrt(variance + eps) = ",
        "dW3 = a2^T delta3 + 0.05 W3 + 0.005 sign(W3) = ",
    ):
        assert line in text
    assert r"= \delta^{(3)} {W^{(3)}}^\top + \delta^{(5)} = " in latex
    assert latex.count(r"\delta^{(6)} &=") == 1
    assert r"\frac{\partial L}{\partial a^{(6)}} &=" not in latex  # delta of an identity is the same matrix


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
    for formula in FORMULAS.values():
        for written in (formula.value, formula.gradient, LINKS[formula.link][0]):
            plain = written.latex.format("a", delta=1.0, q=0.5).replace(r"\tfrac12", r"\frac{1}{2}")
            mathtext.MathTextParser("path").parse(f"${plain}$")


def test_the_update_is_that_of_the_optimizer():
    plain = explain_step(two_layers(), [1, 2], 0.8)
    assert plain.is_plain
    for settings in ({"clip_norm": 1e-4}, {"clip_value": 1e-3}, {"clip_norm": 1e-3, "optimizer": fp.SGD(1e-8)}):
        clipped = explain_step(two_layers(**settings), [1, 2], 0.8)
        assert not clipped.is_plain
        assert ", of clipped gradients" in str(clipped)
        assert "W1 new = [[" in str(clipped)
    assert explain_step(two_layers(clip_norm=10.0, clip_value=1.0), [1, 2], 0.8).is_plain
    for optimizer in (fp.Adam(0.1), fp.SGD(0.01, weight_decay=1e-4), fp.SGD(0.1, momentum=0.9)):
        step = explain_step(two_layers(optimizer=optimizer), [1, 2], 0.8)
        assert not step.is_plain
        assert type(optimizer).__doc__.splitlines()[0] in str(step)
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
    with pytest.raises(ValueError, match="net must have a layer with parameters"):
        explain_step(fp.Network([fp.Dropout(0.5)]), [1, 2], [1, 2])
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
