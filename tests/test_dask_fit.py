"""`fastprop.dask.fit` on clusters within this process; those of processes are in test_dask_kills.py."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dask_clusters import arrays_of, local

pytest.importorskip("distributed")

import dask
import dask.array as da
from distributed import Client, Future
from distributed.scheduler import KilledWorker

import fastprop as fp
from fastprop.dask import ClusterError, cluster, course, crew, job
from fastprop.dask.conversion import penalty_factor, rate_factor, replica_rows, schedule_steps
from fastprop.dask.cost import sync_every_of, update_seconds, usual_sync_every
from fastprop.dask.course import fit
from fastprop.dask.inputs import blocks_of, placed
from fastprop.dask.messages import State
from fastprop.dask.opening import opened
from fastprop.dask.outer import stepped
from fastprop.dask.rounds import LocalRounds, Point, SyncRounds

N, BATCH = 640, 20
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 6)).astype(np.float32)
LABELS = (X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=N) > 0).astype(int)
WEIGHTS = rng.integers(0, 3, N).astype(float)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local(2) as client:
        yield client


def network(optimizer: Any = "adam", extra: tuple[Any, ...] = (), **options: Any) -> fp.Network:
    layers = [fp.Dense(8, activation="tanh"), *extra, fp.Dense(2)]
    return fp.Network(layers, loss="cross_entropy", optimizer=optimizer, seed=5, **options)


def trained(client: Client, net: fp.Network, **arguments: Any) -> dict[str, list[float]]:
    arguments = {"epochs": 2, "batch_size": BATCH, "progress": False, "n_partitions": 8} | arguments
    if arguments.get("mode") != "sync":
        arguments = {"sync_every": 2} | arguments
    return fit(net, X, LABELS, client=client, **arguments)


def of_epochs(history: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: values for name, values in history.items() if name != "time"}


NESTEROV = fp.SGD(lr=0.7, momentum=0.9, nesterov=True)
RUNS: dict[str, Callable[[], tuple[fp.Network, dict[str, Any]]]] = {
    "local": lambda: (network("adam", (fp.BatchNorm(), fp.Dropout(0.3))), {"outer": NESTEROV}),
    "sync": lambda: (
        network(fp.SGD(0.1, momentum=0.9), (fp.Dropout(0.3),), l2=1e-3),
        {"mode": "sync", "sample_weight": WEIGHTS, "batch_size": 80},
    ),
}


# ---- the same bits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS)
def test_bits_do_not_depend_on_workers(client, run, monkeypatch):
    def bits(client: Client) -> tuple[Any, ...]:
        net, arguments = RUNS[run]()
        history = trained(client, net, validation_fraction=0.25, **arguments)
        return of_epochs(history), arrays_of(net)

    expected = bits(client)
    for n_workers, n_threads in ((1, 2), (4, 1)):
        with local(n_workers, n_threads=n_threads) as other:
            monkeypatch.setattr(crew, "FAN_IN", 2)  # four answers are added by tasks
            monkeypatch.setattr(crew, "EMBEDDED_BYTES", 0)  # the state goes up by itself
            assert bits(other) == expected


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sync_is_training_on_one_machine(client, dtype, error, weighted):
    here, there = (network(fp.SGD(0.1, momentum=0.9), l2=1e-3, dtype=dtype) for _ in range(2))
    arguments = {"epochs": 1, "batch_size": 70, "sample_weight": WEIGHTS if weighted else None, "progress": False}
    expected = here.fit(X, LABELS, **arguments)
    history = trained(client, there, mode="sync", **arguments)
    assert history["loss"] == pytest.approx(expected["loss"], rel=error)
    assert history["lr"] == expected["lr"]
    assert here._parameters.count == there._parameters.count
    for name, array in here.state_dict().items():
        scale = np.abs(array).max()
        np.testing.assert_allclose(there.state_dict()[name], array, rtol=0, atol=error * scale, err_msg=name)


def test_one_partition_is_training_on_one_machine(client):
    here, there = (network(fp.Adam(fp.schedules.Exponential(0.01, 0.99)), (fp.Dropout(0.2),)) for _ in range(2))
    expected = here.fit(X, LABELS, epochs=3, batch_size=BATCH, progress=False)
    with pytest.warns(RuntimeWarning, match="1 partition for 2 workers"):
        history = trained(client, there, epochs=3, n_partitions=1, sync_every=1000)
    assert history["rounds"] == [1, 1, 1]
    assert history["lr"] == expected["lr"]
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-6)
    for name, array in here.state_dict().items():  # but for the rounding of state + (learnt - state)
        np.testing.assert_allclose(there.state_dict()[name], array, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("batch_size", [None, 320])
def test_updates_send_neither_row_numbers_nor_slots(client, batch_size, monkeypatch):
    sizes, states, submit = [], [], course.Cluster.submit

    def recorded(self: Any, function: Any, *arguments: Any, **options: Any) -> Any:
        if options["name"] in ("gradient", "validation"):
            states.extend(len(one.vector) for one in arguments if isinstance(one, State))
            sizes.append(sum(len(pickle.dumps(one)) for one in arguments if not isinstance(one, (State, Future, list))))
            for some in (one for one in arguments if isinstance(one, list)):
                sizes.append(len(pickle.dumps([one for one in some if not isinstance(one, Future)])))
        return submit(self, function, *arguments, **options)

    monkeypatch.setattr(course.Cluster, "submit", recorded)
    net = network("adam")
    trained(client, net, mode="sync", batch_size=batch_size, X_val=X, y_val=LABELS)
    assert set(states) == {net._built().n_parameters}  # for Adam a third of a state
    assert max(sizes) < 500  # 640 numbers of rows: 2.5 kB a task


# ---- a fit --------------------------------------------------------------------------------------------------------


def test_it_learns(client):
    net = network(fp.Adam(0.1))
    history = trained(client, net, epochs=20, sync_every=4, X_val=X, y_val=LABELS)
    assert history["val_accuracy"][-1] > 0.7
    assert net.history_ is history
    assert net.epochs_done == 20
    measured = net.evaluate(X, LABELS)
    assert history["val_accuracy"][-1] == pytest.approx(measured["accuracy"])
    assert history["val_loss"][-1] == pytest.approx(measured["loss"], rel=1e-5)


def test_dask_arrays(client):
    expected, net = network(), network()
    trained(client, expected)
    with client.as_current():  # taken without being named
        fit(net, da.from_array(X, (80, 3)), da.from_array(LABELS, 80), 2, BATCH, sync_every=2, progress=False)
    assert arrays_of(net) == arrays_of(expected)


def test_a_second_fit_goes_on(client):
    once, twice = network(), network()
    trained(client, once, epochs=3)
    trained(client, twice, epochs=1)
    history = trained(client, twice, epochs=2)
    assert len(history["loss"]) == 2
    assert arrays_of(twice) == arrays_of(once)


def test_rounds_of_an_epoch():
    plan = network().build(784)._built()
    assert usual_sync_every(plan, 128) == pytest.approx(0.25 / update_seconds(plan, 128), abs=1)
    wide = fp.Network([fp.Dense(512), fp.Dense(512), fp.Dense(10)]).build(784)._built()
    assert usual_sync_every(wide, 128) == 48
    assert usual_sync_every(wide, 10**6) == 1


def test_replicas_share_the_batch():
    assert [replica_rows(128, n) for n in (1, 2, 8, 100)] == [128, 64, 16, 16]
    assert [replica_rows(rows, 8) for rows in (1, 10, 20, 200, None)] == [1, 10, 16, 25, None]


@pytest.mark.parametrize(
    ("optimizer", "factor"),
    [(fp.Adam(), 2.0), (fp.AdamW(), 2.0), (fp.RMSProp(), 2.0), (fp.Adagrad(), 2.0), (fp.SGD(0.1, momentum=0.9), 1.0)],
)
def test_adaptive_rules_make_up_for_the_noise_of_small_batches(client, optimizer, factor):
    assert rate_factor(optimizer, 64, 16) == factor
    assert rate_factor(optimizer, 16, 16) == rate_factor(optimizer, None, None) == 1.0
    lr = fit(network(optimizer), X, LABELS, 1, 64, client=client, n_partitions=4, progress=False)["lr"]
    assert lr == [optimizer.lr]  # of the network, whatever replicas do


def test_penalties_divided_by_the_rows_of_an_update_weigh_as_on_one_machine(client):
    """Weights that only shrink: of the loss they get no gradient, whatever X is zero times."""

    def shrunk(train: Callable[[fp.Network], Any]) -> float:
        net = network(fp.SGD(0.05), l1=0.01, l2=2.0).build(6)
        net.divides_penalties = True
        train(net)
        return float(np.abs(net.get_weights()[0][0]).sum())

    still = np.zeros_like(X)
    expected = shrunk(lambda net: net.fit(still, LABELS, 10, 64, progress=False))
    for arguments in ({"n_partitions": 2}, {"n_partitions": 4}, {"mode": "sync"}):
        got = shrunk(lambda net, a=arguments: fit(net, still, LABELS, 10, 64, client=client, progress=False, **a))
        assert got == pytest.approx(expected, rel=1e-3), arguments
    assert penalty_factor(64, 16, [160] * 4) == 0.25
    assert penalty_factor(None, None, [10, 30]) == 0.5  # in the mean, weighted by rows: (1 / 4 / 10 + 3 / 4 / 30) / 2
    assert penalty_factor(128, 16, [5, 5]) == 0.5
    assert penalty_factor(7, 7, [203]) == 1.0


def test_schedules_that_will_not_end(client):
    for rate in (fp.schedules.OneCycle(0.1, 20), fp.schedules.Warmup(fp.schedules.Cosine(0.1, 17), 3)):
        with pytest.warns(RuntimeWarning, match="make 10 updates .* its schedule of 20 updates is left at update 10"):
            fit(network(fp.SGD(rate)), X, LABELS, 2, 64, client=client, n_partitions=8, progress=False)
    assert [schedule_steps(rate) for rate in (0.1, fp.schedules.Exponential(0.1, 0.9), lambda step: 0.1)] == [0] * 3


def test_few_updates_are_warned_of(client):
    few = "8 partitions, each with 16 rows of a batch of 20, make 10 updates in 2 epochs, not 64 as one machine does"
    with pytest.warns(RuntimeWarning, match=few):
        fit(network(), X, LABELS, 2, 20, client=client, n_partitions=8, progress=False)


def test_schedules_that_end_do_not_warn(client):
    for steps, batch_size in ((10, 32), (10**6, 64)):  # it ends; as many updates as on one machine
        net = network(fp.SGD(fp.schedules.Cosine(0.1, steps)))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            fit(net, X, LABELS, 2, batch_size, client=client, n_partitions=4, progress=False)


def test_an_epoch_has_some_rounds():
    plan = network().build(6)._built()
    usual = usual_sync_every(plan, 16)
    assert [sync_every_of(None, plan, 16, n) for n in (5, 320, 3200)] == [20, 20, 200]
    assert sync_every_of(None, plan, 16, 10**7) == usual
    assert sync_every_of(3, plan, 16, 10**7) == 3


def test_partitions_of_any_size_end_the_epoch_together(client):
    net, sizes = network(), [200, 30, 7, 403]
    ends = np.cumsum([0, *sizes])
    parts = [(X[a:b], LABELS[a:b]) for a, b in itertools.pairwise(ends)]
    futures = client.scatter(parts, hash=False)
    history = fit(net, futures, None, 2, BATCH, sync_every=4, client=client, progress=False)
    assert history["rounds"] == [7, 7]  # 26 updates of 16 rows of the largest
    assert net._parameters.count == 52


def test_callbacks(client):
    seen: list[int] = []

    class Watching:
        def on_epoch_end(self, net: fp.Network, epoch: int, logs: dict[str, float]) -> bool:
            seen.append(epoch)
            assert logs.keys() == {"loss", "lr", "time", "penalty", "rounds"}
            net.optimizer.lr = 0.25
            if epoch == 1:
                net.set_weights([(0 * W, 0 * b) for W, b in net.get_weights()])
                net.optimizer.lr = 0.0
            return epoch == 2

    net = network(fp.SGD(0.5))
    history = trained(client, net, epochs=9, callbacks=Watching())
    assert seen == [0, 1, 2]
    assert history["lr"] == [0.5, 0.25, 0.0]
    assert not any(array.any() for array in net.state_dict().values())


CHANGES = {
    r"net.optimizer from Adam\(.*betas=.* to SGD\(lr=0.1, momentum=0.9": {"optimizer": fp.SGD(0.1, momentum=0.9)},
    r"net.optimizer from Adam.* to Adam\(.*eps=0.5": {"optimizer": fp.Adam(eps=0.5)},
    r"net.optimizer from Adam.* to Adam\(.*eps=0.25": {"settings": {"eps": 0.25}},
    r"net.l2 from 0.0 to 0.1: on a cluster only": {"l2": 0.1},
    r"net.l1 from 0.0 to 0.1, net.clip_norm from None to 2.0": {"clip_norm": 2.0, "l1": 0.1},
}


@pytest.mark.parametrize("message", CHANGES)
def test_callbacks_change_rates_and_weights_only(client, message):
    class Changing:
        def on_epoch_end(self, net: fp.Network, epoch: int, logs: dict[str, float]) -> None:
            net.optimizer = fp.Adam(0.5)  # another rate
            if epoch == 1:
                net.optimizer.settings.update(CHANGES[message].get("settings", {}))
                vars(net).update({name: value for name, value in CHANGES[message].items() if name != "settings"})

    net = network("adam")
    with pytest.raises(ValueError, match=message):
        trained(client, net, epochs=4, callbacks=Changing())
    assert repr(net.optimizer) == repr(fp.Adam(0.5))
    assert (net.l1, net.l2, net.clip_norm) == (0.0, 0.0, None)
    assert (net.epochs_done, len(net.history_["loss"])) == (2, 2)
    assert net.history_["lr"] == [0.001, 0.5]
    net.fit(X, LABELS, 1, progress=False)  # is as good as ever


@pytest.mark.parametrize("scale", [1.0, 1e90])
def test_partitions_count_by_the_sums_of_their_weights(client, scale):
    """All rows in one update of each partition: the mean of the steps is the step of all rows together."""
    weights = scale * np.concatenate([WEIGHTS[:320] + 1, 1e-3 * (WEIGHTS[320:] + 1)])
    arguments = {"epochs": 1, "batch_size": None, "sample_weight": weights, "class_weight": {0: 1.0, 1: 3.0}}
    here, there = (network(fp.SGD(0.5), dtype="float64") for _ in range(2))
    here.fit(X, LABELS, progress=False, **arguments)
    trained(client, there, n_partitions=4, sync_every=1, **arguments)
    for name, array in here.state_dict().items():
        np.testing.assert_allclose(there.state_dict()[name], array, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("mode", ["local", "sync"])
def test_early_stopping_restores_the_best(client, mode):
    net = network(fp.SGD(fp.schedules.Exponential(0.5, 1.3)))  # goes well, then badly
    batch = 160 if mode == "sync" else BATCH
    history = trained(client, net, epochs=30, early_stopping=2, validation_fraction=0.2, mode=mode, batch_size=batch)
    losses = history["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 30
    again = network(fp.SGD(fp.schedules.Exponential(0.5, 1.3)))
    trained(client, again, epochs=len(losses) - 2, validation_fraction=0.2, mode=mode, batch_size=batch)
    assert {**arrays_of(net), "count": b""} == {**arrays_of(again), "count": b""}


def test_the_progress_bar_shows_rounds(client, capsys):
    trained(client, network(), progress=True)
    assert "round 3/3" in capsys.readouterr().err


# ---- the outer optimizer ------------------------------------------------------------------------------------------


def test_outer_steps():
    w, change = np.array([1.0, 2.0], np.float32), np.array([0.5, -1.0], np.float32)
    np.testing.assert_array_equal(stepped(None, w, change, (), 0)[0], w + change)
    np.testing.assert_allclose(stepped(fp.SGD(1.0), w, change, (), 0)[0], w + change)
    after, slots = stepped(NESTEROV, w, change, (np.zeros(2, np.float32),), 0)
    np.testing.assert_allclose(after, w + 0.7 * 1.9 * change, rtol=1e-6)
    after, slots = stepped(NESTEROV, after, change, slots, 1)
    np.testing.assert_allclose(after, w + 0.7 * (1.9 + 1.0 + 0.9 * 1.9) * change, rtol=1e-6)
    adam = fp.Adam(0.1)
    after, slots = stepped(adam, w, change, (np.zeros(2, np.float32),) * 2, 0)
    np.testing.assert_allclose(after, w + 0.1 * np.sign(change), rtol=1e-5)
    assert {after.dtype, *(slot.dtype for slot in slots)} == {np.dtype(np.float32)}


# ---- stopping and going on ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def interrupted(rounds: type, at: int) -> Iterator[None]:
    """Ctrl-C before round number `at` of a fit."""
    with pytest.MonkeyPatch.context() as patch:
        done, following = [], rounds.next

        def next(self: Any, point: Point, rate: Any) -> Point:
            if len(done) == at:
                raise KeyboardInterrupt
            done.append(point)
            return following(self, point, rate)

        patch.setattr(rounds, "next", next)
        yield


@pytest.mark.parametrize(
    ("run", "rounds", "at", "through"),
    [("local", LocalRounds, 3, "file"), ("local", LocalRounds, 3, "pickle"), ("sync", SyncRounds, 5, "file")],
)
def test_resumed_runs_have_the_same_bits(client, run, rounds, at, through, tmp_path):
    options = {"epochs": 3, "validation_fraction": 0.25, "early_stopping": 5}
    expected, arguments = RUNS[run]()
    history = trained(client, expected, **arguments, **options)
    net, arguments = RUNS[run]()
    with interrupted(rounds, at), pytest.raises(KeyboardInterrupt):
        trained(client, net, **arguments, **options, checkpoint=tmp_path / "run")
    assert net._run.now().place is not None
    net = fp.resume(tmp_path / "run")
    if through == "pickle":
        net = pickle.loads(pickle.dumps(net))
    if run == "local":
        with pytest.raises(ValueError, match="sync_every must be 2 as in the checkpoint, got 3"):
            trained(client, net, **arguments | {"sync_every": 3}, **options)
        with pytest.raises(ValueError, match=r"outer must be .*nesterov.*got None"):
            trained(client, net, **arguments | {"outer": None}, **options)
    with pytest.raises(ValueError, match=r"one of fastprop\.dask\.fit"):
        net.fit(X, LABELS)
    assert of_epochs(trained(client, net, **arguments, **options)) == of_epochs(history)
    assert arrays_of(net) == arrays_of(expected)


def test_checkpoints_are_written_after_rounds(client, tmp_path):
    places = []

    class Looking:
        def on_epoch_end(self, net: fp.Network, epoch: int, logs: dict[str, float]) -> None:
            while net._run.keeper.is_writing:
                pass
            places.append(fp.resume(tmp_path / "run")._run.place)

    trained(client, network(), callbacks=Looking(), checkpoint=tmp_path / "run", checkpoint_every=1e-9)
    assert all(place is not None and place.first > 0 for place in places)
    assert fp.resume(tmp_path / "run")._run.standing.n_epochs == 2


def test_a_run_of_one_machine_is_refused(client, tmp_path):
    network().fit(X, LABELS, 1, checkpoint=tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"one of Network\.fit"):
        trained(client, fp.resume(tmp_path / "run"))


def test_ctrl_c_in_a_round(client, monkeypatch):
    points, net = [], network()
    following = LocalRounds.next

    def next(self: LocalRounds, point: Point, rate: Any) -> Point:
        points.append(point)
        if len(points) == 4:
            threading.Timer(0.005, os.kill, (os.getpid(), signal.SIGINT)).start()
        return following(self, point, rate)

    monkeypatch.setattr(LocalRounds, "next", next)
    with pytest.raises(KeyboardInterrupt):
        trained(client, net, epochs=1000)
    from fastprop.dask.state import taken

    complete = [point for point in points if point.state.count == net._parameters.count]
    assert len(complete) == 1
    np.testing.assert_array_equal(taken(net).vector, complete[0].state.vector)
    assert len(net.history_["loss"]) == (len(points) - 1) // 2
    assert not [key for keys in client.has_what().values() for key in keys if "fastprop" in str(key)]


# ---- what may go wrong --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
@pytest.mark.parametrize("mode", ["local", "sync"])
def test_divergence(client, mode):
    net = network(fp.SGD(lambda step: 0.1 if step < 5 else 1e38), l2=0.1)
    with pytest.raises(fp.DivergenceError, match="round 0 of epoch 1" if mode == "local" else "update 6 of epoch 0"):
        trained(client, net, mode=mode, epochs=3, batch_size=BATCH if mode == "sync" else 40)
    assert all(np.isfinite(array).all() for array in net.state_dict().values())
    assert net._parameters.count == (5 if mode == "local" else 6)


def test_a_batch_of_one(client, monkeypatch):
    """Workers are welcomed with two rows."""
    monkeypatch.setattr(cluster.Cluster, "finds_unfit", lambda _: pytest.fail("a welcome failed"))
    trained(client, network(), batch_size=1, n_partitions=2, epochs=1, sync_every=40)


def test_a_late_worker_with_other_versions_is_left_out(monkeypatch):
    real = job.stamp()

    class Scaling:
        def on_epoch_end(self, net: fp.Network, epoch: int, logs: dict[str, float]) -> None:
            if epoch == 0:
                client.cluster.scale(2)
                client.wait_for_workers(2, timeout=30)

    with local(1) as client:
        expected = network()
        trained(client, expected, epochs=6)
        [first] = client.scheduler_info()["workers"]

        def stamp(dask_worker: Any = None) -> dict[str, str]:
            here = job.this_worker()[0] if dask_worker is None else dask_worker.address
            return real if here in ("", first) else real | {"numba": "0.1"}

        monkeypatch.setattr(job, "stamp", stamp)
        net = network()
        with pytest.warns(RuntimeWarning, match="is left out: it has numba 0.1 instead of") as warned:
            trained(client, net, epochs=6, callbacks=Scaling())
    assert len([one for one in warned if "left out" in str(one.message)]) == 1
    assert arrays_of(net) == arrays_of(expected)


def test_a_client_that_is_closed_while_training(client, monkeypatch):
    class Closing:
        def on_epoch_end(self, net: fp.Network, epoch: int, logs: dict[str, float]) -> None:
            other.close()

    monkeypatch.setattr(crew, "EMBEDDED_BYTES", 0)
    net, other = network(), Client(client.scheduler.address, set_as_default=False)
    with pytest.raises(ClusterError, match="the client is closed") as caught:
        trained(other, net, callbacks=Closing())
    assert caught.value.net is net
    assert net.epochs_done == 1


def test_errors_of_the_cluster_can_be_pickled(client):
    net = network()
    trained(client, net, epochs=1)
    for given in (net, None):
        error = pickle.loads(pickle.dumps(ClusterError("no worker", given)))
        assert str(error) == "no worker"
        assert error.net is None if given is None else arrays_of(error.net) == arrays_of(net)


@dask.delayed(pure=False)
def _killing() -> None:
    raise KilledWorker("fastprop_part-1", SimpleNamespace(address="tcp://there"), 3)


def test_a_partition_that_kills_workers_is_named(client):
    parts = [dask.delayed((X[:100], LABELS[:100])), _killing()]
    with pytest.raises(ClusterError, match=r"partition 1 could not be made: .*lost its worker, 4 times.*memory"):
        fit(network(), parts, client=client, progress=False)


def test_partitions_are_placed_with_few_questions(client, monkeypatch):
    asked, call = [], cluster.Cluster._call
    monkeypatch.setattr(
        cluster.Cluster, "_call", lambda self, name, **options: (asked.append(name), call(self, name, **options))[1]
    )
    with opened(client) as ours:
        futures = placed(blocks_of(X, LABELS, None, 40), ours)
        assert len(asked) < 5
        ours.gather(futures, "parts")
        held = [key for keys in client.has_what().values() for key in keys if key.startswith("fastprop_part")]
        assert len(held) == 40
        assert all(client.has_what().values())


def test_a_lost_cluster_is_an_error_with_the_network(client, monkeypatch):
    net = network()
    monkeypatch.setattr(course.Cluster, "workers", _no_workers)
    with pytest.raises(ClusterError, match="nobody is there") as caught:
        trained(client, net)
    assert caught.value.net is net


def _no_workers(self: Any) -> Any:
    raise course.Lost("nobody is there")


class Steps:
    def on_step(self, net: fp.Network, step: int, logs: dict[str, float]) -> None: ...


REFUSED = {
    "unknown mode 'hogwild'": {"mode": "hogwild"},
    "sync_every must be a positive int": {"sync_every": 0},
    "sync_every must be None in mode 'sync'": {"mode": "sync", "sync_every": 3},
    "outer must be None in mode 'sync'": {"mode": "sync", "outer": fp.SGD(1.0)},
    "outer must be None or an optimizer": {"outer": "sgd"},
    "BatchNorm": {"mode": "sync", "net": network(extra=(fp.BatchNorm(),))},
    "Steps has on_step": {"callbacks": Steps()},
    "got only y_val": {"y_val": LABELS},
    "either X_val and y_val or validation_fraction": {"X_val": X, "y_val": LABELS, "validation_fraction": 0.5},
    "monitor 'val_loss' is not measured": {"early_stopping": 3},
    "n_partitions must be": {"n_partitions": 0},
    "labels": {"y": np.arange(N)},
    "client": {"client": 3},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(client, message):
    arguments = {"net": network(), "y": LABELS, "client": client} | REFUSED[message]
    net = arguments["net"]
    with pytest.raises((ValueError, TypeError), match=message):
        fit(X=X, **arguments, progress=False)
    assert not net.is_built


def test_what_is_wrong_with_rows_to_validate_with_is_said_of_them(client):
    bad, odd = X.copy(), LABELS.copy()
    bad[637, 2], odd[639] = np.nan, 7
    for message, arguments in {
        "X_val of partition 7 must be finite, got nan in row 77, column 2": {"X_val": bad},
        "X_val of partition 0 has 5 features, expected 6": {"X_val": X[:, :5]},
        "y_val of partition 7 has labels never seen": {"y_val": odd},
        "X_val, y_val: y has 5 rows but X has 640": {"y_val": LABELS[:5]},
    }.items():
        with pytest.raises(ValueError, match=message):
            trained(client, network(), **{"X_val": X, "y_val": LABELS} | arguments)


def test_the_arguments_of_a_run_go_through_json(client):
    net = network()
    trained(client, net, outer=fp.Adam(0.1), epochs=1)
    arguments = net._run.arguments
    assert json.loads(json.dumps(arguments)) == arguments
