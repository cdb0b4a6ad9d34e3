"""What the processor that Numba compiles for can do: the width of a register, and the shape of the register tile."""

from __future__ import annotations

import functools
import os
import re
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np

PROBE = "define <16 x float> @f(<16 x float> %a, <16 x float> %b) { %c = fadd <16 x float> %a, %b ret <16 x float> %c }"


class Shape(NamedTuple):
    """How one dtype lies in registers.

    lanes : numbers in a register.
    panel : samples (or outputs) that lie side by side in memory: `vectors` registers.
    rows : rows of the register tile; `rows * vectors` accumulators.
    unit : features are padded to a multiple of this, so that tiles and transposes never leave an array.
    """

    lanes: int
    vectors: int
    rows: int

    @property
    def panel(self) -> int:
        return self.lanes * self.vectors

    @property
    def unit(self) -> int:
        return max(self.lanes, self.rows)

    def pad(self, n_features: int) -> int:
        """`n_features` rounded up to whole units."""
        return -(-n_features // self.unit) * self.unit


class Target(NamedTuple):
    """The instruction set that kernels are compiled for."""

    name: str
    features: str
    register_bytes: int
    n_registers: int

    @property
    def triple(self) -> str:
        """LLVM's name of the platform."""
        return llvm.get_process_triple()

    def machine(self) -> llvm.TargetMachine:
        """LLVM's code generator for this target, with the options that Numba takes for code in memory."""
        platform = llvm.Target.from_triple(self.triple)
        relocation = "static" if platform.name.startswith("x86") else "default"
        return platform.create_target_machine(
            cpu=self.name, features=self.features, opt=3, reloc=relocation, codemodel="jitdefault", jit=True
        )

    @property
    def instruction_set(self) -> str:
        """A name that people know, for reports."""
        return {64: "AVX-512", 32: "AVX2"}.get(self.register_bytes, "NEON" if self.n_registers == 32 else "SSE2")

    def shape(self, dtype: np.dtype | type | str) -> Shape:
        """The tile for `dtype`.

        8 x 2 with 32 registers, 4 x 3 with 16: accumulators enough to hide the latency of the multiply-add, and rows
        that divide a panel. Lanes of 2 (float64 in 128 bits) keep two vectors: 3 would make a panel of 6.
        """
        lanes = self.register_bytes // np.dtype(dtype).itemsize
        if self.n_registers == 32:
            return Shape(lanes, 2, min(8, 2 * lanes))
        return Shape(lanes, 3 if lanes >= 4 else 2, 4)


@functools.cache
def target() -> Target:
    """The target of this process, honouring NUMBA_CPU_NAME and NUMBA_CPU_FEATURES.

    LLVM is asked to add sixteen floats for that target; the registers that it names tell the width. Names of
    processors would need a table that ages.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=name, features=features, opt=2)
    assembly = machine.emit_assembly(llvm.parse_assembly(PROBE))
    if "zmm" in assembly:
        return Target(name, features, 64, 32)
    if "ymm" in assembly:
        return Target(name, features, 32, 16)
    is_arm = re.search(r"\bv\d+\.4s", assembly) is not None
    return Target(name, features, 16, 32 if is_arm else 16)
