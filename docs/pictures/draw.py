"""The pictures of engine.md: `python docs/pictures/draw.py` writes them as SVG beside this file."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

HERE = Path(__file__).parent
BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#B8BEC6", "#22272E"
plt.rcParams |= {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: a sixth of the bytes
    "svg.hashsalt": "fastprop",  # the same bytes in each run
    "text.color": INK,
}


def canvas(width: float, height: float) -> Axes:
    """Axes without axes; one unit is a quarter of an inch, y downwards."""
    figure = plt.figure(figsize=(width / 4, height / 4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def box(
    axes: Axes, x: float, y: float, w: float, h: float, colour: str, text: str = "", strength: float = 0.25
) -> None:
    """A filled rectangle with its text in the middle."""
    axes.add_patch(Rectangle((x, y), w, h, facecolor=colour, alpha=strength, linewidth=0))
    axes.add_patch(Rectangle((x, y), w, h, facecolor="none", edgecolor=colour, linewidth=1))
    axes.text(x + w / 2, y + h / 2, text, ha="center", va="center")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
    """An arrow."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=colour, linewidth=1))


def note(axes: Axes, x: float, y: float, text: str, **style: object) -> None:
    """A line of text that begins at x."""
    axes.text(x, y, text, **({"ha": "left", "va": "center"} | style))


def save(axes: Axes, name: str) -> None:
    """Write NAME.svg."""
    axes.figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(axes.figure)


def plan() -> None:
    """Layers become a table of operations and one vector of parameters."""
    axes = canvas(32, 15)
    note(axes, 1, 1, "layers", weight="bold")
    for k, text in enumerate(["Dense(64, relu)", "Dense(64, relu)", "Dense(1)"]):
        box(axes, 1, 2 + 2 * k, 6, 1.5, GREY, text)
    arrow(axes, (7.4, 4.8), (9.4, 4.8))
    note(axes, 9.8, 1, "program: a table of instructions that kernels walk", weight="bold")
    rows = [
        ("kernel", "reads", "writes", ""),
        ("gather", "X", "a0", "rows of the batch, cast"),
        ("dense_forward", "a0, W1, b1", "a1", ""),
        ("dense_forward", "a1, W2, b2", "a2", ""),
        ("dot_forward", "a2, w3, b3", "z3", "one unit: W is a vector"),
        ("elementwise_loss", "z3, y", "delta3", ""),
        ("dot_backward", "delta3, w3", "delta2", "and so on, backward"),
    ]
    for k, row in enumerate(rows):
        axes.add_patch(
            Rectangle((9.8, 1.9 + 1.05 * k), 21, 1.05, facecolor=GREY, alpha=0.12 + 0.1 * (k % 2), linewidth=0)
        )
        for x, text in zip((10.1, 16, 20.6, 23.6), row, strict=True):
            note(axes, x, 2.45 + 1.05 * k, text, size=9, style="italic" if k == 0 else "normal")
    note(axes, 1, 10.8, "one vector: W in panels of 32 outputs, every start on a cache line, pads zero", weight="bold")
    x = 1.0
    for text, w, colour in [("W1", 7.5, BLUE), ("b1", 1.6, ORANGE), ("W2", 11, BLUE), ("b2", 1.6, ORANGE),
                            ("w3", 1.6, BLUE), ("b3", 1.2, ORANGE)]:  # fmt: skip
        box(axes, x, 11.6, w, 1.2, colour, text)
        x += w
    for k, text in enumerate(["gradients (stored only to clip or accumulate)", "slots of the rule: m, v, ..."]):
        box(axes, 1, 12.95 + 0.85 * k, x - 1, 0.7, GREY, "", 0.2)
        axes.text(1 + (x - 1) / 2, 13.3 + 0.85 * k, text, ha="center", va="center", size=8)
    save(axes, "plan")


def barriers() -> None:
    """A step on two workers: stripes of rows, barrier, stripes of weight tiles, barrier."""
    axes = canvas(32, 11)
    for k in range(2):
        y = 2.6 + 3.2 * k
        note(axes, 0.6, y + 1, f"worker {k}", weight="bold")
        x = 4.5
        for text, w, colour in [("gather", 2.6, GREY), ("forward", 4.4, BLUE), ("loss", 1.8, ORANGE),
                                ("backward", 4.4, PURPLE)]:  # fmt: skip
            box(axes, x, y, w, 2, colour, text)
            x += w
        box(axes, 18.7, y, 8.8, 2, GREEN, "gradient and update\nof its weight tiles")
        note(axes, 4.5, y + 2.4, f"rows {16 * k} to {16 * k + 15} of the batch", size=8.5, color="#57606a")
        tiles = "half of the tiles: all rows" if k == 0 else "the other half: all rows"
        note(axes, 18.7, y + 2.4, tiles, size=8.5, color="#57606a")
    for x in (18.2, 28.0):
        axes.plot([x, x], [1.6, 8.6], color=INK, linewidth=2.5, solid_capstyle="butt")
        axes.text(x, 1, "barrier", ha="center", va="center", weight="bold")
    note(axes, 28.6, 5.2, "next batch")
    axes.text(11, 9.9, "no row needs another row:\nnothing waits", ha="center", va="center")
    axes.text(
        23.1, 9.9, "every sum over rows belongs to one tile,\nadded in the order of the rows", ha="center", va="center"
    )
    save(axes, "barriers")


def panels() -> None:
    """Samples lie side by side on the lanes of a register."""
    axes = canvas(32, 12)
    note(axes, 1, 1, "a batch as it comes", weight="bold")
    note(axes, 13, 1, "as kernels keep it: panels of 32 samples, a row a feature", weight="bold")
    for sample, letter in enumerate("abcdef"):
        colour, strength = (GREEN, 0.35) if letter == "b" else (GREY, 0.12)
        for feature in range(5):
            name = f"{letter}{feature}"
            box(axes, 1 + 1.5 * feature, 2 + 1.2 * sample, 1.5, 1.2, colour, name, strength)
            box(axes, 15 + 1.5 * sample, 2 + 1.2 * feature, 1.5, 1.2, colour, name, strength)
    for feature in range(5):
        axes.text(24.9, 2.6 + 1.2 * feature, "...", ha="center", va="center")
        box(axes, 25.8, 2 + 1.2 * feature, 4.2, 1.2, GREY, "to 32", 0.12)
        note(axes, 13, 2.6 + 1.2 * feature, f"x[{feature}]", size=9)
    arrow(axes, (9.2, 5), (12.4, 5))
    axes.text(10.8, 4.3, "gather", ha="center", va="center", size=9)
    axes.add_patch(Rectangle((15, 2), 15, 1.2, facecolor="none", edgecolor=BLUE, linewidth=2.5))
    note(axes, 15, 8.7, "one feature of 32 samples: two registers of AVX-512", size=9, color=BLUE)
    note(
        axes,
        1,
        10.2,
        "A weight W[i, j] is one number for all 32 samples, whatever the width of a layer: no lane is",
        size=9,
    )
    note(axes, 1, 11, "wasted on narrow layers, and nothing is summed across lanes.", size=9)
    save(axes, "panels")


def tile() -> None:
    """The register tile: 8 outputs by 32 samples that stay in registers while k runs over the inputs."""
    axes = canvas(32, 17)
    note(axes, 12, 1, "x[k]: feature k of 32 samples, two registers", weight="bold", color=BLUE)
    box(axes, 12, 1.7, 9, 1.2, BLUE, "16 samples")
    box(axes, 21, 1.7, 9, 1.2, BLUE, "16 samples")
    axes.text(5.5, 1, "W[k, j .. j + 7]", ha="center", va="center", weight="bold", color=ORANGE)
    for r in range(8):
        y = 4.2 + 1.35 * r
        box(axes, 4.5, y, 2.2, 1.1, ORANGE, f"w{r}")
        arrow(axes, (6.9, y + 0.55), (11.6, y + 0.55), ORANGE)
        for v in range(2):
            box(axes, 12 + 9 * v, y, 9, 1.1, GREEN, f"z[{r}, {'0-15' if v == 0 else '16-31'}] += w{r} x[k]", 0.2)
    axes.text(9.2, 3.6, "broadcast", ha="center", va="center", size=9, color=ORANGE)
    for v in range(2):
        arrow(axes, (16.5 + 9 * v, 3), (16.5 + 9 * v, 4.1), BLUE)
    note(axes, 4.5, 15.7, "16 of the 32 registers hold sums for the whole loop over k;", size=9)
    note(axes, 4.5, 16.5, "then bias, activation and store, straight from the registers", size=9)
    save(axes, "tile")


if __name__ == "__main__":
    for draw in (plan, barriers, panels, tile):
        draw()
