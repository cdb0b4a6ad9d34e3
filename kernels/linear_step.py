"""The step of a linear model on one sample: what its margin and its target make of the weights.

    w = shrink w + change x

One formula for dense and CSR rows, for every loss, schedule and penalty. Losses are chosen by a code, not by a type:
the branch goes the same way for every row, and one compiled pass serves them all. `m` is what the margin lacks, `r` the
residual z - y, `e` the threshold or the epsilon of the loss.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from .functions import softplus
from .jit import forced
from .logistic import logistic
from .records import (
    EPSILON_INSENSITIVE,
    HINGE,
    HUBER,
    LEAST_SCALE_32,
    LEAST_SCALE_64,
    LINE,
    LOG,
    MODIFIED_HUBER,
    PA1,
    RATES,
    SQUARED_ERROR,
    SQUARED_HINGE,
)
from .simd import I32, Spec, double_pointer, index_pointer, itemsize_of, prefetch

LARGEST_SLOPE = 1e12  # of a loss: scikit-learn's bound


def specification(dtype):
    """An intrinsic that gives the `Spec` of a dtype to routines, whose arguments are plain numbers."""

    @intrinsic
    def spec(typingctx):
        return Spec(dtype)(), lambda context, builder, sig, args: context.get_dummy_value()

    return spec


@intrinsic
def number(typingctx, spec, x):
    """A float64 as a number of the spec's dtype."""
    return spec.dtype(spec, types.float64), lambda context, builder, sig, args: context.cast(
        builder, args[1], types.float64, spec.dtype
    )


@intrinsic
def columns_at(typingctx, address):
    """The pointer to the int32 at an integer address.

    One loop reads columns of int32 and of int64: of the latter every second number, the low half (there are fewer than
    2^31 features; all of Numba's machines but s390x have it first).
    """

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], I32.as_pointer())

    return types.CPointer(types.int32)(types.int64), codegen


@forced
def row_number(rows, k):
    """The row of the user's matrix that is number k of the pass."""
    return index_pointer(rows)[k] if rows != 0 else k


@forced
def prefetch_lines(address, n):
    """Ask for n cache lines."""
    for i in range(n):
        prefetch(address + i * LINE)


@forced
def smallest_scale(spec):
    """Below this the scale of the weights becomes 1, and they what they are."""
    return LEAST_SCALE_32 if itemsize_of(spec) == 4 else LEAST_SCALE_64


@forced
def loss_value(loss, e, z, y):
    """The loss of margin z for target y, numbers or registers; y is -1 or 1 for losses of classification."""
    if loss == LOG:
        return softplus(-(y * z))
    if loss == HINGE:
        return max(e - y * z, 0.0)
    if loss == SQUARED_HINGE:
        m = max(e - y * z, 0.0)
        return m * m
    if loss == MODIFIED_HUBER:
        m = max(1.0 - y * z, 0.0)
        near = min(m, 2.0)
        return near * near + 4.0 * (m - near)
    r = abs(z - y)
    if loss == SQUARED_ERROR:
        return 0.5 * r * r
    if loss == HUBER:
        near = min(r, e)
        return 0.5 * near * near + e * (r - near)
    beyond = max(r - e, 0.0)
    return beyond if loss == EPSILON_INSENSITIVE else beyond * beyond


@forced
def bounded(slope):
    """The slope of a loss that may grow without bound, cut."""
    return max(min(slope, LARGEST_SLOPE), -LARGEST_SLOPE)


@forced
def loss_slope(loss, e, z, y):
    """The derivative of `loss_value` with respect to z, float64."""
    if loss == LOG:
        return -y * logistic(-(y * z))
    if loss == HINGE:
        return -y if y * z <= e else 0.0
    if loss == SQUARED_HINGE:
        return bounded(-2.0 * y * max(e - y * z, 0.0))
    if loss == MODIFIED_HUBER:
        return -2.0 * y * min(max(1.0 - y * z, 0.0), 2.0)
    r = z - y
    if loss == SQUARED_ERROR:
        return bounded(r)
    near = max(min(r, e), -e)
    if loss == HUBER:
        return bounded(near)
    if loss == EPSILON_INSENSITIVE:
        return (1.0 if r > e else 0.0) - (1.0 if r < -e else 0.0)
    return bounded(2.0 * (r - near))


@forced
def target_of(loss, y):
    """Targets of log_loss may be 0 and 1 as well as -1 and 1."""
    if loss == LOG:
        return 1.0 if y > 0.0 else -1.0
    return y


@forced
def change_of(loss, e, schedule, eta, weight, z, y, square):
    """What a sample adds to the weights, in units of x; `square` is |x|^2, for passive-aggressive steps.

    These are Crammer et al. 2006, PA-I and PA-II, of aggressiveness eta. What does not depend on z is multiplied first:
    the next row waits for the change.
    """
    target = target_of(loss, y)
    if schedule == RATES:
        return loss_slope(loss, e, z, target) * (-eta * weight)
    value = loss_value(loss, e, z, target)
    length = weight * (min(eta, value / square) if schedule == PA1 else value / (square + 0.5 / eta))
    if loss == HINGE:
        return length * y
    return -length if z > y else length


@forced
def weight_of(d, row, y):
    """What multiplies the change by a row: the weight of its class times its own."""
    weight = d.positive_weight if y > 0.0 else d.negative_weight
    return weight * double_pointer(d.weights)[row] if d.weights != 0 else weight


@forced
def keep_margin(d, i, z, y):
    """Keep margin and target number i of a call for `linear_losses`, where it is asked for."""
    if d.margins != 0:
        double_pointer(d.margins)[i] = z
        double_pointer(d.targets)[i] = y
