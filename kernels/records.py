"""What a kernel is told: plain structures of integers and floats that Python fills and compiled code reads.

Addresses are bytes in int64; strides of activations and weights count elements, strides of a user's arrays count bytes.
Layouts (P = panel, see `target.Shape`):

    activations and errors   [samples / P][features, padded][P]
    weights and their state  [outputs / P][inputs, padded][P]
    errors, transposed       [outputs / P][samples][P]

Norms, and dense layers of one unit, have vectors as weights: one number for each input.
"""

from __future__ import annotations

import numpy as np


def record(**fields: str) -> np.dtype:
    """A structured dtype from names to "i8" or "f8"."""
    return np.dtype(list(fields.items()), align=True)


# One operation of a network and where its data lie.
OPERATION = record(
    n_in="i8",
    n_out="i8",
    x="i8",  # input activations, and elements from one panel to the next
    x_stride="i8",
    x_z="i8",  # the input before its activation, 0 where the derivative does not need it
    e_x="i8",  # error of the input, 0 where nobody asks for it
    a="i8",  # output activations
    a_stride="i8",
    z="i8",  # the output before its activation (norms: the normalised input), 0 where not needed
    e_a="i8",  # error of the output
    skip="i8",  # residual: the input of the block, and its error
    e_skip="i8",
    accumulates="i8",  # the error of the input has another part already
    w="i8",
    w_stride="i8",  # elements from one panel of outputs to the next; 0 where w is a vector
    n_weights="i8",  # elements of w
    b="i8",
    n_biases="i8",
    decays="i8",  # l1 and l2 apply to w
    t="i8",  # error of the output, transposed
    t_stride="i8",
    by_lanes="i8",  # gradient tiles are summed over lanes: one side is narrow
    source="i8",  # gather: 0 X, 1 y, 2 sample weights
    constants="i8",  # float64 fields of the operation's component
    constants_below="i8",  # per sample: those of the activation that made the input
    inverse_deviation="i8",  # norms: of the batch or the sample, and the running statistics
    running_mean="i8",
    running_variance="i8",
    partials="i8",  # float64 pairs (penalty, squared norm), one for each unit of work
    index="i8",
    rate="f8",  # dropout
    eps="f8",
    momentum="f8",
    coefficients="i8",  # loss: weight of each output, float64; per sample: in the dtype of the output, padded
    labels="i8",  # loss: 0 for targets as they are; else they are class codes, and output 0 is class `labels` - 1
    target_low="f8",  # loss: the target of a class that a row does not belong to
)

# What changes from step to step; each worker has its own.
STEP = record(
    n_rows="i8",  # of the chunk; per sample, of the table
    n_registers="i8",
    first="i8",  # index of the first row in `rows`, or the row itself
    rows="i8",  # int64 row numbers, 0 for natural order
    position="i8",  # samples of this update before this chunk
    count="i8",  # updates done, counting this one
    lr="f8",
    inverse_weight="f8",  # 1 / sum of the sample weights of this update
    training="i8",  # 1: dropout and statistics of the batch; 2: statistics of the batch only; 0: neither
    seed="i8",
    scratch="i8",
    piece_values="i8",  # CSR: entries of a row that were read
    piece_columns="i8",
    sources="i8",
    row_stride="i8",  # elements between parameters, gradients and each slot
    rule_constants="i8",
    l1="f8",
    l2="f8",
    divides_penalties="i8",  # l1 and l2 are divided by the sum of the sample weights of each update
    penalty_scale="f8",  # what l1 and l2 are multiplied with in this update
    clip_value="f8",
    scale="f8",  # what clipping by norm multiplies gradients with
    loss_partials="i8",
    bad_input="i8",  # address of the flag that gather raises
    out="i8",  # prediction: (n_rows, n_out) row-major
)

# Where a user's matrix lies. `kind` is the dtype code of `fastprop.checks`; CSR has `indices` and `indptr`.
SOURCE = record(
    address="i8", row_stride="i8", column_stride="i8", code="i8", n_columns="i8",
    indices="i8", indices_code="i8", indptr="i8", indptr_code="i8",
)  # fmt: skip

# A kernel to call, on which operation, and how its work is shared: stripes of `units`, or of samples where units = 0,
# or everything to everybody where units = -1. `sync`: wait for all workers before it.
INSTRUCTION = record(kernel="i8", operation="i8", units="i8", sync="i8")

# A chunk of rows to train on, and what came of it. Per sample each row is an update: `position` is the number of
# updates of the table before the chunk, `count` and `lr` are those of its last one, `loss` is the weighted mean.
CHUNK = record(
    first="i8", n_rows="i8", position="i8", is_last="i8", count="i8", lr="f8", inverse_weight="f8", loss="f8",
    penalty="f8",
)  # fmt: skip

# The instructions of a stage, run `block` registers of samples at a time; those of GATHER run on `block` rows.
PROGRAM = record(instructions="i8", n_instructions="i8", block="i8")

ROWS, WEIGHTS, FINISH, GATHER = range(4)  # the stages of a chunk; the last one where each sample makes an update

# A run of chunks.
JOB = record(
    operations="i8", programs="i8", chunks="i8", first_chunk="i8", last_chunk="i8", done="i8", steps="i8", sync="i8",
    bad_input="i8", status="i8", lanes="i8", vectors="i8", loss_partials="i8", unit_partials="i8", n_unit_partials="i8",
    is_regularised="i8",
    rates="i8",  # per sample: the learning rate of each update of the table, float64; 0 where batches make updates
    failed="i8",  # per sample: the update of chunk number `done` whose loss is not finite
)  # fmt: skip

# A pass over rows that trains a linear model sample by sample.
DESCENT = record(
    source="i8",  # address of a SOURCE
    rows="i8",  # int64 row numbers, 0 for natural order
    first="i8",  # the pass goes over numbers first to last of `rows`
    last="i8",
    done="i8",  # number of the row at which it stopped
    y="i8",  # targets, in the dtype of the model
    weights="i8",  # of samples, float64; 0 where all are 1
    n_features="i8",
    w="i8",  # weights, aligned, with zeros behind them; CSR: in units of `scale`
    average_w="i8",  # their average, 0 where there is none; CSR: see `linear_sparse`
    paid="i8",  # l1 that each weight has had so far (Tsuruoka's q), 0 without l1
    row="i8",  # room for a row in the dtype of the model, with zeros behind it
    ahead="i8",  # how many rows further on are prefetched
    data_lines="i8",  # CSR: cache lines of values and of columns that are prefetched of each row
    index_lines="i8",
    rates="i8",  # learning rate of each row of this call, float64
    margins="i8",  # where the margin and the target of each row of this call go, float64; 0 for nowhere
    targets="i8",
    counts_penalty="i8",  # penalty_sum is asked for
    loss="i8",  # code of a loss
    parameter="f8",
    rate="i8",  # how rates are tabulated: EQUAL, OPTIMAL or INVERSE_SCALING
    eta0="f8",
    power_t="f8",
    inverse_alpha="f8",  # OPTIMAL: 1 / alpha, and Bottou's t0
    t0="f8",
    schedule="i8",  # RATES, or a kind of passive-aggressive steps
    negative_weight="f8",  # of classes
    positive_weight="f8",
    intercept_rate="f8",  # what multiplies updates of the intercept; 0 without one
    l1="f8",  # factors of |w|_1 and |w|^2 / 2 in the objective
    l2="f8",
    average_from="f8",  # number of the first update that is averaged
    # What changes from row to row.
    t="f8",  # number of the next update
    intercept="f8",
    average_intercept="f8",
    owed="f8",  # l1 that every weight should have had so far (Tsuruoka's u)
    penalty_sum="f8",
    scale="f8",  # CSR
    a="f8",  # CSR: the average is (average_w + a w) / b
    b="f8",
    square_norm="f8",  # CSR: of w in units of `scale`
    loss_sum="f8",
    # Hogwild.
    scales="i8",  # the scale before each row of this call and after the last, float64
    board="i8",  # what the workers tell each other, see `hogwild`
    row_bytes="i8",  # of each worker's room for a row
)

OK, BAD_INPUT, DIVERGED = 0, 1, 2  # JOB.status
NON_FINITE = 1  # status of a DESCENT
LEAST_SCALE_32, LEAST_SCALE_64 = 1e-6, 1e-9  # below this the scale of weights goes into them; scikit-learn's numbers
RATES, PA1, PA2 = 0, 1, 2  # DESCENT.schedule
EQUAL, OPTIMAL, INVERSE_SCALING = 0, 1, 2  # DESCENT.rate
(HINGE, LOG, MODIFIED_HUBER, SQUARED_HINGE, SQUARED_ERROR, HUBER, EPSILON_INSENSITIVE,
 SQUARED_EPSILON_INSENSITIVE) = range(8)  # DESCENT.loss  # fmt: skip

# Sizes that buffers and programs have to agree about with kernels.
LINE = 64  # bytes of a cache line
BOARD_LINE = 16  # float64 from one worker's line of a board to the next: two cache lines, which are fetched in pairs
(BOARD_CHANGE, BOARD_SQUARE, BOARD_INTERCEPT, BOARD_PENALTY, BOARD_UPDATES,
 BOARD_STATUS) = range(6)  # on the line of a worker  # fmt: skip
PIECE = 256  # CSR: entries of a row that are read at a time; their values and columns take 3 KB of scratch
BLOCK_ROWS = 256  # rows of panels of one unit of work where gradients are stored: 32 KB
N_KEYS = 6  # numbers that determine a permutation
