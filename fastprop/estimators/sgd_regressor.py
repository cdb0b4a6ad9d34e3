"""SGDRegressor: scikit-learn's linear regressors, sample by sample, in batches or on all threads."""

from __future__ import annotations

from typing import Any, ClassVar

from sklearn.base import RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.utils._param_validation import StrOptions

from ..checks import AnyMatrix
from ..optimizers import Optimizer
from .all_or_nothing import all_or_nothing
from .inputs import check_weights, check_X_y, model_dtype
from .linear_base import REGRESSION_LOSSES, Array, LinearSGD
from .linear_network import train_network
from .linear_scores import r2_judge


class SGDRegressor(RegressorMixin, LinearSGD):  # type: ignore[misc]
    """Linear regression trained by stochastic gradient descent, with any of four losses.

    What scikit-learn's class of this name computes, to rounding: with `shuffle=False` the same weights. Rows need
    similar scales: standardise them.

    Parameters
    ----------
    loss : {"squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"}, default "squared_error"
    penalty : {"l2", "l1", "elasticnet"} or None, default "l2"
    alpha : float >= 0, default 1e-4
        The objective is the mean loss + alpha (l1_ratio |w|_1 + (1 - l1_ratio) |w|^2 / 2). Also sets the rate of
        "optimal".
    l1_ratio : float in [0, 1] or None, default 0.15
        For "elasticnet".
    fit_intercept : bool, default True
    max_iter : int, default 1000
        Epochs at most.
    tol : float or None, default 1e-3
        Stop when the objective has not improved by `tol` for `n_iter_no_change` epochs; None goes on to `max_iter`.
    shuffle : bool, default True
        Another order of rows in each epoch.
    verbose : int, default 0
        Report each epoch.
    epsilon : float >= 0, default 0.1
        Of "huber" and the losses insensitive to epsilon.
    random_state : int, RandomState or None, default None
        Orders of rows, and which are held out.
    learning_rate : str, default "invscaling"
        "constant": eta0; "optimal": 1 / (alpha (t0 + t)); "invscaling": eta0 / t^power_t; "adaptive": eta0, a fifth of
        it whenever training would stop, down to 1e-6; "pa1", "pa2": passive-aggressive steps of aggressiveness eta0,
        for loss "epsilon_insensitive". In mode "minibatch" the optimizer decides.
    eta0 : float > 0, default 0.01
    power_t : float, default 0.25
    early_stopping : bool, default False
        Stop by the R2 on rows held out instead of the objective.
    validation_fraction : float in (0, 1), default 0.1
    n_iter_no_change : int, default 5
    warm_start : bool, default False
        `fit` starts from the last solution.
    average : bool or int, default False
        Publish the mean of the weights after all updates, or from update number `average` on.
    mode : {"online", "minibatch", "hogwild"}, default "online"
        "online" updates after each row. "minibatch" trains a `Network` of one layer in batches, with `solver`.
        "hogwild" shares the rows out among threads, which update the same weights after each row without locks: for
        sparse X with penalty "l2" or None, without `average`. Not reproducible: results differ a little from run to
        run, whatever `random_state` is, unless n_threads=1. Slower than one thread where some columns are in most rows.
    solver : {"adam", "sgd"} or optimizer of fastprop, default "adam"
        For mode "minibatch". By name its rate is `eta0`.
    batch_size : int or "auto", default "auto"
        For mode "minibatch"; "auto" is min(200, n_samples).
    n_threads : int, optional
        For modes "hogwild" and "minibatch"; by default as many as there are.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        float32 for float32 X, else float64.
    intercept_ : ndarray of shape (1,)
    n_iter_ : int
        Epochs until it stopped.
    t_ : float
        `1 + n_iter_ * n_samples`.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        If X is a frame with such names.
    network_ : Network
        In mode "minibatch".

    Notes
    -----
    Differences from scikit-learn's class:

    - `average` with l1 publishes the mean of the weights after each update. scikit-learn's takes a truncation by l1 as
      if it had been there from the start.
    - `intercept_` and predictions are float32 for float32 X; scikit-learn has float64 there.
    - CSR that is not in order is refused. A seed stands for other permutations; each epoch has its own.
    - A call that fails leaves the attributes of the last one.
    - Scores of rows held out are those of the model; scikit-learn's count its l2 late.
    """

    loss_functions = REGRESSION_LOSSES
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **LinearSGD._parameter_constraints,
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
        verbose: int = 0,
        epsilon: float = 0.1,
        random_state: Any = None,
        learning_rate: str = "invscaling",
        eta0: float = 0.01,
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        average: bool | int = False,
        mode: str = "online",
        solver: str | Optimizer = "adam",
        batch_size: str | int = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.average = average
        self.mode = mode
        self.solver = solver
        self.batch_size = batch_size
        self.n_threads = n_threads

    @all_or_nothing
    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(
        self, X: Any, y: Any, coef_init: Any = None, intercept_init: Any = None, sample_weight: Any = None
    ) -> SGDRegressor:
        """Train from the start, or with `warm_start` from the last solution, until converged.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Any real dtype and strides, or CSR, without a copy; other sparse formats are converted. CSR must have its
            columns sorted and none twice in a row: `X.sum_duplicates()` brings it about.
        y : array-like of shape (n_samples,)
        coef_init : array-like of shape (n_features,), optional
            The weights to start from.
        intercept_init : array-like of shape (1,), optional
        sample_weight : array-like of shape (n_samples,), optional
            Multiplies updates.

        Returns
        -------
        SGDRegressor
            self.

        Raises
        ------
        ValueError
            If X, y or a weight is not what it should be, a CSR matrix not in order included, or if the model overflows.
        """
        self._check_parameters()
        self._check_together()
        matrix, y = check_X_y(self, X, y, reset=True, y_numeric=True)
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        weights = check_weights(sample_weight, matrix)
        self._prepare(matrix, coef_init, intercept_init)
        self._train(matrix, y, weights, self.max_iter, self._tasks(matrix, y, weights))
        self._warn()
        return self

    @all_or_nothing
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> SGDRegressor:
        """One pass over the rows, from where the last call stopped.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        SGDRegressor
            self.
        """
        if sample_weight is None and self._update_quickly(X, y):
            return self
        is_first = self.__dict__.get("coef_") is None
        if is_first:
            self._check_parameters()
            self._check_together(for_partial_fit=True)
        matrix, y = check_X_y(self, X, y, reset=is_first, y_numeric=True)
        weights = check_weights(sample_weight, matrix)
        if is_first:
            self._prepare(matrix, None, None)
        else:
            self._recall(matrix.n_columns)
        self._train(matrix, y, weights, 1, None)
        return self

    def _prepare(self, matrix: AnyMatrix, coef_init: Any, intercept_init: Any) -> None:
        """Begin anew."""
        self.__dict__.pop("network_", None)
        self._initial(1, matrix.n_columns, model_dtype(matrix), coef_init, intercept_init)
        self.t_ = 1.0

    def _train(self, matrix: AnyMatrix, y: Array, weights: Array | None, max_epochs: int, tasks: Any) -> None:
        train, held_out = self._split(y, weights)
        judge = self._judge(r2_judge, matrix, y, weights, held_out)
        if self.mode == "minibatch":
            train_network(self, matrix, y, weights, train, judge, max_epochs, tasks, self._seed())
        else:
            (descent,) = self._descents(matrix, [y], weights, [(1.0, 1.0)])
            self._run(matrix, [self._course(descent, judge)], train, max_epochs, tasks)
        if tasks is not None:
            tasks.end()

    def _shaped(self, found: dict[str, Any]) -> dict[str, Any]:
        """One model: its weights are 1-D."""
        return {**found, "coef_": found["coef_"].ravel()}

    def predict(self, X: Any) -> Array:
        """`X @ coef_ + intercept_`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._scores(X).ravel()
