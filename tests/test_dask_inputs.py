"""What users have becomes partitions: the same rows and labels from arrays, frames, delayed objects and files."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from dask_clusters import arrays_of, local

pytest.importorskip("distributed")

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse

import fastprop as fp
from fastprop.dask import datasets, file_parts
from fastprop.dask.cluster import Cluster
from fastprop.dask.course import fit
from fastprop.dask.job import Job
from fastprop.dask.messages import Share
from fastprop.dask.parts import MemoryPart
from fastprop.dask.survey import partitions

rng = np.random.default_rng(0)
N = 600
X = rng.normal(size=(N, 4)).astype(np.float32)
X[:, 3] = np.arange(N) / N  # which row it is
LABELS = np.where(X[:, 0] + 0.2 * rng.normal(size=N) > 0, "yes", "no")
WEIGHTS = rng.uniform(0.5, 2.0, N)
CUTS = [slice(first, first + 150) for first in range(0, N, 150)]


@pytest.fixture(scope="module")
def client():
    with local(2) as client:
        yield client


@pytest.fixture
def cluster(client):
    cluster = Cluster(client)
    yield cluster
    cluster.close()
    deadline = time.monotonic() + 5  # futures that a test has dropped are released soon
    while cluster.left() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not cluster.left()


@pytest.fixture
def in_files(monkeypatch):
    """Partitions stay in files, however small they are, and are read some rows at a time."""
    monkeypatch.setattr(datasets, "LOAD_SHARE", 1e-9)


def network(**options):
    return fp.Network([fp.Dense(4, "tanh"), fp.Dense(2)], loss="cross_entropy", seed=3, **options)


def job_for(net, found, fraction=0.0, **options):
    return Job(net, class_weight=found.class_weight, validation_fraction=fraction, seed=net.seed, **options)


def numbers_of(rows):
    """Which rows of X they are, in their order."""
    X = rows.matrix.array if rows.numbers is None else rows.matrix.array[rows.numbers]
    return np.rint(np.asarray(X)[:, 3] * N).astype(int)


def rounds(part, net, job, n=3, epoch=0):
    return [part.round_rows(net, Share(epoch, number, n, np.zeros(9)), job) for number in range(n)]


# ---- partitions in memory -----------------------------------------------------------------------------------------


def test_rounds_of_an_epoch_take_each_row_once_in_the_order_of_a_fit():
    net = network()
    net._adopt(*net._check_data(X, LABELS))
    job = Job(net, batch_size=50, seed=3)
    part = MemoryPart(0, X, LABELS)
    taken = [numbers_of(rows) for rows in rounds(part, net, job)]
    assert [len(rows) for rows in taken] == [200, 200, 200]
    assert sorted(np.concatenate(taken)) == list(range(N))
    again = MemoryPart(0, X, LABELS)
    last = again.round_rows(net, Share(0, 2, 3, np.zeros(9)), job)  # by another worker, which had not the first ones
    np.testing.assert_array_equal(numbers_of(last), taken[2])
    other = [numbers_of(rows) for rows in rounds(part, net, job, epoch=1)]
    assert not np.array_equal(other[0], taken[0])
    assert not np.array_equal(numbers_of(rounds(MemoryPart(1, X, LABELS), net, job)[0]), taken[0])


def test_rows_held_out_of_partition_0_are_those_of_a_fit():
    net = network()
    matrix, targets = net._check_data(X, LABELS)
    net._adopt(matrix, targets)
    from fastprop.validation import Rows, split

    train, held = split(net, Rows(matrix, targets, None), None, None, 0.2)
    job = Job(net, seed=3, validation_fraction=0.2)
    part = MemoryPart(0, X, LABELS)
    np.testing.assert_array_equal(numbers_of(next(part.held_out(net, job))), numbers_of(held))
    taken = np.concatenate([numbers_of(rows) for rows in rounds(part, net, job)])
    np.testing.assert_array_equal(np.sort(taken), numbers_of(train))
    np.testing.assert_array_equal(numbers_of(part.rows_at(net, np.array([5, 2]), job)), numbers_of(train)[[5, 2]])


def test_a_part_is_pickled_without_what_it_found_out():
    net = network()
    net._adopt(*net._check_data(X, LABELS))
    part = MemoryPart(0, X, LABELS)
    rounds(part, net, Job(net))
    assert len(pickle.dumps(part)) < X.nbytes + LABELS.nbytes + 500
    assert pickle.loads(pickle.dumps(part)).number == 0
    assert sys.getsizeof(part) >= X.nbytes + LABELS.nbytes + 16 * N  # with codes, and weights of classes
    frame = pd.DataFrame(X)
    assert sys.getsizeof(MemoryPart(0, frame, LABELS)) >= frame.memory_usage().sum() + X.nbytes  # and a matrix of it


# ---- kinds of input -----------------------------------------------------------------------------------------------


def frames():
    frame = pd.DataFrame(X, columns=list("abcd"))
    return dd.from_pandas(frame.assign(y=LABELS, w=WEIGHTS), npartitions=4)


def of_kind(kind, client):
    """X, y and weights in four equal partitions."""
    if kind == "arrays":
        return [da.from_array(a, chunks=(150, 3)[: a.ndim]) for a in (X, LABELS, WEIGHTS)]
    if kind == "frames":
        return [frames()[list("abcd")], frames()["y"], frames()["w"]]
    if kind == "column of a frame":
        return [frames().drop(columns="w"), "y", frames()["w"]]
    if kind == "delayed":
        return [[dask.delayed(a[cut]) for cut in CUTS] for a in (X, LABELS, WEIGHTS)]
    if kind == "pairs":
        return [
            [dask.delayed((X[cut], LABELS[cut])) for cut in CUTS],
            None,
            [dask.delayed(WEIGHTS[cut]) for cut in CUTS],
        ]
    if kind == "futures":
        return [client.scatter([a[cut] for cut in CUTS]) for a in (X, LABELS, WEIGHTS)]
    if kind == "sparse":
        blocks = [dask.delayed(scipy.sparse.csr_matrix(X[cut])) for cut in CUTS]
        return [blocks, *of_kind("delayed", client)[1:]]
    if kind == "frame in memory":
        return [pd.DataFrame(X, columns=list("abcd")), pd.Series(LABELS), WEIGHTS]
    return [X, LABELS, WEIGHTS]


KINDS = ["arrays", "frames", "column of a frame", "delayed", "pairs", "futures", "frame in memory", "in memory"]


@pytest.mark.parametrize("kind", [*KINDS, "sparse"])
def test_all_kinds_give_the_same_partitions(cluster, client, kind):
    net = network()
    found = partitions(net, *of_kind(kind, client), cluster, n_partitions=4, class_weight="balanced")
    assert (found.rows, found.held, found.n_empty) == ([150] * 4, [0] * 4, 0)
    assert list(found.classes) == list(net.classes_) == ["no", "yes"]
    counts = {label: np.sum(label == LABELS) for label in ("no", "yes")}
    assert found.class_weight == {label: pytest.approx(N / (2 * n)) for label, n in counts.items()}
    assert found.updates(64) == [3] * 4
    named = kind in ("frames", "column of a frame", "frame in memory")
    assert found.names == (tuple("abcd") if named else None)
    assert getattr(net, "feature_names_in_", None) is None if not named else list(net.feature_names_in_) == list("abcd")
    for part, cut in zip(client.gather(found.parts), CUTS, strict=True):
        rows = next(part.everything(net, None))
        got = rows.matrix.array
        np.testing.assert_array_equal(got.toarray() if kind == "sparse" else got, X[cut])
        np.testing.assert_array_equal(net.classes_[rows.targets.codes], LABELS[cut])
        (taken,) = rounds(part, net, job_for(net, found, batch_size=64), n=1)
        of_class = np.array([found.class_weight[label] for label in LABELS[cut]])
        np.testing.assert_allclose(taken.weights, WEIGHTS[cut] * of_class)


def test_a_fit_has_the_same_bits_for_all_kinds(client):
    def bits(kind):
        net = network()
        X, y, weights = of_kind(kind, client)
        fit(net, X, y, epochs=1, sample_weight=weights, client=client, n_partitions=4, progress=False)
        return arrays_of(net)

    expected = bits("in memory")
    for kind in ("arrays", "column of a frame", "pairs"):
        assert bits(kind) == expected


def test_empty_partitions_are_left_out_and_change_no_bit(cluster, client):
    cuts = [CUTS[0], slice(0), *CUTS[1:], slice(0)]
    blocks = [[dask.delayed(a[cut]) for cut in cuts] for a in (X, LABELS)]
    found = partitions(network(), *blocks, None, cluster)
    assert (found.n_empty, found.rows) == (2, [150] * 4)
    assert [part.number for part in client.gather(found.parts)] == [0, 1, 2, 3]


def test_labels_are_those_of_all_partitions(cluster):
    order = np.argsort(LABELS, kind="stable")
    net = network()
    with pytest.warns(RuntimeWarning, match="100 % of the rows of partition . have the label 'no'"):
        found = partitions(net, X[order], LABELS[order], None, cluster, n_partitions=4)
    assert list(found.classes) == ["no", "yes"]


def test_probabilities_of_partitions_with_whole_numbers_only(cluster):
    y = (X[:, 0] > 0).astype(float)
    y[:100] = 0.25
    net = fp.Network([fp.Dense(1)], loss="bce")
    found = partitions(net, X, y, None, cluster, n_partitions=4)
    assert list(found.classes) == [0, 1]


def test_numbers_and_their_columns(cluster):
    net = fp.Network([fp.Dense(2)])
    assert partitions(net, X, X[:, :2], None, cluster, n_partitions=4).classes is None
    assert not net._one_dimensional
    net = fp.Network([fp.Dense(1)])
    partitions(net, X, X[:, 0], None, cluster, n_partitions=4)
    assert net._one_dimensional


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["npy", "parquet"])
def files(request, tmp_path):
    """X and y as paths, sorted by label."""
    order = np.argsort(LABELS, kind="stable")
    if request.param == "npy":
        np.save(tmp_path / "X.npy", X[order])
        np.save(tmp_path / "y.npy", LABELS[order])
        return tmp_path / "X.npy", tmp_path / "y.npy"
    for number, rows in enumerate(np.array_split(order, 3)):
        table = pa.table(dict(zip("abcd", X[rows].T, strict=True)) | {"y": LABELS[rows]})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=20)
    return tmp_path, "y"


def test_partitions_in_files_take_each_row_once(cluster, client, files, in_files):
    net = network()
    found = partitions(net, *files, None, cluster, n_partitions=4, validation_fraction=0.2)  # without a warning
    assert sum(found.rows) + sum(found.held) == N
    job = job_for(net, found, 0.2, batch_size=16)
    all_taken, all_held = [], []
    for part, n in zip(client.gather(found.parts), found.rows, strict=True):
        assert isinstance(part, file_parts.FilePart)
        taken = rounds(part, net, job)
        of_each = [numbers_of(rows) for rows in taken]
        assert sum(map(len, of_each)) == n
        assert all(len(rows) % 16 == 0 for rows in of_each[:-1])
        for rows, numbers in zip(taken, of_each, strict=True):
            np.testing.assert_array_equal(net.classes_[rows.targets.codes[rows.numbers]], LABELS[numbers])
            assert 0.05 < np.mean(LABELS[numbers] == "yes") < 0.95  # though the file is sorted
        again = pickle.loads(pickle.dumps(part)).round_rows(net, Share(0, 1, 3, np.zeros(9)), job)
        np.testing.assert_array_equal(numbers_of(again), of_each[1])
        all_taken += of_each
        all_held += [numbers_of(rows) for rows in part.held_out(net, job)]
        assert sum(rows.n_used for rows in part.everything(net, job)) == part.data.of_pieces(part.pieces).n_samples
    held = np.concatenate(all_held)
    assert sorted([*np.concatenate(all_taken), *held]) == list(range(N))
    other = rounds(part, net, job, epoch=1)
    assert set(numbers_of(other[0])) != set(of_each[0])
    whole = fp.data.from_npy(*files) if files[1] != "y" else fp.data.from_parquet(*files)
    part_of_split = np.concatenate([X[:, 3].copy() for X, _, _ in whole.split(0.2, net.seed)[1].blocks()])
    assert sorted(held) == sorted(np.rint(part_of_split * N).astype(int))


def test_small_files_and_those_of_mode_sync_are_loaded(cluster, client, files):
    for mode in ("local", "sync"):
        found = partitions(network(), *files, None, cluster, n_partitions=4, mode=mode)
        parts = client.gather(found.parts)
        assert {type(part) for part in parts} == {MemoryPart}
        assert sorted(np.rint(np.concatenate([part.X[:, 3] for part in parts]) * N).astype(int)) == list(range(N))


def test_a_fit_from_files(client, files, in_files, monkeypatch):
    net, lots = network(), network()
    arguments = {"epochs": 6, "batch_size": 4, "client": client, "progress": False, "validation_fraction": 0.2}
    history = fit(net, *files, n_partitions=4, **arguments)
    assert history["val_accuracy"][-1] > 0.85
    again = network()
    fit(again, *files, n_partitions=4, **arguments)
    assert arrays_of(again) == arrays_of(net)
    assert not lots.is_built


def test_rounds_are_so_many_that_none_reads_much(cluster, files, in_files, monkeypatch):
    assert partitions(network(), *files, None, cluster, n_partitions=4).least_rounds == 1
    monkeypatch.setattr("fastprop.dask.survey.PASS_BYTES", 1000)  # of 2,400 a partition
    assert partitions(network(), *files, None, cluster, n_partitions=4).least_rounds >= 3


def test_bad_rows_of_files_are_skipped_and_counted(cluster, client, tmp_path, in_files):
    bad = X.copy()
    bad[[5, 311], 1] = np.nan
    np.save(tmp_path / "X.npy", bad)
    np.save(tmp_path / "y.npy", LABELS)
    data = fp.data.from_npy(tmp_path / "X.npy", tmp_path / "y.npy", memory_limit="100kB", on_bad_rows="skip")
    net = network()
    found = partitions(net, data, None, None, cluster, n_partitions=3)
    assert found.n_skipped == 2
    assert sum(found.rows) == N - 2
    job = job_for(net, found)
    taken = np.concatenate([numbers_of(r) for p in client.gather(found.parts) for r in rounds(p, net, job)])
    assert sorted(taken) == [row for row in range(N) if row not in (5, 311)]


def test_a_column_of_a_file_is_the_target(cluster, client, tmp_path):
    table = np.column_stack([X, LABELS == "yes"])
    np.save(tmp_path / "table.npy", table)
    net = network()
    found = partitions(net, tmp_path / "table.npy", 4, None, cluster, n_partitions=3)
    assert net.n_features_ == 4
    assert len(found.rows) == 3
    assert sum(found.rows) == N
    parts = client.gather(found.parts)
    np.testing.assert_array_equal(np.sort(np.concatenate([part.X[:, 3] for part in parts])), X[:, 3])
    rows = next(parts[1].everything(net, None))
    np.testing.assert_array_equal(rows.targets.codes, LABELS[numbers_of(rows)] == "yes")


def test_prepared_columns(cluster, tmp_path):
    table = pa.table({"city": np.where(X[:, 1] > 0, "Kiel", "Bonn"), "size": X[:, 0] * 100, "y": LABELS})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100)
    net = network()
    partitions(net, fp.data.from_parquet(tmp_path / "x.parquet", "y", prepare=True), None, None, cluster)
    assert net.preparation_ is not None
    assert net.n_features_ == net.preparation_.n_features


def test_files_of_a_partition_are_small_to_send(cluster, client, tmp_path, in_files):
    np.save(tmp_path / "X.npy", np.zeros((20_000, 50), np.float32))  # 4 MB
    np.save(tmp_path / "y.npy", np.arange(20_000) % 2)
    found = partitions(network(), tmp_path / "X.npy", tmp_path / "y.npy", None, cluster, n_partitions=4)
    assert max(len(pickle.dumps(part)) for part in client.gather(found.parts)) < 4000


def test_pieces_of_a_dataset_keep_the_numbers_of_their_rows(tmp_path):
    np.save(tmp_path / "X.npy", X)
    data = fp.data.from_npy(tmp_path / "X.npy", memory_limit="100kB")
    assert data.source.n_pieces > 2
    rest, held = data.split(0.3, seed=1)
    pieces = [2, 0]
    ours = [np.concatenate([X for X, _, _ in part.of_pieces(pieces).blocks()]) for part in (rest, held)]
    ends = [sum(data.source.rows_of(p) for p in range(piece)) for piece in range(4)]
    expected = np.concatenate([X[ends[piece] : ends[piece + 1]] for piece in pieces])
    assert sorted(np.concatenate(ours)[:, 3]) == sorted(expected[:, 3])
    whole = np.concatenate([X[:, 3].copy() for X, _, _ in held.blocks()])
    assert set(ours[1][:, 3]) <= set(whole)
    assert rest.of_pieces(pieces).n_samples == len(ours[0])


# ---- warnings -----------------------------------------------------------------------------------------------------


def test_skewed_targets_are_named_but_not_in_mode_sync(cluster):
    y = X[:, 3].astype(float)
    with pytest.warns(RuntimeWarning, match="the mean of y in partition [03] is 0.*shuffle the rows"):
        partitions(fp.Network([fp.Dense(1)]), X, y, None, cluster, n_partitions=4)
    partitions(fp.Network([fp.Dense(1)]), X, y, None, cluster, n_partitions=4, mode="sync")


def test_fewer_partitions_than_workers(cluster):
    with pytest.warns(RuntimeWarning, match="1 partition for 2 workers: 1 will have nothing to do"):
        partitions(network(), X, LABELS, None, cluster, n_partitions=1)


def test_row_groups_larger_than_a_round(cluster, tmp_path, in_files, monkeypatch):
    pq.write_table(pa.table(dict(zip("abcd", X.T, strict=True)) | {"y": LABELS}), tmp_path / "x.parquet")
    monkeypatch.setattr(file_parts, "PASS_BYTES", 1600)
    with pytest.warns(RuntimeWarning, match="row groups of 600 rows, .* takes 57 at most .* write it with"):
        partitions(network(), tmp_path / "x.parquet", "y", None, cluster)


# ---- memory -------------------------------------------------------------------------------------------------------

CODE = """
    import resource, sys
    import numpy as np
    import fastprop as fp
    from fastprop.dask import datasets, file_parts
    from fastprop.dask.job import Job
    from fastprop.dask.looks import look
    from fastprop.dask.drafts import Ready
    from fastprop.dask.messages import Share

    file_parts.PASS_BYTES = 2 << 20
    net = fp.Network([fp.Dense(2)], loss="cross_entropy")
    data = datasets.dataset_of(sys.argv[1], sys.argv[2], 2)
    part = file_parts.FilePart(0, data, np.arange(data.source.n_pieces)[::2], None, 0)
    _ = data.dtype
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = look(part, Ready(net).question())
    assert seen.error is None, seen.error
    net._adopt(*net._check_data(np.zeros((2, 500), "f4"), [0, 1]))
    part, job = part.counted(0, seen.sizes, 0), Job(net)
    for number in range(12):
        rows = part.round_rows(net, Share(0, number, 12, np.zeros(9)), job)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_that_of_a_round(tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((24_000, 500), np.float32))  # 48 MB, of which the partition has half
    np.save(tmp_path / "y.npy", np.arange(24_000) % 2)
    code = [sys.executable, "-c", textwrap.dedent(CODE), tmp_path / "X.npy", tmp_path / "y.npy"]
    found = subprocess.run(code, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) / 1e3 < 12  # MB: two rounds, one of which is being read
