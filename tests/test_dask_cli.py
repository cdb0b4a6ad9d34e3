"""`fastprop train` on a cluster: the same result for any number of workers, and what goes wrong said in a line."""

from __future__ import annotations

import numpy as np
import pytest
from commands import reported

import fastprop as fp

pytest.importorskip("distributed")

import dask_clusters

pytestmark = pytest.mark.usefixtures("folder")


def write_rooms(path, n=1600, seed=0):
    """A table with a number, text and two things to predict, in row groups of 100."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    size, place = rng.uniform(20, 200, n), rng.choice(["town", "coast", "hills"], n)
    price = 3.0 * size + np.select([place == "town", place == "coast"], [200.0, 350.0], 0.0) + rng.normal(0, 5, n)
    dear = np.where(price > 500, "yes", "no")
    table = pa.table({"size": size, "place": place, "price": price, "dear": dear})
    pq.write_table(table, path, row_group_size=100)
    return path


@pytest.fixture
def rooms(folder):
    return write_rooms(folder / "rooms.parquet")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--workers 2 --scheduler tcp://a:1", "workers and scheduler exclude each other"),
        ("--workers 0", "workers must be"),
        ("--workers -1", "workers must be"),
        ("--scheduler tcp://a:1 --threads 2", "threads is for this machine"),
        ("--scheduler tcp://127.0.0.1:9", "nobody answers at tcp://127.0.0.1:9"),
        ("--scheduler nowhere", "nobody answers at nowhere"),
    ],
)
def test_options_that_do_not_go_together(run, rooms, args, message, monkeypatch):
    monkeypatch.setattr("fastprop.cli_cluster.CONNECT_SECONDS", 0.5)
    code, out, err = run("train", rooms, "--target", "price", *args.split())
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("name", ["rooms.csv", "rooms.libsvm", "rooms.npz"])
def test_formats_that_workers_cannot_share(run, name):
    code, _, err = run("train", name, "--target", "price", "--workers", 2)
    assert code == 2
    assert f"read .parquet and .npy files, each its part, got .{name[6:]}: convert once" in err


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster of two workers in this process."""
    with dask_clusters.local(2) as client:
        yield client.scheduler.address


def lines(printed):
    """The first word of each line."""
    return [line.split()[0] for line in printed.splitlines()]


def test_any_number_of_workers_gives_the_same_model(ok, folder, rooms, scheduler):
    """Two processes that are started for it, and two workers in this one that are there already."""
    command = ("train", rooms, "--target", "price", "--ignore", "dear", "--epochs", 4, "--batch-size", 16)
    own = ok(*command, "--workers", 1, "--out", "own.safetensors")
    theirs = ok(*command, "--scheduler", scheduler, "--out", "theirs.safetensors", "--plot", "loss.svg")
    assert lines(own) == ["data", "target", "cluster", "training", "validation", "model"]
    assert lines(theirs) == ["data", "target", "cluster", "training", "validation", "model", "plot"]
    assert "cluster     1 worker with " in own
    assert f"cluster     2 workers with 2 threads, {scheduler}" in theirs
    assert (folder / "own.safetensors").read_bytes() == (folder / "theirs.safetensors").read_bytes()
    assert reported(ok("evaluate", "own.safetensors", rooms), "R2") > 0.9


def test_text_is_predicted_as_without_a_cluster(ok, folder, rooms, scheduler):
    out = ok("train", rooms, "--target", "dear", "--ignore", "price", "--epochs", 12, "--scheduler", scheduler)
    assert "dear, classification" in out
    assert fp.load("model.safetensors").optimizer.lr.steps == 12 * 12  # of 180 rows a partition, 16 an update
    assert reported(ok("evaluate", "model.safetensors", rooms), "accuracy") > 0.9
    assert set(ok("predict", "model.safetensors", rooms).split()) == {"dear", "yes", "no"}


@pytest.mark.filterwarnings("ignore:1 partition for 2 workers")
def test_matrices_with_the_target_in_a_file_of_its_own(ok, folder, scheduler):
    X = np.random.default_rng(0).normal(size=(1000, 3))
    np.save("x.npy", X)
    np.save("y.npy", X[:, 0] + X[:, 1])
    ok("train", "x.npy", "--target", "y.npy", "--epochs", 15, "--batch-size", 16, "--scheduler", scheduler)
    assert reported(ok("evaluate", "model.safetensors", "x.npy", "--target", "y.npy"), "R2") > 0.9


def test_a_run_goes_on_where_its_checkpoint_is(ok, run, rooms, scheduler):
    command = ("train", rooms, "--target", "price", "--ignore", "dear", "--checkpoint", "run.ckpt")
    there = ("--scheduler", scheduler)
    ok(*command, *there, "--epochs", 2)
    out = ok(*command, *there, "--epochs", 4, "--resume")
    assert "a run of which 2 of 4 epochs are done" in out
    assert "training    4 epochs" in out
    code, _, err = run(*command, "--epochs", 4, "--resume")
    assert code == 2
    assert "run.ckpt goes on with --workers or --scheduler only, as it began" in err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [("ClusterError", 2, "as the cluster cannot go on"), ("KeyboardInterrupt", 130, "by Ctrl-C")],
)
def test_training_that_is_stopped_leaves_the_last_round(run, ok, rooms, scheduler, monkeypatch, error, code, message):
    from fastprop.dask import ClusterError, course

    def fit(draft, data, **arguments):
        draft.net._parameters.rows[0] += 0.5
        draft.net.history_ = {"loss": []}
        raise ClusterError("its last worker is gone", draft.net) if error == "ClusterError" else KeyboardInterrupt

    monkeypatch.setattr(course, "fit", fit)
    found, out, err = run("train", rooms, "--target", "price", "--ignore", "dear", "--scheduler", scheduler)
    assert found == code
    assert f"stopped     {message}; the weights of the last round are in model.safetensors" in out
    assert err == ("error: its last worker is gone\n" if code == 2 else "")
    assert "R2" in ok("evaluate", "model.safetensors", rooms)
