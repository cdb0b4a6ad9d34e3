"""Batch normalisation, by features: a worker has all samples of its features, so every sum has one order.

    xhat = (x - mean) / sqrt(var + eps),   a = gamma xhat + beta          Ioffe and Szegedy 2015
    dx = gamma / (deviation n) (n da - sum(da) - xhat sum(da xhat))

Running statistics follow PyTorch: running = (1 - momentum) running + momentum batch, the variance unbiased.
"""

from __future__ import annotations

import math

from .jit import component, inner, kernel
from .rowwise import give_error
from .simd import first_lanes, hsum, lanes_of, load, offset, panel_of, pointer, register_at, select, splat, store
from .update import apply_rule, clean, penalise


@inner
def valid(spec, step, r, v):
    """v with zeros in the lanes beyond the last sample."""
    return select(first_lanes(spec, step.n_rows - r * lanes_of(spec)), v, 0.0)


@kernel
def batch_norm_forward(spec, op, step, first, last):
    """Features first..last over the whole batch. Writes op.a, op.z (xhat), op.inverse_deviation, running statistics."""
    P = panel_of(spec)
    gamma, beta = pointer(spec, op.w), pointer(spec, op.b)
    running_mean, running_variance = pointer(spec, op.running_mean), pointer(spec, op.running_variance)
    deviations = pointer(spec, op.inverse_deviation)
    n = step.n_rows
    for q in range(first, last):
        x, a = offset(pointer(spec, op.x), q * P), offset(pointer(spec, op.a), q * P)
        xhat = offset(pointer(spec, op.z), q * P)
        mean, variance = float(running_mean[q]), float(running_variance[q])
        if step.training:
            total = splat(spec, 0.0)
            for r in range(step.n_registers):
                total = total + valid(spec, step, r, load(x, register_at(spec, r, op.x_stride)))
            mean = hsum(total) / n
            squares = splat(spec, 0.0)
            for r in range(step.n_registers):
                centred = valid(spec, step, r, load(x, register_at(spec, r, op.x_stride)) - mean)
                squares = squares + centred * centred
            variance = hsum(squares) / n
            if step.training == 1 and n > 1:  # 2 asks for gradients only; one row has no variance
                unbiased = variance * n / (n - 1)
                running_mean[q] = (1.0 - op.momentum) * running_mean[q] + op.momentum * mean
                running_variance[q] = (1.0 - op.momentum) * running_variance[q] + op.momentum * unbiased
        inverse = 1.0 / math.sqrt(variance + op.eps)
        deviations[q] = inverse
        for r in range(step.n_registers):
            k = register_at(spec, r, op.a_stride)
            normal = (load(x, k) - mean) * inverse
            store(xhat, k, normal)
            store(a, k, normal * gamma[q] + beta[q])


@kernel
def batch_norm_backward(spec, op, step, first, last):
    """Error of features first..last of the input, with the batch's statistics. Writes op.e_x."""
    P = panel_of(spec)
    gamma, deviations = pointer(spec, op.w), pointer(spec, op.inverse_deviation)
    n = step.n_rows
    for q in range(first, last):
        e_x, e_a = offset(pointer(spec, op.e_x), q * P), offset(pointer(spec, op.e_a), q * P)
        xhat = offset(pointer(spec, op.z), q * P)
        total, along = splat(spec, 0.0), splat(spec, 0.0)
        for r in range(step.n_registers):
            k = register_at(spec, r, op.a_stride)
            e = valid(spec, step, r, load(e_a, k))
            total = total + e
            along = along + e * load(xhat, k)
        mean, mean_along = hsum(total) / n, hsum(along) / n
        scale = gamma[q] * deviations[q]
        for r in range(step.n_registers):
            k = register_at(spec, r, op.a_stride)
            e = (load(e_a, k) - mean - load(xhat, k) * mean_along) * scale
            give_error(spec, op, e_x, k, valid(spec, step, r, e))


@kernel
def norm_update(spec, op, step, first, last):
    """Gradient and update of gamma and beta, `lanes` features a unit. Writes op.w, op.b and their state.

    dgamma = sum of da xhat, dbeta = sum of da, over the samples.
    """
    L, P = lanes_of(spec), panel_of(spec)
    rule = component(spec, 0, step.rule_constants)
    clock = rule.clock(float(step.count))
    e_a, xhat, gradient = pointer(spec, op.e_a), pointer(spec, op.z), pointer(spec, step.scratch)
    for unit in range(first, last):
        for k in range(0, 2 * L, L):
            store(gradient, k, splat(spec, 0.0))
        for i in range(min(L, op.n_out - unit * L)):
            total, along = splat(spec, 0.0), splat(spec, 0.0)
            for r in range(step.n_registers):
                k = register_at(spec, r, op.a_stride) + (unit * L + i) * P
                e = valid(spec, step, r, load(e_a, k))
                total = total + e
                along = along + e * load(xhat, k)
            gradient[i], gradient[L + i] = hsum(along), hsum(total)
        gamma, beta = offset(pointer(spec, op.w), unit * L), offset(pointer(spec, op.b), unit * L)
        penalise(spec, op, step, gamma, gradient, 2 * L, -1)
        apply_rule(spec, rule, clock, step.lr, step.row_stride, gamma, gradient, L)
        apply_rule(spec, rule, clock, step.lr, step.row_stride, beta, offset(gradient, L), L)
        clean(spec, gamma, op.n_out - unit * L, L)
        clean(spec, beta, op.n_out - unit * L, L)
