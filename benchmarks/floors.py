"""The least time that a phase can take: its arithmetic at the ceiling of the core, or its bytes at the bandwidth of
the cache where they live.

Bandwidths are measured over arrays of 16 KB to 64 MB, and data that are used together with s bytes of others move at
the bandwidth of the largest array that is not larger: a floor is kind, and no size of a cache needs to be known.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastprop.kernels.compiler import OPTIONS
from fastprop.kernels.simd import I64, Vec, broadcast, constant, load_at, scalar_ir, store_at
from fastprop.kernels.tile import loop
from fastprop.plan import aligned

SIZES = [1 << k for k in range(14, 27)]  # bytes
REGISTERS = 8  # of a round: independent sums enough
SLICE_SECONDS = 5e-4
KINDS = ("read", "write", "change")


def stream(kind):
    """An intrinsic: n rounds of reading, writing or changing `REGISTERS` registers each, from an address on."""

    @intrinsic
    def run(typingctx, address, n, x):
        lanes = Vec(x).lanes

        def codegen(context, builder, sig, args):
            base = builder.inttoptr(args[0], scalar_ir(x).as_pointer())
            factor = broadcast(builder, args[2], lanes)

            def body(i, sums):
                start = builder.mul(i, I64(REGISTERS * lanes))
                found = []
                for k, total in enumerate(sums):
                    p = builder.gep(base, [builder.add(start, I64(k * lanes))])
                    value = factor if kind == "write" else load_at(builder, p, x)
                    if kind == "read":
                        total = builder.fadd(total, value)
                    else:
                        store_at(builder, builder.fmul(value, factor) if kind == "change" else value, p)
                    found.append(total)
                return found

            total, *rest = loop(builder, args[1], [constant(x, 0)] * REGISTERS, body)
            for other in rest:
                total = builder.fadd(total, other)
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return x(types.int64, types.int64, x), codegen

    @numba.njit(**OPTIONS)
    def passes(address, n, repeats, x):
        total = x
        for _ in range(repeats):
            total += run(address, n, x)
        return total

    return passes


class Bandwidth:
    """GB/s of one core, measured.

    Attributes
    ----------
    table : dict of str to ndarray
        For "read", "write" and "change" (read and written again in place: bytes count once) one number for each of
        `SIZES`.
    """

    def __init__(self) -> None:
        memory = aligned(SIZES[-1] // 4, "float32")
        self.table = {kind: measure(stream(kind), memory) for kind in KINDS}

    def seconds(self, kind: str, n_bytes: float, among: float) -> float:
        """The time to move bytes that are used together with `among` bytes, themselves included."""
        k = max(0, int(np.searchsorted(SIZES, among, side="right")) - 1)
        return n_bytes / self.table[kind][k] / 1e9

    def __str__(self) -> str:
        sizes = [1 << 14, 1 << 18, 1 << 20, 1 << 23, 1 << 26]
        columns = [self.table[kind][[SIZES.index(s) for s in sizes]] for kind in KINDS]
        parts = [
            f"{size_name(s)} {'/'.join(f'{v:.0f}' for v in values)}" for s, *values in zip(sizes, *columns, strict=True)
        ]
        return "GB/s read/write/change: " + ", ".join(parts)


def size_name(n_bytes: int) -> str:
    """Such as 16 KB."""
    return f"{n_bytes >> 10} KB" if n_bytes < 1 << 20 else f"{n_bytes >> 20} MB"


def measure(passes, memory: np.ndarray) -> np.ndarray:
    """The best of some slices, for each size; more than two passes over the largest."""
    found = []
    lanes, one = Vec(types.float32).lanes, np.float32(1)  # as an argument: LLVM would leave out a product with 1
    for size in SIZES:
        n = size // (4 * lanes * REGISTERS)
        repeats, best = 1, np.inf
        passes(memory.ctypes.data, n, repeats, one)
        end = time.perf_counter() + 12 * SLICE_SECONDS
        n_slices = 0
        while time.perf_counter() < end or n_slices < 3:
            start = time.perf_counter()
            passes(memory.ctypes.data, n, repeats, one)
            elapsed = time.perf_counter() - start
            best, n_slices = min(best, elapsed / repeats), n_slices + 1
            repeats *= 2 if elapsed < SLICE_SECONDS else 1
        found.append(size / best / 1e9)
    return np.array(found)


class Scene(NamedTuple):
    """What a step of training has to do with.

    Attributes
    ----------
    rows, chunks : int
        Of a step.
    n_workers : int
    n_slots : int
        Of the rule.
    stores : bool
        Whether gradients are stored.
    row_bytes : dict of int to float
        Bytes of a row of source 0 (X) and 1 (y).
    data_bytes : float
        Of the rows of all data: gathered at random.
    parameter_bytes : float
        Parameters, slots and all activations: what a step goes through.
    activation_bytes : float
        Activations and errors of the samples that go through the rows program together.
    """

    rows: int
    chunks: int
    n_workers: int
    n_slots: int
    stores: bool
    row_bytes: dict[int, float]
    data_bytes: float
    parameter_bytes: float
    activation_bytes: float


class Work(NamedTuple):
    """What an instruction does in a step: products, and numbers that it moves.

    `ins` and `outs` are numbers for each sample, read and written among the activations; `weights` is how often all
    weights of the operation are read, `changes` how often they (or their slots, or gradients) are changed.
    """

    products: float = 0.0
    ins: float = 0.0
    outs: float = 0.0
    weights: float = 0.0
    changes: float = 0.0


def work_of(name: str, op: np.void, scene: Scene) -> Work | None:
    """What the kernel `name` does on a record, or None where no floor is known."""
    n_in, n_out, slots = int(op["n_in"]), int(op["n_out"]), scene.n_slots
    asks = float(op["e_x"] != 0)
    known = {
        "gather": Work(outs=n_out),
        "gather_rows": Work(outs=n_out),
        "sample_weights": Work(outs=1),
        "dense_forward": Work(1, n_in, n_out, weights=1),
        "row_forward": Work(1, n_in, n_out, weights=1),
        "dense_backward": Work(1, n_in + n_out, n_in, weights=1),
        "transpose_error": Work(0, n_out, n_out),
        "dense_update": Work(1, n_in + n_out, changes=1 if scene.stores else 1 + slots),
        "row_backward": Work(1 + asks, n_in + n_out, n_in * asks, changes=1 + slots),
        "elementwise_loss": Work(0, n_in, n_in),
        "cross_entropy": Work(0, n_in, n_in),
        "row_loss": Work(0, n_in, n_in),
        "row_cross_entropy": Work(0, n_in, n_in),
        "activation_backward": Work(0, 2 * n_out, n_out),
        "dropout_forward": Work(0, n_out, 2 * n_out),
        "dropout_backward": Work(0, 2 * n_out, n_out),
        "batch_norm_forward": Work(0, n_out, 2 * n_out),
        "batch_norm_backward": Work(0, 2 * n_out, n_out),
        "layer_norm_forward": Work(0, n_out, 2 * n_out),
        "layer_norm_backward": Work(0, 2 * n_out, n_out),
        "norm_update": Work(0, 2 * n_out),
        "residual_forward": Work(0, 2 * n_out, n_out),
        "residual_backward": Work(0, n_out, n_out),
        "finish_gradients": Work(weights=1),
        "stored_update": Work(changes=2 + slots),
    }
    # Layers of one output may have kernels of their own, which do the same work.
    return known.get(name) or known.get(name.replace("dot_", "dense_" if name.startswith("dot_") else ""))


class Floor(NamedTuple):
    """Seconds of arithmetic and of moving bytes; they can overlap, so the larger bounds."""

    arithmetic: float
    bytes: float

    @property
    def seconds(self) -> float:
        return max(self.arithmetic, self.bytes)

    @property
    def bound(self) -> str:
        return "arithmetic" if self.arithmetic >= self.bytes else "bytes"


def floor_of(name: str, op: np.void, scene: Scene, gflops: float, bandwidth: Bandwidth) -> Floor | None:
    """The floor of one instruction in a step on each of the workers."""
    work = work_of(name, op, scene)
    if work is None:
        return None
    weights = 4.0 * int(op["n_in"]) * int(op["n_out"])
    arithmetic = 2 * scene.rows * work.products * weights / 4 / gflops / 1e9
    samples = 4.0 * scene.rows
    moved = bandwidth.seconds("read", samples * work.ins, scene.activation_bytes)
    moved += bandwidth.seconds("write", samples * work.outs, scene.activation_bytes)
    if name in ("gather", "gather_rows"):
        moved += bandwidth.seconds("read", scene.rows * scene.row_bytes[int(op["source"])], scene.data_bytes)
    times = 1 if name == "stored_update" else scene.chunks
    moved += bandwidth.seconds("change", times * work.changes * weights, scene.parameter_bytes)
    moved /= scene.n_workers
    # Every worker reads all weights for its samples.
    shared = bandwidth.seconds("read", scene.chunks * work.weights * weights, scene.parameter_bytes)
    return Floor(arithmetic / scene.n_workers, moved + (shared if work.outs else shared / scene.n_workers))
