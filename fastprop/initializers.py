"""Initial weights; public as `fp.init`.

A layer draws from a generator of its own, made of (seed, index of the layer): its weights do not depend on what the
other layers draw. Fans are n_in and n_out of the shape (n_in, n_out).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .arguments import check_choice, check_number

Shape: TypeAlias = tuple[int, ...]
Floats: TypeAlias = NDArray[np.float64]
Init: TypeAlias = Any  # a name, an array or a callable (shape, rng) -> array

RELU_FAMILY = frozenset({"relu", "leaky_relu", "elu", "gelu", "silu", "softplus"})


def generator(seed: int, layer: int) -> np.random.Generator:
    """The random numbers of one layer: counter-based, keyed by (seed, layer)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, layer], dtype=np.uint64)))


@dataclass(frozen=True)
class Normal:
    """Normal numbers of mean 0 and standard deviation `std`."""

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", check_number("std", self.std, 0.0))

    def __call__(self, shape: Shape, rng: np.random.Generator) -> Floats:
        return rng.standard_normal(shape) * self.std


@dataclass(frozen=True)
class Uniform:
    """Uniform numbers from -a to a."""

    a: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", check_number("a", self.a, 0.0))

    def __call__(self, shape: Shape, rng: np.random.Generator) -> Floats:
        return rng.uniform(-self.a, self.a, shape)


@dataclass(frozen=True)
class NotStored:
    """In the place of an array or a callable in a loaded network: its weights are in the file, this is not."""

    kind: str

    def __call__(self, shape: Shape, rng: np.random.Generator) -> Floats:
        raise ValueError(f"the initial weights were given as {self.kind} and are not in the file: build a new Network")


def zeros(shape: Shape, rng: np.random.Generator) -> Floats:
    """All zero."""
    return np.zeros(shape)


def orthogonal(shape: Shape, rng: np.random.Generator) -> Floats:
    """Orthonormal rows or columns, whichever are fewer, uniformly distributed. Saxe et al. 2014."""
    n_in, n_out = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # without it QR prefers some signs
    return q if n_in >= n_out else q.T


def _scaled(is_normal: bool, gain: float, fans: Callable[[int, int], float]) -> Callable[..., Floats]:
    """Numbers of variance `gain / fans(n_in, n_out)`."""

    def draw(shape: Shape, rng: np.random.Generator) -> Floats:
        deviation = math.sqrt(gain / fans(*shape))
        return Normal(deviation)(shape, rng) if is_normal else Uniform(math.sqrt(3.0) * deviation)(shape, rng)

    return draw


def _fan_in(n_in: int, n_out: int) -> float:
    return n_in


def _mean_fan(n_in: int, n_out: int) -> float:
    return (n_in + n_out) / 2


# He et al. 2015, Glorot and Bengio 2010, LeCun et al. 1998.
INITIALIZERS: dict[str, Callable[[Shape, np.random.Generator], Floats]] = {
    "he_normal": _scaled(True, 2.0, _fan_in),
    "he_uniform": _scaled(False, 2.0, _fan_in),
    "glorot_normal": _scaled(True, 1.0, _mean_fan),
    "glorot_uniform": _scaled(False, 1.0, _mean_fan),
    "lecun_normal": _scaled(True, 1.0, _fan_in),
    "lecun_uniform": _scaled(False, 1.0, _fan_in),
    "orthogonal": orthogonal,
    "zeros": zeros,
}
FOR_BIASES = ("zeros",)  # the others need a fan


def automatic(activation: str) -> str:
    """What "auto" means before an activation."""
    if activation in RELU_FAMILY:
        return "he_normal"
    return "lecun_normal" if activation == "selu" else "glorot_uniform"


def check_init(name: str, init: Init, is_bias: bool = False) -> Init:
    """An initialiser as a layer keeps it: a name, a callable, or a float64 copy of an array.

    Raises
    ------
    ValueError
        If the name is unknown, or an array is not finite.
    TypeError
        If it is something else.
    """
    if isinstance(init, str):
        return check_choice(name, init, FOR_BIASES if is_bias else ("auto", *INITIALIZERS))
    if isinstance(init, type):
        raise TypeError(f"{name} must be an instance, as {init.__name__}(...), got the class")
    return init if callable(init) else _finite_array(name, init)


def initial(init: Init, shape: Shape, activation: str, rng: np.random.Generator, what: str) -> Floats:
    """Draw the initial weights or biases of a layer.

    Parameters
    ----------
    init : str, array-like or callable (shape, rng) -> array
    shape : tuple of int
        (n_in, n_out) for weights, (n_out,) for biases.
    activation : str
        The registered name of the layer's activation, for "auto".
    rng : numpy.random.Generator
        See `generator`.
    what : str
        What errors call it, such as "init of layer 0".

    Returns
    -------
    ndarray of `shape`, float64, a new one

    Raises
    ------
    ValueError
        If an array, or what a callable gave, has another shape or is not finite.
    """
    if isinstance(init, str):
        init = INITIALIZERS[automatic(activation) if init == "auto" else init]
    values = _finite_array(what, init(shape, rng) if callable(init) else init)
    if values.shape != shape:
        raise ValueError(f"{what} must have shape {shape}, got {values.shape}")
    return values


def _finite_array(name: str, values: Any) -> Floats:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be a name, an array of real numbers or a callable (shape, rng), got {values!r}"
        ) from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def describe_init(init: Init) -> Any:
    """An initialiser as JSON; arrays and callables by their kind only."""
    if isinstance(init, str):
        return init
    if isinstance(init, Normal):
        return {"name": "normal", "std": init.std}
    if isinstance(init, Uniform):
        return {"name": "uniform", "a": init.a}
    if isinstance(init, NotStored):
        return init.kind
    return "callable" if callable(init) else "array"


def init_from(description: Any) -> Init:
    """The initialiser that `describe_init` described."""
    if description in ("array", "callable"):
        return NotStored(description)
    if isinstance(description, dict):
        return Normal(description["std"]) if description["name"] == "normal" else Uniform(description["a"])
    return description
