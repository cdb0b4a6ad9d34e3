"""A step of training as text."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from .loss_formulas import LINKS, formula_of, scale_of

if TYPE_CHECKING:
    from .step import Step, StepLayer

DIGITS = 6
WIDTH = 12  # columns or rows of an array that are written out; more are left out in the middle


def text_of(step: Step) -> str:
    """Forward, loss, backward, update."""
    lines = ["Forward", *_line("x", step.x)]
    for layer in step.layers:
        lines += _forward(layer)
    lines += ["", "Loss", *_loss(step), "", "Backward"]
    for layer in reversed(step.layers):
        lines += _backward(step, layer)
    lines += ["", f"Update by {step.optimizer!r}, lr = {step.lr:g}" + (", of clipped gradients" * step.clipped)]
    rule = type(step.optimizer).__doc__
    if rule and not step.is_plain:
        lines.append(f"  {inspect.cleandoc(rule).splitlines()[0]}")
    for layer in step.layers:
        lines += _update(step, layer)
    lines += [f"  L after the update = {step.loss_after:.{DIGITS}g}"]
    return "\n".join(lines)


def _heading(layer: StepLayer) -> str:
    what = layer.activation if layer.kind == "dense" else layer.kind
    return f"  layer {layer.number}: {layer.name} ({what})"


def _forward(layer: StepLayer) -> list[str]:
    k, x = layer.number, "x" if layer.number == 1 else f"a{layer.number - 1}"
    lines = [_heading(layer)]
    if layer.kind == "dense":
        bias = "" if layer.b is None else f" + b{k}"
        lines += _line(f"W{k}", layer.W) + _line(f"b{k}", layer.b)
        lines += _line(f"z{k} = {x} W{k}{bias}", layer.z)
        is_linear = layer.activation == "identity"
        return lines + _line(f"a{k} = " + (f"z{k}" if is_linear else f"{layer.activation}(z{k})"), layer.a)
    if layer.kind == "residual":
        return lines + _line(f"a{k} = {x} + {'x' if layer.skip == 0 else f'a{layer.skip}'}", layer.a)
    if layer.kind == "dropout":
        return [*lines, f"    a{k} = {x} (off)"]
    lines += _line(f"gamma{k}", layer.W) + _line(f"beta{k}", layer.b)
    over = "samples" if layer.kind == "batch_norm" else "features"
    lines += _line(f"z{k} = ({x} - mean over {over}) / sqrt(variance + eps)", layer.z)
    return lines + _line(f"a{k} = gamma{k} z{k} + beta{k}", layer.a)


def _loss(step: Step) -> list[str]:
    loss, (n_rows, n_outputs) = step.loss_of, step.y.shape
    formula, (n, has_w, is_sum) = formula_of(loss, n_outputs), scale_of(loss, n_rows, n_outputs)
    lines = [f"  {loss!r}", *_line("y", step.y)]
    lines += _line("p = " + LINKS[formula.link][0].text.format(f"a{len(step.layers)}"), step.p)
    if loss.output_weights is not None:
        lines += _line("w", loss.coefficients(n_outputs))
    if formula.target is not None:
        lines += [f"    t = {formula.target.text}"]
    factor = (f"1/{n} " * (n > 1)) + ("sum of " * is_sum) + ("w " * has_w)
    value = f"{factor}[{formula.value.text}]" if factor else formula.value.text
    penalty = _plus(step.l2 / 2, "sum of W^2") + _plus(step.l1, "sum of |W|")
    return [*lines, f"    L = {value}{penalty} = {step.loss:.{DIGITS}g}"]


def _backward(step: Step, layer: StepLayer) -> list[str]:
    k, x = layer.number, "x" if layer.number == 1 else f"a{layer.number - 1}"
    lines, error = [_heading(layer)], f"dL/da{k} = {_error(step, k)}"
    if layer.kind != "dense" or layer.activation == "identity":
        lines += _line(f"delta{k} = {error}", layer.delta)
    else:
        lines += _line(error, layer.error) + _line(f"{layer.activation}'(z{k})", layer.slope)
        lines += _line(f"delta{k} = dL/da{k} * {layer.activation}'(z{k})", layer.delta)
    if layer.W is None:
        return lines
    if layer.kind != "dense":
        lines += _line(f"dgamma{k} = sum of delta{k} z{k}", layer.dW) + _line(f"dbeta{k} = sum of delta{k}", layer.db)
        return lines + _line(f"g{k} = delta{k} gamma{k}", layer.delta * layer.W)
    penalty = _plus(step.l2, f"W{k}") + _plus(step.l1, f"sign(W{k})")
    lines += _line(f"dW{k} = {x}^T delta{k}{penalty}", layer.dW)
    rows = "" if len(layer.delta) == 1 else "sum over samples of "
    return lines + _line(f"db{k} = {rows}delta{k}", layer.db)


def _error(step: Step, k: int) -> str:
    """Where dL/da of layer k comes from: the loss, or all layers that read a."""
    if k == len(step.layers):
        n, has_w, _ = scale_of(step.loss_of, *step.y.shape)
        gradient = formula_of(step.loss_of, step.y.shape[1]).gradient.text
        factor = (f"1/{n} " * (n > 1)) + ("w " * has_w)
        return f"{factor}[{gradient}]" if factor else gradient
    return " + ".join(_through(layer) for layer in readers(step, k))


def _through(layer: StepLayer) -> str:
    """What a layer passes back to its input."""
    k = layer.number
    if layer.kind == "dense":
        return f"delta{k} W{k}^T"
    if layer.W is None:
        return f"delta{k}"
    return f"(g{k} - mean of g{k} - z{k} * mean of g{k} z{k}) / sqrt(variance + eps)"


def readers(step: Step, k: int) -> list[StepLayer]:
    """The layers that read the output of layer k: the next one, and sums that skip to it."""
    return [step.layers[k], *(layer for layer in step.layers if layer.skip == k)]


def _plus(factor: float, what: str) -> str:
    return f" + {factor:g} {what}" if factor else ""


def _update(step: Step, layer: StepLayer) -> list[str]:
    if layer.W is None:
        return []
    k, lines = layer.number, []
    names = ("W", "b") if layer.kind == "dense" else ("gamma", "beta")
    for name, new in zip(names, (layer.W_new, layer.b_new), strict=True):
        how = f" = {name}{k} - {step.lr:g} d{name}{k}" if step.is_plain else ""
        lines += _line(f"{name}{k} new{how}", new)
    return lines


def _line(name: str, array: np.ndarray | None) -> list[str]:
    """`name = array`, in one line if it has one row."""
    if array is None:
        return []
    rows = array[0] if array.ndim == 2 and len(array) == 1 else array
    width = max(len(_number(v)) for v in rows.ravel())
    form: Any = {"float_kind": lambda v: _number(v).rjust(width)}
    line_width = 120 - len(name)
    written = np.array2string(
        rows, max_line_width=line_width, separator=", ", threshold=WIDTH**2, edgeitems=WIDTH // 2, formatter=form
    )
    indent = " " * (len(name) + 7)
    return [f"    {name} = " + written.replace("\n", "\n" + indent)]


def _number(value: float) -> str:
    return f"{value + 0.0:.{DIGITS}g}"  # no -0
