"""Multi-layer perceptrons on a cluster: from scikit-learn's parameters to a network, and its rules for stopping."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ..estimators.architecture import describe_outputs, draw_weights, network_of
from ..estimators.coefficients import Coefficients
from ..estimators.mlp import BaseMLP
from ..estimators.mlp_classifier import has_probabilities
from ..estimators.mlp_epochs import Epochs, EpochScaling, begin_curve, prepare_scores
from ..estimators.mlp_losses import loss_of
from ..estimators.parameters import random_generator
from ..losses import Loss
from ..network import Network
from ..optimizers import Optimizer
from .drafts import Facts
from .estimator import CLUSTER, DaskEstimator, Scored, Training, labels_of
from .job import check_mode


class MLPTraining(Training):
    """A fit of an MLP: scikit-learn's initial weights, penalty, rates, and when it stops."""

    epochs: Epochs | None = None
    latest = math.nan

    def regression_loss(self) -> Loss:
        return loss_of(self.estimator.loss, None, self.estimator.output_weights)

    def network(self, facts: Facts) -> Network:
        estimator, labels = self.estimator, labels_of(facts) if self.for_labels else None
        loss = loss_of(estimator.loss, labels, estimator.output_weights)
        if labels is not None and labels.kind == "multiclass" and loss.task == "binary" and not loss.is_margin:
            raise ValueError(
                f"loss {loss.name!r} tells two classes apart, but y has {len(labels.classes)}: use 'log_loss'"
            )
        n_outputs = facts.n_targets if labels is None else labels.n_outputs(loss)
        net = network_of(estimator, facts.n_features, n_outputs, loss, facts.dtype).build(facts.n_features)
        check_mode(net, estimator.mode)
        state = random_generator(estimator.random_state)
        draw_weights(estimator, net, state)
        estimator._take_given_weights(net, False)
        net.seed = estimator._draw_seed(state)
        begin_curve(estimator)
        describe_outputs(estimator, n_outputs, loss)
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            n_updates = facts.updates(estimator._batch_rows(), estimator.mode)
            net.optimizer.lr = EpochScaling(estimator.learning_rate_init, estimator.power_t, facts.n_rows, n_updates)
        self.net, self.n_rows = net, facts.n_rows
        return net

    def on_epoch_end(self, net: Network, epoch: int, logs: dict[str, float]) -> bool:
        score = self.score(logs)
        if self.epochs is None:
            prepare_scores(self.estimator, score is not None)
            self.epochs = Epochs(self.estimator, self.n_rows, score=None if score is None else self._latest)
            self.epochs.verbose = False  # a progress bar shows as much
        self.latest = math.nan if score is None else score
        return self.epochs.on_epoch_end(net, epoch, logs)

    def _latest(self, net: Network) -> float:
        """The score that the cluster gave the network after this epoch."""
        return self.latest

    def end(self) -> None:
        estimator, epochs = self.estimator, self.epochs
        if epochs is None or self.net is None:  # Ctrl-C came in the first epoch
            return
        epochs.restore(self.net)
        if not epochs.converged and epochs.n_epochs == estimator.max_iter:
            text = f"Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't converged yet."
            warnings.warn(f"Stochastic Optimizer: {text}", ConvergenceWarning, stacklevel=3)


class DaskMLP(Coefficients, DaskEstimator):
    """The base of both; a subclass has the parameters."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        **CLUSTER,
        "solver": [StrOptions({"sgd", "adam"}), Optimizer],
    }
    _validate_params = BaseMLP._validate_params
    _draw_seed = BaseMLP._draw_seed

    def _training(self) -> MLPTraining:
        return MLPTraining(self)


class DaskMLPClassifier(Scored, ClassifierMixin, DaskMLP):  # type: ignore[misc]
    """`fastprop.MLPClassifier` on a Dask cluster: one class a row, or several yes-or-no answers.

    Parameters and attributes that are not listed are those of `fastprop.MLPClassifier` and mean the same. Not here are
    solver "lbfgs", `partial_fit` and `warm_start`: `fastprop.dask.fit(model.network_, X, y)` goes on.

    Parameters
    ----------
    batch_size : int or "auto", default="auto"
        Rows of an update, over all partitions; "auto" is 200. In mode "local" each takes its share of them.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        For "sgd". "invscaling" counts the rows of all partitions.
    verbose : bool, default=False
        Show a progress bar.
    early_stopping : bool, default=False
        Stop by the score on held-out rows, and keep the weights of the best.
    validation_fraction : float, default=0.1
        The part of the rows of each partition held out then, unless `fit` gets X_val.
    callbacks : fastprop callback or list of them, default=None
        With `on_epoch_end(net, epoch, logs)`, called on the client.
    mode : {"local", "sync"}, default="local"
        "local": each partition trains for a round, then the networks are averaged. "sync": one gradient of all
        partitions an update. See `fastprop.dask.fit`.
    sync_every : int, default=None
        Updates of a round in mode "local"; by default about a second's.
    outer : optimizer, default=None
        Applies the mean change of a round in mode "local", as `fp.SGD(lr=0.7, momentum=0.9, nesterov=True)`.
    n_partitions : int, default=8
        Of X that does not come in partitions. The result depends on it, but not on the number of workers.
    client : distributed.Client, default=None
        By default the current one; where there is none, a cluster of this machine's cores is started for the fit.

    Attributes
    ----------
    network_ : fp.Network
        Usable without a cluster; `network_.save(path)` writes it.
    loss_curve_, validation_scores_ : list of float
        Of each epoch; the latter if rows are held out.

    Notes
    -----
    A fitted estimator can be pickled, and predicts rows in memory without a cluster. Its client is not pickled.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> client = Client(processes=False, dashboard_address=":0")  # yours: Client("tcp://scheduler:8786")
    >>> X = da.random.default_rng(0).normal(size=(2_000, 4), chunks=(250, 4))
    >>> model = DaskMLPClassifier((16,), max_iter=5, tol=0, client=client).fit(X, X[:, 0] * X[:, 1] > 0)
    >>> model.predict(X)  # nothing is computed yet
    dask.array<..., shape=(2000,), dtype=bool, chunksize=(250,), chunktype=numpy.ndarray>
    >>> client.close()
    """

    is_classifier = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **DaskMLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        loss: Any = "log_loss",
        dropout: Any = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        residual: bool = False,
        clip_norm: float | None = None,
        class_weight: Any = None,
        output_weights: Any = None,
        callbacks: Any = None,
        mode: str = "local",
        sync_every: int | None = None,
        outer: Any = None,
        n_partitions: int = 8,
        client: Any = None,
    ) -> None:
        self._keep(locals())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @available_if(has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Probabilities, shape (n_samples, n_classes), in the order of `classes_`; of several labels that of each.

        Lazily for what is on the cluster, as `predict`.
        """
        return self._applied("predict_proba", X)

    @available_if(has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`."""
        return self._applied("predict_log_proba", X)


class DaskMLPRegressor(Scored, RegressorMixin, DaskMLP):  # type: ignore[misc]
    """`fastprop.MLPRegressor` on a Dask cluster.

    Parameters and attributes are those of `fastprop.MLPRegressor`, but for what `DaskMLPClassifier` has besides them or
    has not. `loss_` of "poisson" lacks the part that does not depend on the network.
    """

    is_classifier = False

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        dropout: Any = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        residual: bool = False,
        clip_norm: float | None = None,
        output_weights: Any = None,
        callbacks: Any = None,
        mode: str = "local",
        sync_every: int | None = None,
        outer: Any = None,
        n_partitions: int = 8,
        client: Any = None,
    ) -> None:
        self._keep(locals())
