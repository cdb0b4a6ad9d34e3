"""The command line on all kinds of files, and on real ones from the file to the evaluated model."""

from __future__ import annotations

import bz2
import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import reported

import fastprop as fp
from fastprop.cli_data import format_of
from fastprop.cli_values import hashed, seconds

DATA = Path(__file__).resolve().parents[2] / "shared/data"

pytestmark = pytest.mark.usefixtures("folder")
N = 800

needs = pytest.mark.skipif


@pytest.fixture
def table():
    """Numbers, text with gaps, a text with an open vocabulary, and things to predict: price, tax > 0 and kind."""
    rng = np.random.default_rng(0)
    size, place = rng.uniform(20, 200, N), rng.choice(["town", "coast", "hills"], N)
    worth = 3.0 * size + np.select([place == "town", place == "coast"], [200.0, 350.0], 0.0)
    return pa.table(
        {
            "size": pa.array(np.where(rng.random(N) < 0.03, np.nan, size), from_pandas=True),
            "place": place,
            "agent": [f"agent {i}" for i in rng.integers(0, 2000, N)],
            "price": worth + rng.normal(0, 5, N),
            "tax": np.exp(worth / 300),
            "kind": np.where(worth > 500, "dear", "cheap"),
        }
    )


def write_csv(path, table, opener=open, delimiter=","):
    rows = zip(*(["" if v is None else v for v in c.to_pylist()] for c in table.columns), strict=True)
    with opener(path, "wt", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([table.column_names, *rows])


def write_parts(table, n=4):
    """Parquet files in a folder, with several row groups each."""
    Path("parts").mkdir()
    for k in range(n):
        part = table.slice(k * N // n, N // n)
        pq.write_table(part, f"parts/part{k}.parquet", row_group_size=64)


FEW = ("--hidden", "32", "--epochs", 30)


@pytest.mark.parametrize(
    ("name", "opener", "delimiter"),
    [("d.csv", open, ","), ("d.tsv", open, "\t"), ("d.csv.gz", gzip.open, ";"), ("d.tsv.bz2", bz2.open, "\t")],
)
def test_text_files(ok, table, name, opener, delimiter):
    write_csv(name, table.drop_columns(["agent", "tax"]), opener, delimiter)
    out = ok("train", name, "--target", "kind", "--ignore", "price", *FEW)
    assert f"{name}: 800 rows, 2 columns, 4 features" in out
    assert reported(ok("evaluate", "model.safetensors", name), "accuracy") > 0.9


@pytest.mark.parametrize("data", [["parts"], ["parts/*.parquet"], [f"parts/part{k}.parquet" for k in range(4)]])
def test_parquet(ok, table, data):
    write_parts(table.drop_columns(["agent", "tax", "kind"]))
    out = ok("train", *data, "--target", "price", *FEW)
    assert "800 rows, 2 columns, 4 features" in out
    assert reported(ok("evaluate", "model.safetensors", *data), "R2") > 0.9
    ok("predict", "model.safetensors", *data, "--out", "p.parquet")
    written = pq.read_table("p.parquet")
    assert (written.column_names, written.num_rows) == (["price"], N)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
@pytest.mark.parametrize("by", ["ending", "format"])
def test_libsvm(ok, suffix, by):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 5)) * (rng.random((N, 5)) < 0.5)
    y = np.where(X[:, 0] + X[:, 1] > 0, 1, -1)
    lines = [
        f"{label} " + " ".join(f"{j + 1}:{v:.6g}" for j, v in enumerate(x) if v) for label, x in zip(y, X, strict=True)
    ]
    name, how = (f"d.svm{suffix}", ()) if by == "ending" else (f"d{suffix or '.txt'}", ("--format", "libsvm"))
    opener = {"": open, ".gz": gzip.open, ".bz2": bz2.open}[suffix]
    with opener(name, "wt") as file:
        file.write("\n".join(lines) + "\n")
    out = ok("train", name, *how, *FEW)
    assert "800 rows, 5 columns, 5 features" in out
    assert "beside the rows, classification" in out
    assert reported(ok("evaluate", "model.safetensors", name, *how), "accuracy") > 0.9
    predicted = ok("predict", "model.safetensors", name, *how).split()
    assert predicted[0] == "prediction"
    assert set(predicted[1:]) == {"-1", "1"}


def test_npy_with_a_second_file(ok):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 3)).astype(np.float32)
    y = np.column_stack([100 * X[:, 0] + 5, X[:, 1] * X[:, 2]])
    np.save("x.npy", X)
    np.save("y.npy", y)
    assert "beside the rows, regression" in ok("train", "x.npy", "--target", "y.npy", *FEW)
    out = ok("evaluate", "model.safetensors", "x.npy", "--target", "y.npy")
    assert reported(out, "R2 prediction[0]") > 0.95
    ok("predict", "model.safetensors", "x.npy", "--out", "p.npy")
    predicted = np.load("p.npy")
    assert predicted.shape == (N, 2)
    np.testing.assert_allclose(
        np.sqrt(((predicted - y) ** 2).mean()), reported(out, "RMSE"), rtol=1e-4
    )  # in the units of the file


def test_several_targets_by_their_logarithm(ok, table):
    write_csv("d.csv", table.drop_columns(["agent", "kind"]))
    out = ok("train", "d.csv", "--target", "price", "--target", "tax", "--log-target", *FEW)
    assert "price, tax, regression of the logarithm" in out
    out = ok("evaluate", "model.safetensors", "d.csv")
    for name in ("R2 of log", "R2 price of log", "R2 tax of log", "R2"):
        assert reported(out, name) > 0.9
    ok("predict", "model.safetensors", "d.csv", "--out", "p.csv")
    rows = list(csv.reader(Path("p.csv").read_text().splitlines()))
    assert rows[0] == ["price", "tax"]
    actual = np.column_stack([table["price"], table["tax"]])
    assert np.abs(np.log(np.array(rows[1:], float)) - np.log(actual)).mean() < 0.2
    assert "target      price, tax" in ok("info", "model.safetensors")


def test_open_vocabularies_are_hashed(ok, run, table):
    many = pa.table({"agent": [f"agent {i}" for i in range(1500)], "y": np.arange(1500) % 2})
    write_csv("many.csv", many)
    code, _, err = run("train", "many.csv", "--target", "y", *FEW)
    assert code == 2
    assert "column 'agent' holds more than 1000 different texts" in err
    out = ok("train", "many.csv", "--target", "y", "--hash", "agent=512", *FEW)
    assert "1500 rows, 1 columns, 512 features" in out
    ok("evaluate", "model.safetensors", "many.csv")


def test_columns_of_very_many_texts_are_named(ok):
    """Dates are text to us: a feature for each day learns the rows by heart, and nobody would notice."""
    days = [f"2024-{1 + i // 28 % 12:02d}-{1 + i % 28:02d}" for i in range(N)]
    some = [f"place {i % 100}" for i in range(N)]
    write_csv("d.csv", pa.table({"day of sale": days, "place": some, "y": np.arange(N) % 2}))
    out = ok("train", "d.csv", "--target", "y", *FEW)
    (line,) = re.findall(r"^categories  (.*)$", out, re.MULTILINE)
    assert line.startswith(f"'day of sale' holds {len(set(days))} different texts in {N} rows")
    assert "--ignore 'day of sale'" in line
    assert "--hash 'day of sale'=64" in line
    for option in ("--ignore", "day of sale"), ("--hash", "day of sale=64"):
        assert "categories" not in ok("train", "d.csv", "--target", "y", *option, *FEW)
    write_csv("e.csv", pa.table({"name": [f"row {i}" for i in range(40)], "y": np.arange(40) % 2}))
    assert "'name' holds 40 different texts in 40 rows" in ok("train", "e.csv", "--target", "y", *FEW)


def test_a_missing_label_names_what_to_do(ok, run):
    write_csv("d.csv", pa.table({"x": np.arange(N), "Status (final)": [None, *(["open", "done"] * N)[: N - 1]]}))
    code, _, err = run("train", "d.csv", "--target", "Status (final)", *FEW)
    assert code == 2
    assert "row 0 (line 2), column 'Status (final)': the target is missing" in err
    assert "--on-bad-rows skip" in err
    assert "skipped     1 rows" in ok("train", "d.csv", "--target", "Status (final)", "--on-bad-rows", "skip", *FEW)


@pytest.mark.parametrize("kind", ["csv", "parquet", "npy"])
def test_what_does_not_fit_in_memory_is_streamed(ok, kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 8)).astype(np.float32)
    columns = {str(i): x for i, x in enumerate(np.column_stack([X, X[:, 0] - X[:, 1]]).T)}
    if kind == "npy":
        np.save("d.npy", np.column_stack(list(columns.values())))
    elif kind == "csv":
        write_csv("d.csv", pa.table({f"c{name}": column for name, column in columns.items()}))
    else:
        pq.write_table(pa.table(columns), "d.parquet", row_group_size=2000)
    target = "c8" if kind == "csv" else "8"
    limited = ("--memory-limit", "2MB")
    out = ok("train", f"d.{kind}", "--target", target, "--epochs", 3, *limited)
    order = "in the order of the source" if kind == "csv" else "in random order"
    assert re.search(rf"^streaming   read {order}; rows are shuffled within windows of [\d,]+ rows$", out, re.MULTILINE)
    assert "validation" in out
    assert reported(ok("evaluate", "model.safetensors", f"d.{kind}", *limited), "R2") > 0.95
    ok("predict", "model.safetensors", f"d.{kind}", "--out", "p.npy", *limited)
    predicted = np.load("p.npy")
    assert predicted.shape == (30_000,)
    assert np.abs(predicted - columns["8"]).mean() < 0.2  # in the order of the file


@pytest.mark.parametrize("limit", ["1GB", "200kB"])
def test_a_run_that_was_stopped_goes_on(ok, run, table, monkeypatch, limit):
    write_csv("d.csv", pa.concat_tables([table.drop_columns(["agent", "kind", "tax"])] * 10))
    saved = ("--checkpoint", "run.ckpt", "--every", "20ms", "--memory-limit", limit)
    train = ("train", "d.csv", "--target", "price", "--epochs", 6, *saved)
    ok(*train, "--out", "whole.safetensors")
    for path in Path().glob("run.ckpt*"):
        path.unlink()
    fit = fp.Network.fit

    class Stop:
        def on_epoch_end(self, net, epoch, logs):
            if epoch == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fp.Network, "fit", lambda net, *args, **how: fit(net, *args, callbacks=[Stop()], **how))
        code, out, _ = run(*train)
    assert (code, "stopped" in out) == (130, True)
    assert "with --resume the run in run.ckpt goes on" in out
    assert "resuming    a run of which 3 of 6 epochs are done\n" in ok(*train, "--resume")
    whole, resumed = (fp.load(name).state_dict() for name in ("whole.safetensors", "model.safetensors"))
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)


RUN = ("train", "d.csv", "--target", "y", "--hidden", "8", "--checkpoint", "run.ckpt")


@pytest.fixture
def line():
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    write_csv("d.csv", pa.table({"x": x, "more": rng.normal(size=N), "y": x + rng.normal(0, 0.1, N)}))


def rates():
    return fp.resume("run.ckpt").history_["lr"]


def test_a_run_begins_where_there_is_no_checkpoint_yet(ok, line):
    assert "no checkpoint yet: run.ckpt begins here" in ok(*RUN, "--epochs", 2, "--resume")
    assert fp.load("model.safetensors").extra == {}
    assert "a run of which 2 of 2 epochs are done" in ok(*RUN, "--epochs", 2, "--resume")


def test_a_run_goes_on_from_the_checkpoint_before(ok, line):
    """Where the newest has vanished, the one before it is still there."""
    ok(*RUN, "--epochs", 2)
    Path("run.ckpt").rename("run.ckpt.previous")
    with pytest.warns(RuntimeWarning, match="previous, is taken"):
        assert "2 of 2 epochs are done" in ok(*RUN, "--epochs", 2, "--resume")


def test_a_run_that_grows_has_its_schedule_laid_out_anew(ok, line):
    """The same rates as a run of that length has from there on, not the 0 that the first ended with."""
    ok(*RUN, "--epochs", 6, "--early-stopping", 0)
    longer = rates()
    ok(*RUN, "--epochs", 3, "--early-stopping", 0)
    shorter = rates()
    out = ok(*RUN, "--epochs", 6, "--early-stopping", 0, "--resume")
    assert "a run of which 3 of 6 epochs are done" in out
    assert "schedule    the learning rate falls to 0 within 6 epochs now, not 3" in out
    assert rates() == shorter + longer[3:]
    assert longer[3] > 100 * shorter[-1]
    assert "schedule" not in ok(*RUN, "--epochs", 6, "--early-stopping", 0, "--resume")


def test_a_run_that_was_stopped_early_is_over(ok, line):
    stop = ("--epochs", 500, "--lr", "0.3", "--early-stopping", 1)
    ok(*RUN, *stop)
    n = len(rates())
    assert n < 500
    assert f"{n} of 500 epochs are done, after which it was stopped: nothing is left to do" in ok(
        *RUN, *stop, "--resume"
    )
    assert len(rates()) == n


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--hidden 16", "hidden must be '8' as in run.ckpt, got '16'"),
        ("--lr 0.1", "lr must be 0.003 as in run.ckpt, got 0.1"),
        ("--loss mae", "loss must be None as in run.ckpt, got 'mae'"),
        ("--seed 1", "seed must be 0"),
        ("--dropout 0.1", "dropout must be 0.0"),
        ("--batch-size 10", "batch_size must be None"),
        ("--ignore more", "ignore must be [] as in run.ckpt, got ['more']"),
        ("--validation-fraction 0.2", "validation_fraction must be 0.1"),
        ("--epochs 1", "epochs must be at least the 2 that are done, got 1"),
    ],
)
def test_other_options_than_those_of_the_checkpoint_are_named(ok, run, line, option, message):
    ok(*RUN, "--epochs", 2)
    code, _, err = run(*RUN, "--epochs", 2, "--resume", *option.split())
    assert code == 2
    assert message in err


def test_files_that_are_no_run_of_the_command_are_kept(ok, run, line):
    Path("notes.txt").write_text("mine")
    code, _, err = run(*RUN, "--checkpoint", "notes.txt")
    assert (code, "cannot write a checkpoint to notes.txt: there is a file that is none" in err) == (2, True)
    assert Path("notes.txt").read_text() == "mine"
    fp.Network([fp.Dense(1)]).build(3).checkpoint("python.ckpt")
    code, _, err = run(*RUN, "--checkpoint", "python.ckpt", "--resume")
    assert (code, "`fastprop train` did not write it" in err) == (2, True)


def test_a_second_file_of_targets_is_not_overwritten(run):
    np.save("x.npy", np.zeros((N, 2)))
    np.save("y.npy", np.zeros(N))
    for option in ("--out", "--checkpoint"):
        code, _, err = run("train", "x.npy", "--target", "y.npy", option, "y.npy")
        assert (code, "must be another file than the data" in err) == (2, True)


def test_bad_rows_are_named_or_left_out(ok, run, table):
    write_csv("d.csv", table.drop_columns(["agent", "kind", "tax"]))
    lines = Path("d.csv").read_text().splitlines()
    lines[700] = lines[700].rsplit(",", 1)[0] + ",much"
    lines[33] = lines[33].rsplit(",", 1)[0] + ","
    Path("d.csv").write_text("\n".join(lines) + "\n")
    code, _, err = run("train", "d.csv", "--target", "price", *FEW)
    assert code == 2
    assert re.search(r"d\.csv, row (699|32)", err)
    out = ok("train", "d.csv", "--target", "price", "--on-bad-rows", "skip", *FEW)
    assert "skipped     2 rows" in out


def test_a_file_may_look_like_numbers_where_training_had_text(ok):
    rng = np.random.default_rng(0)
    codes = rng.choice(["01", "02", "x1"], N)
    write_csv("d.csv", pa.table({"code": codes, "y": np.where(codes == "02", "7", "a")}))
    ok("train", "d.csv", "--target", "y", *FEW)
    write_csv("e.csv", pa.table({"code": ["01", "02"] * 5, "y": ["a", "7"] * 5}))
    assert reported(ok("evaluate", "model.safetensors", "e.csv"), "accuracy") == 1
    write_csv("f.csv", pa.table({"code": ["2", "02"]}))
    assert ok("predict", "model.safetensors", "f.csv").split()[2] == "7"


def test_columns_may_be_kept_as_text(ok, run):
    zips = np.tile(["01", "02", "1"], N // 3)
    write_csv("d.csv", pa.table({"zip": zips, "y": np.where(zips == "1", "a", "b")}))
    ok("train", "d.csv", "--target", "y", "--text", "zip", *FEW)
    assert list(fp.load("model.safetensors").feature_names_in_) == ["zip=01", "zip=02", "zip=1"]
    assert reported(ok("evaluate", "model.safetensors", "d.csv"), "accuracy") == 1
    pq.write_table(pa.table({"x": [1.0], "y": [2.0]}), "d.parquet")
    code, _, err = run("train", "d.parquet", "--target", "y", "--text", "x")
    assert (code, "text is for CSV only" in err) == (2, True)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "format"),
    [("a.csv", "csv"), ("A.TSV.GZ", "csv"), ("x/*.parquet", "parquet"), ("b.npz", "npz"), ("c.svm.bz2", "libsvm")],
)
def test_formats(name, format):
    assert format_of(name) == format
    with pytest.raises(ValueError, match="--format libsvm"):
        format_of("reuters.trn.bz2")


@pytest.mark.quick
@pytest.mark.parametrize(("text", "value"), [("60", 60), ("60s", 60), ("5m", 300), ("50ms", 0.05), (" 1.5 h", 5400)])
def test_durations(text, value):
    assert seconds("every", text) == pytest.approx(value)


@pytest.mark.quick
def test_hashes():
    assert hashed(["url=4096", "a=b=2"]) == {"url": 4096, "a=b": 2}


# ---- real data ----------------------------------------------------------------------------------------------------


@needs(not DATA.is_dir(), reason="needs ../shared/data/kddcup99_10pct")
def test_kddcup(ok):
    data = DATA / "kddcup99_10pct/kddcup.tsv.gz"
    out = ok("train", data, "--target", "target", "--task", "classification", "--epochs", 1, "--hidden", 64)
    assert "494020 rows, 41 columns" in out
    out = ok("evaluate", "model.safetensors", data)
    assert reported(out, "rows") == 494_020
    assert reported(out, "accuracy") > 0.99
    ok("predict", "model.safetensors", data, "--out", "p.npy")
    assert np.load("p.npy").shape == (494_020,)
    assert "classes     0, 1, 2" in ok("info", "model.safetensors")


@needs(not DATA.is_dir(), reason="needs ../shared/data/sgemm_gpu")
def test_sgemm(ok):
    data = DATA / "sgemm_gpu/sgemm_product.csv.gz"
    runs = [f"Run{k} (ms)" for k in range(1, 5)]
    targets = [option for name in runs for option in ("--target", name)]
    out = ok("train", data, *targets, "--log-target", "--epochs", 2, "--batch-size", 256)
    assert "241600 rows, 14 columns, 14 features" in out
    out = ok("evaluate", "model.safetensors", data)
    assert reported(out, "R2 of log") > 0.95
    ok("predict", "model.safetensors", data, "--out", "p.parquet")
    assert pq.read_table("p.parquet").column_names == runs


@needs(not DATA.is_dir(), reason="needs ../shared/data/reuters_sparse")
def test_reuters(ok):
    train, test = (DATA / f"reuters_sparse/reuters.{part}.bz2" for part in ("trn", "tst"))
    sparse = ("--format", "libsvm")
    out = ok("train", train, *sparse, "--epochs", 3, "--hidden", "32")
    assert "7770 rows, 8315 columns" in out
    assert reported(ok("evaluate", "model.safetensors", test, *sparse), "accuracy") > 0.96
    net = fp.load("model.safetensors")
    assert net.classes_.tolist() == [-1, 1]
