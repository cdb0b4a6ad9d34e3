"""The reference of linear models: one sample after the other, in plain NumPy and float64, straight from the formulas.

`Descent` has the constructor, the attributes and the meaning of `fastprop.linear.Descent`.
"""

import numpy as np

LARGEST_SLOPE = 1e12  # of a loss; a larger one is cut


def logistic(z):
    return np.exp(-np.logaddexp(0.0, -z))


def excess(y, p, e):
    return max(0.0, abs(y - p) - e)


# name: value, slope with respect to the prediction p, both of (y, p, parameter). Two classes are y = -1 and y = 1, but
# 0 and 1 for log_loss; the parameter is a threshold or an epsilon.
LOSSES = {
    "hinge": (lambda y, p, e: max(0.0, e - y * p), lambda y, p, e: -y if y * p <= e else 0.0),
    "squared_hinge": (lambda y, p, e: max(0.0, e - y * p) ** 2, lambda y, p, e: -2 * y * max(0.0, e - y * p)),
    "log_loss": (lambda y, p, _: np.logaddexp(0.0, p) - y * p, lambda y, p, _: logistic(p) - y),
    "modified_huber": (
        lambda y, p, _: max(0.0, 1 - y * p) ** 2 if y * p >= -1 else -4 * y * p,
        lambda y, p, _: -2 * y * max(0.0, 1 - y * p) if y * p >= -1 else -4 * y,
    ),
    "squared_error": (lambda y, p, _: 0.5 * (p - y) ** 2, lambda y, p, _: p - y),
    "huber": (
        lambda y, p, e: 0.5 * (p - y) ** 2 if abs(p - y) <= e else e * (abs(p - y) - 0.5 * e),
        lambda y, p, e: float(np.clip(p - y, -e, e)),
    ),
    "epsilon_insensitive": (excess, lambda y, p, e: np.sign(p - y) * (excess(y, p, e) > 0)),
    "squared_epsilon_insensitive": (
        lambda y, p, e: excess(y, p, e) ** 2,
        lambda y, p, e: 2 * np.sign(p - y) * excess(y, p, e),
    ),
}


class Descent:
    """A linear model that learns from one sample after the other.

    X of shape (n_samples, n_features) is a NumPy array or CSR: a sample of the latter changes nothing but the features
    that it stores, the decay of l2 apart.
    """

    def __init__(
        self, matrix, y, sample_weight=None, *, dtype=np.float64, loss, parameter=1.0, penalty, alpha, l1_ratio=0.0,
        learning_rate, eta0, power_t=0.5, fit_intercept=True, intercept_decay=1.0, average=0, class_weights=(1.0, 1.0),
        coef, intercept=0.0, average_coef=None, average_intercept=0.0, t=1.0, n_threads=1,
    ):  # fmt: skip
        X = getattr(matrix, "array", matrix)
        self.is_sparse = hasattr(X, "tocsr")
        self.X, self.y = X, np.asarray(y, np.float64)
        self.weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        value, slope = LOSSES[loss]
        self.value, self.slope = (lambda y, p: value(y, p, parameter)), (lambda y, p: slope(y, p, parameter))
        self.loss, self.alpha = loss, alpha
        self.l1 = {"l1": 1.0, "elasticnet": l1_ratio}.get(penalty, 0.0)
        self.l2 = {"l2": 1.0, "elasticnet": 1 - self.l1}.get(penalty, 0.0)
        self.rate, self.eta0, self.power_t, self.eta = learning_rate, eta0, power_t, eta0
        self.fit_intercept, self.decay = fit_intercept, intercept_decay
        self.average, self.class_weights = int(average), class_weights
        self.coef, self.intercept = np.array(coef, np.float64), float(intercept)
        self.average_coef = np.zeros_like(self.coef) if average_coef is None else np.array(average_coef, np.float64)
        self.average_intercept, self.t = float(average_intercept), float(t)
        self.status = 0
        self.u, self.q = 0.0, np.zeros_like(self.coef)  # l1 that every weight should have had so far, and that it had
        if learning_rate == "optimal":  # Bottou's: the first step is as long as a typical weight asks for
            typical = np.sqrt(1 / np.sqrt(alpha))
            self.offset = max(1.0, self.slope(1.0, -typical)) / (typical * alpha)

    def run(self, order=None, tracks=True):
        """One pass over the rows in `order`; returns the sum of loss and penalties."""
        total = 0.0
        for i in range(len(self.y)) if order is None else order:
            x, at = self.row(i)
            p = x @ self.coef[at] + self.intercept
            if not np.isfinite(p):
                self.status = 1
                return np.nan
            if tracks:
                total += self.objective(self.y[i], p)
            self.step(x, at, p, self.y[i], self.weights[i] * self.class_weights[int(self.y[i] > 0)])
        self.status = int(not (np.isfinite(self.coef).all() and np.isfinite(self.intercept)))
        return total if tracks else np.nan

    def row(self, i):
        if not self.is_sparse:
            return np.asarray(self.X[i], np.float64), slice(None)
        start, stop = self.X.indptr[i : i + 2]
        return self.X.data[start:stop].astype(np.float64), self.X.indices[start:stop]

    def objective(self, y, p):
        penalty = self.l2 / 2 * self.coef @ self.coef + self.l1 * np.abs(self.coef).sum()
        return self.value(y, p) + (0.0 if self.rate in ("pa1", "pa2") else self.alpha * penalty)

    def step(self, x, at, p, y, weight):
        if self.rate == "optimal":
            self.eta = 1 / (self.alpha * (self.offset + self.t - 1))
        elif self.rate == "invscaling":
            self.eta = self.eta0 / self.t**self.power_t
        if self.rate == "pa1" and x @ x == 0:
            return
        change = weight * self.change(x, y, p)
        self.coef *= max(0.0, 1 - self.l2 * self.eta * self.alpha)
        self.coef[at] += change * x
        if self.fit_intercept:
            self.intercept += change * self.decay
        if self.l1:
            self.u += self.l1 * self.eta * self.alpha
            self.shrink(at)
        if 0 < self.average <= self.t:
            mu = 1 / (self.t - self.average + 1)
            self.average_coef += mu * (self.coef - self.average_coef)
            self.average_intercept += mu * (self.intercept - self.average_intercept)
        self.t += 1

    def change(self, x, y, p):
        """What the sample adds to the prediction's weights, in units of x."""
        if self.rate in ("pa1", "pa2"):  # Crammer et al. 2006
            loss, square = self.value(y, p), x @ x
            length = min(self.eta0, loss / square) if self.rate == "pa1" else loss / (square + 0.5 / self.eta0)
            return length * (y if self.loss == "hinge" else -1.0 if y < p else 1.0)
        return -self.eta * float(np.clip(self.slope(y, p), -LARGEST_SLOPE, LARGEST_SLOPE))

    def shrink(self, at):
        """The cumulative l1 penalty of Tsuruoka et al. 2009, of the features that the sample stores."""
        w, q = self.coef[at].copy(), self.q[at].copy()
        small = np.where(w > 0, np.maximum(0.0, w - (self.u + q)), np.minimum(0.0, w + (self.u - q)))
        self.coef[at] = np.where(w == 0, w, small)
        self.q[at] = q + self.coef[at] - w
