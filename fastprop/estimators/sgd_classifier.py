"""SGDClassifier: scikit-learn's linear classifiers, sample by sample, in batches or on all threads."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call

from ..checks import AnyMatrix
from ..optimizers import Optimizer
from .all_or_nothing import all_or_nothing
from .classes import PLAIN_MOST, Masks, class_weights, memberships, signed, split_labels
from .inputs import check_weights, check_X_y, model_dtype
from .linear_base import CLASS_LOSSES, Array, LinearSGD
from .linear_network import loss_of, targets_of, train_network
from .linear_scores import accuracy_judge, classes_judge, probabilities

BALANCED_IN_PARTS = (
    "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' weights, use "
    "compute_class_weight('balanced', classes=classes, y=y). In place of y you can use a large enough sample of the "
    "full training set target to properly estimate the class frequency distributions. Pass the resulting weights as "
    "the class_weight parameter."
)


class SGDClassifier(ClassifierMixin, LinearSGD):  # type: ignore[misc]
    """Linear classifiers trained by stochastic gradient descent: SVM, logistic regression and others.

    What scikit-learn's class of this name computes, to rounding: with `shuffle=False` the same weights. Several classes
    are trained one against the others. Rows need similar scales: standardise them.

    Parameters
    ----------
    loss : str, default "hinge"
        "hinge" is a linear SVM, "log_loss" logistic regression; "modified_huber", "squared_hinge", "perceptron"; and
        "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive" on targets -1 and 1.
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
    n_jobs : int, optional
        Threads that share the classes, if they are more than two.
    random_state : int, RandomState or None, default None
        Orders of rows, and which are held out.
    learning_rate : str, default "optimal"
        "constant": eta0; "optimal": 1 / (alpha (t0 + t)); "invscaling": eta0 / t^power_t; "adaptive": eta0, a fifth of
        it whenever training would stop, down to 1e-6; "pa1", "pa2": passive-aggressive steps of aggressiveness eta0,
        for loss "hinge". In mode "minibatch" the optimizer decides.
    eta0 : float > 0, default 0.01
    power_t : float, default 0.5
    early_stopping : bool, default False
        Stop by the accuracy on rows held out instead of the objective.
    validation_fraction : float in (0, 1), default 0.1
    n_iter_no_change : int, default 5
    class_weight : dict, "balanced" or None, default None
        Multiplies updates.
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
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        float32 for float32 X, else float64.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    classes_ : ndarray of shape (n_classes,)
    n_iter_ : int
        Epochs until it stopped; of several classes the most.
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
    - `intercept_` and predictions are float32 for float32 X; scikit-learn has float64 for two classes.
    - CSR that is not in order is refused. A seed stands for other permutations; each epoch has its own.
    - A call that fails leaves the attributes of the last one.
    - Scores of rows held out are those of the model; scikit-learn's count its l2 late, and of "log_loss" the positive
      class only.
    - In mode "minibatch" with several classes `class_weight` multiplies rows for all of them, not for their own class
      only.
    """

    loss_functions = CLASS_LOSSES
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **LinearSGD._parameter_constraints,
        "loss": [StrOptions(set(CLASS_LOSSES))],
        "n_jobs": [Integral, None],
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
        verbose: int = 0,
        epsilon: float = 0.1,
        n_jobs: int | None = None,
        random_state: Any = None,
        learning_rate: str = "optimal",
        eta0: float = 0.01,
        power_t: float = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
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
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
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
    ) -> SGDClassifier:
        """Train from the start, or with `warm_start` from the last solution, until converged.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Any real dtype and strides, or CSR, without a copy; other sparse formats are converted. CSR must have its
            columns sorted and none twice in a row: `X.sum_duplicates()` brings it about.
        y : array-like of shape (n_samples,)
            Labels of any type that can be sorted.
        coef_init : array-like of shape (n_classes, n_features), or (1, n_features) for two classes, optional
            The weights to start from.
        intercept_init : array-like of shape (n_classes,), or (1,) for two classes, optional
        sample_weight : array-like of shape (n_samples,), optional
            Multiplies updates, as does `class_weight`.

        Returns
        -------
        SGDClassifier
            self.

        Raises
        ------
        ValueError
            If X, y or a weight is not what it should be, a CSR matrix not in order included, or if the model overflows.
        """
        self._check_parameters()
        self._check_together()
        matrix, y = check_X_y(self, X, y, reset=True)
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        self.__dict__.pop("classes_", None)
        classes, masks = split_labels(y)
        if y.dtype.kind in "biu" and len(classes) <= PLAIN_MOST:
            self.classes_ = classes  # as the next line would find, after 40 us
        else:
            _check_partial_fit_first_call(self, classes)
        weights = check_weights(sample_weight, matrix, allow_all_zero=self.early_stopping)
        self._prepare(matrix, coef_init, intercept_init)
        self._train(matrix, y, weights, self.max_iter, self._tasks(matrix, y, weights), masks)
        self._warn()
        return self

    @all_or_nothing
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SGDClassifier:
        """One pass over the rows, from where the last call stopped.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,)
            All labels there will be; needed in the first call only.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        SGDClassifier
            self.
        """
        is_first = "classes_" not in self.__dict__
        if sample_weight is None and (classes is None or self._knows(classes)) and self._update_quickly(X, y):
            return self
        if is_first:
            self._check_parameters()
            self._check_together(for_partial_fit=True)
            if self.class_weight == "balanced":
                raise ValueError(BALANCED_IN_PARTS)
        matrix, y = check_X_y(self, X, y, reset=is_first)
        if is_first or classes is not None:
            _check_partial_fit_first_call(self, classes)
        weights = check_weights(sample_weight, matrix)
        if getattr(self, "coef_", None) is None:
            self._prepare(matrix, None, None)
        else:
            self._recall(matrix.n_columns)
        self._train(matrix, y, weights, 1, None)
        return self

    def _knows(self, classes: Any) -> bool:
        return np.array_equal(classes, self.__dict__.get("classes_", ()))

    def _prepare(self, matrix: AnyMatrix, coef_init: Any, intercept_init: Any) -> None:
        """Begin anew."""
        self.__dict__.pop("network_", None)
        k = len(self.classes_)
        if k < 2:
            raise ValueError(f"The number of classes has to be greater than one; got {k} class")
        self._initial(1 if k == 2 else k, matrix.n_columns, model_dtype(matrix), coef_init, intercept_init)
        self.t_ = 1.0

    def _train(
        self, matrix: AnyMatrix, y: Array, weights: Array | None, max_epochs: int, tasks: Any,
        masks: Masks | None = None,
    ) -> None:  # fmt: skip
        """One model for two classes; otherwise one for each, against the others."""
        masks = memberships(y, self.classes_) if masks is None else masks
        factors = class_weights(self.class_weight, self.classes_, [np.count_nonzero(mask) for mask in masks])
        train, held_out = self._split(y, weights)
        if self.mode == "minibatch":
            codes = np.stack(masks).argmax(axis=0)
            judge = self._judge(classes_judge, matrix, codes, weights, held_out)
            if self.class_weight is not None:
                weights = factors[codes] if weights is None else factors[codes] * weights
            y = targets_of(loss_of(self.loss, self.epsilon), masks, self._weights.dtype)
            train_network(self, matrix, y, weights, train, judge, max_epochs, tasks, self._seed())
        else:
            is_binary = len(masks) == 2
            pairs = [tuple(factors)] if is_binary else [(1.0, factor) for factor in factors]
            masks = masks[1:] if is_binary else masks
            low = 0.0 if self.loss == "log_loss" else -1.0
            targets = [signed(mask, low, self._weights.dtype) for mask in masks]
            descents = self._descents(matrix, targets, weights, pairs)
            judges = [self._judge(accuracy_judge, matrix, mask, weights, held_out) for mask in masks]
            self._run(matrix, list(map(self._course, descents, judges)), train, max_epochs, tasks)
        if tasks is not None:
            tasks.end()

    def decision_function(self, X: Any) -> Array:
        """Signed distances to the hyperplanes, in units of 1 / |w|.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
            Positive where `classes_[1]`, or the column's class, is predicted.
        """
        scores = self._scores(X)
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> Array:
        """The label of each row, ndarray of shape (n_samples,)."""
        scores = self.decision_function(X)
        labels: Array = self.classes_[(scores > 0).view(np.int8) if scores.ndim == 1 else scores.argmax(axis=1)]
        return labels

    def _has_probabilities(self) -> bool:
        if self.loss not in ("log_loss", "modified_huber"):
            raise AttributeError(f"probability estimates are not available for loss={self.loss!r}")
        return True

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Probabilities, for loss "log_loss" and "modified_huber" only.

        The logistic function of the score, or (clip(score, -1, 1) + 1) / 2; those of several classes are divided by
        their sum. Zadrozny and Elkan 2002; Zhang 2004.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return probabilities(self.decision_function(X), self.loss)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`; minus infinity where modified Huber gives 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))
