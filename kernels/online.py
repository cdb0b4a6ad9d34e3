"""Training sample by sample: vectors instead of panels of samples, and one pass over each weight matrix.

    gather_rows    some rows of X, or of y, as vectors
    row_forward    a = act(x W + b)
    row_backward   (W delta) * act'(x) with the old W, and the update of W and b, in one pass over W

Activations and errors are contiguous vectors, their pads zero; weights stay in their panels, whose columns lie on the
lanes here. All but `gather_rows` are called once a sample, with its number among the rows that were gathered together.
"""

from __future__ import annotations

from numba.extending import intrinsic

from .access import source_at
from .gather import cast_row
from .jit import component, forced, keeps_z, kernel
from .records import LINE
from .simd import (
    I64,
    Vec,
    first_lanes,
    fma,
    hsum,
    index_pointer,
    is_any,
    itemsize_of,
    lane_sums,
    lanes_of,
    load,
    load_at,
    load_first,
    offset,
    panel_of,
    pointer,
    prefetch,
    select,
    splat,
    store,
)
from .tile import shape_of
from .update import load_slots, store_slots

ROWS = 4  # rows of W that are taken together: one load of delta for four, and room for a rule's numbers in 16 registers


@forced
def number_of(step, i):
    """The row of the user's matrix that is number i of the table; without a table, i."""
    return index_pointer(step.rows)[i] if step.rows != 0 else i


@kernel
def gather_rows(spec, op, step, first, last):
    """Rows first..last of the table, from source number op.source, as vectors op.a_stride apart. Writes op.a.

    As many rows further on are prefetched: random rows come from memory. Raises step.bad_input if there is a NaN or an
    infinity in X; y was checked before.
    """
    L, size = lanes_of(spec), itemsize_of(spec)
    source, n = source_at(step.sources, op.source), op.n_out
    code, stride, base, row_stride = source.code, source.column_stride, source.address, source.row_stride
    is_plain, n_whole, bad = code == (0 if size == 4 else 1) and stride == size, n // L * L, splat(spec, 0.0)
    for i in range(first, last):
        if stride <= 8:  # numbers of a row lie together
            ahead = base + number_of(step, min(i + last - first, step.n_rows - 1)) * row_stride
            for k in range(0, n * stride, LINE):
                prefetch(ahead + k)
            prefetch(ahead + n * stride - 1)
        address, out = base + number_of(step, i) * row_stride, offset(pointer(spec, op.a), (i - first) * op.a_stride)
        if is_plain:
            x = pointer(spec, address)
            for k in range(0, n_whole, L):
                store(out, k, load(x, k))
                bad = fma(load(x, k), splat(spec, 0.0), bad)
            if n_whole < n:
                v = load_first(x, n_whole, n - n_whole)
                store(out, n_whole, v)
                bad = fma(v, splat(spec, 0.0), bad)
        else:
            cast_row(spec, code, address, stride, n, out)
    if op.source == 0:
        if not is_plain:
            for k in range(0, (last - first) * op.a_stride, L):
                bad = fma(load(pointer(spec, op.a), k), splat(spec, 0.0), bad)
        if is_any(bad != 0.0):  # NaN
            index_pointer(step.bad_input)[0] = 1


@forced
def input_of(spec, op, slot):
    """The input of a layer: of the first one, row number `slot` of those that were gathered together."""
    return offset(pointer(spec, op.x), slot * op.x_stride)


@forced
def register_of(spec, o, w_stride):
    """Where outputs o..o + lanes lie in the panels of W: row 0, in elements."""
    return o // panel_of(spec) * w_stride + o % panel_of(spec)


@forced
def finish_row(spec, act, a, z, o, n_out, value):
    """a = act(value) for outputs o.. of n_out. Writes a, and z where the derivative needs it; pads of a become 0."""
    if keeps_z(spec):
        store(z, o, value)
    store(a, o, select(first_lanes(spec, n_out - o), act.value(value), 0.0))


@kernel
def row_forward(spec, op, step, slot, last):
    """a = act(x W + b) for one sample. Writes op.a, and op.z where the derivative needs z.

    Four registers of outputs at a time, each with two sums, keep the multiply-adds busy; the last ones have four.
    """
    L, P = lanes_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    x, w, b, a = input_of(spec, op, slot), pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    n_in, n_out, w_stride = op.n_in, op.n_out, op.w_stride
    zero, o = splat(spec, 0.0), 0
    while o + 3 * L < n_out:
        w0, w1 = offset(w, register_of(spec, o, w_stride)), offset(w, register_of(spec, o + L, w_stride))
        w2, w3 = offset(w, register_of(spec, o + 2 * L, w_stride)), offset(w, register_of(spec, o + 3 * L, w_stride))
        s0, s1, s2, s3 = load(b, o), load(b, o + L), load(b, o + 2 * L), load(b, o + 3 * L)
        t0, t1, t2, t3 = zero, zero, zero, zero
        for k in range(0, n_in, 2):  # zeros follow x and w
            u, v, i, j = splat(spec, x[k]), splat(spec, x[k + 1]), k * P, k * P + P
            s0, s1, s2, s3 = (
                fma(u, load(w0, i), s0),
                fma(u, load(w1, i), s1),
                fma(u, load(w2, i), s2),
                fma(u, load(w3, i), s3),
            )
            t0, t1, t2, t3 = (
                fma(v, load(w0, j), t0),
                fma(v, load(w1, j), t1),
                fma(v, load(w2, j), t2),
                fma(v, load(w3, j), t3),
            )
        finish_row(spec, act, a, z, o, n_out, s0 + t0)
        finish_row(spec, act, a, z, o + L, n_out, s1 + t1)
        finish_row(spec, act, a, z, o + 2 * L, n_out, s2 + t2)
        finish_row(spec, act, a, z, o + 3 * L, n_out, s3 + t3)
        o += 4 * L
    while o < n_out:
        w0 = offset(w, register_of(spec, o, w_stride))
        s0, s1, s2, s3 = load(b, o), zero, zero, zero
        for k in range(0, n_in, 4):
            i = k * P
            s0, s1 = fma(splat(spec, x[k]), load(w0, i), s0), fma(splat(spec, x[k + 1]), load(w0, i + P), s1)
            s2 = fma(splat(spec, x[k + 2]), load(w0, i + 2 * P), s2)
            s3 = fma(splat(spec, x[k + 3]), load(w0, i + 3 * P), s3)
        finish_row(spec, act, a, z, o, n_out, (s0 + s1) + (s2 + s3))
        o += L


@intrinsic
def sums_of_rows(typingctx, p):
    """The register whose lane i is the sum of register i of the `lanes` that start at p."""
    dtype, shape = p.dtype, shape_of(p)

    def codegen(context, builder, sig, args):
        rows = [load_at(builder, builder.gep(args[0], [I64(i * shape.lanes)]), dtype) for i in range(shape.lanes)]
        return lane_sums(builder, rows)

    return Vec(dtype)(p), codegen


@forced
def apply_rule_at(spec, rule, lr, clock, row_stride, w, at, gradient, valid):
    """The rule on w[at : at + lanes]; returns the old ones. Writes w, 0 where not `valid`, and its slots."""
    old = load(w, at)
    new, slots = rule.update(old, gradient, load_slots(spec, w, row_stride, at), lr, clock)
    store(w, at, select(valid, new, 0.0))
    store_slots(spec, w, row_stride, at, slots)
    return old


@kernel
def row_backward(spec, op, step, slot, last):
    """Error of the input, (W delta) * act'(x) with the old W, and the update of W and b, in one pass over W.

    act (class 0) is the activation that made x; the rule is class 1. Writes op.e_x, op.w, op.b and their state.
    """
    L, P = lanes_of(spec), panel_of(spec)
    S = max(L, ROWS)
    act, rule = component(spec, 0, op.constants_below), component(spec, 1, step.rule_constants)
    clock, lr, row_stride = rule.clock(float(step.count)), step.lr, step.row_stride
    x, w, e_a = input_of(spec, op, slot), pointer(spec, op.w), pointer(spec, op.e_a)
    n_in, n_out, w_stride = op.n_in, op.n_out, op.w_stride
    asks, products, zero = op.e_x != 0, pointer(spec, step.scratch), splat(spec, 0.0)
    for k in range(0, n_in, S):
        end = min(k + S, n_in)
        for i in range(k, end, ROWS):  # rows beyond the last are pads
            x0, x1, x2, x3 = splat(spec, x[i]), splat(spec, x[i + 1]), splat(spec, x[i + 2]), splat(spec, x[i + 3])
            s0, s1, s2, s3 = zero, zero, zero, zero
            for o in range(0, n_out, L):
                at, delta, valid = register_of(spec, o, w_stride) + i * P, load(e_a, o), first_lanes(spec, n_out - o)
                w0 = apply_rule_at(spec, rule, lr, clock, row_stride, w, at, x0 * delta, valid)
                w1 = apply_rule_at(spec, rule, lr, clock, row_stride, w, at + P, x1 * delta, valid)
                w2 = apply_rule_at(spec, rule, lr, clock, row_stride, w, at + 2 * P, x2 * delta, valid)
                w3 = apply_rule_at(spec, rule, lr, clock, row_stride, w, at + 3 * P, x3 * delta, valid)
                s0, s1, s2, s3 = fma(w0, delta, s0), fma(w1, delta, s1), fma(w2, delta, s2), fma(w3, delta, s3)
            q = (i - k) * L
            store(products, q, s0)
            store(products, q + L, s1)
            store(products, q + 2 * L, s2)
            store(products, q + 3 * L, s3)
        if asks:
            for q in range((end - k + ROWS - 1) // ROWS * ROWS * L, S * L, L):
                store(products, q, zero)
            z, e_x = pointer(spec, op.x_z if keeps_z(spec) else op.x), pointer(spec, op.e_x)
            for i in range(k, k + S, L):
                e = sums_of_rows(offset(products, (i - k) * L)) * act.derivative(load(z, i), load(x, i))
                store(e_x, i, select(first_lanes(spec, n_in - i), e, 0.0))
    for i in range(n_in, (n_in + ROWS - 1) // ROWS * ROWS):
        for o in range(0, n_out, L):
            store(w, register_of(spec, o, w_stride) + i * P, zero)
    if op.n_biases:
        for o in range(0, n_out, L):
            valid = first_lanes(spec, n_out - o)
            apply_rule_at(spec, rule, lr, clock, row_stride, pointer(spec, op.b), o, load(e_a, o), valid)


@kernel
def row_dot_forward(spec, op, step, slot, last):
    """`row_forward` of a layer of one unit, whose weights are a vector along the inputs."""
    L = lanes_of(spec)
    act = component(spec, 0, op.constants)
    x, w, n_in = input_of(spec, op, slot), pointer(spec, op.w), op.n_in
    s, t, k = splat(spec, 0.0), splat(spec, 0.0), 0
    while k + L < n_in:
        s, t = fma(load(x, k), load(w, k), s), fma(load(x, k + L), load(w, k + L), t)
        k += 2 * L
    if k < n_in:
        s = fma(load(x, k), load(w, k), s)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    finish_row(spec, act, pointer(spec, op.a), z, 0, 1, splat(spec, hsum(s + t) + pointer(spec, op.b)[0]))


@kernel
def row_dot_backward(spec, op, step, slot, last):
    """`row_backward` of a layer of one unit, whose weights are a vector along the inputs."""
    L = lanes_of(spec)
    act, rule = component(spec, 0, op.constants_below), component(spec, 1, step.rule_constants)
    clock, lr, row_stride = rule.clock(float(step.count)), step.lr, step.row_stride
    x, w, e_a, n_in = input_of(spec, op, slot), pointer(spec, op.w), pointer(spec, op.e_a), op.n_in
    z, e_x, asks = pointer(spec, op.x_z if keeps_z(spec) else op.x), pointer(spec, op.e_x), op.e_x != 0
    delta = splat(spec, e_a[0])
    for k in range(0, n_in, L):
        valid = first_lanes(spec, n_in - k)
        old = apply_rule_at(spec, rule, lr, clock, row_stride, w, k, load(x, k) * delta, valid)
        if asks:
            store(e_x, k, select(valid, old * delta * act.derivative(load(z, k), load(x, k)), 0.0))
    if op.n_biases:
        apply_rule_at(spec, rule, lr, clock, row_stride, pointer(spec, op.b), 0, load(e_a, 0), first_lanes(spec, 1))
