"""Rows of a user's matrix, from any dtype and any strides, into panels of samples; the matrix is never copied whole.

Rows are read in any order and cast as they are read. Rows of the kernels' own dtype are transposed in registers: 16
rows of one register each become 16 features of one register. Other dtypes and strides are read column by column.
Whether all numbers were finite costs one multiply-add a register and is told at the end.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .access import source_at
from .jit import inner, kernel
from .simd import (
    I32,
    I64,
    Vec,
    constant,
    double_pointer,
    first_lanes,
    first_mask,
    fma,
    fmuladd,
    hsum,
    index_pointer,
    itemsize_of,
    lanes_of,
    load,
    load_at,
    masked_load,
    offset,
    panel_of,
    pointer,
    prefetch,
    register_at,
    scalar_ir,
    select,
    splat,
    store,
    store_at,
    transposed,
)
from .tile import loop

AHEAD = 16  # rows to prefetch before they are read; random rows come from memory

# dtype codes of `fastprop.checks`: (bits, kind); 16 is added for swapped bytes
NUMBERS = {
    0: (32, "f"), 1: (64, "f"), 2: (16, "f"), 3: (8, "i"), 4: (16, "i"), 5: (32, "i"), 6: (64, "i"),
    7: (8, "u"), 8: (16, "u"), 9: (32, "u"), 10: (64, "u"),
}  # fmt: skip
SWAPPED = 16
COMMON = (0, 1, 5, 6, 7)  # float32, float64, int32, int64, uint8
RARE = (2, 3, 4, 8, 9, 10, *(code + SWAPPED for code, (bits, _) in NUMBERS.items() if bits > 8))


def decode(builder, raw, code, dtype):
    """The LLVM value of a float of `dtype` from the bits `raw` of a number with dtype code `code`."""
    bits, kind = NUMBERS[code % SWAPPED]
    if code >= SWAPPED:
        name = f"llvm.bswap.i{bits}"
        swap = cgutils.get_or_insert_function(builder.module, ir.FunctionType(raw.type, [raw.type]), name)
        raw = builder.call(swap, [raw])
    target_type = scalar_ir(dtype)
    if kind == "i":
        return builder.sitofp(raw, target_type)
    if kind == "u":
        return builder.uitofp(raw, target_type)
    if bits == 16:
        value = decode_half(builder, raw)
    else:
        value = builder.bitcast(raw, ir.FloatType() if bits == 32 else ir.DoubleType())
    if value.type == target_type:
        return value
    return builder.fpext(value, target_type) if bits < 64 else builder.fptrunc(value, target_type)


def decode_half(builder, raw):
    """float32 from the bits of a float16, by integers: without F16C, LLVM calls a function that the JIT does not have.

    Subnormals by their integer value, or a flushed intermediate would lose them.
    """
    bits = builder.zext(raw, I32)
    magnitude = builder.and_(bits, I32(0x7FFF))
    shifted = builder.shl(magnitude, I32(13))
    rebias = I32(112 << 23)
    normal = builder.add(shifted, rebias)
    special = builder.add(normal, rebias)  # exponent 31 becomes 255: infinity and NaN
    value = builder.select(builder.icmp_unsigned(">=", magnitude, I32(0x7C00)), special, normal)
    tiny = builder.fmul(builder.uitofp(magnitude, ir.FloatType()), ir.FloatType()(2.0**-24))
    is_tiny = builder.icmp_unsigned("<", magnitude, I32(0x0400))
    value = builder.select(is_tiny, builder.bitcast(tiny, I32), value)
    sign = builder.shl(builder.and_(bits, I32(0x8000)), I32(16))
    return builder.bitcast(builder.or_(value, sign), ir.FloatType())


def emit_cast(builder, dtype, code, n, address_of, out):
    """out[i] = the number with dtype code `code` at address_of(i), for i < n, n >= 1.

    A loop for each common code. The others share one that asks for the code at every number: 19 loops would take half a
    second more to compile.
    """
    done, rare = builder.append_basic_block("cast"), builder.append_basic_block("rare")
    switch = builder.switch(code, rare)

    def write(i, number):
        integer = ir.IntType(NUMBERS[number % SWAPPED][0])
        raw = builder.load(builder.inttoptr(address_of(i), integer.as_pointer()))
        raw.align = 1
        builder.store(decode(builder, raw, number, dtype), builder.gep(out, [i]))

    for number in COMMON:
        block = builder.append_basic_block(f"code{number}")
        switch.add_case(I64(number), block)
        builder.position_at_end(block)
        loop(builder, n, [], lambda i, values, number=number: write(i, number) or [])
        builder.branch(done)

    def write_rare(i, values):
        following = builder.append_basic_block("next")
        inner_switch = builder.switch(code, following)
        for number in RARE:
            block = builder.append_basic_block(f"code{number}")
            inner_switch.add_case(I64(number), block)
            builder.position_at_end(block)
            write(i, number)
            builder.branch(following)
        builder.position_at_end(following)
        return values

    builder.position_at_end(rare)
    loop(builder, n, [], write_rare)
    builder.branch(done)
    builder.position_at_end(done)


@intrinsic
def cast_row(typingctx, spec, code, address, stride, n, out):
    """out[i] = the number with dtype code `code` at address + i stride (bytes), for i < n, n >= 1. Writes out."""

    def codegen(context, builder, sig, args):
        _, code_, address_, stride_, n_, out_ = args
        emit_cast(builder, spec.dtype, code_, n_, lambda i: builder.add(address_, builder.mul(i, stride_)), out_)
        return context.get_dummy_value()

    return types.void(spec, types.int64, types.int64, types.int64, types.int64, out), codegen


@intrinsic
def cast_column(typingctx, spec, code, addresses, shift, n, out):
    """out[i] = the number with dtype code `code` at addresses[i] + shift (bytes), for i < n, n >= 1. Writes out."""

    def codegen(context, builder, sig, args):
        _, code_, addresses_, shift_, n_, out_ = args
        address = lambda i: builder.add(builder.load(builder.gep(addresses_, [i])), shift_)  # noqa: E731
        emit_cast(builder, spec.dtype, code_, n_, address, out_)
        return context.get_dummy_value()

    return types.void(spec, types.int64, addresses, types.int64, types.int64, out), codegen


def emit_transpose_rows(builder, dtype, load_row, addresses, shift, out, stride):
    """out[j, :] = column j of `lanes` rows; returns zeros, or NaN in a lane where a number was not finite."""
    rows, bad = [], constant(dtype, 0)
    for i in range(Vec(dtype).lanes):
        where = builder.add(builder.load(builder.gep(addresses, [I64(i)])), shift)
        rows.append(load_row(builder.inttoptr(where, scalar_ir(dtype).as_pointer())))
        bad = fmuladd(builder, dtype, rows[-1], constant(dtype, 0), bad)
    for j, column in enumerate(transposed(builder, rows)):
        store_at(builder, column, builder.gep(out, [builder.mul(stride, I64(j))]))
    return bad


@intrinsic
def transpose_rows(typingctx, spec, addresses, shift, out, out_stride):
    """out[j, :] = column j of `lanes` rows that start at addresses[i] + shift bytes; native dtype, contiguous.

    Writes out; returns zeros, or NaN in a lane where a number was not finite.
    """

    def codegen(context, builder, sig, args):
        return emit_transpose_rows(builder, spec.dtype, lambda p: load_at(builder, p, spec.dtype), *args[1:])

    return Vec(spec.dtype)(spec, addresses, types.int64, out, types.int64), codegen


@intrinsic
def transpose_row_ends(typingctx, spec, addresses, shift, n, out, out_stride):
    """`transpose_rows` for the last n < lanes columns: nothing is read beyond them, the other columns become 0."""
    dtype = spec.dtype

    def codegen(context, builder, sig, args):
        _, addresses_, shift_, n_, out_, stride = args
        mask = first_mask(builder, n_, Vec(dtype).lanes)
        load_row = lambda p: masked_load(builder, p, mask, dtype)  # noqa: E731
        return emit_transpose_rows(builder, dtype, load_row, addresses_, shift_, out_, stride)

    return Vec(dtype)(spec, addresses, types.int64, types.int64, out, types.int64), codegen


@inner
def row_number(step, k):
    """The row of the user's matrix that is sample k of this chunk."""
    if step.rows == 0:
        return step.first + k
    return index_pointer(step.rows)[step.first + k]


@kernel
def gather(spec, op, step, first, last):
    """Registers first..last of the samples, from source number op.source, into panels. Writes op.a.

    Raises step.bad_input if there is a NaN or an infinity.
    """
    L, P = lanes_of(spec), panel_of(spec)
    source = source_at(step.sources, op.source)
    code, row_stride, column_stride = source.code, source.row_stride, source.column_stride
    size, n_samples, n_columns, a_stride = itemsize_of(spec), step.n_rows, op.n_out, op.a_stride
    is_plain = code == (0 if size == 4 else 1) and column_stride == size
    a, addresses = pointer(spec, op.a), index_pointer(step.scratch)
    bad = splat(spec, 0.0)
    for r in range(first, last):
        out = offset(a, register_at(spec, r, a_stride))
        for i in range(L):  # lanes beyond the last sample repeat it: what is finite for it is finite for them
            addresses[i] = source.address + row_number(step, min(r * L + i, n_samples - 1)) * row_stride
        transposes = is_plain and n_columns > 1
        if transposes and r * L + AHEAD + L <= n_samples:
            for i in range(L):
                ahead = source.address + row_number(step, r * L + AHEAD + i) * row_stride
                for j in range(0, n_columns * size, 64):
                    prefetch(ahead + j)
        n_whole = n_columns // L * L if transposes else 0
        for j in range(0, n_whole, L):
            bad = bad + transpose_rows(spec, addresses, j * size, offset(out, j * P), P)
        if transposes and n_whole < n_columns:  # pads of the panel take the zeros
            end = offset(out, n_whole * P)
            bad = bad + transpose_row_ends(spec, addresses, n_whole * size, n_columns - n_whole, end, P)
        for j in range(0 if not transposes else n_columns, n_columns):
            column = offset(out, j * P)
            cast_column(spec, code, addresses, j * column_stride, L, column)
            bad = fma(load(column, 0), splat(spec, 0.0), bad)
    if hsum(bad) != 0.0:  # NaN
        index_pointer(step.bad_input)[0] = 1


@kernel
def sample_weights(spec, op, step, first, last):
    """Weight of each sample over the sum of the update's weights; 0 in lanes beyond the last row. Writes op.a.

    Weights are float64; without any (source code -1) each sample counts the same.
    """
    L = lanes_of(spec)
    a = pointer(spec, op.a)
    source = source_at(step.sources, op.source)
    for r in range(first, last):
        n_rows = min(L, step.n_rows - r * L)
        if source.code < 0:
            store(a, r * L, select(first_lanes(spec, n_rows), splat(spec, step.inverse_weight), 0.0))
        else:
            store(a, r * L, splat(spec, 0.0))
            for i in range(n_rows):
                weight = double_pointer(source.address + row_number(step, r * L + i) * source.row_stride)
                a[r * L + i] = weight[0] * step.inverse_weight  # in float64: either may exceed float32
