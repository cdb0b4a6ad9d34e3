"""Per-sample training: any widths, activations, losses and rules; tables of many updates."""

import naive
import numpy as np
import pytest

import fastprop as fp
from fastprop import samples
from fastprop.engine import CHUNK_SAMPLES, Engine
from fastprop.engines import job_of

QUIET = {"progress": False}
RNG = np.random.default_rng(0)


def compare(layers, loss, Y, targets, dtype="float64", n_features=6, optimizer=None, bound=1e-9, weights=None):
    """Train on `targets`, which mean Y to the reference."""
    X = np.random.default_rng(1).normal(size=(len(Y), n_features)).astype(dtype)
    net = fp.Network(layers, loss=loss, optimizer=optimizer or fp.SGD(0.003, momentum=0.9), dtype=dtype)
    net.build(n_features)
    rows = [(X[i : i + 1], Y[i : i + 1], None) for i in range(len(X)) if weights is None or weights[i]]
    expected, losses = naive.Reference(net).train(net.get_weights(), rows)
    net.fit(X, targets, epochs=1, batch_size=1, shuffle=False, sample_weight=weights, **QUIET)
    assert max(naive.errors(net.get_weights(), expected)) < bound
    mean = np.average(losses, weights=None if weights is None else weights[weights > 0])
    assert net.history_["loss"][0] == pytest.approx(mean, rel=bound)
    return net


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_features", [1, 4, 18, 70])
@pytest.mark.parametrize("widths", [(3, 2), (16, 64, 5), (65, 1, 7), (33, 130, 1)])
def test_widths(widths, n_features, dtype):
    layers = [fp.Dense(n, "tanh", bias=n != 64) for n in widths[:-1]]
    Y = RNG.normal(size=(30, widths[-1]))
    compare([*layers, fp.Dense(widths[-1])], "mse", Y, Y, dtype, n_features, bound=1e-9 if dtype == "float64" else 2e-4)


@pytest.mark.parametrize("name", sorted(set(naive.ACTIVATIONS) - {"reciprocal"}))
def test_activations(name):
    Y = RNG.normal(size=(30, 3))
    compare([fp.Dense(18, name), fp.Dense(1, name), fp.Dense(5, name), fp.Dense(3, name)], "squared_error", Y, Y)


@pytest.mark.parametrize("n_outputs", [1, 20])
@pytest.mark.parametrize("loss", sorted(naive.LOSSES))
def test_losses(loss, n_outputs):
    Y = targets = RNG.integers(0, 2, (40, n_outputs)).astype(float)
    if loss in ("hinge", "squared_hinge", "modified_huber"):  # two labels, or one class against the rest
        targets = np.arange(40) % max(2, n_outputs)
        Y = naive.one_hot(targets, n_outputs, -1.0) if n_outputs > 1 else 2.0 * targets[:, None] - 1.0
    compare([fp.Dense(9, "tanh"), fp.Dense(n_outputs)], loss, Y, targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("n_outputs", [2, 5, 16, 35])
def test_cross_entropy(n_outputs, smoothing):
    codes = np.arange(50) % n_outputs
    loss = fp.losses.CrossEntropy(label_smoothing=smoothing)
    compare([fp.Dense(9, "tanh"), fp.Dense(n_outputs, "tanh")], loss, naive.one_hot(codes, n_outputs), codes)


@pytest.mark.parametrize("optimizer", [fp.SGD, fp.RMSProp, fp.Adagrad, fp.Adam, fp.AdamW])
def test_rules(optimizer):
    Y = RNG.normal(size=(40, 1))
    compare(
        [fp.Dense(21, "tanh"), fp.Dense(18, "gelu"), fp.Dense(1)], "mse", Y, Y, optimizer=optimizer(1e-3), bound=1e-7
    )


def test_weights_of_samples_count_in_the_mean_only():
    Y = RNG.normal(size=(600, 1))
    weights = RNG.integers(0, 3, 600) * 0.7
    compare([fp.Dense(5, "tanh"), fp.Dense(1)], "mse", Y, Y, weights=weights)


# ---- tables -------------------------------------------------------------------------------------------------------


def laid_out(n_rows, every=(), epochs=range(1), weights=None, count=0):
    net = fp.Network([fp.Dense(2)]).build(5)
    job = job_of(net, "train", *net._check_data(np.ones((3, 5)), np.ones((3, 2))))
    engine = Engine(job.plan, job.parameters, job.recipe, job.form, 1)
    engine.parameters.count = count
    assert engine.is_online
    return list(samples.Samples(every, engine, n_rows, weights, None, 1, 1, True, 0, 0).of(epochs, 0.1))


def test_a_table_has_few_chunks():
    (table,) = laid_out(1000, epochs=range(3))
    assert len(table.chunks) == 3 * -(-1000 // CHUNK_SAMPLES)
    assert table.epochs.tolist() == sorted(table.epochs)
    assert (np.bincount(table.epochs, table.chunks["n_rows"]) == 1000).all()
    for epoch in range(3):
        assert sorted(table.rows[1000 * epoch : 1000 * (epoch + 1)]) == list(range(1000))


@pytest.mark.parametrize("count", [0, 5])
def test_chunks_end_where_somebody_looks(count):
    (table,) = laid_out(1000, every=(7, 100), count=count)
    counts = table.chunks["count"]
    assert set(counts) >= {c for c in range(count + 1, count + 1001) if c % 7 == 0 or c % 100 == 0}
    assert (np.diff(counts, prepend=count) == table.chunks["n_rows"]).all()
    assert table.next_step(0, 100) == 1 + np.flatnonzero(counts % 100 == 0)[0]
    looked_at = (counts % 7 == 0) | (counts % 100 == 0)
    assert (table.chunks["n_rows"][looked_at] == 1).all()  # their loss is that of the one update
    assert (table.chunks["n_rows"] > 0).all()


def test_an_update_within_a_chunk():
    (table,) = laid_out(600)
    one = table.update_of(1, 3)
    assert (one["first"], one["n_rows"], one["count"]) == (CHUNK_SAMPLES + 3, 1, CHUNK_SAMPLES + 4)


def test_samples_without_weight_are_left_out():
    weights = np.arange(1000) % 3.0
    (table,) = laid_out(1000, weights=weights, epochs=range(2))
    assert len(table.rows) == 2 * 666
    assert (weights[table.rows] > 0).all()
    assert table.weights.sum() == 2 * weights.sum()
    (none,) = laid_out(10, weights=np.zeros(10))  # part of a long epoch may have none at all
    assert len(none.chunks) == len(none.rows) == 0


class Looks:
    def __init__(self, every, stop=None):
        self.every, self.stop, self.seen = every, stop, []

    def on_step(self, net, step, logs):
        self.seen.append((step, net.get_weights()[0][0].copy(), logs["lr"], logs["loss"]))
        return step == self.stop


def regression(n_rows=600):
    X = np.random.default_rng(2).normal(size=(n_rows, 4))
    return X, X[:, :1] - X[:, 1:2]


def network(lr=0.01):
    return fp.Network([fp.Dense(5, "tanh"), fp.Dense(1)], optimizer=fp.SGD(lr, momentum=0.5))


def test_step_callbacks_see_the_weights_of_their_step():
    looks, other = Looks(250), Looks(7)
    rate = fp.schedules.Exponential(0.01, 0.999)
    net, plain = network(rate), network(rate)
    net.fit(*regression(), epochs=2, batch_size=1, callbacks=[looks, other], **QUIET)
    plain.fit(*regression(), epochs=2, batch_size=1, **QUIET)
    assert [step for step, *_ in looks.seen] == [249, 499, 749, 999]
    assert [step for step, *_ in other.seen] == list(range(6, 1200, 7))
    assert net._parameters.rows.tobytes() == plain._parameters.rows.tobytes()
    assert net.history_["loss"] == pytest.approx(plain.history_["loss"], rel=1e-12)
    short = network(rate)
    short.fit(*regression(), epochs=2, batch_size=1, callbacks=Looks(1, stop=499), **QUIET)
    np.testing.assert_array_equal(short.get_weights()[0][0], looks.seen[1][1])
    assert looks.seen[1][2] == rate(499)


def test_step_callbacks_are_told_the_loss_of_their_step():
    """Whatever `every` is: not the mean over the samples since somebody looked last."""
    every, few, rare = Looks(1), Looks(7), Looks(250)
    network().fit(*regression(), epochs=2, batch_size=1, callbacks=[every], **QUIET)
    network().fit(*regression(), epochs=2, batch_size=1, callbacks=[few, rare], **QUIET)
    losses = [loss for *_, loss in every.seen]
    for looks in (few, rare):
        assert [loss for *_, loss in looks.seen] == [losses[step] for step, *_ in looks.seen]


@pytest.mark.parametrize("update", [3, 700, 1199])
def test_divergence_names_the_update(update):
    """Rates that explode at an update show in the loss of the next, or in the weights if it was the last."""
    X, y = regression()
    rate = lambda t: 1e300 if t == update else 0.01  # noqa: E731
    net, twin = network(rate), network(0.01)
    expected = rf"epoch {min(update + 1, 1199) // 600}, step {min(update + 1, 1199)} at"
    with pytest.raises(fp.DivergenceError, match=expected):
        net.fit(X, y, epochs=2, batch_size=1, **QUIET)
    twin.fit(X, y, epochs=max(1, update // 600), batch_size=1, **QUIET)
    if update >= 600:
        assert net._parameters.rows.tobytes() == twin._parameters.rows.tobytes()
        assert net.history_["loss"] == twin.history_["loss"]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_bad_number_names_its_row(shuffle):
    X, y = regression()
    X[431, 2] = np.inf
    net = network().build(4)
    before = net._parameters.rows.copy()
    with pytest.raises(ValueError, match="row 431, column 2"):
        net.fit(X, y, epochs=3, batch_size=1, shuffle=shuffle, **QUIET)
    np.testing.assert_array_equal(net._parameters.rows, before)


def test_held_out_rows_are_left_out():
    X, y = regression()
    net = network()
    history = net.fit(X, y, epochs=3, batch_size=1, validation_fraction=0.2, **QUIET)
    assert net._parameters.count == 3 * 480
    assert history["val_loss"][-1] < history["val_loss"][0]
