"""Training sample by sample: vectors instead of panels of samples, and one pass over each weight matrix.

Activations and errors are contiguous vectors; weights stay in their panels, whose columns lie on the lanes here. Only
the loss sees its usual layout: the outputs are spread to lane 0 of a panel and its errors are collected again.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from .gather import cast_row, row_number
from .jit import component, keeps_z, kernel
from .records import source_at
from .simd import (
    I64,
    Vec,
    broadcast,
    constant,
    fma,
    fmuladd,
    hsum,
    index_pointer,
    itemsize_of,
    lane_sums,
    lanes_of,
    load,
    load_at,
    load_first,
    offset,
    panel_of,
    pointer,
    splat,
    store,
)
from .tile import ceil_div, loop, shape_of
from .update import apply_rule, clean, load_slots, store_slots

CHAINS = 4  # independent sums, or the latency of the multiply-add (4 cycles) would be all there is


@intrinsic
def row_product(typingctx, x, w, n_in):
    """One register of the sum over k < n_in of x[k] w[k * panel + lanes], in groups of 4: zeros follow x and w."""
    dtype, shape = x.dtype, shape_of(x)

    def codegen(context, builder, sig, args):
        x_, w_, n = args

        def body(i, acc):
            k = builder.mul(i, I64(CHAINS))
            xs, ws = builder.gep(x_, [k]), builder.gep(w_, [builder.mul(k, I64(shape.panel))])
            sums = []
            for u, a in enumerate(acc):
                value = broadcast(builder, builder.load(builder.gep(xs, [I64(u)])), shape.lanes)
                sums.append(
                    fmuladd(builder, dtype, value, load_at(builder, builder.gep(ws, [I64(u * shape.panel)]), dtype), a)
                )
            return sums

        a, b, c, d = loop(builder, ceil_div(builder, n, CHAINS), [constant(dtype, 0)] * CHAINS, body)
        return builder.fadd(builder.fadd(a, b), builder.fadd(c, d))

    return Vec(dtype)(x, w, types.int64), codegen


@intrinsic
def sums_of_rows(typingctx, p):
    """The register whose lane i is the sum of register i of the `lanes` that start at p."""
    dtype, shape = p.dtype, shape_of(p)

    def codegen(context, builder, sig, args):
        rows = [load_at(builder, builder.gep(args[0], [I64(i * shape.lanes)]), dtype) for i in range(shape.lanes)]
        return lane_sums(builder, rows)

    return Vec(dtype)(p), codegen


@kernel
def gather_row(spec, op, step, first, last):
    """One row of source op.source as a vector with element stride op.a_stride. Writes op.a.

    Raises step.bad_input if there is a NaN or an infinity.
    """
    L, size = lanes_of(spec), itemsize_of(spec)
    source, n, stride = source_at(step.sources, op.source), op.n_out, op.a_stride
    address = source.address + row_number(step, 0) * source.row_stride
    out = pointer(spec, op.a)
    bad = splat(spec, 0.0)
    if stride == 1:
        if source.code == (0 if size == 4 else 1) and source.column_stride == size:
            x = pointer(spec, address)
            n_whole = n // L * L
            for k in range(0, n_whole, L):
                v = load(x, k)
                store(out, k, v)
                bad = fma(v, splat(spec, 0.0), bad)
            if n_whole < n:
                v = load_first(x, n_whole, n - n_whole)
                store(out, n_whole, v)
                bad = fma(v, splat(spec, 0.0), bad)
        else:
            cast_row(spec, source.code, address, source.column_stride, n, out)
            for k in range(0, n, L):
                bad = fma(load(out, k), splat(spec, 0.0), bad)
        if hsum(bad) != 0.0:  # NaN
            index_pointer(step.bad_input)[0] = 1
    else:  # targets, which were checked before
        for k in range(n):
            cast_row(
                spec, source.code, address + k * source.column_stride, source.column_stride, 1, offset(out, k * stride)
            )


@kernel
def row_forward(spec, op, step, first, last):
    """a = act(x W + b) for one sample. Writes op.a, and op.z where the derivative needs z."""
    L, P = lanes_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    x, w, b, a = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    n_in, n_out, w_stride = op.n_in, op.n_out, op.w_stride
    for o in range(0, n_out, L):
        value = row_product(x, offset(w, o // P * w_stride + o % P), n_in) + load(b, o)
        if keeps_z(spec):
            store(z, o, value)
        store(a, o, act.value(value))
    for o in range(n_out, (n_out + L - 1) // L * L):  # pads: the next layer's pad weights must not learn
        a[o] = 0.0


@kernel
def spread(spec, op, step, first, last):
    """Outputs to lane 0 of the loss's panel. Writes op.a."""
    x, a, P = pointer(spec, op.x), pointer(spec, op.a), panel_of(spec)
    for o in range(op.n_in):
        a[o * P] = x[o]


@kernel
def collect(spec, op, step, first, last):
    """Errors from lane 0 of the loss's panel, times act' of the output. Writes op.e_a."""
    L, P = lanes_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    e, e_a, a = pointer(spec, op.e_x), pointer(spec, op.e_a), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    n_out = op.n_out
    for o in range(n_out):
        e_a[o] = e[o * P]
    for o in range(0, n_out, L):
        store(e_a, o, load(e_a, o) * act.derivative(load(z, o), load(a, o)))


@kernel
def row_backward(spec, op, step, first, last):
    """Error of the input, (W delta) * act'(x) with the old W, and the update of W and b, in one pass over W.

    act (class 0) is the activation that made x; the rule is class 1. Writes op.e_x, op.w, op.b and their state. `lanes`
    rows of W are taken together: their products with delta are summed over the lanes at once.
    """
    L, P = lanes_of(spec), panel_of(spec)
    act, rule = component(spec, 0, op.constants_below), component(spec, 1, step.rule_constants)
    clock, lr, row_stride = rule.clock(float(step.count)), step.lr, step.row_stride
    x, w, e_a = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.e_a)
    n_in, n_out, w_stride = op.n_in, op.n_out, op.w_stride
    asks, products = op.e_x != 0, pointer(spec, step.scratch)
    for k in range(0, n_in, L):
        n_rows = min(L, n_in - k)
        for i in range(n_rows):
            value, along = splat(spec, x[k + i]), splat(spec, 0.0)
            for o in range(0, n_out, L):
                at = o // P * w_stride + (k + i) * P + o % P
                delta, old = load(e_a, o), load(w, at)
                along = fma(old, delta, along)
                new, slots = rule.update(old, value * delta, load_slots(spec, w, row_stride, at), lr, clock)
                store(w, at, new)
                store_slots(spec, w, row_stride, at, slots)
            if n_out % L:
                at = (n_out - 1) // P * w_stride + (k + i) * P + (n_out - 1) // L * L % P
                clean(spec, offset(w, at), n_out % L, L)
            if asks:
                store(products, i * L, along)
        if asks:
            for i in range(n_rows, L):
                store(products, i * L, splat(spec, 0.0))
            z = pointer(spec, op.x_z if keeps_z(spec) else op.x)
            store(pointer(spec, op.e_x), k, sums_of_rows(products) * act.derivative(load(z, k), load(x, k)))
    if op.n_biases:
        n = (n_out + L - 1) // L * L
        apply_rule(spec, rule, clock, lr, row_stride, pointer(spec, op.b), e_a, n)
        clean(spec, pointer(spec, op.b), n_out, n)
