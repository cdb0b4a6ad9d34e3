"""Bad input: an error that names the argument, what came and what was expected; the network is as before the call."""

import contextlib
import itertools
import re

import numpy as np
import pytest
from names import built_in

import fastprop as fp
from fastprop.errors import MissingClassError
from fastprop.kernels.activations import ACTIVATIONS
from fastprop.kernels.losses import LOSSES
from fastprop.kernels.optimizers import RULES

pytestmark = pytest.mark.quick
NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
LABELS = np.arange(60) % 2
NUMBERS = X[:, 0] - X[:, 1]
WORDS = np.array(["no", "yes"])[LABELS]


class Frame:
    """What is common to pandas and polars."""

    def __init__(self, columns, values):
        self.columns, self.values = list(columns), np.asarray(values)

    def to_numpy(self):
        return self.values


def put(array, value, row=7, column=1):
    array = np.array(array, dtype=float)
    array[(row, column)[: array.ndim]] = value
    return array


def classifier():
    return fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(2)], loss="cross_entropy", optimizer=fp.Adam(0.01))


def regressor():
    return fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(1)], loss="mse", optimizer=fp.Adam(0.01))


NETWORKS = {"classes": (classifier, WORDS), "numbers": (regressor, NUMBERS)}


def state_of(net):
    """Everything that a refused call must leave alone."""
    arrays = net._parameters if net.is_built else None
    return {
        "rows": None if arrays is None else arrays.rows.copy(),
        "statistics": None if arrays is None else arrays.statistics.copy(),
        "count": None if arrays is None else arrays.count,
        "epochs_done": net.epochs_done,
        "classes": None if net.classes_ is None else net.classes_.tolist(),
        "one_dimensional": net._one_dimensional,
        "names": getattr(net, "feature_names_in_", None),
        "history": getattr(net, "history_", None),
    }


def assert_same(before, after):
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


def refused(call, error, *words):
    """`call` raises exactly this kind of error, with all words in its message, which is one for people."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) in (ValueError, TypeError, fp.FileError, MissingClassError), type(caught.value)
    message = str(caught.value)
    for word in words:
        assert re.search(word, message), f"{word!r} is not in {message!r}"
    assert len(without_others(message)) < 400


def without_others(message):
    """A message whose list of known names has the package's own only: other tests may have registered more."""
    for registry in (ACTIVATIONS, LOSSES, RULES):
        for name in set(registry) - set(built_in(registry)):
            message = message.replace(f", {name}", "")
    return message


@pytest.fixture(scope="module")
def trained():
    """A trained network of each kind."""
    made = {}
    for kind, (make, y) in NETWORKS.items():
        made[kind] = make()
        made[kind].fit(X, y, epochs=2, batch_size=20, progress=False)
    return made


# ---- X, y and the arguments of fit, partial_fit, predict, evaluate, gradients ---------------------------------------

# What is wrong: (X or None, y or None, options), the error, words of the message.
DATA = {
    "NaN in X": ((put(X, NAN), None, {}), ValueError, "X must be finite", "nan", "row 7", "column 1"),
    "infinity in X": ((put(X, -INF), None, {}), ValueError, "X must be finite", "-inf", "row 7"),
    "beyond float32": ((put(X, 1e300), None, {}), ValueError, "finite in float32", r"1e\+300", "row 7"),
    "NaN in an edge of X": ((put(X, NAN, 59, 2), None, {}), ValueError, "row 59, column 2"),
    "another number of features": ((X[:, :2], None, {}), ValueError, "X has 2 features, expected 3"),
    "X of one dimension": ((X[:, 0], None, {}), ValueError, "X must be 2-D"),
    "X of three": ((X[None], None, {}), ValueError, "X must be 2-D"),
    "empty X": ((X[:0], LABELS[:0], {}), ValueError, "X is empty"),
    "X without columns": ((X[:, :0], None, {}), ValueError, "X has 0 columns"),
    "objects in X": ((X.astype(object), None, {}), TypeError, "X must hold real numbers", "object"),
    "complex X": ((X.astype(complex), None, {}), TypeError, "X must hold real numbers", "complex"),
    "ragged X": (([[1, 2, 3], [1, 2]], [0, 1], {}), ValueError, "X cannot be read"),
    "no X": ((None, None, {"X": None}), TypeError, "X must be a 2-D array", "NoneType"),
}
TARGETS = {
    "fewer y than X": ("both", -1, ValueError, "y has 59 rows but X has 60"),
    "empty y": ("both", 0, ValueError, "y must be 1-D or 2-D and not empty"),
    "NaN in y": ("numbers", put(NUMBERS, NAN), ValueError, "y must be finite", "nan", "row 7"),
    "infinity in y": ("numbers", put(NUMBERS, INF), ValueError, "y must be finite", "inf", "row 7"),
    "beyond float32 in y": (
        "numbers",
        put(NUMBERS, 1e39),
        ValueError,
        "y must be finite in float32",
        r"1e\+39",
        "row 7",
    ),
    "too wide y": ("numbers", X, ValueError, r"y must have shape \(n_samples, 1\), got \(60, 3\)"),
    "strings for numbers": ("numbers", WORDS, TypeError, "y must hold real numbers"),
    "NaN in labels": ("classes", put(LABELS, NAN), ValueError, "y must be finite", "nan", "row 7"),
    "labels never seen": ("classes", np.where(np.arange(60) == 5, "maybe", WORDS), ValueError, "never seen", "'maybe'"),
    "labels of another type": ("classes", LABELS + 7, ValueError, "never seen", "7"),
    "one-hot of the wrong width": ("classes", np.eye(3)[LABELS], ValueError, r"\(n_samples, 2\), got \(60, 3\)"),
    "rows that do not sum to 1": ("classes", np.eye(2)[LABELS] * 2, ValueError, "must sum to 1", "row 0"),
    "a negative probability": ("classes", put(np.eye(2)[LABELS], -0.5), ValueError, ">= 0"),
    "NaN in soft targets": ("classes", put(np.eye(2)[LABELS], NAN), ValueError, "y must be finite"),
}
CALLS = {
    "fit": lambda net, X, y: net.fit(X, y, epochs=2, batch_size=20, progress=False),
    "fit, full batch": lambda net, X, y: net.fit(X, y, epochs=2, batch_size=None, progress=False),
    "partial_fit": lambda net, X, y: net.partial_fit(X, y),
    "partial_fit in batches": lambda net, X, y: net.partial_fit(X, y, batch_size=5),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
    "gradients": lambda net, X, y: net.gradients(X, y),
    "predict": lambda net, X, y: net.predict(X),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("what", DATA)
def test_bad_x(trained, what, call):
    (x, y, replaced), error, *words = DATA[what]
    net = trained["classes"]
    before = state_of(net)
    x = None if "X" in replaced else x
    refused(lambda: CALLS[call](net, x, WORDS if y is None else y), error, *words)
    assert_same(before, state_of(net))


@pytest.mark.parametrize("call", [c for c in CALLS if c != "predict"])
@pytest.mark.parametrize("what", TARGETS)
def test_bad_y(trained, what, call):
    kinds, wrong, error, *words = TARGETS[what]
    for kind in NETWORKS if kinds == "both" else (kinds,):
        net = trained[kind]
        y = NETWORKS[kind][1][:wrong] if kinds == "both" else wrong
        before = state_of(net)
        refused(lambda net=net, y=y: CALLS[call](net, X, y), error, *words)
        assert_same(before, state_of(net))


@pytest.mark.parametrize("what", ["NaN in X", "X of one dimension", "empty X", "complex X"])
def test_a_first_fit_that_is_refused_builds_nothing(what):
    (x, y, _), error, *words = DATA[what]
    net = classifier()
    before = state_of(net)
    refused(lambda: net.fit(x, LABELS if y is None else y, batch_size=20, progress=False), error, *words)
    assert_same(before, state_of(net))
    assert not net.is_built
    net.fit(X[:, :2], LABELS, epochs=1, batch_size=20, progress=False)  # other data fit


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.arange(60) % 3 + 5, ("3 distinct labels", "2 classes")),
        (np.zeros(60) + 5, ("1 distinct labels",)),
        (LABELS + 0.5, ("whole numbers", "row 0")),
    ],
)
def test_a_first_fit_with_other_labels(y, words):
    net = classifier()
    refused(lambda: net.fit(X, y, progress=False), ValueError, *words)
    assert not net.is_built


def test_labels_of_a_refused_first_fit_are_forgotten():
    net = classifier().build(3)
    weights = put(np.ones(60), -1.0)
    refused(lambda: net.fit(X, LABELS + 3, sample_weight=weights, progress=False), ValueError, "sample_weight", "row 7")
    assert net.classes_ is None
    net.fit(X, WORDS, epochs=1, batch_size=20, progress=False)
    assert net.classes_.tolist() == ["no", "yes"]


ARGUMENTS = {
    "epochs": ([0, -1], [1.5, "3", None, True]),
    "batch_size": ([0, -3], [2.5, "all", NAN, True]),
    "accumulate": ([0, -1], [1.5, None]),
    "n_threads": ([0, -1], [1.5, "two"]),
    "shuffle": ([], [1, "yes", None]),
    "progress": (["sometimes", 2], []),
    "validation_fraction": ([-0.1, 1.0, 1.5, NAN, INF], ["half", None]),
    "early_stopping": ([0, -1], [1.5, "soon", True]),
    "callbacks": ([], [print, [3], object()]),
    "sample_weight": (
        [
            np.ones(3),
            np.ones((60, 2)),
            put(np.ones(60), NAN),
            put(np.ones(60), -1.0),
            put(np.ones(60), INF),
            np.zeros(60),
        ],
        [WORDS],
    ),
    "class_weight": ([{"maybe": 1.0}, {"no": -1.0}, {"no": NAN}], ["equal", 3.0]),
}
CASES = [
    (n, v, e)
    for n, kinds in ARGUMENTS.items()
    for e, values in zip((ValueError, TypeError), kinds, strict=True)
    for v in values
]


@pytest.mark.parametrize(("name", "value", "error"), CASES, ids=[f"{n}-{k}" for k, (n, _, _) in enumerate(CASES)])
def test_bad_arguments_of_fit(trained, name, value, error):
    net = trained["classes"]
    before = state_of(net)
    expected = (ValueError, TypeError) if isinstance(value, str) else error
    with pytest.raises(expected) as caught:
        net.fit(X, WORDS, **{"epochs": 1, "batch_size": 20, "progress": False, name: value})
    assert name in str(caught.value) or name.rstrip("s") in str(caught.value)
    assert_same(before, state_of(net))


VALIDATION = {
    "two sources": ({"X_val": X, "y_val": WORDS, "validation_fraction": 0.2}, "X_val", "validation_fraction"),
    "no y_val": ({"X_val": X}, "X_val and y_val"),
    "no X_val": ({"y_val": WORDS}, "X_val and y_val"),
    "features": ({"X_val": X[:, :2], "y_val": WORDS}, "X_val has 2 features, expected 3"),
    "rows": ({"X_val": X[:5], "y_val": WORDS[:4]}, "y_val has 4 rows"),
    "labels": ({"X_val": X[:2], "y_val": ["no", "maybe"]}, "y_val", "'maybe'"),
    "NaN in X_val": ({"X_val": put(X, NAN), "y_val": WORDS}, "X_val must be finite", "row 7"),
    "beyond float32 in X_val": ({"X_val": put(X, 1e300), "y_val": WORDS}, "X_val must be finite", "row 7"),
    "NaN in y_val": ({"X_val": X, "y_val": put(LABELS, NAN)}, "y_val must be finite", "row 7"),
    "NaN in rows that may be held out": ({"X": put(X, NAN), "validation_fraction": 0.5}, "X must be finite", "row 7"),
    "too small a fraction": ({"validation_fraction": 1e-6}, "validation_fraction", "no rows"),
    "stopping by what is not there": ({"early_stopping": 3}, "early_stopping", "'val_loss'", "X_val"),
    "stopping by another score": (
        {"early_stopping": fp.EarlyStopping(monitor="val_r2"), "validation_fraction": 0.2},
        "early_stopping",
        "'val_r2'",
        "val_accuracy",
    ),
}


@pytest.mark.parametrize("what", VALIDATION)
def test_validation_options_that_conflict(trained, what):
    options, *words = VALIDATION[what]
    net = trained["classes"]
    before = state_of(net)
    options = {"X": X, **options}
    refused(lambda: net.fit(y=WORDS, epochs=1, batch_size=20, progress=False, **options), ValueError, *words)
    assert_same(before, state_of(net))


def test_numbers_beyond_float32_to_validate_with(trained):
    net = trained["numbers"]
    before = state_of(net)
    y_val = put(NUMBERS, 1e39)
    call = lambda: net.fit(X, NUMBERS, X_val=X, y_val=y_val, progress=False)  # noqa: E731
    refused(call, ValueError, "y_val must be finite in float32", r"1e\+39", "row 7")
    assert_same(before, state_of(net))


def test_classes_of_partial_fit(trained):
    refused(lambda: classifier().partial_fit(X, WORDS), ValueError, "classes=", "'no', 'yes'")
    refused(lambda: classifier().partial_fit(X, WORDS, classes=["no"]), ValueError, "classes must have 2")
    refused(lambda: classifier().partial_fit(X, WORDS, classes=["no", "maybe"]), ValueError, "never seen", "'yes'")
    refused(lambda: regressor().partial_fit(X, NUMBERS, classes=[0, 1]), ValueError, "classes must be None")
    net = trained["classes"]
    refused(
        lambda: net.partial_fit(X, WORDS, classes=["a", "b"]), ValueError, "classes must be those of the first call"
    )


# ---- layers, losses, optimizers, networks ---------------------------------------------------------------------------

POSITIVE = [0, -1, -0.5, NAN, INF, "many", None, True]
BUILDERS = {
    **{f"units={v!r}": (lambda v=v: fp.Dense(v), "units") for v in [*POSITIVE, 2.5]},
    **{f"rate={v!r}": (lambda v=v: fp.Dropout(v), "rate") for v in [-0.1, 1.0, 2, NAN, "half", None, True]},
    **{f"eps={v!r}": (lambda v=v: fp.LayerNorm(eps=v), "eps") for v in POSITIVE},
    **{f"momentum={v!r}": (lambda v=v: fp.BatchNorm(momentum=v), "momentum") for v in [-1, 1.5, NAN, "a"]},
    **{f"lr={v!r}": (lambda v=v: fp.Adam(lr=v), "lr") for v in [-1, NAN, INF, "small", None, True]},
    **{f"sgd momentum={v!r}": (lambda v=v: fp.SGD(0.1, momentum=v), "momentum") for v in [-0.1, 1, NAN, "a"]},
    **{f"weight_decay={v!r}": (lambda v=v: fp.AdamW(weight_decay=v), "weight_decay") for v in [-1, NAN, INF, None]},
    **{
        f"betas={v!r}": (lambda v=v: fp.Adam(betas=v), "betas")
        for v in [0.9, (0.9,), (1.0, 0.9), (-0.1, 0.9), (NAN, 0)]
    },
    "nesterov alone": (lambda: fp.SGD(0.1, nesterov=True), "nesterov", "momentum"),
    **{f"delta={v!r}": (lambda v=v: fp.losses.Huber(delta=v), "delta") for v in [0, -1, NAN, INF, "a", None]},
    **{f"q={v!r}": (lambda v=v: fp.losses.Quantile(q=v), "q") for v in [0, 1, -0.5, NAN, "a"]},
    **{
        f"label_smoothing={v!r}": (lambda v=v: fp.losses.CrossEntropy(label_smoothing=v), "label_smoothing")
        for v in [-0.1, 1.0, NAN, "a"]
    },
    **{
        f"output_weights={v!r}": (lambda v=v: fp.losses.MSE(output_weights=v), "output_weights")
        for v in [[], [-1.0], [NAN], [0.0, 0.0], [[1.0]], "ab"]
    },
    **{f"steps={v!r}": (lambda v=v: fp.schedules.Cosine(0.1, v), "steps") for v in POSITIVE},
    **{f"patience={v!r}": (lambda v=v: fp.EarlyStopping(v), "patience") for v in POSITIVE},
    **{f"min_delta={v!r}": (lambda v=v: fp.EarlyStopping(min_delta=v), "min_delta") for v in [-1, NAN, "a"]},
    **{f"std={v!r}": (lambda v=v: fp.init.Normal(v), "std") for v in [-1, NAN, "a"]},
    "a layer's class": (lambda: fp.Network([fp.Dense]), r"layers\[0\]", "instance"),
    "no layer": (lambda: fp.Network([]), "layers", "at least one"),
    "not a list": (lambda: fp.Network(fp.Dense(1)), "layers must be a list"),
    "a number as layer": (lambda: fp.Network([10]), r"layers\[0\] must be a layer", "10"),
    "activation 'rleu'": (lambda: fp.Dense(3, activation="rleu"), "unknown activation 'rleu'", "mean 'relu'"),
    "activation 3": (lambda: fp.Dense(3, activation=3), "activation must be a name", "3"),
    "init 'he_norml'": (lambda: fp.Dense(3, init="he_norml"), "init 'he_norml'", "mean 'he_normal'"),
    "NaN in init": (lambda: fp.Dense(3, init=[[NAN] * 3]), "init must be finite"),
    "NaN in bias_init": (lambda: fp.Dense(3, bias_init=[NAN] * 3), "bias_init must be finite"),
    "bias=1": (lambda: fp.Dense(3, bias=1), "bias must be True or False"),
    "loss 'mes'": (lambda: fp.Network([fp.Dense(1)], loss="mes"), "unknown loss 'mes'", "mean 'mse'"),
    "loss 3": (lambda: fp.Network([fp.Dense(1)], loss=3), "loss must be a name"),
    "optimizer 'adma'": (lambda: fp.Network([fp.Dense(1)], optimizer="adma"), "'adma'", "mean 'adam'"),
    "optimizer 3": (lambda: fp.Network([fp.Dense(1)], optimizer=3), "optimizer must be a name"),
    "dtype 'float16'": (lambda: fp.Network([fp.Dense(1)], dtype="float16"), "dtype 'float16'", "float32"),
    "dtype int": (lambda: fp.Network([fp.Dense(1)], dtype=int), "dtype 'int64'", "float32"),
    "monitor 'val_los'": (lambda: fp.EarlyStopping(monitor="val_los"), "monitor 'val_los'", "mean 'val_loss'"),
    **{f"l1={v!r}": (lambda v=v: fp.Network([fp.Dense(1)], l1=v), "l1") for v in [-1, NAN, INF, "a", None]},
    **{f"l2={v!r}": (lambda v=v: fp.Network([fp.Dense(1)], l2=v), "l2") for v in [-1, NAN, INF, "a", None]},
    **{
        f"clip_norm={v!r}": (lambda v=v: fp.Network([fp.Dense(1)], clip_norm=v), "clip_norm")
        for v in [0, -1, NAN, INF, "a"]
    },
    **{
        f"clip_value={v!r}": (lambda v=v: fp.Network([fp.Dense(1)], clip_value=v), "clip_value")
        for v in [0, -1, NAN, "a"]
    },
    **{
        f"seed={v!r}": (lambda v=v: fp.Network([fp.Dense(1)], seed=v), "seed")
        for v in [-1, 2**63, 1.5, "a", None, True]
    },
    **{f"n_features={v!r}": (lambda v=v: regressor().build(v), "n_features") for v in [*POSITIVE, 2.5]},
    "n_outputs": (lambda: regressor().build(3, 2), "n_outputs is 2", "gives 1"),
    "init of another shape": (
        lambda: fp.Network([fp.Dense(3, init=np.ones((2, 3)))]).build(4),
        r"\(4, 3\), got \(2, 3\)",
    ),
    "an unequal Residual": (
        lambda: fp.Network([fp.Dense(4), fp.Residual([fp.Dense(3)]), fp.Dense(1)]).build(2),
        "Residual",
        "give 3",
        "has 4",
    ),
    "an empty Residual": (lambda: fp.Residual([]), "Residual", "at least one"),
    "softmax inside": (
        lambda: fp.Network([fp.Dense(4, activation="softmax"), fp.Dense(2)], loss="cross_entropy"),
        "softmax",
        "last layer",
    ),
    "softmax under mse": (lambda: fp.Network([fp.Dense(4, activation="softmax")]), "softmax", "cross_entropy", "'mse'"),
    "sigmoid under cross_entropy": (
        lambda: fp.Network([fp.Dense(2, activation="sigmoid")], loss="cross_entropy"),
        "cross_entropy",
        "sigmoid",
        "bce",
    ),
    "one output under cross_entropy": (
        lambda: fp.Network([fp.Dense(1)], loss="cross_entropy").build(3),
        "cross_entropy",
        "has 1",
        "bce",
    ),
    "output weights of another width": (
        lambda: fp.Network([fp.Dense(2)], loss=fp.losses.MSE(output_weights=[1, 1, 1])).build(3),
        "output_weights",
        "2",
    ),
}


@pytest.mark.parametrize("what", BUILDERS)
def test_bad_descriptions(what):
    call, *words = BUILDERS[what]
    refused(call, (ValueError, TypeError), *words)


def test_a_residual_that_data_do_not_fit():
    net = fp.Network([fp.Residual([fp.Dense(4)]), fp.Dense(1)])
    refused(lambda: net.fit(X, NUMBERS, progress=False), ValueError, r"layers\[0\]", "give 4", "has 3")
    assert not net.is_built


@pytest.mark.parametrize("call", [c for c in CALLS if "fit" not in c])
def test_using_a_network_before_training(call):
    net = classifier()
    refused(lambda: CALLS[call](net, X, LABELS), ValueError, "no weights yet", "call fit")
    for use in (net.get_weights, net.state_dict, net.summary, lambda: net.predict_proba(X), lambda: net.save("never")):
        refused(use, ValueError, "no weights yet")
    assert not net.is_built


def test_predict_proba_needs_probabilities(trained):
    refused(lambda: trained["numbers"].predict_proba(X), ValueError, "predict_proba", "mse")


def test_one_sample_a_batch_has_no_variance():
    net = fp.Network([fp.BatchNorm(), fp.Dense(2)], loss="cross_entropy", optimizer=fp.Adam(0.01))
    refused(
        lambda: net.fit(X, LABELS, batch_size=1, progress=False), ValueError, "batch_size", "at least 2", "BatchNorm"
    )
    refused(lambda: net.partial_fit(X[:1], LABELS[:1]), ValueError, "BatchNorm")
    assert not net.is_built


@pytest.mark.parametrize("rate", [NAN, INF, -0.1])
def test_rates_of_a_schedule(trained, rate):
    net = trained["classes"]
    before, lr = state_of(net), net.optimizer.lr
    try:
        net.optimizer.lr = lambda update: rate
        refused(
            lambda: net.fit(X, WORDS, progress=False), ValueError, r"learning rate of update \d+", "finite and >= 0"
        )
    finally:
        net.optimizer.lr = lr
    assert_same(before, state_of(net))


def test_weights_that_do_not_fit(trained):
    net = trained["classes"]
    (W, b), last = net.get_weights()
    before = state_of(net)
    for weights, error, *words in (
        ([(W, b)], ValueError, "2 pairs", "got 1"),
        ([], ValueError, "at least one pair"),
        ([(W.T, b), last], ValueError, r"weights\[0\]", r"\(3, 4\)", r"\(4, 3\)"),
        ([(W, None), last], ValueError, r"weights\[0\]", "None"),
        ([(put(W, NAN, 1), b), last], ValueError, r"weights\[0\] must be finite"),
        ([W, last], TypeError, "pairs"),
        ("weights", TypeError, "pairs"),
        ([(W, "b"), last], (ValueError, TypeError), r"weights\[0\]"),
        ([(None, b), last], ValueError, r"weights\[0\]"),
        ([(np.float64(3), b), last], ValueError, r"weights\[0\]"),
    ):
        refused(lambda weights=weights: net.set_weights(weights), error, *words)
        assert_same(before, state_of(net))
    for weights in ([(np.float64(3), b), last], [(W[0], b), last], [(W, b)]):  # on a network that it would build
        fresh = classifier()
        refused(lambda weights=weights, fresh=fresh: fresh.set_weights(weights), ValueError, "weights")
        assert not fresh.is_built


# ---- data frames and sparse matrices --------------------------------------------------------------------------------


def test_columns_in_another_order():
    net = classifier()
    net.fit(Frame("abc", X), LABELS, epochs=1, batch_size=20, progress=False)
    assert net.feature_names_in_.tolist() == ["a", "b", "c"]
    before = state_of(net)
    for call in CALLS.values():
        refused(lambda call=call: call(net, Frame("cab", X), LABELS), ValueError, "X has the columns", "another order")
        refused(lambda call=call: call(net, Frame("abd", X), LABELS), ValueError, "lacks 'c'", "adds 'd'")
        refused(lambda call=call: call(net, Frame("ab", X[:, :2]), LABELS), ValueError, "lacks 'c'")
    assert_same(before, state_of(net))
    np.testing.assert_array_equal(net.predict(Frame("abc", X)), net.predict(X))
    bad = Frame("abc", put(X, NAN))
    refused(lambda: net.fit(bad, LABELS, progress=False), ValueError, "column 'b'", "row 7")


@pytest.mark.parametrize("name", ["csc", "coo", "lil", "dok", "bsr", "dia"])
def test_sparse_formats(trained, name):
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.csr_matrix(X).asformat(name)
    for call in CALLS.values():
        refused(
            lambda call=call: call(trained["classes"], x, WORDS), TypeError, f"{name.upper()} format", r"X.tocsr\(\)"
        )
    refused(lambda: trained["numbers"].fit(X, x, progress=False), TypeError, "y must be dense", "toarray")


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("call", CALLS)
def test_csr(trained, call, value):
    sparse = pytest.importorskip("scipy.sparse")
    net = trained["classes"]
    before = state_of(net)
    refused(lambda: CALLS[call](net, sparse.csr_matrix(put(X, value)), WORDS), ValueError, "X must be finite", "row 7")
    wrong = sparse.csr_matrix(X)
    wrong.indices[4] = 3
    refused(lambda: CALLS[call](net, wrong, WORDS), ValueError, "X is not valid CSR", "indices")
    assert_same(before, state_of(net))
    normed = fp.Network([fp.BatchNorm(), fp.Dense(2)], loss="cross_entropy")
    refused(
        lambda: normed.fit(sparse.csr_matrix(X), LABELS, progress=False),
        TypeError,
        "sparse",
        "first layer",
        "BatchNorm",
    )


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "m.safetensors"
    trained["classes"].save(path)
    return path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x03.", b"PK\x03\x04" + bytes(40), b"x" * 100])
def test_foreign_files(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    refused(lambda: fp.load(path), fp.FileError, "foreign: ")
    with pytest.raises(FileNotFoundError):
        fp.load(tmp_path / "missing")


def test_a_file_of_another_program(tmp_path):
    from safetensors.numpy import save_file

    save_file({"W": np.ones((2, 2), np.float32)}, tmp_path / "other")
    refused(lambda: fp.load(tmp_path / "other"), fp.FileError, "not written by fastprop")


def test_truncated_files(tmp_path, model_file):
    for n in {*range(0, len(model_file), 97), len(model_file) - 1}:
        (tmp_path / "cut").write_bytes(model_file[:n])
        refused(lambda: fp.load(tmp_path / "cut"), fp.FileError, "cut: ")


def edit_description(content, edit):
    """The file with its description changed by `edit`."""
    import json

    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    description = json.loads(header["__metadata__"]["fastprop"])
    edit(description)
    header["__metadata__"]["fastprop"] = json.dumps(description)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + n :]


KEYS = ("layers", "loss", "optimizer", "l1", "seed", "dtype", "n_features", "classes", "one_dimensional", "extra")
WRONG = (None, [], {}, "nonsense", -1, 1e9, [None], [{}], {"name": []}, NAN)


@pytest.mark.parametrize("key", KEYS)
def test_damaged_descriptions(tmp_path, model_file, key):
    """Whatever stands there: the file is refused, or the network works."""
    path = tmp_path / "damaged"
    path.write_bytes(edit_description(model_file, lambda d: d.pop(key)))
    refused(lambda: fp.load(path), fp.FileError, "damaged")
    for wrong in WRONG:
        path.write_bytes(edit_description(model_file, lambda d, wrong=wrong: d.update({key: wrong})))
        with contextlib.suppress(fp.FileError):
            fp.load(path).predict(X)


def test_descriptions_that_do_not_fit_the_arrays(tmp_path, model_file):
    path = tmp_path / "odd"
    for edit, *words in (
        (lambda d: d["layers"][0].update(units=5), r"shape \(3, 5\), got \(3, 4\)"),
        (lambda d: d["layers"].pop(), "missing or unknown"),
        (lambda d: d.update(n_features=4), "shape"),
        (lambda d: d["layers"][0].update(units=-1), "units"),
        (lambda d: d["layers"][0].update(units=10**12), "odd: "),
        (lambda d: d.update(n_features=10**12), "odd: "),
        (lambda d: d["layers"][0].update(layer="convolution"), "unknown layer 'convolution'"),
        (lambda d: d["layers"][0]["activation"].update(name="tnah"), "'tnah'", "tanh"),
        (lambda d: d["classes"]["values"].append("more"), "odd: "),
    ):
        path.write_bytes(edit_description(model_file, edit))
        refused(lambda: fp.load(path), ValueError, *words)


def test_arrays_that_are_not_finite(tmp_path, model_file):
    path = tmp_path / "nan"
    path.write_bytes(model_file[:-4] + np.float32(NAN).tobytes())
    refused(lambda: fp.load(path), fp.FileError, "not finite")


def test_every_table_is_used():
    assert len(CASES) > 40
    assert len(BUILDERS) > 100
    assert len(set(itertools.chain(DATA, TARGETS, VALIDATION))) == len(DATA) + len(TARGETS) + len(VALIDATION)
