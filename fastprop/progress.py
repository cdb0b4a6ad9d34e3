"""The progress bar of training. rich is loaded only when a bar is shown; where none is, every call does nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import rich.progress

REFRESH_SECONDS = 0.1
PATIENCE_SECONDS = 0.25  # a fit that is over sooner never loads rich (0.05 s) nor leaves a line on the screen


class Silent:
    """No progress bar, and the interface of one. All calls come from the thread that called `fit`."""

    def compiling(self, what: str) -> None:
        """Say, if it takes long, that `what` is being compiled; until the next call of another method."""

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """`epoch` epochs (from 1) are done, with these results."""

    def advance(self, fraction: float, rows: int = 0) -> None:
        """This fraction of the running epoch is done; `rows` were trained since the last call."""

    def close(self) -> None:
        """Leave the bar as it stands. May be called twice."""


class Progress(Silent):
    """A bar on stderr (in a notebook: below the cell) with epoch, loss and the time that is left.

    Compilation keeps the calling thread busy, so a timer shows the bar if it takes long. No other thread draws.

    Parameters
    ----------
    total_epochs : int
        The epochs of this fit.
    patience : float, default 0
        Seconds before the bar appears.
    """

    def __init__(self, total_epochs: int, patience: float = 0.0) -> None:
        self.total_epochs = total_epochs
        self.done = 0
        self.bar: rich.progress.Progress | None = None
        self.task: Any = None
        self.next_refresh = time.monotonic() + patience
        self.timer: threading.Timer | None = None
        self.lock = threading.Lock()
        self.fields: dict[str, Any] = {"status": "training", "results": ""}

    def compiling(self, what: str) -> None:
        self._end_compiling()
        self.fields["status"] = f"compiling {what}"
        self.timer = threading.Timer(max(0.0, self.next_refresh - time.monotonic()), self._show_compiling)
        self.timer.daemon = True
        self.timer.start()

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._end_compiling()
        self.done = epoch
        self.fields["results"] = _results(logs)
        if time.monotonic() >= self.next_refresh:
            self._show(epoch)

    def advance(self, fraction: float, rows: int = 0) -> None:
        self._end_compiling()
        if time.monotonic() >= self.next_refresh:
            self._show(self.done + fraction)

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
            self.task = self.bar.add_task("", total=self.total_epochs, epoch=0, **self.fields)
            self.bar.start()
        # The running epoch counts from 1; a bar that is closed early says how many were done.
        epoch = min(int(completed) + (completed > self.done), self.total_epochs)
        self.bar.update(self.task, completed=completed, epoch=epoch, **self.fields)
        self.bar.refresh()
        self.next_refresh = time.monotonic() + REFRESH_SECONDS


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
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.fields[status]}"),
        BarColumn(bar_width=16),  # all columns together fit into 80
        TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[results]}"),
        console=Console(stderr=True),
        auto_refresh=False,  # ours come from the training thread: no thread of rich beside the workers
    )


def _results(logs: Mapping[str, float]) -> str:
    """The training loss, and the validation's metric or else its loss."""
    names = ["loss", *[name for name in ("val_accuracy", "val_r2", "val_loss") if name in logs][:1]]
    return "  ".join(f"{name} {logs[name]:.4g}" for name in names if name in logs)
