"""Prediction of one row: outputs lie on the lanes, where a batch of one would fill one lane of each register.

Sums have the terms and the order of `dense` and `dot`, so a row's prediction has the same bits alone and among others.
784-128-10: 2.3 us instead of 45.
"""

from __future__ import annotations

from .jit import component, forced, keeps_z, kernel
from .online import finish_row, register_of
from .simd import fma, lanes_of, load, offset, panel_of, pointer, splat


@forced
def columns(spec, w, o, w_stride):
    """The weights of outputs o..o + lanes: of row 0, from where rows follow each other."""
    return offset(w, register_of(spec, o, w_stride))


@kernel
def row_outputs(spec, op, step, row, ahead):
    """a = act(x W + b) for one sample, all vectors. Writes op.a, and op.z where the derivative needs z.

    Four registers of outputs at a time hide the latency of the multiply-add (4 cycles); the last stands in for those
    beyond it.
    """
    L, P = lanes_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    x, w, b, a = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    n_out, w_stride = op.n_out, op.w_stride
    n_in, last = (op.n_in + 1) // 2 * 2, (n_out - 1) // L * L  # pairs of inputs, as in tiles: zeros follow
    for o in range(0, n_out, 4 * L):
        p, q, r = min(o + L, last), min(o + 2 * L, last), min(o + 3 * L, last)
        w_o, w_p, w_q, w_r = (
            columns(spec, w, o, w_stride), columns(spec, w, p, w_stride),
            columns(spec, w, q, w_stride), columns(spec, w, r, w_stride),
        )  # fmt: skip
        z_o = z_p = z_q = z_r = splat(spec, 0.0)
        for k in range(n_in):
            value, at = splat(spec, x[k]), k * P
            z_o, z_p = fma(value, load(w_o, at), z_o), fma(value, load(w_p, at), z_p)
            z_q, z_r = fma(value, load(w_q, at), z_q), fma(value, load(w_r, at), z_r)
        finish_row(spec, act, a, z, o, n_out, z_o + load(b, o))
        finish_row(spec, act, a, z, p, n_out, z_p + load(b, p))
        finish_row(spec, act, a, z, q, n_out, z_q + load(b, q))
        finish_row(spec, act, a, z, r, n_out, z_r + load(b, r))


@kernel
def row_dot_output(spec, op, step, row, ahead):
    """a = act(x w + b) for one sample and one unit. Writes op.a, and op.z where the derivative needs z."""
    act = component(spec, 0, op.constants)
    x, w, b, a = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    s0 = s1 = s2 = s3 = splat(spec, 0.0)  # all lanes alike
    for k in range(0, op.n_in, 4):  # zeros follow
        s0 = fma(splat(spec, w[k]), splat(spec, x[k]), s0)
        s1 = fma(splat(spec, w[k + 1]), splat(spec, x[k + 1]), s1)
        s2 = fma(splat(spec, w[k + 2]), splat(spec, x[k + 2]), s2)
        s3 = fma(splat(spec, w[k + 3]), splat(spec, x[k + 3]), s3)
    finish_row(spec, act, a, z, 0, 1, (s0 + s1) + (s2 + s3) + splat(spec, b[0]))


@kernel
def emit_row(spec, op, step, row, ahead):
    """Copy the outputs of a sample to the caller's array. Writes step.out (1, n_out)."""
    x, out = pointer(spec, op.x), pointer(spec, step.out)
    for o in range(op.n_in):
        out[o] = x[o]
