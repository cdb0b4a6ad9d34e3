"""`coefs_` and `intercepts_`: the weights of a network's Dense layers, read from it and written to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..network import Network

POSITIONS = {"coefs_": 0, "intercepts_": 1}  # in the pairs of `get_weights`


class Arrays(list[Any]):
    """The arrays of all layers; to set an item sets the network's. The arrays are copies, and read-only for it."""

    def __init__(self, arrays: Sequence[np.ndarray], estimator: Any, name: str) -> None:
        super().__init__(arrays)
        self._estimator, self._name = estimator, name
        for array in arrays:
            array.flags.writeable = False

    def __setitem__(self, key: Any, value: Any) -> None:
        changed = list(self)
        changed[key] = value
        # What was not assigned stays what it is in the network, which may have been trained since.
        known = {id(array) for array in self}
        write(self._estimator.network_, self._name, [None if id(a) in known else a for a in changed])
        super().__setitem__(key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def dense_places(net: Network) -> list[int]:
    """Where Dense layers stand in `get_weights`."""
    return [k for k, op in enumerate(net._built().parametric) if op.is_dense]


class Coefficients:
    """A mixin with `coefs_` and `intercepts_`; before the first fit they may be set to what it shall start from."""

    def _get(self, name: str) -> list[Any]:
        net = self.__dict__.get("network_")
        if net is not None:
            pairs = net.get_weights()
            return Arrays([pairs[k][POSITIONS[name]] for k in dense_places(net)], self, name)
        try:
            given: list[Any] = self.__dict__["_given_weights"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r} before fit") from None
        return given

    def _set(self, name: str, arrays: Sequence[Any]) -> None:
        net = self.__dict__.get("network_")
        if net is None:
            self.__dict__.setdefault("_given_weights", {})[name] = arrays
        else:
            write(net, name, arrays)

    def _take_given_weights(self, net: Network, wanted: bool) -> None:
        """Write the weights that were set before the first fit into a new network, if they are `wanted`."""
        given = self.__dict__.pop("_given_weights", {})
        for name, arrays in given.items():
            if wanted:
                write(net, name, arrays)

    @property
    def coefs_(self) -> list[Any]:
        """The weights of each layer, shape (n_in, n_out), as copies; assign the list or an item to change them."""
        return self._get("coefs_")

    @coefs_.setter
    def coefs_(self, arrays: Sequence[Any]) -> None:
        self._set("coefs_", arrays)

    @property
    def intercepts_(self) -> list[Any]:
        """The biases of each layer, shape (n_out,), as copies; assign the list or an item to change them."""
        return self._get("intercepts_")

    @intercepts_.setter
    def intercepts_(self, arrays: Sequence[Any]) -> None:
        self._set("intercepts_", arrays)


def write(net: Network, name: str, arrays: Sequence[Any]) -> None:
    """Set the weights or biases of all Dense layers; None leaves those of a layer as they are."""
    places = dense_places(net)
    if len(arrays) != len(places):
        raise ValueError(f"{name} must have {len(places)} arrays, got {len(arrays)}")
    pairs = net.get_weights()
    for k, array in zip(places, arrays, strict=True):
        if array is not None:
            W, b = pairs[k]
            pairs[k] = (array, b) if name == "coefs_" else (W, array)
    net.set_weights(pairs)
