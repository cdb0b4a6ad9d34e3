"""What X may be: every dtype and layout is described without a copy, everything else is refused by name."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastprop import checks
from fastprop.checks import DTYPE_CODES, Matrix, check_matrix, check_weights

pytestmark = pytest.mark.quick
CODES = {
    "float32": 0, "float64": 1, "float16": 2, "int8": 3, "int16": 4, "int32": 5, "int64": 6,
    "uint8": 7, "bool": 7, "uint16": 8, "uint32": 9, "uint64": 10,
}  # fmt: skip


def read(matrix, dtype):
    """What a kernel sees: each element at address + i row_stride + j column_stride."""
    dtype = np.dtype(dtype)

    def element(i, j):
        at = matrix.address + i * matrix.row_stride + j * matrix.column_stride
        return np.frombuffer(ctypes.string_at(at, dtype.itemsize), dtype)[0]

    return np.array([[element(i, j) for j in range(matrix.n_columns)] for i in range(matrix.n_rows)])


# ---- dense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODES)
def test_codes_are_fixed(name):
    dtype = np.dtype(name)
    assert DTYPE_CODES[dtype.str] == CODES[name]
    if dtype.itemsize > 1:
        assert DTYPE_CODES[dtype.newbyteorder("S").str] == CODES[name] + 16
    assert set(DTYPE_CODES.values()) == set(range(11)) | {c + 16 for c in range(11) if c not in (3, 7)}


steps = st.sampled_from([1, 2, 3, -1, -2])


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    step=st.tuples(steps, steps),
    transposed=st.booleans(),
    dtype=st.sampled_from([*CODES, ">f4", ">i8", ">f2", ">u2"]),
)
def test_any_strides_and_dtype_without_a_copy(shape, step, transposed, dtype):
    rows, columns = (abs(s) * n for s, n in zip(step, shape, strict=True))
    base = np.arange(rows * columns).reshape(rows, columns).astype(dtype)
    X = base[:: step[0], :: step[1]]
    X = X.T if transposed else X
    X.flags.writeable = False
    matrix = check_matrix(X)
    assert matrix.array is X
    assert (matrix.n_rows, matrix.n_columns) == X.shape
    np.testing.assert_array_equal(read(matrix, X.dtype), X)


def test_broadcast_and_single_rows():
    X = np.broadcast_to(np.float32(3), (4, 2))
    matrix = check_matrix(X)
    assert (matrix.row_stride, matrix.column_stride) == (0, 0)
    np.testing.assert_array_equal(read(matrix, "f4"), X)
    assert check_matrix(X[:1]).n_rows == 1


def test_memory_map(tmp_path):
    X = np.arange(6, dtype=np.int16).reshape(3, 2)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    matrix = check_matrix(mapped)
    assert np.shares_memory(matrix.array, mapped)
    np.testing.assert_array_equal(read(matrix, "i2"), X)


def test_the_matrix_keeps_the_memory_alive():
    matrix = check_matrix(np.full((1000, 3), 7.0))
    assert (read(matrix, "f8") == 7.0).all()


def test_lists_are_converted():
    assert check_matrix([[1, 2], [3, 4]]).dtype_code == 6
    assert check_matrix([[1.0, 2], [3, 4]]).dtype_code == 1


def test_source_is_what_kernels_read():
    matrix = check_matrix(np.zeros((2, 3), np.float32))
    assert matrix.source == (matrix.address, 12, 4, 0, 3, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros(3), ValueError, r"X must be 2-D, got a 1-D array of 3 numbers; reshape\(-1, 1\)"),
        (np.zeros((2, 2, 2)), ValueError, r"must be 2-D \(n_samples, n_features\), got shape \(2, 2, 2\)"),
        (3.0, TypeError, "X must be a 2-D array, got float"),
        (None, TypeError, "got NoneType"),
        (np.zeros((0, 2)), ValueError, "X is empty"),
        (np.zeros((2, 0)), ValueError, "X has 0 columns"),
        (np.zeros((2, 2), complex), TypeError, "real numbers.*complex128; give real and imaginary"),
        (np.zeros((2, 2), object), TypeError, "dtype object; convert it"),
        (np.array([["a"]]), TypeError, "encode strings as numbers"),
        (np.array([[b"a"]]), TypeError, "encode strings as numbers"),
        (np.zeros((2, 2), "M8[s]"), TypeError, "convert dates"),
        (np.zeros((2, 2), "m8[s]"), TypeError, "convert time differences"),
        (np.zeros((2, 2), "f4,f4"), TypeError, "2-D array of one real dtype"),
        ([[1, 2], [3]], ValueError, "X cannot be read as an array"),
        (np.ma.masked_equal([[1, 2]], 2), ValueError, "X has masked values"),
    ],
)
def test_other_things_are_refused(X, error, message):
    with pytest.raises(error, match=message):
        check_matrix(X)


def test_long_doubles_are_refused():
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is float64 here")
    with pytest.raises(TypeError, match=r"at most 64 bits.*astype"):
        check_matrix(np.zeros((2, 2), np.longdouble))


def test_errors_bear_the_name_of_the_argument():
    with pytest.raises(ValueError, match="X_val has 3 features, expected 4"):
        check_matrix(np.zeros((2, 3)), "X_val", n_features=4)


# ---- CSR ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def csr():
    sparse = pytest.importorskip("scipy.sparse")
    return sparse.csr_matrix(np.array([[0, 1.5, 0], [0, 0, 0], [2.5, 0, -1]], np.float32))


def test_csr_without_a_copy(csr):
    matrix = check_matrix(csr, n_features=3)
    assert matrix.is_sparse
    assert not Matrix.is_sparse
    assert (matrix.n_rows, matrix.n_columns, matrix.n_stored) == (3, 3, 3)
    assert (matrix.dtype_code, matrix.indices_code, matrix.indptr_code) == (0, 5, 5)
    assert matrix.buffers[0] is csr.data
    assert matrix.address == csr.data.ctypes.data
    assert matrix.indices == csr.indices.ctypes.data
    assert matrix.indptr == csr.indptr.ctypes.data
    assert matrix.source == (
        matrix.address, 0, 0, 0, 3, matrix.indices, 5, matrix.indptr, 5,
    )  # fmt: skip


def test_csr_arrays_wide_indices_and_other_dtypes(csr):
    sparse = pytest.importorskip("scipy.sparse")
    wide = sparse.csr_array((csr.data.astype(bool), csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), (3, 3))
    matrix = check_matrix(wide)
    assert (matrix.dtype_code, matrix.indices_code) == (7, 6)
    assert check_matrix(sparse.csr_matrix((2, 3))).n_stored == 0


@pytest.mark.parametrize("name", ["csc", "coo", "lil", "dok", "bsr", "dia"])
def test_other_sparse_formats_are_refused(csr, name):
    with pytest.raises(TypeError, match=rf"{name.upper()} format; give X.tocsr\(\)"):
        check_matrix(csr.asformat(name))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("indices", [1, 0, 3], r"indices must lie within 0..2"),
        ("indices", [1, 0, -1], r"indices must lie within"),
        ("indices", [1, 0], "3 data and 2 indices"),
        ("indptr", [0, 1, 1, 9], "but indptr ends with 9"),
        ("indptr", [0, 2, 1, 3], "indptr must not decrease"),
        ("indptr", [1, 1, 1, 3], "indptr must start with 0"),
        ("indptr", [0, 1, 3], "have 4 elements"),
        ("data", [[1.0, 2.0, 3.0]], "must be 1-D"),
    ],
)
def test_damaged_csr_is_refused(csr, part, value, message):
    setattr(csr, part, np.array(value, getattr(csr, part).dtype))
    with pytest.raises(ValueError, match=message):
        check_matrix(csr)


def test_complex_csr_is_refused(csr):
    with pytest.raises(TypeError, match="complex"):
        check_matrix(csr.astype(complex))


def test_scipy_is_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "scipy.sparse", raising=False)
    check_matrix(np.zeros((2, 2)))
    assert "scipy.sparse" not in sys.modules


# ---- data frames --------------------------------------------------------------------------------------------------


class Frame:
    """What is common to pandas and polars; like pandas it gives objects for columns of several kinds."""

    def __init__(self, **columns):
        self.data = {name: np.asarray(values) for name, values in columns.items()}

    @property
    def columns(self):
        return list(self.data)

    def __getitem__(self, name):
        return self.data[name]

    def to_numpy(self):
        kinds = {a.dtype.kind for a in self.data.values()}
        dtype = object if len(kinds) > 1 and kinds & set("bUO") else None
        return np.column_stack([a.astype(dtype or a.dtype) for a in self.data.values()])


def test_frames_bring_names():
    matrix = check_matrix(Frame(a=[1, 2], b=[0.5, 1.5]))
    assert matrix.feature_names == ("a", "b")
    np.testing.assert_array_equal(matrix.array, [[1, 0.5], [2, 1.5]])
    assert check_matrix(np.zeros((2, 2)), feature_names=("a", "b")).feature_names is None


def test_frames_of_ints_and_bools():
    matrix = check_matrix(Frame(a=[1, 2], b=[True, False]))
    assert matrix.array.dtype == np.int64
    np.testing.assert_array_equal(matrix.array, [[1, 1], [2, 0]])


def test_columns_that_are_no_numbers_are_named():
    with pytest.raises(TypeError, match=r"encode or drop the columns 'city' \(<U1\), 'when' \(datetime64"):
        check_matrix(Frame(a=[1, 2], city=["x", "y"], when=np.zeros(2, "M8[s]")))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (Frame(b=[1.0], a=[2.0]), "X has the columns of fit in another order"),
        (Frame(a=[1.0], c=[2.0]), "it lacks 'b' and adds 'c'"),
        (Frame(a=[1.0]), "it lacks 'b'"),
        (Frame(a=[1.0], b=[1.0], c=[2.0]), "it adds 'c'"),
    ],
)
def test_other_columns_are_refused(frame, message):
    with pytest.raises(ValueError, match=message):
        check_matrix(frame, n_features=2, feature_names=("a", "b"))


def test_column_names():
    values = np.zeros((1, 2))
    make = SimpleNamespace(to_numpy=lambda: values)
    assert check_matrix(SimpleNamespace(columns=[0, 1], **vars(make))).feature_names is None
    with pytest.raises(TypeError, match="column names of mixed types"):
        check_matrix(SimpleNamespace(columns=["a", 1], **vars(make)))
    with pytest.raises(ValueError, match="several columns named 'a'"):
        check_matrix(SimpleNamespace(columns=["a", "a"], **vars(make)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_real_frames(library):
    frame = pytest.importorskip(library).DataFrame({"a": [1, 2], "b": [True, False]})
    matrix = check_matrix(frame)
    assert matrix.feature_names == ("a", "b")
    np.testing.assert_array_equal(matrix.array, [[1, 1], [2, 0]])


# ---- weights and scalars ------------------------------------------------------------------------------------------


def test_weights():
    assert check_weights(None, 3) is None
    weights = check_weights([1, 0, 2], 3)
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights, [1, 0, 2])
    assert check_weights(np.zeros(2), 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 2], ValueError, "sample_weight has 2 rows but X has 3"),
        ([1, np.nan, 1], ValueError, "sample_weight must be finite, got nan in row 1"),
        ([1, 1, -2], ValueError, "sample_weight must be >= 0, got -2 in row 2"),
        ([[1], [1], [1]], ValueError, "sample_weight must be 1-D"),
        (["a", "b", "c"], TypeError, "sample_weight must hold real numbers"),
    ],
)
def test_wrong_weights_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        check_weights(weights, 3)


@pytest.mark.parametrize("value", [1, np.int8(1), np.uint64(1)])
def test_positive_int(value):
    checked = checks.check_positive_int("n", value)
    assert type(checked) is int
    assert checked == 1


@pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", None])
def test_positive_int_refuses_types(value):
    with pytest.raises(TypeError, match="n must be a positive integer, got"):
        checks.check_positive_int("n", value)


def test_positive_int_or_none():
    assert checks.check_positive_int("batch_size", None, allow_none=True) is None
    with pytest.raises(ValueError, match="batch_size must be a positive integer or None, got -3"):
        checks.check_positive_int("batch_size", -3, allow_none=True)


@pytest.mark.parametrize(
    ("limits", "value", "expected"),
    [
        ((0.0, None, "both"), -1, ">= 0, got -1"),
        ((0.0, None, "neither"), 0, "> 0, got 0"),
        ((None, 1.0, "both"), 2, "<= 1, got 2"),
        ((None, 1.0, "left"), 1, "< 1, got 1"),
        ((0.0, 1.0, "right"), 0, r"in \(0, 1\], got 0"),
        ((None, None, "both"), np.nan, "a finite number, got nan"),
        ((None, None, "both"), -np.inf, "a finite number, got -inf"),
    ],
)
def test_numbers_outside(limits, value, expected):
    with pytest.raises(
        ValueError, match=f"x must be a finite number.*{expected}" if limits[0] is not None else expected
    ):
        checks.check_number("x", value, *limits)


@given(st.floats(0, 1))
def test_numbers_inside(value):
    assert checks.check_number("x", np.float64(value), 0.0, 1.0) == value


def test_numbers_of_other_types():
    assert checks.check_number("x", None, allow_none=True) is None
    for value in (True, "1", None, 1j, np.zeros(1)):
        with pytest.raises(TypeError, match="x must be a finite number"):
            checks.check_number("x", value)


def test_fraction_bool_and_choice():
    assert checks.check_fraction("f", 0) == 0.0
    with pytest.raises(ValueError, match=r"f must be a finite number in \[0, 1\), got 1"):
        checks.check_fraction("f", 1)
    assert checks.check_bool("b", np.True_) is True
    with pytest.raises(TypeError, match="b must be True or False, got 1"):
        checks.check_bool("b", 1)
    assert checks.check_choice("dtype", "float32", ["float32", "float64"]) == "float32"
    with pytest.raises(ValueError, match="unknown dtype 'float23'; did you mean 'float32'"):
        checks.check_choice("dtype", "float23", ["float32", "float64"])
    with pytest.raises(TypeError, match="dtype must be one of 'float32'"):
        checks.check_choice("dtype", 32, ["float32"])


@given(n=st.integers(1, 40), bad=st.integers(0, 39))
def test_the_first_bad_row_is_found_in_any_block(n, bad):
    array = np.zeros((n, 3))
    array[bad % n :, 1] = np.nan
    wide = np.broadcast_to(array[:, :, None], (n, 3, 200_000)).reshape(n, -1) if n < 4 else array
    assert checks.first_row(wide, np.isnan) == bad % n
    assert checks.first_row(np.zeros((n, 3)), np.isnan) is None
