"""Watching and stopping a fit: early stopping, and what a callback is.

A callback is any object with one or both of these methods; returning True stops the fit:

    on_epoch_end(net, epoch, logs)    after each epoch, 0-based; logs has "loss" and the "penalty" (of l1 and l2) that
                                      it contains, "lr", "time", metrics, "val_..."
    on_step(net, step, logs)          after an update, 0-based; logs has "loss" and "lr"

The optional attribute `every` (a positive int, default 1) asks for every n-th step only: fewer steps seen, less time
lost. The optional attribute `horizon` (a positive int), of a callback that reads nothing but `logs`, makes short epochs
faster: it is the number of epochs after which the callback may next stop the fit or set `net.optimizer.lr`. They run in
one go, and `on_epoch_end` is called for each of them afterwards. It is read anew before every go, which may be longer;
epochs that ran too far are taken back. Weights that a callback sets count from the next update on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .arguments import check_choice, check_number, check_positive_int

HIGHER_IS_BETTER = ("accuracy", "r2")
MONITORS = tuple(prefix + metric for prefix in ("val_", "") for metric in ("loss", *HIGHER_IS_BETTER))


def higher_is_better(monitor: str) -> bool:
    """Whether a larger number of `history[monitor]` is a better one."""
    return monitor.removeprefix("val_") in HIGHER_IS_BETTER


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` epochs in a row without a better `monitor`, and restore the best weights.

    Parameters
    ----------
    patience : int, default 10
    min_delta : float >= 0, default 0
        A number counts as better if it beats the best by more than this.
    monitor : str, default "val_loss"
        "loss", "accuracy" or "r2", with "val_" in front for the validation set. Losses are better lower.
    """

    patience: int = 10
    min_delta: float = 0.0
    monitor: str = "val_loss"

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", check_positive_int("patience", self.patience))
        object.__setattr__(self, "min_delta", check_number("min_delta", self.min_delta, 0.0))
        check_choice("monitor", self.monitor, MONITORS)

    def start(self, state: Mapping[str, Any] | None = None) -> Watch:
        """Watch a fit from its beginning, or go on from `Watch.state`."""
        return Watch(self, **(state or {}))


@dataclass
class Watch:
    """How a fit stands under `EarlyStopping`.

    Attributes
    ----------
    best : float or None
        The best number so far.
    best_epoch : int or None
    n_bad : int
        Epochs since then.
    """

    stopping: EarlyStopping
    best: float | None = None
    best_epoch: int | None = None
    n_bad: int = 0

    def update(self, value: float, epoch: int) -> tuple[bool, bool]:
        """Take note of an epoch's number; NaN is never better.

        Returns
        -------
        improved, stop : bool
        """
        if math.isfinite(value) and self._is_better(value):
            self.best, self.best_epoch, self.n_bad = float(value), epoch, 0
            return True, False
        self.n_bad += 1
        return False, self.n_bad >= self.stopping.patience

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        gain = value - self.best if higher_is_better(self.stopping.monitor) else self.best - value
        return gain > self.stopping.min_delta

    @property
    def state(self) -> dict[str, Any]:
        """What changes while training, as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "stopping"}


def resolve_early_stopping(value: Any) -> EarlyStopping | None:
    """None, an int (the patience) or an `EarlyStopping`, as the latter."""
    if value is None or isinstance(value, EarlyStopping):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"early_stopping must be None, an int (patience) or fp.EarlyStopping(...), got {value!r}")
    return EarlyStopping(check_positive_int("early_stopping", value))


def check_callbacks(callbacks: Any) -> tuple[Any, ...]:
    """Callbacks as a tuple; a single one need not stand in a list.

    Raises
    ------
    TypeError
        If one has neither method, or is a class or a function.
    ValueError
        If an `every` is below 1.
    """
    if callbacks is None:
        return ()
    if _methods(callbacks) or not isinstance(callbacks, Iterable):
        callbacks = (callbacks,)
    checked = tuple(callbacks)
    for callback in checked:
        if isinstance(callback, type) or not _methods(callback):
            raise TypeError(
                f"a callback must be an object with a method on_epoch_end(net, epoch, logs) or "
                f"on_step(net, step, logs), got {callback!r}"
            )
        check_positive_int(f"every of {type(callback).__name__}", getattr(callback, "every", 1))
    return checked


def _methods(callback: Any) -> list[str]:
    return [m for m in ("on_epoch_end", "on_step") if callable(getattr(callback, m, None))]
