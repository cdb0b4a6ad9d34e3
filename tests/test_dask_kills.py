"""`fastprop.dask.fit` on worker processes that die, come late, or are the last."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from dask_clusters import arrays_of, local

pytest.importorskip("distributed")

from distributed import Client

import fastprop as fp
from fastprop.dask import ClusterError, cluster, machine
from fastprop.dask.course import fit
from fastprop.dask.rounds import LocalRounds, Point
from fastprop.dask.state import taken

N = 8 * 2048
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 32)).astype(np.float32)
y = np.sin(X @ rng.normal(size=(32, 2))).astype(np.float32)
MODES = {"local": {"sync_every": 64, "epochs": 2}, "sync": {"epochs": 1, "batch_size": 2048}}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local(2, processes=True) as client:
        yield client


def trained(
    client: Client, mode: str = "local", rounds: Callable[[int, Point], None] | None = None, **arguments: Any
) -> Any:
    """A network after a fit; `rounds` is called with the number and the beginning of each round."""
    net = fp.Network([fp.Dense(64, activation="relu"), fp.Dropout(0.1), fp.Dense(2)], seed=1)
    numbers = iter(range(10**6))

    class Watched(LocalRounds):
        def next(self, point: Point, rate: Any) -> Point:
            if rounds is not None:
                rounds(next(numbers), point)
            return super().next(point, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastprop.dask.course.LocalRounds", Watched)
        arguments = {"batch_size": 16, "mode": mode, "progress": False} | MODES[mode] | arguments
        fit(net, X, y, client=client, **arguments)
    return net


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What one worker, a thread of this process, comes to."""
    with local(1) as client:
        return {mode: arrays_of(trained(client, mode)) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_processes_give_the_same_bits(client, expected, mode):
    assert arrays_of(trained(client, mode)) == expected[mode]


@pytest.mark.parametrize("number", range(3))
def test_a_worker_is_killed_in_a_round(client, expected, number):
    delay = random.Random(number).uniform(0.01, 0.1)

    def rounds(at: int, point: Point) -> None:
        if at == number:  # one of four
            threading.Timer(delay, os.kill, (pids[number % 2], signal.SIGKILL)).start()

    client.cluster.scale(2)  # should a nanny have given up one that was killed while it started
    client.wait_for_workers(2, timeout=60)
    pids = list(client.run(os.getpid).values())
    assert arrays_of(trained(client, rounds=rounds)) == expected["local"]


def test_all_workers_are_killed_and_come_back(client, expected):
    def rounds(at: int, point: Point) -> None:
        if at == 2:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

    client.cluster.scale(2)
    client.wait_for_workers(2, timeout=60)
    pids = list(client.run(os.getpid).values())
    assert arrays_of(trained(client, rounds=rounds)) == expected["local"]


def is_welcomed(keys: tuple[str, ...]) -> bool:
    return any(key.startswith("fastprop_welcome") for key in keys)


def test_a_worker_comes_late(expected):
    held: list[set[str]] = []

    def rounds(at: int, point: Point) -> None:
        if at == 1:
            client.cluster.scale(2)
            client.wait_for_workers(2, timeout=60)
        deadline = time.monotonic() + 60
        while at == 2 and not all(map(is_welcomed, client.has_what().values())) and time.monotonic() < deadline:
            time.sleep(0.05)
        if at == 3:
            held.extend({key.partition("-")[0] for key in keys} for keys in client.has_what().values())

    with local(1, processes=True) as client:
        assert arrays_of(trained(client, rounds=rounds)) == expected["local"]
    assert len(held) == 2
    assert all("fastprop_part" in keys for keys in held)


def test_the_last_worker_dies(monkeypatch):
    monkeypatch.setattr(cluster, "ALONE_SECONDS", 0.5)
    points = []

    def rounds(at: int, point: Point) -> None:
        points.append(point)
        if at == 2:
            client.cluster.scale(0)

    with local(1, processes=True) as client, pytest.raises(ClusterError, match="no worker") as caught:
        trained(client, epochs=100, rounds=rounds)
    complete = points[-1].state
    assert complete.count > 0
    np.testing.assert_array_equal(taken(caught.value.net).vector, complete.vector)


def test_a_cluster_of_its_own(expected, monkeypatch):
    monkeypatch.setattr(machine, "limit", lambda: (1, "of this test"))
    assert arrays_of(trained(None)) == expected["local"]


def test_a_script_without_a_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, fastprop as fp, fastprop.dask\n"
        "net = fp.Network([fp.Dense(1)])\n"
        "fastprop.dask.fit(net, np.ones((40, 2)), np.ones(40), epochs=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "no cluster of" in done.stderr.splitlines()[-1]
    assert "put what it does below `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
