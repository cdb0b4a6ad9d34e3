"""From a plan to programs: which kernels run in which order, on which records.

    rows       gather X, y, weights; forward; loss; backward          stripes of samples
    weights    gradient and update of every layer                     stripes of weight tiles
    finish     penalties, clipping and update of stored gradients     after the last chunk of an update

Gradients are stored where an update has several chunks, where they are clipped by norm, where X is sparse, and where
the caller wants them; else a tile's gradient is used as soon as it is there.
"""

from __future__ import annotations

import math
from typing import Any

from .kernels.activations import Identity
from .kernels.catalogue import (
    dense,
    dot,
    gather,
    loss_rows,
    norm,
    online,
    online_loss,
    predict,
    rowwise,
    sparse,
    update,
)
from .kernels.handles import Kernel
from .kernels.optimizers import Accumulate, Penalised
from .kernels.records import BLOCK_ROWS
from .plan import IDENTITY, Operation, Plan, Value
from .workspace import GATHER_WEIGHTS, GATHER_X, GATHER_Y, LOSS, OUTPUT, Recipe, Workspace

Instruction = tuple[int, int, int, int]  # the fields of records.INSTRUCTION


class Programs:
    """The programs of an engine.

    Parameters
    ----------
    plan : Plan
    recipe : Recipe
    workspace : Workspace
        Some of its records are completed here.
    stores : bool
        Whether gradients are stored.
    is_online : bool
        Whether one sample makes an update, on vectors instead of panels.

    Attributes
    ----------
    rows, weights, finish, gather : list of Instruction
        The last one where each sample makes an update.
    n_units : int
        Units of work that leave a penalty and a squared norm.
    """

    def __init__(self, plan: Plan, recipe: Recipe, workspace: Workspace, stores: bool, is_online: bool) -> None:
        self.plan, self.recipe, self.workspace, self.stores = plan, recipe, workspace, stores
        self.rows: list[Instruction] = []
        self.weights: list[Instruction] = []
        self.finish: list[Instruction] = []
        self.gather: list[Instruction] = []
        self.n_units = 0
        self._program, self._waits = self.rows, False
        if is_online:
            self._make_online()
        elif recipe.mode == "predict" and workspace.has_one_row and all(op.is_dense for op in plan.operations):
            self._make_prediction_of_row()
        else:
            self._make()
        self.partials = workspace.array(2 * self.n_units, "float64")
        workspace.operations["partials"] = self.partials + 16 * workspace.operations["partials"]

    @property
    def has_barriers(self) -> bool:
        """Whether the rows program must run in one block."""
        return any(sync for *_, sync in self.rows)

    def _make(self) -> None:
        self._gather()
        for op in self.plan.operations:
            self._forward(op)
        if not self.recipe.trains:
            self._output()
        if self.recipe.mode != "predict":
            self._loss(self.workspace.a[-1], self.workspace.e[-1])
        if self.recipe.trains:
            self._differentiate(self.plan.output)
            self._backward()
            self._program = self.weights
            self._update()
            if self.stores and self.recipe.mode == "train":
                self._program = self.finish
                self._finish()

    def _call(self, kernel: Kernel, operation: int, *classes: type, units: int = 0, sync: bool = False) -> None:
        """Append an instruction: over stripes of samples, or of `units`; `sync` waits for all workers before it."""
        self._program.append((kernel.address(self.plan.dtype, *classes), operation, units, int(sync or self._waits)))
        self._waits = False

    def _wait(self) -> None:
        """Let everybody wait before the next instruction."""
        self._waits = True

    # ---- one sample an update -------------------------------------------------------------------------------------

    def _make_online(self) -> None:
        plan, w = self.plan, self.workspace
        self._program = self.gather
        x, y = w.gathered(plan.n_features), w.gathered(w.form.n_targets)
        w.operations["x_stride"] = 0
        for op in plan.operations:
            if op.x.is_input:
                w.operations[op.index]["x"], w.operations[op.index]["x_stride"] = x
        self._call(online.gather_rows, w.extra(GATHER_X, source=0, a=x[0], a_stride=x[1], n_out=plan.n_features))
        self._call(online.gather_rows, w.extra(GATHER_Y, source=1, a=y[0], a_stride=y[1], n_out=w.form.n_targets))
        self._program = self.rows
        for op in plan.operations:
            forward = online.row_dot_forward if op.is_dot else online.row_forward
            self._call(forward, op.index, type(op.out.activation))
        self._row_loss(*y)
        self._program = self.weights
        for op in reversed(plan.operations):
            w.operations[op.index]["constants_below"] = w.floats(op.x.activation)
            backward = online.row_dot_backward if op.is_dot else online.row_backward
            self._call(backward, op.index, type(op.x.activation), type(self.recipe.rule))

    def _row_loss(self, y: int, y_stride: int) -> None:
        """The loss of a sample; targets lie at y, y_stride elements apart."""
        out, loss, w = self.plan.output, self.recipe.loss, self.workspace
        operation = w.extra(
            LOSS, x=w.a[-1], x_z=w.z[-1], e_x=w.e[-1], a=y, a_stride=y_stride, constants_below=w.floats(out.activation),
            coefficients=w.vector(self.recipe.coefficients), **self._loss_fields(),
        )  # fmt: skip
        if loss.across_outputs:
            self._call(online_loss.row_cross_entropy, operation, type(out.activation))
        else:
            self._call(online_loss.row_loss, operation, type(out.activation), type(loss))

    def _make_prediction_of_row(self) -> None:
        plan, w = self.plan, self.workspace
        n, stride = plan.n_features, plan.shape.pad(plan.n_features)
        self._call(online.gather_rows, w.extra(GATHER_X, source=0, a=w.a[0], a_stride=stride, n_out=n))
        for op in plan.operations:
            forward = predict.row_dot_output if op.is_dot else predict.row_outputs
            self._call(forward, op.index, type(op.out.activation))
        self._call(predict.emit_row, w.extra(OUTPUT, x=w.a[-1], n_in=plan.output.n))

    # ---- rows -----------------------------------------------------------------------------------------------------

    def _gather(self) -> None:
        w, n_features = self.workspace, self.plan.n_features
        if not w.form.is_sparse:
            x = w.extra(GATHER_X, source=0, a=w.a[0], a_stride=w.stride(n_features), n_out=n_features)
            self._call(gather.gather, x)
        if self.recipe.mode != "predict":
            n = w.form.n_targets
            self._call(gather.gather, w.extra(GATHER_Y, source=1, a=w.y, a_stride=w.stride(n), n_out=n))
            self._call(gather.sample_weights, w.extra(GATHER_WEIGHTS, source=2, a=w.weights, n_out=1))

    def _forward(self, op: Operation) -> None:
        if op.is_dense:
            of_many, of_one = (dense.dense_forward, dot.dot_forward)
            if self.workspace.reads_sparse(op):
                of_many, of_one = (sparse.sparse_forward, sparse.sparse_dot_forward)
            self._call(of_one if op.is_dot else of_many, op.index, type(op.out.activation))
        elif op.kind == "batch_norm":
            self._call(norm.batch_norm_forward, op.index, units=op.out.n, sync=True)
            self._wait()
        else:
            self._call(FORWARD[op.kind], op.index)

    def _output(self) -> None:
        w, out = self.workspace, self.plan.output
        self._call(rowwise.emit, w.extra(OUTPUT, x=w.a[-1], x_stride=w.stride(out.n), n_in=out.n))

    def _loss(self, x: int, e_x: int) -> None:
        """The loss of the outputs in the panels at x; it writes their errors to e_x."""
        out, loss, w = self.plan.output, self.recipe.loss, self.workspace
        operation = w.extra(
            LOSS, x=x, x_stride=w.stride(out.n), e_x=e_x, a=w.y, a_stride=w.stride(w.form.n_targets), w=w.weights,
            coefficients=w.floats(self.recipe.coefficients), **self._loss_fields(),
        )  # fmt: skip
        if loss.across_outputs:
            self._call(loss_rows.cross_entropy, operation)
        else:
            self._call(loss_rows.elementwise_loss, operation, type(loss))

    def _loss_fields(self) -> dict[str, Any]:
        """What the loss of a batch and that of a sample are both told."""
        n, loss, w = self.plan.output.n, self.recipe.loss, self.workspace
        first_class = 2 if n == 1 else 1  # one output answers whether a row is of class 1
        return {
            "n_in": n,
            "constants": w.floats(loss),
            "labels": first_class if w.form.labels else 0,
            "target_low": loss.target_low,
            "rate": getattr(loss, "label_smoothing", 0.0),
        }

    def _differentiate(self, value: Value) -> None:
        """Make the error of a value the error of its z, where an activation made it."""
        if type(value.activation) is not Identity:
            maker = next(op for op in self.plan.operations if op.out is value)
            self._call(rowwise.activation_backward, maker.index, type(value.activation))

    def _backward(self) -> None:
        """Errors, last operation first. The last to write the error of a value multiplies it with act'."""
        has_error: set[int] = set()
        for op in reversed(self.plan.operations):
            if self.workspace.operations[op.index]["t"]:
                self._call(dense.transpose_error, op.index)
            target = op.x if op.skip is None else op.skip
            if target.is_input and op.skip is None:
                continue
            self.workspace.operations[op.index]["accumulates"] = target.index in has_error
            has_error.add(target.index)
            self._backward_of(op, is_complete=self._first_consumer(op.x) is op)

    def _backward_of(self, op: Operation, is_complete: bool) -> None:
        """The error of an operation's input; `is_complete` if nobody adds to it later."""
        if op.is_dense:
            activation = op.x.activation if is_complete else IDENTITY
            index = self.workspace.backward(op, constants=self.workspace.floats(activation))
            self._call(dot.dot_backward if op.is_dot else dense.dense_backward, index, type(activation))
            return
        if op.kind == "batch_norm":
            self._call(norm.batch_norm_backward, op.index, units=op.out.n, sync=True)
            self._wait()
        else:
            self._call(BACKWARD[op.kind], op.index)
        if is_complete:
            self._differentiate(op.x)

    def _first_consumer(self, value: Value) -> Operation:
        return next(op for op in self.plan.operations if op.x is value or op.skip is value)

    # ---- weights --------------------------------------------------------------------------------------------------

    def _update(self) -> None:
        classes: tuple[type, ...] = (Accumulate,) if self.stores else (type(self.recipe.rule),)
        if self.recipe.is_penalised and not self.stores:
            classes += (Penalised,)
        shape = self.plan.shape
        for op in reversed(self.plan.parametric):
            runs = math.ceil(op.out.n / shape.lanes)
            if self.workspace.reads_sparse(op):
                gradient = sparse.sparse_dot_gradient if op.is_dot else sparse.sparse_gradient
                self._call(gradient, op.index, units=math.ceil(op.out.n / shape.panel))
            elif op.is_dot:
                units = math.ceil(op.x.n / shape.lanes) + op.has_bias
                self._reserve_units(op, units)
                self._call(dot.dot_update, op.index, *classes, units=units)
            elif op.is_dense:
                tiles = op.n_weights // op.w_stride * math.ceil(op.x.n / shape.rows)
                units = tiles + (runs if op.has_bias else 0)
                self._reserve_units(op, units)
                self._call(dense.dense_update, op.index, *classes, units=units)
            else:
                self._call(norm.norm_update, op.index, *classes, units=runs)

    def _reserve_units(self, op: Operation, units: int) -> None:
        """Places for the penalty and the squared norm of each unit of work."""
        self.workspace.operations[op.index]["partials"] = self.n_units  # an address once all are known
        self.n_units += units

    def _finish(self) -> None:
        self.n_units = 0
        blocks = {}
        for op in self.plan.parametric:
            n_biases = op.n_biases if op.has_bias else 0
            block = BLOCK_ROWS * self.plan.shape.panel
            blocks[op.index] = math.ceil(op.n_weights / block) + math.ceil(n_biases / block)
            self._reserve_units(op, blocks[op.index])
        self._wait()
        for op in self.plan.parametric:
            self._call(update.finish_gradients, op.index, units=blocks[op.index])
        if self.recipe.clip_norm is not None:
            clip = self.workspace.extra(OUTPUT, rate=self.recipe.clip_norm, n_in=self.n_units)
            self._call(update.clip_norm, clip, units=-1, sync=True)
        for op in self.plan.parametric:
            self._call(update.stored_update, op.index, type(self.recipe.rule), units=blocks[op.index])


FORWARD: dict[str, Any] = {
    "dropout": rowwise.dropout_forward,
    "layer_norm": rowwise.layer_norm_forward,
    "residual": rowwise.residual_forward,
}
BACKWARD: dict[str, Any] = {
    "dropout": rowwise.dropout_backward,
    "layer_norm": rowwise.layer_norm_backward,
    "residual": rowwise.residual_backward,
}
