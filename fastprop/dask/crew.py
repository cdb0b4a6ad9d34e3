"""The workers of a fit and what they hold: one task a group of partitions, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from distributed import Future

from .cluster import Cluster
from .messages import Answer, State
from .sums import merge
from .welcome import welcome

T = TypeVar("T")
Task: TypeAlias = "tuple[Any, ...]"  # a function, and its arguments: futures among them are dependencies
# A task each embeds a state of this size at most: a larger one goes up once, as a task that Dask can run again, which
# scattered data is not. 670,000 floats: 61 ms a round instead of 85.
EMBEDDED_BYTES = 100_000
FAN_IN = 8  # answers that one task, or the client, adds up


def itself(value: T) -> T:
    """What makes a value the result of a task."""
    return value


class Crew:
    """The partitions of a fit on a cluster.

    Parameters
    ----------
    cluster : Cluster
    job : Future
        Of a `job.Job`; each worker keeps it, and the engines that it makes for it.
    parts : list of Future or Part
    rows : list of int
        Of each partition.
    """

    def __init__(self, cluster: Cluster, job: Future, parts: Sequence[Any], rows: Sequence[int]) -> None:
        self.cluster, self.job, self.parts, self.rows = cluster, job, list(parts), list(rows)
        self._welcomed: dict[str, Future] = {}

    def sent(self, state: State) -> State | Future:
        """The state as an argument of tasks."""
        return state if state.vector.nbytes <= EMBEDDED_BYTES else self.cluster.submit(itself, state, name="state")

    def ask(self, state: State, work: Callable[[Any, range], Task | None], what: str, name: str) -> list[Any]:
        """The answers of all groups, in the order of partitions.

        Parameters
        ----------
        state : State
            To be sent.
        work : callable
            Gives the task for what was sent and the partitions of a group; None if there is nothing to do.
        what : str
            For messages, such as "round 3 of epoch 0".
        name : str
            Of the tasks.
        """
        return self.cluster.run(lambda: self._submitted(state, work, name), what)

    def answers(self, state: State, work: Callable[[Any, range], Task | None], what: str, name: str) -> list[Answer]:
        """As `ask`, for tasks that give an `Answer` each; those of many workers are added up by tasks."""
        return self.cluster.run(lambda: self._joined(self._submitted(state, work, name)), what)

    def _submitted(self, state: State, work: Callable[[Any, range], Task | None], name: str) -> list[Future]:
        sent = self.sent(state)
        groups = self.cluster.groups(self.rows, self._are_ready)
        tasks = [(work(sent, numbers), address) for numbers, address in groups]
        return [self.cluster.submit(*task, name=name, address=address) for task, address in tasks if task is not None]

    def _are_ready(self, addresses: Sequence[str]) -> list[bool]:
        """Which workers have been welcomed; the others are, so that a late one gets no work that all would wait for."""
        for address in addresses:
            if address not in self._welcomed:
                self._welcomed[address] = self.cluster.submit(
                    welcome, self.job, name="welcome", address=address, tied=True
                )
        states = {address: self._welcomed[address].status for address in addresses}
        if "error" in states.values():  # other versions, or what a round will find out too
            self.cluster.finds_unfit()
        return [states[a] in ("finished", "error") and a not in self.cluster.unfit for a in addresses]

    def _joined(self, answers: list[Future]) -> list[Future]:
        while len(answers) > FAN_IN:
            parts = [answers[i : i + FAN_IN] for i in range(0, len(answers), FAN_IN)]
            answers = [self.cluster.submit(joined, part, len(self.parts), name="sum") for part in parts]
        return answers


def joined(answers: Sequence[Answer], n_partitions: int) -> Answer:
    """Answers of groups that follow each other as one."""
    nodes = merge([node for answer in answers for node in answer.sums], n_partitions)
    return replace(answers[0], sums=nodes, statistics=[told for answer in answers for told in answer.statistics])
