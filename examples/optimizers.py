r"""
Optimizers side by side
=======================

The section on optimization of the first introduction (exercises 2 and 3 in the documentation's table), measured: batch,
stochastic and mini-batch gradient descent, then plain SGD, momentum, Nesterov's momentum, RMSProp, Adam and AdamW, all
on one problem, each at the learning rate that suits it best. And what happens when the inputs are badly scaled.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fastprop as fp

# %%
# The problem and the rules
# -------------------------
# Handwritten digits, 8 x 8 pixels, through two hidden layers of 32 ReLU units, 15 epochs. A comparison at one rate for
# all would only say whom that rate suits: each optimizer gets the same grid of six rates, two to a decade, and is
# shown at the one with the lowest training loss, averaged over the last three epochs and two random seeds. The other
# settings stay at their defaults.
#
# With g the gradient, :math:`\eta` the rate, and all operations for each weight by itself:
#
# * SGD: :math:`w \leftarrow w - \eta g`
# * momentum: :math:`v \leftarrow \mu v + g, \; w \leftarrow w - \eta v`: steps that agree add up, those that oscillate
#   cancel. At :math:`\mu = 0.9` a steady gradient is followed ten times as fast.
# * Nesterov: :math:`w \leftarrow w - \eta (g + \mu v)`, the step that momentum is about to take, looked ahead.
# * RMSProp: :math:`s \leftarrow \alpha s + (1 - \alpha) g^2, \; w \leftarrow w - \eta g / (\sqrt{s} + \epsilon)`: each
#   weight moves by about :math:`\eta`, however large its gradient is.
# * Adam: RMSProp's division applied to a running mean of g, both corrected for having started at zero.
# * AdamW: Adam, and each weight shrinks by the factor :math:`1 - 0.01 \eta` in each step.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
rates = 10.0 ** np.arange(-3, -0.4, 0.5)
optimizers = {
    "SGD": fp.SGD,
    "momentum": lambda lr: fp.SGD(lr=lr, momentum=0.9),
    "Nesterov": lambda lr: fp.SGD(lr=lr, momentum=0.9, nesterov=True),
    "RMSProp": fp.RMSProp,
    "Adam": fp.Adam,
    "AdamW": fp.AdamW,
}


def fit(optimizer, X_train, X_test, seed, batch_size):
    """The training loss of each of 15 epochs, and the test accuracy after them."""
    layers = [fp.Dense(32, activation="relu"), fp.Dense(32, activation="relu"), fp.Dense(10)]
    net = fp.Network(layers, loss="cross_entropy", optimizer=optimizer, seed=seed)
    try:
        history = net.fit(X_train, y_train, epochs=15, batch_size=batch_size)
    except fp.DivergenceError:  # a rate far too high
        return np.full(15, np.inf), 0.1
    return np.array(history["loss"]), net.evaluate(X_test, y_test)["accuracy"]


def sweep(make, X_train=X_train, X_test=X_test, batch_size=32):
    """At each rate, over two seeds: last losses, test accuracies, curves; and which rate has the lowest loss."""
    runs = [[fit(make(lr), X_train, X_test, seed, batch_size) for seed in range(2)] for lr in rates]
    curves, accuracies = (np.array([np.mean([run[k] for run in row], axis=0) for row in runs]) for k in range(2))
    losses = curves[:, -3:].mean(axis=1)
    return losses, accuracies, curves, losses.argmin()


def report(name, swept, bound):
    """Print the best rate of a sweep, its loss and its accuracy, and whether this is above a bound."""
    losses, accuracies, _, best = swept
    print(f"{name}: best rate {rates[best]:.4f}, loss {losses[best]:.4f}, test accuracy {accuracies[best]:.3f}", end="")
    print(f", above {bound}: {accuracies[best] > bound}")


# %%
# How many samples a step
# -----------------------
# All three see each sample 15 times, and an epoch is about the same arithmetic. The whole batch gives the exact
# gradient, but 15 steps only; one sample at a time gives 20,205 steps, each noisy; 32 at a time lie between. Counted
# in epochs, many small steps win by far. (The whole batch likes the highest rate of the grid; at 1.0, measured once and
# not by this script, it did worse.)

by_size = {}
for name, batch_size in (("batch", None), ("stochastic", 1), ("mini-batch", 32)):
    by_size[name] = sweep(fp.SGD, batch_size=batch_size)
    report(name, by_size[name], 0.94)

# %%
# Six update rules
# ----------------
# Momentum brings SGD to a third or so of its loss, Adam and AdamW below a quarter. The differences in test accuracy,
# about 0.01, are four or five of the 450 test rows: here they say little. Note where the best rates are. Momentum wants
# a smaller one than SGD, here by one step of the grid, a factor of three; theory says ten, as a steady gradient is
# followed ten times as fast, and a grid of two rates to a decade cannot tell three from ten. The best rates of those
# that divide by the size of the gradient have nothing to do with these.

found = {"SGD": by_size["mini-batch"]}  # the same sweep
found |= {name: sweep(make) for name, make in optimizers.items() if name != "SGD"}
for name, swept in found.items():
    report(name, swept, 0.94)

lowest = min(found, key=lambda name: found[name][0].min())
highest = max(found, key=lambda name: found[name][0].min())
print(f"lowest training loss: {lowest}, highest: {highest}")

# %%
# Badly scaled inputs
# -------------------
# The same pixels, each multiplied by a factor of its own between 0.03 and 30 (log-uniform), as when a table mixes grams
# and kilometres. Nothing that can be known about the digits has changed.

factors = 10.0 ** np.random.default_rng(0).uniform(-1.5, 1.5, 64)
for name, make in optimizers.items():
    report(f"{name}, badly scaled", sweep(make, X_train * factors, X_test * factors), 0.94)

# %%
# Everybody suffers: one rate has to serve weights whose gradients differ by a factor of a thousand. Those that divide
# by the size of each weight's gradient end at about half the loss of the others, or less. But a line of preparation
# does far more than any of them: with each column standardised, **plain SGD gets a lower training loss than the best of
# the six on the pixels as they are**. That is the training loss; in test accuracy it is back among the six, but no
# better than the best of them.


def standardise(X):
    """Columns of mean 0 and standard deviation 1 in the training rows; pixels that are never inked stay 0."""
    return StandardScaler().fit(X_train * factors).transform(X)


swept = losses, accuracies, _, best = sweep(fp.SGD, standardise(X_train * factors), standardise(X_test * factors))
report("SGD, columns standardised", swept, 0.94)
print("a lower training loss than all of the six:", losses[best] < min(losses.min() for losses, *_ in found.values()))
most = max(accuracies[best] for _, accuracies, _, best in found.values())
print(f"test accuracy {accuracies[best]:.3f}, the best of the six {most:.3f}; higher: {accuracies[best] > most}")

# %%
colours = dict(zip(optimizers, ["k", "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#CC79A7"], strict=True))
fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharey=True)
epochs = np.arange(1, 16)
for (name, (_, _, curves, best)), colour in zip(by_size.items(), ["#999999", "#009E73", "k"], strict=True):
    axes[0].plot(epochs, curves[best], color=colour, label=f"{name}, rate {rates[best]:.2g}")
for name, (losses, _, curves, best) in found.items():
    axes[1].plot(epochs, curves[best], color=colours[name], label=f"{name}, rate {rates[best]:.2g}")
    axes[2].plot(rates, losses, "o-", ms=4, color=colours[name])
axes[0].set(xlabel="epoch", ylabel="training loss", yscale="log", title="samples a step (SGD)")
axes[1].set(xlabel="epoch", title="update rules, each at its best rate")
axes[2].set(xlabel="learning rate", xscale="log", title="and at the other rates")
for ax in axes[:2]:
    ax.legend(frameon=False, fontsize=9)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.savefig("optimizers.png", dpi=100)
