"""The pictures of cluster.md: `python docs/pictures/draw_cluster.py` writes them as SVG beside this file.

The curves are what `benchmarks/cluster_mnist.py` and `cluster_model.py` measured; they write the JSON files here.
"""

from __future__ import annotations

import json
from typing import Any

import matplotlib.pyplot as plt
from draw import BLUE, GREEN, GREY, HERE, INK, ORANGE, PURPLE, arrow, box, canvas, note, save
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

LEAST = 0.5  # times one worker, where the plot of the model begins
COLOURS = (INK, ORANGE, BLUE, GREEN, PURPLE, "#D55E00", "#56B4E9")


def read(name: str) -> Any:
    """A JSON file of this folder."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def plots(n: int) -> tuple[Any, list[Axes]]:
    """A figure with n plots side by side."""
    figure, axes = plt.subplots(1, n, figsize=(8.6, 3.7), layout="constrained")
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color=GREY, alpha=0.4, linewidth=0.6)
    return figure, list(axes)


def write(figure: Any, name: str) -> None:
    """Write NAME.svg."""
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def round_of_training() -> None:
    """Two workers, four partitions, a mean."""
    axes = canvas(32, 10.5)
    box(axes, 0.8, 3.6, 4.6, 2.4, GREY, "state\nof round r")
    for k in range(2):
        y = 0.8 + 5.0 * k
        axes.text(11.6, y - 0.3, f"worker {k}", ha="center", va="center", weight="bold")
        arrow(axes, (5.6, 4.4 + 0.8 * k), (7.3, y + 1.5))
        for i in range(2):
            box(axes, 7.6, y + 0.3 + 1.5 * i, 8, 1.2, BLUE, f"partition {2 * k + i}: local updates")
        arrow(axes, (15.8, y + 1.5), (18.0, 4.4 + 0.8 * k))
    box(axes, 18.3, 3.6, 6.2, 2.4, GREEN, "changes added\nin a fixed tree")
    arrow(axes, (24.7, 4.8), (26.3, 4.8))
    box(axes, 26.6, 3.6, 4.6, 2.4, GREY, "state of\nround r + 1")
    note(axes, 18.3, 6.7, "weighted by rows", size=9, color="#57606a")
    note(axes, 18.3, 7.5, "outer optimizer, if there is one", size=9, color="#57606a")
    save(axes, "cluster_round")


def mnist() -> None:
    """Test accuracy over epochs: shuffled partitions, and sorted ones."""
    figure, axes = plots(2)
    found = read("cluster_mnist")
    for one, kind, least in zip(axes, ("shuffled", "sorted"), (92.5, 85.0), strict=True):
        one.set(title=f"partitions {'sorted by label' if kind == 'sorted' else kind}", xlabel="epochs")
        one.set(ylim=(least, 98.4), xlim=(1, 10))
        curves = [curve for curve in found if curve["kind"] == kind or curve["name"] == "one machine"]
        for curve, colour in zip(curves, COLOURS, strict=False):
            dashed = "--" if curve["name"] == "one machine" else "-"
            label = curve["name"].removeprefix("sorted: ")
            one.plot(
                range(1, len(curve["curve"]) + 1), curve["curve"], dashed, color=colour, label=label, linewidth=1.6
            )
        one.legend(fontsize=8, loc="lower right", frameon=False)
    axes[0].set_ylabel("test accuracy, %")
    write(figure, "cluster_mnist")


def model() -> None:
    """Speedup over workers, for rounds of several lengths, on two networks."""
    figure, axes = plots(2)
    found = read("cluster_model")
    workers = found["workers"]
    networks = list(dict.fromkeys(curve["network"] for curve in found["curves"]))
    for one, network in zip(axes, networks, strict=True):
        one.plot(workers, workers, ":", color=INK, linewidth=1)
        chosen = [c for c in found["curves"] if c["network"] == network and max(c["speedup"]) > LEAST]
        titles = list(dict.fromkeys(curve["rounds"] for curve in chosen))
        for curve in chosen:
            is_slow = curve["bandwidth"] == "1 Gbit/s"
            colour = COLOURS[1 + titles.index(curve["rounds"])]
            label = (
                None if is_slow else curve["rounds"] if "sync" in curve["rounds"] else f"rounds of {curve['rounds']}"
            )
            one.plot(workers, curve["speedup"], "--" if is_slow else "-", color=colour, label=label, linewidth=1.6)
        one.set(title=network, xlabel="workers", xscale="log", yscale="log", ylim=(LEAST, 1100), xlim=(1, 1024))
        one.xaxis.set_major_locator(FixedLocator([1, 4, 16, 64, 256, 1024]))
        one.xaxis.set_minor_locator(NullLocator())
        one.yaxis.set_major_locator(FixedLocator([1, 10, 100, 1000]))
        one.yaxis.set_minor_locator(NullLocator())
        one.set_xticklabels(["1", "4", "16", "64", "256", "1,024"])
        one.set_yticklabels(["1", "10", "100", "1,000"])
        one.legend(fontsize=8, loc="upper left", frameon=False)
    axes[0].set_ylabel("times one worker")
    write(figure, "cluster_model")


if __name__ == "__main__":
    for picture in (round_of_training, mnist, model):
        picture()
