"""Making Dask's scheduler look again at tasks that it had no worker for.

It does so when a worker begins to run. A task that is tied to a worker, however softly, and becomes ready while there
is no worker at all, is not given to the next one that comes; and once its ties are loosened, none may come.
"""

from __future__ import annotations

from typing import Any

from distributed.core import Status


def wake(dask_worker: Any) -> None:
    """On a worker that runs: pause, and begin to run."""
    if dask_worker.status is Status.running:
        dask_worker.status = Status.paused
        dask_worker.status = Status.running
