"""Archives of arrays as rows: names of columns, and what is said of one that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

import fastprop as fp
from fastprop.data.npz import NpzSource

pytestmark = pytest.mark.quick


def test_vectors_and_matrices_are_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("fastprop.data.npz.BLOCK_ROWS", 2)
    X, y = np.arange(10, dtype=">i2").reshape(5, 2), np.array(["a", "", "b", "a", "b"])
    np.savez(tmp_path / "d.npz", X=X, Z=np.zeros((5, 1)), y=y)
    source = NpzSource(tmp_path / "d.npz")
    assert source.columns == {"0": "number", "1": "number", "Z[0]": "number", "y": "text"}
    assert (source.n_samples, source.n_pieces, [source.rows_of(piece) for piece in range(3)]) == (5, 3, [2, 2, 1])
    blocks = [block for piece in range(3) for block in source.read(piece)]
    assert [block.first for block in blocks] == [0, 2, 4]
    assert [v for block in blocks for v in block.rows["1"].to_pylist()] == X[:, 1].tolist()
    assert [v for block in blocks for v in block.rows["y"].to_pylist()] == y.tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, "must be of equal length"),
        ({"X": np.ones((3, 2, 2))}, r"must have 1 or 2 dimensions, got shape \(3, 2, 2\)"),
        ({"y": np.ones(())}, r"must have 1 or 2 dimensions, got shape \(\)"),
        ({"y": np.ones(3, complex)}, "must hold real numbers or text, got dtype complex128"),
        ({"y": np.zeros(3, "M8[s]")}, "must hold real numbers or text, got dtype datetime64"),
        ({"X": np.ones((3, 2)), "0": np.ones(3)}, "two columns are named '0'"),
        ({"X": np.ones((0, 2))}, "holds no rows"),
        ({"y": np.array([{"a": 1}], dtype=object)}, "damaged or not a file of arrays"),
        ({}, "holds no column"),
    ],
)
def test_bad_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(fp.FileError, match=message) as caught:
        NpzSource(tmp_path / "d.npz")
    assert "d.npz" in str(caught.value)


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"no" + raw[2:]])
def test_damaged_archives(tmp_path, damage):
    path = tmp_path / "d.npz"
    np.savez(path, np.ones((50, 2)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(fp.FileError, match=r"damaged|holds no"):
        NpzSource(path)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        NpzSource("nowhere.npz")
