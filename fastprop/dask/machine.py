"""A cluster of processes on this machine, for as long as it is needed."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client, LocalCluster, WorkerPlugin

from ..threads import limit

# A LocalCluster forgets a worker for good that died and is not there again after this time; 15 s are Dask's choice, and
# on a busy machine a process that takes the place of another may need more.
RETURN = "10 minutes"
GUARD = (
    "Processes import the script that starts them: put what it does below `if __name__ == '__main__':`, or give fit "
    "the client of a cluster that runs already"
)


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

    Raises
    ------
    RuntimeError
        In a process that was started and runs the script again which started it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(f"this process of a cluster runs the script again that started it. {GUARD}")
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": RETURN}),
        _processes(n_workers or limit()[0], n_threads) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(DeafToInterrupts())
        yield client


def _processes(n_workers: int, n_threads: int) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=n_workers, threads_per_worker=n_threads, processes=True, dashboard_address=":0",
            silence_logs=logging.ERROR,  # nannies warn of workers that take long to end
        )  # fmt: skip
    except RuntimeError as error:
        raise RuntimeError(f"no cluster of {n_workers} processes could be started: {error} {GUARD}") from error
