"""Datasets: what they say of themselves, their parts, their preparation, and the estimators that learn from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import fastprop as fp
from fastprop import data
from fastprop.data.sizes import parse_bytes
from fastprop.data.usable import Labels

pytestmark = pytest.mark.quick

N = 4_001
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 5)).astype("f4")
Y = (X[:, 0] - 2 * X[:, 1]).astype("f4")


def saved(folder, X=X, y=Y, memory_limit="64kB", **options):
    np.save(folder / "X.npy", X)
    if y is not None:
        np.save(folder / "y.npy", y)
    y_path = None if y is None else folder / "y.npy"
    return data.from_npy(folder / "X.npy", y_path, memory_limit=memory_limit, **options)


def rows_of(dataset):
    """All rows, in order."""
    return np.concatenate([X for X, _, _ in dataset.blocks()])


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [
        ("500MB", 500_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2GiB", 2 << 30),
        ("64k", 64_000),
        ("10 b", 10),
        (12, 12),
        (np.int64(5), 5),
    ],
)
def test_sizes(size, n_bytes):
    assert parse_bytes("memory_limit", size) == n_bytes


@pytest.mark.parametrize("size", ["", "MB", "1 XB", "-3MB", "0", 0, "1e3", "nan"])
def test_no_sizes(size):
    with pytest.raises(ValueError, match="memory_limit must be"):
        parse_bytes("memory_limit", size)
    with pytest.raises(TypeError, match="memory_limit must be"):
        parse_bytes("memory_limit", 1.5)


def test_what_a_dataset_says(tmp_path):
    dataset = saved(tmp_path)
    assert (dataset.n_samples, dataset.n_features, dataset.dtype, dataset.feature_names) == (N, 5, np.float32, None)
    assert dataset.dtypes == dict.fromkeys("01234", "float32")
    assert not dataset.is_sequential
    assert repr(dataset).startswith(f"Dataset('{tmp_path}/X.npy', n_samples=4,001, n_features=5, shuffled by the order")
    batches = data.from_batches(lambda: iter([(X, Y)]))
    assert batches.is_sequential
    assert batches.n_samples is None
    assert "within windows of 5,208,333 rows, in the order of the source" in repr(batches)


@pytest.mark.parametrize("n", [1, 7, 1_000, 5_000])
def test_head(tmp_path, n):
    head, y = saved(tmp_path).head(n)
    np.testing.assert_array_equal(head, X[:n])
    np.testing.assert_array_equal(y, Y[:n])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", "?", ">f4", ">i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_of_any_dtype_and_order(tmp_path, dtype, order):
    values = np.asarray(np.abs(X * 10).astype(dtype), order=order)
    np.testing.assert_array_equal(rows_of(saved(tmp_path, values)), values)


def test_split_shares_the_rows(tmp_path):
    whole = saved(tmp_path)
    train, test = whole.split(0.25, seed=3)
    inner, outer = train.split(0.5, seed=3)
    assert train.n_samples + test.n_samples == N
    assert test.n_samples / N == pytest.approx(0.25, abs=0.03)
    parts = [rows_of(part) for part in (inner, outer, test)]
    assert [len(rows) for rows in parts] == [inner.n_samples, outer.n_samples, test.n_samples]
    assert inner.n_samples / train.n_samples == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)[:, 0]), np.sort(X[:, 0]))
    np.testing.assert_array_equal(rows_of(whole.split(0.25, seed=3)[1]), parts[2])
    assert rows_of(whole.split(0.25, seed=4)[1]).tolist() != parts[2].tolist()
    for fraction in (0.0, 1.0, -1):
        with pytest.raises(ValueError, match=r"fraction must be within \(0, 1\)"):
            whole.split(fraction)


def test_split_draws_the_same_rows_whatever_the_memory(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [rows_of(saved(tmp_path, memory_limit=limit).split(0.2, seed=3)[1]) for limit in ("1GB", "64kB", "9kB")]
    table = pa.table({str(i): X[:, i] for i in range(5)})
    for n_rows in (N, 300):
        pq.write_table(table, tmp_path / "X.parquet", row_group_size=n_rows)
        parts.append(rows_of(data.from_parquet(tmp_path / "X.parquet").split(0.2, seed=3)[1]))
    batches = [X[i : i + 70] for i in range(0, N, 70)]
    parts.append(rows_of(data.from_batches(batches).split(0.2, seed=3)[1]))
    assert len(parts[0]) > 700
    for part in parts[1:]:
        np.testing.assert_array_equal(part, parts[0])


def test_rows_that_cannot_be_read_count_in_one_part(tmp_path):
    lines = ["a,y", *("1,2,3" if i % 50 == 7 else f"{i},{i}" for i in range(3_000))]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    dataset = data.from_csv(tmp_path / "rows.csv", target="y", on_bad_rows="skip")
    train, test = dataset.split(0.3)
    inner, outer = test.split(0.5)
    assert [part.load()[2] for part in (dataset, train, test, inner, outer)] == [60, 60, 0, 0, 0]
    assert sum(len(part.load()[1]) for part in (train, inner, outer)) == 2_940


@pytest.mark.parametrize("labels", [np.array(["b", "a", "c"]), np.array([3, -1, 7]), np.array([True, False, True])])
def test_labels_are_counted(tmp_path, labels):
    y = labels[np.arange(N) % 3]
    classes, counts = saved(tmp_path, y=y).labels()
    expected, expected_counts = np.unique(y, return_counts=True)
    np.testing.assert_array_equal(classes, expected)
    assert classes.dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(counts, expected_counts)


def test_load_takes_what_fits(tmp_path):
    assert saved(tmp_path).load() is None
    X_all, y_all, n_skipped = saved(tmp_path, memory_limit="1MB").load()
    np.testing.assert_array_equal(X_all, X)
    np.testing.assert_array_equal(y_all, Y)
    assert n_skipped == 0
    assert data.from_batches(iter([(X, Y)])).load() is None  # it would be gone


@pytest.mark.parametrize("limit", ["64kB", "1MB"])
def test_labels_in_a_column_of_their_own(tmp_path, limit):
    y = (Y > 0).astype(float)
    y[7], bad = np.nan, X.copy()
    bad[5, 2] = np.nan
    dataset = saved(tmp_path, bad, y[:, None], memory_limit=limit, on_bad_rows="skip")
    for found, expected in zip(dataset.labels(), np.unique(np.delete(y, 7), return_counts=True), strict=True):
        np.testing.assert_array_equal(found, expected)
    net, flat = (fp.Network([fp.Dense(1)], loss="bce", seed=0) for _ in range(2))
    history = net.fit(dataset, epochs=1, class_weight="balanced")
    expected = flat.fit(saved(tmp_path, bad, y, memory_limit=limit, on_bad_rows="skip"), epochs=1,
                        class_weight="balanced")  # fmt: skip
    assert history["loss"] == expected["loss"]
    assert history["skipped"] == [2]
    y[9] = 3
    with pytest.raises(fp.FileError, match=r"row 9: the label 3\.0 was never seen"):
        net.evaluate(saved(tmp_path, X, np.where(np.isnan(y), 0, y)[:, None], memory_limit=limit))


def test_targets_count_in_the_memory(tmp_path):
    wide = np.ones((N, 20))
    dataset = saved(tmp_path, X[:, :2], wide)
    assert dataset.window_rows() == 64_000 // 8 // (2 * 4 + 20 * 8)
    assert dataset.window_rows(dtype="float32") == 64_000 // 8 // (2 * 4 + 20 * 4)
    assert dataset.rows_in(1, with_targets=False) == 64_000 // 8
    assert saved(tmp_path, X[:, :2], wide, memory_limit="2MB").load() is None
    texts = saved(tmp_path, X[:, :2], np.full(N, "a long label"))
    assert texts.window_rows(labels=Labels(np.array(["a long label"]))) == 64_000 // 8 // (2 * 4 + 4)


# ---- columns and their preparation --------------------------------------------------------------------------------


def test_targets_among_the_columns(tmp_path):
    both = np.column_stack([X, Y])
    dataset = saved(tmp_path, both, None, target=5, ignore=[0])
    head, y = dataset.head(10)
    np.testing.assert_array_equal(head, X[:10, 1:])
    np.testing.assert_array_equal(y, Y[:10])
    _, two = saved(tmp_path, both, None, target=[5, 0]).head(10)
    np.testing.assert_array_equal(two, both[:10, [5, 0]])
    with pytest.raises(ValueError, match="no column '6'"):
        saved(tmp_path, both, None, target=6)
    with pytest.raises(ValueError, match="y_path is given, too"):
        saved(tmp_path, both, Y, target=5)


def table(folder, n=3_000):
    """A CSV file with numbers, gaps and text."""
    rng = np.random.default_rng(1)
    size, place = rng.uniform(1, 9, n), np.array(["town", "coast", ""])[rng.integers(0, 3, n)]
    price = 50 * size + 100 * (place == "coast") + rng.normal(0, 5, n)
    lines = ["size,place,price"]
    lines += [f"{'' if i % 50 == 0 else s:.6},{p},{y:.3f}" if i % 50 else f",{p},{y:.3f}" for i, (s, p, y) in
              enumerate(zip(size, place, price, strict=True))]  # fmt: skip
    (folder / "rooms.csv").write_text("\n".join(lines) + "\n")
    return folder / "rooms.csv", price


def test_a_network_remembers_the_preparation(tmp_path):
    path, price = table(tmp_path)
    dataset = data.from_csv(path, target="price", prepare=True, memory_limit="64kB")
    net = fp.Network([fp.Dense(16, activation="relu"), fp.Dense(1)], seed=0, optimizer=fp.Adam(lr=0.01))
    net.fit(dataset, epochs=10, batch_size=16)
    assert net.evaluate(dataset)["r2"] > 0.95
    net.save(tmp_path / "m.safetensors")
    loaded = fp.load(tmp_path / "m.safetensors")
    assert list(loaded.feature_names_in_) == ["size", "place=", "place=coast", "place=town"]
    raw = data.from_csv(path, memory_limit="64kB")
    predicted = loaded.predict(raw)
    np.testing.assert_array_equal(predicted, net.predict(raw))
    assert 1 - ((predicted - price) ** 2).mean() / price.var() > 0.95  # in the units of the file
    loaded.predict(raw, out=tmp_path / "p.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), predicted)
    assert loaded.evaluate(data.from_csv(path, target="price"))["r2"] == pytest.approx(net.evaluate(dataset)["r2"])


def test_columns_are_found_by_name(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,y\n" + "".join(f"{i},{-i},{2 * i}\n" for i in range(500)))
    (tmp_path / "b.csv").write_text("y,b,other,a\n" + "".join(f"{2 * i},{-i},7,{i}\n" for i in range(500)))
    net = fp.Network([fp.Dense(1)], seed=0)
    net.fit(data.from_csv(tmp_path / "a.csv", target="y"), epochs=1)
    assert list(net.feature_names_in_) == ["a", "b"]
    first, second = (net.predict(data.from_csv(tmp_path / name)) for name in ("a.csv", "b.csv"))
    np.testing.assert_array_equal(first, second)
    (tmp_path / "c.csv").write_text("a,y\n1,2\n")
    with pytest.raises(ValueError, match=r"c\.csv lacks the column 'b'"):
        net.predict(data.from_csv(tmp_path / "c.csv"))


def test_text_needs_a_preparation(tmp_path):
    path, _ = table(tmp_path)
    assert list(data.from_csv(path).dtypes) == ["size", "place", "price"]
    assert data.from_csv(path).dtypes["size"] == "double"
    net = fp.Network([fp.Dense(1)])
    with pytest.raises(
        ValueError, match=r"text in 'place' is no number; prepare=True .*, ignore=\[\.\.\.\] \(--ignore\)"
    ):
        net.fit(data.from_csv(path, target="price"))
    assert not net.is_built


def test_another_preparation_is_refused(tmp_path):
    path, _ = table(tmp_path)
    net = fp.Network([fp.Dense(1)], seed=0)
    dataset = data.from_csv(path, target="price", prepare=True)
    net.fit(dataset, epochs=1)
    other = data.from_csv(path, target="price", prepare=data.Prepare(standardise=False))
    with pytest.raises(ValueError, match="prepared otherwise than what the network was trained on"):
        net.evaluate(other)
    net.evaluate(data.from_csv(path, target="price", prepare=net.preparation_))


def test_prepared_columns_in_another_order_are_refused(tmp_path):
    rows = "".join(f"{i % 7},{i % 5},{i % 7 - 2 * (i % 5)}\n" for i in range(500))
    (tmp_path / "a.csv").write_text("a,b,y\n" + rows)
    turned = "".join(f"{y},{b},{a}\n" for a, b, y in (line.split(",") for line in rows.split()))
    (tmp_path / "b.csv").write_text("y,b,a\n" + turned)
    net = fp.Network([fp.Dense(1)], seed=0)
    net.fit(data.from_csv(tmp_path / "a.csv", "y", prepare=True), epochs=1)
    with pytest.raises(ValueError, match=r"b\.csv is prepared otherwise"):
        net.predict(data.from_csv(tmp_path / "b.csv", "y", prepare=True))
    expected = net.predict(data.from_csv(tmp_path / "a.csv"))
    np.testing.assert_array_equal(net.predict(data.from_csv(tmp_path / "b.csv")), expected)


def test_the_target_is_that_of_the_network(tmp_path):
    """Another file's own preparation may have the same features, but the target in other units."""
    for name, factor in (("a.csv", 1), ("b.csv", 300)):
        rows = "".join(f"{'abc'[i % 3]},{100 + factor * (i % 3)}.5\n" for i in range(300))
        (tmp_path / name).write_text("c,price\n" + rows)
    net = fp.Network([fp.Dense(1)], seed=0, optimizer=fp.Adam(lr=0.05))
    net.fit(data.from_csv(tmp_path / "a.csv", "price", prepare=True), epochs=30, batch_size=16)
    assert net.evaluate(data.from_csv(tmp_path / "a.csv", "price", prepare=True))["r2"] > 0.99
    learnt = net.preparation_
    own = data.from_csv(tmp_path / "b.csv", "price", prepare=True)
    assert net.evaluate(own) == net.evaluate(data.from_csv(tmp_path / "b.csv", "price"))
    assert net.evaluate(own)["r2"] < 0
    net.fit(own, epochs=1)
    assert net.preparation_ == learnt


def test_networks_without_a_preparation_take_columns_as_they_are(tmp_path):
    path, _ = table(tmp_path)
    net = fp.Network([fp.Dense(1)], seed=0)
    net.fit(data.from_csv(path, "price", ignore=["place"], on_bad_rows="skip"), epochs=1)
    prepared = data.from_csv(path, "price", ignore=["place"], prepare=True)
    for use in (net.predict, net.evaluate, net.fit):
        with pytest.raises(ValueError, match="is prepared, but the network was trained on columns as they are"):
            use(prepared)


def test_only_our_rows_are_learnt_from(tmp_path):
    path, _ = table(tmp_path)
    train, test = data.from_csv(path, target="price").split(0.5)
    means = [part.prepare().preparation.columns["size"].mean for part in (train, test)]
    assert means[0] != means[1]
    prepared = test.prepare(train.prepare().preparation)
    assert prepared.preparation.columns["size"].mean == means[0]
    with pytest.raises(TypeError, match="prepare must be"):
        train.prepare("yes")


# ---- batches ------------------------------------------------------------------------------------------------------


def test_batches_of_frames_have_names():
    pandas = pytest.importorskip("pandas")
    frames = [(pandas.DataFrame(X[i : i + 100], columns=list("abcde")), Y[i : i + 100]) for i in range(0, N, 100)]
    dataset = data.from_batches(lambda: iter(frames))
    assert dataset.feature_names == tuple("abcde")
    np.testing.assert_array_equal(rows_of(dataset), X)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "batches are empty"),
        ([(X, Y[:-1])], "batch 0 of the iterator: y has 4000 rows but X has 4001"),
        ([(X, Y), (X[:, 0], Y)], "batch 1 of the iterator: X must be 2-D"),
        ([(X, Y), (X[:, :3], Y)], r"batch 1 of the iterator has 3 columns \(dense\) and y, those before 5 columns"),
        ([(X, Y), X], r"batch 1 of the iterator has 5 columns \(dense\) and no y, those before"),
    ],
)
def test_batches_that_do_not_fit(batches, message):
    with pytest.raises(ValueError, match=message):
        fp.Network([fp.Dense(1)]).fit(data.from_batches(lambda: iter(batches), memory_limit="64kB"), epochs=1)


def test_columns_of_frames_must_be_the_same_in_all_batches():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    for other, has in ((frame[["b", "a"]], "the columns 'b', 'a'"), (frame.to_numpy(), "no names of columns")):
        with pytest.raises(fp.FileError, match=f"batch 1 of the iterator has {has}, those before the columns 'a', 'b'"):
            data.from_batches([(frame, [1, 2]), (other, [1, 2])]).load()


def test_batches_may_be_lists_of_x_and_y():
    pairs = data.from_batches([[X[:100], Y[:100]], [X[100:], Y[100:]]])
    assert pairs.has_target
    np.testing.assert_array_equal(pairs.load()[1], Y)
    rows = data.from_batches([[[1.0, 2.0], [3.0, 4.0]]])  # a list of two rows is X alone
    assert (rows.has_target, rows.load()[0].tolist()) == (False, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("n", "message"), [(N - 1, rf"more rows than n_samples={N - 1}: batch 1"), (N + 1, f"hold {N} rows, fewer than")]
)
def test_a_wrong_number_of_samples(n, message):
    batches = [(X[:100], Y[:100]), (X[100:], Y[100:])]
    for limit in ("1GB", "64kB"):
        with pytest.raises(fp.FileError, match=message):
            fp.Network([fp.Dense(1)]).fit(data.from_batches(batches, n_samples=n, memory_limit=limit), epochs=1)
    with pytest.raises(ValueError, match="n_samples must be a positive"):
        data.from_batches(batches, n_samples=-5)
    assert data.from_batches(batches, n_samples=N).load()[2] == 0


def test_batches_must_be_iterable():
    with pytest.raises(TypeError, match="from_batches takes an iterable or a function"):
        data.from_batches(3)


def test_batches_of_a_list_are_read_again():
    dataset = data.from_batches([(X[:2_000], Y[:2_000]), (X[2_000:], Y[2_000:])], memory_limit="64kB", n_samples=N)
    net = fp.Network([fp.Dense(1)], seed=0)
    assert len(net.fit(dataset, epochs=3)["loss"]) == 3
    assert dataset.n_samples == N


def in_batches(y, n=100):
    return ((X[i : i + n], y[i : i + n]) for i in range(0, N, n))


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0], [False, True]])
def test_an_iterator_whose_first_batch_lacks_a_class(labels):
    order = np.argsort(Y)
    y = np.array(labels)[(Y > 0).astype(int)]
    net = fp.Network([fp.Dense(1)], loss="bce", seed=0)
    batches = ((X[order[i : i + 100]], y[order[i : i + 100]]) for i in range(0, N, 100))
    assert len(net.fit(data.from_batches(batches, memory_limit="64kB"), epochs=1)["loss"]) == 1
    assert net.classes_.tolist() == labels


def test_an_iterator_whose_labels_would_need_a_pass():
    texts = np.where(np.arange(N) < 500, "no", "yes")
    net = fp.Network([fp.Dense(1)], loss="bce")
    for y, options in ((texts, {}), (np.arange(N) % 2, {"class_weight": "balanced"})):
        dataset = data.from_batches(in_batches(y), memory_limit="64kB")
        with pytest.raises(ValueError, match=r"batches can be read once, and .* labels .*give from_batches a function"):
            net.fit(dataset, epochs=1, **options)
        assert dataset.head(1)[0].shape == (1, 5)  # nothing of it is gone
    with pytest.raises(ValueError, match="batches can be read once"):
        data.from_batches(in_batches(texts)).partial_fit(fp.SGDClassifier())


# ---- estimators ---------------------------------------------------------------------------------------------------


def test_the_loop_of_partial_fit(tmp_path):
    from sklearn.linear_model import SGDRegressor

    dataset = saved(tmp_path, memory_limit="256kB")
    for model in (SGDRegressor(random_state=0), fp.SGDRegressor(random_state=0), fp.MLPRegressor(random_state=0)):
        assert dataset.partial_fit(model, epochs=20, seed=1) is model
        assert model.score(X, Y) > 0.9


def test_the_loop_of_partial_fit_knows_all_classes(tmp_path):
    y = np.array(["left", "right"])[(np.sort(Y) > 0).astype(int)]
    dataset = saved(tmp_path, X[np.argsort(Y)], y, memory_limit="64kB")
    for model in (fp.SGDClassifier(loss="log_loss", random_state=0), fp.MLPClassifier(random_state=0)):
        dataset.partial_fit(model, epochs=10)
        assert model.classes_.tolist() == ["left", "right"]
        assert model.score(X[np.argsort(Y)], y) > 0.9


def test_the_loop_of_partial_fit_is_for_estimators(tmp_path):
    with pytest.raises(
        TypeError, match=r"takes an estimator with scikit-learn's interface.* Network.fit takes a dataset"
    ):
        saved(tmp_path).partial_fit(fp.Network([fp.Dense(1)]))


@pytest.mark.parametrize("kind", [fp.SGDClassifier, fp.SGDRegressor, fp.MLPClassifier, fp.MLPRegressor])
def test_estimators_name_the_loop_of_partial_fit(tmp_path, kind):
    dataset, model = saved(tmp_path), kind()
    message = rf"{kind.__name__}\.fit takes arrays, got a Dataset: data\.partial_fit\(model, epochs=1\)"
    with pytest.raises(TypeError, match=message):
        model.fit(dataset)
    with pytest.raises(TypeError, match=message):
        model.fit(X=dataset, y=None)


def test_the_loop_of_partial_fit_on_csr():
    S = sparse.random_array((2_000, 30), density=0.2, format="csr", rng=np.random.default_rng(0))
    y = np.asarray(S.sum(axis=1)).ravel() > np.median(S.sum(axis=1))
    batches = [(S[i : i + 100], y[i : i + 100]) for i in range(0, 2_000, 100)]
    model = fp.SGDClassifier(random_state=0)
    data.from_batches(batches, memory_limit="64kB").partial_fit(model, epochs=10)
    assert model.score(S, y) > 0.9


# ---- files that are none ------------------------------------------------------------------------------------------


def test_npy_files_that_are_none(tmp_path):
    path = tmp_path / "bad.npy"
    path.write_bytes(b"not an array")
    with pytest.raises(fp.FileError, match=r"cannot read .*bad\.npy: not an \.npy file"):
        data.from_npy(path)
    np.save(path, np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(fp.FileError, match="it holds Python objects"):
        data.from_npy(path)
    for array, message in [
        (np.zeros(3), "X must be 2-D"),
        (np.zeros((2, 2, 2)), "must have 1 or 2 dimensions"),
        (np.zeros((0, 2)), "not be empty"),
        (np.zeros((2, 2), complex), "X must hold real numbers, got dtype complex128"),
        (np.array([["a"]]), "X must hold real numbers, got dtype <U1"),
    ]:
        np.save(path, array)
        with pytest.raises(fp.FileError, match=message):
            data.from_npy(path)
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(fp.FileError, match="it is truncated: 80048 bytes instead of 80148"):
        data.from_npy(path)
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        data.from_npy(tmp_path / "none.npy")


def test_targets_of_another_length(tmp_path):
    with pytest.raises(fp.FileError, match=r"y\.npy has 4000 rows, but .*X\.npy has 4001"):
        saved(tmp_path, y=Y[:-1])


def test_data_without_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "none.csv").write_text("a,y\n")
    (tmp_path / "none.svm").write_text("")
    pq.write_table(pa.table({"a": pa.array([], "f8"), "y": pa.array([], "f8")}), tmp_path / "none.parquet")
    made = {
        "none.csv": data.from_csv(tmp_path / "none.csv", target="y"),
        "none.svm": data.from_libsvm(tmp_path / "none.svm", n_features=2),
        "none.parquet": data.from_parquet(tmp_path / "none.parquet", target="y"),
    }
    for name, dataset in made.items():
        for use in (lambda d: fp.Network([fp.Dense(1)]).fit(d), lambda d: d.head(3), lambda d: d.load(), repr):
            with pytest.raises(fp.FileError, match=rf"{name} holds no rows$"):
                use(dataset)


@pytest.mark.parametrize("limit", ["64kB", "1GB"])
def test_a_part_without_rows(tmp_path, limit):
    part = saved(tmp_path, memory_limit=limit).split(1e-9)[1]
    for use in (lambda d: fp.Network([fp.Dense(1)]).fit(d, epochs=1), lambda d: d.head(3)):
        with pytest.raises(fp.FileError, match=r"this part of a split of .*X\.npy holds no rows: split it otherwise"):
            use(part)
    with pytest.raises(ValueError, match=r"this part of a split|leaves no rows to validate with"):
        fp.Network([fp.Dense(1)]).fit(saved(tmp_path, memory_limit=limit), validation_fraction=1e-9, epochs=1)


def test_one_column_may_be_named_alone(tmp_path):
    (tmp_path / "d.csv").write_text("id,d,price\n1,2,3\n4,5,6\n")
    assert data.from_csv(tmp_path / "d.csv", "price", ignore="id").feature_names == ("d",)
    assert data.from_csv(tmp_path / "d.csv", "price", text="id").source.columns["id"] == "text"
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pytest.importorskip("pyarrow").table({"id": [1], "d": [2], "price": [3]}), tmp_path / "d.parquet")
    assert data.from_parquet(tmp_path / "d.parquet", "price", ignore="id").feature_names == ("d",)
    np.save(tmp_path / "X.npy", X)
    for target, ignore in ((4, 3), (np.int64(4), np.int8(3)), (np.array([4]), {3})):
        dataset = data.from_npy(tmp_path / "X.npy", target=target, ignore=ignore)
        assert (dataset.feature_names, dataset.features.targets) == (("0", "1", "2"), ("4",))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": -1}, ValueError, "target must count columns from 0, got -1"),
        ({"target": 5}, fp.FileError, r"no column '5' in .*X\.npy"),
        ({"target": "4"}, TypeError, "target must give columns by their numbers, got '4'"),
        ({"ignore": [1.0]}, TypeError, r"ignore must give columns by their numbers, got 1\.0"),
        ({"ignore": [True]}, TypeError, "ignore must give columns by their numbers, got True"),
    ],
)
def test_columns_of_npy_files_are_numbers(tmp_path, options, error, message):
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(error, match=message):
        data.from_npy(tmp_path / "X.npy", **options)


@pytest.mark.parametrize("prepare", [None, True])
def test_parquet_without_rows(tmp_path, prepare):
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    rows = pa.table({"a": [1.0, 2.0], "y": [1.0, 0.0]})
    pq.write_table(rows.slice(0, 0), tmp_path / "0.parquet")
    pq.write_table(rows, tmp_path / "1.parquet")
    with pytest.raises(fp.FileError, match=r"0\.parquet holds no rows"):
        fp.Network([fp.Dense(1)]).fit(data.from_parquet(tmp_path / "0.parquet", "y", prepare=prepare), epochs=1)
    both = data.from_parquet([tmp_path / "0.parquet", tmp_path / "1.parquet"], "y", prepare=prepare)
    assert len(both.load()[0]) == 2


def test_arguments_of_datasets(tmp_path):
    with pytest.raises(ValueError, match="unknown on_bad_rows 'ignore'"):
        saved(tmp_path, on_bad_rows="ignore")
    with pytest.raises(ValueError, match="memory_limit must be a size"):
        saved(tmp_path, memory_limit="much")
    with pytest.raises(ValueError, match="n must be"):
        saved(tmp_path).head(0)


def test_a_file_that_is_too_large_by_far_is_not_read_to_find_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "".join(f"{i},{2 * i}\n" for i in range(100_000)))
    dataset = data.from_csv(path, target="y", memory_limit="100kB")
    assert dataset.source.likely_rows == pytest.approx(100_000, rel=0.2)
    assert data.from_csv(path, target="y").load()[0].shape == (100_000, 1)
    read, n_read = dataset.source.read, []
    dataset.head()
    dataset.source.read = lambda *arguments: n_read.append(arguments) or read(*arguments)
    assert dataset.load() is None
    assert not n_read
