"""A dense layer of one unit in batches: its weights are a vector along the inputs, as are their gradients and state.

    a  = act(sum over i of w[i] x[i])     dot_forward
    dx[i] = w[i] delta * act'(input)      dot_backward
    dw[i] = sum over samples x[i] delta   dot_update

In a panel of outputs such a layer would be 1 column of numbers among 31 of pads. Everything else is as in `dense`.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from .jit import component, inner, keeps_z, kernel
from .simd import (
    I64,
    Vec,
    broadcast,
    constant,
    first_lanes,
    fmuladd,
    lane_sums,
    lanes_of,
    load,
    load_at,
    offset,
    panel_of,
    pointer,
    register_at,
    select,
    splat,
    store,
)
from .tile import ceil_div, feature_sums, loop, shape_of
from .update import apply_rule, clean, penalise

CHAINS = 4  # independent sums: a multiply-add takes 4 cycles


@intrinsic
def weighted_features(typingctx, w, x, n_in):
    """The register of the sums over i < n_in of w[i] x[i, :], samples on the lanes; zeros follow w and x."""
    dtype, shape = x.dtype, shape_of(x)

    def codegen(context, builder, sig, args):
        w_, x_, n = args

        def body(i, acc):
            first = builder.mul(i, I64(CHAINS))
            ws, xs = builder.gep(w_, [first]), builder.gep(x_, [builder.mul(first, I64(shape.panel))])
            result = []
            for k, a in enumerate(acc):
                weight = broadcast(builder, builder.load(builder.gep(ws, [I64(k)])), shape.lanes)
                features = load_at(builder, builder.gep(xs, [I64(k * shape.panel)]), dtype)
                result.append(fmuladd(builder, dtype, weight, features, a))
            return result

        a, b, c, d = loop(builder, ceil_div(builder, n, CHAINS), [constant(dtype, 0)] * CHAINS, body)
        return builder.fadd(builder.fadd(a, b), builder.fadd(c, d))

    return Vec(dtype)(w, x, types.int64), codegen


@intrinsic
def products_with(typingctx, x, x_stride, e, e_stride, n_registers):
    """The register of the sums over all samples of x[i] e, for `lanes` features i from x on; the order is fixed."""
    dtype, shape = x.dtype, shape_of(x)

    def codegen(context, builder, sig, args):
        x_, x_stride_, e_, e_stride_, n = args

        def body(r, acc):
            panel = builder.udiv(r, I64(shape.vectors))
            lane = builder.mul(builder.urem(r, I64(shape.vectors)), I64(shape.lanes))
            at = lambda p, stride: builder.gep(p, [builder.add(builder.mul(panel, stride), lane)])  # noqa: E731
            error, first = load_at(builder, at(e_, e_stride_), dtype), at(x_, x_stride_)
            features = [load_at(builder, builder.gep(first, [I64(i * shape.panel)]), dtype) for i in range(shape.lanes)]
            return [fmuladd(builder, dtype, f, error, a) for f, a in zip(features, acc, strict=True)]

        return lane_sums(builder, loop(builder, n, [constant(dtype, 0)] * shape.lanes, body))

    return Vec(dtype)(x, types.int64, e, types.int64, types.int64), codegen


@kernel
def dot_forward(spec, op, step, first, last):
    """a = act(x w + b) for registers first..last of the samples. Writes op.a, and op.z where the derivative needs z."""
    act = component(spec, 0, op.constants)
    x, w, b, a = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    n_in, x_stride, a_stride = op.n_in, op.x_stride, op.a_stride
    for r in range(first, last):
        at = register_at(spec, r, a_stride)
        value = weighted_features(w, offset(x, register_at(spec, r, x_stride)), n_in) + splat(spec, b[0])
        if keeps_z(spec):
            store(z, at, value)
        store(a, at, act.value(value))


@kernel
def dot_backward(spec, op, step, first, last):
    """Error of the input, registers first..last: (w delta [+ what is there]) * act'(x). Writes op.e_x.

    act is the activation that made x.
    """
    P = panel_of(spec)
    act = component(spec, 0, op.constants)
    x, w, e_a, e_x = pointer(spec, op.x), pointer(spec, op.w), pointer(spec, op.e_a), pointer(spec, op.e_x)
    z = pointer(spec, op.x_z if keeps_z(spec) else op.x)
    n_in, x_stride, a_stride, accumulates = op.n_in, op.x_stride, op.a_stride, op.accumulates
    for r in range(first, last):
        delta, at = load(e_a, register_at(spec, r, a_stride)), register_at(spec, r, x_stride)
        for i in range(n_in):
            k = at + i * P
            e = splat(spec, w[i]) * delta
            if accumulates:
                e = e + load(e_x, k)
            store(e_x, k, e * act.derivative(load(z, k), load(x, k)))


@inner
def gradient_run(spec, op, step, i):
    """The gradient of weights i..i + lanes, or of the bias where i lies beyond the last; 0 in pads."""
    e = pointer(spec, op.e_a)
    if i < op.n_in:
        x = offset(pointer(spec, op.x), i * panel_of(spec))
        sums = products_with(x, op.x_stride, e, op.a_stride, step.n_registers)
        return select(first_lanes(spec, op.n_in - i), sums, 0.0)
    return select(first_lanes(spec, 1), feature_sums(e, op.a_stride, step.n_registers), 0.0)


@kernel
def dot_update(spec, op, step, first, last):
    """Gradient and update of units first..last: runs of w, then b. Writes op.w, op.b and their state."""
    L = lanes_of(spec)
    rule = component(spec, 0, step.rule_constants)
    clock, gradient = rule.clock(float(step.count)), pointer(spec, step.scratch)
    for unit in range(first, last):
        i, n_in = unit * L, op.n_in
        store(gradient, 0, gradient_run(spec, op, step, i))
        parameters, n_valid = offset(pointer(spec, op.w), i), n_in - i
        if n_valid <= 0:
            parameters, n_valid = pointer(spec, op.b), 1
        penalise(spec, op, step, parameters, gradient, L, unit if i < n_in else -1)
        apply_rule(spec, rule, clock, step.lr, step.row_stride, parameters, gradient, L)
        if n_valid < L:
            clean(spec, parameters, n_valid, L)
