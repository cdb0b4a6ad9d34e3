"""The worker threads: how many, waking them, and fork.

Workers are persistent Python threads that run the same compiled call as the calling thread, without the GIL. The bits
of a result do not depend on their number, so it may change at any time.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

from .kernels.run import run_chunks

VARIABLES = ("FASTPROP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")  # joblib sets the latter two


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


def _quota() -> int | None:
    """Whole processors that the control group allows, or None."""
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


class Worker:
    """A thread that runs its part of a job whenever it is woken."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._job: tuple[int, int] | None = None
        self._wake, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, name=f"fastprop-{number}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            self._wake.acquire()
            if self._job is None:
                return
            address, n_workers = self._job
            run_chunks(address, self.number, n_workers)
            self._done.release()

    def start(self, address: int, n_workers: int) -> None:
        """Wake the thread for a job."""
        self._job = address, n_workers
        self._wake.release()

    def wait(self) -> None:
        """Wait until the job is done, whatever is raised meanwhile."""
        _uninterrupted(self._done.acquire)

    def stop(self) -> None:
        """End the thread."""
        self._job = None
        self._wake.release()
        self._thread.join()


def _uninterrupted(wait: Callable[[], object]) -> None:
    """Call `wait` to its end, then raise the KeyboardInterrupt that came in between."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            wait()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


class Pool:
    """The workers of this process; one job at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: list[Worker] = []

    def run(self, address: int, n_workers: int, abort: Callable[[], None]) -> int:
        """Run a job on `n_workers` threads, this one included; returns how many it were.

        A pool that is busy with another job leaves this one to the calling thread alone. `abort` calls off workers that
        wait for this thread, should an exception keep it from joining them.
        """
        if n_workers == 1 or not self._lock.acquire(blocking=False):
            run_chunks(address, 0, 1)
            return 1
        try:
            self._run(address, n_workers, abort)
        finally:
            self._lock.release()
        return n_workers

    def _run(self, address: int, n_workers: int, abort: Callable[[], None]) -> None:
        while len(self._workers) < n_workers - 1:
            self._workers.append(Worker(len(self._workers) + 1))
        started: list[Worker] = []
        try:
            for worker in self._workers[: n_workers - 1]:
                started.append(worker)
                worker.start(address, n_workers)
            run_chunks(address, 0, n_workers)
        except BaseException:
            abort()
            raise
        finally:
            self._finish(started)

    @staticmethod
    def _finish(started: list[Worker]) -> None:
        interrupt: KeyboardInterrupt | None = None
        for worker in started:
            try:
                worker.wait()
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def stop(self) -> None:
        """End all workers; the next job starts new ones."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        while self._workers:
            self._workers.pop().stop()

    def before_fork(self) -> None:
        """Threads do not survive a fork: end them, and keep others from starting some until it is done."""
        self._lock.acquire()
        self._stop()

    def after_fork(self) -> None:
        """Let jobs in again, in the parent and in the child."""
        self._lock.release()


pool = Pool()
atexit.register(pool.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=pool.before_fork, after_in_parent=pool.after_fork, after_in_child=pool.after_fork)
