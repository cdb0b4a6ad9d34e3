"""The memory of one way of running a plan: parameters, buffers for a chunk of rows, and the records that describe them.

Buffers live as long as the workspace; records hold their addresses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .kernels import records
from .kernels.activations import needs_z
from .plan import ALIGNMENT, Operation, Plan, aligned

EXTRA = 5  # operations besides layers: gather X, y and weights, loss, output or clipping by norm
SLOTS = 16  # rows that are gathered together in per-sample training: a call for each took 13 ns
SLOT_BYTES = 1 << 13  # but not more than a sixth of L1
SHARED_BYTES = 1 << 14  # of a block that small buffers share
GATHER_X, GATHER_Y, GATHER_WEIGHTS, LOSS, OUTPUT = range(EXTRA)


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
    rule : type
        The class whose state the slots are.
    """

    def __init__(self, plan: Plan, rule: Any) -> None:
        n_slots: int = rule.n_slots
        self.rule = rule
        self.rows = aligned((2 + n_slots) * plan.row_length, plan.dtype).reshape(2 + n_slots, plan.row_length)
        self.statistics = aligned(plan.n_statistics, plan.dtype)
        self.count = 0

    def snapshot(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Copies of everything but the gradients."""
        return self.rows[[0, *range(2, len(self.rows))]], self.statistics.copy(), self.count

    def restore(self, snapshot: tuple[np.ndarray, np.ndarray, int]) -> None:
        """Back to a snapshot, in place: addresses stay valid."""
        rows, statistics, self.count = snapshot
        self.rows[0], self.rows[2:] = rows[0], rows[1:]
        self.rows[1] = 0
        self.statistics[:] = statistics


def addresses_of(parameters: Parameters) -> tuple[int, int]:
    """Where parameters and running statistics begin."""
    return parameters.rows.ctypes.data, parameters.statistics.ctypes.data


@dataclass(frozen=True)
class Recipe:
    """How to train: everything besides the data that kernels need to know.

    `loss` and `rule` are components; `mode` is "train", "store" (gradients only), "evaluate" or "predict".
    """

    mode: str
    loss: Any
    rule: Any
    coefficients: tuple[float, ...] = ()
    l1: float = 0.0
    l2: float = 0.0
    divides_penalties: bool = False
    clip_value: float | None = None
    clip_norm: float | None = None
    seed: int = 0

    @property
    def is_penalised(self) -> bool:
        """Whether gradients are changed, number by number, before the rule sees them."""
        return self.l1 > 0 or self.l2 > 0 or self.clip_value is not None

    @property
    def trains(self) -> bool:
        """Whether gradients are computed."""
        return self.mode in ("train", "store")


@dataclass(frozen=True)
class Form:
    """What the data look like to kernels.

    `n_targets` columns of y (1 for class codes), `labels` whether they are class codes, `is_sparse` whether X is CSR.
    """

    n_targets: int = 1
    labels: bool = False
    is_sparse: bool = False


class Workspace:
    """Buffers for `n_rows` rows and the records of the plan's operations.

    Attributes
    ----------
    has_one_row : bool
        Whether a chunk is one dense row.
    a, z, e : list of int
        For each value of the plan the address of its activations, of what is kept beside them and of its error; 0
        where there is none.
    n_slots : int
        Per sample: rows that are gathered together.
    y, weights, loss_partials : int
        Addresses of the targets, the sample weights, and the losses of registers of samples.
    operations : ndarray of records.OPERATION
        Those of the layers, `EXTRA` others, then room for one more of each layer, for its backward pass.
    """

    def __init__(self, plan: Plan, parameters: Parameters, recipe: Recipe, form: Form, n_rows: int) -> None:
        self.plan, self.recipe, self.form = plan, recipe, form
        self.n_panels = math.ceil(n_rows / plan.shape.panel)
        self.has_one_row = n_rows == 1 and not form.is_sparse
        self._free = self._n_free = 0  # an address, and how many bytes are left there
        self._keep: list[Any] = []
        self._bases = addresses_of(parameters)
        wanted = {"train": plan.values[1:], "store": plan.values[1:], "evaluate": plan.values[-1:], "predict": []}
        self.a = [0 if v.is_input and form.is_sparse else self.buffer(v.n) for v in plan.values]
        kept = [v.keeps or needs_z(type(v.activation)) for v in plan.values]  # type: ignore[arg-type]
        self.z = [self.buffer(v.n) if is_kept else 0 for v, is_kept in zip(plan.values, kept, strict=True)]
        self.e = [self.buffer(v.n) if v in wanted[recipe.mode] else 0 for v in plan.values]
        self.n_slots = max(
            1, min(SLOTS, SLOT_BYTES // (plan.shape.pad(plan.n_features) * np.dtype(plan.dtype).itemsize))
        )
        self.y, self.weights = self.buffer(form.n_targets), self.array(self.n_panels * plan.shape.panel)
        self.loss_partials = self.array(self.n_panels * plan.shape.vectors, "float64")
        self.operations = np.zeros(2 * len(plan.operations) + EXTRA, records.OPERATION)
        for op in plan.operations:
            self._describe(op)

    # ---- memory ---------------------------------------------------------------------------------------------------

    def rebind(self, parameters: Parameters) -> None:
        """Work on other parameters of the same plan's structure; the former need not be alive."""
        n, bases = len(self.plan.operations), addresses_of(parameters)
        for old, new, names in zip(self._bases, bases, (("w", "b"), ("running_mean", "running_variance")), strict=True):
            for name in names:
                self.operations[name][:n] += new - old
                self.operations[name][n + EXTRA :] += new - old
        self._bases = bases

    @property
    def n_bytes(self) -> int:
        """Bytes of buffers."""
        return sum(array.nbytes for array in self._keep)

    def keep(self, array: np.ndarray) -> int:
        """Keep an array alive; returns its address."""
        self._keep.append(array)
        return int(array.ctypes.data)

    def array(self, n: int, dtype: str | None = None) -> int:
        """The address of n zeros, on a cache line; small arrays share a block of memory: 5 us less for each."""
        n_bytes = -(-max(n, 1) * np.dtype(dtype or self.plan.dtype).itemsize // ALIGNMENT) * ALIGNMENT
        if n_bytes > self._n_free:
            self._n_free = max(n_bytes, SHARED_BYTES)
            self._free = self.keep(aligned(self._n_free, "uint8"))
        address = self._free
        self._free, self._n_free = address + n_bytes, self._n_free - n_bytes
        return address

    def floats(self, values: Iterable[float]) -> int:
        """The address of float64 numbers; a pad follows, for components without fields."""
        return self.keep(np.array([*values, 0.0], np.float64))

    def vector(self, values: Sequence[float]) -> int:
        """The address of numbers in the plan's dtype, with zeros behind up to whole registers."""
        array = aligned(self.plan.shape.pad(len(values)), self.plan.dtype)
        array[: len(values)] = values
        return self.keep(array)

    def buffer(self, n_features: int) -> int:
        """The address of panels of `n_features` for the samples of a chunk."""
        return self.array(self.n_panels * self.stride(n_features))

    def gathered(self, n_features: int) -> tuple[int, int]:
        """Per sample: the address of the rows that are gathered together, and the elements from one to the next."""
        stride = self.plan.shape.pad(n_features)
        return self.array(self.n_slots * stride), stride

    def stride(self, n_features: int) -> int:
        """Elements from one panel of samples to the next."""
        return self.plan.shape.pad(n_features) * self.plan.shape.panel

    # ---- records --------------------------------------------------------------------------------------------------

    def reads_sparse(self, op: Operation) -> bool:
        """Whether an operation is the first layer, on CSR rows."""
        return self.form.is_sparse and op.x.is_input

    def extra(self, k: int, **fields: Any) -> int:
        """Fill the record number k after those of the layers; returns its index."""
        return self._fill(len(self.plan.operations) + k, fields)

    def backward(self, op: Operation, **fields: Any) -> int:
        """A second record of a layer, with some fields changed; returns its index."""
        index = len(self.plan.operations) + EXTRA + op.index
        self.operations[index] = self.operations[op.index]
        return self._fill(index, fields)

    def _fill(self, index: int, fields: dict[str, Any]) -> int:
        for name, value in fields.items():
            self.operations[index][name] = value
        return index

    def _describe(self, op: Operation) -> None:
        """Fill the record of a layer."""
        record, itemsize = self.operations[op.index], np.dtype(self.plan.dtype).itemsize
        base = self._bases[0]
        record["index"], record["n_in"], record["n_out"] = op.index, op.x.n, op.out.n
        record["x"], record["x_stride"], record["x_z"] = self.a[op.x.index], self.stride(op.x.n), self.z[op.x.index]
        record["a"], record["a_stride"], record["z"] = self.a[op.out.index], self.stride(op.out.n), self.z[op.out.index]
        record["e_a"], record["e_x"] = self.e[op.out.index], self.e[op.x.index]
        record["w"], record["b"] = base + op.w * itemsize, base + op.b * itemsize
        record["w_stride"], record["n_weights"] = op.w_stride, op.n_weights
        record["n_biases"] = op.n_biases if op.has_bias else 0
        record["constants"] = self.floats(op.out.activation)
        if op.is_dense:
            self._describe_gradient(op, record)
        if op.skip is not None:
            record["skip"], record["e_skip"] = self.a[op.skip.index], self.e[op.skip.index]
        if op.kind == "dropout":
            record["rate"] = op.layer.rate  # type: ignore[union-attr]
        if op.is_norm:
            self._describe_norm(op, record)

    def _describe_gradient(self, op: Operation, record: Any) -> None:
        shape = self.plan.shape
        record["decays"] = 1
        if op.is_dot:
            return
        record["by_lanes"] = min(op.x.n, op.out.n) <= shape.lanes and not self.reads_sparse(op)
        if self.recipe.trains and not record["by_lanes"]:
            record["t_stride"] = self.n_panels * shape.panel**2
            record["t"] = self.array(math.ceil(op.out.n / shape.panel) * int(record["t_stride"]))

    def _describe_norm(self, op: Operation, record: Any) -> None:
        layer: Any = op.layer
        record["eps"] = layer.eps
        if op.kind == "layer_norm":
            record["inverse_deviation"] = self.array(self.n_panels * self.plan.shape.panel)
            return
        itemsize = np.dtype(self.plan.dtype).itemsize
        start = self._bases[1] + op.statistics * itemsize
        record["momentum"] = layer.momentum
        record["inverse_deviation"] = self.array(op.out.n)
        record["running_mean"], record["running_variance"] = start, start + op.out.n * itemsize
