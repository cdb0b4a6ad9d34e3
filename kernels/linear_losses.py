"""What is told of whole blocks of rows: the sum of their losses, their learning rates, the scales of the weights.

All are float64 for models of either dtype.
"""

from __future__ import annotations

import numpy as np
from numba.core import types

from .access import descent_at
from .jit import forced
from .linear_step import loss_value, specification
from .records import LOG
from .simd import double_pointer, first_lanes, hsum, lane_numbers, lanes_of, load, select, splat, store

float64_spec = specification(types.float64)


@forced
def targets_of(loss, y):
    """`linear_step.target_of` on a register."""
    return np.where(y > 0.0, splat(float64_spec(), 1.0), -1.0) if loss == LOG else y


def sum_losses(address):
    """Write d.loss_sum, the sum of the losses of rows d.first to d.done, whose margins and targets were kept.

    Margins and targets are arrays of whole registers.
    """
    d = descent_at(address, 0)
    spec, n = float64_spec(), d.done - d.first
    margins, targets, loss, e = double_pointer(d.margins), double_pointer(d.targets), d.loss, d.parameter
    total = splat(spec, 0.0)
    for k in range(0, n, lanes_of(spec)):
        value = loss_value(loss, e, load(margins, k), targets_of(loss, load(targets, k)))
        total = total + select(first_lanes(spec, n - k), value, 0.0)
    d.loss_sum = hsum(total)
    return 0


def inverse_scaling(address, n):
    """Write n rates eta0 / t**power_t to d.rates, an array of whole registers, from t = d.t on."""
    d = descent_at(address, 0)
    spec, rates = float64_spec(), double_pointer(d.rates)
    for k in range(0, n, lanes_of(spec)):
        t = lane_numbers(spec) + (d.t + k)
        store(rates, k, d.eta0 * np.exp(-d.power_t * np.log(t)))
    return 0


def scales_ahead(address, n):
    """Write the scales before each of n rows and after the last to d.scales, from d.scale on."""
    d = descent_at(address, 0)
    rates, scales, l2, scale = double_pointer(d.rates), double_pointer(d.scales), d.l2, d.scale
    scales[0] = scale
    for k in range(n):
        scale *= max(1.0 - l2 * rates[k], 0.0)
        scales[k + 1] = scale
    return 0
