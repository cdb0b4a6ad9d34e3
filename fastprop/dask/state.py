"""A network's state as one vector: what client and workers send each other, whatever the registers of their machines.

Order: the parameters (W, b, or gamma, beta, of each layer), the running statistics of batch norms, then each slot of
the optimizer in the order of the parameters. Pads are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import models
from ..plan import Plan
from ..workspace import Parameters
from .messages import State

if TYPE_CHECKING:
    from ..network import Network


@dataclass(frozen=True, eq=False)
class Layout:
    """Where what lies in a state vector of a network with this plan, and an optimizer with `n_slots` slots."""

    plan: Plan
    n_slots: int

    @classmethod
    def of(cls, plan: Plan, rule: Any) -> Layout:
        """The layout for a plan and an update rule, or its class."""
        return cls(plan, rule.n_slots)

    @property
    def n_parameters(self) -> int:
        """Numbers at the beginning that are parameters."""
        return self.plan.n_parameters

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.n_parameters * (1 + self.n_slots) + self.plan.n_statistics

    def read(self, parameters: Parameters) -> np.ndarray:
        """The state vector of these parameters: a copy, shape (size,)."""
        vector = np.empty(self.size, self.plan.dtype)
        n, n_statistics = self.n_parameters, self.plan.n_statistics
        self._read_row(parameters.rows[0], vector[:n])
        vector[n : n + n_statistics] = parameters.statistics
        for k in range(self.n_slots):
            start = n * (1 + k) + n_statistics
            self._read_row(parameters.rows[2 + k], vector[start : start + n])
        return vector

    def write(self, parameters: Parameters, vector: np.ndarray) -> None:
        """The reverse of `read`; forgets stored gradients."""
        if vector.shape != (self.size,):
            raise ValueError(f"the state of this network has {self.size} numbers, got {vector.shape}")
        n, n_statistics = self.n_parameters, self.plan.n_statistics
        self._write_row(parameters.rows[0], vector[:n])
        parameters.rows[1] = 0
        parameters.statistics[:] = vector[n : n + n_statistics]
        for k in range(self.n_slots):
            start = n * (1 + k) + n_statistics
            self._write_row(parameters.rows[2 + k], vector[start : start + n])

    def gradient(self, parameters: Parameters) -> np.ndarray:
        """The stored gradients in the order of a state vector: a copy, shape (n_parameters,)."""
        vector = np.empty(self.n_parameters, self.plan.dtype)
        self._read_row(parameters.rows[1], vector)
        return vector

    def set_gradient(self, parameters: Parameters, vector: np.ndarray) -> None:
        """The reverse of `gradient`."""
        self._write_row(parameters.rows[1], vector)

    def origin(self, vector: np.ndarray) -> np.ndarray:
        """What the change of a replica is counted from, and its mean is added to: the parameters, and zeros behind.

        Squared gradients and variances are averaged as they are: state + mean(change) may round to below zero.
        """
        origin = np.zeros_like(vector)
        origin[: self.n_parameters] = vector[: self.n_parameters]
        return origin

    def _read_row(self, row: np.ndarray, out: np.ndarray) -> None:
        start = 0
        for op in self.plan.parametric:
            for array in self.plan.unpack(op, row):
                if array is not None:
                    out[start : start + array.size] = array.ravel()
                    start += array.size

    def _write_row(self, row: np.ndarray, vector: np.ndarray) -> None:
        start = 0
        for op in self.plan.parametric:
            parts: list[Any] = []
            for shape in models.expected_shapes(op):
                n = 0 if shape is None else int(np.prod(shape))
                parts.append(None if shape is None else vector[start : start + n].reshape(shape))
                start += n
            self.plan.pack(op, row, *parts)


def layout_of(net: Network) -> Layout:
    """The layout of a built network's state."""
    return Layout.of(net._built(), net.optimizer.rule())


def taken(net: Network) -> State:
    """The state of a built network, copied. One whose optimizer was changed begins anew with that one's slots."""
    net._parameters = models.fitting(net._built(), net._parameters, net.optimizer.rule())
    return State(layout_of(net).read(net._parameters), net._parameters.count)


def put(net: Network, state: State) -> None:
    """Make `state` that of a built network, in place: engines that were made for its parameters stay good."""
    net._parameters = models.fitting(net._built(), net._parameters, net.optimizer.rule())
    layout_of(net).write(net._parameters, state.vector)
    net._parameters.count = state.count
