"""What gives the network that `fit` trains: one that is there, or one that is made once the data are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from ..network import Network
from .conversion import replica_rows
from .looks import Question


@dataclass(frozen=True, eq=False)
class Facts:
    """What the survey of all partitions found that a network must fit.

    Attributes
    ----------
    n_features : int
    dtype : str
        Of a network for X: float32 if X is that in all partitions, else float64.
    classes : ndarray of shape (n_classes,), or None
        The sorted labels, where y has one a row.
    n_targets : int
        Columns of y.
    rows : list of int
        Of each partition, without those that are held out.
    mean_weight : float
        Of a row, class weights included.
    """

    n_features: int
    dtype: str
    classes: np.ndarray | None
    n_targets: int
    rows: list[int]
    mean_weight: float = 1.0

    @property
    def n_rows(self) -> int:
        """Of all partitions."""
        return sum(self.rows)

    def batch_rows(self, batch_size: int, mode: str) -> int:
        """Rows of an update where it is made: of a replica, or in mode "sync" of the network."""
        return batch_size if mode == "sync" else replica_rows(batch_size, len(self.rows)) or batch_size

    def updates(self, batch_size: int, mode: str) -> int:
        """Updates of an epoch: of the partition that makes most, or in mode "sync" of all together."""
        return -(-(self.n_rows if mode == "sync" else max(self.rows)) // self.batch_rows(batch_size, mode))


class Draft(ABC):
    """What gives a network to the data.

    Attributes
    ----------
    net : Network or None
        Once there is one.
    """

    net: Network | None = None

    @abstractmethod
    def question(self) -> Question:
        """What the rows have to fit."""

    @abstractmethod
    def network(self, facts: Facts) -> Network:
        """The network; called once, here and not on workers, before the first round. Sets `net`."""


class Ready(Draft):
    """A network that is there."""

    def __init__(self, net: Network) -> None:
        if not isinstance(net, Network):
            raise TypeError(
                f"net must be a fastprop.Network, got {type(net).__name__}; estimators for a cluster are "
                f"fastprop.dask.DaskMLPClassifier, DaskMLPRegressor, DaskSGDClassifier and DaskSGDRegressor"
            )
        self.net: Network = net

    def question(self) -> Question:
        net = self.net
        return Question(net.layers, net.loss, net.dtype, net.classes_, seed=net.seed)

    def network(self, facts: Facts) -> Network:
        return self.net
