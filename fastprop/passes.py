"""Passes over data that change nothing: outputs, losses, gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .checks import AnyMatrix
from .engine import Engine, chunks_of, has_little_work
from .engines import job_of, next_power
from .errors import DivergenceError
from .failures import bad_row_message
from .kernels import records
from .pace import candidates
from .plan import Plan
from .targets import Targets
from .threads import pool

if TYPE_CHECKING:
    from .network import Network

PASS_ROWS = 1024  # rows of a chunk of prediction at most
SLICE_CHUNKS = 16  # chunks between two looks for Ctrl-C


def pass_rows(n_rows: int) -> int:
    """Rows of a chunk for a pass over `n_rows`: a power of two, so that few kinds of engines serve all."""
    return min(PASS_ROWS, next_power(n_rows))


def most_workers(plan: Plan, n_rows: int, n_threads: int | None = None) -> int:
    """Workers of a pass at most; to ask how many there may be takes 10 us."""
    return 1 if has_little_work(plan, n_rows) else candidates(n_threads)[-1]


def raw_outputs(net: Network, matrix: AnyMatrix, n_threads: int | None = None) -> np.ndarray:
    """The outputs before the link, shape (n_samples, n_outputs), in the network's dtype."""
    plan, n_rows = net._built(), matrix.n_rows
    out = np.empty((n_rows, plan.output.n), plan.dtype)
    n_workers = most_workers(plan, n_rows, n_threads)
    with net._engines.lend(job_of(net, "predict", matrix), pass_rows(n_rows), n_workers) as engine:
        engine.bind(matrix)
        engine.set_out(out)
        one_pass(engine, n_rows)
    return out


def loss_and_outputs(
    net: Network, matrix: AnyMatrix, targets: Targets, n_threads: int | None = None
) -> tuple[float, np.ndarray]:
    """The mean loss without penalties, and the outputs before the link."""
    plan, n_rows = net._built(), matrix.n_rows
    out = np.empty((n_rows, plan.output.n), plan.dtype)
    job = job_of(net, "evaluate", matrix, targets)
    with net._engines.lend(job, pass_rows(n_rows), most_workers(plan, n_rows, n_threads)) as engine:
        engine.bind(matrix, targets.matrix)
        engine.set_out(out)
        chunks = one_pass(engine, n_rows)
    return float(chunks["loss"].sum()), out


def loss_and_gradients(
    net: Network, matrix: AnyMatrix, targets: Targets, weights: np.ndarray | None
) -> tuple[float, list[tuple[np.ndarray, np.ndarray | None]]]:
    """The training loss of all rows as one batch, and its gradient as `get_weights` has the parameters."""
    plan, parameters = net._built(), net._parameters
    with net._engines.lend(job_of(net, "store", matrix, targets), matrix.n_rows, 1) as engine:
        engine.bind(matrix, targets.matrix, weights)
        try:
            chunks = one_pass(engine, matrix.n_rows, weights)
            pairs = [plan.unpack(op, parameters.rows[1]) for op in plan.parametric]
        finally:
            parameters.rows[1] = 0
    loss = float(chunks["loss"].sum())
    scale = float(chunks["inverse_weight"][0]) if net.divides_penalties else 1.0
    l1, l2 = scale * net.l1, scale * net.l2
    for op, (dW, _) in zip(plan.parametric, pairs, strict=True):
        if op.is_dense and (l1 or l2):
            W = plan.unpack(op, parameters.rows[0])[0]
            dW += l2 * W + l1 * np.sign(W)
            loss += 0.5 * l2 * float(np.vdot(W, W)) + l1 * float(np.abs(W).sum())
    return loss, pairs


def one_pass(engine: Engine, n_rows: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Run all rows in order as one update, in slices, so that Ctrl-C gets through; returns the chunks.

    Raises
    ------
    ValueError
        If X is not finite; names the row and column.
    DivergenceError
        If the loss is not.
    """
    update = np.zeros(1, records.CHUNK)
    update["count"], update["inverse_weight"] = 1, 1.0 / (n_rows if weights is None else float(weights.sum()))
    chunks = chunks_of(update, np.array([n_rows]), engine.chunk_rows)
    engine.set_rows(None)
    engine.set_chunks(chunks)
    n_workers = engine.n_workers_for(chunks)
    for start in range(0, len(chunks), SLICE_CHUNKS):
        pool.run(engine.prepare(start, min(len(chunks), start + SLICE_CHUNKS)), n_workers, engine.abort)
        if engine.status == records.BAD_INPUT:
            raise ValueError(bad_row_message(engine, None, chunks[engine.done]))
        if engine.status == records.DIVERGED:
            raise DivergenceError("the loss is NaN or infinite: the weights or the targets are too large")
    return chunks
