"""Data frames of pandas, polars and Arrow become one array, column by column."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

import fastprop as fp
from fastprop.checks import as_array, check_matrix

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

pytestmark = pytest.mark.quick

NAN = np.nan
INTS, BOOLS, FLOATS = [1, None, 3], [True, None, False], [0.5, 1.5, None]
WITH_GAPS = [[1, 1, 0.5], [NAN, NAN, 1.5], [3, 0, NAN]]

FRAMES = {
    "pandas": lambda: pd.DataFrame(
        {"i": pd.array(INTS, "Int64"), "b": pd.array(BOOLS, "boolean"), "f": pd.array(FLOATS, "Float32")}
    ),
    "pandas of Arrow": lambda: pd.DataFrame(
        {
            "i": pd.array(INTS, "int64[pyarrow]"),
            "b": pd.array(BOOLS, "bool[pyarrow]"),
            "f": pd.array(FLOATS, "float[pyarrow]"),
        }
    ),
    "polars": lambda: pl.DataFrame({"i": INTS, "b": BOOLS, "f": FLOATS}),
    "table": lambda: pa.table({"i": INTS, "b": BOOLS, "f": FLOATS}),
    "chunks": lambda: pa.concat_tables([pa.table({"i": INTS, "b": BOOLS, "f": FLOATS}).slice(k, 1) for k in range(3)]),
    "record batch": lambda: pa.RecordBatch.from_pydict({"i": INTS, "b": BOOLS, "f": FLOATS}),
}


@pytest.fixture
def no_objects(monkeypatch):
    """Objects are where Python's None and True would come from."""
    from fastprop import frames

    column = frames._column

    def checked(series):
        array = column(series)
        assert isinstance(array, str) or array.dtype != object
        return array

    monkeypatch.setattr(frames, "_column", checked)


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_gaps_are_nan(make, no_objects):
    matrix = check_matrix(make())
    assert matrix.feature_names == ("i", "b", "f")
    assert matrix.array.flags.c_contiguous
    assert matrix.array.dtype.kind == "f"
    np.testing.assert_array_equal(matrix.array, WITH_GAPS)


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_networks_train_on_them_without_the_gaps(make):
    frame = make()
    row = frame[:1] if hasattr(frame, "to_numpy") else frame.slice(0, 1)
    net = fp.Network([fp.Dense(1)], loss="mse").build(3)
    same = net.predict(np.array([[1, 1, 0.5]]))
    np.testing.assert_array_equal(net.predict(row), same)
    with pytest.raises(ValueError, match="X must be finite, got nan in row 1"):
        net.predict(frame)


def test_one_block_is_not_copied():
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    assert np.shares_memory(check_matrix(frame).array, frame.to_numpy())


@pytest.mark.parametrize("dtype", ["Int8", "UInt32", "boolean", "Float64"])
def test_nullable_columns_without_gaps_keep_their_dtype(dtype):
    frame = pd.DataFrame({"a": pd.array([0, 1], dtype), "b": pd.array([1, 1], dtype)})
    assert check_matrix(frame).array.dtype == frame["a"].dtype.numpy_dtype


def test_other_types_of_numbers():
    table = pa.table(
        {"d": pa.array([1, 2], pa.decimal128(5, 2)), "n": pa.nulls(2), "h": pa.array([1, 2], pa.float32())}
    )
    np.testing.assert_array_equal(check_matrix(table).array, [[1, NAN, 1], [2, NAN, 2]])
    frame = pl.DataFrame({"d": pl.Series(["1.5", "2"]).cast(pl.Decimal(5, 2)), "n": pl.Series([None, None])})
    np.testing.assert_array_equal(check_matrix(frame).array, [[1.5, NAN], [2, NAN]])
    sparse = pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 2.0]), "i": [1, 2, 3]})
    np.testing.assert_array_equal(check_matrix(sparse).array, [[0, 1], [0, 2], [2, 3]])


@pytest.mark.parametrize(
    ("frame", "refused"),
    [
        (pd.DataFrame({"n": [1], "o": np.array([1.5], object)}), r"'o' \(object\)"),
        (pd.DataFrame({"o": np.array([1.5], object)}), r"'o' \(object\)"),
        (pd.DataFrame({"n": [1], "t": ["x"], "c": pd.Categorical(["y"])}), r"'t' \(str\), 'c' \(category\)"),
        (pd.DataFrame({"n": [1], "d": pd.to_datetime(["2020-01-01"])}), r"'d' \(datetime64"),
        (pd.DataFrame({"d": pd.array([0], "timestamp[ns][pyarrow]")}), r"'d' \(timestamp\[ns\]\[pyarrow\]\)"),
        (pd.DataFrame({"s": pd.arrays.SparseArray(np.array(["x"], object))}), r"'s' \(Sparse\[object"),
        (pl.DataFrame({"n": [1], "t": ["x"]}), r"'t' \(String\)"),
        (pa.table({"n": [1], "t": ["x"]}), r"'t' \(string\)"),
        (pa.table({"n": [1], "t": pa.array(["x"]).dictionary_encode()}), r"'t' \(dictionary"),
    ],
)
def test_columns_that_are_no_numbers_are_named(frame, refused):
    with pytest.raises(TypeError, match=f"must hold real numbers; encode or drop the columns {refused}"):
        check_matrix(frame)


WORDS = ["b", "a", "b"]
LABELS = {
    "pandas": pd.Series(WORDS),
    "pandas objects": pd.Series(WORDS, dtype=object),
    "categories": pd.Series(pd.Categorical(WORDS)),
    "pandas of Arrow": pd.Series(WORDS, dtype="string[pyarrow]"),
    "index": pd.Index(WORDS),
    "polars": pl.Series(WORDS),
    "polars categories": pl.Series(WORDS, dtype=pl.Categorical),
    "Arrow": pa.array(WORDS),
    "chunks": pa.chunked_array([WORDS[:1], WORDS[1:]]),
    "codes": pa.array(WORDS).dictionary_encode(),
    "frame": pd.DataFrame({"y": WORDS}),
    "table": pa.table({"y": WORDS}),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_labels(y):
    net = fp.Network([fp.Dense(2)], loss="cross_entropy")
    X = np.eye(3)
    net.fit(X, y, epochs=2, progress=False)
    assert net.classes_.tolist() == ["a", "b"]
    assert net.evaluate(X, y)["accuracy"] == net.evaluate(X, np.array(WORDS))["accuracy"]


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([1, 2, 3], dtype="Int64"),
        pl.Series([1, 2, 3]),
        pa.array([1, 2, 3]),
        pa.chunked_array([[1], [2, 3]]),
        pd.DataFrame({"y": [1, 2, 3]}),
    ],
)
def test_numbers_as_y(y):
    net = fp.Network([fp.Dense(1)], loss="mse")
    net.fit(np.eye(3), y, epochs=1, progress=False)
    assert as_array(y, "y").dtype == np.int64


@pytest.mark.parametrize("y", [pd.Series([1, None, 3], dtype="Int64"), pl.Series([1, None, 3]), pa.array([1, None, 3])])
def test_gaps_in_y_are_named(y):
    with pytest.raises(ValueError, match="y must be finite, got nan in row 1"):
        fp.Network([fp.Dense(1)], loss="mse").fit(np.eye(3), y, epochs=1, progress=False)
    with pytest.raises(ValueError, match="y must be finite, got nan in row 1"):
        fp.Network([fp.Dense(2)], loss="cross_entropy").fit(np.eye(3), y, epochs=1, progress=False)


ESTIMATORS_TAKE = {
    "pandas": lambda X: pd.DataFrame(X, columns=list("ibf")).astype({"i": "Int64", "b": "boolean", "f": "Float32"}),
    "pandas of Arrow": lambda X: pd.DataFrame(X, columns=list("ibf")).astype("int64[pyarrow]"),
    "polars": lambda X: pl.DataFrame(X, schema={"i": pl.Int64, "b": pl.Float32, "f": pl.UInt8}),
    "table": lambda X: pa.table({"i": X[:, 0], "b": X[:, 1].astype(np.float32), "f": X[:, 2].astype(np.int8)}),
}


@pytest.mark.parametrize("make", ESTIMATORS_TAKE.values(), ids=ESTIMATORS_TAKE)
@pytest.mark.parametrize("labels", ["pandas", "polars", "Arrow"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_take_them(make, labels):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 2, (60, 3)), np.array(["a", "b"])[np.arange(60) % 2]
    series = {"pandas": pd.Series, "polars": pl.Series, "Arrow": pa.array}[labels](y)
    for estimator in (fp.MLPClassifier((4,), max_iter=2, random_state=0), fp.SGDClassifier(max_iter=2, random_state=0)):
        same = clone(estimator).fit(X, y)
        np.testing.assert_array_equal(clone(estimator).fit(make(X), series).predict(make(X)), same.predict(X))


def test_names_that_are_no_strings_may_be_there_twice():
    frame = pd.concat([pd.DataFrame({0: [1, 2]}), pd.DataFrame({0: [True, False]})], axis=1)
    np.testing.assert_array_equal(check_matrix(frame).array, [[1, 1], [2, 0]])


@pytest.mark.parametrize("y", [pd.Series(["a", None, "b"]), pl.Series(["a", None, "b"]), pa.array(["a", None, "b"])])
def test_missing_labels_are_named(y):
    with pytest.raises(TypeError, match="labels in y must be of one type that can be sorted: row 1 has none"):
        fp.Network([fp.Dense(2)], loss="cross_entropy").fit(np.eye(3), y, epochs=1, progress=False)


def test_nothing_of_them_is_loaded_for_arrays():
    code = (
        "import sys, numpy as np; from fastprop.checks import check_matrix; check_matrix(np.eye(2));"
        "print(*{'pandas', 'polars', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
