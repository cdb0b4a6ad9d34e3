"""Per-sample linear models: every loss, penalty and schedule against the plain reference, and against scikit-learn."""

import math

import naive_linear
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier, SGDRegressor

from fastprop.checks import check_matrix
from fastprop.hogwild import Hogwild
from fastprop.linear import LOSSES, NON_FINITE, OK, SCHEDULES, Descent

CLASSIFIES = ("hinge", "squared_hinge", "modified_huber", "log_loss")
PENALTIES = (None, "l2", "l1", "elasticnet")


def problem(n=67, d=37, seed=0, loss="log_loss", sparse=False, dtype="float64"):
    """X of any kind, the targets that `loss` wants, and weights of samples."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if sparse:
        X *= rng.random((n, d)) < 0.3
    X = X.astype(dtype)
    y = X[:, 0] + 0.3 * X[:, -1] + 0.1 + 0.1 * rng.standard_normal(n)
    if loss in (*CLASSIFIES, "perceptron"):
        y = np.where(y > 0, 1.0, 0.0 if loss == "log_loss" else -1.0)
    return (scipy.sparse.csr_matrix(X) if sparse else X), y, rng.random(n)


def settings_of(loss, penalty, schedule, average=0, d=37, dtype="float64"):
    rng = np.random.default_rng(1)
    return {
        "dtype": dtype, "loss": loss, "parameter": 0.8, "penalty": penalty, "alpha": 0.01, "l1_ratio": 0.3,
        "learning_rate": schedule, "eta0": 0.02, "power_t": 0.3, "average": average, "intercept_decay": 0.5,
        "class_weights": (0.7, 1.3), "coef": 0.1 * rng.standard_normal(d), "intercept": 0.2,
    }  # fmt: skip


def assert_agree(comp, ref, tolerance):
    scale = max(1.0, np.abs(ref.coef).max())
    np.testing.assert_allclose(comp.coef, ref.coef, rtol=tolerance, atol=tolerance * scale)
    np.testing.assert_allclose(comp.intercept, ref.intercept, rtol=tolerance, atol=tolerance * scale)
    assert comp.t == ref.t
    if comp.average_coef is not None:
        np.testing.assert_allclose(comp.average_coef, ref.average_coef, rtol=tolerance, atol=tolerance * scale)
        np.testing.assert_allclose(
            comp.average_intercept, ref.average_intercept, rtol=tolerance, atol=tolerance * scale
        )


def compare(X, y, weights, tolerance=1e-9, n_passes=2, **settings):
    """Passes of both in the same random orders, the second of fewer rows."""
    comp = Descent(check_matrix(X), y, weights, **settings)
    ref = naive_linear.Descent(X, y, weights, **settings)
    rng = np.random.default_rng(2)
    for k in range(n_passes):
        order = rng.permutation(len(y))[k:]
        np.testing.assert_allclose(comp.run(order), ref.run(order), rtol=tolerance)
        assert comp.status == OK
        assert_agree(comp, ref, tolerance)
    return comp


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_schedule_and_penalty(loss, schedule, sparse):
    for penalty in PENALTIES:
        for average in (0, 1, 20):
            X, y, weights = problem(loss=loss, sparse=sparse)
            compare(X, y, weights, **settings_of(loss, penalty, schedule, average))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_float32(loss, penalty, sparse):
    X, y, weights = problem(n=300, loss=loss, sparse=sparse, dtype="float32")
    settings = settings_of(loss, penalty, "invscaling", average=5, dtype="float32")
    comp = compare(X, y, weights, tolerance=2e-4, **settings)
    assert comp.coef.dtype == comp.average_coef.dtype == np.float32


LAYOUTS = {
    "int16": lambda X: np.round(5 * X).astype("i2"),
    "uint8": lambda X: np.clip(10 * X, 0, 255).astype("u1"),
    "float16": lambda X: X.astype("f2"),
    "float32": lambda X: X.astype("f4"),
    "big-endian": lambda X: X.astype(">f8"),
    "Fortran": np.asfortranarray,
    "every second column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X: X[::-1, ::-1],
    "one row repeated": lambda X: np.broadcast_to(X[0], X.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_rows_of_any_dtype_and_strides(layout, dtype):
    X, y, weights = problem()
    X = LAYOUTS[layout](X)
    X.flags.writeable = False
    tolerance = 1e-9 if dtype == "float64" else 1e-3
    compare(X, y, weights, tolerance, **settings_of("log_loss", "l2", "constant", dtype=dtype))


@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("kind", ["int8", "float16", "float32", "float64", ">f4"])
def test_sparse_rows_of_any_dtype_and_indices(kind, index):
    X, y, weights = problem(sparse=True)
    X.data = np.round(4 * X.data).astype(kind)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    compare(X, y, weights, **settings_of("hinge", "elasticnet", "optimal", average=3))


@given(n=st.integers(1, 70), d=st.integers(1, 150), sparse=st.booleans(), dtype=st.sampled_from(["float32", "float64"]))
def test_sizes_that_are_multiples_of_nothing(n, d, sparse, dtype):
    X, y, weights = problem(n, d, seed=n + d, sparse=sparse, dtype=dtype)
    settings = settings_of("log_loss", "elasticnet", "constant", average=1, d=d, dtype=dtype)
    compare(X, y, weights, 1e-9 if dtype == "float64" else 1e-3, **settings)


@pytest.mark.parametrize("sparse", [False, True])
def test_passes_of_several_calls_and_rows_as_they_stand(sparse, monkeypatch):
    monkeypatch.setattr("fastprop.linear.BLOCK_ROWS", 7)
    X, y, weights = problem(sparse=sparse)
    comp = compare(X, y, weights, **settings_of("squared_hinge", "elasticnet", "invscaling", average=9))
    ref = naive_linear.Descent(X, y, weights, **settings_of("squared_hinge", "l2", "pa2"))
    comp = Descent(check_matrix(X), y, weights, **settings_of("squared_hinge", "l2", "pa2"))
    np.testing.assert_allclose(comp.run(), ref.run())
    assert_agree(comp, ref, 1e-9)


def test_scale_of_sparse_weights_that_gets_too_small():
    """Each update shrinks the weights to a tenth, some to nothing; what is left is still the reference's."""
    for alpha in (0.9, 1.0, 5.0):
        X, y, weights = problem(sparse=True)
        settings = settings_of("squared_error", "l2", "constant", average=4) | {"alpha": alpha, "eta0": 1.0}
        compare(0.1 * X, y, weights, 1e-7, **settings)


def test_a_row_without_entries_changes_the_intercept_only():
    X = scipy.sparse.csr_matrix((5, 3))
    comp = compare(X, np.ones(5), None, **settings_of("hinge", None, "constant", d=3))
    assert comp.intercept > 0.2
    np.testing.assert_array_equal(comp.coef, settings_of("hinge", None, "constant", d=3)["coef"])


def test_going_on_from_where_another_stopped():
    """Without l1, whose debts begin anew, two halves are the whole; average, t and rate go on."""
    for sparse in (False, True):
        X, y, weights = problem(sparse=sparse)
        settings = settings_of("log_loss", "l2", "optimal", average=10)
        whole, half = (Descent(check_matrix(X), y, weights, **settings) for _ in range(2))
        whole.run(np.arange(67))
        half.run(np.arange(30))
        state = ("coef", "intercept", "average_coef", "average_intercept", "t")
        settings |= {name: getattr(half, name) for name in state}
        rest = Descent(check_matrix(X), y, weights, **settings)
        rest.run(np.arange(30, 67))
        assert_agree(rest, whole, 1e-9)


def test_the_rate_may_be_set_between_passes():
    X, y, _ = problem(loss="squared_error")
    comp, ref = (cls(check_matrix(X), y, **settings_of("squared_error", "l2", "adaptive"))
                 for cls in (Descent, naive_linear.Descent))  # fmt: skip
    for _ in range(3):
        comp.eta /= 5
        ref.eta /= 5
        comp.run()
        ref.run()
        assert_agree(comp, ref, 1e-9)


def test_nothing_is_summed_unless_asked():
    X, y, _ = problem()
    comp, other = (Descent(check_matrix(X), y, **settings_of("log_loss", "l2", "optimal")) for _ in range(2))
    assert math.isnan(comp.run(tracks=False))
    assert math.isfinite(other.run())
    np.testing.assert_array_equal(comp.coef, other.coef)


def test_what_is_given_is_not_changed():
    X, y, weights = problem()
    settings = settings_of("log_loss", "l1", "optimal", average=1) | {"average_coef": np.zeros(37)}
    given = (X, y, weights, settings["coef"], settings["average_coef"])
    before = [array.copy() for array in given]
    Descent(check_matrix(X), y, weights, **settings).run()
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("column", [0, 36])
def test_numbers_that_are_not_finite_stop_the_pass(bad, sparse, column):
    X, y, _ = problem()
    X[40, column] = bad
    settings = settings_of("hinge", "l2", "constant") | {"coef": np.zeros(37)}
    comp = Descent(check_matrix(scipy.sparse.csr_matrix(X) if sparse else X), y, **settings)
    comp.run()
    assert comp.status == NON_FINITE
    assert comp.t == 41.0  # of the first 40 rows
    assert np.isfinite(comp.coef).all()


def test_a_model_that_is_not_finite_at_the_end_of_a_pass():
    X = np.full((1, 3), 1e300)
    comp = Descent(check_matrix(X), np.array([1e12]), **settings_of("squared_error", None, "constant", d=3)
                   | {"coef": np.zeros(3)})  # fmt: skip
    comp.run()
    assert comp.status == NON_FINITE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_the_average_is_the_mean_of_the_weights_after_each_update(penalty, sparse, dtype):
    X, y, _ = problem(n=300, loss="hinge", sparse=sparse)
    settings = settings_of("hinge", penalty, "constant", average=1, dtype=dtype) | {"eta0": 0.05, "alpha": 0.1}
    comp, weights, intercepts = Descent(check_matrix(X), y, **settings), [], []
    for i in range(300):
        comp.run(np.array([i]))
        weights.append(comp.coef)
        intercepts.append(comp.intercept)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(comp.average_coef, np.mean(weights, axis=0), atol=tolerance)
    assert comp.average_intercept == pytest.approx(np.mean(intercepts), abs=tolerance)


# ---- against scikit-learn -----------------------------------------------------------------------------------------


def descend_like(estimator, X, y, n_epochs, **more):
    """Our passes for an estimator of scikit-learn that was made with shuffle=False, tol=None."""
    p = estimator.get_params()
    loss, is_sparse = p["loss"], scipy.sparse.issparse(X)
    thresholds = {"perceptron": 0.0, "hinge": 1.0, "squared_hinge": 1.0}
    descent = Descent(
        check_matrix(X), y, dtype=X.dtype, loss="hinge" if loss == "perceptron" else loss,
        parameter=thresholds.get(loss, p["epsilon"]), penalty=p["penalty"], alpha=p["alpha"], l1_ratio=p["l1_ratio"],
        learning_rate=p["learning_rate"], eta0=p["eta0"], power_t=p["power_t"], average=int(p["average"]),
        intercept_decay=0.01 if is_sparse else 1.0, coef=np.zeros(X.shape[1]), intercept=0.0, **more,
    )  # fmt: skip
    for _ in range(n_epochs):
        descent.run()
    return descent


def assert_same_model(descent, fitted, tolerance=1e-6):  # large first steps magnify rounding
    averages = descent.average_coef is not None
    coef = descent.average_coef if averages else descent.coef
    intercept = descent.average_intercept if averages else descent.intercept
    np.testing.assert_allclose(coef, fitted.coef_.ravel(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(intercept, fitted.intercept_[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", [*CLASSIFIES, "perceptron"])
def test_scikit_learns_classifier(loss, penalty, sparse):
    X, y, _ = problem(n=120, loss=loss, sparse=sparse)
    for schedule, average in (("optimal", False), ("constant", 30), ("invscaling", False), ("adaptive", True)):
        average = average if penalty in (None, "l2") else False  # its averages with l1 are no means
        peer = SGDClassifier(loss=loss, penalty=penalty, alpha=0.01, learning_rate=schedule, eta0=0.05, average=average,
                             shuffle=False, tol=None, max_iter=4)  # fmt: skip
        assert_same_model(descend_like(peer, X, y, 4), peer.fit(X, y))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"])
def test_scikit_learns_regressor(loss, penalty, sparse):
    X, y, _ = problem(n=120, loss=loss, sparse=sparse)
    for schedule, average in (("invscaling", False), ("constant", True), ("adaptive", 30)):
        average = average if penalty in (None, "l2") else False  # its averages with l1 are no means
        peer = SGDRegressor(loss=loss, penalty=penalty, alpha=0.01, learning_rate=schedule, average=average,
                            shuffle=False, tol=None, max_iter=4)  # fmt: skip
        assert_same_model(descend_like(peer, X, y, 4), peer.fit(X, y))


@pytest.mark.parametrize("schedule", ["pa1", "pa2"])
def test_scikit_learns_passive_aggressive_steps(schedule):
    for cls, loss in ((SGDClassifier, "hinge"), (SGDRegressor, "epsilon_insensitive")):
        X, y, _ = problem(n=120, loss=loss)
        peer = cls(loss=loss, penalty=None, learning_rate=schedule, eta0=0.3, shuffle=False, tol=None, max_iter=4)
        assert_same_model(descend_like(peer, X, y, 4), peer.fit(X, y))


# ---- several threads ----------------------------------------------------------------------------------------------


def many_rows(loss="hinge", dtype="float64", n=3000, d=400):
    """Enough sparse rows for several chunks on each thread, and their targets."""
    rng = np.random.default_rng(0)
    X = scipy.sparse.random(n, d, density=0.05, format="csr", random_state=0).astype(dtype)
    scores = X @ rng.standard_normal(d)
    return X, np.where(scores > 0, 1.0, -1.0) if loss in CLASSIFIES else scores


@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_hogwild_learns_as_well_as_one_thread(loss, n_threads):
    X, y = many_rows(loss)
    settings = settings_of(loss, "l2", "optimal", d=400) | {"alpha": 1e-4, "class_weights": (1.0, 1.0)}
    one = Descent(check_matrix(X), y, **settings)
    several = Hogwild(check_matrix(X), y, n_threads=n_threads, **settings)
    rng, right, losses = np.random.default_rng(0), [], []
    for _ in range(15):
        order = rng.permutation(3000)
        losses.append([descent.run(order) for descent in (one, several)])
        right.append([np.mean(np.sign(X @ descent.coef + descent.intercept) == y) for descent in (one, several)])
    assert several.status == OK
    assert several.t == one.t
    accuracy, losses = (np.mean(passes[5:], axis=0) for passes in (right, losses))  # one pass scatters by some 0.01
    assert accuracy[1] > accuracy[0] - 0.02 > 0.85
    assert losses[1] < 1.5 * losses[0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_hogwild_on_one_thread_is_the_descent(schedule, dtype):
    """But for the last bit, where the compiler fuses other products and sums."""
    loss = "epsilon_insensitive" if schedule.startswith("pa") else "log_loss"
    X, y = many_rows(loss, dtype)
    settings = settings_of(loss, "l2", schedule, d=400, dtype=dtype) | {"alpha": 1e-3}
    matrix, weights = check_matrix(X), np.random.default_rng(1).random(3000)
    one, same = Descent(matrix, y, weights, **settings), Hogwild(matrix, y, weights, n_threads=1, **settings)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(3000)
        np.testing.assert_allclose(same.run(order), one.run(order), rtol=tolerance)
        assert_agree(same, one, tolerance)


def test_hogwild_on_threads_moves_every_weight_once():
    """Rows that have no column in common leave nothing to lose: all threads do what one does."""
    n = 4000
    X, y = scipy.sparse.eye_array(n, format="csr"), np.where(np.arange(n) % 3, 1.0, -1.0)
    settings = settings_of("squared_error", "l2", "invscaling", d=n) | {"intercept_decay": 0.0}
    one, several = Descent(check_matrix(X), y, **settings), Hogwild(check_matrix(X), y, n_threads=3, **settings)
    order = np.random.default_rng(0).permutation(n)
    np.testing.assert_allclose(several.run(order), one.run(order), rtol=0.01)
    np.testing.assert_allclose(several.coef, one.coef, rtol=1e-12)
    assert several.t == one.t


def test_hogwild_adds_up_changes_of_the_intercept():
    """Of the epsilon-insensitive loss far below the targets: each row adds its rate."""
    X = scipy.sparse.csr_array((4000, 5))
    settings = settings_of("epsilon_insensitive", None, "constant", d=5) | {"class_weights": (1.0, 1.0)}
    descent = Hogwild(check_matrix(X), np.full(4000, 1e6), n_threads=3, **settings)
    descent.run()
    np.testing.assert_allclose(descent.intercept, 0.2 + 4000 * 0.02 * 0.5)


def test_hogwild_leaves_weights_that_shrink_at_once_to_one_thread():
    X, y = many_rows()
    settings = settings_of("hinge", "l2", "constant", d=400) | {"alpha": 20.0}
    one, several = Descent(check_matrix(X), y, **settings), Hogwild(check_matrix(X), y, n_threads=2, **settings)
    np.testing.assert_allclose(several.run(), one.run())
    np.testing.assert_array_equal(several.coef, one.coef)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_hogwild_stops_at_numbers_that_are_not_finite(n_threads):
    X, y = many_rows(n=20000)
    X.data[X.indptr[2000]] = np.nan
    descent = Hogwild(check_matrix(X), y, n_threads=n_threads, **settings_of("log_loss", "l2", "constant", d=400))
    descent.run()
    assert descent.status == NON_FINITE
    assert descent.t < 20000  # nobody went on to the end


@pytest.mark.parametrize("refused", [{"average": 1}, {"penalty": "l1"}])
def test_what_hogwild_cannot_do(refused):
    X, y, _ = problem(sparse=True)
    settings = settings_of("log_loss", "l2", "constant") | refused
    with pytest.raises(ValueError, match="without average"):
        Hogwild(check_matrix(X), y, n_threads=2, **settings)
    with pytest.raises(ValueError, match="sparse rows only"):
        Hogwild(check_matrix(X.toarray()), y, n_threads=2, **settings)
