"""The first layer on CSR rows: products cost their non-zeros.

    z = sum over the non-zeros x_k of row k of W         the row of W is contiguous in a panel of outputs
    dW[k] += x_k delta                                   into the stored gradients, samples in order

A row is read in pieces of `PIECE` entries, cast as they are read. Duplicates count as their sum.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from .access import source_at
from .gather import cast_row, row_number
from .jit import component, inner, keeps_z, kernel
from .records import PIECE
from .simd import (
    I32,
    I64,
    broadcast,
    fmuladd,
    hsum,
    index_pointer,
    lanes_of,
    load,
    load_at,
    offset,
    panel_of,
    pointer,
    register_at,
    splat,
    store,
    store_at,
    transpose,
)
from .tile import loop, shape_of

CODE_INT32 = 5


@intrinsic
def read_index(typingctx, address, code, i):
    """Element i of an array of int32 (code 5) or int64 at an integer address."""

    def codegen(context, builder, sig, args):
        base, code_, at = args
        is_short = builder.icmp_signed("==", code_, I64(CODE_INT32))
        with builder.if_else(is_short) as (then, otherwise):
            with then:
                short = builder.load(builder.gep(builder.inttoptr(base, I32.as_pointer()), [at]))
                short, short_block = builder.sext(short, I64), builder.block
            with otherwise:
                long = builder.load(builder.gep(builder.inttoptr(base, I64.as_pointer()), [at]))
                long_block = builder.block
        phi = builder.phi(I64)
        phi.add_incoming(short, short_block)
        phi.add_incoming(long, long_block)
        return phi

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def add_rows(typingctx, w, columns, values, n, out):
    """out[:panel] += sum over k < n of values[k] w[columns[k], :panel], for n >= 1; the sum stays in registers."""
    dtype, shape = w.dtype, shape_of(w)

    def codegen(context, builder, sig, args):
        w_, columns_, values_, n_, out_ = args
        at = [builder.gep(out_, [I64(v * shape.lanes)]) for v in range(shape.vectors)]

        def body(k, acc):
            column = builder.load(builder.gep(columns_, [k]))
            row = builder.gep(w_, [builder.mul(column, I64(shape.panel))])
            value = broadcast(builder, builder.load(builder.gep(values_, [k])), shape.lanes)
            rows = [load_at(builder, builder.gep(row, [I64(v * shape.lanes)]), dtype) for v in range(shape.vectors)]
            return [fmuladd(builder, dtype, value, r, x) for r, x in zip(rows, acc, strict=True)]

        for x, p in zip(loop(builder, n_, [load_at(builder, p, dtype) for p in at], body), at, strict=True):
            store_at(builder, x, p)
        return context.get_dummy_value()

    return types.void(w, columns, values, types.int64, out), codegen


@inner
def read_piece(spec, source, start, n, columns, values):
    """Entries start..start + n of a CSR matrix. Writes columns and values."""
    size = item_size(source.code)
    cast_row(spec, source.code, source.address + start * size, size, n, values)
    for k in range(n):
        columns[k] = read_index(source.indices, source.indices_code, start + k)


@inner
def item_size(code):
    """Bytes of a number with dtype code `code`."""
    kind = code % 16
    if kind in (1, 6, 10):
        return 8
    if kind in (0, 5, 9):
        return 4
    return 2 if kind in (2, 4, 8) else 1


@kernel
def sparse_forward(spec, op, step, first, last):
    """a = act(x W + b) for registers first..last of the samples, x in CSR. Writes op.a, and op.z where it is needed.

    Raises step.bad_input if there is a NaN or an infinity.
    """
    L, P = lanes_of(spec), panel_of(spec)
    act = component(spec, 0, op.constants)
    w, b, a = pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    source = source_at(step.sources, 0)
    staging, values = pointer(spec, step.scratch), pointer(spec, step.piece_values)
    columns = index_pointer(step.piece_columns)
    bad = splat(spec, 0.0)
    for r in range(first, last):
        out = register_at(spec, r, op.a_stride)
        for j in range(0, op.n_out, P):
            panel = offset(w, j // P * op.w_stride)
            for k in range(0, L * P, L):
                store(staging, k, splat(spec, 0.0))
            for i in range(L):  # lanes beyond the last sample repeat it
                row = row_number(step, min(r * L + i, step.n_rows - 1))
                start = read_index(source.indptr, source.indptr_code, row)
                end = read_index(source.indptr, source.indptr_code, row + 1)
                while start < end:
                    n = min(PIECE, end - start)
                    read_piece(spec, source, start, n, columns, values)
                    for k in range(n):
                        bad = bad + splat(spec, values[k]) * 0.0
                    add_rows(panel, columns, values, n, offset(staging, i * P))
                    start += n
            for o in range(j, min(j + P, op.n_out), L):
                transpose(offset(staging, o - j), P, offset(a, out + o * P), P)
        for o in range(op.n_out):
            k = out + o * P
            value = load(a, k) + splat(spec, b[o])
            if keeps_z(spec):
                store(z, k, value)
            store(a, k, act.value(value))
        for o in range(op.n_out, (op.n_out + L - 1) // L * L):
            store(a, out + o * P, splat(spec, 0.0))
    if hsum(bad) != 0.0:  # NaN
        index_pointer(step.bad_input)[0] = 1


@kernel
def sparse_dot_forward(spec, op, step, first, last):
    """`sparse_forward` of a layer of one unit, whose weights are a vector along the inputs."""
    L = lanes_of(spec)
    act = component(spec, 0, op.constants)
    w, b, a = pointer(spec, op.w), pointer(spec, op.b), pointer(spec, op.a)
    z = pointer(spec, op.z if keeps_z(spec) else op.a)
    source = source_at(step.sources, 0)
    sums, values, columns = (
        pointer(spec, step.scratch),
        pointer(spec, step.piece_values),
        index_pointer(step.piece_columns),
    )
    bad = 0.0
    for r in range(first, last):
        for i in range(L):  # lanes beyond the last sample repeat it
            row = row_number(step, min(r * L + i, step.n_rows - 1))
            start = read_index(source.indptr, source.indptr_code, row)
            end = read_index(source.indptr, source.indptr_code, row + 1)
            sums[i] = b[0]
            while start < end:
                n = min(PIECE, end - start)
                read_piece(spec, source, start, n, columns, values)
                for k in range(n):
                    sums[i] += values[k] * w[columns[k]]
                    bad += values[k] * 0.0
                start += n
        out, value = register_at(spec, r, op.a_stride), load(sums, 0)
        if keeps_z(spec):
            store(z, out, value)
        store(a, out, act.value(value))
    if bad != 0.0:  # NaN
        index_pointer(step.bad_input)[0] = 1


@kernel
def sparse_dot_gradient(spec, op, step, first, last):
    """`sparse_gradient` of a layer of one unit, whose weights are a vector along the inputs."""
    L = lanes_of(spec)
    source = source_at(step.sources, 0)
    values, columns = pointer(spec, step.piece_values), index_pointer(step.piece_columns)
    e = pointer(spec, op.e_a)
    gradient, bias = offset(pointer(spec, op.w), step.row_stride), offset(pointer(spec, op.b), step.row_stride)
    for i in range(step.n_rows):
        delta = e[register_at(spec, i // L, op.a_stride) + i % L]
        row = row_number(step, i)
        start = read_index(source.indptr, source.indptr_code, row)
        end = read_index(source.indptr, source.indptr_code, row + 1)
        while start < end:
            n = min(PIECE, end - start)
            read_piece(spec, source, start, n, columns, values)
            for k in range(n):
                gradient[columns[k]] += values[k] * delta
            start += n
        if op.n_biases:
            bias[0] += delta


@inner
def add_outer(spec, columns, values, n, delta, gradient):
    """gradient[columns[k], :panel] += values[k] delta[:panel]. Writes gradient."""
    L, P = lanes_of(spec), panel_of(spec)
    for k in range(n):
        at = columns[k] * P
        for v in range(0, P, L):
            store(gradient, at + v, load(gradient, at + v) + splat(spec, values[k]) * load(delta, v))


@kernel
def sparse_gradient(spec, op, step, first, last):
    """Add the chunk's gradients of W and b to the stored ones, for panels first..last of the outputs.

    Writes the gradient row of the parameters.
    """
    L, P = lanes_of(spec), panel_of(spec)
    source = source_at(step.sources, 0)
    values, columns = pointer(spec, step.piece_values), index_pointer(step.piece_columns)
    for panel in range(first, last):
        t = offset(pointer(spec, op.t), panel * op.t_stride)
        gradient = offset(pointer(spec, op.w), step.row_stride + panel * op.w_stride)
        biases = offset(pointer(spec, op.b), step.row_stride + panel * P)
        for i in range(step.n_rows):
            delta = offset(t, i * P)
            row = row_number(step, i)
            start = read_index(source.indptr, source.indptr_code, row)
            end = read_index(source.indptr, source.indptr_code, row + 1)
            while start < end:
                n = min(PIECE, end - start)
                read_piece(spec, source, start, n, columns, values)
                add_outer(spec, columns, values, n, delta, gradient)
                start += n
            if op.n_biases:
                for v in range(0, P, L):
                    store(biases, v, load(biases, v) + load(delta, v))
