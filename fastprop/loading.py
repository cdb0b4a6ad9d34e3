"""From a file back to a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import files, models
from .data.preparation import Preparation
from .errors import FileError
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
    try:
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
    except (KeyError, AttributeError, TypeError) as error:
        raise FileError(f"cannot read {os.fspath(path)}: its description is damaged ({error!r})") from error
    except ValueError as error:
        if "custom" in str(error):
            raise
        raise FileError(f"cannot read {os.fspath(path)}: {error}") from error
    return net
