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
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from distributed import Client, Future
from distributed.comm import CommClosedError

from . import job as jobs
from .versions import SET, agreed
from .waking import wake

PREFIX = "fastprop_"  # of the keys of our tasks: the first word is what Dask's dashboard groups them by
LOOK_SECONDS = 0.5  # between two looks at the cluster's health while an answer is awaited
FIRST_SECONDS = 60.0  # for the first worker to come: queues and machines of a cloud take that long
ALONE_SECONDS = 20.0  # how long the cluster may be without workers: nannies restart a process in 2 to 5 s
CALL_SECONDS = 10.0  # for the scheduler to answer what it has at hand
IDLE_SECONDS = 20.0  # how long workers may run nothing at all while an answer is awaited
WAKING_SECONDS = 2.0  # of idleness until the scheduler is made to look at tasks again that it had no worker for
REACH_SECONDS = 5.0  # for a worker to let the client connect
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
    stamp : dict
        What all workers have, once `check_versions` has asked.
    unfit : dict of address to str
        Late workers with other versions, and what they have instead. They get no more tasks.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.token = uuid.uuid4().hex[:10]
        self._n_keys = 0
        self._places: list[str] = []  # of workers, in which they keep theirs from round to round
        self._alive: frozenset[str] = frozenset()  # workers when somebody looked last
        self._futures: weakref.WeakSet[Future] = weakref.WeakSet()
        self._tied: weakref.WeakSet[Future] = weakref.WeakSet()  # tasks that are of use to one worker only
        self.stamp: dict[str, str] = {}
        self.unfit: dict[str, str] = {}
        self._known: set[str] = set()  # workers whose versions are
        self._is_direct = client.direct_to_workers is not False
        self._reached: set[str] = set()  # workers that let the client connect

    # ---- who is there ---------------------------------------------------------------------------------------------

    def workers(self, seconds: float | None = None) -> list[tuple[str, int]]:
        """Address and number of threads of each worker, in an order that changes as little as it can.

        A new worker takes the place of one that is gone, and so its partitions; else it is the last.

        Parameters
        ----------
        seconds : float, optional
            To wait for one at most; 20 by default.

        Raises
        ------
        Lost
            If none came, or there is nobody who could tell.
        """
        seconds = ALONE_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while not (now := self.threads()):
            if time.monotonic() >= deadline:
                left_out = "".join(f"; {address} is left out: it has {odd}" for address, odd in self.unfit.items())
                raise Lost(f"the cluster has no worker, and none came in {seconds:.0f} seconds{left_out}")
            time.sleep(0.1)
        self._alive = frozenset(now)
        new = [address for address in now if address not in self._places]
        for i, address in enumerate(self._places):
            if address not in now and new:
                self._places[i] = new.pop(0)
        self._places += new
        return [(address, now[address]) for address in self._places if address in now]

    def threads(self) -> dict[str, int]:
        """Threads by address, as the scheduler has it now (2 ms)."""
        threads = self._call("ncores", workers=None)
        return {address: n for address, n in threads.items() if address not in self.unfit}

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
        asked = self.workers()
        ready = are_ready([address for address, _ in asked]) if are_ready else []
        return cut(rows, list(itertools.compress(asked, ready)) or self.workers())

    def check_versions(self, mode: str) -> None:
        """Refuse workers that would compute with other versions than the others; see `versions.agreed`.

        Raises
        ------
        ValueError
            Naming the worker, what it has and what is expected.
        """
        stamps = self._stamps([address for address, _ in self.workers()])
        self.stamp, self._known = agreed(stamps, jobs.stamp(), mode), set(stamps)

    def finds_unfit(self) -> bool:
        """Look at the versions of workers that came late; whether some are found to be others from now on."""
        found = self._stamps([address for address in self.threads() if address not in self._known])
        n_before = len(self.unfit)
        for address, stamp in found.items():
            self._known.add(address)
            if isinstance(stamp, BaseException):
                odd = f"{type(stamp).__name__}: {stamp}"
            else:
                odd = jobs.difference(stamp, self.stamp)
                self.stamp.setdefault(SET, stamp[SET])  # all were restarted while the first were asked
            if odd:
                self.unfit[address] = odd
                warnings.warn(f"worker {address} is left out: it has {odd}", RuntimeWarning, stacklevel=2)
        if len(self.unfit) > n_before:
            self.loosen()
            return True
        return False

    def _stamps(self, addresses: Collection[str]) -> Mapping[str, dict[str, str] | BaseException]:
        """What workers have, or why they cannot tell; of those that are still there."""
        if not addresses:
            return {}
        found = self.client.run(jobs.stamp, workers=list(addresses), on_error="return")
        there = self.threads()
        gone = (CommClosedError, ConnectionError, TimeoutError)
        return {a: stamp for a, stamp in found.items() if a in there and not isinstance(stamp, gone)}

    # ---- tasks ----------------------------------------------------------------------------------------------------

    def submit(
        self, function: Callable[..., Any], *args: Any, name: str, address: str | None = None, tied: bool = False
    ) -> Future:
        """A task of ours, at `address` if that worker can take it.

        Parameters
        ----------
        function : callable
        *args
            Futures among them are dependencies.
        name : str
            For the key, such as "round": the task shows as "fastprop_round".
        address : str, optional
        tied : bool, default False
            To that worker: no other shall do it.

        Raises
        ------
        Lost
            If the connection to the scheduler is.
        """
        self._n_keys += 1
        place: dict[str, Any] = {}
        if address is not None:
            place = {"workers": [address], "allow_other_workers": not tied}
        if self.unfit and not tied:  # then Dask chooses the worker, by what it holds
            place = {"workers": self._fit(), "allow_other_workers": False}
        key = f"{PREFIX}{name}-{self.token}-{self._n_keys}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # of 10 MB: a large state goes up once a round
            try:
                future = self.client.submit(function, *args, key=key, pure=False, **place)
            except Exception:
                self._check_connection()
                raise
        if tied:
            self._tied.add(future)
        return self.adopted(future)

    def _fit(self) -> list[str] | None:
        """Whom to tie tasks to where some workers are unfit; None if all may do them."""
        return [address for address in self._alive if address not in self.unfit] if self.unfit else None

    def adopted(self, future: Future) -> Future:
        """The same future, which `close` will cancel."""
        self._futures.add(future)
        return future

    def run(self, submit: Callable[[], list[Future]], what: str) -> list[Any]:
        """Results of the tasks that `submit` submits; again, up to three times, if they were cancelled or lost.

        And again without a late worker that has other versions, if they fail there.

        Raises
        ------
        Lost
            If the cluster cannot go on.
        """
        n_vanished = 0
        while True:
            try:
                return self.gather(submit(), what)
            except Vanished as error:
                n_vanished += 1
                if n_vanished == TRIALS:
                    raise Lost(
                        f"{what}: its tasks were cancelled or lost {TRIALS} times ({error}). Data that was given as "
                        f"futures or scattered is gone with the worker that held it: Dask can compute again what was "
                        f"made by a task only"
                    ) from error
            except Lost:
                raise
            except Exception as error:
                if not self.finds_unfit():
                    if isinstance(error, jobs.Unfit):
                        raise Lost(f"{what}: {error}") from error
                    raise

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
            self._check_connection()
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
        woken = idle_since
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
                now = time.monotonic()
                if are_done or self._is_busy():
                    idle_since = woken = now
                elif now > idle_since + IDLE_SECONDS:
                    raise Lost(f"workers were idle for {IDLE_SECONDS:.0f} seconds, and the scheduler gave them no task")
                elif now > woken + WAKING_SECONDS:
                    woken = now
                    self.loosen()
                    self.client.run(wake, on_error="ignore")
        except _Again:
            answer.cancel()
            raise
        # After other errors the answer ends when `close` cancels the futures: what waits for each in it would else be
        # told with nobody to hear, and asyncio logs that.

    def _is_busy(self) -> bool:
        """Whether workers have anything to do, but the task that we are called in."""
        processing = self._call("processing", workers=None)
        return any(key != jobs.this_task() for keys in processing.values() for key in keys)

    async def _fetched(self, futures: list[Future]) -> list[Any]:
        if self._is_direct:
            self._is_direct = all(await asyncio.gather(*map(self._reaches, self._alive - self._reached)))
        results: list[Any] = await self.client.gather(futures, direct=self._is_direct, asynchronous=True)
        return results

    async def _reaches(self, address: str) -> bool:
        """Whether a worker lets the client connect. Behind a gateway none does, and Dask would try 30 s each time."""
        rpc = self.client.rpc
        try:
            rpc.reuse(address, await rpc.connect(address, timeout=REACH_SECONDS))
        except (OSError, RuntimeError):
            return address not in await self.client.scheduler.ncores(workers=None)  # gone: that says nothing
        self._reached.add(address)
        return True

    def loosen(self) -> None:
        """Let any fit worker do what is asked of one, from now on: all of our tasks have been placed.

        Once there is no worker at all, Dask gives a new one only tasks that are tied to none, however softly.
        """
        keys = [future.key for future in self._futures - self._tied]
        known = [key for key, status in self._call("get_task_status", keys=keys).items() if status is not None]
        with contextlib.suppress(KeyError):  # one was forgotten meanwhile
            self._call("set_restrictions", worker=dict.fromkeys(known, self._fit()))

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
