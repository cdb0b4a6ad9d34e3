"""What MLPs keep between calls: after a call that fails, under warm starts, in calls of `partial_fit`."""

import numpy as np
import pytest
from scipy import sparse

import fastprop as fp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 5))
SIDE = (X[:, 0] > 0).astype(int)
NAMES = np.array(["a", "b"])[SIDE]
THREE = np.arange(60) % 3
ANSWERS = (X[:, :3] > 0).astype(int)
NUMBERS = X[:, 0] + X[:, 1]
OUTPUTS = np.c_[NUMBERS, 3 * NUMBERS, -NUMBERS]


def classifier(**parameters):
    return fp.MLPClassifier(**{"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, **parameters})


def regressor(**parameters):
    return fp.MLPRegressor(**{"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, **parameters})


def with_nan(X):
    bad = X.copy()
    (bad.data if sparse.issparse(bad) else bad)[..., -1] = np.nan
    return bad


# ---- calls that fail ----------------------------------------------------------------------------------------------


WIDE = """
import numpy as np, scipy.sparse as sp
import fastprop as fp

S = sp.random(60, 3, density=0.5, format="csr", random_state=0)
wide = sp.random(60, 5_000_000, density=1e-5, format="csr", random_state=0)
y = np.arange(60) % 2
model = fp.MLPClassifier((4,), max_iter=1, random_state=0).fit(S, y)
bad = wide.copy()
bad.data[0] = np.nan
for call, X in ((lambda X: model.fit(X, y), bad), (model.predict, wide), (lambda X: model.partial_fit(X, y), wide)):
    try:
        call(X)
    except ValueError as error:
        print(error)
"""


def test_a_model_whose_refit_was_refused_stays_in_its_memory(run_script):
    refused = run_script(WIDE).splitlines()
    assert "Input X contains NaN" in refused[0]
    assert sum("X has 5000000 features, but MLPClassifier is expecting 3" in line for line in refused) == 2


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_the_network_checks_the_width_itself(convert):
    model = regressor().fit(convert(X), NUMBERS)
    model.n_features_in_ = 3
    for call in (model.predict, lambda X: model.partial_fit(X, NUMBERS)):
        with pytest.raises(ValueError, match="X has 3 features, but the network is expecting 5"):
            call(convert(X[:, :3].copy()))


class Boom:
    def on_epoch_end(self, net, epoch, logs):
        if epoch == 1:
            raise RuntimeError("boom")


def state_of(model):
    kept = {name: value for name, value in model.__dict__.items() if name not in model._names and name != "_ready"}
    return {**{name: list(v) if isinstance(v, list) else v for name, v in kept.items()}, "coefs": model.coefs_}


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({}, lambda: (with_nan(X), NAMES)),
        ({}, lambda: (with_nan(X[:, :3]), NAMES)),
        ({}, lambda: (X, NAMES, np.zeros(60))),
        ({"callbacks": Boom()}, lambda: (X, NAMES)),
        ({"solver": "lbfgs", "dropout": 0.5}, lambda: (X, np.array(["x", "y", "z"])[THREE])),
        ({"early_stopping": True, "callbacks": Boom()}, lambda: (X, NAMES)),
    ],
)
def test_a_fit_that_fails_changes_nothing(changes, given, warm_start):
    model = classifier(warm_start=warm_start, max_iter=5).fit(X, NAMES)
    before, predicted = state_of(model), model.predict(X)
    with pytest.raises((ValueError, RuntimeError)):
        model.set_params(**changes).fit(*given())
    np.testing.assert_equal(state_of(model), before)
    np.testing.assert_array_equal(model.predict(X), predicted)
    changes = {name: classifier().get_params()[name] for name in changes}
    model.set_params(**changes).partial_fit(X, NAMES)
    assert model.t_ == 6 * 60


def test_a_first_call_that_fails_leaves_nothing():
    model = classifier()
    for call in (lambda: model.fit(with_nan(X), NAMES), lambda: model.partial_fit(with_nan(X), NAMES, classes=["a", "b"])):
        with pytest.raises(ValueError, match="NaN"):
            call()
        assert not [name for name in model.__dict__ if name.endswith("_")]
    model.partial_fit(X, SIDE, classes=[0, 1])  # other classes than of the call that failed


def test_penalties_of_a_call_that_failed_are_forgotten():
    model, other = regressor().fit(X, NUMBERS), regressor().fit(X, NUMBERS)
    model.partial_fit(X, NUMBERS)
    other.partial_fit(X, NUMBERS)
    with pytest.raises(ValueError, match="NaN"):
        model.set_params(alpha=100.0).partial_fit(with_nan(X), NUMBERS)
    model.set_params(alpha=0.0001).partial_fit(X, NUMBERS)
    other.partial_fit(X, NUMBERS)
    assert model.loss_curve_ == other.loss_curve_
