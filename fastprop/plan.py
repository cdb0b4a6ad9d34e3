"""From layers to a plan: where every parameter lies in one vector, and which operations make which values.

A plan knows shapes only. `engine.Engine` gives it memory and turns it into programs for the kernels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .kernels.activations import Identity
from .kernels.target import Shape, target
from .layers import BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual, Softmax

ALIGNMENT = 64  # bytes; with NumPy's 16 per-sample training was 40 % slower


IDENTITY = Identity()


@dataclass(eq=False)
class Value:
    """What flows from one operation to the next: `n` features of each sample.

    `activation` made it from z (Identity where nothing did); `keeps` is what else an operation stores beside it: z, the
    normalised input of a norm, the factors of dropout.
    """

    n: int
    activation: Any = IDENTITY
    keeps: bool = False
    is_input: bool = False
    index: int = -1


@dataclass(eq=False)
class Operation:
    """One layer, or the sum that ends a residual block, with its parameters' places in the vector."""

    kind: str
    x: Value
    out: Value
    layer: Layer | None = None
    skip: Value | None = None
    name: str = ""
    w: int = 0
    n_weights: int = 0
    w_stride: int = 0
    b: int = 0
    n_biases: int = 0
    has_bias: bool = True
    statistics: int = 0  # batch norm: running mean, then variance, in the vector of statistics
    index: int = 0

    @property
    def key(self) -> str:
        """The layer in names of arrays: "layers.0", "layers.2.layers.1"."""
        return self.name.replace("[", ".").replace("]", "")

    @property
    def is_dense(self) -> bool:
        return self.kind == "dense"

    @property
    def is_dot(self) -> bool:
        """Whether W is a vector along the inputs: a dense layer of one unit."""
        return self.is_dense and self.out.n == 1

    @property
    def is_norm(self) -> bool:
        return self.kind in ("batch_norm", "layer_norm")


@dataclass(eq=False)
class Plan:
    """The operations of a network for `n_features` inputs, and the layout of its parameters.

    Parameters
    ----------
    layers : sequence of Layer
    n_features : int
    dtype : str
        "float32" or "float64".
    linear_output : bool
        Whether the loss applies the last activation.

    Attributes
    ----------
    operations : list of Operation
        In the order of the forward pass.
    values : list of Value
        values[0] is the input, values[-1] the output.
    row_length : int
        Elements of the parameter vector, pads included.
    n_statistics : int
        Elements of the vector of running statistics.

    Raises
    ------
    ValueError
        If a Residual does not give as many features as it takes, or softmax is not the last activation.
    """

    layers: Sequence[Layer]
    n_features: int
    dtype: str
    linear_output: bool = False
    operations: list[Operation] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    row_length: int = 0
    n_statistics: int = 0

    def __post_init__(self) -> None:
        self.shape: Shape = target().shape(self.dtype)
        out = self._add_layers(self.layers, self._value(self.n_features, is_input=True), "layers")
        if out is not self.values[-1]:
            raise AssertionError("the output must be the last value")
        # An odd number of cache lines keeps the same weight of parameters, gradients and slots off one cache set.
        self.row_length += ALIGNMENT * 4 // np.dtype(self.dtype).itemsize

    @property
    def output(self) -> Value:
        """The raw output of the network."""
        return self.values[-1]

    @property
    def parametric(self) -> list[Operation]:
        """Operations with parameters, in order: one pair of `get_weights` each."""
        return [op for op in self.operations if op.is_dense or op.is_norm]

    @functools.cached_property
    def flops_of_row(self) -> int:
        """Additions and multiplications of the matrix products of a forward pass."""
        return 2 * sum(op.x.n * op.out.n for op in self.operations if op.is_dense)

    @functools.cached_property
    def structure(self) -> tuple[Any, ...]:
        """What kernels can see of the plan: engines of plans of one structure differ in addresses only."""
        values = [(v.n, type(v.activation), v.activation, v.keeps) for v in self.values]
        operations = [
            (
                *(op.kind, op.x.index, op.out.index, op.skip and op.skip.index, op.has_bias, op.w, op.b, op.statistics),
                *(getattr(op.layer, name, None) for name in ("rate", "eps", "momentum")),
            )
            for op in self.operations
        ]
        return (self.dtype, self.row_length, *values, *operations)

    @functools.cached_property
    def has_batch_norm(self) -> bool:
        """Whether the batch must be whole in memory."""
        return any(op.kind == "batch_norm" for op in self.operations)

    @property
    def n_parameters(self) -> int:
        """Numbers that training changes, pads not counted."""
        return sum(self.sizes(op)[0] + self.sizes(op)[1] for op in self.parametric)

    @staticmethod
    def sizes(op: Operation) -> tuple[int, int]:
        """Numbers in W (or gamma) and b (or beta) of an operation, pads not counted."""
        if op.is_dense:
            return op.x.n * op.out.n, op.out.n if op.has_bias else 0
        return op.out.n, op.out.n

    def _value(self, n: int, **fields: Any) -> Value:
        value = Value(n, index=len(self.values), **fields)
        self.values.append(value)
        return value

    def _operation(self, kind: str, x: Value, out: Value, **fields: Any) -> Operation:
        op = Operation(kind, x, out, index=len(self.operations), **fields)
        self.operations.append(op)
        return op

    def _reserve(self, n: int) -> int:
        """Room for n parameters, aligned; returns where it starts."""
        start, grain = self.row_length, ALIGNMENT // np.dtype(self.dtype).itemsize
        self.row_length += -(-n // grain) * grain
        return start

    def _add_layers(self, layers: Sequence[Layer], x: Value, where: str) -> Value:
        for i, layer in enumerate(layers):
            name = f"{where}[{i}]"
            if isinstance(layer, Dense):
                x = self._add_dense(layer, x, name)
            elif isinstance(layer, Residual):
                x = self._add_residual(layer, x, name)
            elif isinstance(layer, Dropout):
                out = self._value(x.n, keeps=True)
                self._operation("dropout", x, out, layer=layer, name=name)
                x = out
            elif isinstance(layer, (BatchNorm, LayerNorm)):
                x = self._add_norm(layer, x, name)
        return x

    def _add_dense(self, layer: Dense, x: Value, name: str) -> Value:
        shape, activation = self.shape, layer.activation
        if isinstance(activation, Softmax) or (self.linear_output and layer is self.layers[-1]):  # the loss applies it
            activation = IDENTITY
        out = self._value(layer.units, activation=activation)
        w_stride = 0 if layer.units == 1 else shape.pad(x.n) * shape.panel
        n_weights = math.ceil(layer.units / shape.panel) * w_stride or shape.pad(x.n)
        n_biases = math.ceil(layer.units / shape.panel) * shape.panel
        self._operation(
            "dense", x, out, layer=layer, name=name, w=self._reserve(n_weights), n_weights=n_weights, w_stride=w_stride,
            b=self._reserve(n_biases), n_biases=n_biases, has_bias=layer.bias,
        )  # fmt: skip
        return out

    def _add_norm(self, layer: BatchNorm | LayerNorm, x: Value, name: str) -> Value:
        out = self._value(x.n, keeps=True)
        n = self.shape.pad(x.n)
        kind = "batch_norm" if isinstance(layer, BatchNorm) else "layer_norm"
        op = self._operation(
            kind, x, out, layer=layer, name=name, w=self._reserve(n), n_weights=n, b=self._reserve(n), n_biases=n
        )
        if kind == "batch_norm":
            op.statistics = self.n_statistics
            self.n_statistics += 2 * x.n
        return out

    def _add_residual(self, layer: Residual, x: Value, name: str) -> Value:
        y = self._add_layers(layer.layers, x, f"{name}.layers")
        if y.n != x.n:
            raise ValueError(
                f"{name}: a Residual must give as many features as it takes: its layers give {y.n}, its input has {x.n}"
            )
        out = self._value(x.n)
        self._operation("residual", y, out, layer=layer, skip=x, name=name)
        return out

    # ---- parameters between the user's arrays and the vector ------------------------------------------------------

    def pack(self, op: Operation, row: np.ndarray, W: np.ndarray, b: np.ndarray | None) -> None:
        """Write W (n_in, n_out), or gamma, and b, or beta, of `op` into a parameter vector. Pads stay zero."""
        if op.is_dot:
            row[op.w : op.w + op.x.n] = W[:, 0]
        elif op.is_dense:
            panels = self._panels(op, row)
            for j in range(len(panels)):
                part = W[:, j * self.shape.panel : (j + 1) * self.shape.panel]
                panels[j, : op.x.n, : part.shape[1]] = part
        else:
            row[op.w : op.w + op.out.n] = W
        if b is not None:
            row[op.b : op.b + op.out.n] = b

    def unpack(self, op: Operation, row: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Copies of W (n_in, n_out), or gamma, and b, or beta, of `op`; b is None without bias."""
        b = row[op.b : op.b + op.out.n].copy() if op.has_bias else None
        if not op.is_dense:
            return row[op.w : op.w + op.out.n].copy(), b
        if op.is_dot:
            return row[op.w : op.w + op.x.n, None].copy(), b
        panels = self._panels(op, row)[:, : op.x.n]
        W = panels.transpose(1, 0, 2).reshape(op.x.n, -1)[:, : op.out.n]
        return W.copy(), b  # ascontiguousarray would give a view where there is one panel, or one input

    @staticmethod
    def statistics_of(op: Operation, statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views of the running mean and variance of a batch norm."""
        start, n = op.statistics, op.out.n
        return statistics[start : start + n], statistics[start + n : start + 2 * n]

    def _panels(self, op: Operation, row: np.ndarray) -> np.ndarray:
        return row[op.w : op.w + op.n_weights].reshape(-1, self.shape.pad(op.x.n), self.shape.panel)


def aligned(n: int, dtype: str) -> np.ndarray:
    """n zeros of `dtype` that start on a cache line."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(n + ALIGNMENT // itemsize, dtype)
    skip = -raw.ctypes.data % ALIGNMENT // itemsize
    return raw[skip : skip + n]
