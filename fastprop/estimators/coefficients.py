"""`coefs_` and `intercepts_`: the weights of a network's Dense layers, read from it and written to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..network import Network


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
        setattr(self._estimator, self._name, changed)
        super().__setitem__(key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def dense_places(net: Network) -> list[int]:
    """Where Dense layers stand in `get_weights`."""
    return [k for k, op in enumerate(net._built().parametric) if op.is_dense]


class Coefficients:
    """A mixin with `coefs_` and `intercepts_`; before the first fit they may be set to what it shall start from."""

    def _get(self, name: str, position: int) -> list[Any]:
        net = self.__dict__.get("network_")
        if net is not None:
            pairs = net.get_weights()
            return Arrays([pairs[k][position] for k in dense_places(net)], self, name)
        try:
            given: list[Any] = self.__dict__["_given_weights"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r} before fit") from None
        return given

    def _set(self, name: str, position: int, arrays: Sequence[Any]) -> None:
        net = self.__dict__.get("network_")
        if net is None:
            self.__dict__.setdefault("_given_weights", {})[name] = arrays
        else:
            _write(net, name, position, arrays)

    def _take_given_weights(self, net: Network, wanted: bool) -> None:
        """Write the weights that were set before the first fit into a new network, if they are `wanted`."""
        given = self.__dict__.pop("_given_weights", {})
        for position, name in enumerate(("coefs_", "intercepts_")):
            if wanted and name in given:
                _write(net, name, position, given[name])

    @property
    def coefs_(self) -> list[Any]:
        """The weights of each layer, shape (n_in, n_out), as copies; assign the list or an item to change them."""
        return self._get("coefs_", 0)

    @coefs_.setter
    def coefs_(self, arrays: Sequence[Any]) -> None:
        self._set("coefs_", 0, arrays)

    @property
    def intercepts_(self) -> list[Any]:
        """The biases of each layer, shape (n_out,), as copies; assign the list or an item to change them."""
        return self._get("intercepts_", 1)

    @intercepts_.setter
    def intercepts_(self, arrays: Sequence[Any]) -> None:
        self._set("intercepts_", 1, arrays)


def _write(net: Network, name: str, position: int, arrays: Sequence[Any]) -> None:
    places = dense_places(net)
    if len(arrays) != len(places):
        raise ValueError(f"{name} must have {len(places)} arrays, got {len(arrays)}")
    pairs = net.get_weights()
    for k, array in zip(places, arrays, strict=True):
        pairs[k] = (array, pairs[k][1]) if position == 0 else (pairs[k][0], array)
    net.set_weights(pairs)
