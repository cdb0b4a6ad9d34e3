"""From a file back to a network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from . import checkpoints, files, models
from .data.preparation import Preparation
from .errors import FileError
from .keeping import groups_of, restore
from .labels import classes_from_description
from .layers import layer_from_description
from .losses import loss_from_description
from .network import Network
from .optimizers import optimizer_from_description
from .plan import Plan
from .workspace import Parameters


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
    ValueError
        If a class of your own is neither in `custom` nor registered; the message names it.
    """
    description, arrays = files.read(path)
    if "run" in description:
        raise FileError(f"cannot read {os.fspath(path)}: it is a checkpoint, for fp.resume")
    with _naming_damage(path):
        return _network_of(description, arrays, custom)


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
    description, arrays = checkpoints.read(path)
    groups = groups_of(arrays)
    with _naming_damage(path):
        net = _network_of(description, groups[""], custom)
        restore(net, description, groups, custom)
    return net


@contextlib.contextmanager
def _naming_damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of a damaged description name the file."""
    try:
        yield
    except (KeyError, AttributeError, TypeError) as error:
        raise FileError(f"cannot read {os.fspath(path)}: its description is damaged ({error!r})") from error
    except ValueError as error:
        if "custom" in str(error):
            raise
        raise FileError(f"cannot read {os.fspath(path)}: {error}") from error


def _network_of(
    description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], custom: Mapping[str, Any] | None
) -> Network:
    """The network that a file describes."""
    layers = [layer_from_description(d, custom) for d in description["layers"]]
    loss = loss_from_description(description["loss"], custom)
    optimizer = optimizer_from_description(description["optimizer"], custom)
    settings = {k: description[k] for k in ("l1", "l2", "clip_norm", "clip_value", "seed", "dtype")}
    net = Network(layers, loss, optimizer, **settings)
    net.divides_penalties = bool(description.get("divides_penalties", False))
    plan = Plan(net.layers, description["n_features"], net.dtype, models.is_output_linear(net.layers, net.loss))
    models.check_named_arrays(plan, arrays)  # before memory is taken for what a damaged description asks for
    parameters = Parameters(plan, type(optimizer.rule()))
    models.set_named_arrays(plan, parameters, arrays)
    net._plan, net._parameters = plan, parameters
    net.classes_ = classes_from_description(description["classes"])
    if net.classes_ is not None and len(net.classes_) != max(2, plan.output.n):
        raise ValueError(f"it has {len(net.classes_)} labels for {plan.output.n} outputs")
    net._one_dimensional, net._has_seen_data = bool(description["one_dimensional"]), True
    if description["feature_names"] is not None:
        net.feature_names_in_ = np.array(description["feature_names"], dtype=object)
    net.extra = dict(description["extra"])
    prepared = description.get("preparation") or net.extra.get("table")  # there in the first 0.1
    net.preparation_ = None if prepared is None else Preparation.from_dict(prepared)
    return net
