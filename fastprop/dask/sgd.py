"""Linear models on a cluster: a network of one layer, with scikit-learn's losses and penalties."""

from __future__ import annotations

import copy
import warnings
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from ..estimators.courses import SMALLEST_RATE, Stopping
from ..estimators.linear_base import MAX_SEED, REGRESSION_LOSSES, LinearSGD
from ..estimators.linear_network import loss_of, make_network, set_penalties
from ..estimators.parameters import random_generator
from ..losses import Loss, resolve_loss
from ..network import Network
from ..schedules import InverseScaling
from .drafts import Facts
from .estimator import CLUSTER, DaskEstimator, Scored, Training, labels_of

# Losses that take the other classes as one each time need targets -1 and 1: those of the margin.
CLASS_LOSSES = ("hinge", "log_loss", "modified_huber", "perceptron", "squared_hinge")


class LinearTraining(Training):
    """A fit of a linear model: its network, rates, and when it stops."""

    def regression_loss(self) -> Loss:
        return loss_of(self.estimator.loss, self.estimator.epsilon)

    def network(self, facts: Facts) -> Network:
        estimator = self.estimator
        loss, n_outputs = self._loss(facts)
        seed = int(random_generator(estimator.random_state).randint(MAX_SEED))
        net = make_network(estimator, loss, n_outputs, seed, facts.dtype).build(facts.n_features)
        net.optimizer = copy.deepcopy(net.optimizer)  # "adaptive" changes it
        set_penalties(net, estimator, n_outputs, facts.mean_weight)
        rate: Any = net.optimizer.lr
        if estimator.learning_rate == "invscaling":
            net.optimizer.lr = InverseScaling(rate, estimator.power_t)
        self.net, self.n_rows = net, facts.n_rows
        self.curve: list[float] = []
        self.stopping, self.converged = Stopping(estimator.tol, estimator.n_iter_no_change), False
        return net

    def _loss(self, facts: Facts) -> tuple[Loss, int]:
        """The network's loss, and how many outputs it has."""
        name = self.estimator.loss
        if not self.for_labels:
            if facts.n_targets > 1:
                raise ValueError(f"y must have one column, got {facts.n_targets}: DaskMLPRegressor takes several")
            return self.regression_loss(), 1
        labels = labels_of(facts)
        if labels.kind == "multilabel":
            raise ValueError(f"y must have one label a row, got {facts.n_targets}: DaskMLPClassifier takes several")
        if name == "log_loss" and labels.kind == "multiclass":
            return resolve_loss("cross_entropy"), len(labels.classes)
        loss = loss_of(name, 0.0)
        return loss, labels.n_outputs(loss)

    def on_epoch_end(self, net: Network, epoch: int, logs: dict[str, float]) -> bool:
        self.curve.append(logs["loss"])
        score = self.score(logs) if self.estimator.early_stopping else None
        if not self.stopping.stalls(logs["loss"] if score is None else -score):
            return False
        rate: Any = net.optimizer.lr
        if self.estimator.learning_rate == "adaptive" and rate > SMALLEST_RATE:
            net.optimizer.lr, self.stopping.n_stale = rate / 5.0, 0
            return False
        self.converged = True
        return True

    def end(self) -> None:
        estimator, n_iter = self.estimator, len(self.curve)
        estimator.n_iter_, estimator.t_ = n_iter, 1.0 + n_iter * self.n_rows
        estimator.loss_curve_ = self.curve
        if estimator.tol is not None and not self.converged and n_iter == estimator.max_iter:
            text = "Maximum number of iteration reached before convergence. Consider increasing max_iter."
            warnings.warn(text, ConvergenceWarning, stacklevel=3)


class DaskLinear(DaskEstimator):
    """The base of both; a subclass has the parameters."""

    alpha: float
    l1_ratio: float | None
    learning_rate: str
    penalty: str | None
    solver: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **LinearSGD._parameter_constraints,
        **CLUSTER,
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "callbacks": [object],
    }

    def _training(self) -> LinearTraining:
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("l1_ratio must be set when penalty is 'elasticnet'")
        if not isinstance(self.solver, str) and self.learning_rate != "constant":
            what = f"learning_rate={self.learning_rate!r} is for a solver by name"
            raise ValueError(f"{what}: give {type(self.solver).__name__} its rate, as a number or one of fp.schedules")
        return LinearTraining(self)

    def _coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (n_outputs, n_features) and intercepts (n_outputs,)."""
        net = self.__dict__.get("network_")
        if net is None:
            raise AttributeError(f"{type(self).__name__!r} object has no coefficients before fit")
        ((W, b),) = net.get_weights()
        return W.T, np.zeros(W.shape[1], W.dtype) if b is None else b

    @property
    def intercept_(self) -> np.ndarray:
        """The biases, shape (n_outputs,), as a copy."""
        return self._coefficients()[1]


class DaskSGDClassifier(Scored, ClassifierMixin, DaskLinear):  # type: ignore[misc]
    """Linear classifiers on a Dask cluster: SVM, logistic regression and others, trained in batches.

    `fastprop.SGDClassifier` with mode="minibatch", but for `log_loss` of more than two classes, which is that of all
    classes together (softmax), not of each against the rest. Parameters and attributes that are not listed mean the
    same. Not here is what takes single rows: learning rates "optimal", "pa1" and "pa2", `average`; nor losses of
    numbers, `partial_fit` and `warm_start`: `fastprop.dask.fit(model.network_, X, y)` goes on.

    Parameters
    ----------
    loss : {"hinge", "log_loss", "modified_huber", "perceptron", "squared_hinge"}, default="hinge"
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Of a solver by name: eta0; eta0 / t^power_t at update t; or eta0, a fifth of it whenever training would stop.
    early_stopping : bool, default=False
        Stop by the accuracy on rows held out, `validation_fraction` of each partition, instead of the objective.
    solver : {"adam", "sgd"} or optimizer of fastprop, default="adam"
    batch_size : int or "auto", default="auto"
        Rows of an update, over all partitions; "auto" is 200. In mode "local" each takes its share of them.
    verbose, callbacks, mode, sync_every, outer, n_partitions, client
        As of `DaskMLPClassifier`.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Read from the network, as `intercept_` is.
    network_ : fp.Network
        Of one layer. Usable without a cluster; `network_.save(path)` writes it.
    loss_curve_ : list of float
        The objective of each epoch.
    """

    is_classifier = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **DaskLinear._parameter_constraints,
        "loss": [StrOptions(set(CLASS_LOSSES))],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        loss: str = "hinge",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float | None = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: bool = False,
        random_state: Any = None,
        learning_rate: str = "constant",
        eta0: float = 0.01,
        power_t: float = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        solver: Any = "adam",
        batch_size: int | str = "auto",
        callbacks: Any = None,
        mode: str = "local",
        sync_every: int | None = None,
        outer: Any = None,
        n_partitions: int = 8,
        client: Any = None,
    ) -> None:
        self._keep(locals())

    @property
    def coef_(self) -> np.ndarray:
        """The weights, as a copy."""
        return self._coefficients()[0]

    def decision_function(self, X: Any) -> Any:
        """Scores: (n_samples,), > 0 where the second of two classes is predicted, or (n_samples, n_classes).

        Lazily for what is on the cluster, as `predict`.
        """
        return self._applied("decision_function", X)

    def _has_probabilities(self) -> bool:
        if self.loss not in ("log_loss", "modified_huber"):
            raise AttributeError(f"probability estimates are not available for loss={self.loss!r}")
        return True

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Probabilities, shape (n_samples, n_classes), for loss "log_loss" and "modified_huber" only.

        Lazily for what is on the cluster, as `predict`.
        """
        return self._applied("predict_proba", X)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`; minus infinity where modified Huber gives 0."""
        return self._applied("predict_log_proba", X)


class DaskSGDRegressor(Scored, RegressorMixin, DaskLinear):  # type: ignore[misc]
    """Linear regression on a Dask cluster, trained in batches: `fastprop.SGDRegressor` with mode="minibatch".

    Parameters
    ----------
    loss : {"squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"}, default="squared_error"
    early_stopping : bool, default=False
        Stop by R2 on rows held out, `validation_fraction` of each partition, instead of the objective.
    epsilon : float, default=0.1
        Of "huber" and the losses insensitive to epsilon.
    learning_rate, solver, batch_size, verbose, callbacks, mode, sync_every, outer, n_partitions, client
        As of `DaskSGDClassifier`; its default rates too.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Read from the network, as `intercept_`, of shape (1,), is.
    network_, loss_curve_
        As of `DaskSGDClassifier`.
    """

    is_classifier = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **DaskLinear._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES))],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float | None = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: bool = False,
        epsilon: float = 0.1,
        random_state: Any = None,
        learning_rate: str = "constant",
        eta0: float = 0.01,
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        solver: Any = "adam",
        batch_size: int | str = "auto",
        callbacks: Any = None,
        mode: str = "local",
        sync_every: int | None = None,
        outer: Any = None,
        n_partitions: int = 8,
        client: Any = None,
    ) -> None:
        self._keep(locals())

    @property
    def coef_(self) -> np.ndarray:
        """The weights, as a copy."""
        return self._coefficients()[0].ravel()
