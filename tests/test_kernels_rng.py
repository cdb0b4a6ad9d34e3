"""Random numbers from counters: permutations are permutations and even, dropout drops what it should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastprop as fp
from fastprop.segments import epoch_keys, shuffle_rows

pytestmark = pytest.mark.quick


def permutation(n, seed=0, epoch=0):
    rows = np.empty(n, np.int64)
    shuffle_rows(rows, n, epoch_keys(seed, epoch), 0)
    return rows


@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_every_row_comes_once(n, seed, epoch):
    assert np.array_equal(np.sort(permutation(n, seed, epoch)), np.arange(n))


@given(st.integers(2, 500), st.data())
def test_pieces_make_the_whole(n, data):
    cut = data.draw(st.integers(1, n - 1))
    first, second = np.empty(cut, np.int64), np.empty(n - cut, np.int64)
    cursor = shuffle_rows(first, n, epoch_keys(5, 0), 0)
    shuffle_rows(second, n, epoch_keys(5, 0), cursor)
    assert np.array_equal(np.concatenate([first, second]), permutation(n, 5))


@pytest.mark.parametrize("n", [5, 8, 33])
def test_each_row_comes_anywhere(n):
    """How often row i comes at place j over many epochs: chi squared within 5 deviations of its mean."""
    n_epochs, counts = 4000, np.zeros((n, n))
    for epoch in range(n_epochs):
        counts[permutation(n, 1, epoch), np.arange(n)] += 1
    expected, freedom = n_epochs / n, (n - 1) ** 2
    assert abs(((counts - expected) ** 2 / expected).sum() - freedom) < 5 * np.sqrt(2 * freedom)


def test_no_trace_of_the_order():
    """Neither the place nor the row before tells a row; epochs and seeds are unlike each other."""
    n = 4097
    bound = 5 / np.sqrt(n)

    def correlation(a, b):
        return abs(np.corrcoef(a, b)[0, 1])

    for seed in range(5):
        p = permutation(n, seed)
        others = [permutation(n, seed, 1), permutation(n, seed + 1), permutation(n, 2**40 + seed)]
        assert correlation(p, np.arange(n)) < bound
        assert correlation(p[1:], p[:-1]) < bound
        assert all(correlation(p, q) < bound for q in others)


# ---- dropout ------------------------------------------------------------------------------------------------------

N_ROWS, N_FEATURES = 32, 200


def masks(rate, n_updates=1, seed=0, dtype="float64", **arguments):
    """What dropout keeps of an input (updates, rows, features), read off the weights that it trains.

    The gradient of the loss is constant and row i of X is 2^i, so that the sum over rows has a bit for each.
    """
    X = np.repeat(2.0 ** np.arange(N_ROWS)[:, None], N_FEATURES, axis=1)
    layers = [fp.Dropout(rate), fp.Dense(1, init="zeros")]
    net = fp.Network(layers, loss="quantile", optimizer=fp.SGD(2.0 * N_ROWS), seed=seed, dtype=dtype)
    found, before = [], np.zeros(N_FEATURES)
    for _ in range(n_updates):
        net.fit(X, np.full(N_ROWS, 1e30), epochs=1, shuffle=False, progress=False, **{"batch_size": None, **arguments})
        after = net.get_weights()[0][0][:, 0]
        bits = np.rint((after - before) * (1.0 - rate)).astype(np.int64)
        found.append(bits >> np.arange(N_ROWS)[:, None] & 1)
        before = after
    return np.array(found)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.75])
def test_dropout_drops_its_share(rate):
    kept = masks(rate, n_updates=3)
    deviation = np.sqrt(rate * (1 - rate))
    for axis in (None, 1, 2, (0, 1), (0, 2), (1, 2)):
        mean = kept.mean(axis=axis)
        n = kept.size / np.size(mean)
        assert abs(mean - (1 - rate)).max() <= 5 * deviation / np.sqrt(n)


def test_what_is_dropped_is_independent():
    """Neighbours in samples, features and updates agree in half of the cases; so do other seeds."""
    kept = masks(0.5, n_updates=3)
    pairs = [
        (kept[:, 1:], kept[:, :-1]), (kept[:, 8:], kept[:, :-8]), (kept[:, 16:], kept[:, :-16]),
        (kept[..., 1:], kept[..., :-1]), (kept[..., 2:], kept[..., :-2]), (kept[1:], kept[:-1]), (kept[2:], kept[:1]),
        (kept, masks(0.5, n_updates=3, seed=1)), (kept, masks(0.5, n_updates=3, seed=2**32)),
    ]  # fmt: skip
    for a, b in pairs:
        assert abs((a == b).mean() - 0.5) < 5 * 0.5 / np.sqrt(a.size)


def test_what_is_dropped_depends_on_the_place_only():
    """Not on the dtype, nor on how the batch is put together; a new network drops the same again."""
    kept = masks(0.5)
    assert np.array_equal(kept, masks(0.5))
    assert np.array_equal(kept, masks(0.5, batch_size=8, accumulate=4))
    top = kept[0, -8:]  # float32 has 24 bits for the sum
    assert np.array_equal(top, masks(0.5, dtype="float32")[0, -8:])


def test_layers_drop_differently():
    layers = [fp.Dropout(0.5), fp.Dropout(0.5), fp.Dense(1, init="zeros")]
    net = fp.Network(layers, loss="quantile", optimizer=fp.SGD(4.0))
    X = np.ones((1, 4000))
    net.fit(X, [1e30], epochs=1, batch_size=None, progress=False)
    kept = net.get_weights()[0][0] > 0
    assert abs(kept.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / kept.size)
