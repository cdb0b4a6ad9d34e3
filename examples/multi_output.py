r"""
Several outputs: air quality
============================

The last exercise of the second introduction (26 in the documentation's table of exercises): one network predicts fine
dust (PM2.5), ozone and nitrogen dioxide from temperature, humidity, pressure and wind speed. The equations forward and
backward, a step of them by hand, and what to do about outputs whose units, or whose importance, differ.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastprop as fp

# %%
# The air
# -------
# Simulated, but after what is known. High pressure and little wind keep the air in place, so that what is emitted
# collects; heating adds dust and NO2 in the cold; moist air swells the particles of dust; ozone is made by sunlight,
# more in dry heat (the weather stands in for the light), and destroyed by fresh exhaust; light destroys NO2. Each
# measurement is off by a factor of its own, of 12 % (log-normal): even who knows the physics cannot predict that.
#
# The units are those of the air-quality reports: dust in micrograms per cubic metre, ozone in parts per million, NO2 in
# parts per billion. So the numbers differ far more than the amounts do.


def weather(n, rng):
    """Temperature (Celsius), relative humidity (%), pressure (hPa), wind speed (m/s) of n independent hours."""
    temperature = rng.normal(13, 9, n)
    humidity = np.clip(75 - 1.2 * (temperature - 13) + rng.normal(0, 13, n), 15, 98)
    pressure = rng.normal(1014, 9, n)
    wind = rng.gamma(2.5, 1.5, n) * np.exp(-(pressure - 1014) / 40)
    return np.column_stack([temperature, humidity, pressure, wind])


def air(X):
    """What the physics gives for PM2.5 (ug/m3), ozone (ppm) and NO2 (ppb)."""
    temperature, humidity, pressure, wind = X.T
    stagnation = (1 + 0.6 * np.tanh((pressure - 1014) / 10)) / (0.5 + wind / 4)
    heating = np.maximum(16 - temperature, 0) / 10
    light = np.exp((temperature - 20) / 14) * (1.3 - humidity / 100)
    dust = (4 + 6 * heating) * stagnation * (1 - np.minimum(humidity, 95) / 100) ** -0.35
    no2 = (14 + 6 * heating) * stagnation / (1 + light)
    ozone = (0.028 + 0.06 * light * np.sqrt(stagnation)) / (1 + no2 / 40)
    return np.column_stack([dust, ozone, no2])


names = ["PM2.5", "ozone", "NO2"]
rng = np.random.default_rng(0)
X = weather(6000, rng)
truth = air(X)
y = truth * np.exp(rng.normal(0, 0.12, truth.shape))
X_train, X_test, y_train, y_test = X[:4000], X[4000:], y[:4000], y[4000:]
for name, mean, sd in zip(names, y.mean(axis=0), y.std(axis=0), strict=True):
    print(f"{name}: mean {mean:.4f}, standard deviation {sd:.4f}")
_, ozone_to_no2, _ = y.mean(axis=0)[2] / y.mean(axis=0)
_, variances, _ = y.var(axis=0)[2] / y.var(axis=0)
print(f"the mean of NO2 is {ozone_to_no2:.0f} times that of ozone, its variance {variances:.0f} times")

# %%
# Equations
# ---------
# **a) Forward.** For a batch of n rows, with activation g in the hidden layer and nothing at the output:
#
# .. math::
#    Z_1 = X W_1 + b_1, \quad A_1 = g(Z_1), \quad \hat Y = A_1 W_2 + b_2,
#
# where :math:`\hat Y` has a column for each output. All outputs share the hidden layer.
#
# **b) Loss.** The squared errors of the K outputs, each with a weight :math:`w_k`, averaged over rows and outputs:
#
# .. math::
#    L = \frac{1}{n} \sum_i \frac{\sum_k w_k (\hat y_{ik} - y_{ik})^2}{\sum_k w_k}.
#
# **c) Backward.** The only thing new is that the error signal has a column for each output, and that a hidden unit
# receives the errors of all outputs, through the weights that lead to them:
#
# .. math::
#    \delta_2 = \frac{2}{n} (\hat Y - Y) \operatorname{diag}\Bigl(\frac{w}{\sum_k w_k}\Bigr), \quad
#    \delta_1 = (\delta_2 W_2^T) \circ g'(Z_1),
#
#    \frac{\partial L}{\partial W_l} = A_{l-1}^T \delta_l, \quad
#    \frac{\partial L}{\partial b_l} = \sum_i \delta_{l, i}, \quad A_0 = X.
#
# **e) A step**, by these equations in NumPy and by fastprop:


def step_by_hand(weights, X, Y, w, rate):
    """The weights after one step of gradient descent on the weighted loss."""
    (W1, b1), (W2, b2) = weights
    A1 = np.tanh(X @ W1 + b1)
    delta2 = 2 / len(X) * (A1 @ W2 + b2 - Y) * w / w.sum()
    delta1 = delta2 @ W2.T * (1 - A1**2)
    return [
        (W1 - rate * X.T @ delta1, b1 - rate * delta1.sum(axis=0)),
        (W2 - rate * A1.T @ delta2, b2 - rate * delta2.sum(axis=0)),
    ]


def scaled(columns, like):
    """Columns with the mean 0 and the standard deviation 1 of those that they are compared with."""
    return (columns - like.mean(axis=0)) / like.std(axis=0)


X_small, Y_small, w = scaled(X_train, X_train)[:50], scaled(y_train, y_train)[:50], np.array([1.0, 2.0, 0.5])
net = fp.Network(
    [fp.Dense(8, activation="tanh"), fp.Dense(3)],
    loss=fp.losses.MSE(output_weights=w),
    optimizer=fp.SGD(lr=0.1),
    dtype="float64",
).build(4)
by_hand = step_by_hand(net.get_weights(), X_small, Y_small, w, 0.1)
net.partial_fit(X_small, Y_small)
pairs = zip(sum(by_hand, ()), sum(net.get_weights(), ()), strict=True)
print("a step by hand gives the same weights:", all(np.allclose(a, b, atol=1e-12) for a, b in pairs))

# %%
# d) Outputs of different scales
# ------------------------------
# Who always predicts the mean has the variance for a squared error, and that of NO2 is a hundred thousand times that of
# ozone (above). If nothing is done, ozone is noise in the loss. Four ways, the same network of 32 hidden units, Adam
# and 60 epochs for each:
#
# * nothing scaled: the pressure, about 1014, drowns the other inputs, too;
# * inputs scaled, targets as they are;
# * the same, with output weights of one over the variance. On paper that is the same loss as with scaled targets;
# * inputs and targets scaled to mean 0 and standard deviation 1 by the training rows, and predictions scaled back.


def r2(predicted, y):
    """R2 of each output."""
    return 1 - ((predicted - y) ** 2).mean(axis=0) / y.var(axis=0)


def train(X, y, n_hidden=32, output_weights=None, epochs=60):
    """A network with one hidden layer."""
    loss = fp.losses.MSE(output_weights=output_weights)
    net = fp.Network([fp.Dense(n_hidden, activation="tanh"), fp.Dense(3)], loss=loss, optimizer=fp.Adam(lr=3e-3))
    net.fit(X, y, epochs=epochs, batch_size=32)
    return net


def back(predicted):
    """Scaled targets in their units."""
    return predicted * y_train.std(axis=0) + y_train.mean(axis=0)


Z_train, Z_test, T_train = scaled(X_train, X_train), scaled(X_test, X_train), scaled(y_train, y_train)
predictions = {
    "nothing scaled": train(X_train, y_train).predict(X_test),
    "inputs scaled": train(Z_train, y_train).predict(Z_test),
    "inputs scaled, targets weighted": train(Z_train, y_train, output_weights=1 / y_train.var(axis=0)).predict(Z_test),
    "inputs and targets scaled": back(train(Z_train, T_train).predict(Z_test)),
    "the physics itself": truth[4000:],
}
for way, predicted in predictions.items():
    found = (f"{name} {value:.2f}" for name, value in zip(names, r2(predicted, y_test), strict=True))
    print(f"{way}: R2 {', '.join(found)}")
best, (_, ozone, _) = r2(predictions["nothing scaled"], y_test).max(), r2(predictions["inputs scaled"], y_test)
print(f"nothing scaled, all outputs below 0.3: {best < 0.3}; inputs scaled, ozone below 0.7: {ozone < 0.7}")

# %%
# Raw pressure alone saturates the tanh units: nothing is learnt. With scaled inputs Adam, which divides out the size of
# gradients, still finds the large outputs, but ozone has no say in what the hidden layer becomes. Weights of one over
# the variance cure that, but the last layer has to grow from 0 to numbers of 12 in steps of the learning rate. So
# **scale the targets**: then every output comes close to what the noise allows (the last line: predictions by the
# physics itself).
#
# Measured once, not by this script: with one of four other seeds the network with nothing scaled learnt a part, as some
# units escaped; with inputs scaled, patience did not help ozone (R2 0.57 after 1,000 epochs); with weights it did (300
# epochs gave 0.95, 0.90 and 0.95).
#
# Outputs of different importance
# -------------------------------
# With all outputs on one scale, `output_weights` says what matters, and nothing else. It decides something only where
# the network cannot have it all: with 32 hidden units a tenfold weight changes next to nothing. With two, it depends on
# the output: dust and NO2 gain a little, and the others lose more than that; ozone, which does best of the three
# without a weight, gains nothing. (Less than 0.02 does not count in the lines below.)

for n_hidden in (32, 2):
    equal = r2(back(train(Z_train, T_train, n_hidden).predict(Z_test)), y_test)
    print(f"{n_hidden} hidden units, equal weights: R2 {', '.join(f'{value:.2f}' for value in equal)}")
    for k, name in enumerate(names):
        weights = np.where(np.arange(3) == k, 10.0, 1.0)
        change = r2(back(train(Z_train, T_train, n_hidden, weights).predict(Z_test)), y_test) - equal
        others = ", ".join(f"{c:+.2f}" for c in np.delete(change, k))
        print(f"  weight 10 for {name}: own R2 {change[k]:+.2f}, the others {others}; ", end="")
        print(f"gains: {change[k] > 0.02}, costs more: {change.sum() < -0.02}")

# %%
colours = ["#999999", "#E69F00", "#56B4E9", "#0072B2"]
fig, (bars, dots) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=[1.5, 1])
for i, (way, colour) in enumerate(zip(list(predictions)[:4], colours, strict=True)):
    height = np.maximum(r2(predictions[way], y_test), 0.01)  # a line, where there is nothing
    bars.bar(np.arange(3) + 0.2 * (i - 1.5), height, 0.18, color=colour, label=way)
ceiling = r2(predictions["the physics itself"], y_test)
bars.hlines(ceiling, np.arange(3) - 0.42, np.arange(3) + 0.42, color="k", lw=1, ls="--", label="what the noise allows")
bars.set(xticks=range(3), xticklabels=names, ylabel="R2 on test rows", ylim=(0, 1.45), yticks=np.arange(0, 1.1, 0.2))
bars.legend(frameon=False, ncols=2, loc="upper left", fontsize=9)
for way, colour in (("inputs scaled", colours[1]), ("inputs and targets scaled", colours[3])):
    dots.plot(y_test[:, 1], predictions[way][:, 1], ".", ms=3, alpha=0.5, color=colour, label=way)
dots.axline((0, 0), slope=1, color="k", lw=1, ls="--")
dots.set(xlabel="ozone measured (ppm)", ylabel="ozone predicted (ppm)", xlim=(0, 0.15), ylim=(0, 0.15))
dots.legend(frameon=False, markerscale=4, fontsize=9)
for ax in (bars, dots):
    ax.spines[["top", "right"]].set_visible(False)
plt.savefig("multi_output.png", dpi=100)
