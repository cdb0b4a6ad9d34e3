"""What the estimators for a cluster share: its parameters, `fit`, and predictions where the rows are."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..callbacks import check_callbacks
from ..data.dataset import Dataset
from ..estimators.all_or_nothing import restored_on_error
from ..estimators.inputs import check_X
from ..estimators.mlp_labels import Labels
from ..estimators.parameters import CheckedParameters
from ..losses import Loss, resolve_loss
from ..network import Network
from ..optimizers import Optimizer
from . import lazy
from .course import fit
from .drafts import Draft, Facts
from .inputs import are_paths, is_dask, is_remote
from .looks import Question

AUTO_BATCH = 200  # rows of an update, as scikit-learn's MLPs have them

# Parameters that are those of `fastprop.dask.fit`.
CLUSTER: dict[str, Any] = {
    "mode": [StrOptions({"local", "sync"})],
    "sync_every": [Interval(Integral, 1, None, closed="left"), None],
    "outer": [Optimizer, None],
    "n_partitions": [Interval(Integral, 1, None, closed="left")],
    "client": "no_validation",
}


class Training(Draft):
    """One call of `fit`: it makes the network, decides after each epoch whether to go on, and says how it went.

    Parameters
    ----------
    estimator : DaskEstimator
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator, self.for_labels = estimator, estimator.is_classifier

    def question(self) -> Question:
        """Labels are asked for as a loss does that takes any, one a row or several yes-or-no answers."""
        loss = resolve_loss("bce") if self.for_labels else self.regression_loss()
        return Question([], loss, "float64", None)

    @abstractmethod
    def regression_loss(self) -> Loss:
        """The loss of a network for numbers."""

    @abstractmethod
    def on_epoch_end(self, net: Network, epoch: int, logs: dict[str, float]) -> bool:
        """Note an epoch; True stops."""

    @abstractmethod
    def end(self) -> None:
        """Set the fitted attributes."""

    def score(self, logs: dict[str, float]) -> float | None:
        """Of the rows held out, if there are some."""
        return logs.get("val_accuracy" if self.for_labels else "val_r2")


class DaskEstimator(CheckedParameters, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators for a cluster. A subclass has scikit-learn's parameters, and a `Training`."""

    is_classifier: ClassVar[bool]
    batch_size: Any
    callbacks: Any
    client: Any
    early_stopping: bool
    max_iter: int
    shuffle: bool
    validation_fraction: float
    verbose: Any
    network_: Network

    def _keep(self, parameters: dict[str, Any]) -> None:
        """Set the parameters, which are the local names of `__init__`."""
        self.__dict__.update({name: value for name, value in parameters.items() if name not in ("self", "__class__")})

    def _training(self) -> Training:
        raise NotImplementedError

    # ---- training ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Any:
        """Train on the cluster.

        Parameters
        ----------
        X : dask array or data frame, list of delayed objects or futures, paths, fp.data.Dataset, or array-like
            What `fastprop.dask.fit` takes, of shape (n_samples, n_features). Rows in memory are cut into
            `n_partitions`. X of float32 trains in float32, all other in float64.
        y : of the same kind, with the same partitions
            Labels or numbers; of a data frame or of Parquet files also the name of a column.
        sample_weight : of the same kind, optional
        X_val, y_val : of the same kind, optional
            Rows to validate with after each epoch, in place of a part of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Before the first round, for what does not fit; the message names the partition.
        ClusterError
            If the last worker or the scheduler is lost. Its `net` is the network of the last complete round.
        DivergenceError
            If the loss leaves the finite numbers.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` epochs were not enough.
        RuntimeWarning
            If Ctrl-C ends training: the model is that of the last complete round.
        """
        self._check_parameters()
        with restored_on_error(self):
            training = self._training()
            try:
                fit(
                    training, X, y, epochs=self.max_iter, sample_weight=sample_weight, X_val=X_val, y_val=y_val,
                    batch_size=self._batch_rows(), class_weight=getattr(self, "class_weight", None),
                    shuffle=bool(self.shuffle), progress=bool(self.verbose),
                    validation_fraction=self.validation_fraction if self.early_stopping and X_val is None else 0.0,
                    callbacks=(training, *check_callbacks(self.callbacks)),
                    **{name: getattr(self, name) for name in CLUSTER},
                )  # fmt: skip
            except KeyboardInterrupt:
                if training.net is None:
                    raise
                text = "Training interrupted by user: the model is that of the last complete round."
                warnings.warn(text, RuntimeWarning, stacklevel=2)
            assert training.net is not None
            self._adopt(training.net)
            training.end()
        return self

    def _batch_rows(self) -> int:
        return AUTO_BATCH if isinstance(self.batch_size, str) else int(self.batch_size)

    def _adopt(self, net: Network) -> None:
        """Take what the network knows of the data."""
        self.network_, self.n_features_in_ = net, net.n_features_
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(net, "feature_names_in_"):
            self.feature_names_in_ = net.feature_names_in_
        if self.is_classifier:
            self.classes_ = np.arange(net.n_outputs_) if net.classes_ is None else net.classes_

    # ---- using ------------------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """Labels, or numbers, of the rows of X.

        Parameters
        ----------
        X : what `fit` takes, of shape (n_samples, n_features)

        Returns
        -------
        dask array, series or frame, or list of delayed objects; ndarray for rows in memory
            As X is: of what is on the cluster nothing is computed yet, and each partition will be where it lies.
            Predictions of paths and datasets are a dask array, in the order of their rows.
        """
        return self._applied("predict", X)

    def _applied(self, method: str, X: Any) -> Any:
        """What a method of `lazy` gives; rows in memory are checked as scikit-learn does."""
        check_is_fitted(self)
        rows = X if is_elsewhere(X) else check_X(self, X).array
        return getattr(lazy, method)(self.network_, rows)

    # ---- copies -----------------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in self.__dict__

    def __getstate__(self) -> Any:
        """Without the client, which is a connection: an estimator that was pickled uses the current one."""
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> Any:
        bare = copy.copy(self)  # has no client, of which scikit-learn would make a copy
        cloned = super(DaskEstimator, bare).__sklearn_clone__()
        cloned.client = self.client
        return cloned


class Scored:
    """The first mixin of an estimator, before scikit-learn's, whose `score` is for rows in memory."""

    client: Any
    is_classifier: ClassVar[bool]
    network_: Network

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The accuracy of labels, or R2 of numbers; computed at once.

        Parameters
        ----------
        X, y : what `fit` takes
        sample_weight : array-like of shape (n_samples,), optional
            For rows in memory only.
        """
        check_is_fitted(self)
        if not is_elsewhere(X):
            return float(super().score(X, y, sample_weight))  # type: ignore[misc]
        if sample_weight is not None:
            raise ValueError("sample_weight is for rows in memory: scores of partitions have no weights")
        found = lazy.evaluate(self.network_, X, y)
        computed = found.compute() if self.client is None else self.client.compute(found).result()
        return float(computed["accuracy" if self.is_classifier else "r2"])


def labels_of(facts: Facts) -> Labels:
    """The classes of a problem.

    Raises
    ------
    ValueError
        If there is one only.
    """
    if facts.classes is None:
        return Labels(np.arange(facts.n_targets), "multilabel")
    if len(facts.classes) < 2:
        raise ValueError(f"y must have at least two distinct labels, got {facts.classes.tolist()} in all partitions")
    return Labels.known(facts.classes)


def is_elsewhere(X: Any) -> bool:
    """Whether rows are on a cluster or in files, not in memory."""
    if is_dask(X, "array") or is_dask(X, "dataframe") or is_remote(X) or isinstance(X, Dataset):
        return True
    return are_paths(X) or (isinstance(X, (list, tuple)) and any(map(is_remote, X)))
