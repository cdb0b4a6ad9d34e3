"""The time of single kernels, to compare before and after a change of theirs: `make bench`.

`make test` calls each once, as a test that it still runs: a benchmark that nobody runs is broken when it is needed,
and most of these kernels are compiled by then anyway. `conftest.py` switches the timing off.

A kernel is called as training calls it, through its address and on a network's own buffers; the learning rate is 0,
so that thousands of calls leave the weights as they are. The call from Python is 0.3 us of a number, which is why
kernels for one sample are called a hundred times at once.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest

import fastprop as fp
from fastprop.engine import chunks_of
from fastprop.kernels import dense, gather, jit, loss_rows, norm, online, records, rowwise
from fastprop.kernels.activations import ACTIVATIONS
from fastprop.kernels.losses import LOSSES
from fastprop.kernels.records import operation_at, step_at

pytest.importorskip("pytest_benchmark")

BATCH = 128


@numba.njit(nogil=True)
def call(kernel, operations, operation, steps, last, times=1):
    """Run one kernel on one operation, from its first register of samples or unit of work to the last."""
    for _ in range(times):
        jit.invoke(kernel, operation_at(operations, operation), step_at(steps, 0), 0, last)


class Step:
    """A network with a batch in its buffers, of whose training step each kernel can be called by itself."""

    def __init__(self, layers, X, y, loss="mse", optimizer=None):
        net = fp.Network(layers, loss=loss, optimizer=optimizer or fp.SGD(lr=0.0, momentum=0.9))
        net.fit(X, y, epochs=1, batch_size=len(X), n_threads=1, progress=False)
        matrix, targets = net._check_data(X, y)
        ((self.engine,),) = net._engines._idle.values()
        self.engine.bind(matrix, targets.matrix)
        self.engine.set_rows(np.random.default_rng(0).permutation(len(X)))
        updates = np.zeros(1, records.CHUNK)
        updates["inverse_weight"], updates["count"] = 1.0 / len(X), 1
        self.engine.set_chunks(chunks_of(updates, np.array([len(X)]), self.engine.chunk_rows))
        assert self.engine.run(0, 1) == records.OK

    def arguments(self, kernel, k=0):
        """Of `call`, for the k-th layer that uses `kernel` in this step."""
        job, step, programs = self.engine.job[0], self.engine.steps[0], self.engine.programs
        addresses = set(kernel._addresses.values())
        found = sorted(
            (operation, address, units)
            for address, operation, units, _ in programs.rows + programs.weights
            if address in addresses
        )
        operation, address, units = found[k]
        return address, int(job["operations"]), operation, int(job["steps"]), units or int(step["n_registers"])


def numbers(n_rows, n_columns):
    return np.random.default_rng(1).standard_normal((n_rows, n_columns), np.float32)


# ---- dense layers -------------------------------------------------------------------------------------------------

# Inputs and outputs of the layer, rows of the batch: shapes of the comparison with the peers, and narrow ones.
SHAPES = {
    "64-64, 32 rows": (64, 64, 32),
    "64-64, 256 rows": (64, 64, 256),
    "32-16, 1024 rows": (32, 16, 1024),
    "784-128, 128 rows": (784, 128, 128),
    "512-512, 128 rows": (512, 512, 128),
    "128-10, 128 rows": (128, 10, 128),
}


def layered(shape, **settings):
    """The step of a network whose second layer has this shape."""
    n_in, n_out, n_rows = SHAPES[shape]
    layers = [fp.Dense(n_in, activation="relu"), fp.Dense(n_out, activation="relu"), fp.Dense(1)]
    return Step(layers, numbers(n_rows, 1), numbers(n_rows, 1)[:, 0], **settings)


@pytest.mark.benchmark(group="dense_forward")
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_forward(benchmark, shape):
    step = layered(shape)
    benchmark(call, *step.arguments(dense.dense_forward, 1))


@pytest.mark.benchmark(group="dense_backward")
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_backward(benchmark, shape):
    step = layered(shape)
    benchmark(call, *step.arguments(dense.dense_backward))


@pytest.mark.benchmark(group="dense_update")
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_update(benchmark, shape):
    step = layered(shape)
    benchmark(call, *step.arguments(dense.dense_update, 1))


@pytest.mark.benchmark(group="transpose_error")
def test_transpose_error(benchmark):
    step = layered("512-512, 128 rows")
    benchmark(call, *step.arguments(dense.transpose_error))


RULES = {
    "sgd": fp.SGD(lr=0.0),
    "momentum": fp.SGD(lr=0.0, momentum=0.9),
    "rmsprop": fp.RMSProp(lr=0.0),
    "adam": fp.Adam(lr=0.0),
    "adamw": fp.AdamW(lr=0.0),
}


@pytest.mark.benchmark(group="dense_update, 512-512, 128 rows, by rule")
@pytest.mark.parametrize("rule", RULES)
def test_rule(benchmark, rule):
    step = layered("512-512, 128 rows", optimizer=RULES[rule])
    benchmark(call, *step.arguments(dense.dense_update, 1))


# ---- activations and losses ---------------------------------------------------------------------------------------


def activated(name):
    """1-256-1: next to no products around 256 activations of each row."""
    return Step([fp.Dense(256, activation=name), fp.Dense(1)], numbers(BATCH, 1), numbers(BATCH, 1)[:, 0])


@pytest.mark.benchmark(group="activation, 32,768 values")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(benchmark, name):
    step = activated(name)
    benchmark(call, *step.arguments(dense.dense_forward))


@pytest.mark.benchmark(group="derivative, 32,768 values")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative(benchmark, name):
    step = activated(name)
    benchmark(call, *step.arguments(dense.dense_backward))


@pytest.mark.benchmark(group="loss, 1024 rows, 10 outputs")
@pytest.mark.parametrize("name", LOSSES)
def test_loss(benchmark, name):
    labels = np.arange(1024) % 10
    takes_labels = name == "cross_entropy" or "hing" in name or name == "modified_huber"
    y = labels if takes_labels else np.eye(10, dtype=np.float32)[labels]
    step = Step([fp.Dense(10)], numbers(1024, 4), y, loss=name)
    kernel = loss_rows.cross_entropy if name == "cross_entropy" else loss_rows.elementwise_loss
    benchmark(call, *step.arguments(kernel))


# ---- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.benchmark(group="gather, 128 rows in random order, 784 columns")
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool", ">f4", ">i8"])
def test_gather(benchmark, dtype, order):
    X = (numbers(BATCH, 784) > 0).astype(dtype, order)
    step = Step([fp.Dense(1)], X, numbers(BATCH, 1)[:, 0])
    benchmark(call, *step.arguments(gather.gather))


OTHERS = {
    "layer_norm_forward": (rowwise.layer_norm_forward, fp.LayerNorm()),
    "layer_norm_backward": (rowwise.layer_norm_backward, fp.LayerNorm()),
    "batch_norm_forward": (norm.batch_norm_forward, fp.BatchNorm()),
    "batch_norm_backward": (norm.batch_norm_backward, fp.BatchNorm()),
    "dropout_forward": (rowwise.dropout_forward, fp.Dropout(0.2)),
    "dropout_backward": (rowwise.dropout_backward, fp.Dropout(0.2)),
}


@pytest.mark.benchmark(group="layers without products, 128 rows, 256 units")
@pytest.mark.parametrize("name", OTHERS)
def test_other_layers(benchmark, name):
    kernel, layer = OTHERS[name]
    step = Step([fp.Dense(256), layer, fp.Dense(1)], numbers(BATCH, 1), numbers(BATCH, 1)[:, 0])
    benchmark(call, *step.arguments(kernel))


# ---- one sample ---------------------------------------------------------------------------------------------------

ONE = {"28-64-64-1": (28, 64, 64), "784-128-1": (784, 128)}  # inputs and hidden layers
KERNELS = {
    "gather": online.gather_row,
    "forward": online.row_forward,
    "loss": loss_rows.elementwise_loss,
    "backward and update": online.row_backward,
}


@pytest.mark.benchmark(group="one sample, first layer, a hundred times")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("network", ONE)
def test_one_sample(benchmark, network, kernel):
    n_in, *hidden = ONE[network]
    layers = [*(fp.Dense(n, activation="relu") for n in hidden), fp.Dense(1)]
    step = Step(layers, numbers(1, n_in), np.ones(1, int), loss="bce")
    benchmark(call, *step.arguments(KERNELS[kernel]), times=100)
