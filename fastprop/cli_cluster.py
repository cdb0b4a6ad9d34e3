"""`fastprop train --workers` and `--scheduler`: the same training on a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import tabular
from .arguments import check_positive_int
from .cli_data import Given
from .data.dataset import Dataset
from .network import Network
from .threads import limit

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 5  # until nobody is taken to listen at an address; a scheduler in the same network answers in 0.1 s
KINDS = ("parquet", "npy")  # that every worker can read its part of


class LostError(OSError):
    """The cluster cannot go on; the network is that of the last complete round."""


@dataclass(frozen=True)
class Place:
    """Where to train: `workers` processes of this machine, or the cluster of the scheduler at an address."""

    workers: int | None
    scheduler: str | None


def check_place(workers: int | None, scheduler: str | None, threads: int | None, given: Given) -> Place | None:
    """Where the options say to train; None is here, in this process.

    Raises
    ------
    ValueError
        If they do not go together, the data cannot be shared out, or Dask is not installed.
    """
    if workers is None and scheduler is None:
        return None
    if workers is not None and scheduler is not None:
        raise ValueError("workers and scheduler exclude each other: --workers starts a cluster, --scheduler joins one")
    if scheduler is not None and threads is not None:
        raise ValueError("threads is for this machine: the workers of --scheduler say themselves how many they have")
    if workers is not None:
        check_positive_int("workers", workers)
    if given.kind not in KINDS:
        raise ValueError(
            f"the workers of a cluster read .parquet and .npy files, each its part, got .{given.kind}: convert once, "
            f"as by pandas.read_csv(...).to_parquet(...), or leave out --workers and --scheduler"
        )
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        option = "workers" if scheduler is None else "scheduler"
        raise ValueError(f"{option} needs Dask: install fastprop-jit[dask]") from error
    return Place(workers, scheduler)


@contextlib.contextmanager
def connected(place: Place | None, threads: int | None) -> Iterator[Client | None]:
    """A client of the cluster, which is closed at the end if it was started here; None for no place.

    Parameters
    ----------
    place : Place or None
    threads : int, optional
        Of this machine at most, for all workers together; each has one at least.

    Raises
    ------
    ValueError
        If nobody listens at the address.
    """
    if place is None:
        yield None
        return
    from distributed import Client

    if place.workers is not None:
        from .dask.machine import started

        with started(place.workers, max(1, (threads or limit()[0]) // place.workers)) as client:
            yield client
        return
    try:
        client = Client(place.scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"scheduler must be the address of a Dask scheduler, such as tcp://host:8786, and nobody answers at "
            f"{place.scheduler}"
        ) from error
    with client:
        yield client


def described(client: Client) -> str:
    """The cluster in words."""
    threads = [worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    n, all_threads = len(threads), sum(threads)
    return f"{n} worker{'s' * (n != 1)} with {all_threads} thread{'s' * (all_threads != 1)}, {client.scheduler.address}"


def fit(net: Network, data: Dataset, settings: tabular.Settings, client: Client) -> Mapping[str, Sequence[Any]]:
    """`tabular.fit` on a cluster, in mode "local"; the rate falls within the updates of the busiest partition.

    Raises
    ------
    LostError
        If there is no worker left, or no scheduler.
    """
    from .dask import ClusterError
    from .dask.course import fit as fit_there
    from .dask.drafts import Facts, Ready

    class Scheduled(Ready):
        """The network, with a learning rate that ends when training does."""

        def network(self, facts: Facts) -> Network:
            self.net.optimizer.lr = tabular.rate(settings, facts.updates(batch_size, "local"))
            return self.net

    arguments = tabular.arguments(data, settings)
    batch_size: int = arguments["batch_size"]
    try:
        return fit_there(Scheduled(net), data, client=client, **arguments)
    except ClusterError as error:
        raise LostError(str(error)) from error
