"""Divergence: training stops, everything is as after the last good epoch, and the error says where and what to try."""

import re

import numpy as np
import pytest

import fastprop as fp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 3)).astype(np.float32)
Y = (X[:, :1] - X[:, 1:2] + 0.1 * RNG.normal(size=(96, 1))).astype(np.float32)


class Explodes:
    """A rate that becomes absurd at one update."""

    def __init__(self, update, rate=1e30):
        self.update, self.rate = update, rate

    def __call__(self, update):
        return self.rate if update == self.update else 0.01


def network(lr, dtype="float32"):
    layers = [fp.Dense(4, activation="tanh"), fp.BatchNorm(), fp.Dense(1)]
    return fp.Network(layers, loss="mse", optimizer=fp.Adam(lr), dtype=dtype)


def everything(net):
    return net._parameters.rows, net._parameters.statistics, net._parameters.count, net.epochs_done


def assert_same(net, other):
    for a, b in zip(everything(net), everything(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(net._parameters.rows).all()


class Nothing:
    def on_epoch_end(self, net, epoch, logs):
        pass


# Six updates an epoch, the rate of update 20 (in epoch 3) is absurd; or one an epoch.
CASES = {
    "several epochs in one segment": (20, {"batch_size": 16}),
    "epoch by epoch": (20, {"batch_size": 16, "callbacks": Nothing()}),
    "the last update of an epoch": (23, {"batch_size": 16}),
    "the last update of an epoch, epoch by epoch": (23, {"batch_size": 16, "callbacks": Nothing()}),
    "full batch": (3, {"batch_size": None}),
    "full batch, epoch by epoch": (3, {"batch_size": None, "callbacks": Nothing()}),
    "not shuffled": (20, {"batch_size": 16, "shuffle": False}),
    "stored gradients": (10, {"batch_size": 16, "accumulate": 2}),
    "validated": (20, {"batch_size": 16, "X_val": X[:10], "y_val": Y[:10]}),
    "validated, the last update of an epoch": (23, {"batch_size": 16, "X_val": X[:10], "y_val": Y[:10]}),
    "two threads": (20, {"batch_size": 16, "n_threads": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_all_is_as_after_the_last_good_epoch(case):
    update, options = CASES[case]
    updates = {None: 1, 16: 6}[options["batch_size"]] // options.get("accumulate", 1)
    good = update // updates  # epochs before the one that made the weights bad, wherever that showed
    net, twin = network(Explodes(update)), network(0.01)
    with pytest.raises(fp.DivergenceError) as caught:
        net.fit(X, Y, epochs=5, progress=False, **options)
    message = str(caught.value)
    epoch, step = map(int, re.search(r"epoch (\d+), step (\d+) at learning rate", message).groups())
    assert "NaN or infinite" in message
    assert "smaller learning rate" in message
    assert "clip_norm" in message
    assert step // updates == epoch
    assert step - update in (0, 1)
    assert f"after epoch {good - 1}, the last good one" in message
    twin.fit(X, Y, epochs=good, progress=False, **options)
    assert_same(net, twin)
    for name in set(twin.history_) - {"time"}:
        np.testing.assert_array_equal(net.history_[name], twin.history_[name])
    assert np.isfinite(net.evaluate(X, Y)["loss"])


def test_training_goes_on_after_divergence():
    net, twin = network(Explodes(20)), network(0.01)
    with pytest.raises(fp.DivergenceError):
        net.fit(X, Y, epochs=5, batch_size=16, progress=False)
    net.optimizer.lr = 0.01
    net.fit(X, Y, epochs=2, batch_size=16, progress=False)
    twin.fit(X, Y, epochs=5, batch_size=16, progress=False)
    assert_same(net, twin)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_huge_rate_in_the_first_epoch(dtype):
    net, twin = network(1e300 if dtype == "float64" else 1e38, dtype), network(0.01, dtype)
    twin.build(3)
    with pytest.raises(fp.DivergenceError, match=r"epoch 0, step 1 at learning rate 1e\+.*as before the call"):
        net.fit(X, Y, batch_size=16, progress=False)
    assert_same(net, twin)
    net.predict(X)


def test_a_single_update_that_ruins_the_weights():
    """No loss follows that could tell; the weights themselves do."""
    net = fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(1)], optimizer=fp.Adam(1e39))
    with pytest.raises(fp.DivergenceError, match="epoch 0, step 0 at learning rate 1e\\+39"):
        net.fit(X, Y, epochs=1, batch_size=None, progress=False)
    assert all(np.isfinite(W).all() for W, _ in net.get_weights())
    net.partial_fit(X, Y)  # looks at its loss, not at all the weights
    before = net.get_weights()
    assert not all(np.isfinite(W).all() for W, _ in before)
    with pytest.raises(fp.DivergenceError):
        net.partial_fit(X, Y)
    for (W, b), (V, c) in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(W, V)
        np.testing.assert_array_equal(b, c)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_partial_fit_refuses_before_the_update(batch_size):
    net = network(0.01)
    net.fit(X, Y, epochs=2, batch_size=16, progress=False)
    before = [np.copy(a) for a in everything(net)]
    huge = Y.copy()
    huge[50] = 1e30  # its square exceeds float32
    with pytest.raises(fp.DivergenceError, match=r"learning rate 0\.01.*as before the call"):
        net.partial_fit(X, huge, batch_size=batch_size)
    for a, b in zip(everything(net), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(net.partial_fit(X, Y))


def test_partial_fit_forgets_gradients_of_an_update_in_parts(monkeypatch):
    """The first chunk of the update has stored gradients when the second one's loss is infinite."""
    monkeypatch.setattr("fastprop.engine.MAX_ROWS", 48)
    net, twin = (fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(1)], optimizer=fp.Adam(0.01)) for _ in range(2))
    huge = Y.copy()
    huge[90] = 1e30
    for n in (net, twin):
        n.partial_fit(X, Y)
    with pytest.raises(fp.DivergenceError):
        net.partial_fit(X, huge)
    assert_same(net, twin)
    assert not net._parameters.rows[1].any()
    for n in (net, twin):
        n.partial_fit(X, Y)
    assert_same(net, twin)


def test_early_stopping_does_not_mix_the_best_weights_with_another_state():
    options = {"batch_size": 16, "X_val": X[:10], "y_val": -Y[:10], "early_stopping": 100}  # epoch 0 is the best
    net, twin = network(Explodes(20)), network(0.01)
    with pytest.raises(fp.DivergenceError, match="epoch 3"):
        net.fit(X, Y, epochs=5, progress=False, **options)
    twin.fit(X, Y, epochs=3, batch_size=16, progress=False)
    assert_same(net, twin)


def test_a_validation_loss_that_is_infinite():
    y = Y.copy()
    y[:10] = 1e30
    net, twin = network(0.01), network(0.01)
    twin.build(3)
    with pytest.raises(fp.DivergenceError, match="the validation loss became NaN or infinite in epoch 0, step 5"):
        net.fit(X, Y, batch_size=16, X_val=X[:10], y_val=y[:10], progress=False)
    assert_same(net, twin)
    assert net.history_ == {"loss": [], "lr": [], "time": []}


def test_the_error_is_a_value_error_and_none_comes_without_cause():
    assert issubclass(fp.DivergenceError, ValueError)
    network(0.01).fit(X, Y, epochs=3, batch_size=16, progress=False)


def test_each_epoch_has_its_own_rate_in_the_history():
    """Of many epochs in one segment, too."""
    net = network(fp.schedules.Step(0.01, 6, 0.5))
    history = net.fit(X, Y, epochs=3, batch_size=16, progress=False)
    np.testing.assert_allclose(history["lr"], [0.01, 0.005, 0.0025])
