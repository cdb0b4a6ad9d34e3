"""The cluster as training sees it, without training."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from dask_clusters import local

pytest.importorskip("distributed")

from distributed import Client
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from fastprop.dask import cluster as clusters
from fastprop.dask import opening
from fastprop.dask.cluster import Cluster, Lost, cut
from fastprop.dask.job import Unfit, check_wanted, stamp, this_worker
from fastprop.dask.opening import opened
from fastprop.dask.versions import SET, agreed


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local() as client:
        yield client


@pytest.fixture
def cluster(client: Client) -> Iterator[Cluster]:
    with opened(client) as cluster:
        yield cluster


def test_partitions_are_cut_by_rows_a_thread():
    def sizes(rows: list[int], *n_threads: int) -> list[int]:
        groups = cut(rows, [(str(i), n) for i, n in enumerate(n_threads)])
        assert [number for numbers, _ in groups for number in numbers] == list(range(len(rows)))
        return [len(numbers) for numbers, _ in groups]

    assert sizes([10] * 8, 1) == [8]
    assert sizes([10] * 8, 1, 1) == [4, 4]
    assert sizes([10] * 8, 3, 1) == [6, 2]
    assert sizes([30, 10, 10, 10], 1, 1) == [1, 3]
    assert sizes([10] * 3, 1, 1, 1, 1) == [1, 1, 1]
    assert sizes([1000, 1, 1], 1, 1, 1) == [1, 1, 1]
    assert sizes([0, 0, 0, 0], 1, 1) == [2, 2]


def test_workers_keep_their_places(cluster, monkeypatch):
    def order(*addresses: str) -> list[str]:
        monkeypatch.setattr(cluster, "threads", lambda: dict.fromkeys(addresses, 1))
        return [address for address, _ in cluster.workers()]

    monkeypatch.setattr(cluster, "_places", [])
    assert order("b", "c") == ["b", "c"]
    assert order("a", "c") == ["a", "c"]  # a came for b
    assert order("a", "b", "c") == ["a", "c", "b"]  # late
    assert order("b") == ["b"]
    assert order("b", "a") == ["a", "b"]


def test_groups_are_of_workers_that_are_ready(cluster):
    addresses = [address for address, _ in cluster.workers()]
    assert cluster.groups([5, 5, 5, 5]) == [(range(2), addresses[0]), (range(2, 4), addresses[1])]
    assert cluster.groups([5, 5, 5, 5], lambda asked: [a == addresses[1] for a in asked]) == [(range(4), addresses[1])]
    assert len(cluster.groups([5, 5, 5, 5], lambda asked: [False, False])) == 2


def test_results_come_in_order_and_no_task_stays(client):
    with opened(client) as cluster:
        addresses = [address for address, _ in cluster.workers()]
        futures = [cluster.submit(pow, i, 2, name="round", address=addresses[i % 2]) for i in range(4)]
        assert cluster.gather(futures, "squares") == [0, 1, 4, 9]
        assert len(cluster.left()) == 4
    assert cluster.left() == []


def test_errors_of_tasks_come_as_they_are(cluster):
    with pytest.raises(ZeroDivisionError):
        cluster.gather([cluster.submit(divmod, 1, 0, name="round")], "a quotient")


def test_what_is_slow_to_come_is_waited_for(cluster, monkeypatch):
    monkeypatch.setattr(clusters, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(clusters, "IDLE_SECONDS", 0.05)
    gather = cluster.client.gather

    async def slow(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.3)
        return await gather(*arguments, **options)

    cluster._places.append("tcp://gone")
    futures = [cluster.submit(pow, 2, 3, name="round")]
    cluster.gather(futures, "a power")
    monkeypatch.setattr(cluster.client, "gather", slow)
    assert cluster.gather(futures, "a power") == [8]


def _kills() -> None:
    raise KilledWorker("fastprop_round-1", SimpleNamespace(address="tcp://there"), 3)


def test_tasks_that_kill_workers_are_explained(cluster):
    with pytest.raises(Lost, match=r"round 7: one task .* lost its worker, 4 times.*memory limit.*tcp://there"):
        cluster.gather([cluster.submit(_kills, name="round")], "round 7")


def test_cancelled_tasks_are_submitted_again(cluster):
    submitted = []

    def submit() -> list:
        submitted.append(cluster.submit(pow, 2, len(submitted), name="round"))
        if len(submitted) < 3:
            cluster.client.cancel(submitted[-1:])
        return submitted[-1:]

    assert cluster.run(submit, "powers") == [4]
    submitted[:] = submitted[:0]
    with pytest.raises(Lost, match="powers: its tasks were cancelled or lost 3 times"):
        cluster.run(lambda: (submitted.clear(), submit())[1], "powers")


def test_data_that_was_scattered_is_named(cluster):
    [held] = cluster.client.scatter([1.0], hash=False)

    def submit() -> list:
        held.cancel()
        return [cluster.submit(abs, held, name="round")]

    with pytest.raises(Lost, match="scattered"):
        cluster.run(submit, "round 1")


at_work, go_on = threading.Event(), threading.Event()  # workers are threads here


def _work() -> None:
    at_work.set()
    go_on.wait(20)


def test_ctrl_c_gets_through_and_leaves_no_task(client, caplog):
    def interrupt() -> None:
        at_work.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), opened(client) as cluster:
        cluster.gather([cluster.submit(_work, name="round") for _ in range(3)], "work")
    assert cluster.left() == []
    go_on.set()
    client.sync(asyncio.sleep, 0.05)
    gc.collect()
    assert "never retrieved" not in caplog.text


OWN = {"fastprop": "1.0", "numba": "0.61", "numpy": "2.0", "instruction set": "avx512"}


def test_versions_are_those_of_the_client_and_instruction_sets_those_of_the_workers():
    older, narrower = OWN | {"numba": "0.1"}, OWN | {"instruction set": "avx2"}
    assert agreed({"a": OWN, "b": OWN}, OWN, "sync") == OWN
    assert agreed({"a": narrower, "b": narrower}, OWN, "local") == narrower  # the client only adds
    assert SET not in agreed({}, OWN, "sync")
    with pytest.raises(ValueError, match=r"worker b has numba 0\.1 instead of 0\.61: install .*numba 0\.61.* there"):
        agreed({"a": OWN, "b": older}, OWN, "local")
    with pytest.raises(ValueError, match=r"worker b has the instruction set avx2 and worker a avx512.*of one kind"):
        agreed({"a": OWN, "b": narrower}, OWN, "local")
    with pytest.raises(ValueError, match=r"workers have .* avx2 and this process avx512.*sync.*mode='local'"):
        agreed({"a": narrower, "b": narrower}, OWN, "sync")
    with pytest.raises(ValueError, match="worker a cannot run fastprop: ImportError: no numba; install"):
        agreed({"a": ImportError("no numba")}, OWN, "local")


def test_workers_that_die_while_versions_are_compared_are_left_alone(cluster, monkeypatch):
    [one, two] = [address for address, _ in cluster.workers()]
    found = {one: CommClosedError("killed"), two: stamp(), "tcp://gone": KeyError("while it ended")}
    monkeypatch.setattr(cluster.client, "run", lambda *arguments, **options: found)
    cluster.check_versions("sync")
    assert cluster.stamp == stamp()
    found[one] = stamp() | {"numba": "0.1"}  # as it came back
    with pytest.warns(RuntimeWarning, match=rf"worker {one} is left out: it has numba 0\.1"):
        assert cluster.finds_unfit()
    assert [address for address, _ in cluster.workers()] == [two]
    assert not cluster.finds_unfit()  # is said once


def _only_at(address: str) -> str:
    here = this_worker()[0]
    if here != address:
        raise Unfit("other versions")
    return here


def test_tasks_that_a_late_worker_cannot_do_are_done_by_others(cluster, monkeypatch):
    [one, two] = [address for address, _ in cluster.workers()]
    found = {one: stamp(), two: stamp()}
    monkeypatch.setattr(cluster.client, "run", lambda *arguments, workers, **options: {a: found[a] for a in workers})
    cluster.check_versions("sync")
    submit: Any = lambda: [cluster.submit(_only_at, one, name="round", address=two)]  # noqa: E731
    with pytest.raises(Lost, match="round 1: other versions"):
        cluster.run(submit, "round 1")
    cluster._known.remove(two)
    found[two] = ImportError("no fastprop")
    with pytest.warns(RuntimeWarning, match=f"worker {two} is left out: it has ImportError: no fastprop"):
        assert cluster.run(submit, "round 1") == [one]
    assert cluster.run(submit, "round 2") == [one]  # no warning


def test_clients_are_checked(client):
    closed = Client(client.scheduler.address, set_as_default=False)
    closed.close()
    with pytest.raises(ValueError, match="the client is closed"), opened(closed):
        pass
    with pytest.raises(TypeError, match=r"distributed\.Client"), opened("tcp://127.0.0.1:1"):
        pass


def test_the_current_client_is_taken(client):
    with client.as_current(), opened() as cluster:
        assert cluster.client is client


def test_a_cluster_without_workers_is_an_error(monkeypatch):
    monkeypatch.setattr(opening, "FIRST_SECONDS", 0.3)
    with local(n_workers=0) as client, pytest.raises(Lost, match="no worker"), opened(client):
        pass


def test_adaptive_clusters_start_workers_for_us():
    with dask.config.set({"distributed.adaptive.interval": "50ms"}), local(n_workers=0) as client:
        client.cluster.adapt(minimum=0, maximum=1)
        with opened(client) as cluster:
            assert cluster.run(lambda: [cluster.submit(pow, 2, 3, name="round")], "a power") == [8]


def _nested() -> tuple[int, str]:
    with opened() as cluster:
        results = cluster.run(lambda: [cluster.submit(pow, 2, 3, name="round")], "a power")
    return results[0], cluster.client.scheduler.address


def test_within_a_task_its_thread_is_left(monkeypatch):
    monkeypatch.setattr(clusters, "IDLE_SECONDS", 1.0)
    with local(n_workers=1) as client:
        future = client.submit(_nested)
        assert future.result(10) == (8, client.scheduler.address)
        assert client.submit(pow, 2, 3).result(10) == 8  # the thread is back


def _nowhere() -> None:
    with opened() as cluster:
        cluster.gather([cluster.submit(pow, 2, 3, name="round", address="tcp://127.0.0.1:1", tied=True)], "a power")


def test_a_task_that_waits_is_no_work(client, monkeypatch):
    monkeypatch.setattr(clusters, "IDLE_SECONDS", 0.6)
    with pytest.raises(Lost, match="workers were idle"):
        client.submit(_nowhere).result(20)


def test_tasks_that_the_scheduler_had_no_worker_for_are_done(monkeypatch):
    monkeypatch.setattr(clusters, "WAKING_SECONDS", 0.1)
    with local(n_workers=1) as client, opened(client) as cluster:
        client.cluster.scale(0)
        while cluster.threads():
            time.sleep(0.02)
        future = cluster.submit(pow, 2, 3, name="round", address="tcp://127.0.0.1:1")
        time.sleep(0.1)  # until the scheduler has it, and nobody to give it to
        client.cluster.scale(1)
        client.wait_for_workers(1)
        assert cluster.gather([future], "a power") == [8]


@pytest.mark.parametrize("says_no", [True, False])
def test_results_come_through_the_scheduler_where_workers_are_out_of_reach(client, monkeypatch, says_no):
    asked, gather, reached = [], client.gather, client.rpc.connect

    async def connect(address: str, timeout: float | None = None) -> Any:
        if address != client.scheduler.address:
            raise OSError("no route")
        return await reached(address, timeout)

    def watched(futures: Any, direct: bool, asynchronous: bool) -> Any:
        asked.append(direct)
        return gather(futures, direct=direct, asynchronous=asynchronous)

    monkeypatch.setattr(client, "gather", watched)
    if says_no:
        monkeypatch.setattr(client, "direct_to_workers", False)
    else:
        monkeypatch.setattr(client.rpc, "connect", connect)
    with opened(client) as cluster:
        for _ in range(2):
            cluster.workers()
            assert cluster.gather([cluster.submit(pow, 2, 3, name="round")], "a power") == [8]
    assert asked == [False, False]


def test_a_client_that_is_closed_is_lost(client):
    other = Client(client.scheduler.address, set_as_default=False)
    with opened(other) as cluster:
        other.close()
        with pytest.raises(Lost, match="the client is closed"):
            cluster.submit(pow, 2, 3, name="round")


started, is_cancelled = threading.Event(), threading.Event()
ended: list[str] = []


def _steps() -> None:
    started.set()
    is_cancelled.wait(20)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            check_wanted()
        except BaseException as error:
            ended.append(type(error).__name__)
            raise
        time.sleep(0.01)


def test_cancelled_tasks_end(client):
    with opened(client) as cluster:
        future = cluster.submit(_steps, name="round")
        started.wait(20)
        assert not ended
        cluster.close()
        is_cancelled.set()
        assert cluster.left() == []
    deadline = time.monotonic() + 10
    while not ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended == ["Reschedule"]
    assert future.status == "cancelled"


def test_a_scheduler_that_goes_is_an_error():
    with local(n_workers=1) as client, opened(client) as cluster:
        future = cluster.submit(time.sleep, 1.0, name="round")
        threading.Timer(0.3, lambda: client.cluster.close(timeout=5)).start()
        with pytest.raises(Lost, match="scheduler"):
            cluster.run(lambda: [future], "round 1")
