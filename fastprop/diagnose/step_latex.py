"""A step of training as LaTeX, in the notation of textbooks: superscripts count layers, rows are samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .step import Step, StepLayer
from .loss_formulas import LINKS, formula_of, scale_of
from .step_text import readers

DELTA, PRIME = r"\delta", "'"
Line: TypeAlias = tuple[str, str, "np.ndarray | float | str | None"]  # name, formula, value
WIDTH = 8  # rows or columns of a matrix that are written out


def latex_of(step: Step) -> str:
    """Forward, loss, backward, update: an `align*` of each."""
    forward: list[Line] = [("x", "", step.x), *(line for layer in step.layers for line in _forward(layer))]
    backward = [line for layer in reversed(step.layers) for line in _backward(step, layer)]
    update = [line for layer in step.layers for line in _update(step, layer)]
    update.append((r"L_{\text{new}}", "", step.loss_after))
    return "\n".join([_align(forward), _align(_loss(step)), _align(backward), _align(update)])


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


def _loss(step: Step) -> list[Line]:
    loss, (n_rows, n_outputs) = step.loss_of, step.y.shape
    formula, (n, has_w, is_sum) = formula_of(loss, n_outputs), scale_of(loss, n_rows, n_outputs)
    link = LINKS[formula.link][0].latex.format(_sup("a", len(step.layers)))
    lines: list[Line] = [("y", "", step.y), ("p", link, step.p)]
    if loss.output_weights is not None:
        lines.append(("w", "", loss.coefficients(n_outputs)))
    if formula.target is not None:
        lines.append(("t", "", formula.target.latex))
    factor = _share(n, has_w, r"\textstyle\sum " * is_sum)
    value = rf"{factor}\left[{formula.value.latex}\right]" if factor else formula.value.latex
    penalty = _plus(step.l2 / 2, r"\textstyle\sum W^2") + _plus(step.l1, r"\textstyle\sum |W|")
    return [*lines, ("L", value + penalty, step.loss)]


def _backward(step: Step, layer: StepLayer) -> list[Line]:
    k, x, (W, b) = layer.number, _input(layer.number), _names(layer)
    delta, over_a, error = _sup(DELTA, k), _over(_sup("a", k)), _error(step, k)
    lines: list[Line] = [(over_a, error, layer.error), (delta, f"{over_a} \\odot {_f(layer, PRIME)}", layer.delta)]
    if layer.kind != "dense" or layer.activation == "identity":
        lines = [(delta, f"{over_a} = {error}", layer.delta)]
    if layer.W is None:
        return lines
    if layer.kind != "dense":
        lines += [(_over(W), rf"\textstyle\sum {delta} \odot {_sup('z', k)}", layer.dW)]
        lines += [(_over(b), rf"\textstyle\sum {delta}", layer.db)]
        return [*lines, (_sup("g", k), rf"{delta} \odot {W}", layer.delta * layer.W)]
    penalty = _plus(step.l2, W) + _plus(step.l1, rf"\operatorname{{sign}} {W}")
    rows = "" if len(layer.delta) == 1 else r"\textstyle\sum "
    return [*lines, (_over(W), f"{_transposed(x)} {delta}{penalty}", layer.dW), (_over(b), f"{rows}{delta}", layer.db)]


def _error(step: Step, k: int) -> str:
    """Where dL/da of layer k comes from: the loss, or all layers that read a."""
    if k == len(step.layers):
        n, has_w, _ = scale_of(step.loss_of, *step.y.shape)
        gradient = formula_of(step.loss_of, step.y.shape[1]).gradient.latex
        factor = _share(n, has_w)
        return rf"{factor}\left[{gradient}\right]" if factor else gradient
    return " + ".join(_through(layer) for layer in readers(step, k))


def _through(layer: StepLayer) -> str:
    """What a layer passes back to its input."""
    k = layer.number
    if layer.kind == "dense":
        return f"{_sup(DELTA, k)} {_transposed(_sup('W', k))}"
    if layer.W is None:
        return _sup(DELTA, k)
    g, z = _sup("g", k), _sup("z", k)
    return rf"\frac{{{g} - \overline{{{g}}} - {z} \odot \overline{{{g} \odot {z}}}}}{{\sqrt{{\sigma^2 + \epsilon}}}}"


def _share(n: int, has_weights: bool, total: str = "") -> str:
    return (rf"\frac{{1}}{{{n}}} " if n > 1 else "") + total + ("w " if has_weights else "")


def _plus(factor: float, what: str) -> str:
    return f" + {_number(factor)} {what}" if factor else ""


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


def _matrix(value: np.ndarray | float | str) -> str:
    """A number, or a matrix in parentheses; the middle of a large one is left out. A string stays."""
    if isinstance(value, str):
        return value
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
