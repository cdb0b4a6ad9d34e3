"""Pictures in files."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..keeping import check_path
from . import style

DPI = 150


def save(picture: Any, path: str | os.PathLike[str]) -> None:
    """Write a picture; the file appears whole or not at all.

    Parameters
    ----------
    picture : matplotlib Axes or Figure
        Of Axes the whole figure that they are in.
    path : path-like
        Its suffix says the format: .png, .svg, .pdf and others that matplotlib knows.

    Raises
    ------
    TypeError
        If `picture` is something else, or `path` is no path.
    ValueError
        If the suffix is not known.
    OSError
        If the file cannot be written, naming it.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.plot.save(fp.plot.history({"loss": [1.0, 0.4, 0.2]}), "loss.png")
    """
    style.need_matplotlib()
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if not isinstance(picture, (Axes, FigureBase)):
        raise TypeError(f"picture must be matplotlib Axes or a Figure, got {type(picture).__name__}")
    figure: Any = picture.figure.figure  # of Axes in a SubFigure the first is that one
    check_path("path", path)
    suffix = check_format("path", path)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format=suffix)


def check_format(name: str, path: str | os.PathLike[str]) -> str:
    """The format that the suffix of a path says.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If matplotlib does not know it, or cannot write it here (.pgf needs LaTeX); the message names the argument.
    """
    style.need_matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.figure import Figure

    known = FigureCanvasBase.get_supported_filetypes()
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in known:
        raise ValueError(f"{name} must end in one of .{', .'.join(sorted(known))}, got {os.fspath(path)!r}")
    trial = Figure(figsize=(1, 1))
    trial.text(0, 0, "1")
    try:
        trial.savefig(BytesIO(), format=suffix)
    except (ImportError, OSError, RuntimeError) as error:
        raise ValueError(f"{name}: matplotlib cannot write .{suffix} here: {error}") from error
    return suffix
