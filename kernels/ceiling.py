"""The ceiling: how many multiply-adds a second one core can do when nothing holds it up.

A speed means most as a fraction of it: times differ between machines, and with a neighbour's load.
"""

from __future__ import annotations

import time

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .handles import Routine
from .simd import I32, Vec, broadcast, fmuladd
from .target import target
from .tile import loop

SLICE_SECONDS = 1e-3  # of one timing: short enough that some fall between the interruptions


def n_chains() -> int:
    """Independent sums, each in its register: more than latency times throughput, and registers left for operands."""
    return target().n_registers * 3 // 4


@intrinsic
def multiply_adds(typingctx, x, n):
    """n >= 1 rounds of c = c x + x in each of `n_chains` registers; returns a lane of their sum, so that all count."""

    def codegen(context, builder, sig, args):
        lanes = Vec(x).lanes
        factor = broadcast(builder, args[0], lanes)
        # Different starts, or LLVM keeps one chain for all.
        starts = [broadcast(builder, ir.Constant(args[0].type, float(k)), lanes) for k in range(n_chains())]
        chains = loop(builder, args[1], starts, lambda i, cs: [fmuladd(builder, x, c, factor, factor) for c in cs])
        total = chains[0]
        for chain in chains[1:]:
            total = builder.fadd(total, chain)
        return builder.extract_element(total, I32(0))

    return (x(x, types.int64), codegen) if isinstance(x, types.Float) else None


def chains_float32(n):
    """See `multiply_adds`; x is a number that LLVM cannot know."""
    return int(multiply_adds(np.float32(1.0 / (n + 1.0)), n))


def chains_float64(n):
    """See `multiply_adds`."""
    return int(multiply_adds(1.0 / (n + 1.0), n))


def measure(dtype: str = "float32", seconds: float = 0.2) -> float:
    """GFLOP/s of multiply-adds in registers, on this thread: the best of slices of a millisecond.

    Parameters
    ----------
    dtype : "float32" or "float64", default "float32"
    seconds : float, default 0.2
        How long to look for the best slice, after one that compiles.

    Returns
    -------
    float
        A multiply-add counts as two operations.
    """
    run_chains = Routine("ceiling", f"chains_{dtype}", 1)  # c converges to 1 / n: no infinities, no subnormals
    flops_of_round = 2 * n_chains() * target().shape(dtype).lanes
    n, best = 1 << 12, 0.0
    run_chains(n)
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        run_chains(n)
        elapsed = time.perf_counter() - start
        if elapsed < SLICE_SECONDS:
            n *= 2
        else:
            best = max(best, n * flops_of_round / elapsed / 1e9)
            if time.perf_counter() > end:
                return best
