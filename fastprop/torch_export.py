"""A network as PyTorch modules: the same weights, giving the raw outputs that PyTorch's losses take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .kernels.activations import ACTIVATIONS
from .layers import BatchNorm, Dense, Dropout, Layer, LayerNorm
from .layers import Residual as ResidualLayer
from .models import is_output_linear

if TYPE_CHECKING:
    from .network import Network


class Residual(nn.Module):
    """x + f(x), where f runs through `layers`."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Any) -> Any:
        return x + self.layers(x)


class XTanh(nn.Module):
    """z tanh z."""

    def forward(self, z: Any) -> Any:
        return z * torch.tanh(z)


ACTIVATION_MODULES: dict[str, Callable[[Any], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "leaky_relu": lambda activation: nn.LeakyReLU(activation.slope),
    "elu": lambda activation: nn.ELU(activation.alpha),
    "selu": lambda _: nn.SELU(),
    "gelu": lambda _: nn.GELU(),
    "silu": lambda _: nn.SiLU(),
    "softplus": lambda _: nn.Softplus(threshold=40.0),
    "sigmoid": lambda _: nn.Sigmoid(),
    "tanh": lambda _: nn.Tanh(),
    "softsign": lambda _: nn.Softsign(),
    "hard_tanh": lambda _: nn.Hardtanh(),
    "x_tanh": lambda _: XTanh(),
}


def to_torch(net: Network) -> nn.Sequential:
    """The modules of a network; see `Network.to_torch`."""
    last = net.layers[-1] if is_output_linear(net.layers, net.loss) else None
    modules = _modules(net.layers, "layers", net.n_features_, net.state_dict(), last)
    return nn.Sequential(*modules).to(getattr(torch, net.dtype))


def _modules(
    layers: Sequence[Layer], where: str, n: int, arrays: dict[str, np.ndarray], linear: Layer | None
) -> list[nn.Module]:
    """The modules of layers that take n features; `linear` is the layer whose activation belongs to the loss."""
    modules: list[nn.Module] = []
    for k, layer in enumerate(layers):
        key = f"{where}.{k}"
        if isinstance(layer, Dense):
            modules.append(_linear(layer, n, key, arrays))
            modules += [] if layer is linear else _activation(layer, key)
            n = layer.units
        elif isinstance(layer, ResidualLayer):
            modules.append(Residual(nn.Sequential(*_modules(layer.layers, f"{key}.layers", n, arrays, None))))
        elif isinstance(layer, Dropout):
            modules.append(nn.Dropout(layer.rate))
        elif isinstance(layer, (BatchNorm, LayerNorm)):
            modules.append(_norm(layer, n, key, arrays))
        else:
            raise TypeError(f"to_torch does not know the layer {type(layer).__name__}")
    return modules


def _linear(layer: Dense, n: int, key: str, arrays: dict[str, np.ndarray]) -> nn.Module:
    module = nn.Linear(n, layer.units, layer.bias, dtype=torch.float64)
    _copy(module.weight, arrays[f"{key}.W"].T)
    if layer.bias:
        _copy(module.bias, arrays[f"{key}.b"])
    return module


def _norm(layer: BatchNorm | LayerNorm, n: int, key: str, arrays: dict[str, np.ndarray]) -> nn.Module:
    module: nn.Module
    if isinstance(layer, BatchNorm):
        module = nn.BatchNorm1d(n, layer.eps, layer.momentum, dtype=torch.float64)
        _copy(module.running_mean, arrays[f"{key}.running_mean"])
        _copy(module.running_var, arrays[f"{key}.running_variance"])
    else:
        module = nn.LayerNorm(n, layer.eps, dtype=torch.float64)
    _copy(module.weight, arrays[f"{key}.gamma"])
    _copy(module.bias, arrays[f"{key}.beta"])
    return module


def _activation(layer: Dense, key: str) -> list[nn.Module]:
    activation = layer.activation
    name = activation.component_name
    if name in ("identity", "softmax"):
        return []
    if name not in ACTIVATION_MODULES or type(activation) is not ACTIVATIONS[name]:
        raise ValueError(
            f"to_torch cannot export the activation {name!r} of {key}: it is not one of fastprop's own; write it as a "
            f"torch.nn.Module and build the Sequential from get_weights()"
        )
    return [ACTIVATION_MODULES[name](activation)]


def _copy(parameter: Any, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.array(values, np.float64)))
