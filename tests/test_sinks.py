"""Predictions written part by part are read back whole, and a file is there complete or not at all."""

from __future__ import annotations

import csv
import errno
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastprop.data import sinks
from fastprop.data.sinks import open_sink

pytestmark = pytest.mark.quick


def write(path, names, *parts):
    with open_sink(path, names) as sink:
        for part in parts:
            sink.write(*part) if isinstance(part, tuple) else sink.write(part)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool, ">f4"])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 1)])
def test_npy(tmp_path, dtype, shape):
    values = (np.random.default_rng(0).normal(size=shape) * 9).astype(dtype)
    names = list("abc")[: 1 if len(shape) == 1 else shape[1]]
    got = np.load(write(tmp_path / "p.npy", names, values[:4], values[4:4], values[4:]))
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got, values)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy", mmap_mode="r"), values)


@pytest.mark.parametrize("dtype", [np.str_, object])
def test_labels_in_npy_take_the_room_they_need(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr("fastprop.data.sinks.COPY_ROWS", 3)
    parts = [["a", "b"] * 4, ["long", "longer"], ["c"], ["the longest"]]
    got = np.load(write(tmp_path / "p.npy", ["y"], *[np.array(part, dtype=dtype) for part in parts]))
    assert got.tolist() == [label for part in parts for label in part]


def test_csv(tmp_path):
    labels = np.array(['with "quotes"', "a,b", "line\nbreak", "plain"])
    numbers = np.array([[0.1, 2], [1e-30, -3], [4, 5e20], [7, 8]], np.float32)
    path = write(tmp_path / "p.csv", ["y", "p(a,b)", "q"], (labels[:2], numbers[:2]), (labels[2:], numbers[2:]))
    rows = list(csv.reader(path.open(newline="", encoding="utf-8")))
    assert rows[0] == ["y", "p(a,b)", "q"]
    assert [row[0] for row in rows[1:]] == labels.tolist()
    np.testing.assert_array_equal(np.array([row[1:] for row in rows[1:]]).astype(np.float32), numbers)
    assert rows[1][1] == "0.1"  # not 0.10000000149011612


def test_parquet(tmp_path):
    labels, numbers = np.array(["u", "v", "w"]), np.arange(6.0).reshape(3, 2)
    table = pq.read_table(
        write(tmp_path / "p.parquet", ["y", "a", "b"], (labels[:1], numbers[:1]), (labels[1:], numbers[1:]))
    )
    assert table.to_pydict() == {"y": ["u", "v", "w"], "a": [0, 2, 4], "b": [1, 3, 5]}


@pytest.mark.parametrize("name", ["p.npy", "p.csv", "p.parquet"])
def test_files_are_there_whole_or_not_at_all(tmp_path, name):
    path = tmp_path / name

    def stop(sink):
        sink.write(np.ones(3))
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"), open_sink(path, ["y"]) as sink:
        stop(sink)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stopped"), open_sink(path, ["y"]) as sink:
        stop(sink)
    assert path.read_bytes() == b"old"
    write(path, ["y"], np.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_bytes() != b"old"


@pytest.mark.parametrize("name", ["p.npy", "p.csv", "p.parquet"])
@pytest.mark.parametrize("n_rows", [3, 100_000])
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch, name, n_rows):
    """Few rows fail when the file is closed, many while they are written; /dev/full takes no byte."""
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    monkeypatch.setattr(sinks.secrets, "token_hex", lambda n: "x")
    (tmp_path / f".{name}.x.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as raised, open_sink(tmp_path / name, ["y"]) as sink:
        sink.write(np.random.default_rng(0).random(n_rows))
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_file_that_it_names(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, open_sink(tmp_path / "p.npy", ["y"]):
        os.stat(tmp_path / "nowhere")
    assert raised.value.filename == str(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["p.npy", "p.csv", "p.parquet"])
def test_no_rows(tmp_path, name):
    path = write(tmp_path / name, ["a", "b"])
    if name == "p.npy":
        assert np.load(path).shape == (0, 2)
    elif name == "p.csv":
        assert path.read_text() == "a,b\n"
    else:
        assert pq.read_table(path).num_rows == 0


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.npy, \.csv or \.parquet file, got 'p\.txt'"):
        open_sink("p.txt", ["y"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_sink(tmp_path / "no" / "p.csv", ["y"])
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        open_sink(tmp_path / "d.csv", ["y"])
    with pytest.raises(ValueError, match="has 1 columns, got 2"):
        write(tmp_path / "p.csv", ["y"], np.ones((3, 2)))
    with pytest.raises(ValueError, match="cannot hold labels and numbers"):
        write(tmp_path / "p.npy", ["y", "p"], (np.array(["a"]), np.ones(1)))
