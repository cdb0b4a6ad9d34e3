"""SGDClassifier and SGDRegressor beside scikit-learn's: the same numbers, words and places in its machinery."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from naive_linear import Descent
from sklearn import linear_model
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastprop as fp
from fastprop.checks import check_matrix
from fastprop.estimators.courses import CALL_NUMBERS, Orders
from fastprop.estimators.linear_base import by_rows

REGRESSION = ("squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive")
MARGIN = ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron")


def data(n_classes=2, sparse=False, n=150, d=9, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if sparse:
        X[rng.random(X.shape) < 0.6] = 0.0
    scores = X @ rng.normal(size=(d, n_classes)) + 0.3 * rng.normal(size=(n, n_classes))
    return (sp.csr_array(X) if sparse else X), scores.argmax(axis=1)


def both(name, **parameters):
    """Ours and scikit-learn's."""
    return getattr(fp, name)(**parameters), getattr(linear_model, name)(**parameters)


def assert_equal_models(ours, theirs):
    """The same fitted attributes."""
    scale = max(1.0, abs(theirs.coef_).max())
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6, atol=1e-6 * scale)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    assert ours.coef_.dtype == theirs.coef_.dtype
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)


# ---- the same numbers ---------------------------------------------------------------------------------------------

FACTORS = {
    "loss": (*MARGIN, *REGRESSION),
    "penalty": ("l2", "l1", "elasticnet", None),
    "learning_rate": ("constant", "optimal", "invscaling", "adaptive"),
    "average": (False, True, 40),
    "fit_intercept": (True, False),
    "sparse": (False, True),
    "weighted": (False, True),
}
CLASS_FACTORS = {**FACTORS, "n_classes": (2, 4), "class_weight": (None, "balanced", {0: 0.5, 1: 2.0})}


def cover(factors, n):
    """n cases: every loss with every penalty at least once, and the other factors at random."""
    (first, second), rng = list(factors)[:2], np.random.default_rng(0)
    for k in range(n):
        case = {name: values[rng.integers(len(values))] for name, values in factors.items()}
        k_loss, k_penalty = k % len(factors[first]), k // len(factors[first]) % len(factors[second])
        case |= {first: factors[first][k_loss], second: factors[second][k_penalty]}
        if case["penalty"] in ("l1", "elasticnet"):  # scikit-learn's averages are no means of weights then
            case["average"] = False
        yield case


CLASSIFIERS = list(cover(CLASS_FACTORS, 72))
REGRESSORS = list(cover({**FACTORS, "loss": REGRESSION}, 32))
PLAIN = {"shuffle": False, "max_iter": 3, "tol": None, "alpha": 0.01, "eta0": 0.005}


@pytest.mark.parametrize("case", CLASSIFIERS, ids=str)
def test_classifier_equals_scikit_learn(case):
    case = dict(case)
    X, y = data(case.pop("n_classes"), case.pop("sparse"))
    weights = np.random.default_rng(1).random(len(y)) if case.pop("weighted") else None
    ours, theirs = both("SGDClassifier", **PLAIN, **case)
    assert_equal_models(ours.fit(X, y, sample_weight=weights), theirs.fit(X, y, sample_weight=weights))
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("case", REGRESSORS, ids=str)
def test_regressor_equals_scikit_learn(case):
    case = dict(case)
    X, _ = data(sparse=case.pop("sparse"))
    y = X @ np.arange(9.0) / 9 + 0.5
    weights = np.random.default_rng(1).random(len(y)) if case.pop("weighted") else None
    # Where alpha is small the optimal schedule begins with steps so long that rounding errors grow tenfold a row.
    settings = {**PLAIN, "alpha": 1.0} if case["learning_rate"] == "optimal" else PLAIN
    ours, theirs = both("SGDRegressor", **settings, **case)
    assert_equal_models(ours.fit(X, y, sample_weight=weights), theirs.fit(X, y, sample_weight=weights))
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", ["pa1", "pa2"])
@pytest.mark.parametrize("sparse", [False, True])
def test_passive_aggressive_steps(rate, sparse):
    X, y = data(sparse=sparse)
    ours, theirs = both("SGDClassifier", loss="hinge", learning_rate=rate, penalty=None, **PLAIN)
    assert_equal_models(ours.fit(X, y), theirs.fit(X, y))
    ours, theirs = both("SGDRegressor", loss="epsilon_insensitive", learning_rate=rate, **PLAIN)
    assert_equal_models(ours.fit(X, y), theirs.fit(X, y))


@pytest.mark.parametrize("rate", ["constant", "adaptive", "optimal", "invscaling"])
# While it validates, scikit-learn's l2 has not scaled the weights yet: only without it the scores are the model's.
@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True, "random_state": 3, "penalty": None}], ids=str)
def test_stops_where_scikit_learn_does(rate, parameters):
    X, y = data(n=300)
    settings = {"learning_rate": rate, "eta0": 0.05, "shuffle": False, "alpha": 0.01, **parameters}
    ours, theirs = both("SGDClassifier", loss="hinge", **settings)
    assert_equal_models(ours.fit(X, y), theirs.fit(X, y))
    ours, theirs = both("SGDRegressor", **settings)
    assert_equal_models(ours.fit(X, X[:, 0]), theirs.fit(X, X[:, 0]))


def test_agrees_with_the_reference_on_float32():
    X, y = data()
    X = X.astype(np.float32)
    ours = fp.SGDClassifier(loss="log_loss", **PLAIN).fit(X, y)
    naive = Descent(
        X, y, loss="log_loss", penalty="l2", alpha=0.01, learning_rate="optimal", eta0=0.005, coef=np.zeros(9)
    )
    for _ in range(3):
        naive.run()
    assert ours.coef_.dtype == np.float32
    np.testing.assert_allclose(ours.coef_[0], naive.coef, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("average", [False, 30, 145, 1000])
@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
def test_partial_fit_goes_on(name, average):
    X, y = data()
    # While it averages, scikit-learn's classifier begins each call with an old intercept; ours goes on.
    has_intercept = name == "SGDRegressor" or not average
    ours, theirs = both(name, alpha=0.01, average=average, shuffle=False, fit_intercept=has_intercept)
    classes = {"classes": [0, 1]} if name == "SGDClassifier" else {}
    for model in (ours, theirs):
        for part in (slice(0, 20), slice(20, 21), slice(21, 90), slice(90, 150)):
            model.partial_fit(X[part], y[part], **classes)
        assert model.t_ == 151
    assert_equal_models(ours, theirs)


@pytest.mark.parametrize("average", [False, 30])
def test_warm_start_and_initial_weights(average):
    X, y = data(3)
    ours, theirs = both("SGDClassifier", warm_start=True, average=average, **PLAIN)
    for model in (ours, theirs):
        model.fit(X, y, coef_init=np.ones((3, 9)), intercept_init=np.arange(3)).fit(X, y)
    assert_equal_models(ours, theirs)
    with pytest.raises(ValueError, match="coef_init does not match"):
        clone(ours).fit(X, y, coef_init=np.ones((2, 9)))
    with pytest.raises(ValueError, match="intercept_init does not match"):
        clone(ours).fit(X, y, intercept_init=np.ones(2))


@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities(loss, n_classes):
    X, y = data(n_classes)
    ours, theirs = both("SGDClassifier", loss=loss, **PLAIN)
    ours.fit(X, y), theirs.fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    far = np.full((1, 9), 1e-9)
    np.testing.assert_allclose(ours.predict_proba(far).sum(axis=1), 1.0)
    assert not hasattr(fp.SGDClassifier(), "predict_proba")


# ---- what X, y and weights may be ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "u2", "i8", "?", ">f8"])
@pytest.mark.parametrize("order", ["C", "F", "reversed"])
def test_any_dtype_and_strides_give_the_same_model(dtype, order):
    X = np.round(3 * data()[0]).clip(0, 5).astype(dtype)
    y = data()[1]
    given = {"C": X, "F": np.asfortranarray(X), "reversed": np.ascontiguousarray(X[:, ::-1])[:, ::-1]}[order]
    expected = linear_model.SGDClassifier(**PLAIN).fit(X.astype(np.float64), y)
    tolerance = 1e-3 if dtype == "f4" else 1e-7
    np.testing.assert_allclose(fp.SGDClassifier(**PLAIN).fit(given, y).coef_, expected.coef_, atol=tolerance)


def test_x_is_not_copied(monkeypatch):
    X, y = np.ones((1000, 300), np.int8), np.arange(1000) % 2
    seen = []
    descent = fp.estimators.linear_base.Descent
    monkeypatch.setattr(
        fp.estimators.linear_base,
        "Descent",
        lambda matrix, *a, **k: seen.append(matrix.array) or descent(matrix, *a, **k),
    )
    fp.SGDClassifier(**PLAIN).fit(X, y)
    assert all(np.shares_memory(array, X) for array in seen)
    assert len(seen) == 1


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_csr_with_either_index(index):
    X, y = data(sparse=True)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    expected = linear_model.SGDClassifier(**PLAIN).fit(sp.csr_array(X.toarray()), y)
    np.testing.assert_allclose(fp.SGDClassifier(**PLAIN).fit(X, y).coef_, expected.coef_, atol=1e-7)


FLAWS = {
    "indices must lie within": lambda X: X.indices.__setitem__(0, 99),
    "0..8": lambda X: X.indices.__setitem__(3, -1),
    "unsorted column indices in row": lambda X: X.indices.__setitem__(slice(0, 2), X.indices[1::-1].copy()),
    "duplicate column indices in row": lambda X: X.indices.__setitem__(1, X.indices[0]),
    "indptr must not decrease": lambda X: X.indptr.__setitem__(3, 10**6),
    "indptr must start with 0": lambda X: X.indptr.__setitem__(0, 1),
}


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_csr_is_checked_before_a_kernel_reads_it(flaw, method):
    X, y = data(sparse=True)
    model = fp.SGDRegressor().fit(X, y)
    FLAWS[flaw](X)
    with pytest.raises(ValueError, match=flaw):
        getattr(model, method)(*((X,) if method == "predict" else (X, y)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("parameters", [{}, {"loss": "log_loss"}, {"mode": "minibatch"}], ids=str)
def test_numbers_that_are_not_finite(bad, sparse, parameters):
    X, y = data(sparse=sparse)
    (X.data if sparse else X.ravel())[40] = bad
    model = fp.SGDClassifier(max_iter=2, tol=None, **parameters)
    words = "Input X contains (NaN|infinity)"
    with pytest.raises(ValueError, match=words):
        model.fit(X, y)
    if not parameters:
        with pytest.raises(ValueError, match=words):
            model.partial_fit(X, y, classes=[0, 1])
    good = fp.SGDClassifier().fit(*data(sparse=sparse))
    with pytest.raises(ValueError, match=words):
        good.predict(X)
    with pytest.raises(ValueError, match="Input y contains"):
        fp.SGDRegressor().fit(data()[0], np.where(np.arange(150) == 3, bad, 1.0))


def test_overflow_is_told():
    X, y = data()
    with pytest.raises(ValueError, match="under-/overflow occurred at epoch #1"):
        fp.SGDRegressor(learning_rate="constant", eta0=1e300, penalty=None).fit(X * 1e200, y)


@pytest.mark.parametrize(
    "labels", [["b", "a"], [2.5, -1.5], [True, False], [10**9, -(10**9)], [np.uint8(200), np.uint8(3)]]
)
@pytest.mark.parametrize("n", [150, 3000])
def test_labels_of_any_type(labels, n):
    X, codes = data(n=n)
    y = np.array(labels)[codes]
    ours = fp.SGDClassifier(**PLAIN)
    if y.dtype.kind == "f":
        with pytest.raises(ValueError, match="Unknown label type"):
            ours.fit(X, y)
        return
    np.testing.assert_array_equal(ours.fit(X, y).classes_, np.unique(y))
    np.testing.assert_array_equal(ours.predict(X), linear_model.SGDClassifier(**PLAIN).fit(X, y).predict(X))


@pytest.mark.parametrize("n_classes", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", ["i1", "u8", "f4", "i8"])
@pytest.mark.parametrize("n", [60, 5000])
def test_distinct_labels_are_those_of_unique(n_classes, dtype, n):
    from fastprop.estimators.classes import memberships, split_labels

    y = np.random.default_rng(0).integers(0, n_classes, n).astype(dtype) * 3
    found, masks = split_labels(y)
    np.testing.assert_array_equal(found, np.unique(y))
    assert found.dtype == y.dtype
    assert (masks is None) == (n_classes > 2)
    if masks is not None:
        np.testing.assert_array_equal(masks, memberships(y, found))


def test_labels_that_were_not_told():
    X, y = data(3)
    model = fp.SGDClassifier().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes should include all valid labels"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="is not the same as on last call"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        fp.SGDClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="greater than one; got 1 class"):
        fp.SGDClassifier().fit(X, np.zeros(150))


# ---- parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
def test_parameters_and_defaults_are_scikit_learns(name):
    ours, theirs = (model.get_params() for model in both(name))
    assert {k: v for k, v in ours.items() if k in theirs} == theirs
    assert set(ours) - set(theirs) == {"mode", "solver", "batch_size", "n_threads"}


REFUSED = [
    ({"learning_rate": "pa1", "loss": "log_loss"}, "only works with loss 'hinge'"),
    ({"learning_rate": "optimal", "alpha": 0.0}, "alpha must be > 0"),
    ({"penalty": "elasticnet", "l1_ratio": None}, "l1_ratio must be set"),
    ({"loss": "foo"}, "The 'loss' parameter of SGDClassifier"),
    ({"mode": "foo"}, "The 'mode' parameter of SGDClassifier"),
    ({"solver": "foo"}, "The 'solver' parameter of SGDClassifier"),
    ({"mode": "minibatch", "average": True}, "average needs mode='online'"),
    ({"mode": "minibatch", "learning_rate": "pa1"}, "single samples"),
    ({"mode": "hogwild", "penalty": "l1"}, "needs penalty='l2' or None"),
    ({"mode": "hogwild"}, "is for sparse X"),
]


@pytest.mark.parametrize(("parameters", "words"), REFUSED, ids=str)
def test_refused_parameters(parameters, words):
    with pytest.raises(ValueError, match=words):
        fp.SGDClassifier(**parameters).fit(*data())


def test_warnings():
    X, y = data()
    with pytest.warns(ConvergenceWarning, match="Maximum number of iteration"):
        fp.SGDClassifier(max_iter=1).fit(X, y)
    with pytest.warns(FutureWarning, match="power_t"):
        fp.SGDClassifier(power_t=-1.0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fp.SGDClassifier(max_iter=1, tol=None).fit(X, y)
        fp.SGDClassifier(max_iter=1).partial_fit(X, y, classes=[0, 1])


def test_verbose_reports_epochs(capsys):
    fp.SGDClassifier(verbose=1, max_iter=3, tol=None).fit(*data())
    printed = capsys.readouterr().out
    assert printed.count("-- Epoch") == 3
    assert "Objective" in printed


@pytest.mark.parametrize("early_stopping", [False, True])
def test_threads_of_classes_change_nothing(early_stopping):
    X, y = data(5, n=400)
    one, two = (fp.SGDClassifier(n_jobs=n, random_state=0, early_stopping=early_stopping).fit(X, y) for n in (None, 2))
    np.testing.assert_array_equal(one.coef_, two.coef_)
    assert one.n_iter_ == two.n_iter_


@pytest.mark.parametrize("rows", [None, np.arange(5, 105, 2)])
@pytest.mark.parametrize("shuffles", [False, True])
def test_an_epoch_in_pieces_has_each_row_once(rows, shuffles):
    n = 50
    orders = Orders(rows, n, shuffles, 7, row_size=CALL_NUMBERS / 8)
    first, second = ([piece.copy() for piece in orders.epoch()] for _ in range(2))
    assert [len(piece) for piece in first] == [8] * 6 + [2]
    expected = np.arange(n) if rows is None else rows
    for pieces in (first, second):
        joined = np.concatenate(pieces)
        np.testing.assert_array_equal(np.sort(joined) if shuffles else joined, expected)
    assert np.array_equal(np.concatenate(first), np.concatenate(second)) != shuffles


def test_seed():
    X, y = data()
    first, again, other = (fp.SGDClassifier(random_state=s, max_iter=2, tol=None).fit(X, y).coef_ for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 1e-3


# ---- beyond scikit-learn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [*MARGIN, *REGRESSION])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_minibatch_learns(loss, n_classes):
    X, y = data(n_classes, n=600)
    model = fp.SGDClassifier(loss=loss, mode="minibatch", batch_size=20, max_iter=30, tol=None, random_state=0)
    least = 0.7 if loss in REGRESSION and n_classes == 3 else 0.85  # one column of numbers for each class
    assert model.fit(X, y).score(X, y) > least
    assert model.coef_.shape == (1 if n_classes == 2 else 3, 9)
    before = model.coef_
    model.partial_fit(X, y)
    assert 0 < abs(model.coef_ - before).max() < 0.5
    assert model.t_ == 31 * 600 + 1


def test_minibatch_has_the_objective_of_the_online_model():
    X, _ = data(n=400)
    target = X @ np.linspace(-1, 1, 9) + 2.0
    common = {"alpha": 0.1, "tol": 1e-9, "max_iter": 3000, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        batch = fp.SGDRegressor(mode="minibatch", batch_size=400, eta0=0.01, **common).fit(X, target)
    gram = X.T @ X / 400 + 0.1 * np.eye(9) - np.outer(X.mean(0), X.mean(0))
    exact = np.linalg.solve(gram, X.T @ target / 400 - X.mean(0) * target.mean())
    np.testing.assert_allclose(batch.coef_, exact, atol=1e-3)


def test_minibatch_of_several_classes_has_the_penalty_of_one():
    X, y = data(3, n=400)
    common = {
        "loss": "squared_hinge",
        "mode": "minibatch",
        "batch_size": 400,
        "alpha": 0.5,
        "tol": None,
        "max_iter": 400,
    }
    several = fp.SGDClassifier(**common).fit(X, y)
    one = fp.SGDClassifier(**common).fit(X, y == 2)
    np.testing.assert_allclose(several.coef_[2], one.coef_[0], atol=2e-3)


def test_minibatch_takes_an_optimizer_weights_and_early_stopping():
    X, y = data(3, n=500)
    model = fp.SGDClassifier(
        loss="log_loss", mode="minibatch", solver=fp.SGD(lr=0.5, momentum=0.9), early_stopping=True, random_state=0,
        class_weight="balanced", batch_size=50,
    )  # fmt: skip
    assert model.fit(X, y, sample_weight=np.ones(500)).score(X, y) > 0.85
    assert model.n_iter_ < 1000
    assert isinstance(pickle.loads(pickle.dumps(model)).network_, fp.Network)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_hogwild_learns(n_threads):
    X, y = data(sparse=True, n=3000)
    model = fp.SGDClassifier(mode="hogwild", n_threads=n_threads, max_iter=5, tol=None, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9


# ---- in scikit-learn's machinery ----------------------------------------------------------------------------------


def test_sparsify_and_back():
    X, y = data(3)
    model = fp.SGDClassifier(penalty="l1", alpha=0.05, max_iter=5, tol=None, random_state=0).fit(X, y)
    expected = model.decision_function(X)
    sparse = model.sparsify().decision_function(X)
    np.testing.assert_allclose(sparse, expected)
    assert sp.issparse(model.coef_)
    model.partial_fit(X, y)
    assert isinstance(model.densify().coef_, np.ndarray)


def test_pipeline_clone_pickle_search():
    X, y = data(3)
    pipeline = make_pipeline(StandardScaler(), fp.SGDClassifier(loss="log_loss", random_state=0))
    found = GridSearchCV(pipeline, {"sgdclassifier__alpha": [1e-4, 1e-2]}, cv=3, n_jobs=2)
    with sklearn.config_context(enable_metadata_routing=False):
        import joblib

        with joblib.parallel_backend("threading"):
            found.fit(X, y)
    assert found.best_score_ > 0.8
    model = pickle.loads(pickle.dumps(found.best_estimator_))
    np.testing.assert_array_equal(model.predict(X), found.predict(X))
    assert clone(model).get_params()["sgdclassifier__loss"] == "log_loss"
    calibrated = CalibratedClassifierCV(fp.SGDClassifier(random_state=0), cv=2).fit(X, y)
    assert calibrated.score(X, y) > 0.8


def test_metadata_routing():
    X, y = data()
    with sklearn.config_context(enable_metadata_routing=True):
        model = fp.SGDClassifier(random_state=0).set_fit_request(sample_weight=True)
        model.set_partial_fit_request(classes=True, sample_weight=True)
        scores = cross_validate(
            model.set_score_request(sample_weight=True), X, y, params={"sample_weight": np.ones(150)}
        )
    assert scores["test_score"].mean() > 0.8


def test_frames():
    polars = pytest.importorskip("polars")
    X, y = data()
    names = [f"x{i}" for i in range(9)]
    for frame in (pd.DataFrame(X, columns=names), polars.DataFrame(X, schema=names)):
        model = fp.SGDClassifier(**PLAIN).fit(frame, y)
        assert model.feature_names_in_.tolist() == names
        np.testing.assert_allclose(model.coef_, fp.SGDClassifier(**PLAIN).fit(X, y).coef_)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame[names[::-1]])
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            model.predict(X)
    mixed = pd.DataFrame({"a": np.arange(150), "b": X[:, 0] > 0, "c": X[:, 1].astype(np.float32)})
    assert fp.SGDClassifier().fit(mixed, y).n_features_in_ == 3


class Recorder:
    """A callback that stops after `epochs`."""

    def __init__(self, epochs):
        self.epochs, self.events, self.scores = epochs, [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.events.append(("end", context.task_name, context.task_id))
        self.scores.append(fitted_estimator.score(X, y))
        return context.task_name == "epoch" and context.task_id + 1 == self.epochs


@pytest.mark.parametrize("mode", ["online", "minibatch"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_callbacks_see_epochs_and_stop(mode, n_classes):
    X, y = data(n_classes)
    recorder = Recorder(2)
    model = fp.SGDClassifier(mode=mode, tol=None, random_state=0).set_callbacks(recorder).fit(X, y)
    tasks = [("begin", "fit", 0)]
    for i in range(2):
        tasks += [("begin", "epoch", i), ("end", "epoch", i)]
    assert recorder.events == ["setup", *tasks, ("end", "fit", 0), "teardown"]
    assert model.n_iter_ == 2
    assert recorder.scores[-1] == recorder.scores[-2] == model.score(X, y)
    assert fp.SGDRegressor(max_iter=3, tol=None).set_callbacks(ProgressBar()).fit(X, y).n_iter_ == 3


def test_classes_load_when_asked_for(run_script):
    code = """
    import sys, fastprop as fp
    assert "SGDClassifier" in dir(fp) and "sklearn" not in sys.modules
    fp.SGDClassifier
    assert "sklearn" in sys.modules and not hasattr(fp, "SGDClassifiers")
    """
    run_script(code)


def test_rows_of_columns_are_copied_only_if_small(monkeypatch):
    """The bits are those of rows, whichever way they lie."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 7)), rng.integers(0, 3, 300)
    expected = fp.SGDClassifier(random_state=0).fit(X, y).coef_
    for most in (1 << 27, 0):
        monkeypatch.setattr("fastprop.estimators.linear_base.MOST_COPIED", most)
        for other in (np.asfortranarray(X), pd.DataFrame(X), X[::-1].copy()[::-1]):
            fitted = fp.SGDClassifier(random_state=0).fit(np.asarray(other), y)
            assert fitted.coef_.tobytes() == expected.tobytes()
    frame = check_matrix(np.asfortranarray(X))
    assert by_rows(frame) is frame
    monkeypatch.setattr("fastprop.estimators.linear_base.MOST_COPIED", X.nbytes)
    assert by_rows(frame).array.flags.c_contiguous
