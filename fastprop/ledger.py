"""The losses of a fit: sums of the epochs under way, and the history of those that are over."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np

from .runs import Run
from .segments import Segment


class Ledger:
    """Losses, learning rates and times of the epochs of a fit.

    Parameters
    ----------
    run : Run
        What was written before.
    n_epochs : int
        Of the fit, those before included.

    Attributes
    ----------
    sums : ndarray of shape (n_epochs, 3)
        Of each epoch: weighted losses (penalties included), weights, weighted penalties.
    rates : ndarray of shape (n_epochs,)
        The learning rate of the last update of each epoch.
    history : dict of lists
        One number for each epoch that is over.
    penalties : list of float
        The part of each loss of the history that is due to l1 and l2.
    """

    def __init__(self, run: Run, n_epochs: int) -> None:
        n = run.standing.n_epochs
        self.started = time.perf_counter() - run.seconds
        self.history: dict[str, list[float]] = {"loss": [], "lr": [], "time": []}
        self.history |= {name: list(values) for name, values in run.history.items()}
        self.penalties = list(run.penalties)
        self.sums, self.rates = np.zeros((n_epochs, 3)), np.zeros(n_epochs)
        if n < n_epochs:
            self.sums[n], self.rates[n] = run.sums, run.last_rate

    @property
    def seconds(self) -> float:
        """Since the beginning of the fit."""
        return time.perf_counter() - self.started

    @property
    def n_written(self) -> int:
        """Epochs in the history."""
        return len(self.history["loss"])

    # ---- epochs under way -----------------------------------------------------------------------------------------

    def summed(self, segment: Segment, first: int, last: int) -> tuple[slice, np.ndarray]:
        """The sums of some epochs after chunks first..last of a segment, which are whole updates; writes `rates`.

        Returns
        -------
        epochs : slice
        sums : ndarray
            To be put into `sums[epochs]` when the chunks count.
        """
        part = segment.chunks[first:last]
        is_last = part["is_last"].astype(bool)
        weights, epochs = segment.weights[first:last], segment.epochs[first:last]
        self.rates[epochs] = part["lr"]  # the last one stays
        touched, epochs = slice(int(epochs[0]), int(epochs[-1]) + 1), epochs - epochs[0]
        sums = self.sums[touched].copy()
        np.add.at(sums[:, 0], epochs, (part["loss"] + part["penalty"]) * weights)
        np.add.at(sums[:, 1], epochs[is_last], weights[is_last])
        np.add.at(sums[:, 2], epochs, part["penalty"] * weights)
        return touched, sums

    def of(self, epoch: int) -> tuple[tuple[float, float, float], float]:
        """The sums and the learning rate of an epoch under way; zeros behind the last."""
        if epoch >= len(self.sums):
            return (0.0, 0.0, 0.0), 0.0
        loss, weight, penalty = self.sums[epoch].tolist()
        return (loss, weight, penalty), float(self.rates[epoch])

    def go_back(self, epoch: int, sums: tuple[float, float, float], rate: float) -> None:
        """Forget what came after an epoch had these sums."""
        self.sums[epoch:] = 0.0
        self.sums[epoch], self.rates[epoch] = sums, rate

    # ---- epochs that are over -------------------------------------------------------------------------------------

    def rows(self, epochs: range) -> dict[str, list[float]]:
        """What there is to say of complete epochs: loss, lr, time, penalty."""
        part = slice(epochs.start, epochs.stop)
        sums, weights = self.sums[part, ::2], self.sums[part, 1:2]
        with np.errstate(invalid="ignore"):  # NaN where no sample had a weight
            losses, penalties = (sums / weights).T.tolist()
        seconds = [self.seconds] * len(epochs)
        return {"loss": losses, "lr": self.rates[part].tolist(), "time": seconds, "penalty": penalties}

    def write(self, epochs: range) -> None:
        """Put complete epochs into the history, behind those that are there."""
        if not epochs:
            return
        rows = self.rows(epochs)
        self.penalties[epochs.start : epochs.stop] = rows.pop("penalty")
        for name, values in rows.items():
            self.history[name] += values

    def logs(self, epoch: int, results: Mapping[str, float]) -> dict[str, float]:
        """What callbacks are told of an epoch; writes `results`, what else is known of it, into the history."""
        for name, value in results.items():
            self.history.setdefault(name, [math.nan] * epoch).append(value)
        written = {name: self.history[name][epoch] for name in ("loss", "lr", "time")}
        return written | {"penalty": self.penalties[epoch]} | dict(results)

    def until(self, n: int) -> tuple[dict[str, list[float]], list[float]]:
        """Copies of the history and the penalties of the first n epochs, whether they are written yet or not."""
        history = {name: values[:n] for name, values in self.history.items()}
        penalties = self.penalties[:n]
        if self.n_written < n:  # nobody looks at them, so that they were not closed one by one
            more = self.rows(range(self.n_written, n))
            penalties += more.pop("penalty")
            for name, values in more.items():
                history[name] += values
        return history, penalties

    def forget(self, epoch: int) -> None:
        """Cut the history off before an epoch."""
        for values in (*self.history.values(), self.penalties):
            del values[epoch:]

    def finish(self, n: int) -> None:
        """Bring all lists to n epochs, wherever Ctrl-C or divergence came; NaN for the unknown."""
        known = min(n, *(len(self.history[name]) for name in ("loss", "lr", "time")))
        for name in ("loss", "lr", "time"):
            del self.history[name][known:]
        del self.penalties[known:]
        self.write(range(known, n))
        for values in self.history.values():
            del values[n:]
            values += [math.nan] * (n - len(values))
