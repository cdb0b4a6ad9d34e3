"""Datasets of tables that are prepared: trained on, saved with the network, and applied to other files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastprop as fp

N = 3000


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    size, place = rng.uniform(20, 200, N), rng.choice(["town", "coast", "hills"], N)
    url = np.array([f"http://example.org/{i}" for i in rng.integers(0, 5000, N)])
    price = np.exp(size / 60 + np.where(place == "town", 1.0, 0.0))
    gaps = rng.random(N) < 0.03
    return pa.table({"size": pa.array(size, mask=gaps), "place": place, "url": url, "price": price})


def network(n_outputs=1, loss="mse"):
    return fp.Network(
        [fp.Dense(32, activation="relu"), fp.Dense(n_outputs)], loss=loss, optimizer=fp.Adam(1e-2), seed=0
    )


def files(table, kind, folder):
    """The table in two files."""
    halves = table.slice(0, N // 2), table.slice(N // 2)
    paths = [folder / f"part{k}.{kind}" for k in range(2)]
    for path, half in zip(paths, halves, strict=True):
        if kind == "parquet":
            pq.write_table(half, path, row_group_size=200)
        else:
            rows = zip(*(["" if v is None else v for v in c.to_pylist()] for c in half.columns), strict=True)
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([half.column_names, *rows])
    return paths


@pytest.mark.parametrize("limit", ["1GB", "100kB"])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_logarithm_is_learnt_and_comes_back_in_its_units(tmp_path, table, kind, limit):
    read = fp.data.from_parquet if kind == "parquet" else fp.data.from_csv
    paths = files(table, kind, tmp_path)
    data = read(paths, "price", ignore=["url"], prepare=fp.data.Prepare(log=True), memory_limit=limit)
    assert data.feature_names == ("size", "place=coast", "place=hills", "place=town")
    net = network()
    net.fit(data, epochs=20, batch_size=32, progress=False)
    net.save(tmp_path / "m.safetensors")
    again = fp.load(tmp_path / "m.safetensors")
    assert again.preparation_ == data.preparation
    rows = read(
        paths, ignore=["url", "price"], memory_limit=limit
    )  # as they are: the network knows how to prepare them
    predicted = again.predict(rows)
    np.testing.assert_array_equal(predicted, net.predict(rows))
    price, known = table["price"].to_numpy(), table["size"].is_valid().to_numpy()
    assert np.abs(np.log(predicted[known] / price[known])).mean() < 0.1
    again.predict(rows, out=tmp_path / "p.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), predicted)


@pytest.mark.parametrize("limit", ["1GB", "200kB"])
def test_hashed_columns_are_sparse_rows(tmp_path, table, limit):
    rng = np.random.default_rng(1)
    urls = np.array([f"http://example.org/{i}" for i in range(60)])[rng.integers(0, 60, N)]
    table = table.set_column(2, "url", pa.array(urls)).append_column("even", pa.array([int(u[-1]) % 2 for u in urls]))
    paths = files(table.drop_columns(["price"]), "parquet", tmp_path)
    how = fp.data.Prepare(hash={"url": 2048})
    data = fp.data.from_parquet(paths, "even", prepare=how, memory_limit=limit)
    assert data.is_sparse
    net = network(2, "cross_entropy")
    net.fit(data, epochs=5, batch_size=64, progress=False)
    assert net.evaluate(data)["accuracy"] > 0.95  # two of 60 may share a feature


def test_preparations_are_plain_json(tmp_path, table):
    data = fp.data.from_parquet(files(table, "parquet", tmp_path), "price", ignore=["url"], prepare=True)
    stored = json.loads(json.dumps(data.preparation.to_dict()))
    assert fp.data.Preparation.from_dict(stored) == data.preparation
    other = fp.data.from_parquet(tmp_path / "part1.parquet", "price", ignore=["url"], prepare=data.preparation)
    np.testing.assert_array_equal(other.head(10)[0], data.load()[0][N // 2 : N // 2 + 10])


def test_the_row_without_a_logarithm_is_named_or_left_out(tmp_path, table):
    price = table["price"].to_numpy().copy()
    price[2000] = 0
    paths = files(table.set_column(3, "price", pa.array(price)), "parquet", tmp_path)
    how = fp.data.Prepare(log=True)
    with pytest.raises(fp.FileError, match=r"part1\.parquet, row 500, column 'price': got 0, expected a number > 0"):
        fp.data.from_parquet(paths, "price", ignore=["url"], prepare=how)
    data = fp.data.from_parquet(paths, "price", ignore=["url"], prepare=how, on_bad_rows="skip")
    assert network().fit(data, epochs=1, progress=False)["skipped"] == [1]
