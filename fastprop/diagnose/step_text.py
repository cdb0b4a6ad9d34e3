"""A step of training as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .step import Step, StepLayer

DIGITS = 6
WIDTH = 12  # columns or rows of an array that are written out; more are left out in the middle


def text_of(step: Step) -> str:
    """Forward, loss, backward, update."""
    lines = ["Forward", *_line("x", step.x)]
    for layer in step.layers:
        lines += _forward(layer)
    lines += ["", "Loss", *_line("y", step.y), f"  L = {step.loss_of!r} = {step.loss:.{DIGITS}g}", "", "Backward"]
    for layer in reversed(step.layers):
        lines += _backward(step, layer)
    lines += ["", f"Update by {step.optimizer!r}, lr = {step.lr:g}"]
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
    lines += _line(f"z{k} = ({x} - mean) / sqrt(variance + eps)", layer.z)
    return lines + _line(f"a{k} = gamma{k} z{k} + beta{k}", layer.a)


def _backward(step: Step, layer: StepLayer) -> list[str]:
    k, x = layer.number, "x" if layer.number == 1 else f"a{layer.number - 1}"
    lines = [_heading(layer)]
    if layer.kind != "dense":
        lines += _line(f"delta{k} = dL/da{k}", layer.delta)
        if layer.W is not None:
            lines += _line(f"dgamma{k} = sum of delta{k} z{k}", layer.dW) + _line(
                f"dbeta{k} = sum of delta{k}", layer.db
            )
        return lines
    error = f"dL/da{k}" + (f" = delta{k + 1} W{k + 1}^T" if comes_from_next(step, layer) else "")
    if layer.activation == "identity":
        lines += _line(f"delta{k} = {error}", layer.delta)
    else:
        lines += _line(error, layer.error) + _line(f"{layer.activation}'(z{k})", layer.slope)
        lines += _line(f"delta{k} = dL/da{k} * {layer.activation}'(z{k})", layer.delta)
    lines += _line(f"dW{k} = {x}^T delta{k}{penalty_of(layer)}", layer.dW)
    rows = "" if len(layer.delta) == 1 else "sum over samples of "
    return lines + _line(f"db{k} = {rows}delta{k}", layer.db)


def comes_from_next(step: Step, layer: StepLayer) -> bool:
    """Whether dL/da of a layer is delta W^T of the next one: that is dense, and the only one that reads a."""
    following = step.layers[layer.number : layer.number + 1]
    return bool(following) and following[0].kind == "dense" and not is_skipped_to(step, layer.number)


def is_skipped_to(step: Step, k: int) -> bool:
    """Whether a residual block starts at the output of layer k, which then has two ways back."""
    return any(layer.skip == k for layer in step.layers)


def penalty_of(layer: StepLayer) -> str:
    """What l1 and l2 add to dW, if they do."""
    assert layer.dW is not None
    return "" if np.allclose(layer.dW, layer.x.T @ layer.delta, rtol=1e-12, atol=0.0) else " + penalty"


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
