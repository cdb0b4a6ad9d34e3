"""Is CSR what scipy calls canonical? One pass over the indices: NumPy takes three, and misses the cache at each row."""

from __future__ import annotations

from .jit import forced
from .sparse import CODE_INT32, read_index

CODE_INT64 = 6


@forced
def grows(indices, code, start, stop, n_columns):
    """Whether indices start..stop-1 lie within 0..n_columns-1 and grow."""
    last, flaws = -1, 0
    for k in range(start, stop):
        column = read_index(indices, code, k)
        flaws |= column <= last
        last = column
    return flaws == 0 and last < n_columns


def first_flaw(indices, indices_code, indptr, indptr_code, n_rows, n_columns):
    """The first row of CSR whose indices are out of range, unsorted or there twice; -1 if there is none.

    `indices` and `indptr` are addresses; indptr must not decrease nor end behind the indices.
    """
    stop = read_index(indptr, indptr_code, 0)
    for row in range(n_rows):
        start, stop = stop, read_index(indptr, indptr_code, row + 1)
        if indices_code == CODE_INT32:  # a constant for each branch, so that the loop does not ask at each index
            good = grows(indices, CODE_INT32, start, stop, n_columns)
        else:
            good = grows(indices, CODE_INT64, start, stop, n_columns)
        if not good:
            return row
    return -1
