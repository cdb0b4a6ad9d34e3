"""What is told of whole blocks of rows: losses, learning rates, scales of the weights, and whether these are finite.

Losses, rates and scales are float64 for models of either dtype. A call from Python takes 0.3 us: half a dozen temporary
arrays of NumPy would cost as much as a pass over 100 rows.
"""

from __future__ import annotations

import numpy as np
from numba.core import types

from .access import descent_at
from .jit import forced
from .linear_step import loss_value, specification
from .records import INVERSE_SCALING, LOG, OPTIMAL
from .simd import (
    double_pointer,
    first_lanes,
    fma,
    hsum,
    lane_numbers,
    lanes_of,
    load,
    pointer,
    select,
    splat,
    store,
)

float32_spec, float64_spec = specification(types.float32), specification(types.float64)


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


def tabulate(address, n):
    """Write the rates of n rows to d.rates, an array of whole registers, from t = d.t on."""
    d = descent_at(address, 0)
    spec, rates, kind = float64_spec(), double_pointer(d.rates), d.rate
    start = d.t0 + d.t - 1.0
    for k in range(0, n, lanes_of(spec)):
        if kind == INVERSE_SCALING:
            rate = d.eta0 * np.exp(-d.power_t * np.log(lane_numbers(spec) + (d.t + k)))
        elif kind == OPTIMAL:
            rate = d.inverse_alpha / (lane_numbers(spec) + k + start)
        else:
            rate = splat(spec, d.eta0)
        store(rates, k, rate)
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


@forced
def all_finite(spec, address):
    """1 if all weights are numbers, else 0; zeros follow them."""
    d = descent_at(address, 0)
    w, product = pointer(spec, d.w), splat(spec, 0.0)
    for k in range(0, d.n_features, lanes_of(spec)):
        product = fma(load(w, k), splat(spec, 0.0), product)
    return 1 if hsum(product) == 0.0 else 0


def is_finite_float32(address):
    """`all_finite` of a float32 model."""
    return all_finite(float32_spec(), address)


def is_finite_float64(address):
    """`all_finite` of a float64 model."""
    return all_finite(float64_spec(), address)
