"""MLPClassifier and MLPRegressor compute what scikit-learn's do, step for step."""

import warnings

import numpy as np
import pytest
from mlp_problems import CLASSES, KINDS, EveryEpoch, both, ours_for, outputs
from sklearn.metrics import accuracy_score, r2_score

import fastprop as fp
from fastprop.validation import accuracy, r2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
    from fastprop.validation import Rows

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
