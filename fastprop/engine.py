"""The engine: a plan with memory and programs, ready to run on chunks of rows.

Data flow one way: `Parameters` (what training changes) and a `Plan` (shapes) go in, losses come out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import AnyMatrix
from .kernels import records
from .kernels.catalogue import run_chunks
from .pace import ThreadChooser
from .plan import Plan
from .programs import Programs
from .workspace import Form, Parameters, Recipe, Workspace

MAX_ROWS = 4096  # rows of a chunk at most: what bounds the memory of buffers
MIN_ROWS = 512  # rows of a chunk at least, if there are so many: weights and their gradients are read once a chunk
# Activations and errors of a chunk, above MIN_ROWS: half an L2, since the gradients read them again. In full batches of
# 784-128-10, 28-64-64-1 and 4-32-16-4 chunks of 4096 rows took 1.25, 1.35 and 1.16 times as long as those of 512.
CHUNK_BYTES = 1 << 20
LITTLE_FLOPS = 1e7  # work of a pass that more than one worker does not pay for
CHUNK_FLOPS = 4e9  # work of a chunk at most, some 40 ms: how long Ctrl-C may have to wait
CHUNK_SAMPLES = 256  # updates of one sample that a chunk holds at most
CHUNK_UPDATES = 1e7  # weights that updates of one sample change in a chunk at most, some 5 ms
BLOCK_BYTES = 1 << 19  # activations of a block of rows that stay in the cache from gather to backward


class Engine:
    """Programs and memory for one way of running a plan.

    Parameters
    ----------
    plan : Plan
    parameters : Parameters
    recipe : Recipe
    form : Form
    batch_rows : int
        Rows of the largest batch; more than fit a chunk are split.
    max_workers : int
        Workers that may run at once.
    splits : bool
        Whether updates have several chunks although the batch fits one (gradient accumulation).

    Attributes
    ----------
    chunk_rows : int
        Rows of a chunk at most.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: Parameters,
        recipe: Recipe,
        form: Form,
        batch_rows: int,
        max_workers: int = 1,
        splits: bool = False,
    ) -> None:
        self.plan, self.parameters, self.recipe = plan, parameters, recipe
        must_be_whole = plan.has_batch_norm and recipe.trains
        self.chunk_rows = batch_rows if must_be_whole else min(batch_rows, chunk_limit(plan))
        splits = splits or self.chunk_rows < batch_rows
        stores = recipe.mode == "store" or splits or form.is_sparse or recipe.clip_norm is not None
        self.is_online = not stores and batch_rows == 1 and can_be_online(plan, recipe)
        self.workspace = Workspace(plan, parameters, recipe, form, self.chunk_rows)
        self.programs = Programs(plan, recipe, self.workspace, stores, self.is_online)
        self.sources = np.zeros(3, records.SOURCE)
        self.bad_input = np.zeros(1, np.int64)
        self.sync = np.zeros(16, np.int64)
        self.job = np.zeros(1, records.JOB)
        self.data: AnyMatrix | None = None
        self.chunks: np.ndarray | None = None
        self.choosers: dict[int | None, ThreadChooser] = {}  # outlive a fit: what was found holds for the next
        self._alive: dict[str, Any] = {}  # what records point to
        self._make_steps(max_workers)
        self._fill_job()

    def _make_steps(self, max_workers: int) -> None:
        """What each worker is told, one record each."""
        w, shape, recipe = self.workspace, self.plan.shape, self.recipe
        scratch = max(shape.lanes, shape.rows) * shape.panel + 8 * shape.lanes
        self.steps = steps = np.zeros(max_workers, records.STEP)
        steps["scratch"] = [w.array(scratch) for _ in range(max_workers)]
        if w.form.is_sparse:
            steps["piece_values"] = [w.array(records.PIECE) for _ in range(max_workers)]
            steps["piece_columns"] = [w.array(records.PIECE, "int64") for _ in range(max_workers)]
        steps["training"] = {"train": 1, "store": 2, "evaluate": 0, "predict": 0}[recipe.mode]
        steps["seed"] = recipe.seed
        steps["sources"] = self.sources.ctypes.data
        steps["row_stride"] = self.plan.row_length
        steps["rule_constants"] = w.floats(recipe.rule or ())
        steps["l1"], steps["l2"], steps["divides_penalties"] = recipe.l1, recipe.l2, recipe.divides_penalties
        steps["clip_value"] = math.inf if recipe.clip_value is None else recipe.clip_value
        steps["scale"] = 1.0
        steps["loss_partials"] = w.loss_partials
        steps["bad_input"] = self.bad_input.ctypes.data

    def _fill_job(self) -> None:
        job, w, programs, shape = self.job[0], self.workspace, self.programs, self.plan.shape
        job["operations"], job["steps"] = w.operations.ctypes.data, self.steps.ctypes.data
        stages, everything = np.zeros(4, records.PROGRAM), w.n_panels * shape.vectors
        blocks = self._row_block(), everything, everything, w.n_slots
        for stage, program in enumerate((programs.rows, programs.weights, programs.finish, programs.gather)):
            instructions = np.array(program, records.INSTRUCTION)
            stages[stage] = w.keep(instructions), len(instructions), blocks[stage]
        job["programs"] = w.keep(stages)
        job["sync"], job["bad_input"] = self.sync.ctypes.data, self.bad_input.ctypes.data
        job["lanes"], job["vectors"] = shape.lanes, shape.vectors
        job["loss_partials"], job["unit_partials"] = w.loss_partials, programs.partials
        job["n_unit_partials"] = programs.n_units
        job["is_regularised"] = self.recipe.mode == "train" and (self.recipe.l1 > 0 or self.recipe.l2 > 0)
        self._address = int(self.job.ctypes.data)

    def _row_block(self) -> int:
        """Registers of samples that go through the rows program together."""
        w, shape = self.workspace, self.plan.shape
        if self.programs.has_barriers:
            return w.n_panels * shape.vectors
        bytes_of_panel = sum(w.stride(v.n) for v in self.plan.values) * np.dtype(self.plan.dtype).itemsize
        return max(4, BLOCK_BYTES // bytes_of_panel) * shape.vectors

    def unbind(self) -> None:
        """Let go of the parameters."""
        del self.parameters

    def rebind(self, plan: Plan, parameters: Parameters, recipe: Recipe) -> None:
        """Serve another network: `plan` of the same structure, `recipe` equal but for the seed."""
        self.plan, self.parameters, self.recipe = plan, parameters, recipe
        self.workspace.rebind(parameters)
        self.steps["seed"] = recipe.seed

    # ---- data -----------------------------------------------------------------------------------------------------

    def bind(self, X: AnyMatrix, y: AnyMatrix | None = None, weights: np.ndarray | None = None) -> None:
        """Point the programs to the data; weights are float64."""
        if X.n_columns != self.plan.n_features:  # kernels trust it
            raise ValueError(f"X has {X.n_columns} features, but the network is expecting {self.plan.n_features}")
        self.data = X
        self._alive |= {"y": y, "weights": weights}
        self.sources[0] = X.source
        if y is not None:
            self.sources[1] = y.source
        self.sources[2] = (0, 0, 0, -1, 1, 0, 0, 0, 0)
        if weights is not None:
            self.sources[2] = (weights.ctypes.data, weights.strides[0], 8, 1, 1, 0, 0, 0, 0)

    def release(self) -> None:
        """Forget the data."""
        self.data, self.chunks, self._alive = None, None, {}

    def n_workers_for(self, chunks: np.ndarray) -> int:
        """Workers that pay for one pass over these chunks."""
        return 1 if has_little_work(self.plan, int(chunks["n_rows"].sum())) else len(self.steps)

    def set_rows(self, rows: np.ndarray | None) -> None:
        """The rows that chunks count in: int64 row numbers, or None for the rows themselves."""
        self._alive["rows"] = rows
        self.steps["rows"] = 0 if rows is None else rows.ctypes.data

    def set_out(self, out: np.ndarray) -> None:
        """Where predictions go: an array (n_rows, n_outputs) of the plan's dtype."""
        self._alive["out"] = out
        self.steps["out"] = out.ctypes.data

    def set_chunks(self, chunks: np.ndarray, rates: np.ndarray | None = None) -> None:
        """The chunks that `run` counts in; per sample also the learning rate of each update."""
        self.chunks = chunks
        self._alive["rates"] = rates
        self.job[0]["rates"] = 0 if rates is None else rates.ctypes.data
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
    def has_partial_update(self) -> bool:
        """Whether gradients of an update that was not completed are stored."""
        if self.chunks is None or not self.programs.stores:
            return False
        return not self.chunks["is_last"][: self.done][-1:].all()

    @property
    def done(self) -> int:
        """The chunk that comes next, after a run."""
        return int(self.job[0]["done"])

    @property
    def failed(self) -> int:
        """Per sample: which one of chunk number `done` has a loss that is not finite."""
        return int(self.job[0]["failed"])


def can_be_online(plan: Plan, recipe: Recipe) -> bool:
    """Whether the per-sample kernels serve: dense layers only, no penalties and no clipping."""
    plain = recipe.l1 == recipe.l2 == 0 and recipe.clip_value is None
    return recipe.mode == "train" and plain and all(op.is_dense for op in plan.operations)


def has_little_work(plan: Plan, n_rows: int) -> bool:
    """Whether a pass over so many rows takes less than some 100 us: too little to share."""
    return n_rows * plan.flops_of_row <= LITTLE_FLOPS


def chunk_limit(plan: Plan) -> int:
    """Rows of a chunk at most, a multiple of the panel."""
    bytes_of_row = 2 * sum(plan.shape.pad(v.n) for v in plan.values) * np.dtype(plan.dtype).itemsize
    fitting = min(MAX_ROWS, max(MIN_ROWS, CHUNK_BYTES // bytes_of_row))
    rows = min(fitting, max(128, int(CHUNK_FLOPS / (3 * plan.flops_of_row + 1))))
    return max(1, rows // plan.shape.panel) * plan.shape.panel


def samples_of_chunk(plan: Plan) -> int:
    """Samples of a chunk at most where each makes an update."""
    return max(1, min(CHUNK_SAMPLES, int(CHUNK_UPDATES / (plan.n_parameters + 1))))


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
        `updates` itself where no update is split.
    """
    if n_rows.max(initial=0) <= limit:  # 8 us less for a small call
        updates["n_rows"], updates["is_last"] = n_rows, 1
        return updates
    parts = np.maximum(1, -(-n_rows // limit))
    chunks = np.repeat(updates, parts)
    starts = np.repeat(np.cumsum(parts) - parts, parts)
    chunks["position"] = (np.arange(len(chunks)) - starts) * limit
    chunks["first"] += chunks["position"]
    chunks["n_rows"] = np.minimum(np.repeat(n_rows, parts) - chunks["position"], limit)
    chunks["is_last"] = np.arange(len(chunks)) - starts == np.repeat(parts, parts) - 1
    return chunks
