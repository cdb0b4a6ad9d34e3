"""X of any real dtype and any strides trains and predicts as its float copy does, without a compilation or a copy."""

import tracemalloc

import naive
import numpy as np
import pytest

import fastprop as fp
from fastprop.kernels import handles

N_ROWS, N_FEATURES = 70, 19  # neither a multiple of a register
KINDS = ("f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
DTYPES = KINDS + tuple(">" + k for k in KINDS if np.dtype(k).itemsize > 1)


def whole_numbers(dtype, n_rows=N_ROWS):
    """Values that every dtype holds exactly, its extremes among them where the network's dtype can tell."""
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype).kind
    low, high = {"b": (0, 2), "u": (0, 120)}.get(kind, (-120, 120))
    return rng.integers(low, high, (n_rows, N_FEATURES)).astype(dtype)


def targets(n_rows=N_ROWS):
    return np.random.default_rng(1).normal(size=(n_rows, 2))


def network(dtype="float32", **settings):
    layers = [fp.LayerNorm(), fp.Dense(9, activation="tanh"), fp.Dense(2)]
    return fp.Network(layers, optimizer=fp.SGD(0.05, momentum=0.9), dtype=dtype, **settings)


def narrow():
    """Little to compute, so that a copy of X would be seen."""
    return fp.Network([fp.Dense(2, activation="relu"), fp.Dense(1)], optimizer=fp.SGD(1e-6)).build(64)


def results(X, dtype="float32", y=None):
    """All that a network makes of X: the bits of predictions, gradients, training."""
    y = targets(len(X)) if y is None else y
    net = network(dtype).build(X.shape[1])
    loss, gradients = net.gradients(X, y)
    before = net.predict(X)
    history = net.fit(X, y, epochs=2, batch_size=32, progress=False)
    arrays = [before, *naive.arrays(gradients), *naive.arrays(net.get_weights()), net.predict(X)]
    return [loss, history["loss"], net.evaluate(X, y), *(a.tobytes() for a in arrays)]


@pytest.fixture(scope="module", autouse=True)
def compiled_before():
    """Compile what reads X with the plainest X; no other X may need anything else."""
    for dtype in ("float32", "float64"):
        results(whole_numbers(dtype), dtype)
        net = network(dtype).build(N_FEATURES)
        net.fit(whole_numbers("f4"), targets(), batch_size=1, epochs=1, progress=False)
        fp.Network([fp.Dense(1)], dtype=dtype).build(N_FEATURES).predict(whole_numbers("f4")[:1])
    n = len(handles.compiled)
    yield
    assert [title for title in handles.compiled[n:] if "gather" in title] == []


@pytest.mark.parametrize("network_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, network_dtype):
    X = whole_numbers(dtype)
    assert results(X, network_dtype) == results(X.astype(network_dtype), network_dtype)


@pytest.mark.parametrize("network_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_is_read_right(dtype, network_dtype):
    """One identity layer copies X to its output: extremes, fractions and subnormals of the dtype included."""
    kind, bits = np.dtype(dtype).kind, np.dtype(dtype).itemsize * 8
    rng = np.random.default_rng(2)
    if kind == "b":
        values = np.array([False, True])
    elif kind in "iu":
        info = np.iinfo(np.dtype(dtype).newbyteorder("="))
        extremes = np.array([info.min, info.max, 0, 1], info.dtype)
        values = np.concatenate([extremes, rng.integers(info.min, info.max, 60, info.dtype, endpoint=True)])
    elif bits == 16:
        values = np.arange(2**16, dtype=np.uint16).view(np.float16)
        values = values[np.isfinite(values)]
    else:
        values = rng.normal(size=64) * 10.0 ** rng.integers(-30, 30, 64)
        values = np.concatenate([values, [0.0, -0.0, np.finfo("f4").max, -np.finfo("f4").max, np.finfo("f4").tiny]])
    X = values.astype(dtype)[:, None]
    net = fp.Network([fp.Dense(1, bias=False)], dtype=network_dtype)
    net.set_weights([(np.ones((1, 1)), None)])
    assert np.array_equal(net.predict(X).reshape(X.shape), X.astype(network_dtype))


def layouts(X):
    """The same numbers in other places."""
    wide = np.zeros((2 * len(X), 3 * X.shape[1]), X.dtype)
    wide[::2, 1::3] = X
    shifted = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)  # not aligned
    shifted[:] = X
    readonly = X.copy()
    readonly.flags.writeable = False
    return {
        "fortran": np.asfortranarray(X),
        "sliced": wide[::2, 1::3],
        "columns": np.hstack([X, X])[:, : X.shape[1]],
        "reversed rows": X[::-1].copy()[::-1],
        "reversed columns": X[:, ::-1].copy()[:, ::-1],
        "reversed both, fortran": np.asfortranarray(X[::-1, ::-1])[::-1, ::-1],
        "unaligned": shifted,
        "read-only": readonly,
        "a field of a structure": structured(X),
    }


def structured(X):
    table = np.zeros(X.shape, [("pad", "i1"), ("value", X.dtype)])
    table["value"] = X
    return table["value"]


LAYOUTS = tuple(layouts(np.ones((2, 2), np.float32)))


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "f2", ">i4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout, dtype):
    X = whole_numbers(dtype)
    other = layouts(X)[layout]
    assert np.array_equal(X, other)
    assert other.flags.writeable != (layout == "read-only")
    assert results(other) == results(X)


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_strides_of_zero(dtype):
    X = whole_numbers(dtype)
    rows, columns = np.broadcast_to(X[3], X.shape), np.broadcast_to(X[:, :1], X.shape)
    assert rows.strides[0] == columns.strides[1] == 0
    for broadcast in (rows, columns):
        assert results(broadcast) == results(broadcast.copy())


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", ">f2", "?"])
@pytest.mark.parametrize("fortran", [False, True])
def test_sample_by_sample(dtype, fortran):
    X = whole_numbers(dtype)
    nets = []
    for array in (np.asfortranarray(X) if fortran else X, X.astype("f4")):
        net = fp.Network([fp.Dense(9, activation="tanh"), fp.Dense(2)], optimizer=fp.SGD(1e-4, momentum=0.9))
        net.fit(array, targets(), epochs=2, batch_size=1, progress=False)
        nets.append(net._parameters.rows.tobytes())
    assert nets[0] == nets[1]


@pytest.mark.parametrize("n_columns", [1, 2, 7, 8, 16, 17, 33])
def test_widths_and_short_batches(n_columns, rng):
    X = rng.normal(size=(20, n_columns))
    for n_rows in (1, 2, 15, 16, 17, 20):
        part = X[:n_rows].astype(np.float32)
        net = fp.Network([fp.Dense(3)]).build(n_columns)
        ((W, b),) = net.get_weights()
        assert net.predict(part) == pytest.approx(part.astype(float) @ W + b, abs=1e-5)


# ---- y and weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "u8", ">i4", ">f8", "?"])
def test_y_may_be_any_array_too(dtype):
    X = whole_numbers("f4")
    y = np.random.default_rng(3).integers(0, 2 if dtype == "?" else 9, (2 * N_ROWS, 4)).astype(dtype)[::-2, 1:3]
    assert results(X, y=y) == results(X, y=y.astype("f4"))


# ---- memory -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A memory-mapped X of 64 MB, uint8."""
    path = tmp_path_factory.mktemp("big") / "X.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(1 << 20, 64))
    block = np.random.default_rng(0).integers(0, 256, (1 << 12, 64), dtype=np.uint8)
    for start in range(0, len(X), len(block)):
        X[start : start + len(block)] = block
    X.flush()
    return np.load(path, mmap_mode="r")


def test_a_memory_map_trains_alike(big):
    assert results(big[:200]) == results(np.array(big[:200]))


@pytest.mark.parametrize("view", ["rows", "columns reversed"])
def test_a_memory_map_is_not_copied(view, big):
    X = big if view == "rows" else big[:, ::-1]
    y = np.zeros(len(X), np.float32)
    net = narrow()
    net.fit(X[:5000], y[:5000], epochs=1, batch_size=1024, progress=False)
    tracemalloc.start()
    net.fit(X, y, epochs=1, batch_size=1024, shuffle=False, progress=False)
    fit_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    predictions = net.predict(X)
    predict_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fit_peak < X.nbytes / 4
    assert predict_peak < predictions.nbytes + X.nbytes / 8
    assert predictions[:4096] == pytest.approx(net.predict(np.array(X[:4096])))


# ---- NaN and infinity ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("dtype", "fortran"), [("f4", 0), ("f8", 0), ("f2", 0), (">f4", 0), ("f8", 1)])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (37, 18), (69, 5)])
def test_not_finite_is_named(value, dtype, fortran, row, column):
    X = whole_numbers(dtype)
    X[row, column] = value
    X = np.asfortranarray(X) if fortran else X
    net = network().build(N_FEATURES)
    before = net.state_dict()
    message = rf"X must be finite, got {value} in row {row}, column {column}"
    for call in (
        lambda: net.fit(X, targets(), epochs=2, batch_size=16, progress=False),
        lambda: net.fit(X, targets(), epochs=2, batch_size=None, progress=False),
        lambda: net.partial_fit(X, targets()),
        lambda: net.gradients(X, targets()),
        lambda: net.evaluate(X, targets()),
        lambda: net.predict(X),
    ):
        with pytest.raises(ValueError, match=message):
            call()
        after = net.state_dict()
        assert all(np.array_equal(before[name], after[name]) for name in before)
    assert net._parameters.count == 0


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_not_finite_is_named_sample_by_sample(value):
    X = whole_numbers("f4")
    X[50, 7] = value
    layers = [fp.Dense(9, activation="tanh"), fp.Dense(2)]
    net = fp.Network(layers, optimizer=fp.SGD(1e-4, momentum=0.9)).build(N_FEATURES)
    before = net.get_weights()
    with pytest.raises(ValueError, match=rf"X must be finite, got {value} in row 50, column 7"):
        net.fit(X, targets(), epochs=1, batch_size=1, progress=False)
    assert naive.errors(net.get_weights(), before) == [0.0] * 4


def test_too_large_for_the_network_is_named():
    X = whole_numbers("f8")
    X[3, 4] = 1e200
    with pytest.raises(ValueError, match=r"X must be finite in float32, got 1e\+200 in row 3, column 4"):
        network().fit(X, targets(), progress=False)
    assert np.isfinite(network("float64").build(N_FEATURES).predict(X)).all()
