"""`partial_fit` of one plain row in microseconds: descents whose addresses are all set, and room for the row.

The general way checks X and y and makes descents, one for each class: 130 us and more, where the arithmetic of a row
takes 1 us. So an estimator keeps descents that start anew, from `coef_` and `intercept_` as they are, with each row.
Where anything is unusual, or wrong, the answer is False and nothing has changed: the general way then does the same to
the same bits, or raises the error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import DTYPE_CODES, Matrix
from ..quick import LABELS, LARGEST, NUMBERS, SCALARS


class RowUpdate:
    """One update of each model of an estimator.

    Parameters
    ----------
    estimator : LinearSGD
        For which `serves` holds.
    dtype : dtype
        Of the rows.
    """

    @staticmethod
    def serves(estimator: Any, dtype: np.dtype[Any]) -> bool:
        """Whether an estimator, and rows of this dtype, may be updated so."""
        known = estimator.__dict__
        if estimator.mode != "online" or estimator.average or estimator.early_stopping or estimator.verbose:
            return False
        if getattr(estimator, "class_weight", None) is not None or "feature_names_in_" in known:
            return False
        coef = known.get("coef_")
        return type(coef) is np.ndarray and coef.dtype.char in "fd" and dtype.str in DTYPE_CODES

    def __init__(self, estimator: Any, dtype: np.dtype[Any]) -> None:
        coef = estimator.coef_
        estimator._recall(coef.shape[-1])
        self.values = type(estimator)._values(estimator)
        self.classes = estimator.__dict__.get("classes_")
        self.shape, self.dtype = coef.shape, coef.dtype
        self.n_models, n_features = estimator._weights.shape
        self.X, self.targets = np.zeros((1, n_features), dtype), np.zeros((self.n_models, 1), coef.dtype)
        factors = [(1.0, 1.0)] * self.n_models
        self.descents = estimator._descents(Matrix.of(self.X), list(self.targets), None, factors)
        self.cells: list[Any] = [memoryview(target) for target in self.targets]
        self.codes = None if self.classes is None else {label: i for i, label in enumerate(self.classes.tolist())}
        self.chars = NUMBERS if self.codes is None else LABELS
        self.low = 0.0 if estimator.loss == "log_loss" else -1.0

    def is_current(self, estimator: Any, dtype: np.dtype[Any]) -> bool:
        """Whether the estimator, and rows of this dtype, still are what this was made for."""
        coef, classes = estimator.coef_, estimator.__dict__.get("classes_")
        return bool(
            type(coef) is np.ndarray
            and coef.shape == self.shape
            and coef.dtype == self.dtype
            and dtype == self.X.dtype
            and classes is self.classes
            and "feature_names_in_" not in estimator.__dict__
            and estimator._has_values(self.values)
        )

    def read(self, y: Any) -> bool:
        """Write the target of each model; False if y is not one plain label or number."""
        if type(y) is np.ndarray:
            if y.shape != (1,) or y.dtype.char not in self.chars:
                return False
            value = y.item()
        elif type(y) is list and len(y) == 1 and type(y[0]) in SCALARS:
            value = y[0]
        else:
            return False
        if self.codes is None:
            if type(value) is str or not -LARGEST <= value <= LARGEST:
                return False
            self.cells[0][0] = float(value)
            return True
        code = self.codes.get(value)
        if code is None:
            return False
        if self.n_models == 1:
            self.cells[0][0] = 1.0 if code == 1 else self.low
        else:
            for i, cell in enumerate(self.cells):
                cell[0] = 1.0 if i == code else self.low
        return True

    def __call__(self, estimator: Any, X: np.ndarray, y: Any) -> bool:
        """Update `coef_`, `intercept_` and `t_`; returns whether it was possible."""
        intercept, t = estimator.intercept_, estimator.t_
        if type(intercept) is not np.ndarray or intercept.shape != (self.n_models,) or not self.read(y):
            return False
        self.X[...] = X
        start, coef = estimator.coef_.reshape(self.n_models, -1), np.empty(self.shape, self.dtype)
        rows, biases = coef.reshape(start.shape), intercept.tolist()
        for i, descent in enumerate(self.descents):
            descent.restart(start[i], biases[i], t)
            descent.run(None, False)
            if descent.status != 0:
                return False
            descent.read_coef(rows[i])
            biases[i] = descent.intercept
        estimator.coef_, estimator.intercept_ = coef, np.array(biases, self.dtype)
        estimator.t_, estimator.n_iter_ = t + 1, 1
        return True
