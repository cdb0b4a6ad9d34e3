"""Random numbers from counters: any of them can be had at any time, by any thread, in any order."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .records import N_KEYS
from .simd import I32, I64, Mask, Vec, broadcast, index_pointer, offset

# The finaliser "lowbias32" of C. Wellons' hash prospector (2018): bias 0.17 of the ideal's.
MIX = ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None))


def emit_mix(builder, x):
    """Scatter the bits of 32-bit integers, one or a vector of them."""
    for shift, factor in MIX:
        x = builder.xor(x, builder.lshr(x, whole(x.type, shift)))
        if factor is not None:
            x = builder.mul(x, whole(x.type, factor))
    return x


def whole(kind, value):
    """The constant `value` of an integer or a vector of integers."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


@intrinsic
def keep_mask(typingctx, spec, seed, count, operation, sample, feature, rate):
    """Which lanes dropout keeps: lane i is `sample` + i. Each is dropped with probability `rate`.

    The part that depends on samples is the same for all features; LLVM moves it out of their loop.
    """
    lanes = Vec(spec.dtype).lanes

    def codegen(context, builder, sig, args):
        _, seed_, count_, operation_, sample_, feature_, rate_ = args
        key = I32(0x9E3779B9)
        for part in (seed_, builder.lshr(seed_, I64(32)), count_, operation_):
            key = emit_mix(builder, builder.add(builder.mul(key, I32(0x85EBCA6B)), builder.trunc(part, I32)))
        vector = ir.VectorType(I32, lanes)
        samples = builder.add(
            broadcast(builder, builder.trunc(sample_, I32), lanes), ir.Constant(vector, list(range(lanes)))
        )
        per_sample = emit_mix(builder, builder.xor(emit_mix(builder, samples), broadcast(builder, key, lanes)))
        step = builder.mul(builder.trunc(feature_, I32), I32(0x9E3779B9))
        bits = emit_mix(builder, builder.add(per_sample, broadcast(builder, step, lanes)))
        limit = builder.trunc(builder.fptoui(builder.fmul(rate_, ir.DoubleType()(2.0**32)), I64), I32)
        return builder.icmp_unsigned(">=", bits, broadcast(builder, limit, lanes))

    kinds = (types.int64,) * 5
    return Mask(lanes)(spec, *kinds, types.float64), codegen


SHUFFLE_BLOCK = 1024  # numbers; 8 KB stay in L1
LOW = np.uint64(2**32 - 1)  # the low half of a number


def shuffled(out_address, size, n, keys_address, cursor):
    """The next `size` members of a random permutation of range(n). Writes int64 at out; returns the new cursor.

    A keyed bijection of the 2^k numbers around n, of which those below n are kept: no memory but `out`, so that a
    permutation of 10^9 rows costs nothing. `keys` are 6 odd uint64 numbers; start with cursor 0.
    """
    out, keys = index_pointer(out_address), index_pointer(keys_address)
    bits = np.uint64(2)
    while (np.uint64(1) << bits) < np.uint64(n):
        bits += np.uint64(1)
    mask, half = (np.uint64(1) << bits) - np.uint64(1), (bits + np.uint64(1)) // np.uint64(2)
    filled, x = 0, cursor
    while filled < size:  # a block at a time and key by key, on registers: 3 ns a row where one by one takes 15
        block, n_block = offset(out, filled), min(SHUFFLE_BLOCK, size - filled)
        for i in range(n_block):
            block[i] = x + i
        for k in range(N_KEYS):  # add, multiply by an odd number, fold the high half into the low: each can be undone
            key = np.uint64(keys[k])
            if mask <= LOW:  # the product of low halves is one instruction, that of whole numbers three
                for i in range(n_block):
                    y = (((np.uint64(block[i]) + (key >> np.uint64(32))) & LOW) * (key & LOW)) & mask
                    block[i] = np.int64(y ^ (y >> half))
            else:
                for i in range(n_block):
                    y = ((np.uint64(block[i]) + (key >> np.uint64(32))) * key) & mask
                    block[i] = np.int64(y ^ (y >> half))
        x += n_block
        for i in range(n_block):
            y = block[i]
            out[filled] = y
            filled += y < n
    return x
