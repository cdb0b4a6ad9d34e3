"""exp, log, tanh and their kin on registers, each with its error bound.

NumPy's names work on `Vec` inside compiled code (np.exp, np.expm1, np.log, np.log1p, np.tanh); `sigmoid`, `softplus`
and `erf` are functions of this module, for floats and arrays in Python, for numbers and registers in compiled code.

Bounds are in ULP of the result: the larger of what was measured with and without FMA hardware, in both dtypes, rounded
up. NaN gives NaN, infinities and signed zeros give what C says, overflow gives infinity. Results below twice the
smallest normal number may be flushed to zero.

Every function is one block of LLVM without branches or calls: the exponent and the mantissa are taken apart by integer
operations, rounding to an integer is the addition of 1.5 2^52 (`llvm.rint` is a call into libm on SSE2), the rest is a
polynomial. One text serves both dtypes; what differs is in `Table`.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import overload

from .functions import erf, sigmoid, softplus
from .simd import call, constant, define_operator, fmuladd, integer_ir, number_type, vector_ir


class Table(NamedTuple):
    """The numbers of one dtype. Polynomials are listed from the constant up.

    The polynomials are minimax fits in 50 digits: least squares on Chebyshev points, the weights multiplied by the
    error until it is level (Lawson), then rounded. `exp` fits (exp r - 1 - r) / r^2 on |r| <= ln 2 / 2, weight |r|;
    `log` fits (2 atanh s - 2 s) / s^3 in s^2 for |s| <= 1/3, weight s^2 (fdlibm's form); `erf_near` fits erf x / x in
    x^2 for x <= 1, relative; `log_erfc` fits log erfc x in x - 1 from 1 to `erf_end`, weight erfc x / erf x, which
    makes the relative error of erf level.
    """

    fraction_bits: int
    bias: int
    ln2_high: float  # ends in zero bits, so that its product with an exponent is exact
    ln2_low: float
    exp_low: float  # exp is 0 at and below, infinite at and above
    exp_high: float
    tanh_end: float  # 1 from here on
    erf_end: float
    exp: tuple[float, ...]
    log: tuple[float, ...]
    erf_near: tuple[float, ...]
    log_erfc: tuple[float, ...]

    @property
    def magic(self) -> float:
        """Adding it to a number of moderate size rounds that to an integer, which then stands in the low bits."""
        return 1.5 * 2.0**self.fraction_bits


FLOAT32 = Table(
    fraction_bits=23,
    bias=127,
    ln2_high=6.9313812256e-01,
    ln2_low=9.0580006145e-06,
    exp_low=-104.0,
    exp_high=89.0,
    tanh_end=10.0,
    erf_end=4.0,
    exp=(0.5, 0.16666537523269653, 0.04166627302765846, 0.008367272093892097, 0.0013947063125669956),
    log=(0.6666641235351562, 0.4002172648906708, 0.27998802065849304, 0.2802574932575226),
    erf_near=(
        1.1283791065216064, -0.3761262595653534, 0.1128358542919159, -0.026853812858462334, 0.005188331939280033,
        -0.0008010232704691589, 7.853998249629512e-05,
    ),
    log_erfc=(
        -1.8496055603027344, -2.6389667987823486, -0.8431177735328674, -0.04150291159749031, 0.009894456714391708,
        -0.0018286502454429865, 0.00018619078036863357,
    ),
)  # fmt: skip

FLOAT64 = Table(
    fraction_bits=52,
    bias=1023,
    ln2_high=6.93147180369123816490e-01,
    ln2_low=1.90821492927058770002e-10,
    exp_low=-746.0,
    exp_high=710.0,
    tanh_end=20.0,
    erf_end=6.0,
    exp=(
        0.5000000000000007, 0.16666666666666685, 0.04166666666656562, 0.008333333333315238, 0.0013888888935116154,
        0.00019841269901996615, 2.480150103041055e-05, 2.755722858558498e-06, 2.7627728414335914e-07,
        2.5114356226921487e-08,
    ),
    log=(
        0.6666666666666631, 0.4000000000015704, 0.285714285478822, 0.22222223967960414, 0.18181743986130222,
        0.15386558656706795, 0.13300989672925506, 0.12105963254461048, 0.08340621141198555, 0.17017643205376265,
    ),
    erf_near=(
        1.1283791670955126, -0.3761263890318352, 0.11283791670944182, -0.026866170643111323, 0.0052239776061178056,
        -0.0008548325929291646, 0.00012055293576334682, -1.4924712292296275e-05, 1.6447131460204973e-06,
        -1.6206312955424513e-07, 1.3710977085219175e-08, -7.779462555146082e-10,
    ),
    log_erfc=(
        -1.8496055099332485, -2.6389675142347313, -0.8431072563618847, -0.041561097972230045, 0.010033824601699291,
        -0.0019778974977066144, 0.00023730108255125482, 2.6339231758607436e-05, -2.7283073212976886e-05,
        9.789698204180421e-06, -2.2530318063824572e-06, 2.954052777981685e-07, 8.649191142023362e-09,
        -1.4076150550842565e-08, 3.246008170333458e-09, -3.680307128647918e-10, 1.76787190916423e-11,
    ),
)  # fmt: skip


class Emitter:
    """Writes lane-wise arithmetic on registers of one dtype; Python floats stand for constants.

    Operations carry the flag nsz, so that Numba does not add its own: the bits are the same in every kernel.
    """

    def __init__(self, builder, dtype):
        self.builder = builder
        self.dtype = dtype
        self.table = FLOAT32 if dtype == types.float32 else FLOAT64
        self.float_type = vector_ir(dtype)
        self.integer_type = ir.VectorType(integer_ir(dtype), self.float_type.count)

    def value(self, x):
        return constant(self.dtype, x) if isinstance(x, float) else x

    def add(self, x, y):
        return self.builder.fadd(self.value(x), self.value(y), flags=("nsz",))

    def sub(self, x, y):
        return self.builder.fsub(self.value(x), self.value(y), flags=("nsz",))

    def mul(self, x, y):
        return self.builder.fmul(self.value(x), self.value(y), flags=("nsz",))

    def div(self, x, y):
        return self.builder.fdiv(self.value(x), self.value(y), flags=("nsz",))

    def fma(self, x, y, z):
        return fmuladd(self.builder, self.dtype, self.value(x), self.value(y), self.value(z))

    def polynomial(self, x, coefficients):
        """By Horner's rule; two polynomials in x^2, of half the latency, gain 9 % in float64 but lose 1 ULP in erf."""
        return functools.reduce(lambda p, c: self.fma(p, x, c), reversed(coefficients))

    def choose(self, x, relation, y, yes, no):
        """yes where `x relation y`, else no; a NaN in x or y means no."""
        condition = self.builder.fcmp_ordered(relation, self.value(x), self.value(y))
        return self.builder.select(condition, self.value(yes), self.value(no))

    def at_least(self, x, low):
        return self.choose(low, ">", x, low, x)

    def at_most(self, x, high):
        return self.choose(high, "<", x, high, x)

    def absolute(self, x):
        return call(self.builder, "fabs", self.dtype, x)

    def bits(self, x):
        return self.builder.bitcast(x, self.integer_type)

    def number(self, bits):
        return self.builder.bitcast(bits, self.float_type)

    def integer(self, value):
        return ir.Constant(self.integer_type, [value] * self.integer_type.count)

    def exponent(self, biased):
        """2^(biased - bias); only the low bits of `biased` matter."""
        return self.number(self.builder.shl(biased, self.integer(self.table.fraction_bits)))

    def signed_like(self, y, x):
        """y, not negative or already of x's sign, with x's sign: -0 too."""
        sign = self.integer(1 << (self.integer_type.element.width - 1))
        return self.number(self.builder.or_(self.bits(y), self.builder.and_(self.bits(x), sign)))


# ---- the exponential family ----------------------------------------------------------------------------------------


def split_exp(e, x, shift):
    """q and the bits of n + shift, where exp x = (1 + q) 2^n, |q| < 0.42, q relatively exact where n = 0."""
    table = e.table
    rounded = e.fma(x, 1.0 / math.log(2.0), table.magic + shift)
    n = e.sub(rounded, table.magic + shift)
    r = e.fma(n, -table.ln2_low, e.fma(n, -table.ln2_high, x))
    q = e.fma(e.mul(r, r), e.polynomial(r, table.exp), r)
    return q, e.bits(rounded)


def half_exp(e, x):
    """q and h, where exp x = 2 h (1 + q): the half keeps h finite up to overflow, for x above -60."""
    q, biased = split_exp(e, x, float(e.table.bias - 1))
    return q, e.exponent(biased)


def emit_exp(e, x):
    """exp x. Error at most 1.5 ULP; gradual underflow."""
    table = e.table
    x = e.at_least(e.at_most(x, table.exp_high), table.exp_low)
    q, biased = split_exp(e, x, float(2 * table.bias))
    first = e.builder.lshr(biased, e.integer(1))  # 2^n in two factors: n reaches from -150 to 128
    second = e.builder.sub(biased, first)
    return e.mul(e.mul(e.add(q, 1.0), e.exponent(first)), e.exponent(second))


def emit_expm1(e, x):
    """exp x - 1. Error at most 3 ULP."""
    q, h = half_exp(e, e.at_least(e.at_most(x, e.table.exp_high), -50.0))
    half = e.fma(h, q, e.sub(h, 0.5))
    return e.signed_like(e.add(half, half), x)


def emit_sigmoid(e, x):
    """1 / (1 + exp(-x)). Error at most 2 ULP."""
    q, h = half_exp(e, e.at_least(e.at_most(e.sub(-0.0, x), e.table.exp_high), -50.0))
    total = e.add(h, 0.5)
    lost = e.sub(0.5, e.sub(total, h))  # what rounding took from the sum: 1 ULP near x = -17 in float32
    half = e.add(total, e.fma(h, q, lost))
    return e.div(1.0, e.add(half, half))


def emit_tanh(e, x):
    """tanh x = (exp 2|x| - 1) / (exp 2|x| + 1) with x's sign. Error at most 3 ULP; at most 1."""
    a = e.at_most(e.absolute(x), e.table.tanh_end)
    q, h = half_exp(e, e.add(a, a))
    return e.signed_like(e.div(e.fma(h, q, e.sub(h, 0.5)), e.fma(h, q, e.add(h, 0.5))), x)


# ---- the logarithms ------------------------------------------------------------------------------------------------


def split_log(e, x):
    """n as a biased integer and as a number, and m, where x = m 2^n with sqrt 1/2 <= m < sqrt 2; x normal, positive."""
    table, builder = e.table, e.builder
    one = table.bias << table.fraction_bits
    root = int(np.array(math.sqrt(0.5), f"f{e.dtype.bitwidth // 8}").view(f"i{e.dtype.bitwidth // 8}"))
    shifted = builder.add(e.bits(x), e.integer(one - root))
    biased = builder.lshr(shifted, e.integer(table.fraction_bits))
    two_power = 2.0**table.fraction_bits  # its low bits take an integer: a conversion that SSE2 has for 64 bits too
    carried = builder.or_(biased, e.bits(e.value(two_power)))
    n = e.sub(e.number(carried), two_power + table.bias)
    fraction = builder.and_(shifted, e.integer((1 << table.fraction_bits) - 1))
    return biased, n, e.number(builder.add(fraction, e.integer(root)))


def split_log1p(e, f):
    """The two terms of log(1 + f) = f - (f^2/2 - s (f^2/2 + R(s^2))), s = f / (2 + f); sqrt 1/2 <= 1 + f <= 2."""
    s = e.div(f, e.add(f, 2.0))
    z = e.mul(s, s)
    half_square = e.mul(e.mul(f, 0.5), f)
    return half_square, e.mul(s, e.fma(z, e.polynomial(z, e.table.log), half_square))


def join_log(e, n, f):
    """n ln 2 + log(1 + f), small terms first."""
    half_square, low = split_log1p(e, f)
    low = e.fma(n, e.table.ln2_low, low)
    return e.fma(n, e.table.ln2_high, e.sub(f, e.sub(half_square, low)))


def emit_log(e, x):
    """log x. Error at most 1 ULP; denormal x too."""
    table = e.table
    smallest, scale = 2.0 ** (1 - table.bias), 2.0 ** (table.fraction_bits + 2)
    _, n, m = split_log(e, e.choose(x, "<", smallest, e.mul(x, scale), x))
    n = e.choose(x, "<", smallest, e.sub(n, float(table.fraction_bits + 2)), n)
    y = e.choose(x, "<", math.inf, join_log(e, n, e.sub(m, 1.0)), x)  # infinity and NaN give themselves
    return e.choose(x, "<", 0.0, math.nan, e.choose(x, "==", 0.0, -math.inf, y))


def emit_log1p(e, x):
    """log(1 + x). Error at most 2 ULP."""
    biased, n, m = split_log(e, e.add(x, 1.0))
    scale = e.exponent(e.builder.sub(e.integer(2 * e.table.bias), biased))  # 2^-n, so that
    f = e.fma(x, scale, e.sub(scale, 1.0))  # f = (1 + x) 2^-n - 1 is without the error of 1 + x
    f = e.choose(x, ">", 2.0**64, e.sub(m, 1.0), f)  # where 2^-n may be no normal number
    y = e.choose(x, "<", math.inf, join_log(e, n, f), x)
    y = e.choose(x, "<", -1.0, math.nan, e.choose(x, "==", -1.0, -math.inf, y))
    return e.signed_like(y, x)


def emit_softplus(e, x):
    """log(1 + exp x) = max(x, 0) + log1p(exp -|x|). Error at most 2.5 ULP."""
    f = emit_exp(e, e.sub(-0.0, e.absolute(x)))
    half_square, low = split_log1p(e, f)
    return e.add(e.at_least(x, 0.0), e.sub(f, e.sub(half_square, low)))


def emit_erf(e, x):
    """erf x: x times a polynomial up to 1, 1 - exp(log erfc) beyond. Error at most 3 ULP."""
    a = e.at_most(e.absolute(x), e.table.erf_end)
    near = e.mul(a, e.polynomial(e.mul(a, a), e.table.erf_near))
    q, biased = split_exp(e, e.polynomial(e.sub(a, 1.0), e.table.log_erfc), float(e.table.bias))
    power = e.exponent(biased)
    far = e.sub(e.sub(1.0, power), e.mul(power, q))
    return e.signed_like(e.choose(a, "<", 1.0, near, far), x)


# ---- their names ---------------------------------------------------------------------------------------------------


def define_function(function, emit, on_number=None):
    """Let `function` take registers, by `emit(emitter, x)`, and numbers by `on_number`, unless Numba knows how."""
    define_operator(function, lambda builder, x: emit(Emitter(builder, number_type(x)), x))
    if on_number is not None:

        @overload(function)
        def choose(x):
            return on_number if isinstance(x, (types.Float, types.Integer)) else None


def sigmoid_number(x):
    small = math.exp(-abs(x))
    return (1.0 if x >= 0.0 else small) / (1.0 + small)


define_function(np.exp, emit_exp)
define_function(np.expm1, emit_expm1)
define_function(np.tanh, emit_tanh)
define_function(np.log, emit_log)
define_function(np.log1p, emit_log1p)
define_function(sigmoid, emit_sigmoid, sigmoid_number)
define_function(softplus, emit_softplus, lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))))
define_function(erf, emit_erf, lambda x: math.erf(x))
