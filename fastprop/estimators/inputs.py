"""What estimators accept as X, y and weights: scikit-learn's rules in its words, and no copy where it makes one.

X keeps its dtype, integers and float32 included, and is not read here: kernels find numbers that are not finite while
they gather rows, and `require_finite` then says so as scikit-learn does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import _check_sample_weight, validate_data

from ..checks import DTYPE_CODES, AnyMatrix, Matrix, SparseMatrix, is_sparse

Array = NDArray[Any]


def check_X(estimator: Any, X: Any, *, reset: bool = False) -> AnyMatrix:
    """Describe X to kernels; sets (`reset`) or checks `n_features_in_` and `feature_names_in_`.

    Parameters
    ----------
    estimator : BaseEstimator
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Of any dtype that converts to real numbers; frames of mixed columns, objects and sparse formats other than CSR
        are converted once.
    reset : bool
        Whether this is the X that the estimator is fitted to.

    Raises
    ------
    ValueError
        What scikit-learn's `validate_data` raises; and if CSR has indices out of range, unsorted or twice in a row, or
        an indptr that does not fit.
    """
    if is_ready(estimator, X, reset=reset):
        return Matrix.of(X)
    return _describe(validate_data(estimator, _in_rows(X), reset=reset, **_rules(X)))


def is_ready(estimator: Any, X: Any, *, reset: bool = False) -> bool:
    """Whether X is a plain array that `check_X` would take as it is; sets (`reset`) or compares the width."""
    return _is_plain(X) and _takes_width(estimator, X.shape[1], reset)


def check_X_y(
    estimator: Any, X: Any, y: Any, *, reset: bool, multi_output: bool = False, y_numeric: bool = False
) -> tuple[AnyMatrix, Array]:
    """`check_X` and y, which must be finite and have a row for each of X.

    Parameters
    ----------
    multi_output : bool
        Whether y may have more than one column.
    y_numeric : bool
        Whether objects in y are converted to numbers.

    Returns
    -------
    matrix : Matrix or SparseMatrix
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    """
    if _is_plain(X) and _is_plain_target(y, len(X)) and _takes_width(estimator, X.shape[1], reset):
        return Matrix.of(X), y
    X = _in_rows(X)
    X, y = validate_data(estimator, X, y, reset=reset, multi_output=multi_output, y_numeric=y_numeric, **_rules(X))
    return _describe(X), y


def check_weights(sample_weight: Any, matrix: AnyMatrix, *, allow_all_zero: bool = False) -> Array | None:
    """Weights of samples in the dtype of the model; None stays None, and no ones are made for it."""
    if sample_weight is None:
        return None
    X, dtype = matrix.array, model_dtype(matrix)
    weights = _check_sample_weight(sample_weight, X, dtype=dtype, allow_all_zero_weights=allow_all_zero)
    return np.asarray(weights)


def model_dtype(matrix: AnyMatrix) -> np.dtype[Any]:
    """float32 for float32 X, float64 for all other."""
    dtype = matrix.array.dtype
    return dtype if dtype == np.float32 else np.dtype(np.float64)


def require_finite(estimator: Any, X: Any) -> None:
    """Raise scikit-learn's ValueError if X has a NaN or infinity: what to call when a result is not finite."""
    assert_all_finite(X, estimator_name=type(estimator).__name__, input_name="X")


def _rules(X: Any) -> dict[str, Any]:
    """For `validate_data`: it keeps numbers as they are; strings, which it would refuse then, become float64."""
    is_text = isinstance(X, (np.ndarray, list, tuple)) and np.asarray(X).dtype.kind in "SU"
    return {"accept_sparse": "csr", "dtype": np.float64 if is_text else "numeric", "ensure_all_finite": False}


def _is_plain(X: Any) -> bool:
    """Whether X is an array that needs no conversion, so that `validate_data` (100 us) has nothing to do."""
    return type(X) is np.ndarray and X.ndim == 2 and X.size > 0 and X.dtype.str in DTYPE_CODES


def _is_plain_target(y: Any, n_rows: int) -> bool:
    if type(y) is not np.ndarray or y.shape != (n_rows,):
        return False
    return y.dtype.kind in "biu" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()))


def _takes_width(estimator: Any, n_features: int, reset: bool) -> bool:
    """Set or compare the number of features; False if `validate_data` has to say something about names or numbers."""
    known = estimator.__dict__
    if reset:
        known.pop("feature_names_in_", None)
        estimator.n_features_in_ = n_features
        return True
    return known.get("n_features_in_") == n_features and "feature_names_in_" not in known


def _in_rows(X: Any) -> Any:
    """X; sparse formats other than CSR as CSR with each entry once. Compiled code that converts them trusts indices."""
    if not is_sparse(X) or X.format == "csr" or X.ndim != 2:
        return X
    if X.format in ("csc", "bsr"):
        X.check_format(full_check=True)
    elif X.format == "coo" and X.nnz:
        for at, size in zip(X.coords, X.shape, strict=True):
            if at.min() < 0 or at.max() >= size:
                raise ValueError(f"X is not valid COO: row and column indices must lie within its shape {X.shape}")
    X = X.tocsr()
    X.sum_duplicates()
    return X


def _describe(X: Any) -> AnyMatrix:
    if is_sparse(X):
        return SparseMatrix.of(_with_kernel_dtype(X), canonical=True)
    return Matrix.of(_with_kernel_dtype(X))


def _with_kernel_dtype(X: Any) -> Any:
    """X; a copy only of dtypes that kernels do not read (long doubles, dates), as float64."""
    return X if X.dtype.str in DTYPE_CODES else X.astype(np.float64)
