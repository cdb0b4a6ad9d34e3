r"""
Learning from a stream that drifts
==================================

A network that learns from one sample at a time, each first predicted and then learnt (`partial_fit`), follows a world
that changes; one that was trained once and then frozen does not. Prices, sensors that age, and users' tastes are such
worlds.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

import fastprop as fp

# %%
# The stream
# ----------
# 20,000 samples of eight numbers each, of two classes: the sign of a weighted sum plus a product, 5 % of the labels
# wrong, so that no one can be right more often than 0.95. For 5,000 samples nothing changes; then, for 5,000, the
# weight moves from the first number to the second, slowly; at 15,000 it jumps to the fifth, with the other sign.

n_samples = 20_000
rng = np.random.default_rng(0)
X = rng.normal(size=(n_samples, 8))
when = np.arange(n_samples)
angle = np.pi / 2 * np.clip((when - 5000) / 5000, 0, 1)
weighted = np.where(when < 15_000, np.cos(angle) * X[:, 0] + np.sin(angle) * X[:, 1], -X[:, 4])
y = (weighted + 0.8 * X[:, 2] * X[:, 3] > 0).astype(int)
y = np.where(rng.random(n_samples) < 0.05, 1 - y, y)

# %%
# Test, then train
# ----------------
# The **prequential** accuracy needs no test set: each sample is predicted by a model that has not seen it yet, and only
# then learnt. Over the stream it shows what a user would have got.
#
# One update by `partial_fit` is the stochastic gradient descent of both introductions: forward, backward and step for a
# single sample. How fast the network follows is its learning rate: a high one forgets quickly, and follows every wrong
# label, too; a rate that falls, as theory asks for where nothing changes, ends up blind to change.


def network(optimizer):
    """8 numbers, 32 tanh units, a probability."""
    return fp.Network([fp.Dense(32, activation="tanh"), fp.Dense(1)], loss="bce", optimizer=optimizer)


def follow(net):
    """Whether each sample was predicted rightly before it was learnt, and the median microseconds of an update."""
    right, seconds = np.zeros(n_samples, bool), np.zeros(n_samples)
    net.build(8)
    net.partial_fit(X[:1], y[:1])
    for i in range(1, n_samples):
        x, label = X[i : i + 1], y[i : i + 1]
        right[i] = net.predict(x)[0] == label[0]
        start = perf_counter()
        net.partial_fit(x, label)
        seconds[i] = perf_counter() - start
    return right, 1e6 * np.median(seconds)


def retrain(every=1000, window=2000):
    """The same of a network that is trained anew on the last samples, now and then."""
    right = np.zeros(n_samples, bool)
    for start in range(every, n_samples, every):
        net = network(fp.Adam(lr=3e-3))
        net.fit(X[max(0, start - window) : start], y[max(0, start - window) : start], epochs=20, batch_size=16)
        right[start : start + every] = net.predict(X[start : start + every]) == y[start : start + every]
    return right


frozen = network(fp.Adam(lr=3e-3))
frozen.fit(X[:2000], y[:2000], epochs=20, batch_size=16)
right = {"frozen after 2,000": frozen.predict(X) == y}
right["SGD, rate 0.03"], microseconds = follow(network(fp.SGD(lr=0.03)))
right["SGD, rate 1/sqrt(t)"], _ = follow(network(fp.SGD(lr=fp.schedules.InverseScaling(1.0, 0.5))))
right["Adam, rate 0.003"], _ = follow(network(fp.Adam(lr=3e-3)))
right["trained anew every 1,000"] = retrain()
print(f"an update takes {microseconds:.0f} microseconds")

# %%
# What was found
# --------------

phases = {"steady": (2000, 5000), "slow drift": (5000, 10_000), "after it": (10_000, 15_000)}
phases |= {"first 1,000 after the jump": (15_000, 16_000), "the rest": (16_000, 20_000)}
for name, hits in right.items():
    found = (f"{phase} {hits[start:end].mean():.2f}" for phase, (start, end) in phases.items())
    print(f"{name}: {', '.join(found)}")

online = [name for name in right if "rate" in name]
steady, jump = (slice(*phases[name]) for name in ("steady", "first 1,000 after the jump"))
best = max(right, key=lambda name: right[name][steady].mean())
print("best while nothing changes:", "one that sees its samples many times" if best not in online else best)
worst = min(online, key=lambda name: right[name][jump].mean())
print(f"slowest of the online learners after the jump: {worst}")
leads = {phase: max(online, key=lambda name: right[name][slice(*phases[phase])].mean()) for phase in phases}
for phase in ("steady", "slow drift", "after it"):
    second, first = sorted(right[name][slice(*phases[phase])].mean() for name in online)[1:]
    print(f"best of the online learners, {phase}: {leads[phase]}, by more than 0.01: {first - second > 0.01}")

# %%
# * **Frozen**, it is among the best while nothing changes, having gone through its samples 20 times, and from then on
#   not much better than a coin.
# * **One sample at a time**, the network pays for its readiness while nothing changes (0.84 to 0.88 in place of 0.91),
#   hardly notices the slow drift, and is back within some hundred samples of the jump.
# * **A falling rate** is the best of the three online learners while nothing changes, better than Adam by no more than
#   some thousandths during the drift, hardly worse after it, and the slowest after the jump. The next jump would
#   hurt it more.
# * **Training anew** every 1,000 samples on the last 2,000 is among the best while nothing changes, but lags behind the
#   drift, and is as blind as the frozen one until its next training; then half of its window is of the old world.
#
# An update costs microseconds, so that following the stream sample by sample is cheap; several rates can run side by
# side, and the one that did best of late be asked.

# %%
fig, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
colours = ["k", "#0072B2", "#009E73", "#E69F00", "#CC79A7"]
for (name, hits), colour in zip(right.items(), colours, strict=True):
    recent = np.convolve(hits[2000:], np.ones(400) / 400, mode="valid")  # the last 400 samples
    ax.plot(2399 + np.arange(recent.size), recent, color=colour, lw=1.2, label=name)
ax.axhline(0.95, color="0.6", lw=1, ls="--")
ax.axvspan(5000, 10_000, color="0.94", lw=0)
ax.axvline(15_000, color="0.6", lw=1)
ax.text(7500, 0.965, "slow drift", ha="center", color="0.4")
ax.text(15_100, 0.965, "jump", color="0.4")
ax.set(xlabel="sample", ylabel="accuracy over the last 400", xlim=(2000, n_samples), ylim=(0.45, 1))
ax.legend(frameon=False, loc="lower left", fontsize=9)
ax.spines[["top", "right"]].set_visible(False)
plt.savefig("online.png", dpi=100)
