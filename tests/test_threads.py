"""Threads: more than cores, several networks, many predictions, fork, exit; and machines that lack what Linux has."""

import multiprocessing
import os
import threading

import numpy as np
import pytest

import fastprop as fp
from fastprop import threads
from fastprop.pace import candidates

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 20)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)


def network(seed=0):
    layers = [fp.Dense(48, activation="relu"), fp.Dense(2)]
    return fp.Network(layers, loss="cross_entropy", optimizer=fp.Adam(0.01), seed=seed)


def trained(n_threads=1, epochs=2, seed=0):
    net = network(seed)
    net.fit(X, Y, epochs=epochs, batch_size=100, n_threads=n_threads, progress=False)
    return net


def assert_same(net, other):
    np.testing.assert_array_equal(net._parameters.rows, other._parameters.rows)


def in_threads(functions, timeout=120):
    """Run all at once; returns their results, or raises what one raised."""
    results, start = [None] * len(functions), threading.Barrier(len(functions))

    def run(k, function):
        try:
            start.wait(timeout)
            results[k] = function()
        except BaseException as error:
            results[k] = error

    started = [threading.Thread(target=run, args=(k, f), daemon=True) for k, f in enumerate(functions)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(timeout)
        assert not thread.is_alive(), "a thread hangs"
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def n_workers():
    return sum(t.name.startswith("fastprop-") for t in threading.enumerate())


# ---- how many -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2])
def test_more_threads_than_cores_train_to_the_same_bits(factor):
    many = factor * max(2, os.cpu_count() or 1) + 1
    assert_same(trained(many), trained(1))
    assert n_workers() >= many - 1


def test_the_number_may_change_from_fit_to_fit():
    net = network()
    for n in (2, 5, 1, 3):
        net.fit(X, Y, epochs=1, batch_size=100, n_threads=n, progress=False)
    assert_same(net, trained(epochs=4))


# ---- several at once ----------------------------------------------------------------------------------------------


def test_networks_train_at_once():
    serial = [trained(seed=k, epochs=20) for k in range(2)]
    for net, twin in zip(in_threads([lambda k=k: trained(2, 20, seed=k) for k in range(2)]), serial, strict=True):
        assert_same(net, twin)


def test_networks_that_choose_their_threads_train_at_once(monkeypatch):
    monkeypatch.setenv("FASTPROP_NUM_THREADS", "2")
    serial = [trained(seed=k, epochs=40) for k in range(3)]
    for net, twin in zip(in_threads([lambda k=k: trained(None, 40, seed=k) for k in range(3)]), serial, strict=True):
        assert_same(net, twin)


def test_a_busy_pool_settles_for_one_thread():
    from fastprop.pace import ThreadChooser

    chooser = ThreadChooser([1, 2])
    for _ in range(6):
        chooser.choose()
        chooser.record(1, 0.01)  # the pool was busy each time
    assert chooser.settled
    assert chooser.choose() == 1


def test_many_threads_predict_with_one_network():
    net = trained()
    rows = [X[k * 10 : 2000 - k * 100] for k in range(8)]
    serial = [net.predict_proba(x) for x in rows]
    together = in_threads([lambda x=x: [net.predict_proba(x) for _ in range(20)] for x in rows])
    for expected, results in zip(serial, together, strict=True):
        for result in results:
            np.testing.assert_array_equal(result, expected)


def test_predicting_while_another_network_trains():
    net = trained()
    expected = net.predict_proba(X)
    results = in_threads([lambda: trained(2, 30), *[lambda: [net.predict_proba(X) for _ in range(20)]] * 3])
    assert_same(results[0], trained(epochs=30))
    for result in results[1:]:
        assert all(np.array_equal(r, expected) for r in result)


# ---- fork and exit ------------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def child_trains(net, expected):
    net.fit(X, Y, epochs=1, batch_size=100, n_threads=2, progress=False)
    return np.array_equal(net._parameters.rows, expected) and n_workers() >= 1


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_the_pool_has_workers():
    expected = trained(epochs=3)._parameters.rows
    net = trained(2)
    assert n_workers() >= 1
    child = os.fork()
    if child == 0:  # nothing of pytest may run here
        status = 1
        try:
            status = 0 if child_trains(net, expected) else 2
        finally:
            os._exit(status)
    assert child_trains(net, expected)
    assert os.waitstatus_to_exitcode(wait_for(child)) == 0


def wait_for(child, seconds=60):
    """The status of a child, which is killed if it hangs."""
    done = []
    waiter = threading.Thread(target=lambda: done.append(os.waitpid(child, 0)[1]), daemon=True)
    waiter.start()
    waiter.join(seconds)
    if not done:
        os.kill(child, 9)
        pytest.fail("the child hangs")
    return done[0]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_pool_of_forked_processes():
    expected = trained(epochs=3)._parameters.rows
    net = trained(2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.starmap_async(child_trains, [(net, expected)] * 4).get(60) == [True] * 4
    assert child_trains(net, expected)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_another_thread_trains():
    stop = threading.Event()

    class Until:
        def on_epoch_end(self, net, epoch, logs):
            return stop.is_set()

    def train():
        network().fit(X, Y, epochs=10**6, batch_size=100, n_threads=2, callbacks=Until(), progress=False)

    def fork():
        try:
            statuses = []
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    os._exit(0 if not threads.pool._workers and not threads.pool._lock.locked() else 1)
                statuses.append(wait_for(child))
            return statuses
        finally:
            stop.set()

    assert in_threads([train, fork])[1] == [0] * 5


def test_a_fork_that_could_not_wait_leaves_the_lock_to_its_holder(monkeypatch):
    monkeypatch.setattr(threads, "PATIENCE_SECONDS", 0.01)
    pool = threads.Pool()
    with pool._lock:  # a job that takes long
        pool.before_fork()
        pool.after_fork()
        assert pool._lock.locked()
    pool.before_fork()
    assert pool._lock.locked()
    in_threads([pool.after_fork])  # of another thread's fork
    assert pool._lock.locked()
    pool.after_fork()
    assert not pool._lock.locked()


EXIT = """
import atexit, sys, threading, numpy as np, fastprop as fp
X = np.zeros((512, 4), np.float32)
net = fp.Network([fp.Dense(48, activation="relu"), fp.Dense(2)], loss="cross_entropy", optimizer=fp.Adam(0.01))
net.fit(X, np.arange(512) % 2, epochs=2, batch_size=100, n_threads=2, progress=False)
def workers():
    return sum(t.name.startswith("fastprop-") for t in threading.enumerate())
assert workers() == 1
atexit._run_exitfuncs() if sys.argv[1:] else None
print(workers())
"""


def test_a_script_that_trained_with_threads_ends(run_script):
    assert int(run_script(EXIT, "now", timeout=120)) == 0  # workers stop at exit
    run_script(EXIT, timeout=120)  # and by itself


# ---- how many there may be ----------------------------------------------------------------------------------------


@pytest.fixture
def no_variables(monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    threads._quota.cache_clear()
    yield monkeypatch
    threads._quota.cache_clear()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FASTPROP_NUM_THREADS": "3"}, 3),
        ({"NUMBA_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
        ({"FASTPROP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "4", "OMP_NUM_THREADS": "5"}, 3),
        ({"NUMBA_NUM_THREADS": "4", "OMP_NUM_THREADS": "5"}, 4),
        ({"FASTPROP_NUM_THREADS": "many", "OMP_NUM_THREADS": "1"}, 1),
        ({"FASTPROP_NUM_THREADS": "0", "OMP_NUM_THREADS": "2"}, 2),
        ({"FASTPROP_NUM_THREADS": "-1", "OMP_NUM_THREADS": ""}, None),
    ],
)
def test_variables(no_variables, variables, expected):
    for name, value in variables.items():
        no_variables.setenv(name, value)
    n, why = threads.limit()
    if expected is None:
        assert n == threads._available()[0] or "quota" in why
    else:
        assert n == expected
        assert str(expected) in why


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity(no_variables):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert threads.limit()[0] == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "n_processors", "expected"),
    [
        ({"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 8, 2),
        ({"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 8, 1),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 8, 8),
        ({"/sys/fs/cgroup/cpu.max": "900000 100000\n"}, 8, 8),
        ({"/sys/fs/cgroup/cpu.max": "nonsense"}, 8, 8),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8, 3),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}, 8, 8),
        ({}, 8, 8),
    ],
)
def test_control_groups(no_variables, files, n_processors, expected):
    import io

    def fake_open(path, *_):
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    no_variables.setattr(threads, "open", fake_open, raising=False)
    no_variables.setattr(threads, "_available", lambda: (n_processors, "a test"))
    assert threads.limit()[0] == expected
    files = {}  # read once; variables and processors are asked each time
    assert threads.limit()[0] == expected
    no_variables.setattr(threads, "_available", lambda: (1, "a test"))
    assert threads.limit()[0] == 1
    no_variables.setenv("FASTPROP_NUM_THREADS", "7")
    assert threads.limit()[0] == 7


@pytest.mark.parametrize(
    ("most", "expected"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))]
)
def test_numbers_to_choose_from(no_variables, most, expected):
    no_variables.setenv("FASTPROP_NUM_THREADS", str(most))
    assert candidates(None) == expected
    assert candidates(5) == (5,)


BARE = """
import builtins, os, sys
import numba, random, tempfile  # what Python and Numba need is their affair
for name in ("sched_getaffinity", "sched_setaffinity", "register_at_fork", "getuid", "sched_yield"):
    if hasattr(os, name):
        delattr(os, name)
real = builtins.open
def without_cgroups(path, *args, **kwargs):
    if str(path).startswith(("/sys", "/proc")):
        raise FileNotFoundError(path)
    return real(path, *args, **kwargs)
builtins.open = without_cgroups

import numpy as np
import fastprop as fp
from fastprop import threads
assert threads.limit() == (os.cpu_count(), f"the machine has {os.cpu_count()} processors"), threads.limit()
X = np.random.default_rng(0).normal(size=(512, 4)).astype(np.float32)
y = X[:, 0] > 0
nets = []
for n in (1, 2, None):
    net = fp.Network([fp.Dense(48, activation="relu"), fp.Dense(2)], loss="cross_entropy", optimizer=fp.Adam(0.01))
    net.fit(X, y, epochs=5, batch_size=100, n_threads=n, progress=False)
    nets.append(net.predict_proba(X))
assert (nets[0] == nets[1]).all() and (nets[0] == nets[2]).all()
print("fine")
"""


def test_nothing_that_only_linux_has_is_needed(run_script):
    no_limits = dict.fromkeys(threads.VARIABLES)
    assert run_script(BARE, timeout=240, **no_limits).split()[-1] == "fine"
