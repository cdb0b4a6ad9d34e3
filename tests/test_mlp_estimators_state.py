"""What MLPs keep between calls: after a call that fails, under warm starts, in calls of `partial_fit`."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

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
wide = sp.random(60, 300_000, density=1e-5, format="csr", random_state=0)
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
    assert sum("X has 300000 features, but MLPClassifier is expecting 3" in line for line in refused) == 2


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
    for call in (
        lambda: model.fit(with_nan(X), NAMES),
        lambda: model.partial_fit(with_nan(X), NAMES, classes=["a", "b"]),
    ):
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


def test_ctrl_c_keeps_the_losses_of_the_epochs_before_it():
    class Interrupt:
        every = 1

        def on_step(self, net, step, logs):
            if step == 7:
                raise KeyboardInterrupt

    class InterruptAhead:
        horizon = 1000

        def on_epoch_end(self, net, epoch, logs):
            if epoch == 2:
                raise KeyboardInterrupt

    given = {"alpha": 50.0, "batch_size": 20}
    whole = regressor(**given, max_iter=40).fit(X, OUTPUTS)
    for callback, least in ((Interrupt(), 2), (InterruptAhead(), 3)):
        with pytest.warns(UserWarning, match="interrupted"):
            model = regressor(**given, max_iter=50, callbacks=[callback]).fit(X, OUTPUTS)
        assert least <= model.n_iter_ == len(model.loss_curve_) < 40  # some ran ahead of the callback
        np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_[: model.n_iter_], rtol=1e-12)


def test_ctrl_c_before_the_first_update(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    model = regressor()
    monkeypatch.setattr(fp.Network, "_train", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, NUMBERS)
    assert model.n_iter_ == 0
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, NUMBERS)
    assert model.loss_curve_ == []


def test_a_fit_that_diverges_after_its_best_score_says_so():
    model = regressor(solver="sgd", activation="identity", learning_rate_init=1e6, max_iter=20, early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.fit(X, 1e3 * NUMBERS)
    assert np.isfinite(model.predict(X)).all()


# ---- y and weights ------------------------------------------------------------------------------------------------


def test_numbers_of_another_width_are_refused():
    one, three = regressor(warm_start=True).fit(X, NUMBERS), regressor(warm_start=True).fit(X, OUTPUTS)
    for model, y in ((one, OUTPUTS), (three, NUMBERS), (three, OUTPUTS[:, :2])):
        for call in (model.fit, model.partial_fit, lambda X, y, m=model: m.partial_fit(X[:1], y[:1])):
            with pytest.raises(ValueError, match="y must have shape"):
                call(X, y)
        with pytest.raises(ValueError, match="y_val must have"):
            model.fit(X, OUTPUTS if model is three else NUMBERS, X_val=X, y_val=y)


@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (SIDE, ANSWERS[:, :2], "not fitted with multilabel input"),
        (THREE, ANSWERS, "not fitted with multilabel input"),
        (ANSWERS, THREE, "was fitted with multilabel input"),
        (ANSWERS, ANSWERS[:, :2], "same classes|mismatch with the labels"),
        (ANSWERS[:, :2], ANSWERS, "same classes|classes not in"),
    ],
)
def test_labels_of_another_kind_are_refused(first, then, words, partly):
    model = classifier(warm_start=not partly).fit(X, first)
    with pytest.raises(ValueError, match=words):
        (model.partial_fit if partly else model.fit)(X, then)
    with pytest.raises(ValueError, match=r"multilabel input|y_val"):
        model.fit(X, first, X_val=X, y_val=then)


def test_sparse_answers_give_sparse_predictions():
    model = classifier().partial_fit(X, sparse.csr_array(ANSWERS), classes=[0, 1, 2])
    assert sparse.issparse(model.predict(X))
    assert not sparse.issparse(classifier().partial_fit(X, ANSWERS, classes=[0, 1, 2]).predict(X))


class Listener:
    """Keeps what scikit-learn's protocol tells."""

    def setup(self, estimator, context):
        self.y, self.weights, self.scores = [], [], []

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, y, metadata=None):
        self.y.append(y)
        self.weights.append(None if metadata is None else metadata["sample_weight"])

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.scores.append(fitted_estimator.score(X, y))


@pytest.mark.parametrize("labels", [NAMES, 2 * SIDE + 3, ANSWERS])
@pytest.mark.parametrize("weights", [None, np.linspace(1.0, 2.0, 60)])
def test_callbacks_hear_labels_and_weights_as_they_were_given(labels, weights):
    listener = Listener()
    given = {"class_weight": None if labels is ANSWERS else "balanced"}
    model = classifier(max_iter=30, learning_rate_init=0.05, **given).set_callbacks(listener)
    model.fit(X, labels, weights)
    np.testing.assert_array_equal(listener.y[-1], labels)
    if weights is None:
        assert listener.weights[-1] is None
    else:
        np.testing.assert_array_equal(listener.weights[-1], weights)
    assert listener.scores[-1] == model.score(X, labels) > 0.5


@pytest.mark.parametrize(
    "given",
    [
        {"batch_size": 20},
        {"batch_size": 16, "solver": "sgd", "alpha": 1.0},
        {"batch_size": 1, "alpha": 0.0, "solver": "sgd"},
        {"batch_size": 48, "early_stopping": True, "validation_fraction": 0.2},
    ],
)
def test_a_weighted_fit_is_theirs(given):
    given = {"hidden_layer_sizes": (4,), "shuffle": False, "random_state": 0, "learning_rate_init": 0.01, **given}
    given |= {"max_iter": 60, "tol": 2e-3}
    weights = np.where(rng.random(60) < 0.1, 20.0, 0.05)
    noisy = (X[:, 0] + 0.8 * rng.standard_normal(60) > 0).astype(int)
    ours = fp.MLPClassifier(**given).fit(X, noisy, weights)
    theirs = neural_network.MLPClassifier(**given).fit(X, noisy, weights)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-5)  # Adam's epsilon is in another place
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-5)
    if given.get("early_stopping"):
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)


def test_class_weights_do_not_weigh_scores():
    model = classifier(class_weight={0: 1.0, 1: 50.0}, early_stopping=True, validation_fraction=0.3, max_iter=4)
    side = (X[:, 0] > 0.8).astype(int)
    model.fit(X, side)
    n_held = 18
    right = np.array(model.validation_scores_) * n_held
    np.testing.assert_allclose(right, np.round(right), atol=1e-9)


# ---- between calls ------------------------------------------------------------------------------------------------


def test_the_optimizer_that_was_given_stays_as_it_is():
    class Slower:
        def on_epoch_end(self, net, epoch, logs):
            net.optimizer.lr = 1e-9

    solver = fp.SGD(lr=fp.schedules.Plateau(0.5, 2, 0.1))
    model = regressor(solver=solver, max_iter=60)
    described, first = solver.describe(), model.fit(X, NUMBERS).coefs_[0]
    np.testing.assert_array_equal(model.fit(X, NUMBERS).coefs_[0], first)
    assert solver.describe() == described
    solver = fp.SGD(lr=0.1)
    regressor(solver=solver, callbacks=Slower()).fit(X, NUMBERS)
    assert solver.lr == 0.1


def test_callbacks_hear_of_a_single_epoch():
    class Count:
        n = 0

        def on_epoch_end(self, net, epoch, logs):
            self.n += 1

    count = Count()
    model = classifier(max_iter=1, callbacks=count).fit(X, SIDE)
    assert count.n == 1
    model.partial_fit(X, SIDE)
    assert count.n == 1  # it is `fit` that calls


def test_an_old_list_of_coefficients_writes_what_is_assigned_to_it():
    model = regressor().fit(X, NUMBERS)
    old = model.coefs_
    model.fit(10 * X, NUMBERS)
    last = model.coefs_[1]
    old[0] = np.zeros((5, 4))
    np.testing.assert_array_equal(model.coefs_[0], 0)
    np.testing.assert_array_equal(model.coefs_[1], last)
    old[:] = [np.ones((5, 4)), np.ones((4, 1))]
    np.testing.assert_array_equal(model.coefs_[1], 1)
    with pytest.raises(ValueError, match="2 arrays, got 1"):
        old[:1] = []


def test_partial_fit_does_not_read_all_weights(monkeypatch):
    model = classifier().fit(X, SIDE)

    def read(*_):
        raise AssertionError

    monkeypatch.setattr(fp.Network, "get_weights", read)
    model.partial_fit(X, SIDE, np.ones(60))


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_weights_may_be_set_before_the_first_call(how):
    model = regressor(warm_start=True, solver="sgd", learning_rate_init=1e-12, max_iter=1)
    model.intercepts_ = [np.full(4, 9.0), np.full(1, 8.0)]
    getattr(model, how)(X, NUMBERS)
    np.testing.assert_allclose(model.intercepts_[0], 9.0)
    assert model.n_features_in_ == 5
    for wrong in (X[:, :3].tolist(), sparse.csr_array(np.ones((3, 50)))):
        with pytest.raises(ValueError, match="is expecting 5 features as input"):
            model.predict(wrong)


def test_random_generators_give_their_initial_weights():
    given = {"solver": "lbfgs", "max_iter": 1, "tol": 1e3, "hidden_layer_sizes": (4,)}
    ours = fp.MLPRegressor(random_state=np.random.RandomState(3), **given).fit(X, NUMBERS)
    theirs = neural_network.MLPRegressor(random_state=np.random.RandomState(3), **given).fit(X, NUMBERS)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-12)
    given = {"early_stopping": True, "shuffle": False, "max_iter": 5, "hidden_layer_sizes": (4,)}
    ours = fp.MLPRegressor(random_state=np.random.RandomState(3), **given).fit(X, NUMBERS)
    theirs = neural_network.MLPRegressor(random_state=np.random.RandomState(3), **given).fit(X, NUMBERS)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)


def test_partial_fit_warns_of_batches_larger_than_the_data():
    with pytest.warns(UserWarning, match="It is going to be clipped") as caught:
        classifier(batch_size=500).partial_fit(X, SIDE, classes=[0, 1])
    with pytest.warns(UserWarning, match="It is going to be clipped") as also:
        classifier(batch_size=500).fit(X, SIDE)
    assert {warning.filename for warning in [*caught, *also]} == {__file__}


def test_partial_fit_after_lbfgs():
    model = classifier(solver="lbfgs").fit(X, SIDE)
    before = model.coefs_[0]
    model.set_params(solver="sgd", learning_rate_init=0.5).partial_fit(X, SIDE)
    assert type(model.network_.optimizer) is not fp.Adam
    assert len(model.loss_curve_) == model.n_iter_ == 1
    assert model.t_ == 60
    assert (model.coefs_[0] != before).any()


def test_a_warm_start_keeps_the_best_weights_of_former_fits():
    model = classifier(
        early_stopping=True, warm_start=True, validation_fraction=0.3, learning_rate_init=0.05, max_iter=60
    ).fit(X, SIDE)
    best, weights = model.best_validation_score_, model.coefs_
    model.set_params(learning_rate_init=5.0, solver="sgd", max_iter=5).fit(X, -X[:, 0] > 0)
    assert max(model.validation_scores_[-5:]) <= best == model.best_validation_score_
    np.testing.assert_array_equal(model.coefs_[0], weights[0])


def test_one_row_has_no_variance():
    model = regressor(batch_norm=True).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="there must be at least 2 samples with BatchNorm"):
        model.partial_fit(X[:1], NUMBERS[:1])
    with pytest.raises(ValueError, match="batch_size must be at least 2 with BatchNorm"):
        regressor(batch_norm=True, batch_size=1).fit(X, NUMBERS)
    regressor(batch_norm=True, batch_size=59).fit(X, NUMBERS)  # a last batch of one row moves no running variance
