"""What workers do in a round: the same bits wherever it is done, and one machine's updates where there is one."""

import itertools

import numpy as np
import pytest

import fastprop as fp
from fastprop.dask import sums
from fastprop.dask.job import Job
from fastprop.dask.messages import Share, State
from fastprop.dask.replica import gradient_group, train_group
from fastprop.dask.state import layout_of, put, taken
from fastprop.dask.update import Updater
from fastprop.segments import epoch_keys, shuffle_rows
from fastprop.targets import combine_weights
from fastprop.validation import Rows

RNG = np.random.default_rng(0)


class Part:
    """A partition in memory, with as many updates in a round as `Share` says."""

    def __init__(self, number, X, y, sample_weight=None):
        self.number, self.X, self.y, self.sample_weight = number, X, y, sample_weight

    def rows_at(self, net, numbers, job):
        matrix, targets = net._check_data(self.X, self.y)
        return Rows(matrix, targets, combine_weights(self.sample_weight, None, targets), numbers)

    def round_rows(self, net, share, job):
        n = len(self.X)
        numbers, size = np.arange(n), job.batch_size or n
        if job.shuffle and size < n:  # one update of all rows takes them as they lie, as `Segments` does
            shuffle_rows(numbers, n, epoch_keys(job.seed, share.epoch, self.number), 0)
        n_updates = -(-n // size)
        first, last = (n_updates * k // share.n_rounds for k in (share.number, share.number + 1))
        return self.rows_at(net, numbers[first * size : last * size], job)

    def everything(self, net, job):
        half = len(self.X) // 2
        for some in (np.arange(half), np.arange(half, len(self.X))):
            yield self.rows_at(net, some, job)

    held_out = everything


def network(loss="cross_entropy", n_features=7, n_outputs=3, inner=(), optimizer="adam", **settings):
    net = fp.Network([fp.Dense(9, activation="tanh"), *inner, fp.Dense(n_outputs)], loss, optimizer, **settings)
    return net.build(n_features)


def data(n=203, n_features=7, n_classes=3):
    X = RNG.normal(size=(n, n_features)).astype(np.float32)
    return X, (X @ RNG.normal(size=(n_features, n_classes))).argmax(axis=1)


def parts_of(X, y, n, w=None):
    edges = np.linspace(0, len(X), n + 1).astype(int)
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
    mean = sums.total([node for a in answers for node in a.sums], n_partitions) / sum(s.n_rows for s in told)
    return State(layout.origin(state.vector) + mean, state.count + max(s.n_updates for s in told))


def run(job, parts, n_groups, n_rounds=2, n_epochs=2, lr=0.05):
    """Local training; the final state."""
    state, layout = taken(job.net), layout_of(job.net)
    for epoch in range(n_epochs):
        for number in range(n_rounds):
            groups = np.array_split(np.arange(len(parts)), n_groups)
            answers = [
                train_group(job, state, share_of(number, n_rounds, epoch, lr), [parts[i] for i in group], len(parts))
                for group in groups
            ]
            state = after(state, layout, answers, len(parts))
    return state


def test_groups_do_not_change_bits():
    X, y = data()
    states = [run(Job(known(network(), X, y), 16), parts_of(X, y, 7), n_groups) for n_groups in (1, 2, 4)]
    assert states[0].count == 4 * 1  # 29 rows a partition: an update in each round
    for other in states[1:]:
        np.testing.assert_array_equal(other.vector, states[0].vector)


@pytest.mark.parametrize("batch_size", [16, 1, None])
def test_one_partition_is_network_fit(batch_size):
    X, y = data()
    w = RNG.random(len(X))
    alone, net = (known(network(optimizer=fp.Adam(lr=0.05)), X, y) for _ in range(2))
    history = alone.fit(X, y, epochs=1, batch_size=batch_size, sample_weight=w, progress=False)
    job, state = Job(net, batch_size), taken(net)
    answer = train_group(job, state, share_of(), parts_of(X, y, 1, w), 1)
    np.testing.assert_array_equal(taken(job.net).vector, taken(alone).vector)
    told = answer.statistics[0]
    assert told.loss / told.weight == history["loss"][0]
    assert told.n_updates == alone._parameters.count
    np.testing.assert_allclose(
        after(state, layout_of(net), [answer], 1).vector, taken(alone).vector, rtol=1e-5, atol=1e-7
    )


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


def sync(net, X, y, w=None, batch_size=16, shuffle=True, n_parts=5, n_groups=2, epochs=1, lr=0.05):
    """Train in steps of summed gradients; the mean loss of each epoch."""
    parts, edges = parts_of(X, y, n_parts, w), np.linspace(0, len(X), n_parts + 1).astype(int)
    job, updater, losses = Job(net, batch_size, shuffle, net.seed, mode="sync"), Updater(net), []
    groups = np.array_split(np.arange(n_parts), n_groups)
    for epoch in range(epochs):
        loss = weights = 0.0
        for batch in batches_of(len(X), batch_size, shuffle, net.seed, epoch):
            weight_sum = len(batch) if w is None else w[batch].sum()
            steps, state = steps_of(batch, edges), taken(net)
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


def assert_like_fit(make, X, y, w=None, rtol=1e-5, atol=1e-7, **settings):
    one, many = (known(make(), X, y) for _ in range(2))
    history = one.fit(X, y, epochs=1, batch_size=16, sample_weight=w, progress=False, **settings)
    losses = sync(many, X, y, w, **settings)
    np.testing.assert_allclose(losses, history["loss"], rtol=rtol)
    a, b = taken(one), taken(many)
    assert a.count == b.count
    np.testing.assert_allclose(b.vector, a.vector, rtol=rtol, atol=atol)


SGD = fp.SGD(lr=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": fp.SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)},
        {"optimizer": fp.Adam(lr=0.05)},
        {"l1": 1e-3, "l2": 1e-2},
        {"clip_norm": 0.05},
        {"clip_value": 0.01, "l2": 0.1},
        {"inner": [fp.Residual([fp.LayerNorm(), fp.Dense(9)])]},
    ],
    ids=["sgd", "nesterov", "adam", "penalties", "clip_norm", "clip_value", "layers"],
)
def test_sync_is_network_fit(settings):
    X, y = data(120)
    settings = {"optimizer": SGD, **settings}
    assert_like_fit(lambda: network(dtype="float64", **settings), X, y, rtol=1e-10, atol=1e-12)
