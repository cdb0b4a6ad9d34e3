"""What does not fit is refused before the first round, by the number of its partition; the network is as before."""

from __future__ import annotations

import copy
import os
import pickle
import re

import numpy as np
import pytest
from dask_clusters import local

pytest.importorskip("distributed")

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse

import fastprop as fp
from fastprop.dask import datasets, inputs
from fastprop.dask.course import fit
from fastprop.dask.file_parts import FilePart

rng = np.random.default_rng(0)
N, P = 80, 4
X = rng.normal(size=(N, 3)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(int)
CUTS = [slice(first, first + N // P) for first in range(0, N, N // P)]


@pytest.fixture(scope="module")
def client():
    with local(2) as client:
        yield client


@pytest.fixture(autouse=True)
def no_round(monkeypatch):
    """A round would fail otherwise than expected."""
    monkeypatch.setattr("fastprop.dask.course.Course.run", lambda *_: pytest.fail("training has begun"))


def network(loss="cross_entropy", n_outputs=2, **options):
    return fp.Network([fp.Dense(4), fp.Dense(n_outputs)], loss=loss, **options)


def refused(client, error, message, X, y, net=None, **options):
    net = network() if net is None else net
    before = copy.copy(net.__dict__)
    with pytest.raises(error, match=message):
        fit(net, X, y, client=client, progress=False, **{"n_partitions": P} | options)
    assert {k: v for k, v in net.__dict__.items() if k[0] != "_"} == {k: v for k, v in before.items() if k[0] != "_"}
    assert net.is_built == (before["_plan"] is not None)


def changed(array, change):
    """The partitions of an array as delayed objects; number 2 is changed."""
    parts = [array[cut].copy() for cut in CUTS]
    parts[2] = change(parts[2])
    return [dask.delayed(part) for part in parts]


def with_value(row, column, value):
    def change(part):
        part[row, column] = value
        return part

    return change


def objects(part):
    return part.astype(object)


OF_X = {
    "width": (lambda part: part[:, :2], ValueError, "X of partition 2 has 2 columns, that of partition 0 3"),
    "dtype": (
        lambda part: part.astype("u1"),
        TypeError,
        r"X of partition 2 has dtype uint8, .* float32: make them one",
    ),
    "objects": (objects, TypeError, "X of partition 2 must hold real numbers.*got dtype object; convert it"),
    "text": (lambda part: part.astype(str), TypeError, "X of partition 2 must hold real numbers.*encode strings"),
    "complex": (lambda part: part + 1j, TypeError, "X of partition 2 must hold real numbers"),
    "nan": (with_value(7, 1, np.nan), ValueError, "X of partition 2 must be finite, got nan in row 7, column 1"),
    "infinite": (with_value(3, 0, -np.inf), ValueError, "X of partition 2 must be finite, got -inf in row 3, column 0"),
    "1-D": (lambda part: part[:, 0], ValueError, "X of partition 2 must be 2-D, got a 1-D array"),
    "fewer rows": (lambda part: part[:5], ValueError, "y of partition 2 has 20 rows but X has 5"),
    "no rows": (lambda part: part[:0], ValueError, "y of partition 2 has 20 rows but X has 0"),
    "no array": (lambda part: 5, TypeError, "X of partition 2 must be a 2-D array or a data frame, got int"),
    "csc": (scipy.sparse.csc_matrix, TypeError, "X of partition 2 is a sparse matrix in CSC format"),
    "named": (
        lambda part: pd.DataFrame(part, columns=list("abc")),
        ValueError,
        "X of partition 2 has names of columns",
    ),
}


@pytest.mark.parametrize("case", OF_X)
def test_x_of_one_partition(client, case):
    change, error, message = OF_X[case]
    refused(client, error, message, changed(X, change), [dask.delayed(LABELS[cut]) for cut in CUTS])


def test_rows_to_validate_with(client):
    y = [dask.delayed(LABELS[cut]) for cut in CUTS]
    bad = changed(X, with_value(7, 1, np.nan))
    refused(client, ValueError, "X_val of partition 2 must be finite, got nan", X, LABELS, X_val=bad, y_val=y)
    message = "X_val of partition 0 has 2 features, expected 3"
    refused(client, ValueError, message, X, LABELS, X_val=X[:, :2], y_val=LABELS)
    refused(
        client, ValueError, "y_val of partition 2 has labels never seen", X, LABELS, X_val=X, y_val=np.arange(N) // 20
    )
    arrays = da.from_array(X, chunks=20), da.from_array(LABELS, chunks=20)
    refused(client, ValueError, "X_val, y_val: y must be given beside a dask array", *arrays, X_val=arrays[0])


def test_numbers_beyond_float32(client):
    blocks = changed(X.astype(float), with_value(4, 2, 1e300))
    refused(client, ValueError, r"X of partition 2 must be finite in float32, got 1e\+300 in row 4, column 2", blocks,
            [dask.delayed(LABELS[cut]) for cut in CUTS])  # fmt: skip


def test_nan_in_a_sparse_partition(client):
    bad = X.copy()
    bad[47, 1] = np.nan
    blocks = [dask.delayed(scipy.sparse.csr_matrix(bad[cut])) for cut in CUTS]
    refused(client, ValueError, "X of partition 2 must be finite in float32, got nan in row 7", blocks,
            [dask.delayed(LABELS[cut]) for cut in CUTS])  # fmt: skip


OF_Y = {
    "shape": (lambda part: part[:, None] + [0, 1], ValueError, "y of partition 2|2-D y of partition 2"),
    "columns": (
        lambda part: part[:, None],
        ValueError,
        r"y of partition 2 has the shape \(n, 1\), that of partition 0",
    ),
    "too many labels": (lambda part: np.arange(20), ValueError, "y of partition 2 has 20 distinct labels"),
    "another label": (lambda part: part + 1, ValueError, "y of partition 2 has the labels 1, 2.*there are 3"),
    "fractions": (lambda part: part + 0.5, ValueError, "labels in y of partition 2 must be whole numbers, got"),
    "nan": (lambda part: np.where(np.arange(20) == 3, np.nan, part), ValueError, "y of partition 2 must be finite"),
    "none": (lambda part: np.array([None, *part[1:]], object), TypeError, "labels in y of partition 2.*row 0 has none"),
    "text": (lambda part: part.astype(str), TypeError, "labels in y must be of one type: in partition 2 they are no n"),
    "rows": (lambda part: part[1:], ValueError, "y of partition 2 has 19 rows but X has 20"),
    "nothing": (lambda part: None, ValueError, "y of partition 2 is missing"),
}


@pytest.mark.parametrize("case", OF_Y)
def test_y_of_one_partition(client, case):
    change, error, message = OF_Y[case]
    refused(client, error, message, [dask.delayed(X[cut]) for cut in CUTS], changed(LABELS, change))


def test_labels_that_a_trained_network_does_not_know(client):
    net = network()
    net.fit(X, np.where(LABELS, "a", "b"), epochs=1, progress=False)
    labels = np.where(LABELS, "a", "b").astype("<U2")
    labels[70] = "zz"
    refused(
        client, ValueError, "y of partition 3 has labels never seen in fit: 'zz'; known are 'a', 'b'", X, labels, net
    )


@pytest.mark.parametrize(
    ("y", "n_outputs", "message"),
    [
        (np.where(np.arange(N) == 45, np.inf, 1.0), 1, "y of partition 2 must be finite, got inf in row 5"),
        (np.ones((N, 3)), 2, r"y of partition 0 must have shape \(n_samples, 2\), got"),
    ],
)
def test_numbers_to_predict(client, y, n_outputs, message):
    refused(client, ValueError, message, X, y, network("mse", n_outputs))


def test_weights(client):
    weights = np.ones(N)
    weights[65] = -1
    refused(client, ValueError, "sample_weight of partition 3 must be >= 0, got -1.0 in row 5", X, LABELS,
            sample_weight=weights)  # fmt: skip
    refused(client, ValueError, "sample_weight must not be zero for all samples", X, LABELS, sample_weight=np.zeros(N))
    refused(client, ValueError, "sample_weight has 79 rows but X has 80", X, LABELS, sample_weight=weights[1:])
    arrays = da.from_array(X, chunks=20), da.from_array(LABELS, chunks=20)
    refused(client, ValueError, "partition 1 of sample_weight has 40 rows but that of X 20", *arrays,
            sample_weight=da.from_array(weights, chunks=((20, 40, 20),)))  # fmt: skip
    refused(client, ValueError, "class_weight has unknown labels 7; known are 0, 1", *arrays, class_weight={7: 1.0})
    refused(client, ValueError, "class_weight needs labels", X, X[:, :2], network("mse"), class_weight="balanced")


# ---- collections --------------------------------------------------------------------------------------------------


def test_chunks_of_unknown_size(client):
    array = da.from_array(X, chunks=20)
    message = r"X has chunks of unknown size: call X.compute_chunk_sizes\(\) first"
    refused(client, ValueError, message, array[array[:, 0] > 0], da.from_array(LABELS, chunks=20))


def test_chunks_of_y_that_do_not_fit(client):
    array = da.from_array(X, chunks=20)
    message = "partition 0 of y has 40 rows but that of X 20: give y.rechunk({0: X.chunks[0]})"
    refused(client, ValueError, re.escape(message), array, da.from_array(LABELS, chunks=40))
    refused(client, ValueError, "y has 60 rows but X has 80", array, da.from_array(LABELS[:60], chunks=20))
    refused(client, TypeError, "y must be a dask array beside one, got ndarray", array, LABELS)
    series = dd.from_pandas(pd.Series(LABELS), npartitions=P)
    refused(client, TypeError, r"y must be a dask array beside one, got Series; its to_dask_array\(l", array, series)
    refused(client, ValueError, "y must be given", array, None)
    refused(client, ValueError, r"X must be 2-D \(n_samples, n_features\), got shape \(80,\)", array[:, 0], array[:, 0])


def test_data_frames(client):
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")).assign(y=LABELS), npartitions=P)
    refused(client, ValueError, "y names 'z', which is no column of X: a, b, c, y", frame, "z")
    refused(client, ValueError, "y has 2 partitions but X has 4", frame, frame["y"].repartition(npartitions=2))
    words = frame.assign(word=frame["a"].astype(str))
    refused(client, TypeError, "X of partition 0 must hold real numbers; encode or drop the columns 'word'", words, "y")
    net = network()
    net.fit(pd.DataFrame(X, columns=list("acb")), LABELS, epochs=1, progress=False)
    message = "X of partition 0 must have the columns as those of the fit before; it has them in another order"
    refused(client, ValueError, message, frame, "y", net)


def test_data_frames_with_other_columns(client):
    frames = [pd.DataFrame(X[cut], columns=list("abc")) for cut in CUTS]
    y = [dask.delayed(LABELS[cut]) for cut in CUTS]
    for changes, error, message in (
        ({"columns": {"b": "d"}}, ValueError, "X of partition 3 must have the columns.*lacks 'b' and adds 'd'"),
        ({}, TypeError, "X of partition 3, column 'b', has dtype int64, that of partition 0 float32"),
    ):
        last = frames[3].rename(**changes) if changes else frames[3].assign(b=1)
        refused(client, error, message, [dask.delayed(frame) for frame in [*frames[:3], last]], y)


def test_lists(client):
    blocks = [dask.delayed(X[cut]) for cut in CUTS]
    refused(client, ValueError, "y has 3 partitions but X has 4", blocks, blocks[:3])
    refused(client, TypeError, "y must be a list of delayed objects or futures as X is, got ndarray", blocks, LABELS)
    refused(client, ValueError, r"y of partition 0 is missing: lists of X alone must hold pairs", blocks, None)
    refused(client, TypeError, "X is one delayed object or future: give a list", blocks[0], None)


def test_a_partition_that_cannot_be_made(client):
    blocks = [dask.delayed(X[cut]) for cut in CUTS]
    blocks[1] = dask.delayed(lambda: 1 / 0)()
    y = [dask.delayed(LABELS[cut]) for cut in CUTS]
    refused(client, ValueError, "partition 1 could not be made: ZeroDivisionError: division by zero", blocks, y)


def test_no_rows_at_all(client):
    empty = da.from_array(X, chunks=20)[:0], da.from_array(LABELS, chunks=20)[:0]
    refused(client, ValueError, "X is empty: none of its 1 partitions has rows", *empty)
    refused(client, ValueError, "X is empty: it has 0 rows", X[:0], LABELS[:0])


def test_nothing_to_validate_with_or_to_train_on(client):
    refused(client, ValueError, "validation_fraction=0.01 .* leaves none to validate with", X, LABELS,
            validation_fraction=0.01)  # fmt: skip
    blocks = [[dask.delayed(a[cut]) for cut in (slice(1), slice(1, N))] for a in (X, LABELS)]
    refused(client, ValueError, "validation_fraction=0.6 of the 1 rows of partition 0 leaves none to train on", *blocks,
            validation_fraction=0.6)  # fmt: skip


OF_MEMORY = pd.DataFrame(X, columns=list("abc")).assign(label=LABELS)


def test_rows_in_memory_by_the_names_of_columns(client):
    refused(client, ValueError, "y names 'z', which is no column of X: a, b, c, label", OF_MEMORY, "z")
    refused(client, ValueError, "y names 'label', which is no column of X$", X, "label")
    refused(client, TypeError, "y must be an array with a value for each row, got 3", X, 3)
    refused(client, TypeError, r"X is a list of arrays: give np.concatenate\(X\), or \[dask.delayed", [X, X], LABELS)


@pytest.mark.parametrize("make", [pd.DataFrame, pa.Table.from_pandas], ids=["pandas", "pyarrow"])
def test_columns_of_rows_in_memory_as_targets(make):
    table = OF_MEMORY if make is pd.DataFrame else make(OF_MEMORY)
    blocks = inputs.blocks_of(table, "label", None, 2)
    np.testing.assert_array_equal(np.concatenate(blocks.y), LABELS)
    assert [part.shape for part in blocks.X] == [(40, 3)] * 2
    blocks = inputs.blocks_of(table, ["a", "b"], None, 2)
    np.testing.assert_array_equal(np.concatenate(blocks.y), X[:, :2])
    words = np.where(LABELS, "a", "b").tolist()  # labels, though each is the name of a column
    np.testing.assert_array_equal(np.concatenate(inputs.blocks_of(table, words, None, 2).y), words)


def test_futures_that_the_scheduler_has_not(client):
    with local(1) as other:
        futures = other.scatter([X[cut] for cut in CUTS])
        y = [dask.delayed(LABELS[cut]) for cut in CUTS]
        refused(client, ValueError, "X of partition 0 is on the cluster of .*, but the client is for", futures, y)
    refused(client, ValueError, "X of partition 0 is a future that was cancelled", futures, y)


def test_an_estimator_is_no_network(client):
    with pytest.raises(TypeError, match=r"net must be a fastprop.Network, got MLPClassifier; .*DaskMLPClassifier"):
        fit(fp.MLPClassifier(), X, LABELS, client=client)


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [True, False])
def test_a_bad_row_of_a_file(client, tmp_path, monkeypatch, memory):
    if not memory:
        monkeypatch.setattr(datasets, "LOAD_SHARE", 1e-9)
    bad = X.copy()
    bad[47, 1] = np.nan
    np.save(tmp_path / "X.npy", bad)
    np.save(tmp_path / "y.npy", LABELS)
    message = r"partition \d: .*X.npy, row 47, column 1: X must be finite, got nan"
    refused(client, ValueError, message, tmp_path / "X.npy", tmp_path / "y.npy")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", LABELS + 0.5)
    refused(client, ValueError, r"labels in y of partition \d must be whole numbers", tmp_path / "X.npy",
            tmp_path / "y.npy")  # fmt: skip
    np.save(tmp_path / "y.npy", np.arange(N) % 5)
    refused(client, ValueError, "5 distinct labels", tmp_path / "X.npy", tmp_path / "y.npy")


def test_a_file_that_workers_have_not(client, tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    monkeypatch.setattr(datasets, "LOAD_SHARE", 1e-9)
    add = datasets._shared

    def without(data):
        (tmp_path / "X.npy").unlink()
        return add(data)

    monkeypatch.setattr(datasets, "_shared", without)
    refused(client, FileNotFoundError, r"worker \S+ cannot read partition 0: No such file.*X.npy", tmp_path / "X.npy",
            tmp_path / "y.npy")  # fmt: skip


def test_files_that_do_not_fit(client, tmp_path):
    table = pa.table(dict(zip("abc", X.T, strict=True)) | {"y": LABELS, "word": LABELS.astype(str)})
    pq.write_table(table, tmp_path / "x.parquet")
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "x.csv").write_text("a,y\n1,0\n2,1\n")
    refused(client, ValueError, r"s3://b/x.parquet is no path: .*dask.dataframe.read_parquet", "s3://b/x.parquet", "y")
    refused(client, TypeError, "y beside .*X.npy must be the path of another .npy file, or a column's number",
            tmp_path / "X.npy", LABELS)  # fmt: skip
    refused(client, FileNotFoundError, "nowhere.parquet", tmp_path / "nowhere.parquet", "y")
    refused(client, ValueError, "no column 'z' in .*x.parquet", tmp_path / "x.parquet", "z")
    refused(client, ValueError, "text in 'word' is no number", tmp_path / "x.parquet", "y")
    refused(client, ValueError, "has no target: name its column", tmp_path / "X.npy", None)
    refused(client, ValueError, "x.csv is neither Parquet nor one .npy file", tmp_path / "x.csv", "y")
    refused(client, ValueError, "x.csv can be read in one order only", fp.data.from_csv(tmp_path / "x.csv", "y"), None)
    refused(client, ValueError, "y must be None beside the dataset", fp.data.from_npy(tmp_path / "X.npy"), LABELS)
    refused(client, ValueError, "sample_weight is for rows that are not in files", tmp_path / "X.npy", 2,
            sample_weight=LABELS)  # fmt: skip


def test_files_with_other_dtypes(client, tmp_path):
    floats = dict(zip("abc", X.T, strict=True)) | {"y": LABELS}
    pq.write_table(pa.table(floats), tmp_path / "0.parquet")
    pq.write_table(pa.table(floats | {"b": LABELS}), tmp_path / "1.parquet")
    message = "1.parquet, column 'b' holds int64, but float in .*0.parquet: make them one"
    refused(client, TypeError, message, tmp_path, "y")
    assert datasets.dataset_of(fp.data.from_parquet(tmp_path, "y"), None, 2).n_features == 3


@pytest.mark.parametrize("other", [np.tile(X, 2), 2 * X[::-1]], ids=["wider", "other rows"])
def test_files_that_are_written_while_training(tmp_path, other):
    np.save(tmp_path / "X.npy", X)
    data = datasets.dataset_of(tmp_path / "X.npy", 2, 1)
    part = FilePart(0, data, np.arange(data.source.n_pieces), None, 0)
    read = lambda part: list(part.windows(data, "float32", None, part.pieces).parts(0))  # noqa: E731
    read(part)
    part = part.counted(0, np.ones(1), 0)
    read(part)
    np.save(tmp_path / "X.npy", other)
    os.utime(tmp_path / "X.npy", ns=(1, 1))
    with pytest.raises(fp.FileError, match=r"X\.npy was written since training began"):
        read(part)
    if other.nbytes > X.nbytes:  # on a worker that was not there before
        with pytest.raises(fp.FileError, match=r"X\.npy grew while it was read"):
            read(pickle.loads(pickle.dumps(part)))


def test_mode_sync_of_files_that_workers_have_no_room_for(client, tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    monkeypatch.setattr(datasets, "LOAD_SHARE", 1e-6)  # 62 rows of 80
    monkeypatch.setattr(datasets, "_memory_limits", lambda cluster: 1000)
    refused(client, ValueError, "mode='sync' takes single rows, so that workers hold them all", tmp_path / "X.npy",
            tmp_path / "y.npy", mode="sync")  # fmt: skip
