"""Estimators for a cluster: what their parameters become, scikit-learn's manners, and fits on a small cluster."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastprop as fp

pytest.importorskip("distributed")

import dask.array as da
import dask_clusters

from fastprop.dask import DaskMLPClassifier, DaskMLPRegressor, DaskSGDClassifier, DaskSGDRegressor
from fastprop.dask.drafts import Facts

ALL = [DaskMLPClassifier, DaskMLPRegressor, DaskSGDClassifier, DaskSGDRegressor]
# What single-machine classes have and these have not.
ABSENT = {
    "MLP": {"max_fun", "warm_start", "n_threads"},
    "SGD": {"warm_start", "average", "n_jobs", "n_threads", "mode"},
}
CLUSTER = {"mode", "sync_every", "outer", "n_partitions", "client"}


def facts(**values):
    """Facts of 1,000 rows in 4 partitions."""
    usual = {"n_features": 5, "dtype": "float64", "classes": None, "n_targets": 1, "rows": [250] * 4}
    return Facts(**{**usual, **values})


# ---- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ALL)
def test_parameters_are_those_of_the_class_without_dask(cls):
    ours, theirs = cls().get_params(), getattr(fp, cls.__name__.removeprefix("Dask"))().get_params()
    extra = CLUSTER | ({"callbacks"} if "SGD" in cls.__name__ else set())
    gone = set(theirs) - set(ours) | (set(theirs) & CLUSTER)
    assert set(ours) - set(theirs) | {"mode"} == extra
    assert gone - {"epsilon"} == ABSENT["MLP" if "MLP" in cls.__name__ else "SGD"] & set(theirs)
    changed = {name for name in set(ours) & set(theirs) - CLUSTER if ours[name] != theirs[name]}
    assert changed <= {"learning_rate", "verbose"}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (DaskMLPClassifier(solver="lbfgs"), "solver"),
        (DaskMLPClassifier(mode="online"), "mode"),
        (DaskMLPClassifier(loss="mse"), "loss"),
        (DaskMLPRegressor(sync_every=0), "sync_every"),
        (DaskMLPRegressor(outer="sgd"), "outer"),
        (DaskMLPRegressor(n_partitions=0), "n_partitions"),
        (DaskSGDClassifier(learning_rate="optimal"), "learning_rate"),
        (DaskSGDClassifier(learning_rate="pa1"), "learning_rate"),
        (DaskSGDClassifier(loss="huber"), "loss"),
        (DaskSGDRegressor(penalty="l3"), "penalty"),
        (DaskSGDRegressor(penalty="elasticnet", l1_ratio=None), "l1_ratio"),
        (DaskSGDRegressor(solver=fp.SGD(lr=0.1), learning_rate="adaptive"), "learning_rate"),
    ],
)
def test_what_cannot_work_is_refused_by_name(model, name):
    with pytest.raises(ValueError, match=f"(The '{name}' parameter of {type(model).__name__}|^{name}.*(must|is for))"):
        model.fit(np.zeros((4, 2)), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("name", ["warm_start", "average", "max_fun"])
def test_what_makes_no_sense_is_no_parameter(name):
    for cls in ALL:
        with pytest.raises(TypeError, match=name):
            cls(**{name: 1})


class Unclonable:
    """Like a client: a connection."""

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")

    def __reduce__(self):
        raise TypeError("cannot be pickled")


@pytest.mark.parametrize("cls", ALL)
def test_a_clone_has_the_client_and_a_pickle_has_none(cls):
    client = Unclonable()
    model = cls(client=client, alpha=0.5, outer=fp.SGD(lr=0.7))
    copied = clone(model)
    assert copied.client is client
    assert model.client is client
    assert copied.alpha == 0.5
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.client is None
    assert loaded.alpha == 0.5
    assert "client" in repr(model)


@pytest.mark.parametrize("cls", ALL)
def test_before_fit(cls):
    model = cls()
    with pytest.raises(NotFittedError):
        model.predict(np.zeros((2, 3)))
    with pytest.raises(NotFittedError):
        model.score(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(AttributeError):
        _ = model.coefs_ if "MLP" in cls.__name__ else model.coef_


# ---- from parameters to a network -----------------------------------------------------------------------------------


def made(model, **values):
    """The network of a model for some facts, and its training."""
    training = model._training()
    return training.network(facts(**values)), training


@pytest.mark.parametrize("classes", [np.array([0, 1]), np.array(list("abc"))])
def test_the_network_of_an_mlp_is_that_of_the_class_without_dask(classes):
    parameters = {
        "hidden_layer_sizes": (8, 4), "activation": ["tanh", "relu"], "dropout": 0.2, "layer_norm": True, "alpha": 0.3,
        "clip_norm": 2.0, "random_state": 3, "learning_rate_init": 0.02,
    }  # fmt: skip
    X = np.random.default_rng(0).normal(size=(30, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        there = fp.MLPClassifier(**parameters, max_iter=1, solver=fp.SGD(lr=0.0)).fit(X, np.resize(classes, 30))
    net, _ = made(DaskMLPClassifier(**parameters), classes=classes)
    for (W, b), (W0, b0) in zip(net.get_weights(), there.network_.get_weights(), strict=True):
        np.testing.assert_array_equal(W, W0)
        np.testing.assert_array_equal(b, b0)
    assert repr(net.layers) == repr(there.network_.layers)
    assert (net.loss.name, net.clip_norm, net.seed) == (there.network_.loss.name, 2.0, 3)
    assert net.l2 == 0.3
    assert net.divides_penalties
    assert net.dtype == "float64"
    assert (net.optimizer.name, net.optimizer.lr) == ("adam", 0.02)


def test_several_answers_a_row_and_several_numbers():
    net, _ = made(DaskMLPClassifier(), n_targets=3)
    assert (net.loss.name, net.n_outputs_) == ("bce", 3)
    net, training = made(DaskMLPRegressor("poisson"), n_targets=2, dtype="float32")
    assert (net.loss.name, net.n_outputs_, net.dtype) == ("poisson", 2, "float32")
    assert training.estimator.out_activation_ == "exp"


def test_problems_that_are_none():
    one = np.array(["a"])
    for cls in (DaskMLPClassifier, DaskSGDClassifier):
        with pytest.raises(ValueError, match="at least two distinct labels, got \\['a'\\]"):
            made(cls(), classes=one)
    with pytest.raises(ValueError, match="'bce' tells two classes apart, but y has 3"):
        made(DaskMLPClassifier(loss="bce"), classes=np.arange(3))
    with pytest.raises(ValueError, match="one label a row, got 2: DaskMLPClassifier"):
        made(DaskSGDClassifier(), n_targets=2)
    with pytest.raises(ValueError, match="one column, got 2: DaskMLPRegressor"):
        made(DaskSGDRegressor(), n_targets=2)


def test_invscaling_counts_the_rows_of_all_partitions():
    model = DaskMLPRegressor(
        solver="sgd", learning_rate="invscaling", learning_rate_init=0.5, power_t=0.5, batch_size=100
    )
    rates = made(model, rows=[250, 130])[0].optimizer.lr.rates(np.arange(12.0))  # five of 50 rows an epoch
    np.testing.assert_allclose(rates[:5], 0.5)
    np.testing.assert_allclose(rates[5:10], 0.5 / 381**0.5)
    model.set_params(mode="sync")
    rates = made(model, rows=[250, 130])[0].optimizer.lr.rates(np.arange(7.0))  # four
    assert (rates == 0.5).sum() == 4


@pytest.mark.parametrize(
    ("loss", "n_classes", "name", "n_outputs"),
    [
        ("hinge", 2, "hinge", 1),
        ("hinge", 3, "hinge", 3),
        ("perceptron", 3, "perceptron", 3),
        ("log_loss", 2, "bce", 1),
        ("log_loss", 3, "cross_entropy", 3),
        ("modified_huber", 4, "modified_huber", 4),
        ("squared_hinge", 2, "squared_hinge", 1),
    ],
)
def test_losses_of_linear_classifiers(loss, n_classes, name, n_outputs):
    net, _ = made(DaskSGDClassifier(loss), classes=np.arange(n_classes))
    assert (net.loss.name, net.n_outputs_) == (name, n_outputs)
    ((W, b),) = net.get_weights()
    assert not W.any()
    assert not b.any()


def test_the_penalty_of_a_linear_model_is_scikit_learns():
    model = DaskSGDRegressor(penalty="elasticnet", alpha=0.2, l1_ratio=0.25, fit_intercept=False)
    net, _ = made(model, mean_weight=2.0)
    assert (net.l1, net.l2) == pytest.approx((0.2 * 0.25 / 2, 0.2 * 0.75 / 2))
    assert net.get_weights()[0][1] is None
    net, _ = made(DaskSGDClassifier("hinge", alpha=0.3), classes=np.arange(3))  # whose loss is a mean over outputs
    assert net.l2 == pytest.approx(0.1)


def test_rates_of_a_linear_model():
    net, _ = made(DaskSGDRegressor(learning_rate="invscaling", eta0=0.5, power_t=0.5))
    np.testing.assert_allclose(net.optimizer.lr.rates(np.arange(3.0)), 0.5 / np.sqrt([1, 2, 3]))
    solver = fp.SGD(lr=0.3)
    net, _ = made(DaskSGDRegressor(solver=solver))
    assert net.optimizer.lr == 0.3
    assert net.optimizer is not solver


# ---- when to stop ---------------------------------------------------------------------------------------------------


def epochs_until_it_stops(model, losses, score=None, **values):
    """How many epochs with these losses (and scores) are trained, and the network and the training."""
    net, training = made(model, **values)
    for n, loss in enumerate(losses):
        logs = {"loss": loss, "penalty": 0.0} | ({} if score is None else {score: -loss})
        if training.on_epoch_end(net, n, logs):
            return n + 1, net, training
    return None, net, training


def test_an_mlp_stops_when_scikit_learns_would():
    losses = [1.0, 0.5, *[0.5] * 20]
    n, _, training = epochs_until_it_stops(DaskMLPRegressor(n_iter_no_change=3), losses)
    assert n == 6  # the fourth epoch without improvement
    assert training.estimator.loss_curve_ == losses[:6]
    assert (training.estimator.n_iter_, training.estimator.best_loss_) == (6, 0.5)


@pytest.mark.parametrize(("cls", "parameter"), [(DaskMLPRegressor, "learning_rate_init"), (DaskSGDRegressor, "eta0")])
def test_adaptive_rates_fall_before_training_stops(cls, parameter):
    model = cls(solver="sgd", learning_rate="adaptive", n_iter_no_change=2, **{parameter: 1e-5})
    n, net, _ = epochs_until_it_stops(model, [1.0] * 30)
    assert n is not None
    assert net.optimizer.lr == pytest.approx(1e-5 / 25)


def test_early_stopping_goes_by_the_score_and_keeps_the_best_weights():
    model = DaskMLPClassifier(early_stopping=True, n_iter_no_change=2)
    net, training = made(model, classes=np.arange(2))
    kept = None
    for epoch, score in enumerate([0.5, 0.9, 0.8, 0.8, 0.8, 0.8]):
        net._parameters.rows[0] += 1.0
        if score == 0.9:
            kept = net.get_weights()
        if training.on_epoch_end(net, epoch, {"loss": 1.0, "penalty": 0.0, "val_accuracy": score}):
            break
    assert epoch == 4
    training.end()
    np.testing.assert_array_equal(net.get_weights()[0][0], kept[0][0])
    assert model.validation_scores_ == [0.5, 0.9, 0.8, 0.8, 0.8]
    assert model.best_validation_score_ == 0.9
    assert model.best_loss_ is None


def test_a_linear_model_stops_by_its_objective_or_its_score():
    model = DaskSGDRegressor(tol=0.1, n_iter_no_change=2)
    assert epochs_until_it_stops(model, [1.0, 0.5, 0.45, 0.44, 0.4])[0] == 4
    model.set_params(early_stopping=True)
    assert epochs_until_it_stops(model, [1.0, 0.5, 0.45, 0.44, 0.4], "val_r2")[0] == 4
    assert epochs_until_it_stops(DaskSGDRegressor(tol=None), [1.0] * 50)[0] is None


# ---- on a cluster ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    with dask_clusters.local(2) as client:
        yield client


@pytest.fixture(scope="module")
def rows():
    """X in 4 partitions of float32, labels "a", "b" and "c", and a number."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 6)).astype(np.float32)
    scores = X @ rng.normal(size=(6, 3))
    return X, np.array(list("abc"))[scores.argmax(axis=1)], X[:, 0] - 0.5 * X[:, 1] + 0.01 * rng.normal(size=1200)


def split(array):
    """An array in 4 partitions."""
    return da.from_array(array, chunks=(300, *array.shape[1:]))


FAST = {"max_iter": 15, "random_state": 0, "batch_size": 50}
QUIET = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@QUIET
@pytest.mark.parametrize(
    "model",
    [
        DaskMLPClassifier((16,), learning_rate_init=0.05, **FAST),
        DaskSGDClassifier("log_loss", eta0=0.1, **FAST),
        DaskSGDClassifier("hinge", eta0=0.1, **FAST),
    ],
    ids=["mlp", "log_loss", "hinge"],
)
def test_a_classifier_is_fitted_and_used(client, rows, model):
    X, y, _ = rows
    model = clone(model).set_params(client=client).fit(split(X), split(y))
    assert model.classes_.tolist() == list("abc")
    assert model.n_features_in_ == 6
    assert model.network_.dtype == "float32"
    assert len(model.loss_curve_) == model.n_iter_
    lazily = model.predict(split(X))
    assert isinstance(lazily, da.Array)
    assert lazily.chunks == ((300,) * 4,)
    there = client.compute(lazily).result()
    here = model.predict(X)
    np.testing.assert_array_equal(there, here)
    assert model.score(split(X), split(y)) == pytest.approx(model.score(X, y)) == pytest.approx((here == y).mean())
    assert model.score(X, y) > 0.93
    if isinstance(model, DaskSGDClassifier):
        assert model.coef_.shape == (3, 6)
        scores = client.compute(model.decision_function(split(X))).result()
        np.testing.assert_allclose(scores, X @ model.coef_.T + model.intercept_, atol=1e-5)
    if getattr(model, "loss", "") == "hinge":
        assert not hasattr(model, "predict_proba")
    else:
        p = client.compute(model.predict_proba(split(X))).result()
        np.testing.assert_allclose(p, model.predict_proba(X), rtol=1e-6)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)), rtol=1e-6)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), here)


@QUIET
@pytest.mark.parametrize("cls", [DaskMLPRegressor, DaskSGDRegressor])
def test_a_regressor_is_fitted_and_used(client, rows, cls):
    X, _, y = rows
    rate = {"learning_rate_init": 0.02} if cls is DaskMLPRegressor else {"eta0": 0.1}
    model = cls(client=client, **rate, **FAST).fit(split(X.astype(np.float64)), split(y))
    assert model.network_.dtype == "float64"
    assert model.score(split(X), split(y)) == pytest.approx(model.score(X, y))
    assert model.score(X, y) > 0.95
    if cls is DaskSGDRegressor:
        np.testing.assert_allclose(model.coef_, [1, -0.5, 0, 0, 0, 0], atol=0.02)
        np.testing.assert_allclose(model.predict(X), X @ model.coef_ + model.intercept_, atol=1e-5)
    with pytest.raises(ValueError, match="sample_weight is for rows in memory"):
        model.score(split(X), split(y), split(y))


@QUIET
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_what_fit_takes(client, rows):
    """Frames, delayed objects, futures and rows in memory, in the same partitions: the same bits."""
    dd = pytest.importorskip("dask.dataframe")
    import dask
    import pandas as pd

    X, y, _ = rows
    parts = [(X[i : i + 300], y[i : i + 300]) for i in range(0, 1200, 300)]
    model = DaskMLPClassifier((8,), max_iter=2, random_state=0, n_partitions=4, client=client)
    there = model.fit(split(X), split(y)).network_.get_weights()[0][0]
    table = pd.DataFrame(X, columns=list("uvwxyz")).assign(label=y)
    frame = dd.from_pandas(table, npartitions=4)
    fits = {
        "memory": (X, y),
        "frame": (frame, "label"),
        "delayed": ([dask.delayed(part[0]) for part in parts], [dask.delayed(part[1]) for part in parts]),
        "futures": (client.scatter(parts), None),
    }
    for name, given in fits.items():
        model.fit(*given)
        np.testing.assert_array_equal(model.network_.get_weights()[0][0], there, err_msg=name)
        assert hasattr(model, "feature_names_in_") == (name == "frame")
    model.fit(frame, "label")
    assert model.feature_names_in_.tolist() == list("uvwxyz")
    found = model.predict(frame[list("uvwxyz")])
    assert found.compute(scheduler="sync").index.equals(table.index)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table.drop(columns="label").rename(columns={"u": "a"}))
    with pytest.raises(ValueError, match="expecting 6 features"):
        model.predict(X[:, :4])


@QUIET
def test_several_labels_a_row(client, rows):
    X = rows[0]
    Y = (X[:, :2] > 0).astype(np.int64)
    model = DaskMLPClassifier((16,), learning_rate_init=0.05, client=client, **FAST).fit(split(X), split(Y))
    assert model.classes_.tolist() == [0, 1]
    assert client.compute(model.predict(split(X))).result().shape == (1200, 2)
    assert model.score(split(X), split(Y)) == pytest.approx(model.score(X, Y))
    assert model.score(X, Y) > 0.9


def test_class_weights_and_sample_weights_reach_the_cluster(client, rows):
    X, y, _ = rows
    few = (y == "a") & (np.arange(1200) % 10 > 0)
    weights = np.where(few, 0.0, 1.0)
    model = DaskSGDClassifier("log_loss", eta0=0.05, max_iter=20, tol=None, random_state=0, client=client)
    plain = model.fit(split(X), split(y), split(weights)).predict(X)
    balanced = model.set_params(class_weight={"a": 10.0}).fit(split(X), split(y), split(weights)).predict(X)
    assert (plain == "a").sum() < (balanced == "a").sum()


def test_early_stopping_on_rows_held_out(client, rows):
    X, y, _ = rows
    model = DaskMLPClassifier(
        (8,), learning_rate_init=0.05, early_stopping=True, n_iter_no_change=2, random_state=0, client=client
    )
    model.fit(split(X), split(y))
    assert model.n_iter_ == len(model.validation_scores_) < 200
    assert model.best_validation_score_ == max(model.validation_scores_)
    model.fit(split(X), split(y), X_val=split(X[:600]), y_val=da.from_array(y[:600], chunks=300))
    best = max(model.validation_scores_)
    assert model.score(X[:600], y[:600]) == pytest.approx(best)


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(client, rows):
    X, y, _ = rows
    model = DaskMLPClassifier((4,), max_iter=1, random_state=0, client=client)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(1\)"):
        model.fit(split(X), split(y))
    before = dict(model.__dict__)
    bad = X.copy()
    bad[700, 2] = np.nan
    with pytest.raises(ValueError, match="X of partition 2 must be finite"):
        model.fit(split(bad), split(y))
    with pytest.raises(ValueError, match="partition 0 must be whole numbers"):
        model.fit(split(X), split(X[:, 0]))
    assert model.__dict__ == before
    with pytest.raises(ValueError, match="BatchNorm"):
        clone(model).set_params(batch_norm=True, mode="sync").fit(split(X), split(y))


@QUIET
def test_the_cluster_does_what_it_is_asked(client, rows):
    """`mode`, `sync_every`, `outer`, `callbacks` and `shuffle` have the effects of `fastprop.dask.fit`."""

    class Rounds:
        def on_epoch_end(self, net, epoch, logs):
            self.n = logs["rounds"]

    X, y, _ = rows
    seen = Rounds()
    model = DaskMLPClassifier((4,), max_iter=2, batch_size=50, random_state=0, client=client, callbacks=seen)

    def weights(**parameters):
        fitted = clone(model).set_params(callbacks=seen, **parameters).fit(split(X), split(y))
        return fitted.network_.get_weights()[0][0]

    usual = weights()
    assert seen.n == 1
    assert not np.array_equal(weights(sync_every=2), usual)
    assert seen.n == 10
    assert not np.array_equal(weights(outer=fp.SGD(lr=0.5)), usual)
    assert not np.array_equal(weights(shuffle=False), usual)
    there = weights(mode="sync", max_iter=1)
    assert seen.n == 24
    here = fp.MLPClassifier((4,), max_iter=1, batch_size=50, random_state=0).fit(X, y)
    np.testing.assert_allclose(there, here.network_.get_weights()[0][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weights(), usual)


@QUIET
def test_files_are_read_by_the_workers(client, rows, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    X, y, _ = rows
    path = str(tmp_path / "rows.parquet")
    columns = dict(zip("uvwxyz", X.T, strict=True))
    pq.write_table(pa.table({**columns, "label": y}), path, row_group_size=150)
    model = DaskMLPClassifier((16,), learning_rate_init=0.05, client=client, **FAST).fit(path, "label")
    assert model.classes_.tolist() == list("abc")
    assert model.feature_names_in_.tolist() == list("uvwxyz")
    assert model.network_.dtype == "float32"
    pq.write_table(pa.table(columns), path, row_group_size=150)
    found = client.compute(model.predict(path)).result()
    assert (found == y).mean() > 0.9


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    "check",
    [
        "check_parameters_default_constructible", "check_no_attributes_set_in_init", "check_get_params_invariance",
        "check_set_params", "check_estimator_cloneable", "check_estimator_repr", "check_estimators_unfitted",
        "check_mixin_order", "check_valid_tag_types",
    ],
)  # fmt: skip
def test_scikit_learns_checks_of_what_is_not_fitted(cls, check):
    from sklearn.utils import estimator_checks

    getattr(estimator_checks, check)(cls.__name__, cls())
