"""Threads that wait for each other, and the floating-point mode of a thread."""

from __future__ import annotations

import sys

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .jit import inner
from .simd import I8, I32, I64

SPINS = 2000  # about 20 us: a free core's answer comes within; then let the others have this one


@intrinsic
def atomic_add(typingctx, address, n):
    """Add n to the int64 at `address`; returns what was there."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], I64.as_pointer()), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx, address):
    """The int64 at `address`, as other threads left it."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(builder.inttoptr(args[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def give_way(typingctx):
    """Let another thread run on this core."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

    def codegen(context, builder, sig, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), name)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@inner
def barrier(address, n_workers, phase):
    """Wait until all workers have come here; returns the phase to wait for next.

    The counter at `address` only grows. Pure spinning costs 4 ms where threads outnumber cores, spin-then-yield 0.15.
    """
    if n_workers == 1:
        return phase
    atomic_add(address, 1)
    spins = 0
    while atomic_load(address) < phase * n_workers:
        spins += 1
        if spins > SPINS:
            give_way()
    return phase + 1


ABORT = 64  # bytes from the barrier's counter to the flag that calls off a run, on a cache line of its own


@inner
def rendezvous(address, n_workers):
    """The first barrier of a run, which the caller may call off; returns whether all have come.

    An exception may hit the calling thread between waking its workers and joining them: they must not wait for ever.
    """
    if n_workers == 1:
        return True
    atomic_add(address, 1)
    while atomic_load(address) < n_workers:
        if atomic_load(address + ABORT):
            return False
        give_way()
    return True


def is_x86() -> bool:
    """Whether the machine has the SSE control register."""
    import platform

    return platform.machine().lower() in {"x86_64", "amd64"}


@intrinsic
def flush_denormals(typingctx):
    """Let this thread treat subnormal numbers as zero; returns the mode to give back to `restore_mode`.

    The momentum of idle units decays into subnormals, which cost 7-10 % in per-sample training.
    """

    def codegen(context, builder, sig, args):
        if not is_x86():
            return I64(0)
        slot = cgutils.alloca_once(builder, I32)
        control(builder, "stmxcsr", slot)
        old = builder.load(slot)
        builder.store(builder.or_(old, I32(0x8040)), slot)  # flush to zero, denormals are zero
        control(builder, "ldmxcsr", slot)
        return builder.zext(old, I64)

    return types.int64(), codegen


@intrinsic
def restore_mode(typingctx, mode):
    """Give the thread back the mode that `flush_denormals` returned."""

    def codegen(context, builder, sig, args):
        if is_x86():
            slot = cgutils.alloca_once(builder, I32)
            builder.store(builder.trunc(args[0], I32), slot)
            control(builder, "ldmxcsr", slot)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def control(builder, name, slot):
    """Emit stmxcsr or ldmxcsr on the int32 at `slot`."""
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(slot, I8.as_pointer())])
