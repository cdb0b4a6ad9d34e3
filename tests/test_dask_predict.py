"""Predicting and evaluating by partition is lazy, keeps chunks and indices, and gives what a network gives."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

import fastprop as fp
from fastprop.dask import lazy

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 4)).astype(np.float32)
LABELS = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")
NUMBERS = np.stack([X[:, 0], X[:, 1] * X[:, 2]], axis=1)


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def classifier():
    net = fp.Network([fp.Dense(5, "tanh"), fp.Dense(2)], loss="cross_entropy")
    net.fit(pd.DataFrame(X, columns=list("abcd")), LABELS, epochs=3, progress=False)
    return net


@pytest.fixture(scope="module")
def regressor():
    net = fp.Network([fp.Dense(5, "tanh"), fp.Dense(2)])
    net.fit(X, NUMBERS, epochs=3, progress=False)
    return net


def test_dask_arrays_keep_their_chunks(classifier):
    lazily = lazy.predict(classifier, da.from_array(X, chunks=(70, 3)))
    expected = classifier.predict(X)
    assert lazily.chunks == ((70, 70, 70, 70, 20),)
    assert lazily.dtype == expected.dtype
    assert isinstance(lazily._meta, np.ndarray)
    np.testing.assert_array_equal(lazily.compute(), expected)
    proba = lazy.predict_proba(classifier, da.from_array(X, chunks=(100, 4)))
    assert proba.chunks == ((100,) * 3, (2,))
    assert proba.dtype == np.float32
    np.testing.assert_array_equal(proba.compute(), classifier.predict_proba(X))


def test_several_outputs_come_as_columns(regressor):
    lazily = lazy.predict(regressor, da.from_array(X, chunks=(100, 4)))
    assert lazily.chunks == ((100,) * 3, (2,))
    np.testing.assert_array_equal(lazily.compute(), regressor.predict(X))
    scores = lazy.decision_function(regressor, da.from_array(X, chunks=(100, 4)))
    np.testing.assert_array_equal(scores.compute(), regressor.predict(X))


def test_chunks_of_unknown_size_and_sparse_ones(regressor):
    array = da.from_array(X, chunks=(100, 4))
    unknown = array[array[:, 0] > 0]
    np.testing.assert_array_equal(lazy.predict(regressor, unknown).compute(), regressor.predict(X[X[:, 0] > 0]))
    nothing = array[array[:, 0] > 100]
    assert lazy.predict(regressor, nothing).compute().shape == (0, 2)
    sparse = array.map_blocks(scipy.sparse.csr_matrix, dtype=X.dtype, meta=scipy.sparse.csr_matrix((0, 0), dtype="f4"))
    np.testing.assert_allclose(lazy.predict(regressor, sparse).compute(), regressor.predict(X), rtol=1e-5, atol=1e-6)


def test_data_frames_keep_their_index(classifier):
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(300) * 2)
    lazily = lazy.predict(classifier, dd.from_pandas(frame, npartitions=3))
    assert isinstance(lazily, dd.Series)
    found = lazily.compute()
    np.testing.assert_array_equal(found.index, frame.index)
    np.testing.assert_array_equal(found, classifier.predict(X))
    proba = lazy.predict_proba(classifier, dd.from_pandas(frame, npartitions=3))
    assert list(proba.columns) == ["p(no)", "p(yes)"]
    np.testing.assert_array_equal(proba.compute(), classifier.predict_proba(X))


def test_columns_in_another_order_are_refused_at_once(classifier):
    frame = pd.DataFrame(X, columns=list("abdc"))
    with pytest.raises(ValueError, match="another order"):
        lazy.predict(classifier, dd.from_pandas(frame, npartitions=3))
    with pytest.raises(ValueError, match=r"shape \(n_samples, 4\), got \(300, 3\)"):
        lazy.predict(classifier, da.from_array(X[:, :3], chunks=100))


def test_lists_of_delayed_objects_give_lists(classifier):
    parts = lazy.predict(classifier, [dask.delayed(X[:100]), dask.delayed(X[100:])])
    assert [part.__class__.__name__ for part in parts] == ["Delayed", "Delayed"]
    np.testing.assert_array_equal(np.concatenate(dask.compute(*parts)), classifier.predict(X))


def test_weights_are_those_of_the_call(regressor):
    lazily, expected = lazy.predict(regressor, da.from_array(X, chunks=(100, 4))), regressor.predict(X)
    net = regressor
    weights = net.get_weights()
    net.set_weights([(W * 2, b) for W, b in weights])
    np.testing.assert_array_equal(lazily.compute(), expected)
    net.set_weights(weights)


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_files_are_predicted_in_the_order_of_their_rows(tmp_path, monkeypatch, classifier, ending):
    path = tmp_path / f"X.{ending}"
    if ending == "npy":
        np.save(path, X)
    else:
        pq.write_table(pa.table(dict(zip("dcba", X.T[::-1], strict=True)) | {"more": LABELS}), path, row_group_size=40)
    monkeypatch.setattr("fastprop.dask.file_parts.PASS_BYTES", 1000)
    lazily = lazy.predict(classifier, path)
    assert len(lazily.chunks[0]) > 2
    assert sum(lazily.chunks[0]) == 300
    np.testing.assert_array_equal(lazily.compute(), classifier.predict(X))
    scores = lazy.decision_function(classifier, path).compute()
    np.testing.assert_array_equal(scores, lazy.decision_function(classifier, X))
    proba = lazy.predict_proba(classifier, path).compute()
    np.testing.assert_array_equal(proba, classifier.predict_proba(X))
    np.testing.assert_array_equal(lazy.predict_log_proba(classifier, path).compute(), np.log(proba))


def test_evaluate_is_that_of_a_network(classifier, regressor, tmp_path, monkeypatch):
    array, labels = da.from_array(X, chunks=(70, 4)), da.from_array(LABELS, chunks=70)
    lazily = lazy.evaluate(classifier, array, labels)
    assert lazily.__class__.__name__ == "Delayed"
    assert lazily.compute() == pytest.approx(classifier.evaluate(X, LABELS), rel=1e-6)
    expected = pytest.approx(regressor.evaluate(X, NUMBERS), rel=1e-6)
    pairs = [dask.delayed((X[:0], NUMBERS[:0])), dask.delayed((X[:150], NUMBERS[:150]))]
    pairs.append(dask.delayed((X[150:], NUMBERS[150:])))
    assert lazy.evaluate(regressor, pairs).compute() == expected
    assert lazy.evaluate(regressor, X, NUMBERS).compute() == expected
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", NUMBERS)
    monkeypatch.setattr("fastprop.dask.file_parts.PASS_BYTES", 1000)
    assert lazy.evaluate(regressor, tmp_path / "X.npy", tmp_path / "y.npy").compute() == expected


def test_a_partition_that_cannot_be_evaluated_is_named(classifier):
    labels = LABELS.astype("<U5")
    labels[250] = "maybe"
    with pytest.raises(ValueError, match="y of partition 2 has labels never seen in fit: 'maybe'"):
        lazy.evaluate(classifier, da.from_array(X, chunks=(100, 4)), da.from_array(labels, chunks=100)).compute()


@pytest.mark.parametrize("kind", ["arrays", "frames", "lists", "sparse", "evaluate"])
def test_the_partition_of_a_nan_is_named(classifier, kind):
    bad = X.copy()
    bad[207, 3] = np.nan
    array, frame = da.from_array(bad, chunks=(100, 4)), pd.DataFrame(bad, columns=list("abcd"))
    blocks = [dask.delayed(bad[first : first + 100]) for first in (0, 100, 200)]
    lazily = {
        "arrays": lambda: [lazy.predict(classifier, array)],
        "frames": lambda: [lazy.predict(classifier, dd.from_pandas(frame, npartitions=3))],
        "lists": lambda: lazy.predict_proba(classifier, blocks),
        "sparse": lambda: lazy.predict(classifier, [dask.delayed(scipy.sparse.csr_matrix)(block) for block in blocks]),
        "evaluate": lambda: [lazy.evaluate(classifier, array, da.from_array(LABELS, chunks=100))],
    }[kind]()
    column = {"frames": ", column 'd'", "sparse": ""}.get(kind, ", column 3")
    with pytest.raises(ValueError, match=f"X of partition 2 must be finite.*, got nan in row 7{column}; fill"):
        dask.compute(*lazily)


def test_rows_in_memory_are_predicted_at_once(classifier):
    np.testing.assert_array_equal(lazy.predict(classifier, X), classifier.predict(X))
