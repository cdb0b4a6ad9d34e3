"""From an MLP's parameters to the layers and the optimizer of its network."""

from __future__ import annotations

import copy
import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..layers import BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual
from ..losses import Loss
from ..network import Network
from ..optimizers import Adam, Optimizer
from .mlp_losses import output_activation
from .velocity import sgd


def hidden_sizes(sizes: Any) -> list[int]:
    """`hidden_layer_sizes` as a list of ints."""
    listed = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    for size in listed:
        if isinstance(size, bool) or not isinstance(size, Integral) or size <= 0:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {listed}.")
    return [int(size) for size in listed]


def per_layer(value: Any, n_layers: int, name: str) -> list[Any]:
    """A parameter for each hidden layer: itself, or one of a list, tuple or array."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        return [value] * n_layers
    if len(value) != n_layers:
        raise ValueError(f"{name} must have one entry for each of {n_layers} hidden layers, got {len(value)}")
    return list(value)


def activation_of(activation: Any) -> Any:
    """Ours for scikit-learn's name."""
    return "sigmoid" if isinstance(activation, str) and activation == "logistic" else activation


def layers_of(estimator: Any, n_features: int, n_outputs: int) -> list[Layer]:
    """The layers: for each hidden one Dense, then norm and dropout as asked for; the last one is linear."""
    sizes = hidden_sizes(estimator.hidden_layer_sizes)
    activations = [activation_of(a) for a in per_layer(estimator.activation, len(sizes), "activation")]
    rates = per_layer(estimator.dropout, len(sizes), "dropout")
    widths = [n_features, *sizes, n_outputs]
    layers: list[Layer] = []
    n_residual = 0
    for k, (size, activation, rate) in enumerate(zip(sizes, activations, rates, strict=True)):
        block = [_dense(size, activation), *_extras(estimator, rate)]
        if estimator.residual and k > 0 and widths[k] == size:
            layers.append(Residual(block))
            n_residual += 1
        else:
            layers += block
    if estimator.residual and not n_residual:
        raise ValueError(f"residual=True needs two hidden layers of the same width in a row, got {tuple(sizes)}")
    return [*layers, _dense(n_outputs, "identity")]


def _dense(units: int, activation: Any) -> Dense:
    """A layer whose weights `draw_weights` draws: all of a network's from one generator, as scikit-learn does."""
    return Dense(units, activation=activation, init="zeros")


def draw_weights(estimator: Any, net: Network, state: np.random.RandomState) -> None:
    """The initial weights and biases, with scikit-learn's draws: uniform, Glorot and Bengio 2010."""
    plan, n_hidden = net._built(), len(hidden_sizes(estimator.hidden_layer_sizes))
    factors = [_factor(a) for a in per_layer(estimator.activation, n_hidden, "activation")] or [6.0]
    dense = [op for op in plan.parametric if op.is_dense]
    for op, factor in zip(dense, [*factors[:n_hidden], factors[-1]], strict=True):
        bound = math.sqrt(factor / (op.x.n + op.out.n))
        W = state.uniform(-bound, bound, (op.x.n, op.out.n))
        plan.pack(op, net._parameters.rows[0], W, state.uniform(-bound, bound, op.out.n))


def _factor(activation: Any) -> float:
    """What the variance of an activation's weights is in proportion to."""
    return 2.0 if isinstance(activation, str) and activation in ("logistic", "sigmoid") else 6.0


def _extras(estimator: Any, rate: Any) -> list[Layer]:
    norms: list[Layer] = [BatchNorm()] if estimator.batch_norm else []
    norms += [LayerNorm()] if estimator.layer_norm else []
    if isinstance(rate, bool) or not isinstance(rate, Real):
        raise ValueError(f"dropout must be a number in [0, 1) or a list of them, got {estimator.dropout!r}")
    return [*norms, Dropout(float(rate))] if rate else norms


def network_of(estimator: Any, n_features: int, n_outputs: int, loss: Loss, dtype: str) -> Network:
    """The network of an estimator, with the penalty as `alpha` means it; not built yet."""
    net = Network(
        layers_of(estimator, n_features, n_outputs), loss, optimizer_of(estimator, estimator.learning_rate_init),
        l2=estimator.alpha, clip_norm=estimator.clip_norm, dtype=dtype,
    )  # fmt: skip
    net.divides_penalties = True
    return net


def describe_outputs(estimator: Any, n_outputs: int, loss: Loss) -> None:
    """Set the fitted attributes that say what the network looks like."""
    estimator.n_outputs_, estimator.n_layers_ = n_outputs, len(hidden_sizes(estimator.hidden_layer_sizes)) + 2
    estimator.out_activation_ = output_activation(loss)


def optimizer_of(estimator: Any, rate: Any) -> Optimizer:
    """The optimizer of `solver` at `rate`, a number or a schedule; of an object a copy: training may change it."""
    if isinstance(estimator.solver, Optimizer):
        return copy.deepcopy(estimator.solver)
    if estimator.solver == "sgd":
        return sgd(rate, estimator.momentum, estimator.nesterovs_momentum)
    return Adam(rate, (estimator.beta_1, estimator.beta_2), estimator.epsilon)


def batch_rows(batch_size: Any, n_samples: int) -> int:
    """Rows of an update."""
    return min(200 if isinstance(batch_size, str) else int(batch_size), n_samples)


def check_lbfgs(estimator: Any) -> None:
    """Refuse what only updates on parts of the data have."""
    for name in ("dropout", "batch_norm", "clip_norm", "callbacks"):
        value = getattr(estimator, name)
        if np.any(value):
            raise ValueError(f"solver='lbfgs' takes no {name}, got {value!r}: use 'adam' or 'sgd'")
