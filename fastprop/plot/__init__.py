"""Pictures; matplotlib is loaded when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def loss_curve(history: Mapping[str, Sequence[float]], path: str | Path) -> None:
    """Draw training and validation loss over the epochs into a file.

    Parameters
    ----------
    history : mapping of str to sequence of float
        What `Network.fit` returns; `loss` and, where there is one, `val_loss`.
    path : str or Path
        Its suffix gives the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed: `pip install fastprop-jit[plot]`.
    """
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        if name in history:
            axes.plot(range(1, len(history[name]) + 1), history[name], label=label)
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
