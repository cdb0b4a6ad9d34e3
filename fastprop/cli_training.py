"""What `fastprop train` says and does once the network is made: the report, the training itself, what it leaves."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer

from . import DivergenceError, Network, cli_cluster, tabular
from .data.dataset import LOAD_SHARE, Dataset
from .data.preparation import Preparation
from .data.target import Target as Learnt

MANY_CATEGORIES = 100  # of a column of text; from here on, or from half of the rows on, the report asks what they are


def say(name: str, text: object) -> None:
    """One line of a report."""
    typer.echo(f"{name:<11} {text}")


def say_data(rows: Dataset, preparation: Preparation) -> None:
    """What is learnt from what."""
    target, n_rows = preparation.to_predict, preparation.n_rows
    assert target is not None
    n_columns = len(preparation.columns) or preparation.n_features
    say("data", f"{rows.source.name}: {n_rows} rows, {n_columns} columns, {preparation.n_features} features")
    say("target", described(target))
    for name, how in preparation.columns.items():
        if isinstance(how, list) and len(how) > min(MANY_CATEGORIES, n_rows / 2):
            say("categories", _many(name, len(how), n_rows))


def say_streaming(rows: Dataset, n_rows: int) -> None:
    """How rows are shuffled that do not fit in memory."""
    if n_rows > rows.rows_in(LOAD_SHARE):
        order = "read in the order of the source" if rows.is_sequential else "read in random order"
        say("streaming", f"{order}; rows are shuffled within windows of {rows.window_rows():,} rows")


def _many(name: str, n: int, n_rows: int) -> str:
    """What to do about a column of so many texts that they are dates, say, or the names of the rows."""
    column = shlex.quote(name)
    return (
        f"{name!r} holds {n} different texts in {n_rows} rows, a feature each; if they are dates, identifiers or free "
        f"text, leave it out (--ignore {column}) or hash it (--hash {column}=64)"
    )


def described(target: Learnt) -> str:
    """What is predicted, and how it is learnt."""
    task = f"{target.task} of the logarithm" if target.log else target.task
    return f"{', '.join(target.names) or 'beside the rows'}, {task}"


def run_training(
    net: Network, rows: Dataset, settings: tabular.Settings, out: Path, plot: Path | None, client: Any = None
) -> None:
    """Train, here or on the cluster of a client, say how it went, and write the model and the picture."""
    start, untrained = time.perf_counter(), net.get_weights()
    try:
        history = tabular.fit(net, rows, settings) if client is None else cli_cluster.fit(net, rows, settings, client)
    except (KeyboardInterrupt, cli_cluster.LostError) as error:
        is_lost, step = isinstance(error, cli_cluster.LostError), "step" if client is None else "round"
        why = "as the cluster cannot go on" if is_lost else "by Ctrl-C"
        if all(np.array_equal(W, W0) for (W, _), (W0, _) in zip(net.get_weights(), untrained, strict=True)):
            say("stopped", f"{why} before the first {step}; nothing was written")
        else:
            net.preparation_ = rows.preparation
            net.save(out, {})
            again = f"; with --resume the run in {settings.checkpoint} goes on" if settings.checkpoint else ""
            say("stopped", f"{why}; the weights of the last {step} are in {out}{again}")
            _draw(net.history_, plot)
        if is_lost:
            raise
        raise typer.Exit(130) from None
    except DivergenceError:
        _draw(net.history_, plot)  # of the epochs before: here one looks for the cause
        raise
    say("training", f"{len(history['loss'])} epochs in {time.perf_counter() - start:.2f} s")
    if history.get("skipped", [0])[-1]:
        say("skipped", f"{int(history['skipped'][-1])} rows that cannot be used")
    _say_result(history)
    net.save(out, {})
    say("model", out)
    _draw(history, plot)


def _draw(history: Mapping[str, Sequence[Any]], plot: Path | None) -> None:
    """The losses into a file, if one was asked for and an epoch was completed."""
    if plot is None or not history["loss"]:
        return
    from . import plot as pictures

    pictures.save(pictures.history(history, pictures.off_screen()), plot)
    say("plot", plot)


def _say_result(history: Any) -> None:
    if "val_loss" not in history:
        say("loss", f"{history['loss'][-1]:.6g}")
        return
    best = int(np.argmin(history["val_loss"]))
    found = ", ".join(f"{name} {values[best]:.6g}" for name, values in history.items() if name.startswith("val_"))
    say("validation", f"{found} (epoch {best + 1})")
