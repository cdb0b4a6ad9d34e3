"""`fastprop train --plot`: a picture of the losses, refused before the work where it could not be written after it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from fastprop import Network, plot, tabular

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def table(folder):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    with (folder / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "y"], *np.column_stack([X, X[:, 0] - X[:, 1]]).round(4)])
    return "d.csv"


@pytest.fixture
def drawn(monkeypatch):
    """The Axes that were saved, in order."""
    seen, save = [], plot.save

    def spy(picture, path):
        seen.append(picture)
        save(picture, path)

    monkeypatch.setattr(plot, "save", spy)
    return seen


def n_epochs(ax):
    return len(ax.get_lines()[0].get_xdata())


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "PNG"])
def test_picture_of_the_losses(ok, drawn, table, suffix):
    out = ok("train", table, "--target", "y", "--epochs", 3, "--plot", f"p.{suffix}")
    assert f"\nplot        p.{suffix}\n" in out
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix.lower()]
    assert Path(f"p.{suffix}").read_bytes().startswith(begin)
    (ax,) = drawn
    assert n_epochs(ax) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["training", "validation"]
    pyplot = sys.modules.get("matplotlib.pyplot")  # another test may have loaded it
    assert pyplot is None or ax.figure not in map(pyplot.figure, pyplot.get_fignums())


def test_nothing_is_drawn_unless_asked_for(ok, drawn, table):
    assert "\nplot" not in ok("train", table, "--target", "y", "--epochs", 1)
    assert not drawn
    assert sorted(path.name for path in Path().iterdir()) == ["d.csv", "model.safetensors"]


def test_streamed_rows(ok, drawn, folder):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 3)).round(3)
    with (folder / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "y"], *rows])
    out = ok(
        "train", "d.csv", "--target", "y", "--epochs", 2, "--memory-limit", "1MB", "--hidden", "8", "--plot", "p.png"
    )
    assert "\nstreaming " in out
    assert n_epochs(drawn[0]) == 2


def test_resumed_run_has_all_its_epochs(ok, drawn, table):
    train = ("train", table, "--target", "y", "--checkpoint", "run.ckpt", "--plot", "p.png")
    ok(*train, "--epochs", 2)
    ok(*train, "--epochs", 5, "--resume")
    ok(*train[:-1], "other.png", "--epochs", 5, "--resume")  # nothing is left to do
    assert [n_epochs(ax) for ax in drawn] == [2, 5, 5]
    assert Path("other.png").exists()


@pytest.mark.parametrize("n", [0, 2])
def test_ctrl_c(run, monkeypatch, drawn, table, n):
    """The epochs that were completed are drawn; if there is none, nothing is."""
    fit = tabular.fit

    def interrupted(net, rows, settings):
        fit(net, rows, settings)
        net.history_ = {name: values[:n] for name, values in net.history_.items()}
        raise KeyboardInterrupt

    monkeypatch.setattr(tabular, "fit", interrupted)
    code, out, _ = run("train", table, "--target", "y", "--epochs", 3, "--plot", "p.png")
    assert code == 130
    assert [n_epochs(ax) for ax in drawn] == [n] * bool(n)
    assert Path("p.png").exists() == ("\nplot" in out) == bool(n)


def test_divergence(run, monkeypatch, drawn, table):
    """The epochs before are drawn: they may tell the cause. Without an epoch there is nothing to draw."""
    fit, bad = Network.fit, 3

    class Spoil:
        def on_epoch_end(self, net, epoch, logs):
            if epoch == bad - 1:
                net.set_weights([(W * np.float32(1e30), b) for W, b in net.get_weights()])

    monkeypatch.setattr(Network, "fit", lambda *args, **named: fit(*args, **named, callbacks=Spoil()))
    code, out, err = run("train", table, "--target", "y", "--epochs", 9, "--plot", "p.png")
    assert (code, err.count("\n")) == (2, 1)
    assert "loss became NaN or infinite in epoch 3" in err
    assert out.endswith("\nplot        p.png\n")
    (ax,) = drawn
    assert 0 < n_epochs(ax) <= bad
    code, out, err = run("train", table, "--target", "y", "--lr", 1e10, "--plot", "other.png")
    assert (code, "\nplot" in out) == (2, False)
    assert "loss became NaN or infinite in epoch 0" in err
    assert sorted(path.name for path in Path().iterdir()) == ["d.csv", "p.png"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--plot nowhere/p.png", "no such folder: nowhere"),
        ("--plot .", "plot must be a file, got the folder ."),
        ("--plot p.pgn", "plot must end in one of ."),
        ("--plot p.pgf", "plot: matplotlib cannot write .pgf here: "),
        ("--plot p", "plot must end in one of"),
        ("--plot d.csv", "plot must be another file than the data"),
        ("--plot m.png --out m.png", "plot must be another file than the model and the checkpoint"),
        ("--plot ./m.png --checkpoint m.png", "plot must be another file than the model and the checkpoint"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(run, monkeypatch, table, args, message):
    monkeypatch.setattr(tabular, "fit", lambda *_: pytest.fail("it trained"))
    monkeypatch.setenv("PATH", "")  # no LaTeX, which .pgf needs
    code, _, err = run("train", table, "--target", "y", *args.split())
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert [path.name for path in Path().iterdir()] == ["d.csv"]


def test_a_folder_that_may_not_be_written(run, monkeypatch, table):
    def refused(path):
        raise PermissionError(13, "cannot write: Permission denied", str(path))

    monkeypatch.setattr("fastprop.cli_outputs.check_writable", refused)
    code, _, err = run("train", table, "--target", "y", "--plot", "p.png")
    assert (code, err) == (2, "error: cannot write: permission denied: p.png\n")


def test_without_matplotlib(run, monkeypatch, table):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run("train", table, "--target", "y", "--plot", "p.png")
    assert (code, err) == (2, "error: plot: fastprop.plot needs matplotlib: pip install 'fastprop-jit[plot]'\n")
    assert [path.name for path in Path().iterdir()] == ["d.csv"]
