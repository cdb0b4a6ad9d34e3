"""The table of a network's layers."""

from __future__ import annotations

import numpy as np

from .layers import Dense, Dropout
from .plan import Operation, Plan

HEADER = ("layer", "output", "parameters", "bytes")


def summary_table(plan: Plan) -> str:
    """A line for each operation: layer, output shape, parameters, bytes; and the total."""
    itemsize = np.dtype(plan.dtype).itemsize
    rows = [HEADER, ("input", f"(n, {plan.n_features})", "0", "0")]
    for op in plan.operations:
        n = sum(plan.sizes(op)) if op.is_dense or op.is_norm else 0
        rows.append((layer_text(op), f"(n, {op.out.n})", f"{n:,}", f"{n * itemsize:,}"))
    total = plan.n_parameters
    rows.append(("total", "", f"{total:,}", f"{total * itemsize:,}"))
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADER))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2].rjust(widths[2]), row[3].rjust(widths[3])])
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def layer_text(op: Operation) -> str:
    """A layer in few words."""
    indent = "  " * op.name.count(".layers")
    if isinstance(op.layer, Dense):
        name = op.layer.activation.component_name
        text = f"Dense({op.layer.units}{'' if name == 'identity' else f', {name}'})"
    elif isinstance(op.layer, Dropout):
        text = f"Dropout({op.layer.rate:g})"
    elif op.kind == "residual":
        text = "Residual: add"
    else:
        text = type(op.layer).__name__
    return indent + text
