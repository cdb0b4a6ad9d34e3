"""Pictures of trainings, gradients and weights: what is drawn, as lines, labels and limits, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fastprop as fp

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


@pytest.fixture
def ax():
    """Axes that pyplot knows nothing of."""
    return Figure().subplots()


@pytest.fixture(autouse=True)
def no_figures():
    pyplot.close("all")  # those of other tests of this process
    yield
    pyplot.close("all")


def texts(ax):
    """What the legend says."""
    return [text.get_text() for text in ax.get_legend().get_texts()]


def is_beside(ax):
    """Whether the legend is right of the picture, and no higher than the figure."""
    ax.figure.canvas.draw()
    box, frame = ax.get_legend().get_window_extent(), ax.get_window_extent()
    return box.x0 >= frame.x1 and box.height <= ax.figure.bbox.height


@pytest.fixture(scope="module")
def net():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    layers = [fp.Dense(8, "relu"), fp.Dropout(0.1), fp.Residual([fp.Dense(8, "tanh")]), fp.Dense(2)]
    net = fp.Network(layers, loss="cross_entropy")
    net.fit(X, (X[:, 0] > 0).astype(int), epochs=4, validation_fraction=0.2, progress=False)
    return net


# ---- where it is drawn --------------------------------------------------------------------------------------------

DRAWN = {
    "history": lambda net, ax: fp.plot.history(net, ax=ax),
    "lr_find": lambda net, ax: fp.plot.lr_find(rates(), ax=ax),
    "gradient_flow": lambda net, ax: fp.plot.gradient_flow(flow(1.0, 2.0), ax=ax),
    "gradient_flow over epochs": lambda net, ax: fp.plot.gradient_flow(recorded(3, 2), ax=ax),
    "weights": lambda net, ax: fp.plot.weights(net, ax=ax),
    "weights of a layer": lambda net, ax: fp.plot.weights(net, 0, ax=ax),
    "decision_boundary": lambda net, ax: fp.plot.decision_boundary(CORNER, PLANE, CORNER.predict(PLANE), ax=ax),
    "confusion": lambda net, ax: fp.plot.confusion(CORNER, PLANE, CORNER.predict(PLANE), ax=ax),
    "predictions": lambda net, ax: fp.plot.predictions(CORNER, PLANE, PLANE[:, 0], ax=ax),
}
PLANE = np.random.default_rng(0).normal(size=(20, 2))
CORNER = SimpleNamespace(predict=lambda X: (np.asarray(X)[:, 0] > 0).astype(int))


@pytest.mark.parametrize("name", DRAWN)
def test_into_axes_that_are_given(net, ax, name):
    assert DRAWN[name](net, ax) is ax
    assert ax.has_data()
    assert not pyplot.get_fignums()  # nothing of pyplot's has changed


@pytest.mark.parametrize("name", DRAWN)
def test_the_frame_is_open_where_there_are_lines(net, ax, name):
    DRAWN[name](net, ax)
    is_map = name in ("weights of a layer", "decision_boundary", "confusion")
    seen = {edge for edge in ax.spines if ax.spines[edge].get_visible()}
    assert seen == ({"left", "bottom", "top", "right"} if is_map else {"left", "bottom"})


@pytest.mark.parametrize("projection", ["polar", "3d"])
@pytest.mark.parametrize("name", DRAWN)
def test_axes_that_are_not_straight(net, name, projection):
    with pytest.raises(TypeError, match=f"ax must have straight axes for x and y, got .*projection='{projection}'"):
        DRAWN[name](net, Figure().add_subplot(projection=projection))


@pytest.mark.parametrize("name", DRAWN)
def test_into_a_new_figure(net, name):
    first, second = DRAWN[name](net, None), DRAWN[name](net, None)
    assert first.figure is not second.figure
    assert len(pyplot.get_fignums()) == 2


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("wrong", ["axes", Figure(), [1], np.array([None])])
def test_axes_of_another_kind(net, name, wrong):
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes or None, got"):
        DRAWN[name](net, wrong)
    assert not pyplot.get_fignums()


@pytest.mark.parametrize("name", DRAWN)
def test_without_matplotlib(net, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"fastprop.plot needs matplotlib: pip install 'fastprop-jit\[plot\]'"):
        DRAWN[name](net, None)


def test_matplotlib_is_not_loaded_before_something_is_drawn():
    code = "import sys, fastprop as fp; fp.plot.history; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ---- history ------------------------------------------------------------------------------------------------------


def test_history_of_a_network(net, ax):
    fp.plot.history(net, ax=ax)
    training, validation, lowest = ax.get_lines()
    np.testing.assert_array_equal(training.get_xydata(), np.column_stack([range(1, 5), net.history_["loss"]]))
    np.testing.assert_array_equal(validation.get_ydata(), net.history_["val_loss"])
    best = int(np.argmin(net.history_["val_loss"]))
    np.testing.assert_array_equal(lowest.get_xydata(), [[best + 1, net.history_["val_loss"][best]]])
    assert texts(ax) == ["training", "validation", f"lowest: epoch {best + 1}"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_history_of_estimators(ax):
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = fp.MLPClassifier(hidden_layer_sizes=(4,), max_iter=3)
    with pytest.warns(UserWarning, match="reached"):
        model.fit(X, X[:, 0] > 0)
    fp.plot.history(model, ax=ax)
    assert len(ax.get_lines()[0].get_xdata()) == 3


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([1.0, 0.5, 0.1], "log"), ([1.0, 0.5], "linear"), ([10.0, 0.0], "linear"), ([10.0, 0.1, -1.0], "linear")],
)
def test_a_logarithmic_axis_where_it_helps(ax, losses, scale):
    fp.plot.history({"loss": losses}, ax=ax)
    assert ax.get_yscale() == scale


def test_history_of_one_epoch(ax):
    fp.plot.history({"loss": [1.0], "val_loss": [2.0]}, ax=ax)
    assert [line.get_marker() for line in ax.get_lines()] == ["o", "o"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_history_that_diverged(ax, bad):
    fp.plot.history({"loss": [1.0, 2.0, bad], "val_loss": [1.0, bad, bad]}, ax=ax)
    assert texts(ax)[-1] == "not finite: epoch 2"
    assert np.isfinite(ax.get_ylim()).all()
    ax.figure.canvas.draw()


def test_history_of_nothing_finite(ax):
    fp.plot.history({"loss": [np.nan, np.nan], "val_loss": [np.nan, np.nan]}, ax=ax)
    assert texts(ax) == ["training", "validation", "not finite: epoch 1"]
    ax.figure.canvas.draw()


def marked(line):
    """The places of a line that have a marker."""
    return line.get_markevery() if line.get_marker() == "o" else []


@pytest.mark.parametrize(
    ("losses", "alone"),
    [([1, np.inf, 2], [0, 2]), ([1, 2, np.nan, 3, np.nan, 4, 5], [3]), ([np.nan, 1], [1]), ([1, 2, np.nan, 3, 4], [])],
)
def test_a_loss_between_gaps_is_a_point(ax, losses, alone):
    """A line has two ends: of one number alone it shows nothing."""
    fp.plot.history({"loss": losses}, ax=ax)
    assert marked(ax.get_lines()[0]) == alone


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("losses", [[1e300, 1e-300], [1e300, 1.0], [1.0, 1e-300]])
def test_losses_of_any_size(ax, losses):
    fp.plot.history({"loss": losses}, ax=ax)
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "linear"  # the margins of a logarithmic axis would overflow


def test_a_very_long_history_keeps_its_extremes(ax):
    losses = np.random.default_rng(0).uniform(1, 2, 300_000)
    losses[[12_345, 77_777]] = 0.1, 9.0
    losses[200_000:200_010] = np.nan
    fp.plot.history({"loss": losses}, ax=ax)
    x, y = ax.get_lines()[0].get_data()
    assert len(x) <= 4_000
    assert (x[0], x[-1], np.nanmin(y), np.nanmax(y)) == (1, 300_000, 0.1, 9.0)
    assert np.isnan(y).any()
    assert (np.diff(x) > 0).all()
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"loss": []}, ValueError, "history is empty"),
        ({}, ValueError, "history must have 'loss', as what fit returns has; got none"),
        ({"val_loss": [1.0]}, ValueError, "history must have 'loss', as what fit returns has; got 'val_loss'"),
        ({"loss": [1.0], "val_loss": [1.0, 2.0]}, ValueError, "one number an epoch, got 1 of loss, 2 of val_loss"),
        ({"loss": ["a"]}, TypeError, r"history\['loss'\] must hold numbers"),
        ({"loss": [[1.0]]}, ValueError, r"history\['loss'\] must be a list of numbers, got shape \(1, 1\)"),
        ({"loss": 1.0}, ValueError, r"history\['loss'\] must be a list"),
        ([1.0, 2.0], TypeError, "history must be the dict that fit returns, or a fitted Network, got list"),
        (fp.Network([fp.Dense(1)]), ValueError, "history must be of something fitted; this Network has none yet"),
        (fp.MLPClassifier(), ValueError, "history must be of something fitted; this MLPClassifier"),
    ],
)
def test_wrong_histories(given, error, message):
    with pytest.raises(error, match=message):
        fp.plot.history(given)
    assert not pyplot.get_fignums()


# ---- learning rates -----------------------------------------------------------------------------------------------


def rates(**changes):
    x = np.logspace(-6, 1, 50)
    losses = np.where(x < 0.1, 1.0 - x, 1e9)
    return SimpleNamespace(**({"rates": x, "losses": losses, "smoothed": losses, "suggestion": 0.01} | changes))


def test_lr_find(ax):
    fp.plot.lr_find(rates(), ax=ax)
    raw, smoothed, suggestion = ax.get_lines()
    assert len(raw.get_xdata()) == len(smoothed.get_xdata()) == 50
    assert set(suggestion.get_xdata()) == {0.01}
    assert texts(ax) == ["each step", "smoothed", "suggested: 0.01"]
    assert ax.get_xscale() == "log"
    assert ax.get_ylim()[1] < 2  # what came after the end is out of sight


def test_lr_find_that_diverged_and_suggests_nothing(ax):
    losses = np.full(50, np.inf)
    losses[:3] = 1.0
    fp.plot.lr_find(rates(losses=losses, smoothed=losses, suggestion=np.nan), ax=ax)
    assert texts(ax) == ["each step", "smoothed"]
    ax.figure.canvas.draw()


def test_lr_find_of_a_network(ax):
    x = np.random.default_rng(0).normal(size=(200, 4))
    net = fp.Network([fp.Dense(8, "tanh"), fp.Dense(1)], optimizer=fp.SGD(0.1))
    found = fp.diagnose.lr_find(net, x, x[:, 0], lr_max=1e4)
    fp.plot.lr_find(found, ax=ax)
    np.testing.assert_array_equal(ax.get_lines()[1].get_xydata(), np.column_stack([found.rates, found.smoothed]))
    assert texts(ax)[2:] == [f"suggested: {found.suggestion:.2g}", f"diverges from {found.diverged_at:.2g}"]


def test_wrong_rates():
    with pytest.raises(TypeError, match=r"rates must be what fp.diagnose.lr_find returns, got dict"):
        fp.plot.lr_find({"rates": [1.0]})
    for wrong in (rates(rates=[1.0]), rates(rates=[], losses=[], smoothed=[]), rates(smoothed=np.full(50, np.nan))):
        with pytest.raises(ValueError, match="rates must have a finite loss for each rate"):
            fp.plot.lr_find(wrong)


# ---- gradients ----------------------------------------------------------------------------------------------------


def flow(*norms):
    layers = [SimpleNamespace(name=f"layers[{i}]", gradient=norm, delta=2 * norm) for i, norm in enumerate(norms)]
    return SimpleNamespace(layers=layers, finding="healthy")


def recorded(n_epochs, n_layers):
    flows = [flow(*(10.0**-j * (i + 1) for j in range(n_layers))) for i in range(n_epochs)]
    return SimpleNamespace(epochs=list(range(n_epochs)), flows=flows)


def test_bars_of_gradients(ax):
    fp.plot.gradient_flow(flow(1e-6, 1e-3, 1.0), ax=ax)
    assert [bar.get_height() for bar in ax.patches] == [1e-6, 1e-3, 1.0]
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), [2e-6, 2e-3, 2.0])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["layers[0]", "layers[1]", "layers[2]"]
    assert (ax.get_yscale(), ax.get_title(loc="left")) == ("log", "gradients: healthy")
    low, high = ax.get_ylim()
    assert np.isfinite(ax.transData.transform((0.0, 0.0))).all()  # where bars begin: else they are not drawn
    assert 0 < low < 1e-6
    assert high > 2.0


@pytest.mark.parametrize("norms", [(0.0, 1.0), (0.0, 0.0), (np.nan, 1.0), (np.inf, 1.0)])
def test_bars_of_nothing(ax, norms):
    fp.plot.gradient_flow(flow(*norms), ax=ax)
    assert [note.get_text() for note in ax.texts] == ["0" if n == 0 else "not finite" for n in norms if n != 1.0]
    assert np.isfinite(ax.get_ylim()).all()
    ax.figure.canvas.draw()


def test_names_of_many_layers_are_turned(ax):
    for n, angle in ((3, 0.0), (8, 60.0), (20, 90.0)):
        ax.clear()
        fp.plot.gradient_flow(flow(*np.ones(n)), ax=ax)
        assert {label.get_rotation() for label in ax.get_xticklabels()} == {angle}


def test_gradients_over_epochs(ax):
    fp.plot.gradient_flow(recorded(5, 3), ax=ax)
    assert len(ax.get_lines()) == 3
    np.testing.assert_array_equal(ax.get_lines()[1].get_xydata(), [[e + 1, 0.1 * (e + 1)] for e in range(5)])
    assert texts(ax) == ["layers[0]", "layers[1]", "layers[2]"]


def test_gradients_of_many_layers_over_one_epoch(ax):
    fp.plot.gradient_flow(recorded(1, 25), ax=ax)
    assert len(ax.get_lines()) == 25
    assert len(texts(ax)) == 10
    assert {texts(ax)[0], texts(ax)[-1]} == {"layers[0]", "layers[24]"}
    assert {line.get_marker() for line in ax.get_lines()} == {"o"}


def test_gradients_of_a_network(ax):
    x = np.random.default_rng(0).normal(size=(60, 4))
    deep = fp.Network([*(fp.Dense(8, "sigmoid") for _ in range(9)), fp.Residual([fp.LayerNorm()]), fp.Dense(1)])
    found = fp.diagnose.gradient_flow(deep, x, x[:, 0])
    fp.plot.gradient_flow(found, ax=ax)
    assert [bar.get_height() for bar in ax.patches] == [layer.gradient for layer in found.layers]
    assert ax.get_title(loc="left") == "gradients: vanishing"


def test_gradients_that_a_callback_recorded(ax):
    x = np.random.default_rng(0).normal(size=(60, 4))
    watch = fp.diagnose.GradientFlow(x, x[:, 0], every=2)
    net = fp.Network([fp.Dense(8, "relu"), fp.Dense(1)])
    net.fit(x, x[:, 0], epochs=5, callbacks=watch, progress=False)
    fp.plot.gradient_flow(watch, ax=ax)
    assert [line.get_xdata().tolist() for line in ax.get_lines()] == [[1, 3, 5]] * 2
    assert texts(ax) == ["layers[0]", "layers[1]"]


def test_a_gradient_between_gaps_is_a_point(ax):
    record = recorded(4, 2)
    record.flows[1].layers[1].gradient, record.flows[3].layers[1].gradient = 0.0, np.nan  # no place on this axis
    fp.plot.gradient_flow(record, ax=ax)
    assert [marked(line) for line in ax.get_lines()] == [[], [0, 2]]


def test_gradients_of_two_fits(ax):
    x = np.random.default_rng(0).normal(size=(60, 4))
    watch = fp.diagnose.GradientFlow(x, x[:, 0])
    net = fp.Network([fp.Dense(1)])
    for epochs in (1, 3):
        net.fit(x, x[:, 0], epochs=epochs, callbacks=watch, progress=False)
    fp.plot.gradient_flow(watch, ax=ax)
    assert ax.get_lines()[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_wrong_flows():
    with pytest.raises(TypeError, match=r"flow must be of fp.diagnose: a Flow or a GradientFlow, got Network"):
        fp.plot.gradient_flow(fp.Network([fp.Dense(1)]))
    with pytest.raises(ValueError, match="flow has no layers"):
        fp.plot.gradient_flow(flow())
    with pytest.raises(ValueError, match="flow has recorded no epoch yet: give it to fit as a callback"):
        fp.plot.gradient_flow(SimpleNamespace(epochs=[], flows=[]))


# ---- weights ------------------------------------------------------------------------------------------------------


def test_distributions_of_weights(net, ax):
    fp.plot.weights(net, ax=ax)
    assert texts(ax) == ["layers.0 3 x 8", "layers.2.layers.0 8 x 8", "layers.3 8 x 2"]
    for line in ax.get_lines():  # the area below each is 1
        x, y = line.get_data()
        assert np.trapezoid(y, x) == pytest.approx(1.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weight", "density")


@pytest.mark.parametrize(
    ("layer", "name"),
    [(0, "layers.0"), (np.int64(3), "layers.3"), (-1, "layers.3"), ("layers.2.layers.0", "layers.2.layers.0"),
     ("layers[2].layers[0]", "layers.2.layers.0"), ("layers.0.W", "layers.0")],
)  # fmt: skip
def test_map_of_weights(net, ax, layer, name):
    fp.plot.weights(net, layer, ax=ax)
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), net.state_dict()[f"{name}.W"])
    low, high = image.get_clim()
    assert low == -high
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == (f"{name}.W", "unit", "input")


def test_weights_that_are_all_the_same(ax):
    net = fp.Network([fp.Dense(3, init="zeros")]).build(2)
    fp.plot.weights(net, ax=ax)
    assert texts(ax) == ["layers.0 2 x 3, all 0"]
    assert ax.get_xlim()[0] < 0.0 < ax.get_xlim()[1]  # not on the edge
    fp.plot.weights(net, 0).figure.canvas.draw()


def test_a_legend_of_many_layers_stands_beside(ax):
    net = fp.Network([fp.Dense(2) for _ in range(51)]).build(2)
    fp.plot.weights(net, ax=ax)
    assert len(ax.get_lines()) == 51
    assert (texts(ax)[0], texts(ax)[-1], len(texts(ax))) == ("layers.0 2 x 2", "layers.50 2 x 2", 10)
    assert is_beside(ax)


def test_weights_of_an_estimator(ax):
    X = np.random.default_rng(0).normal(size=(50, 2))
    fp.plot.weights(fp.MLPRegressor(hidden_layer_sizes=(4,), max_iter=200, tol=1.0).fit(X, X[:, 0]), ax=ax)
    assert texts(ax) == ["layers.0 2 x 4", "layers.1 4 x 1"]


@pytest.mark.parametrize("layer", [1, 2, 4, -5, "layers.1", "first", True, 1.0, [0]])
def test_wrong_layers(net, layer):
    message = r"layer must be .*Dense layer.*0, 'layers.2.layers.0', 3.*got "
    with pytest.raises((ValueError, TypeError), match=message):
        fp.plot.weights(net, layer)
    assert not pyplot.get_fignums()


def test_weights_of_something_else():
    with pytest.raises(TypeError, match="net must be a Network, or a fitted estimator of fastprop, got dict"):
        fp.plot.weights({})
    with pytest.raises(TypeError, match="net must be a Network, or a fitted estimator of fastprop, got MLPClassifier"):
        fp.plot.weights(fp.MLPClassifier())
    with pytest.raises(ValueError, match="the network has no weights yet"):
        fp.plot.weights(fp.Network([fp.Dense(1)]))
    with pytest.raises(ValueError, match="net has no Dense layer"):
        fp.plot.weights(fp.Network([fp.LayerNorm()]).build(2))


# ---- files --------------------------------------------------------------------------------------------------------


def test_save(tmp_path, ax):
    fp.plot.history({"loss": [2.0, 1.0]}, ax=ax)
    fp.plot.save(ax, tmp_path / "a.png")
    fp.plot.save(ax.figure, str(tmp_path / "b.svg"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "b.svg").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_save_axes_of_a_part_of_a_figure(tmp_path):
    """The whole figure is saved."""
    left, right = Figure(figsize=(4, 2)).subfigures(1, 2)
    ax = left.subplots()
    for name, picture in (("axes.png", ax), ("part.png", right), ("whole.png", left.figure)):
        fp.plot.save(picture, tmp_path / name)
        assert pyplot.imread(tmp_path / name).shape[:2] == (300, 600)


def test_save_what_cannot_be(tmp_path, ax):
    for name in ("a.pgn", "a", ".png"):
        with pytest.raises(ValueError, match=r"path must end in one of .*\.png"):
            fp.plot.save(ax, tmp_path / name)
    with pytest.raises(TypeError, match="picture must be matplotlib Axes or a Figure, got dict"):
        fp.plot.save({}, tmp_path / "a.png")
    with pytest.raises(TypeError, match=r"path must be a path as str or pathlib\.Path, got 5"):
        fp.plot.save(ax, 5)
    with pytest.raises(OSError, match=r"a\.png"):
        fp.plot.save(ax, tmp_path / "nowhere" / "a.png")
    assert not list(tmp_path.iterdir())
