"""The structure of CSR: the first row that is not canonical is found wherever it is."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastprop.checks import DTYPE_CODES
from fastprop.kernels.catalogue import first_flaw

pytestmark = pytest.mark.quick

WIDTH = 50


def flaw_of(indices, indptr):
    addresses = [(a.ctypes.data, DTYPE_CODES[a.dtype.str]) for a in (indices, indptr)]
    return first_flaw(*addresses[0], *addresses[1], len(indptr) - 1, WIDTH)


def ref_flaw(indices, indptr):
    for i, (start, stop) in enumerate(pairwise(indptr)):
        row = indices[start:stop]
        if len(row) and (row[0] < 0 or row[-1] >= WIDTH or (np.diff(row) <= 0).any()):
            return i
    return -1


@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(0, 3), st.sampled_from(["i4", "i8"]))
def test_first_flaw(seed, n_rows, n_flaws, dtype):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 30, n_rows) * (rng.random(n_rows) < rng.random())  # many rows are empty
    rows = [np.sort(rng.permutation(WIDTH)[:length]) for length in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(dtype)
    indices = np.concatenate([*rows, [0]]).astype(dtype)
    for _ in range(n_flaws):
        indices[rng.integers(len(indices))] += rng.integers(-60, 60)
    assert flaw_of(indices, indptr) == ref_flaw(indices, indptr)
