"""What SGDClassifier and SGDRegressor remember: after errors, other modes, weights set by hand; and what they weigh."""

import re
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model

import fastprop as fp
from fastprop.checks import check_matrix
from fastprop.estimators import linear_scores
from fastprop.linear import Descent

PLAIN = {"max_iter": 2, "tol": None, "random_state": 0}


def data(n_classes=2, n=150, d=9):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    return X, (X @ rng.normal(size=(d, n_classes))).argmax(axis=1)


# ---- a call that fails ---------------------------------------------------------------------------------------------


def fails_with(error):
    def judge(*_):
        raise error

    return judge


@pytest.mark.parametrize("mode", ["online", "minibatch"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_call_that_fails_leaves_the_last_model(mode, error, method, monkeypatch):
    X, y = data(3)
    model = fp.SGDClassifier(mode=mode, **PLAIN).fit(X, y)
    before, expected = dict(model.__dict__), model.predict(X)
    monkeypatch.setattr(fp.SGDClassifier, "_publish", fails_with(error))
    X_new, y_new = (X[:, :4], y % 2) if method == "fit" else (X, y)
    with pytest.raises(error):
        getattr(model, method)(X_new, y_new)
    assert model.__dict__.keys() == before.keys()
    assert all(model.__dict__[name] is before[name] for name in before)
    np.testing.assert_array_equal(model.predict(X), expected)


def test_a_first_call_that_fails_fits_nothing():
    X, y = data()
    for model in (fp.SGDClassifier(), fp.SGDRegressor()):
        before = dict(model.__dict__)
        for method in (model.fit, model.partial_fit):
            with pytest.raises(ValueError, match=r"classes must be passed|contains NaN"):
                method(np.where(X > 2.0, np.nan, X), y)
            assert model.__dict__ == before


# ---- modes, and weights set by hand --------------------------------------------------------------------------------


def test_minibatch_goes_on_from_coef():
    X, y = data()
    model = fp.SGDClassifier(mode="minibatch", **PLAIN).fit(X, y)
    model.coef_ = np.full_like(model.coef_, 100.0)
    assert abs(model.partial_fit(X, y).coef_ - 100.0).max() < 1.0
    model.set_params(mode="online", learning_rate="constant", eta0=1e-3, loss="log_loss").partial_fit(X, y)
    assert not hasattr(model, "network_")
    before = model.coef_
    model.set_params(mode="minibatch").partial_fit(X, y)
    assert 0 < abs(model.coef_ - before).max() < 0.1
    np.testing.assert_allclose(model.network_.get_weights()[0][0].T, model.coef_)


@pytest.mark.parametrize("weights", ["ones", "twos", "halves", "class_weight"])
def test_minibatch_divides_by_the_number_of_rows(weights):
    """The minimum of sum_i s_i (w x_i - y_i)^2 / 2n + alpha |w|^2 / 2: scikit-learn's objective, and online's."""
    X, y = data(n=200, d=3)
    s = {"ones": np.ones(200), "twos": np.full(200, 2.0), "halves": np.arange(200) % 2.0}.get(weights, 1.0 + 3.0 * y)
    given = {"class_weight": {0: 1.0, 1: 4.0}} if weights == "class_weight" else {}
    model = fp.SGDClassifier(
        "squared_error", alpha=1.0, mode="minibatch", solver="sgd", eta0=0.1, batch_size=200, fit_intercept=False,
        max_iter=500, tol=None, **given,
    )  # fmt: skip
    model.fit(X, y, sample_weight=None if given else s)
    expected = np.linalg.solve(X.T * s @ X / 200 + np.eye(3), X.T * s @ (2.0 * y - 1.0) / 200)
    np.testing.assert_allclose(model.coef_[0], expected, rtol=1e-6)


@pytest.mark.parametrize("average", [False, 3])
@pytest.mark.parametrize("mode", ["online", "minibatch"])
def test_weights_set_by_hand(mode, average):
    """As federated learning does: no fit, but coef_ and intercept_ from elsewhere, here lists and integers."""
    X, y = data()
    parameters = {"mode": mode, "average": average if mode == "online" else False, "random_state": 0}
    classifier, regressor = fp.SGDClassifier(**parameters), fp.SGDRegressor(**parameters)
    classifier.classes_, classifier.coef_, classifier.intercept_ = np.arange(2), np.arange(9)[None], [3]
    regressor.coef_, regressor.intercept_ = list(range(9)), [3]
    for model in (classifier, regressor):
        model.partial_fit(X, y)
        assert model.t_ == 151
        assert model.coef_.dtype == np.float64
        assert np.isfinite(model.predict(X)).all()


def test_weights_set_by_hand_must_fit_x():
    X, y = data()
    for width in (1, 4):
        model = fp.SGDClassifier()
        model.classes_, model.coef_, model.intercept_ = np.arange(2), np.ones((1, width)), np.zeros(1)
        with pytest.raises(ValueError, match=f"Number of features 9 does not match previous data {width}"):
            model.partial_fit(X, y)


def test_averages_that_are_no_longer_asked_for():
    X, y = data()
    model = fp.SGDClassifier(average=True, learning_rate="constant", eta0=1.0, **PLAIN).fit(X, y)
    before = model.coef_
    model.set_params(average=False, eta0=1e-9).partial_fit(X, y)
    np.testing.assert_allclose(model.coef_, before, atol=1e-5)


def test_balanced_weights_need_rows_of_all_classes():
    X, y = data()
    for cls in (fp.SGDClassifier, linear_model.SGDClassifier):
        model = cls(class_weight="balanced", **PLAIN).fit(X, y).partial_fit(X, y)
        with pytest.raises(ValueError, match="classes should have valid labels that are in y"):
            model.partial_fit(X[y == 1], y[y == 1])


# ---- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "labels"),
    [("u8", [2**63 + 10, 2**63 + 12, 2**63 + 11]), ("i8", [-(2**63), 5 - 2**63, 9 - 2**63]), ("i1", [-128, 127, 0])],
)
@pytest.mark.parametrize("order", "<>")
def test_labels_at_the_ends_of_their_dtype(dtype, labels, order):
    X, _ = data(n=2100)
    y = np.tile(np.array(labels, order + dtype), 700)
    model = fp.SGDClassifier(**PLAIN).fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.sort(labels))


# ---- the descent ---------------------------------------------------------------------------------------------------


def test_more_columns_than_kernels_can_number():
    d = 2**31
    X = sp.csr_array((np.ones(1), np.array([d - 1]), np.array([0, 1])), shape=(1, d))
    settings = {"dtype": "float64", "loss": "hinge", "penalty": "l2", "alpha": 1e-4, "learning_rate": "optimal"}
    with pytest.raises(ValueError, match="2147483648 columns"):
        Descent(check_matrix(X), np.ones(1), eta0=0.01, coef=np.broadcast_to(0.0, d), intercept=0.0, **settings)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("size", [1e-25, 1e-19, 1e17])
@pytest.mark.parametrize("rate", ["pa1", "pa2"])
def test_passive_aggressive_steps_of_float32_rows_of_any_size(size, sparse, rate):
    """|x|^2 may be far from what float32 can hold; steps of the rows in float64 are what they shall be."""
    X, y = data(n=40, d=37)
    parameters = {"learning_rate": rate, "shuffle": False, "fit_intercept": False, "penalty": None, "eta0": 1.0}
    ours, theirs = (
        fp.SGDClassifier(**{**PLAIN, **parameters}).fit(sp.csr_array(rows) if sparse else rows, y).coef_
        for rows in ((size * X).astype(dtype) for dtype in ("f4", "f8"))
    )
    assert np.isfinite(ours).all()
    assert abs(ours).max() > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * abs(theirs).max())


@pytest.mark.parametrize("kind", ["csc", "coo", "bsr", "lil"])
def test_duplicates_of_other_sparse_formats_are_summed(kind):
    X, y = data()
    if kind == "csc":
        given = sp.csc_array((np.ones(4), [0, 0, 5, 149], [0, 2, 4, *[4] * 7]), shape=(150, 9))
    else:
        given = sp.coo_array((np.ones(4), ([0, 0, 5, 149], [0, 0, 1, 1])), shape=(150, 9)).asformat(kind)
    before = given.copy()
    found, expected = (fp.SGDClassifier(**PLAIN).fit(rows, y) for rows in (given, sp.csr_array(given.toarray())))
    np.testing.assert_array_equal(found.coef_, expected.coef_)
    np.testing.assert_array_equal(found.predict(given), expected.predict(X * 0 + given.toarray()))
    if kind == "csc":
        assert given.nnz == before.nnz


# ---- predictions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fitted", ["f4", "f8"])
@pytest.mark.parametrize("dtype", ["f2", ">f4", "f4", "f8", "i1", "?"])
def test_predictions_copy_a_block_of_x_at_most(dtype, fitted):
    X, y = data()
    model = fp.SGDClassifier(**PLAIN).fit(X.astype(fitted), y)
    many = np.tile(X, (2000, 1)).astype(dtype)
    model.decision_function(many[:200000])
    tracemalloc.start()
    scores = model.decision_function(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * scores.nbytes + 9 * linear_scores.BLOCK
    np.testing.assert_allclose(scores[-150:], many[-150:].astype(fitted) @ model.coef_[0] + model.intercept_, rtol=1e-3)


# ---- what is told --------------------------------------------------------------------------------------------------


def test_warnings_point_at_the_caller():
    X, y = data()
    for model in (fp.SGDClassifier(max_iter=1, power_t=-1.0), fp.SGDRegressor(max_iter=1, power_t=-1.0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y)
        assert len(caught) == 2
        assert {warning.filename for warning in caught} == {__file__}


# While it validates, scikit-learn's l2 has not scaled the weights yet.
@pytest.mark.parametrize(("penalty", "early_stopping"), [("l2", False), (None, True)])
def test_reports_are_scikit_learns(penalty, early_stopping, capsys):
    X, y = data()
    parameters = {"loss": "hinge", "alpha": 0.01, "shuffle": False, "verbose": 1, "penalty": penalty}
    parameters |= {"early_stopping": early_stopping, "random_state": 0, "warm_start": True, "n_iter_no_change": 2}
    printed = []
    for cls in (fp.SGDClassifier, linear_model.SGDClassifier):
        model = cls(**parameters)
        model.fit(X, y)
        model.fit(X, y)
        printed.append([line for line in capsys.readouterr().out.splitlines() if "seconds" not in line])
    ours, theirs = ([re.findall(r"-?\d[\d.]*", line) for line in lines] for lines in printed)
    assert [re.sub(r"[\d.]+", "", line) for line in printed[0]] == [re.sub(r"[\d.]+", "", line) for line in printed[1]]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.array(one, float), np.array(other, float), atol=0.02)


def test_reports_of_several_threads_are_whole(capsys):
    X, y = data(4, n=400)
    fp.SGDClassifier(verbose=1, n_jobs=2, **PLAIN).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 * 2 * 3
    starts = [line.split(" ")[0] for line in lines]
    assert starts == ["--", "Norm:", "Total"] * 8


def test_a_regressor_has_no_n_jobs():
    assert not hasattr(fp.SGDRegressor(), "n_jobs")
