"""lr_find and overfit_one_batch: what they suggest and say, on sound and on broken networks; the network stays."""

import numpy as np
import pytest

import fastprop as fp
from fastprop.diagnose import lr_find, overfit_one_batch
from fastprop.diagnose.rates import smooth, suggest


@pytest.fixture
def X(rng):
    return rng.normal(size=(300, 6))


@pytest.fixture
def y(X):
    return X[:, 0] * X[:, 1] + np.sin(X[:, 2])


def network(optimizer=None, layers=None, **settings):
    layers = layers or [fp.Dense(32, "relu"), fp.Dense(1)]
    return fp.Network(layers, optimizer=optimizer or fp.Adam(1e-2), **settings)


def assert_unchanged(net, call):
    before, rows, lr = net.state_dict(), net._parameters.rows.copy(), net.optimizer.lr
    call()
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())
    assert np.array_equal(rows, net._parameters.rows)
    assert net.optimizer.lr is lr


# ---- lr_find ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [fp.SGD(), fp.SGD(momentum=0.9), fp.Adam()], ids=["sgd", "momentum", "adam"])
def test_the_suggested_rate_trains_faster_than_far_lower_and_higher_ones(optimizer, X, y):
    rates = lr_find(network(optimizer), X, y)
    kind, settings = type(optimizer), {"momentum": 0.9} if optimizer.settings.get("momentum") else {}

    def loss_with(lr):
        net = network(kind(lr, **settings))
        try:
            return net.fit(X, y, epochs=10, batch_size=32, progress=False)["loss"][-1]
        except fp.DivergenceError:
            return np.inf

    assert loss_with(rates.suggestion) < 0.7 * loss_with(rates.suggestion / 100)
    assert loss_with(rates.suggestion) < loss_with(rates.suggestion * 1000)


def test_the_sweep(X, y):
    rates = lr_find(network(), X, y, lr_min=1e-5, lr_max=0.1, n_steps=40)
    assert rates.rates == pytest.approx(np.geomspace(1e-5, 0.1, 40))
    assert rates.losses.shape == rates.smoothed.shape == (40,)
    assert rates.diverged_at is None
    assert 1e-5 < rates.suggestion < 0.1
    assert f"Try {rates.suggestion:.1e}" in str(rates)
    # The first loss is nearly that of the network as it is.
    assert rates.losses[0] == pytest.approx(network().build(6).evaluate(X, y)["loss"], rel=0.01)


def test_divergence_ends_the_sweep(X, y):
    rates = lr_find(network(fp.SGD()), X, y, lr_max=1e6)
    assert rates.diverged_at is not None
    assert len(rates.rates) == len(rates.losses) < 100
    assert np.isfinite(rates.losses).all()
    assert rates.suggestion < rates.diverged_at
    assert "diverges" in str(rates)


def test_no_fall_no_suggestion(X, y):
    rates = lr_find(network(fp.SGD()), X, y, lr_min=1e-12, lr_max=1e-10)
    assert np.isnan(rates.suggestion)
    assert "falls at none" in str(rates)


def test_suggest_takes_nine_tenths_of_the_last_descent():
    rates = np.geomspace(1e-6, 1.0, 121)
    x = np.log10(rates)
    losses = 2.0 - 1.0 / (1.0 + np.exp(-4 * (x + 2))) + np.exp(6 * (x + 0.3))
    losses[:4] += [0.1, 0.06, 0.03, 0.01]  # a steep start that means nothing
    assert suggest(rates, losses) == pytest.approx(10 ** (-2 + np.log(9) / 4), rel=0.3)
    assert np.isnan(suggest(rates, np.ones(121)))
    assert np.isnan(suggest(rates, np.linspace(1.0, 2.0, 121)))
    risen = np.where(x > -1, 1.5, losses)  # units die at 0.1, and what is left falls below all that was before
    assert suggest(rates, np.where(x > -0.5, 0.5, risen)) == suggest(rates, risen) < 0.1


PROBLEMS = {  # raw data, a network of 32-32 for it, and a loss that one of dead units does not reach: it stays at ...
    "digits": (lambda data: data.load_digits(return_X_y=True), 10, "cross_entropy", 0.5),  # 2.30
    "cancer": (lambda data: data.load_breast_cancer(return_X_y=True), 1, "bce", 0.6),  # 0.66
    "moons": (lambda data: data.make_moons(1000, noise=0.2, random_state=0), 1, "bce", 0.4),  # 0.69
}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_network_trained_with_the_suggestion_is_alive(name, momentum):
    import sklearn.datasets

    load, n_outputs, loss, enough = PROBLEMS[name]
    X, y = load(sklearn.datasets)
    layers = [fp.Dense(32, "relu"), fp.Dense(32, "relu"), fp.Dense(n_outputs)]
    rate = lr_find(fp.Network(layers, loss=loss, optimizer=fp.SGD(momentum=momentum)), X, y).suggestion
    net = fp.Network(layers, loss=loss, optimizer=fp.SGD(rate, momentum=momentum))
    assert net.fit(X, y, epochs=10, batch_size=32, progress=False)["loss"][-1] < enough


def test_the_sweep_ends_soon_after_the_blow_up(X, y):
    rates = lr_find(network(fp.SGD()), X, y, lr_max=1e6)
    assert rates.losses.max() < 4 * rates.losses[0]


def test_batch_norm_is_looked_at_with_the_statistics_of_the_rows(X, y):
    net = network(layers=[fp.BatchNorm(), fp.Dense(32, "relu"), fp.Dense(1)]).build(6)
    losses = lr_find(net, 100.0 * X + 50.0, y, n_steps=10, lr_max=1e-5).losses
    assert losses[0] == pytest.approx(net.gradients(100.0 * X + 50.0, y)[0], rel=1e-3)
    assert losses[0] < 0.01 * net.evaluate(100.0 * X + 50.0, y)["loss"]  # by the running ones, which start at 0 and 1


def test_smooth_keeps_lines_and_does_not_lag():
    line = np.linspace(0.0, 1.0, 50)
    assert smooth(line, 2.0)[10:-10] == pytest.approx(line[10:-10], rel=1e-4)
    step = smooth((np.arange(51) >= 25) * 1.0, 2.0)
    assert step[24] + step[25] == pytest.approx(1.0)


def test_lr_find_starts_where_a_trained_network_is_and_leaves_it(X, y):
    net = network(fp.Adam(fp.schedules.Cosine(1e-2, steps=100)))
    net.fit(X, y, epochs=20, batch_size=32, progress=False)
    assert_unchanged(net, lambda: lr_find(net, X, y))
    rates = lr_find(net, X, y, n_steps=20, lr_max=1e-5)
    assert rates.losses.mean() == pytest.approx(net.evaluate(X, y)["loss"], rel=0.5)


def test_labels_sparse_rows_frames_and_few_rows(X, y):
    import pandas as pd
    import scipy.sparse

    labels = np.where(y > 0, "up", "down")
    net = network(loss="bce")
    expected = lr_find(net, X, labels, n_steps=20)
    assert lr_find(net, pd.DataFrame(X, columns=list("abcdef")), labels, n_steps=20).suggestion == expected.suggestion
    assert lr_find(net, scipy.sparse.csr_array(X), labels, n_steps=20).losses == pytest.approx(expected.losses)
    assert len(lr_find(net, X[:5], labels[:5], n_steps=20).losses) > 10


def test_bad_input_of_lr_find_is_named(X, y):
    with pytest.raises(ValueError, match=r"lr_min must be below lr_max, got 1 and 0\.1"):
        lr_find(network(), X, y, lr_min=1.0, lr_max=0.1)
    with pytest.raises(ValueError, match="lr_min must be a finite number > 0"):
        lr_find(network(), X, y, lr_min=0.0)
    with pytest.raises(TypeError, match="lr_max must be a finite number"):
        lr_find(network(), X, y, lr_max="high")
    with pytest.raises(ValueError, match="n_steps must be at least 10, got 5"):
        lr_find(network(), X, y, n_steps=5)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        lr_find(network(), X, y, batch_size=0)
    with pytest.raises(ValueError, match="batch_size must be at least 2 with BatchNorm"):
        lr_find(network(layers=[fp.BatchNorm(), fp.Dense(1)]), X, y, batch_size=1)
    with pytest.raises(TypeError, match="net must be a Network"):
        lr_find([], X, y)
    with pytest.raises(ValueError, match="net must have a layer with parameters"):
        lr_find(network(layers=[fp.Dropout(0.5)]), X, X)


# ---- overfit_one_batch --------------------------------------------------------------------------------------------


def test_a_sound_network_learns_a_batch_by_heart(X, y, rng):
    layers = [fp.Dense(64, "relu"), fp.Dropout(0.5), fp.Dense(1)]
    net = network(layers=layers, l2=1.0)  # neither of which may prevent it
    net.build(6)
    found = []
    assert_unchanged(net, lambda: found.append(overfit_one_batch(net, X, y)))
    assert found[0].succeeded
    assert found[0].score > 0.99
    assert found[0].losses[-1] < 0.05 * found[0].losses[0]
    assert "by heart: gradients, loss and targets fit" in str(found[0])
    labels = rng.integers(0, 3, 300)  # at random: nothing but memory helps
    assert overfit_one_batch(
        network(layers=[fp.Dense(64, "relu"), fp.Dense(3)], loss="cross_entropy"), X, labels
    ).succeeded


def test_failures_have_words(X, y, rng):
    def verdict(net, X=X, y=y, **settings):
        found = overfit_one_batch(net, X, y, **settings)
        assert not found.succeeded
        return found.verdict

    assert "training diverges" in verdict(network(fp.SGD(100.0)))
    assert "does not fall at all" in verdict(network(fp.SGD(1e-12)))
    assert "still falls" in verdict(network(fp.Adam(1e-3)), n_steps=100)
    assert "more or wider hidden layers (the narrowest has 1 units)" in verdict(
        network(layers=[fp.Dense(1, "tanh"), fp.Dense(1)]), X, rng.normal(size=300)
    )
    twins = np.tile(X[:8], (2, 1))
    assert "have the same X but another y" in verdict(network(), twins, np.arange(16.0))
    assert "targets of mean 0 and deviation 1 (theirs is 9.9e+02)" in verdict(
        network(fp.SGD(1e-2), layers=[fp.Dense(1)]), X, 1000 * np.sign(y)
    )


def test_what_it_says_of_the_course_of_the_loss(X, y):
    def verdict(optimizer, layers=None):
        found = overfit_one_batch(network(optimizer, layers), X, y)
        assert not found.succeeded
        return found.verdict

    assert "the loss still falls, from" in verdict(fp.Adam(1e-6))
    assert "the loss rises from" in verdict(fp.Adam(1e3))
    dead = verdict(fp.Adam(1e-2), [fp.Dense(32, "relu", bias_init=np.full(32, -100.0)), fp.Dense(1)])
    assert "gradients are sick. vanishing" in dead
    assert "leaky_relu" in dead
    norm = overfit_one_batch(fp.Network([fp.LayerNorm()]), X, X**2)
    assert "Dense layers, of which there are none" in norm.verdict


def test_targets_without_spread_are_learnt(X, y):
    assert overfit_one_batch(network(), X, y, batch_size=1).succeeded
    assert overfit_one_batch(network(fp.Adam(0.1)), X, np.full(300, 1e4)).succeeded
    short = overfit_one_batch(network(fp.Adam(0.1)), X, np.full(300, 1e4), n_steps=10)
    assert not short.succeeded
    assert short.score < 0.5


def test_a_batch_of_one_class_says_little(X, y):
    labels = np.array(["rare"] + 299 * ["usual"])
    found = overfit_one_batch(network(loss="bce"), X, labels, batch_size=2)
    assert found.succeeded
    assert "all of one class, which says little" in found.verdict


def test_bad_input_of_overfit_is_named(X, y):
    with pytest.raises(ValueError, match="net must have a layer with parameters"):
        overfit_one_batch(network(layers=[fp.Dropout(0.5)]), X, X)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        overfit_one_batch(network(), X, y, batch_size=0)
    with pytest.raises(TypeError, match="n_steps must be a positive integer"):
        overfit_one_batch(network(), X, y, n_steps=1.5)
    with pytest.raises(ValueError, match="batch_size must be at least 2 with BatchNorm"):
        overfit_one_batch(network(layers=[fp.BatchNorm(), fp.Dense(1)]), X[:1], y[:1])
    with pytest.raises(TypeError, match="give its network_"):
        overfit_one_batch(type("Estimator", (), {"network_": None})(), X, y)
