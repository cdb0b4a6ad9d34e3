"""Checkpoints of a network and of the run that it is in, written by a thread of their own while training goes on."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checkpoints, models
from .atomic import check_writable
from .errors import FileError
from .kernels.optimizers import Sgd
from .runs import Run, Snapshot, Weights, run_from_description
from .workspace import Parameters

if TYPE_CHECKING:
    from .network import Network
    from .plan import Plan
    from .trainer import Settings

BEST = "best"
ROWS = Sgd  # a rule without slots, for parameters of which only rows are used
OUTER = "outer."  # the outer optimizer's state, with a number behind it


def check_path(name: str, path: Any) -> Path:
    """The absolute path: a callback may change the folder that others begin in.

    Raises
    ------
    TypeError, ValueError
        If it is no path, or empty.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{name} must be a path as str or pathlib.Path, got {path!r}")
    if not os.fspath(path):
        raise ValueError(f"{name} must be a path, got {path!r}")
    return Path(os.path.abspath(path))


def checkpoint(net: Network, path: str | os.PathLike[str]) -> None:
    """Write the network, and the run it is in or was in last, to `path`."""
    net._built()
    path = check_path("path", path)
    run = None if net._run is None else net._run.now()
    moment = Moment(net, run)
    checkpoints.write(path, moment.description, moment.arrays(net._built()))


class Moment:
    """A copy of all that training changes, so that it may go on.

    Parameters
    ----------
    net : Network
    run : Run or None
    parameters : Parameters, optional
        To copy into.
    description : dict, optional
        Of the network, to be copied but for its optimizer: vocabularies of a preparation may be long.
    """

    def __init__(
        self,
        net: Network,
        run: Run | None,
        parameters: Parameters | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        source = net._parameters
        self.parameters = parameters or Parameters(net._built(), source.rule)
        self.best = None if run is None else run.standing.best
        self.outer = () if run is None else run.outer
        if run is not None and run.state is not None:
            self.parameters.restore(run.state)
        else:
            self.parameters.rows[0], self.parameters.rows[2:] = source.rows[0], source.rows[2:]
            self.parameters.statistics[:], self.parameters.count = source.statistics, source.count
        self.network = models.describe(net, net.extra) if description is None else description
        self.description = {
            **self.network,
            "optimizer": net.optimizer.describe(),
            "count": self.parameters.count,
            "rule": source.rule.component_name,
            "epochs_done": net.epochs_done if run is None else run.first_epoch + run.standing.n_epochs,
            "has_seen_data": net._has_seen_data,
            "history": getattr(net, "history_", None) if run is None else run.history,
            "shows_best": run is not None and run.state is not None and self.best is not None,
            "run": None if run is None else run.describe(),
        }

    @property
    def is_finite(self) -> bool:
        """Whether training goes well: where it does not, nobody wants to go on from here."""
        return bool(np.isfinite(self.parameters.rows[0]).all())

    def arrays(self, plan: Plan) -> dict[str, np.ndarray]:
        """Unpadded copies by name: those of a model, the rule's slots, and the best weights."""
        parameters = self.parameters
        arrays = models.named_arrays(plan, parameters)
        for row in range(2, len(parameters.rows)):
            arrays |= _prefixed(f"slots.{row - 2}", models.named_arrays(plan, parameters, row))
        if self.best is not None:
            arrays |= _prefixed(BEST, _named(plan, parameters.rule, self.best))
        for k, slot in enumerate(self.outer):
            arrays |= _prefixed(f"{OUTER}{k}", _named_row(plan, slot))
        return arrays


def _named(plan: Plan, rule: Any, weights: Weights) -> dict[str, np.ndarray]:
    """Weights and running statistics, unpadded, by name."""
    parameters = Parameters(plan, rule)
    parameters.rows[0], parameters.statistics[:] = weights
    return models.named_arrays(plan, parameters)


def _unnamed(plan: Plan, rule: Any, arrays: Mapping[str, np.ndarray]) -> Weights:
    """The reverse of `_named`."""
    parameters = Parameters(plan, rule)
    models.set_named_arrays(plan, parameters, arrays)
    return parameters.rows[0].copy(), parameters.statistics.copy()


def _named_row(plan: Plan, row: np.ndarray) -> dict[str, np.ndarray]:
    """A row of parameters of any meaning, unpadded, by name."""
    parameters = Parameters(plan, ROWS)
    parameters.rows[1] = row
    return models.named_arrays(plan, parameters, 1)


def _unnamed_row(plan: Plan, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The reverse of `_named_row`."""
    parameters = Parameters(plan, ROWS)
    models.set_named_arrays(plan, parameters, arrays, 1, finite=False)
    row: np.ndarray = parameters.rows[1].copy()
    return row


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


# ---- back ---------------------------------------------------------------------------------------------------------


class Group(Mapping[str, "np.ndarray"]):
    """Some arrays of a file under the names that the network has for them; each is read when it is asked for."""

    def __init__(self, source: Mapping[str, np.ndarray]) -> None:
        self.source = source
        self.names: dict[str, str] = {}  # those of the file

    def __getitem__(self, name: str) -> np.ndarray:
        return self.source[self.names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def groups_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Group]:
    """The arrays of a checkpoint: "" for the model's, "slots.0", ... and "best"."""
    groups = {"": Group(arrays)}
    for name in arrays:
        group, _, rest = name.partition("layers.")
        groups.setdefault(group.rstrip("."), Group(arrays)).names["layers." + rest] = name
    return groups


def restore(
    net: Network, description: Mapping[str, Any], groups: Mapping[str, Mapping[str, np.ndarray]], custom: Any
) -> None:
    """Put a network that has the model's arrays where the checkpoint was taken.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the description and the arrays do not fit each other.
    """
    plan, parameters = net._built(), net._parameters
    best, outer = groups.get(BEST), [g for k, g in sorted(groups.items()) if k.startswith(OUTER)]
    groups = {k: g for k, g in groups.items() if k not in ("", BEST) and not k.startswith(OUTER)}
    if description["rule"] == parameters.rule.component_name:  # else the optimizer was changed, and starts anew
        if set(groups) != {f"slots.{i}" for i in range(len(parameters.rows) - 2)}:
            raise ValueError(f"it has the optimizer's state {sorted(groups)}")
        for name, arrays in groups.items():
            models.set_named_arrays(plan, parameters, arrays, 2 + int(name.rpartition(".")[2]), finite=False)
        parameters.count = _count(description["count"])
    net.epochs_done, net._has_seen_data = _count(description["epochs_done"]), bool(description["has_seen_data"])
    if description["history"] is not None:
        net.history_ = {str(name): list(values) for name, values in description["history"].items()}
    if description["run"] is None:
        return
    weights: Weights | None = None
    state: Snapshot | None = None
    if best is not None:
        weights = _unnamed(plan, parameters.rule, best)
    if description["shows_best"]:
        if weights is None:
            raise ValueError("its best weights are missing")
        state = parameters.snapshot()
        parameters.rows[0], parameters.statistics[:] = weights
    rows = tuple(_unnamed_row(plan, arrays) for arrays in outer)
    net._run = run_from_description(description["run"], weights, state, rows, custom)
    net._penalties = net._run.penalties


def portable(net: Network) -> Any:
    """The pending run of a network, for pickle: without the pads of this machine's registers; None if there is none."""
    run = net._run
    if run is None or not run.is_pending:
        return None
    run, plan, rule = run.now(), net._built(), net._parameters.rule
    best, last = run.standing.best, None if run.state is None else (run.state[0][0], run.state[1])
    named = [None if weights is None else _named(plan, rule, weights) for weights in (best, last)]
    outer = [_named_row(plan, row) for row in run.outer]
    return replace(run, standing=replace(run.standing, best=None), state=None, outer=()), outer, *named


def from_portable(net: Network, pending: Any) -> Run | None:
    """The reverse of `portable`, for a network that has its arrays."""
    if pending is None:
        return None
    run, outer, *named = pending
    plan, parameters = net._built(), net._parameters
    best, last = (None if arrays is None else _unnamed(plan, parameters.rule, arrays) for arrays in named)
    state = None
    if last is not None:  # the network shows the best weights; the rest of its state is that of the last
        rows, _, count = parameters.snapshot()
        rows[0] = last[0]
        state = rows, last[1], count
    slots = tuple(_unnamed_row(plan, arrays) for arrays in outer)
    pending_run: Run = replace(run, standing=replace(run.standing, best=best), state=state, outer=slots)
    return pending_run


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError(f"{value!r} is no number of updates or epochs")
    return value


# ---- while training -----------------------------------------------------------------------------------------------


class Keeper:
    """Writes checkpoints of a fit every so often; training waits for the copy of the parameters only.

    Parameters
    ----------
    net : Network
    path : path-like
    every : float
        Seconds.
    """

    def __init__(self, net: Network, path: str | os.PathLike[str], every: float) -> None:
        self.net, self.path, self.every = net, path, every
        self.count = net._parameters.count
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.spare: Moment | None = None  # whose memory the next one takes
        self.next = time.monotonic() + every

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint, and the last one is written."""
        return time.monotonic() >= self.next and not self.is_writing

    @property
    def is_writing(self) -> bool:
        """Whether the thread is at work."""
        return self.thread is not None and self.thread.is_alive()

    def look(self, trainer: Any) -> None:
        """Begin a checkpoint of where `trainer` stands if it is time; to be called between two updates.

        Raises
        ------
        OSError
            If the last one could not be written.
        """
        if self.error is not None:
            raise self.error
        if not self.is_due:
            return
        former = () if self.spare is None else (self.spare.parameters, self.spare.network)
        moment = Moment(self.net, trainer.now(), *former)
        self.spare, self.next = moment, time.monotonic() + self.every
        # A daemon: at the interpreter's end nobody waits for a disk. A checkpoint appears in one stroke or not at all.
        self.thread = threading.Thread(target=self._write, args=(moment,), name="fastprop checkpoint", daemon=True)
        self.thread.start()

    def _write(self, moment: Moment) -> None:
        try:
            if moment.is_finite:
                checkpoints.write(self.path, moment.description, moment.arrays(self.net._built()))
        except BaseException as error:  # for `look` to raise
            self.error = error

    def close(self, failure: BaseException | None = None) -> None:
        """Write how the fit ended; after a `failure` a second one is a warning only."""
        if self.thread is not None:
            self.thread.join()
        if self.error is not None and self.error is failure:
            return
        if failure is None:
            if self.error is not None:
                raise self.error
            checkpoint(self.net, self.path)
        elif self.error is None and self.net._parameters.count != self.count:
            try:
                checkpoint(self.net, self.path)
            except (OSError, FileError) as error:
                warnings.warn(f"no checkpoint of how the fit ended: {error}", RuntimeWarning, stacklevel=2)


def keeping(net: Network, settings: Settings) -> contextlib.AbstractContextManager[Keeper | None]:
    """A keeper for a fit, if it is to have checkpoints."""
    if settings.checkpoint is None:
        return contextlib.nullcontext()
    return _keeping(net, settings.checkpoint, settings.checkpoint_every)


@contextlib.contextmanager
def _keeping(net: Network, path: str | os.PathLike[str], every: float) -> Iterator[Keeper]:
    """A keeper; at the end of the fit, come as it may, it writes a last checkpoint.

    Raises
    ------
    OSError, FileError
        If the file cannot be written, or is no checkpoint; before training where that can be known.
    """
    check_writable(path)
    checkpoints.check_replaceable(path)
    keeper = Keeper(net, path, every)
    try:
        yield keeper
    except BaseException as failure:
        keeper.close(failure)
        raise
    keeper.close()
