"""A cluster of processes on this machine, for as long as it is needed."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

from distributed import Client, LocalCluster, WorkerPlugin

from ..threads import limit


class DeafToInterrupts(WorkerPlugin):  # type: ignore[misc]
    """Ctrl-C in a terminal reaches all processes that were started from it: here only the first shall hear it."""

    def setup(self, worker: Any) -> None:
        """Called in each worker process, those that take the place of dead ones too."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def started(n_workers: int | None = None, n_threads: int = 1) -> Iterator[Client]:
    """A client of a new cluster, both closed at the end.

    Parameters
    ----------
    n_workers : int, optional
        Processes; by default one for each core.
    n_threads : int, default 1
        Of each.
    """
    with (
        LocalCluster(
            n_workers=n_workers or limit()[0], threads_per_worker=n_threads, processes=True, dashboard_address=":0",
            silence_logs=logging.ERROR,  # nannies warn of workers that take long to end
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.register_plugin(DeafToInterrupts())
        yield client
