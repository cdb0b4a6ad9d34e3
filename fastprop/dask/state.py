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
    def n_shown(self) -> int:
        """Numbers at the beginning that predictions depend on: all but the slots."""
        return self.n_parameters + self.plan.n_statistics

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.n_shown + self.n_parameters * self.n_slots

    def read(self, parameters: Parameters) -> np.ndarray:
        """The state vector of these parameters, copied: shape (size,)."""
        return self.joined(parameters.rows[0], parameters.statistics, parameters.rows[2:])

    def joined(self, parameters: np.ndarray, statistics: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """The state vector of rows with pads."""
        vector = np.empty(self.size, self.plan.dtype)
        self._read_row(parameters, vector[: self.n_parameters])
        vector[self.n_parameters : self.n_shown] = statistics
        for row, part in zip(slots, self._slots(vector), strict=True):
            self._read_row(row, part)
        return vector

    def write(self, parameters: Parameters, vector: np.ndarray, slots: bool = True) -> None:
        """The reverse of `read`; forgets stored gradients. Without slots, theirs may be missing in `vector`."""
        if vector.shape != (self.size,) and (slots or vector.shape != (self.n_shown,)):
            raise ValueError(f"the state of this network has {self.size} numbers, got {vector.shape}")
        self._write_row(parameters.rows[0], vector[: self.n_parameters])
        parameters.rows[1] = 0
        parameters.statistics[:] = vector[self.n_parameters : self.n_shown]
        if slots:
            for row, part in zip(parameters.rows[2:], self._slots(vector), strict=True):
                self._write_row(row, part)

    def unpadded(self, row: np.ndarray) -> np.ndarray:
        """A row of `Parameters`, say stored gradients, in the order of a state vector: shape (n_parameters,)."""
        vector = np.empty(self.n_parameters, self.plan.dtype)
        self._read_row(row, vector)
        return vector

    def padded(self, vector: np.ndarray) -> np.ndarray:
        """The reverse of `unpadded`."""
        row = np.zeros(self.plan.row_length, self.plan.dtype)
        self._write_row(row, vector)
        return row

    def origin(self, vector: np.ndarray) -> np.ndarray:
        """What the change of a replica is counted from, and its mean is added to: the parameters, and zeros behind.

        Squared gradients and variances are averaged as they are: state + mean(change) may round to below zero.
        """
        origin = np.zeros_like(vector)
        origin[: self.n_parameters] = vector[: self.n_parameters]
        return origin

    def _slots(self, vector: np.ndarray) -> list[np.ndarray]:
        """The parts of a state vector that are slots."""
        return list(vector[self.n_shown :].reshape(self.n_slots, self.n_parameters))

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


def shown(net: Network, state: State) -> State:
    """A state without the optimizer's slots: enough for gradients and evaluations, and a third as long for Adam."""
    return State(state.vector[: layout_of(net).n_shown], state.count)


def put(net: Network, state: State, slots: bool = True) -> None:
    """Make `state`, with or without its slots, that of a built network.

    It is written in place: engines that were made for the network's parameters stay good.
    """
    net._parameters = models.fitting(net._built(), net._parameters, net.optimizer.rule())
    layout_of(net).write(net._parameters, state.vector, slots)
    net._parameters.count = state.count


class Replicas:
    """Replicas of a network that begin with the same state, one after the other, and their changes.

    Changes have the pads of this machine until they leave it: for 2 million numbers a copy takes 2 ms, packing 7.

    Parameters
    ----------
    net : Network
        Built; whose parameters all of them train.
    state : State
    """

    def __init__(self, net: Network, state: State) -> None:
        put(net, state)
        self._layout, self._parameters = layout_of(net), net._parameters
        self._start = net._parameters.snapshot()

    def begin(self) -> None:
        """Go to the state."""
        self._parameters.restore(self._start)

    def change(self, factor: float) -> np.ndarray:
        """`factor` times the difference to `Layout.origin` of the state."""
        rows, statistics, _ = self._start
        change = np.empty(rows.size + statistics.size, rows.dtype)
        made = change[: rows.size].reshape(rows.shape)
        np.subtract(self._parameters.rows[0], rows[0], out=made[0])
        made[0] *= factor
        np.multiply(self._parameters.rows[2:], factor, out=made[1:])
        np.multiply(self._parameters.statistics, factor, out=change[rows.size :])
        return change

    def is_finite(self) -> bool:
        """Whether all parameters are."""
        row = self._parameters.rows[0]
        return bool(np.isfinite([row.min(), row.max()]).all())  # either is NaN if a number is; makes no array

    def vector(self, change: np.ndarray) -> np.ndarray:
        """A change, or a sum of them, in the order of a state vector."""
        rows = change[: self._start[0].size].reshape(self._start[0].shape)
        return self._layout.joined(rows[0], change[rows.size :], rows[1:])
