"""CSV as a source of rows: the values of other readers, kinds of columns, every cut of a block, and what is damaged."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastprop.data import csv_format, csv_parse, from_csv, salvage, text
from fastprop.data.csv_files import CsvSource
from fastprop.data.usable import Labels
from fastprop.errors import FileError

pa = pytest.importorskip("pyarrow")

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def read(source, skip_bad=False):
    """All rows as a dict of lists, and the number of every row; checks what holds of any block."""
    columns = {name: [] for name in source.columns}
    numbers = []
    n_bad = 0
    for block in source.read(0, skip_bad):
        assert block.rows.schema.names == list(source.columns)
        assert all(
            column.type == (pa.float64() if kind == "number" else pa.dictionary(pa.int32(), pa.string()))
            for column, kind in zip(block.rows.columns, source.columns.values(), strict=True)
        )
        block.rows.validate(full=True)
        for name, values in block.rows.to_pydict().items():
            columns[name] += values
        numbers += block.row_numbers().tolist()
        n_bad += block.n_bad
    return columns, numbers, n_bad


def values(path, **options):
    return read(CsvSource(path, **options))[0]


def test_numbers_text_and_gaps(write):
    source = CsvSource(write("a,b,c\n1,x,\n,NA,2.5\nNaN, y ,-1e3\n"))
    assert source.columns == {"a": "number", "b": "text", "c": "number"}
    assert read(source)[0] == {"a": [1, None, None], "b": ["x", None, "y"], "c": [None, 2.5, -1000]}
    assert source.is_sequential
    assert (source.n_pieces, source.n_samples, source.rows_of(0), source.at_once(10**9)) == (1, None, None, 1)


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "nan", "NaN", "NULL", "null", " ", "   ", " na", "NA ", '" "'])
def test_every_way_to_write_a_gap(write, missing):
    path = write(f"a,b,c\n1,2,x\n{missing},3,{missing}\n")
    assert values(path) == {"a": [1, None], "b": [2, 3], "c": ["x", None]}


def test_quotes_line_breaks_marks_and_blank_lines(write):
    path = write('\ufeff\r\nname,"a, b"\r\n"two\nlines",1\r\n\r\n"say ""so""",2\r\n')
    assert values(path) == {"name": ["two\nlines", 'say "so"'], "a, b": [1, 2]}


@pytest.mark.parametrize(("name", "mark"), [("d.csv", ";"), ("d.csv", "\t"), ("d.tsv", "\t"), ("D.CSV", ",")])
def test_delimiters(write, name, mark):
    assert values(write(f"a{mark}b\n1{mark}2\n", name)) == {"a": [1], "b": [2]}


def test_a_delimiter_may_be_given(write):
    assert values(write("a|b\n1|2\n"), delimiter="|") == {"a": [1], "b": [2]}
    with pytest.raises(ValueError, match="delimiter must be one letter, got '::'"):
        CsvSource(write("a\n1\n"), delimiter="::")


def test_numbers_with_underscores_are_text(write):
    assert values(write("month\n2020_01\n2020_02\n")) == {"month": ["2020_01", "2020_02"]}


def test_columns_may_be_kept_as_text(write):
    assert values(write("a,b\n01,1\n2,1\n"), text=["a"]) == {"a": ["01", "2"], "b": [1, 1]}
    with pytest.raises(FileError, match=r"no column 'q' in .*its columns: a"):
        CsvSource(write("a\n1\n"), text=["q"])


def test_text_among_numbers_makes_a_column_of_text(write):
    path = write("zip,n\n007,1\n08,2\n9,3\nA1,4\n5,x\n")
    assert values(path) == {"zip": ["007", "08", "9", "A1", "5"], "n": ["1", "2", "3", "4", "x"]}


def test_one_word_in_a_column_of_numbers_is_an_error(write):
    source = CsvSource(write("a\n" + "1\n" * 20 + "?\n" + "2\n" * 20))
    with pytest.raises(FileError, match=r"row 20 \(line 22\), column 'a': got '\?', .*text=\['a'\], --text a"):
        read(source)
    assert values(write("a\n1\n?\n"), text=["a"]) == {"a": ["1", "?"]}


@pytest.mark.parametrize("word", ["true", "2020-01-01", "12:30", "0x10", "1_000", "1e", "--1"])
def test_what_is_text(write, word):
    assert CsvSource(write(f"a\n{word}\n")).columns == {"a": "text"}


@pytest.mark.parametrize("word", ["1", "-1.5", "+2", ".5", "5.", "1E-3", "inf", "-Infinity", '"7"', " 8 "])
def test_what_is_a_number(write, word):
    (value,) = values(write(f"a\n{word}\n"))["a"]
    assert value == float(word.strip('"'))


def test_a_column_without_values_is_numbers(write):
    assert values(write("a,b\n,1\nNA,2\n")) == {"a": [None, None], "b": [1, 2]}


def test_a_first_line_of_numbers_is_a_row(write):
    source = CsvSource(write("5.1,3\n4.9,2\n"))
    assert read(source) == ({"0": [5.1, 4.9], "1": [3, 2]}, [0, 1], 0)
    assert values(write("0,1\n4.9,2\n")) == {"0": [4.9], "1": [2]}


def test_columns_and_ignore(write):
    path = write("a,b,c\n1,x,3\n")
    assert values(path, columns=["c", "a"]) == {"a": [1], "c": [3]}
    assert values(path, ignore=["b"]) == {"a": [1], "c": [3]}
    with pytest.raises(FileError, match=r"no column 'bb' in .*did you mean 'b'"):
        CsvSource(path, ignore=["bb"])
    with pytest.raises(FileError, match=r"no column of .* is left"):
        CsvSource(path, ignore=["a", "b", "c"])


def test_only_reads_less_and_leaves_out_the_same_rows(write):
    source = CsvSource(write("a,b,c\n" + "1,x,3\n" * 20 + "?,y,4\n5,z,6\n"))
    bare = source.only(["b", "c"])
    assert bare.columns == {"b": "text", "c": "number"}
    assert read(bare)[0] == {"b": ["x"] * 20 + ["y", "z"], "c": [3] * 20 + [4, 6]}
    assert read(bare, skip_bad=True)[0] == {"b": ["x"] * 20 + ["z"], "c": [3] * 20 + [6]}
    assert list(source.columns) == ["a", "b", "c"]
    assert source.only() is source


def zstd(raw):
    return pa.compress(raw, "zstd", asbytes=True)


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)])
def test_compressed(write, ending, pack):
    content = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000))
    path = write(pack(content), f"d.csv{ending}")
    assert values(path) == {"a": list(range(5000)), "b": [i * i for i in range(5000)]}
    path.write_bytes(pack(content)[:-12])
    with pytest.raises(FileError, match=rf"d\.csv{ending} is damaged after [\d,]+ bytes of text"):
        values(path)
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(FileError, match=rf"d\.csv{ending} is damaged after 0 bytes of text"):
        CsvSource(path)


def test_several_files_are_read_one_after_another(write, tmp_path):
    write("a,b\n1,x\n", "p1.csv")
    write("a,b\n2,y\n3,x", "p2.csv")
    source = CsvSource(str(tmp_path / "p*.csv"))
    assert source.name == "2 files, first p1.csv"
    blocks = list(source.read(0))
    places = [(Path(block.file).name, row) for block in blocks for row in block.row_numbers()]
    assert places == [("p1.csv", 0), ("p2.csv", 0), ("p2.csv", 1)]
    assert values([tmp_path / "p2.csv", tmp_path / "p1.csv"])["a"] == [2, 3, 1]
    assert values(tmp_path)["b"] == ["x", "y", "x"]
    write("b,a\n1,x\n", "p3.csv")
    with pytest.raises(FileError, match=r"p3\.csv: column 0 is named 'b' where .*p1\.csv has 'a'"):
        CsvSource(str(tmp_path / "p*.csv"))
    write("a,b,c\n1,x,3\n", "p3.csv")
    with pytest.raises(FileError, match=r"p3\.csv: column 2 is named 'c' where .*p1\.csv has no more"):
        CsvSource(str(tmp_path / "p*.csv"))
    with pytest.raises(FileNotFoundError, match=r"no file matches .*q\*"):
        CsvSource(str(tmp_path / "q*.csv"))


# --- the same values however blocks are cut ---

TRICKY = (
    'id,name,"size, in cm",note\n'
    '1,"two\nlines",2.5,plain\n'
    '2,"a ""quoted"" word",-1e3,5" pipe\n'
    "\n"
    '3, "blank, before" ,NA,"x\ny\nz"\n'
    '4,ünïcode, 7 ,"\n"\n'
    '"5",last,8,end'
)


def tricky_rows():
    reader = csv.reader(io.StringIO(TRICKY, newline=""), skipinitialspace=True)
    next(reader)
    rows = [row for row in reader if row]
    return [(float(a), b.strip(), None if c == "NA" else float(c), d.strip() or None) for a, b, c, d in rows]


@pytest.mark.parametrize("n", range(1, len(TRICKY.encode()) + 1))
@pytest.mark.parametrize("small", [0, 1 << 15])
def test_every_cut_of_blocks_gives_the_same_rows(write, monkeypatch, n, small):
    path = write(TRICKY)
    source = CsvSource(path, text=["name"])
    monkeypatch.setattr(text, "BLOCK", n)
    monkeypatch.setattr(salvage, "SMALL", small)
    assert read(source)[1] == [0, 1, 2, 3, 4]
    assert list(zip(*read(source)[0].values(), strict=True)) == tricky_rows()


cells = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(
        ["", "NA", " null", "x", "a b", ' "', "ä", "1_0", "tab\t", 'in"ch', '"', ",", "\n", "\r\n", 'q", "q']
    ),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=6),
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(cells, min_size=k, max_size=k), min_size=1, max_size=12)),
       st.integers(1, 200), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))  # fmt: skip
def test_what_python_writes_is_read_again(tmp_path_factory, rows, block, quoting):
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    names = [f"c{i}" for i in range(len(rows[0]))]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=quoting).writerows([names, *rows])
    with pytest.MonkeyPatch.context() as patch:
        source = CsvSource(path, text=names)
        patch.setattr(text, "BLOCK", block)
        ours, numbers, n_bad = read(source)
    with open(path, newline="", encoding="utf-8") as file:
        expected = [row for row in csv.reader(file, skipinitialspace=True) if row][1:]
    tidy = [[None if (s := cell.strip()).lower() in csv_format.MISSING else s for cell in row] for row in expected]
    assert [list(row) for row in zip(*ours.values(), strict=True)] == tidy
    assert numbers == list(range(len(expected)))
    assert n_bad == 0


@settings(max_examples=150, deadline=None)
@given(st.text('a1"\n, ', max_size=30))
def test_pyarrow_and_row_by_row_agree(content):
    """Whatever pyarrow accepts has the values that reading row by row finds."""
    form = csv_format.Format(",", ("a", "b"), 0, 1)
    parser = csv_parse.Parser(form, {"a": "text", "b": "text"})
    place = salvage.Place("x", 0, 1)
    end = csv_format.cut_rows(content.encode() + b"\n", ",")
    fast = parser._at_once(content.encode()[:end], place) if end else None
    if fast is not None:
        slow = parser._by_rows(content.encode()[:end], place, skip_bad=False)
        assert fast.rows.to_pydict() == slow.rows.to_pydict()


def test_a_long_row_spans_many_blocks(write, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 1000)
    long = "x" * 100_000
    assert values(write(f'a,b\n1,"{long}\n{long}"\n2,y\n'))["b"] == [f"{long}\n{long}", "y"]


# --- the same values as other readers ---


@pytest.mark.skipif(not SHARED.is_dir(), reason="no data sets")
@pytest.mark.parametrize(
    ("name", "n_rows"),
    [
        ("kddcup99_10pct/kddcup.tsv.gz", 494_020),
        ("sgemm_gpu/sgemm_product.csv.gz", 241_600),
        ("bike_sharing/hour.csv", 17_379),
        ("california_housing/housing.csv", 20_640),
        ("covtype_20k/covtype.20k.data.gz", None),
    ],
)
def test_real_files_as_pandas_reads_them(name, n_rows):
    import pandas as pd

    source = CsvSource(SHARED / name)
    table = pa.Table.from_batches([block.rows for block in source.read(0)]).to_pandas()
    options = {"header": None} if "covtype" in name else {}
    expected = pd.read_csv(SHARED / name, sep="\t" if ".tsv" in name else ",", **options)
    assert n_rows in (None, len(table))
    assert list(table.columns) == [str(column) for column in expected.columns]
    for ours, theirs in zip(table.columns, expected.columns, strict=True):
        if source.columns[ours] == "number":
            np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-15)
        else:
            assert table[ours].tolist() == expected[theirs].tolist()


# --- bad rows ---

BAD = [
    ("1,x,3\n4,y\n", "'c': missing: the row has 2 values for 3 columns"),
    ("1,x,3\n4,y,6,7\n", "'c': '7' follows it: the row has 4 values for 3 columns"),
    ("1,x,3\n4,y,abc\n", r"'c': got 'abc', expected a number \(text=\['c'\], --text c keeps the column as text\)"),
    ("1,x,3\n4,y,1_0\n", "'c': got '1_0', expected a number"),
    ("1,x,3\n4,y,١\n", "'c': got '١', expected a number"),
    ("1,x,3\n?,y,6\n", r"'a': got '\?', expected a number"),
    ("1,x,3\n4\n", "'b': missing: the row has 1 values for 3 columns"),
    (b"1,x,3\n4,\xe4,6\n", r"'b': got b'\\xe4', which is not UTF-8 text"),
    (b"1,x,3\n4,y,\xe4\n", r"'c': got b'\\xe4', expected a number"),
]


@pytest.mark.parametrize(("rows", "message"), BAD)
@pytest.mark.parametrize("n_before", [0, 40, 5000])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_bad_row_has_its_place(write, monkeypatch, rows, message, n_before, ending):
    monkeypatch.setattr(text, "BLOCK", 10_000)
    monkeypatch.setattr(salvage, "SMALL", 500)
    rows = rows if isinstance(rows, bytes) else rows.encode()
    content = b"a,b,c\n" + b"7,z,8\n\n" * n_before + rows + b"7,z,8\n" * 30
    source = CsvSource(write(gzip.compress(content) if ending else content, f"data.csv{ending}"))
    source.columns = {"a": "number", "b": "text", "c": "number"}  # a small file with much that is bad looks like text
    row, line = n_before + 1, 2 * n_before + 3
    with pytest.raises(FileError, match=rf"data\.csv{ending}, row {row} \(line {line}\), column {message}"):
        read(source)
    columns, numbers, n_bad = read(source, skip_bad=True)
    assert n_bad == 1
    assert numbers == [*range(row), *range(row + 1, row + 31)]
    assert columns["a"] == [7] * n_before + [1] + [7] * 30
    assert columns["b"] == ["z"] * n_before + ["x"] + ["z"] * 30


def test_rows_before_a_bad_one_come_first(write, monkeypatch):
    monkeypatch.setattr(salvage, "SMALL", 500)
    source = CsvSource(write("a,b\n" + "1,2\n" * 7000 + "1,x\n" + "1,2\n" * 3000))
    lengths = (len(block) for block in source.read(0))
    n = next(lengths) + next(lengths)
    with pytest.raises(FileError, match="row 7000"):
        any(length == 0 for length in lengths)
    assert 5000 < n <= 7000


def test_line_breaks_within_quotes_count_as_lines(write):
    source = CsvSource(write('a,b\n"x\ny\n\nz",1\nw,2\nv,bad,3\n' + "u,1\n" * 20))
    with pytest.raises(FileError, match=r"row 2 \(line 7\), column 'b'"):
        read(source)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nan,1,1", r"row 3 \(line 8\), column 'a': X must be finite, got nan"),
        ("1,inf,1", r"row 3 \(line 8\), column 'b': X must be finite, got inf"),
        ("1,2,", r"row 3 \(line 8\), column 'y': the target must be finite, got nan"),
    ],
)
def test_numbers_that_cannot_be_used_have_their_place(write, row, message):
    path = write(f'note,a,b,y\n"x\ny",1,2,0\n\nz,1,2,0\nz,1,2,1\n\nz,{row}\nz,1,2,1\n')
    with pytest.raises(FileError, match=message):
        from_csv(path, "y", ignore=["note"]).load()


def test_missing_labels_have_their_place(write, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 500)
    monkeypatch.setattr(salvage, "SMALL", 100)
    good = "".join(f"{i},{'uv'[i % 2]}\n" for i in range(300))
    data = from_csv(write("a,y\n" + good + "oops,u\n" + good + "1,\n" + good), "y", on_bad_rows="skip")
    labels = Labels(np.array(["u", "v"]))
    bad = next(windows for windows in data.windows(10_000, labels=labels))
    assert (bad.n_rows, bad.n_skipped) == (900, 2)
    data.skips = False
    monkeypatch.setattr(data, "source", Skipping(data.source))  # a row that was left out counts as a row
    with pytest.raises(
        FileError, match=r"row 601 \(line 603\), column 'y': the target is missing; .*on_bad_rows='skip'"
    ):
        list(data.windows(10_000, labels=labels))


class Skipping:
    """A source that leaves out what cannot be read, whatever it is told."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        return getattr(self._source, name)

    def read(self, piece, skip_bad=False):
        return self._source.read(piece, skip_bad=True)


def test_many_bad_rows_are_all_left_out(write, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 5000)
    monkeypatch.setattr(salvage, "SMALL", 100)
    content = "a,b\n" + "".join(f"{i},{'?' if i % 37 == 5 else i}\n" for i in range(3000))
    columns, numbers, n_bad = read(CsvSource(write(content)), skip_bad=True)
    good = [i for i in range(3000) if i % 37 != 5]
    assert numbers == columns["a"] == columns["b"] == good
    assert n_bad == 3000 - len(good)


def test_text_in_a_later_file_is_named(write, tmp_path):
    write("a\n1\n", "p1.csv")
    write("a\n2\nx\n", "p2.csv")
    source = CsvSource([tmp_path / "p1.csv", tmp_path / "p2.csv"])
    with pytest.raises(FileError, match=r"p2\.csv, row 1 \(line 3\), column 'a': got 'x'"):
        read(source)
    assert values([tmp_path / "p1.csv", tmp_path / "p2.csv"], text=["a"]) == {"a": ["1", "2", "x"]}


@pytest.mark.parametrize("n", [1, 3, 1000])
def test_a_quote_that_is_not_closed(write, monkeypatch, n):
    source = CsvSource(write('a,b\n1,x\n\n2,"y\n' + "3,z\n" * n))
    with pytest.raises(FileError, match=r"row 1 \(line 4\): a quote is opened and not closed before the file ends"):
        read(source)
    monkeypatch.setattr(text, "BLOCK", 100)
    monkeypatch.setattr(text, "LONGEST", 2000)
    message = "not closed before" if n < 1000 else "the row at byte 9 of the text is longer than 2,000 bytes"
    with pytest.raises(FileError, match=message):
        read(source, skip_bad=True)


# --- files that are not what they were, or never were ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: its first line must name the columns"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        (b"a,a\n1,2\n", "two columns are named 'a'"),
        ("a,b\n".encode("utf-16"), "is not UTF-8 text"),
        (b'a\n"' + b"x" * 200_000, "a quote is opened and not closed"),
        (b'"' + b"x" * 200_000, "is not a table of text"),
    ],
)
def test_not_a_table(write, content, message):
    path = write(content)
    with pytest.raises(FileError, match=message) as caught:
        read(CsvSource(path))
    assert path.name in str(caught.value)


def test_a_header_alone_has_no_rows(write):
    source = CsvSource(write("a,b\n"))
    assert read(source)[0] == {"a": [], "b": []}


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CsvSource(tmp_path / "nowhere.csv")
    with pytest.raises(FileNotFoundError, match="no file in the folder"):
        CsvSource(tmp_path)
    with pytest.raises(ValueError, match="at least one file"):
        CsvSource([])


def big(write, ending=""):
    content = b"a,b\n" + b"1.25,2.5\n" * 100_000
    return write(gzip.compress(content, 0) if ending else content, f"data.csv{ending}"), CsvSource


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("keep", [0, 300_001, 799_999])
def test_a_file_that_shrinks_while_it_is_read(write, monkeypatch, keep, ending):
    monkeypatch.setattr(text, "BLOCK", 10_000)
    path, source = big(write, ending)
    source = source(path)
    n_bytes = path.stat().st_size
    blocks = source.read(0, skip_bad=True)
    next(blocks)
    os.truncate(path, keep)
    message = rf"shrank while it was read: it had {n_bytes:,} bytes and has {keep:,}"
    with pytest.raises(FileError, match=message if not ending else "damaged after|shrank"):
        list(blocks)
    with pytest.raises(FileError, match=message):
        list(source.read(0))


def test_a_file_that_grows_or_vanishes(write):
    path, source = big(write)
    source = source(path)
    with open(path, "ab") as file:
        file.write(b"1,2\n")
    with pytest.raises(FileError, match=r"data\.csv grew while it was read"):
        list(source.read(0))
    path.unlink()
    with pytest.raises(FileError, match=r"data\.csv has vanished while it was read"):
        list(source.read(0))


def test_two_threads_read_one_source(write, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 5000)
    source = CsvSource(write("a,b\n" + "".join(f"{i},t{i % 7}\n" for i in range(20_000))))
    expected = read(source)
    found = []
    threads = [threading.Thread(target=lambda: found.append(read(source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
