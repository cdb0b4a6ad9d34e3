"""One plain row at a time: what `partial_fit` does in microseconds is what it does the long way, to the bit."""

import pickle

import numpy as np
import pytest

import fastprop as fp

CASES = {
    "hinge": {},
    "l1": {"penalty": "l1", "alpha": 0.01},
    "pa1": {"learning_rate": "pa1", "eta0": 0.5},
    "invscaling": {"learning_rate": "invscaling", "eta0": 0.1, "fit_intercept": False},
    "average": {"average": 3},
}
LONG_AFTER = {"verbose": {"verbose": 1}, "averages": {"average": True}, "weights": {"class_weight": {0: 0.5, 1: 2.0}}}


def data(n_classes=2, dtype="float64", n=40, d=7):
    rng = np.random.default_rng(0)
    X = (10 * rng.normal(size=(n, d))).astype(dtype)
    return X, rng.integers(0, n_classes, n) if n_classes else rng.normal(size=n)


def assert_same(a, b):
    np.testing.assert_array_equal(a.coef_, b.coef_)
    np.testing.assert_array_equal(a.intercept_, b.intercept_)
    assert (a.coef_.dtype, a.coef_.shape, a.t_, a.n_iter_) == (b.coef_.dtype, b.coef_.shape, b.t_, b.n_iter_)


class Pair:
    """Two equal estimators; `long` never takes the short way."""

    def __init__(self, n_classes, **parameters):
        cls = fp.SGDClassifier if n_classes else fp.SGDRegressor
        if not n_classes and parameters.get("learning_rate") == "pa1":
            parameters["loss"] = "epsilon_insensitive"
        self.short, self.long = cls(random_state=0, **parameters), cls(random_state=0, **parameters)
        self.long._update_quickly = lambda X, y: False
        self.first = {"classes": np.arange(n_classes)} if n_classes else {}

    def update(self, X, y):
        for model in (self.short, self.long):
            model.partial_fit(X, y, **self.first)
        assert_same(self.short, self.long)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int8", ">f4"])
@pytest.mark.parametrize("n_classes", [0, 2, 4])
@pytest.mark.parametrize("case", CASES)
def test_the_same_bits(case, n_classes, dtype):
    X, y = data(n_classes, dtype)
    pair = Pair(n_classes, **CASES[case])
    for i in range(len(X)):
        last = i + (4 if i % 9 == 0 else 1)
        pair.update(X[i:last], y[i:last] if i % 2 else y[i:last].tolist())
    assert ("_row_update" in pair.short.__dict__) == (case != "average")


@pytest.mark.parametrize("n_classes", [0, 2])
def test_what_changed_meanwhile_counts(n_classes):
    X, y = data(n_classes)
    pair = Pair(n_classes)
    for i in range(6):
        pair.update(X[i : i + 1], y[i : i + 1])
    for model in (pair.short, pair.long):
        model.coef_ *= 0.5
        model.intercept_ = model.intercept_ + 1
    pair.update(X[6:7], y[6:7])
    for model in (pair.short, pair.long):
        model.alpha = 0.5
    pair.update(X[7:8], y[7:8])
    pair.update(X[8:9].astype("float32"), y[8:9])
    for model in (pair.short, pair.long):
        model.fit(X[:, :3], y)
    pair.update(X[9:10, :3], y[9:10])


@pytest.mark.parametrize("name", LONG_AFTER)
def test_parameters_that_need_the_long_way(name):
    X, y = data()
    pair = Pair(2)
    for i in range(4):
        pair.update(X[i : i + 1], y[i : i + 1])
    for _ in range(2):  # on, and off again
        for model in (pair.short, pair.long):
            model.set_params(**LONG_AFTER[name])
        pair.update(X[5:6], y[5:6])
        for model in (pair.short, pair.long):
            model.set_params(verbose=0, average=False, class_weight=None)
        pair.update(X[6:7], y[6:7])


def test_former_weights_are_not_touched():
    X, y = data()
    model = fp.SGDClassifier().partial_fit(X, y, classes=[0, 1])
    coef, before = model.coef_, model.coef_.copy()
    model.partial_fit(X[:1], y[:1])
    np.testing.assert_array_equal(coef, before)


@pytest.mark.parametrize("n_classes", [0, 3])
def test_bad_rows_change_nothing(n_classes):
    X, y = data(n_classes)
    model = Pair(n_classes).short
    model.partial_fit(X, y, **({"classes": [0, 1, 2]} if n_classes else {}))
    model.partial_fit(X[:1], y[:1])
    before = pickle.loads(pickle.dumps(model))
    huge = np.where(X[:1] > 0, 1e308, -1e308)
    for row, target in ((X[:1] * np.nan, y[:1]), (huge, y[:1]), (X[:1], [9 if n_classes else np.inf])):
        with pytest.raises(ValueError):
            model.partial_fit(row, target)
        assert_same(model, before)
    for estimator in (model, before):
        estimator.partial_fit(X[1:2], y[1:2])
    assert_same(model, before)


def test_addresses_stay_in_the_process():
    X, y = data()
    model = fp.SGDClassifier().partial_fit(X, y, classes=[0, 1]).partial_fit(X[:1], y[:1])
    assert "_row_update" not in pickle.loads(pickle.dumps(model)).__dict__
    assert "_row_update" in model.__dict__
