"""Labels, soft targets, numbers and weights: how y becomes what kernels read, and predictions what users gave."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastprop.labels import classes_from_description, describe_classes
from fastprop.losses import BCE, MAE, MSE, CrossEntropy, Hinge, ModifiedHuber, Poisson, SquaredHinge, loss
from fastprop.targets import combine_weights, decode, is_multilabel, prepare_targets, probabilities

pytestmark = pytest.mark.quick


@loss
class OneAgainstAll:
    """A user's loss for classes: squares on every output."""

    task = "classes"

    def value(self, y, p):
        return (p - y) * (p - y)

    def gradient(self, y, p):
        return 2.0 * (p - y)


def prepare(y, loss, n_outputs=None, **more):
    return prepare_targets(y, loss, len(y), n_outputs, **more)


def raw_of(targets):
    """Raw outputs of a network that is right about every label."""
    codes = targets.codes
    if targets.n_outputs == 1:
        return np.where(codes == 1, 2.0, -2.0)[:, None]
    return np.where(codes[:, None] == np.arange(targets.n_outputs), 3.0, -1.0)


# ---- labels -------------------------------------------------------------------------------------------------------

NAMES = np.array(["ada", "bob", "cy"])


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs", "classes", "codes"),
    [
        ([0, 2, 1], CrossEntropy(), 3, [0, 1, 2], [0, 2, 1]),
        ([0, 0, 1], CrossEntropy(), 4, [0, 1, 2, 3], [0, 0, 1]),
        ([1, 1], BCE(), 1, [0, 1], [1, 1]),
        ([5, -1, 5], BCE(), 1, [-1, 5], [1, 0, 1]),
        ([1, 2, 3], CrossEntropy(), 3, [1, 2, 3], [0, 1, 2]),
        ([1.0, 0.0], BCE(), 1, [0.0, 1.0], [1, 0]),
        ([-1.0, 1.0], Hinge(), 1, [-1.0, 1.0], [0, 1]),
        ([2.0, 0.0, 1.0], CrossEntropy(), 3, [0.0, 1.0, 2.0], [2, 0, 1]),
        ([True, False], BCE(), 1, [False, True], [1, 0]),
        ([True, True], SquaredHinge(), 1, [False, True], [1, 1]),
        ([True, False], CrossEntropy(), 2, [False, True], [1, 0]),
        (NAMES[[2, 0, 1]], CrossEntropy(), 3, NAMES, [2, 0, 1]),
        (NAMES[[2, 0, 1]].astype(object), Hinge(), 3, NAMES.astype(object), [2, 0, 1]),
        (np.array([1, 0], object), BCE(), 1, [0, 1], [1, 0]),
        (np.array(["2020-01-02", "2020-01-01"], "M8[D]"), BCE(), 1, None, [1, 0]),
        ([[0], [1], [0]], BCE(), 1, [0, 1], [0, 1, 0]),
        ([[0], [2]], CrossEntropy(), 3, [0, 1, 2], [0, 2]),
        ([0, 2, 1], OneAgainstAll(), 3, [0, 1, 2], [0, 2, 1]),
        ([0, 1], Hinge(), 2, [0, 1], [0, 1]),
        (np.eye(3, dtype=int)[[1, 2, 0]], Hinge(), 3, [0, 1, 2], [1, 2, 0]),
    ],
)
def test_labels(y, loss, n_outputs, classes, codes):
    targets = prepare(y, loss, n_outputs)
    assert targets.labels
    assert targets.one_dimensional
    assert targets.n_outputs == n_outputs
    assert (targets.matrix.n_rows, targets.matrix.n_columns) == (len(y), 1)
    np.testing.assert_array_equal(targets.codes, codes)
    if classes is not None:
        np.testing.assert_array_equal(targets.classes_, classes, strict=isinstance(classes, np.ndarray))
    predicted = decode(raw_of(targets), loss, targets.classes_)
    np.testing.assert_array_equal(predicted, targets.classes_[codes], strict=True)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float32", "float16", ">i4", "uint64"])
@pytest.mark.parametrize("stride", [1, 2])
def test_labels_that_are_codes_are_not_copied(dtype, stride):
    y = np.array([0, 1, 2, 1, 0, 2]).astype(dtype)[::stride]
    y.flags.writeable = False
    targets = prepare(y, CrossEntropy(), 3)
    assert np.shares_memory(targets.matrix.array, y)
    again = prepare(y, CrossEntropy(), 3, classes=targets.classes_)
    assert np.shares_memory(again.matrix.array, y)


@given(
    labels=st.one_of(
        st.lists(st.text("ab0 é", max_size=3), min_size=2, max_size=6, unique=True),
        st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=6, unique=True),
    ),
    data=st.data(),
)
def test_any_labels_come_back(labels, data):
    rest = data.draw(st.lists(st.sampled_from(labels), max_size=10))
    y = np.array(labels + rest)
    if len(np.unique(y)) < len(labels):
        return  # NumPy's strings drop trailing zeros
    targets = prepare(y, CrossEntropy(), len(labels))
    known = prepare(y[::-1], CrossEntropy(), len(labels), classes=targets.classes_)
    np.testing.assert_array_equal(decode(raw_of(targets), CrossEntropy(), targets.classes_), y)
    np.testing.assert_array_equal(decode(raw_of(known), CrossEntropy(), known.classes_), y[::-1])


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs"),
    [
        (["a", "b", "a"], BCE(), 1),
        (["a", "b", "a"], CrossEntropy(), 2),
        ([0, 4, 7], CrossEntropy(), 3),
        ([0, 4, 7], Hinge(), 3),
        ([0.0, 0.5], BCE(), 1),
        (np.eye(4), CrossEntropy(), 4),
        (np.eye(4), BCE(), 4),
        (np.zeros(3), MSE(), 1),
        (np.zeros((3, 2)), MAE(), 2),
    ],
)
def test_the_number_of_outputs_can_come_from_y(y, loss, n_outputs):
    assert prepare(y, loss).n_outputs == n_outputs


def test_classes_that_were_told():
    targets = prepare(["b", "b"], CrossEntropy(), 3, classes=["c", "a", "b"], may_infer=False)
    np.testing.assert_array_equal(targets.classes_, ["a", "b", "c"])
    np.testing.assert_array_equal(targets.codes, [1, 1])
    for y in ([0, 2], [0.0, 2.0]):
        assert prepare(y, CrossEntropy(), 3, may_infer=False).labels
    assert prepare([True], BCE(), 1, may_infer=False).labels


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs", "more", "message"),
    [
        (["a", "b", "c"], BCE(), 1, {}, r"3 distinct labels \('a', 'b', 'c'\).*for 2 classes"),
        ([0, 1, 3], CrossEntropy(), 2, {}, "y has 3 distinct labels .*exactly 2"),
        (["a", "a"], BCE(), 1, {}, "y has 1 distinct labels"),
        (["a", "b"], BCE(), 1, {"may_infer": False}, "first partial_fit needs classes=.*got labels 'a', 'b'"),
        (["a", "z"], BCE(), 1, {"classes": ["a", "b"]}, "never seen in fit: 'z'; known are 'a', 'b'"),
        ([0, 5], CrossEntropy(), 3, {"classes": np.arange(3)}, "never seen in fit: 5"),
        ([1, 0], BCE(), 1, {"classes": ["0", "1"]}, "never seen in fit: 1, 0"),
        (["0", "1"], BCE(), 1, {"classes": [0, 1]}, "never seen in fit: '0', '1'"),
        ([0, 1], CrossEntropy(), 3, {"classes": [0, 1]}, "classes must have 3 distinct labels, got 2"),
        ([0, 1, 2], BCE(), 3, {}, r"must have shape \(n_samples, 3\): several outputs of bce"),
        ([0, 1], CrossEntropy(), 1, {}, "needs an output for each class"),
        ([0.0, 0.5, 1.5], CrossEntropy(), 3, {}, "labels in y must be whole numbers, got 0.5 in row 1"),
        ([0.0, 1.5], BCE(), 1, {}, r"whole numbers, or all of them probabilities within 0\.\.1, got 1.5 in row 1"),
        ([0.0, np.nan], BCE(), 1, {}, "y must be finite, got nan in row 1"),
        (["a", "a"], Hinge(), None, {}, "at least two distinct labels, got 1"),
        ([[0.5, 0.5], [0.0, 1.0]], Hinge(), 2, {}, "must be one-hot for the loss hinge, got .* in row 0"),
        ([0, 1], CrossEntropy(), 2, {"name": "y_val", "classes": [1, 2]}, "y_val has labels never seen in fit: 0"),
    ],
)
def test_wrong_labels_are_refused(y, loss, n_outputs, more, message):
    with pytest.raises(ValueError, match=message):
        prepare(y, loss, n_outputs, **more)


def test_labels_of_mixed_types_are_refused():
    for y in (np.array(["a", None], object), np.array(["a", 1], object)):
        with pytest.raises(TypeError, match="labels in y must be of one type"):
            prepare(y, BCE(), 1)
    with pytest.raises(ValueError, match="never seen in fit: 1, None"):
        prepare(np.array([1, None], object), BCE(), 1, classes=["a", "b"])
    with pytest.raises(TypeError, match="y must hold labels, got dtype complex128"):
        prepare(np.zeros(2, complex), BCE(), 1)


# ---- soft targets and numbers -------------------------------------------------------------------------------------


def test_soft_targets_of_classes():
    y = np.array([[0.25, 0.75, 0], [0, 0, 1]], np.float32)
    targets = prepare(y, CrossEntropy(), 3)
    assert not targets.labels
    assert targets.matrix.array is y
    assert targets.one_dimensional
    assert targets.codes is None
    np.testing.assert_array_equal(targets.classes_, [0, 1, 2])
    np.testing.assert_array_equal(prepare(y, CrossEntropy(), 3, classes=NAMES).classes_, NAMES)
    assert prepare(np.array([[2.0, 0.5]]), OneAgainstAll(), 2).matrix.n_columns == 2


def test_soft_targets_of_one_output():
    y = np.array([0.0, 0.25, 1.0])
    targets = prepare(y, BCE(), 1)
    assert not targets.labels
    assert np.shares_memory(targets.matrix.array, y)
    np.testing.assert_array_equal(targets.classes_, [0, 1])
    assert not prepare(y, BCE(), 1, classes=[0.0, 1.0]).labels


def test_multilabel():
    y = np.array([[0, 1, 1], [1, 0, 0]])
    targets = prepare(y, BCE(), 3)
    assert targets.matrix.array is y
    assert (targets.labels, targets.classes_, targets.one_dimensional) == (False, None, False)
    np.testing.assert_array_equal(decode(np.where(y, 0.5, -0.5), BCE(), None), y)
    assert [is_multilabel(BCE(), 2), is_multilabel(BCE(), 1), is_multilabel(Hinge(), 2)] == [True, False, False]


@pytest.mark.parametrize("dtype", ["float32", "int16", "bool", "uint8", ">f8", "object"])
def test_numbers(dtype):
    y = np.array([0, 1, 1]).astype(dtype)
    targets = prepare(y, MSE(), 1)
    assert targets.one_dimensional
    assert targets.classes_ is None
    assert dtype == "object" or np.shares_memory(targets.matrix.array, y)
    assert not prepare(y[:, None], MSE(), 1).one_dimensional


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs", "error", "message"),
    [
        (np.zeros(3), MSE(), 2, ValueError, r"must have shape \(n_samples, 2\), got \(3,\)"),
        (np.zeros((3, 4)), MSE(), 2, ValueError, r"must have shape \(n_samples, 2\), got \(3, 4\)"),
        (np.zeros((3, 4)), CrossEntropy(), 3, ValueError, r"must have shape \(n_samples, 3\)"),
        (np.zeros((3, 1, 1)), MSE(), 1, ValueError, "must be 1-D or 2-D and not empty"),
        (np.zeros((3, 0)), MSE(), None, ValueError, "not empty"),
        ([1.0, np.inf], MSE(), 1, ValueError, "y must be finite, got inf in row 1"),
        ([[1.0, 1.0], [1.0, np.nan]], MSE(), 2, ValueError, "y must be finite, got .* in row 1"),
        (["a", "b"], MSE(), 1, TypeError, "y must hold real numbers.*dtype <U1; encode strings"),
        (np.zeros(2, complex), MSE(), 1, TypeError, "real numbers"),
        ([2, 0, -1], Poisson(), 1, ValueError, "y must be >= 0 for the loss poisson, got -1 in row 2"),
        ([[0, 1], [2, 0]], BCE(), 2, ValueError, r"y must be within 0..1 for the loss bce, got \[2 0\] in row 1"),
        ([[0.5, 0.5], [0.5, 0.4]], CrossEntropy(), 2, ValueError, "each row of 2-D y must sum to 1.*in row 1"),
        ([[-0.5, 1.5]], CrossEntropy(), 2, ValueError, "soft targets >= 0"),
        ([["a", "b"]], CrossEntropy(), 2, TypeError, "2-D y must hold real numbers"),
    ],
)
def test_wrong_numbers_are_refused(y, loss, n_outputs, error, message):
    with pytest.raises(error, match=message):
        prepare(y, loss, n_outputs)


def test_other_refusals():
    with pytest.raises(ValueError, match="y has 2 rows but X has 3"):
        prepare_targets([0, 1], BCE(), 3, 1)
    with pytest.raises(ValueError, match="classes must be None: the loss mse"):
        prepare([0, 1], MSE(), 1, classes=[0, 1])
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"y must be dense; give y.toarray\(\)"):
        prepare_targets(sparse.csr_matrix(np.eye(2)), BCE(), 2, 2)


# ---- weights ------------------------------------------------------------------------------------------------------


def test_balanced_is_scikit_learns():
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    y = np.array(["a", "b", "b", "c", "b", "a"])
    targets = prepare(y, CrossEntropy(), 3)
    expected = compute("balanced", classes=targets.classes_, y=y)[targets.codes]
    np.testing.assert_allclose(combine_weights(None, "balanced", targets), expected)
    np.testing.assert_allclose(combine_weights(np.arange(6), "balanced", targets), expected * np.arange(6))


def test_balanced_leaves_absent_classes_out():
    targets = prepare([0, 0, 2, 0], CrossEntropy(), 3)
    np.testing.assert_allclose(combine_weights(None, "balanced", targets), [4 / 6, 4 / 6, 2, 4 / 6])


def test_weights_by_label():
    targets = prepare(["a", "b", "b"], BCE(), 1)
    np.testing.assert_array_equal(combine_weights([1, 2, 3], {"b": 10, "a": 0}, targets), [0, 20, 30])
    np.testing.assert_array_equal(combine_weights(None, {"b": 10}, targets), [1, 10, 10])
    assert combine_weights(None, None, targets) is None
    assert combine_weights(None, {np.int64(1): 3.0}, prepare([0, 1], BCE(), 1)).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ({"z": 1}, ValueError, "class_weight has unknown labels 'z'; known are 'a', 'b'"),
        ({"a": -1}, ValueError, r"class_weight\['a'\] must be a finite number >= 0"),
        ("balancd", TypeError, "class_weight must be None, 'balanced' or a dict"),
        ([1, 2], TypeError, "class_weight must be"),
    ],
)
def test_wrong_class_weights_are_refused(class_weight, error, message):
    with pytest.raises(error, match=message):
        combine_weights(None, class_weight, prepare(["a", "b"], BCE(), 1))


@pytest.mark.parametrize(("y", "loss"), [([0.5, 0.1], BCE()), ([1.0, 2.0], MSE()), (np.eye(2), BCE())])
def test_class_weight_needs_labels(y, loss):
    with pytest.raises(ValueError, match="class_weight needs labels"):
        combine_weights(None, "balanced", prepare(y, loss))


# ---- predictions --------------------------------------------------------------------------------------------------


def test_regression_comes_back_in_the_shape_of_y():
    raw = np.array([[0.0], [1.0]], np.float32)
    assert decode(raw, MSE(), None, True).shape == (2,)
    assert decode(raw, MSE(), None, False).shape == (2, 1)
    assert decode(np.zeros((2, 3)), MSE(), None, False).shape == (2, 3)
    np.testing.assert_allclose(decode(raw, Poisson(), None, True), np.exp([0, 1]), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities(dtype):
    raw = np.array([[-800.0], [-2.0], [0.0], [800.0]], dtype)
    both = probabilities(raw, BCE())
    assert both.dtype == dtype
    np.testing.assert_allclose(both[:, 1], [0, 1 / (1 + np.exp(2)), 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(both.sum(axis=1), 1, rtol=1e-6)
    several = np.array([[1.0, 2.0, -800.0], [800.0, 0.0, 0.0]], dtype)
    softmax = probabilities(several, CrossEntropy())
    assert softmax.dtype == dtype
    np.testing.assert_allclose(softmax[0, :2], [1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)
    np.testing.assert_array_equal(softmax[1], [1, 0, 0])
    np.testing.assert_allclose(probabilities(several, BCE())[0, 1], 1 / (1 + np.exp(-2)), rtol=1e-6)


def test_small_probabilities_are_exact():
    np.testing.assert_allclose(probabilities(np.array([[-40.0]]), BCE())[0, 1], np.exp(-40), rtol=1e-14)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_modified_huber_is_scikit_learns(n_classes):
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.integers(0, n_classes, 60)
    theirs = linear.SGDClassifier(loss="modified_huber", random_state=0).fit(X, y)
    raw = theirs.decision_function(X).reshape(60, -1)
    np.testing.assert_allclose(probabilities(raw, ModifiedHuber()), theirs.predict_proba(X))
    np.testing.assert_array_equal(decode(raw, ModifiedHuber(), theirs.classes_), theirs.predict(X))


@pytest.mark.parametrize("made", [MSE(), Hinge(), OneAgainstAll()])
def test_losses_without_probabilities_say_so(made):
    with pytest.raises(ValueError, match=f"predict_proba needs a loss with probabilities.*{made.name} has none"):
        probabilities(np.zeros((2, 2)), made)


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [
        np.arange(3),
        np.array([False, True]),
        np.array([0.5, 1.5], np.float32),
        NAMES,
        NAMES.astype(object),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([1, 2**63], np.uint64),
        None,
    ],
)
def test_labels_in_files(classes):
    loaded = classes_from_description(json.loads(json.dumps(describe_classes(classes))))
    if classes is None:
        assert loaded is None
    else:
        np.testing.assert_array_equal(loaded, classes, strict=True)


def test_labels_that_files_cannot_hold():
    with pytest.raises(TypeError, match="labels must be strings or numbers to be saved"):
        describe_classes(np.array([(1, 2), None], object))
    with pytest.raises(ValueError, match="unknown"):
        classes_from_description({"dtype": "V4", "values": []})
