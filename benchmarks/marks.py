"""Where the time of a step goes: marks between the instructions of an engine's programs.

A program is an array of instructions, each a kernel's address (see `fastprop.kernels.records`). A mark is one more
kernel: it reads the processor's counter and adds the ticks since the worker's last mark to a slot of the worker's own
table. Between all instructions, marks tell the time of each in its place: with the caches as the kernel before left
them, and with several threads the waits at barriers too. A second mark after the first of each program shows what a
mark costs (some 20 ns), which is taken off again.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterator
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastprop.engine import Engine
from fastprop.kernels import records
from fastprop.kernels.compiler import OPTIONS
from fastprop.kernels.handles import Kernel
from fastprop.kernels.jit import arguments
from fastprop.kernels.simd import I64, Spec, index_pointer
from fastprop.kernels.sync import is_x86
from fastprop.threads import pool

CLOCK = 0  # the slot that holds the counter at the worker's last mark
RUN_SECONDS = 0.01  # of one timing: long beside waking a thread, short beside a neighbour's time slice


@intrinsic
def counter(typingctx):
    """The processor's counter (of nominal cycles on x86), read when all instructions before it are done.

    Without the fence, phases of less than 0.1 us were counted for those that came after them.
    """
    name = "llvm.readcyclecounter" if is_x86() else "llvm.readsteadycounter"

    def codegen(context, builder, sig, args):
        if is_x86():
            fence = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, fence, "llvm.x86.sse2.lfence"), [])
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(I64, []), name), [])

    return types.int64(), codegen


def mark(spec, op, step, first, last):
    """Add the ticks since this worker's last mark to slot op.index of its table, which lies at step.out."""
    table, now = index_pointer(step.out), counter()
    if table[CLOCK]:
        table[op.index] += now - table[CLOCK]
    table[CLOCK] = now


def mark_address() -> int:
    """Where the machine code of `mark` starts. Not from the cache on disk, which does not see edits of this file."""
    dispatcher = numba.njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(mark)
    kind = arguments(Spec(types.float32))
    dispatcher.compile(kind)
    result = dispatcher.overloads[kind]
    KEPT.append(dispatcher)
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)


KEPT: list[object] = []  # code that addresses point to
now = numba.njit(lambda: counter())


@contextlib.contextmanager
def named() -> Iterator[dict[int, str]]:
    """The names of the kernels, by address, that engines which are made meanwhile call."""
    names: dict[int, str] = {}
    address = Kernel.address

    def noting(kernel, *spec):
        found = address(kernel, *spec)
        names[found] = kernel.name
        return found

    Kernel.address = noting
    try:
        yield names
    finally:
        Kernel.address = address


N_STAGES = records.GATHER + 1


class Place(NamedTuple):
    """What a slot counts: an instruction of a stage, its name and its record; or "barrier" or "mark"."""

    stage: int
    name: str
    operation: np.void | None = None


class Marked:
    """An engine's job with marks and without.

    Attributes
    ----------
    places : list of Place
        What slots 1, 2, ... count.
    """

    def __init__(self, engine: Engine, names: dict[int, str]) -> None:
        self.engine, job = engine, engine.job[0]
        self._plain = int(job["programs"]), int(job["operations"])
        self._operations = engine.workspace.operations
        self._address, self.places, self._programs = mark_address(), [], []
        stages = at(int(job["programs"]), records.PROGRAM, N_STAGES).copy()
        for stage in range(N_STAGES):
            n = int(stages[stage]["n_instructions"])
            program = self._mark(stage, at(int(stages[stage]["instructions"]), records.INSTRUCTION, n), names)
            self._programs.append(program)
            stages[stage]["instructions"], stages[stage]["n_instructions"] = program.ctypes.data, len(program)
        marks = np.zeros(len(self.places), records.OPERATION)
        marks["index"] = 1 + np.arange(len(marks))
        self._all = np.concatenate([self._operations, marks]), stages
        self._marked = stages.ctypes.data, self._all[0].ctypes.data
        self.tables = np.zeros((len(engine.steps), len(self.places) + 9), np.int64)  # no two on one cache line

    def _mark(self, stage: int, program: np.ndarray, names: dict[int, str]) -> np.ndarray:
        """A program with a mark before it, one more, and one after each instruction."""
        if not len(program):
            return program.copy()
        found = [self._to(Place(stage, "barrier")), self._to(Place(stage, "mark"))]
        for instruction in program:
            kernel, operation, units, sync = instruction.tolist()
            if sync:  # the mark waits in its place
                found.append((*self._to(Place(stage, "barrier"))[:3], 1))
            found.append((kernel, operation, units, 0))
            found.append(self._to(Place(stage, names.get(kernel, "?"), self._operations[operation])))
        return np.array(found, records.INSTRUCTION)

    def _to(self, place: Place) -> tuple[int, int, int, int]:
        """An instruction that marks `place`, for every worker."""
        self.places.append(place)
        return self._address, len(self._operations) + len(self.places) - 1, -1, 0

    def run(self, first: int, last: int, marked: bool) -> float:
        """Seconds of a run of chunks; `tables` holds ticks afterwards if it was marked."""
        engine, job = self.engine, self.engine.job[0]
        job["programs"], job["operations"] = self._marked if marked else self._plain
        engine.steps["out"] = [table.ctypes.data for table in self.tables]
        self.tables[:] = 0
        start = time.perf_counter()
        pool.run(engine.prepare(first, last), len(engine.steps), engine.abort)
        seconds = time.perf_counter() - start
        job["programs"], job["operations"] = self._plain
        if engine.status != records.OK:
            raise SystemExit("training diverged while it was measured")
        return seconds


def at(address: int, dtype: np.dtype, n: int) -> np.ndarray:
    """The n records at an address."""
    return np.frombuffer((ctypes.c_char * (n * dtype.itemsize)).from_address(address), dtype)


class Times(NamedTuple):
    """What `measure` found, in seconds a step.

    `plain` and `marked` are whole steps; `places` has shape (n_workers, n_places), marks taken off.
    """

    plain: float
    marked: float
    places: np.ndarray


def measure(marked: Marked, seconds: float) -> Times:
    """Runs with marks and without, in turns: means over the fastest quarter of each."""
    chunks, steps = marked.engine.chunks, steps_of(marked.engine)
    once = max(1, len(chunks) // steps)  # chunks of a step, or one that holds several steps
    if len(chunks) * max(1, steps // len(chunks)) != steps * once:
        raise ValueError("all steps must have as many chunks, or all chunks as many steps")
    estimate = min(marked.run(0, once, False) for _ in range(5))
    n = once * max(1, min(len(chunks) // once, round(RUN_SECONDS / estimate)))
    share = len(chunks) / (steps * n)  # of a run, that one step is
    tables, times = [], np.empty((0, 2))
    began, ticks, at_chunk = time.perf_counter(), now(), 0
    while time.perf_counter() < began + seconds or len(times) < 8:
        plain = marked.run(at_chunk, at_chunk + n, False)
        times = np.append(times, [[plain, marked.run(at_chunk, at_chunk + n, True)]], axis=0)
        tables.append(marked.tables[:, 1 : 1 + len(marked.places)].copy())
        at_chunk = at_chunk + n if at_chunk + 2 * n <= len(chunks) else 0
    seconds_a_tick = (time.perf_counter() - began) / (now() - ticks)
    order, quarter = times.argsort(axis=0), max(1, len(times) // 4)
    best = np.mean([tables[i] for i in order[:quarter, 1]], axis=0) * seconds_a_tick
    plain, whole = (times[order[:quarter, k], k].mean() for k in (0, 1))
    return Times(plain * share, whole * share, without_marks(best, marked.places) * share)


def steps_of(engine: Engine) -> int:
    """Updates that the chunks of an engine make."""
    return int(engine.chunks["count"][-1]) - engine.parameters.count


def without_marks(times: np.ndarray, places: list[Place]) -> np.ndarray:
    """Times of shape (n_workers, n_places) less what each stage's mark of a mark took."""
    cost = {place.stage: times[:, [k]] for k, place in enumerate(places) if place.name == "mark"}
    return np.hstack([np.maximum(0.0, times[:, [k]] - cost[place.stage]) for k, place in enumerate(places)])
