"""What SGDClassifier and SGDRegressor share: parameters, warm starts, epochs, averages, and the way back to `coef_`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import assert_all_finite
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..checks import AnyMatrix, Matrix, SparseMatrix, is_sparse
from ..hogwild import Hogwild
from ..kernels.records import LINE
from ..linear import Descent, penalty_parts
from ..optimizers import Optimizer
from ..threads import limit
from .courses import Course, Orders, Stopping, run_epochs
from .fit_tasks import FitTasks
from .inputs import check_X, is_ready, require_finite
from .linear_rows import RowUpdate
from .linear_scores import Judge, linear_scores
from .parameters import CheckedParameters, random_generator

Array = NDArray[Any]

SPARSE_INTERCEPT_DECAY = 0.01  # scikit-learn's: the intercept of sparse rows learns slower, since all rows have it
CALLER = 5  # of `fit`, as seen from `_warn`: between them are two decorators
MAX_SEED = np.iinfo(np.int32).max
MOST_COPIED = 1 << 27  # bytes of an X that is copied for its layout
# By scikit-learn's name: ours, and the threshold or the default of epsilon, if there is one.
REGRESSION_LOSSES: dict[str, tuple[Any, ...]] = {
    "squared_error": ("squared_error",),
    "huber": ("huber", 0.1),
    "epsilon_insensitive": ("epsilon_insensitive", 0.1),
    "squared_epsilon_insensitive": ("squared_epsilon_insensitive", 0.1),
}
CLASS_LOSSES: dict[str, tuple[Any, ...]] = {
    "hinge": ("hinge", 1.0),
    "perceptron": ("hinge", 0.0),
    "squared_hinge": ("squared_hinge", 1.0),
    "log_loss": ("log_loss",),
    "modified_huber": ("modified_huber",),
    **REGRESSION_LOSSES,
}


class LinearSGD(CheckedParameters, SparseCoefMixin, CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the linear estimators. A subclass has `fit`, `partial_fit` and scikit-learn's parameters."""

    loss_functions: ClassVar[dict[str, tuple[Any, ...]]]
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "penalty": [StrOptions({"l2", "l1", "elasticnet"}), None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "shuffle": ["boolean"],
        "verbose": ["verbose"],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "learning_rate": [StrOptions({"constant", "optimal", "invscaling", "adaptive", "pa1", "pa2"})],
        "eta0": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, None, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "average": [Interval(Integral, 0, None, closed="neither"), "boolean"],
        "mode": [StrOptions({"online", "minibatch", "hogwild"})],
        "solver": [StrOptions({"adam", "sgd"}), Optimizer],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    # ---- parameters that do not go together ------------------------------------------------------------------------

    def _check_together(self, for_partial_fit: bool = False) -> None:
        if self.early_stopping and for_partial_fit:
            raise ValueError("early_stopping should be False with partial_fit")
        if self.learning_rate == "optimal" and self.alpha == 0 and self.mode != "minibatch":
            raise ValueError("alpha must be > 0 since learning_rate is 'optimal': it determines the learning rate")
        if self.learning_rate in ("pa1", "pa2"):
            wanted = "hinge" if is_classifier(self) else "epsilon_insensitive"
            if self.loss != wanted:
                raise ValueError(f"Learning rate '{self.learning_rate}' only works with loss '{wanted}'.")
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("l1_ratio must be set when penalty is 'elasticnet'")
        if self.mode != "online" and self.average:
            raise ValueError(f"average needs mode='online', got mode={self.mode!r}")
        if self.mode == "minibatch" and self.learning_rate in ("pa1", "pa2"):
            raise ValueError(f"learning_rate={self.learning_rate!r} is for single samples; it needs mode='online'")
        if self.mode == "hogwild" and penalty_parts(self.penalty, 1.0, self.l1_ratio or 0.0)[0] > 0:
            raise ValueError("mode='hogwild' needs penalty='l2' or None: l1 counts what each weight is owed")

    # ---- where to start --------------------------------------------------------------------------------------------

    def _initial(self, k: int, n_features: int, dtype: Any, coef_init: Any, intercept_init: Any) -> None:
        """Set `_weights` and `_biases` of k models from what the user gave, or zeros; forget averages."""
        self._weights = np.zeros((k, n_features), dtype)
        self._biases = np.zeros(k, dtype)
        if coef_init is not None:
            coef = _dense(coef_init)
            if coef.shape != (k, n_features) and (k > 1 or coef.size != n_features):
                raise ValueError(f"Provided coef_init does not match dataset: its shape is {coef.shape}")
            self._weights[:] = coef.reshape(k, n_features)
        if intercept_init is not None:
            intercept = np.asarray(intercept_init)
            if intercept.shape != (k,) and (k > 1 or intercept.shape != ()):
                raise ValueError(f"Provided intercept_init does not match dataset: its shape is {intercept.shape}")
            self._biases[:] = intercept
        self._averages = None

    def _recall(self, n_features: int) -> None:
        """Go on from the last call; without averages from `coef_` and `intercept_`, whoever set them."""
        known = self.__dict__
        self.t_, self._averages = known.get("t_", 1.0), known.get("_averages") if self.average else None
        if self._averages is None:
            coef = _dense(self.coef_)
            dtype = coef.dtype if coef.dtype == np.float32 else np.float64
            self._weights = np.asarray(coef.reshape(-1, coef.shape[-1]), dtype)
            self._biases = np.atleast_1d(np.asarray(self.intercept_, dtype))
        if self._weights.shape[1] != n_features:
            raise ValueError(f"Number of features {n_features} does not match previous data {self._weights.shape[1]}.")

    def _update_quickly(self, X: Any, y: Any) -> bool:
        """`partial_fit` of one plain row; False, and nothing done, for other data."""
        known = self.__dict__
        if type(X) is not np.ndarray or X.shape != (1, known.get("n_features_in_")):
            return False
        if known.get("coef_") is None or known.get("_averages") is not None or "network_" in known:
            return False
        update = known.get("_row_update")
        if update is None or not update.is_current(self, X.dtype):
            if not RowUpdate.serves(self, X.dtype):
                return False
            update = self._row_update = RowUpdate(self, X.dtype)
        done: bool = update(self, X, y)
        return done

    def __getstate__(self) -> Any:
        return {name: v for name, v in super().__getstate__().items() if name != "_row_update"}  # it has addresses

    # ---- training ---------------------------------------------------------------------------------------------------

    def _descents(
        self, matrix: AnyMatrix, targets: list[Array], sample_weight: Array | None, class_weights: list[Any]
    ) -> list[Descent]:
        """One descent for each target."""
        matrix = by_rows(matrix)
        kind: Callable[..., Descent] = Descent
        if self.mode == "hogwild":
            if not matrix.is_sparse:
                raise ValueError("mode='hogwild' is for sparse X; give a CSR matrix, or use mode='online'")
            kind = partial(Hogwild, n_threads=self.n_threads or limit()[0])
        loss, *threshold = self.loss_functions[self.loss]
        parameter = self.epsilon if self.loss in REGRESSION_LOSSES else threshold[0] if threshold else 0.0
        averages = self._averages or [(None, 0.0)] * len(targets)
        return [
            kind(
                matrix, y, sample_weight, dtype=self._weights.dtype, loss=loss, parameter=parameter,
                penalty=self.penalty, alpha=self.alpha, l1_ratio=self.l1_ratio or 0.0,
                learning_rate=self.learning_rate, eta0=self.eta0, power_t=self.power_t,
                fit_intercept=self.fit_intercept, intercept_decay=SPARSE_INTERCEPT_DECAY if matrix.is_sparse else 1.0,
                average=int(self.average), class_weights=class_weights[i], coef=self._weights[i],
                intercept=self._biases[i], average_coef=averages[i][0], average_intercept=averages[i][1], t=self.t_,
            )
            for i, y in enumerate(targets)
        ]  # fmt: skip

    def _course(self, descent: Descent, judge: Judge | None) -> Course:
        return Course(descent, self._stopping(), self.learning_rate == "adaptive", judge, self.verbose)

    def _run(self, matrix: AnyMatrix, courses: list[Course], rows: Array | None, max_epochs: int, tasks: Any) -> None:
        """Run courses from `_descents`, and publish what they found."""
        n_rows = matrix.n_rows if rows is None else len(rows)
        seed = self._seed() if self.shuffle and n_rows > 1 else 0
        row_size = matrix.n_stored / n_rows if isinstance(matrix, SparseMatrix) else float(matrix.n_columns)
        orders = Orders(rows, n_rows, self.shuffle, seed, row_size)
        n_jobs = effective_n_jobs(self.n_jobs) if len(courses) > 1 else 1

        def solution() -> dict[str, Any]:
            return self._solution(courses, matrix.n_rows)

        try:
            run_epochs(courses, orders, max_epochs, n_jobs, tasks, solution)
        except FloatingPointError as error:
            require_finite(self, matrix.array)
            raise ValueError(
                f"Floating-point under-/overflow occurred at epoch #{error.args[0]}. Scaling input data with "
                f"StandardScaler or MinMaxScaler might help."
            ) from None
        self.__dict__.pop("network_", None)  # of another mode: it has other weights now
        self._publish(solution())

    def _publish(self, found: dict[str, Any]) -> None:
        """Set fitted attributes."""
        for name, value in found.items():
            setattr(self, name, value)

    def _solution(self, courses: list[Course], n_rows: int) -> dict[str, Any]:
        """The fitted attributes that the courses have come to."""
        descents = [course.descent for course in courses]
        n_iter = max(course.n_epochs for course in courses)
        t = self.t_ + n_iter * n_rows
        weights, biases = _stacked([(d.coef, d.intercept) for d in descents])
        found = {"n_iter_": n_iter, "t_": t, "coef_": weights, "intercept_": biases, "_averages": None}
        if self.average:
            averages = [(d.average_coef, d.average_intercept) for d in descents]
            found |= {"_weights": weights, "_biases": biases, "_averages": averages}
            if self.average <= t - 1:
                found["coef_"], found["intercept_"] = _stacked(averages)
        return self._shaped(found)

    def _shaped(self, found: dict[str, Any]) -> dict[str, Any]:
        return found

    def _seed(self) -> int:
        return int(random_generator(self.random_state).randint(MAX_SEED))

    def _stopping(self) -> Stopping:
        return Stopping(self.tol, self.n_iter_no_change)

    def _split(self, y: Array, sample_weight: Array | None) -> tuple[Array | None, Array | None]:
        """Rows to train on and rows to validate with; None where all are for training."""
        if not self.early_stopping:
            return None, None
        splitter = (StratifiedShuffleSplit if is_classifier(self) else ShuffleSplit)(
            test_size=self.validation_fraction, random_state=self.random_state
        )
        train, held_out = next(splitter.split(np.zeros((len(y), 1)), y))
        if sample_weight is not None and not np.any(sample_weight[held_out] > 0):
            raise ValueError(
                "The sample weights for validation set are all zero, consider using a different random state."
            )
        if len(train) == 0 or len(held_out) == 0:
            raise ValueError(
                f"Splitting {len(y)} samples into a train set and a validation set with "
                f"validation_fraction={self.validation_fraction!r} led to an empty set ({len(train)} and "
                f"{len(held_out)} samples). Please either change validation_fraction, increase number of samples, or "
                f"disable early_stopping."
            )
        return np.sort(train), np.sort(held_out)

    def _judge(
        self, judge_of: Any, matrix: AnyMatrix, y: Array, sample_weight: Array | None, rows: Array | None
    ) -> Judge | None:
        """`judge_of` the rows held out, if there are some."""
        if rows is None:
            return None
        X: Any = matrix.array[rows]
        assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
        judge: Judge = judge_of(X, y[rows], None if sample_weight is None else sample_weight[rows])
        return judge

    def _tasks(self, matrix: AnyMatrix, y: Array, sample_weight: Array | None) -> FitTasks:
        return FitTasks(self, self.max_iter, matrix.array, y, sample_weight)

    def _warn(self) -> None:
        """What is worth a warning after a fit."""
        if self.tol is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                "Maximum number of iteration reached before convergence. Consider increasing max_iter to improve "
                "the fit.",
                ConvergenceWarning,
                stacklevel=CALLER,
            )
        if self.power_t < 0:
            warnings.warn(
                "Negative values for `power_t` are deprecated in version 1.8 and will raise an error in 1.10. Use "
                "values in the range [0.0, inf) instead.",
                FutureWarning,
                stacklevel=CALLER,
            )

    # ---- using -------------------------------------------------------------------------------------------------------

    def _scores(self, X: Any) -> Array:
        """`X @ coef_.T + intercept_`, in the shape of `coef_.T`."""
        if self.__dict__.get("coef_") is None:
            check_is_fitted(self)  # 6 us
        X = X if is_ready(self, X) else check_X(self, X).array
        scores = linear_scores(X, self.coef_, self.intercept_)
        if not np.isfinite(scores).all():
            require_finite(self, X)
        return scores

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _stacked(models: list[tuple[Any, float]]) -> tuple[Array, Array]:
    """Weights (n_models, n_features) and intercepts (n_models,) of one dtype."""
    weights = models[0][0][None] if len(models) == 1 else np.stack([coef for coef, _ in models])
    return weights, np.array([intercept for _, intercept in models], weights.dtype)


def by_rows(matrix: AnyMatrix) -> AnyMatrix:
    """X whose rows lie together in memory: a copy of a small X by columns, as frames have it.

    A row of 28 columns lies on 28 cache lines by columns, on 4 by rows: a pass over 300,000 took 215 ms, now 74 with
    the copy. Beyond MOST_COPIED bytes X stays where it is.
    """
    if isinstance(matrix, SparseMatrix) or matrix.n_columns == 1 or abs(matrix.column_stride) < LINE:
        return matrix
    return matrix if matrix.array.nbytes > MOST_COPIED else Matrix.of(np.ascontiguousarray(matrix.array))


def _dense(coef: Any) -> Array:
    return np.asarray(coef.toarray() if is_sparse(coef) else coef)
