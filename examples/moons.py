"""
Two moons: hidden units, tanh, L2, and sample by sample
=======================================================

A network of two inputs, one hidden layer and one output learns to tell two interleaved half circles apart. How many
hidden units does it need, is tanh better than the sigmoid, what does an L2 penalty do to 50 units, and how does the
loss fall when each single sample makes an update? Every number below is measured by this script.
"""

# %%
# The data are 200 points with noise, 140 to learn from and 60 to test on.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

import fastprop as fp

X, y = make_moons(n_samples=200, noise=0.2, random_state=42)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=42)


def train(units, activation="sigmoid", optimizer=None, epochs=5000, **options):
    """A 2-units-1 network, trained on the full batch: the network and its losses."""
    net = fp.Network(
        [fp.Dense(units, activation=activation), fp.Dense(1)],
        loss="bce",
        optimizer=optimizer or fp.Adam(lr=0.01),
        **options,
    )
    return net, net.fit(X_train, y_train, epochs=epochs, batch_size=None, progress=False)


def losses(net):
    """The loss on the points it learnt from, and on the others."""
    return net.evaluate(X_train, y_train)["loss"], net.evaluate(X_test, y_test)["loss"]


# %%
# How many hidden units?
# ----------------------
# A line is all that one unit can draw, whatever it learns: it *underfits*. Four units bend the boundary around both
# moons. With 20 and 50 the loss on the training points goes on falling towards 0, while the loss on the test points
# rises again: the boundary now runs around single noisy points, and the network is sure of it. That is *overfitting*,
# and accuracy alone hardly shows it.

sizes = (1, 2, 4, 20, 50)
nets = {units: train(units)[0] for units in sizes}
found = {units: losses(net) for units, net in nets.items()}
for units, (on_train, on_test) in found.items():
    right = nets[units].evaluate(X_test, y_test)["accuracy"]
    print(f"{units:2d} hidden units: training loss {on_train:.3f}, test loss {on_test:.3f}, {right:.0%} of it right")
print("the training loss falls with every size:", all(np.diff([found[units][0] for units in sizes]) < 0))
print("the lowest test loss has the network of", min(sizes, key=lambda units: found[units][1]), "units")

# %%
# Tanh instead of the sigmoid
# ---------------------------
# The plain recipe is gradient descent at a rate of 0.1 for 10,000 epochs. With four sigmoid units it ends where it is
# easiest to end: on a line. The derivative of tanh, :math:`1 - \tanh^2 z`, is 1 at 0 and that of the sigmoid only 1/4,
# and its outputs lie around 0 instead of 1/2. The same training with tanh gets around the bends: it is much better.
# (Nothing is wrong with four sigmoid units as such: above, Adam brought them there.)

plain = {name: train(4, name, fp.SGD(lr=0.1), epochs=10_000) for name in ("sigmoid", "tanh")}
for name, (net, _) in plain.items():
    right = net.evaluate(X_test, y_test)["accuracy"]
    print(f"gradient descent, 4 {name} units: training loss {losses(net)[0]:.3f}, {right:.0%} of the test right")
print("tanh is better:", losses(plain["tanh"][0])[0] < losses(plain["sigmoid"][0])[0])

# %%
# L2 on 50 units
# --------------
# The penalty :math:`\frac{\lambda}{2m}\lVert W\rVert^2` is ``l2`` with :math:`l2 = \lambda / m`, here with m = 140
# points. A little of it makes the boundary smooth and cures the test loss; ten times as much flattens it to a line.

penalties = {0.0: nets[50], 1e-4: train(50, l2=1e-4)[0], 1e-3: train(50, l2=1e-3)[0]}
for l2, net in penalties.items():
    largest = max(np.abs(W).max() for W, _ in net.get_weights())
    on_train, on_test = losses(net)
    print(f"l2 {l2:<6g} training loss {on_train:.3f}, test loss {on_test:.3f}, largest weight {largest:.1f}")
without, little, much = (losses(net)[1] for net in penalties.values())
print("a little L2 helps, ten times as much hurts:", without > much > little)

# %%
# One sample at a time
# --------------------
# Batch gradient descent makes one update an epoch, for the mean of all losses: its curve is smooth. Stochastic gradient
# descent makes one for each sample, 140 an epoch. Its losses jump, for each sample pulls its own way, and even their
# mean over an epoch goes up now and then; but after as many epochs it is much further.

epochs, rng = 60, np.random.default_rng(0)
_, batch = train(4, "tanh", fp.SGD(lr=0.1), epochs)
single = fp.Network([fp.Dense(4, activation="tanh"), fp.Dense(1)], loss="bce", optimizer=fp.SGD(lr=0.1))
steps = [
    single.partial_fit(X_train[i : i + 1], y_train[i : i + 1])
    for epoch in range(epochs)
    for i in rng.permutation(len(X_train))
]
means = np.reshape(steps, (epochs, -1)).mean(axis=1)
print(f"after {epochs} epochs the loss of a batch is {batch['loss'][-1]:.2f}, sample by sample {means[-1]:.2f}")
print(f"it rose in {np.mean(np.diff(batch['loss']) > 0):.0%} of the epochs, and in {np.mean(np.diff(means) > 0):.0%}")
print(f"from one sample to the next it rose in {np.mean(np.diff(steps) > 0):.0%} of the updates")

# %%
# Everything in one picture: the sizes, L2 on 50 units, and the two ways to learn.

BLUE, RED, GREY = "#0072B2", "#D55E00", "#B3B3B3"
edges = {"left": 0.01, "right": 0.99, "bottom": 0.03, "top": 0.95, "wspace": 0.18, "hspace": 0.28}
figure, panels = plt.subplots(3, 4, figsize=(14, 10), gridspec_kw=edges)


def show(net, panel, title):
    """The decision boundary over the training points; one legend for all is enough."""
    fp.plot.decision_boundary(net, X_train, y_train, ax=panel)
    panel.set_title(f"{title}\ntraining {losses(net)[0]:.3f}, test {losses(net)[1]:.3f}", fontsize="medium")
    panel.set(xlabel="", ylabel="", xticks=[], yticks=[])
    if panel is not panels[0, 0]:
        panel.get_legend().remove()


for panel, (units, net) in zip(panels.flat, nets.items(), strict=False):
    show(net, panel, f"{units} sigmoid unit{'s' * (units > 1)}")
for panel, l2 in zip(panels[1, 1:3], (1e-4, 1e-3), strict=True):
    show(penalties[l2], panel, f"50 units, l2 = {l2:g}")
for panel, (name, (net, _)) in zip(panels[2, :2], plain.items(), strict=True):
    show(net, panel, f"4 {name} units, gradient descent")

panel = panels[1, 3]
for k, (name, color) in enumerate((("training", BLUE), ("test", RED))):
    panel.plot(range(len(sizes)), [pair[k] for pair in found.values()], "o-", color=color, label=name)
panel.set_title("final loss by number of hidden units:\nunderfitting and overfitting", fontsize="medium")
panel.set_xticks(range(len(sizes)), sizes)
panel.legend(frameon=False)

panel = panels[2, 2]
for (name, (_, history)), color in zip(plain.items(), (BLUE, RED), strict=True):
    panel.plot(range(0, len(history["loss"]), 20), history["loss"][::20], color=color, label=name)
panel.set_yscale("log")
panel.set_title("loss by epoch:\nsigmoid against tanh", fontsize="medium")
panel.legend(frameon=False)

panel = panels[2, 3]
panel.plot(np.arange(len(steps)) / len(X_train), steps, color=GREY, alpha=0.6, linewidth=0.5, label="each sample")
panel.plot(np.arange(epochs) + 0.5, means, color=RED, label="mean of an epoch of samples")
panel.plot(np.arange(epochs) + 0.5, batch["loss"], color=BLUE, label="batch")
panel.set_ylim(0, 1.5)
panel.set_title("loss by epoch:\nbatch against sample by sample", fontsize="medium")
panel.legend(framealpha=0.9)
for panel in (panels[1, 3], *panels[2, 2:]):
    panel.spines[["top", "right"]].set_visible(False)
plt.savefig("moons.png", dpi=100)
