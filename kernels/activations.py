"""Activations: one small class each, its value and its derivative.

`derivative` sees z (before the activation) and a (after it). Where it can be had from a alone it does not mention z:
`needs_z` reads that off the code, and z is then not stored. A NaN in z stays a NaN in the value and in the derivative.
"""

from __future__ import annotations

import dis
import functools
from typing import NamedTuple

import numpy as np

from .components import Registry
from .functions import erf, sigmoid, softplus

ACTIVATIONS = Registry("activation", {"value": ("z",), "derivative": ("z", "a")})
activation = ACTIVATIONS.register

SELU_SCALE = 1.0507009873554805  # Klambauer et al. 2017: the fixed point at mean 0, variance 1
SELU_ALPHA = 1.6732632423543772
SQRT_HALF = 0.7071067811865476
INV_SQRT_2PI = 0.3989422804014327


@functools.cache
def needs_z(cls: type) -> bool:
    """Whether the derivative of activation `cls` reads z, so that z must be kept from the forward pass."""
    code = cls.derivative.__code__  # type: ignore[attr-defined]
    if "z" in code.co_cellvars:
        return True
    names = (i.argval for i in dis.get_instructions(code) if i.opname.startswith(("LOAD_FAST", "LOAD_DEREF")))
    return any(name == "z" or (isinstance(name, tuple) and "z" in name) for name in names)  # 3.13 loads two at once


@activation
class Identity(NamedTuple):
    """z."""

    def value(self, z):
        return z

    def derivative(self, z, a):
        return 1.0


@activation
class Relu(NamedTuple):
    """max(z, 0); slope 0 at 0."""

    def value(self, z):
        return max(z, 0.0)

    def derivative(self, z, a):
        return np.where(a > 0.0, 1.0, a)  # elsewhere a is 0, or the NaN to pass on


@activation
class LeakyRelu(NamedTuple):
    """z above 0, slope z below, slope >= 0; slope at 0 as below. Maas et al. 2013."""

    slope: float = 0.01

    def value(self, z):
        return np.where(z > 0.0, z, self.slope * z)

    def derivative(self, z, a):
        return np.where(a > 0.0, 1.0, 0.0 * a + self.slope)


@activation
class Elu(NamedTuple):
    """z above 0, alpha (exp z - 1) below, alpha >= 0. Clevert et al. 2015, eq. 15."""

    alpha: float = 1.0

    def value(self, z):
        return np.where(z > 0.0, z, self.alpha * np.expm1(z))

    def derivative(self, z, a):
        return np.where(a > 0.0, 1.0, a + self.alpha)


@activation
class Selu(NamedTuple):
    """Elu with the scale and alpha that keep mean 0 and variance 1. Klambauer et al. 2017, eq. 2."""

    def value(self, z):
        return SELU_SCALE * np.where(z > 0.0, z, SELU_ALPHA * np.expm1(z))

    def derivative(self, z, a):
        return np.where(a > 0.0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA)


@activation
class Gelu(NamedTuple):
    """z Phi(z), Phi the normal distribution function; exact, by erf. Hendrycks and Gimpel 2016."""

    def value(self, z):
        return 0.5 * z * (1.0 + erf(SQRT_HALF * z))

    def derivative(self, z, a):
        return 0.5 * (1.0 + erf(SQRT_HALF * z)) + INV_SQRT_2PI * z * np.exp(-0.5 * z * z)


@activation
class Silu(NamedTuple):
    """z sigmoid(z), also called swish."""

    def value(self, z):
        return z * sigmoid(z)

    def derivative(self, z, a):
        s = sigmoid(z)
        return s + a * (1.0 - s)


@activation
class Softplus(NamedTuple):
    """log(1 + exp z)."""

    def value(self, z):
        return softplus(z)

    def derivative(self, z, a):
        return -np.expm1(-a)  # sigmoid(z) = 1 - exp(-softplus(z))


@activation
class Sigmoid(NamedTuple):
    """1 / (1 + exp(-z))."""

    def value(self, z):
        return sigmoid(z)

    def derivative(self, z, a):
        return a * (1.0 - a)


@activation
class Tanh(NamedTuple):
    """tanh z."""

    def value(self, z):
        return np.tanh(z)

    def derivative(self, z, a):
        return 1.0 - a * a


@activation
class Softsign(NamedTuple):
    """z / (1 + |z|)."""

    def value(self, z):
        return z / (1.0 + abs(z))

    def derivative(self, z, a):
        d = 1.0 - abs(a)  # 1 / (1 + |z|)
        return d * d


@activation
class HardTanh(NamedTuple):
    """z clipped to [-1, 1]; slope 0 at the corners."""

    def value(self, z):
        return min(max(z, -1.0), 1.0)

    def derivative(self, z, a):
        return np.where(abs(a) < 1.0, 1.0, 0.0 * a)


@activation
class X_Tanh(NamedTuple):  # the underscore gives the name x_tanh
    """z tanh z."""

    def value(self, z):
        return z * np.tanh(z)

    def derivative(self, z, a):
        t = np.tanh(z)
        return t + z * (1.0 - t * t)
