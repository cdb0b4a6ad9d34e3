"""`MLPRegressor`: scikit-learn's, on a fastprop network."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.utils.metaestimators import available_if

from ..losses import Loss
from ..network import Network
from ..targets import Targets, decode, prepare_targets
from .all_or_nothing import all_or_nothing
from .mlp import BaseMLP, has_updates


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multi-layer perceptron that predicts one or more numbers.

    scikit-learn 1.9's parameters, attributes and meaning, and from `dropout` on what it lacks. The initial weights are
    its draws too, so that "lbfgs" finds the same minimum; the order of rows in epochs is another one.

    Parameters
    ----------
    loss : str or object of `fp.losses`, default="squared_error"
        "squared_error" (half of it), "poisson" (half the deviance, for y >= 0; the network gives the logarithm of the
        mean), or any loss of fastprop for numbers.
    hidden_layer_sizes : array-like of int or int, default=(100,)
        Units of each hidden layer.
    activation : str, object or list of them, default="relu"
        Of the hidden layers: "identity", "logistic", "tanh", "relu" or any activation of fastprop; a list has one for
        each hidden layer.
    solver : {"adam", "sgd", "lbfgs"} or optimizer, default="adam"
        "lbfgs" minimises over all rows with scipy; an object such as `fp.AdamW(lr=1e-3)` brings its own settings.
    alpha : float, default=0.0001
        Adds alpha / 2 times the sum of squared weights, divided by the rows (or their weights) of an update.
    batch_size : int or "auto", default="auto"
        Rows of an update; "auto" is min(200, n_samples).
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        For "sgd": constant; learning_rate_init / (samples seen + 1)^power_t, changed after each epoch; or divided by 5
        whenever training would stop, until it is below 1e-6.
    learning_rate_init : float, default=0.001
        The rate of "sgd" and "adam" at the start.
    power_t : float, default=0.5
        Of "invscaling".
    max_iter : int, default=200
        Epochs at most, or iterations of "lbfgs".
    shuffle : bool, default=True
        Another order of rows in each epoch.
    random_state : int, RandomState instance or None, default=None
        Of initial weights, order, dropout and held-out rows.
    tol : float, default=0.0001
        An epoch improves if it beats the best by this much; for "lbfgs" the gradient that counts as zero.
    verbose : bool, default=False
        Print each epoch.
    warm_start : bool, default=False
        `fit` goes on from the weights that there are.
    momentum : float, default=0.9
        Of "sgd".
    nesterovs_momentum : bool, default=True
        Nesterov's form of it.
    early_stopping : bool, default=False
        Stop by the score on held-out rows, and keep the weights of the best.
    validation_fraction : float, default=0.1
        The part of the rows held out then, unless `fit` gets X_val.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay of the means of "adam".
    epsilon : float, default=1e-8
        Added to the denominator of "adam".
    n_iter_no_change : int, default=10
        Stop after more epochs than this without improvement; `numpy.inf` never.
    max_fun : int, default=15000
        Evaluations of "lbfgs" at most.
    dropout : float or list of float, default=0.0
        The part of each hidden layer's outputs that is zeroed in training.
    batch_norm, layer_norm : bool, default=False
        Normalise the outputs of each hidden layer; updates of one row, which have no variance, are refused by
        `batch_norm`, but for the last of an epoch.
    residual : bool, default=False
        Add its input to each hidden layer that follows one of the same width.
    clip_norm : float, default=None
        Scale the gradient of all parameters down to this norm.
    output_weights : array-like of shape (n_outputs,), default=None
        Multiply each output's loss.
    callbacks : fastprop callback or list of them, default=None
        With `on_epoch_end(net, epoch, logs)` or `on_step(net, step, logs)`, called by `fit`; see `fastprop.callbacks`.
    n_threads : int, default=None
        At most, by default what is fastest; "lbfgs" takes one. The result does not depend on it.

    Attributes
    ----------
    network_ : fp.Network
        The network inside.
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases of each Dense layer, read from the network; assigning writes to it. Before the
        first `partial_fit` they may be set to what it shall start from.
    loss_ : float
        Of the last epoch, penalty included.
    loss_curve_ : list of float
        Of each epoch; not with "lbfgs".
    best_loss_ : float or None
        The least of them; None with early stopping.
    validation_scores_, best_validation_score_ : list of float or None, float or None
        R2 on the held-out rows after each epoch, and the best one.
    n_iter_ : int
        Epochs of the last `fit`.
    t_ : int
        Rows that were trained on, in all.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X was a frame whose columns are strings.
    n_layers_, n_outputs_ : int
    out_activation_ : str
        What makes predictions of raw outputs: "identity", or "exp" for "poisson".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", random_state=0).fit(X, X[:, 0] * X[:, 1])
    >>> bool(model.score(X, X[:, 0] * X[:, 1]) > 0.9)
    True
    """

    is_classifier = False

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: Any = 0.001,
        power_t: Any = 0.5,
        max_iter: Any = 200,
        shuffle: Any = True,
        random_state: Any = None,
        tol: Any = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: Any = 0.9,
        nesterovs_momentum: Any = True,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: Any = 15000,
        dropout: Any = 0.0,
        batch_norm: Any = False,
        layer_norm: Any = False,
        residual: Any = False,
        clip_norm: Any = None,
        output_weights: Any = None,
        callbacks: Any = None,
        n_threads: Any = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.layer_norm = layer_norm
        self.residual = residual
        self.clip_norm = clip_norm
        self.output_weights = output_weights
        self.callbacks = callbacks
        self.n_threads = n_threads

    # ---- training -------------------------------------------------------------------------------------------------

    @all_or_nothing
    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> MLPRegressor:
        """Train.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Never copied for its dtype; float32 trains in float32, all other in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        X_val, y_val : array-like, default=None
            Held-out rows for `validation_scores_` and early stopping, instead of a part of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As scikit-learn's; `fp.DivergenceError` if the loss leaves the finite numbers.
        """
        self._fit(X, y, sample_weight, X_val, y_val)
        return self

    @available_if(has_updates)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train one epoch.

        Parameters
        ----------
        X, y, sample_weight
            As of `fit`.

        Returns
        -------
        self
        """
        if sample_weight is None and self._update_quickly(X, y):
            return self
        self._partial_fit(X, y, sample_weight)
        return self

    def _labels(self) -> None:
        return None

    def _codes_of(self, y: np.ndarray, is_new: bool) -> np.ndarray:
        return y

    def _codes_of_held_out(self, y: np.ndarray) -> np.ndarray:
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs != self.n_outputs_:
            raise ValueError(f"y_val must have {self.n_outputs_} columns, as y, got {n_outputs}")
        return y

    def _targets(self, codes: np.ndarray, loss: Loss, net: Network | None) -> Targets:
        return prepare_targets(codes, loss, n_outputs=None if net is None else net.n_outputs_)

    # ---- using ----------------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """Numbers of shape (n_samples,) or (n_samples, n_outputs)."""
        return decode(self._raw(X), self.network_.loss, None)
