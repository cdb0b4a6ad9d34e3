"""How an MLP's network is trained: by epochs, to a minimum, or once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..callbacks import check_callbacks
from ..errors import DivergenceError
from ..network import Network
from ..progress import progress_for
from ..trainer import Settings
from ..validation import Rows
from .architecture import batch_rows
from .fit_tasks import FitTasks
from .lbfgs import minimise, penalty_of
from .mlp_epochs import EpochScaling, epochs_of, prepare_scores
from .mlp_losses import constant_of, reported

# From a warning of `train_epochs` or `train_once` up to the line that called the estimator, through decorators.
LEVELS_OF_FIT, LEVELS_OF_PARTIAL_FIT = 6, 5


def attributes_of(estimator: Any, net: Network) -> Callable[[], dict[str, Any]]:
    """The fitted attributes of a copy that predicts, for scikit-learn's callbacks."""

    def attributes() -> dict[str, Any]:
        names = ("classes_", "_multilabel", "_sparse_labels", "n_outputs_", "n_layers_", "out_activation_", "n_iter_")
        known = {name: estimator.__dict__[name] for name in names if name in estimator.__dict__}
        return {**known, "network_": copy.deepcopy(net)}

    return attributes


def between_epochs(estimator: Any, net: Network, tasks: FitTasks) -> Callable[[], bool] | None:
    """What tells scikit-learn's callbacks that an epoch has ended and the next one begins; begins the first."""
    if not getattr(estimator, "_skl_callbacks", None):
        return None
    attributes, n_ended = attributes_of(estimator, net), 0

    def between() -> bool:
        nonlocal n_ended
        n_ended += 1
        stops = tasks.end_epoch(attributes)
        if not stops and n_ended < estimator.max_iter:
            tasks.begin_epoch(attributes)
        return stops

    tasks.begin_epoch(attributes)
    return between


def train_to_minimum(estimator: Any, net: Network, rows: Rows, tasks: FitTasks) -> None:
    """`solver="lbfgs"`."""
    ends = between_epochs(estimator, net, tasks)
    estimator.n_iter_, loss = minimise(net, rows, estimator.tol, estimator.max_iter, estimator.max_fun, ends)
    constant = constant_of(net.loss, rows.targets.matrix.array, rows.weights)
    penalty = penalty_of(net, rows) if estimator.n_outputs_ > 1 else 0.0
    estimator.loss_ = reported(net.loss, loss, penalty, estimator.n_outputs_) + constant
    for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        estimator.__dict__.pop(name, None)


def train_epochs(
    estimator: Any, net: Network, rows: Rows, score: Callable[[Network], float] | None, tasks: FitTasks
) -> None:
    """Train by updates, and stop by scikit-learn's rules."""
    n_rows = rows.n_used
    size = _batch_rows(estimator, n_rows, LEVELS_OF_FIT)
    if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
        n_updates = -(-n_rows // size)
        net.optimizer.lr = EpochScaling(
            estimator.learning_rate_init, estimator.power_t, n_rows, n_updates, estimator.t_
        )
    prepare_scores(estimator, score is not None)
    epochs = epochs_of(
        estimator, n_rows, constant_of(net.loss, _targets_used(rows), rows.weights_used), score,
        between_epochs(estimator, net, tasks),
    )  # fmt: skip
    epochs.begin(net)
    callbacks = () if estimator.callbacks is None else check_callbacks(estimator.callbacks)
    settings = _settings(estimator, net, estimator.max_iter, size, (epochs, *callbacks))
    try:
        net._train(rows, settings, None, progress_for(False, settings.epochs))
    except KeyboardInterrupt:
        epochs.catch_up(net)
        warnings.warn("Training interrupted by user.", stacklevel=LEVELS_OF_FIT)
    except DivergenceError as error:
        if epochs.best is None:
            raise
        epochs.diverged()
        text = f"Training diverged, and stopped with the weights of the best validation score: {error}"
        warnings.warn(text, ConvergenceWarning, stacklevel=LEVELS_OF_FIT)
    else:
        if not epochs.converged and epochs.n_epochs == estimator.max_iter:
            text = f"Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't converged yet."
            warnings.warn(f"Stochastic Optimizer: {text}", ConvergenceWarning, stacklevel=LEVELS_OF_FIT)
    epochs.write()
    epochs.restore(net)
    keep_rate(estimator, net)


def train_once(estimator: Any, net: Network, rows: Rows) -> None:
    """`partial_fit`: one epoch."""
    size = _batch_rows(estimator, rows.n_used, LEVELS_OF_PARTIAL_FIT)
    epochs = epochs_of(estimator, rows.n_used, constant_of(net.loss, rows.targets.matrix.array, rows.weights))
    settings = _settings(estimator, net, 1, size, (epochs,))
    settings.counts = size < rows.n_used  # then there is an order of rows, and the next call has another
    net._train(rows, settings, None, progress_for(False, 1))
    epochs.write()
    keep_rate(estimator, net)


def keep_rate(estimator: Any, net: Network) -> None:
    """Under "invscaling": what the rate of the next epoch would be is that of `partial_fit`."""
    if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
        net.optimizer.lr = float(estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t)


def _batch_rows(estimator: Any, n_rows: int, levels: int) -> int:
    """Rows of an update; warns if `batch_size` asks for more than there are."""
    if not isinstance(estimator.batch_size, str) and estimator.batch_size > n_rows:
        text = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
        warnings.warn(text, stacklevel=levels + 1)
    return batch_rows(estimator.batch_size, n_rows)


def _settings(estimator: Any, net: Network, n_epochs: int, size: int, callbacks: tuple[Any, ...]) -> Settings:
    shuffle, n_threads = bool(estimator.shuffle), estimator.n_threads
    return Settings(n_epochs, size, shuffle, net.seed, n_threads=n_threads, callbacks=callbacks)


def _targets_used(rows: Rows) -> np.ndarray:
    array: np.ndarray = rows.targets.matrix.array
    return array if rows.numbers is None else array[rows.numbers]
