"""Attributes and parameters of MLPClassifier and MLPRegressor: scikit-learn's, in its words."""

import pickle

import joblib
import numpy as np
import pytest
from mlp_problems import KINDS, THEIRS, ours_for
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastprop as fp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("cls", list(THEIRS))
def test_parameters_and_attributes_are_theirs(cls, problems):
    theirs = THEIRS[cls]
    defaults = theirs().get_params()
    assert defaults.items() <= cls().get_params().items()
    X, y = problems["binary" if cls is fp.MLPClassifier else "numbers"]
    for solver in ("adam", "sgd", "lbfgs"):
        ours, reference = cls(solver=solver, max_iter=3).fit(X, y), theirs(solver=solver, max_iter=3).fit(X, y)
        public = [name for name in vars(reference) if name.endswith("_") and not name.startswith("_")]
        assert not [name for name in public if not hasattr(ours, name)]
    # positional parameters come in the same order
    first = ("poisson", (3,), "tanh") if cls is fp.MLPRegressor else ((3,), "tanh")
    assert theirs(*first).get_params().items() <= cls(*first).get_params().items()


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": -1}, {"solver": "newton"}, {"activation": "rleu"}, {"momentum": 2}, {"max_iter": 0}, {"tol": -1.0},
        {"batch_norm": 1}, {"dropout": 1.0}, {"loss": "mse2"}, {"clip_norm": 0.0}, {"n_threads": 0},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_are_named(wrong, problems):
    X, y = problems["binary"]
    fp.MLPClassifier(max_iter=1, batch_norm=True).fit(X, y)  # good values are remembered: with their types
    (name,) = wrong
    with pytest.raises(ValueError, match=f"The '{name}' parameter of MLPClassifier must be"):
        fp.MLPClassifier(**{"max_iter": 1, **wrong}).fit(X, y)


def test_parameters_are_checked_again_when_they_change(problems):
    X, y = problems["binary"]
    model = fp.MLPClassifier().partial_fit(X, y, classes=["no", "yes"])
    model.partial_fit(X[:1], y[:1]).set_params(alpha=-1.0)
    with pytest.raises(ValueError, match="alpha"):
        model.partial_fit(X[:1], y[:1])


def test_coefficients_are_read_from_the_network_and_written_to_it(problems):
    X, y = problems["numbers"]
    model = fp.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2).fit(X, y)
    assert [W.shape for W in model.coefs_] == [(5, 4), (4, 1)]
    assert [b.shape for b in model.intercepts_] == [(4,), (1,)]
    model.coefs_ = [np.zeros((5, 4)), np.zeros((4, 1))]
    model.intercepts_[1] = np.array([7.0])
    np.testing.assert_array_equal(model.predict(X), np.full(len(X), 7.0))
    np.testing.assert_array_equal(model.network_.get_weights()[1][1], [7.0])
    with pytest.raises(ValueError, match="read-only"):
        model.coefs_[0][0, 0] = 1.0  # would be lost
    with pytest.raises(ValueError, match="coefs_ must have 2 arrays"):
        model.coefs_ = [np.zeros((5, 4))]
    assert not hasattr(fp.MLPRegressor(), "coefs_")


def test_partial_fit_starts_from_coefficients_that_were_set(problems):
    X, y = problems["numbers"]
    model = fp.MLPRegressor(hidden_layer_sizes=(2,), solver="sgd", learning_rate_init=1e-12)
    model.coefs_, model.intercepts_ = [np.full((5, 2), 0.5), np.ones((2, 1))], [np.zeros(2), np.ones(1)]
    model.partial_fit(X, y)
    np.testing.assert_allclose(model.coefs_[0], 0.5)
    model = fp.MLPRegressor(hidden_layer_sizes=(2,), learning_rate_init=1e-12, max_iter=1)
    model.coefs_ = [np.full((5, 2), 0.5), np.ones((2, 1))]
    model.fit(X, y)  # from new ones
    assert abs(model.coefs_[0] - 0.5).max() > 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_float32_stays_and_all_other_is_float64(dtype):
    X = (np.random.default_rng(0).uniform(0, 9, (40, 3))).astype(dtype)
    model = fp.MLPRegressor(hidden_layer_sizes=(4,), max_iter=3).fit(X, X[:, 0] / 9.0)
    expected = "float32" if dtype == "float32" else "float64"
    assert {a.dtype.name for a in [*model.coefs_, *model.intercepts_]} == {expected}
    assert model.predict(X).dtype == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array])
def test_sparse_rows_train_like_dense_ones(problems, kind, container):
    X, y = problems[kind]
    X = np.where(abs(X) > 0.7, X, 0.0)
    dense, spare = (ours_for(kind, hidden_layer_sizes=(4,), max_iter=5, random_state=0) for _ in range(2))
    dense.fit(X, y)
    spare.fit(container(X), y)
    np.testing.assert_allclose(dense.coefs_[0], spare.coefs_[0], rtol=1e-7, atol=1e-10)
    assert dense.score(X, y) == pytest.approx(spare.score(container(X), y))


def test_warm_start_goes_on(problems):
    X, y = problems["multiclass"]
    model = fp.MLPClassifier((5,), warm_start=True, max_iter=3, random_state=0).fit(X, y)
    before, curve = [W.copy() for W in model.coefs_], list(model.loss_curve_)
    model.set_params(learning_rate_init=1e-12).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0], before[0], atol=1e-9)
    assert model.loss_curve_[:3] == curve
    assert (len(model.loss_curve_), model.n_iter_, model.t_) == (6, 3, 6 * len(X))
    assert model.network_.epochs_done == 6  # no order of rows comes twice
    with pytest.raises(ValueError, match="same classes as in the previous call"):
        model.fit(X, y + 1)
    with pytest.raises(ValueError, match="array"):
        model.set_params(hidden_layer_sizes=(6,)).fit(X, y)


def test_partial_fit_of_one_row_is_that_of_the_long_way(problems):
    X, y = problems["multiclass"]
    quick, slow = (fp.MLPClassifier((5,), random_state=0) for _ in range(2))
    for model in (quick, slow):
        model.partial_fit(X[:1], y[:1], classes=np.unique(y))
    for i in range(1, 10):
        quick.partial_fit(X[i : i + 1], y[i : i + 1])
        slow.partial_fit(X[i : i + 1].tolist(), y[i : i + 1])
    for a, b in zip(quick.coefs_, slow.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (quick.loss_curve_, quick.t_, quick.n_iter_) == (slow.loss_curve_, slow.t_, slow.n_iter_)


@pytest.mark.parametrize(
    "parameters", [{"class_weight": {0: 9.0}}, {"batch_size": 1}, {"clip_norm": 0.1}, {"alpha": 5}]
)
def test_no_setting_is_lost_on_the_quick_way(problems, parameters):
    X, y = problems["multiclass"]
    quick, slow = (fp.MLPClassifier((5,), solver="sgd", random_state=0, **parameters) for _ in range(2))
    for i in range(0, 12, 2):
        quick.partial_fit(X[i : i + 2], y[i : i + 2], classes=[0, 2, 4])
        slow.partial_fit(X[i : i + 2].tolist(), y[i : i + 2], classes=[0, 2, 4])
    np.testing.assert_array_equal(quick.coefs_[0], slow.coefs_[0])
    assert quick.loss_curve_ == slow.loss_curve_


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_in_their_words(problems, bad):
    X, y = problems["binary"]
    wrong = X.copy()
    wrong[7, 2] = bad
    model = fp.MLPClassifier(max_iter=2).fit(X, y)
    before = [W.copy() for W in model.coefs_]
    for call in (lambda: model.partial_fit(wrong, y), lambda: model.partial_fit(wrong[7:8], y[7:8]),
                 lambda: model.predict(wrong), lambda: model.predict_proba(wrong[7:8]),
                 lambda: fp.MLPClassifier().fit(wrong, y), lambda: fp.MLPClassifier(solver="lbfgs").fit(wrong, y),
                 lambda: fp.MLPClassifier(early_stopping=True).fit(wrong, y)):  # fmt: skip
        with pytest.raises(ValueError, match=f"Input X contains {'NaN' if np.isnan(bad) else 'infinity'}"):
            call()
    for a, b in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_rows_and_labels_are_refused_in_their_words(problems):
    X, y = problems["binary"]
    model = fp.MLPClassifier(max_iter=2)
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        fp.MLPClassifier().partial_fit(X, y)
    model.fit(X, y)
    with pytest.raises(ValueError, match="X has 4 features, but MLPClassifier is expecting 5 features"):
        model.predict(X[:, :4])
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        model.predict(X[0])
    with pytest.raises(ValueError, match="`y` has classes not in"):
        model.partial_fit(X[:1], ["maybe"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="must be given together"):
        model.fit(X, y, X_val=X)
    assert not hasattr(fp.MLPClassifier(solver="lbfgs"), "partial_fit")


def test_negative_weights_are_told(problems):
    X, y = problems["numbers"]
    with pytest.warns(UserWarning, match="negative weights"):
        fp.MLPRegressor(max_iter=1).fit(X, y, np.where(np.arange(60) == 3, -1.0, 1.0))


@pytest.mark.parametrize("convert", [np.asarray, list], ids=["array", "list"])
def test_numbers_in_strings(problems, convert):
    X, y = problems["numbers"]
    text = convert(X.astype(str))
    model = fp.MLPRegressor(max_iter=1, random_state=0).fit(text, y)
    np.testing.assert_array_equal(model.predict(text), model.predict(X))


def test_feature_names(problems):
    pd = pytest.importorskip("pandas")
    X, y = problems["binary"]
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = fp.MLPClassifier(max_iter=2, early_stopping=True).fit(frame, y)
    assert list(model.feature_names_in_) == list("abcde")
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list("edcba")])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X)
    model.fit(X, y)
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("kind", KINDS)
def test_copies_predict_and_go_on_alike(problems, kind, tmp_path):
    X, y = problems[kind]
    model = ours_for(kind, hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(X, y)
    joblib.dump(model, tmp_path / "model")
    copies = [pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model")]
    for copy in copies:
        np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    results = [m.partial_fit(X, y).coefs_[0] for m in (model, *copies)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    fresh = clone(model)
    assert not hasattr(fresh, "network_")
    np.testing.assert_array_equal(fresh.fit(X, y).coefs_[0], clone(model).fit(X, y).coefs_[0])


def test_verbose_warning_and_interruption(problems, capsys):
    X, y = problems["binary"]
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        fp.MLPClassifier(max_iter=2, verbose=True, early_stopping=True).fit(X, y)
    printed = capsys.readouterr().out
    assert "Iteration 2, loss = " in printed
    assert "Validation score: " in printed
    fp.MLPClassifier(max_iter=99, verbose=True, tol=1.0, n_iter_no_change=1).fit(X, y)
    assert "Training loss did not improve more than tol=1.000000 for 1 consecutive epochs. Stopping." in (
        capsys.readouterr().out
    )

    class Interrupt:
        def on_epoch_end(self, net, epoch, logs):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = fp.MLPClassifier(callbacks=Interrupt()).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert model.predict(X).shape == y.shape


def test_divergence_is_reported(problems):
    X, y = problems["numbers"]
    model = fp.MLPRegressor(solver="sgd", learning_rate_init=1e6, activation="identity")
    with pytest.raises(fp.DivergenceError, match="Solver produced non-finite parameter weights"):
        model.fit(X, 1e3 * y)
    model.set_params(early_stopping=True).fit(X, 1e3 * y)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.predict(X)).all()
