"""A Dask cluster as training sees it: whom to give which partitions, waiting for answers, and what may go wrong.

Scheduling, transport and recovery are Dask's. What it leaves to its users is here: a cluster without workers, a
scheduler that is gone, data that nobody can compute again; and that nothing is left behind when training ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from distributed import Client, Future

from .machine import started

PREFIX = "fastprop_"  # of the keys of our tasks: the first word is what Dask's dashboard groups them by
LOOK_SECONDS = 0.5  # between two looks at the cluster's health while an answer is awaited
ALONE_SECONDS = 20.0  # how long the cluster may be without workers: nannies restart a process in 2 to 5 s
CALL_SECONDS = 10.0  # for the scheduler to answer what it has at hand
IDLE_SECONDS = 20.0  # how long workers may run nothing at all while an answer is awaited
CLEANING_SECONDS = 5.0  # for the scheduler to forget our tasks
TRIALS = 3  # how often work is submitted whose tasks were cancelled or lost


class Lost(Exception):
    """The cluster cannot go on; the message says why."""


class Vanished(Exception):
    """Tasks were cancelled or their input is lost; they may be submitted again."""


class _Again(Exception):
    """Results are to be fetched again."""


class Cluster:
    """The workers behind a client.

    Parameters
    ----------
    client : distributed.Client
        Open, and not asynchronous.

    Attributes
    ----------
    token : str
        In the keys of all our tasks, so that two fits on one cluster do not meet.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.token = uuid.uuid4().hex[:10]
        self._n_keys = 0
        self._places: list[str] = []  # of workers, in which they keep theirs from round to round
        self._alive: frozenset[str] = frozenset()  # workers when somebody looked last
        self._row_counts: list[int] = []
        self._futures: weakref.WeakSet[Future] = weakref.WeakSet()

    # ---- who is there ---------------------------------------------------------------------------------------------

    def workers(self) -> list[tuple[str, int]]:
        """Address and number of threads of each worker, in an order that changes as little as it can.

        A new worker takes the place of one that is gone, and so its partitions; else it is the last.

        Raises
        ------
        Lost
            If there has been none for 20 seconds, or nobody who could tell.
        """
        deadline = time.monotonic() + ALONE_SECONDS
        while not (now := self._threads()):
            if time.monotonic() >= deadline:
                raise Lost(f"the cluster has no worker, and none came in {ALONE_SECONDS:.0f} seconds")
            time.sleep(0.1)
        self._alive = frozenset(now)
        new = [address for address in now if address not in self._places]
        for i, address in enumerate(self._places):
            if address not in now and new:
                self._places[i] = new.pop(0)
        self._places += new
        return [(address, now[address]) for address in self._places if address in now]

    def _threads(self) -> dict[str, int]:
        """Threads by address, as the scheduler has it now (2 ms)."""
        return dict(self._call("ncores", workers=None))

    def _call(self, name: str, **arguments: Any) -> Any:
        """Ask the scheduler."""
        self._check_connection()
        try:
            question = getattr(self.client.scheduler, name)
            return self.client.sync(question, **arguments, callback_timeout=CALL_SECONDS)
        except (OSError, TimeoutError) as error:
            raise Lost(f"the scheduler does not answer: {error}") from error

    def _check_connection(self) -> None:
        if self.client.status != "running":
            raise Lost(f"the connection to the scheduler was lost: the client is {self.client.status}")

    def groups(
        self, rows: Sequence[int], are_ready: Callable[[list[str]], Sequence[bool]] | None = None
    ) -> list[tuple[range, str]]:
        """Partitions that follow each other, and the worker that is asked for them, softly.

        Parameters
        ----------
        rows : sequence of int
            Of each partition.
        are_ready : callable, optional
            Says of which addresses to ask; all are, where none is ready.

        Returns
        -------
        list of (range, str)
            As even in rows a thread as whole partitions allow; at most one group a worker, and none is empty.
        """
        self._row_counts = list(rows)
        workers = self.workers()
        ready = are_ready([address for address, _ in workers]) if are_ready else []
        return cut(rows, list(itertools.compress(workers, ready)) or workers)

    def address_of(self, number: int, n_partitions: int | None = None) -> str:
        """The worker to place a partition at: where `groups` will ask for it, as far as that is known.

        Parameters
        ----------
        number : int
        n_partitions : int, optional
            Taken as equally large, where `groups` was not called yet.
        """
        rows = self._row_counts
        if n_partitions is not None and len(rows) != n_partitions:
            rows = self._row_counts = [1] * n_partitions
        groups = cut(rows or [1] * (number + 1), self.workers())
        return next(address for numbers, address in groups if number in numbers)

    def check_stamps(self, stamp: Callable[[], Any]) -> None:
        """Refuse workers that would compute with other versions than the client.

        Parameters
        ----------
        stamp : callable
            Gives what must be equal, with a readable repr; from a module that workers can import.

        Raises
        ------
        ValueError
            Naming the worker, what it has and what is expected.
        """
        expected = stamp()
        for address, found in self.client.run(stamp, on_error="return").items():
            if isinstance(found, OSError):  # it is gone, or will tell when it has a task
                continue
            if isinstance(found, Exception):
                raise ValueError(
                    f"worker {address} cannot run fastprop: {type(found).__name__}: {found}; install there what the "
                    f"client has: {expected}"
                )
            if found != expected:
                raise ValueError(f"worker {address} has {found}, and the client {expected}: they must be equal")

    # ---- tasks ----------------------------------------------------------------------------------------------------

    def submit(self, function: Callable[..., Any], *args: Any, name: str, address: str | None = None) -> Future:
        """A task of ours, at `address` if that worker can take it.

        Parameters
        ----------
        function : callable
        *args
            Futures among them are dependencies.
        name : str
            For the key, such as "round": the task shows as "fastprop_round".
        address : str, optional
        """
        self._n_keys += 1
        place: dict[str, Any] = {} if address is None else {"workers": [address], "allow_other_workers": True}
        key = f"{PREFIX}{name}-{self.token}-{self._n_keys}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # of 10 MB: a large state goes up once a round
            return self.adopted(self.client.submit(function, *args, key=key, pure=False, **place))

    def adopted(self, future: Future) -> Future:
        """The same future, which `close` will cancel."""
        self._futures.add(future)
        return future

    def run(self, submit: Callable[[], list[Future]], what: str) -> list[Any]:
        """Results of the tasks that `submit` submits; again, up to three times, if they were cancelled or lost.

        Raises
        ------
        Lost
            If the cluster cannot go on.
        """
        for trial in range(TRIALS):
            try:
                return self.gather(submit(), what)
            except Vanished as error:
                if trial == TRIALS - 1:
                    raise Lost(
                        f"{what}: its tasks were cancelled or lost {TRIALS} times ({error}). Data that was given as "
                        f"futures or scattered is gone with the worker that held it: Dask can compute again what was "
                        f"made by a task only"
                    ) from error
        raise AssertionError

    def gather(self, futures: list[Future], what: str) -> list[Any]:
        """Results, straight from the workers; Ctrl-C gets through at once.

        Parameters
        ----------
        futures : list of Future
        what : str
            Whose they are, for messages.

        Raises
        ------
        Vanished
            If some were cancelled, or what they need is lost.
        Lost
            If there is no worker for 20 seconds, the scheduler is gone, or tasks killed their workers.
        Exception
            What a task raised.
        """
        try:
            while True:
                with contextlib.suppress(_Again):
                    return self._gathered(futures)
        except (concurrent.futures.CancelledError, asyncio.CancelledError) as error:
            self._check_connection()
            raise Vanished(str(error) or "cancelled") from error
        except Exception as error:
            if type(error).__name__ == "KilledWorker":
                raise Lost(
                    f"{what}: one task after the other lost its worker, {error.args[2] + 1} times. Mostly that is the "
                    f"workers' memory limit: give them more memory, or the data in more and smaller partitions. {error}"
                ) from error
            raise

    def _gathered(self, futures: list[Future]) -> list[Any]:
        """Results, looking at the cluster's health meanwhile."""
        loop = self.client.loop.asyncio_loop
        answer = asyncio.run_coroutine_threadsafe(self._fetched(futures), loop)
        there, idle_since = self._alive, time.monotonic()
        try:
            while True:
                with contextlib.suppress(concurrent.futures.TimeoutError):
                    return answer.result(LOOK_SECONDS)
                if answer.done():  # a timeout of its own
                    return answer.result()
                self.workers()
                gone, there = there - self._alive, self._alive
                are_done = all(future.done() for future in futures)
                if gone and are_done:
                    raise _Again  # Dask would try for 30 s to reach the worker that had the result
                if gone:
                    self.loosen()
                if are_done or any(self._call("processing", workers=None).values()):
                    idle_since = time.monotonic()
                elif time.monotonic() > idle_since + IDLE_SECONDS:
                    raise Lost(f"workers were idle for {IDLE_SECONDS:.0f} seconds, and the scheduler gave them no task")
        finally:
            answer.cancel()

    async def _fetched(self, futures: list[Future]) -> list[Any]:
        results: list[Any] = await self.client.gather(futures, direct=True, asynchronous=True)
        return results

    def loosen(self) -> None:
        """Let any worker do what is asked of one, from now on: all of our tasks have been placed.

        Once there is no worker at all, Dask gives a new one only tasks that are tied to none, however softly.
        """
        known = [future.key for future in self._futures if future.status != "cancelled"]
        with contextlib.suppress(KeyError):  # the scheduler has not heard of all, or no more
            self._call("set_restrictions", worker=dict.fromkeys(known))

    # ---- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel our tasks and wait, some seconds at most, until the scheduler has none."""
        futures = list(self._futures)
        if self.client.status != "running" or not futures:
            return
        with contextlib.suppress(Lost):
            self.client.cancel(futures)
            deadline = time.monotonic() + CLEANING_SECONDS
            while self.left() and time.monotonic() < deadline:
                time.sleep(0.02)

    def left(self) -> list[str]:
        """Keys of our tasks that the scheduler still has: running or held by workers."""
        answers = [self._call(question, workers=None) for question in ("processing", "has_what")]
        return [key for answer in answers for keys in answer.values() for key in keys if self._is_ours(key)]

    def _is_ours(self, key: Any) -> bool:
        return isinstance(key, str) and key.startswith(PREFIX) and f"-{self.token}-" in key


def cut(rows: Sequence[int], workers: Sequence[tuple[str, int]]) -> list[tuple[range, str]]:
    """Ranges of partitions for workers; see `Cluster.groups`."""
    # A border lies where the rows before it are nearest to the part that the workers before it should have.
    ends = np.concatenate([[0], np.cumsum(np.maximum(1, rows))])
    shares = np.cumsum([n_threads for _, n_threads in workers]) / sum(n_threads for _, n_threads in workers)
    borders = [0, *(int(np.abs(ends - share * ends[-1]).argmin()) for share in shares[:-1]), len(rows)]
    if len(workers) >= len(rows):  # one each, to the first
        borders = [min(i, len(rows)) for i in range(len(workers) + 1)]
    ranges = zip(borders[:-1], borders[1:], workers, strict=True)
    return [(range(first, last), address) for first, last, (address, _) in ranges if last > first]


# ---- opening ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(client: Client | None = None, n_workers: int | None = None) -> Iterator[Cluster]:
    """The cluster of a client; without one that of Dask's current client, else a local one, closed at the end.

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
        If no worker comes in 20 seconds.
    """
    if client is None and n_workers is None:
        with contextlib.suppress(ValueError):
            client = Client.current()
    if client is not None:
        cluster = Cluster(_checked(client))
        with _closing(cluster):
            yield cluster
        return
    with started(n_workers) as own:
        cluster = Cluster(own)
        with _closing(cluster):
            yield cluster


@contextlib.contextmanager
def _closing(cluster: Cluster) -> Iterator[None]:
    """Workers at the beginning, none of our tasks at the end."""
    cluster.workers()
    try:
        yield
    finally:
        cluster.close()


def _checked(client: Any) -> Client:
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client or None, got {client!r}")
    if client.status != "running":
        raise ValueError(f"the client is closed: its status is {client.status!r}; make another one for its scheduler")
    if client.asynchronous:
        raise ValueError("the client is asynchronous: give one that was made without asynchronous=True")
    return client
