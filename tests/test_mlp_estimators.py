"""MLPClassifier and MLPRegressor: scikit-learn's arithmetic step for step, its attributes, and what is ours."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split

import fastprop as fp
from fastprop.validation import accuracy, r2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

THEIRS = {fp.MLPClassifier: neural_network.MLPClassifier, fp.MLPRegressor: neural_network.MLPRegressor}


@pytest.fixture(scope="module")
def problems():
    """X, y by kind; 60 rows of 5 features."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 5))
    score = X @ rng.standard_normal((5, 3))
    return {
        "binary": (X, np.where(score[:, 0] > 0, "yes", "no")),
        "multiclass": (X, score.argmax(axis=1) * 2),
        "multilabel": (X, (score > 0).astype(int)),
        "numbers": (X, np.sin(score[:, 0])),
        "outputs": (X, np.sin(score)),
        "poisson": (X, rng.poisson(np.exp(0.3 * score[:, 0]))),
        "poisson_outputs": (X, rng.poisson(np.exp(0.3 * score))),
    }


CLASSES = ("binary", "multiclass", "multilabel")
KINDS = (*CLASSES, "numbers", "outputs", "poisson", "poisson_outputs")


def ours_for(kind, **parameters):
    if kind in CLASSES:
        return fp.MLPClassifier(**parameters)
    return fp.MLPRegressor(loss="poisson" if kind.startswith("poisson") else "squared_error", **parameters)


def theirs_like(model):
    """scikit-learn's estimator with the same parameters."""
    cls = THEIRS[type(model)]
    names = cls._get_param_names()
    return cls(**{name: value for name, value in model.get_params(deep=False).items() if name in names})


def both(kind, **parameters):
    ours = ours_for(kind, **parameters)
    return ours, theirs_like(ours)


def outputs(model, X):
    """Probabilities, or numbers."""
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


# ---- scikit-learn's arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_of_gradient_descent_is_theirs(problems, kind, weighted):
    X, y = problems[kind]
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(X)) if weighted else None
    ours, theirs = both(
        kind, hidden_layer_sizes=(7, 4), activation="tanh", solver="sgd", learning_rate_init=0.1, alpha=0.3,
        random_state=0,
    )  # fmt: skip
    classes = {"classes": np.arange(3) if kind == "multilabel" else np.unique(y)} if kind in CLASSES else {}
    for _ in range(3):
        ours.partial_fit(X, y, weights, **classes)
        theirs.partial_fit(X, y, weights, **classes)
    for a, b in zip([*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(outputs(ours, X), outputs(theirs, X), rtol=1e-8)
    assert (ours.t_, ours.n_iter_, ours.n_layers_) == (theirs.t_, theirs.n_iter_, theirs.n_layers_)
    assert (ours.n_outputs_, ours.out_activation_) == (theirs.n_outputs_, theirs.out_activation_)


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam"},
        {"solver": "sgd", "momentum": 0.0},
        {"solver": "sgd", "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 2},
        {"solver": "sgd", "momentum": 1.0, "max_iter": 5},
        {"activation": "logistic", "alpha": 1.0},
        {"activation": "identity", "hidden_layer_sizes": 3},
    ],
    ids=lambda p: ",".join(map(str, p.values())),
)
def test_a_whole_fit_is_theirs_where_nothing_is_shuffled(problems, parameters):
    X, y = problems["multiclass"]
    given = {"hidden_layer_sizes": (6,), "batch_size": 16, "shuffle": False, "max_iter": 40, "random_state": 1}
    ours, theirs = both("multiclass", **{"learning_rate_init": 0.05, **given, **parameters})
    ours.fit(X, y)
    theirs.fit(X, y)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-4, atol=1e-7)
    for name in ("loss_", "best_loss_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5)


def naive_objective(kind, coefs, intercepts, X, y, weights, alpha):
    """scikit-learn's loss in plain float64, and its derivative by central differences is what is compared with."""
    a = X
    for k, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        z = a @ W + b
        a = np.tanh(z) if k < len(coefs) - 1 else z
    if kind == "multiclass":
        codes = np.unique(y, return_inverse=True)[1]
        losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), codes]
    elif kind in CLASSES:
        answers = (y == "yes")[:, None] if kind == "binary" else y
        losses = (np.log1p(np.exp(z)) - answers * z).sum(axis=1)
    elif kind.startswith("poisson"):
        losses = (np.exp(z) - y.reshape(len(y), -1) * z).sum(axis=1)
    else:
        losses = 0.5 * ((z - y.reshape(len(y), -1)) ** 2).sum(axis=1)
    penalty = 0.5 * alpha * sum(float((W**2).sum()) for W in coefs)
    return (losses @ weights + penalty) / weights.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_of_lbfgs_and_its_gradient(problems, kind):
    from fastprop.estimators.lbfgs import Objective
    from fastprop.estimators.mlp_training import Rows

    X, y = problems[kind]
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(X))
    model = ours_for(kind, hidden_layer_sizes=(4,), activation="tanh", solver="lbfgs", alpha=0.3, max_iter=2)
    model.fit(X, y, weights)
    matrix, y = model._read(X, y, False)
    targets = model._targets(model._codes_of(y, False), model.network_.loss, model.network_)
    objective = Objective(model.network_, Rows(matrix, targets, weights))
    point = np.random.default_rng(1).normal(size=objective.point.size) * 0.3
    loss, gradient = objective(point)
    np.testing.assert_array_equal(objective.point, point)

    def naive(point):
        objective.point = point
        return naive_objective(kind, model.coefs_, model.intercepts_, X, y, weights, 0.3)

    assert loss == pytest.approx(naive(point), rel=1e-10)
    steps = 1e-6 * np.eye(len(point))
    numeric = [(naive(point + step) - naive(point - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "numbers", "poisson"])
def test_lbfgs_finds_their_minimum(problems, kind):
    X, y = problems[kind]
    ours, theirs = both(
        kind, hidden_layer_sizes=(3,), activation="identity", solver="lbfgs", alpha=1.0, tol=1e-7, max_iter=2000,
        max_fun=5000, random_state=0,
    )  # fmt: skip
    ours.fit(X, y)
    theirs.fit(X, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    np.testing.assert_allclose(outputs(ours, X), outputs(theirs, X), atol=1e-3)


def test_what_lbfgs_does_not_take(problems):
    X, y = problems["numbers"]
    for name, value in {"dropout": 0.5, "batch_norm": True, "clip_norm": 1.0, "callbacks": [EveryEpoch()]}.items():
        with pytest.raises(ValueError, match=f"takes no {name}"):
            fp.MLPRegressor(solver="lbfgs", **{name: value}).fit(X, y)
    model = fp.MLPRegressor(solver="lbfgs", max_iter=5)
    with pytest.raises(ValueError, match="takes no X_val"):
        model.fit(X, y, X_val=X, y_val=y)
    for X_large, y_large in ((X * 1e200, y), (X, y * 1e200)):
        with pytest.raises(fp.DivergenceError, match="not finite"):
            model.fit(X_large, y_large)
    assert not hasattr(model, "network_")


def test_early_stopping_scores_the_rows_that_they_score(problems):
    X, y = problems["binary"]
    ours, theirs = both(
        "binary", early_stopping=True, solver="adam", batch_size=60, shuffle=False, learning_rate_init=0.05,
        max_iter=60, random_state=0, validation_fraction=0.3, hidden_layer_sizes=(8,),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the batch is larger than what is left to train on
        ours.fit(X, y)
        theirs.fit(X, y)
    assert ours.validation_scores_ == pytest.approx(theirs.validation_scores_)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert ours.best_loss_ is None
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)  # of the best weights


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_scikit_learn(problems, weighted):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.0, 2.0, 60) if weighted else None
    y = problems["outputs"][1].copy()
    p = y + 0.3 * rng.standard_normal(y.shape)
    y[:, 1] = 2.0  # an output that does not vary
    assert r2(y, p, weights) == pytest.approx(r2_score(y, p, sample_weight=weights), rel=1e-12)
    assert r2(y[:, 0], p[:, 0], weights) == pytest.approx(r2_score(y[:, 0], p[:, 0], sample_weight=weights), rel=1e-12)
    for a, b in ((y > 0, p > 0), (y[:, 0] > 0, p[:, 0] > 0)):
        assert accuracy(a == b, weights) == pytest.approx(accuracy_score(a, b, sample_weight=weights), rel=1e-12)


# ---- attributes and parameters ------------------------------------------------------------------------------------


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


# ---- what is ours -------------------------------------------------------------------------------------------------


def test_layers_follow_the_parameters(problems):
    X, y = problems["multiclass"]
    model = fp.MLPClassifier(
        (6, 6, 4), activation=["relu", "gelu", "tanh"], dropout=[0.1, 0.0, 0.2], batch_norm=True, layer_norm=True,
        residual=True, max_iter=3, random_state=0,
    ).fit(X, y)  # fmt: skip
    layers = model.network_.layers
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Dense", "BatchNorm", "LayerNorm", "Dropout", "Residual", "Dense", "BatchNorm", "LayerNorm",
                     "Dropout", "Dense"]  # fmt: skip
    assert [type(layer).__name__ for layer in layers[4].layers] == ["Dense", "BatchNorm", "LayerNorm"]
    assert layers[4].layers[0].activation.component_name == "gelu"
    assert [W.shape for W in model.coefs_] == [(5, 6), (6, 6), (6, 4), (4, 3)]
    assert model.predict_proba(X).sum(axis=1) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two hidden layers of the same width"):
        fp.MLPClassifier((6, 5), residual=True).fit(X, y)
    with pytest.raises(ValueError, match="one entry for each of 2 hidden layers"):
        fp.MLPClassifier((6, 5), dropout=[0.5]).fit(X, y)


def test_arrays_have_an_entry_for_each_layer_too(problems):
    X, y = problems["numbers"]
    given = {"hidden_layer_sizes": (4, 3), "max_iter": 2, "random_state": 0}
    a = fp.MLPRegressor(activation=["tanh", "logistic"], dropout=[0.5, 0.1], **given).fit(X, y)
    arrays = {"activation": np.array(["tanh", "logistic"]), "dropout": np.array([0.5, 0.1])}
    b = fp.MLPRegressor(**arrays, **given).fit(X, y)
    np.testing.assert_array_equal(a.coefs_[0], b.coefs_[0])
    with pytest.raises(ValueError, match="takes no dropout"):
        fp.MLPRegressor(solver="lbfgs", **arrays, **given).fit(X, y)


def test_dropout_regularises(problems):
    X, y = problems["multiclass"]
    losses = [
        fp.MLPClassifier((30,), dropout=rate, max_iter=150, learning_rate_init=0.02, random_state=0).fit(X, y).loss_
        for rate in (0.0, 0.6)
    ]
    assert losses[1] > 3 * losses[0]


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "modified_huber", "bce", fp.losses.CrossEntropy(0.1)])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_any_loss_of_classes(problems, loss, kind):
    X, y = problems[kind]
    model = fp.MLPClassifier((16,), loss=loss, learning_rate_init=0.02, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    if loss in ("hinge", "squared_hinge"):
        assert not hasattr(model, "predict_proba")
    else:
        shares = model.predict_proba(X)
        assert shares.sum(axis=1) == pytest.approx(1.0)
        assert (model.classes_[shares.argmax(axis=1)] == model.predict(X)).mean() > 0.98


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_of_one_versus_the_rest(problems, dtype):
    X, y = problems["multiclass"]
    model = fp.MLPClassifier((), loss="bce", max_iter=1).fit(X.astype(dtype), y)
    model.coefs_ = [np.zeros((5, 3))]
    model.intercepts_ = [np.array([0.0, 1.0, -1.0])]
    sigmoids = 1.0 / (1.0 + np.exp(-model.intercepts_[0]))
    np.testing.assert_allclose(model.predict_proba(X[:1]), [sigmoids / sigmoids.sum()], rtol=1e-6)
    model.intercepts_ = [np.array([-3000.0, -2000.0, -2001.0])]  # all sigmoids are 0
    np.testing.assert_allclose(model.predict_proba(X[:1]), [[0.0, np.e / (1 + np.e), 1 / (1 + np.e)]], rtol=1e-4)


@pytest.mark.parametrize("loss", ["mae", "huber", fp.losses.Quantile(0.9), "mse"])
def test_any_loss_of_numbers(problems, loss):
    X, y = problems["numbers"]
    model = fp.MLPRegressor(loss, (30,), learning_rate_init=0.02, max_iter=300, random_state=0).fit(X, y)
    below = (y < model.predict(X)).mean()
    assert below > 0.75 if isinstance(loss, fp.losses.Quantile) else model.score(X, y) > 0.8


def test_losses_that_do_not_fit_are_refused(problems):
    X, y = problems["binary"]
    with pytest.raises(ValueError, match="'loss' parameter"):
        fp.MLPClassifier(loss="mse").fit(X, y)
    with pytest.raises(ValueError, match="is for numbers"):
        fp.MLPClassifier(loss=fp.losses.MSE()).fit(X, y)
    with pytest.raises(ValueError, match="one class a row"):
        fp.MLPClassifier(loss="hinge").fit(*problems["multilabel"])


def test_optimizer_objects(problems):
    X, y = problems["binary"]
    rate = fp.schedules.Cosine(0.05, 100)
    model = fp.MLPClassifier((8,), solver=fp.AdamW(lr=rate, weight_decay=0.1), random_state=0).fit(X, y)
    assert type(model.network_.optimizer) is fp.AdamW
    assert model.score(X, y) > 0.9
    assert model.partial_fit(X, y).n_iter_ == 1


def test_clip_norm_bounds_an_update(problems):
    X, y = problems["numbers"]
    models = [
        fp.MLPRegressor(
            hidden_layer_sizes=(3,), solver="sgd", momentum=0, learning_rate_init=1.0, clip_norm=c, random_state=0
        )
        for c in (None, 1e-3)
    ]
    moved = []
    for model in models:
        start = clone(model).set_params(learning_rate_init=1e-30).partial_fit(X, y)
        model.partial_fit(X, y)
        arrays = zip([*model.coefs_, *model.intercepts_], [*start.coefs_, *start.intercepts_], strict=True)
        moved.append(np.sqrt(sum(((a - b) ** 2).sum() for a, b in arrays)))
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("class_weight", ["balanced", {"yes": 3.0}])
def test_class_weights_are_sample_weights(problems, class_weight):
    X, y = problems["binary"]
    of_class = {"no": 1.0, "yes": 3.0}
    if class_weight == "balanced":
        of_class = {label: len(y) / (2 * (y == label).sum()) for label in ("no", "yes")}
    given = {"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0}
    a = fp.MLPClassifier(class_weight=class_weight, **given).fit(X, y, np.arange(1.0, 61.0))
    b = fp.MLPClassifier(**given).fit(X, y, np.arange(1.0, 61.0) * [of_class[label] for label in y])
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-12)
    if class_weight == "balanced":
        with pytest.raises(ValueError, match="balanced"):
            a.partial_fit(X, y)


def test_output_weights_choose_outputs(problems):
    X, y = problems["outputs"]
    given = {"hidden_layer_sizes": (30,), "learning_rate_init": 0.02, "max_iter": 300, "random_state": 0}
    model = fp.MLPRegressor(output_weights=[1.0, 0.0, 0.0], **given).fit(X, y)
    scores = r2_score(y, model.predict(X), multioutput="raw_values")
    assert scores[0] > 0.8
    assert scores[1:].max() < 0.5


def test_a_validation_set_of_ones_own(problems):
    X, y = problems["binary"]
    model = fp.MLPClassifier((8,), early_stopping=True, random_state=0, learning_rate_init=0.02)
    model.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    assert model.t_ == 40 * model.n_iter_  # nothing is split off
    assert model.best_validation_score_ == model.score(X[40:], y[40:])
    watched = fp.MLPClassifier((8,), max_iter=5, random_state=0).fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    assert len(watched.validation_scores_) == 5
    assert watched.best_loss_ == min(watched.loss_curve_)
    assert watched.validation_scores_[-1] == watched.score(X[40:], y[40:])


def test_callbacks_of_fastprop_and_the_network(problems):
    X, y = problems["numbers"]

    class Look:
        def __init__(self):
            self.losses = []

        def on_epoch_end(self, net, epoch, logs):
            self.losses.append(logs["loss"])
            return epoch == 3

    look = Look()
    model = fp.MLPRegressor(hidden_layer_sizes=(4,), callbacks=[look], random_state=0).fit(X, y)
    assert look.losses == model.loss_curve_
    assert model.n_iter_ == 4
    np.testing.assert_array_equal(model.network_.predict(X), model.predict(X))


def test_the_network_inside_knows_the_labels(problems, tmp_path):
    X, y = problems["binary"]
    model = fp.MLPClassifier((4,), max_iter=20, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.network_.predict(X), model.predict(X))
    model.network_.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(fp.load(tmp_path / "m.safetensors").predict(X), model.predict(X))


@pytest.mark.parametrize("kind", ["multilabel", "poisson_outputs"])
def test_a_saved_network_has_the_loss_that_it_was_trained_with(problems, kind, tmp_path):
    X, y = problems[kind]
    net = ours_for(kind, max_iter=2).fit(X, y).network_
    net.save(tmp_path / "m.safetensors")
    assert fp.load(tmp_path / "m.safetensors").evaluate(X, y)["loss"] == net.evaluate(X, y)["loss"]


class Recorder:
    """A callback of scikit-learn's protocol."""

    def __init__(self, stop_after=None):
        self.begun, self.scores, self.stop_after = 0, [], stop_after

    def setup(self, estimator, context):
        self.is_set_up = True

    def teardown(self, estimator, context):
        self.is_torn_down = True

    def on_fit_task_begin(self, estimator, context):
        self.begun += 1

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.scores.append((context.task_name, fitted_estimator.score(X, y)))
        return len(self.scores) == self.stop_after


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_of_scikit_learn(problems, solver, capsys):
    X, y = problems["numbers"]
    recorder = Recorder()
    model = (
        fp.MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=4, random_state=0)
        .set_callbacks(recorder)
        .fit(X, y)
    )
    assert recorder.is_set_up
    assert recorder.is_torn_down
    assert [name for name, _ in recorder.scores] == ["epoch"] * 4 + ["fit"]
    assert recorder.begun == 5
    assert len({score for _, score in recorder.scores}) == 4  # each epoch as it was; the last is the fit
    assert recorder.scores[-1][1] == model.score(X, y)
    fp.MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=4).set_callbacks(ProgressBar()).fit(X, y)
    stopped = (
        fp.MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=40)
        .set_callbacks(Recorder(stop_after=2))
        .fit(X, y)
    )
    assert stopped.n_iter_ == 2


def test_threads_do_not_change_the_result():
    X, y = make_regression(4000, 30, random_state=0)
    models = [
        fp.MLPRegressor(hidden_layer_sizes=(64,), max_iter=2, n_threads=n, random_state=0).fit(X, y) for n in (1, 2)
    ]
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])


def test_random_states():
    X, y = make_classification(100, random_state=0)

    def first_weights(state):
        return fp.MLPClassifier((3,), max_iter=1, random_state=state).fit(X, y).coefs_[0]

    np.testing.assert_array_equal(first_weights(5), first_weights(5))
    np.testing.assert_array_equal(first_weights(np.random.RandomState(5)), first_weights(np.random.RandomState(5)))
    state = np.random.RandomState(5)
    assert (first_weights(state) != first_weights(state)).any()
    assert (first_weights(None) != first_weights(None)).any()


@pytest.mark.parametrize("cls", list(THEIRS))
def test_about_as_good_as_theirs(cls):
    make = make_classification if cls is fp.MLPClassifier else make_regression
    X, y = make(600, 12, random_state=2)
    y = y if cls is fp.MLPClassifier else y / y.std()
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    scores = [np.mean([c(random_state=s, max_iter=100).fit(X_train, y_train).score(X_test, y_test) for s in range(3)])
              for c in (cls, THEIRS[cls])]  # fmt: skip
    assert scores[0] > scores[1] - 0.01


def test_sparse_labels():
    X, Y = make_multilabel_classification(60, random_state=0, sparse=True, return_indicator="sparse")
    model = fp.MLPClassifier((8,), max_iter=5, random_state=0).fit(X, Y)
    predicted = model.predict(X)
    assert sparse.issparse(predicted)
    np.testing.assert_array_equal(
        predicted.toarray(), fp.MLPClassifier((8,), max_iter=5, random_state=0).fit(X, Y.toarray()).predict(X)
    )


def test_warm_start_after_another_solver(problems):
    X, y = problems["numbers"]
    model = fp.MLPRegressor(solver="lbfgs", hidden_layer_sizes=(8,), warm_start=True, random_state=0).fit(X, y)
    loss = model.loss_
    model.set_params(solver="adam", max_iter=3, learning_rate_init=1e-5).fit(X, y)
    assert len(model.loss_curve_) == 3
    assert model.loss_ == pytest.approx(loss, abs=1e-2)


def test_epochs_that_run_ahead_change_nothing(problems):
    X, y = problems["binary"]
    given = {"hidden_layer_sizes": (4,), "tol": 0.02, "n_iter_no_change": 3, "max_iter": 500, "random_state": 0}
    ahead = fp.MLPClassifier(**given).fit(X, y)
    one_by_one = fp.MLPClassifier(callbacks=EveryEpoch(), **given).fit(X, y)
    assert ahead.n_iter_ < 500
    assert ahead.loss_curve_ == one_by_one.loss_curve_
    np.testing.assert_array_equal(ahead.coefs_[0], one_by_one.coefs_[0])


class EveryEpoch:
    """A callback without a horizon: no epoch runs ahead of it."""

    def on_epoch_end(self, net, epoch, logs):
        return False
