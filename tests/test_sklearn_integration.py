"""The estimators among scikit-learn's tools: pipelines, searches, ensembles, routing, frames, callbacks, big arrays."""

from __future__ import annotations

import io
import os
import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone, config_context, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_digits, make_regression
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastprop as fp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = {
    "MLPClassifier": fp.MLPClassifier((16,), max_iter=20, learning_rate_init=0.01, batch_size=32, random_state=0),
    "MLPRegressor": fp.MLPRegressor(
        hidden_layer_sizes=(16,), max_iter=20, learning_rate_init=0.01, batch_size=32, random_state=0
    ),
    "SGDClassifier": fp.SGDClassifier(loss="log_loss", max_iter=20, tol=None, random_state=0),
    "SGDRegressor": fp.SGDRegressor(max_iter=20, tol=None, random_state=0),
}
CLASSIFIERS = [name for name in ESTIMATORS if name.endswith("Classifier")]


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


@pytest.fixture(params=CLASSIFIERS)
def classifier(request):
    return clone(ESTIMATORS[request.param])


def data_for(estimator, n_rows=300):
    """Three digits, or a linear target."""
    if is_classifier(estimator):
        X, y = load_digits(n_class=3, return_X_y=True)
        return X[:n_rows] / 16.0, y[:n_rows]
    X, y = make_regression(n_rows, 10, noise=1.0, random_state=0)
    return X, y / 100.0


def least(estimator):
    """The score that any sensible fit reaches."""
    return 0.9 if is_classifier(estimator) else 0.7


def same_predictions(one, other, X):
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


# ---- pipelines, searches, ensembles -------------------------------------------------------------------------------


def test_pipeline(estimator):
    X, y = data_for(estimator)
    model = make_pipeline(StandardScaler(), estimator).fit(X, y)
    assert model.score(X, y) > least(estimator)
    scaled = StandardScaler().fit_transform(X)
    same_predictions(model[-1], clone(estimator).fit(scaled, y), scaled)


def test_set_output_of_a_pipeline_changes_nothing(estimator):
    pytest.importorskip("pandas")
    X, y = data_for(estimator)
    plain = make_pipeline(StandardScaler(), clone(estimator)).fit(X, y)
    model = make_pipeline(StandardScaler(), estimator).set_output(transform="pandas").fit(X, y)
    assert list(model[-1].feature_names_in_) == [f"x{k}" for k in range(X.shape[1])]
    same_predictions(plain, model, X)
    assert isinstance(model.predict(X), np.ndarray)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_grid_search(estimator, backend):
    """Threads and processes find the same as one after the other."""
    X, y = data_for(estimator)
    grid = {"alpha": [1e-5, 1e-2]}
    alone = GridSearchCV(estimator, grid, cv=3).fit(X, y)
    with joblib.parallel_config(backend=backend):
        search = GridSearchCV(estimator, grid, cv=3, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert search.best_params_ == alone.best_params_
    assert search.score(X, y) > least(estimator)


def test_cross_val_score(estimator):
    assert cross_val_score(estimator, *data_for(estimator), cv=3).min() > least(estimator) - 0.1


def test_calibration(classifier):
    X, y = data_for(classifier)
    model = CalibratedClassifierCV(classifier, cv=3).fit(X, y)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    assert model.score(X, y) > 0.9


def test_calibration_gives_a_hinge_probabilities():
    hinge = fp.SGDClassifier(random_state=0)
    X, y = data_for(hinge)
    assert not hasattr(hinge, "predict_proba")
    assert CalibratedClassifierCV(hinge, cv=3).fit(X, y).predict_proba(X).shape == (len(X), 3)


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_voting(voting):
    members = [(name, clone(ESTIMATORS[name])) for name in CLASSIFIERS]
    X, y = data_for(members[0][1])
    model = VotingClassifier([*members, ("other", LogisticRegression())], voting=voting).fit(X, y)
    assert model.score(X, y) > 0.95


def test_voting_of_regressors():
    members = [(name, clone(ESTIMATORS[name])) for name in ("MLPRegressor", "SGDRegressor")]
    X, y = data_for(members[0][1])
    assert VotingRegressor(members).fit(X, y).score(X, y) > 0.7


# ---- copies -------------------------------------------------------------------------------------------------------


def test_clone_is_not_fitted(estimator):
    X, y = data_for(estimator)
    copy = clone(estimator.fit(X, y))
    assert copy.get_params() == estimator.get_params()
    assert not [name for name in vars(copy) if name.endswith("_") and not name.startswith("_")]
    with pytest.raises(NotFittedError):
        copy.predict(X)
    same_predictions(copy.fit(X, y), estimator, X)


def joblib_copy(model):
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    return joblib.load(stream)


def pickle_copy(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [pickle_copy, joblib_copy])
def test_copies_predict_and_go_on(estimator, copied):
    X, y = data_for(estimator)
    copy = copied(estimator.fit(X, y))
    same_predictions(copy, estimator, X)
    for model in (copy, estimator):
        model.partial_fit(X[:50], y[:50])
    same_predictions(copy, estimator, X)


# ---- weights on their way -----------------------------------------------------------------------------------------


def test_weights_are_routed_through_pipeline_and_search(estimator):
    X, y = data_for(estimator)
    weights = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        step = clone(estimator).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        model = make_pipeline(scaler, step).fit(X, y, sample_weight=weights)
        search = GridSearchCV(model, {f"{type(step).__name__.lower()}__alpha": [1e-3]}, cv=3)
        search.fit(X, y, sample_weight=weights)
        with pytest.raises(ValueError, match=f"requested or not requested for {type(step).__name__}.fit"):
            make_pipeline(scaler, clone(estimator)).fit(X, y, sample_weight=weights)
    scaled = StandardScaler().fit_transform(X)
    same_predictions(model[-1], clone(estimator).fit(scaled, y, sample_weight=weights), scaled)
    assert not np.array_equal(weights_of(model[-1]), weights_of(clone(estimator).fit(scaled, y)))


def weights_of(model):
    return model.coefs_[0] if hasattr(model, "coefs_") else model.coef_


# ---- frames -------------------------------------------------------------------------------------------------------


def frame_of(library, X):
    module = pytest.importorskip(library)
    return module.DataFrame({f"c{k}": X[:, k] for k in range(X.shape[1])})


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(estimator, library):
    X, y = data_for(estimator)
    frame = frame_of(library, X)
    estimator.fit(frame, y)
    assert list(estimator.feature_names_in_) == [f"c{k}" for k in range(X.shape[1])]
    assert estimator.n_features_in_ == X.shape[1]
    same = clone(estimator).fit(X, y)
    if is_classifier(estimator):
        np.testing.assert_array_equal(estimator.predict(frame), same.predict(X))
    else:  # a frame lies column by column: BLAS may add in another order
        np.testing.assert_allclose(estimator.predict(frame), same.predict(X), rtol=1e-9, atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.partial_fit(frame, y)
        estimator.score(frame, y)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("method", ["predict", "partial_fit"])
def test_reordered_columns_are_refused(estimator, library, method):
    X, y = data_for(estimator)
    frame = frame_of(library, X)
    estimator.fit(frame, y)
    reordered = frame[list(frame.columns)[::-1]]
    rest = (y,) if method == "partial_fit" else ()
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        getattr(estimator, method)(reordered, *rest)


def test_arrays_after_a_frame_are_warned_of(estimator):
    X, y = data_for(estimator)
    estimator.fit(frame_of("pandas", X), y)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but"):
        estimator.predict(X)


def test_frames_of_mixed_columns(estimator):
    """Integers, both floats and truth values side by side: as the array that they make."""
    pandas = pytest.importorskip("pandas")
    X, y = data_for(estimator)
    X = X[:, [20, 21, 26, 28]] if is_classifier(estimator) else X[:, :4]
    frame = pandas.DataFrame(
        {"i": (10 * X[:, 0]).astype(np.int16), "f": X[:, 1].astype(np.float32), "d": X[:, 2], "b": X[:, 3] > 0}
    )
    same = clone(estimator).fit(frame.to_numpy(dtype=np.float64), y)
    estimator.fit(frame, y)
    np.testing.assert_allclose(weights_of(estimator), weights_of(same), rtol=1e-9, atol=1e-12)


def test_names_of_labels_come_back():
    pandas = pytest.importorskip("pandas")
    for name in CLASSIFIERS:
        X, y = data_for(ESTIMATORS[name])
        labels = pandas.Series(np.array(["no", "one", "two"])[y])
        model = clone(ESTIMATORS[name]).fit(X, labels)
        assert list(model.classes_) == ["no", "one", "two"]
        assert np.mean(model.predict(X) == labels.to_numpy()) > 0.9


# ---- scikit-learn's callbacks -------------------------------------------------------------------------------------


def test_progress_bar(estimator, capsys):
    X, y = data_for(estimator)
    estimator.set_callbacks(ProgressBar()).fit(X, y)
    out = capsys.readouterr().out
    assert f"{type(estimator).__name__} - fit" in out
    assert "100%" in out


def test_progress_bar_in_a_search(estimator, capsys):
    X, y = data_for(estimator)
    GridSearchCV(estimator, {"alpha": [1e-4]}, cv=3).set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    out = capsys.readouterr().out
    assert "GridSearchCV" in out
    assert type(estimator).__name__ in out


def test_scoring_monitor(classifier):
    """It scores a copy of the estimator as it is after every epoch."""
    X, y = data_for(classifier)
    monitor = ScoringMonitor(scoring="accuracy")
    classifier.set_callbacks(monitor).fit(X, y)
    logs = monitor.get_logs()
    log = logs[0] if isinstance(logs, list) else logs
    rows = [row for row in log.data if row["task_name"] != "fit"]
    assert len(rows) == classifier.n_iter_
    assert rows[-1]["accuracy"] == classifier.score(X, y)


class Recorder:
    """A callback that counts tasks and wants to stop after some."""

    def __init__(self, stop_after):
        self.begun, self.ended, self.is_torn_down, self.stop_after = [], [], False, stop_after

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.is_torn_down = True

    def on_fit_task_begin(self, estimator, context, **_):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, X=None, **_):
        self.ended.append(context.task_name)
        return context.task_name != "fit" and len(self.ended) >= self.stop_after


def test_callbacks_may_stop_a_fit(estimator):
    X, y = data_for(estimator)
    if is_classifier(estimator):
        X, y = X[y < 2], y[y < 2]  # one-versus-rest fits are fits of their own
    recorder = Recorder(stop_after=3)
    estimator.set_callbacks(recorder).fit(X, y)
    assert estimator.n_iter_ == 3
    assert recorder.begun == ["fit", *["epoch"] * 3]
    assert recorder.ended == ["epoch"] * 3 + ["fit"]
    assert recorder.is_torn_down


# ---- threads, processes, memory -----------------------------------------------------------------------------------


def test_workers_take_the_threads_that_joblib_gives_them():
    def limits():
        import os

        from fastprop import threads

        return threads.limit()[0], os.environ.get("OMP_NUM_THREADS")

    kept = {name: os.environ.pop(name, None) for name in ("FASTPROP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            found = joblib.Parallel(n_jobs=2)(joblib.delayed(limits)() for _ in range(2))
    finally:
        os.environ.update({name: value for name, value in kept.items() if value is not None})
    assert found == [(1, "1")] * 2


FIT_ON_A_FILE = """
import sys, tracemalloc, warnings
import numpy as np
import fastprop as fp

name, dtype, path = sys.argv[1:4]
warnings.simplefilter("ignore")
X = np.memmap(path, dtype, "r", shape=(25_000, 800))
y = (np.asarray(X[:, 0]) > 0).astype(np.int64)
parameters = {"max_iter": 1, "random_state": 0}
model = getattr(fp, name)(**parameters, **({"hidden_layer_sizes": (8,)} if name.startswith("MLP") else {}))
model.fit(X[:500], y[:500])  # imports, kernels
tracemalloc.start()
model.fit(X, y)
after_fit = tracemalloc.get_traced_memory()[1]
tracemalloc.reset_peak()
model.predict(X)
print(after_fit, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_big_arrays_are_not_copied(estimator, dtype, run_script, tmp_path):
    """20 million numbers, 40 or 80 MB: a fit or a prediction takes a block of it, a quarter at most."""
    path = tmp_path / "X.bin"
    rng = np.random.default_rng(0)
    rng.integers(-3, 4, (25_000, 800)).astype(dtype).tofile(path)
    fit, predict = map(int, run_script(FIT_ON_A_FILE, type(estimator).__name__, dtype, path).split())
    assert fit < 1e7
    assert predict < 1e7


def test_convergence_is_warned_of(estimator):
    X, y = data_for(estimator)
    estimator.set_params(max_iter=1, tol=1e-9)
    with pytest.warns(ConvergenceWarning, match="[Mm]aximum (number of )?iteration"):
        estimator.fit(X, y)
