"""The progress bar: when it shows, what it says, and that it costs nothing where it does not show."""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
import threading
import time

import pytest

from fastprop import progress
from fastprop.progress import Progress, Silent, progress_for

pytestmark = pytest.mark.quick


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Call it to make stderr a terminal; not here, for pytest lays its own stderr over that of the set-up."""

    def terminal():
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "160")
        return sys.stderr

    return terminal


def drive(bar, epochs=3):
    for epoch in range(1, epochs + 1):
        bar.advance(0.5)
        bar.epoch(epoch, {"loss": 1 / epoch, "val_loss": 0.25, "lr": 0.1, "time": 1.0})
    bar.close()
    bar.close()


@pytest.mark.parametrize(("setting", "shown"), [("auto", False), (False, False), (True, True)])
def test_without_a_terminal(setting, shown, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress_for(setting, 3), Progress) is shown


def test_auto_shows_in_terminals_and_notebooks(terminal, monkeypatch):
    terminal()
    assert isinstance(progress_for("auto", 3), Progress)
    monkeypatch.setattr(sys, "stderr", None)
    assert type(progress_for("auto", 3)) is Silent
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert isinstance(progress_for("auto", 3), Progress)


def test_says_epoch_and_results(terminal, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0)
    screen = terminal()
    drive(progress_for("auto", 3))
    for said in ("training", "epoch 1/3", "epoch 3/3", "loss 0.3333", "val_loss 0.25"):
        assert said in screen.getvalue()
    assert "lr" not in screen.getvalue()


def test_says_compiling_while_the_thread_that_trains_is_busy(terminal, monkeypatch):
    screen = terminal()
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.01)
    bar = progress_for("auto", 3)
    bar.compiling("kernels")
    deadline = time.monotonic() + 20
    while "epoch 0/3" not in screen.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "compiling kernels" in screen.getvalue()
    drive(bar)
    assert "training" in screen.getvalue()
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def test_code_that_is_found_on_disk_leaves_no_line(terminal):
    screen = terminal()
    bar = progress_for("auto", 3)
    bar.compiling("kernels")
    drive(bar)
    assert screen.getvalue() == ""


def test_a_short_fit_leaves_no_line(terminal):
    screen = terminal()
    drive(progress_for("auto", 3))
    assert screen.getvalue() == ""


def test_true_shows_it_at_once(terminal):
    screen = terminal()
    drive(progress_for(True, 3))
    assert "epoch 1/3" in screen.getvalue()


def test_says_rows_a_second_and_what_is_left(terminal, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    screen = terminal()
    bar = progress_for(True, 4)
    for step in range(21):
        now[0] += 1.0
        bar.advance(step % 10 / 10, 123_456)
        if step % 10 == 9:
            bar.epoch(step // 10 + 1, {"loss": 0.5})
    assert "123k rows/s" in screen.getvalue()
    assert re.search(r"0:00:(19|20|21)", screen.getvalue().splitlines()[-1].rsplit("epoch", 1)[1])
    bar.close()


def test_counts_rows_where_their_number_is_unknown(terminal, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    screen = terminal()
    bar = progress_for(True, 2)
    for _ in range(10):
        now[0] += 1.0
        bar.advance(math.nan, 2_000_000)
    said = screen.getvalue()
    assert "20,000,000 rows" in said
    assert "2M rows/s" in said
    assert "epoch 1/2" in said
    assert ":" not in said.rsplit("epoch", 1)[1]
    bar.epoch(1, {"loss": 0.5})
    bar.close()


@pytest.mark.parametrize(("rate", "text"), [(5.0, "5 rows/s"), (1234.0, "1.23k rows/s"), (2.5e6, "2.5M rows/s")])
def test_rates(monkeypatch, rate, text):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    found = progress.Rate()
    for _ in range(50):
        now[0] += 100.0
        found.add(int(rate * 100))
    assert found.text() == text


def test_what_is_left_of_a_run_that_goes_on(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = Progress(100)
    bar.advance(0.5, 10)
    now[0] = 5.0
    bar.epoch(91, {"loss": 0.5})  # the first one after 90
    now[0] = 15.0
    bar.advance(0.5, 10)
    assert bar.rate.left(91.5, 100) == "0:02:50"
    bar.close()


def test_refreshes_ten_times_a_second(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = []
    monkeypatch.setattr(Progress, "_show", lambda self, completed: shown.append(completed) or _rest(self, now[0]))
    bar = progress_for(True, 1000)
    for step in range(10_000):
        now[0] = step / 10_000  # one second
        bar.advance(step % 10 / 10)
    assert 5 <= len(shown) <= 10


def _rest(bar, now):
    bar.next_refresh = now + progress.REFRESH_SECONDS


def test_off_loads_nothing():
    code = (
        "import sys; from fastprop.progress import progress_for; bar = progress_for('auto', 3);"
        "bar.compiling('x'); bar.advance(.5); bar.epoch(1, {'loss': 1.0}); bar.close(); print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("setting", ["yes", None, 1])
def test_bad_setting(setting):
    with pytest.raises(ValueError, match="progress must be 'auto', True or False"):
        progress_for(setting, 3)
