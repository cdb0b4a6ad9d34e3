"""Is CSR what scipy calls canonical? One pass over the indices: NumPy takes three, and misses the cache at each row.

Indices of a row grow where each is above the one before it. So many rows at a time are read as one: the places where
the next index is not above the last are counted on registers, and must all be places where a row starts.
"""

from __future__ import annotations

from .jit import forced
from .linear_step import LINE, columns_at, prefetch_lines
from .simd import index_pointer
from .sparse import CODE_INT32, read_index

ROWS = 128  # that are read as one; their indices stay in L1 or L2
BLOCK = 256  # indices between prefetches
AHEAD = 2048  # bytes: 1.2 times as long as NumPy takes for the largest index; without prefetches 1.6 times


@forced
def grows(columns, start, stop, n_columns):
    """Whether columns[start:stop] lie within 0..n_columns-1 and grow."""
    last = -1
    for k in range(start, stop):
        if columns[k] <= last:
            return False
        last = columns[k]
    return last < n_columns


@forced
def all_grow(address, size, columns, indptr, indptr_code, first, last, n_columns):
    """`grows` for all rows first..last-1."""
    start, stop, n = read_index(indptr, indptr_code, first), read_index(indptr, indptr_code, last), 0
    if start == stop:
        return True
    for some in range(start + 1, stop, BLOCK):
        end = min(some + BLOCK, stop)
        prefetch_lines(address + end * size + AHEAD, BLOCK * size // LINE)
        for k in range(some, end):
            n += columns[k] <= columns[k - 1]
    good, former = columns[start] >= 0 and columns[stop - 1] < n_columns, start
    for row in range(first + 1, last):
        at = read_index(indptr, indptr_code, row)
        if former < at and at < stop:  # a row that is not empty ends here
            n -= columns[at] <= columns[at - 1]
            good &= columns[at] >= 0 and columns[at - 1] < n_columns
            former = at
    return good and n == 0


@forced
def first_bad_row(address, size, columns, indptr, indptr_code, n_rows, n_columns):
    """The first row that does not grow, or -1."""
    for first in range(0, n_rows, ROWS):
        last = min(first + ROWS, n_rows)
        if all_grow(address, size, columns, indptr, indptr_code, first, last, n_columns):
            continue
        for row in range(first, last):
            start, stop = read_index(indptr, indptr_code, row), read_index(indptr, indptr_code, row + 1)
            if not grows(columns, start, stop, n_columns):
                return row
    return -1


def first_flaw(indices, indices_code, indptr, indptr_code, n_rows, n_columns):
    """The first row of CSR whose indices are out of range, unsorted or there twice; -1 if there is none.

    `indices` and `indptr` are addresses; indptr must not decrease nor end behind the indices.
    """
    if indices_code == CODE_INT32:
        return first_bad_row(indices, 4, columns_at(indices), indptr, indptr_code, n_rows, n_columns)
    return first_bad_row(indices, 8, index_pointer(indices), indptr, indptr_code, n_rows, n_columns)
