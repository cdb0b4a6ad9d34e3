r"""
A sine: regression with a linear output
=======================================

A network with one hidden layer of tanh units and a *linear* output learns :math:`y = \sin x` from 100 points under the
mean squared error. What it learnt is drawn against the true curve, also where it had no points to learn from.
"""

# %%
# Two things differ from a classifier, and both are in the last layer. Its activation is the identity, so the output may
# be any number, and the loss is :math:`L = \frac{1}{m} \sum_i (\hat y_i - y_i)^2`. The error signal that enters
# backpropagation is then
#
# .. math:: \delta^{[2]} = \frac{\partial L}{\partial \hat y} \cdot 1 = \frac{2}{m} (\hat y - y),
#
# the derivative of the identity being 1. From there on everything is as before:
# :math:`\delta^{[1]} = (\delta^{[2]} W^{[2]T}) \odot (1 - \tanh^2 z^{[1]})`.

import matplotlib.pyplot as plt
import numpy as np

import fastprop as fp

X = np.linspace(-np.pi, np.pi, 100).reshape(-1, 1)
y = np.sin(X[:, 0])


epochs, batch_size = 1000, 20
lr = fp.schedules.Cosine(0.02, epochs * len(X) // batch_size)  # large steps first, then ever smaller ones

# 1-16-1; a Dense layer without an activation is linear
net = fp.Network([fp.Dense(16, activation="tanh"), fp.Dense(1)], loss="mse", optimizer=fp.Adam(lr))
history = net.fit(X, y, epochs=epochs, batch_size=batch_size, progress=False)
error = np.abs(net.predict(X) - y).max()
print(f"mean squared error {net.evaluate(X, y)['loss']:.1e}, largest error {error:.3f}")
print("R2 above 0.999:", net.evaluate(X, y)["r2"] > 0.999)

# %%
# The formula for the error signal can be checked: its sum over the samples is the gradient of the output's bias.

_, gradients = net.gradients(X, y)
delta = 2 / len(y) * (net.predict(X) - y)
is_sum = np.allclose(gradients[-1][1], delta.sum(), atol=1e-6)
print("the gradient of the bias is the sum of the error signals:", is_sum)

# %%
# With a sigmoid at the output the same network cannot do it: its predictions stay within 0 and 1, and half of the sine
# lies below.

bounded = fp.Network(
    [fp.Dense(16, activation="tanh"), fp.Dense(1, activation="sigmoid")], loss="mse", optimizer=fp.Adam(lr)
)
bounded.fit(X, y, epochs=epochs, batch_size=batch_size, progress=False)
print(f"with a sigmoid at the output: R2 {bounded.evaluate(X, y)['r2']:.2f}")

# %%
# Beyond the points that it saw, the network does not know that a sine goes on. No data bend the curve back, so it goes
# on in the direction that it has at the edge; further out the tanh units saturate one after the other, and it turns
# level.

wide = np.linspace(-4 * np.pi, 4 * np.pi, 800).reshape(-1, 1)
beyond = np.abs(wide[:, 0]) > np.pi
print("it errs by more than 0.5 outside:", np.abs(net.predict(wide) - np.sin(wide[:, 0]))[beyond].max() > 0.5)
at_edge, far_out = (np.ptp(net.predict(np.array([[x], [x + 1]]))) for x in (np.pi, 8 * np.pi))
print(f"from pi to pi + 1 it falls by more than 0.5: {at_edge > 0.5}, from 8 pi on by less than 0.05: {far_out < 0.05}")

# %%
# The curves, the loss on its way down, and the predictions against the truth.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
left.axvspan(-np.pi, np.pi, color="whitesmoke", label="learnt from here")
left.plot(wide, np.sin(wide), color="black", linewidth=1, label="sin x")
left.plot(wide, net.predict(wide), color="#0072B2", linewidth=2.5, alpha=0.8, label="linear output")
left.plot(wide, bounded.predict(wide), "--", color="#D55E00", label="sigmoid output")
left.set(xlabel="x", ylabel="y")
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)
fp.plot.history(history, ax=middle)
fp.plot.predictions(net, X, y, ax=right)
plt.savefig("sine.png", dpi=100)
