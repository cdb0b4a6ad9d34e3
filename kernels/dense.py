"""A dense layer: forward, the error of its input, and the gradient with the update.

    a  = act(x W + b)                                      dense_forward
    dx = (W delta) * act'(input)                           dense_backward, act of the layer below
    dW = x^T delta,  db = sum of delta,  then the rule     dense_update

delta is the error of z, the output before the activation: whoever writes the error of a value multiplies it with the
derivative of the activation that made the value, so every error that is read here is a delta already.
Fields of records that a loop needs are read before it: LLVM cannot know that stores leave them alone.
Layouts are in `records`. Rows of the batch lie on the lanes, so nothing is summed across lanes but in `lane_tile`.
"""

from __future__ import annotations

from .jit import component, inner, keeps_z, kernel
from .simd import lanes_of, load, offset, panel_of, pointer, register_at, rows_of, splat, store, transpose, vectors_of
from .tile import (
    feature_sums,
    lane_columns_of,
    lane_rows_of,
    lane_tile,
    tile_along,
    tile_along_one,
    tile_down,
    tile_down_one,
)
from .update import apply_rule, clean, penalise


@kernel
def dense_forward(spec, op, step, first, last):
    """a = act(x W + b) for registers first..last of the samples. Writes op.a, and op.z where the derivative needs z.

    A strip of `rows` outputs stays in L1 while the samples stream past it.
    """
    L, V, R, P = lanes_of(spec), vectors_of(spec), rows_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    x, w, b, a = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    n_in, n_out, x_stride, a_stride, w_stride = op.n_in, op.n_out, op.x_stride, op.a_stride, op.w_stride
    for o in range(0, n_out, R):
        strip = offset(w, o // P * w_stride + o % P)
        n_valid = min(R, n_out - o)
        r = first
        while r < last:
            at = register_at(spec, r, a_stride) + o * P
            x_at = offset(x, register_at(spec, r, x_stride))
            out = offset(a, at)
            whole = r % V == 0 and r + V <= last
            n = V if whole else 1
            if whole:
                tile_down(strip, x_at, n_in, out)
            else:
                tile_down_one(strip, x_at, n_in, out)
            for q in range(n_valid):
                bias = splat(spec, b[o + q])
                for k in range(q * P, q * P + n * L, L):
                    value = load(out, k) + bias
                    if keeps_z(spec):
                        store(z, at + k, value)
                    store(out, k, act.value(value))
            for q in range(n_valid, R):  # rows beyond the last output: or pad weights of the next layer learn
                for k in range(q * P, q * P + n * L, L):
                    store(out, k, splat(spec, 0.0))
            r += n


@kernel
def dense_backward(spec, op, step, first, last):
    """Error of the input, registers first..last: (W delta [+ what is there]) * act'(x). Writes op.e_x.

    act is the activation that made x.
    """
    L, V, R, P = lanes_of(spec), vectors_of(spec), rows_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    w, e_a, e_x = pointer(spec, op.w), pointer(spec, op.e_a), pointer(spec, op.e_x)
    x, z = pointer(spec, op.x), pointer(spec, op.x_z if keeps_z(spec) else op.x)
    tile, accumulates = pointer(spec, step.scratch), op.accumulates
    n_in, n_out, x_stride, a_stride, w_stride = op.n_in, op.n_out, op.x_stride, op.a_stride, op.w_stride
    for i in range(0, n_in, R):
        strip = offset(w, i * P)
        r = first
        while r < last:
            at = register_at(spec, r, x_stride) + i * P
            e_at = offset(e_a, register_at(spec, r, a_stride))
            whole = r % V == 0 and r + V <= last
            n = V if whole else 1
            if whole:
                tile_along(strip, e_at, n_out, tile, w_stride)
            else:
                tile_along_one(strip, e_at, n_out, tile, w_stride)
            for q in range(0, min(R, n_in - i) * P, P):
                for k in range(q, q + n * L, L):
                    e = load(tile, k)
                    if accumulates:
                        e = e + load(e_x, at + k)
                    store(e_x, at + k, e * act.derivative(load(z, at + k), load(x, at + k)))
            r += n


@kernel
def transpose_error(spec, op, step, first, last):
    """Registers first..last of delta, transposed so that the gradient's tiles can stream it. Writes op.t."""
    L, P = lanes_of(spec), panel_of(spec)
    e_a, t = pointer(spec, op.e_a), pointer(spec, op.t)
    n_out, a_stride, t_stride = op.n_out, op.a_stride, op.t_stride
    for o in range(0, n_out, L):
        for r in range(first, last):
            source = offset(e_a, register_at(spec, r, a_stride) + o * P)
            transpose(source, P, offset(t, o // P * t_stride + r * L * P + o % P), P)


@inner
def clear(spec, p, n):
    """Zero n numbers from p, n a multiple of the lanes."""
    for k in range(0, n, lanes_of(spec)):
        store(p, k, splat(spec, 0.0))


@inner
def gradient_tile(spec, op, step, panel, i, tile):
    """The sum over all samples of x[i : i + rows] delta[panel]. Writes tile (rows, panel), 0 beyond n_out."""
    L, R, P = lanes_of(spec), rows_of(spec), panel_of(spec)
    n_valid = min(P, op.n_out - panel * P)
    x = offset(pointer(spec, op.x), i * P)
    if n_valid < P:
        clear(spec, tile, R * P)
    if op.by_lanes:
        e = offset(pointer(spec, op.e_a), panel * P * P)
        for q in range(0, R, lane_rows_of(spec)):
            for o in range(0, n_valid, lane_columns_of(spec)):
                lane_tile(
                    offset(x, q * P),
                    op.x_stride,
                    offset(e, o * P),
                    op.a_stride,
                    step.n_registers,
                    offset(tile, q * P + o),
                )
        return
    t = offset(pointer(spec, op.t), panel * op.t_stride)
    n_samples = step.n_registers * L
    if n_valid > P - L:
        tile_along(x, t, n_samples, tile, op.x_stride)
    else:
        for o in range(0, n_valid, L):
            tile_along_one(x, offset(t, o), n_samples, offset(tile, o), op.x_stride)


@kernel
def dense_update(spec, op, step, first, last):
    """Gradient and update of units first..last: tiles of W, then runs of b. Writes op.w, op.b and their state.

    A tile's gradient is summed over the whole batch in registers and used at once: the gradient matrix is never stored.
    """
    L, R, P = lanes_of(spec), rows_of(spec), panel_of(spec)
    rule = component(spec, 0, step.rule_constants)
    clock = rule.clock(float(step.count))
    w, b, tile = pointer(spec, op.w), pointer(spec, op.b), pointer(spec, step.scratch)
    n_in, w_stride, lr, row_stride = op.n_in, op.w_stride, step.lr, step.row_stride
    tiles_of_panel = (n_in + R - 1) // R
    n_tiles = op.n_weights // w_stride * tiles_of_panel
    for unit in range(first, last):
        if unit < n_tiles:
            panel, i = unit // tiles_of_panel, unit % tiles_of_panel * R
            gradient_tile(spec, op, step, panel, i, tile)
            parameters, n = offset(w, panel * w_stride + i * P), min(R, n_in - i) * P
            penalise(spec, op, step, parameters, tile, n, unit)
        else:
            o = (unit - n_tiles) * L
            at = offset(pointer(spec, op.e_a), o * P)
            store(tile, 0, feature_sums(at, op.a_stride, step.n_registers))
            parameters, n = offset(b, o), L
            penalise(spec, op, step, parameters, tile, n, -1)
        apply_rule(spec, rule, clock, lr, row_stride, parameters, tile, n)
        if unit >= n_tiles:
            clean(spec, parameters, op.n_out - (unit - n_tiles) * L, L)
        elif op.n_out - unit // tiles_of_panel * P < P:
            for q in range(0, n, P):
                clean(spec, offset(parameters, q), op.n_out - unit // tiles_of_panel * P, P)
