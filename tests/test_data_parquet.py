"""Parquet as a source of rows: the values of pyarrow's own reader, kinds of columns, folders, memory, and damage."""

from __future__ import annotations

import decimal
import os
import re
import threading
import warnings
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastprop.data import from_parquet, parquet
from fastprop.data.parquet import ParquetSource
from fastprop.data.windows import Windows
from fastprop.errors import FileError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def numbers(n, k=5, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table({f"x{i}": rng.standard_normal(n).astype(np.float32) for i in range(k)})


@pytest.fixture
def write(tmp_path):
    def write(table, name="data.parquet", **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
        return path

    return write


def read(source, skip_bad=False):
    """All rows in the order of pieces as a dict of lists; checks what holds of any block."""
    columns = {name: [] for name in source.columns}
    for piece in range(source.n_pieces):
        n = 0
        first = None
        for block in source.read(piece, skip_bad):
            first = block.first if first is None else first
            assert block.first == first + n
            assert block.rows.schema.names == list(source.columns)
            assert block.numbers is None
            block.rows.validate(full=True)
            for name, values in block.rows.to_pydict().items():
                columns[name] += values
            n += len(block) + block.n_bad
        assert n == source.rows_of(piece)
    return columns


def test_row_groups_are_pieces(write):
    table = numbers(1000)
    source = ParquetSource(write(table, row_group_size=300))
    assert (source.n_samples, source.n_pieces) == (1000, 4)
    assert [source.rows_of(piece) for piece in range(4)] == [300, 300, 300, 100]
    assert not source.is_sequential
    assert source.columns == {f"x{i}": "number" for i in range(5)}
    assert read(source) == table.to_pydict()
    assert [block.first for block in source.read(2)] == [600]


def test_large_row_groups_come_in_parts(write, monkeypatch):
    monkeypatch.setattr(parquet, "BLOCK", 2000)
    table = numbers(1001)
    source = ParquetSource(write(table, row_group_size=1001))
    assert [len(block) for block in source.read(0)] == [100] * 10 + [1]
    assert read(source) == table.to_pydict()


columns = st.sampled_from(
    [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(),
     pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64()), pa.decimal128(7, 2), pa.null()]
)  # fmt: skip


def values_of(type_, n, rng):
    if pa.types.is_dictionary(type_):
        return values_of(type_.value_type, n, rng).dictionary_encode().cast(type_)
    whole = rng.integers(0, 100, n)
    gaps = rng.random(n) < 0.2
    if pa.types.is_null(type_):
        return pa.nulls(n)
    if pa.types.is_decimal(type_):
        return pa.array(
            [None if gap else decimal.Decimal(int(v)) / 4 for v, gap in zip(whole, gaps, strict=True)], type_
        )
    made = {"string": [f"ü{v}" for v in whole], "large_string": [f"w{v}" for v in whole], "bool": whole % 2 == 0}
    return pa.array(made.get(str(type_), whole), mask=gaps).cast(type_)


def plain(table):
    """Values as the source gives them: numbers for booleans and decimals."""
    rows = table.to_pydict()
    return {name: [v if v is None or isinstance(v, str) else float(v) for v in column] for name, column in rows.items()}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(columns, min_size=1, max_size=5), st.integers(0, 300), st.integers(1, 200), st.integers(0, 9),
    st.sampled_from(["none", "snappy", "zstd"]), st.booleans(), st.sampled_from([1, 100, 3000, 1 << 22]),
)  # fmt: skip
def test_random_tables_are_read_as_pyarrow_reads_them(tmp_path_factory, types, n, group, seed, codec, coded, block):
    rng = np.random.default_rng(seed)
    table = pa.table([values_of(type_, n, rng) for type_ in types], names=[f"c{i}" for i in range(len(types))])
    path = tmp_path_factory.mktemp("parquet") / "data.parquet"
    pq.write_table(table, path, row_group_size=group, compression=codec, use_dictionary=coded)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "BLOCK", block)
        source = ParquetSource(path)
        assert source.n_samples == n
        assert plain(pa.table(read(source))) == plain(table)


def test_kinds_and_types(write):
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int16()),
            "b": [True, None],
            "h": np.array([1, 2], np.float16),
            "d": [decimal.Decimal("1.50"), None],
            "n": pa.nulls(2),
            "c": pa.array([7, 8]).dictionary_encode(),
            "s": ["a", None],
            "l": pa.array(["a", "b"], pa.large_string()),
        }
    )
    source = ParquetSource(write(table))
    assert list(source.columns.values()) == ["number"] * 6 + ["text"] * 2
    (block,) = source.read(0)
    types = [str(type_) for type_ in block.rows.schema.types]
    coded = "dictionary<values=string, indices=int32, ordered=0>"
    assert types == ["int16", "uint8", "float", "double", "double", "int64", coded, coded]
    assert block.rows.to_pylist()[1] == {
        "i": None, "b": None, "h": 2, "d": None, "n": None, "c": 8, "s": None, "l": "b",
    }  # fmt: skip
    source = ParquetSource(write(table, use_dictionary=False))
    assert [str(type_) for type_ in next(source.read(0)).rows.schema.types[-2:]] == ["string", "string"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pa.array([0], pa.timestamp("us")),
            r"timestamp\[us\], which is neither .*: store numbers made from it \(year,",
        ),
        (pa.array([0], pa.date32()), r"holds date32\[day\], .*leave it out \(ignore=\['bad'\], --ignore bad\)"),
        (pa.array([0], pa.time32("s")), r"holds time32"),
        (pa.array([[1.0]]), r"holds list<.*: store its parts as columns of their own or leave it out"),
        (pa.array([{"a": 1}]), r"holds struct<.*: store its parts"),
        (pa.array([b"x"]), r"holds binary, .*: leave it out"),
    ],
)
def test_columns_that_are_neither_numbers_nor_text(write, values, message):
    path = write({"a": [1], "bad": values})
    with pytest.raises(FileError, match=rf"data\.parquet, column 'bad' holds.*{message.removeprefix('holds ')}"):
        ParquetSource(path)
    assert read(ParquetSource(path, ignore=["bad"])) == {"a": [1]}
    assert read(ParquetSource(path, columns=["a"])) == {"a": [1]}


def test_columns_and_ignore(write):
    path = write({"a": [1], "a.b": [2], "c": [3]})
    assert read(ParquetSource(path, columns=["c", "a"])) == {"a": [1], "c": [3]}
    assert read(ParquetSource(path, ignore=["a"])) == {"a.b": [2], "c": [3]}
    with pytest.raises(FileError, match=r"no column 'cc' in .*; did you mean 'c'\? its columns: a, a\.b, c"):
        ParquetSource(path, columns=["cc"])


def test_columns_that_are_not_wanted_are_not_decoded(write):
    """Their bytes are destroyed, and nobody notices."""
    path = write(numbers(10_000, 2), compression="none", use_dictionary=False)
    place = pq.read_metadata(path).row_group(0).column(1).data_page_offset
    raw = bytearray(path.read_bytes())
    raw[place : place + 30] = b"\xff" * 30
    path.write_bytes(raw)
    assert len(read(ParquetSource(path, columns=["x0"]))["x0"]) == 10_000
    with pytest.raises(FileError, match="row group 0"):
        read(ParquetSource(path))


def test_only_reads_less_and_leaves_out_the_same_rows(write):
    path = write(numbers(100, 2), row_group_size=50, compression="none", use_dictionary=False, write_page_checksum=True)
    source = ParquetSource(path)
    raw = bytearray(path.read_bytes())
    raw[pq.read_metadata(path).row_group(1).column(1).data_page_offset + 100] ^= 255
    path.write_bytes(raw)
    bare = source.only(["x0"])
    assert list(bare.columns) == ["x0"]
    assert len(read(bare)["x0"]) == 100
    assert read(bare, skip_bad=True) == {"x0": read(source, skip_bad=True)["x0"]}
    assert len(read(bare, skip_bad=True)["x0"]) == 50
    assert bare.at_once(10**6) > source.at_once(10**6)
    assert source.only() is source


# --- several files ---


def test_lists_patterns_and_folders(write, tmp_path):
    a, b = write({"x": [1, 2]}, "f/a.parquet"), write({"x": [3]}, "f/g/b.pq")
    write({"x": [4]}, "f/_notes.parquet")
    write({"x": [5]}, "f/.hidden/c.parquet")
    (tmp_path / "f" / "_SUCCESS").touch()
    for paths, expected in [
        (a, [1, 2]),
        (str(tmp_path / "f" / "*.parquet"), [4, 1, 2]),
        ([b, a], [3, 1, 2]),
        (tmp_path / "f", [1, 2, 3]),
        (str(tmp_path / "**" / "*.pq"), [3]),
    ]:
        assert read(ParquetSource(paths)) == {"x": expected}
    assert ParquetSource([b, a]).name == "2 files, first b.pq"
    with pytest.raises(ValueError, match=r"a\.parquet more than once"):
        ParquetSource([a, a])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ParquetSource(tmp_path / "nowhere.parquet")


def test_folders_of_partitions_become_columns(write, tmp_path):
    write({"x": [1, 2]}, "t/year=2020/city=A%20B/p.parquet")
    write({"x": [3]}, "t/year=2021/city=__HIVE_DEFAULT_PARTITION__/p.parquet")
    source = ParquetSource(tmp_path / "t")
    assert source.columns == {"x": "number", "year": "number", "city": "text"}
    assert read(source) == {"x": [1, 2, 3], "year": [2020, 2020, 2021], "city": ["A B", "A B", None]}
    assert read(ParquetSource(str(tmp_path / "t/*/*/p.parquet"), columns=["year"])) == {"year": [2020, 2020, 2021]}
    import pyarrow.dataset as ds

    theirs = ds.dataset(tmp_path / "t", partitioning="hive").to_table().to_pydict()
    assert {name: [v or None for v in values] for name, values in theirs.items()} == read(source)
    write({"x": [3]}, "t/year=2022/p.parquet")
    with pytest.raises(FileError, match=r"year=2022/p\.parquet has no column 'city', which .* has"):
        ParquetSource(tmp_path / "t")


def test_number_types_that_differ_are_cast(write, tmp_path):
    write({"x": pa.array([1], pa.int32()), "s": pa.array(["a"])}, "a.parquet")
    write({"s": pa.array(["b"], pa.large_string()), "x": pa.array([2.5])}, "b.parquet")
    source = ParquetSource(tmp_path)
    assert read(source) == {"x": [1, 2.5], "s": ["a", "b"]}
    assert {str(next(source.read(piece)).rows.schema.field("x").type) for piece in range(2)} == {"double"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": [1]}, "has no column 's', which .*a.parquet has"),
        ({"x": [1], "s": ["a"], "z": [1]}, "has a column 'z', which .*a.parquet has not"),
        (
            {"x": ["1"], "s": ["a"]},
            "column 'x' holds string, but int64 in .*a.parquet: it must be numbers in all files",
        ),
        ({"x": pa.array([0], pa.date32()), "s": ["a"]}, r"column 'x' holds date32\[day\]"),
    ],
)
def test_files_with_other_columns(write, tmp_path, other, message):
    write({"x": [1], "s": ["a"]}, "a.parquet")
    write(other, "b.parquet")
    with pytest.raises(FileError, match=rf"b\.parquet,? {message}"):
        ParquetSource(tmp_path)


def indexed(index, **columns):
    """A table as pandas writes a frame of these columns."""
    pd = pytest.importorskip("pandas")
    return pa.Table.from_pandas(pd.DataFrame({"x": [1.0, 2.0, 3.0], **columns}, index=index))


def test_an_index_is_no_feature(write, tmp_path):
    pd = pytest.importorskip("pandas")
    path = write(indexed([2, 0, 1]), "t/a.parquet")
    assert "__index_level_0__" in pq.read_schema(path).names
    write(indexed(None), "t/b.parquet")  # a range is no column
    write(indexed(pd.date_range("2026-01-01", periods=3, name="day")), "t/c.parquet")
    assert ParquetSource(tmp_path / "t").columns == {"x": "number"}
    named = write(indexed(pd.Index([5, 6, 7], name="age"), label=["a", "b", "a"]), "d.parquet")
    assert from_parquet(named, "label").features.feature_names == ("x",)
    assert read(ParquetSource(named, columns=["age"])) == {"age": [5, 6, 7]}
    assert list(ParquetSource(named, ignore=["age"]).columns) == ["x", "label"]
    with pytest.raises(FileError, match=r"no column of .*d\.parquet is left to learn from: 'age' is an index"):
        ParquetSource(named, ignore=["x", "label"])


def test_an_index_that_is_asked_for_is_read(write):
    pd = pytest.importorskip("pandas")
    path = write(indexed(pd.Index([5, 6, 7], name="age")))
    data = from_parquet(path, "age")
    assert data.features.feature_names == ("x",)
    np.testing.assert_array_equal(data.head(3)[1], [5, 6, 7])
    data = from_parquet(path).for_network(("age", "x"), None)  # that of a frame with a column "age"
    np.testing.assert_array_equal(data.head(3)[0], [[5, 1], [6, 2], [7, 3]])
    plain = from_parquet(write(pa.table({"age": [5.0, 6, 7], "x": [1.0, 2, 3]}), "plain.parquet"), prepare=True)
    prepared = from_parquet(path).prepare(plain.preparation)
    np.testing.assert_array_equal(prepared.head(3)[0], plain.head(3)[0])


@pytest.mark.parametrize(
    "notes", [b"{", b"[]", b'{"index_columns": 3}', b'{"index_columns": [{"kind": "range"}, null]}']
)
def test_notes_of_pandas_that_cannot_be_read(write, notes):
    table = pa.table({"x": [1.0]}).replace_schema_metadata({b"pandas": notes})
    assert ParquetSource(write(table)).columns == {"x": "number"}


def test_a_row_is_counted_within_its_file(write, tmp_path):
    write(numbers(10), "a.parquet", row_group_size=4)
    write(numbers(10), "b.parquet", row_group_size=4)
    source = ParquetSource(tmp_path)
    places = [(os.path.basename(b.file), b.first) for piece in range(6) for b in source.read(piece)]
    assert places == [(name, first) for name in ("a.parquet", "b.parquet") for first in (0, 4, 8)]


def test_no_rows(write):
    source = ParquetSource(write({"x": pa.array([], pa.float64()), "s": pa.array([], pa.string())}))
    assert (source.n_samples, source.n_pieces, source.at_once(1)) == (0, 0, 1)


# --- memory ---


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_open_row_groups_hold_what_is_said(write, codec):
    """Four groups of 11 MB, each read a block at a time beside the others, in at most what `at_once` counts on."""
    source = ParquetSource(write(numbers(4 << 17, 20), row_group_size=1 << 17, compression=codec))
    held = source._held(source._largest)
    assert source.at_once(4 * held) == 4
    assert source.at_once(0) == 1
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    readers = [source.read(piece) for piece in range(4)]
    peak = 0
    for _ in range(2):
        for reader in readers:
            block = next(reader)
            assert 1 << 20 < block.rows.nbytes <= 1.04 * parquet.BLOCK  # bits of what is missing come on top
            peak = max(peak, pool.bytes_allocated() - before)
    assert 2 * held < peak <= 4 * held


def test_row_groups_too_large_for_the_memory_are_warned_of(write, monkeypatch):
    monkeypatch.setattr(parquet, "UNNOTICED", 1 << 20)
    rows = numbers(1 << 16, 20)
    path = write(rows, row_group_size=1 << 16)
    with pytest.warns(
        RuntimeWarning, match=r"row group of 65,536 rows takes about \d+ MB, more than the 10 MB"
    ) as told:
        from_parquet(path, memory_limit="20MB")
    assert [one.filename for one in told] == [__file__]
    most = int(re.search(r"at most ([\d,]+) rows, or raise memory_limit", str(told[0].message))[1].replace(",", ""))
    path = write(rows, row_group_size=most)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = from_parquet(path, memory_limit="20MB").source
    assert source._held(source._largest) <= 10e6
    with pytest.warns(RuntimeWarning, match="for reading: raise memory_limit"):  # 20 buffers are more
        from_parquet(path, memory_limit="1MB")


def test_blocks_are_smaller_where_the_memory_is(write):
    path = write(numbers(1 << 16, 10), row_group_size=1 << 16)
    largest = {}
    for limit in ("30MB", "100MB", "1GB"):
        source = from_parquet(path, memory_limit=limit).source
        largest[limit] = max(block.rows.nbytes for block in source.read(0))
    assert largest["30MB"] < 1.04 * parquet.LEAST_BLOCK < largest["100MB"] < 1.04 * 100e6 / 64 < largest["1GB"]


# --- damage ---


def flip(path, place, n=30):
    raw = bytearray(path.read_bytes())
    for i in range(place, place + n):
        raw[i] ^= 0x5A
    path.write_bytes(raw)


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "gzip", "lz4"])
def test_a_damaged_row_group(write, monkeypatch, codec):
    monkeypatch.setattr(parquet, "BLOCK", 4000)
    table = numbers(3000, 3)
    path = write(table, row_group_size=1000, compression=codec, write_page_checksum=True, use_dictionary=False)
    source = ParquetSource(path)
    flip(path, pq.read_metadata(path).row_group(1).column(2).data_page_offset + 200)
    with pytest.raises(FileError, match=r"data\.parquet, row group 1 \(rows 1000 to 1999\): damaged, 0 rows could be"):
        read(source)
    rows = read(source, skip_bad=True)
    assert rows == pa.concat_tables([table[:1000], table[2000:]]).to_pydict()
    (block,) = source.read(1, skip_bad=True)
    assert (len(block), block.n_bad, block.first) == (0, 1000, 1000)
    assert block.rows.schema == next(source.read(0)).rows.schema


@pytest.mark.parametrize("damaged", [[0], [2], [5], [0, 5], [2, 3]])
@pytest.mark.parametrize("n_rows", [70, 100, 250, 1000])
def test_rows_of_damaged_row_groups_are_counted_wherever_they_are(write, damaged, n_rows):
    """In an epoch, and in one that goes on from the beginning of any window."""
    path = write(
        numbers(600, 2), row_group_size=100, compression="none", write_page_checksum=True, use_dictionary=False
    )
    data = from_parquet(path, "x1", on_bad_rows="skip")
    for group in damaged:
        flip(path, pq.read_metadata(path).row_group(group).column(0).data_page_offset + 50)
    good = 600 - 100 * len(damaged)
    windows = told(data, n_rows)
    assert (sum(n for _, n, _ in windows), windows[-1][2]) == (good, 600 - good)
    for begins, _, _ in windows:
        assert told(data, n_rows, begins)[-1][2] == 600 - good


def told(data, n_rows, begins=None):
    """Of the windows of an epoch: where each begins, its rows, and how many were left out up to its end."""
    found = []
    for window in Windows(data, n_rows).of(0, begins):
        found.append((window.begins, window.n_rows, window.n_skipped))
        window.release()
    return found


def test_a_row_group_damaged_at_its_end_gives_what_is_before(write, monkeypatch):
    monkeypatch.setattr(parquet, "BLOCK", 400)
    path = write(numbers(2000, 1), compression="none", use_dictionary=False, data_page_size=400,
                 write_page_checksum=True, column_encoding="PLAIN", write_batch_size=50)  # fmt: skip
    source = ParquetSource(path)
    flip(path, pq.read_metadata(path).row_group(0).column(0).data_page_offset + 6000)
    blocks = list(source.read(0, skip_bad=True))
    n_good = sum(map(len, blocks))
    assert 1000 < n_good < 2000
    assert sum(block.n_bad for block in blocks) == 2000 - n_good
    with pytest.raises(FileError, match=rf"rows 0 to 1999\): damaged, {n_good} rows could be read: .*CRC"):
        read(source)


def test_text_that_is_not_utf8(write):
    path = write({"s": ["abcdefgh"] * 10}, compression="none")
    source = ParquetSource(path)
    place = path.read_bytes().index(b"abcdefgh")
    flip(path, place, 1)
    raw = path.read_bytes()
    path.write_bytes(raw[:place] + b"\xff\xfe" + raw[place + 2 :])
    with pytest.raises(FileError, match=r"row group 0 \(rows 0 to 9\): damaged, .*UTF8"):
        read(source)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"a,b\n1,2\n" * 9, b"PAR1" + b"\0" * 50 + b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1"]
)
def test_not_parquet(tmp_path, content):
    (tmp_path / "d.parquet").write_bytes(content)
    with pytest.raises(FileError, match=r"d\.parquet is damaged, or not a Parquet file"):
        ParquetSource(tmp_path / "d.parquet")


def test_a_truncated_file(write):
    path = write(numbers(1000))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FileError, match="is damaged, or not a Parquet file"):
        ParquetSource(path)


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize("keep", [0, 0.3, 0.99])
def test_a_file_that_shrinks_while_it_is_read(write, monkeypatch, keep, skip_bad):
    monkeypatch.setattr(parquet, "BLOCK", 10_000)
    path = write(numbers(300_000, 3), row_group_size=100_000, data_page_size=10_000)
    source = ParquetSource(path)
    blocks = source.read(1, skip_bad)
    next(blocks)
    n_bytes = path.stat().st_size
    left = int(keep * n_bytes)
    os.truncate(path, left)
    message = rf"data\.parquet shrank while it was read: it had {n_bytes:,} bytes and has {left:,}"
    if keep < 0.5:  # else the group is whole
        with pytest.raises(FileError, match=message):
            list(blocks)
    with pytest.raises(FileError, match=message):
        next(source.read(0, skip_bad))
    path.unlink()
    with pytest.raises(FileError, match=r"data\.parquet has vanished while it was read"):
        next(source.read(0, skip_bad))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bytes_are_an_error_or_values_but_no_crash(tmp_path_factory, data):
    """And the rows that come, with those left out, are as many as the footer says."""
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.standard_normal(300), "s": rng.choice(["a", "bb", "ccc"], 300)})
    path = tmp_path_factory.mktemp("flips") / "data.parquet"
    pq.write_table(table, path, row_group_size=100, compression=data.draw(st.sampled_from(["none", "snappy", "zstd"])))
    raw = bytearray(path.read_bytes())
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4)):
        raw[place] = byte
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw)] * 4 + [len(raw) // 2]))])
    with suppress(FileError):
        source = ParquetSource(path)
        read(source, skip_bad=True)
        read(source)


def test_two_threads_read_one_source(write):
    table = numbers(20_000)
    source = ParquetSource(write(table, row_group_size=3000))
    found = []
    threads = [threading.Thread(target=lambda: found.append(read(source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [table.to_pydict()] * 4
