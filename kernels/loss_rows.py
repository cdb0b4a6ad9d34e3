"""The loss of a chunk of rows and its gradient with respect to the outputs, samples on the lanes.

    loss of an update = sum over rows w / sum(w) * sum over outputs c * value(y, p)

c are the coefficients of the outputs (1 / n_out for losses that average over them).
"""

from __future__ import annotations

import numpy as np

from .jit import component, inner, kernel
from .simd import double_pointer, hsum, lanes_of, load, panel_of, pointer, register_at, splat, store


@inner
def target_of(spec, op, y, at, o):
    """The target of output o: its column, or from the row's class code 1 for the class and op.target_low for others."""
    if op.labels:
        return np.where(load(y, at) == float(o + op.labels - 1), splat(spec, 1.0), op.target_low)
    return load(y, at + o * panel_of(spec))


@kernel
def elementwise_loss(spec, op, step, first, last):
    """Loss and error for registers first..last. Writes op.e_x and step.loss_partials, one number a register."""
    L, P = lanes_of(spec), panel_of(spec)
    loss = component(spec, 0, op.constants)
    x, e_x, y, weights = pointer(spec, op.x), pointer(spec, op.e_x), pointer(spec, op.a), pointer(spec, op.w)
    coefficients, partials = double_pointer(op.coefficients), double_pointer(step.loss_partials)
    for r in range(first, last):
        at, y_at = register_at(spec, r, op.x_stride), register_at(spec, r, op.a_stride)
        weight = load(weights, r * L)
        total = splat(spec, 0.0)
        for o in range(op.n_in):
            target, p = target_of(spec, op, y, y_at, o), load(x, at + o * P)
            total = total + coefficients[o] * loss.value(target, p)
            e = weight * (coefficients[o] * loss.gradient(target, p))
            store(e_x, at + o * P, np.where(weight > 0.0, e, 0.0))
        partials[r] = hsum(np.where(weight > 0.0, weight * total, 0.0))


@kernel
def cross_entropy(spec, op, step, first, last):
    """-sum over classes of u log softmax(p), u = c ((1 - s) y + s / n), s = op.rate (label smoothing).

    Writes op.e_x (the gradient, sum(u) softmax(p) - u, times the weight) and step.loss_partials, one number a register.
    """
    L, P = lanes_of(spec), panel_of(spec)
    x, e_x, y, weights = pointer(spec, op.x), pointer(spec, op.e_x), pointer(spec, op.a), pointer(spec, op.w)
    coefficients, partials = double_pointer(op.coefficients), double_pointer(step.loss_partials)
    smooth = op.rate / op.n_in
    for r in range(first, last):
        at, y_at = register_at(spec, r, op.x_stride), register_at(spec, r, op.a_stride)
        weight = load(weights, r * L)
        largest = load(x, at)
        for o in range(1, op.n_in):
            largest = max(largest, load(x, at + o * P))
        total, mass, linear = splat(spec, 0.0), splat(spec, 0.0), splat(spec, 0.0)
        for o in range(op.n_in):
            p = load(x, at + o * P) - largest
            exponential = np.exp(p)
            u = coefficients[o] * ((1.0 - op.rate) * target_of(spec, op, y, y_at, o) + smooth)
            store(e_x, at + o * P, exponential)
            total, mass, linear = total + exponential, mass + u, linear + u * p
        partials[r] = hsum(np.where(weight > 0.0, weight * (mass * np.log(total) - linear), 0.0))
        scale = mass / total
        for o in range(op.n_in):
            u = coefficients[o] * ((1.0 - op.rate) * target_of(spec, op, y, y_at, o) + smooth)
            e = weight * (load(e_x, at + o * P) * scale - u)
            store(e_x, at + o * P, np.where(weight > 0.0, e, 0.0))
