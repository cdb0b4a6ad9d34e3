"""The preparation of tables: what is learnt from training rows, and how it meets other rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastprop.prepare import MAX_CATEGORIES, Preparation, Target, plain_features
from fastprop.tables import Table

pytestmark = pytest.mark.quick

NAN = np.nan


def table(**columns):
    arrays = {
        name: np.array(values, dtype=object if any(isinstance(v, str) for v in values) else np.float64)
        for name, values in columns.items()
    }
    return Table(Path("data.csv"), arrays)


TRAIN = table(size=[1, 3, NAN, 8], place=["b", "a", "", "b"], same=[5, 5, NAN, 5], empty=[NAN] * 4)


def test_numbers_are_filled_with_the_median_and_standardised():
    X = Preparation.fit(TRAIN).transform(TRAIN, np.float64)
    filled = np.array([1, 3, 3, 8.0])
    np.testing.assert_allclose(X[:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-15)


def test_text_is_one_hot_with_gaps_as_a_category():
    preparation = Preparation.fit(TRAIN)
    assert preparation.feature_names == ["size", "place=", "place=a", "place=b", "same", "empty"]
    X = preparation.transform(TRAIN)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X[:, 1:4], [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_unseen_categories_are_zeros_and_gaps_take_the_training_median():
    preparation = Preparation.fit(TRAIN)
    other = table(place=["z", "a"], size=[NAN, 3], same=[5, 7], empty=[1, 2])
    X = preparation.transform(other, np.float64)
    np.testing.assert_array_equal(X[0, 1:4], 0)
    assert X[0, 0] == X[1, 0]


def test_columns_that_never_varied_in_training_stay_silent():
    X = Preparation.fit(TRAIN).transform(table(place=["a"], size=[1], same=[70], empty=[1e30]))
    np.testing.assert_array_equal(X[0, 4:], 0)


def test_a_constant_that_rounds_is_still_constant():
    X = Preparation.fit(table(a=[0.1] * 7, b=[1, 2, 3, 4, 5, 6, 7])).transform(table(a=[0.2], b=[1]))
    assert X[0, 0] == 0


def test_columns_are_found_by_name():
    preparation = Preparation.fit(TRAIN)
    shuffled = Table(TRAIN.path, {**dict(reversed(TRAIN.columns.items())), "more": np.ones(4)})
    np.testing.assert_array_equal(preparation.transform(shuffled), preparation.transform(TRAIN))


def test_json_gives_back_the_same_bits():
    rng = np.random.default_rng(0)
    train = table(a=rng.normal(size=50).tolist(), b=["x", "ü"] * 25)
    preparation = Preparation.fit(train)
    again = Preparation.from_dict(json.loads(json.dumps(preparation.to_dict())))
    assert again == preparation
    np.testing.assert_array_equal(again.transform(train, np.float64), preparation.transform(train, np.float64))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, ">f4"])
def test_arrays_of_any_real_dtype(dtype):
    values = np.array([0, 1, 1, 0]).astype(dtype)
    X = Preparation.fit(Table(Path("d.npy"), {"0": values})).transform(Table(Path("d.npy"), {"0": values}))
    np.testing.assert_array_equal(X[:, 0], [-1, 1, 1, -1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size": [1]}, r"data\.csv lacks the columns 'place', 'same', 'empty'"),
        (
            {"size": ["", "big"], "place": ["a", "a"], "same": [1, 1], "empty": [1, 1]},
            "column 'size' of data.csv must hold numbers, got 'big' in data row 2",
        ),
        (
            {"size": [1, -np.inf], "place": ["a", "a"], "same": [1, 1], "empty": [1, 1]},
            "column 'size' of data.csv must hold finite numbers, got '-inf' in data row 2",
        ),
        ({"size": [1], "place": [2], "same": [1], "empty": [1]}, "column 'place' of data.csv must hold text"),
    ],
)
def test_bad_columns(columns, message):
    with pytest.raises(ValueError, match=message):
        Preparation.fit(TRAIN).transform(table(**columns))


def test_too_many_categories():
    with pytest.raises(ValueError, match=rf"column 'id' of .* at most {MAX_CATEGORIES} .* got 1001; .*--ignore 'id'"):
        Preparation.fit(table(id=[f"id{i}" for i in range(MAX_CATEGORIES + 1)]))


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["yes", "no"], "classification"),
        ([0, 1, 1], "classification"),
        ([3, 1, 2], "classification"),
        ([0.5, 1, 2], "regression"),
        (range(21), "regression"),
    ],
)
def test_the_task_follows_from_the_values(values, task):
    assert Target.fit(table(y=list(values)), "y").task == task


def test_numbers_to_predict_are_standardised_and_back():
    rows = table(y=[1.5, 2.5, 9.0])
    target = Target.fit(rows, "y")
    y = target.encode(rows)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-15)
    np.testing.assert_allclose(target.decode(y.reshape(3, 1)), [1.5, 2.5, 9.0], rtol=1e-15)
    raw = Target.fit(rows, "y", standardise=False)
    np.testing.assert_array_equal(raw.encode(rows), [1.5, 2.5, 9.0])


def test_a_constant_target_survives():
    rows = table(y=[2.5, 2.5])
    target = Target.fit(rows, "y", "regression")
    np.testing.assert_array_equal(target.decode(target.encode(rows)), [2.5, 2.5])


def test_labels():
    numbers, text = table(y=[3, 1]), table(y=["b", "a"])
    assert Target.fit(numbers, "y").encode(numbers).dtype == np.int64
    assert Target.fit(text, "y") == Target("y", "classification", text=True)
    assert Target.fit(text, "y").encode(text).tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([1, NAN, NAN], None, "target 'y' of data.csv must have a value in every row, got none in 2 of 3 rows.*row 2"),
        (["a", ""], None, "must have a value in every row"),
        (["a", "a"], None, "must hold two classes or more, got a only"),
        (["a", "b"], "regression", "column 'y' of data.csv must hold numbers, got 'a' in data row 1"),
        ([1, np.inf], "regression", "must hold finite numbers"),
        ([1, 2], "ranking", "task must be 'classification' or 'regression', got 'ranking'"),
    ],
)
def test_bad_targets(values, task, message):
    with pytest.raises(ValueError, match=message):
        Target.fit(table(y=values), "y", task)


def test_plain_features_keep_the_order_of_the_file():
    np.testing.assert_array_equal(plain_features(table(b=[1, 2], a=[3, 4])), [[1, 3], [2, 4]])
