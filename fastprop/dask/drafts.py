"""A network that is made once the data are known: what an estimator gives to `fit` in place of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    from ..network import Network


@dataclass(frozen=True, eq=False)
class Facts:
    """What the survey of all partitions found that a network must fit.

    Attributes
    ----------
    n_features : int
    dtype : dtype
        Of X: float32 if that of all partitions is.
    classes : ndarray of shape (n_classes,), or None
        The sorted labels, where y has one a row and the loss is for labels.
    n_targets : int
        Columns of y.
    one_dimensional : bool
        Whether y is.
    rows : list of int
        Of each partition, without those that are held out.
    weight : float
        The sum of the weights of these rows, class weights included.
    """

    n_features: int
    dtype: np.dtype
    classes: np.ndarray | None
    n_targets: int
    one_dimensional: bool
    rows: list[int]
    weight: float

    @property
    def n_rows(self) -> int:
        """Of all partitions."""
        return sum(self.rows)


class Draft(Protocol):
    """An object that makes the network.

    Attributes
    ----------
    for_labels : bool
        Whether y holds labels, not numbers.
    """

    for_labels: ClassVar[bool]

    def network(self, facts: Facts) -> Network:
        """The network, built: called once, on the client, before the first round."""
