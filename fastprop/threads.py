"""The worker threads: how many, waking them, and fork.

Workers are persistent Python threads that run the same compiled call as the calling thread, without the GIL. The bits
of a result do not depend on their number, so it may change at any time; those of `hogwild` do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
from collections.abc import Callable

from .kernels.catalogue import run_chunks

VARIABLES = ("FASTPROP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")  # joblib sets the latter two

RING_SECONDS = 0.05  # when to look whether a ring was lost
PATIENCE_SECONDS = 5.0  # how long a fork or the end of the process may wait for a job to end


def limit() -> tuple[int, str]:
    """How many threads to use at most, and why.

    The first of FASTPROP_NUM_THREADS, NUMBA_NUM_THREADS and OMP_NUM_THREADS that is set; else the processors that this
    process may run on, within the quota of its control group.
    """
    for variable in VARIABLES:
        text = os.environ.get(variable, "").split(",")[0].strip()  # OMP allows a list, one number a nesting level
        if text.isdigit() and int(text) > 0:
            return int(text), f"{variable}={text}"
    n, reason = _available()
    quota = _quota()
    if quota is not None and quota < n:
        return max(1, quota), f"the quota of the control group is {quota} processors"
    return n, reason


def _available() -> tuple[int, str]:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        n = len(os.sched_getaffinity(0))
        return n, f"this process may run on {n} processors"
    n = os.cpu_count() or 1
    return n, f"the machine has {n} processors"


@functools.cache
def _quota() -> int | None:
    """Whole processors that the control group allows, or None; read once, since that takes 100 us."""
    for path, parse in (("/sys/fs/cgroup/cpu.max", _parse_v2), ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", _parse_v1)):
        try:
            with open(path) as file:
                return parse(file.read())
        except (OSError, ValueError):
            continue
    return None


def _parse_v2(text: str) -> int | None:
    quota, period = text.split()
    return None if quota == "max" else max(1, int(quota) // int(period))


def _parse_v1(text: str) -> int | None:
    if int(text) < 0:
        return None
    with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
        return max(1, int(text) // int(file.read()))


class Bell:
    """Wakes one thread. Rung twice it may ring once, so who wakes must look at what happened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake who waits, or the next to wait."""
        with contextlib.suppress(RuntimeError):  # rung already
            self._lock.release()

    def wait(self, seconds: float = -1) -> bool:
        """Wait for a ring, for ever by default; returns whether it came."""
        return self._lock.acquire(timeout=seconds)


class Worker:
    """A thread that runs its part of a job whenever it is woken.

    Ctrl-C may hit the calling thread between any two of its instructions. So jobs are counted, and waiting asks for
    the count: a lost ring costs `RING_SECONDS`, where a lost semaphore would cost the process.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._job: tuple[Callable[..., object], int, int] = run_chunks, 0, 0
        self._n_ordered = self._n_done = 0
        self._stops = False
        self._wake, self._done = Bell(), Bell()
        self._thread = threading.Thread(target=self._work, name=f"fastprop-{number}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stops:
            self._wake.wait()
            if self._n_done < self._n_ordered:
                routine, address, n_workers = self._job
                routine(address, self.number, n_workers)
                self._n_done += 1
                self._done.ring()

    def start(self, address: int, n_workers: int, routine: Callable[..., object] | None = None) -> None:
        """Wake the thread for a job; it must have done the last one."""
        self._job = routine or run_chunks, address, n_workers
        self._n_ordered += 1
        self._wake.ring()

    def wait(self) -> None:
        """Wait until the job is done."""
        while self._n_done < self._n_ordered:
            if not self._done.wait(RING_SECONDS):
                self._wake.ring()

    def stop(self) -> None:
        """End the thread."""
        self._stops = True
        self._wake.ring()
        self._thread.join()


class Pool:
    """The workers of this process; one job at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forking: int | None = None  # the thread that holds the lock for a fork
        self._workers: list[Worker] = []

    def run(
        self,
        address: int,
        n_workers: int,
        abort: Callable[[], None],
        routine: Callable[..., object] | None = None,
    ) -> int:
        """Run a job on `n_workers` threads, this one included; returns how many it were.

        A job is a call routine(address, worker, n_workers) on each of them, of `run_chunks` by default.

        A pool that is busy with another job leaves this one to the calling thread alone. `abort` calls off workers that
        wait for this thread, should an exception keep it from joining them.
        """
        held: list[bool] = []
        try:
            if n_workers > 1:  # in one call, behind which a signal finds that the lock is held
                held.extend(map(self._lock.acquire, (False,)))
            if True in held:
                self._run(address, n_workers, abort, routine or run_chunks)
                return n_workers
        finally:
            if True in held:
                self._lock.release()
        (routine or run_chunks)(address, 0, 1)
        return 1

    def _run(self, address: int, n_workers: int, abort: Callable[[], None], routine: Callable[..., object]) -> None:
        while len(self._workers) < n_workers - 1:
            self._workers.append(Worker(len(self._workers) + 1))
        workers = self._workers[: n_workers - 1]
        try:
            for worker in workers:
                worker.start(address, n_workers, routine)
            routine(address, 0, n_workers)
        finally:
            self._finish(workers, abort)

    @staticmethod
    def _finish(workers: list[Worker], abort: Callable[[], None]) -> None:
        """Wait for all workers, then raise what came in between: memory must not be freed under them."""
        interrupt: BaseException | None = None
        while True:
            try:
                abort()  # a run that all have begun does not look
                for worker in workers:
                    worker.wait()
                break
            except BaseException as error:  # Ctrl-C, or what a signal handler raises
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def stop(self) -> None:
        """End all workers; the next job starts new ones."""
        self.before_fork()
        self.after_fork()

    def before_fork(self) -> None:
        """Threads do not survive a fork: end them, and keep others from starting some until it is done."""
        if self._lock.acquire(timeout=PATIENCE_SECONDS):
            self._forking = threading.get_ident()
            while self._workers:
                self._workers.pop().stop()

    def after_fork(self) -> None:
        """Let jobs in again, if `before_fork` kept them out."""
        if self._forking == threading.get_ident():
            self._forking = None
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: no worker is left."""
        self._lock, self._forking, self._workers = threading.Lock(), None, []


pool = Pool()
atexit.register(pool.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=pool.before_fork, after_in_parent=pool.after_fork, after_in_child=pool.after_fork_in_child
    )
