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
from .update import apply_rule, clean, penalise, update_tile


@inner
def activate(state, z, q, k):
    """One register of outputs: a = act(z + b). Writes a, and z where the derivative needs it."""
    spec, act, b, z_out, a_out = state
    z = z + splat(spec, b[q])
    if keeps_z(spec):
        store(z_out, k, z)
    store(a_out, k, act.value(z))


@kernel
def dense_forward(spec, op, step, first, last):
    """a = act(x W + b) for registers first..last of the samples. Writes op.a, and op.z where the derivative needs z.

    A strip of `rows` outputs stays in L1 while the samples stream past it.
    """
    V, R, P = vectors_of(spec), rows_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    x, w, b, a = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    n_in, n_out, x_stride, a_stride, w_stride = op.n_in, op.n_out, op.x_stride, op.a_stride, op.w_stride
    for o in range(0, n_out, R):
        strip = offset(w, o // P * w_stride + o % P)
        r = first
        while r < last:
            at = register_at(spec, r, a_stride) + o * P
            x_at = offset(x, register_at(spec, r, x_stride))
            state = spec, act, offset(b, o), offset(z, at), offset(a, at)
            if r % V == 0 and r + V <= last:
                tile_down(strip, x_at, n_in, activate, state)
                r += V
            else:
                tile_down_one(strip, x_at, n_in, activate, state)
                r += 1
    clear_rows(spec, a, n_out, a_stride, first, last)


@inner
def clear_rows(spec, p, n, stride, first, last):
    """Zero the features from n to the end of their tile, registers first..last of the samples.

    act(0) need not be 0, and then the next layer's pad weights would learn.
    """
    R, P = rows_of(spec), panel_of(spec)
    for q in range(n, (n + R - 1) // R * R):
        for r in range(first, last):
            store(p, register_at(spec, r, stride) + q * P, splat(spec, 0.0))


@inner
def differentiate(state, e, q, k):
    """One register of errors: (e [+ what is there]) * act'(x). Writes e_x."""
    act, accumulates, z, x, e_x = state
    if accumulates:
        e = e + load(e_x, k)
    store(e_x, k, e * act.derivative(load(z, k), load(x, k)))


@kernel
def dense_backward(spec, op, step, first, last):
    """Error of the input, registers first..last: (W delta [+ what is there]) * act'(x). Writes op.e_x.

    act is the activation that made x.
    """
    V, R, P = vectors_of(spec), rows_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    w, e_a, e_x = pointer(spec, op.w), pointer(spec, op.e_a), pointer(spec, op.e_x)
    x, z = pointer(spec, op.x), pointer(spec, op.x_z if keeps_z(spec) else op.x)
    accumulates = op.accumulates != 0
    n_in, n_out, x_stride, a_stride, w_stride = op.n_in, op.n_out, op.x_stride, op.a_stride, op.w_stride
    for i in range(0, n_in, R):
        strip = offset(w, i * P)
        r = first
        while r < last:
            at = register_at(spec, r, x_stride) + i * P
            e_at = offset(e_a, register_at(spec, r, a_stride))
            state = act, accumulates, offset(z, at), offset(x, at), offset(e_x, at)
            if r % V == 0 and r + V <= last:
                tile_along(strip, e_at, n_out, w_stride, differentiate, state)
                r += V
            else:
                tile_along_one(strip, e_at, n_out, w_stride, differentiate, state)
                r += 1
    clear_rows(spec, e_x, n_in, x_stride, first, last)


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
def keep(state, g, q, k):
    """One register of a gradient, to memory. Writes out."""
    (out,) = state
    store(out, k, g)


@inner
def narrow_gradient(spec, op, step, panel, i, tile):
    """The gradient of x[i : i + rows], delta[panel] where one side of W is narrow. Writes tile, 0 beyond n_out."""
    R, P = rows_of(spec), panel_of(spec)
    x, e = offset(pointer(spec, op.x), i * P), offset(pointer(spec, op.e_a), panel * P * P)
    for q in range(0, min(R, op.n_in - i), lane_rows_of(spec)):
        for o in range(0, min(P, op.n_out - panel * P), lane_columns_of(spec)):
            out = offset(tile, q * P + o)
            lane_tile(offset(x, q * P), op.x_stride, offset(e, o * P), op.a_stride, step.n_registers, out)


@inner
def gradient_tile(spec, op, step, panel, i, tile):
    """The sum over all samples of x[i : i + rows] delta[panel]. Writes tile (rows, panel), 0 beyond n_out."""
    L, R, P = lanes_of(spec), rows_of(spec), panel_of(spec)
    clear(spec, tile, R * P)
    if op.by_lanes:
        narrow_gradient(spec, op, step, panel, i, tile)
        return
    x, t = offset(pointer(spec, op.x), i * P), offset(pointer(spec, op.t), panel * op.t_stride)
    for o in range(0, min(P, op.n_out - panel * P), L):
        tile_along_one(x, offset(t, o), step.n_registers * L, op.x_stride, keep, (offset(tile, o),))


@kernel
def dense_update(spec, op, step, first, last):
    """Gradient and update of units first..last: tiles of W, then runs of b. Writes op.w, op.b and their state.

    A tile's gradient is summed over the whole batch in registers and used at once: the gradient matrix is never stored.
    Tiles at an edge and of narrow layers pass through memory.
    """
    L, R, P = lanes_of(spec), rows_of(spec), panel_of(spec)
    rule = component(spec, 0, step.rule_constants)
    clock = rule.clock(float(step.count))
    w, b, tile = pointer(spec, op.w), pointer(spec, op.b), pointer(spec, step.scratch)
    n_in, n_out, w_stride, lr, row_stride = op.n_in, op.n_out, op.w_stride, step.lr, step.row_stride
    x, x_stride, t, t_stride = pointer(spec, op.x), op.x_stride, pointer(spec, op.t), op.t_stride
    n_samples, is_wide = step.n_registers * L, not op.by_lanes
    tiles_of_panel = (n_in + R - 1) // R
    n_tiles = op.n_weights // w_stride * tiles_of_panel
    for unit in range(first, last):
        if unit < n_tiles:
            panel, i = unit // tiles_of_panel, unit % tiles_of_panel * R
            parameters, n, n_valid = offset(w, panel * w_stride + i * P), min(R, n_in - i) * P, n_out - panel * P
            if is_wide and n == R * P and n_valid > P - L:
                state = spec, rule, clock, lr, row_stride, parameters
                x_at, t_at = offset(x, i * P), offset(t, panel * t_stride)
                update_tile(x_at, t_at, n_samples, x_stride, op, step, state, tile, unit)
            else:
                gradient_tile(spec, op, step, panel, i, tile)
                penalise(spec, op, step, parameters, tile, n, unit)
                apply_rule(spec, rule, clock, lr, row_stride, parameters, tile, n)
            if n_valid < P:
                for q in range(0, n, P):
                    clean(spec, offset(parameters, q), n_valid, P)
        else:
            o = (unit - n_tiles) * L
            store(tile, 0, feature_sums(offset(pointer(spec, op.e_a), o * P), op.a_stride, step.n_registers))
            parameters = offset(b, o)
            penalise(spec, op, step, parameters, tile, L, -1)
            apply_rule(spec, rule, clock, lr, row_stride, parameters, tile, L)
            clean(spec, parameters, n_out - o, L)
