"""Sums over partitions that do not depend on who adds what: a binary tree over their numbers.

The sum of a node is that of its left and its right half, in this order; a half in which no partition has anything to
add is left out. Whoever has both halves may add them: the bits are the same for any groups. Sums are kept in the dtype
of what is added: for P partitions a number is rounded log2 P times on its way up, fewer times than in the updates that
made it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .messages import Node


class OrderedSum:
    """What one group of partitions adds up: numbers that follow each other, of `n_leaves` partitions in all.

    Attributes
    ----------
    nodes : list of Node
        The sums so far: at most 2 log2 n_leaves.
    """

    def __init__(self, n_leaves: int) -> None:
        self.n_leaves = n_leaves
        self.nodes: list[Node] = []
        self._first = self._next = 0

    def add(self, number: int, vector: np.ndarray) -> None:
        """Add what partition `number` has; numbers grow, and those that are left out between them have nothing.

        The array becomes part of the sum: others may be added to it.
        """
        if not (number < self.n_leaves and (number >= self._next or not self.nodes)):
            raise ValueError(f"partition {number} of {self.n_leaves} was added behind partition {self._next - 1}")
        if not self.nodes:
            self._first = number
        self._next = number + 1
        known = self._first, self._next, self.n_leaves
        self.nodes = _settled([*self.nodes, Node(0, number, vector)], known, operator.iadd)


def merge(nodes: Iterable[Node], n_leaves: int) -> list[Node]:
    """Add what can be added of the nodes of several groups, in any order."""
    return _settled(sorted(nodes, key=_start), (n_leaves, n_leaves, n_leaves))


def total(nodes: Iterable[Node], n_leaves: int) -> np.ndarray:
    """The sum of all that there is.

    Raises
    ------
    ValueError
        If there is nothing.
    """
    root = _settled(sorted(nodes, key=_start), (0, n_leaves, n_leaves))
    if not root:
        raise ValueError("there is nothing to add: no partition made an update")
    return root[0].vector


def _start(node: Node) -> int:
    return node.index << node.level


def _settled(
    nodes: list[Node], known: tuple[int, int, int], add: Callable[[Any, Any], np.ndarray] = operator.add
) -> list[Node]:
    """Nodes, in order, with all halves added of which nothing is missing.

    `known` is (first, last, n_leaves): partitions first..last that are in no node have nothing to add, nor have those
    from n_leaves on.
    """
    settled: list[Node] = []
    for k, node in enumerate(nodes):
        following = _start(nodes[k + 1]) if k + 1 < len(nodes) else None
        settled.append(node)
        while (1 << settled[-1].level) < known[2]:
            top, before = settled[-1], settled[-2] if len(settled) > 1 else None
            if before is not None and _are_halves(before, top):
                settled[-2:] = [Node(top.level + 1, top.index >> 1, add(before.vector, top.vector))]
            elif _is_alone(top, before, following, known):
                settled[-1] = Node(top.level + 1, top.index >> 1, top.vector)
            else:
                break
    return settled


def _are_halves(left: Node, right: Node) -> bool:
    return left.level == right.level and left.index % 2 == 0 and right.index == left.index + 1


def _is_alone(node: Node, before: Node | None, following: int | None, known: tuple[int, int, int]) -> bool:
    """Whether the other half of the node above `node` has nothing; `following` is where the node after it starts."""
    first, last, n_leaves = known
    start = (node.index ^ 1) << node.level
    end = start + (1 << node.level)
    if start >= n_leaves:
        return True
    if not first <= start < min(end, n_leaves) <= last:
        return False
    if start < _start(node):
        return before is None or _start(before) + (1 << before.level) <= start
    return following is None or following >= end
