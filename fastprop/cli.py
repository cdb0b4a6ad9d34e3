"""The command `fastprop`: names, options and what is printed; the work is done by the modules that it calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from . import FileError, Network, __version__, cli_cluster, cli_data, load, tabular
from . import resume as load_run
from .cli_outputs import check_checkpoint, check_folder, check_out, check_plot
from .cli_training import described, run_training, say, say_data, say_streaming
from .cli_values import hashed, seconds, widths
from .data.preparation import Prepare
from .data.sinks import csv_header, csv_rows, open_sink
from .doctor import facts
from .streams import suited
from .warmup import warmup as compile_usual

IMPORT_SECONDS = time.process_time()  # of this process so far: Python's start and all imports, Numba's above all

# Options of `train` that may be others when a run goes on; those that change its bits are compared by `fit`.
FREE = (
    "data", "format", "memory_limit", "epochs", "threads", "checkpoint", "every", "resume", "out", "plot", "workers",
    "scheduler",
)  # fmt: skip

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    list[str],
    typer.Argument(help="Files, folders or patterns: .csv, .tsv, .libsvm (all with .gz, .bz2), .parquet, .npy, .npz."),
]
Model = Annotated[Path, typer.Argument(help="A .safetensors file that `fastprop train` or `Network.save` wrote.")]
Target = Annotated[
    list[str] | None,
    typer.Option(help="A column to predict; may be given again. Of .npy its number, or a second file; of libsvm none."),
]
Format = Annotated[cli_data.Format | None, typer.Option(help="Of the data, where the names of files do not say it.")]
MemoryLimit = Annotated[str, typer.Option(help="For data that are read; what needs more than a quarter is streamed.")]
OnBadRows = Annotated[
    Literal["error", "skip"], typer.Option(help="Whether rows that cannot be used are an error or left out.")
]
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


@app.command()
def demo(
    seed: Seed = 0,
    threads: Threads = None,
    folder: Annotated[Path, typer.Option(help="Where the model and the loss curve go.")] = Path(),
) -> None:
    """Train a network on scikit-learn's handwritten digits and say how long each phase took."""
    from . import demo as digits

    say("import", f"{IMPORT_SECONDS:.2f} s")
    digits.run(say, check_folder(folder), seed, threads)


@app.command()
def train(
    context: typer.Context,
    data: Data,
    target: Target = None,
    task: Annotated[
        Literal["classification", "regression"] | None,
        typer.Option(help="Default: classification for text and for whole numbers with at most 20 values."),
    ] = None,
    log_target: Annotated[
        bool, typer.Option("--log-target", help="Learn the logarithm of the target, which must be > 0.")
    ] = False,
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
    text: Annotated[
        list[str] | None, typer.Option(help="A column of CSV that is text even if it looks like numbers.")
    ] = None,
    hash: Annotated[
        list[str] | None, typer.Option(help="A column of text and a number of features to hash it to, as url=4096.")
    ] = None,
    format: Format = None,
    memory_limit: MemoryLimit = "1GB",
    on_bad_rows: OnBadRows = "error",
    checkpoint: Annotated[Path | None, typer.Option(help="A file that the run is saved to while it goes on.")] = None,
    every: Annotated[str | None, typer.Option(help="How often, as 5m or 500ms. Default: 60s.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from --checkpoint, if it is there, perhaps to more --epochs.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the model goes.")] = Path("model.safetensors"),
    plot: Annotated[
        Path | None, typer.Option(help="Draw the losses of all epochs into this file: .png, .svg, .pdf, ...")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Train on a Dask cluster of so many processes on this machine.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Train on the Dask cluster with this scheduler, as tcp://host:8786.")
    ] = None,
) -> None:
    """Train a network to predict columns from the others.

    Text is one-hot encoded (or hashed), missing values are filled with the
    median, numbers standardised. All of this is stored in the model file and
    applied again by `predict` and `evaluate`. Data that need more than a
    quarter of the memory limit are streamed from their files.

    On a cluster each worker reads its part of the files, which must have the
    same paths there. The result is the same for any number of workers.
    """
    given = cli_data.Given(data, format, memory_limit, on_bad_rows)
    place = cli_cluster.check_place(workers, scheduler, threads, given)
    if scheduler is not None:
        given, target = given.absolute(), cli_data.absolute_targets(target or ())  # workers have another folder
    check_out(out, given, target or ())
    settings = tabular.Settings(
        hidden=widths(hidden), activation=activation, loss=loss, epochs=epochs, batch_size=batch_size, lr=lr,
        dropout=dropout, validation_fraction=validation_fraction, early_stopping=early_stopping, seed=seed,
        n_threads=threads, checkpoint=None if checkpoint is None else str(checkpoint),
        checkpoint_every=seconds("every", every or "60s"),
    )  # fmt: skip
    if not target and given.kind != "libsvm":
        raise ValueError("target must name the column to predict")
    if checkpoint is not None:
        check_checkpoint(checkpoint, out, given, target or ())
    elif resume or every:
        raise ValueError(f"{'resume' if resume else 'every'} needs --checkpoint: the file that the run is saved to")
    if plot is not None:
        check_plot(plot, (out, checkpoint), given, target or ())
    client = context.with_resource(cli_cluster.connected(place, threads))
    chosen = _chosen(context)
    run = _run_of(checkpoint, chosen) if checkpoint is not None and resume else None
    # The link of poisson is exp: its target must stay a count.
    prepare = Prepare(hashed(hash or ()), log_target, task, standardise_target=loss != "poisson", seed=seed)
    rows = given.dataset(target or (), prepare, ignore or (), text=text or ())
    assert rows.preparation is not None
    net = tabular.build(rows.preparation, settings)
    say_data(rows, rows.preparation)
    if client is None:
        say_streaming(rows, rows.preparation.n_rows)
    else:
        say("cluster", cli_cluster.described(client))
    if run is not None:
        net = _going_on(run, net, epochs)
    net.extra = {"options": {**chosen, "epochs": epochs}}
    run_training(net, rows, settings, out, plot, client)


@app.command()
def predict(
    model: Model,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="A .csv, .npy or .parquet file. Default: standard output.")] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Add a column for the probability of each class.")] = False,
    format: Format = None,
    memory_limit: MemoryLimit = "1GB",
    on_bad_rows: OnBadRows = "error",
) -> None:
    """Predict each row, as CSV with a header."""
    given = cli_data.Given(data, format, memory_limit, on_bad_rows)
    if out is not None:
        check_out(out, given)
    net = load(model)
    rows = suited(net, given.dataset((), net.preparation_, (), net.n_features_))
    names = tabular.names_of_outputs(net)
    if proba:
        names += [f"p({label})" for label in (range(net.n_outputs_) if net.classes_ is None else net.classes_)]
    if out is None:
        sys.stdout.write(csv_header(names))
        for part in tabular.predict(net, rows, proba):
            sys.stdout.write(csv_rows(names, part).decode())
        return
    with open_sink(out, names) as sink:
        for part in tabular.predict(net, rows, proba):
            sink.write(*part)
    say("predictions", f"{sink.n_rows} rows in {out}")


@app.command()
def evaluate(
    model: Model,
    data: Data,
    target: Target = None,
    format: Format = None,
    memory_limit: MemoryLimit = "1GB",
    on_bad_rows: OnBadRows = "error",
) -> None:
    """Compare predictions with the target: accuracy and loss, or R2, RMSE and MAE in its units.

    The target's columns are those of training, unless others are named.
    """
    net = load(model)
    given = cli_data.Given(data, format, memory_limit, on_bad_rows)
    names = target or (net.preparation_.targets if net.preparation_ else ())
    rows = suited(net, given.dataset(names, net.preparation_, (), net.n_features_))
    if not rows.has_target:
        raise ValueError("target must name the column to compare with")
    for name, value in tabular.evaluate(net, rows).items():
        say(name, value if isinstance(value, int) else f"{value:.6g}")


@app.command()
def info(model: Model) -> None:
    """What a model file holds."""
    net = load(model)
    typer.echo(net.summary())
    if net.preparation_ is not None and net.preparation_.to_predict is not None:
        say("target", described(net.preparation_.to_predict))
        say("columns", ", ".join(net.preparation_.columns) or f"{net.preparation_.n_features} sparse features")
    if net.classes_ is not None:
        say("classes", ", ".join(map(str, net.classes_)))


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


def _chosen(context: typer.Context) -> dict[str, Any]:
    """The options of a run that must be the same when it goes on, as JSON; on a cluster it stays, of any size."""
    options = {name: value for name, value in context.params.items() if name not in FREE}
    if context.params["workers"] or context.params["scheduler"]:
        options["cluster"] = True
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _run_of(checkpoint: Path, options: Mapping[str, Any]) -> Network | None:
    """The network of a checkpoint, if there is one, to go on with.

    Raises
    ------
    FileError
        If it cannot be read, or something else than `train` wrote it.
    ValueError
        Naming the first of the `options` that is another than it was.
    """
    try:
        net = load_run(checkpoint)
    except FileNotFoundError:
        say("resuming", f"no checkpoint yet: {checkpoint} begins here")
        return None
    before = net.extra.get("options")
    if not isinstance(before, dict) or net._run is None:
        raise FileError(f"{checkpoint} cannot be resumed here: `fastprop train` did not write it")
    if before.get("cluster") != options.get("cluster"):
        where = "with" if before.get("cluster") else "without"
        raise ValueError(f"{checkpoint} goes on {where} --workers or --scheduler only, as it began")
    for name, value in options.items():
        if before.get(name) != value:
            raise ValueError(f"{name} must be {before.get(name)!r} as in {checkpoint}, got {value!r}")
    return net


def _going_on(run: Network, fresh: Network, epochs: int) -> Network:
    """A resumed network, for so many epochs in all; says where it stands. `fresh` is what would begin now."""
    assert run._run is not None
    stopped = ", after which it was stopped: nothing is left to do" if run._run.now().is_stopped else ""
    say("resuming", f"a run of which {run.epochs_done} of {epochs} epochs are done{stopped}")
    before = run.extra["options"].get("epochs")
    if before != epochs and not stopped:
        run.optimizer.lr = fresh.optimizer.lr
        say("schedule", f"the learning rate falls to 0 within {epochs} epochs now, not {before}")
    return run


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror.lower()}: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__
