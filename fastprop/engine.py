"""The engine: gives a plan memory, turns it into programs of kernels, and runs them on chunks of rows.

    rows program      gather X, y, weights; forward; loss; backward           stripes of samples
    weights program   gradient and update of every layer                      stripes of weight tiles
    finish program    clipping and update of stored gradients                 after the last chunk of an update

Data flow one way: `Parameters` (what training changes) and a `Plan` (shapes) go in, losses come out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .kernels import dense, gather, loss_rows, norm, online, records, rowwise, sparse, update
from .kernels.activations import Identity, needs_z
from .kernels.jit import Kernel
from .kernels.run import run_chunks
from .plan import Operation, Plan, Value, aligned

MAX_ROWS = 4096  # rows of a chunk at most: what bounds the memory of buffers
CHUNK_FLOPS = 4e9  # work of a chunk at most, some 40 ms: how long Ctrl-C may have to wait
EXTRA = 5  # operations besides layers: gather X, y and weights, loss or output, clipping by norm
BLOCK_BYTES = 1 << 19  # activations of a block of rows that stay in the cache from gather to backward


class Parameters:
    """What training changes: parameters, gradients and the rule's slots, as rows of one aligned array.

    Attributes
    ----------
    rows : ndarray of shape (2 + n_slots, plan.row_length)
        Row 0 parameters, row 1 stored gradients (zero between updates), then slots.
    statistics : ndarray of shape (plan.n_statistics,)
        Running means and variances of batch norms.
    count : int
        Updates done.
    """

    def __init__(self, plan: Plan, n_slots: int) -> None:
        self.rows = aligned((2 + n_slots) * plan.row_length, plan.dtype).reshape(2 + n_slots, plan.row_length)
        self.statistics = aligned(plan.n_statistics, plan.dtype)
        self.count = 0

    def snapshot(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Copies of everything but the gradients."""
        return np.delete(self.rows, 1, axis=0), self.statistics.copy(), self.count

    def restore(self, snapshot: tuple[np.ndarray, np.ndarray, int]) -> None:
        """Back to a snapshot, in place: addresses stay valid."""
        rows, statistics, self.count = snapshot
        self.rows[0], self.rows[2:] = rows[0], rows[1:]
        self.rows[1] = 0
        self.statistics[:] = statistics


@dataclass(frozen=True)
class Recipe:
    """How to train: everything besides the data that kernels need to know.

    `loss` and `rule` are components; `mode` is "train", "store" (gradients only), "evaluate" or "predict".
    """

    mode: str
    loss: Any
    rule: Any
    coefficients: np.ndarray
    l1: float = 0.0
    l2: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    seed: int = 0


class Engine:
    """Programs and memory for one way of running a plan.

    Parameters
    ----------
    plan : Plan
    parameters : Parameters
    recipe : Recipe
    batch_rows : int
        Rows of the largest batch; more than fit a chunk are split.
    n_targets : int
        Columns of y as kernels read it (1 for class codes).
    labels : bool
        Whether y holds class codes for several outputs.
    max_workers : int
        Workers that may run at once.
    splits : bool
        Whether updates have several chunks although the batch fits one (gradient accumulation).
    is_sparse : bool
        Whether X comes as CSR; the first layer is Dense then.
    """

    def __init__(
        self, plan: Plan, parameters: Parameters, recipe: Recipe, batch_rows: int, n_targets: int = 1, labels: bool = False,
        max_workers: int = 1, splits: bool = False, is_sparse: bool = False,
    ) -> None:  # fmt: skip
        self.plan, self.parameters, self.recipe = plan, parameters, recipe
        self.trains = recipe.mode in ("train", "store")
        self.chunk_rows = batch_rows if plan.has_batch_norm and self.trains else min(batch_rows, chunk_limit(plan))
        self.stores = recipe.mode == "store" or (
            recipe.mode == "train" and (splits or is_sparse or self.chunk_rows < batch_rows or recipe.clip_norm is not None)
        )
        self._is_sparse = is_sparse
        self.is_online = can_be_online(plan, recipe, batch_rows) and not self.stores
        self._n_targets, self._labels = n_targets, labels
        self._keep: list[np.ndarray] = []  # what the records point to
        self._n_units = 0
        self._allocate()
        self.operations = np.zeros(2 * len(plan.operations) + EXTRA, records.OPERATION)
        for op in plan.operations:
            self._describe(op)
        self.sources = np.zeros(3, records.SOURCE)
        self.sources["code"] = -1
        self.bad_input = np.zeros(1, np.int64)
        self.sync = np.zeros(16, np.int64)
        self.job = np.zeros(1, records.JOB)
        self._make_programs()
        self._make_steps(max_workers)
        self._fill_job()

    # ---- memory ---------------------------------------------------------------------------------------------------

    def _array(self, n: int, dtype: str | None = None) -> int:
        """The address of n zeros that live as long as the engine."""
        array = aligned(max(n, 1), dtype or self.plan.dtype)
        self._keep.append(array)
        return int(array.ctypes.data)

    def _floats(self, values: Iterable[float]) -> int:
        """The address of float64 numbers."""
        array = np.array([*values, 0.0], np.float64)
        self._keep.append(array)
        return int(array.ctypes.data)

    def _buffer(self, n_features: int) -> int:
        """The address of panels of `n_features` for the samples of a chunk."""
        return self._array(self.n_panels * self.stride(n_features))

    def stride(self, n_features: int) -> int:
        """Elements from one panel of samples to the next."""
        return self.plan.shape.pad(n_features) * self.plan.shape.panel

    def _allocate(self) -> None:
        plan = self.plan
        self.n_panels = -(-self.chunk_rows // plan.shape.panel)
        self.a = [0 if v.is_input and self._is_sparse else self._buffer(v.n) for v in plan.values]
        self.z = [self._buffer(v.n) if v.keeps or needs_z(type(v.activation)) else 0 for v in plan.values]
        wanted = {"train": plan.values[1:], "store": plan.values[1:], "evaluate": plan.values[-1:], "predict": []}[self.recipe.mode]
        self.e = [self._buffer(v.n) if v in wanted else 0 for v in plan.values]
        self.y, self.weights = self._buffer(self._n_targets), self._array(self.n_panels * plan.shape.panel)
        self.loss_partials = self._array(self.n_panels * plan.shape.vectors, "float64")

    # ---- records --------------------------------------------------------------------------------------------------

    def _describe(self, op: Operation) -> None:
        """Fill the record of a layer."""
        record, plan = self.operations[op.index], self.plan
        base = self.parameters.rows.ctypes.data
        itemsize = np.dtype(plan.dtype).itemsize
        record["index"], record["n_in"], record["n_out"] = op.index, op.x.n, op.out.n
        record["x"], record["x_stride"], record["x_z"] = self.a[op.x.index], self.stride(op.x.n), self.z[op.x.index]
        record["a"], record["a_stride"], record["z"] = self.a[op.out.index], self.stride(op.out.n), self.z[op.out.index]
        record["e_a"], record["e_x"] = self.e[op.out.index], self.e[op.x.index]
        record["w"], record["b"] = base + op.w * itemsize, base + op.b * itemsize
        record["w_stride"], record["n_weights"] = op.w_stride, op.n_weights
        record["n_biases"] = op.n_biases if op.has_bias else 0
        record["constants"] = self._floats(op.out.activation)
        if op.is_dense:
            self._describe_gradient(op, record)
        if op.skip is not None:
            record["skip"], record["e_skip"] = self.a[op.skip.index], self.e[op.skip.index]
        if op.kind == "dropout":
            record["rate"] = op.layer.rate  # type: ignore[union-attr]
        if op.is_norm:
            self._describe_norm(op, record)

    def _describe_gradient(self, op: Operation, record: Any) -> None:
        plan = self.plan
        record["decays"] = 1
        record["by_lanes"] = min(op.x.n, op.out.n) <= plan.shape.lanes and not self._reads_sparse(op)
        if self.trains and not record["by_lanes"]:
            record["t_stride"] = self.n_panels * plan.shape.panel**2
            record["t"] = self._array(-(-op.out.n // plan.shape.panel) * int(record["t_stride"]))

    def _reads_sparse(self, op: Operation) -> bool:
        """Whether an operation is the first layer, on CSR rows."""
        return self._is_sparse and op.x.is_input

    def _describe_norm(self, op: Operation, record: Any) -> None:
        record["eps"] = op.layer.eps  # type: ignore[union-attr]
        if op.kind == "layer_norm":
            record["inverse_deviation"] = self._array(self.n_panels * self.plan.shape.panel)
            return
        itemsize = np.dtype(self.plan.dtype).itemsize
        start = self.parameters.statistics.ctypes.data + op.statistics * itemsize
        record["momentum"] = op.layer.momentum  # type: ignore[union-attr]
        record["inverse_deviation"] = self._array(op.out.n)
        record["running_mean"], record["running_variance"] = start, start + op.out.n * itemsize

    def _extra(self, k: int, **fields: Any) -> int:
        """Fill the record number k after those of the layers; returns its index."""
        index = len(self.plan.operations) + k
        for name, value in fields.items():
            self.operations[index][name] = value
        return index

    # ---- programs -------------------------------------------------------------------------------------------------

    def _make_programs(self) -> None:
        self.rows_program: list[tuple[int, int, int, int]] = []
        self.weights_program: list[tuple[int, int, int, int]] = []
        self.finish_program: list[tuple[int, int, int, int]] = []
        self._program, self._waits = self.rows_program, False
        if self.is_online:
            self._make_online_programs()
            return
        self._gather()
        for op in self.plan.operations:
            self._forward(op)
        if not self.trains:
            out = self.plan.output
            self._call(rowwise.emit, self._extra(4, x=self.a[-1], x_stride=self.stride(out.n), n_in=out.n))
        if self.recipe.mode == "predict":
            return
        self._loss()
        if self.trains:
            self._backward()
            self._program = self.weights_program
            self._update()
            if self.stores and self.recipe.mode == "train":
                self._program = self.finish_program
                self._finish()

    def _call(self, kernel: Kernel, operation: int, *classes: type, units: int = 0, sync: bool = False) -> None:
        """Append an instruction: over stripes of samples, or of `units`; `sync` waits for all workers before it."""
        self._program.append((kernel.address(self.plan.dtype, *classes), operation, units, int(sync or self._waits)))
        self._waits = False

    def _wait(self) -> None:
        """Let everybody wait before the next instruction."""
        self._waits = True

    def _make_online_programs(self) -> None:
        """Vectors instead of panels: one sample makes an update."""
        plan, panel = self.plan, self.plan.shape.panel
        x, out, last = plan.values[0], plan.output, plan.operations[-1]
        panel_z, panel_e = self._buffer(out.n), self._buffer(out.n)
        self._call(online.gather_row, self._extra(0, source=0, a=self.a[0], a_stride=1, n_out=x.n))
        self._call(online.gather_row, self._extra(1, source=1, a=self.y, a_stride=panel, n_out=self._n_targets))
        self._call(gather.sample_weights, self._extra(2, source=2, a=self.weights, n_out=1))
        for op in plan.operations:
            self._call(online.row_forward, op.index, type(op.out.activation))
        self._call(online.spread, self._extra(4, x=self.a[-1], a=panel_z, n_in=out.n))
        self._call_loss(panel_z, panel_e)
        collected = self._backward_record(last, out.activation)
        self.operations[collected]["e_x"] = panel_e
        self._call(online.collect, collected, type(out.activation))
        self._program = self.weights_program
        for op in reversed(plan.operations):
            index = op.index if op is last else self._backward_record(op, Identity())
            self.operations[index]["constants"] = self._floats(op.x.activation)
            self._call(online.row_backward, index, type(op.x.activation), type(self.recipe.rule), units=1)

    def _gather(self) -> None:
        x, p = self.plan.values[0], self._n_targets
        if not self._is_sparse:
            self._call(gather.gather, self._extra(0, source=0, a=self.a[0], a_stride=self.stride(x.n), n_out=x.n))
        if self.recipe.mode != "predict":
            self._call(gather.gather, self._extra(1, source=1, a=self.y, a_stride=self.stride(p), n_out=p))
            self._call(gather.sample_weights, self._extra(2, source=2, a=self.weights, n_out=1))

    def _forward(self, op: Operation) -> None:
        if op.is_dense:
            forward = sparse.sparse_forward if self._reads_sparse(op) else dense.dense_forward
            self._call(forward, op.index, type(op.out.activation))
        elif op.kind == "batch_norm":
            self._call(norm.batch_norm_forward, op.index, units=op.out.n, sync=True)
            self._wait()
        else:
            others = {
                "dropout": rowwise.dropout_forward, "layer_norm": rowwise.layer_norm_forward,
                "residual": rowwise.residual_forward,
            }  # fmt: skip
            self._call(others[op.kind], op.index)

    def _loss(self) -> None:
        self._call_loss(self.a[-1], self.e[-1])
        if self.trains:
            self._differentiate(self.plan.output)

    def _call_loss(self, x: int, e_x: int) -> None:
        """The loss of the outputs in the panels at x; it writes their errors to e_x."""
        out, loss = self.plan.output, self.recipe.loss
        operation = self._extra(
            3, n_in=out.n, x=x, x_stride=self.stride(out.n), e_x=e_x, a=self.y, a_stride=self.stride(self._n_targets),
            w=self.weights, constants=self._floats(loss), coefficients=self._floats(self.recipe.coefficients),
            labels=(2 if out.n == 1 else 1) if self._labels else 0, target_low=loss.target_low, rate=getattr(loss, "label_smoothing", 0.0),
        )  # fmt: skip
        if loss.across_outputs:
            self._call(loss_rows.cross_entropy, operation)
        else:
            self._call(loss_rows.elementwise_loss, operation, type(loss))

    def _differentiate(self, value: Value) -> None:
        """Make the error of a value the error of its z, where an activation made it."""
        if type(value.activation) is Identity:
            return
        maker = next(op for op in self.plan.operations if op.out is value)
        self._call(rowwise.activation_backward, maker.index, type(value.activation))

    def _backward(self) -> None:
        """Errors, last operation first. The last to write the error of a value multiplies it with act'."""
        has_error: set[int] = set()
        for op in reversed(self.plan.operations):
            record, is_complete = self.operations[op.index], self._first_consumer(op.x) is op
            if op.kind == "residual":
                record["accumulates"] = op.skip.index in has_error  # type: ignore[union-attr]
                has_error.add(op.skip.index)  # type: ignore[union-attr]
                self._call(rowwise.residual_backward, op.index)
                self._differentiate(op.x)
                continue
            if op.is_dense and not record["by_lanes"]:
                self._call(dense.transpose_error, op.index)
            if op.x.is_input:
                continue
            record["accumulates"] = op.x.index in has_error
            has_error.add(op.x.index)
            if op.is_dense:
                activation = op.x.activation if is_complete else Identity()
                index = self._backward_record(op, activation)
                self._call(dense.dense_backward, index, type(activation))
                continue
            if op.kind == "batch_norm":
                self._call(norm.batch_norm_backward, op.index, units=op.out.n, sync=True)
                self._wait()
            else:
                self._call(
                    {"dropout": rowwise.dropout_backward, "layer_norm": rowwise.layer_norm_backward}[op.kind], op.index
                )
            if is_complete:
                self._differentiate(op.x)

    def _backward_record(self, op: Operation, activation: Any) -> int:
        """A record like the operation's, with the constants of the activation below; returns its index."""
        index = len(self.plan.operations) + EXTRA + op.index
        self.operations[index] = self.operations[op.index]
        self.operations[index]["constants"] = self._floats(activation)
        return index

    def _first_consumer(self, value: Value) -> Operation:
        return next(op for op in self.plan.operations if op.x is value or op.skip is value)

    def _update(self) -> None:
        rule = update.Accumulate if self.stores else type(self.recipe.rule)
        shape = self.plan.shape
        for op in reversed(self.plan.parametric):
            if self._reads_sparse(op):
                self._call(sparse.sparse_gradient, op.index, units=-(-op.out.n // shape.panel))
            elif op.is_dense:
                tiles = op.n_weights // op.w_stride * -(-op.x.n // shape.rows)
                units = tiles + (-(-op.out.n // shape.lanes) if op.has_bias else 0)
                self._reserve_units(op, units)
                self._call(dense.dense_update, op.index, rule, units=units)
            else:
                self._call(norm.norm_update, op.index, rule, units=-(-op.out.n // shape.lanes))

    def _reserve_units(self, op: Operation, units: int) -> None:
        """Places for the penalty and the squared norm of each unit of work."""
        self.operations[op.index]["partials"] = self._n_units  # an address once all are known
        self._n_units += units

    def _finish(self) -> None:
        blocks = {}
        self._n_units = 0
        for op in self.plan.parametric:
            n_biases = op.n_biases if op.has_bias else 0
            blocks[op.index] = -(-op.n_weights // update.BLOCK) + -(-n_biases // update.BLOCK)
            self._reserve_units(op, blocks[op.index])
        for n, op in enumerate(self.plan.parametric):
            self._call(update.finish_gradients, op.index, units=blocks[op.index], sync=n == 0)
        if self.recipe.clip_norm is not None:
            clip = self._extra(4, rate=self.recipe.clip_norm, n_in=self._n_units)
            self._call(update.clip_norm, clip, units=-1, sync=True)
        for op in self.plan.parametric:
            self._call(update.stored_update, op.index, type(self.recipe.rule), units=blocks[op.index])

    # ---- running --------------------------------------------------------------------------------------------------

    def _make_steps(self, max_workers: int) -> None:
        """What each worker is told, one record each."""
        shape, recipe = self.plan.shape, self.recipe
        itemsize = np.dtype(self.plan.dtype).itemsize
        scratch = max(shape.lanes * shape.panel, shape.rows * shape.panel, shape.lanes**2 + shape.lanes * 8 // itemsize, 2 * shape.lanes)
        self.steps = np.zeros(max_workers, records.STEP)
        self.steps["scratch"] = [self._array(scratch) for _ in range(max_workers)]
        if self._is_sparse:
            self.steps["piece_values"] = [self._array(sparse.PIECE) for _ in range(max_workers)]
            self.steps["piece_columns"] = [self._array(sparse.PIECE, "int64") for _ in range(max_workers)]
        self.steps["training"] = {"train": 1, "store": 2, "evaluate": 0, "predict": 0}[recipe.mode]
        self.steps["seed"] = recipe.seed & (2**63 - 1)
        self.steps["sources"] = self.sources.ctypes.data
        self.steps["row_stride"] = self.plan.row_length
        self.steps["rule_constants"] = self._floats(recipe.rule)
        self.steps["l1"], self.steps["l2"] = recipe.l1, recipe.l2
        self.steps["clip_value"] = math.inf if recipe.clip_value is None else recipe.clip_value
        self.steps["scale"] = 1.0
        self.steps["loss_partials"] = self.loss_partials
        self.steps["bad_input"] = self.bad_input.ctypes.data

    def _fill_job(self) -> None:
        job, shape = self.job[0], self.plan.shape
        partials = self._array(2 * self._n_units, "float64")
        self.operations["partials"] = partials + 16 * self.operations["partials"]
        job["operations"], job["steps"] = self.operations.ctypes.data, self.steps.ctypes.data
        for name in ("rows_program", "weights_program", "finish_program"):
            instructions = np.array(getattr(self, name), records.INSTRUCTION)
            self._keep.append(instructions)
            job[name], job[f"n_{name}"] = instructions.ctypes.data, len(instructions)
        job["sync"], job["bad_input"] = self.sync.ctypes.data, self.bad_input.ctypes.data
        job["lanes"], job["vectors"] = shape.lanes, shape.vectors
        job["loss_partials"], job["unit_partials"] = self.loss_partials, partials
        job["n_unit_partials"] = self._n_units
        job["is_regularised"] = self.recipe.mode == "train" and (self.recipe.l1 > 0 or self.recipe.l2 > 0)
        job["row_block"] = self._row_block()
        self._address = int(self.job.ctypes.data)

    def _row_block(self) -> int:
        """Registers of samples that go through the rows program together."""
        shape = self.plan.shape
        if any(sync for *_, sync in self.rows_program):
            return self.n_panels * shape.vectors
        per_panel = sum(self.stride(v.n) for v in self.plan.values) * np.dtype(self.plan.dtype).itemsize
        return max(4, BLOCK_BYTES // per_panel) * shape.vectors

    def bind(self, X: Any, y: Any = None, weights: np.ndarray | None = None) -> None:
        """Point the programs to the data: `checks.Matrix` for X and y, a float64 vector or None for weights."""
        self.data = X, y, weights  # keeps them alive
        self.sources[0] = X.source
        if y is not None:
            self.sources[1] = y.source
        self.sources[2] = (0, 0, 0, -1, 1, 0, 0, 0, 0)
        if weights is not None:
            self.sources[2] = (weights.ctypes.data, weights.strides[0], 8, 1, 1, 0, 0, 0, 0)

    def release(self) -> None:
        """Forget the data."""
        self.data = self._rows = self._out = self.chunks = None

    def n_workers_for(self, chunks: np.ndarray) -> int:
        """Workers that pay for one pass over these chunks: not below some 100 us of work."""
        rows = int(chunks["n_rows"].sum())
        work = rows * 2 * sum(op.x.n * op.out.n for op in self.plan.operations if op.is_dense)
        return len(self.steps) if work > 1e7 else 1

    def set_rows(self, rows: np.ndarray | None) -> None:
        """The rows that chunks count in: int64 row numbers, or None for the rows themselves."""
        self._rows = rows
        self.steps["rows"] = 0 if rows is None else rows.ctypes.data

    def set_out(self, out: np.ndarray) -> None:
        """Where predictions go: an array (n_rows, n_outputs) of the plan's dtype."""
        self._out = out
        self.steps["out"] = out.ctypes.data

    def set_chunks(self, chunks: np.ndarray) -> None:
        """The chunks that `run` counts in."""
        self.chunks = chunks
        self.job[0]["chunks"], self.job[0]["done"] = chunks.ctypes.data, 0

    def prepare(self, first: int, last: int) -> int:
        """Set the job to chunks first..last; returns the address that workers call `run_chunks` with."""
        job = self.job[0]
        job["first_chunk"], job["last_chunk"], job["done"], job["status"] = first, last, first, records.OK
        self.sync[:] = 0
        self.bad_input[0] = 0
        return self._address

    def abort(self) -> None:
        """Call off workers that wait for a run to start."""
        self.sync[8] = 1

    def run(self, first: int, last: int) -> int:
        """Run chunks first..last on this thread; returns the status."""
        run_chunks(self.prepare(first, last), 0, 1)
        return self.status

    @property
    def status(self) -> int:
        """`records.OK`, BAD_INPUT or DIVERGED, after a run."""
        return int(self.job[0]["status"])

    @property
    def done(self) -> int:
        """The chunk that comes next, after a run."""
        return int(self.job[0]["done"])


def can_be_online(plan: Plan, recipe: Recipe, batch_rows: int) -> bool:
    """Whether the per-sample loop serves: dense layers only, and no penalties or clipping."""
    plain = recipe.l1 == recipe.l2 == 0 and recipe.clip_value is None and recipe.clip_norm is None
    return batch_rows == 1 and recipe.mode == "train" and plain and all(op.is_dense for op in plan.operations)


def chunk_limit(plan: Plan) -> int:
    """Rows of a chunk at most, a multiple of the panel."""
    flops_of_row = 6 * sum(op.x.n * op.out.n for op in plan.operations if op.is_dense) + 1
    rows = min(MAX_ROWS, max(128, int(CHUNK_FLOPS / flops_of_row)))
    return max(1, rows // plan.shape.panel) * plan.shape.panel


def chunks_of(updates: np.ndarray, n_rows: np.ndarray, limit: int) -> np.ndarray:
    """Split updates into chunks of at most `limit` rows.

    Parameters
    ----------
    updates : ndarray of records.CHUNK
        One row an update: first, n_rows (may exceed the limit), count, lr, inverse_weight.
    n_rows : ndarray of int
        Rows of each update.
    limit : int

    Returns
    -------
    ndarray of records.CHUNK
    """
    parts = np.maximum(1, -(-n_rows // limit))
    chunks = np.repeat(updates, parts)
    starts = np.repeat(np.cumsum(parts) - parts, parts)
    chunks["position"] = (np.arange(len(chunks)) - starts) * limit
    chunks["first"] += chunks["position"]
    chunks["n_rows"] = np.minimum(np.repeat(n_rows, parts) - chunks["position"], limit)
    chunks["is_last"] = np.arange(len(chunks)) - starts == np.repeat(parts, parts) - 1
    return chunks
