"""Windows of a stream: every row once an epoch, in an even order, from the place where one began; bad rows by name."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import fastprop as fp
from fastprop import data
from fastprop.data.order import far_apart, rounds, uniform
from fastprop.data.reader import Ahead
from fastprop.data.sizes import bytes_of
from fastprop.data.usable import Labels
from fastprop.data.windows import Windows

pytestmark = pytest.mark.quick


@pytest.fixture
def files(tmp_path):
    """Save X and y; the dataset of them, with tiny windows."""

    def files(X, y=None, memory_limit="256kB", **options):
        np.save(tmp_path / "X.npy", X)
        if y is not None:
            np.save(tmp_path / "y.npy", y)
        return data.from_npy(
            tmp_path / "X.npy", None if y is None else tmp_path / "y.npy", memory_limit=memory_limit, **options
        )

    return files


def numbered(n, d=3, dtype=np.float32):
    """Rows that say which they are."""
    X = np.zeros((n, d), dtype)
    X[:, 0] = np.arange(n)
    return X


def taken(windows, epoch=0, begins=None):
    """Copies of the windows of an epoch."""
    found = []
    for window in windows.of(epoch, begins):
        found.append((np.array(window.X[:, 0]).astype(int), window.begins, window.is_last))
        window.release()
    return found


# ---- order --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 3))
def test_each_piece_is_in_one_round_and_rounds_are_even_samples(n_pieces, at_once, epoch):
    found = rounds(n_pieces, at_once, 7, epoch)
    assert sorted(np.concatenate(found).tolist()) == list(range(n_pieces))
    n_rounds = len(found)
    for pieces in found:
        assert len(pieces) <= at_once
        stretches = np.sort(pieces) // n_rounds  # one of each stretch, but perhaps the last, shorter one
        assert stretches.tolist() in (list(range(len(stretches))), [*range(len(stretches))])


@given(st.integers(1, 200), st.integers(0, 5))
def test_any_stretch_of_a_round_is_spread_over_it(n, seed):
    order = far_apart(n, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(n))
    for length in (n // 4, n // 2):
        if length > 8:
            part = np.sort(order[:length]) / n
            even = (np.arange(length) + 0.5) / length
            assert np.abs(part - even).max() < 0.2


def test_another_epoch_has_another_order_and_a_seed_the_same():
    first, again, other = (np.concatenate(rounds(100, 8, 3, epoch)) for epoch in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


# ---- windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n", [1, 37, 5_000, 20_011])
def test_every_row_once_in_windows_of_whole_updates(files, n, shuffle):
    dataset = files(numbered(n), np.arange(n))
    n_rows = dataset.window_rows(32)
    rows, ends = [], []
    for window in Windows(dataset, n_rows, shuffle=shuffle).of(0):
        np.testing.assert_array_equal(window.X[:, 0], window.y)
        rows.append(window.y.copy())
        ends.append(window.is_last)
        window.release()
    assert sorted(np.concatenate(rows).tolist()) == list(range(n))
    assert {len(r) for r in rows[:-1]} <= {n_rows}
    assert n_rows % 32 == 0
    assert ends == [False] * (len(ends) - 1) + [True]
    if not shuffle:
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(n))


@pytest.mark.parametrize("n", [4096, 8192])
def test_an_epoch_that_fills_its_last_window(files, n):
    windows = Windows(files(numbered(n)), 1024)
    assert [end for *_, end in taken(windows)] == [False] * (n // 1024 - 1) + [True]


@settings(deadline=None, max_examples=25)
@given(st.integers(2_000, 12_000), st.sampled_from([0.0, 0.3]), st.booleans(), st.booleans(), st.data())
def test_an_epoch_goes_on_where_a_window_began(tmp_path_factory, n, fraction, shuffle, bad, choose):
    path = tmp_path_factory.mktemp("rows") / "X.npy"
    X = numbered(n)
    if bad:
        X[::7, 1] = np.nan
    np.save(path, X)
    dataset = data.from_npy(path, memory_limit="128kB", on_bad_rows="skip" if bad else "error")
    if fraction:
        dataset = dataset.split(fraction)[0]
    windows = Windows(dataset, 512, shuffle=shuffle, seed=5)
    whole = taken(windows, epoch=2)
    k = choose.draw(st.integers(0, len(whole) - 1))
    rest = taken(windows, 2, whole[k][1])
    assert [r[1:] for r in rest] == [w[1:] for w in whole[k:]]
    for (rows, *_), (expected, *_) in zip(rest, whole[k:], strict=True):
        np.testing.assert_array_equal(rows, expected)


def test_windows_of_csr(tmp_path):
    rng = np.random.default_rng(0)
    X = sparse.random_array((3_001, 50), density=0.1, format="csr", rng=rng)
    batches = [X[i : i + 100] for i in range(0, X.shape[0], 100)]
    dataset = data.from_batches(lambda: iter(batches), memory_limit="64kB")
    found = []
    for window in Windows(dataset, dataset.window_rows(8), dtype="float32").of(0):
        assert window.X.dtype == np.float32
        found.append(window.X)
    assert len(found) > 3
    np.testing.assert_allclose(sparse.vstack(found).toarray(), X.toarray(), rtol=1e-6)


def denser_and_denser(n=4_000, batch=130):
    """CSR batches whose rows have 1 to 60 entries, and the number of a row as its first."""
    n_entries = 1 + 59 * np.arange(n) // n
    indptr = np.concatenate([[0], np.cumsum(n_entries)]).astype(np.int32)
    indices = np.concatenate([np.arange(k) for k in n_entries]).astype(np.int32)
    values = np.ones(len(indices), np.float32)
    values[indptr[:-1]] = np.arange(n)
    X = sparse.csr_array((values, indices, indptr), shape=(n, 60))
    return X, [X[i : i + batch] for i in range(0, n, batch)]


@pytest.mark.parametrize("update_rows", [1, 32, 500])
def test_windows_of_csr_end_when_their_memory_is_full(update_rows):
    X, batches = denser_and_denser()
    dataset = data.from_batches(lambda: iter(batches), memory_limit="64kB")
    windows = Windows(dataset, dataset.window_rows(update_rows), update_rows=update_rows)
    found = list(windows.of(0))
    np.testing.assert_array_equal(sparse.vstack([window.X for window in found]).toarray(), X.toarray())
    for window in found[:-1]:
        n, last = window.n_rows, window.X[-update_rows:]
        assert n % update_rows == 0
        assert bytes_of(window.X) >= 8_000 - 4 or n == windows.n_rows
        assert bytes_of(window.X) - bytes_of(last) < 8_000 + 4
    assert len(found) > (4 if update_rows == 500 else 50)
    for k in (1, len(found) // 2, len(found) - 1):
        for window, expected in zip(windows.of(0, found[k].begins), found[k:], strict=True):
            assert (window.begins, window.is_last) == (expected.begins, expected.is_last)
            np.testing.assert_array_equal(window.X.toarray(), expected.X.toarray())


def of_types(*rows):
    """A dataset of batches of 100 rows (n, 2) each, of these dtypes and values."""
    batches = [np.full((100, 2), value, dtype) for dtype, value in rows]
    return data.from_batches(lambda: iter(batches), memory_limit="1MB")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("i1", 7), ("i2", 1_000)),
        (("u1", 7), ("u2", 7)),
        (("i8", 7), ("f4", 1.5)),
        (("f4", 7), ("i4", 2**30 + 1)),
        (("u1", 7), ("i1", -1)),
    ],
)
@pytest.mark.parametrize("n_rows", [64, 100, 1_000])
def test_rows_that_the_first_ones_dtype_cannot_hold(first, then, n_rows):
    dataset = of_types(first, then)
    types = rf"X is {np.dtype(then[0])}, in the first rows {np.dtype(first[0])}, which cannot hold it"
    with pytest.raises(fp.FileError, match=f"batches, row 100: {types}"):
        taken(Windows(dataset, n_rows))


def test_rows_that_the_first_ones_dtype_holds():
    found = next(Windows(of_types(("f8", 0.1), ("f4", 0.1), ("i4", 2**30 + 1)), 1_000).of(0)).X
    assert found.dtype == np.float64
    assert found[::100, 0].tolist() == [0.1, float(np.float32(0.1)), 2**30 + 1]
    assert next(Windows(of_types(("f4", 0.1), ("f8", 0.1)), 1_000, dtype="f8").of(0)).X.dtype == np.float32
    with pytest.raises(fp.FileError, match="batches, row 100, column 0: X must be finite, got inf"):
        next(Windows(of_types(("f4", 1), ("f8", 1e300)), 1_000).of(0))


def test_memory_is_used_again(files):
    dataset = files(numbered(50_000))
    addresses = set()
    for window in Windows(dataset, dataset.window_rows()).of(0):
        addresses.add(window.X.ctypes.data)
        window.release()
    assert len(addresses) <= 3


def test_what_is_not_released_is_not_overwritten(files):
    dataset = files(numbered(50_000))
    windows = Windows(dataset, dataset.window_rows()).of(0)
    first = next(windows)
    kept = first.X.copy()
    next(windows).release()
    next(windows).release()
    np.testing.assert_array_equal(first.X, kept)


def test_an_update_that_fits_no_window_is_refused(files):
    with pytest.raises(ValueError, match="an update of 100000 rows does not fit into a window, which holds"):
        files(numbered(1_000)).window_rows(100_000)


# ---- bad rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_a_number_that_is_not_finite(files, value, dtype):
    X = np.ones((3_000, 3), dtype)
    X[1_234, 2] = value
    with pytest.raises(fp.FileError, match=r"X\.npy, row 1234, column 2: X must be finite, got (nan|inf|-inf)"):
        taken(Windows(files(X), 512))
    dataset = files(X, on_bad_rows="skip")
    last = list(Windows(dataset, 4096).of(0))[-1]
    assert (last.n_rows, last.n_skipped) == (2_999, 1)


def test_numbers_whose_sum_overflows_are_good(files):
    windows = Windows(files(np.full((999, 3), 3e38, "f4")), 512).of(0)
    assert [next(windows).n_rows, next(windows).n_rows] == [512, 487]


def test_a_number_too_large_for_the_network(files):
    X = np.ones((1_000, 2))
    X[77, 1] = 1e39
    with pytest.raises(fp.FileError, match="row 77, column 1: X must be finite, got inf"):
        taken(Windows(files(X), 512, dtype="float32"))
    assert len(taken(Windows(files(X), 512, dtype="float64"))) == 2


def test_a_target_that_is_missing_or_unknown(files):
    y = np.arange(3_000) % 3
    bad = y.astype(float)
    bad[99] = np.nan
    with pytest.raises(fp.FileError, match=r"y\.npy, row 99: the target must be finite, got nan; .*on_bad_rows='skip'"):
        taken(Windows(files(numbered(3_000), bad), 512))
    with pytest.raises(fp.FileError, match=r"y\.npy, row 99: the target is missing"):
        taken(Windows(files(numbered(3_000), bad), 512, labels=Labels(np.arange(3))))
    y[1_777] = 7
    with pytest.raises(fp.FileError, match=r"y\.npy, row 1777: the label 7 was never seen before; known are 0, 1, 2"):
        taken(Windows(files(numbered(3_000), y), 512, labels=Labels(np.arange(3))))
    dataset = files(numbered(3_000), y, on_bad_rows="skip")
    assert sum(len(rows) for rows, *_ in taken(Windows(dataset, 512, labels=Labels(np.arange(3))))) == 2_999
    several = np.ones((3_000, 3))
    several[99, 2] = np.inf
    with pytest.raises(fp.FileError, match=r"y\.npy, row 99, column 2: the target must be finite, got inf$"):
        taken(Windows(files(numbered(3_000), several), 512))


@pytest.mark.parametrize(
    ("classes", "y", "codes", "known"),
    [
        (["a", "c"], np.array(["c", "b", "a"]), [1, 0], [True, False, True]),
        (["a", "c"], np.array(["c", None, "a", 3], object), [1, 0], [True, False, True, False]),
        ([-1, 1], np.array([1.0, -1.0, 0.5, np.nan]), [1, 0], [True, True, False, False]),
        ([0, 1], np.array([1, 0, 2, -1]), [1, 0], [True, True, False, False]),
        ([False, True], np.array([True, False]), [1, 0], [True, True]),
    ],
)
def test_codes_of_labels(classes, y, codes, known):
    found, is_known = Labels(np.array(classes)).encode(y)
    assert is_known.tolist() == known
    assert found[is_known].tolist() == codes


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("bad", [range(6_000), range(3_000, 9_000), range(14_000, 20_000), range(5, 20_000, 997)])
def test_rows_that_cannot_be_read(tmp_path, shuffle, bad):
    """Whole blocks of them, at the beginning of the file, within it and at its end, and single ones."""
    lines = ["a,y", *(f"{i},{i}" for i in range(20_000))]
    for row in bad:
        lines[row + 1] = "1,2,3"
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    dataset = data.from_csv(tmp_path / "rows.csv", target="y", on_bad_rows="skip", memory_limit="64kB")
    windows = Windows(dataset, 640, shuffle=shuffle)
    found, told = [], []
    for window in windows.of(0):
        found.append((window.y.tolist(), window.begins, window.n_skipped))
        window.release()
    assert [row for rows, *_ in found for row in rows] == sorted(set(range(20_000)) - set(bad))
    assert found[-1][2] == len(bad)
    assert windows.skipped == [(dataset.source.name, row) for row in list(bad)[:5]]
    for k in (1, len(found) // 3, len(found) // 2, len(found) - 1):
        told.clear()
        for window in windows.of(0, found[k][1]):
            told.append((window.y.tolist(), window.begins, window.n_skipped))
            window.release()
        assert told == found[k:]


@pytest.mark.parametrize(("row", "column"), [(0, "a"), (700, "b")])
def test_columns_are_named(tmp_path, row, column):
    lines = ["a,b,y", *(["1,2,3"] * 1_000)]
    lines[row + 1] = {"a": ",2,3", "b": "1,,3"}[column]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    dataset = data.from_csv(tmp_path / "rows.csv", target="y", memory_limit="64kB")
    with pytest.raises(
        fp.FileError, match=rf"rows\.csv, row {row} .line {row + 2}., column '{column}': X must be finite, got nan"
    ):
        taken(Windows(dataset, 64))


def test_no_rows_that_are_good(files):
    with pytest.raises(fp.FileError, match=r"X\.npy holds no rows that are good"):
        taken(Windows(files(np.full((100, 2), np.nan, "f4"), on_bad_rows="skip"), 64))


# ---- splitting, and the thread that reads ahead -------------------------------------------------------------------


def test_draws_are_uniform_and_independent():
    rows = np.arange(100_000)
    a, b = uniform(0, 0, rows), uniform(0, 1, rows)
    assert a.min() >= 0
    assert a.max() < 1
    np.testing.assert_allclose(np.histogram(a, 20, (0, 1))[0], 5_000, atol=350)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.02


def test_ahead_raises_where_the_items_end():
    def items():
        yield 1
        yield 2
        raise fp.FileError("gone")

    with Ahead(items()) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(fp.FileError, match="gone"):
            next(ahead)
        with pytest.raises(StopIteration):
            next(ahead)


def test_closing_ends_the_thread_and_the_items():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with Ahead(items()) as ahead:
        next(ahead)
    assert closed.is_set()
    assert not ahead._thread.is_alive()


def test_closing_does_not_wait_for_an_iterator_that_gives_nothing():
    goes_on = threading.Event()

    def items():
        yield 0
        goes_on.wait(30)
        yield 1

    start = time.monotonic()
    with Ahead(items()) as ahead:
        next(ahead)
    assert ahead._thread.is_alive()
    assert time.monotonic() - start < 20
    goes_on.set()
    ahead._thread.join(20)
    assert not ahead._thread.is_alive()


def test_closing_while_the_reader_waits_for_memory(files):
    dataset = files(numbered(50_000))
    with dataset.windows(dataset.window_rows()) as windows:
        next(windows)
        time.sleep(0.1)  # both other windows are full by now, and none was released
    assert not windows._thread.is_alive()
