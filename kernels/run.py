"""A run of chunks: what every worker executes. One compiled loop for all networks.

    for each chunk of rows:
        rows      gather, forward, loss, backward; each worker a stripe of samples
        barrier   the loss is checked: NaN or infinity stops before anything is changed
        weights   gradients and update, each worker a stripe of tiles
        barrier
        finish    after the last chunk of an update whose gradients were stored: clip, update

Where each sample makes an update, one worker does the same for each row of a chunk, without stripes and barriers.

A program is an array of instructions, each a kernel's address and an operation; see `records`.
"""

from __future__ import annotations

import math

from .access import chunk_at, instruction_at, job_at, operation_at, program_at, source_at, step_at
from .jit import inner, invoke
from .records import BAD_INPUT, DIVERGED, FINISH, GATHER, OK, ROWS, WEIGHTS
from .simd import double_pointer, index_pointer
from .sync import barrier, flush_denormals, rendezvous, restore_mode


@inner
def stripe(n, worker, n_workers, grain):
    """The part of range(n) that belongs to `worker`: whole grains, as even as can be."""
    grains = (n + grain - 1) // grain
    return min(n, grains * worker // n_workers * grain), min(n, grains * (worker + 1) // n_workers * grain)


@inner
def execute(job, step, program, worker, n_workers, phase):
    """Run a program, a block of samples at a time, so that they stay in the cache; returns the barrier's phase.

    A program with barriers inside must run in one block.
    """
    # Whole panels for a worker if there are enough, else registers: the order of every sum is the same.
    n = step.n_registers
    grain = job.vectors if n >= 4 * n_workers * job.vectors else 1
    first_row, end = stripe(n, worker, n_workers, grain)
    while True:
        last_row = min(first_row + program.block, end)
        for k in range(program.n_instructions):
            instruction = instruction_at(program.instructions, k)
            first, last = first_row, last_row
            if instruction.sync:
                phase = barrier(job.sync, n_workers, phase)
            if instruction.units > 0:
                first, last = stripe(instruction.units, worker, n_workers, 1)
            elif instruction.units < 0:
                first, last = 0, 1
            if first < last:
                invoke(instruction.kernel, operation_at(job.operations, instruction.operation), step, first, last)
        first_row = last_row
        if first_row >= end:
            return phase


@inner
def take(step, chunk, lanes):
    """Make `chunk` the one that `step` tells kernels about."""
    step.n_rows = chunk.n_rows
    step.n_registers = (chunk.n_rows + lanes - 1) // lanes
    step.first = chunk.first
    step.position = chunk.position
    step.count = chunk.count
    step.lr = chunk.lr
    step.inverse_weight = chunk.inverse_weight
    step.penalty_scale = chunk.inverse_weight if step.divides_penalties else 1.0


@inner
def sum_of(address, n, stride):
    """The sum, in order, of n float64 numbers `stride` apart."""
    total, p = 0.0, double_pointer(address)
    for k in range(n):
        total += p[k * stride]
    return total


@inner
def verdict(job, loss):
    """Whether the chunk may change the weights."""
    if index_pointer(job.bad_input)[0]:
        return BAD_INPUT
    return OK if math.isfinite(loss) else DIVERGED


@inner
def book(job, chunk, loss, worker, n_workers, phase):
    """Write what came of a chunk; returns the barrier's phase."""
    if job.is_regularised and chunk.is_last:
        phase = barrier(job.sync, n_workers, phase)
        if worker == 0:
            chunk.penalty = sum_of(job.unit_partials, job.n_unit_partials, 2)
    if worker == 0:
        chunk.loss = loss
    return phase


@inner
def execute_sample(job, step, program, first, last):
    """Run a program of the kernels in `online`."""
    for k in range(program.n_instructions):
        instruction = instruction_at(program.instructions, k)
        invoke(instruction.kernel, operation_at(job.operations, instruction.operation), step, first, last)


@inner
def weight_of(step, k):
    """The weight of row number k of the table, float64."""
    source = source_at(step.sources, 2)
    if source.code < 0:
        return 1.0
    return double_pointer(source.address + index_pointer(step.rows)[k] * source.row_stride)[0]


@inner
def run_chunk_of_samples(job, step, chunk):
    """Make an update of each row of a chunk; returns the status.

    Writes chunk.loss, or job.failed if there is no loss to go on with.
    """
    gather, forward, backward = (
        program_at(job.programs, GATHER),
        program_at(job.programs, ROWS),
        program_at(job.programs, WEIGHTS),
    )
    rates, losses = double_pointer(job.rates + 8 * chunk.position), double_pointer(job.loss_partials)
    total, weights, slot = 0.0, 0.0, 0
    for k in range(chunk.n_rows):
        row = chunk.first + k
        if k == 0 or slot == gather.block:
            slot = 0
            execute_sample(job, step, gather, row, min(row + gather.block, chunk.first + chunk.n_rows))
        step.count, step.lr = chunk.count - chunk.n_rows + 1 + k, rates[k]
        execute_sample(job, step, forward, slot, 0)
        loss, weight = losses[0], weight_of(step, row)
        status = verdict(job, loss)
        if status != OK:
            job.failed = k
            return status
        execute_sample(job, step, backward, slot, 0)
        total, weights, slot = total + weight * loss, weights + weight, slot + 1
    chunk.loss = total / weights
    return OK


@inner
def run_samples(job, step):
    """Train sample by sample; returns the chunk that comes next and the status."""
    last = chunk_at(job.chunks, job.last_chunk - 1)
    step.n_rows = last.first + last.n_rows
    for c in range(job.first_chunk, job.last_chunk):
        status = run_chunk_of_samples(job, step, chunk_at(job.chunks, c))
        if status != OK:
            return c, status
    return job.last_chunk, OK


@inner
def run_batches(job, step, worker, n_workers):
    """Train on (or evaluate, or predict) batches; returns the chunk that comes next and the status."""
    phase, status, loss = 2, OK, 0.0
    c = job.first_chunk
    while c < job.last_chunk and status == OK:
        chunk = chunk_at(job.chunks, c)
        take(step, chunk, job.lanes)
        for stage in range(FINISH + chunk.is_last):
            if stage != FINISH:
                phase = barrier(job.sync, n_workers, phase)
            if stage == WEIGHTS:
                loss = sum_of(job.loss_partials, step.n_registers, 1)
                status = verdict(job, loss)
                if status != OK:
                    break
            phase = execute(job, step, program_at(job.programs, stage), worker, n_workers, phase)
        if status == OK:
            c += 1
            phase = book(job, chunk, loss, worker, n_workers, phase)
    return c, status


def run(address, worker, n_workers):
    """Train on (or evaluate, or predict) chunks job.first_chunk to job.last_chunk of the job at `address`.

    Every worker makes this call with its own number; all take the same decisions from the same numbers. Worker 0 writes
    the losses of chunks, job.done (the number of chunks that were completed) and job.status, which is returned to all.
    """
    job = job_at(address, 0)
    step = step_at(job.steps, worker)
    if not rendezvous(job.sync, n_workers):
        return OK
    mode = flush_denormals()
    if job.rates != 0:
        done, status = run_samples(job, step)
    else:
        done, status = run_batches(job, step, worker, n_workers)
    if worker == 0:
        job.done = done
        job.status = status
    restore_mode(mode)
    return status
