"""What happens after each epoch of an MLP: the curve, whether to stop, the rate of the next one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network import Network
from ..schedules import Floats, Schedule
from .mlp_losses import reported

SMALLEST_RATE = 1e-6  # "adaptive" stops here


@dataclass(frozen=True)
class EpochScaling(Schedule):
    """lr / (samples seen + 1)^power, constant within an epoch and lr in the first: scikit-learn's "invscaling"."""

    lr: float
    power: float
    n_samples: int  # of an epoch
    n_updates: int  # of an epoch
    seen: int = 0  # samples of former fits

    def rates(self, t: Floats) -> Floats:
        epoch = t // self.n_updates
        return np.where(epoch < 1, self.lr, self.lr / (self.seen + epoch * self.n_samples + 1) ** self.power)


def begin_curve(estimator: Any) -> None:
    """Forget the epochs of former fits."""
    estimator._no_improvement_count, estimator.n_iter_, estimator.t_ = 0, 0, 0
    estimator.loss_curve_ = []
    estimator.best_loss_ = np.inf
    estimator.validation_scores_, estimator.best_validation_score_ = None, None


def prepare_scores(estimator: Any, has_score: bool) -> None:
    """The attributes that scores go to; scores of a former fit go on, as losses do."""
    if has_score and estimator.validation_scores_ is None:
        estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf
    if estimator.early_stopping:
        estimator.best_loss_ = None
    elif estimator.best_loss_ is None:
        estimator.best_loss_ = np.inf


class Epochs:
    """A callback of a network that keeps an estimator's attributes and stops by scikit-learn's rules.

    Parameters
    ----------
    estimator : BaseMLP
    n_samples : int
        Rows to train on.
    constant : float
        Added to each loss that is reported.
    score : callable, optional
        Network -> score on held-out rows.
    between : callable, optional
        Called between epochs, for scikit-learn's callbacks; True stops.

    Attributes
    ----------
    converged : bool
        Whether training stopped before its last epoch.
    """

    def __init__(
        self,
        estimator: Any,
        n_samples: int,
        constant: float = 0.0,
        score: Callable[[Network], float] | None = None,
        between: Callable[[], bool] | None = None,
    ) -> None:
        self.estimator, self.n_samples, self.constant = estimator, n_samples, constant
        self.score, self.between = score, between
        self.stops_by_score = bool(estimator.early_stopping)
        self.tol, self.patience, self.n_outputs = estimator.tol, estimator.n_iter_no_change, estimator.n_outputs_
        self.verbose, self.curve = bool(estimator.verbose), estimator.loss_curve_
        self.n_bad, self.best_loss = estimator._no_improvement_count, estimator.best_loss_
        self.n_epochs, self.seen_before = 0, estimator.t_
        self.best: Any = None
        self.converged = False

    def begin(self, net: Network) -> None:
        """Under a warm start: the weights that there are had the best score of former fits."""
        if self.stops_by_score and self.estimator.best_validation_score_ > -math.inf:
            self._keep(net)

    def on_epoch_end(self, net: Network, epoch: int, logs: dict[str, float]) -> bool:
        """Note an epoch; True stops."""
        self.note(net, logs["loss"], logs["penalty"])
        self.write()
        if self.between is not None and self.between():
            self.converged = True
        return self.converged

    def note(self, net: Network, loss: float, penalty: float) -> None:
        """Note an epoch of this loss and, within it, this penalty."""
        self.n_epochs += 1
        loss = reported(net.loss, loss, penalty, self.n_outputs) + self.constant
        self.curve.append(loss)
        if self.verbose:
            print(f"Iteration {self.n_epochs}, loss = {loss:.8f}")
        if self.score is not None:
            self._note_score(net, self.score(net))
        if not self.stops_by_score:
            self.n_bad = self.n_bad + 1 if loss > self.best_loss - self.tol else 0
            if loss < self.best_loss:
                self.best_loss = loss
        if self.n_bad > self.patience:
            self.converged = self._stops(net)
            if not self.converged:
                self.n_bad = 0

    def write(self) -> None:
        """Write what was noted to the estimator."""
        estimator = self.estimator
        estimator.n_iter_, estimator.t_ = self.n_epochs, self.seen_before + self.n_epochs * self.n_samples
        estimator.best_loss_, estimator._no_improvement_count = self.best_loss, self.n_bad
        if self.n_epochs:
            estimator.loss_ = self.curve[-1]

    def _note_score(self, net: Network, score: float) -> None:
        estimator = self.estimator
        estimator.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        best = estimator.best_validation_score_
        if self.stops_by_score:
            self.n_bad = self.n_bad + 1 if score < best + self.tol else 0
        if score > best:
            estimator.best_validation_score_ = score
            if self.stops_by_score:
                self._keep(net)

    def _stops(self, net: Network) -> bool:
        """Whether too many epochs without improvement end the fit; under "adaptive" the rate goes down first."""
        estimator = self.estimator
        what = "Validation score" if self.stops_by_score else "Training loss"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.patience} consecutive epochs."
        ending, stops = " Stopping.", True
        rate = net.optimizer.lr
        if estimator.solver == "sgd" and estimator.learning_rate == "adaptive" and isinstance(rate, float):
            stops = rate <= SMALLEST_RATE
            ending = " Learning rate too small. Stopping."
            if not stops:
                net.optimizer.lr = rate / 5.0
                ending = f" Setting learning rate to {rate / 5.0:f}"
        if self.verbose:
            print(message + ending)
        return stops

    def catch_up(self, net: Network) -> None:
        """Note the epochs that ended before Ctrl-C and were not noted."""
        if not hasattr(net, "history_"):  # it came before the first update
            return
        epochs = slice(self.n_epochs, None)
        for loss, penalty in zip(net.history_["loss"][epochs], net._penalties[epochs], strict=True):
            self.note(net, loss, penalty)

    def diverged(self) -> None:
        """Note an epoch that made the weights infinite, and that the best ones are kept."""
        self.n_epochs += 1
        self.curve.append(math.nan)
        self.estimator.validation_scores_.append(math.nan)

    def _keep(self, net: Network) -> None:
        """Remember these weights as the best."""
        self.best = net._parameters.rows[0].copy(), net._parameters.statistics.copy()

    def restore(self, net: Network) -> None:
        """The weights of the best score, if scores decide."""
        if self.best is not None:
            net._parameters.rows[0], net._parameters.statistics[:] = self.best


class Ahead(Epochs):
    """`Epochs` that look at nothing but losses, and so may be told of several afterwards: short ones run in a go."""

    @property
    def horizon(self) -> int:
        """Epochs that may run before this is asked: nothing can end the fit, or change the rate, before the last."""
        return 1 << 30 if math.isinf(self.patience) else max(1, int(self.patience) + 1 - self.n_bad)

    def on_epoch_end(self, net: Network, epoch: int, logs: dict[str, float]) -> bool:
        """Note an epoch; True stops."""
        self.note(net, logs["loss"], logs["penalty"])
        return self.converged


def epochs_of(estimator: Any, n_samples: int, constant: float, score: Any = None, between: Any = None) -> Epochs:
    """The callback of a fit."""
    is_watched = estimator.verbose or estimator.early_stopping or score is not None or between is not None
    return (Epochs if is_watched else Ahead)(estimator, n_samples, constant, score, between)
