"""Linear models, sample by sample, on dense rows: one pass over w for the dot, one for the update.

    z = w x + b
    w = shrink w + change x        then l1, then its average, in the same pass

Rows of the model's dtype are read in place, others are cast into a row of their own first. Random rows come from
memory: those that come later are prefetched.
"""

from __future__ import annotations

import numpy as np
from numba.core import types

from .access import descent_at, source_at
from .gather import cast_row
from .jit import forced
from .linear_step import change_of, keep_margin, row_number, specification, weight_of
from .records import LINE, NON_FINITE, OK, PA1, RATES
from .simd import (
    add_squares,
    double_pointer,
    fma,
    hsum,
    itemsize_of,
    lanes_of,
    load,
    load_first,
    pointer,
    prefetch,
    splat,
    store,
)
from .sync import flush_denormals, restore_mode

FLUSH = 64  # rows whose penalties are summed in the model's dtype

float32_spec, float64_spec = specification(types.float32), specification(types.float64)


@forced
def dot(spec, x, w, n):
    """w x of n features, in four sums; zeros follow w, nothing is read beyond x."""
    L, k = lanes_of(spec), 0
    s = t = u = v = splat(spec, 0.0)
    while k + 4 * L <= n:
        s, t = fma(load(x, k), load(w, k), s), fma(load(x, k + L), load(w, k + L), t)
        u = fma(load(x, k + 2 * L), load(w, k + 2 * L), u)
        v = fma(load(x, k + 3 * L), load(w, k + 3 * L), v)
        k += 4 * L
    while k + L <= n:
        s = fma(load(x, k), load(w, k), s)
        k += L
    if k < n:
        t = fma(load_first(x, k, n - k), load(w, k), t)
    return hsum((s + t) + (u + v))


@forced
def squares(spec, x, n):
    """|x|^2, float64: in float32 it leaves its range where x is beyond 1e-22 or 1e19."""
    L, total, k = lanes_of(spec), splat(float64_spec(), 0.0), 0
    while k + L <= n:
        total = add_squares(total, load(x, k))
        k += L
    if k < n:
        total = add_squares(total, load_first(x, k, n - k))
    return hsum(total)


@forced
def truncated(spec, w, paid, k, owed):
    """w, moved towards 0 by what is owed and not paid yet, but not beyond it. Writes paid[k:]."""
    q = load(paid, k)
    smaller = np.where(w > 0.0, max(w - (owed + q), 0.0), np.where(w < 0.0, min(w + (owed - q), 0.0), w))
    store(paid, k, q + (smaller - w))
    return smaller


@forced
def update_register(spec, d, w, average, paid, k, x, change, shrink, mu, owed):
    """One register of the update; returns what was there. Writes w, average and paid, the latter if there are any."""
    old = load(w, k)
    new = fma(change, x, shrink * old)
    if d.paid != 0:
        new = truncated(spec, new, paid, k, owed)
    if d.average_w != 0:
        mean = load(average, k)
        store(average, k, fma(mu, new - mean, mean))
    store(w, k, new)
    return old


@forced
def update(spec, d, x, change, shrink, mu, owed):
    """Update all weights; returns the register of l2 w^2 / 2 + l1 |w| over the old ones."""
    L, n, k = lanes_of(spec), d.n_features, 0
    w, average, paid = pointer(spec, d.w), pointer(spec, d.average_w), pointer(spec, d.paid)
    change, shrink = splat(spec, change), splat(spec, shrink)
    mu, owed = splat(spec, mu), splat(spec, owed)
    half, l1, penalty = splat(spec, 0.5 * d.l2), splat(spec, d.l1), splat(spec, 0.0)
    while k + L <= n:
        old = update_register(spec, d, w, average, paid, k, load(x, k), change, shrink, mu, owed)
        penalty = fma(half * old, old, fma(l1, abs(old), penalty))
        k += L
    if k < n:
        old = update_register(spec, d, w, average, paid, k, load_first(x, k, n - k), change, shrink, mu, owed)
        penalty = fma(half * old, old, fma(l1, abs(old), penalty))
    return penalty


@forced
def descend_dense(spec, address):
    """Rows d.first to d.last of the descent at `address`; returns its status. Writes the model and d.done."""
    d = descent_at(address, 0)
    source, size = source_at(d.source, 0), itemsize_of(spec)
    code, base, stride, row_stride = source.code, source.address, source.column_stride, source.row_stride
    is_plain, n = code == (0 if size == 4 else 1) and stride == size, d.n_features
    n_lines, jump = (n * abs(stride) + LINE - 1) // LINE + 1, LINE if stride > 0 else -LINE
    if abs(stride) >= LINE:
        n_lines, jump = n, stride
    w, y, room = pointer(spec, d.w), pointer(spec, d.y), pointer(spec, d.row)
    rates = double_pointer(d.rates)
    rows, first, last, ahead = d.rows, d.first, d.last, d.ahead
    loss, e, schedule, l1, l2 = d.loss, d.parameter, d.schedule, d.l1, d.l2
    t, intercept, average_intercept, owed = d.t, d.intercept, d.average_intercept, d.owed
    penalty, penalty_sum, status, k = splat(spec, 0.0), 0.0, OK, first
    while k < last:
        row, later = row_number(rows, k), row_number(rows, min(k + ahead, last - 1))
        for i in range(n_lines):
            prefetch(base + later * row_stride + i * jump)
        prefetch(d.y + later * size)
        place = base + row * row_stride
        if not is_plain:
            cast_row(spec, code, place, stride, n, room)
            place = d.row
        x = pointer(spec, place)
        z, target = float(dot(spec, x, w, n)) + intercept, float(y[row])
        if z - z != 0.0:
            status = NON_FINITE
            break
        keep_margin(d, k - first, z, target)
        eta, square = rates[k - first], 1.0
        k += 1
        if schedule != RATES:
            square = squares(spec, x, n)
            if schedule == PA1 and square == 0.0:
                continue
        change = change_of(loss, e, schedule, eta, weight_of(d, row, target), z, target, square)
        intercept += change * d.intercept_rate
        mu = 0.0
        if d.average_w != 0 and t >= d.average_from:
            mu = 1.0 / (t - d.average_from + 1.0)
            average_intercept += mu * (intercept - average_intercept)
        owed, shrink = owed + l1 * eta, max(1.0 - l2 * eta, 0.0)
        penalty = penalty + update(spec, d, x, change, shrink, mu, owed)
        if k % FLUSH == 0:
            penalty_sum += float(hsum(penalty))
            penalty = splat(spec, 0.0)
        t += 1.0
    d.t, d.intercept, d.average_intercept, d.owed = t, intercept, average_intercept, owed
    d.penalty_sum += penalty_sum + float(hsum(penalty))
    d.done = k
    return status


def dense_float32(address):
    """`descend_dense` of a float32 model."""
    mode = flush_denormals()
    status = descend_dense(float32_spec(), address)
    restore_mode(mode)
    return status


def dense_float64(address):
    """`descend_dense` of a float64 model."""
    mode = flush_denormals()
    status = descend_dense(float64_spec(), address)
    restore_mode(mode)
    return status
