"""
Backpropagation worked out by hand
==================================

One step of training of a network with two inputs, two hidden units and one output, with the value of every
:math:`z, a, \\delta, \\partial L/\\partial W` and :math:`\\partial L/\\partial b` in the open: what a student computes
on paper, to be compared line by line. Then the same step with a relu, and what its derivative saves.
"""

# %%
# The exercise
# ------------
# *Given are the input* :math:`x = (1, 2)`, *the target* :math:`y = 0.8`, *sigmoids in both layers, the loss MSE and*
#
# .. math::
#
#    W_1 = \begin{pmatrix} 0.5 & 0.3 \\ 0.2 & 0.8 \end{pmatrix}, \quad b_1 = \begin{pmatrix} 0.1 \\ 0.4 \end{pmatrix},
#    \quad W_2 = \begin{pmatrix} 0.9 & 0.7 \end{pmatrix}, \quad b_2 = 0.2 .
#
# *Calculate a) all z and a, b) the loss, c) all gradients, d) the weights after one step of gradient descent with a
# learning rate of 0.1.*
#
# The exercise writes :math:`z = W x + b` for columns, with a row of W for each unit. Here samples are rows,
# :math:`z = x W + b`, with a column for each unit: the matrices are transposed, the numbers are the same.
import matplotlib.pyplot as plt
import numpy as np

import fastprop as fp

W1, b1 = np.array([[0.5, 0.3], [0.2, 0.8]]), [0.1, 0.4]
W2, b2 = np.array([[0.9, 0.7]]), [0.2]
x, y = [1, 2], 0.8

net = fp.Network(
    [
        fp.Dense(2, activation="sigmoid", init=W1.T, bias_init=b1),
        fp.Dense(1, activation="sigmoid", init=W2.T, bias_init=b2),
    ],
    loss="mse",
    optimizer=fp.SGD(lr=0.1),
    dtype="float64",
)
step = fp.diagnose.explain_step(net, x, y)
print(step)

# %%
# Read from the top: a) is *Forward*, b) is *Loss*, c) is *Backward*, and d) is *Update*. The loss of one sample with
# one output is :math:`L = (a_2 - y)^2`, so :math:`\partial L/\partial a_2 = 2\,(a_2 - y)`; with the convention :math:`L
# = \frac{1}{2} (a_2 - y)^2` (``loss="squared_error"``) all gradients are half as large.
#
# Every value is an attribute as well: here the loss and its derivative by that formula.
first, last = step.layers
a2 = last.a[0, 0]
print(f"(a2 - y)^2 = {(a2 - y) ** 2:.6g}, 2 (a2 - y) = {2 * (a2 - y):.6g}")
print(f"delta of the output: {last.delta[0, 0]:.6f}, of the hidden units: {np.round(first.delta[0], 6)}")

# %%
# For a paper, ``step.to_latex()`` writes the whole step as formulas, and a notebook shows them by itself. The part of
# the hidden layer looks like this:
#
# .. math::
#
#    \begin{aligned}
#    \frac{\partial L}{\partial a^{(1)}} &= \delta^{(2)} {W^{(2)}}^\top =
#    \begin{pmatrix} 0.00550943 & 0.00428511 \end{pmatrix} \\
#    \delta^{(1)} &= \frac{\partial L}{\partial a^{(1)}} \odot \operatorname{sigmoid}'\left(z^{(1)}\right) =
#    \begin{pmatrix} 0.000980097 & 0.000384804 \end{pmatrix} \\
#    \frac{\partial L}{\partial W^{(1)}} &= {x}^\top \delta^{(1)} =
#    \begin{pmatrix} 0.000980097 & 0.000384804 \\ 0.00196019 & 0.000769609 \end{pmatrix}
#    \end{aligned}
#
# and this is its last line in LaTeX:
(line,) = (line for line in step.to_latex().splitlines() if line.startswith(r"\frac{\partial L}{\partial W^{(1)}}"))
print(line)

# %%
# Is it right?
# ------------
# Central differences of the loss, one parameter after the other, know nothing of the chain rule.
print(fp.diagnose.check_gradients(net, [x], [y]))

# %%
# A mistake that is easily made: the derivative of the sigmoid is :math:`\sigma(z)(1 - \sigma(z)) = a (1 - a)`. A
# function ``sigmoid_deriv(z)`` wants z; fed with a, it applies the sigmoid twice. All factors are still positive, so
# such a network may learn nevertheless, and nobody notices. As an activation of one's own, it is found at once:


@fp.activation
class SigmoidTwice:
    """The sigmoid with the derivative taken at a in place of z."""

    def value(self, z):
        return 1.0 / (1.0 + np.exp(-z))

    def derivative(self, z, a):
        s = 1.0 / (1.0 + np.exp(-a))
        return s * (1.0 - s)


wrong = fp.Network([fp.Dense(2, activation="sigmoid_twice", init=W1.T, bias_init=b1), fp.Dense(1, init=W2.T)])
try:
    fp.diagnose.check_gradients(wrong, [x], [y])
except fp.diagnose.GradientError as error:
    print(str(error).partition(". ")[0] + ".")

# %%
# Mini-exercise: the derivative of relu
# -------------------------------------
# *If the hidden activation is* :math:`g(z) = \max(0, z)`, *what is* :math:`g'(z)`? *How does this simplify the gradient
# of the hidden layer?*
#
# It is 1 where z > 0, and 0 where z < 0. At 0 there is none; any number in [0, 1] will do, and everybody takes 0. So
# the product in :math:`\delta_1 = (\delta_2 W_2^\top) \odot g'(z_1)` is no product: the error signal of a unit that was
# on passes unchanged, that of a unit that was off is dropped. There is no exponential to compute, z need not be kept (a
# > 0 says the same), and the columns of :math:`\partial L/\partial W_1` for units that were off are zero. With the
# first hidden unit turned off by a bias of -2:
relu = fp.Network(
    [
        fp.Dense(2, activation="relu", init=W1.T, bias_init=[-2.0, 0.4]),
        fp.Dense(1, activation="sigmoid", init=W2.T, bias_init=b2),
    ],
    loss="mse",
    optimizer=fp.SGD(lr=0.1),
    dtype="float64",
)
hidden = fp.diagnose.explain_step(relu, x, y).layers[0]
print(f"z1 = {np.round(hidden.z[0], 6)}, relu'(z1) = {hidden.slope[0]}")
print(f"dL/da1 = {np.round(hidden.error[0], 6)}, delta1 = {np.round(hidden.delta[0], 6)}")
print(f"dL/dW1 = {np.round(hidden.dW, 6).tolist()}")

# %%
# Two hidden layers go on in the same way, :math:`\delta_1 = (\delta_2 W_2^\top) \odot g'(z_1)` with :math:`\delta_2`
# from the layer above; the page "Backpropagation, from the chain rule to the kernel" derives them.
#
# The whole step in one picture: above each unit its a, below it its delta; on each line the weight and what the step
# changes it by.
BLUE, RED, GREY = "#0072b2", "#d55e00", "#999999"
places = [[(0, 1.5), (0, 0.5)], [(2, 1.5), (2, 0.5)], [(4, 1.0)]]
values = [np.array(x, float), first.a[0], last.a[0]]
signals = [None, first.delta[0], last.delta[0]]

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for layer, left, right in zip(step.layers, places[:-1], places[1:], strict=True):
    for i, (x0, y0) in enumerate(left):
        for k, (x1, y1) in enumerate(right):
            ax.plot([x0, x1], [y0, y1], color=GREY, lw=0.5 + 2 * abs(layer.W[i, k]), zorder=1)
            part = 0.26 if i == 0 else 0.3
            change = layer.W_new[i, k] - layer.W[i, k]
            label = f"{layer.W[i, k]:g} {change:+.1e}"
            place = (x0 + part * (x1 - x0), y0 + part * (y1 - y0))
            angle = np.degrees(np.arctan2(2 * (y1 - y0), x1 - x0))
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            ax.text(*place, label, ha="center", va="center", rotation=angle * 0.7, fontsize=8, bbox=box)
for k, (column, a, delta) in enumerate(zip(places, values, signals, strict=True)):
    for i, (px, py) in enumerate(column):
        ax.plot(px, py, "o", ms=34, color="white", mec="black", zorder=2)
        ax.text(px, py, f"$x_{i + 1}$" if k == 0 else f"$a^{{({k})}}_{i + 1}$", ha="center", va="center")
        ax.text(px, py + 0.2, f"{a[i]:.4g}", ha="center", color=BLUE, weight="bold")
        if delta is not None:
            ax.text(px, py - 0.27, f"{delta[i]:.3g}", ha="center", color=RED, weight="bold")
ax.text(4.75, 1.0, f"target {y}\nloss {step.loss:.3e}\nafter {step.loss_after:.3e}", va="center")
ax.text(0, 2.0, "forward: a", color=BLUE)
ax.text(1.0, 2.0, "backward: delta", color=RED)
ax.text(2.35, 2.0, "on the lines: W and its change")
ax.set(xlim=(-0.5, 6), ylim=(0.1, 2.2))
ax.axis("off")
plt.savefig("hand_worked.png", dpi=100)
