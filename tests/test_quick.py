"""Prepared calls against the general way: the same bits, the same errors, whatever is changed between two calls.

An array of a subclass goes the general way, with the same numbers.
"""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp


class General(np.ndarray):
    """An array that is not plain."""


def general(array):
    return array.view(General) if isinstance(array, np.ndarray) else array


def state(net):
    parameters = net._parameters
    return parameters.rows.tobytes(), parameters.statistics.tobytes(), parameters.count


def is_quick(net, monkeypatch, call):
    """Whether a call goes the prepared way to its end."""
    with monkeypatch.context() as patch:
        patch.delattr(fp.Network, "_check_x")
        try:
            call(net)
        except AttributeError:
            return False
        return True


def mlp(n_outputs=1, **options):
    options = {"loss": "bce", "optimizer": fp.SGD(lr=0.05, momentum=0.9), "seed": 3, **options}
    return fp.Network([fp.Dense(19, activation="tanh"), fp.Dense(n_outputs)], **options)


def deep(**options):
    inside = fp.Residual([fp.Dense(7, activation="relu"), fp.Dense(7)])
    layers = [fp.Dense(7), fp.LayerNorm(), inside, fp.Dropout(0.3), fp.Dense(3)]
    return fp.Network(layers, loss="cross_entropy", optimizer=fp.Adam(lr=0.01), **options)


NETS = {
    "bce": mlp,
    "one layer": lambda **o: fp.Network([fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=0.1), **o),
    "labels of text": lambda **o: mlp(3, loss="cross_entropy", **o),
    "hinge": lambda **o: mlp(loss="hinge", optimizer=fp.RMSProp(), **o),
    "deep": deep,
    "mse": lambda **o: mlp(loss="mse", **o),
    "two numbers": lambda **o: mlp(2, loss="huber", l1=0.01, l2=0.1, **o),
    "poisson": lambda **o: mlp(loss="poisson", clip_norm=0.5, optimizer=fp.Adagrad(), **o),
    "multilabel": lambda **o: mlp(2, clip_value=0.1, **o),
    "schedule": lambda **o: mlp(optimizer=fp.AdamW(lr=fp.schedules.Warmup(fp.schedules.Cosine(0.1, 9), 3)), **o),
    "callable": lambda **o: mlp(optimizer=fp.SGD(lr=lambda t: 0.1 / (1 + t)), **o),
    "batch norm": lambda **o: fp.Network([fp.Dense(5), fp.BatchNorm(), fp.Dense(1)], loss="bce", **o),
}
N_FEATURES = 5


def targets(name, n_rows, rng):
    """y for the network `name`, in one of several forms."""
    if name == "labels of text":
        y = np.array(["ant", "bee", "cow"])[rng.integers(0, 3, n_rows)]
    elif name in ("mse", "two numbers"):
        y = rng.normal(size=(n_rows, 2) if name == "two numbers" else n_rows).astype(rng.choice(["f4", "f8", "f2"]))
    elif name == "poisson":
        y = rng.integers(0, 5, (n_rows, 1))
    elif name == "multilabel":
        y = rng.integers(0, 2, (n_rows, 2)).astype(rng.choice(["f4", "i8", "?"]))
    else:
        y = rng.integers(0, 3 if name == "deep" else 2, n_rows).astype(rng.choice(["f4", "f8", "i4", "u1", ">i2"]))
    if rng.random() < 0.2:
        return y.tolist()
    return y[:, None] if y.ndim == 1 and rng.random() < 0.2 else y


def rows(n_rows, dtype, rng):
    X = (10 * rng.normal(size=(n_rows, 2 * N_FEATURES))).astype(dtype)
    return X[:, ::2] if rng.random() < 0.3 else X[::-1, :N_FEATURES]


def first_data(name, dtype, rng):
    X = rng.normal(size=(30, N_FEATURES)).astype(dtype)
    y = targets(name, 30, rng)
    return X, np.array(["ant", "bee", "cow"] * 10) if name == "labels of text" else y


def assert_same_answers(one, other, X):
    np.testing.assert_array_equal(one.predict(X), other.predict(general(X)), strict=True)
    if one.loss.name in ("bce", "cross_entropy"):
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(general(X)), strict=True)


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=25)  # of each network
@given(
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(["float32", "float64"]),
    x_dtype=st.sampled_from(["f4", "f8", "f2", "i1", "u4", "?", ">f4", "<i8"]),
    sizes=st.lists(st.sampled_from([1, 1, 1, 2, 3, 16, 33, 40]), min_size=1, max_size=6),
)
def test_prepared_calls_have_the_bits_of_the_general_way(name, seed, dtype, x_dtype, sizes):
    rng = np.random.default_rng(seed)
    one, other = NETS[name](dtype=dtype), NETS[name](dtype=dtype)
    X, y = first_data(name, x_dtype, rng)
    for net in (one, other):
        net.fit(X, y, epochs=1, batch_size=10, progress=False)
    for n_rows in sizes:
        X, y = rows(n_rows, x_dtype, rng), targets(name, n_rows, rng)
        if name != "batch norm" or n_rows > 1:
            assert one.partial_fit(X, y) == other.partial_fit(general(X), y)
        assert state(one) == state(other)
        assert_same_answers(one, other, X)


@pytest.mark.parametrize("name", NETS)
def test_plain_rows_go_the_prepared_way(name, rng, monkeypatch):
    net = NETS[name]()
    X, y = first_data(name, "f4", rng)
    net.fit(X, y, epochs=1, progress=False)
    y = np.asarray(y)
    for k in (1, 2, 30):
        assert is_quick(net, monkeypatch, lambda net, k=k: net.predict(X[:k]))
        assert is_quick(net, monkeypatch, lambda net, k=k: net.partial_fit(X[:k], y[:k])) == (name != "batch norm")
        assert not is_quick(net, monkeypatch, lambda net, k=k: net.predict(general(X[:k])))


def compare_rows(dtype):
    """Each row of a batch against the row alone, over layers that fill no, one and several registers."""
    rng = np.random.default_rng(0)
    for k in range(8):
        n_in, widths = 1 + 7 * k, [1 + 9 * k, 70 - 3 * k, 1 + k]
        net = fp.Network([*(fp.Dense(n, activation="tanh") for n in widths), fp.Dense(k + 1)], dtype=dtype, seed=k)
        net.build(n_in)
        net.set_weights([(W, rng.normal(size=b.shape)) for W, b in net.get_weights()])
        X = rng.normal(size=(20, n_in))
        np.testing.assert_array_equal(np.vstack([net._raw(X[i : i + 1]) for i in range(20)]), net._raw(X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_prediction_of_a_row_does_not_depend_on_others(dtype):
    compare_rows(dtype)


# ---- what is refused ----------------------------------------------------------------------------------------------

NAN, INF = np.float32("nan"), np.float32("inf")
ROW = np.ones((1, N_FEATURES), np.float32)


def with_number(value, dtype="f4", n_rows=1):
    X = np.ones((n_rows, N_FEATURES), dtype)
    X[-1, 2] = value
    return X


BAD = {
    "one feature less": (ROW[:, 1:], [1]),
    "one-dimensional": (ROW[0], [1]),
    "no dimension": (np.float32(1), [1]),
    "three-dimensional": (ROW[None], [1]),
    "no rows": (ROW[:0], np.zeros(0)),
    "NaN": (with_number(NAN), [1]),
    "infinity": (with_number(INF), [1]),
    "NaN in the third row": (with_number(NAN, n_rows=3), [1, 0, 1]),
    "infinite in float32": (with_number(1e300, "f8"), [1]),
    "complex": (ROW.astype("c8"), [1]),
    "objects": (ROW.astype(object), np.array(["a"])),
    "text": (ROW.astype(str), [1]),
    "two labels": (ROW, [1, 0]),
    "two rows of labels": (ROW, [[1], [0]]),
    "unknown label": (ROW, [2]),
    "unknown text": (ROW, ["a"]),
    "text of a number": (ROW, ["1"]),
    "negative label": (ROW, [-1]),
    "label NaN": (ROW, [NAN]),
    "label infinity": (ROW, np.array([np.inf])),
    "fraction beyond 1": (ROW, np.array([1.5])),
    "complex label": (ROW, np.array([1 + 0j])),
    "date": (ROW, np.array([1], "M8[ns]")),
    "long label": (ROW, np.array([1], "g")),
    "label without a dimension": (ROW, 1),
    "None": (ROW, None),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ["bce", "mse", "poisson"])
def test_errors_are_those_of_the_general_way(name, case, rng):
    X, y = BAD[case]
    one, other = NETS[name](), NETS[name]()
    for net in (one, other):
        net.fit(np.ones((6, N_FEATURES), "f4"), [0, 1, 1, 0, 1, 0], epochs=1, progress=False)
        net.partial_fit(ROW, [1])
        net.predict(ROW)
    assert outcome(one, X, y) == outcome(other, general(X), y)
    assert outcome(one, ROW, [1]) == outcome(other, general(ROW), [1])  # nothing is left of it
    assert state(one) == state(other)


def outcome(net, X, y):
    """What comes of a call of each kind: a result, or the kind of error and its message."""
    results = []
    for call in (lambda: net.partial_fit(X, y), lambda: net.predict(X).tolist(), lambda: state(net)):
        try:
            results.append(call())
        except Exception as error:
            results.append((type(error), str(error)))
    return results


def test_calls_stay_prepared_after_an_error(monkeypatch):
    net = mlp()
    for X in (ROW, with_number(NAN), ROW):
        outcome(net, X, [1])
    with pytest.raises(ValueError, match="finite"):
        net.partial_fit(with_number(NAN), [1])
    assert is_quick(net, monkeypatch, lambda net: net.partial_fit(ROW, [1]))
    assert is_quick(net, monkeypatch, lambda net: net.predict(ROW))


def test_a_soft_target_goes_the_general_way(rng):
    one, other, X = mlp(), mlp(), rng.normal(size=(6, N_FEATURES))
    for net in (one, other):
        net.fit(X, [0, 1] * 3, epochs=1, progress=False)
    for y in ([0.25], [1.0], np.array([0.75, 0.0])):
        X = np.ones((len(y), N_FEATURES), "f4")
        assert one.partial_fit(X, y) == other.partial_fit(general(X), y)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf"), lambda t: -0.5, lambda t: "x", "0.1", None])
def test_a_bad_rate_is_refused_alike(rate):
    one, other = mlp(), mlp()
    for net in (one, other):
        net.partial_fit(ROW, [1])
        net.partial_fit(ROW, [1])
        net.optimizer.lr = rate
    assert outcome(one, ROW, [1]) == outcome(other, general(ROW), [1])


def test_divergence_is_reported_alike_and_changes_nothing():
    nets = [mlp(loss="mse", dtype="float32") for _ in range(2)]
    for net in nets:
        net.partial_fit(ROW, [1.0])
        net.partial_fit(ROW, [1.0])
    before = state(nets[0])
    X, y = 1e30 * ROW, [1e15]
    for net in nets:
        net.set_weights([(1e20 * W, b) for W, b in net.get_weights()])
    one, other = outcome(nets[0], X, y), outcome(nets[1], general(X), y)
    assert one == other
    assert one[0][0] is fp.DivergenceError
    assert state(nets[0])[2] == before[2]


def test_an_unbuilt_network_is_refused():
    with pytest.raises(ValueError, match="no weights yet"):
        mlp().predict(ROW)


# ---- what may change between two calls ----------------------------------------------------------------------------


def set_setting(net):
    net.optimizer.settings["momentum"] = 0.5


def set_weights(net):
    net.set_weights([(2 * W, b) for W, b in net.get_weights()])


def diverge(net):
    net.optimizer.lr, rate = 1e38, net.optimizer.lr
    with pytest.raises(fp.DivergenceError):
        net.fit(np.eye(N_FEATURES), [0, 1, 0, 1, 1], epochs=9, batch_size=1, progress=False)
    net.optimizer.lr = rate


class Halved(fp.SGD):
    """A subclass whose rule has another source."""

    factor = 0.5

    def rule(self):
        return super().rule()._replace(momentum=self.factor * self.settings["momentum"])


def halve(net):
    net.optimizer = Halved(lr=0.05, momentum=0.9)
    net.partial_fit(ROW, [1])
    net.optimizer.factor = 0.25


CHANGES = {
    "optimizer": lambda net: setattr(net, "optimizer", fp.Adam(lr=0.01)),
    "optimizer of the same rule": lambda net: setattr(net, "optimizer", fp.SGD(lr=0.1, momentum=0.1)),
    "subclass": halve,
    "rate": lambda net: setattr(net.optimizer, "lr", 0.001),
    "schedule": lambda net: setattr(net.optimizer, "lr", fp.schedules.Step(0.1, every=1, factor=0.5)),
    "plateau": lambda net: setattr(net.optimizer, "lr", fp.schedules.Plateau(0.1, patience=0, factor=0.5)),
    "setting": set_setting,
    "loss": lambda net: setattr(net, "loss", fp.losses.ModifiedHuber()),
    "output weights": lambda net: setattr(net, "loss", fp.losses.BCE(output_weights=[2.0])),
    "output weights of the same loss": lambda net: setattr(net.loss, "output_weights", np.array([2.0])),
    "l1": lambda net: setattr(net, "l1", 0.1),
    "l2": lambda net: setattr(net, "l2", 0.1),
    "clip_norm": lambda net: setattr(net, "clip_norm", 0.01),
    "clip_value": lambda net: setattr(net, "clip_value", 0.01),
    "seed": lambda net: setattr(net, "seed", 8),
    "classes": lambda net: setattr(net, "classes_", np.array([1, 2])),
    "weights": set_weights,
    "fit": lambda net: net.fit(np.eye(N_FEATURES), [0, 1, 0, 1, 1], epochs=2, progress=False),
    "fit on float64": lambda net: net.partial_fit(np.eye(N_FEATURES), [0, 1, 0, 1, 1]),
    "divergence": diverge,
    "two changes": lambda net: (setattr(net, "l2", 0.1), net.partial_fit(ROW, [1]), setattr(net, "l2", 0.0)),
}


def with_dropout():
    layers = [fp.Dense(19, activation="tanh"), fp.Dropout(0.5), fp.Dense(1)]
    return fp.Network(layers, loss="bce", optimizer=fp.SGD(lr=0.05, momentum=0.9))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [mlp, with_dropout])
def test_a_change_counts_in_the_next_call(make, change, rng):
    one, other = make(), make()
    X = rng.normal(size=(4, N_FEATURES)).astype("f4")
    for step in range(4):
        for k in (1, 4):
            y = [1, 2, 1, 2][:k] if change == "classes" and step > 1 else [1, 0, 1, 0][:k]
            assert one.partial_fit(X[:k], y) == other.partial_fit(general(X[:k]), y)
            assert_same_answers(one, other, X[:k])
        assert state(one) == state(other)
        if step == 1:  # calls are prepared
            for net in (one, other):
                CHANGES[change](net)


def test_weights_of_outputs_may_change_in_place():
    one, other = (mlp(2, loss=fp.losses.MSE(output_weights=[1.0, 3.0])) for _ in range(2))
    for weight in (1.0, 1.0, 5.0, 0.5):
        for net in (one, other):
            net.loss.output_weights[0] = weight
        y = np.ones((1, 2))
        assert one.partial_fit(ROW, y) == other.partial_fit(general(ROW), y)


def test_weights_of_several_outputs_may_come_later(rng):
    """Comparing them would raise: an array of two has no truth value."""
    one, other = mlp(2, loss="mse"), mlp(2, loss="mse")
    X, y = rng.normal(size=(1, N_FEATURES)).astype("f4"), np.ones((1, 2))
    for weights in (None, None, np.array([1.0, 3.0]), None):
        one.loss.output_weights = other.loss.output_weights = weights
        assert one.partial_fit(X, y) == other.partial_fit(general(X), y)
    assert state(one) == state(other)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_calls_of_its_own(copied):
    net, twin = mlp(), mlp()
    for one in (net, twin):
        one.partial_fit(ROW, [1])
        one.partial_fit(ROW, [0])
    other = copied(net)
    for _ in range(2):
        assert other.partial_fit(ROW, [1]) == twin.partial_fit(general(ROW), [1])
    assert net._parameters.count == 2
    assert other.predict(ROW) == twin.predict(ROW)


def test_a_first_call_that_fails_leaves_nothing_prepared():
    """A callback predicts while the first fit runs, and then refuses its data: the network is unbuilt again."""
    net = mlp()

    class Refuse:
        def on_epoch_end(self, net, epoch, logs):
            net.predict(ROW)
            net.predict(ROW[:, :3])

    with pytest.raises(ValueError, match="3 features"):
        net.fit(np.zeros((2, N_FEATURES)), [0, 1], sample_weight=[1, 1], epochs=1, callbacks=Refuse(), progress=False)
    assert net.predict(ROW).shape == (1,)  # an epoch was done, so it is kept
    fresh = mlp()
    with pytest.raises(ValueError, match="labels"):
        fresh.partial_fit(ROW, [7])
    with pytest.raises(ValueError, match="no weights yet"):
        fresh.predict(ROW)
    fresh.partial_fit(ROW[:, :2], [1])
    assert fresh.predict(ROW[:, :2]).shape == (1,)


def test_an_interrupt_after_the_update_finds_it_counted():
    net = mlp()
    net.partial_fit(ROW, [1])
    net.partial_fit(ROW, [1])
    [calls] = net._quick.update._idle.values()
    run = calls[0].run

    def interrupted():
        run()
        raise KeyboardInterrupt

    calls[0].run = interrupted
    with pytest.raises(KeyboardInterrupt):
        net.partial_fit(ROW, [1])
    assert net._parameters.count == 3
    assert net.partial_fit(ROW, [1]) > 0
    assert net._parameters.count == 4


def test_threads_that_predict_at_once_get_their_own_rows(rng):
    net = mlp(3, loss="mse")
    X = rng.normal(size=(400, N_FEATURES)).astype("f4")
    net.fit(X, rng.normal(size=(400, 3)), epochs=1, progress=False)
    expected = net.predict(X)

    def check(worker):
        for i in range(worker, 400, 4):
            k = 1 + i % 5
            np.testing.assert_array_equal(net.predict(X[i : i + k]), expected[i : i + k])

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(check, worker) for worker in range(4)]:
            done.result()


def test_calls_of_all_sizes_share_a_few_engines():
    net = mlp(loss="mse")
    for n in range(1, 130):
        net.partial_fit(np.ones((n, N_FEATURES), "f4"), np.ones(n))
    for dtype in ("f4", "f8", "f2", "i1", "i2", "i4"):
        for n in (1, 2, 4, 8):
            net.predict(np.ones((n, N_FEATURES), dtype))
    assert [len(calls) for calls in net._quick.update._idle.values()] == [1] * 8  # powers of two; the first call builds
    assert len(net._quick.outputs._idle) <= 16
