"""Reading tables: types of columns, gaps, and what is said of a file that cannot be read."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from fastprop import tables
from fastprop.tables import read_table

pytestmark = pytest.mark.quick


@pytest.fixture
def write(tmp_path):
    def write(text, name="data.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_numbers_text_and_gaps(write):
    table = read_table(write("a,b,c\n1,x,\n,NA,2.5\nNaN, y ,-1e3\n"))
    np.testing.assert_array_equal(table.columns["a"], [1, np.nan, np.nan])
    assert table.columns["b"].tolist() == ["x", "", "y"]
    np.testing.assert_array_equal(table.columns["c"], [np.nan, 2.5, -1000])
    assert table.n_rows == 3


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "nan", "NaN", "NULL", " "])
def test_every_way_to_write_a_gap(write, missing):
    values = read_table(write(f"a,b\n1,2\n{missing},3\n")).columns["a"]
    np.testing.assert_array_equal(values, [1, np.nan])


def test_quotes_line_breaks_marks_and_blank_lines(write):
    table = read_table(write('\ufeffname,"a, b"\r\n"two\nlines",1\r\n\r\n"say ""so""",2\r\n'))
    assert list(table.columns) == ["name", "a, b"]
    assert table.columns["name"].tolist() == ["two\nlines", 'say "so"']


@pytest.mark.parametrize(("name", "mark"), [("d.csv", ";"), ("d.csv", "\t"), ("d.tsv", "\t"), ("D.CSV", ",")])
def test_delimiters(write, name, mark):
    table = read_table(write(f"a{mark}b\n1{mark}2\n", name))
    assert {key: values.tolist() for key, values in table.columns.items()} == {"a": [1.0], "b": [2.0]}


def test_text_that_turns_up_late_keeps_the_text_before_it(write, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 2)
    table = read_table(write("zip,n\n007,1\n08,2\n9,3\nA1,4\n5,x\n"))
    assert table.columns["zip"].tolist() == ["007", "08", "9", "A1", "5"]
    assert table.columns["n"].tolist() == ["1", "2", "3", "4", "x"]


def test_blocks_join(write, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 3)
    values = np.arange(10.0)
    table = read_table(write("a,b\n" + "".join(f"{v},{v * 2}\n" for v in values)))
    np.testing.assert_array_equal(table.columns["a"], values)
    np.testing.assert_array_equal(table.columns["b"], values * 2)


def test_numbers_with_underscores_are_text(write):
    assert read_table(write("month\n2020_01\n2020_02\n")).columns["month"].tolist() == ["2020_01", "2020_02"]


def test_columns_may_be_kept_as_text(write):
    assert read_table(write("a\n01\n2\n"), text=["a"]).columns["a"].tolist() == ["01", "2"]


def test_a_first_line_of_numbers_is_a_row(write):
    table = read_table(write("5.1,3\n4.9,2\n"))
    assert {name: values.tolist() for name, values in table.columns.items()} == {"0": [5.1, 4.9], "1": [3, 2]}


def test_a_first_line_that_counts_is_a_header(write):
    assert read_table(write("0,1\n4.9,2\n")).columns["0"].tolist() == [4.9]


def test_gzip(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert read_table(path).columns["b"].tolist() == [2.0]
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-12])
    with pytest.raises(ValueError, match=r"data\.csv\.gz is damaged"):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n1,2\n", r"line 3: 2 values for 3 columns; there is none for column 'c'"),
        ("a,b\n1,2\n\n1,2,9\n", r"line 4: 3 values for 2 columns; .*'9', stands after column 'b'"),
        ("a,a\n1,2\n", "two columns are named 'a'"),
        ("", "is empty"),
        ("a,b\n", "holds no rows"),
        ('a\n"' + "x" * 200_000, "not a table of text"),
    ],
)
def test_bad_text(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(path)
    assert path.name in str(caught.value)


def test_other_encodings_and_kinds_of_file(write):
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_table(write("a\nä\n", encoding="latin-1"))
    with pytest.raises(ValueError, match=r"data must be a \.csv, \.tsv, \.npy or \.npz file"):
        read_table(write("a\n1\n", "data.xlsx"))
    with pytest.raises(FileNotFoundError):
        read_table("nowhere.csv")


def test_npy(tmp_path):
    X = np.arange(6, dtype=np.int16).reshape(3, 2)
    np.save(tmp_path / "x.npy", X)
    table = read_table(tmp_path / "x.npy")
    assert list(table.columns) == ["0", "1"]
    np.testing.assert_array_equal(table.columns["1"], X[:, 1])


def test_npz(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.ones((3, 2)), Z=np.zeros((3, 1)), y=np.array(["a", "NA", "b"]))
    table = read_table(tmp_path / "d.npz")
    assert list(table.columns) == ["0", "1", "Z[0]", "y"]
    assert table.columns["y"].tolist() == ["a", "", "b"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, "must be of equal length"),
        ({"X": np.ones((3, 2, 2))}, r"must have 1 or 2 dimensions, got shape \(3, 2, 2\)"),
        ({"y": np.ones(3, complex)}, "must hold real numbers or text, got dtype complex128"),
        ({"y": np.zeros(3, "M8[s]")}, "must hold real numbers or text, got dtype datetime64"),
        ({"X": np.ones((0, 2))}, "holds no rows"),
    ],
)
def test_bad_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "d.npz")


@pytest.mark.parametrize("name", ["d.npy", "d.npz"])
@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"no" + raw[2:]])
def test_damaged_arrays(tmp_path, name, damage):
    path = tmp_path / name
    (np.save if name.endswith("npy") else np.savez)(path, np.ones((50, 2)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"damaged|holds no"):
        read_table(path)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="damaged or not a file of arrays"):
        read_table(tmp_path / "d.npy")


def test_unknown_columns_are_named_with_the_nearest(write):
    table = read_table(write("price,rooms\n1,2\n"))
    with pytest.raises(ValueError, match=r"target: no column 'prize' in .*did you mean 'price'.*price, rooms"):
        table.column("prize", "target")
    with pytest.raises(ValueError, match="ignore: no column 'x'"):
        table.without(["x"])
    with pytest.raises(ValueError, match="is left to learn from"):
        table.without(["price", "rooms"])
