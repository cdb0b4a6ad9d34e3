"""The loss of one sample and its error, outputs on the lanes; see `loss_rows` for the formulas.

The weight of the sample cancels from its update, loss = w / w * sum over outputs; it counts in means over samples.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import component, forced, keeps_z, kernel
from .simd import (
    double_pointer,
    first_lanes,
    hmax,
    hsum,
    lane_numbers,
    lanes_of,
    load,
    offset,
    pointer,
    select,
    splat,
    store,
)


@forced
def target_part(spec, op, y, o):
    """The targets of outputs o..o + lanes: their numbers, or from the class code y[0]."""
    if op.labels:
        is_class = lane_numbers(spec) + float(o + op.labels - 1) == y[0]
        return np.where(is_class, splat(spec, 1.0), op.target_low)
    return load(y, o)


@kernel
def row_loss(spec, op, step, slot, last):
    """Loss (class 1) of the outputs that an activation (class 0) made. Writes op.e_x, the error before the activation.

    The loss goes to step.loss_partials.
    """
    L = lanes_of(spec)
    act, loss = component(spec, 0, op.constants_below), component(spec, 1, op.constants)
    x, e_x, coefficients = pointer(spec, op.x), pointer(spec, op.e_x), pointer(spec, op.coefficients)
    y = offset(pointer(spec, op.a), slot * op.a_stride)
    z, n = pointer(spec, op.x_z if keeps_z(spec) else op.x), op.n_in
    total = splat(spec, 0.0)
    for o in range(0, n, L):
        valid, target, p, c = first_lanes(spec, n - o), target_part(spec, op, y, o), load(x, o), load(coefficients, o)
        total = total + select(valid, c * loss.value(target, p), 0.0)
        e = c * loss.gradient(target, p) * act.derivative(load(z, o), p)
        store(e_x, o, select(valid, e, 0.0))
    double_pointer(step.loss_partials)[0] = hsum(total)


@kernel
def row_cross_entropy(spec, op, step, slot, last):
    """Cross-entropy of the outputs that an activation (class 0) made. Writes op.e_x, the error before the activation.

    The loss goes to step.loss_partials.
    """
    L = lanes_of(spec)
    act = component(spec, 0, op.constants_below)
    x, e_x, coefficients = pointer(spec, op.x), pointer(spec, op.e_x), pointer(spec, op.coefficients)
    y = offset(pointer(spec, op.a), slot * op.a_stride)
    z, n = pointer(spec, op.x_z if keeps_z(spec) else op.x), op.n_in
    smooth, keep = op.rate / n, 1.0 - op.rate
    largest = splat(spec, x[0])
    for o in range(0, n, L):
        largest = max(largest, select(first_lanes(spec, n - o), load(x, o), largest))
    largest = splat(spec, hmax(largest))
    totals, masses, linear = splat(spec, 0.0), splat(spec, 0.0), splat(spec, 0.0)
    for o in range(0, n, L):
        valid, p = first_lanes(spec, n - o), load(x, o) - largest
        exponential = select(valid, np.exp(p), 0.0)
        u = select(valid, load(coefficients, o) * (keep * target_part(spec, op, y, o) + smooth), 0.0)
        store(e_x, o, exponential)
        totals, masses, linear = totals + exponential, masses + u, linear + u * p
    total, mass = hsum(totals), hsum(masses)
    double_pointer(step.loss_partials)[0] = mass * math.log(total) - hsum(linear)
    scale = splat(spec, mass / total)
    for o in range(0, n, L):
        u = load(coefficients, o) * (keep * target_part(spec, op, y, o) + smooth)
        e = (load(e_x, o) * scale - u) * act.derivative(load(z, o), load(x, o))
        store(e_x, o, select(first_lanes(spec, n - o), e, 0.0))
