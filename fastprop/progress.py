"""The progress bar of training. rich is loaded only when a bar is shown; where none is, every call does nothing."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import rich.progress

REFRESH_SECONDS = 0.1
RATE_MARKS = 30  # refreshes that the rate looks back
PATIENCE_SECONDS = 0.25  # a fit that is over sooner never loads rich (0.05 s) nor leaves a line on the screen


class Silent:
    """No progress bar, and the interface of one. All calls come from the thread that called `fit`."""

    is_shown = False

    def compiling(self, what: str) -> None:
        """Say, if it takes long, that `what` is being compiled; until the next call of another method."""

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """`epoch` epochs (from 1) are done, with these results."""

    def advance(self, fraction: float, rows: int = 0) -> None:
        """This fraction of the running epoch is done; `rows` were trained since the last call.

        The fraction is NaN where the number of rows is unknown.
        """

    def round(self, number: int, n_rounds: int, loss: float, rows: int) -> None:
        """On a cluster: `number` of an epoch's rounds are done, with this mean loss, the last one on `rows` rows."""

    def close(self) -> None:
        """Leave the bar as it stands. May be called twice."""


class Progress(Silent):
    """A bar on stderr (in a notebook: below the cell) with epoch, rows a second, loss and the time that is left.

    While the number of rows is unknown, in the first epoch of a stream, it counts them instead.

    Compilation keeps the calling thread busy, so a timer shows the bar if it takes long. No other thread draws.

    Parameters
    ----------
    total_epochs : int
        The epochs of this fit.
    patience : float, default 0
        Seconds before the bar appears.
    """

    is_shown = True

    def __init__(self, total_epochs: int, patience: float = 0.0) -> None:
        self.total_epochs = total_epochs
        self.done = 0
        self.rows = 0  # of the running epoch
        self.rate = Rate()
        self.bar: rich.progress.Progress | None = None
        self.task: Any = None
        self.next_refresh = time.monotonic() + patience
        self.timer: threading.Timer | None = None
        self.lock = threading.Lock()
        self.fields: dict[str, Any] = {"status": "training", "results": "", "rate": "", "left": ""}

    def compiling(self, what: str) -> None:
        self._end_compiling()
        self.fields["status"] = f"compiling {what}"
        self.timer = threading.Timer(max(0.0, self.next_refresh - time.monotonic()), self._show_compiling)
        self.timer.daemon = True
        self.timer.start()

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._end_compiling()
        if epoch > self.done + 1:  # a run that was resumed
            self.rate.restart(epoch)
        self.done, self.rows = epoch, 0
        self.fields["results"] = _results(logs)
        if time.monotonic() >= self.next_refresh:
            self._show(epoch)

    def advance(self, fraction: float, rows: int = 0) -> None:
        self._end_compiling()
        self.rows += rows
        self.rate.add(rows)
        if time.monotonic() >= self.next_refresh:
            self._show(self.done + fraction)

    def round(self, number: int, n_rounds: int, loss: float, rows: int) -> None:
        self._end_compiling()
        self.fields |= {"status": f"round {number}/{n_rounds}", "results": _results({"loss": loss})}
        self.advance(number / n_rounds, rows)

    def close(self) -> None:
        self._end_compiling()
        if self.bar is not None:
            self._show(self.done)
            self.bar.stop()
            self.bar = None
        self.next_refresh = float("inf")

    def _show_compiling(self) -> None:
        with self.lock:
            if self.timer is threading.current_thread():
                self._show(self.done)

    def _end_compiling(self) -> None:
        if self.timer is None:
            return
        self.timer.cancel()
        with self.lock:
            self.timer = None
            self.fields["status"] = "training"

    def _show(self, completed: float) -> None:
        if self.bar is None:
            self.bar = _bar()
            self.task = self.bar.add_task("", total=self.total_epochs, epoch="", **self.fields)
            self.bar.start()
        known = not math.isnan(completed)
        self.fields["rate"] = self.rate.text()
        self.fields["left"] = self.rate.left(completed, self.total_epochs) if known else f"{self.rows:,} rows"
        # The running epoch counts from 1; a bar that is closed early says how many were done.
        running = self.done + 1 if not known else int(completed) + (completed > self.done)
        epoch = f"{min(running, self.total_epochs)}/{self.total_epochs}"
        self.bar.update(self.task, completed=completed if known else self.done, epoch=epoch, **self.fields)
        self.bar.refresh()
        self.next_refresh = time.monotonic() + REFRESH_SECONDS


class Rate:
    """Rows a second, of the last seconds, and how long the rest will take at the speed of all."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.first = 0.0  # epochs that were done then
        self.rows = 0
        self.marks: deque[tuple[float, int]] = deque(maxlen=RATE_MARKS)

    def add(self, rows: int) -> None:
        """Take in rows that were just trained. The first ones only start the clock: compiling came before them."""
        now = time.monotonic()
        if self.started is None:
            self.started = now
        else:
            self.rows += rows
        if not self.marks or now - self.marks[-1][0] >= REFRESH_SECONDS:
            self.marks.append((now, self.rows))

    def restart(self, completed: float) -> None:
        """Count the time from here, where so many epochs were done."""
        self.started, self.first = time.monotonic(), completed

    def text(self) -> str:
        """Such as "1.2M rows/s"; "" before there is something to say."""
        if not self.marks:
            return ""
        (then, before), now = self.marks[0], time.monotonic()
        if now <= then or self.rows == before:
            return ""
        rate = (self.rows - before) / (now - then)
        for size, unit in ((1e6, "M"), (1e3, "k")):
            if rate >= size:
                return f"{rate / size:.3g}{unit} rows/s"
        return f"{rate:.3g} rows/s"

    def left(self, completed: float, total: int) -> str:
        """The time that is left, as h:mm:ss."""
        done = completed - self.first
        if self.started is None or done <= 0:
            return "-:--:--"
        seconds = round((time.monotonic() - self.started) * (total - completed) / done)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def progress_for(setting: Literal["auto"] | bool, total_epochs: int) -> Silent:
    """The progress bar that `fit` should drive.

    Parameters
    ----------
    setting : "auto" or bool
        "auto" shows it in terminals and notebooks, once the fit has taken a quarter of a second; True shows it at once.
    total_epochs : int

    Raises
    ------
    ValueError
        For another setting.
    """
    if not (isinstance(setting, bool) or setting == "auto"):
        raise ValueError(f"progress must be 'auto', True or False, got {setting!r}")
    if setting == "auto":
        return Progress(total_epochs, PATIENCE_SECONDS) if _somebody_looks() else Silent()
    return Progress(total_epochs) if setting else Silent()


def _somebody_looks() -> bool:
    try:
        return sys.stderr.isatty() or "ipykernel" in sys.modules
    except (AttributeError, ValueError):  # no stderr at all, or a closed one
        return False


def _bar() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.fields[status]}"),
        BarColumn(bar_width=8),  # all columns together fit into 80
        TextColumn("epoch {task.fields[epoch]}"),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[results]}"),
        console=Console(stderr=True),
        auto_refresh=False,  # ours come from the training thread: no thread of rich beside the workers
    )


def _results(logs: Mapping[str, float]) -> str:
    """The training loss, and the validation's metric or else its loss."""
    names = ["loss", *[name for name in ("val_accuracy", "val_r2", "val_loss") if name in logs][:1]]
    return "  ".join(f"{name} {logs[name]:.4g}" for name in names if name in logs)
