"""The time of single kernels, to compare before and after a change of theirs: `make bench`.

`make test` calls each once, as a test that it still runs: a benchmark that nobody runs is broken when it is needed,
and most of these kernels are compiled by then anyway. `conftest.py` switches the timing off.

A kernel is run as training runs it, by a program that holds nothing else, on a network's own buffers. The learning rate
is 0, so that thousands of runs leave the weights as they are. A run costs 0.4 us besides the kernel, which is why those
for one sample are run a hundred times at once.
"""

from __future__ import annotations

import numpy as np
import pytest
from names import built_in

import fastprop as fp
from fastprop.engine import chunks_of, run_chunks
from fastprop.engines import batch_rows, job_of
from fastprop.kernels import dense, dot, gather, loss_rows, norm, online, online_loss, records, rowwise
from fastprop.kernels.activations import ACTIVATIONS
from fastprop.kernels.losses import LOSSES

pytest.importorskip("pytest_benchmark")

BATCH = 128


class Step:
    """A network with a batch in its buffers, of whose training step each kernel can be run by itself."""

    def __init__(self, layers, X, y, loss="mse", optimizer=None):
        net = fp.Network(layers, loss=loss, optimizer=optimizer or fp.SGD(lr=0.0, momentum=0.9))
        net.fit(X, y, epochs=1, batch_size=len(X), n_threads=1, progress=False)
        matrix, targets = net._check_data(X, y)
        self.net = net  # whose parameters the engine works on
        self.loan = net._engines.lend(job_of(net, "train", matrix, targets), batch_rows(net._plan, len(X), len(X)), 1)
        self.engine = self.loan.__enter__()
        self.engine.bind(matrix, targets.matrix)
        self.engine.set_rows(np.random.default_rng(0).permutation(len(X)))
        self.n_rows = len(X)
        run_chunks(self.chunks(1), 0, 1)  # fills the buffers

    def chunks(self, times):
        """The address of the engine's job, set to a number of chunks that hold all rows each.

        Per sample it is one chunk, and as many updates.
        """
        if self.engine.is_online:
            chunk = np.zeros(1, records.CHUNK)
            chunk["n_rows"], chunk["count"] = times, times
            self.engine.set_rows(np.zeros(times, np.int64))
            self.engine.set_chunks(chunk, np.zeros(times))
            return self.engine.prepare(0, 1)
        update = np.zeros(times, records.CHUNK)
        update["inverse_weight"], update["count"] = 1.0 / self.n_rows, 1
        self.engine.set_chunks(chunks_of(update, np.full(times, self.n_rows), self.engine.chunk_rows))
        self.engine.chunks["is_last"] = 0
        return self.engine.prepare(0, times)

    def only(self, kernel, k=0, times=1):
        """The address of a job that does nothing but run `kernel` as the k-th layer that uses it does."""
        programs, w = self.engine.programs, self.engine.workspace
        addresses = set(kernel._addresses.values())
        uses = [x for x in programs.rows + programs.weights + programs.gather if x[0] in addresses]
        instruction = np.array(sorted(uses, key=lambda x: x[1])[k : k + 1], records.INSTRUCTION)
        assert len(instruction), f"this step has no {kernel.name} number {k}"
        stages = np.zeros(records.GATHER + 1, records.PROGRAM)
        stages["instructions"], stages["block"] = w.keep(instruction), w.n_panels * w.plan.shape.vectors
        stages["block"][records.GATHER] = w.n_slots
        stages["n_instructions"][records.GATHER if uses[0] in programs.gather else records.ROWS] = 1
        self.engine.job[0]["programs"] = w.keep(stages)
        return self.chunks(times)

    def time(self, benchmark, kernel, k=0, times=1):
        """Time it."""
        benchmark(run_chunks, self.only(kernel, k, times), 0, 1)
        assert self.engine.status == records.OK


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
    layers = [fp.Dense(n_in, activation="relu"), fp.Dense(n_out, activation="relu"), fp.Dense(2)]
    return Step(layers, numbers(n_rows, 1), numbers(n_rows, 2), **settings)


@pytest.mark.benchmark(group="dense_forward")
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_forward(benchmark, shape):
    layered(shape).time(benchmark, dense.dense_forward, 1)


@pytest.mark.benchmark(group="dense_backward")
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_backward(benchmark, shape):
    layered(shape).time(benchmark, dense.dense_backward)


@pytest.mark.benchmark(group="dense_update")
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_update(benchmark, shape):
    layered(shape).time(benchmark, dense.dense_update, 1)


@pytest.mark.benchmark(group="transpose_error")
def test_transpose_error(benchmark):
    layered("512-512, 128 rows").time(benchmark, dense.transpose_error)


@pytest.mark.benchmark(group="layer of one unit, 64 inputs, 256 rows")
@pytest.mark.parametrize("kernel", [dot.dot_forward, dot.dot_backward, dot.dot_update], ids=lambda kernel: kernel.name)
def test_one_unit(benchmark, kernel):
    layers = [fp.Dense(64, activation="relu"), fp.Dense(1)]
    Step(layers, numbers(256, 1), numbers(256, 1)).time(benchmark, kernel)


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
    layered("512-512, 128 rows", optimizer=RULES[rule]).time(benchmark, dense.dense_update, 1)


# ---- activations and losses ---------------------------------------------------------------------------------------


def activated(name):
    """1-256-2: next to no products around 256 activations of each row."""
    return Step([fp.Dense(256, activation=name), fp.Dense(2)], numbers(BATCH, 1), numbers(BATCH, 2))


@pytest.mark.benchmark(group="activation, 32,768 values")
@pytest.mark.parametrize("name", built_in(ACTIVATIONS))
def test_activation(benchmark, name):
    activated(name).time(benchmark, dense.dense_forward)


@pytest.mark.benchmark(group="derivative, 32,768 values")
@pytest.mark.parametrize("name", built_in(ACTIVATIONS))
def test_derivative(benchmark, name):
    activated(name).time(benchmark, dense.dense_backward)


@pytest.mark.benchmark(group="loss, 1024 rows, 10 outputs")
@pytest.mark.parametrize("name", built_in(LOSSES))
def test_loss(benchmark, name):
    labels = np.arange(1024) % 10
    takes_labels = name == "cross_entropy" or "hing" in name or name == "modified_huber"
    y = labels if takes_labels else np.eye(10, dtype=np.float32)[labels]
    kernel = loss_rows.cross_entropy if name == "cross_entropy" else loss_rows.elementwise_loss
    Step([fp.Dense(10)], numbers(1024, 4), y, loss=name).time(benchmark, kernel)


# ---- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.benchmark(group="gather, 128 rows in random order, 784 columns")
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool", ">f4", ">i8"])
def test_gather(benchmark, dtype, order):
    X = (numbers(BATCH, 784) > 0).astype(dtype, order)
    Step([fp.Dense(2)], X, numbers(BATCH, 2)).time(benchmark, gather.gather)


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
    Step([fp.Dense(256), layer, fp.Dense(2)], numbers(BATCH, 1), numbers(BATCH, 2)).time(benchmark, kernel)


# ---- one sample ---------------------------------------------------------------------------------------------------

ONE = {"28-64-64-1": (28, 64, 64), "784-128-1": (784, 128)}  # inputs and hidden layers
KERNELS = {
    "gather": online.gather_rows,
    "forward": online.row_forward,
    "loss": online_loss.row_loss,
    "backward and update": online.row_backward,
    "forward, one unit": online.row_dot_forward,
    "backward and update, one unit": online.row_dot_backward,
}


@pytest.mark.benchmark(group="one sample, first layer, a hundred times")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("network", ONE)
def test_one_sample(benchmark, network, kernel):
    n_in, *hidden = ONE[network]
    layers = [*(fp.Dense(n, activation="relu") for n in hidden), fp.Dense(1)]
    step = Step(layers, numbers(1, n_in), np.ones(1, int), loss="bce")
    step.time(benchmark, KERNELS[kernel], times=100)
