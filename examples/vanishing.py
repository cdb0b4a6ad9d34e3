"""
Vanishing and exploding gradients, measured
===========================================

Sigmoid networks of 5 and of 20 layers beside relu ones: how much of the error signal is left in each layer, against the
textbook's estimates of 0.25 per sigmoid layer and 0.5 per relu layer. ``fp.diagnose.gradient_flow`` says which network
is sick, where it starts and what to try; initialisation, residuals, batch norm, clipping and schedules are tried.
"""

# %%
# The exercise
# ------------
# *Consider a 5-layer network with sigmoid activations. If the initial gradient at the output layer has magnitude 1.0:
# a) Estimate the gradient magnitude at each layer working backwards. b) What happens to the gradient magnitude at the
# input layer? c) Suggest three techniques to mitigate this problem. d) Recalculate assuming relu activations (assume 50
# % of neurons are active).*
#
# a) Each layer multiplies the error signal by :math:`W^\top` and by :math:`\sigma'(z) \le 0.25`. If W keeps the size of
# what it is multiplied with, 0.25 is left of each layer: 1, 0.25, 0.0625, 0.0156, 0.0039 from layer 5 back to layer 1.
# b) A 250th is left at the first layer; of 20 layers :math:`0.25^{19} = 3.6 \cdot 10^{-12}`. d) With relu, half of the
# signals pass as they are, and half are dropped: the estimate is 0.5 a layer, 0.0625 at the first of five. c) is what
# the rest of this page does.
#
# Estimates are one thing; what is really left is another. The data are 300 points with 16 features.
import matplotlib.pyplot as plt
import numpy as np

import fastprop as fp

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 16))
y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
WIDTH = 32


def deep(n_layers, activation, init="auto", around=None, **settings):
    """`n_layers` dense layers, the output included; `around` changes each hidden layer."""
    hidden = [fp.Dense(WIDTH, activation, init=init) for _ in range(n_layers - 2)]
    first = fp.Dense(WIDTH, activation, init=init)
    inner = [part for layer in hidden for part in (around(layer) if around else [layer])]
    return fp.Network([first, *inner, fp.Dense(1)], **settings)


def signal(flow):
    """The error signal of each dense layer, as a part of the output's."""
    deltas = np.array([layer.delta for layer in flow.layers if layer.kind == "dense"])
    return deltas / deltas[-1]


def per_layer(flow):
    """What a hidden layer leaves of the error signal, as the geometric mean over hidden layers."""
    part = signal(flow)[:-1]
    return (part[0] / part[-1]) ** (1 / (len(part) - 1))


orthogonal = {"init": "orthogonal"}  # W^T keeps the size of every signal: what is left is the activation's work
flows = {}
for n_layers in (5, 20):
    for activation, estimate in (("sigmoid", 0.25), ("relu", 0.5)):
        flow = fp.diagnose.gradient_flow(deep(n_layers, activation, **orthogonal), X, y)
        flows[f"{activation}, {n_layers}"] = flow
        measured, first = per_layer(flow), signal(flow)[0]
        print(
            f"{n_layers:2d} layers of {activation:7s}  estimate {estimate:.2f} a layer, measured {measured:.2f}; "
            f"first layer: {first:.1e} of the output's"
        )

# %%
# For sigmoids the estimate is right: near z = 0 the slope is close to its maximum of 0.25. For relu it is too low. Half
# of the *units* are off, but the size of a vector is the root of a sum of squares: with half of its entries gone it
# shrinks by :math:`\sqrt{0.5} = 0.71`, not by 0.5. That is also why He's initialisation has the variance :math:`2 /
# n_\text{in}`: it makes up for exactly this factor, so that relu networks lose nothing at all.
#
# A name for it
# -------------
# Nobody needs to look at such numbers: the diagnosis says it in words. Here is that of the 20 sigmoid layers as they
# are by default.
sick = deep(20, "sigmoid")
flow = fp.diagnose.gradient_flow(sick, X, y)
print(f"{flow.finding} from {flow.where} on")
print(flow.verdict)
print(flow.layers[0].name, "learns:", flow.layers[0].ratio > 1e-2, "| last layer learns:", flow.layers[-1].ratio > 1e-4)

# %%
# What helps
# ----------
# The same depth with each of the remedies: the finding before training, what reaches the first layer, and what R2 says
# after 60 epochs of Adam. *Clipping* is on many lists of remedies against vanishing gradients; it only ever makes
# gradients smaller, so it cannot help here. It is for the opposite disease, below.


def with_norm(norm):
    return lambda layer: [layer, norm()]


remedies = {
    "sigmoid as it is": deep(20, "sigmoid"),
    "sigmoid, clip_norm=1": deep(20, "sigmoid", clip_norm=1.0),
    "sigmoid, weights of deviation 0.7": deep(20, "sigmoid", init=fp.init.Normal(0.7)),
    "sigmoid, BatchNorm": deep(20, "sigmoid", around=with_norm(fp.BatchNorm)),
    "sigmoid, Residual": deep(20, "sigmoid", around=lambda layer: [fp.Residual([layer])]),
    "sigmoid, LayerNorm in Residual": deep(20, "sigmoid", around=lambda layer: [fp.Residual([fp.LayerNorm(), layer])]),
    "relu, Glorot's weights": deep(20, "relu", init="glorot_uniform"),
    "relu, He's weights (the default)": deep(20, "relu"),
    "relu, BatchNorm": deep(20, "relu", around=with_norm(fp.BatchNorm)),
}
reached = {}
for name, net in remedies.items():
    flow = fp.diagnose.gradient_flow(net, X, y)
    reached[name] = signal(flow)
    net.fit(X, y, epochs=60, batch_size=30, progress=False)
    score = net.evaluate(X, y)["r2"]
    learns = "learns" if score > 0.75 else "learns a part" if score > 0.2 else "does not learn"
    print(f"{name:34s} {flow.finding:9s}  first layer {signal(flow)[0]:7.0e}  {learns}")

# %%
# Norms and residuals cure the sigmoid network, relu needs neither. A healthy flow is not all that there is to training,
# though: a residual around bare sigmoids adds only positive numbers, layer upon layer, and learns slowly; and a relu
# network that learns well without norms is worse with 18 batch norms, each of which brings in the noise of the
# statistics of 30 rows. (Its 5e+01 is called healthy because the error signal grows by a factor of only 1.2 a layer, to
# less than 100 times the output's; with 5 layers it arrives as 2.5, with 10 as 5.3.) Relu with Glorot's weights learns
# although its gradients vanish, but thanks to Adam, which divides each gradient by its own size. Plain gradient descent
# has no such help:
for name, init in (("Glorot's weights", "glorot_uniform"), ("He's weights", "auto")):
    net = deep(20, "relu", init=init, optimizer=fp.SGD(0.05))
    net.fit(X, y, epochs=60, batch_size=30, progress=False)
    score = net.evaluate(X, y)["r2"]
    print(f"plain gradient descent, relu, {name:16s}  R2 above 0.9: {score > 0.9}, below 0.1: {score < 0.1}")

# %%
# Exploding gradients
# -------------------
# The other way round: weights of deviation 0.5 where He's would be 0.25 double the signal in each relu layer. The
# diagnosis names it; plain gradient descent diverges at once. Each of the three remedies of the textbook ends that:
# clipping the gradient, :math:`g \leftarrow g\,c/\|g\|` where :math:`\|g\| > c`; careful initialisation; and a schedule
# that starts with a very low rate and warms up. Only the second removes the cause: the others bring training under way,
# but after 60 epochs they are no further than the loss of a constant, the variance of y.


def train(init, optimizer, **settings):
    """The loss after each epoch, until it diverges."""
    net = deep(10, "relu", init=init, optimizer=optimizer, **settings)
    losses = []

    class Record:
        def on_epoch_end(self, net, epoch, logs):
            losses.append(logs["loss"])

    try:
        net.fit(X, y, epochs=60, batch_size=30, callbacks=Record(), progress=False)
    except fp.DivergenceError:
        return [*losses, np.inf]
    return losses


large = fp.init.Normal(0.5)
print(fp.diagnose.gradient_flow(deep(10, "relu", init=large), X, y).verdict)
warm_up = fp.schedules.Warmup(fp.schedules.Cosine(5e-5, steps=600), steps=300)
courses = {
    "as it is": train(large, fp.SGD(0.1)),
    "clip_norm=1": train(large, fp.SGD(0.1), clip_norm=1.0),
    "He's weights": train("auto", fp.SGD(0.1)),
    "schedule": train(large, fp.SGD(warm_up)),
}
print(f"variance of y {y.var():.2f}")
for name, losses in courses.items():
    if not np.isfinite(losses[-1]):
        print(f"{name:12s} diverges in epoch {len(losses) - 1}")
    else:
        part = losses[-1] / y.var()
        end = f"below 0.2 of the variance: {part < 0.2}, from 0.8 to 1.2 of it: {0.8 < part < 1.2}"
        print(f"{name:12s} first loss above 1,000: {losses[0] > 1000}, last {end}")

# %%
# Left: the error signal of each layer, as a part of the output's, beside the estimates. Middle: the same with the
# remedies. Right: the loss while training with large weights; it ends where training diverges.
BLUE, RED, GREEN, ORANGE, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#777777"
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
layer_numbers = np.arange(1, 21)
for activation, color in (("sigmoid", RED), ("relu", BLUE)):
    left.semilogy(
        layer_numbers, signal(flows[f"{activation}, 20"]), "o-", color=color, ms=4, label=f"{activation}, measured"
    )
for part, color in ((0.25, RED), (0.5, BLUE)):
    left.semilogy(
        layer_numbers, part ** (20.0 - layer_numbers), "--", color=color, lw=1, label=f"{part} a layer, estimated"
    )
left.set(title="20 layers", xlabel="layer", ylabel="error signal, part of the output's", xticks=[1, 5, 10, 15, 20])
left.legend(frameon=False)

shown = {
    "sigmoid as it is": RED,
    "sigmoid, weights of deviation 0.7": ORANGE,
    "relu, Glorot's weights": PINK,
    "sigmoid, Residual": GREY,
    "relu, He's weights (the default)": BLUE,
    "sigmoid, BatchNorm": GREEN,
}
for name, color in shown.items():
    middle.semilogy(layer_numbers, reached[name], color=color, label=name)
middle.axhspan(1e-14, 0.01, color="#eeeeee", zorder=0)
middle.text(0.8, 2e-13, "vanishing: below 1/100", color=GREY)
middle.set(title="Remedies", xlabel="layer", ylim=(1e-13, 1e3), xticks=[1, 5, 10, 15, 20])
middle.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.08))

for (name, losses), color in zip(courses.items(), (RED, GREEN, BLUE, ORANGE), strict=True):
    finite = [loss for loss in losses if np.isfinite(loss)]
    right.semilogy(range(1, len(finite) + 1), finite, color=color, label=name)
    if len(finite) < len(losses):
        right.plot(
            len(finite) + 1, 1e5, "x", color=color, ms=10, mew=3, label="as it is: diverges" if not finite else None
        )
right.set(title="Large weights: training loss", xlabel="epoch")
handles, labels = right.get_legend_handles_labels()
right.legend(
    *zip(*[pair for pair in zip(handles, labels, strict=True) if pair[1] != "as it is"], strict=True), frameon=False
)
for ax in (left, middle, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.savefig("vanishing.png", dpi=100)
