"""Operations on rows without a product: derivatives of activations, residual sums, dropout, layer norm, output."""

from __future__ import annotations

import numpy as np

from .jit import component, inner, keeps_z, kernel
from .rng import keep_mask
from .simd import lanes_of, load, offset, panel_of, pointer, register_at, splat, store


@kernel
def activation_backward(spec, op, step, first, last):
    """Multiply the error of a dense output with act': it becomes delta. Writes op.e_a."""
    act = component(spec, 0, op.constants)
    a, e_a = pointer(spec, op.a), pointer(spec, op.e_a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    for r in range(first, last):
        at = register_at(spec, r, op.a_stride)
        for k in range(at, at + op.n_out * panel_of(spec), panel_of(spec)):
            store(e_a, k, load(e_a, k) * act.derivative(load(z, k), load(a, k)))


@inner
def give_error(spec, op, e_x, k, e):
    """Write the error e to e_x[k], or add it where another part is there already."""
    if op.accumulates:
        e = e + load(e_x, k)
    store(e_x, k, e)


@kernel
def residual_forward(spec, op, step, first, last):
    """a = x + skip. Writes op.a."""
    x, skip, a = pointer(spec, op.x), pointer(spec, op.skip), pointer(spec, op.a)
    for r in range(first, last):
        at = register_at(spec, r, op.a_stride)
        for k in range(at, at + op.n_out * panel_of(spec), panel_of(spec)):
            store(a, k, load(x, k) + load(skip, k))


@kernel
def residual_backward(spec, op, step, first, last):
    """The error goes both ways. Writes op.e_x, and op.e_skip where it is asked for."""
    e_x, e_skip, e_a = pointer(spec, op.e_x), pointer(spec, op.e_skip), pointer(spec, op.e_a)
    for r in range(first, last):
        at = register_at(spec, r, op.a_stride)
        for k in range(at, at + op.n_out * panel_of(spec), panel_of(spec)):
            e = load(e_a, k)
            store(e_x, k, e)
            if op.e_skip:
                give_error(spec, op, e_skip, k, e)


@kernel
def dropout_forward(spec, op, step, first, last):
    """a = x / (1 - rate) where kept, else 0; x itself outside of training. Writes op.a, and the factors to op.z.

    What is kept depends on the seed, the update, the operation, the sample's place in the update and the feature, so
    neither threads nor chunks change it. Srivastava et al. 2014, inverted.
    """
    L, P = lanes_of(spec), panel_of(spec)
    x, a, factors = pointer(spec, op.x), pointer(spec, op.a), pointer(spec, op.z)
    scale = 1.0 / (1.0 - op.rate)
    for r in range(first, last):
        at = register_at(spec, r, op.a_stride)
        for q in range(op.n_out):
            k = at + q * P
            factor = splat(spec, 1.0)
            if step.training == 1:
                kept = keep_mask(spec, step.seed, step.count, op.index, step.position + r * L, q, op.rate)
                factor = np.where(kept, splat(spec, scale), 0.0)
                store(factors, k, factor)
            store(a, k, load(x, k) * factor)


@kernel
def dropout_backward(spec, op, step, first, last):
    """The error of x: that of a times the factor. Writes op.e_x."""
    e_x, e_a, factors = pointer(spec, op.e_x), pointer(spec, op.e_a), pointer(spec, op.z)
    for r in range(first, last):
        at = register_at(spec, r, op.a_stride)
        for k in range(at, at + op.n_out * panel_of(spec), panel_of(spec)):
            factor = load(factors, k) if step.training == 1 else splat(spec, 1.0)
            give_error(spec, op, e_x, k, load(e_a, k) * factor)


@kernel
def layer_norm_forward(spec, op, step, first, last):
    """a = gamma xhat + beta, xhat = (x - mean) / sqrt(var + eps) over the features of each sample. Ba et al. 2016.

    Writes op.a, xhat to op.z, and 1 / sqrt(var + eps) to op.inverse_deviation, one number a sample.
    """
    L, P = lanes_of(spec), panel_of(spec)
    x, a, xhat = pointer(spec, op.x), pointer(spec, op.a), pointer(spec, op.z)
    gamma, beta = pointer(spec, op.w), pointer(spec, op.b)
    inverse_deviation = pointer(spec, op.inverse_deviation)
    for r in range(first, last):
        at = register_at(spec, r, op.a_stride)
        end = at + op.n_out * P
        total = splat(spec, 0.0)
        for k in range(at, end, P):
            total = total + load(x, k)
        mean = total / float(op.n_out)
        squares = splat(spec, 0.0)
        for k in range(at, end, P):
            centred = load(x, k) - mean
            squares = squares + centred * centred
        inverse = 1.0 / np.sqrt(squares / float(op.n_out) + op.eps)
        store(inverse_deviation, r * L, inverse)
        for q in range(op.n_out):
            normal = (load(x, at + q * P) - mean) * inverse
            store(xhat, at + q * P, normal)
            store(a, at + q * P, normal * gamma[q] + beta[q])


@kernel
def layer_norm_backward(spec, op, step, first, last):
    """dx = (g - mean(g) - xhat mean(g xhat)) / deviation with g = gamma da, means over features. Writes op.e_x."""
    L, P = lanes_of(spec), panel_of(spec)
    e_x, e_a, xhat = pointer(spec, op.e_x), pointer(spec, op.e_a), pointer(spec, op.z)
    gamma, inverse_deviation = pointer(spec, op.w), pointer(spec, op.inverse_deviation)
    for r in range(first, last):
        at = register_at(spec, r, op.a_stride)
        total, along = splat(spec, 0.0), splat(spec, 0.0)
        for q in range(op.n_out):
            g = load(e_a, at + q * P) * gamma[q]
            total = total + g
            along = along + g * load(xhat, at + q * P)
        mean, mean_along = total / float(op.n_out), along / float(op.n_out)
        inverse = load(inverse_deviation, r * L)
        for q in range(op.n_out):
            k = at + q * P
            g = load(e_a, k) * gamma[q]
            give_error(spec, op, e_x, k, (g - mean - load(xhat, k) * mean_along) * inverse)


@kernel
def emit(spec, op, step, first, last):
    """Copy the outputs of registers first..last to the caller's row-major array. Writes step.out (n_rows, n_out)."""
    L, P = lanes_of(spec), panel_of(spec)
    x, out = pointer(spec, op.x), pointer(spec, step.out)
    for r in range(first, last):
        at = offset(x, register_at(spec, r, op.x_stride))
        for i in range(min(L, step.n_rows - r * L)):
            row = (step.first + r * L + i) * op.n_in
            for o in range(op.n_in):
                out[row + o] = at[o * P + i]
