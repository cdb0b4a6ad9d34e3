"""Layers: what a network is made of, as plain descriptions. Their parameters and arithmetic live elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .arguments import check_bool, check_fraction, check_number, check_positive_int
from .components import (
    Description,
    component_from,
    describe_component,
    refuse_built_in_name,
    resolve_component,
)
from .initializers import Init, check_init, describe_init, init_from
from .kernels.activations import ACTIVATIONS


class Softmax(NamedTuple):
    """exp z_j / sum_k exp z_k. Not elementwise, so no activation: a last layer's only, where the loss applies it."""


Softmax.component_name = "softmax"  # type: ignore[attr-defined]


def activation(cls: type) -> type:
    """Class decorator: make an activation of a class with `value(self, z)` and `derivative(self, z, a)`.

    Parameters
    ----------
    cls : type
        z is the weighted sum and a = value(z), which often spares an exp; both methods are plain arithmetic. Annotated
        attributes are settings (floats).

    Returns
    -------
    type
        The activation: `Dense(8, activation=MyActivation(setting=...))`, or its snake-case name.

    Raises
    ------
    TypeError
        If a method is missing or has other arguments, or a field is not a number.
    ValueError
        If the name is that of a built-in activation.

    Examples
    --------
    >>> @activation
    ... class Square:
    ...     def value(self, z):
    ...         return z * z
    ...     def derivative(self, z, a):
    ...         return 2.0 * z
    >>> Dense(8, activation="square").activation
    Square()
    """
    refuse_built_in_name(cls, ACTIVATIONS, {"softmax"})
    return ACTIVATIONS.register(cls)


class Layer:
    """The base of all layers."""

    def describe(self) -> Description:
        """The layer as JSON; `layer_from_description` gives it back."""
        raise NotImplementedError

    def _set(self, **fields: Any) -> None:
        """Write checked values into the frozen dataclass."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """A fully connected layer: activation(x @ W + b).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str, class or instance, default "identity"
        A registered name, or a class decorated with `fp.activation`. "softmax" is for the last layer under
        `cross_entropy` only, which applies it anyway.
    init : str, array-like of shape (n_in, units) or callable (shape, rng) -> array, default "auto"
        "auto" (He normal for the relu family, LeCun normal for selu, else Glorot uniform), a name of
        `fp.init.INITIALIZERS`, `fp.init.Normal(std)` or `fp.init.Uniform(a)`.
    bias : bool, default True
    bias_init : "zeros", array-like of shape (units,) or callable, default "zeros"

    Attributes
    ----------
    activation : NamedTuple
        The activation as an instance.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, out of range or unknown.
    """

    units: int
    activation: Any = "identity"
    init: Init = "auto"
    bias: bool = True
    bias_init: Init = "zeros"

    def __post_init__(self) -> None:
        self._set(
            units=check_positive_int("units", self.units),
            activation=_resolve_activation(self.activation),
            init=check_init("init", self.init),
            bias=check_bool("bias", self.bias),
            bias_init=check_init("bias_init", self.bias_init, is_bias=True),
        )

    def describe(self) -> Description:
        return {
            "layer": "dense",
            "units": self.units,
            "activation": describe_component(self.activation),
            "init": describe_init(self.init),
            "bias": self.bias,
            "bias_init": describe_init(self.bias_init),
        }


@dataclass(frozen=True, eq=False)
class Dropout(Layer):
    """Inverted dropout: in training, zero each input with probability `rate` and divide the others by 1 - rate.

    Parameters
    ----------
    rate : float in [0, 1)
    """

    rate: float

    def __post_init__(self) -> None:
        self._set(rate=check_fraction("rate", self.rate))

    def describe(self) -> Description:
        return {"layer": "dropout", "rate": self.rate}


@dataclass(frozen=True, eq=False)
class BatchNorm(Layer):
    """gamma (x - mean) / sqrt(variance + eps) + beta, with each feature's statistics over the batch.

    PyTorch's formulas: the running variance is the unbiased one.

    Parameters
    ----------
    momentum : float in [0, 1], default 0.1
        The part of the batch's statistics in the update of the running ones, which prediction uses.
    eps : float > 0, default 1e-5
    """

    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        self._set(
            momentum=check_number("momentum", self.momentum, 0.0, 1.0),
            eps=check_number("eps", self.eps, 0.0, inclusive="neither"),
        )

    def describe(self) -> Description:
        return {"layer": "batch_norm", "momentum": self.momentum, "eps": self.eps}


@dataclass(frozen=True, eq=False)
class LayerNorm(Layer):
    """gamma (x - mean) / sqrt(variance + eps) + beta, with each sample's statistics over its features.

    Parameters
    ----------
    eps : float > 0, default 1e-5
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        self._set(eps=check_number("eps", self.eps, 0.0, inclusive="neither"))

    def describe(self) -> Description:
        return {"layer": "layer_norm", "eps": self.eps}


@dataclass(frozen=True, eq=False)
class Residual(Layer):
    """x + f(x), where f runs through `layers`, which must give as many features as they take.

    Parameters
    ----------
    layers : sequence of layers
        At least one.
    """

    layers: tuple[Layer, ...]

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._set(layers=check_layers(layers, "layers of Residual"))

    def describe(self) -> Description:
        return {"layer": "residual", "layers": [layer.describe() for layer in self.layers]}


def check_layers(layers: Sequence[Layer], name: str = "layers") -> tuple[Layer, ...]:
    """`layers` as a tuple of at least one layer."""
    if isinstance(layers, (Layer, str)) or not isinstance(layers, Sequence):
        raise TypeError(f"{name} must be a list of layers, got {layers!r}")
    if not layers:
        raise ValueError(f"{name} must hold at least one layer")
    for i, layer in enumerate(layers):
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise TypeError(f"{name}[{i}] must be an instance, as {layer.__name__}(...), got the class")
        if not isinstance(layer, Layer):
            raise TypeError(f"{name}[{i}] must be a layer, as Dense(10), got {layer!r}")
    return tuple(layers)


def layer_from_description(description: Description, custom: Mapping[str, Any] | None = None) -> Layer:
    """The layer that `describe` described.

    Parameters
    ----------
    description : dict
    custom : dict of str to class, optional
        Activations by registered name, for those that are not registered in this process.

    Raises
    ------
    ValueError
        If the kind of layer or the activation is unknown, or a value is out of range.
    """
    fields = dict(description)
    kind = fields.pop("layer", None)
    if kind == "residual":
        return Residual([layer_from_description(inner, custom) for inner in fields["layers"]])
    if kind == "dense":
        fields["activation"] = _activation_from(fields["activation"], custom)
        fields["init"], fields["bias_init"] = init_from(fields["init"]), init_from(fields["bias_init"])
        return Dense(**fields)
    classes: dict[Any, type[Layer]] = {"dropout": Dropout, "batch_norm": BatchNorm, "layer_norm": LayerNorm}
    if kind not in classes:
        raise ValueError(f"unknown layer {kind!r} in the file; known: dense, residual, {', '.join(classes)}")
    return classes[kind](**fields)


def _resolve_activation(activation: Any) -> Any:
    if isinstance(activation, Softmax) or (isinstance(activation, str) and activation == "softmax"):
        return Softmax()
    return resolve_component(activation, ACTIVATIONS)


def _activation_from(description: Description, custom: Mapping[str, Any] | None) -> Any:
    if description["name"] == "softmax":
        return Softmax()
    return component_from(description, ACTIVATIONS, custom)
