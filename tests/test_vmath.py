"""The functions on registers keep the error bounds that they state, on every instruction set that this machine runs."""

import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numba as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import types
from numba.extending import intrinsic

from fastprop.kernels import vmath
from fastprop.kernels.simd import load, store
from fastprop.kernels.target import target
from fastprop.kernels.vmath import erf, sigmoid, softplus

OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}
NAMES = ("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf")
EXACT = ("sign", "copysign", "cube")
DTYPES = ("float32", "float64")
BOUNDS = {n: float(re.search(r"at most ([\d.]+) ULP", getattr(vmath, f"emit_{n}").__doc__)[1]) for n in NAMES}
WIDE = np.longdouble
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan, -1.0, -2.0, 1.0)


@intrinsic
def data(typingctx, array):
    """The pointer to an array's first number."""
    kind = types.CPointer(array.dtype)
    return kind(array), lambda context, builder, sig, args: context.make_array(array)(context, builder, args[0]).data


@nb.njit(**OPTIONS)
def fill_columns(x, out, lanes):
    """out[k] = the k-th function of x: all of them in one loop, to compile once for each dtype."""
    p, q, n = data(x), data(out), x.shape[0]
    for i in range(0, n, lanes):
        v = load(p, i)
        store(q, i, np.exp(v))
        store(q, i + n, np.expm1(v))
        store(q, i + 2 * n, np.log(v))
        store(q, i + 3 * n, np.log1p(v))
        store(q, i + 4 * n, np.tanh(v))
        store(q, i + 5 * n, sigmoid(v))
        store(q, i + 6 * n, softplus(v))
        store(q, i + 7 * n, erf(v))
        store(q, i + 8 * n, np.sign(v))
        store(q, i + 9 * n, np.copysign(2.0, v))
        store(q, i + 10 * n, v**3)


def points(dtype):
    """The special values, then numbers of every exponent and sign, denormal too, denser where the functions bend."""
    rng, dtype = np.random.default_rng(1), np.dtype(dtype)
    info = np.finfo(dtype)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    every = np.ldexp(rng.uniform(1, 2, (5000 // len(exponents), len(exponents))), exponents)
    spans = ((0, 1.2), (0.3, 0.8), (1, 10), (10, 40), (40, info.maxexp * 0.75))
    dense = [rng.uniform(*span, 5000) for span in spans]
    near_minus_one = -1 + np.exp2(rng.uniform(-info.nmant, 0, 4000))
    x = np.concatenate([every.ravel(), *dense])
    x = np.concatenate([SPECIAL, [info.max, -info.max], x, -x, near_minus_one]).astype(dtype)
    return x[: len(x) // 16 * 16]


def columns(dtype):
    """The functions of `points(dtype)`, (n_functions, n)."""
    x = points(dtype)
    out = np.empty((len(NAMES) + len(EXACT), len(x)), dtype)
    fill_columns(x, out.reshape(-1), target().shape(dtype).lanes)
    return out


def wide_erf(x):
    """erf in long double: 2 / sqrt pi exp(-x^2) sum (2 x^2)^n x / (2 n + 1)!!, whose terms are all positive."""
    v = np.minimum(abs(x), 7)
    term, total = v, v
    for n in range(1, 170):
        term = term * (2 * v * v / (2 * n + 1))
        total = total + term
    value = 2 / np.sqrt(WIDE("3.14159265358979323846264338327950288")) * np.exp(-v * v) * total
    return np.copysign(np.minimum(value, 1), x)


def reference(x):
    """The functions of x in long double, one a row."""
    v = x.astype(WIDE)
    with np.errstate(all="ignore"):
        small = np.exp(-abs(v))
        return {
            "exp": np.exp(v),
            "expm1": np.expm1(v),
            "log": np.log(v),
            "log1p": np.log1p(v),
            "tanh": np.tanh(v),
            "sigmoid": np.where(v >= 0, 1, small) / (1 + small),
            "softplus": np.maximum(v, 0) + np.log1p(small),
            "erf": wide_erf(v),
        }


def ulp_error(got, want):
    """|got - want| in units of the last place of `want`; 0 where both are flushed, or the same infinity or NaN."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        _, exponent = np.frexp(np.where(np.isfinite(rounded), want, 1))
        unit = np.ldexp(WIDE(1), np.maximum(exponent - 1, info.minexp) - info.nmant)
        error = abs(got.astype(WIDE) - want) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    flushed = (abs(want) < 2 * info.tiny) & (abs(got) < 2 * info.tiny)
    return np.where(same | flushed, 0, np.where(np.isnan(error), np.inf, error))


def other_targets():
    """Processors that this machine can imitate, oldest last."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return []
    return ["haswell"] * (target().register_bytes == 64) + ["x86-64"] * (target().register_bytes > 16)


@pytest.fixture(scope="module", params=["native", *other_targets()])
def computed(request, tmp_path_factory):
    """The columns of both dtypes, compiled for one instruction set."""
    if request.param == "native":
        return {dtype: columns(dtype) for dtype in DTYPES}
    path = tmp_path_factory.mktemp("columns") / "columns.npz"
    environment = os.environ | {
        "NUMBA_CPU_NAME": request.param,
        "NUMBA_CPU_FEATURES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run([sys.executable, Path(__file__), path], env=environment, check=True, timeout=120)
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_is_within_the_bound_stated(computed, dtype):
    if dtype == "float64" and np.finfo(WIDE).nmant < 63:
        pytest.skip("long double is no wider than float64 here, so there is nothing to compare with")
    x = points(dtype)
    want = reference(x)
    for name, got in zip(NAMES, computed[dtype], strict=False):
        error = ulp_error(got, want[name])
        worst = int(np.argmax(error))
        assert error[worst] <= BOUNDS[name], f"{name}({x[worst]!r}): {error[worst]} ULP"


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_and_signs(computed, dtype):
    n = len(SPECIAL)
    x = points(dtype)[:n]
    want = reference(x)
    for name, got in zip(NAMES, computed[dtype][:, :n], strict=False):
        rounded = want[name].astype(dtype)
        infinite = ~np.isfinite(rounded) | (rounded == 0)
        np.testing.assert_array_equal(got[infinite], rounded[infinite], err_msg=name)
        number = ~np.isnan(rounded)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(rounded[number]), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_sigmoid_erf_stay_within_their_range(computed, dtype):
    got = dict(zip(NAMES, computed[dtype], strict=False))
    assert np.nanmax(abs(got["tanh"])) == 1.0
    assert np.nanmax(abs(got["erf"])) == 1.0
    assert np.nanmax(got["sigmoid"]) == 1.0
    assert np.nanmin(got["sigmoid"]) == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_copysign_and_powers(computed, dtype):
    x = points(dtype)
    sign, copysign, cube = computed[dtype][len(NAMES) :]
    np.testing.assert_array_equal(sign, np.sign(x))
    np.testing.assert_array_equal(copysign[~np.isnan(x)], np.copysign(2.0, x)[~np.isnan(x)])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(cube, x * x * x, rtol=3 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


def test_a_wrong_last_digit_is_seen():
    x = np.linspace(0.1, 3, 64, dtype=np.float32)
    got = np.exp(x.astype(np.float64)).astype(np.float32)
    off = got + 3 * np.spacing(got)
    assert ulp_error(got, np.exp(x.astype(WIDE))).max() <= 0.51
    assert ulp_error(off, np.exp(x.astype(WIDE))).min() > BOUNDS["exp"]


@nb.njit(**OPTIONS)
def on_number(x):
    return sigmoid(x), softplus(x), erf(x)


@settings(deadline=None)  # the first example compiles
@given(st.floats(-745, 745))
def test_numbers_in_python_and_in_compiled_code(x):
    want = (math.exp(-max(-x, 0)) / (1 + math.exp(-abs(x))), max(x, 0) + math.log1p(math.exp(-abs(x))), math.erf(x))
    np.testing.assert_allclose((sigmoid(x), softplus(x), erf(x)), want, rtol=1e-14)
    np.testing.assert_allclose(on_number(x), want, rtol=1e-14)


@pytest.mark.parametrize("function", [sigmoid, softplus, erf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_keep_shape_and_dtype(function, dtype):
    x = np.array([[-1000, -1, 0], [1, 1000, np.nan]], dtype)
    with np.errstate(over="raise", invalid="raise"):
        got = function(x)
    assert got.shape == x.shape
    assert got.dtype == x.dtype
    np.testing.assert_allclose(got.ravel(), [float(function(float(v))) for v in x.ravel()], rtol=1e-6)


if __name__ == "__main__":
    np.savez(sys.argv[1], **{dtype: columns(dtype) for dtype in DTYPES})
