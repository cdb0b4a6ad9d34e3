"""What `fit`, `partial_fit`, `evaluate`, `predict` and `gradients` mean."""

import gc
import weakref

import covering
import naive
import numpy as np
import pytest
import scipy.sparse as sp

import fastprop as fp
from fastprop import engines, segments, trainer
from fastprop.engine import Engine
from fastprop.engines import job_of
from fastprop.validation import held_out_rows

QUIET = {"progress": False}


def regression(n_rows=60, n_features=5, n_outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, n_features)), rng.normal(size=(n_rows, n_outputs))


def network(n_outputs=2, loss="mse", optimizer=None, dtype="float64", **settings):
    layers = [fp.Dense(8, activation="tanh"), fp.LayerNorm(), fp.Dense(n_outputs)]
    optimizer = fp.SGD(0.05, momentum=0.9) if optimizer is None else optimizer
    return fp.Network(layers, loss=loss, optimizer=optimizer, dtype=dtype, **settings)


def same(one, other):
    """Whether two networks have the same bits, optimizer state included."""
    a, b = one._parameters, other._parameters
    return a.count == b.count and all(
        one.tobytes() == other.tobytes() for one, other in ((a.rows, b.rows), (a.statistics, b.statistics))
    )


def close(one, other, bound=1e-12):
    return max(naive.errors(one.get_weights(), other.get_weights())) < bound


class Recorder:
    """A callback that keeps all it is told, with the weights of the time."""

    def __init__(self, every=1, stop_at=None):
        self.every, self.stop_at = every, stop_at
        self.epochs, self.steps, self.weights = [], [], []

    def on_epoch_end(self, net, epoch, logs):
        self.epochs.append((epoch, dict(logs)))
        self.weights.append(net.get_weights())
        return epoch == self.stop_at

    def on_step(self, net, step, logs):
        self.steps.append((step, dict(logs)))
        return False


# ---- against the reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("rule", range(len(covering.RULES)))
def test_every_rule_in_float32(rule, stored):
    """Float64 is compared with PyTorch; float32 with the reference, here."""
    k = rule
    net = covering.network(k, "float32", rate=0.0, batch_norm=False, optimizer=covering.RULES[rule](), l2=0.01 * stored)
    net.clip_norm = 0.5 if stored else None
    X, y, Y = covering.data(k, 60, np.random.default_rng(k))
    weights = np.random.default_rng(k).uniform(0.5, 2.0, 60)
    batches = [(X[i : i + 16], Y[i : i + 16], weights[i : i + 16]) for i in range(0, 60, 16)]
    expected, losses = naive.Reference(net).train(net.get_weights(), batches)
    history = net.fit(X, y, epochs=1, batch_size=16, shuffle=False, sample_weight=weights, **QUIET)
    mean = np.average(losses, weights=[w.sum() for *_, w in batches])
    assert history["loss"] == pytest.approx([mean], rel=1e-4)
    assert max(naive.errors(net.get_weights(), expected)) < 1e-3


@pytest.mark.parametrize("rule", range(len(covering.RULES)))
def test_sample_by_sample(rule, rng):
    X, Y = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
    net = covering.per_sample_network(rule).build(5)
    batches = [(X[i : i + 1], Y[i : i + 1], None) for i in range(len(X))]
    expected, losses = naive.Reference(net).train(net.get_weights(), batches)
    history = net.fit(X, Y, epochs=1, batch_size=1, shuffle=False, **QUIET)
    assert history["loss"] == pytest.approx([np.mean(losses)], rel=1e-4)
    assert max(naive.errors(net.get_weights(), expected)) < 1e-3


@pytest.mark.parametrize(("batch_size", "n_features"), [(1, 3), (1, 40), (16, 3), (None, 40)])
def test_pads_never_learn(batch_size, n_features):
    """sigmoid(0) is not 0: pads of activations must be made zero, or the weights beside them would change."""
    X, y = regression(50, n_features, 3)
    net = fp.Network(
        [fp.Dense(5, activation="sigmoid"), fp.Dense(37, activation="sigmoid"), fp.Dense(3, activation="sigmoid")],
        optimizer=fp.Adam(0.01, weight_decay=0.1),
    )
    net.fit(X, y, epochs=max(4, 200 * (batch_size or 50) // 50), batch_size=batch_size, **QUIET)
    assert net._parameters.count >= 50
    plan, used = net._plan, np.zeros(net._plan.row_length, np.float32)
    for op in plan.parametric:
        plan.pack(op, used, np.ones((op.x.n, op.out.n)), np.ones(op.out.n))
    assert used.sum() == plan.n_parameters
    assert (net._parameters.rows[:, used == 0] == 0).all()
    assert (net._parameters.rows[0, used == 1] != 0).all()


# ---- weights of samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [10, 1])
def test_updates_of_zero_weight_are_skipped(batch_size):
    X, y = regression()
    weights = np.ones(60)
    weights[20:40] = 0.0
    rate = fp.schedules.Exponential(0.05, 0.9)
    one, other = (network(optimizer=fp.SGD(rate, momentum=0.9)) for _ in range(2))
    one.fit(X, y, epochs=2, batch_size=batch_size, shuffle=False, sample_weight=weights, **QUIET)
    kept = weights > 0
    other.fit(X[kept], y[kept], epochs=2, batch_size=batch_size, shuffle=False, **QUIET)
    assert same(one, other)
    assert one.history_["loss"] == other.history_["loss"]
    assert one.history_["lr"] == other.history_["lr"]


def test_skipped_updates_shuffled():
    """However rows are shuffled, a row of zero weight has no effect."""
    X, y = regression()
    weights = np.zeros(60)
    weights[7] = 2.0
    net = network(optimizer=fp.SGD(0.1))
    net.fit(X, y, epochs=3, batch_size=4, sample_weight=weights, **QUIET)
    alone = network(optimizer=fp.SGD(0.1))
    alone.fit(X[7:8], y[7:8], epochs=3, batch_size=1, **QUIET)
    assert net._parameters.count == 3
    assert close(net, alone)


@pytest.mark.parametrize("huge", [1e30, 1e200])
def test_a_row_of_zero_weight_may_be_huge(huge):
    """Its loss overflows, and still counts nothing."""
    X, y = regression()
    X[3], y[5] = huge, huge
    weights = np.ones(60)
    weights[[3, 5]] = 0.0
    one, other = network(), network()
    one.layers = other.layers
    for net in (one, other):
        net.build(5)
    found = one.gradients(X, y, weights)
    expected = other.gradients(np.delete(X, [3, 5], axis=0), np.delete(y, [3, 5], axis=0))
    assert found[0] == pytest.approx(expected[0], rel=1e-13)
    assert max(naive.errors(found[1], expected[1])) < 1e-12


@pytest.mark.parametrize("batch_size", [None, 1000])
def test_weights_are_repetitions(batch_size):
    X, y = regression()
    times = np.random.default_rng(0).integers(0, 4, 60)
    one, other = network(l2=0.1), network(l2=0.1)
    one.fit(X, y, epochs=5, batch_size=batch_size, sample_weight=times, **QUIET)
    other.fit(np.repeat(X, times, axis=0), np.repeat(y, times, axis=0), epochs=5, batch_size=batch_size, **QUIET)
    assert close(one, other)
    assert one.history_["loss"] == pytest.approx(other.history_["loss"], rel=1e-12)
    scaled = network(l2=0.1)
    scaled.fit(X, y, epochs=5, batch_size=batch_size, sample_weight=times * 8.0, **QUIET)
    assert same(one, scaled)


@pytest.mark.parametrize("balanced", [False, True])
def test_class_weight(balanced):
    X, _ = regression(90)
    labels = np.array(["a", "b", "c"])[np.random.default_rng(0).choice(3, 90, p=[0.6, 0.3, 0.1])]
    sample_weight = np.random.default_rng(1).uniform(0.5, 2.0, 90)
    of_class = {"a": 1.0, "b": 0.5, "c": 3.0}
    if balanced:
        of_class = {c: 90 / (3 * (labels == c).sum()) for c in "abc"}
    weights = sample_weight * np.array([of_class[c] for c in labels])
    one, other = (network(3, "cross_entropy") for _ in range(2))
    class_weight = "balanced" if balanced else {"b": 0.5, "c": 3.0}
    one.fit(X, labels, epochs=3, batch_size=20, sample_weight=sample_weight, class_weight=class_weight, **QUIET)
    other.fit(X, labels, epochs=3, batch_size=20, sample_weight=weights, **QUIET)
    assert close(one, other)


# ---- epochs and updates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [13, None, 1])
def test_two_fits_are_one(shuffle, batch_size):
    """Weights, optimizer state, schedule and shuffling go on."""
    X, y = regression()
    one, two = (network(optimizer=fp.Adam(fp.schedules.Cosine(0.01, 40))) for _ in range(2))
    history = one.fit(X, y, epochs=5, batch_size=batch_size, shuffle=shuffle, **QUIET)
    first = two.fit(X, y, epochs=2, batch_size=batch_size, shuffle=shuffle, **QUIET)
    second = two.fit(X, y, epochs=3, batch_size=batch_size, shuffle=shuffle, **QUIET)
    assert same(one, two)
    assert first["loss"] + second["loss"] == history["loss"]
    assert first["lr"] + second["lr"] == history["lr"]


def test_a_fit_in_long_segments_is_the_same(monkeypatch):
    """Many epochs run in one call, or an epoch in several: the bits are the same."""
    X, y = regression()
    nets = []
    for updates, rows in ((1 << 15, 1 << 20), (3, 1 << 20), (1 << 15, 70), (1, 1)):
        monkeypatch.setattr("fastprop.segments.SEGMENT_UPDATES", updates)
        monkeypatch.setattr("fastprop.segments.SEGMENT_ROWS", rows)
        nets.append(network())
        nets[-1].fit(X, y, epochs=7, batch_size=7, sample_weight=np.arange(60) % 3, **QUIET)
    assert all(same(net, nets[0]) for net in nets)
    assert all(net.history_["loss"] == nets[0].history_["loss"] for net in nets)
    watched = network()
    watched.fit(X, y, epochs=7, batch_size=7, sample_weight=np.arange(60) % 3, callbacks=Recorder(every=4), **QUIET)
    assert same(watched, nets[0])


class Watchful:
    """A rate of one's own that is told losses."""

    def __call__(self, update):
        return 0.01

    def after_epoch(self, monitored):
        pass


@pytest.mark.parametrize(
    ("rate", "n_runs"),
    [
        (0.01, 1),
        (fp.schedules.Cosine(0.01, 90), 1),
        (fp.schedules.Warmup(fp.schedules.Step(0.01, 9, 0.5), 5), 1),
        (lambda update: 0.01, 1),
        (fp.schedules.Plateau(0.01), 30),
        (fp.schedules.Warmup(fp.schedules.Plateau(0.01), 5), 30),
        (fp.schedules.Warmup(Watchful(), 5), 30),
        (Watchful(), 30),
    ],
)
def test_only_rates_that_watch_stop_between_epochs(rate, n_runs, monkeypatch):
    runs, of = [], segments.Segments.of
    monkeypatch.setattr(segments.Segments, "of", lambda self, *args: runs.append(args) or of(self, *args))
    network(optimizer=fp.SGD(rate)).fit(*regression(), epochs=30, batch_size=None, **QUIET)
    assert len(runs) == n_runs


def laid_out(n_rows, batch_size, accumulate=1, epochs=2, shuffle=True):
    """The segments of a fit, without one."""
    net = network(2).build(5)
    job = job_of(net, "train", *net._check_data(*regression(3)))
    engine = Engine(job.plan, job.parameters, job.recipe, job.form, batch_size)
    made = segments.Segments(engine, n_rows, None, None, batch_size, accumulate, shuffle, 0, 0)
    return [segment for epoch in range(epochs) for segment in made.of(range(epoch, epoch + 1), 0.1)]


def test_tables_do_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 70)
    for n_rows in (100, 1000):
        tables = laid_out(n_rows, 7)
        assert max(len(t.rows) for t in tables) == 70
        assert max(len(t.chunks) for t in tables) == 10
        assert sum(len(t.rows) for t in tables) == 2 * n_rows
    assert {len(t.chunks) for t in laid_out(300, 100)} == {1}  # an update is never cut


@pytest.mark.parametrize("every", [1, 2, 3, 7, 1000])
def test_the_next_step_of_a_callback(every):
    (table,) = laid_out(100, 10, accumulate=3, epochs=1)  # updates of 3, 3, 3 and 1 chunks
    hits = table.chunks["is_last"].astype(bool) & (table.chunks["count"] % every == 0)
    for done in range(len(table.chunks)):
        later = done + np.flatnonzero(hits[done:])
        assert table.next_step(done, every) == (later[0] + 1 if len(later) else len(table.chunks))


def test_shuffling_changes_every_epoch():
    X, y = regression(64)
    seen = []
    for epochs in (1, 2):
        net = network(optimizer=fp.SGD(0.05))
        net.fit(X, y, epochs=epochs, batch_size=8, **QUIET)
        if epochs == 2:
            net2 = network(optimizer=fp.SGD(0.05))
            net2.fit(X, y, epochs=1, batch_size=8, **QUIET)
            net2.epochs_done = 0
            net2.fit(X, y, epochs=1, batch_size=8, **QUIET)  # the order of the first epoch again
            assert not close(net, net2)
        seen.append(net)
    full = [network(optimizer=fp.SGD(0.05)) for _ in range(2)]
    for net, shuffle in zip(full, (True, False), strict=True):
        net.fit(X, y, epochs=2, batch_size=None, shuffle=shuffle, **QUIET)
    assert same(*full)  # a full batch has no order


def test_schedules_count_updates():
    X, y = regression()
    asked = []

    def rate(update):
        assert isinstance(update, int)
        asked.append(update)
        return 0.1 / (1 + update)

    net = network(optimizer=fp.SGD(rate))
    history = net.fit(X, y, epochs=2, batch_size=25, **QUIET)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert history["lr"] == [rate(2), rate(5)]
    del asked[:]
    history = net.fit(X, y, epochs=1, batch_size=10, accumulate=4, **QUIET)
    assert asked == [6, 7]
    assert history["lr"] == [rate(7)]
    del asked[:]
    net.partial_fit(X, y)
    assert asked == [8]
    assert net._parameters.count == 9


def test_the_last_smaller_batch_is_trained():
    X, y = regression(50)
    net = network(optimizer=fp.SGD(0.05)).build(5)
    batches = [(X[i : i + 16], y[i : i + 16], None) for i in (0, 16, 32, 48)]
    expected, losses = naive.Reference(net).train(net.get_weights(), batches)
    history = net.fit(X, y, epochs=1, batch_size=16, shuffle=False, **QUIET)
    assert max(naive.errors(net.get_weights(), expected)) < 1e-12
    assert history["loss"] == pytest.approx([np.average(losses, weights=[16, 16, 16, 2])], rel=1e-12)


def test_partial_fit():
    """One pass in order; one update unless batch_size; the loss is that before the updates, with penalties."""
    X, y = regression()
    weights = np.random.default_rng(0).uniform(0.0, 2.0, 60)
    one, other = network(l1=0.01, l2=0.1), network(l1=0.01, l2=0.1)
    expected = one.build(5).gradients(X, y, weights)[0]
    assert one.partial_fit(X, y, sample_weight=weights) == pytest.approx(expected, rel=1e-12)
    other.fit(X, y, epochs=1, batch_size=None, sample_weight=weights, shuffle=False, **QUIET)
    assert same(one, other)
    one.partial_fit(X, y, batch_size=16)
    other.fit(X, y, epochs=1, batch_size=16, shuffle=False, **QUIET)
    assert same(one, other)


def test_an_update_of_partial_fit_whose_weights_are_zero_is_skipped():
    X, y = regression()
    net = network().build(5)
    before = [p.copy() for pair in net.get_weights() for p in pair]
    assert np.isnan(net.partial_fit(X, y, sample_weight=np.zeros(60)))
    assert np.isnan(net.partial_fit(X, y, sample_weight=np.zeros(60), batch_size=7))
    assert net._parameters.count == 0
    for array, old in zip([p for pair in net.get_weights() for p in pair], before, strict=True):
        np.testing.assert_array_equal(array, old)
    some = np.repeat([0.0, 1.0, 0.0], 20)
    twin = network()
    assert net.partial_fit(X, y, some, batch_size=20) == twin.partial_fit(X[20:40], y[20:40])
    assert same(net, twin)


def test_calls_of_partial_fit_share_an_engine(monkeypatch):
    """Whatever their number of rows; the bits are those of engines of their own."""
    X, y = regression(200)
    net, twin = network(), network()
    for n in range(65, 128, 7):
        net.partial_fit(X[:n], y[:n])
    assert len(net._engines._idle) == 1
    monkeypatch.setattr(engines, "next_power", lambda n: n)
    for n in range(65, 128, 7):
        twin.partial_fit(X[:n], y[:n])
    assert same(net, twin)


def test_a_batch_that_fits_a_chunk_goes_on_to_do_so(monkeypatch):
    monkeypatch.setattr("fastprop.engine.MAX_ROWS", 96)
    net = network().build(5)
    limit = engines.chunk_limit(net._plan)
    assert limit < 128
    for n, expected in ((1, 1), (2, 2), (33, 64), (limit, limit), (limit + 1, 128), (200, 256)):
        assert engines.batch_rows(net._plan, n, None) == engines.batch_rows(net._plan, n, n) == expected
    assert engines.batch_rows(net._plan, 200, 33) == 33


def test_only_the_oldest_engines_are_given_up():
    X, y = regression()
    net = network()
    kinds = []
    for size in range(2, 2 + engines.MAX_KINDS + 1):
        net.partial_fit(X, y, batch_size=size)
        kinds += [key for key in net._engines._idle if key not in kinds]
    assert list(net._engines._idle) == kinds[1:]


def trained(seed, batch_size, sparse=False, **settings):
    """A network with everything that an engine has addresses or constants of, after two epochs."""
    block = [fp.Dense(8, "elu"), fp.Dropout(settings.pop("rate", 0.2)), fp.Dense(8)]
    norms = [] if batch_size == 1 else [fp.BatchNorm(settings.pop("momentum", 0.1)), fp.LayerNorm()]
    hidden = [fp.Dense(settings.pop("n", 8), settings.pop("activation", "tanh")), *norms, fp.Residual(block)]
    net = fp.Network([*hidden, fp.Dense(2)], optimizer=fp.SGD(0.05, momentum=0.9), seed=seed, **settings)
    X, y = regression()
    net.fit(sp.csr_array(X) if sparse else X, y, epochs=2, batch_size=batch_size, **QUIET)
    return net


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("settings", [{}, {"l2": 0.1}, {"clip_norm": 0.1}], ids=str)
@pytest.mark.parametrize("batch_size", [17, None])
def test_an_engine_that_another_network_left_trains_to_the_same_bits(monkeypatch, sparse, settings, batch_size):
    monkeypatch.setattr(engines, "_left", {})
    fresh = trained(1, batch_size, sparse, **settings)
    bits, y = fresh._parameters.rows.copy(), fresh.predict(regression()[0])
    engines._left.clear()
    first = trained(2, batch_size, sparse, **settings)
    ((engine,),) = engines._left.values()
    assert first._engines._idle == {}
    second = trained(1, batch_size, sparse, **settings)
    assert list(engines._left.values()) == [[engine]]
    first.partial_fit(
        sp.csr_array(regression()[0]) if sparse else regression()[0], regression()[1]
    )  # has its own again
    assert second._parameters.rows.tobytes() == bits.tobytes()
    assert second.predict(regression()[0]).tobytes() == y.tobytes()


def test_networks_of_other_structures_do_not_share_engines():
    others = [{}, {"rate": 0.3}, {"momentum": 0.2}, {"dtype": "float64"}, {"activation": "relu"}, {"n": 8}]
    plans = [trained(1, 17, **{"dtype": "float32", **other})._plan.structure for other in others]
    assert plans[0] == plans[-1]
    assert len(set(plans)) == len(plans) - 1
    assert fp.Network([fp.Dense(3, fp.kernels.activations.LeakyRelu(0.1))]).build(2)._plan.structure != (
        fp.Network([fp.Dense(3, fp.kernels.activations.LeakyRelu(0.2))]).build(2)._plan.structure
    )


def test_engines_that_a_network_left_keep_neither_its_parameters_nor_too_many(monkeypatch):
    monkeypatch.setattr(engines, "_left", {})
    nets = [trained(seed, 17) for seed in range(engines.MAX_ALIKE + 3)]
    for net in nets:  # each takes an engine for itself
        net.partial_fit(*regression(), batch_size=17)
    parameters = [weakref.ref(net._parameters) for net in nets]
    del nets, net
    gc.collect()
    assert [p() for p in parameters] == [None] * len(parameters)
    assert max(len(idle) for idle in engines._left.values()) == engines.MAX_ALIKE


def test_large_engines_go_with_their_network(monkeypatch):
    monkeypatch.setattr(engines, "_left", {})
    monkeypatch.setattr(engines, "MAX_BYTES", 1000)
    trained(1, 17)
    assert engines._left == {}


def test_one_update_copies_no_weights(monkeypatch):
    X, y = regression()
    net = network()
    net.partial_fit(X, y)

    def refuse(self):
        raise AssertionError("a copy")

    monkeypatch.setattr("fastprop.workspace.Parameters.snapshot", refuse)
    net.partial_fit(X, y)
    with pytest.raises(AssertionError, match="a copy"):
        net.partial_fit(X, y, batch_size=30)


def test_partial_fit_by_single_rows():
    X, y = regression()
    one, other = (network(optimizer=fp.SGD(0.005, momentum=0.9)) for _ in range(2))
    losses = [one.partial_fit(X[i : i + 1], y[i : i + 1]) for i in range(60)]
    history = other.fit(X, y, epochs=1, batch_size=1, shuffle=False, **QUIET)
    assert same(one, other)
    assert history["loss"] == pytest.approx([np.mean(losses)], rel=1e-12)


def test_partial_fit_does_not_disturb_shuffling():
    X, y = regression()
    nets = [network(optimizer=fp.SGD(0.05)) for _ in range(2)]
    for net, partial in zip(nets, (True, False), strict=True):
        if partial:
            net.partial_fit(X, y)
        else:
            net.fit(X, y, epochs=1, batch_size=None, **QUIET)
            net.epochs_done = 0
        net.fit(X, y, epochs=2, batch_size=7, **QUIET)
    assert same(*nets)


# ---- history, callbacks, stopping ---------------------------------------------------------------------------------


def test_history_has_equal_lengths():
    X, y = regression()
    net = network()
    assert set(net.fit(X, y, epochs=3, **QUIET)) == {"loss", "lr", "time"}
    history = net.fit(X, y, epochs=4, X_val=X[:20], y_val=y[:20], **QUIET)
    assert set(history) == {"loss", "lr", "time", "val_loss", "val_r2"}
    assert {len(values) for values in history.values()} == {4}
    assert all(isinstance(v, float) for values in history.values() for v in values)
    assert np.all(np.diff(history["time"]) > 0)
    assert history is net.history_
    assert history["val_loss"][-1] == net.evaluate(X[:20], y[:20])["loss"]
    labels = (y[:, 0] > 0).astype(int)
    history = network(1, "bce").fit(X, labels, epochs=2, validation_fraction=0.25, **QUIET)
    assert set(history) == {"loss", "lr", "time", "val_loss", "val_accuracy"}


def test_the_training_loss_is_that_of_the_updates():
    """The mean over the epoch's updates, before each, with penalties; `evaluate` has none."""
    X, y = regression()
    net = network(l2=0.5).build(5)
    penalty = sum(0.25 * (W**2).sum() for W, _ in net.get_weights() if W.ndim == 2)
    evaluated = net.evaluate(X, y)["loss"]
    history = net.fit(X, y, epochs=1, batch_size=None, **QUIET)
    assert history["loss"] == pytest.approx([evaluated + penalty], rel=1e-12)


class Horizon:
    """Stops the fit, or changes its rate, after the epochs in `acts`; says when it may act next."""

    def __init__(self, acts, stops_after=None):
        self.acts, self.stops_after, self.seen, self.counts = acts, stops_after, [], []

    @property
    def horizon(self):
        return (
            min(epoch for epoch in [*self.acts, self.stops_after or 99] if epoch >= len(self.seen)) - len(self.seen) + 1
        )

    def on_epoch_end(self, net, epoch, logs):
        self.seen.append((epoch, logs["loss"], logs["penalty"], logs["lr"]))
        self.counts.append(net._parameters.count)
        if epoch in self.acts:
            net.optimizer.lr = net.optimizer.lr / 2
        return epoch == self.stops_after


class Plain(Horizon):
    """The same, asked after each epoch."""

    horizon = 1


@pytest.mark.parametrize("ahead", [0.0, 1e9], ids=["to the horizon", "ahead"])
@pytest.mark.parametrize("stops_after", [None, 5, 13])
def test_a_callback_with_a_horizon_is_asked_after_several_epochs(monkeypatch, ahead, stops_after):
    """It sees and makes what it would if it were asked after each, however far epochs ran ahead."""
    X, y = regression()
    fits = {}
    for kind, seconds in ((Plain, 0.0), (Horizon, ahead)):
        monkeypatch.setattr(trainer, "AHEAD_SECONDS", seconds)
        fits[kind] = network(l2=0.5), kind([2, 8], stops_after)
        fits[kind][0].fit(X, y, epochs=15, batch_size=25, callbacks=fits[kind][1], **QUIET)
    (one, plain), (other, watcher) = fits.values()
    assert same(one, other)
    assert watcher.seen == plain.seen
    for name in ("loss", "lr"):
        assert one.history_[name] == other.history_[name]
    assert plain.counts == [3 * (epoch + 1) for epoch in range(len(plain.seen))]
    assert watcher.counts[:3] == [9, 9, 9]
    one.fit(X, y, epochs=1, **QUIET)
    other.fit(X, y, epochs=1, **QUIET)
    assert same(one, other)


def test_epochs_that_ran_ahead_do_not_diverge(monkeypatch):
    """A fit that its callback stops in time is not spoilt by what would have come."""
    X, y = regression()
    monkeypatch.setattr(trainer, "AHEAD_SECONDS", 1e9)
    net = network(optimizer=fp.SGD(lambda update: 1e-3 if update < 36 else 1e30))
    watcher = Horizon([], stops_after=11)
    history = net.fit(X, y, epochs=60, batch_size=25, callbacks=watcher, **QUIET)
    assert len(history["loss"]) == len(watcher.seen) == 12
    with pytest.raises(fp.DivergenceError):
        net.fit(X, y, epochs=60, batch_size=25, callbacks=Horizon([]), **QUIET)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"clip_value": 1e3}, {"clip_norm": 1e3}], ids=str)
@pytest.mark.parametrize("n_units", [3, 40])
def test_penalties_divided_by_the_weights_of_an_update(settings, n_units):
    """Two updates of 40 and 20 rows: each has its own part of l2, with sample weights their sum."""
    X, y = regression()
    weights = np.random.default_rng(0).uniform(0.5, 2.0, 60)
    accumulate = settings.get("accumulate", 1)
    clipping = {name: value for name, value in settings.items() if name != "accumulate"}
    layers = [fp.Dense(n_units, "tanh"), fp.Dense(n_units, "tanh"), fp.Dense(2)]
    net = fp.Network(layers, optimizer=fp.SGD(0.1), l1=0.2, l2=3.0, dtype="float64", **clipping).build(5)
    net.divides_penalties = True
    reference, expected, losses = naive.Reference(net), net.get_weights(), []
    for rows in (slice(0, 40), slice(40, 60)):
        loss, gradients = reference.gradients(expected, X[rows], y[rows], weights[rows])
        losses.append(loss * len(X[rows]))  # scikit-learn's curve weighs updates by rows
        expected = [(W - 0.1 * dW, b - 0.1 * db) for (W, b), (dW, db) in zip(expected, gradients, strict=True)]
    history = net.fit(
        X,
        y,
        epochs=1,
        batch_size=40 // accumulate,
        accumulate=accumulate,
        sample_weight=weights,
        shuffle=False,
        **QUIET,
    )
    assert max(naive.errors(net.get_weights(), expected)) < 1e-12
    assert history["loss"] == pytest.approx([sum(losses) / 60], rel=1e-12)


def test_callbacks_see_everything():
    X, y = regression()
    recorder = Recorder(every=3)
    net = network()
    history = net.fit(X, y, epochs=3, batch_size=15, callbacks=[recorder], X_val=X, y_val=y, **QUIET)
    assert [epoch for epoch, _ in recorder.epochs] == [0, 1, 2]
    for epoch, logs in recorder.epochs:
        assert logs == {**{name: values[epoch] for name, values in history.items()}, "penalty": 0.0}
    assert [step for step, _ in recorder.steps] == [2, 5, 8, 11]
    assert all(set(logs) == {"loss", "lr"} for _, logs in recorder.steps)
    assert naive.errors(recorder.weights[-1], net.get_weights()) == [0.0] * 6
    every_step = Recorder()
    again = network()
    again.fit(X, y, epochs=3, batch_size=15, callbacks=every_step, **QUIET)
    assert same(net, again)
    assert [step for step, _ in every_step.steps] == list(range(12))
    assert np.mean([logs["loss"] for _, logs in every_step.steps[:4]]) == pytest.approx(history["loss"][0], rel=1e-12)
    assert [every_step.steps[i][1] for i in (2, 5, 8, 11)] == [logs for _, logs in recorder.steps]


def test_a_callback_stops_after_an_epoch():
    X, y = regression()
    net, three = network(), network()
    history = net.fit(X, y, epochs=10, batch_size=15, callbacks=Recorder(stop_at=2), **QUIET)
    assert len(history["loss"]) == 3
    three.fit(X, y, epochs=3, batch_size=15, **QUIET)
    assert same(net, three)
    net.fit(X, y, epochs=1, batch_size=15, **QUIET)
    three.fit(X, y, epochs=1, batch_size=15, **QUIET)
    assert same(net, three)


@pytest.mark.parametrize("segment", [1 << 15, 3, 5])
def test_a_callback_stops_in_an_epoch(segment, monkeypatch):
    """The updates until then stay, and the epoch that was under way is in the history."""
    monkeypatch.setattr("fastprop.segments.SEGMENT_UPDATES", segment)
    X, y = regression()

    class Stop:
        every = 5

        def on_step(self, net, step, logs):
            return step >= 12

    net = network()
    history = net.fit(X, y, epochs=10, batch_size=6, callbacks=Stop(), **QUIET)  # 10 updates an epoch
    assert net._parameters.count == 15
    assert {len(values) for values in history.values()} == {2}
    assert np.isfinite(history["loss"]).all()


def test_a_callback_may_set_weights():
    X, y = regression()
    zero = [tuple(np.zeros_like(p) for p in pair) for pair in network().build(5).get_weights()]

    class Reset:
        every = 4

        def on_step(self, net, step, logs):
            net.set_weights(zero)

    net, other = (network(optimizer=fp.SGD(0.1)) for _ in range(2))
    net.fit(X, y, epochs=1, batch_size=10, shuffle=False, callbacks=Reset(), **QUIET)
    other.set_weights(zero)
    other._parameters.count = 4
    other.fit(X[40:], y[40:], epochs=1, batch_size=10, shuffle=False, **QUIET)
    assert naive.errors(net.get_weights(), other.get_weights()) == [0.0] * 6


@pytest.mark.parametrize("monitor", ["val_loss", "val_r2", "loss"])
def test_early_stopping_restores_the_best(monitor):
    X, y = regression(40)
    X_val, y_val = regression(40, seed=1)
    recorder = Recorder()
    net = network(optimizer=fp.Adam(0.1))
    stopping = fp.EarlyStopping(patience=4, monitor=monitor)
    history = net.fit(
        X, y, epochs=300, batch_size=10, X_val=X_val, y_val=y_val, early_stopping=stopping, callbacks=recorder, **QUIET
    )
    values = np.array(history[monitor]) * (-1 if monitor == "val_r2" else 1)
    best = int(values.argmin())
    assert len(values) < 300
    assert len(values) == best + 1 + 4
    assert naive.errors(net.get_weights(), recorder.weights[best]) == [0.0] * 6
    if monitor != "loss":
        assert net.evaluate(X_val, y_val)[monitor[4:]] == history[monitor][best]


def test_early_stopping_restores_running_statistics():
    X, y = regression(40)
    net = fp.Network([fp.Dense(8), fp.BatchNorm(), fp.Dense(2)], optimizer=fp.Adam(0.1))
    X_val, y_val = regression(40, seed=1)
    history = net.fit(X, y, epochs=100, batch_size=10, X_val=X_val, y_val=y_val, early_stopping=3, **QUIET)
    assert len(history["val_loss"]) < 100
    assert net.evaluate(X_val, y_val)["loss"] == min(history["val_loss"])


def test_early_stopping_that_does_not_stop_restores_too():
    X, y = regression(40)
    X_val, y_val = regression(40, seed=1)
    net = network(optimizer=fp.Adam(0.1))
    history = net.fit(X, y, epochs=30, batch_size=10, X_val=X_val, y_val=y_val, early_stopping=1000, **QUIET)
    assert len(history["val_loss"]) == 30
    assert net.evaluate(X_val, y_val)["loss"] == min(history["val_loss"]) < history["val_loss"][-1]


def test_early_stopping_needs_what_it_watches():
    X, y = regression()
    net = network().build(5)
    before = net.get_weights()
    with pytest.raises(ValueError, match="val_loss"):
        net.fit(X, y, epochs=3, early_stopping=2, **QUIET)
    assert naive.errors(net.get_weights(), before) == [0.0] * 6


@pytest.mark.parametrize("weights", [None, np.arange(200) % 4])
@pytest.mark.parametrize("options", [{"shuffle": False}, {}, {"batch_size": None}, {"batch_size": 1}])
def test_validation_fraction_is_not_trained_on(options, weights):
    X, _ = regression(200)
    labels = np.random.default_rng(0).choice(3, 200, p=[0.6, 0.3, 0.1])
    net, other = (network(3, "cross_entropy") for _ in range(2))
    options = {"epochs": 3, "batch_size": 20, **options, **QUIET}
    net.fit(X, labels, validation_fraction=0.2, sample_weight=weights, **options)
    held = held_out_rows(200, 0.2, labels, seed=0)
    assert len(held) == 40
    assert np.abs(np.bincount(labels[held], minlength=3) - 0.2 * np.bincount(labels, minlength=3)).max() <= 1
    train = np.setdiff1d(np.arange(200), held)
    weights = None if weights is None else weights[train]
    history = other.fit(X[train], labels[train], sample_weight=weights, X_val=X[held], y_val=labels[held], **options)
    assert same(net, other)
    assert net.history_["val_loss"] == history["val_loss"]
    assert not np.array_equal(held, held_out_rows(200, 0.2, labels, seed=1))


def test_validation_fraction_copies_what_is_held_out_only(monkeypatch):
    X, y = regression(200)
    bound, bind = [], Engine.bind
    monkeypatch.setattr(Engine, "bind", lambda self, X, *args: bound.append(X.array) or bind(self, X, *args))
    network().fit(X, y, epochs=1, validation_fraction=0.2, **QUIET)
    assert bound[0] is X
    assert [len(a) for a in bound[1:]] == [40]


def test_weights_that_are_zero_but_where_rows_are_held_out():
    X, y = regression(200)
    weights = np.zeros(200)
    weights[held_out_rows(200, 0.2, None, seed=0)] = 1.0
    with pytest.raises(ValueError, match="sample_weight must not be zero for all samples"):
        network().fit(X, y, sample_weight=weights, validation_fraction=0.2, **QUIET)


def test_divergence_restores_the_last_good_epoch():
    X, y = regression()

    def rate(update):
        return 0.01 if update < 9 else 1e30

    net, three = network(optimizer=fp.SGD(rate, momentum=0.9)), network(optimizer=fp.SGD(rate, momentum=0.9))
    with pytest.raises(fp.DivergenceError, match=r"epoch 3, step (9|10|11) at learning rate 1e\+30"):
        net.fit(X, y, epochs=10, batch_size=20, **QUIET)
    three.fit(X, y, epochs=3, batch_size=20, **QUIET)
    assert same(net, three)
    assert np.isfinite(net.predict(X)).all()


# ---- results ------------------------------------------------------------------------------------------------------


def test_evaluate_regression():
    X, y = regression()
    net = network(l2=1.0).build(5)
    raw = naive.Reference(net).forward(net.get_weights(), X)[0]
    results = net.evaluate(X, y)
    r2 = 1 - ((y - raw) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    assert results == {"loss": pytest.approx(((y - raw) ** 2).mean()), "r2": pytest.approx(r2.mean())}
    assert net.predict(X) == pytest.approx(raw)


@pytest.mark.parametrize("k", range(covering.N_CASES), ids=covering.loss_name)
def test_evaluate_and_predict_every_loss(k):
    """On 2500 rows, which are several chunks; batch norms take their running statistics, so there are none here."""
    X, y, Y = covering.data(k, 2500, np.random.default_rng(k))
    net = covering.network(k, batch_norm=False)
    net.fit(X[:50], y[:50], epochs=1, **QUIET)  # learns the labels
    reference = naive.Reference(net)
    raw = reference.forward(net.get_weights(), X)[0]
    results = net.evaluate(X, y)
    assert results["loss"] == pytest.approx(reference.loss(Y, raw)[0], rel=1e-12)
    kind, predicted = covering.LOSSES[k][2], net.predict(X)
    if kind in ("numbers", "counts"):
        expected = np.exp(raw) if kind == "counts" else raw
        assert predicted == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert set(results) == {"loss", "r2"}
    elif kind == "labels":
        codes = raw.argmax(axis=1) if raw.shape[1] > 1 else (raw[:, 0] > 0).astype(int)
        assert np.array_equal(predicted, net.classes_[codes])
        assert results["accuracy"] == np.mean(predicted == y)
    elif kind == "probabilities":
        assert np.array_equal(predicted, (raw > 0).astype(int))
        assert results["accuracy"] == np.mean((predicted == (Y > 0.5)).all(axis=1))
        assert net.predict_proba(X) == pytest.approx(naive.sigmoid(raw))
    else:
        assert net.predict_proba(X) == pytest.approx(np.exp(raw - np.logaddexp.reduce(raw, axis=1, keepdims=True)))
        assert results["accuracy"] == np.mean(raw.argmax(axis=1) == Y.argmax(axis=1))


def test_prediction_of_a_batch_norm():
    """The running statistics, as PyTorch keeps them: the variance unbiased, momentum 0.1."""
    X, y = regression(40)
    net = fp.Network([fp.BatchNorm(), fp.Dense(2)], dtype="float64")
    net.fit(X, y, epochs=1, batch_size=40, **QUIET)
    mean, variance = 0.1 * X.mean(axis=0), 0.9 + 0.1 * X.var(axis=0, ddof=1)
    state = net.state_dict()
    assert state["layers.0.running_mean"] == pytest.approx(mean, rel=1e-12)
    assert state["layers.0.running_variance"] == pytest.approx(variance, rel=1e-12)
    (gamma, beta), (W, b) = net.get_weights()
    expected = ((X - mean) / np.sqrt(variance + 1e-5) * gamma + beta) @ W + b
    assert net.predict(X) == pytest.approx(expected, rel=1e-12)
    before = net.state_dict()
    net.gradients(X, y)
    net.evaluate(X, y)
    assert all(np.array_equal(a, net.state_dict()[name]) for name, a in before.items())


def test_dropout_is_for_training_only():
    X, y = regression()
    net = fp.Network([fp.Dense(8, "tanh"), fp.Dropout(0.5), fp.Dense(2)], dtype="float64").build(5)
    plain = fp.Network([fp.Dense(8, "tanh"), fp.Dense(2)], dtype="float64")
    plain.set_weights(net.get_weights())
    assert np.array_equal(net.predict(X), plain.predict(X))
    assert net.evaluate(X, y) == plain.evaluate(X, y)
    assert net.gradients(X, y)[0] == plain.gradients(X, y)[0]
    assert naive.errors(net.gradients(X, y)[1], plain.gradients(X, y)[1]) == [0.0] * 4
    assert net.partial_fit(X, y) != plain.partial_fit(X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_features", "units"), [(1, 5), (5, 16), (5, 32), (16, 1), (1, 64), (32, 32), (3, 2)])
def test_weights_are_copies(n_features, units, dtype):
    """What is handed out does not change with the network, nor the network with it; whatever the padding."""
    X, y = regression(20, n_features, units)
    net = fp.Network([fp.Dense(units)], dtype=dtype, optimizer=fp.SGD(0.1)).build(n_features)
    _, gradients = net.gradients(X, y)
    assert gradients[0][0].any()
    assert max(naive.errors(gradients, naive.Reference(net).gradients(net.get_weights(), X, y)[1])) < 1e-4
    handed, state = net.get_weights(), net.state_dict()
    kept = [p.copy() for p in handed[0]]
    net.fit(X, y, epochs=1, **QUIET)
    assert all(np.array_equal(a, b) for a, b in zip(handed[0], kept, strict=True))
    assert np.array_equal(state["layers.0.W"], kept[0])
    for array in (*net.get_weights()[0], *net.state_dict().values()):
        array[:] = np.nan
    assert np.isfinite(net.predict(X)).all()
    given = [(np.ones((n_features, units)), np.ones(units))]
    net.set_weights(given)
    given[0][0][:] = np.nan
    assert np.isfinite(net.predict(X)).all()


def test_gradients_change_nothing():
    X, y = regression()
    net, other = network(clip_norm=1e-3), network(clip_norm=1e-3)
    for n in (net, other):
        n.fit(X, y, epochs=1, **QUIET)
    gradients = net.gradients(X, y)[1]
    assert same(net, other)
    # They come as they are: clipping belongs to updates.
    assert np.sqrt(sum((g**2).sum() for g in naive.arrays(gradients))) > 0.01
    for n in (net, other):
        n.fit(X, y, epochs=1, **QUIET)
    assert same(net, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype(dtype):
    X, y = regression()
    net = network(dtype=dtype)
    net.fit(X, y, epochs=1, **QUIET)
    assert {a.dtype.name for a in [net.predict(X), *naive.arrays(net.get_weights())]} == {dtype}
    assert net._parameters.rows.dtype == dtype


# ---- your own -----------------------------------------------------------------------------------------------------


@fp.activation
class SlopedUnit:
    """leaky_relu under another name."""

    slope: float = 0.01

    def value(self, z):
        return np.where(z > 0.0, z, self.slope * z)

    def derivative(self, z, a):
        return np.where(z > 0.0, 1.0, self.slope)


@fp.loss
class BoundedSlope:
    """huber under another name."""

    delta: float = 1.0

    def value(self, y, p):
        r = abs(p - y)
        k = min(r, self.delta)
        return k * (r - 0.5 * k)

    def gradient(self, y, p):
        return min(max(p - y, -self.delta), self.delta)


@fp.optimizer
class HeavyBall:
    """SGD with momentum under another name."""

    momentum: float = 0.9
    weight_decay: float = 0.0
    n_slots = 1

    def update(self, w, g, slots, lr, t):
        v = self.momentum * slots[0] + (g + self.weight_decay * w)
        return w - lr * v, (v,)


@pytest.mark.parametrize("batch_size", [16, 1])
def test_your_own_are_the_built_in_ones(batch_size):
    """Activation, loss and optimizer of a user make the same bits as ours of the same formula."""
    X, y = regression()
    mine = fp.Network(
        [fp.Dense(8, activation=SlopedUnit(slope=0.1)), fp.Dense(2, activation="sloped_unit")],
        loss=BoundedSlope(delta=0.5, output_weights=[1.0, 3.0]),
        optimizer=HeavyBall(lr=0.1, momentum=0.8, weight_decay=0.01),
    )
    leaky = fp.Network([fp.Dense(1, activation="leaky_relu")]).layers[0].activation
    built_in = fp.Network(
        [fp.Dense(8, activation=leaky._replace(slope=0.1)), fp.Dense(2, activation="leaky_relu")],
        loss=fp.losses.Huber(delta=0.5, output_weights=[1.0, 3.0]),
        optimizer=fp.SGD(lr=0.1, momentum=0.8, weight_decay=0.01),
    )
    built_in.build(5)
    mine.set_weights(built_in.get_weights())
    for net in (mine, built_in):
        net.fit(X, y, epochs=3, batch_size=batch_size, **QUIET)
    assert same(mine, built_in)
    assert mine.history_["loss"] == built_in.history_["loss"]
    assert np.array_equal(mine.predict(X), built_in.predict(X))
    assert mine.evaluate(X, y) == built_in.evaluate(X, y)


def test_your_own_schedule():
    X, y = regression()
    one = network(optimizer=fp.SGD(lambda t: 0.1 * 0.5 ** (t // 3)))
    other = network(optimizer=fp.SGD(fp.schedules.Step(0.1, 3, 0.5)))
    for net in (one, other):
        net.fit(X, y, epochs=3, batch_size=16, **QUIET)
    assert same(one, other)
