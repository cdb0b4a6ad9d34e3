"""The cluster of a fit, from the client that is given or found to the last of our tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from distributed import Client, get_client, rejoin, secede

from .cluster import FIRST_SECONDS, Cluster
from .job import this_task
from .machine import started


@contextlib.contextmanager
def opened(client: Client | None = None, n_workers: int | None = None) -> Iterator[Cluster]:
    """The cluster of a client; without one that of Dask's current client, else a local one, closed at the end.

    Within a task the cluster is by default the one that runs it, and the task leaves its thread to ours meanwhile.

    Parameters
    ----------
    client : distributed.Client, optional
    n_workers : int, optional
        Starts a local cluster of so many processes with one thread each, whatever clients there are.

    Raises
    ------
    ValueError
        If the client is closed or asynchronous.
    TypeError
        If it is none.
    Lost
        If there is no worker, and none comes in 60 seconds: a batch queue or an adaptive cluster may have to start it.
    """
    if client is None and n_workers is None:
        client = _current()
    given = started(n_workers) if client is None else contextlib.nullcontext(_checked(client))
    with given as found, _thread_left():
        cluster = Cluster(found)
        try:
            _await_first(cluster)
            yield cluster
        finally:
            cluster.close()


def _current() -> Client | None:
    """Dask's current client, or that of the worker whose task this is."""
    if this_task() is not None:
        return get_client()
    with contextlib.suppress(ValueError):
        return Client.current()
    return None


def _checked(client: Any) -> Client:
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client or None, got {client!r}")
    if client.status != "running":
        raise ValueError(f"the client is closed: its status is {client.status!r}; make another one for its scheduler")
    if client.asynchronous:
        raise ValueError("the client is asynchronous: give one that was made without asynchronous=True")
    return client


@contextlib.contextmanager
def _thread_left() -> Iterator[None]:
    """Within a task: out of the worker's threads, the only one of which might be ours."""
    if this_task() is None:
        yield
        return
    try:
        secede()
    except KeyError:  # it has left already
        yield
        return
    try:
        yield
    finally:
        rejoin()


def _await_first(cluster: Cluster) -> None:
    """Wait for a worker; a task that waits too tells adaptive clusters to start one."""
    if not cluster.threads():
        waiting = cluster.submit(_nothing, name="first")
        cluster.workers(FIRST_SECONDS)
        cluster.gather([waiting], "waiting for a worker")


def _nothing() -> None:
    """A task."""
