"""The client's side of mode "sync": an update from the gradient that the workers summed up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import engines, models
from ..kernels import records
from ..workspace import Form
from .state import layout_of

if TYPE_CHECKING:
    from ..network import Network


class Updater:
    """Makes the updates of a network that `fit` makes once gradients are stored: l1 and l2, clipping, the optimizer.

    Parameters
    ----------
    net : Network
        Built; trained in place.
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        net._parameters = models.fitting(net._built(), net._parameters, net.optimizer.rule())
        self._layout = layout_of(net)

    def apply(self, gradient: np.ndarray, lr: float, weight_sum: float) -> float:
        """Make an update.

        Parameters
        ----------
        gradient : ndarray of shape (n_parameters,)
            Of the mean loss of the batch, in the order of `state.Layout`.
        lr : float
        weight_sum : float
            Of the sample weights of the batch.

        Returns
        -------
        float
            What l1 and l2 added to the loss before the update.
        """
        net, parameters = self.net, self.net._parameters
        # A chunk without rows adds nothing to the gradient, and being the last of an update makes it.
        chunk = np.zeros(1, records.CHUNK)
        chunk["count"], chunk["lr"], chunk["is_last"] = parameters.count + 1, lr, 1
        chunk["inverse_weight"] = 1.0 / weight_sum
        job = engines.Job(net._built(), parameters, engines.recipe_of(net, "train"), Form())
        with net._engines.lend(job, 1, 1, accumulates=True) as engine:
            engine.set_rows(None)
            engine.set_chunks(chunk)
            parameters.rows[1] = self._layout.padded(gradient)
            engine.run(0, 1)
        parameters.count += 1
        return float(chunk["penalty"][0])
