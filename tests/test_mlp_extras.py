"""What MLPClassifier and MLPRegressor have besides scikit-learn's."""

import numpy as np
import pytest
from mlp_problems import THEIRS, EveryEpoch, ours_for
from scipy import sparse
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

import fastprop as fp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
