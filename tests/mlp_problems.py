"""What the tests of MLPClassifier and MLPRegressor share: small problems, and scikit-learn's estimators beside ours."""

import numpy as np
from sklearn import neural_network

import fastprop as fp

THEIRS = {fp.MLPClassifier: neural_network.MLPClassifier, fp.MLPRegressor: neural_network.MLPRegressor}


def make_problems():
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


class EveryEpoch:
    """A callback without a horizon: no epoch runs ahead of it."""

    def on_epoch_end(self, net, epoch, logs):
        return False
