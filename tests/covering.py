"""Networks that hold every layer, activation and loss between them, so that few have to be compiled and trained.

Thirteen cases: case k has all thirteen activations, at places rotated by k (a Latin square: each activation stands at
each place), and a loss of its own. The places are followed by every kind of layer.
"""

import naive
import numpy as np

import fastprop as fp

ACTIVATIONS = (
    "relu", "tanh", "gelu", "leaky_relu", "sigmoid", "identity", "elu", "softplus", "hard_tanh", "silu", "selu",
    "softsign", "x_tanh",
)  # fmt: skip

# loss, outputs, what y holds
LOSSES = (
    ("mse", 3, "numbers"),
    (fp.losses.SquaredError(output_weights=[1.0, 3.0]), 2, "numbers"),
    ("mae", 1, "numbers"),
    (fp.losses.Huber(delta=0.7, output_weights=[1.0, 0.0, 2.5]), 3, "numbers"),
    (fp.losses.Quantile(q=0.2), 2, "numbers"),
    ("poisson", 1, "counts"),
    ("bce", 1, "labels"),
    (fp.losses.BCE(output_weights=[0.5, 1.0, 2.0]), 3, "probabilities"),
    ("cross_entropy", 3, "labels"),
    (fp.losses.CrossEntropy(label_smoothing=0.1, output_weights=[1.0, 2.0, 0.5, 1.5]), 4, "soft"),
    ("hinge", 1, "labels"),
    (fp.losses.SquaredHinge(output_weights=[1.0, 2.0, 3.0]), 3, "labels"),
    ("modified_huber", 1, "labels"),
)
RULES = (
    lambda: fp.SGD(0.05),
    lambda: fp.SGD(0.02, momentum=0.9, weight_decay=0.01),
    lambda: fp.SGD(0.02, momentum=0.8, nesterov=True),
    lambda: fp.RMSProp(1e-3),
    lambda: fp.Adagrad(0.02, lr_decay=0.1),
    lambda: fp.Adam(1e-2),
    lambda: fp.AdamW(fp.schedules.Cosine(1e-2, steps=10)),
)
N_CASES, N_FEATURES = len(LOSSES), 6


def loss_name(k):
    loss = LOSSES[k][0]
    return loss if isinstance(loss, str) else loss.name


def layers(k, rate=0.3, batch_norm=True):
    """The layers of case k, with dropout of `rate`; with layer norms only, where rows must not depend on each other."""
    norm = fp.BatchNorm if batch_norm else fp.LayerNorm
    a = [ACTIVATIONS[(place + k) % len(ACTIVATIONS)] for place in range(len(ACTIVATIONS))]
    return [
        fp.Dense(7, a[0]),
        fp.Dense(5, a[1]),
        norm(),
        fp.Dense(5, a[2], bias=False),
        fp.Residual([fp.Dense(7, a[3]), fp.LayerNorm(), fp.Dense(5, a[4])]),
        fp.Dense(6, a[5]),
        fp.Dropout(rate),
        fp.Residual([fp.Dense(6, a[6]), fp.Residual([fp.Dense(6, a[7]), fp.Dense(6, a[8])]), norm()]),
        fp.Dense(9, a[9]),
        fp.LayerNorm(),
        fp.Dense(4, a[10]),
        fp.Residual([fp.Dense(4, a[11])]),
        fp.Dense(LOSSES[k][1], a[12]),
    ]


def network(k, dtype="float64", rate=0.3, batch_norm=True, **settings):
    """The network of case k, with biases away from 0, gammas from 1, and all of them from the corner of |w|."""
    net = fp.Network(layers(k, rate, batch_norm), loss=LOSSES[k][0], dtype=dtype, **settings).build(N_FEATURES)
    rng = np.random.default_rng(k)
    net.set_weights([[None if p is None else shifted(p, rng) for p in pair] for pair in net.get_weights()])
    return net


def shifted(p, rng):
    p = p + 0.2 * rng.normal(size=p.shape)
    return p + 0.01 * np.sign(p)


def per_sample_network(rule, **settings):
    """5 inputs, 2 outputs, dense layers only; the networks of all rules hold all activations between them."""
    first, second = ACTIVATIONS[rule], ACTIVATIONS[-1 - rule]
    return fp.Network([fp.Dense(20, first), fp.Dense(9, second), fp.Dense(2)], optimizer=RULES[rule](), **settings)


def data(k, n_rows, rng):
    """X, y as `fit` takes it, and y as the reference takes it: numbers of shape (n_rows, n_outputs)."""
    n_outputs, kind = LOSSES[k][1:]
    return rng.normal(size=(n_rows, N_FEATURES)), *targets(loss_name(k), n_rows, n_outputs, kind, rng)


def targets(loss, n_rows, n_outputs, kind, rng):
    """y for fastprop and for the reference."""
    if kind == "labels":
        n_classes = max(2, n_outputs)
        codes = rng.permutation(np.arange(n_rows) % n_classes)
        low = -1.0 if loss in ("hinge", "squared_hinge", "modified_huber") else 0.0
        names = np.array(["no", "perhaps", "yes", "zero"])[:n_classes]
        Y = naive.one_hot(codes, n_classes, low)
        use_codes = n_rows < n_classes  # too few rows to tell all labels from
        return (codes if use_codes else names[codes]), (Y[:, 1:] if n_outputs == 1 else Y)
    Y = {
        "numbers": lambda: rng.normal(size=(n_rows, n_outputs)),
        "counts": lambda: rng.poisson(2.0, size=(n_rows, n_outputs)).astype(float),
        "probabilities": lambda: rng.random((n_rows, n_outputs)),
        "soft": lambda: rng.dirichlet(np.ones(n_outputs), size=n_rows),
    }[kind]()
    return Y, Y
