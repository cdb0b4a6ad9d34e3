"""From a gradient to new parameters: penalties, clipping, the update rule.

Parameters, gradients and the rule's slots are rows of one array, `step.row_stride` elements apart:

    0 parameters    1 gradients    2, 3, ... slots

Order: l1 and l2, clip_value, clip_norm, the rule with its weight decay.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload

from .jit import INNER, component, inner, kernel
from .optimizers import Accumulate, Penalised
from .records import BLOCK_ROWS
from .simd import (
    I64,
    Vec,
    double_pointer,
    first_lanes,
    hsum,
    lanes_of,
    load,
    load_at,
    offset,
    panel_of,
    pointer,
    select,
    splat,
    store,
    store_at,
)
from .tile import tile_along


def rule_class(spec):
    """The spec's update rule."""
    return next(cls for cls in spec.classes if getattr(cls, "component_kind", None) == "optimizer")


def first_slot(spec):
    """The row of the first slot; `Accumulate` has the gradients themselves as its slot."""
    return 1 if rule_class(spec) is Accumulate else 2


def penalise(spec, op, step, weights, gradient, n, unit):
    """In penalised kernels: penalties (where unit >= 0) and clip_value on n numbers of a gradient. Writes gradient."""


@overload(penalise, jit_options=INNER)
def penalise_if_marked(spec, op, step, weights, gradient, n, unit):
    if Penalised not in spec.classes:
        return lambda spec, op, step, weights, gradient, n, unit: None

    def penalise(spec, op, step, weights, gradient, n, unit):
        if unit >= 0:
            regularise(spec, op, step, weights, gradient, n, unit)
        clip(spec, step, gradient, n)

    return penalise


def update_tile(x, t, n_samples, x_stride, op, step, state, tile, unit):
    """The gradient of a whole tile of W, and its update, all in registers; see `tile_along` and `update_register`.

    Writes parameters and slots; in penalised kernels op.partials, and one register of tile.
    """


@overload(update_tile, jit_options=INNER)
def update_tile_penalised_if_marked(x, t, n_samples, x_stride, op, step, state, tile, unit):
    if Penalised not in state[0].classes:

        def update_tile(x, t, n_samples, x_stride, op, step, state, tile, unit):
            tile_along(x, t, n_samples, x_stride, update_register, state)

        return update_tile

    def update_penalised_tile(x, t, n_samples, x_stride, op, step, state, tile, unit):
        spec, L = state[0], lanes_of(state[0])
        store(tile, 0, splat(spec, 0.0))
        store(tile, L, splat(spec, 0.0))
        tile_along(x, t, n_samples, x_stride, update_penalised, (state, penalties(step), step.clip_value, tile))
        double_pointer(op.partials)[2 * unit] = penalty_of(spec, step, load(tile, 0), load(tile, L))

    return update_penalised_tile


@intrinsic
def load_slots(typingctx, spec, p, stride, i):
    """The tuple of the rule's slots of the parameters p[i : i + lanes]; None if it has none."""
    n = rule_class(spec).n_slots
    kind = types.UniTuple(Vec(spec.dtype), n) if n else types.none  # Numba cannot pass an empty tuple

    def codegen(context, builder, sig, args):
        _, base, stride_, at = args
        if not n:
            return context.get_dummy_value()
        rows = [builder.mul(stride_, I64(first_slot(spec) + k)) for k in range(n)]
        values = [load_at(builder, builder.gep(base, [builder.add(at, row)]), spec.dtype) for row in rows]
        return context.make_tuple(builder, kind, values)

    return kind(spec, p, types.int64, types.int64), codegen


@intrinsic
def store_slots(typingctx, spec, p, stride, i, slots):
    """Write the tuple of the rule's slots of the parameters p[i : i + lanes]."""
    n = rule_class(spec).n_slots
    if (isinstance(slots, types.BaseTuple) and len(slots) != n) or (n and not isinstance(slots, types.BaseTuple)):
        name = rule_class(spec).__name__
        raise TypeError(f"update of {name} must return w and a tuple of n_slots = {n} slots, got {slots}")

    def codegen(context, builder, sig, args):
        _, base, stride_, at, values = args
        for k in range(n):
            row = builder.mul(stride_, I64(first_slot(spec) + k))
            store_at(builder, builder.extract_value(values, k), builder.gep(base, [builder.add(at, row)]))
        return context.get_dummy_value()

    return types.void(spec, p, types.int64, types.int64, slots), codegen


@inner
def update_register(state, g, q, k):
    """w, slots = rule.update(w, g, slots) for the register of parameters at k. Writes parameters and slots."""
    spec, rule, clock, lr, row_stride, parameters = state
    slots = load_slots(spec, parameters, row_stride, k)
    w, slots = rule.update(load(parameters, k), g, slots, lr, clock)
    store(parameters, k, w)
    store_slots(spec, parameters, row_stride, k, slots)


@inner
def apply_rule(spec, rule, clock, lr, row_stride, parameters, gradient, n):
    """w, slots = rule.update(w, g, slots) for n parameters, whole registers. Writes parameters and slots."""
    state = spec, rule, clock, lr, row_stride, parameters
    for k in range(0, n, lanes_of(spec)):
        update_register(state, load(gradient, k), 0, k)


@inner
def update_penalised(state, g, q, k):
    """`update_register` after penalties and clip_value. Writes parameters and slots; adds to sums of w^2 and |w|."""
    plain, weights_of_penalties, bound, sums = state
    spec, w = plain[0], load(plain[5], k)
    store(sums, 0, load(sums, 0) + w * w)
    if weights_of_penalties[0] != 0.0:
        store(sums, lanes_of(spec), load(sums, lanes_of(spec)) + abs(w))
    update_register(plain, max(min(regularised(spec, w, g, weights_of_penalties), bound), -bound), q, k)


@inner
def clip(spec, step, gradient, n):
    """Bound n numbers of the gradient by clip_value. Writes gradient."""
    if step.clip_value < math.inf:
        for k in range(0, n, lanes_of(spec)):
            store(gradient, k, max(min(load(gradient, k), step.clip_value), -step.clip_value))


@inner
def penalties(step):
    """l1 and l2 of this update."""
    return step.penalty_scale * step.l1, step.penalty_scale * step.l2


@inner
def regularised(spec, w, g, weights_of_penalties):
    """g + l2 w + l1 sign(w), of registers."""
    l1, l2 = weights_of_penalties
    g = g + l2 * w
    if l1 != 0.0:
        g = g + l1 * np.where(w > 0.0, splat(spec, 1.0), np.where(w < 0.0, splat(spec, -1.0), 0.0))
    return g


@inner
def penalty_of(spec, step, squares, magnitudes):
    """l2 / 2 |w|^2 + l1 |w|_1 from registers of sums."""
    l1, l2 = penalties(step)
    return 0.5 * l2 * hsum(squares) + l1 * hsum(magnitudes)


@inner
def regularise(spec, op, step, weights, gradient, n, unit):
    """Add l2 w + l1 sign(w) to the gradient of n weights. Writes gradient and op.partials.

    The penalty goes to op.partials[2 unit]: units are the same for any number of workers, so the sum over them is too.
    """
    if step.l1 == 0.0 and step.l2 == 0.0:
        return
    squares, magnitudes, weights_of_penalties = splat(spec, 0.0), splat(spec, 0.0), penalties(step)
    for k in range(0, n, lanes_of(spec)):
        w = load(weights, k)
        store(gradient, k, regularised(spec, w, load(gradient, k), weights_of_penalties))
        squares = squares + w * w
        magnitudes = magnitudes + abs(w)
    double_pointer(op.partials)[2 * unit] = penalty_of(spec, step, squares, magnitudes)


@inner
def block_of(spec, op, unit):
    """Unit number `unit` of an operation's stored gradients: (offset from op.w or op.b, length, whether it is of w)."""
    block = BLOCK_ROWS * panel_of(spec)
    n_blocks = (op.n_weights + block - 1) // block
    start, n, weights = unit * block, op.n_weights, True
    if unit >= n_blocks:
        start, n, weights = (unit - n_blocks) * block, op.n_biases, False
    return start, min(block, n - start), weights


@inner
def clean(spec, p, n_valid, n):
    """Zero the parameters n_valid..n, pads of whole registers: a rule may divide 0 by 0 there, or step anyway."""
    L = lanes_of(spec)
    for k in range(max(0, n_valid) // L * L, n, L):
        store(p, k, select(first_lanes(spec, n_valid - k), load(p, k), 0.0))


@inner
def clean_block(spec, op, p, start, n, weights):
    """Zero the pads of a block: columns beyond the outputs, rows beyond the inputs."""
    P = panel_of(spec)
    if not weights or op.w_stride == 0:  # norms and layers of one unit: a vector as long as their input
        clean(spec, p, (op.n_in if weights else op.n_out) - start, n)
        return
    for k in range(0, n, P):
        panel, i = (start + k) // op.w_stride, (start + k) % op.w_stride // P
        n_valid = op.n_out - panel * P if i < op.n_in else 0
        if n_valid < P:
            clean(spec, offset(p, k), n_valid, P)


@kernel
def finish_gradients(spec, op, step, first, last):
    """Penalties and clip_value on the stored gradients of units first..last. Writes gradients and op.partials.

    The squared norm of what results goes to op.partials[2 unit + 1].
    """
    for unit in range(first, last):
        start, n, weights = block_of(spec, op, unit)
        p = offset(pointer(spec, op.w if weights else op.b), start)
        g = offset(p, step.row_stride)
        if weights and op.decays:
            regularise(spec, op, step, p, g, n, unit)
        clip(spec, step, g, n)
        squares = splat(spec, 0.0)
        for k in range(0, n, lanes_of(spec)):
            squares = squares + load(g, k) * load(g, k)
        double_pointer(op.partials)[2 * unit + 1] = hsum(squares)


@kernel
def clip_norm(spec, op, step, first, last):
    """step.scale = min(1, clip_norm / |gradient|), by every worker for itself: op.rate holds clip_norm.

    The squared norms of all units are added in their order.
    """
    total, partials = 0.0, double_pointer(op.partials)
    for unit in range(op.n_in):
        total += partials[2 * unit + 1]
    norm = math.sqrt(total)
    step.scale = op.rate / norm if norm > op.rate else 1.0


@kernel
def stored_update(spec, op, step, first, last):
    """The rule on the stored gradients of units first..last. Writes parameters and slots, and zeroes the gradients."""
    rule = component(spec, 0, step.rule_constants)
    clock = rule.clock(float(step.count))
    for unit in range(first, last):
        start, n, weights = block_of(spec, op, unit)
        p = offset(pointer(spec, op.w if weights else op.b), start)
        g = offset(p, step.row_stride)
        if step.scale != 1.0:
            for k in range(0, n, lanes_of(spec)):
                store(g, k, load(g, k) * step.scale)
        apply_rule(spec, rule, clock, step.lr, step.row_stride, p, g, n)
        clean_block(spec, op, p, start, n, weights)
        for k in range(0, n, lanes_of(spec)):
            store(g, k, splat(spec, 0.0))
