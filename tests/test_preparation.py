"""The preparation of tables: what is learnt from training rows in one pass, and how it meets other rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from fastprop import FileError
from fastprop.data.columns import BlockColumns, PlainColumns
from fastprop.data.preparation import MAX_CATEGORIES, Hashed, Number, Preparation, Prepare
from fastprop.data.source import Block
from fastprop.data.statistics import Moments, Sample
from fastprop.data.target import Target

pytestmark = pytest.mark.quick

NAN = np.nan


def batch(**columns):
    return pa.RecordBatch.from_pydict(columns)


def block(rows, y=None, first=0, file="data.csv", **columns):
    return Block(batch(**columns) if rows is None else rows, y, file, first)


def kinds(rows):
    return {
        f.name: "text" if f.type in (pa.string(), pa.dictionary(pa.int32(), pa.string())) else "number"
        for f in rows.schema
    }


def fit(rows, target=None, **options):
    return Preparation.fit([block(rows)], kinds(rows), target, Prepare(**options))


def in_blocks(rows, size):
    return [block(rows.slice(start, size), first=start) for start in range(0, rows.num_rows, size)]


TRAIN = batch(size=[1, 3, None, 8], place=["b", "a", None, "b"], same=[5.0, 5, None, 5], empty=pa.nulls(4))


def test_numbers_are_filled_with_the_median_and_standardised():
    X, y = fit(TRAIN).transform(block(TRAIN))
    filled = np.array([1, 3, 3, 8.0])
    assert (X.dtype, X.flags.c_contiguous, y) == (np.float32, True, None)
    np.testing.assert_allclose(X[:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-6)


def test_numbers_may_be_filled_only():
    X, _ = fit(TRAIN, standardise=False).transform(block(TRAIN))
    np.testing.assert_array_equal(X[:, 0], [1, 3, 3, 8])


def test_text_is_one_hot_with_gaps_as_a_category():
    preparation = fit(TRAIN)
    assert preparation.feature_names == ("size", "place=", "place=a", "place=b", "same", "empty")
    assert preparation.text == ["place"]
    X, _ = preparation.transform(block(TRAIN))
    np.testing.assert_array_equal(X[:, 1:4], [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_unseen_categories_are_zeros_and_gaps_take_the_training_median():
    other = batch(place=["z", "a"], size=[None, 3], same=[5, 7], empty=[1, 2])
    X, _ = fit(TRAIN).transform(block(other))
    np.testing.assert_array_equal(X[0, 1:4], 0)
    assert X[0, 0] == X[1, 0]


def test_columns_that_never_varied_in_training_stay_silent():
    X, _ = fit(TRAIN).transform(block(None, place=["a"], size=[1], same=[70], empty=[1e30]))
    np.testing.assert_array_equal(X[0, 4:], 0)


def test_a_constant_that_rounds_is_still_constant():
    preparation = fit(batch(a=[0.1] * 7, b=[1, 2, 3, 4, 5, 6, 7]))
    assert preparation.transform(block(None, a=[0.2], b=[1]))[0][0, 0] == 0


def test_columns_are_found_by_name():
    shuffled = batch(more=[1] * 4, **dict(reversed(TRAIN.to_pydict().items())))
    preparation = fit(TRAIN)
    np.testing.assert_array_equal(preparation.transform(block(shuffled))[0], preparation.transform(block(TRAIN))[0])


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 100))
@settings(max_examples=25, deadline=None)
def test_one_pass_over_blocks_learns_what_numpy_learns_of_the_whole(seed, n, size):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < 0.2, NAN, rng.normal(1e4, 1, n))
    rows = batch(x=x, f=rng.integers(-9, 9, n).astype(np.int8), y=rng.normal(size=n) + 3, t=rng.choice(["u", "v"], n))
    preparation = Preparation.fit(in_blocks(rows, size), kinds(rows), "y")
    filled = np.where(np.isnan(x), np.nanmedian(x) if np.isfinite(x).any() else 0.0, x)
    learnt = preparation.columns["x"]
    np.testing.assert_allclose(
        [learnt.fill, learnt.mean], [filled[np.isnan(x).argmax()] if np.isnan(x).any() else np.median(x), filled.mean()]
    )
    if np.ptp(filled) > 0:
        np.testing.assert_allclose(learnt.factor, 1 / filled.std(), rtol=1e-9)
    assert preparation.columns["t"] == sorted(set(rows.column("t").to_pylist()))
    y = rows.column("y").to_numpy()
    np.testing.assert_allclose(preparation.to_predict.mean, [y.mean()])
    whole = Preparation.fit([block(rows)], kinds(rows), "y").transform(block(rows))[0]
    np.testing.assert_allclose(preparation.transform(block(rows))[0], whole, rtol=1e-5, atol=1e-6)


def test_moments_of_far_away_numbers():
    values = 1e9 + np.arange(1000.0)
    moments = Moments()
    for part in np.split(values, 10):
        moments.add(part)
    np.testing.assert_allclose(moments.deviation, values.std(), rtol=1e-12)


def test_the_sample_is_exact_while_it_holds_all_rows_and_fair_after():
    sample = Sample(1, 0)
    for start in range(0, 5 * sample.size, 7919):
        n = min(7919, 5 * sample.size - start)
        sample.draw(n)
        sample.put(0, start + np.arange(n))
        if start + n <= sample.size:
            np.testing.assert_array_equal(sample.values[0, : start + n], np.arange(start + n))
    deciles = np.quantile(sample.values[0], np.arange(1, 10) / 10) / (5 * sample.size)
    np.testing.assert_allclose(deciles, np.arange(1, 10) / 10, atol=0.01)
    assert len(np.unique(sample.values[0])) == sample.size


def test_json_gives_back_the_same_bits():
    rng = np.random.default_rng(0)
    rows = batch(a=rng.normal(size=50), b=["x", "ü"] * 25, c=[f"c{i}" for i in range(50)], y=rng.random(50) + 1)
    preparation = fit(rows, "y", hash={"c": 16}, log=True)
    again = Preparation.from_dict(json.loads(json.dumps(preparation.to_dict())))
    assert again == preparation
    for got, expected in zip(again.transform(block(rows)), preparation.transform(block(rows)), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_files_of_version_0_1_are_read():
    stored = {
        "preparation": {"columns": {"size": {"fill": 3.0, "mean": 4.0, "factor": 0.5}, "place": ["", "a"]}},
        "target": {"name": "price", "task": "regression", "mean": 2.0, "scale": 4.0, "text": False},
    }
    preparation = Preparation.from_dict(stored)
    X, y = preparation.transform(block(None, size=[None, 8], place=["a", "b"], price=[2, 10]))
    np.testing.assert_array_equal(X, [[-0.5, 0, 1], [2, 0, 0]])
    np.testing.assert_array_equal(y, [0, 2])
    assert preparation.columns["size"] == Number(3.0, 4.0, 0.5)
    assert Preparation.from_dict({"preparation": {"columns": {}}, "target": {
        "name": "y", "task": "classification", "mean": 0.0, "scale": 1.0, "text": True}}).to_predict.text  # fmt: skip


STORED = {
    "columns": {"size": {"fill": 3.0, "mean": 4, "factor": 0.5}, "place": ["", "a"], "url": {"n_features": 8}},
    "target": {"names": ["a", "b"], "task": "regression", "mean": [1, 2.5], "scale": [0.5, 2], "log": True},
    "n_rows": 7,
}
LABELS = {"names": ["y"], "task": "classification", "mean": [0.0], "scale": [1.0], "text": True, "classes": ["n", "y"]}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("columns", "url", "n_features"), 10**15, "column 'url' must be a whole number within 1..16777216"),
        (("columns", "url", "n_features"), 0, "whole number within 1"),
        (("columns", "url", "n_features"), 2.0, "whole number within 1"),
        (("columns", "url", "n_features"), True, "whole number within 1"),
        (("columns", "size", "mean"), NAN, "column 'size' must be a finite number, got nan"),
        (("columns", "size", "fill"), 10**400, "finite number"),
        (("columns", "size", "factor"), "1e400", "finite number"),
        (("columns", "size", "factor"), -0.5, "factor >= 0"),
        (("columns", "size"), {"fill": 1, "mean": 1}, "must have 'factor'"),
        (("columns", "place"), ["x", "x", "x"], "column 'place' must hold each value once"),
        (("columns", "place"), "xyz", "must be an object, got 'xyz'"),
        (("columns", "place"), [1, None, []], "must be a list of str"),
        (("columns",), [], "columns must be an object"),
        (("n_sparse",), 4, "no columns"),
        (("n_sparse",), 10**12, "n_sparse must be a whole number within 0"),
        (("n_sparse",), -1, "n_sparse must be a whole number within 0"),
        (("n_rows",), -4, "n_rows must be a whole number within 0"),
        (("target",), 5, "target must be an object"),
        (("target", "names"), "ab", "names must be a list of str"),
        (("target", "names"), ["a", "a"], "names must hold each value once"),
        (("target", "names"), ["a"], "one mean and one scale for each"),
        (("target", "task"), [], "task must be"),
        (("target", "task"), "classification", "must be labels"),
        (("target", "mean"), [1, NAN], r"mean\[1\] must be a finite number"),
        (("target", "mean"), [1], "one mean and one scale"),
        (("target", "scale"), [1, -1], r"scale must be > 0, got -1\.0"),
        (("target", "scale"), [0, 1], "scale must be > 0"),
        (("target", "log"), "no", "log must be true or false, got 'no'"),
        (("target", "classes"), [1, 2], "must be numbers"),
        (("target",), {**LABELS, "log": True}, "must be labels"),
        (("target",), {**LABELS, "scale": [2.0]}, "must be labels"),
        (("target",), {**LABELS, "classes": ["n", 1]}, "classes must be a list of str"),
        (("target",), {**LABELS, "text": False}, "classes must be a list of int"),
    ],
)
def test_damaged_descriptions_are_refused(path, value, message):
    stored = json.loads(json.dumps(STORED))
    Preparation.from_dict(stored)
    Preparation.from_dict({**stored, "target": LABELS})
    *above, last = path
    place = stored
    for key in above:
        place = place[key]
    place[last] = value
    with pytest.raises(FileError, match=message):
        Preparation.from_dict(stored)


@pytest.mark.parametrize("dtype", [pa.bool_(), pa.uint8(), pa.int64(), pa.float16(), pa.float32(), pa.decimal128(5, 2)])
@pytest.mark.parametrize("gap", [False, True])
def test_arrow_columns_of_any_real_type(dtype, gap):
    values = [0, 1, 1, 0] + [None] * gap
    column = pa.array(values, pa.float32()).cast(pa.int8()).cast(dtype) if dtype != pa.float16() else pa.array(
        [None if v is None else np.float16(v) for v in values], dtype)  # fmt: skip
    rows = pa.RecordBatch.from_arrays([column], ["0"])
    numbers = BlockColumns(block(rows)).numbers("0")
    assert numbers.dtype != object
    np.testing.assert_array_equal(numbers.astype(float), [0, 1, 1, 0] + [NAN] * gap)
    X, _ = Preparation.fit([block(rows)], {"0": "number"}).transform(block(rows))
    if not gap:
        np.testing.assert_array_equal(X[:, 0], [-1, 1, 1, -1])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, ">f4", np.float64])
def test_matrices(dtype):
    X = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]).astype(dtype)
    preparation = Preparation.fit([block(X[:1]), block(X[1:])], {"0": "number", "1": "number"}, "1")
    got, y = preparation.transform(block(X))
    np.testing.assert_array_equal(got, [[-1], [1], [1], [-1]])
    assert y.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("order", ["C", "F"])
def test_gaps_in_matrices_are_filled_and_columns_may_be_left_out(order):
    X = np.array([[1, 5, 2], [NAN, 5, 4], [3, 6, NAN], [8, 7, 9]], order=order)
    names = dict.fromkeys(["2", "0"], "number")
    got = Preparation.fit([block(X)], names).transform(block(X))[0]
    filled = np.array([[2, 1], [4, 3], [4, 3], [9, 8.0]])
    np.testing.assert_allclose(got, (filled - filled.mean(axis=0)) / filled.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("is_matrix", [True, False])
def test_numbers_far_from_zero_keep_their_differences(is_matrix):
    x = 1e9 + np.arange(100.0)
    rows = x[:, None] if is_matrix else pa.RecordBatch.from_arrays([pa.array(x)], ["0"])
    X, _ = Preparation.fit([block(rows)], {"0": "number"}).transform(block(rows))
    np.testing.assert_allclose(X[:, 0], (x - x.mean()) / x.std(), rtol=1e-5)


def test_a_matrix_with_targets_beside_it():
    X, y = np.arange(60.0).reshape(30, 2), np.arange(60.0).reshape(30, 2) + 0.5
    preparation = Preparation.fit([block(X, y)], {"0": "number", "1": "number"})
    encoded = preparation.transform(block(X, y))[1]
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(preparation.decode(encoded), y)
    assert preparation.to_predict.names == ()


def test_sparse_rows_stay_as_they_are():
    X = csr_array(np.eye(3))
    preparation = Preparation.fit([block(X, np.array([1.0, -1.0, 1.0]))], {})
    got, y = preparation.transform(block(X, np.array([1.0, -1.0, 1.0])))
    assert got is X
    assert (y.dtype, y.tolist()) == (np.int64, [1, -1, 1])
    assert (preparation.n_features, preparation.to_predict.classes) == (3, (-1, 1))


# ---- text ---------------------------------------------------------------------------------------------------------


def test_dictionaries_are_text():
    plain = pa.array(["b", None, "a", "", "zz"])
    for column in (plain, plain.dictionary_encode(), plain.cast(pa.large_string()), plain.cast(pa.string_view())):
        rows = pa.RecordBatch.from_arrays([column], ["t"])
        preparation = Preparation.fit([block(rows)], {"t": "text"})
        assert preparation.columns["t"] == ["", "a", "b", "zz"]
        np.testing.assert_array_equal(preparation.transform(block(rows))[0], np.eye(4)[[2, 0, 1, 0, 3]])


def test_hashing_is_stable_and_needs_no_training():
    urls = [f"http://example.org/{i}" for i in range(500)]
    rows = batch(url=urls, x=[1.0, 2] * 250)
    X, _ = fit(rows, hash={"url": 64}).transform(block(rows))
    assert X.shape == (500, 65)
    np.testing.assert_array_equal(X[:, :64].sum(axis=1), 1)
    assert X[:, :64].any(axis=0).all()
    codes = Hashed(2**24).codes(BlockColumns(block(None, t=["", "hello", "Hello, world!", "hello"])), "t")
    published = [0, 0x248BFA47, 0xC0363E43, 0x248BFA47]  # MurmurHash3 x86 32, seed 0
    assert codes.tolist() == [code % 2**24 for code in published]


def test_wide_tables_become_csr():
    rows = batch(url=["a", "b", "c", None], x=[1.0, 2, 3, None], place=["p", "q", "p", "q"])
    other = batch(url=["a", "zz"], x=[7.0, None], place=["new", "q"])
    narrow, wide = (fit(rows, hash={"url": n}) for n in (8, 512))
    assert (narrow.is_sparse, wide.is_sparse) == (False, True)
    for seen in (rows, other):
        X = wide.transform(block(seen))[0]
        assert (X.shape, X.dtype) == ((seen.num_rows, 515), np.float32)
        dense = X.toarray()
        np.testing.assert_array_equal(dense[:, 512:], narrow.transform(block(seen))[0][:, 8:])
        np.testing.assert_array_equal(dense[:, :512].sum(axis=1), 1)
    assert len(wide.feature_names) == 515


def test_too_many_categories():
    rows = batch(id=[f"id{i}" for i in range(MAX_CATEGORIES + 1)])
    with pytest.raises(FileError, match=r"data.csv: column 'id' holds more than 1000 .* --ignore id.*--hash id=4096"):
        fit(rows)


@pytest.mark.parametrize(("hash", "message"), [({"x": 8}, "columns of text .*'x'"), ({"t": 0}, "'t' from 1 to")])
def test_bad_hashing(hash, message):
    with pytest.raises(ValueError, match=message):
        fit(batch(t=["a"], x=[1]), hash=hash)


# ---- what cannot be used ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size": [1]}, r"data\.csv lacks the columns 'place', 'same', 'empty'"),
        ({"size": ["", "big"]}, "data.csv, row 1, column 'size': got 'big', expected a number"),
        ({"size": [1, 2], "place": [2, 2]}, "column 'place' must hold text as in training, got int64"),
        ({"size": pa.array([0, 1], pa.date32())}, "column 'size' must hold numbers, got date32"),
    ],
)
def test_bad_columns(columns, message):
    rest = {"place": ["a", "a"], "same": [1, 1], "empty": [1, 1]} if len(next(iter(columns.values()))) == 2 else {}
    with pytest.raises(FileError, match=message):
        fit(TRAIN).transform(block(None, **{**rest, **columns}))


def test_columns_that_hold_nothing_in_a_file_need_no_kind():
    rows = batch(size=["", "2"], place=pa.nulls(2), same=["5", "5"], empty=["", ""])
    X, _ = fit(TRAIN).transform(block(rows))
    np.testing.assert_array_equal(X[:, 1], 1)


def test_infinities_go_through_to_the_reader_and_do_not_count():
    rows = batch(a=[1.0, 3, np.inf])
    preparation = fit(rows)
    assert preparation.columns["a"] == Number(2.0, 2.0, np.sqrt(1.5))
    assert preparation.transform(block(rows))[0][2, 0] == np.inf


# ---- targets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["yes", "no"], "classification"),
        ([0, 1, 1], "classification"),
        ([3.0, 1, 2], "classification"),
        ([True, False], "classification"),
        ([0.5, 1, 2], "regression"),
        (list(range(21)), "regression"),
    ],
)
def test_the_task_follows_from_the_values(values, task):
    assert fit(batch(y=values), "y").to_predict.task == task


@pytest.mark.filterwarnings("error")
def test_labels_beyond_int64_stay_as_they_are():
    rows = batch(y=[1e20, -3e20, 1e20])
    preparation = fit(rows, "y")
    assert preparation.to_predict.classes == (-3e20, 1e20)
    assert preparation.transform(block(rows))[1].tolist() == [1e20, -3e20, 1e20]
    assert fit(batch(y=[2.0**63, 0]), "y").to_predict.classes == (0, 2**63)


def test_many_classes_where_the_user_says_so():
    rows = batch(y=list(range(30)))
    assert fit(rows, "y", task="classification").to_predict.classes == tuple(range(30))


def test_numbers_to_predict_are_standardised_and_back():
    rows = batch(y=[1.5, 2.5, 9.0])
    preparation = fit(rows, "y")
    y = preparation.transform(block(rows))[1]
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-15)
    np.testing.assert_allclose(preparation.decode(y.reshape(3, 1)), [1.5, 2.5, 9.0], rtol=1e-15)
    raw = fit(rows, "y", standardise_target=False)
    np.testing.assert_array_equal(raw.transform(block(rows))[1], [1.5, 2.5, 9.0])


def test_several_targets_and_their_logarithms():
    rows = batch(x=[1.0, 2, 3], a=[1.0, 10, 100], b=[2, 4, 16])
    preparation = fit(rows, ["a", "b"], log=True)
    y = preparation.transform(block(rows))[1]
    logs = np.log([[1, 2], [10, 4], [100, 16]])
    np.testing.assert_allclose(y, (logs - logs.mean(axis=0)) / logs.std(axis=0), atol=1e-12)
    np.testing.assert_allclose(preparation.decode(y), [[1, 2], [10, 4], [100, 16]])
    assert preparation.feature_names == ("x",)


def test_a_constant_target_survives():
    rows = batch(y=[2.5, 2.5])
    preparation = fit(rows, "y", task="regression")
    np.testing.assert_array_equal(preparation.decode(preparation.transform(block(rows))[1]), [2.5, 2.5])


def test_labels():
    numbers, text = batch(y=[3.0, 1.0]), batch(y=["b", "a"])
    assert fit(numbers, "y").transform(block(numbers))[1].dtype == np.int64
    assert fit(text, "y").to_predict == Target(("y",), "classification", text=True, classes=("a", "b"))
    assert fit(text, "y").transform(block(text))[1].tolist() == ["b", "a"]
    assert fit(text, "y").text == ["y"]


def test_missing_targets_go_through_to_the_reader():
    text, numbers = batch(y=["a", None, "b"]), batch(y=[1.5, None, 2.5])
    assert fit(text, "y").transform(block(text))[1].tolist() == ["a", None, "b"]
    assert fit(text, "y").to_predict.classes == ("a", "b")
    np.testing.assert_array_equal(fit(numbers, "y").transform(block(numbers))[1], [-1, NAN, 1])
    labels = batch(y=[1, None, 2])
    np.testing.assert_array_equal(fit(labels, "y").transform(block(labels))[1], [1, NAN, 2])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (["a", "a"], {}, "must hold two classes or more, got a only"),
        ([None, 1], {"task": "classification"}, "must hold two classes or more, got 1 only"),
        (["a", "b"], {"task": "regression"}, "target 'y' must hold numbers for a regression, got text"),
        (["a", "b"], {"log": True}, "target 'y' must hold numbers for a logarithm, got text"),
        ([1, 2], {"task": "ranking"}, "task must be 'classification' or 'regression', got 'ranking'"),
        ([1.0, 0.0], {"log": True}, "data.csv, row 1, column 'y': got 0, expected a number > 0"),
        (pa.nulls(2), {"task": "regression"}, "got nothing but gaps"),
        ([0.5, 1], {"task": "classification"}, "at most 10000 classes, all of them text or whole"),
    ],
)
def test_bad_targets(values, options, message):
    with pytest.raises(ValueError, match=message):
        fit(batch(y=values), "y", **options)


def test_bad_logarithms_may_be_left_to_the_reader():
    rows = batch(y=[1.0, 0.0, -1.0, np.e])
    preparation = Preparation.fit([block(rows)], {}, "y", Prepare(log=True), skip_bad=True)
    assert np.isfinite(preparation.transform(block(rows))[1]).tolist() == [True, False, False, True]


def test_the_row_of_a_bad_target_is_that_of_the_file():
    with pytest.raises(FileError, match=r"data\.csv, row 1005, column 'b': got -3"):
        Preparation.fit([block(None, first=1004, a=[1, 1], b=[1, -3])], {}, ["a", "b"], Prepare(log=True))


def test_columns_as_they_are():
    rows = batch(b=pa.array([1, 2], pa.int8()), y=["u", "v"], a=pa.array([3, None], pa.float32()))
    plain = PlainColumns(("a", "b"), ("y",), True)
    X, y = plain.transform(block(rows))
    assert (X.dtype, y.tolist()) == (np.float32, ["u", "v"])
    np.testing.assert_array_equal(X, [[3, 1], [NAN, 2]])
    several = PlainColumns(("a",), ("b", "a"), True).transform(block(rows))[1]
    np.testing.assert_array_equal(several, [[1, 3], [2, NAN]])


@pytest.mark.parametrize(
    ("type_", "dtype"),
    [
        (pa.bool_(), np.float32),
        (pa.int16(), np.float32),
        (pa.uint16(), np.float32),
        (pa.float32(), np.float32),
        (pa.null(), np.float32),
        (pa.dictionary(pa.int32(), pa.int64()), np.float64),
        (pa.int32(), np.float64),
        (pa.uint32(), np.float64),
        (pa.int64(), np.float64),
        (pa.float64(), np.float64),
        (pa.decimal128(21, 2), np.float64),
    ],
)
def test_columns_as_they_are_keep_their_digits(type_, dtype):
    """float32 where that holds every number of the type, whatever the block holds."""
    plain = PlainColumns(("a",))
    for values in ([None, None],) if pa.types.is_null(type_) else ([0, 1], [1, None], [None, None]):
        column = pa.array(values, pa.int64()) if pa.types.is_dictionary(type_) else pa.array(values).cast(type_)
        column = column.dictionary_encode() if pa.types.is_dictionary(type_) else column
        assert plain.transform(block(batch(a=column)))[0].dtype == dtype
    if type_ == pa.int64():
        days = batch(a=pa.array(range(1_600_000_000, 1_600_000_010)))
        assert np.ptp(plain.transform(block(days))[0]) == 9


def test_matrices_keep_their_digits_too():
    for dtype, expected in ((np.int16, np.float32), (np.int64, np.float64)):
        rows = np.arange(4, dtype=dtype).reshape(2, 2)
        assert PlainColumns(("1",)).transform(Block(rows, None, "X.npy", 0))[0].dtype == expected
