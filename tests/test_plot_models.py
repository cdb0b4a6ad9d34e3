"""Pictures of what models say: decision boundaries, confusions, predictions; of networks, ours and scikit-learn's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import fastprop as fp

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

# CIE XYZ of linear sRGB, each row relative to white.
XYZ = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 2))
TWO = (X[:, 0] > 0.1).astype(int)
THREE = np.digitize(X[:, 0] + X[:, 1], [-0.7, 0.7])
NUMBER = 2 * X[:, 0] - X[:, 1]


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(autouse=True)
def no_figures():
    pyplot.close("all")  # those of other tests of this process
    yield
    pyplot.close("all")


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def network(loss, n_outputs=1, epochs=30):
    """Trained on `X`."""
    y = {1: TWO, 2: TWO, 3: THREE}[n_outputs]
    net = fp.Network([fp.Dense(8, "tanh"), fp.Dense(n_outputs)], loss=loss, optimizer=fp.Adam(0.03))
    net.fit(X, y, epochs=epochs, batch_size=16, progress=False)
    return net


def classifier(y):
    """Says `y` of the nearest row of `X`; has nothing but `predict`."""
    nearest = NearestNeighbors(n_neighbors=1).fit(X)
    return SimpleNamespace(predict=lambda Z: np.asarray(y)[nearest.kneighbors(np.asarray(Z))[1][:, 0]])


# ---- decision boundaries ------------------------------------------------------------------------------------------

MODELS = {
    "bce": lambda: network("bce"),
    "two outputs": lambda: network("cross_entropy", 2),
    "hinge": lambda: network("hinge"),
    "hinge, two outputs": lambda: network("squared_hinge", 2),
    "modified huber": lambda: network("modified_huber"),
    "MLPClassifier": lambda: fp.MLPClassifier(
        hidden_layer_sizes=(8,), learning_rate_init=0.03, tol=1e-3, random_state=0
    ).fit(X, TWO),
    "SGDClassifier": lambda: fp.SGDClassifier(random_state=0).fit(X, TWO),
    "logistic regression": lambda: LogisticRegression().fit(X, TWO),
    "pipeline": lambda: make_pipeline(StandardScaler(), SVC()).fit(X, TWO),
    "ridge": lambda: RidgeClassifier().fit(X, TWO),
    "forest": lambda: RandomForestClassifier(5, random_state=0).fit(X, TWO),
    "predict alone": lambda: classifier(TWO),
}


@pytest.mark.parametrize("name", MODELS)
def test_boundary_of_two_classes(ax, name):
    """The shade has the sign of the class, the line lies where `predict` changes."""
    model = MODELS[name]()
    fp.plot.decision_boundary(model, X, TWO, ax=ax)
    (image,), (line,) = ax.get_images(), ax.collections[:1]
    values = np.asarray(image.get_array())
    assert values.shape == (200, 200)
    assert image.origin == "lower"
    assert np.abs(values).max() <= 1
    grid = np.stack(np.meshgrid(*(np.linspace(*limits, 200) for limits in (ax.get_xlim(), ax.get_ylim()))), axis=-1)
    labels = np.asarray(model.predict(grid.reshape(-1, 2))).reshape(200, 200)
    far = np.abs(values) > 1e-3
    np.testing.assert_array_equal(values[far] > 0, labels[far] == 1)
    on_line = np.concatenate([path.vertices for path in line.get_paths()])
    step = 2 * np.diff(grid[0, :2, 0]), 2 * np.diff(grid[:2, 0, 1])
    around = [model.predict(on_line + np.column_stack([a * step[0], b * step[1]])) for a in (-1, 1) for b in (-1, 1)]
    assert np.mean(np.min(around, axis=0) != np.max(around, axis=0)) > 0.95
    assert texts(ax) == ["0", "1"]


def test_points_of_each_class(ax):
    fp.plot.decision_boundary(classifier(THREE), X, THREE, ax=ax)
    points = [c for c in ax.collections if c.get_label() in "012"]
    for k, drawn in enumerate(points):
        np.testing.assert_array_equal(drawn.get_offsets(), X[k == THREE])
    assert len({tuple(drawn.get_facecolor()[0]) for drawn in points}) == 3
    low, high = X.min(axis=0), X.max(axis=0)
    limits = np.array([ax.get_xlim(), ax.get_ylim()]).T
    np.testing.assert_allclose(limits, [low - 0.1 * (high - low), high + 0.1 * (high - low)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 0", "feature 1")


@pytest.mark.parametrize(
    "labels",
    [["a", "b", "c"], [10, 20, 30], [0.5, 1.5, 2.5], [-1, 0, 1], np.array(["2020", "2021", "2022"], "M8[D]")],
    ids=str,
)  # fmt: skip
def test_labels_of_any_type(ax, labels):
    y = np.asarray(labels)[THREE]
    fp.plot.decision_boundary(KNeighborsClassifier(3).fit(X, y) if y.dtype.kind in "Ui" else classifier(y), X, y, ax=ax)
    assert texts(ax) == [str(label) for label in np.asarray(labels)]
    (image,) = ax.get_images()
    assert set(np.unique(image.get_array())) == {0, 1, 2}


def test_three_classes_of_a_network(ax):
    net = network("cross_entropy", 3)
    fp.plot.decision_boundary(net, X, THREE, ax=ax)
    assert texts(ax) == ["0", "1", "2"]
    assert len(ax.collections) == 3 + 3  # a line around each region, the points of each class


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames(ax, kind):
    frame = pd.DataFrame(X, columns=["width", "height"])
    frame = frame if kind == "pandas" else pl.from_pandas(frame)
    y = pd.Series(np.array(["no", "yes"])[TWO], dtype="category") if kind == "pandas" else pl.Series(TWO == 1)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, np.asarray(y))
    fp.plot.decision_boundary(model, frame, y, ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "height")
    assert texts(ax) == (["no", "yes"] if kind == "pandas" else ["False", "True"])


def test_a_frame_that_a_network_was_trained_on(ax):
    frame = pd.DataFrame(X, columns=["width", "height"])
    net = fp.Network([fp.Dense(1)], loss="bce")
    net.fit(frame, TWO, epochs=2, progress=False)
    fp.plot.decision_boundary(net, frame, TWO, ax=ax)
    assert ax.get_xlabel() == "width"


NAMES = ["_hidden", "$a_b$", r"$\bad{$", "one\nline", "", "x" * 100 + " the end of it"]
SHOWN = [" _hidden", r"\$a_b\$", r"\$\bad{\$", "one line", " ", "x" * 19 + "\u2026 end of it"]


@pytest.mark.filterwarnings("error")
def test_names_are_shown_as_they_are(ax):
    """No mathematics between $, no name that legends leave out, and none so long that no room is left."""
    y = np.array(NAMES)[np.arange(len(X)) % 6]
    order = np.argsort(NAMES)
    model = classifier(y)
    frame = pd.DataFrame(X, columns=NAMES[1:3])
    fp.plot.decision_boundary(model, frame, y, ax=ax)
    assert texts(ax) == [SHOWN[k] for k in order]
    assert [ax.get_xlabel(), ax.get_ylabel()] == SHOWN[1:3]
    ax.figure.canvas.draw()
    ax = fp.plot.confusion(model, X, y)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [SHOWN[k] for k in order]
    ax.figure.canvas.draw()
    Y = X[:, [0, 1] * 3]
    ax = fp.plot.predictions(SimpleNamespace(predict=lambda _: Y), X, pd.DataFrame(Y, columns=NAMES))
    assert [text.removesuffix(": R2 1.000") for text in texts(ax)] == SHOWN
    ax.figure.canvas.draw()


def test_many_classes(ax):
    y = np.arange(len(X)) % 25
    fp.plot.decision_boundary(classifier(y), X, y, ax=ax)
    assert ax.get_legend() is None
    points = [c for c in ax.collections if str(c.get_label()).isdigit()]
    colours = [tuple(drawn.get_facecolor()[0]) for drawn in points]
    assert len(set(colours)) == 20
    shapes = [drawn.get_paths()[0].vertices.tobytes() for drawn in points]
    assert len(set(zip(colours, shapes, strict=True))) == 25


@pytest.mark.parametrize("n", [8, 9, 12])
def test_many_regions_have_their_labels_in_them(ax, n):
    """Stripes: each label in the middle of its own; one that is too narrow has none."""
    edges = np.arange(1.0, n)
    edges[-1] = n - 1.97  # the last but one is 0.03 wide

    def predict(Z):
        return np.digitize(np.asarray(Z)[:, 0], edges)

    corners = np.array([[0.0, 0.0], [n, 1.0]])
    fp.plot.decision_boundary(SimpleNamespace(predict=predict, classes_=np.arange(n)), corners, predict(corners), ax=ax)
    ax.figure.canvas.draw()
    if n == 8:
        assert not ax.texts
        return
    assert [text.get_text() for text in ax.texts] == [str(k) for k in range(n) if k != n - 2]
    for text in ax.texts:
        k = int(text.get_text())
        assert predict([text.get_position()]) == k
        if 0 < k < n - 2:
            assert text.get_position()[0] == pytest.approx(k + 0.5, abs=0.1)


def test_colours_that_colour_blind_readers_tell_apart():
    """By deuteranopes, of whom there are most: distances in CIE Lab; the nearest two of tab20 are 3 apart."""
    from matplotlib.colors import to_rgb

    from fastprop.plot import style

    deuteranopia = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    found = np.array([to_rgb(colour) for colour in style.colours(20)])
    linear = np.where(found <= 0.04045, found / 12.92, ((found + 0.055) / 1.055) ** 2.4)
    seen = np.cbrt(np.clip(linear @ np.transpose(deuteranopia), 0, 1) @ np.array(XYZ).T)
    lab = seen @ np.array([[0, 500, 0], [116, -500, 200], [0, 0, -200]])
    apart = np.linalg.norm(lab[:, None] - lab, axis=2) + 1e3 * np.eye(20)
    assert apart.min() > 15


def test_a_plane_that_is_too_large(ax):
    huge = np.where(X > 0, 1e308, -1e308)
    with pytest.raises(ValueError, match=r"X must be at most 1e\+300 in size to be drawn, got -?1e\+308"):
        fp.plot.decision_boundary(classifier(TWO), huge, TWO, ax=ax)
    fp.plot.decision_boundary(SimpleNamespace(predict=lambda Z: (np.asarray(Z)[:, 0] > 0) * 1), huge / 1e8, TWO, ax=ax)
    ax.figure.canvas.draw()


def test_one_class_and_one_point(ax):
    fp.plot.decision_boundary(classifier(np.zeros(len(X), int)), X[:1], [0], ax=ax)
    assert texts(ax) == ["0"]
    assert np.diff(ax.get_xlim())[0] == pytest.approx(2.0)


def test_a_network_that_has_not_been_trained(ax):
    net = fp.Network([fp.Dense(4, "tanh"), fp.Dense(1)], loss="bce").build(2)
    fp.plot.decision_boundary(net, X, TWO, ax=ax)
    assert texts(ax) == ["0", "1"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "net"}, TypeError, "model must be a Network or an estimator with predict, got str"),
        ({"model": fp.MLPClassifier}, TypeError, "model must be an object, got the class MLPClassifier"),
        ({"model": fp.Network([fp.Dense(1)])}, ValueError, "model must predict labels; this Network does regression"),
        ({"model": LinearRegression()}, ValueError, "model must predict labels; this LinearRegression does regression"),
        ({"model": LogisticRegression()}, ValueError, "not fitted yet"),
        ({"model": fp.Network([fp.Dense(1)], loss="bce")}, ValueError, "the network has no weights yet"),
        ({"model": fp.Network([fp.Dense(1)], loss="bce").build(5)}, ValueError, "model must be trained on 2 features"),
        ({"model": fp.Network([fp.Dense(3)], loss="bce").build(2)}, ValueError, "model must predict one label a row"),
        ({"X": X[:, :1]}, ValueError, "X must have 2 features to be drawn in a plane, got 1"),
        ({"X": X[:, 0]}, ValueError, "X must be 2-D"),
        ({"X": X[:0]}, ValueError, "X is empty"),
        ({"X": np.where(X[7, 0] == X, np.nan, X)}, ValueError, "X must be finite, got nan in row 7"),
        ({"X": X.astype(str)}, TypeError, "X must hold real numbers"),
        ({"y": TWO[:-1]}, ValueError, "y has 79 rows but X has 80"),
        ({"y": np.eye(2)[TWO]}, ValueError, r"y must hold one label a row, shape \(n_samples,\), got shape \(80, 2\)"),
        ({"y": TWO * np.nan}, ValueError, "y must hold labels, got nan in row 0"),
        ({"y": [None, *TWO[1:]]}, TypeError, "labels in y must be of one type that can be sorted: row 0 has none"),
        ({"y": THREE}, ValueError, "y has labels that the model does not know: 2; it knows 0, 1"),
        ({"y": np.array(["no", "yes"])[TWO]}, ValueError, "y has labels that the model does not know: '"),
    ],
)  # fmt: skip
def test_boundaries_that_cannot_be_drawn(change, error, message):
    given = {"model": LogisticRegression().fit(X, TWO), "X": X, "y": TWO} | change
    with pytest.raises(error, match=message):
        fp.plot.decision_boundary(**given)
    assert not pyplot.get_fignums()


def test_sparse_rows():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"X must be dense to be drawn; give X.toarray\(\)"):
        fp.plot.decision_boundary(classifier(TWO), sparse.csr_array(X), TWO)


# ---- confusions ---------------------------------------------------------------------------------------------------


def test_counts_and_shares(ax):
    y = THREE.copy()
    y[np.flatnonzero(THREE == 0)[:3]] = 2
    fp.plot.confusion(classifier(np.array(["a", "b", "c"])[THREE]), X, np.array(["a", "b", "c"])[y], ax=ax)
    counts = np.array([[np.sum((y == i) & (j == THREE)) for j in range(3)] for i in range(3)])
    (image,) = ax.get_images()
    np.testing.assert_allclose(image.get_array(), counts / counts.sum(axis=1, keepdims=True))
    cells = [cell.get_text() for cell in ax.texts]
    assert [int(cell.split("\n")[0]) for cell in cells] == counts.ravel().tolist()
    assert cells[6] == f"3\n{3 / counts[2].sum():.1%}"
    assert cells[1] == "0"
    for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert ax.get_title(loc="left") == "77 of 80 right (96.2%)"


def test_classes_that_the_model_knows_and_y_lacks(ax):
    net = network("cross_entropy", 3)
    rows = np.flatnonzero(THREE == 1)
    fp.plot.confusion(net, X[rows], THREE[rows], ax=ax)
    assert np.asarray(ax.get_images()[0].get_array()).shape == (3, 3)
    assert [cell.get_text() for cell in ax.texts][:3] == ["0", "0", "0"]


@pytest.mark.parametrize(("n", "n_texts", "n_ticks"), [(8, 64, 8), (20, 400, 20), (60, 0, 30)])
def test_many_classes_in_a_confusion(ax, n, n_texts, n_ticks):
    y = np.arange(len(X)) % n
    fp.plot.confusion(classifier(y), X, y, ax=ax)
    assert (len(ax.texts), len(ax.get_xticks())) == (n_texts, n_ticks)


def test_sparse_rows_and_estimators_in_a_confusion(ax):
    sparse = pytest.importorskip("scipy.sparse")
    model = fp.MLPClassifier(hidden_layer_sizes=(8,), tol=1e-2, random_state=0).fit(sparse.csr_array(X), TWO)
    fp.plot.confusion(model, sparse.csr_array(X), TWO, ax=ax)
    assert np.asarray(ax.get_images()[0].get_array()).shape == (2, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": 3}, TypeError, "model must be a Network or an estimator with predict, got int"),
        ({"model": LinearRegression().fit(X, TWO)}, ValueError, "model must predict labels"),
        ({"model": fp.SGDRegressor().fit(X, TWO)}, ValueError, "model must predict labels; this SGDRegressor does"),
        ({"model": MultiOutputClassifier(LogisticRegression()).fit(X, np.column_stack([TWO, 1 - TWO]))}, ValueError,
         "model must predict one label a row, this MultiOutputClassifier gives 2 answers"),
        ({"X": X[:-1]}, ValueError, "y has 80 rows but X has 79"),
        ({"y": TWO + 1}, ValueError, "y has labels that the model does not know: 2; it knows 0, 1"),
        ({"y": np.eye(2)[TWO]}, ValueError, "y must hold one label a row"),
    ],
)  # fmt: skip
def test_confusions_that_cannot_be_drawn(change, error, message):
    given = {"model": LogisticRegression().fit(X, TWO), "X": X, "y": TWO} | change
    with pytest.raises(error, match=message):
        fp.plot.confusion(**given)
    assert not pyplot.get_fignums()


# ---- predictions --------------------------------------------------------------------------------------------------


def regressor(y):
    return LinearRegression().fit(X, y)


def test_against_the_truth(ax):
    model = regressor(NUMBER + X[:, 0] ** 2)
    y = NUMBER + X[:, 0] ** 2
    fp.plot.predictions(model, X, y, ax=ax)
    (points,), (diagonal,) = ax.collections, ax.get_lines()
    np.testing.assert_array_equal(points.get_offsets(), np.column_stack([y, model.predict(X)]))
    ends = min(y.min(), model.predict(X).min()), max(y.max(), model.predict(X).max())
    np.testing.assert_array_equal(diagonal.get_xydata(), [[ends[0]] * 2, [ends[1]] * 2])
    assert texts(ax) == [f"R2 {model.score(X, y):.3f}"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("true", "predicted")


def test_residuals(ax):
    model = regressor(NUMBER)
    fp.plot.predictions(model, X, NUMBER + 1, residuals=True, ax=ax)
    offsets = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(offsets, np.column_stack([model.predict(X), np.ones(len(X))]))
    assert set(ax.get_lines()[0].get_ydata()) == {0.0}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true - predicted")


@pytest.mark.parametrize("named", [False, True])
def test_several_outputs(ax, named):
    Y = np.column_stack([NUMBER, -NUMBER, X[:, 0]])
    net = fp.Network([fp.Dense(3)], optimizer=fp.Adam(0.1))
    net.fit(X, Y, epochs=100, progress=False)
    fp.plot.predictions(net, X, pd.DataFrame(Y, columns=["a", "b", "c"]) if named else Y, ax=ax)
    names = ["a", "b", "c"] if named else ["output 0", "output 1", "output 2"]
    assert [text.split(": R2 ")[0] for text in texts(ax)] == names
    for points, truth, predicted in zip(ax.collections, Y.T, net.predict(X).T, strict=True):
        np.testing.assert_allclose(points.get_offsets(), np.column_stack([truth, predicted]))
    assert len({tuple(points.get_facecolor()[0]) for points in ax.collections}) == 3


@pytest.mark.parametrize(("n", "n_named"), [(10, 10), (20, 20), (30, 20)])
def test_many_outputs(ax, n, n_named):
    Y = X[:, :1] * np.arange(1, n + 1)
    fp.plot.predictions(regressor(Y), X, Y, ax=ax)
    assert len({tuple(points.get_facecolor()[0]) for points in ax.collections}) == n_named
    assert (len(texts(ax)), texts(ax)[-1].split(":")[0]) == (n_named, f"output {n - 1}")
    ax.figure.canvas.draw()
    legend, frame = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert legend.x0 >= frame.x1  # it covers no point
    assert legend.height <= ax.figure.bbox.height


def test_many_samples_are_thinned_and_all_counted(ax):
    y = np.arange(100_000.0)
    model = SimpleNamespace(predict=lambda Z: np.where(y % 5 == 0, y, y + 1e4))
    fp.plot.predictions(model, y.reshape(-1, 1), y, ax=ax)
    assert len(ax.collections[0].get_offsets()) == 20_000
    assert texts(ax) == [f"R2 {1 - 0.8 * 1e8 / y.var():.3f}"]


def test_a_constant_truth(ax):
    fp.plot.predictions(regressor(NUMBER), X, np.ones(len(X)), ax=ax)
    assert texts(ax) == ["R2 nan"]
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": None}, TypeError, "model must be a Network or an estimator with predict, got NoneType"),
        ({"model": LogisticRegression().fit(X, TWO)}, ValueError, "model must predict numbers; this Logistic"),
        ({"model": fp.Network([fp.Dense(1)], loss="bce").build(2)}, ValueError, "model must predict numbers; this Net"),
        ({"model": classifier(np.array(["a", "b"])[TWO])}, TypeError, "predictions must be numbers"),
        ({"y": NUMBER[:-1]}, ValueError, "y has 79 rows but X has 80"),
        ({"y": np.column_stack([NUMBER, NUMBER])}, ValueError, "y must have the 1 outputs of the model, got 2"),
        ({"y": np.where(NUMBER[3] == NUMBER, np.nan, NUMBER)}, ValueError, "y must be finite, got nan in row 3"),
        ({"y": NUMBER.astype(str)}, TypeError, "y must be numbers"),
        ({"y": NUMBER.reshape(-1, 1, 1)}, ValueError, "y must be of shape"),
        ({"residuals": "yes"}, TypeError, "residuals must be True or False, got 'yes'"),
    ],
)  # fmt: skip
def test_predictions_that_cannot_be_drawn(change, error, message):
    given = {"model": regressor(NUMBER), "X": X, "y": NUMBER} | change
    with pytest.raises(error, match=message):
        fp.plot.predictions(**given)
    assert not pyplot.get_fignums()
