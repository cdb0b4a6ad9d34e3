"""
An activation of one's own: x tanh x
====================================

The function :math:`f(x) = x \\tanh x` as an activation: its derivative derived, written down, and checked; its range,
monotonicity and what it does to gradients; and training with it, beside relu and sigmoid.
"""

# %%
# a) The derivative
# -----------------
# By the product rule, with :math:`\tanh' = 1 - \tanh^2`,
#
# .. math::
#
#    f'(x) = \tanh x + x\,(1 - \tanh^2 x) .
#
# b) Backpropagation
# ------------------
# In a layer :math:`z = x W + b,\; a = f(z)` nothing changes but the factor: :math:`\delta = (\partial L/\partial a)
# \odot f'(z)`, then :math:`\partial L/\partial W = x^\top \delta`, :math:`\partial L/\partial b = \sum \delta`, and
# :math:`\delta W^\top` goes on to the layer below. So two lines are all that there is to write. They are compiled into
# the kernels, as the built-in activations are (among which it is called ``x_tanh``). One thing differs from relu and
# sigmoid: f' cannot be had from a alone, since :math:`f(-x) = f(x)`, so z has to be kept from the forward pass.
import matplotlib.pyplot as plt
import numpy as np

import fastprop as fp


@fp.activation
class TimesTanh:
    """x tanh x."""

    def value(self, z):
        return z * np.tanh(z)

    def derivative(self, z, a):
        t = np.tanh(z)
        return t + z * (1.0 - t * t)


# %%
# Checked: against central differences of the value, and every gradient of a network with it against central differences
# of the loss.
rng = np.random.default_rng(0)
X = rng.normal(size=(20, 3))
y = rng.normal(size=20)
net = fp.Network([fp.Dense(8, activation="times_tanh"), fp.Dense(8, activation="times_tanh"), fp.Dense(1)])
check = fp.diagnose.check_gradients(net, X, y)
print(f"gradients agree: {check.passed}, largest relative error below 1e-6: {check.worst.error < 1e-6}")

# %%
# Would a mistake be found? Forget the inner derivative, and see.


@fp.activation
class WrongTimesTanh:
    """x tanh x with half of its derivative."""

    def value(self, z):
        return z * np.tanh(z)

    def derivative(self, z, a):
        return np.tanh(z)


try:
    fp.diagnose.check_gradients(fp.Network([fp.Dense(8, activation="wrong_times_tanh"), fp.Dense(1)]), X, y)
except fp.diagnose.GradientError as error:
    (formula,) = error.check.wrong_formulas
    print(
        f"found: the {formula.what}; largest relative error of a gradient above 10 %: {error.check.worst.error > 0.1}"
    )

# %%
# c) Its properties
# -----------------
# *Range*: x and tanh x have the same sign, so :math:`f \ge 0`, with 0 at 0 only, and no upper bound: [0, infinity).
#
# *Monotonicity*: f is even, so it falls for x < 0 and rises for x > 0; it is not monotonic. Far from 0 it is
# :math:`|x|`, near 0 it is :math:`x^2`: an absolute value with a round corner.
#
# *Gradient*: f' is odd, :math:`2x` near 0 and :math:`\pm 1` far out. In between it is a little above 1: its maximum is
# where :math:`f'' = 2 (1 - \tanh^2 x)(1 - x \tanh x) = 0`, that is at :math:`x \tanh x = 1`, and there :math:`f' =
# \tanh x + x (1 - \tanh^2 x) = x`, since :math:`\tanh x = 1/x`. So gradients neither saturate, as the sigmoid's, nor
# die, as relu's; but they do vanish around z = 0, just where small initial weights put all units.
z = np.linspace(-6, 6, 1_200_001)
f, slope = z * np.tanh(z), np.tanh(z) + z * (1 - np.tanh(z) ** 2)
print(f"least value {f.min():.4f} at {abs(z[f.argmin()]):.4f}; falls left of 0: {np.all(np.diff(f[z <= 0]) < 0)}")
print(f"rises right of 0: {np.all(np.diff(f[z >= 0]) > 0)}; steepest {slope.max():.4f} at {z[slope.argmax()]:.4f}")
steepest = z[slope.argmax()]
print(f"there x tanh x = {f[slope.argmax()]:.4f}; f(4) - 4 = {4 * np.tanh(4) - 4:.4f}")

# %%
# What that does to the error signal on its way back through eight layers with the default weights, for inputs of three
# sizes:
data = rng.normal(size=(400, 16))
target = np.abs(data[:, 0]) + data[:, 1] * data[:, 2]
KINDS = ("times_tanh", "relu", "sigmoid")
for size in (0.2, 1.0, 5.0):
    findings = []
    for name in KINDS:
        net = fp.Network([*(fp.Dense(32, name) for _ in range(8)), fp.Dense(1)])
        findings.append(f"{name} {fp.diagnose.gradient_flow(net, size * data, target).finding}")
    print(f"inputs of deviation {size}: {', '.join(findings)}")

# %%
# A deep network of this kind depends on the size of its inputs: small z are squared, and so become smaller from layer
# to layer, and their error signals with them. It wants inputs of deviation 1, and norms between the layers; relu is the
# same at every scale.
#
# d) Against relu and sigmoid
# ---------------------------
# The same network of two hidden layers on two problems: one that is even in x0, which f is made for, and one that is
# odd. Test loss as a part of the variance, mean over three seeds.
PROBLEMS = {
    "even: |x0| + x1 x2": lambda X: np.abs(X[:, 0]) + X[:, 1] * X[:, 2],
    "odd: sign(x0) + x1": lambda X: np.sign(X[:, 0]) + X[:, 1],
}
train_X, test_X = rng.normal(size=(1000, 6)), rng.normal(size=(2000, 6))
courses = {}
for problem, function in PROBLEMS.items():
    y_train, y_test = function(train_X), function(test_X)
    for name in KINDS:
        histories = []
        for seed in range(3):
            net = fp.Network([fp.Dense(32, name), fp.Dense(32, name), fp.Dense(1)], optimizer=fp.Adam(3e-3), seed=seed)
            h = net.fit(train_X, y_train, epochs=40, batch_size=50, X_val=test_X, y_val=y_test, progress=False)
            histories.append(h["val_loss"])
        courses[problem, name] = np.mean(histories, axis=0) / y_test.var()
    ends = {name: courses[problem, name][-1] for name in KINDS}
    ratio = {name: ends["times_tanh"] / ends[name] for name in ("relu", "sigmoid")}
    print(
        f"{problem}: below 0.5 of relu's loss: {ratio['relu'] < 0.5}, below 0.7 of sigmoid's: {ratio['sigmoid'] < 0.7}"
    )

# %%
# On the even problem f is far ahead of both. On the odd one it has nothing to offer: it ends level with relu, and both
# ahead of the sigmoid. An activation helps where its form is that of the problem, and only there.
#
# *For it*: smooth everywhere, no dead units, no saturation, and even functions (distances, energies, products: two of
# them make :math:`4uv = (u + v)^2 - (u - v)^2`) come with few units. *Against it*: a tanh for each unit where relu has
# a comparison, z to be kept, a derivative of 0 at z = 0, outputs that are never negative, and a depth that needs norms.
# A sigmoid is bounded, which is right for a probability at the output, and the slowest of the three inside.
COLOURS = {"times_tanh": "#009e73", "relu": "#0072b2", "sigmoid": "#d55e00"}
LABELS = {"times_tanh": "x tanh x", "relu": "relu", "sigmoid": "sigmoid"}
fig, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
z = np.linspace(-4, 4, 801)
sigma = 1 / (1 + np.exp(-z))
curves = {
    "times_tanh": (z * np.tanh(z), np.tanh(z) + z * (1 - np.tanh(z) ** 2)),
    "relu": (np.maximum(z, 0), np.where(z > 0, 1.0, 0.0)),
    "sigmoid": (sigma, sigma * (1 - sigma)),
}
for name, pair in curves.items():
    for ax, values in zip(axes[0], pair, strict=True):
        ax.plot(z, values, color=COLOURS[name], label=LABELS[name])
axes[0, 0].set(title="value", xlabel="z", ylabel="f(z)")
axes[0, 0].legend(frameon=False)
axes[0, 1].set(title="derivative", xlabel="z", ylabel="f'(z)")
axes[0, 1].plot([steepest, -steepest], [steepest, -steepest], "o", color=COLOURS["times_tanh"])
axes[0, 1].annotate("f'(1.2) = 1.2", (steepest, steepest), (1.6, 1.28), va="center")
axes[0, 1].set_ylim(-1.5, 1.5)
for ax, problem in zip(axes[1], PROBLEMS, strict=True):
    for name in KINDS:
        ax.semilogy(range(1, 41), courses[problem, name], color=COLOURS[name], label=LABELS[name])
    ax.set(title=problem, xlabel="epoch", ylabel="test loss / variance")
for ax in axes.flat:
    ax.spines[["top", "right"]].set_visible(False)
plt.savefig("custom_activation.png", dpi=100)
