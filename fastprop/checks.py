"""What X may be: any real dtype, any strides, read-only, memory-mapped, CSR, data frames; described, never copied.

Kernels receive a matrix as address, strides and a dtype code. Whether its numbers are finite is seen while rows are
gathered, so X is not read here; the structure of CSR is, since a wrong index would read foreign memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .arguments import (
    check_bool as check_bool,
)
from .arguments import (
    check_choice as check_choice,
)
from .arguments import (
    check_fraction as check_fraction,
)
from .arguments import (
    check_number as check_number,
)
from .arguments import (
    check_positive_int as check_positive_int,
)
from .frames import column_names, frame_targets, frame_values, is_frame, series_values
from .kernels.catalogue import first_flaw

# The position is the code that kernels know.
_DTYPES = ("f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
SWAPPED = 16  # added to the code where the byte order is not the machine's


def _dtype_codes() -> dict[str, int]:
    codes = {np.dtype(bool).str: _DTYPES.index("u1")}
    for code, name in enumerate(_DTYPES):
        codes[np.dtype(name).newbyteorder("S").str] = code + SWAPPED
        codes[np.dtype(name).str] = code  # after the swapped one: bytes have no order
    return codes


DTYPE_CODES: dict[str, int] = _dtype_codes()  #: `dtype.str` -> code

_ADVICE = {
    "c": "give real and imaginary parts as columns",
    "O": "convert it, as by astype('float32')",
    "U": "encode strings as numbers",
    "S": "encode strings as numbers",
    "T": "encode strings as numbers",
    "M": "convert dates to numbers",
    "m": "convert time differences to numbers",
    "f": "convert it, as by astype('float64')",
}


def dtype_code(dtype: np.dtype[Any], name: str) -> int:
    """The code of a real dtype, for kernels; a TypeError that names `name` for other dtypes."""
    try:
        return DTYPE_CODES[dtype.str]
    except KeyError:
        advice = _ADVICE.get(dtype.kind, "give a 2-D array of one real dtype")
        raise TypeError(f"{name} must hold real numbers of at most 64 bits, got dtype {dtype}; {advice}") from None


@dataclass(frozen=True, eq=False)
class Matrix:
    """Where a dense matrix lies.

    Attributes
    ----------
    address : int
        Of element (0, 0).
    row_stride, column_stride : int
        Bytes from a row or column to the next; may be negative or zero.
    dtype_code : int
        See `DTYPE_CODES`.
    n_rows, n_columns : int
    array : ndarray of shape (n_rows, n_columns)
        The matrix itself; keeps the memory alive.
    feature_names : tuple of str, optional
        The columns of a data frame.
    """

    is_sparse: ClassVar[bool] = False

    address: int
    row_stride: int
    column_stride: int
    dtype_code: int
    n_rows: int
    n_columns: int
    array: NDArray[Any] = field(repr=False)
    feature_names: tuple[str, ...] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, array: NDArray[Any], name: str = "X", feature_names: tuple[str, ...] | None = None) -> Matrix:
        """Describe a 2-D array of a real dtype."""
        address = array.__array_interface__["data"][0]
        code = dtype_code(array.dtype, name)
        n_rows, n_columns = array.shape
        return cls(address, array.strides[0], array.strides[1], code, n_rows, n_columns, array, feature_names)

    @property
    def source(self) -> tuple[int, ...]:
        """The fields of the kernels' `SOURCE` record, in order."""
        return (self.address, self.row_stride, self.column_stride, self.dtype_code, self.n_columns, 0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """Where a CSR matrix lies. Duplicate entries of a row count as their sum, as in scipy.

    Attributes
    ----------
    address, indices, indptr : int
        Of the first element of each array; all three are contiguous.
    dtype_code, indices_code, indptr_code : int
        See `DTYPE_CODES`; the latter two are those of int32 or int64.
    n_rows, n_columns, n_stored : int
    array : scipy.sparse CSR
        The matrix itself.
    buffers : tuple of ndarray
        data, indices and indptr; keep the memory alive.
    feature_names : None
    """

    is_sparse: ClassVar[bool] = True
    feature_names: ClassVar[None] = None

    address: int
    dtype_code: int
    indices: int
    indices_code: int
    indptr: int
    indptr_code: int
    n_rows: int
    n_columns: int
    n_stored: int
    array: Any = field(repr=False)
    buffers: tuple[NDArray[Any], ...] = field(repr=False)

    @classmethod
    def of(cls, X: Any, name: str = "X", canonical: bool = False) -> SparseMatrix:
        """Describe a scipy CSR matrix or array after checking its structure.

        With `canonical` the indices of a row must grow, as linear models that are trained by sample want them.
        """
        if X.format != "csr":
            raise TypeError(f"{name} is a sparse matrix in {X.format.upper()} format; give {name}.tocsr()")
        if X.ndim != 2:
            raise ValueError(f"{name} must be 2-D, got a sparse array of shape {X.shape}")
        buffers = (np.ascontiguousarray(X.data), _index_array(X.indices), _index_array(X.indptr))
        _check_csr(*buffers, X.shape, name, canonical)
        data, indices, indptr = (b.__array_interface__["data"][0] for b in buffers)
        codes = [dtype_code(b.dtype, name) for b in buffers]
        n_rows, n_columns = X.shape
        n_stored = int(buffers[2][-1])
        return cls(data, codes[0], indices, codes[1], indptr, codes[2], n_rows, n_columns, n_stored, X, buffers)

    @property
    def source(self) -> tuple[int, ...]:
        """The fields of the kernels' `SOURCE` record, in order."""
        return (
            self.address, 0, 0, self.dtype_code, self.n_columns,
            self.indices, self.indices_code, self.indptr, self.indptr_code,
        )  # fmt: skip


AnyMatrix: TypeAlias = Matrix | SparseMatrix


def check_matrix(
    X: Any, name: str = "X", n_features: int | None = None, feature_names: Sequence[str] | None = None
) -> AnyMatrix:
    """Describe X to kernels without copying it.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        An ndarray of any real dtype and strides, a scipy CSR matrix, a frame of pandas or polars, a table or record
        batch of Arrow, or anything that NumPy makes an array of. Only frames that are not one block of numbers
        already, and lists, are converted.
    name : str
        What errors call it.
    n_features : int, optional
        The width that a built network needs.
    feature_names : sequence of str, optional
        The columns that it was trained on; a frame with others, or in another order, is refused.

    Returns
    -------
    Matrix or SparseMatrix

    Raises
    ------
    TypeError
        If the dtype or the sparse format is not one of ours.
    ValueError
        If the shape, the columns or the structure of CSR is wrong.
    """
    matrix: AnyMatrix
    if is_sparse(X):
        matrix = SparseMatrix.of(X, name)
    else:
        names = None
        if is_frame(X):
            names, X = column_names(X, name), frame_values(X, name)
        matrix = Matrix.of(_as_2d(X, name), name, names)
    if matrix.n_rows == 0:
        raise ValueError(f"{name} is empty: it has 0 rows")
    if matrix.n_columns == 0:
        raise ValueError(f"{name} has 0 columns")
    if feature_names is not None and matrix.feature_names is not None:
        _check_names(matrix.feature_names, tuple(feature_names), name)
    if n_features is not None and matrix.n_columns != n_features:
        raise ValueError(f"{name} has {matrix.n_columns} features, expected {n_features}")
    return matrix


def is_sparse(X: Any) -> bool:
    """Whether X is a scipy.sparse matrix; does not import scipy."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(X))


def as_array(values: Any, name: str) -> NDArray[Any]:
    """`values` as an ndarray; an ndarray itself is not copied, nor a frame or a column that is one."""
    if not isinstance(values, np.ndarray):
        values = frame_targets(values, name) if is_frame(values) else series_values(values)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values; give {name}.filled(...)")
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} cannot be read as an array: {error}") from error


def _as_2d(X: Any, name: str) -> NDArray[Any]:
    array = as_array(X, name)
    if array.ndim == 0:
        raise TypeError(f"{name} must be a 2-D array, got {type(X).__name__}")
    if array.ndim == 1:
        raise ValueError(
            f"{name} must be 2-D, got a 1-D array of {array.size} numbers; reshape(-1, 1) makes them one feature, "
            f"reshape(1, -1) one sample"
        )
    if array.ndim != 2:
        raise ValueError(f"{name} must be 2-D (n_samples, n_features), got shape {array.shape}")
    return array


# ---- CSR ----------------------------------------------------------------------------------------------------------


def _index_array(indices: NDArray[Any]) -> NDArray[Any]:
    """Contiguous int32 or int64 in the machine's byte order; scipy's own arrays are that already."""
    wanted = np.int32 if indices.dtype == np.int32 else np.int64
    return np.ascontiguousarray(indices, dtype=wanted)


def _check_csr(
    data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], shape: tuple[int, int], name: str, canonical: bool
) -> None:
    if not data.ndim == indices.ndim == indptr.ndim == 1:
        raise ValueError(f"{name} is not valid CSR: data, indices and indptr must be 1-D")
    if len(indptr) != shape[0] + 1 or indptr[0] != 0:
        raise ValueError(f"{name} is not valid CSR: indptr must start with 0 and have {shape[0] + 1} elements")
    if np.any(indptr[1:] < indptr[:-1]):
        raise ValueError(f"{name} is not valid CSR: indptr must not decrease")
    n_stored = int(indptr[-1])
    if len(data) != len(indices) or n_stored > len(data):
        raise ValueError(
            f"{name} is not valid CSR: {len(data)} data and {len(indices)} indices, but indptr ends with {n_stored}"
        )
    used = indices[:n_stored]
    if not canonical and n_stored and not (used.min() >= 0 and used.max() < shape[1]):
        raise ValueError(_out_of_range(shape, name))
    if canonical:
        _check_canonical((data, indices, indptr), shape, name)


def _check_canonical(buffers: tuple[NDArray[Any], ...], shape: tuple[int, int], name: str) -> None:
    """Refuse rows whose indices are out of range, unsorted or there twice; `indptr` has been checked."""
    _, indices, indptr = buffers
    addresses = [(b.__array_interface__["data"][0], DTYPE_CODES[b.dtype.str]) for b in (indices, indptr)]
    row = int(first_flaw(*addresses[0], *addresses[1], *shape))
    if row < 0:
        return
    columns = indices[indptr[row] : indptr[row + 1]]
    if columns.min() < 0 or columns.max() >= shape[1]:
        raise ValueError(_out_of_range(shape, name))
    if len(np.unique(columns)) < len(columns):
        raise ValueError(f"{name} has duplicate column indices in row {row}; call {name}.sum_duplicates() first")
    raise ValueError(f"{name} has unsorted column indices in row {row}; call {name}.sort_indices() first")


def _out_of_range(shape: tuple[int, int], name: str) -> str:
    return f"{name} is not valid CSR: indices must lie within 0..{shape[1] - 1}"


# ---- names of columns ---------------------------------------------------------------------------------------------


def _check_names(got: tuple[str, ...], expected: tuple[str, ...], name: str) -> None:
    if got == expected:
        return
    if sorted(got) == sorted(expected):
        raise ValueError(f"{name} has the columns of fit in another order; give {name}[list(feature_names_in_)]")
    missing, foreign = [n for n in expected if n not in got], [n for n in got if n not in expected]
    parts = [f"{what} {', '.join(map(repr, n[:5]))}" for what, n in (("lacks", missing), ("adds", foreign)) if n]
    raise ValueError(f"{name} must have the columns of fit; it {' and '.join(parts)}")


# ---- numbers beside X ---------------------------------------------------------------------------------------------


def check_weights(weights: Any, n_rows: int, name: str = "sample_weight") -> NDArray[np.float64] | None:
    """Weights of samples: None, or finite numbers >= 0, one a row.

    Returns
    -------
    ndarray of shape (n_rows,), float64, contiguous; or None
    """
    if weights is None:
        return None
    array = as_array(weights, name)
    dtype_code(array.dtype, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {array.shape}")
    check_rows(array, n_rows, name)
    check_finite(array, name)
    row = first_row(array, lambda rows: rows < 0)
    if row is not None:
        raise ValueError(f"{name} must be >= 0, got {array[row]} in row {row}")
    return np.ascontiguousarray(array, dtype=np.float64)


def check_rows(array: NDArray[Any], n_rows: int, name: str) -> None:
    """Refuse an array with another number of rows than X."""
    if len(array) != n_rows:
        raise ValueError(f"{name} has {len(array)} rows but X has {n_rows}")


def check_finite(array: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinity, naming the first row that has one."""
    if array.dtype.kind != "f":
        return
    row = first_row(array, lambda rows: ~np.isfinite(rows))
    if row is not None:
        raise ValueError(f"{name} must be finite, got {array[row]} in row {row}")


def first_row(array: NDArray[Any], is_bad: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> int | None:
    """The first row with an element for which `is_bad` holds; reads blocks, since `array` may exceed the memory."""
    block = max(1, (1 << 20) // max(1, array[:1].size))
    for start in range(0, len(array), block):
        bad = is_bad(array[start : start + block])
        if bad.any():
            return start + int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
    return None
