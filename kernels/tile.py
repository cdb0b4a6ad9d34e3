"""The register tile: `rows` x `vectors` accumulators that stay in registers over the whole inner loop.

All matrix products of training have one form. A row of the tile broadcasts numbers of A; a column holds registers of
B, which streams with a constant stride of one panel:

    out[r, :] = sum over k of A[r, k] B[k, :]

Only the way to A[r, k] differs: down the columns of a panel of weights (forward), or along the rows of panels, with a
jump from one panel to the next (backward, and the gradient). Constant strides matter: with strides known only at run
time one and the same phase took from 250 to 430 us between builds.

What becomes of an accumulator is the caller's: a tile takes a jitted function `finish(state, sum, q, k)` and calls it
for each register, row q of the tile, k its place in a panel. So bias, activation and update rule work on what is in
registers already; by way of memory a 64 x 64 layer took 7 % (forward) to 20 % (update) longer.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from .simd import I64, Vec, broadcast, constant, fmuladd, lane_sums, load_at, shuffle, store_at
from .target import target


def loop(builder, n, values, body):
    """Emit `for i in range(n): values = body(i, values)` for n >= 1; the values stay in registers."""
    before, head = builder.block, builder.append_basic_block("loop")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(I64)
    carried = [builder.phi(v.type) for v in values]
    results = body(i, carried)
    last, done = builder.block, builder.append_basic_block("done")
    following = builder.add(i, I64(1), flags=["nsw"])
    builder.cbranch(builder.icmp_signed("<", following, n), head, done)
    for phi, first, again in zip([i, *carried], [I64(0), *values], [following, *results], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(again, last)
    builder.position_at_end(done)
    return results


def ceil_div(builder, n, d):
    """n / d rounded up, for n >= 0 and a constant d."""
    return builder.udiv(builder.add(n, I64(d - 1)), I64(d))


def shape_of(pointer):
    """The target's `Shape` for numbers that `pointer` points to."""
    return target().shape(str(pointer.dtype))


def multiply_add(builder, dtype, shape, vectors, acc, a_elements, b):
    """One step k of the inner loop: acc[r, v] += A[r, k] B[k, v]."""
    columns = [load_at(builder, builder.gep(b, [I64(v * shape.lanes)]), dtype) for v in range(vectors)]
    result = []
    for r, element in enumerate(a_elements):
        row = broadcast(builder, builder.load(element), shape.lanes)
        result += [fmuladd(builder, dtype, row, columns[v], acc[r * vectors + v]) for v in range(vectors)]
    return result


def emit_tile(builder, dtype, shape, vectors, a, b, n_k, jump):
    """The accumulators of a tile; `jump` is None where A goes down a panel's columns."""
    panel = shape.panel
    start = [constant(dtype, 0)] * (shape.rows * vectors)
    down = jump is None

    def group(base, size):
        """`size` steps of k from `base`, an element offset of (a, b)."""

        def body(i, acc):
            for u in range(size):
                k = builder.add(builder.mul(i, I64(size)), I64(u))
                k_panel = builder.mul(k, I64(panel))
                first = builder.gep(base[0], [k_panel if down else k])
                elements = [builder.gep(first, [I64(r if down else r * panel)]) for r in range(shape.rows)]
                acc = multiply_add(builder, dtype, shape, vectors, acc, elements, builder.gep(base[1], [k_panel]))
            return acc

        return body

    if down:  # two steps at a time; inputs are padded with zeros to an even number
        return loop(builder, ceil_div(builder, n_k, 2), start, group((a, b), 2))

    def one_panel(p, acc):
        left = builder.sub(n_k, builder.mul(p, I64(panel)))
        size = builder.select(builder.icmp_signed("<", left, I64(panel)), left, I64(panel))
        base = builder.gep(a, [builder.mul(p, jump)]), builder.gep(b, [builder.mul(p, I64(panel * panel))])
        return loop(builder, ceil_div(builder, size, 2), acc, group(base, 2))

    return loop(builder, ceil_div(builder, n_k, panel), start, one_panel)


def finisher(typingctx, finish, state, dtype):
    """How to call the jitted function `finish(state, sum, q, k)` on a register, from LLVM."""
    signature = finish.get_call_type(typingctx, (state, Vec(dtype), types.int64, types.int64), {})

    def emit(context, builder, state_, register, q, k):
        call = context.get_function(finish, signature)
        context.add_linking_libs(getattr(call, "libs", ()))
        call(builder, [state_, register, I64(q), I64(k)])

    return emit


def make_tile(whole, down):
    """The intrinsic for one kind of tile: all vectors of a panel or one, A down columns or along rows."""

    def codegen_for(typingctx, p, finish, state):
        dtype, shape = p.dtype, shape_of(p)
        vectors = shape.vectors if whole else 1
        emit = finisher(typingctx, finish, state, dtype)

        def codegen(context, builder, sig, args):
            a, b, n_k, *jump, _, state_ = args
            acc = emit_tile(builder, dtype, shape, vectors, a, b, n_k, jump[0] if jump else None)
            for r in range(shape.rows):
                for v in range(vectors):
                    emit(context, builder, state_, acc[r * vectors + v], r, r * shape.panel + v * shape.lanes)
            return context.get_dummy_value()

        return codegen

    if down:

        @intrinsic
        def tile(typingctx, a, b, n_k, finish, state):
            return types.void(a, b, types.int64, finish, state), codegen_for(typingctx, a, finish, state)
    else:

        @intrinsic
        def tile(typingctx, a, b, n_k, jump, finish, state):
            return types.void(a, b, types.int64, types.int64, finish, state), codegen_for(typingctx, a, finish, state)

    return tile


# Row r, the whole panel or one register of it: sum over k < n_k of a[k * panel + r] b[k, :]
tile_down, tile_down_one = make_tile(True, True), make_tile(False, True)
# the same of a[k // panel * jump + r * panel + k % panel]
tile_along, tile_along_one = make_tile(True, False), make_tile(False, False)


@intrinsic
def lane_tile(typingctx, a, a_stride, d, d_stride, n_registers, out):
    """out[i, j] = sum over samples of a[i] d[j] for a small block, samples on the lanes. Writes out (stride panel).

    For narrow layers, where a tile would be mostly padding: `lanes` accumulators, summed over lanes at the end by a
    tree of fixed order. The block is 4 x 4 at 16 lanes, 4 x 2 at 8, 2 x 2 at 4, 2 x 1 at 2: see `lane_block`.
    """
    dtype, shape = a.dtype, shape_of(a)
    n_i, n_j = lane_block(shape.lanes)

    def codegen(context, builder, sig, args):
        a_, a_stride_, d_, d_stride_, n, out_ = args

        def body(r, acc):
            panel = builder.udiv(r, I64(shape.vectors))
            lane = builder.mul(builder.urem(r, I64(shape.vectors)), I64(shape.lanes))

            def registers(base, stride, count):
                first = builder.gep(base, [builder.add(builder.mul(panel, stride), lane)])
                return [load_at(builder, builder.gep(first, [I64(i * shape.panel)]), dtype) for i in range(count)]

            xs, ds = registers(a_, a_stride_, n_i), registers(d_, d_stride_, n_j)
            return [fmuladd(builder, dtype, x, e, acc[i * n_j + j]) for i, x in enumerate(xs) for j, e in enumerate(ds)]

        sums = lane_sums(builder, loop(builder, n, [constant(dtype, 0)] * shape.lanes, body))
        for i in range(n_i):
            part = shuffle(builder, sums, sums, [i * n_j + j for j in range(n_j)])
            store_at(builder, part, builder.gep(out_, [I64(i * shape.panel)]))
        return context.get_dummy_value()

    return types.void(a, types.int64, d, types.int64, types.int64, out), codegen


def lane_block(lanes):
    """Rows and columns of `lane_tile`: their product is `lanes`."""
    n_i = 4 if lanes >= 8 else 2
    return n_i, lanes // n_i


@intrinsic
def lane_rows_of(typingctx, spec):
    """Rows of `lane_tile`, a constant."""
    n = lane_block(Vec(spec.dtype).lanes)[0]
    return types.int64(spec), lambda context, builder, sig, args: I64(n)


@intrinsic
def lane_columns_of(typingctx, spec):
    """Columns of `lane_tile`, a constant."""
    n = lane_block(Vec(spec.dtype).lanes)[1]
    return types.int64(spec), lambda context, builder, sig, args: I64(n)


@intrinsic
def feature_sums(typingctx, e, stride, n_registers):
    """The register of sums over all samples of `lanes` features, whose first lies at `e`; the order is fixed."""
    dtype, shape = e.dtype, shape_of(e)

    def codegen(context, builder, sig, args):
        e_, stride_, n = args

        def body(r, acc):
            panel = builder.udiv(r, I64(shape.vectors))
            lane = builder.mul(builder.urem(r, I64(shape.vectors)), I64(shape.lanes))
            first = builder.gep(e_, [builder.add(builder.mul(panel, stride_), lane)])
            return [
                builder.fadd(x, load_at(builder, builder.gep(first, [I64(i * shape.panel)]), dtype))
                for i, x in enumerate(acc)
            ]

        return lane_sums(builder, loop(builder, n, [constant(dtype, 0)] * shape.lanes, body))

    return Vec(dtype)(e, types.int64, types.int64), codegen


__all__ = [
    "feature_sums", "lane_columns_of", "lane_rows_of", "lane_tile", "tile_along", "tile_along_one",
    "tile_down", "tile_down_one",
]  # fmt: skip
