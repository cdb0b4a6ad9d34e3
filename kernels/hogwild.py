"""Hogwild: several threads train one linear model on CSR rows, sample by sample and without locks (Recht et al. 2011).

All change the same weights. What one writes between another's read and write of the same weight is lost, which is rare
where rows are sparse. Three things are kept apart, since every row would touch them:

    the scale      follows from the rates, so that it is known ahead for each row of a call
    the intercept  each worker sums its changes, and those of |w|^2, and tells them on its line every CHUNK rows
    the next rows  CHUNK at a time, from a counter, so that a worker who is held up leaves more to the others

The board is the counter (int64), on a line of its own, and a line of float64 for each worker.
"""

from __future__ import annotations

from .access import descent_at, source_at
from .jit import forced
from .linear import squares
from .linear_sparse import fetch, float32_spec, float64_spec, row_of
from .linear_step import change_of, keep_margin, number, row_number, weight_of
from .records import (
    BOARD_CHANGE,
    BOARD_INTERCEPT,
    BOARD_LINE,
    BOARD_PENALTY,
    BOARD_SQUARE,
    BOARD_STATUS,
    BOARD_UPDATES,
    NON_FINITE,
    OK,
    PA1,
    RATES,
)
from .scattered import add_row, row_dot
from .simd import double_pointer, pointer
from .sparse import item_size
from .sync import atomic_add, flush_denormals, restore_mode

CHUNK = 32  # rows; at least what is prefetched ahead


@forced
def told_by_others(board, worker, n_workers, what):
    """What the other workers have added to the intercept, or to |w|^2, as far as they have told."""
    total = 0.0
    for i in range(n_workers):
        if i != worker:
            total += board[(i + 1) * BOARD_LINE + what]
    return total


@forced
def place_ahead(i, start, following, n_rows):
    """Which row a worker comes to i rows after `start`, where its chunk begins: one of it or of the following one."""
    return min(start + i if i < CHUNK else following + i - CHUNK, n_rows - 1)


@forced
def descend_hogwild(spec, address, worker, n_workers):
    """A worker's share of rows d.first to d.last of the descent at `address`. Writes w and its line of the board."""
    d = descent_at(address, 0)
    source, w, y = source_at(d.source, 0), pointer(spec, d.w), pointer(spec, d.y)
    rates, scales, board = double_pointer(d.rates), double_pointer(d.scales), double_pointer(d.board)
    step, room, first, ahead = item_size(source.indices_code) // 4, d.row + worker * d.row_bytes, d.first, d.ahead
    loss, e, schedule, n_rows, status = d.loss, d.parameter, d.schedule, d.last - d.first, OK
    l2, asks_square, line = d.l2, d.counts_penalty != 0 or schedule != RATES, (worker + 1) * BOARD_LINE
    intercept, own, heard, own_square, penalty_sum, n_updates = d.intercept, 0.0, 0.0, 0.0, 0.0, 0
    start, following = atomic_add(d.board, CHUNK), atomic_add(d.board, CHUNK)
    while start < n_rows:
        others = told_by_others(board, worker, n_workers, BOARD_CHANGE)
        intercept, heard = intercept + (others - heard), others
        square_norm = d.square_norm + told_by_others(board, worker, n_workers, BOARD_SQUARE)
        for i in range(start, min(start + CHUNK, n_rows)):
            later = place_ahead(i - start + ahead, start, following, n_rows)
            fetch(spec, d, source, first + later, first + place_ahead(i - start + 2 * ahead, start, following, n_rows))
            row = row_number(d.rows, first + i)
            n, x, columns = row_of(spec, source, row, room)
            product, scale = row_dot(spec, x, columns, step, w, n), scales[i]
            z, target = scale * product + intercept, float(y[row])
            if z - z != 0.0:
                status = NON_FINITE
                break
            keep_margin(d, i, z, target)
            penalty_sum += 0.5 * l2 * scale * scale * (square_norm + own_square)
            square = float(squares(spec, x, n)) if asks_square else 0.0
            if schedule == PA1 and square == 0.0:
                continue
            inverse = 1.0 / scales[i + 1]
            change = change_of(loss, e, schedule, rates[i], weight_of(d, row, target), z, target, square)
            if change != 0.0:
                by = change * inverse
                add_row(x, columns, step, w, n, number(spec, by))
                own_square += by * (2.0 * product + by * square)
            own += change * d.intercept_rate
            intercept += change * d.intercept_rate
            n_updates += 1
        board[line + BOARD_CHANGE], board[line + BOARD_SQUARE] = own, own_square
        if status != OK:
            atomic_add(d.board, n_rows)  # nothing is left for anybody
            break
        start, following = following, atomic_add(d.board, CHUNK)
    board[line + BOARD_INTERCEPT], board[line + BOARD_UPDATES] = intercept - heard, float(n_updates)
    board[line + BOARD_PENALTY], board[line + BOARD_STATUS] = penalty_sum, float(status)
    return status


def hogwild_float32(address, worker, n_workers):
    """`descend_hogwild` of a float32 model."""
    mode = flush_denormals()
    status = descend_hogwild(float32_spec(), address, worker, n_workers)
    restore_mode(mode)
    return status


def hogwild_float64(address, worker, n_workers):
    """`descend_hogwild` of a float64 model."""
    mode = flush_denormals()
    status = descend_hogwild(float64_spec(), address, worker, n_workers)
    restore_mode(mode)
    return status
