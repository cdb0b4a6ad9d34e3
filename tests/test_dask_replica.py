"""What workers do in a round: the same bits wherever it is done, and one machine's updates where there is one."""

import functools
import hashlib
import itertools
import pickle

import numpy as np
import pytest
from conftest import run_script
from scipy.sparse import csr_array

import fastprop as fp
from fastprop.dask import batches, sums
from fastprop.dask.job import Job, check_mode, stamp
from fastprop.dask.messages import Share, State
from fastprop.dask.parts import MemoryPart
from fastprop.dask.replica import evaluate_group, gradient_group, train_group
from fastprop.dask.scores import merged
from fastprop.dask.state import layout_of, put, shown, taken
from fastprop.dask.update import Updater
from fastprop.kernels.losses import LOSSES
from fastprop.segments import epoch_keys, shuffle_rows
from fastprop.targets import combine_weights
from fastprop.validation import Rows

pytestmark = pytest.mark.quick
# Estimators and other tests register theirs in the same process.
BUILT_IN = [name for name, cls in LOSSES.items() if cls.__module__ == LOSSES["mse"].__module__]


class Part:
    """A partition in memory, with as many updates in a round as `Share` says."""

    def __init__(self, number, X, y, sample_weight=None):
        self.number, self.X, self.y, self.sample_weight = number, X, y, sample_weight

    def rows_at(self, net, numbers, job):
        matrix, targets = net._check_data(self.X, self.y)
        return Rows(matrix, targets, combine_weights(self.sample_weight, None, targets), numbers)

    def round_rows(self, net, share, job):
        n = self.X.shape[0]
        numbers, size = np.arange(n), job.batch_size or n
        if job.shuffle and size < n:  # one update of all rows takes them as they lie, as `Segments` does
            shuffle_rows(numbers, n, epoch_keys(job.seed, share.epoch, self.number), 0)
        n_updates = -(-n // size)
        first, last = (n_updates * k // share.n_rounds for k in (share.number, share.number + 1))
        return self.rows_at(net, numbers[first * size : last * size], job)

    def everything(self, net, job):
        half = self.X.shape[0] // 2
        for some in (np.arange(half), np.arange(0), np.arange(half, self.X.shape[0])):
            yield self.rows_at(net, some, job)

    held_out = everything


def network(loss="cross_entropy", n_features=7, n_outputs=3, inner=(), optimizer="adam", **settings):
    net = fp.Network([fp.Dense(9, activation="tanh"), *inner, fp.Dense(n_outputs)], loss, optimizer, **settings)
    return net.build(n_features)


def data(n=203, n_features=7, n_classes=3):
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, n_features)).astype(np.float32)
    return X, (X @ rng.normal(size=(n_features, n_classes))).argmax(axis=1)


def weights(n):
    return np.random.default_rng(1).random(n)


def parts_of(X, y, n, w=None):
    edges = np.linspace(0, X.shape[0], n + 1).astype(int)
    return [
        Part(k, X[a:b], y[a:b], None if w is None else w[a:b]) for k, (a, b) in enumerate(itertools.pairwise(edges))
    ]


def known(net, X, y):
    """The network, with the labels that are in y."""
    matrix, targets = net._check_data(X, y)
    net._adopt(matrix, targets)
    return net


def share_of(number=0, n_rounds=1, epoch=0, lr=0.05, n=1000):
    return Share(epoch, number, n_rounds, np.full(n, lr))


def after(state, layout, answers, n_partitions):
    """The state after a round."""
    told = [s for answer in answers for s in answer.statistics]
    mean = sums.total([node for a in answers for node in a.sums], n_partitions) / sum(s.mass for s in told)
    return State(layout.origin(state.vector) + mean, state.count + max(s.n_updates for s in told))


def groups_of(parts, n_groups):
    return [[parts[i] for i in numbers] for numbers in np.array_split(np.arange(len(parts)), n_groups)]


def run(job, parts, n_groups=1, n_rounds=2, n_epochs=2, lr=0.05):
    """Local training; the final state."""
    state, layout = taken(job.net), layout_of(job.net)
    for epoch, number in itertools.product(range(n_epochs), range(n_rounds)):
        share = share_of(number, n_rounds, epoch, lr)
        answers = [train_group(job, state, share, group, len(parts)) for group in groups_of(parts, n_groups)]
        state = after(state, layout, answers, len(parts))
    return state


# ---- mode "local" -------------------------------------------------------------------------------------------------


def test_groups_do_not_change_bits():
    X, y = data()
    states = [run(Job(known(network(), X, y), 16), parts_of(X, y, 7), n_groups) for n_groups in (1, 2, 4)]
    assert states[0].count == 4  # 29 rows a partition: an update in each round
    for other in states[1:]:
        np.testing.assert_array_equal(other.vector, states[0].vector)


def digest():
    """What a round gives, in a few letters."""
    X, y = data()
    job = Job(known(network(inner=[fp.Dropout(0.3)]), X, y), 16)
    return hashlib.sha256(run(job, parts_of(X, y, 3)).vector.tobytes()).hexdigest()


def test_another_process_gives_the_same_bits():
    assert run_script("import test_dask_replica\nprint(test_dask_replica.digest())").split() == [digest()]


def test_threads_jobs_and_what_was_before_do_not_change_bits(monkeypatch):
    X, y = data(600)
    job, parts = Job(known(network(), X, y), 64), parts_of(X, y, 2)
    state, share = taken(job.net), share_of()
    first = train_group(job, state, share, parts, 2)
    put(job.net, State(state.vector * 2, 70))
    monkeypatch.setattr("fastprop.dask.job.this_worker", lambda: ("tcp://one", 2))
    for other in (job, pickle.loads(pickle.dumps(job))):
        answer = train_group(other, state, share, parts, 2)
        assert answer.worker == "tcp://one"
        assert len(answer.sums) == len(first.sums) == 1
        np.testing.assert_array_equal(answer.sums[0].vector, first.sums[0].vector)


def test_a_job_leaves_the_network_and_its_learning_rate_alone():
    X, y = data()
    rate = functools.partial(lambda lr, update: lr, 0.1)  # pickle cannot take it
    net = known(network(optimizer=fp.SGD(lr=rate)), X, y)
    before, parts = taken(net), parts_of(X, y, 2)
    job = pickle.loads(pickle.dumps(Job(net, 16)))
    for one in (job, Job(net, 16)):
        train_group(one, before, share_of(), parts, 2)
    np.testing.assert_array_equal(taken(net).vector, before.vector)
    assert net.optimizer.lr is rate


@pytest.mark.parametrize("batch_size", [16, 1, None])
def test_one_partition_is_network_fit(batch_size):
    X, y = data()
    w = weights(len(X))
    alone, net = (known(network(optimizer=fp.Adam(lr=0.05)), X, y) for _ in range(2))
    history = alone.fit(X, y, epochs=1, batch_size=batch_size, sample_weight=w, progress=False)
    job, state = Job(net, batch_size), taken(net)
    answer = train_group(job, state, share_of(), parts_of(X, y, 1, w), 1)
    np.testing.assert_array_equal(taken(job.net).vector, taken(alone).vector)
    told = answer.statistics[0]
    assert told.loss / told.weight == history["loss"][0]
    assert told.n_updates == alone._parameters.count
    mean = after(state, layout_of(net), [answer], 1)
    np.testing.assert_allclose(mean.vector, taken(alone).vector, rtol=1e-5, atol=1e-7)


NORM = {"inner": [fp.BatchNorm(), fp.Dropout(0.2)], "l2": 0.01}


@pytest.mark.parametrize("settings", [NORM, {}], ids=["norm", "dense"])
def test_rounds_do_not_change_what_a_replica_learns(settings):
    """Statistics of batches and dropout, rates over time, and a round of one row: 65 rows make 5 updates."""
    X, y = data(65, 40)
    rates = np.linspace(0.1, 0.01, 10)
    optimizer = fp.Adam(lr=lambda update: rates[update])
    alone, net = (known(network(n_features=40, optimizer=optimizer, **settings), X, y) for _ in range(2))
    history = alone.fit(X, y, epochs=2, batch_size=16, progress=False)
    job, state, parts = Job(net, 16), taken(net), parts_of(X, y, 1)
    for epoch in range(2):
        told = []
        for number in range(5):
            share = Share(epoch, number, 5, rates[state.count :][:1])
            told += train_group(job, state, share, parts, 1).statistics
            state = taken(job.net)
        assert sum(s.loss for s in told) / sum(s.weight for s in told) == pytest.approx(history["loss"][epoch])
        assert sum(s.penalty for s in told) / 65 == pytest.approx(alone._penalties[epoch])
        assert [s.n_rows for s in told] == [16, 16, 16, 16, 1]
    np.testing.assert_array_equal(state.vector, taken(alone).vector)


def test_replicas_drop_other_units():
    X, y = data()
    for inner, is_same in (([], True), ([fp.Dropout(0.5)], False)):
        job, changes = Job(known(network(inner=inner), X, y), 16, shuffle=False), []
        for number in (0, 1):
            answer = train_group(job, taken(network(inner=inner)), share_of(), [Part(number, X, y)], 2)
            changes.append(answer.sums[0].vector)
        assert np.array_equal(*changes) is is_same


def test_a_partition_without_an_update_adds_nothing():
    X, y = data(48)
    w = np.concatenate([np.ones(32), np.zeros(16)])
    job, state = Job(known(network(), X, y), 16), taken(network())
    answer = train_group(job, state, share_of(0, 2), [*parts_of(X, y, 3, w)[1:]], 3)  # 1 update each: in round 1
    assert answer.sums == []
    answer = train_group(job, state, share_of(1, 2), [*parts_of(X, y, 3, w)[1:]], 3)
    assert [(s.number, s.n_rows, s.n_updates) for s in answer.statistics] == [(1, 16, 1), (2, 0, 0)]
    assert [(node.level, node.index) for node in answer.sums] == [(0, 1)]


def test_means_of_squares_are_never_negative():
    """A difference to what was a billion times larger would round to below zero, and its root be NaN."""
    X, y = data()
    job = Job(known(network(optimizer=fp.RMSProp(alpha=0.5)), X, y), 1)
    layout, state = layout_of(job.net), taken(job.net)
    state.vector[layout.n_parameters :] = np.geomspace(1, 1e12, layout.n_parameters)
    made = after(state, layout, [train_group(job, state, share_of(lr=1e-4), parts_of(X, y, 3), 3)], 3)
    assert made.vector[layout.n_parameters :].min() >= 0
    assert np.isfinite(made.vector).all()


def test_state_goes_through_a_vector():
    net = known(network(inner=[fp.BatchNorm(), fp.Residual([fp.LayerNorm(), fp.Dense(9, bias=False)])]), *data())
    net.fit(*data(), epochs=1, progress=False)
    state, other = taken(net), network(inner=[fp.BatchNorm(), fp.Residual([fp.LayerNorm(), fp.Dense(9, bias=False)])])
    put(other, state)
    assert len(state.vector) == layout_of(net).size
    for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(net._parameters.rows, other._parameters.rows)
    assert other._parameters.count == state.count > 0
    short = shown(net, state)
    np.testing.assert_array_equal(short.vector, state.vector[: layout_of(net).n_shown])
    put(other, State(short.vector * 2, 3), slots=False)
    np.testing.assert_array_equal(taken(other).vector[len(short.vector) :], state.vector[len(short.vector) :])
    np.testing.assert_array_equal(shown(other, taken(other)).vector, short.vector * 2)
    with pytest.raises(ValueError, match=f"has {layout_of(net).size} numbers, got"):
        put(other, short)


# ---- mode "sync" --------------------------------------------------------------------------------------------------


def batches_of(n, batch_size, shuffle, seed, epoch):
    """The rows of each update of `Network.fit`."""
    order = np.arange(n)
    if shuffle and batch_size < n:
        shuffle_rows(order, n, epoch_keys(seed, epoch), 0)
    return [order[k : k + batch_size] for k in range(0, n, batch_size)]


def steps_of(batch, edges):
    """The rows of a batch by partition, and how many are before those of each."""
    numbers = [batch[(batch >= a) & (batch < b)] - a for a, b in itertools.pairwise(edges)]
    return list(zip(numbers, np.cumsum([0, *map(len, numbers)])[:-1].tolist(), strict=True))


@pytest.mark.parametrize("piece", [7, 100])
def test_batches_are_those_of_network_fit(piece, monkeypatch):
    monkeypatch.setattr(batches, "PIECE_ROWS", piece)
    n, size, edges = 203, 30, np.array([0, 50, 51, 150, 203])
    for shuffle in (True, False):
        cursor = 0 if shuffle else None
        for first, rows in zip(range(0, n, size), batches_of(n, size, shuffle, 5, 2), strict=True):
            batch = batches.Batch(n, first, first + len(rows), cursor, 5, 2)
            spans, behind = batch.spans(edges[1:])
            cursor = behind if shuffle else None
            expected = {i: step for i, step in enumerate(steps_of(rows, edges)) if len(step[0])}
            steps = dict(zip(spans, batch.steps(list(spans.values())), strict=True))
            assert {i: (list(numbers), at) for i, (numbers, at) in steps.items()} == {
                i: (list(numbers), at) for i, (numbers, at) in expected.items()
            }
            alone = next(iter(spans))
            np.testing.assert_array_equal(batch.steps([spans[alone]])[0][0], expected[alone][0])


def test_all_rows_of_a_partition_have_no_numbers():
    X, y = data()
    job, part = Job(known(network(), X, y), None), MemoryPart(0, X, y)
    assert part.rows_at(job.net, range(len(X)), job).numbers is None
    assert part.round_rows(job.net, share_of(), job).numbers is None
    assert part.rows_at(job.net, range(3, 7), job).numbers.tolist() == [3, 4, 5, 6]
    whole, numbered = (
        gradient_group(job, taken(job.net), [(rows, 0)], 203.0, [part], 1) for rows in (range(203), np.arange(203))
    )
    np.testing.assert_array_equal(whole.sums[0].vector, numbered.sums[0].vector)


def sync(net, X, y, w=None, batch_size=16, shuffle=True, n_parts=5, n_groups=2, epochs=1, lr=0.05):
    """Train in steps of summed gradients; the mean loss of each epoch."""
    parts, edges = parts_of(X, y, n_parts, w), np.linspace(0, X.shape[0], n_parts + 1).astype(int)
    job, updater, losses = Job(net, batch_size, shuffle, net.seed, mode="sync"), Updater(net), []
    groups = np.array_split(np.arange(n_parts), n_groups)
    for epoch in range(epochs):
        loss = weights = 0.0
        for batch in batches_of(X.shape[0], batch_size, shuffle, net.seed, epoch):
            weight_sum = len(batch) if w is None else w[batch].sum()
            steps, state = steps_of(batch, edges), shown(net, taken(net))
            answers = [
                gradient_group(job, state, [steps[i] for i in g], weight_sum, [parts[i] for i in g], n_parts)
                for g in groups
            ]
            gradient = sums.total([node for a in answers for node in a.sums], n_parts)
            penalty = updater.apply(gradient, lr, weight_sum)
            told = [s for a in answers for s in a.statistics]
            assert sum(s.weight for s in told) == pytest.approx(weight_sum)
            weight = len(batch) if net.divides_penalties else weight_sum
            loss += (sum(s.loss for s in told) / weight_sum + penalty) * weight
            weights += weight
        losses.append(loss / weights)
    return losses


def assert_like_fit(make, X, y, w=None, batch_size=16, shuffle=True):
    one, many = (known(make(), X, y) for _ in range(2))
    history = one.fit(X, y, 1, batch_size, shuffle, sample_weight=w, progress=False)
    losses = sync(many, X, y, w, batch_size, shuffle)
    np.testing.assert_allclose(losses, history["loss"], rtol=1e-12)
    a, b = taken(one), taken(many)
    assert a.count == b.count
    np.testing.assert_allclose(b.vector, a.vector, rtol=1e-10, atol=1e-12)


SGD = fp.SGD(lr=0.05)
SETTINGS = {
    "sgd": {},
    "nesterov": {"optimizer": fp.SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)},
    "adam": {"optimizer": fp.Adam(lr=0.05)},
    "penalties": {"l1": 1e-3, "l2": 1e-2},
    "clip_norm": {"clip_norm": 0.05},
    "clip_value": {"clip_value": 0.01, "l2": 0.1},
    "layers": {"inner": [fp.Residual([fp.LayerNorm(), fp.Dense(9)])]},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_sync_is_network_fit(settings):
    X, y = data(120)
    assert_like_fit(lambda: network(dtype="float64", **{"optimizer": SGD, **settings}), X, y)


def test_sync_is_network_fit_in_float32():
    X, y = data(600)
    one, many = (known(network(optimizer=SGD), X, y) for _ in range(2))
    losses = one.fit(X, y, epochs=1, batch_size=16, progress=False)["loss"]
    np.testing.assert_allclose(sync(many, X, y), losses, rtol=1e-5)
    a, b = taken(one).vector, taken(many).vector
    assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(a)


@pytest.mark.parametrize("divides", [False, True])
def test_sync_with_weights(divides):
    X, y = data(120)
    w = np.where(np.arange(120) % 7 == 0, 0.0, weights(120))

    def make():
        net = network(dtype="float64", optimizer=SGD, l2=0.1)
        net.divides_penalties = divides
        return net

    assert_like_fit(make, X, y, w)


def test_sync_with_dropout_in_order():
    """A row that has the place in its batch that it has on one machine loses the same units."""
    X, y = data(120)
    assert_like_fit(lambda: network(dtype="float64", optimizer=SGD, inner=[fp.Dropout(0.4)]), X, y, shuffle=False)


def test_sync_on_batches_of_several_chunks():
    X, y = data(9000)
    assert_like_fit(lambda: network(dtype="float64", optimizer=SGD, inner=[fp.Dropout(0.4)]), X, y, batch_size=9000)


def test_sync_on_sparse_rows():
    X, y = data(120)
    assert_like_fit(lambda: network(dtype="float64", optimizer=SGD), csr_array(np.where(X > 0, X, 0)), y)


def targets(loss, X):
    """(y, n_outputs) that a loss takes."""
    signal = X[:, :3] @ np.diag([1.0, 2.0, 3.0])
    if loss in ("bce", "hinge", "squared_hinge"):
        return signal.sum(axis=1) > 0, 1
    if loss in ("cross_entropy", "modified_huber"):
        return signal.argmax(axis=1), 3
    return np.abs(signal), 3


@pytest.mark.parametrize("loss", BUILT_IN)
def test_sync_on_every_loss(loss):
    X, _ = data(120)
    y, n_outputs = targets(loss, X)
    assert_like_fit(lambda: network(loss, n_outputs=n_outputs, dtype="float64", optimizer=SGD), X, y)


def test_sync_groups_do_not_change_bits():
    X, y = data(120)
    states = []
    for n_groups in (1, 2, 4):
        net = known(network(inner=[fp.Dropout(0.3)]), X, y)
        sync(net, X, y, n_parts=7, n_groups=n_groups)
        states.append(taken(net).vector)
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])


# ---- evaluation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse"])
def test_scores_of_partitions_are_those_of_all_rows(loss):
    X, _ = data()
    y, n_outputs = targets(loss, X)
    net = known(network(loss, n_outputs=n_outputs, dtype="float64"), X, y)
    job, vector, parts = Job(net), taken(net).vector, parts_of(X, y, 5)
    both = [
        merged(itertools.chain(*(evaluate_group(job, vector, group) for group in groups_of(parts, n)))).metrics()
        for n in (1, 3)
    ]
    assert both[0] == both[1]
    assert both[0] == pytest.approx(net.evaluate(X, y), rel=1e-12)
    with pytest.raises(ValueError, match="no rows to evaluate"):
        merged([]).metrics()


# ---- what may go wrong --------------------------------------------------------------------------------------------


def regression(n=96):
    """A network on numbers that large learning rates ruin, its rows, and its job."""
    X, y = data(n)
    return X, y, Job(known(network("mse", n_outputs=1, optimizer=SGD), X, y), 16)


def test_divergence_names_partition_and_round_and_leaves_the_job_good():
    X, y, job = regression()
    state, parts = taken(job.net), parts_of(X, y, 3)
    fresh = train_group(job, state, share_of(), parts, 3)
    with pytest.raises(fp.DivergenceError, match=r"loss of partition 1 .* epoch 2, round 0 of 1, .* 1e\+30"):
        train_group(job, state, share_of(epoch=2, lr=1e30), parts[1:], 3)
    with pytest.raises(fp.DivergenceError, match=r"weights of partition 0 became NaN or infinite in epoch 0, round 1"):
        train_group(job, state, share_of(1, 2, lr=3e38), [Part(0, X[:32], y[:32] * 1e4)], 3)
    again = train_group(job, state, share_of(), parts, 3)
    np.testing.assert_array_equal(fresh.sums[0].vector, again.sums[0].vector)
    with pytest.raises(fp.DivergenceError, match="partition 2: the loss is NaN or infinite"):
        evaluate_group(job, state.vector * np.float32(1e30), parts[2:])


def test_sync_divergence_leaves_the_job_good():
    X, y, job = regression(32)
    state = taken(job.net)
    step, good = [(np.arange(32), 0)], [Part(1, X, y)]
    fresh = gradient_group(job, state, step, 32, good, 2)
    with pytest.raises(fp.DivergenceError, match="loss of partition 1 became NaN or infinite in step 0"):
        gradient_group(job, state, step, 32, [Part(1, X, y * 1e30)], 2)
    again = gradient_group(job, state, step, 32, good, 2)
    np.testing.assert_array_equal(fresh.sums[0].vector, again.sums[0].vector)


def test_a_bad_row_is_named():
    X, y = data()
    X[40, 2] = np.nan
    job, state = Job(known(network(), *data()), 16), taken(network())
    message = r"partition 1: X must be finite, got nan in row 40, column 2"
    with pytest.raises(ValueError, match=message):
        train_group(job, state, share_of(), [Part(1, X, y)], 3)
    with pytest.raises(ValueError, match=message):
        gradient_group(job, state, [(np.arange(50), 0)], 50, [Part(1, X, y)], 3)
    with pytest.raises(ValueError, match="partition 1: X must be finite"):
        evaluate_group(job, state.vector, [Part(1, X, y)])


def test_a_worker_with_other_versions_is_refused():
    X, y = data()
    job = Job(known(network(), X, y), stamp={**stamp(), "numba": "0.1", "numpy": "0.2"})
    message = "worker  has numba .* instead of 0.1, numpy .* instead of 0.2"
    with pytest.raises(RuntimeError, match=message):
        train_group(job, taken(network()), share_of(), parts_of(X, y, 2), 2)


def test_what_batch_norm_cannot_do_is_refused():
    for inner in ([fp.BatchNorm()], [fp.Residual([fp.BatchNorm()])]):
        assert check_mode(network(inner=inner), "local") == "local"
        with pytest.raises(ValueError, match="mode='sync' cannot train BatchNorm"):
            check_mode(network(inner=inner), "sync")
        with pytest.raises(ValueError, match="mode='sync' cannot train BatchNorm"):
            Job(network(inner=inner), mode="sync")
        with pytest.raises(ValueError, match="batch_size must be at least 2 with BatchNorm"):
            Job(network(inner=inner), 1)
    with pytest.raises(ValueError, match="unknown mode 'async'"):
        check_mode(network(), "async")
