"""The command `fastprop`: names, options and what is printed; the work is done by the modules that it calls."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import typer

from . import __version__, tabular
from .doctor import facts
from .tables import read_table
from .warmup import warmup as compile_usual

IMPORT_SECONDS = time.process_time()  # of this process so far: Python's start and all imports, Numba's above all

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[Path, typer.Argument(help="A .csv, .tsv (either with .gz), .npy or .npz file.")]
Model = Annotated[Path, typer.Argument(help="A .safetensors file that `fastprop train` or `Network.save` wrote.")]
Target = Annotated[str, typer.Option(help="The column to predict; for .npy its number, for .npz the array's name.")]
Threads = Annotated[int | None, typer.Option(help="At most so many threads. Default: what the machine allows.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same network, bit for bit.")]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a fault of ours (with a traceback), 2 a fault in what was given."""
    try:
        app(args)
    except (ValueError, TypeError, OSError) as error:
        typer.secho(f"error: {_one_line(error)}", fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
    raise SystemExit(0)


def say(name: str, text: object) -> None:
    """One line of a report."""
    typer.echo(f"{name:<12}{text}")


@app.command()
def demo(
    seed: Seed = 0,
    threads: Threads = None,
    folder: Annotated[Path, typer.Option(help="Where the model and the loss curve go.")] = Path(),
) -> None:
    """Train a network on scikit-learn's handwritten digits and say how long each phase took."""
    from . import demo as digits

    say("import", f"{IMPORT_SECONDS:.2f} s")
    digits.run(say, _folder(folder), seed, threads)


@app.command()
def train(
    data: Data,
    target: Target,
    task: Annotated[
        Literal["classification", "regression"] | None,
        typer.Option(help="Default: classification for text and for whole numbers with at most 20 values."),
    ] = None,
    hidden: Annotated[str, typer.Option(help='Widths of the hidden layers; "" for a linear model.')] = "128,64",
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "relu",
    loss: Annotated[str | None, typer.Option(help="Default: cross_entropy or mse.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the rows, at most.")] = 60,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows an update. Default: a hundredth of them, from 16 to 128.")
    ] = None,
    lr: Annotated[float, typer.Option(help="Adam's learning rate at the start; it falls along a cosine.")] = 3e-3,
    dropout: Annotated[float, typer.Option(help="Share of the hidden units that is dropped in training.")] = 0.0,
    validation_fraction: Annotated[float, typer.Option(help="Share of the rows kept for validation.")] = 0.1,
    early_stopping: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better validation loss; 0: never. Default: 15."),
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A column to leave out; may be given again.")] = None,
    out: Annotated[Path, typer.Option(help="Where the model goes.")] = Path("model.safetensors"),
) -> None:
    """Train a network to predict a column from the others.

    Text is one-hot encoded, missing values are filled with the median, numbers
    standardised. All of this is stored in the model file and applied again by
    `predict` and `evaluate`.
    """
    _check_out(out, data)
    settings = tabular.Settings(
        hidden=_widths(hidden), activation=activation, loss=loss, epochs=epochs, batch_size=batch_size, lr=lr,
        dropout=dropout, validation_fraction=validation_fraction, early_stopping=early_stopping, seed=seed,
        n_threads=threads,
    )  # fmt: skip
    table = read_table(data).without(ignore or [])
    model, X, y = tabular.build(table, target, task, settings)
    assert model.target is not None
    say("data", f"{data}: {len(X)} rows, {len(table.columns) - 1} columns, {X.shape[1]} features")
    say("target", f"{target}, {model.target.task}")
    start, untrained = time.perf_counter(), model.net.get_weights()
    try:
        history = tabular.fit(model, X, y, settings)
    except KeyboardInterrupt:
        if all(np.array_equal(W, W0) for (W, _), (W0, _) in zip(model.net.get_weights(), untrained, strict=True)):
            say("stopped", "by Ctrl-C before the first step; nothing was written")
        else:
            model.save(out)
            say("stopped", f"by Ctrl-C; the weights of the last step are in {out}")
        raise typer.Exit(130) from None
    say("training", f"{len(history['loss'])} epochs in {time.perf_counter() - start:.2f} s")
    _say_result(history)
    model.save(out)
    say("model", out)


@app.command()
def predict(
    model: Model,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="A .csv file. Default: standard output.")] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Add a column for the probability of each class.")] = False,
) -> None:
    """Predict each row of a table, as CSV with a header."""
    if out is not None:
        _check_out(out, data)
    loaded = tabular.TableModel.load(model)
    table = loaded.read(data)
    columns: dict[str, Any] = {loaded.target.name if loaded.target else "prediction": loaded.predict(table)}
    if proba:
        probabilities = loaded.net.predict_proba(loaded.features(table))
        classes = range(probabilities.shape[1]) if loaded.net.classes_ is None else loaded.net.classes_
        columns |= {f"p({label})": p for label, p in zip(classes, probabilities.T, strict=True)}
    rows = zip(*(np.asarray(values).tolist() for values in columns.values()), strict=True)
    _write_csv(out, list(columns), rows)
    if out is not None:
        say("predictions", f"{table.n_rows} rows in {out}")


@app.command()
def evaluate(model: Model, data: Data, target: Target) -> None:
    """Compare predictions with a column: accuracy and loss, or R2, RMSE and MAE in the column's units."""
    loaded = tabular.TableModel.load(model)
    table = loaded.read(data)
    say("rows", table.n_rows)
    for name, value in loaded.evaluate(table, target).items():
        say(name, f"{value:.6g}")


@app.command()
def info(model: Model) -> None:
    """What a model file holds."""
    loaded = tabular.TableModel.load(model)
    typer.echo(loaded.net.summary())
    if loaded.target and loaded.preparation:
        say("target", f"{loaded.target.name}, {loaded.target.task}")
        say("columns", ", ".join(loaded.preparation.columns))
    if loaded.net.classes_ is not None:
        say("classes", ", ".join(map(str, loaded.net.classes_)))


@app.command()
def doctor() -> None:
    """What fastprop finds on this machine; please add it to the report of a bug."""
    for name, found in facts():
        say(name, found)


@app.command()
def warmup() -> None:
    """Compile the usual combinations now, so that the first training need not."""
    start = time.perf_counter()
    compile_usual(lambda what: say("compiling", what))
    say("ready", f"after {time.perf_counter() - start:.1f} s")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fastprop {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Train neural networks on tables, from compiled loops on the CPU."""


def _widths(hidden: str) -> list[int]:
    try:
        return [int(width) for width in hidden.split(",") if width.strip()]
    except ValueError:
        raise ValueError(f"hidden must be widths separated by commas, such as 128,64, got {hidden!r}") from None


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path))
    return path


def _check_out(out: Path, data: Path) -> None:
    """Before the work, not after it: that the file can be written and is not the one that is read."""
    _folder(out.parent)
    if out.is_dir():
        raise ValueError(f"out must be a file, got the folder {out}")
    if out.exists() and data.exists() and out.samefile(data):
        raise ValueError(f"out must be another file than the data, got {out} for both")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise PermissionError(13, "out may not be written", str(out))


def _say_result(history: Any) -> None:
    if "val_loss" not in history:
        say("loss", f"{history['loss'][-1]:.6g}")
        return
    best = int(np.argmin(history["val_loss"]))
    found = ", ".join(f"{name} {values[best]:.6g}" for name, values in history.items() if name.startswith("val_"))
    say("validation", f"{found} (epoch {best + 1})")


def _write_csv(out: Path | None, names: list[str], rows: Iterable[Sequence[Any]]) -> None:
    """To standard output, or to a file that appears only when it is complete."""
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
        return
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([names, *rows])
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror.lower()}: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__
