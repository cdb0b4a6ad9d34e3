"""Linear models, sample by sample, on CSR rows: a step costs the row's non-zeros.

    weights   scale w              l2 shrinks the scale only
    average   (average_w + a w) / b

What a step changes w[i] by, a times it is taken from average_w[i]; then the average moves towards the weights by the
two numbers a and b only (Bottou 2012, Stochastic gradient descent tricks). l1 is caught up when a feature is seen.
Where the scale gets too small it goes into w, a and b into average_w.

|w|^2 and |w|_1 follow the changes of the row's weights, and are summed anew in each call.
"""

from __future__ import annotations

from numba.core import types

from .access import descent_at, source_at
from .gather import cast_row
from .jit import forced, inner
from .linear import squares
from .linear_step import (
    change_of,
    columns_at,
    keep_margin,
    number,
    prefetch_lines,
    row_number,
    smallest_scale,
    specification,
    weight_of,
)
from .records import NON_FINITE, OK, PA1, RATES
from .scattered import add_row, row_dot
from .simd import (
    double_pointer,
    fma,
    hsum,
    itemsize_of,
    lanes_of,
    load,
    pointer,
    prefetch,
    splat,
    store,
)
from .sparse import item_size, read_index
from .sync import flush_denormals, restore_mode

float32_spec, float64_spec = specification(types.float32), specification(types.float64)


@forced
def shrunk(spec, w, owed, paid):
    """w, moved towards 0 by what is owed and not paid yet, but not beyond it."""
    if w > 0:
        return max(w - (owed + paid), number(spec, 0.0))
    if w < 0:
        return min(w + (owed - paid), number(spec, 0.0))
    return w


@forced
def scatter_all(spec, d, x, columns, step, n, change, owed):
    """`add_row` with the average and l1, in units of the scale; returns how |w|^2 and |w|_1 changed, in these units."""
    w, average, paid = pointer(spec, d.w), pointer(spec, d.average_w), pointer(spec, d.paid)
    a, scale, square, absolute = number(spec, d.a), number(spec, d.scale), 0.0, 0.0
    owed = number(spec, owed / d.scale)
    for k in range(n):
        i = columns[k * step]
        old = w[i]
        new = old + change * x[k]
        if d.paid != 0:
            untouched, new = new, shrunk(spec, new, owed, paid[i] / scale)
            paid[i] += scale * (new - untouched)
        if d.average_w != 0:
            average[i] -= a * (new - old)
        w[i] = new
        square += (new - old) * (new + old)
        absolute += abs(new) - abs(old)
    return square, absolute


@forced
def norms(spec, w, n):
    """|w|^2 and |w|_1 of n weights; zeros follow."""
    L, square, absolute = lanes_of(spec), 0.0, 0.0
    for k in range(0, n, L):
        v = load(w, k)
        square += float(hsum(v * v))
        absolute += float(hsum(abs(v)))
    return square, absolute


@inner
def fold(spec, d, scale):
    """Put the scale into w, and a and b into its average."""
    L, w, average = lanes_of(spec), pointer(spec, d.w), pointer(spec, d.average_w)
    factor, a, inverse = splat(spec, scale), splat(spec, d.a), splat(spec, 1.0 / d.b)
    for k in range(0, d.n_features, L):
        v = load(w, k)
        if d.average_w != 0:
            store(average, k, fma(a, v, load(average, k)) * inverse)
        store(w, k, factor * v)
    d.scale, d.a, d.b = 1.0, 0.0, 1.0


@forced
def fetch(spec, d, source, k, farther):
    """Prefetch row number k of the pass, and where row number `farther` starts."""
    prefetch(source.indptr + row_number(d.rows, farther) * item_size(source.indptr_code))
    later = row_number(d.rows, k)
    start = read_index(source.indptr, source.indptr_code, later)
    prefetch_lines(source.address + start * item_size(source.code), d.data_lines)
    prefetch_lines(source.indices + start * item_size(source.indices_code), d.index_lines)
    prefetch(d.y + later * itemsize_of(spec))


@forced
def values_at(spec, source, start, n, room):
    """The address of entries start.. in the model's dtype; n of another are cast into the room for a row."""
    size = item_size(source.code)
    place = source.address + start * size
    if source.code == (0 if itemsize_of(spec) == 4 else 1) or n == 0:
        return place
    cast_row(spec, source.code, place, size, n, pointer(spec, room))
    return room


@forced
def row_of(spec, source, row, room):
    """The number of a row's entries, their values and their columns."""
    start = read_index(source.indptr, source.indptr_code, row)
    n = read_index(source.indptr, source.indptr_code, row + 1) - start
    columns = columns_at(source.indices + start * item_size(source.indices_code))
    return n, pointer(spec, values_at(spec, source, start, n, room)), columns


@forced
def descend_sparse(spec, address):
    """Rows d.first to d.last of the descent at `address`; returns its status. Writes the model and d.done."""
    d = descent_at(address, 0)
    source, smallest = source_at(d.source, 0), smallest_scale(spec)
    w, y = pointer(spec, d.w), pointer(spec, d.y)
    rates = double_pointer(d.rates)
    first, last, step = d.first, d.last, item_size(source.indices_code) // 4
    loss, e, schedule, l1, l2 = d.loss, d.parameter, d.schedule, d.l1, d.l2
    asks_square = d.counts_penalty != 0 or schedule != RATES
    is_plain = d.average_w == 0 and d.paid == 0
    t, intercept, scale, square_norm, absolute_norm = d.t, d.intercept, d.scale, 0.0, 0.0
    if d.counts_penalty:
        square_norm, absolute_norm = norms(spec, w, d.n_features)
        square_norm, absolute_norm = square_norm * scale * scale, absolute_norm * scale
    penalty_sum, status, k = 0.0, OK, first
    while k < last:
        fetch(spec, d, source, min(k + d.ahead, last - 1), min(k + 2 * d.ahead, last - 1))
        row = row_number(d.rows, k)
        n, x, columns = row_of(spec, source, row, d.row)
        product = scale * row_dot(spec, x, columns, step, w, n)
        z, target = product + intercept, float(y[row])
        if z - z != 0.0:
            status = NON_FINITE
            break
        keep_margin(d, k - first, z, target)
        penalty_sum += 0.5 * l2 * square_norm + l1 * absolute_norm
        eta = rates[k - first]
        k += 1
        square = squares(spec, x, n) if asks_square else 0.0
        if schedule == PA1 and square == 0.0:
            continue
        shrink = max(1.0 - l2 * eta, 0.0)
        scale *= shrink
        if scale < smallest:
            fold(spec, d, scale)
            scale = 1.0
        inverse = 1.0 / scale
        change = change_of(loss, e, schedule, eta, weight_of(d, row, target), z, target, square)
        intercept += change * d.intercept_rate
        by = number(spec, change * inverse)
        square_norm *= shrink * shrink
        absolute_norm *= shrink
        if is_plain:
            if change != 0.0:
                add_row(x, columns, step, w, n, by)
                square_norm += change * (2.0 * shrink * product + change * square)
        else:
            d.scale = scale
            d.owed += l1 * eta
            more, most = scatter_all(spec, d, x, columns, step, n, by, d.owed)
            square_norm += scale * scale * more
            absolute_norm += scale * most
            if d.average_w != 0 and t >= d.average_from:
                mu = 1.0 / (t - d.average_from + 1.0)
                d.b = d.b / (1.0 - mu) if mu < 1.0 else d.b
                d.a += mu * d.b * scale
                d.average_intercept += mu * (intercept - d.average_intercept)
        t += 1.0
    d.t, d.intercept, d.scale, d.done = t, intercept, scale, k
    d.penalty_sum += penalty_sum
    return status


def sparse_float32(address):
    """`descend_sparse` of a float32 model."""
    mode = flush_denormals()
    status = descend_sparse(float32_spec(), address)
    restore_mode(mode)
    return status


def sparse_float64(address):
    """`descend_sparse` of a float64 model."""
    mode = flush_denormals()
    status = descend_sparse(float64_spec(), address)
    restore_mode(mode)
    return status
