"""Copies of a network to try things on, and data as plain float64 arrays: the network that was given never changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import AnyMatrix, SparseMatrix
from ..data import Dataset
from ..layers import Dropout, Layer, Residual
from ..models import portable
from ..network import Network
from ..targets import Targets, combine_weights
from ..validation import check_finite_in, check_some_weight


@dataclass(frozen=True, eq=False)
class Problem:
    """A copy of a network that is built, and the data as the formulas of a textbook take them.

    Attributes
    ----------
    net : Network
        The copy.
    matrix : Matrix or SparseMatrix
    targets : Targets
    X : ndarray of shape (n_samples, n_features), float64
    Y : ndarray of shape (n_samples, n_outputs), float64
        Numbers, probabilities, or what the loss makes of labels.
    weights : ndarray of shape (n_samples,), float64, or None
        The weights of the samples as they were given.
    """

    net: Network
    matrix: AnyMatrix
    targets: Targets
    X: np.ndarray
    Y: np.ndarray
    weights: np.ndarray | None

    @property
    def shares(self) -> np.ndarray:
        """The share of each sample in the loss, shape (n_samples,): w / sum w."""
        w = np.ones(len(self.X)) if self.weights is None else self.weights
        return np.asarray(w / w.sum())

    @property
    def labels(self) -> np.ndarray:
        """y as `fit` takes it, shape (n_samples,) or (n_samples, n_outputs)."""
        targets = self.targets
        if targets.codes is None or targets.classes_ is None:
            return targets.matrix.array
        return np.asarray(targets.classes_[targets.codes])


def check_network(net: Any) -> Network:
    """`net` if it is a Network."""
    if isinstance(net, Network):
        return net
    remedy = "; give its network_" if hasattr(net, "network_") else ""
    raise TypeError(f"net must be a Network, got {type(net).__name__}{remedy}")


def duplicate(net: Network, dtype: str | None = None, dropout: bool = True, **attributes: Any) -> Network:
    """A network with the same weights, state of the optimizer and settings, that shares nothing with `net`.

    Parameters
    ----------
    net : Network
    dtype : str, optional
        Of the copy; by default that of `net`.
    dropout : bool, default True
        False sets all rates of dropout to 0.
    **attributes
        Set on the copy: `l2=0.0`.
    """
    fresh = (*Network._UNPICKLED, "history_", "extra")  # nor a run that could go on: engines and runs are not shared
    state = copy.deepcopy({name: value for name, value in net.__dict__.items() if name not in fresh})
    state |= {"extra": {}, **({} if dtype is None else {"dtype": dtype}), **attributes}
    if not dropout:
        state["layers"] = without_dropout(state["layers"])
    if net.is_built:
        state |= {"_arrays": portable(net._built(), net._parameters), "_pending": None}
    twin = Network.__new__(Network)
    twin.__setstate__(state)
    return twin


def without_dropout(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The same layers with dropout of rate 0, so that their names stay."""
    changed: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Dropout):
            layer = replace(layer, rate=0.0)
        elif isinstance(layer, Residual):
            layer = Residual(without_dropout(layer.layers))
        changed.append(layer)
    return tuple(changed)


def prepare(net: Any, X: Any, y: Any, sample_weight: Any = None, **changes: Any) -> Problem:
    """Check everything as `Network.gradients` does, on a copy; a network that is not built yet is built there.

    Parameters
    ----------
    net : Network
    X, y, sample_weight : array-like
        As for `Network.gradients`.
    **changes
        Arguments of `duplicate`.

    Raises
    ------
    TypeError, ValueError
        As `Network.gradients`; numbers in X that are not finite, and a network without parameters, are named here.
    """
    twin = duplicate(check_network(net), **changes)
    if isinstance(X, Dataset):
        raise TypeError("X must be an array: diagnostics look at some rows in memory, not at a Dataset")
    matrix, targets = twin._check_data(X, y)
    check_finite_in(matrix, "float64", "X")
    weights = combine_weights(sample_weight, None, targets)
    check_some_weight(weights)
    twin._adopt(matrix, targets)
    if not twin._built().parametric:
        raise ValueError("net must have a layer with parameters, such as Dense: without one there are no gradients")
    array: Any = matrix.array.toarray() if isinstance(matrix, SparseMatrix) else matrix.array
    Y = target_numbers(targets, twin.loss.target_low)
    return Problem(twin, matrix, targets, np.asarray(array, np.float64), Y, weights)


def step(problem: Problem) -> None:
    """One update of the problem's copy with all rows, by its own optimizer."""
    problem.net.partial_fit(problem.matrix.array, problem.labels, problem.weights)


def target_numbers(targets: Targets, low: float) -> np.ndarray:
    """y as numbers, one an output: labels become `low` and 1."""
    if targets.codes is None:
        return np.asarray(targets.matrix.array, np.float64)
    if targets.n_outputs == 1:
        return np.where(targets.codes[:, None] > 0, 1.0, low)
    return np.where(targets.codes[:, None] == np.arange(targets.n_outputs), 1.0, low)
