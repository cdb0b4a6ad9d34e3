"""What MLPClassifier and MLPRegressor share: from parameters and data to a trained network."""

from __future__ import annotations

import warnings
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, NoReturn

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from .. import models
from ..checks import AnyMatrix
from ..errors import DivergenceError
from ..kernels.activations import ACTIVATIONS
from ..losses import Loss
from ..network import Network
from ..optimizers import Optimizer
from ..passes import raw_outputs
from ..targets import Targets
from ..validation import Rows, check_some_weight, take
from .all_or_nothing import all_or_nothing
from .architecture import check_lbfgs, describe_outputs, draw_weights, hidden_sizes, network_of, optimizer_of
from .coefficients import Coefficients
from .fit_tasks import FitTasks
from .inputs import check_weights, check_X, check_X_y, model_dtype, require_finite
from .mlp_epochs import Epochs, begin_curve
from .mlp_labels import Labels
from .mlp_losses import loss_names, loss_of
from .mlp_training import LEVELS_OF_FIT, keep_rate, train_epochs, train_once, train_to_minimum
from .parameters import CheckedParameters, random_generator
from .scoring import scorer, split_rows

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


def activation_names() -> set[str]:
    """The names that `activation` may have at this moment: users register theirs."""
    return {*ACTIVATIONS, "logistic"}


def has_updates(estimator: Any) -> bool:
    """Whether the solver can take one step at a time."""
    if isinstance(estimator.solver, str) and estimator.solver not in ("adam", "sgd"):
        raise AttributeError(f"partial_fit needs solver='adam' or 'sgd', got {estimator.solver!r}")
    return True


class BaseMLP(CallbackSupportMixin, Coefficients, CheckedParameters, BaseEstimator):  # type: ignore[misc]
    """The base of both estimators; they say what y is."""

    is_classifier: ClassVar[bool]

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": "no_validation",  # but in `_validate_params`, as `loss`: users register names
        "loss": "no_validation",
        "solver": [StrOptions({"lbfgs", "sgd", "adam"}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "batch_norm": ["boolean"],
        "layer_norm": ["boolean"],
        "residual": ["boolean"],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "output_weights": ["array-like", None],
        "callbacks": [object],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    def _validate_params(self) -> None:
        """The checks, with the names of activations and losses that are registered now."""
        constraints = {
            **self._parameter_constraints,
            "activation": [StrOptions(activation_names()), "array-like", tuple, type],
            "loss": [StrOptions(loss_names(self.is_classifier)), Loss],
        }
        validate_parameter_constraints(constraints, self.get_params(deep=False), caller_name=type(self).__name__)

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # ---- what an estimator says about y ---------------------------------------------------------------------------

    def _codes_of(self, y: np.ndarray, is_new: bool) -> np.ndarray:
        """y as codes or numbers; sets `classes_` of new data."""
        raise NotImplementedError

    def _codes_of_held_out(self, y: np.ndarray) -> np.ndarray:
        """The same of y_val, which must fit what is known."""
        raise NotImplementedError

    def _labels(self) -> Labels | None:
        raise NotImplementedError

    def _expect(self, y: Any, classes: Any) -> None:
        """Hear which classes there will be in calls of `partial_fit`, of which this is perhaps the first."""

    def _targets(self, codes: np.ndarray, loss: Loss, net: Network | None) -> Targets:
        """The codes or numbers as kernels read them; they must fit a network that there is."""
        raise NotImplementedError

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[AnyMatrix, np.ndarray]:
        """X as kernels read it, and y, which has one dimension if it has one column."""
        matrix, y = check_X_y(self, X, y, reset=reset, multi_output=True, y_numeric=not self.is_classifier)
        return matrix, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _weights(self, sample_weight: Any, matrix: AnyMatrix) -> np.ndarray | None:
        weights = check_weights(sample_weight, matrix)
        if weights is None:
            return None
        if self.solver != "lbfgs" and weights.min() < 0:
            text = "sample_weight has negative weights: an update whose weights do not sum to more than 0 is skipped"
            warnings.warn(text, stacklevel=LEVELS_OF_FIT)
        return np.ascontiguousarray(weights, np.float64)

    def _with_class_weights(self, weights: np.ndarray | None, codes: np.ndarray) -> np.ndarray | None:
        """The weights to train with."""
        return weights

    # ---- training -------------------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any = None, y_val: Any = None) -> Any:
        """All of `fit`."""
        self._check_parameters()
        hidden_sizes(self.hidden_layer_sizes)
        former: Network | None = self.__dict__.get("network_") if self.warm_start else None
        matrix, y = self._read(X, y, former is None)
        codes = self._codes_of(y, former is None)
        given = self._weights(sample_weight, matrix)
        weights = self._with_class_weights(given, codes)
        loss = loss_of(self.loss, self._labels(), self.output_weights)
        targets = self._targets(codes, loss, former)
        try:
            state = random_generator(self.random_state)
            net = self._network(matrix, targets, loss, state, former, self.warm_start)
            rows = Rows(matrix, targets, weights)
            check_some_weight(weights)
            tasks = FitTasks(self, self.max_iter, matrix.array, y, given)
            if self.solver == "lbfgs":
                if X_val is not None or y_val is not None:
                    raise ValueError("solver='lbfgs' takes no X_val and y_val: use 'adam' or 'sgd'")
                train_to_minimum(self, net, rows, tasks)
            else:
                rows, score = self._held_out(rows, codes, given, loss, X_val, y_val, state)
                net.seed = self._draw_seed(state)  # last: the draws before it are scikit-learn's
                train_epochs(self, net, rows, score, tasks)
        except ValueError as error:
            self._explain(error, matrix)
        self.network_ = net
        tasks.end()
        return self

    def _held_out(
        self, rows: Rows, codes: np.ndarray, given: np.ndarray | None, loss: Loss, X_val: Any, y_val: Any, state: Any
    ) -> tuple[Rows, Any]:
        """Rows to train on, and a function that scores a network on others with the weights `given`, or None."""
        if (X_val is None) != (y_val is None):
            raise ValueError(
                f"X_val and y_val must be given together, got only {'X_val' if y_val is None else 'y_val'}"
            )
        if X_val is not None:
            matrix, y_val = self._read(X_val, y_val, False)
            return rows, scorer(matrix, self._codes_of_held_out(y_val), None, loss, self._labels())
        if not self.early_stopping:
            return rows, None
        stratifies = self.is_classifier and codes.ndim == 1 and self.n_outputs_ == 1
        stratify = codes[:, None].astype(bool) if stratifies else None
        train, held = split_rows(rows.matrix.n_rows, self.validation_fraction, state, stratify)
        taken = take(replace(rows, weights=given), held)
        return replace(rows, numbers=train), scorer(taken.matrix, codes[held], taken.weights, loss, self._labels())

    def _explain(self, error: ValueError, matrix: AnyMatrix) -> NoReturn:
        """Raise the error of a network as scikit-learn would put it."""
        if isinstance(error, DivergenceError):
            raise DivergenceError(f"{NOT_FINITE} {error}") from error
        if matrix.array.dtype.kind == "f":
            require_finite(self, matrix.array)
        raise error

    def _network(
        self, matrix: AnyMatrix, targets: Targets, loss: Loss, state: Any, former: Network | None, takes_given: bool
    ) -> Network:
        """A built network with the weights of the former one, or those that were set before the first fit, or new."""
        dtype = model_dtype(matrix).name if former is None else former.dtype
        if self.solver == "lbfgs":
            check_lbfgs(self)
        net = network_of(self, matrix.n_columns, targets.n_outputs, loss, dtype)
        net._adopt(matrix, targets)
        if former is not None:
            arrays = models.named_arrays(former._built(), former._parameters)
            models.set_named_arrays(net._built(), net._parameters, arrays)
            net.epochs_done = former.epochs_done
        else:
            draw_weights(self, net, state)
            self._take_given_weights(net, takes_given)
        if former is None or not self._has_curve:
            begin_curve(self)
        describe_outputs(self, targets.n_outputs, loss)
        return net

    def _draw_seed(self, state: Any) -> int:
        """The seed of the order of rows and of dropout."""
        return int(self.random_state) if isinstance(self.random_state, Integral) else int(state.randint(2**31 - 1))

    @property
    def _has_curve(self) -> bool:
        return "loss_curve_" in self.__dict__  # after "lbfgs" it is not

    # ---- one pass -------------------------------------------------------------------------------------------------

    def _update_quickly(self, X: Any, y: Any) -> bool:
        """`partial_fit` of a few plain rows by a prepared call of the network; False, and nothing done, for other.

        30 us for a row of a network (64, 64) instead of 300. Whatever is unusual, or wrong, goes the long way.
        """
        if type(X) is not np.ndarray or X.ndim != 2 or not self._has_values(self.__dict__.get("_ready")):
            return False
        n_rows = len(X)
        if not (n_rows <= 200 if isinstance(self.batch_size, str) else n_rows == self.batch_size):
            return False
        if type(y) is np.ndarray and y.ndim == 2 and (y.shape[1] == 1 or y.dtype.kind not in "biu"):
            return False
        net = self.network_
        loss = net._quick.update.run(net, X, y)
        if loss is None:
            return False
        epochs = Epochs(self, n_rows)
        epochs.note(net, loss, 0.0)
        epochs.write()
        keep_rate(self, net)
        return True

    @all_or_nothing
    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        """All of `partial_fit` the long way."""
        self._check_parameters()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        hidden_sizes(self.hidden_layer_sizes)
        self._expect(y, classes)
        net: Network | None = self.__dict__.get("network_")
        matrix, y = self._read(X, y, net is None)
        codes = self._codes_of(y, False)
        weights = self._with_class_weights(self._weights(sample_weight, matrix), codes)
        loss = loss_of(self.loss, self._labels(), self.output_weights) if net is None else net.loss
        targets = self._targets(codes, loss, net)
        try:
            if net is None:
                state = random_generator(self.random_state)
                net = self._network(matrix, targets, loss, state, None, True)
                net.seed = self._draw_seed(state)
            elif not self._has_curve:  # the network was trained by "lbfgs"
                net.optimizer = optimizer_of(self, self.learning_rate_init)
                begin_curve(self)
            net.l2, net.clip_norm = float(self.alpha), self.clip_norm
            check_some_weight(weights)
            train_once(self, net, Rows(matrix, targets, weights))
        except ValueError as error:
            self._explain(error, matrix)
        self.network_ = net
        if self._may_be_quick(loss):
            self._ready = type(self)._values(self)
        return self

    def _may_be_quick(self, loss: Loss) -> bool:
        """Whether there is nothing to do for plain rows but the update: no weights, names, or parts of a loss."""
        has_parts = loss.name == "poisson" or (loss.name == "squared_error" and self.n_outputs_ > 1)
        has_weights = getattr(self, "class_weight", None) is not None
        return not (has_parts or has_weights or self.warm_start or "feature_names_in_" in self.__dict__)

    # ---- using ----------------------------------------------------------------------------------------------------

    def _raw(self, X: Any) -> np.ndarray:
        """Raw outputs, shape (n_samples, n_outputs); a few plain rows take a prepared call of the network."""
        known = self.__dict__
        net = known.get("network_")
        if net is not None and "feature_names_in_" not in known:
            raw: np.ndarray | None = net._quick.outputs.run(net, X)
            if raw is not None:
                return raw
        check_is_fitted(self)
        matrix = check_X(self, X)
        try:
            return raw_outputs(self.network_, matrix)
        except ValueError as error:
            self._explain(error, matrix)
