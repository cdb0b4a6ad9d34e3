"""The cluster as training sees it, without training."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from dask_clusters import local

pytest.importorskip("distributed")

from distributed import Client
from distributed.scheduler import KilledWorker

from fastprop.dask import cluster as clusters
from fastprop.dask.cluster import Cluster, Lost, cut, opened


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
        monkeypatch.setattr(cluster, "_threads", lambda: dict.fromkeys(addresses, 1))
        return [address for address, _ in cluster.workers()]

    monkeypatch.setattr(cluster, "_places", [])
    assert order("b", "c") == ["b", "c"]
    assert order("a", "c") == ["a", "c"]  # a came for b
    assert order("a", "b", "c") == ["a", "c", "b"]  # late
    assert order("b") == ["b"]
    assert order("b", "a") == ["a", "b"]


def test_groups_are_where_partitions_are_placed(cluster):
    groups = cluster.groups([5, 5, 5, 5])
    assert [numbers for numbers, _ in groups] == [range(2), range(2, 4)]
    assert [cluster.address_of(i) for i in range(4)] == [groups[i // 2][1] for i in range(4)]
    assert {cluster.address_of(i, 8) for i in range(8)} == {address for _, address in groups}


def test_results_come_in_order_and_no_task_stays(client):
    with opened(client) as cluster:
        futures = [cluster.submit(pow, i, 2, name="round", address=cluster.address_of(i, 4)) for i in range(4)]
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


def test_ctrl_c_gets_through_and_leaves_no_task(client):
    def interrupt() -> None:
        at_work.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), opened(client) as cluster:
        cluster.gather([cluster.submit(_work, name="round") for _ in range(3)], "work")
    assert cluster.left() == []
    go_on.set()


def test_versions_are_compared(cluster):
    cluster.check_stamps(os.getpid)
    with pytest.raises(ValueError, match=r"worker \S+ has \d+, and the client \d+: they must be equal"):
        cluster.check_stamps(threading.get_ident)
    with pytest.raises(ValueError, match="cannot run fastprop: ZeroDivisionError"):
        cluster.check_stamps(_fails_on_workers)


def _fails_on_workers() -> int:
    return 1 // (threading.current_thread() is threading.main_thread())


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
    monkeypatch.setattr(clusters, "ALONE_SECONDS", 0.3)
    with local(n_workers=0) as client, pytest.raises(Lost, match="no worker"), opened(client):
        pass


def test_a_scheduler_that_goes_is_an_error():
    with local(n_workers=1) as client, opened(client) as cluster:
        future = cluster.submit(time.sleep, 1.0, name="round")
        threading.Timer(0.3, lambda: client.cluster.close(timeout=5)).start()
        with pytest.raises(Lost, match="scheduler"):
            cluster.run(lambda: [future], "round 1")
