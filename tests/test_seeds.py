"""The networks that the project grew from: one worked by hand, one trained in NumPy, one on two moons."""

import math

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

import fastprop as fp

pytestmark = pytest.mark.quick


def sigmoid(z):
    return 1.0 / (1.0 + math.exp(-z))


def hand_worked():
    """The exercise "Complete Backpropagation Calculation". Its W is (n_out, n_in); ours is the transpose."""
    net = fp.Network(
        [fp.Dense(2, activation="sigmoid"), fp.Dense(1, activation="sigmoid")],
        loss="mse", optimizer=fp.SGD(lr=0.1), dtype="float64",
    )  # fmt: skip
    W1, b1 = np.array([[0.5, 0.3], [0.2, 0.8]]), np.array([0.1, 0.4])
    W2, b2 = np.array([[0.9, 0.7]]), np.array([0.2])
    net.set_weights([(W1.T, b1), (W2.T, b2)])
    return net, np.array([[1.0, 2.0]]), np.array([0.8])


def test_hand_worked_network():
    """All its values, by hand: z and a, the loss, all gradients, the weights after one step of 0.1."""
    net, x, y = hand_worked()

    # a) forward
    z1 = [0.5 * 1 + 0.3 * 2 + 0.1, 0.2 * 1 + 0.8 * 2 + 0.4]
    assert z1 == pytest.approx([1.2, 2.2], abs=1e-15)
    a1 = [sigmoid(z) for z in z1]
    assert a1 == pytest.approx([0.76852478, 0.90024951], abs=5e-9)
    z2 = 0.9 * a1[0] + 0.7 * a1[1] + 0.2
    assert z2 == pytest.approx(1.52184696, abs=5e-9)
    a2 = sigmoid(z2)
    assert a2 == pytest.approx(0.82081029, abs=5e-9)
    assert net.predict(x) == pytest.approx([a2], abs=1e-15)
    hidden = fp.Network([fp.Dense(2, activation="sigmoid")], dtype="float64")
    hidden.set_weights(net.get_weights()[:1])
    assert hidden.predict(x)[0] == pytest.approx(a1, abs=1e-15)
    linear = fp.Network([fp.Dense(2)], dtype="float64")
    linear.set_weights(net.get_weights()[:1])
    assert linear.predict(x)[0] == pytest.approx(z1, abs=1e-15)

    # b) loss
    loss = (a2 - 0.8) ** 2
    assert loss == pytest.approx(0.00043306835, abs=5e-12)
    assert net.evaluate(x, y)["loss"] == pytest.approx(loss, rel=1e-12)

    # c) gradients
    delta2 = 2.0 * (a2 - 0.8) * a2 * (1.0 - a2)
    assert delta2 == pytest.approx(0.0061215876, abs=5e-11)
    dW2, db2 = [delta2 * a1[0], delta2 * a1[1]], delta2
    assert dW2 == pytest.approx([0.0047045918, 0.0055109562], abs=5e-11)
    delta1 = [0.9 * delta2 * a1[0] * (1.0 - a1[0]), 0.7 * delta2 * a1[1] * (1.0 - a1[1])]
    assert delta1 == pytest.approx([0.00098009676, 0.00038480441], abs=6e-12)
    dW1 = [[delta1[0] * 1.0, delta1[0] * 2.0], [delta1[1] * 1.0, delta1[1] * 2.0]]
    found_loss, ((found_dW1, found_db1), (found_dW2, found_db2)) = net.gradients(x, y)
    assert found_loss == pytest.approx(loss, rel=1e-12)
    assert found_dW2.ravel() == pytest.approx(dW2, rel=1e-12)
    assert found_db2 == pytest.approx([db2], rel=1e-12)
    assert found_dW1.T.ravel() == pytest.approx(np.ravel(dW1), rel=1e-12)
    assert found_db1 == pytest.approx(delta1, rel=1e-12)

    # d) one step of gradient descent
    net.fit(x, y, epochs=1, batch_size=None, progress=False)
    (W1, b1), (W2, b2) = net.get_weights()
    new_W1 = [0.5 - 0.1 * dW1[0][0], 0.3 - 0.1 * dW1[0][1], 0.2 - 0.1 * dW1[1][0], 0.8 - 0.1 * dW1[1][1]]
    assert W1.T.ravel() == pytest.approx(new_W1, rel=1e-14)
    assert W1.T.ravel() == pytest.approx([0.49990199, 0.29980398, 0.19996152, 0.79992304], abs=5e-9)
    assert b1 == pytest.approx([0.1 - 0.1 * delta1[0], 0.4 - 0.1 * delta1[1]], rel=1e-14)
    assert b1 == pytest.approx([0.09990199, 0.39996152], abs=5e-9)
    assert W2.ravel() == pytest.approx([0.9 - 0.1 * dW2[0], 0.7 - 0.1 * dW2[1]], rel=1e-14)
    assert W2.ravel() == pytest.approx([0.89952954, 0.69944890], abs=5e-9)
    assert b2 == pytest.approx([0.2 - 0.1 * db2], rel=1e-14)
    assert b2 == pytest.approx([0.19938784], abs=5e-9)
    assert net.evaluate(x, y)["loss"] < loss


def test_hand_worked_network_sample_by_sample():
    """The per-sample kernels make the same step."""
    weights = []
    for arguments in ({"batch_size": None}, {"batch_size": 1}):
        net, x, y = hand_worked()
        net.fit(np.repeat(x, 2, axis=0), np.repeat(y, 2), epochs=1, shuffle=False, progress=False, **arguments)
        once, _, _ = hand_worked()
        once.fit(x, y, epochs=2 if arguments["batch_size"] == 1 else 1, batch_size=None, progress=False)
        weights += [np.concatenate([a.ravel() for p in n.get_weights() for a in p]) for n in (net, once)]
    assert weights[0] == pytest.approx(weights[1], rel=1e-14)
    assert weights[2] == pytest.approx(weights[3], rel=1e-14)


def first_example(seed=0):
    """The first example's data and weights: 3-5-1, sigmoid everywhere, x = (0.1, 0.2, 0.3), y = 1."""
    rng = np.random.default_rng(seed)
    W1, b1, W2, b2 = (rng.normal(size=s) for s in ((5, 3), (5, 1), (1, 5), (1, 1)))
    return np.array([[0.1, 0.2, 0.3]]).T, np.array([[1.0]]), W1, b1, W2, b2


def test_first_example_trains():
    """The first example's NumPy code takes sigmoid' at the activation y_pred instead of at z.

    That scales the error of the output by sigmoid'(a) / sigmoid'(z): it descends all the same, by wrong steps.
    Ours is sigmoid'(z), which a difference of the loss confirms.
    """
    x, y, W1, b1, W2, b2 = first_example()
    layers = [fp.Dense(5, activation="sigmoid"), fp.Dense(1, activation="sigmoid")]
    net = fp.Network(layers, optimizer=fp.SGD(lr=0.1), dtype="float64")
    net.set_weights([(W1.T, b1[:, 0]), (W2.T, b2[:, 0])])

    def forward(W1, b1, W2, b2):
        a1 = 1 / (1 + np.exp(-(W1 @ x + b1)))
        return W2 @ a1 + b2

    def derivative(z):
        s = 1 / (1 + np.exp(-z))
        return s * (1 - s)

    z2 = forward(W1, b1, W2, b2)
    a2 = 1 / (1 + np.exp(-z2))
    h = 1e-5
    losses = [(1 / (1 + np.exp(-forward(W1, b1, W2, b2 + s))) - y) ** 2 for s in (h, -h)]
    slope = (losses[0] - losses[1]) / (2 * h)
    theirs = 2 * (a2 - y) * derivative(a2)  # the seed's line: dZ2 = dA2 * sigmoid_deriv(y_pred)
    right = 2 * (a2 - y) * derivative(z2)
    ours = net.gradients(x.T, y[:, 0])[1][1][1]
    assert ours == pytest.approx(right[0], rel=1e-12)
    assert ours == pytest.approx(slope[0], rel=1e-7)
    assert abs(theirs - slope) > 0.05 * abs(slope)

    before = net.evaluate(x.T, y[:, 0])["loss"]
    history = net.fit(x.T, y[:, 0], epochs=100, batch_size=None, progress=False)
    assert history["loss"][0] == pytest.approx(before, rel=1e-12)
    assert np.all(np.diff(history["loss"]) < 0)


def moons():
    X, y = make_moons(n_samples=200, noise=0.2, random_state=42)
    return train_test_split(X, y, test_size=0.3, random_state=42)


def seed_network(X, y, epochs, lr):
    """The second example, `SimpleNeuralNetwork`: 2-4-1, sigmoid, binary cross-entropy, full batch, in NumPy."""
    rng = np.random.RandomState(0)
    W1, b1, W2, b2 = rng.randn(4, 2) * 0.01, np.zeros((4, 1)), rng.randn(1, 4) * 0.01, np.zeros((1, 1))
    start = [(W1.T.copy(), b1[:, 0].copy()), (W2.T.copy(), b2[:, 0].copy())]
    X, Y, m = X.T, y[None], len(y)
    for _ in range(epochs):
        A1 = 1 / (1 + np.exp(-(W1 @ X + b1)))
        A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
        d2 = A2 - Y
        d1 = W2.T @ d2 * A1 * (1 - A1)
        W1, b1 = W1 - lr * d1 @ X.T / m, b1 - lr * d1.sum(axis=1, keepdims=True) / m
        W2, b2 = W2 - lr * d2 @ A1.T / m, b2 - lr * d2.sum(axis=1, keepdims=True) / m
    A2 = 1 / (1 + np.exp(-(W2 @ (1 / (1 + np.exp(-(W1 @ X + b1)))) + b2)))
    loss = -(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)).mean()
    return start, [(W1.T, b1[:, 0]), (W2.T, b2[:, 0])], loss


def test_moons_as_the_seed():
    """10,000 epochs from the seed's weights end where the seed's NumPy does, and as good."""
    X, X_test, y, y_test = moons()
    start, end, loss = seed_network(X, y, epochs=10_000, lr=0.1)
    layers = [fp.Dense(4, activation="sigmoid"), fp.Dense(1, activation="sigmoid")]
    net = fp.Network(layers, loss="bce", optimizer=fp.SGD(lr=0.1), dtype="float64")
    net.set_weights(start)
    history = net.fit(X, y, epochs=10_000, batch_size=None, progress=False)
    assert len(history["loss"]) == 10_000
    assert net.evaluate(X, y)["loss"] == pytest.approx(loss, rel=1e-9)
    for ours, theirs in zip(net.get_weights(), end, strict=True):
        assert ours[0] == pytest.approx(theirs[0], rel=1e-6)
        assert ours[1] == pytest.approx(theirs[1], rel=1e-6)
    assert net.evaluate(X_test, y_test)["accuracy"] >= 0.8


def test_moons_with_our_weights():
    """With our initial weights and float32 it is no worse than the seed's."""
    X, X_test, y, y_test = moons()
    _, _, loss = seed_network(X, y, epochs=10_000, lr=0.1)
    net = fp.Network([fp.Dense(4, activation="sigmoid"), fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=0.1))
    history = net.fit(X, y, epochs=10_000, batch_size=None, progress=False)
    assert history["loss"][-1] < 1.1 * loss
    assert net.evaluate(X_test, y_test)["accuracy"] >= 0.8
