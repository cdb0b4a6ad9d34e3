"""How well a network does on partitions: scores that can be added, in the order of the partitions."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..passes import loss_and_outputs
from ..targets import decode
from ..validation import Rows, RunningR2, score, take

if TYPE_CHECKING:
    from ..network import Network


@dataclass(frozen=True, eq=False)
class Score:
    """The loss and the metric of some rows.

    Attributes
    ----------
    n : int
        Rows.
    loss : float
        Their sum, without penalties.
    right : int
        Rows whose labels are predicted right.
    r2 : RunningR2 or None
        For numbers.
    """

    n: int = 0
    loss: float = 0.0
    right: int = 0
    r2: RunningR2 | None = None

    def merge(self, other: Score) -> Score:
        """The score of these rows and those of `other`, which come behind them."""
        r2 = self.r2 or other.r2
        if self.r2 is not None and other.r2 is not None:
            r2 = copy.deepcopy(self.r2)
            r2.merge(other.r2)
        return Score(self.n + other.n, self.loss + other.loss, self.right + other.right, r2)

    def metrics(self) -> dict[str, float]:
        """As `Network.evaluate` gives them: "loss", and "accuracy" or "r2".

        Raises
        ------
        ValueError
            If there are no rows.
        """
        if not self.n:
            raise ValueError("there are no rows to evaluate")
        metric = {"accuracy": self.right / self.n} if self.r2 is None else {"r2": self.r2.value}
        return {"loss": self.loss / self.n, **metric}


def merged(scores: Iterable[Score]) -> Score:
    """The score of all rows of these scores, added in their order."""
    total = Score()
    for one in scores:
        total = total.merge(one)
    return total


def score_of(net: Network, rows: Rows, n_threads: int | None = None) -> Score:
    """The score of the rows to use; sample weights do not count, as in `Network.evaluate`."""
    if rows.numbers is not None:
        rows = take(rows, rows.numbers)
    loss, raw = loss_and_outputs(net, rows.matrix, rows.targets, n_threads)
    n = len(raw)
    if net.loss.task != "regression":
        return Score(n, loss * n, round(score(raw, rows.targets, net.loss)["accuracy"] * n))
    r2 = RunningR2(raw.shape[1])
    r2.add(rows.targets.matrix.array, decode(raw, net.loss, None, one_dimensional=False))
    return Score(n, loss * n, r2=r2)
