"""libsvm files as a source of rows: the values of scikit-learn's reader, and every way for a line to be wrong."""

from __future__ import annotations

import bz2
import gzip
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from fastprop.data import from_libsvm, salvage, text
from fastprop.data.libsvm import LibsvmSource
from fastprop.data.libsvm_parse import LARGEST, Rules, parse_lines, read_lines
from fastprop.data.salvage import Place
from fastprop.errors import FileError

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
LINES = b"1 1:0.5 3:-2\n-1 2:1e3\n\n1.5\n0 1:1 2:2 3:3\n"
DENSE = [[0.5, 0, -2], [0, 1000, 0], [0, 0, 0], [1, 2, 3]]


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.svm"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(source, skip_bad=False):
    """X as CSR, y, the number of each row and how many were bad; checks what holds of any block."""
    blocks = list(source.read(0, skip_bad))
    for block in blocks:
        assert block.rows.dtype == np.float64
        assert block.rows.indices.dtype == block.rows.indptr.dtype == np.int32
        block.rows.check_format(full_check=True)
        assert block.rows.shape == (len(block.y), source.n_features)
        X = block.rows
        assert sparse.csr_matrix((X.data, X.indices, X.indptr), X.shape).has_canonical_format  # a new one looks
    X = sparse.vstack([block.rows for block in blocks]) if blocks else None
    y = np.concatenate([block.y for block in blocks]) if blocks else None
    return X, y, [row for block in blocks for row in block.row_numbers().tolist()], sum(b.n_bad for b in blocks)


def test_rows_labels_and_what_is_known(write):
    source = LibsvmSource(write(LINES))
    X, y, rows, n_bad = read(source)
    np.testing.assert_array_equal(X.toarray(), DENSE)
    np.testing.assert_array_equal(y, [1, -1, 1.5, 0])
    assert (rows, n_bad) == ([0, 1, 2, 3], 0)
    assert (source.n_features, source.n_samples, source.rows_of(0)) == (3, 4, 4)
    assert source.is_sequential
    assert (source.n_pieces, source.columns, source.at_once(10**9)) == (1, {}, 1)


def test_n_features_may_be_given(write):
    source = LibsvmSource(write(LINES), n_features=5)
    assert (source.n_features, source.n_samples) == (5, None)
    assert read(source)[0].shape == (4, 5)
    with pytest.raises(TypeError, match=r"n_features must be a positive integer or None, got 2\.5"):
        LibsvmSource(write("1 1:2\n"), n_features=2.5)
    with pytest.raises(ValueError, match="n_features must be a positive integer or None, got 0"):
        LibsvmSource(write(LINES), n_features=0)


def test_indices_may_count_from_0(write):
    source = LibsvmSource(write(b"1 0:5 2:6\n"), zero_based=True)
    np.testing.assert_array_equal(read(source)[0].toarray(), [[5, 0, 6]])


@pytest.mark.parametrize("small", [0, 1 << 15])
def test_comments_queries_blanks_and_line_ends(write, monkeypatch, small):
    content = b"# made by hand\n1\tqid:7  2:3 \t# 9:9\r\n\r\n  \n+1 qid:1 1:.5   \n#\n-2.5e0 1:1 3:-inf"
    X, y, rows, _ = read(LibsvmSource(write(content)))
    np.testing.assert_array_equal(X.toarray(), [[0, 3, 0], [0.5, 0, 0], [1, 0, -np.inf]])
    np.testing.assert_array_equal(y, [1, 1, -2.5])
    assert rows == [0, 1, 2]


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_and_several_files(write, tmp_path, ending, pack):
    write(pack(LINES), f"a.svm{ending}")
    write(pack(b"7 5:1\n"), f"b.svm{ending}")
    source = LibsvmSource(tmp_path)
    X, y, rows, _ = read(source)
    np.testing.assert_array_equal(X.toarray(), [[*row, 0, 0] for row in DENSE] + [[0, 0, 0, 0, 1]])
    assert y.tolist() == [1, -1, 1.5, 0, 7]
    assert rows == [0, 1, 2, 3, 0]
    assert source.name == f"2 files, first a.svm{ending}"
    if ending:
        path = tmp_path / f"b.svm{ending}"
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(FileError, match=rf"b\.svm{ending} is damaged after"):
            LibsvmSource(path)


@pytest.mark.parametrize("n", range(1, len(LINES) + 1))
def test_every_cut_of_blocks_gives_the_same_rows(write, monkeypatch, n):
    path = write(LINES)
    monkeypatch.setattr(text, "BLOCK", n)
    X, y, rows, _ = read(LibsvmSource(path))
    np.testing.assert_array_equal(X.toarray(), DENSE)
    assert y.tolist() == [1, -1, 1.5, 0]
    assert rows == [0, 1, 2, 3]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.floats(0, 1), st.integers(0, 99), st.integers(1, 300), st.booleans())
def test_what_sklearn_writes_is_read_again(tmp_path_factory, n, d, density, seed, block, zero_based):
    rng = np.random.default_rng(seed)
    X = sparse.random(n, d, density, "csr", random_state=rng, data_rvs=lambda k: rng.standard_normal(k) * 1e5)
    y = rng.standard_normal(n)
    path = tmp_path_factory.mktemp("svm") / "data.svm"
    dump_svmlight_file(X, y, str(path), zero_based=zero_based)
    expected, y_expected = load_svmlight_file(str(path), n_features=d, zero_based=zero_based)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", block)
        ours, y_ours, rows, _ = read(LibsvmSource(path, d, zero_based))
    np.testing.assert_array_equal(ours.toarray(), expected.toarray())
    np.testing.assert_array_equal(y_ours, y_expected)
    assert rows == list(range(n))


pieces = st.sampled_from(
    [*"0123456789", "1:2", " 3:4", " ", ":", "\n", "\n", "1", "\n2 1:1", "-", ".", "e", "#", "qid:3", ","]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=25).map("".join))
def test_all_at_once_and_line_by_line_agree(lines):
    """Whatever is parsed at once has the values that reading line by line finds."""
    rules = Rules(1, 10)
    fast = parse_lines(lines.encode(), rules)
    slow = read_lines(lines.encode(), Place("x", 0, 1), rules, skip_bad=True)
    assert (fast is None) == (slow.n_bad > 0)
    if fast is not None:
        for name in ("y", "indptr", "indices", "values"):
            np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no data sets")
@pytest.mark.parametrize(
    ("name", "shape"),
    [("reuters_sparse/reuters.tst.bz2", (3299, 8315)), ("a9a/a9a", (32_561, 123)), ("a9a/a9a.t", None)],
)
def test_real_files_as_sklearn_reads_them(name, shape):
    path = SHARED / name
    expected, y = load_svmlight_file(str(path))
    source = LibsvmSource(path)
    X, y_ours, _, _ = read(source)
    assert X.shape == expected.shape == (shape or expected.shape)
    assert source.n_samples == len(y)
    assert abs(X - expected).nnz == 0
    np.testing.assert_array_equal(y_ours, y)


BAD = [
    ("1 0:1 2:3", r"column 0: indices count from 1 \(zero_based=True reads files that count from 0\)"),
    ("1 2:1 1:3", "column 1: the index follows 2; those of a row must grow"),
    ("1 2:1 2:3", "column 2: the index stands twice; those of a row must grow"),
    ("1 8:1", "column 8: the index is larger than 7, the last of n_features=7"),
    ("1 1:x", "column 1: got 'x', expected a number"),
    ("1 1:1_0", "column 1: got '1_0', expected a number"),
    ("1 1:", "column 1: got '', expected a number"),
    ("1 1: 2", "column 1: got '', expected a number"),
    ("1 1:2:3", "column 1: got '2:3', expected a number"),
    ("1 7", "column 'index': got '7', expected index:value"),
    ("1 x:7", "column 'index': got 'x:7', expected index:value"),
    ("1 1.5:7", "column 'index': got '1.5:7', expected index:value"),
    ("1 -1:7", "column 'index': got '-1:7', expected index:value"),
    ("1 :7", "column 'index': got ':7', expected index:value"),
    ("a 1:7", "column 'label': got 'a', expected a number"),
    ("1,2 1:7", "column 'label': got '1,2', expected a number: a row may have one label only"),
    ("1:7", "column 'label': got '1:7', expected a number: a row may have one label only"),
    ("nan 1:7", "column 'label': got nan, which is not finite"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
@pytest.mark.parametrize("n_before", [0, 3000])
def test_a_bad_line_has_its_place(write, monkeypatch, line, message, n_before):
    monkeypatch.setattr(text, "BLOCK", 10_000)
    monkeypatch.setattr(salvage, "SMALL", 500)
    content = "1 1:2\n\n" * n_before + f"{line}\n" + "3 4:5\n" * 20
    source = LibsvmSource(write(content), n_features=7)
    with pytest.raises(FileError, match=rf"data\.svm, row {n_before} \(line {2 * n_before + 1}\), {message}"):
        read(source)
    X, y, rows, n_bad = read(source, skip_bad=True)
    assert n_bad == 1
    assert rows == [*range(n_before), *range(n_before + 1, n_before + 21)]
    assert y.tolist() == [1] * n_before + [3] * 20
    assert X.nnz == n_before + 20


@pytest.mark.parametrize("zero_based", [False, True])
def test_numbers_that_cannot_be_used_have_their_place(write, zero_based):
    content = "# ours\n1 1:2 2:3\n\n-1 2:1 # a remark\n1 1:1 2:nan\n1 2:1\n"
    with pytest.raises(FileError, match=r"data\.svm, row 2 \(line 5\), column 2: X must be finite, got nan"):
        from_libsvm(write(content), n_features=3, zero_based=zero_based).load()


def test_bad_rows_do_not_count_as_features(write):
    source = LibsvmSource(write(f"1 1:2\n1 {LARGEST + 1}:1\n1 9:1 4:1\n"))
    assert (source.n_features, source.n_samples) == (1, 3)
    with pytest.raises(FileError, match=rf"row 1 \(line 2\), column {LARGEST + 1}: the index is larger than {LARGEST}"):
        read(source)
    assert read(source, skip_bad=True)[3] == 2


def test_no_rows(write):
    source = LibsvmSource(write(b"# nothing\n"))
    assert (source.n_samples, list(source.read(0))) == (0, [])


@pytest.mark.parametrize("keep", [0, 30_001])
def test_a_file_that_shrinks_while_it_is_read(write, monkeypatch, keep):
    monkeypatch.setattr(text, "BLOCK", 10_000)
    path = write(b"1 1:2 7:8\n" * 10_000)
    source = LibsvmSource(path)
    blocks = source.read(0, skip_bad=True)
    next(blocks)
    os.truncate(path, keep)
    with pytest.raises(FileError, match=rf"shrank while it was read: it had 100,000 bytes and has {keep:,}"):
        list(blocks)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        LibsvmSource(tmp_path / "nowhere.svm")


def test_two_threads_read_one_source(write, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 5000)
    source = LibsvmSource(write("".join(f"{i} {i % 9 + 1}:{i}\n" for i in range(20_000))))
    found = []
    threads = [threading.Thread(target=lambda: found.append(read(source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    X, y, _, _ = read(source)
    for ours, y_ours, _, _ in found:
        assert abs(ours - X).nnz == 0
        np.testing.assert_array_equal(y_ours, y)
