"""What client and workers tell each other: small records, besides the vectors of a network's state.

A *partition* is a part of the rows that stays the same for a whole fit, whoever works on it. In a *round* each
partition gives one answer to a state; a *group* is the partitions that follow each other which one task works on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class State:
    """What a round begins with.

    Attributes
    ----------
    vector : ndarray of shape (n,)
        Everything that training changes, without pads, in the network's dtype; see `state.Layout`.
    count : int
        Updates done: of the busiest partition's replica, or of the network in mode "sync".
    """

    vector: np.ndarray
    count: int


@dataclass(frozen=True)
class Share:
    """Which part of an epoch a round is.

    Round number `number` of `n_rounds` trains updates [U number // n_rounds, U (number + 1) // n_rounds) of a partition
    that makes U in the epoch, so that all partitions end the epoch together, however large they are.

    Attributes
    ----------
    epoch : int
        Counted from the network's first, over all fits.
    number, n_rounds : int
    rates : ndarray of float64
        The learning rates of the updates from `State.count` on, as many as the busiest partition makes.
    mean_weight : float
        Of a row. Changes are multiplied by sums of weights in this unit: weights may be of any size, float32 not.
    """

    epoch: int
    number: int
    n_rounds: int
    rates: np.ndarray
    mean_weight: float = 1.0


@dataclass(frozen=True)
class Statistics:
    """What a partition tells of its part of a round, besides the change.

    `loss` and `penalty` are sums over rows (weighted by `weight`, whose sum over the rows is given); `seconds` is the
    time that the worker took for it, reading included. `mass` is what the change of a replica was multiplied with: its
    rows, or the sum of their weights in the unit `Share.mean_weight`.
    """

    number: int
    n_rows: int
    n_updates: int
    loss: float
    weight: float
    penalty: float
    seconds: float
    mass: float = 0.0


@dataclass(frozen=True, eq=False)
class Node:
    """The sum of the vectors of partitions [index 2^level, (index + 1) 2^level), added in their order; see `sums`."""

    level: int
    index: int
    vector: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """What a group gives back."""

    sums: list[Node]
    statistics: list[Statistics]
    worker: str = ""
