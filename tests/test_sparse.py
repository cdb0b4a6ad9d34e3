"""CSR rows train as the dense rows that they stand for.

All numbers are small multiples of 1/8: a sum of duplicates is exact, whatever the dtype it is taken in.
"""

import naive
import numpy as np
import pytest

import fastprop as fp
from fastprop.kernels.sparse import PIECE

sparse = pytest.importorskip("scipy.sparse")

N_ROWS, N_FEATURES = 203, 300
EMPTY = (0, 7, 100, 101, 102, N_ROWS - 1)
FULL = {3: PIECE, 50: PIECE + 1, 51: 2 * PIECE + 40}  # row: entries, in one, two and three pieces
BOUND = {"float64": 1e-12, "float32": 2e-6}
QUIET = {"progress": False}


def csr(n_rows=N_ROWS, dtype=np.float64, index=np.int32, kind=sparse.csr_matrix):
    """Rows with unsorted columns and duplicates; some are empty, some are longer than a piece."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 12, n_rows)
    counts[[r for r in EMPTY if r < n_rows]] = 0
    for row, n in FULL.items():
        counts[row] = n
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(index)
    indices = rng.integers(0, N_FEATURES, indptr[-1]).astype(index)
    whole = np.issubdtype(dtype, np.integer)
    low = 0 if np.issubdtype(dtype, np.unsignedinteger) else -8
    data = rng.integers(low, 9, indptr[-1])
    data[::11] = 0  # stored zeros
    data = (data if whole else data / 8).astype(dtype)
    X = kind((n_rows, N_FEATURES), dtype=dtype)
    X.data, X.indices, X.indptr = data, indices, indptr  # the constructor would choose the dtype of indices
    assert X.indices.dtype == index
    return X


def dense(X):
    """The same matrix, its duplicates summed."""
    out = np.zeros(X.shape)
    np.add.at(out, (np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), X.indices), X.data[: X.indptr[-1]])
    return out


@pytest.fixture(scope="module")
def data():
    X = csr()
    return X, dense(X), np.random.default_rng(1).normal(size=(N_ROWS, 3))


def network(dtype="float64", layers=None, optimizer=None, **settings):
    layers = layers or [fp.Dense(40, "gelu"), fp.Dropout(0.3), fp.LayerNorm(), fp.Dense(3)]
    return fp.Network(layers, optimizer=optimizer or fp.SGD(0.02, momentum=0.5), dtype=dtype, **settings)


def trained(net, X, y, **arguments):
    net.fit(X, y, **{"epochs": 3, "batch_size": 37, **QUIET, **arguments})
    return net


def assert_same(one, other, X, D, y):
    """Two networks, trained on X and D, and what they say about both."""
    bound = BOUND[one.dtype]
    assert max(naive.errors(one.get_weights(), other.get_weights())) < bound
    for key in one.history_.keys() - {"time", "epoch"}:
        assert one.history_[key] == pytest.approx(other.history_[key], rel=bound, abs=bound)
    assert naive.error(one.predict(X), one.predict(D)) < bound
    assert one.evaluate(X, y) == pytest.approx(one.evaluate(D, y), rel=bound, abs=bound)
    (loss, gradients), (expected_loss, expected) = one.gradients(X, y), one.gradients(D, y)
    assert loss == pytest.approx(expected_loss, rel=bound)
    assert max(naive.errors(gradients, expected)) < bound


def compare(data, dtype="float64", make=network, **arguments):
    X, D, y = data
    nets = [trained(make(dtype), A, y, **arguments) for A in (X, D)]
    assert_same(*nets, X, D, y)
    return nets[0]


def test_the_matrix_holds_all_kinds_of_rows(data):
    X, D, _ = data
    counts = np.diff(X.indptr)
    assert (counts[list(EMPTY)] == 0).all()
    assert (D[list(EMPTY)] == 0).all()
    assert sorted(counts)[-3:] == sorted(FULL.values())
    assert len(np.unique(X.indices[X.indptr[51] : X.indptr[52]])) < counts[51]  # duplicates
    np.testing.assert_array_equal(X.toarray(), D)


# ---- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [1, 37, None])
def test_fit(data, batch_size, dtype, monkeypatch):
    """A full batch has four chunks here."""
    monkeypatch.setattr("fastprop.engine.MAX_ROWS", 64)
    compare(data, dtype, batch_size=batch_size, epochs=1 if batch_size == 1 else 4)


def test_sample_by_sample(data):
    """Dense rows go through the per-sample kernels."""
    compare(data, make=lambda dtype: network(dtype, [fp.Dense(40, "gelu"), fp.Dense(3)]), batch_size=1)


def test_chunks_are_split_only(data, monkeypatch):
    """Chunks change the order of sums, nothing else."""
    X, _, y = data
    nets = []
    for rows in (4096, 64):
        monkeypatch.setattr("fastprop.engine.MAX_ROWS", rows)
        nets.append(trained(network(layers=[fp.Dense(40, "gelu"), fp.Dense(3)]), X, y, batch_size=None))
    assert max(naive.errors(nets[0].get_weights(), nets[1].get_weights())) < 1e-12


WEIGHTS = np.random.default_rng(2).integers(0, 4, N_ROWS) / 2


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"clip_norm": 0.1}, {}),
        ({"l2": 0.1}, {}),
        ({"l1": 0.01, "clip_value": 0.01}, {}),
        ({}, {"accumulate": 3}),
        ({"clip_norm": 0.05, "l2": 0.1}, {"accumulate": 2, "sample_weight": WEIGHTS}),
        ({}, {"sample_weight": WEIGHTS, "shuffle": False}),
        ({}, {"validation_fraction": 0.2}),
        ({}, {"validation_fraction": 0.3, "sample_weight": WEIGHTS, "early_stopping": 1}),
        ({"optimizer": fp.Adam(1e-3)}, {"batch_size": 20}),
    ],
    ids=str,
)
def test_settings(data, settings, arguments):
    if "sample_weight" in arguments:
        arguments = {**arguments, "sample_weight": arguments["sample_weight"].copy()}
    compare(data, make=lambda dtype: network(dtype, **settings), **arguments)


def test_validation_data(data):
    X, D, y = data
    nets = [trained(network(), A[:150], y[:150], X_val=A[150:], y_val=y[150:]) for A in (X, D)]
    assert_same(*nets, X, D, y)
    assert "val_loss" in nets[0].history_
    mixed = trained(network(), X[:150], y[:150], X_val=D[150:], y_val=y[150:])
    assert mixed.history_["val_loss"] == pytest.approx(nets[0].history_["val_loss"], rel=1e-12)


def test_partial_fit_on_either(data):
    """A network may go from one to the other and back."""
    X, D, y = data
    nets = [network(), network()]
    for round_ in range(4):
        losses = [nets[0].partial_fit(X if round_ % 2 else D, y), nets[1].partial_fit(D, y)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert max(naive.errors(nets[0].get_weights(), nets[1].get_weights())) < 1e-12


def test_labels_and_later_norms(data):
    X, D, _ = data
    labels = np.array(["a", "b", "c"])[np.random.default_rng(3).integers(0, 3, N_ROWS)]
    layers = [
        fp.Dense(17, bias=False), fp.BatchNorm(), fp.Residual([fp.Dense(5, "relu"), fp.Dense(17)]), fp.Dense(3)
    ]  # fmt: skip
    nets = [trained(network(layers=layers, loss="cross_entropy"), A, labels) for A in (X, D)]
    assert max(naive.errors(nets[0].get_weights(), nets[1].get_weights())) < 1e-11  # batch norm amplifies rounding
    np.testing.assert_array_equal(nets[0].predict(X), nets[0].predict(D))
    np.testing.assert_allclose(nets[0].predict_proba(X), nets[0].predict_proba(D), rtol=1e-12, atol=1e-15)


def test_gradients_of_the_reference(data):
    X, D, y = data
    net = network(layers=[fp.Dense(40, "tanh"), fp.Dense(3)], l2=0.1).build(N_FEATURES)
    loss, gradients = net.gradients(X, y, WEIGHTS)
    expected_loss, expected = naive.Reference(net).gradients(net.get_weights(), D, y, WEIGHTS)
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    assert max(naive.errors(gradients, expected)) < 1e-12


# ---- shapes and dtypes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("width", [1, 5, 40, 70])
def test_widths_of_the_first_layer(data, width, dtype):
    """Less than a register, less than a panel, and several panels; the only layer, so that it is the output too."""
    X, D, _ = data
    y = np.random.default_rng(4).normal(size=(N_ROWS, width))
    compare((X, D, y), dtype, make=lambda dtype: network(dtype, [fp.Dense(width, "tanh")]))


@pytest.mark.parametrize("n_rows", [52, 64, 65])
def test_numbers_of_rows(n_rows):
    X = csr(n_rows)
    compare((X, dense(X), np.random.default_rng(5).normal(size=(n_rows, 3))), batch_size=None)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("of_data", [np.float64, np.float32, np.int8, np.uint8, np.int16, np.int64])
def test_dtypes_of_data_and_indices(of_data, index):
    X = csr(dtype=of_data, index=index, kind=sparse.csr_array)
    net = compare((X, dense(X), np.random.default_rng(6).normal(size=(N_ROWS, 3))), epochs=1)
    single = network("float32")
    single.set_weights(net.get_weights())
    assert naive.error(single.predict(X), net.predict(X)) < 1e-5


def test_nothing_is_stored():
    X = sparse.csr_matrix((30, 4))
    y = np.random.default_rng(7).normal(size=(30, 3))
    net = compare((X, np.zeros((30, 4)), y), epochs=2, batch_size=7)
    start = network().build(4)
    np.testing.assert_array_equal(net.get_weights()[0][0], start.get_weights()[0][0])


def test_what_lies_beyond_the_last_row_does_not_count(data):
    X, D, y = data
    longer = X.copy()
    longer.data = np.append(X.data, np.full(9, np.nan))
    longer.indices = np.append(X.indices, np.full(9, 10**6, np.int32))
    compare((longer, D, y), epochs=1, validation_fraction=0.0)


def test_the_matrix_is_left_alone(data):
    X, D, y = data
    own = X.copy()
    for array in (own.data, own.indices, own.indptr):
        array.flags.writeable = False
    compare((own, D, y), epochs=1)
    for array, original in ((own.data, X.data), (own.indices, X.indices), (own.indptr, X.indptr)):
        np.testing.assert_array_equal(array, original)


# ---- threads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.1, "l2": 0.01}], ids=["plain", "clipped"])
@pytest.mark.parametrize("batch_size", [101, None])
def test_threads(settings, batch_size, monkeypatch):
    monkeypatch.setattr("fastprop.engine.MAX_ROWS", 256)
    X, y = csr(600), np.random.default_rng(8).normal(size=(600, 3))
    states = set()
    for n_threads in (1, 2, 3, 5):
        layers = [fp.Dense(70, "gelu"), fp.Dropout(0.3), fp.Dense(3)]
        net = network("float32", layers, **settings)
        trained(net, X, y, batch_size=batch_size, n_threads=n_threads)
        states.add(net._parameters.rows.tobytes() + repr(net.history_["loss"]).encode())
    assert len(states) == 1


def test_threads_of_prediction(monkeypatch):
    X, y = csr(600), np.random.default_rng(8).normal(size=(600, 3))
    net = trained(network("float32", [fp.Dense(70, "gelu"), fp.Dropout(0.3), fp.Dense(3)]), X, y)
    results = []
    for n in (1, 2, 3, 5):
        monkeypatch.setenv("FASTPROP_NUM_THREADS", str(n))
        loss, gradients = net.gradients(X, y)
        results.append(
            (net.predict(X).tobytes(), net.evaluate(X, y), loss, [a.tobytes() for a in naive.arrays(gradients)])
        )
    assert all(r == results[0] for r in results)


# ---- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("row", "entry"), [(1, 0), (51, 0), (51, PIECE), (51, 2 * PIECE + 39), (N_ROWS - 2, 0)])
def test_a_bad_number_is_named_with_its_row(data, value, row, entry, monkeypatch):
    """In every piece of a row, and in a chunk that is not the first."""
    monkeypatch.setattr("fastprop.engine.MAX_ROWS", 64)
    X, _, y = data
    bad = X.copy()
    bad.data[X.indptr[row] + entry] = value
    net = network().build(N_FEATURES)
    before = net._parameters.rows.tobytes()
    message = rf"X must be finite, got {value} in row {row}, column {X.indices[X.indptr[row] + entry]}\b"
    for call in (
        lambda: net.fit(bad, y, batch_size=37, **QUIET),
        lambda: net.fit(bad, y, batch_size=None, **QUIET),
        lambda: net.predict(bad),
        lambda: net.evaluate(bad, y),
        lambda: net.gradients(bad, y),
        lambda: net.partial_fit(bad, y),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=f"X must be finite in float64, got {value} in row {row};"):
        net.fit(bad, y, validation_fraction=0.2, **QUIET)
    with pytest.raises(ValueError, match=f"X_val must be finite in float64, got {value} in row {row};"):
        net.fit(X, y, X_val=bad, y_val=y, **QUIET)
    assert net._parameters.rows.tobytes() == before


def test_a_number_beyond_float32(data):
    X, _, y = data
    bad = X.copy()
    bad.data[X.indptr[60]] = 1e39
    with pytest.raises(ValueError, match=r"X must be finite in float32, got 1e\+39 in row 60"):
        network("float32").fit(bad, y, **QUIET)
    assert np.isfinite(trained(network("float64", layers=[fp.Dense(3, "tanh")]), bad, y, epochs=1).predict(bad)).all()


@pytest.mark.parametrize(
    "first",
    [fp.Dropout(0.5), fp.BatchNorm(), fp.LayerNorm(), fp.Residual([fp.Dense(N_FEATURES)])],
    ids=lambda layer: type(layer).__name__,
)
def test_the_first_layer_must_be_dense(data, first):
    X, D, y = data
    net = network(layers=[first, fp.Dense(3)])
    message = f"X is sparse, so the first layer must be Dense, got {type(first).__name__}"
    with pytest.raises(TypeError, match=message):
        net.fit(X, y, **QUIET)
    assert not net.is_built
    net.build(N_FEATURES)
    for call in (lambda: net.predict(X), lambda: net.evaluate(X, y), lambda: net.gradients(X, y)):
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(TypeError, match="X_val is sparse"):
        net.fit(D, y, X_val=X, y_val=y, **QUIET)


@pytest.mark.parametrize("name", ["csc", "coo"])
def test_other_formats(data, name):
    X, _, y = data
    other, net = X.asformat(name), network()
    with pytest.raises(TypeError, match=rf"X is a sparse matrix in {name.upper()} format; give X.tocsr\(\)"):
        net.fit(other, y, **QUIET)
    assert not net.is_built
    net.build(N_FEATURES)
    with pytest.raises(TypeError, match="format"):
        net.predict(other)
