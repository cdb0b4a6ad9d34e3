"""The command line, from the arguments to what is printed, what is written and the exit code."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import reported

import fastprop as fp
from fastprop import cli, cli_data, tabular

HOUSING = Path(__file__).resolve().parents[2] / "shared/data/california_housing/housing.csv"

pytestmark = pytest.mark.usefixtures("folder")


def write_rooms(path, n=600, seed=0):
    """A table with numbers, text, gaps and two things to predict: price (a number) and dear (yes or no)."""
    rng = np.random.default_rng(seed)
    size, place = rng.uniform(20, 200, n), rng.choice(["town", "coast", "hills"], n)
    price = 3.0 * size + np.select([place == "town", place == "coast"], [200.0, 350.0], 0.0) + rng.normal(0, 5, n)
    gaps = rng.random(n) < 0.05
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "place", "price", "dear"])
        for row in range(n):
            shown = "" if gaps[row] else f"{size[row]:.3f}"
            writer.writerow([shown, place[row], f"{price[row]:.3f}", "yes" if price[row] > 500 else "no"])
    return path


@pytest.fixture
def rooms(folder):
    return write_rooms(folder / "rooms.csv")


def test_numbers_from_a_csv(ok, folder, rooms):
    out = ok("train", rooms, "--target", "price", "--ignore", "dear", "--out", "m.safetensors")
    assert "rooms.csv: 600 rows, 2 columns, 4 features" in out
    assert "price, regression" in out
    others = write_rooms(folder / "others.csv", seed=1)
    out = ok("evaluate", "m.safetensors", others, "--target", "price")
    assert reported(out, "R2") > 0.9
    ok("predict", "m.safetensors", others, "--out", "p.csv")
    rows = list(csv.reader((folder / "p.csv").open()))
    predicted, actual = (np.array([float(row[i]) for row in f[1:]]) for f, i in ((rows, 0), (_rows(others), 2)))
    assert rows[0] == ["price"]
    assert np.sqrt(((predicted - actual) ** 2).mean()) == pytest.approx(reported(out, "RMSE"), rel=1e-4)


def _rows(path):
    with path.open() as file:
        return list(csv.reader(file))


def test_labels_from_a_csv(ok, folder, rooms):
    out = ok("train", rooms, "--target", "dear", "--ignore", "price", "--epochs", 30)
    assert "dear, classification" in out
    assert "model       model.safetensors" in out
    out = ok("evaluate", "model.safetensors", rooms, "--target", "dear")
    assert reported(out, "accuracy") > 0.9
    printed = ok("predict", "model.safetensors", rooms, "--proba")
    table = list(csv.reader(printed.splitlines()))
    assert table[0] == ["dear", "p(no)", "p(yes)"]
    probabilities = np.array([[float(p) for p in row[1:]] for row in table[1:]])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert [row[0] for row in table[1:]] == [("no", "yes")[i] for i in probabilities.argmax(axis=1)]
    assert "classes     no, yes" in ok("info", "model.safetensors")


def test_predictions_need_neither_the_target_nor_the_order_of_columns(ok, folder, rooms):
    ok("train", rooms, "--target", "price", "--ignore", "dear", "--epochs", 2)
    straight = ok("predict", "model.safetensors", rooms)
    with (folder / "turned.csv").open("w", newline="") as file:
        csv.writer(file).writerows([row[1::-1] for row in _rows(rooms)])
    assert ok("predict", "model.safetensors", "turned.csv") == straight


def test_arrays(ok, folder):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)
    np.savez("d.npz", X=X, y=y)
    np.save("d.npy", np.column_stack([X, y]))
    np.save("x.npy", X)
    train = ("--hidden", "16", "--epochs", 20)
    ok("train", "d.npz", "--target", "y", *train, "--out", "a.safetensors")
    ok("train", "d.npy", "--target", "3", *train, "--out", "b.safetensors")
    assert reported(ok("evaluate", "a.safetensors", "d.npz"), "accuracy") > 0.95
    predictions = {ok("predict", model, "x.npy").split("\n", 1)[1] for model in ("a.safetensors", "b.safetensors")}
    assert len(predictions) == 1
    assert set(predictions.pop().split()) == {"0", "1"}


def test_the_same_seed_gives_the_same_predictions(ok, folder, rooms):
    printed = []
    for seed in (5, 5, 6):
        ok("train", rooms, "--target", "price", "--epochs", 2, "--seed", seed)
        printed.append(ok("predict", "model.safetensors", rooms))
    assert printed[0] == printed[1] != printed[2]


def test_a_network_that_was_saved_from_python(ok, folder):
    X = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    y = X[:, 0] - X[:, 1]
    net = fp.Network([fp.Dense(8, activation="relu"), fp.Dense(1)], loss="mse", optimizer=fp.Adam(lr=1e-2), seed=0)
    net.fit(X, y, epochs=5, batch_size=32)
    net.save("m.safetensors")
    np.savez("d.npz", X=X, y=y)
    np.save("x.npy", X)
    assert reported(ok("evaluate", "m.safetensors", "d.npz", "--target", "y"), "R2") == pytest.approx(
        net.evaluate(X, y)["r2"], abs=1e-4
    )
    printed = ok("predict", "m.safetensors", "x.npy").split()
    np.testing.assert_allclose([float(p) for p in printed[1:]], net.predict(X), rtol=1e-6)
    assert "Dense" in ok("info", "m.safetensors")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train nowhere.csv --target y", "no such file or directory: nowhere.csv"),
        ("train rooms.csv --target prize", "no column 'prize' in rooms.csv; did you mean 'price'?"),
        ("train rooms.csv --target place --task regression", "rooms.csv: target 'place' must hold numbers for a regr"),
        ("train rooms.csv --target size --target place", "target 'place' must hold numbers for several targets"),
        ("train rooms.csv --target place --log-target", "target 'place' must hold numbers for a logarithm"),
        ("train rooms.csv", "target must name the column to predict"),
        ("train rooms.xlsx --target price", "data must be .csv, .tsv, .parquet, .npy, .npz or .libsvm files"),
        ("train rooms.csv --target price --hash size=8", "hash must name columns of text to learn from, got 'size'"),
        ("train rooms.csv --target price --hash place", "hash must be a column and its number of features"),
        ("train rooms.csv --target price --every soon", "every must be a duration such as 60s, 5m or 50ms, got 'soon'"),
        ("train rooms.csv --target price --every 0s", "every must be a duration"),
        ("train rooms.csv --target price --resume", "resume needs --checkpoint"),
        ("train rooms.csv --target price --every 5s", "every needs --checkpoint"),
        ("train rooms.csv --target price --checkpoint rooms.csv", "checkpoint must be another file than the data"),
        ("train *.csv --target price --checkpoint rooms.csv", "checkpoint must be another file than the data"),
        ("train . --target price --checkpoint rooms.csv", "checkpoint must be another file than the data"),
        ("train rooms.csv --target price --checkpoint model.safetensors", "checkpoint must be another file than out"),
        ("train rooms.csv --target price --checkpoint a --out a.previous", "checkpoint must be another file than out"),
        ("train no.csv --target price --checkpoint no/run.ckpt", "no such folder: no"),
        ("train no.csv --target price --checkpoint .", "checkpoint must be a file, got the folder ."),
        ("train rooms.csv no.parquet --target price", "files of one format, got rooms.csv (csv) and no.parquet (parq"),
        ("train *.csv --target price --out rooms.csv", "out must be another file than the data"),
        ("train rooms.csv --target price --memory-limit much", "memory_limit must be a size such as"),
        ("train rooms.csv --format parquet --target price", "rooms.csv is damaged, or not a Parquet file"),
        ("train rooms.csv --target price --hidden 12,x", "hidden must be widths separated by commas"),
        ("train rooms.csv --target price --hidden -3", "units must be a positive integer, got -3"),
        ("train rooms.csv --target price --activation rely", "did you mean 'relu'?"),
        ("train rooms.csv --target price --loss msee", "did you mean 'mse'?"),
        ("train rooms.csv --target price --epochs 0", "epochs must be a positive integer, got 0"),
        ("train rooms.csv --target price --batch-size -1", "batch_size must be a positive integer"),
        ("train rooms.csv --target price --lr nan", "lr must be a finite number"),
        ("train rooms.csv --target price --dropout 1", "rate must be a finite number in [0, 1), got 1"),
        ("train rooms.csv --target price --validation-fraction 1.5", "validation_fraction must be"),
        ("train rooms.csv --target price --ignore sice", "no column 'sice' in rooms.csv; did you mean 'size'?"),
        ("train rooms.csv --target price --out no/m.safetensors", "no such folder: no"),
        ("train rooms.csv --target price --out rooms.csv", "out must be another file than the data"),
        ("train rooms.csv --target price --out .", "out must be a file, got the folder ."),
        ("predict rooms.csv rooms.csv", "rooms.csv"),
        ("info nowhere.safetensors", "no such file or directory: nowhere.safetensors"),
        ("demo --folder nowhere", "no such folder: nowhere"),
    ],
)
def test_what_was_given_wrong_is_said_in_one_line(run, rooms, args, message):
    before = rooms.read_bytes()
    code, _, err = run(*args.split())
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert rooms.read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["rooms.csv"]


@pytest.mark.quick
@pytest.mark.parametrize(
    "args", ["train", "train --target y", "train x.csv --target y --epochs many", "trai", "--nonsense"]
)
def test_wrong_usage(run, args):
    code, _, err = run(*args.split())
    assert code == 2
    assert "Usage" in err


def test_a_table_that_lacks_columns(run, ok, folder, rooms):
    ok("train", rooms, "--target", "price", "--epochs", 1)
    (folder / "few.csv").write_text("size,price\n1,2\n")
    code, _, err = run("predict", "model.safetensors", "few.csv")
    assert code == 2
    assert "few.csv lacks the columns 'place', 'dear' that the model was trained on" in err


@pytest.mark.parametrize("trained", [True, False])
def test_ctrl_c_keeps_what_was_learnt(run, ok, rooms, monkeypatch, trained):
    fit = tabular.fit

    def interrupted(*args):
        if trained:
            fit(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(tabular, "fit", interrupted)
    code, out, _ = run("train", rooms, "--target", "price", "--epochs", 20)
    assert code == 130
    if trained:
        assert "the weights of the last step are in model.safetensors\n" in out
        assert reported(ok("evaluate", "model.safetensors", rooms, "--target", "price"), "R2") > 0.5
    else:
        assert "before the first step" in out
        assert not Path("model.safetensors").exists()


@pytest.mark.quick
def test_a_fault_of_ours_shows_where(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setattr(cli_data.Given, "dataset", broken)
    with pytest.raises(RuntimeError, match="broken"):
        cli.main(["train", "x.csv", "--target", "y"])


def test_demo(run, folder):
    code, out, err = run("demo")
    assert code == 0
    assert "epoch 40/40" in err  # the progress bar
    accuracy = float(re.search(r"^test +([\d.]+)%", out, re.MULTILINE)[1])
    assert accuracy >= 97
    for phase in ("import", "compile", "train"):
        assert re.search(rf"^{phase} +\d+\.\d\d s", out, re.MULTILINE)
    net = fp.load(folder / "fastprop-demo.safetensors")
    assert net.predict(np.zeros((2, 64), np.float32)).shape == (2,)
    assert (folder / "fastprop-demo.png").exists() == ("fastprop-demo.png" in out)


def test_doctor(ok):
    out = ok("doctor")
    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["versions", "python", "processor", "threads", "cache", "ceiling"]
    assert "failed" not in out
    assert re.search(r"\d+ lanes of float32", out)
    assert re.search(r"ceiling +\d+ GFLOP/s in float32", out)


def test_doctor_reports_what_fails(monkeypatch):
    from fastprop import doctor, threads

    def broken():
        raise OSError("no /proc")

    monkeypatch.setattr(threads, "limit", broken)
    assert dict(doctor.facts())["threads"] == "failed: OSError: no /proc"


@pytest.mark.quick
def test_warmup_says_what_it_compiles(ok, monkeypatch):
    monkeypatch.setattr(cli, "compile_usual", lambda say: [say(what) for what in ("relu", "tanh")])
    lines = ok("warmup").splitlines()
    assert lines[:2] == ["compiling   relu", "compiling   tanh"]
    assert lines[2].startswith("ready ")


@pytest.mark.quick
def test_version_and_module():
    done = subprocess.run([sys.executable, "-m", "fastprop", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fastprop {fp.__version__}\n"


@pytest.mark.skipif(not HOUSING.is_file(), reason="needs ../shared/data/california_housing/housing.csv")
def test_california_housing_with_the_defaults(ok, folder):
    header, *rows = HOUSING.read_text().splitlines()
    order = np.random.default_rng(0).permutation(len(rows))
    cut = len(rows) * 4 // 5
    for name, part in (("train", order[:cut]), ("test", order[cut:])):
        (folder / f"{name}.csv").write_text("\n".join([header, *(rows[i] for i in part)]) + "\n")
    ok("train", "train.csv", "--target", "median_house_value")
    out = ok("evaluate", "model.safetensors", "test.csv", "--target", "median_house_value")
    assert reported(out, "R2") >= 0.78
