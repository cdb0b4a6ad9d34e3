"""Errors of training on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..network import Network


class ClusterError(RuntimeError):
    """Training cannot go on because the cluster cannot: its last worker is gone, its scheduler, or the client.

    Attributes
    ----------
    net : Network or None
        With the weights and the optimizer's state of the last complete round. None if an estimator had none yet.
    """

    def __init__(self, message: str, net: Network | None) -> None:
        super().__init__(message)
        self.net = net

    def __reduce__(self) -> tuple[Any, ...]:
        """With both arguments: errors of a fit in a task or another process arrive pickled."""
        return type(self), (str(self), self.net)
