"""Sums over partitions: the same bits whoever adds what, and whichever partitions have something to add."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastprop.dask.sums import OrderedSum, merge, total

pytestmark = pytest.mark.quick


def ref_total(leaves, start, size):
    """The sum of the leaves within start..start + size; None if there are none."""
    if size == 1:
        return leaves.get(start)
    halves = [ref_total(leaves, start, size // 2), ref_total(leaves, start + size // 2, size // 2)]
    there = [half for half in halves if half is not None]
    return sum(there[1:], there[0]) if there else None


def nodes_of(leaves, first, last, n):
    group = OrderedSum(n)
    for number in range(first, last):
        if number in leaves:
            group.add(number, leaves[number].copy())
    return group.nodes


@given(st.integers(1, 70), st.floats(0.0, 1.0), st.integers(0, 6), st.integers(0, 2**32))
def test_any_groups_give_the_same_bits(n, part_present, n_cuts, seed):
    rng = np.random.default_rng(seed)
    present = np.union1d(np.flatnonzero(rng.random(n) < part_present), [rng.integers(n)]).tolist()
    leaves = {k: rng.normal(size=3).astype(np.float32) * 10.0 ** rng.integers(-3, 4) for k in present}
    cuts = [0, *np.sort(rng.integers(0, n + 1, n_cuts)).tolist(), n]
    groups = [nodes_of(leaves, a, b, n) for a, b in itertools.pairwise(cuts)]
    rng.shuffle(groups)
    expected = ref_total(leaves, 0, 1 << (n - 1).bit_length())
    flat = list(itertools.chain(*groups))
    for node in flat:
        node.vector.flags.writeable = False  # as what a worker holds
    np.testing.assert_array_equal(total(flat, n), expected)
    some = rng.integers(len(groups) + 1)
    stages = [merge(itertools.chain(*part), n) for part in (groups[:some], groups[some:])]
    np.testing.assert_array_equal(total(itertools.chain(*stages), n), expected)


@pytest.mark.parametrize("n", [1, 2, 6, 8, 1000])
def test_a_group_has_few_nodes(n):
    leaves = {k: np.ones(1) for k in range(n)}
    assert len(nodes_of(leaves, 0, n, n)) == 1
    most = max(len(nodes_of(leaves, a, b, n)) for a, b in [(0, n), (n // 3, n), (1, n - 1), (n // 3, 2 * n // 3)])
    assert most <= max(1, 2 * math.log2(n))
    holes = {k: leaves[k] for k in range(0, n, 3)}
    assert len(nodes_of(holes, 0, n, n)) <= max(1, math.log2(n))  # those between two have nothing to add


def test_refusals():
    group = OrderedSum(4)
    group.add(2, np.ones(1))
    for number in (1, 2, 4):
        with pytest.raises(ValueError, match=f"partition {number} of 4 was added behind partition 2"):
            group.add(number, np.ones(1))
    with pytest.raises(ValueError, match="no partition made an update"):
        total([], 4)
