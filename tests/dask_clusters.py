"""Clusters for tests: small, on free ports, closed at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import dask
from distributed import Client, LocalCluster

import fastprop as fp
from fastprop import models


@contextlib.contextmanager
def local(n_workers: int = 2, processes: bool = False, n_threads: int = 1) -> Iterator[Client]:
    """A client of a cluster in this process, or of worker processes that are restarted when they die."""
    settings = {"distributed.comm.timeouts.connect": "10s", "distributed.worker.profile.enabled": False}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=n_workers, threads_per_worker=n_threads, processes=processes, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def arrays_of(net: fp.Network) -> dict[str, bytes]:
    """All that training changes, as bytes."""
    arrays = models.portable(net._built(), net._parameters)
    named = dict(arrays["values"]) | {f"{k}.{n}": a for k, slot in enumerate(arrays["slots"]) for n, a in slot.items()}
    return {name: array.tobytes() for name, array in named.items()} | {"count": str(arrays["count"]).encode()}
