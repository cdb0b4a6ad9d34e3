"""The reference: everything that kernels compute, as plain NumPy in float64 and straight from the formulas.

    layer(x) -> output, backward            backward(gradient of the output) -> gradient of x, [gradients of parameters]

Layers and losses are fastprop's descriptions (their fields are read, their methods never called); dropout is off and
batch norm takes the statistics of the batch. Weights are lists of pairs, as `Network.get_weights` gives them.
"""

from math import erf, pi, sqrt

import numpy as np


def sigmoid(z):
    return np.exp(-np.logaddexp(0.0, -z))


def normal_distribution(z):
    return 0.5 * (1.0 + np.vectorize(erf, otypes=[z.dtype])(z / sqrt(2.0)))


def normal_density(z):
    return np.exp(-0.5 * z * z) / sqrt(2.0 * pi)


def _elu(z, alpha=1.0):
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def _elu_slope(z, alpha=1.0):
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0)))


SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717  # Klambauer et al. 2017

# name: value, derivative (both of z alone), and where a derivative of the first or second order jumps
ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like, ()),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0) * 1.0, (0.0,)),
    "leaky_relu": (
        lambda z, slope: z * np.where(z > 0, 1, slope),
        lambda z, slope: np.where(z > 0, 1.0, slope),
        (0.0,),
    ),
    "elu": (_elu, _elu_slope, (0.0,)),
    "selu": (lambda z: SCALE * _elu(z, ALPHA), lambda z: SCALE * _elu_slope(z, ALPHA), (0.0,)),
    "gelu": (lambda z: z * normal_distribution(z), lambda z: normal_distribution(z) + z * normal_density(z), ()),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) + z * sigmoid(z) * sigmoid(-z), ()),
    "softplus": (lambda z: np.logaddexp(0.0, z), sigmoid, ()),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z), ()),
    "tanh": (np.tanh, lambda z: 1.0 / np.cosh(z) ** 2, ()),
    "softsign": (lambda z: z / (1.0 + abs(z)), lambda z: 1.0 / (1.0 + abs(z)) ** 2, (0.0,)),
    "hard_tanh": (lambda z: np.clip(z, -1.0, 1.0), lambda z: (abs(z) < 1) * 1.0, (-1.0, 1.0)),
    "x_tanh": (lambda z: z * np.tanh(z), lambda z: np.tanh(z) + z / np.cosh(z) ** 2, ()),
}

# name: value, gradient with respect to p, and the distance to the nearest jump of a first or second derivative
FAR = lambda y, p, *_: np.full_like(p, np.inf)  # noqa: E731
LOSSES = {
    "mse": (lambda y, p: (y - p) ** 2, lambda y, p: 2.0 * (p - y), FAR),
    "squared_error": (lambda y, p: 0.5 * (y - p) ** 2, lambda y, p: p - y, FAR),
    "mae": (lambda y, p: abs(y - p), lambda y, p: np.sign(p - y), lambda y, p: abs(p - y)),
    "huber": (
        lambda y, p, delta: np.where(abs(p - y) <= delta, 0.5 * (p - y) ** 2, delta * (abs(p - y) - 0.5 * delta)),
        lambda y, p, delta: np.clip(p - y, -delta, delta),
        lambda y, p, delta: abs(abs(p - y) - delta),
    ),
    "quantile": (
        lambda y, p, q: np.where(p < y, q * (y - p), (1.0 - q) * (p - y)),
        lambda y, p, q: np.where(p < y, -q, np.where(p > y, 1.0 - q, 0.0)),
        lambda y, p, q: abs(p - y),
    ),
    "poisson": (lambda y, p: np.exp(p) - y * p, lambda y, p: np.exp(p) - y, FAR),
    "bce": (lambda y, p: np.logaddexp(0.0, p) - y * p, lambda y, p: sigmoid(p) - y, FAR),
    "hinge": (
        lambda y, p: np.maximum(1.0 - y * p, 0.0),
        lambda y, p: np.where(y * p <= 1, -y, 0.0),
        lambda y, p: abs(1.0 - y * p),
    ),
    "squared_hinge": (
        lambda y, p: np.maximum(1.0 - y * p, 0.0) ** 2,
        lambda y, p: -2.0 * y * np.maximum(1.0 - y * p, 0.0),
        lambda y, p: abs(1.0 - y * p),
    ),
    "modified_huber": (
        lambda y, p: np.where(y * p >= -1, np.maximum(1.0 - y * p, 0.0) ** 2, -4.0 * y * p),
        lambda y, p: np.where(y * p >= -1, -2.0 * y * np.maximum(1.0 - y * p, 0.0), -4.0 * y),
        lambda y, p: np.minimum(abs(1.0 - y * p), abs(1.0 + y * p)),
    ),
}
SUMMED = ("squared_error", "cross_entropy")  # over outputs; the others are averaged


# ---- layers -------------------------------------------------------------------------------------------------------


class Reference:
    """A network of fastprop, computed here.

    Parameters
    ----------
    net : fastprop.Network
        Only its settings are read.
    dtype : default float64
        float32 shows how much of a result is rounding.

    Attributes
    ----------
    nearest_kink : float
        After a pass: the least distance of a number to where a derivative jumps.
    """

    def __init__(self, net, dtype=np.float64):
        self.net, self.dtype = net, dtype
        last = net.layers[-1]
        link = {"bce": "sigmoid", "cross_entropy": "softmax"}.get(net.loss.name)
        self.linear = last if _kind(last) == "Dense" and last.activation.component_name == link else None
        self.nearest_kink = np.inf

    # -- forward and backward

    def forward(self, weights, X):
        """Raw outputs, and the function that goes back."""
        self.nearest_kink = np.inf
        weights = paired([a.astype(self.dtype) for a in arrays(weights)], weights)
        return self._sequence(self.net.layers, iter(weights), np.asarray(X, self.dtype))

    def _sequence(self, layers, weights, x):
        backwards = []
        for layer in layers:
            x, backward = getattr(self, _kind(layer).lower())(layer, weights, x)
            backwards.append(backward)

        def back(dx):
            gradients = []
            for backward in reversed(backwards):
                dx, own = backward(dx)
                gradients = own + gradients
            return dx, gradients

        return x, back

    def dense(self, layer, weights, x):
        W, b = next(weights)
        name, fields = layer.activation.component_name, layer.activation._asdict()
        value, derivative, kinks = ACTIVATIONS["identity" if layer is self.linear else name]
        fields = {} if layer is self.linear else fields
        z = x @ W + (0.0 if b is None else b)
        for kink in kinks:
            self.nearest_kink = min(self.nearest_kink, abs(z - kink).min())

        def back(da):
            dz = da * derivative(z, **fields)
            return dz @ W.T, [(x.T @ dz, None if b is None else dz.sum(axis=0))]

        return value(z, **fields), back

    def dropout(self, layer, weights, x):
        return x, lambda dx: (dx, [])

    def batchnorm(self, layer, weights, x):
        return self._norm(layer, weights, x, axis=0)

    def layernorm(self, layer, weights, x):
        return self._norm(layer, weights, x, axis=1)

    def _norm(self, layer, weights, x, axis):
        gamma, beta = next(weights)
        deviation = np.sqrt(x.var(axis=axis, keepdims=True) + layer.eps)
        xhat = (x - x.mean(axis=axis, keepdims=True)) / deviation

        def back(da):
            g = da * gamma
            dx = g - g.mean(axis=axis, keepdims=True) - xhat * (g * xhat).mean(axis=axis, keepdims=True)
            return dx / deviation, [((da * xhat).sum(axis=0), da.sum(axis=0))]

        return xhat * gamma + beta, back

    def residual(self, layer, weights, x):
        y, inner = self._sequence(layer.layers, weights, x)

        def back(da):
            dx, gradients = inner(da)
            return da + dx, gradients

        return x + y, back

    # -- the loss

    def loss(self, y, p, sample_weight=None):
        """The loss of a batch, and its gradient with respect to p.

        y has shape (n, n_outputs): numbers, -1 and 1, or probabilities.
        """
        loss, n_outputs = self.net.loss, p.shape[1]
        w = np.ones(len(p)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        w = (w / w.sum()).astype(self.dtype)[:, None]
        y = np.asarray(y, self.dtype)
        c = (np.ones(n_outputs) if loss.output_weights is None else loss.output_weights).astype(self.dtype)
        fields = loss.kernel._asdict()
        if loss.name == "cross_entropy":
            t = c * ((1.0 - fields["label_smoothing"]) * y + fields["label_smoothing"] / n_outputs)
            log_softmax = p - np.logaddexp.reduce(p, axis=1, keepdims=True)
            gradient = t.sum(axis=1, keepdims=True) * np.exp(log_softmax) - t
            return float((w * -t * log_softmax).sum()), w * gradient
        if loss.name not in SUMMED:
            c = c / c.sum()
        value, gradient, distance = LOSSES[loss.name]
        self.nearest_kink = min(self.nearest_kink, distance(y, p, **fields).min())
        return float((w * c * value(y, p, **fields)).sum()), w * c * gradient(y, p, **fields)

    def gradients(self, weights, X, y, sample_weight=None):
        """As `Network.gradients`: the loss of all rows with its penalties, and the gradient of every pair."""
        p, back = self.forward(weights, X)
        loss, dp = self.loss(y, p, sample_weight)
        pairs = back(dp)[1]
        total = len(X) if sample_weight is None else np.sum(sample_weight)
        l1, l2 = np.array([self.net.l1, self.net.l2]) / (total if self.net.divides_penalties else 1.0)
        for k, ((W, _), (dW, db)) in enumerate(zip(weights, pairs, strict=True)):
            if W.ndim == 2:
                loss += 0.5 * l2 * (W**2).sum() + l1 * abs(W).sum()
                pairs[k] = dW + l2 * W + l1 * np.sign(W), db
        return float(loss), pairs

    # -- training

    def train(self, weights, batches):
        """Weights after an update for each (X, y, sample_weight) of `batches`, and the loss before each update."""
        optimizer, settings = self.net.optimizer, self.net.optimizer.settings
        update, lr = OPTIMIZERS[optimizer.name], optimizer.lr
        flat = [np.array(a, np.float64) for a in arrays(weights)]
        state, losses = [{} for _ in flat], []
        for t, (X, y, sample_weight) in enumerate(batches):
            loss, pairs = self.gradients(paired(flat, weights), X, y, sample_weight)
            gradients = clipped(arrays(pairs), self.net.clip_value, self.net.clip_norm)
            rate = lr(t) if callable(lr) else lr
            flat = [update(w, g, s, rate, t + 1, **settings) for w, g, s in zip(flat, gradients, state, strict=True)]
            losses.append(loss)
        return paired(flat, weights), losses


def _kind(layer):
    return type(layer).__name__


# ---- optimizers ---------------------------------------------------------------------------------------------------


def sgd(w, g, state, lr, t, momentum, nesterov, weight_decay):
    g = g + weight_decay * w
    state["v"] = v = momentum * state.get("v", 0.0) + g
    return w - lr * (g + momentum * v if nesterov else v)


def rmsprop(w, g, state, lr, t, alpha, eps, weight_decay):
    g = g + weight_decay * w
    state["v"] = v = alpha * state.get("v", 0.0) + (1.0 - alpha) * g**2
    return w - lr * g / (np.sqrt(v) + eps)


def adagrad(w, g, state, lr, t, lr_decay, eps, weight_decay):
    g = g + weight_decay * w
    state["v"] = v = state.get("v", 0.0) + g**2
    return w - lr / (1.0 + (t - 1) * lr_decay) * g / (np.sqrt(v) + eps)


def adam(w, g, state, lr, t, betas, eps, weight_decay):
    g = g + weight_decay * w
    state["m"] = betas[0] * state.get("m", 0.0) + (1.0 - betas[0]) * g
    state["v"] = betas[1] * state.get("v", 0.0) + (1.0 - betas[1]) * g**2
    m, v = state["m"] / (1.0 - betas[0] ** t), state["v"] / (1.0 - betas[1] ** t)
    return w - lr * m / (np.sqrt(v) + eps)


def adamw(w, g, state, lr, t, betas, eps, weight_decay):
    return adam(w, g, state, lr, t, betas, eps, 0.0) - lr * weight_decay * w


OPTIMIZERS = {"sgd": sgd, "rmsprop": rmsprop, "adagrad": adagrad, "adam": adam, "adamw": adamw}


def clipped(gradients, clip_value, clip_norm):
    """Each number within clip_value, then all of them scaled to the norm clip_norm where it is exceeded."""
    if clip_value is not None:
        gradients = [np.clip(g, -clip_value, clip_value) for g in gradients]
    if clip_norm is not None:
        norm = sqrt(sum((g**2).sum() for g in gradients))
        gradients = [g * clip_norm / norm if norm > clip_norm else g for g in gradients]
    return gradients


# ---- arrays -------------------------------------------------------------------------------------------------------


def arrays(pairs):
    """The arrays of pairs in order, without those that are None."""
    return [a for pair in pairs for a in pair if a is not None]


def paired(flat, like):
    """The reverse of `arrays`."""
    flat = iter(flat)
    return [tuple(None if a is None else next(flat) for a in pair) for pair in like]


def error(got, expected):
    """The largest difference of two arrays, relative to the largest entry of the second."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    scale = abs(expected).max()
    difference = abs(got - expected).max()
    return float(difference / scale) if scale else float(difference)


def errors(got, expected):
    """`error` of each array of two lists of pairs."""
    return [error(a, b) for a, b in zip(arrays(got), arrays(expected), strict=True)]


def one_hot(codes, n_classes, low=0.0):
    """Targets of class codes: 1 for the class of a row, else `low`."""
    return np.where(np.asarray(codes)[:, None] == np.arange(n_classes), 1.0, low)
