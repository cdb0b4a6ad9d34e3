"""From a file back to a network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from . import checkpoints, files, models
from .arguments import check_positive_int
from .data.preparation import Preparation
from .errors import FileError, MissingClassError
from .keeping import groups_of, restore
from .labels import MAX_BYTES, classes_from_description
from .layers import layer_from_description
from .losses import loss_from_description
from .network import Network
from .optimizers import optimizer_from_description
from .plan import Plan
from .workspace import Parameters

# What our own checks raise at a damaged description, and Python at numbers beyond all measure and at wrong types.
DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, MemoryError)


def load(path: str | os.PathLike[str], custom: Mapping[str, Any] | None = None) -> Network:
    """Read a network that `Network.save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : path-like
    custom : dict of str to class or callable, optional
        Your own activations, losses, optimizers and schedules by name, where they are not registered already.

    Returns
    -------
    Network
        The optimizer starts anew.

    Raises
    ------
    FileError
        If the file is damaged, truncated, foreign or of a newer version.
    MissingClassError
        A ValueError: if a class of your own is neither in `custom` nor registered; the message names it.
    """
    with files.Contents(path) as contents, _naming_damage(path):
        if "run" in contents.description:
            raise ValueError("it is a checkpoint, for fp.resume")
        return _network_of(contents.description, contents.entries, contents, contents.size, custom)


def resume(path: str | os.PathLike[str], custom: Mapping[str, Any] | None = None) -> Network:
    """Read a checkpoint: `fit` with the same data and arguments then goes on where it stopped, to the same bits.

    It goes on at the step after the checkpoint's, and ends at `epochs` in all, which may be more than before; its
    history begins with the first epoch. A run that has ended, be it by a callback, trains nothing more. `partial_fit`
    and `set_weights` give the run up. Nothing in the file is executed.

    Parameters
    ----------
    path : path-like
        Written by `Network.checkpoint` or `Network.fit(..., checkpoint=path)`. Where that file is damaged or missing,
        the checkpoint before it, "<path>.previous", is taken with a RuntimeWarning.
    custom : dict of str to class or callable, optional
        Your own activations, losses, optimizers and schedules by name, where they are not registered already.

    Returns
    -------
    Network

    Raises
    ------
    FileError
        If neither the checkpoint nor the one before it can be read.
    FileNotFoundError
        If there is neither.
    ValueError
        If a class of your own is neither in `custom` nor registered; the message names it.
    """
    with checkpoints.opened(path) as contents, _naming_damage(path):
        groups = groups_of(contents)
        entries = {name: contents.entries[whole] for name, whole in groups[""].names.items()}
        net = _network_of(contents.description, entries, groups[""], contents.size, custom)
        restore(net, contents.description, groups, custom)
    return net


@contextlib.contextmanager
def _naming_damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of a damaged description name the file."""
    try:
        yield
    except (FileError, MissingClassError):
        raise
    except DAMAGE as error:
        what = f"{error!s:.500}" if isinstance(error, ValueError) else f"its description is damaged ({error!r:.500})"
        raise FileError(f"cannot read {os.fspath(path)}: {what}") from error


def _network_of(
    description: Mapping[str, Any],
    entries: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    size: int,
    custom: Mapping[str, Any] | None,
) -> Network:
    """The network that a file describes: first what it must be, then its arrays, one by one.

    Parameters
    ----------
    description : dict
    entries : dict
        By name what has the shape and dtype of an array: known before the array is.
    arrays : mapping of str to ndarray
    size : int
        Bytes of the file.
    custom : dict, optional
    """
    n_layers = _count_layers(description["layers"])
    if n_layers > 200 + 4 * len(entries):  # Residual([Dense, Dropout]) has one array or two; objects outweigh text
        raise ValueError(f"it has {n_layers} layers for {len(entries)} arrays")
    net = network_from(description, custom)
    n_features = check_positive_int("n_features", description["n_features"])
    plan = Plan(net.layers, n_features, net.dtype, models.is_output_linear(net.layers, net.loss))
    models.check_named_shapes(plan, {name: entry.shape for name, entry in entries.items()})
    net.loss.coefficients(min(plan.output.n, size))  # raises for another number of output weights
    models.check_width(net.loss, plan.output.n)
    if any(entry.dtype != net.dtype for entry in entries.values()):
        raise ValueError(f"its arrays must be {net.dtype} as the network")
    _remember_data(net, plan, description, size)
    parameters = Parameters(plan, type(net.optimizer.rule()))
    models.set_named_arrays(plan, parameters, arrays)
    net._plan, net._parameters = plan, parameters
    return net


def _count_layers(layers: Any) -> int:
    return len(layers) + sum(_count_layers(layer["layers"]) for layer in layers if layer["layer"] == "residual")


def network_from(description: Mapping[str, Any], custom: Mapping[str, Any] | None) -> Network:
    """An unbuilt network from what `models.describe` wrote; raises one of `DAMAGE` where that is damaged."""
    layers = [layer_from_description(d, custom) for d in description["layers"]]
    loss = loss_from_description(description["loss"], custom)
    optimizer = optimizer_from_description(description["optimizer"], custom)
    settings = {k: description[k] for k in ("l1", "l2", "clip_norm", "clip_value", "seed", "dtype")}
    net = Network(layers, loss, optimizer, **settings)
    net.divides_penalties = bool(description.get("divides_penalties", False))
    return net


def _remember_data(net: Network, plan: Plan, description: Mapping[str, Any], size: int) -> None:
    """Labels, names and extras, as far as they fit the network; `size` is that of the file, in bytes."""
    net.classes_ = classes_from_description(description["classes"], max(MAX_BYTES, 2 * size))
    if net.classes_ is not None and len(net.classes_) != max(2, plan.output.n):
        raise ValueError(f"it has {len(net.classes_)} labels for {plan.output.n} outputs")
    if net.classes_ is not None and net.loss.task == "regression":
        raise ValueError(f"it has labels, but the loss {net.loss.name} is for numbers")
    net._one_dimensional, net._has_seen_data = bool(description["one_dimensional"]), True
    names = description["feature_names"]
    if names is not None:
        if not isinstance(names, list) or len(names) != plan.n_features or not all(isinstance(n, str) for n in names):
            raise ValueError(f"it must have {plan.n_features} names of features")
        net.feature_names_in_ = np.array(names, dtype=object)
    if not isinstance(description["extra"], dict):
        raise ValueError("its extra is damaged")
    net.extra = description["extra"]
    net.preparation_ = _preparation_of(net, plan, description)


def _preparation_of(net: Network, plan: Plan, description: Mapping[str, Any]) -> Preparation | None:
    """The preparation of a file, if its features and targets are those of the network."""
    stored, table = description.get("preparation"), net.extra.get("table")
    if stored is None and isinstance(table, dict) and table.keys() == {"preparation", "target"}:
        stored = table  # where the first 0.1 kept it
    if stored is None:
        return None
    try:
        found = Preparation.from_dict(stored)
    except FileError as error:
        raise ValueError(f"its preparation is damaged: {error}") from error  # for `_naming_damage` to say of which file
    if found.n_features != plan.n_features:
        raise ValueError(f"its preparation gives {found.n_features} features, the network has {plan.n_features}")
    # Labels are one column, but a row of shares or of yes-or-no answers has one for each output.
    widths = {plan.output.n} if net.loss.task == "regression" else {1, plan.output.n}
    if found.to_predict is not None and len(found.to_predict.mean) not in widths:
        raise ValueError(f"its preparation has {len(found.to_predict.mean)} targets for {plan.output.n} outputs")
    return found
