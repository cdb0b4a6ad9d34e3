"""Before the work, not after it: whether what a command shall write can be written, and is none of what it reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from . import checkpoints, cli_data
from .atomic import check_writable


def check_folder(path: Path) -> Path:
    """`path`, if it is a folder.

    Raises
    ------
    FileNotFoundError
        Otherwise.
    """
    if not path.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path))
    return path


def check_out(out: Path, data: cli_data.Given, target: Sequence[str] = ()) -> None:
    """Refuse an `out` that cannot be written, or is one of the files of data."""
    _check_file("out", out, data, target)
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise PermissionError(13, "out may not be written", str(out))


def check_checkpoint(checkpoint: Path, out: Path, data: cli_data.Given, target: Sequence[str]) -> None:
    """Likewise, and refuse one that may not take the place of what is there."""
    _check_file("checkpoint", checkpoint, data, target)
    former = checkpoint.with_name(checkpoints.previous_name(checkpoint))
    if os.path.realpath(out) in (os.path.realpath(checkpoint), os.path.realpath(former)):
        raise ValueError(f"checkpoint must be another file than out, got {checkpoint}, and {out} for the model")
    check_writable(checkpoint)
    checkpoints.check_replaceable(checkpoint)


def check_plot(plot: Path, others: Sequence[Path | None], data: cli_data.Given, target: Sequence[str]) -> None:
    """Likewise, and refuse one of another kind than matplotlib writes; `others` are the files of the model and the run.

    Raises
    ------
    ValueError
        Also if matplotlib is not installed: then nothing can be drawn.
    """
    from . import plot as pictures

    _check_file("plot", plot, data, target)
    for other in others:
        if other is not None and os.path.realpath(plot) == os.path.realpath(other):
            raise ValueError(f"plot must be another file than the model and the checkpoint, got {plot}")
    try:
        pictures.check_format("plot", plot)
    except ImportError as error:
        raise ValueError(f"plot: {error}") from error
    check_writable(plot)


def _check_file(name: str, path: Path, data: cli_data.Given, target: Sequence[str]) -> None:
    check_folder(path.parent)
    if path.is_dir():
        raise ValueError(f"{name} must be a file, got the folder {path}")
    if data.is_same_file(path, target):
        raise ValueError(f"{name} must be another file than the data, got {path} for both")
