"""Every kind of kernel agrees with the reference on AVX-512, AVX2 and SSE2, each compiled in a process of its own.

`everything` runs in those processes; they share a cache with all others, whose code they must not be served.
"""

import platform
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm
import naive
import numpy as np
import pytest
import test_dot
import test_linear
import test_online
import test_quick

import fastprop as fp

SETS = {
    "native": {"NUMBA_CPU_NAME": None, "NUMBA_CPU_FEATURES": None},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "SSE2": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""},
}
SIZES = (1, 5, 16, 33, 100)
BOUND = {"float64": 1e-10, "float32": 2e-5}


# ---- in the other processes ---------------------------------------------------------------------------------------


def everything():
    """Compare all kinds of kernels with the reference in both precisions; prints the instruction set."""
    from fastprop.kernels.target import target

    for dtype in ("float32", "float64"):
        gradients(dtype)
        training(dtype)
        one_unit(dtype)
        reading(dtype)
        test_quick.compare_rows(dtype)
        linear_models(dtype)
        threads(dtype)
    print(target().instruction_set, target().shape("float32"), target().shape("float64"))


def layers(width, rate=0.0):
    """Every kind of layer."""
    return [
        fp.Dense(width, "tanh"),
        fp.BatchNorm(),
        fp.Dense(width + 2, "gelu"),
        fp.Dropout(rate),
        fp.Dense(width, "tanh"),
        fp.Residual([fp.Dense(width + 1, "gelu"), fp.LayerNorm(), fp.Dense(width)]),
    ]


def data(n_rows, n_features, dtype):
    rng = np.random.default_rng([n_rows, n_features])
    return rng.normal(size=(n_rows, n_features)).astype(dtype), rng.integers(0, 3, n_rows)


def gradients(dtype):
    for n_features, width in zip(SIZES, (3, 40, 17, 9, 65), strict=True):
        for n_rows in SIZES[1:]:
            net = fp.Network([*layers(width), fp.Dense(3)], loss="cross_entropy", dtype=dtype, l2=0.01)
            net.build(n_features)
            X, y = data(n_rows, n_features, dtype)
            loss, found = net.gradients(X, y)
            expected_loss, expected = naive.Reference(net).gradients(net.get_weights(), X, naive.one_hot(y, 3))
            assert abs(loss - expected_loss) < BOUND[dtype] * expected_loss
            assert max(naive.errors(found, expected)) < BOUND[dtype], (n_features, width, n_rows)


def training(dtype):
    """A few updates in one go, with stored gradients, and sample by sample."""
    X, y = data(40, 6, dtype)
    Y = naive.one_hot(y, 3)
    batches = [(X[i : i + 15], Y[i : i + 15], None) for i in (0, 15, 30)]
    rows = [(X[i : i + 1], Y[i : i + 1], None) for i in range(len(X))]
    cases = (
        ([*layers(7), fp.Dense(3)], fp.Adam(1e-3), {}, 15, batches),
        ([*layers(30), fp.Dense(3)], fp.Adam(1e-3), {"clip_norm": 0.1, "l1": 1e-3}, 15, batches),
        ([fp.Dense(21, "tanh"), fp.Dense(5, "gelu"), fp.Dense(3)], fp.Adam(1e-3), {}, 1, rows),
    )
    for net_layers, optimizer, settings, batch_size, updates in cases:
        net = fp.Network(net_layers, loss="cross_entropy", optimizer=optimizer, dtype=dtype, **settings).build(6)
        expected, losses = naive.Reference(net).train(net.get_weights(), updates)
        net.fit(X, y, epochs=1, batch_size=batch_size, shuffle=False, progress=False)
        for ours, theirs in zip(naive.arrays(net.get_weights()), naive.arrays(expected), strict=True):
            # Adam divides a gradient by its size: where that is all rounding, so is the step (1e-3 an update).
            assert abs(ours - theirs).max() < (1e-4 if dtype == "float32" else 1e-9)
        mean = np.average(losses, weights=[len(X) for X, *_ in updates])
        assert abs(net.history_["loss"][0] - mean) < 10 * BOUND[dtype] * mean


def one_unit(dtype):
    """Layers whose weights are a vector, and vectors that fill no register."""
    for shape in ("linear", "bottleneck", "in a block"):
        test_dot.compare_gradients(shape, dtype, sizes=(1, 7, 33))
    for way in ("stored penalty", "csr", "single"):
        test_dot.compare_training("bottleneck", way, dtype)
    bound = 2e-4 if dtype == "float32" else 1e-9
    for widths in ((3, 2), (65, 1, 7), (33, 130, 1)):
        Y = np.random.default_rng(0).normal(size=(30, widths[-1]))
        test_online.compare([fp.Dense(n, "tanh") for n in widths], "mse", Y, Y, dtype, 18, bound=bound)


def reading(dtype):
    """X of other dtypes and strides, and CSR."""
    import scipy.sparse

    X = np.random.default_rng(0).integers(0, 3, (37, 21))
    net = fp.Network([fp.Dense(33, "tanh"), fp.Dense(2)], dtype=dtype).build(21)
    expected = net.predict(X.astype(dtype))
    for code in ("f2", "u1", ">i2", "i8", ">f8", "f4"):
        assert np.array_equal(net.predict(X.astype(code)), expected)
        assert np.array_equal(net.predict(np.asfortranarray(X.astype(code))[::-1])[::-1], expected)
    rows = scipy.sparse.csr_array(X.astype(dtype))
    assert naive.error(net.predict(rows), expected) < BOUND[dtype]
    y = np.random.default_rng(0).normal(size=(37, 2))
    loss, found = net.gradients(rows, y)
    expected_loss, dense = naive.Reference(net).gradients(net.get_weights(), X, y)
    assert abs(loss - expected_loss) < BOUND[dtype] * expected_loss
    assert max(naive.errors(found, dense)) < BOUND[dtype]


def linear_models(dtype):
    """CSR rows by gather and scatter where there are such instructions, else one by one; and dense ones."""
    for sparse in (True, False):
        X, y, weights = test_linear.problem(sparse=sparse, dtype=dtype)
        for penalty in ("l2", "l1"):
            settings = test_linear.settings_of("log_loss", penalty, "invscaling", dtype=dtype)
            test_linear.compare(X, y, weights, 2e-4 if dtype == "float32" else 1e-9, **settings)


def threads(dtype):
    X, y = data(100, 16, dtype)
    found = []
    for n in (1, 3):
        net = fp.Network([*layers(40, rate=0.3), fp.Dense(3)], loss="cross_entropy", dtype=dtype)
        net.fit(X, y, epochs=2, batch_size=70, n_threads=n, progress=False)
        found.append(net._parameters.rows.tobytes())
    assert found[0] == found[1]
    assert np.isfinite(net._parameters.rows).all()


# ---- here ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes(run_script):
    """A process for each instruction set, two at a time: they mostly compile."""
    with ThreadPoolExecutor(2) as pool:
        script = "import test_instruction_sets as t; t.everything()"
        yield {name: pool.submit(run_script, script, timeout=600, **SETS[name]) for name in SETS if not missing(name)}


def missing(name):
    """Why this machine cannot run an instruction set, or None."""
    if name != "native" and platform.machine().lower() not in ("x86_64", "amd64"):
        return f"{name} is of x86, this machine is {platform.machine()}"
    if name == "AVX2" and not all(llvm.get_host_cpu_features().get(f) for f in ("avx2", "fma", "bmi2", "f16c")):
        return "this machine has no AVX2"
    return None


@pytest.mark.parametrize("name", SETS)
def test_instruction_set(name, processes):
    if missing(name):
        pytest.skip(missing(name))
    printed = processes[name].result()
    if name == "native":
        assert ("AVX-512" in printed) == bool(llvm.get_host_cpu_features().get("avx512f"))
    else:
        assert printed.startswith(name)
