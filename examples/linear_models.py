r"""
Linear regression, logistic regression and SVM are networks
===========================================================

A network without hidden layers is a linear model. Which one it is depends on the loss alone: the squared error gives
linear regression, cross-entropy logistic regression, the hinge loss a support vector machine. All three are trained
here by the same three lines, and compared with what is known to be right: the closed form, and scikit-learn's solvers.
"""

# %%
# One API
# -------
# The output of all three is :math:`z = w^T x + b`. Backpropagation through "no layer at all" is the chain rule once:
# :math:`\partial L / \partial w = \frac{1}{m} \sum_i \delta_i x_i`, and only the error signal
# :math:`\delta = \partial \ell / \partial z` differs.
#
# =================== ======================= ==============================================
# model               loss of a sample        error signal
# =================== ======================= ==============================================
# linear regression   :math:`(z - y)^2`       :math:`2 (z - y)`
# logistic regression cross-entropy           :math:`\sigma(z) - y`
# SVM, y = -1 or 1    :math:`\max(0, 1 - yz)` :math:`-y` where :math:`yz < 1`, else 0
# neural network      any of them             the same, and the chain rule through each layer
# =================== ======================= ==============================================

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, make_blobs
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

import fastprop as fp


def linear_model(loss, X, y, l2=0.0, epochs=2000):
    """w, b and the network that they belong to; the learning rate falls to 0, so that the last steps settle."""
    adam = fp.Adam(fp.schedules.Cosine(0.5, epochs))
    net = fp.Network([fp.Dense(1)], loss=loss, l2=l2, dtype="float64", optimizer=adam)
    net.fit(X, y, epochs=epochs, batch_size=None, progress=False)
    W, b = net.get_weights()[0]
    return W[:, 0], b[0], net


def agrees(name, ours, theirs):
    """Say how far two lists of coefficients are apart, relative to the largest."""
    apart = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{name}: {apart:.0e} apart, less than 1 in 1000: {apart < 1e-3}")


# %%
# Linear regression
# -----------------
# The closed form solves :math:`X^T X w = X^T y`. Gradient descent has to walk there, and arrives at the same place.

X, y = load_diabetes(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
w, b, regression = linear_model("mse", X, y, epochs=5000)
ones = np.column_stack([X, np.ones(len(X))])
closed = np.linalg.solve(ones.T @ ones, ones.T @ y)
agrees("linear regression, closed form", np.append(w, b), closed)
reference = LinearRegression().fit(X, y)
agrees("linear regression, scikit-learn", np.append(w, b), np.append(reference.coef_, reference.intercept_))
print(f"R2 {regression.evaluate(X, y)['r2']:.4f}, scikit-learn's {reference.score(X, y):.4f}")

# %%
# Logistic regression
# -------------------
# scikit-learn minimises :math:`C \sum_i \ell_i + \frac12 \lVert w\rVert^2`; divided by :math:`C m` that is our mean
# loss with ``l2`` :math:`= 1 / (C m)`.

blobs, labels = make_blobs(200, centers=[[-1.2, 0.0], [1.2, 1.0]], cluster_std=1.0, random_state=0)
C, m = 1.0, len(blobs)
w, b, logistic = linear_model("bce", blobs, labels, l2=1 / (C * m))
reference = LogisticRegression(C=C, tol=1e-8).fit(blobs, labels)
agrees("logistic regression, scikit-learn", np.append(w, b), np.append(reference.coef_, reference.intercept_))
same = np.mean(logistic.predict(blobs) == reference.predict(blobs))
print(f"accuracy {logistic.evaluate(blobs, labels)['accuracy']:.3f}, the same labels for {same:.0%}")

# %%
# Support vector machine
# ----------------------
# The hinge loss has a corner, at which its slope jumps: steps do not become small by themselves near the minimum, so
# the falling rate matters. The objective is the judge, for a flat minimum leaves the coefficients some room.
# scikit-learn's LinearSVC penalises the intercept too, unless its feature is scaled up.


def objective(w, b):
    """Mean hinge loss and penalty."""
    margins = np.where(labels == 1, 1, -1) * (blobs @ w + b)
    return np.maximum(0, 1 - margins).mean() + 0.5 / (C * m) * w @ w


w, b, svm = linear_model("hinge", blobs, labels, l2=1 / (C * m))
reference = LinearSVC(C=C, loss="hinge", intercept_scaling=100, tol=1e-8, max_iter=1_000_000, random_state=0)
reference.fit(blobs, labels)
ours, theirs = objective(w, b), objective(reference.coef_[0], reference.intercept_[0])
print(f"SVM: objective {ours:.4f}, LinearSVC's {theirs:.4f}, within 1 in 1000: {ours < 1.001 * theirs}")
pulls = np.where(labels == 1, 1, -1) * (blobs @ w + b) < 1  # where the loss has a slope
same = np.mean(svm.predict(blobs) == reference.predict(blobs))
print(f"accuracy {svm.evaluate(blobs, labels)['accuracy']:.3f}, the same labels for {same:.0%}")

# %%
# The estimators
# --------------
# ``SGDClassifier`` and ``SGDRegressor`` are the same models with scikit-learn's parameters: one pass over the weights
# for each sample, for data with many rows.

sgd = fp.SGDClassifier(loss="log_loss", alpha=1 / (C * m), max_iter=200, random_state=0).fit(blobs, labels)
same = np.mean(sgd.predict(blobs) == logistic.predict(blobs))
print(f"SGDClassifier gives the labels of logistic regression for at least 98 %: {same >= 0.98}")

# %%
# Logistic regression knows how sure it is; the SVM only the side, and how far each point is from the margins (dashed).

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
fp.plot.predictions(regression, X, y, ax=left)
left.set_title("linear regression: diabetes")
fp.plot.decision_boundary(logistic, blobs, labels, ax=middle)
middle.set_title("logistic regression")
fp.plot.decision_boundary(svm, blobs, labels, ax=right)
ends = np.array(right.get_xlim())
for margin in (-1, 1):
    right.plot(ends, (margin - b - w[0] * ends) / w[1], "k--", linewidth=0.8, scaley=False)
right.scatter(*blobs[pulls].T, s=70, facecolors="none", edgecolors="black", linewidths=0.7)
right.set_title(f"SVM: only the {pulls.sum()} ringed points pull")
plt.savefig("linear_models.png", dpi=100)
