"""Ctrl-C: KeyboardInterrupt comes soon, the weights are those of the last whole update, and training can go on."""

import dis
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import fastprop as fp
from fastprop import threads
from fastprop.trainer import Trainer

pytestmark = pytest.mark.skipif(
    os.name == "nt" or threading.current_thread() is not threading.main_thread(),
    reason="needs SIGINT in the main thread",
)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(30_000, 784)).astype(np.float32)
Y = RNG.integers(0, 10, len(X))


def network(*widths):
    layers = [fp.Dense(n, activation="relu") for n in widths]
    return fp.Network([*layers, fp.Dense(10)], loss="cross_entropy", optimizer=fp.Adam(1e-5))


class Interrupter:
    """Sends SIGINT so many seconds after a fit has begun, and not before `ready()`; a busy machine may be slow."""

    def __init__(self, seconds, ready=lambda: True):
        self.seconds, self.ready, self.sent = seconds, ready, None

    def __enter__(self):
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()
        return self

    def _send(self):
        time.sleep(self.seconds)
        end = time.perf_counter() + 10.0
        while not self.ready() and time.perf_counter() < end:
            time.sleep(0.01)
        self.sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    def __exit__(self, *_):
        self.latency = time.perf_counter() - (self.sent or 0.0)
        self.thread.join()


CASES = {
    "full batch of a large network": ((1024, 1024), 6000, 784, {"batch_size": None}),
    "mini-batches": ((128,), len(X), 784, {"batch_size": 128}),
    "per sample": ((16,), 3000, 28, {"batch_size": 1}),
    "thousands of short epochs": ((16,), 3000, 28, {"batch_size": None}),
    "accumulated": ((128,), 3000, 784, {"batch_size": 64, "accumulate": 8}),
}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_ctrl_c_leaves_a_whole_number_of_updates(case, n_threads):
    widths, n_rows, n_features, options = CASES[case]
    x, y = X[:n_rows, :n_features], Y[:n_rows]
    options = {**options, "n_threads": n_threads, "progress": False}
    net, twin = network(*widths), network(*widths)
    for n in (net, twin):
        n.fit(x, y, epochs=1, **options)  # compiles
    counts = [net._parameters.count]
    for seconds in (0.12, 0.31):
        ready = lambda: case.startswith("full") or net._parameters.count > counts[-1]  # noqa: E731
        with pytest.raises(KeyboardInterrupt), Interrupter(seconds, ready) as interrupter:
            net.fit(x, y, epochs=10**6, **options)
        assert interrupter.latency < 2.0
        assert not net._parameters.rows[1].any()
        counts.append(net._parameters.count)
        assert all(len(values) == len(net.history_["loss"]) for values in net.history_.values())
    assert case.startswith("full") or counts[-1] > counts[-2] > counts[0]
    replay(twin, x, y, options, counts[1:])
    np.testing.assert_array_equal(net._parameters.rows, twin._parameters.rows)
    net.predict(x[:10])
    for n in (net, twin):  # and training goes on alike
        n.epochs_done = 0
        n.fit(x, y, epochs=1, **options)
    np.testing.assert_array_equal(net._parameters.rows, twin._parameters.rows)


def replay(net, x, y, options, counts):
    """Make fits that end, by a callback, where those of the other network were interrupted."""
    for count in counts:
        if count > net._parameters.count:
            net.fit(x, y, epochs=10**6, callbacks=StopAt(count), **options)
            # A fit that a callback ends in mid-epoch counts that epoch, an interrupted one does not.
            net.epochs_done = count // updates_of_epoch(len(x), options)
        assert net._parameters.count == count


def updates_of_epoch(n_rows, options):
    size = (options["batch_size"] or n_rows) * options.get("accumulate", 1)
    return -(-n_rows // size)


class StopAt:
    """Ends a fit after update number `count`, looking at that one only."""

    def __init__(self, count):
        self.every = count

    def on_step(self, net, step, logs):
        return True


def test_ctrl_c_while_losses_are_booked(monkeypatch):
    """A slice of sample-by-sample training has thousands; the updates are done, so they count."""
    x, y, book, calls = X[:96, :28], Y[:96], Trainer._book, []

    def hit(self):
        calls.append(self.engine.done)
        if len(calls) == 4:
            raise KeyboardInterrupt
        book(self)

    monkeypatch.setattr(Trainer, "_book", hit)
    monkeypatch.setattr(Trainer, "_slice_chunks", lambda self: 2)
    options = {"batch_size": 16, "epochs": 6, "progress": False}
    net, twin = network(16), network(16)
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, **options)
    assert calls == [2, 4, 6, 8, 8]
    assert net._parameters.count == 8
    assert net.epochs_done == 1
    twin.fit(x, y, callbacks=StopAt(8), **options)
    np.testing.assert_array_equal(net._parameters.rows, twin._parameters.rows)
    assert net.history_["loss"] == twin.history_["loss"][:1]


class PoolThatIsHit:
    """The pool; Ctrl-C comes after so many more jobs, once that is set."""

    left = 0

    def run(self, *job):
        used = threads.pool.run(*job)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return used


@pytest.mark.parametrize("n_jobs", [3, 8, 13])
def test_ctrl_c_while_epochs_run_again_after_divergence(monkeypatch, n_jobs):
    """What comes before the bad epoch runs again in slices; here of a chunk each."""
    x, y, pool, run_again = X[:96, :28], Y[:96], PoolThatIsHit(), Trainer._run_again

    def begin(self, *args):
        pool.left = n_jobs
        run_again(self, *args)

    monkeypatch.setattr(Trainer, "_run_again", begin)
    monkeypatch.setattr("fastprop.trainer.pool", pool)
    monkeypatch.setattr(Trainer, "_slice_chunks", lambda self: 1)
    options = {"batch_size": 16, "accumulate": 2, "epochs": 6, "progress": False}  # 3 updates of 2 chunks an epoch
    net, twin = network(16), network(16)
    net.optimizer = fp.Adam(lambda update: 1e30 if update == 13 else 1e-5)
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, **options)
    count = n_jobs // 2
    assert net._parameters.count == count
    assert net.epochs_done == count // 3
    twin.fit(x, y, callbacks=StopAt(count), **options)
    np.testing.assert_array_equal(net._parameters.rows, twin._parameters.rows)
    for name in ("loss", "lr"):
        np.testing.assert_array_equal(net.history_[name], twin.history_[name][: count // 3])


def test_the_epochs_before_ctrl_c_are_in_the_history():
    net = network(16)
    net.fit(X[:140, :28], Y[:140], epochs=5, batch_size=None, progress=False)
    with pytest.raises(KeyboardInterrupt), Interrupter(0.1):
        net.fit(X[:140, :28], Y[:140], epochs=10**6, batch_size=None, progress=False)
    n_epochs = net._parameters.count - 5
    assert len(net.history_["loss"]) == len(net.history_["lr"]) == len(net.history_["time"]) == n_epochs
    assert net.epochs_done == n_epochs + 5
    assert np.isfinite(net.history_["loss"]).all()


class Raises:
    every = 7

    def __init__(self, error):
        self.error = error

    def on_step(self, net, step, logs):
        raise self.error


class RaisesLater:
    def on_epoch_end(self, net, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("mine"), ValueError("mine"), TypeError("mine")])
def test_errors_of_callbacks_pass_and_keep_the_weights(error):
    x, y = X[:640, :28], Y[:640]
    net, twin = network(16), network(16)
    with pytest.raises(type(error)) as caught:
        net.fit(x, y, batch_size=64, callbacks=Raises(error), progress=False)
    assert caught.value is error
    twin.fit(x, y, batch_size=64, callbacks=StopAt(7), progress=False)
    np.testing.assert_array_equal(net._parameters.rows, twin._parameters.rows)
    assert net._parameters.count == 7
    assert net.epochs_done == 0


def test_ctrl_c_at_the_end_of_an_epoch():
    x, y = X[:640, :28], Y[:640]
    net, twin = network(16), network(16)
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, batch_size=64, callbacks=RaisesLater(), validation_fraction=0.1, early_stopping=1, progress=False)
    twin.fit(x, y, batch_size=64, epochs=3, validation_fraction=0.1, progress=False)
    np.testing.assert_array_equal(net._parameters.rows, twin._parameters.rows)
    assert net.epochs_done == 3
    np.testing.assert_array_equal(net.history_["val_loss"], twin.history_["val_loss"])


def test_ctrl_c_during_predict():
    net = network(1024, 1024)
    net.fit(X[:128], Y[:128], epochs=1, progress=False)
    net.predict(X[:2000])

    def predict_for_ever():
        while True:
            net.predict(X)

    with pytest.raises(KeyboardInterrupt), Interrupter(0.1) as interrupter:
        predict_for_ever()
    assert interrupter.latency < 2.0
    np.testing.assert_array_equal(net.predict(X[:10]), net.predict(X[:2000])[:10])


def test_a_signal_between_waking_workers_and_joining_them(monkeypatch):
    """The calling thread may be hit anywhere; here it is hit before its own part of a run."""
    pool, calls, aborted = threads.Pool(), [], threading.Event()

    def run_chunks(address, worker, n_workers):
        if worker == 0:
            raise KeyboardInterrupt
        aborted.wait(10)
        calls.append(worker)

    monkeypatch.setattr(threads, "run_chunks", run_chunks)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.run(0, 3, aborted.set)
        assert sorted(calls) == [1, 2]  # joined, not left behind
        assert pool._lock.acquire(blocking=False)
        pool._lock.release()
    finally:
        pool.stop()


def test_a_signal_right_after_the_lock_was_taken(monkeypatch):
    """Python looks for signals after calls: raise after each call of `Pool.run`, whatever it was."""
    pool, code, n_hit = threads.Pool(), threads.Pool.run.__code__, 0
    calls = {i.offset for i in dis.get_instructions(code) if i.opname.startswith("CALL")}
    monkeypatch.setattr(threads.Pool, "_run", lambda *_: None)

    def hit(number):
        seen, last = 0, None

        def trace(frame, event, _):
            nonlocal seen, last
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                seen += last in calls
                was, last = last, frame.f_lasti
                if was in calls and seen == number:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            pool.run(0, 2, lambda: None)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    before = sys.gettrace()
    try:
        while hit(n_hit + 1):
            n_hit += 1
            assert not pool._lock.locked()
    finally:
        sys.settrace(before)
    assert n_hit >= 3


def test_a_lost_ring_costs_little_time(monkeypatch):
    """Ctrl-C may come after a job was ordered and before the worker was woken, or after it was heard to be done."""
    monkeypatch.setattr(threads, "run_chunks", lambda *_: None)
    worker = threads.Worker(1)
    worker._n_ordered += 1  # and no ring
    worker.wait()
    worker.start(0, 2)
    time.sleep(0.05)
    worker._done.wait(1.0)  # heard, and forgotten
    worker.wait()
    assert worker._n_done == 2
    worker.stop()
