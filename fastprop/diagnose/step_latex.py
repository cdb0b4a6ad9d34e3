"""A step of training as LaTeX, in the notation of textbooks: superscripts count layers, rows are samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .step import Step, StepLayer
from .step_text import comes_from_next, penalty_of

DELTA, PRIME = r"\delta", "'"
Line: TypeAlias = tuple[str, str, "np.ndarray | float | None"]  # name, formula, value
WIDTH = 8  # rows or columns of a matrix that are written out


def latex_of(step: Step) -> str:
    """Forward, loss, backward, update: an `align*` of each."""
    forward: list[Line] = [("x", "", step.x), *(line for layer in step.layers for line in _forward(layer))]
    loss: list[Line] = [("y", "", step.y), ("L", "", step.loss)]
    backward = [line for layer in reversed(step.layers) for line in _backward(step, layer)]
    update = [line for layer in step.layers for line in _update(step, layer)]
    update.append((r"L_{\text{new}}", "", step.loss_after))
    return "\n".join([_align(forward), _align(loss), _align(backward), _align(update)])


def _align(lines: list[Line]) -> str:
    rows = []
    for name, formula, value in lines:
        if value is not None:
            middle = f" &= {formula}" if formula else " &"
            rows.append(f"{name}{middle} = {_matrix(value)}")
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"


def _sup(name: str, k: int) -> str:
    return f"{name}^{{({k})}}"


def _input(k: int) -> str:
    return "x" if k <= 1 else _sup("a", k - 1)


def _f(layer: StepLayer, prime: str = "") -> str:
    name = layer.activation.replace("_", r"\_")
    return rf"\operatorname{{{name}}}{prime}\left({_sup('z', layer.number)}\right)"


def _names(layer: StepLayer) -> tuple[str, str]:
    names = ("W", "b") if layer.kind == "dense" else (r"\gamma", r"\beta")
    return _sup(names[0], layer.number), _sup(names[1], layer.number)


def _forward(layer: StepLayer) -> list[Line]:
    k, x = layer.number, _input(layer.number)
    z, a, (W, b) = _sup("z", k), _sup("a", k), _names(layer)
    if layer.kind == "dense":
        plus = "" if layer.b is None else f" + {b}"
        f = z if layer.activation == "identity" else _f(layer)
        return [(W, "", layer.W), (b, "", layer.b), (z, f"{x} {W}{plus}", layer.z), (a, f, layer.a)]
    if layer.kind == "residual":
        skip = "x" if layer.skip == 0 else _sup("a", layer.skip or 0)
        return [(a, f"{x} + {skip}", layer.a)]
    if layer.kind == "dropout":
        return [(a, x, layer.a)]
    normalised = rf"\frac{{{x} - \mu}}{{\sqrt{{\sigma^2 + \epsilon}}}}"
    return [(W, "", layer.W), (b, "", layer.b), (z, normalised, layer.z), (a, rf"{W} \odot {z} + {b}", layer.a)]


def _backward(step: Step, layer: StepLayer) -> list[Line]:
    k, x = layer.number, _input(layer.number)
    delta, (W, b) = _sup(DELTA, k), _names(layer)
    over_a = rf"\frac{{\partial L}}{{\partial {_sup('a', k)}}}"
    if layer.kind != "dense":
        lines: list[Line] = [(delta, over_a, layer.delta)]
        if layer.W is not None:
            product = rf"\sum {delta} \odot {_sup('z', k)}"
            lines += [(_over(W), product, layer.dW), (_over(b), rf"\sum {delta}", layer.db)]
        return lines
    error = ""
    if comes_from_next(step, layer):
        error = f"{_sup(DELTA, k + 1)} {_transposed(_sup('W', k + 1))}"
    slope = "" if layer.activation == "identity" else rf" \odot {_f(layer, PRIME)}"
    penalty = r" + \text{penalty}" if penalty_of(layer) else ""
    rows = "" if len(layer.delta) == 1 else r"\textstyle\sum "
    return [
        (over_a, error, layer.error),
        (delta, f"{over_a}{slope}", layer.delta),
        (_over(W), f"{_transposed(x)} {delta}{penalty}", layer.dW),
        (_over(b), f"{rows}{delta}", layer.db),
    ]


def _transposed(name: str) -> str:
    return rf"{{{name}}}^\top"


def _over(name: str) -> str:
    return rf"\frac{{\partial L}}{{\partial {name}}}"


def _update(step: Step, layer: StepLayer) -> list[Line]:
    if layer.W is None:
        return []
    lines: list[Line] = []
    for name, new in zip(_names(layer), (layer.W_new, layer.b_new), strict=True):
        formula = f"{name} - {step.lr:g} {_over(name)}" if step.is_plain else ""
        lines.append((rf"{name}_{{\text{{new}}}}", formula, new))
    return lines


def _matrix(value: np.ndarray | float) -> str:
    """A number, or a matrix in parentheses; the middle of a large one is left out."""
    if isinstance(value, float):
        return _number(value)
    rows = [[_number(v) for v in row] for row in _shortened(np.atleast_2d(value))]
    if rows == [] or len(rows) * len(rows[0]) == 1:
        return rows[0][0]
    if value.ndim == 2 and value.shape[0] > WIDTH:
        rows.insert(WIDTH // 2, [r"\vdots"] * len(rows[0]))
    if value.shape[-1] > WIDTH:
        rows = [[*row[: WIDTH // 2], r"\cdots", *row[WIDTH // 2 :]] for row in rows]
    return r"\begin{pmatrix} " + r" \\ ".join(" & ".join(row) for row in rows) + r" \end{pmatrix}"


def _shortened(array: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        if array.shape[axis] > WIDTH:
            kept = [*range(WIDTH // 2), *range(array.shape[axis] - WIDTH // 2, array.shape[axis])]
            array = np.take(array, kept, axis)
    return array


def _number(value: float) -> str:
    text = f"{value + 0.0:.6g}"  # no -0
    if "e" in text:
        mantissa, exponent = text.split("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}"
    return text
