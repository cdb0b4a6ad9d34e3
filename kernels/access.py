"""Records in compiled code: their Numba types, and intrinsics that give the record at an address."""

from __future__ import annotations

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .records import CHUNK, DESCENT, INSTRUCTION, JOB, OPERATION, PROGRAM, SOURCE, STEP

I64 = ir.IntType(64)

Operation, Step, Source, Instruction, Program, Chunk, Job, Descent = map(
    numba.from_dtype, (OPERATION, STEP, SOURCE, INSTRUCTION, PROGRAM, CHUNK, JOB, DESCENT)
)


def reader(kind: types.Record):
    """An intrinsic: the record number `index` of the array of `kind` at an integer address."""

    @intrinsic
    def at(typingctx, address, index):
        def codegen(context, builder, sig, args):
            where = builder.add(args[0], builder.mul(args[1], I64(kind.size)))
            return builder.inttoptr(where, context.get_value_type(kind))

        return kind(types.int64, types.int64), codegen

    return at


operation_at, step_at, source_at, instruction_at, program_at, chunk_at, job_at, descent_at = map(
    reader, (Operation, Step, Source, Instruction, Program, Chunk, Job, Descent)
)
