"""A SIMD register that Numba treats as a number.

`Vec` is a Numba type over an LLVM vector of the target's width. `load` and `store` move it, operators and NumPy's
functions work on it as on a float, comparisons give a `Mask` for `np.where`. Kernels then read like scalar Python and
run on every lane at once.

Pointers are Numba's `CPointer(float32 | float64)`; indices count elements. Nothing here checks bounds.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .target import target

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
FLAGS = ("contract", "nsz")  # NaN and infinity keep their meaning: divergence must be seen


class Vec(types.Type):
    """A register of `lanes` numbers of Numba type `dtype`."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = target().shape(str(dtype)).lanes
        super().__init__(name=f"vec({dtype}x{self.lanes})")


class Mask(types.Type):
    """A truth value for each lane."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(name=f"mask({lanes})")


class Spec(types.Opaque):
    """What makes one kernel different from another: the dtype and the classes whose arithmetic it holds.

    It carries no data at run time, so all kernels can be called through one signature.
    """

    def __init__(self, dtype, classes=(), fingerprints=()):
        self.dtype = dtype
        self.classes = tuple(classes)
        prints = fingerprints or ("",) * len(self.classes)
        names = [f"{c.__module__}.{c.__qualname__}{p and '#' + p}" for c, p in zip(self.classes, prints, strict=True)]
        super().__init__(name=f"Spec({','.join([str(dtype), *names])})")


register_model(Spec)(models.OpaqueModel)


def scalar_ir(dtype):
    """The LLVM type of a Numba float."""
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def integer_ir(dtype):
    """The LLVM integer as wide as a Numba float."""
    return I32 if dtype == types.float32 else I64


def vector_ir(dtype):
    """The LLVM vector of a `Vec` of `dtype`."""
    return ir.VectorType(scalar_ir(dtype), Vec(dtype).lanes)


def suffix(dtype):
    """The name that LLVM's intrinsics carry for a `Vec` of `dtype`."""
    return f"v{Vec(dtype).lanes}f{32 if dtype == types.float32 else 64}"


@register_model(Vec)
class VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, vector_ir(fe_type.dtype))


@register_model(Mask)
class MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(I1, fe_type.lanes))


# ---- building blocks in LLVM --------------------------------------------------------------------------------------


def constant(dtype, value):
    """The LLVM constant with `value` in every lane."""
    return ir.Constant(vector_ir(dtype), [float(value)] * Vec(dtype).lanes)


def call(builder, name, dtype, *args):
    """Call LLVM's lane-wise intrinsic `name` on registers of `dtype`."""
    vector = vector_ir(dtype)
    function = ir.FunctionType(vector, [vector] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{suffix(dtype)}"), args)


def fmuladd(builder, dtype, x, y, z):
    """x y + z. `fmuladd`, not `fma`: without FMA hardware the latter is a call into libm (2 GFLOP/s instead of 57)."""
    return call(builder, "fmuladd", dtype, x, y, z)


def broadcast(builder, scalar, lanes):
    """`scalar` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    )


def load_at(builder, pointer, dtype):
    """Load a register from a scalar pointer of any alignment."""
    value = builder.load(builder.bitcast(pointer, vector_ir(dtype).as_pointer()))
    value.align = 4
    return value


def store_at(builder, value, pointer):
    """Store a register through a scalar pointer of any alignment."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4


def first_mask(builder, n, lanes):
    """The mask of the lanes below n, |n| < 2^31: 32 bits a lane are one comparison where 64 would be two."""
    steps = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", steps, broadcast(builder, builder.trunc(n, I32), lanes))


def masked_load(builder, pointer, mask, dtype):
    """Load the lanes of `mask` from a scalar pointer, zeros elsewhere; memory beyond the mask is not touched."""
    vector = vector_ir(dtype)
    kind = ir.FunctionType(vector, [vector.as_pointer(), I32, mask.type, vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.{suffix(dtype)}.p0")
    return builder.call(function, [builder.bitcast(pointer, vector.as_pointer()), I32(4), mask, constant(dtype, 0)])


def shuffle(builder, x, y, indices):
    """Lanes `indices` of x and y laid side by side."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(indices)), indices))


def exchange(lanes, h):
    """The two index lists that swap blocks of `h` lanes between two registers: a butterfly of transpose and sum."""
    low = [lane if not lane & h else lanes + lane - h for lane in range(lanes)]
    high = [lane + h if not lane & h else lanes + lane for lane in range(lanes)]
    return low, high


def transposed(builder, rows):
    """The transpose of a square block, held as one register a row."""
    lanes, h = len(rows), len(rows) // 2
    while h:
        low, high = exchange(lanes, h)
        for i in range(lanes):
            if not i & h:
                x, y = rows[i], rows[i + h]
                rows[i], rows[i + h] = shuffle(builder, x, y, low), shuffle(builder, x, y, high)
        h //= 2
    return rows


def lane_sums(builder, rows):
    """One register whose lane i is the sum over the lanes of `rows[i]`, by a tree of fixed order."""
    lanes = len(rows)
    while len(rows) > 1:
        h = len(rows) // 2
        low, high = exchange(lanes, h)
        rows = [
            builder.fadd(shuffle(builder, x, y, low), shuffle(builder, x, y, high))
            for x, y in zip(rows[:h], rows[h:], strict=True)
        ]
    return rows[0]


# ---- moving registers ---------------------------------------------------------------------------------------------


@intrinsic
def pointer(typingctx, spec, address):
    """The pointer to numbers of `spec`'s dtype at an integer address."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[1], scalar_ir(spec.dtype).as_pointer())

    return types.CPointer(spec.dtype)(spec, types.int64), codegen


@intrinsic
def index_pointer(typingctx, address):
    """The pointer to int64 numbers at an integer address."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], I64.as_pointer())

    return types.CPointer(types.int64)(types.int64), codegen


@intrinsic
def double_pointer(typingctx, address):
    """The pointer to float64 numbers at an integer address."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.int64), codegen


@intrinsic
def offset(typingctx, p, n):
    """The pointer `n` elements after `p`."""
    return p(p, types.int64), lambda context, builder, sig, args: builder.gep(args[0], [args[1]])


@intrinsic
def load(typingctx, p, i):
    """The register whose first lane is p[i]."""

    def codegen(context, builder, sig, args):
        return load_at(builder, builder.gep(args[0], [args[1]]), p.dtype)

    return Vec(p.dtype)(p, types.int64), codegen


@intrinsic
def store(typingctx, p, i, v):
    """Write register `v` to p[i] and after."""

    def codegen(context, builder, sig, args):
        store_at(builder, args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(p, types.int64, Vec(p.dtype)), codegen


@intrinsic
def load_first(typingctx, p, i, n):
    """The register of p[i:i+n], n < lanes, with zeros in the other lanes; reads nothing beyond."""
    vec = Vec(p.dtype)

    def codegen(context, builder, sig, args):
        mask = first_mask(builder, args[2], vec.lanes)
        return masked_load(builder, builder.gep(args[0], [args[1]]), mask, p.dtype)

    return vec(p, types.int64, types.int64), codegen


@intrinsic
def first_lanes(typingctx, spec, n):
    """The mask of the lanes below `n`."""
    lanes = Vec(spec.dtype).lanes

    def codegen(context, builder, sig, args):
        return first_mask(builder, args[1], lanes)

    return Mask(lanes)(spec, types.int64), codegen


@intrinsic
def lane_numbers(typingctx, spec):
    """The register 0, 1, 2, ..."""
    vec = Vec(spec.dtype)
    numbers = ir.Constant(vector_ir(spec.dtype), [float(lane) for lane in range(vec.lanes)])
    return vec(spec), lambda context, builder, sig, args: numbers


@intrinsic
def splat(typingctx, spec, x):
    """The register with the number `x` in every lane."""
    number = types.float64 if isinstance(x, types.Integer) else x

    def codegen(context, builder, sig, args):
        scalar = context.cast(builder, args[1], number, spec.dtype)
        return broadcast(builder, scalar, Vec(spec.dtype).lanes)

    return Vec(spec.dtype)(spec, number), codegen


@intrinsic
def fma(typingctx, x, y, z):
    """x y + z, rounded once where the machine can."""
    return x(x, x, x), lambda context, builder, sig, args: fmuladd(builder, x.dtype, *args)


def across_lanes(builder, x, combine):
    """Lane 0 of what `combine` makes of all lanes of `x`, by halves: the order is fixed."""
    lanes, h = x.type.count, x.type.count // 2
    while h:
        x = combine(x, shuffle(builder, x, x, [(lane + h) % lanes for lane in range(lanes)]))
        h //= 2
    return builder.extract_element(x, I32(0))


@intrinsic
def hsum(typingctx, v):
    """The sum over the lanes of `v`, by halves: the order is fixed."""
    return v.dtype(v), lambda context, builder, sig, args: across_lanes(builder, args[0], builder.fadd)


@intrinsic
def add_squares(typingctx, total, v):
    """The float64 register `total`, with the squares of the lanes of `v` added: two to a lane where `v` is float32."""

    def codegen(context, builder, sig, args):
        sums, x = args
        lanes = sums.type.count
        for first in range(0, x.type.count, lanes):
            part = shuffle(builder, x, x, list(range(first, first + lanes)))
            wide = builder.fpext(part, sums.type) if v.dtype.bitwidth < 64 else part
            sums = fmuladd(builder, types.float64, wide, wide, sums)
        return sums

    return total(total, v), codegen


@intrinsic
def hmax(typingctx, v):
    """The largest lane of `v`."""

    def codegen(context, builder, sig, args):
        return across_lanes(builder, args[0], lambda x, y: builder.select(builder.fcmp_ordered(">", y, x), y, x))

    return v.dtype(v), codegen


@intrinsic
def is_any(typingctx, mask):
    """Whether the mask holds in any lane."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.icmp_unsigned("!=", bits, ir.IntType(mask.lanes)(0))

    return types.boolean(mask), codegen


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at an integer address."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(args[0], I8.as_pointer()), I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def transpose(typingctx, source, source_stride, out, out_stride):
    """Write the transpose of a lanes x lanes block: out[i, j] = source[j, i]. Strides count elements."""

    def codegen(context, builder, sig, args):
        p, ps, q, qs = args
        lanes = Vec(source.dtype).lanes
        rows = [load_at(builder, builder.gep(p, [builder.mul(ps, I64(i))]), source.dtype) for i in range(lanes)]
        for i, row in enumerate(transposed(builder, rows)):
            store_at(builder, row, builder.gep(q, [builder.mul(qs, I64(i))]))
        return context.get_dummy_value()

    return types.void(source, types.int64, out, types.int64), codegen


def shape_constant(name):
    """An intrinsic that gives one field of the dtype's `Shape` as a constant."""

    @intrinsic
    def field(typingctx, spec):
        value = getattr(target().shape(str(spec.dtype)), name)
        return types.int64(spec), lambda context, builder, sig, args: I64(value)

    field.__doc__ = f"`Shape.{name}` of the spec's dtype, a constant of the compiled code."
    return field


lanes_of, panel_of, rows_of, vectors_of = (shape_constant(name) for name in ("lanes", "panel", "rows", "vectors"))


@intrinsic
def itemsize_of(typingctx, spec):
    """Bytes of a number of the spec's dtype."""
    return types.int64(spec), lambda context, builder, sig, args: I64(spec.dtype.bitwidth // 8)


@intrinsic
def register_at(typingctx, spec, r, stride):
    """Where register r of the samples lies in panels that are `stride` elements apart: feature 0, in elements."""
    shape = target().shape(str(spec.dtype))

    def codegen(context, builder, sig, args):
        _, r_, stride_ = args
        panel, vector = builder.udiv(r_, I64(shape.vectors)), builder.urem(r_, I64(shape.vectors))
        return builder.add(builder.mul(panel, stride_), builder.mul(vector, I64(shape.lanes)))

    return types.int64(spec, types.int64, types.int64), codegen


# ---- arithmetic ---------------------------------------------------------------------------------------------------


def operand(context, builder, value, kind, dtype):
    """A register from a register or from any number."""
    if isinstance(kind, Vec):
        return value
    return broadcast(builder, context.cast(builder, value, kind, dtype), Vec(dtype).lanes)


def vector_of(args):
    """The `Vec` among `args` if the others are the same or numbers, else None."""
    vecs = {a for a in args if isinstance(a, Vec)}
    if len(vecs) == 1 and all(isinstance(a, (Vec, types.Number, types.Boolean)) for a in args):
        return vecs.pop()
    return None


def plain(kind):
    """A literal number's ordinary type."""
    return types.unliteral(kind)


def define_operator(op, emit, result=None):
    """Let `op`, an operator or a function of one or two arguments, take registers, and registers with numbers.

    `emit(builder, *registers)` gives the LLVM value. By a template, not by `numba.extending.overload`: that would make
    each a function to compile, 0.04 s.
    """

    @infer_global(op)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            vec = vector_of(args)
            if vec is not None:
                return signature(result(vec) if result else vec, *(plain(a) for a in args))

    def lower(context, builder, sig, args):
        dtype = vector_of(sig.args).dtype
        registers = [operand(context, builder, a, k, dtype) for a, k in zip(args, sig.args, strict=True)]
        return emit(builder, *registers)

    for kinds in ((Vec,), (Vec, Vec), (Vec, types.Number), (types.Number, Vec)):
        lower_builtin(op, *kinds)(lower)


define_operator(operator.add, lambda b, x, y: b.fadd(x, y, flags=FLAGS))
define_operator(operator.sub, lambda b, x, y: b.fsub(x, y, flags=FLAGS))
define_operator(operator.mul, lambda b, x, y: b.fmul(x, y, flags=FLAGS))
define_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y, flags=FLAGS))
define_operator(operator.neg, lambda b, x: b.fsub(ir.Constant(x.type, [-0.0] * x.type.count), x))
for python, llvm_name in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "==")):
    define_operator(
        getattr(operator, python),
        lambda b, x, y, name=llvm_name: b.fcmp_ordered(name, x, y),
        lambda vec: Mask(vec.lanes),
    )
define_operator(operator.ne, lambda b, x, y: b.fcmp_unordered("!=", x, y), lambda vec: Mask(vec.lanes))


@infer_global(operator.pow)
class PowerTemplate(AbstractTemplate):
    """A register to a literal whole power, 0 to 16."""

    def generic(self, args, kws):
        literal = len(args) == 2 and isinstance(args[0], Vec) and isinstance(args[1], types.IntegerLiteral)
        if literal and 0 <= args[1].literal_value <= 16:
            return signature(args[0], *args)


@lower_builtin(operator.pow, Vec, types.IntegerLiteral)
def lower_power(context, builder, sig, args):
    n, square, product = sig.args[1].literal_value, args[0], constant(sig.args[0].dtype, 1)
    while n:
        product = builder.fmul(product, square, flags=FLAGS) if n & 1 else product
        n >>= 1
        square = builder.fmul(square, square, flags=FLAGS) if n else square
    return product


for op, method in ((operator.and_, "and_"), (operator.or_, "or_")):

    @infer_global(op)
    class MaskTemplate(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Mask) and args[0] == args[1]:
                return signature(args[0], *args)

    lower_builtin(op, Mask, Mask)(lambda context, builder, sig, args, method=method: getattr(builder, method)(*args))


@intrinsic
def select(typingctx, mask, x, y):
    """x where `mask` holds, y elsewhere."""
    vec = vector_of((x, y)) or next((Vec(k.dtype) for k in (x, y) if isinstance(k, Vec)), None)
    if not isinstance(mask, Mask) or vec is None:
        return None

    def codegen(context, builder, sig, args):
        x_, y_ = (operand(context, builder, a, k, vec.dtype) for a, k in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], x_, y_)

    return vec(mask, plain(x), plain(y)), codegen


@infer_global(np.where)
class WhereTemplate(AbstractTemplate):
    """np.where(mask, x, y) on registers and numbers."""

    def generic(self, args, kws):
        if len(args) == 3 and isinstance(args[0], Mask):
            are_numbers = all(isinstance(a, types.Number) for a in args[1:])
            vec = vec_of_mask(args[0]) if are_numbers else vector_of(args[1:])
            if vec is not None:
                return signature(vec, *(plain(a) for a in args))


def vec_of_mask(mask):
    """The registers that a mask came from: no two dtypes have as many lanes."""
    return next(vec for vec in (Vec(types.float32), Vec(types.float64)) if vec.lanes == mask.lanes)


@lower_builtin(np.where, Mask, types.Any, types.Any)
def lower_where(context, builder, sig, args):
    dtype = sig.return_type.dtype
    x, y = (operand(context, builder, a, k, dtype) for a, k in zip(args[1:], sig.args[1:], strict=True))
    return builder.select(args[0], x, y)


# ---- functions of NumPy and Python --------------------------------------------------------------------------------


def number_type(register):
    """Numba's type of the numbers in an LLVM register."""
    return types.float32 if register.type.element == ir.FloatType() else types.float64


def lane_wise(name):
    """LLVM's lane-wise intrinsic `name` as an `emit` of `define_operator`."""
    return lambda builder, *registers: call(builder, name, number_type(registers[0]), *registers)


def emit_sign(builder, x):
    """-1, 0 or 1; a zero or a NaN gives itself."""
    one, zero = constant(number_type(x), 1), constant(number_type(x), 0)
    negative = builder.select(builder.fcmp_ordered("<", x, zero), constant(number_type(x), -1), x)
    return builder.select(builder.fcmp_ordered(">", x, zero), one, negative)


def emit_max(builder, x, y):
    """The larger. Asks y > x, not x > y: a NaN in the first argument must not be swallowed."""
    return builder.select(builder.fcmp_ordered(">", y, x), y, x)


def emit_min(builder, x, y):
    """The smaller; a NaN in the first argument is passed on."""
    return builder.select(builder.fcmp_ordered("<", y, x), y, x)


define_operator(np.sqrt, lane_wise("sqrt"))
define_operator(np.floor, lane_wise("floor"))
define_operator(np.copysign, lane_wise("copysign"))
define_operator(np.sign, emit_sign)
for function in (abs, np.abs):
    define_operator(function, lane_wise("fabs"))
for function, emit in ((max, emit_max), (np.maximum, emit_max), (min, emit_min), (np.minimum, emit_min)):
    define_operator(function, emit)
