"""The same bits for any number of threads and in any process; sums that are split differ by rounding only."""

import hashlib

import covering
import naive
import numpy as np
import pytest

import fastprop as fp

THREADS = (1, 2, 3, 5)
# Of a network, and of its fit. The first seven update in one go, the others store the gradients first.
SETTINGS = (
    ({}, {}),
    ({"clip_value": 0.01}, {}),
    ({"l1": 1e-3, "l2": 1e-2}, {"batch_size": None}),
    ({}, {"batch_size": 17}),
    ({"l2": 0.1, "clip_value": 0.1}, {}),
    ({}, {"batch_size": 100}),
    ({}, {"shuffle": False}),
    ({"clip_norm": 0.1}, {}),
    ({"clip_norm": 0.5, "l1": 1e-3}, {"batch_size": None}),
    ({}, {"accumulate": 3, "batch_size": 20}),
    ({"clip_norm": 0.01, "clip_value": 0.01}, {"accumulate": 2, "batch_size": 35}),
    ({"l2": 1e-2}, {"accumulate": 2}),
    ({"clip_norm": 1.0}, {"batch_size": 203}),
    ({"clip_norm": 0.2}, {"batch_size": 64, "accumulate": 2}),
)


def state(net):
    """All bits that training changes."""
    parameters = net._parameters
    return parameters.rows.tobytes() + parameters.statistics.tobytes() + repr(net.history_["loss"]).encode()


def train(make, data, **arguments):
    net = make()
    net.fit(*data, progress=False, **{"epochs": 2, "batch_size": 67, **arguments})
    return net


@pytest.mark.parametrize("case", range(len(SETTINGS)))
def test_threads(case):
    """Every layer, activation, loss and rule, in one go and stored, with weights of samples."""
    settings, arguments = SETTINGS[case]
    k = case % covering.N_CASES
    X, y, _ = covering.data(k, 203, np.random.default_rng(case))
    weights = np.random.default_rng(case).uniform(0.0, 2.0, len(X)) if case % 2 else None

    def make():
        return covering.network(k, "float32", optimizer=covering.RULES[case % len(covering.RULES)](), **settings)

    states = [state(train(make, (X, y), n_threads=n, sample_weight=weights, **arguments)) for n in (*THREADS, None)]
    assert all(s == states[0] for s in states)


def wide(**settings):
    """Layers that take the other paths: wider than a register, and than a panel."""
    layers = [
        fp.Dense(65, "relu"), fp.BatchNorm(), fp.Dropout(0.2), fp.Dense(40, "tanh"), fp.LayerNorm(),
        fp.Residual([fp.Dense(100, "gelu"), fp.Dense(40)]), fp.Dense(17),
    ]  # fmt: skip
    return fp.Network(layers, loss="cross_entropy", optimizer="adam", **settings)


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.1, "l2": 1e-3}])
@pytest.mark.parametrize("n_rows", [1001, 130])
def test_threads_wide_layers(settings, n_rows, rng):
    X, y = rng.normal(size=(n_rows, 50)).astype(np.float32), rng.integers(0, 17, n_rows)
    states = [state(train(lambda: wide(**settings), (X, y), batch_size=400, n_threads=n)) for n in THREADS]
    assert all(s == states[0] for s in states)


def test_threads_of_prediction(monkeypatch, rng):
    X, y = rng.normal(size=(2500, 50)), rng.integers(0, 17, 2500)
    net = wide()
    net.fit(X, y, epochs=1, progress=False)
    results = []
    for n in THREADS:
        monkeypatch.setenv("FASTPROP_NUM_THREADS", str(n))
        loss, gradients = net.gradients(X, y)
        bits = [net.predict_proba(X).tobytes(), *(a.tobytes() for a in naive.arrays(gradients))]
        results.append((net.evaluate(X, y), loss, bits))
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("rule", range(len(covering.RULES)))
def test_threads_sample_by_sample(rule, rng):
    data = rng.normal(size=(50, 5)), rng.normal(size=(50, 2))
    states = [state(train(lambda: covering.per_sample_network(rule), data, batch_size=1, n_threads=n)) for n in THREADS]
    assert all(s == states[0] for s in states)


# ---- seeds and processes ------------------------------------------------------------------------------------------

SCRIPT = """
import hashlib, sys
import numpy as np, fastprop as fp
import covering
for seed in map(int, sys.argv[1:]):
    net = fp.Network(covering.layers(3), loss=covering.LOSSES[3][0], optimizer="adam", seed=seed)
    X, y, _ = covering.data(3, 120, np.random.default_rng(0))
    net.fit(X, y, epochs=3, batch_size=32, validation_fraction=0.2, progress=False)
    print(hashlib.sha256(net._parameters.rows.tobytes()).hexdigest())
"""


def test_seeds_in_two_processes(run_script):
    first = run_script(SCRIPT, 0, 1).split()
    second = run_script(SCRIPT, 1, 0, FASTPROP_NUM_THREADS="1").split()
    assert first == second[::-1]
    assert first[0] != first[1]


@pytest.mark.parametrize("what", ["weights", "shuffling", "dropout"])
def test_another_seed_gives_other_bits(what, rng):
    X, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    rate = 0.5 if what == "dropout" else 0.0
    nets = []
    for seed in (0, 0, 1):
        net = fp.Network([fp.Dense(20, "relu"), fp.Dropout(rate), fp.Dense(1)], seed=seed).build(5)
        if what != "weights":
            net.set_weights(nets[0][1] if nets else net.get_weights())
        start = net.get_weights()
        net.fit(X, y, epochs=1, batch_size=20, shuffle=what == "shuffling", progress=False)
        nets.append((hashlib.sha256(net._parameters.rows.tobytes()).digest(), start))
    assert nets[0][0] == nets[1][0]
    assert nets[0][0] != nets[2][0]


# ---- one sum in several parts -------------------------------------------------------------------------------------


def compare(one, other, bound=1e-12):
    """Weights, statistics and losses of two networks agree to rounding."""
    assert max(naive.errors(one.get_weights(), other.get_weights())) < bound
    assert naive.error(one.history_["loss"], other.history_["loss"]) < bound


@pytest.mark.parametrize("k", [0, 5, 9])
@pytest.mark.parametrize("n_rows", [120, 107])
def test_accumulate_is_a_larger_batch(k, n_rows):
    """Dropout included: what is dropped depends on the place in the update. A short last group updates too."""
    X, y, _ = covering.data(k, n_rows, np.random.default_rng(k))
    weights = np.random.default_rng(k).uniform(0.0, 2.0, n_rows)

    def make():
        return covering.network(k, batch_norm=False, optimizer=fp.SGD(0.02, momentum=0.5), l2=1e-3, clip_norm=0.5)

    one = train(make, (X, y), batch_size=40, sample_weight=weights)
    other = train(make, (X, y), batch_size=10, accumulate=4, sample_weight=weights)
    assert one._parameters.count == other._parameters.count == 6
    compare(one, other)


@pytest.mark.parametrize("k", [1, 8, 12])
@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_chunks_are_one_batch(k, clip_norm, monkeypatch):
    X, y, _ = covering.data(k, 203, np.random.default_rng(k))
    data, nets = (X, y), []

    def make():
        return covering.network(k, batch_norm=False, optimizer=fp.SGD(0.02, momentum=0.5), l1=1e-3, clip_norm=clip_norm)

    for rows in (4096, 32):
        monkeypatch.setattr("fastprop.engine.MAX_ROWS", rows)
        nets += [train(make, data, batch_size=None), train(make, data, batch_size=150)]
        loss, gradients = nets[-1].gradients(X, y)
        nets[-1].results = [(np.array([loss]), None), *gradients]
    compare(nets[0], nets[2])
    compare(nets[1], nets[3])
    assert max(naive.errors(nets[1].results, nets[3].results)) < 1e-12
    states = [state(train(make, data, batch_size=None, n_threads=n)) for n in THREADS]
    assert all(s == states[0] for s in states)
