"""What a run is: all that a fit knows besides the network, so that it can go on where it stopped.

Whatever is random follows from the seed, the number of the epoch and the count of updates; so these are enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from .schedules import describe_rate, schedule_from_description
from .segments import Place

if TYPE_CHECKING:
    from .network import Network
    from .trainer import Settings
    from .validation import Rows

Weights: TypeAlias = "tuple[np.ndarray, np.ndarray]"  # row 0 of the parameters, and the running statistics
ON_CLUSTER = "mode"  # an argument that only runs on a cluster have
Snapshot: TypeAlias = "tuple[np.ndarray, np.ndarray, int]"  # of `Parameters.snapshot`


@dataclass  # not frozen, which takes three times as long to make; but nobody changes one
class Standing:
    """What is known when an epoch is closed: validated, and told to schedules and early stopping.

    Attributes
    ----------
    n_epochs : int
        Epochs that are closed.
    rate : float or callable
        The learning rate that `schedule` is the state of.
    schedule, watch : dict or None
        The states of the learning rate's schedule and of early stopping.
    best : Weights or None
        The best so far, under early stopping.
    """

    n_epochs: int = 0
    rate: Any = None
    schedule: dict[str, Any] | None = None
    watch: dict[str, Any] | None = None
    best: Weights | None = None


@dataclass
class Run:
    """A fit at some moment between two updates.

    Attributes
    ----------
    arguments : dict
        What must be the same when it goes on: the shape of the data and what `fit` was called with.
    first_epoch : int
        Epochs that the network was trained before this fit.
    standing : Standing
    place : Place or None
        How far the epoch under way is; None at its beginning.
    sums, last_rate
        Of the epoch under way: weighted losses, weights and weighted penalties; the learning rate of the last update.
    rate : float or callable, or None
        The learning rate that the segment under way was laid out with, if the optimizer has another one now.
    history, penalties
        Of the closed epochs.
    seconds : float
        Since the beginning.
    is_stopped : bool
        Whether early stopping or a callback ended it.
    state : Snapshot or None
        Of the parameters, if training stands elsewhere than the network does, which may have the best weights.
    outer : tuple of ndarray
        On a cluster: the outer optimizer's state, as rows of parameters.
    is_pending : bool
        Whether the next fit goes on with it.
    """

    arguments: Mapping[str, Any]
    first_epoch: int = 0
    standing: Standing = field(default_factory=Standing)
    place: Place | None = None
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)
    last_rate: float = 0.0
    rate: Any = None
    history: dict[str, list[float]] = field(default_factory=dict)
    penalties: list[float] = field(default_factory=list)
    seconds: float = 0.0
    is_stopped: bool = False
    state: Snapshot | None = None
    outer: tuple[np.ndarray, ...] = ()
    is_pending: bool = False

    def now(self) -> Run:
        """Itself; a `Trainer` says where it stands."""
        return self

    def check(self, arguments: Mapping[str, Any], epochs: int) -> None:
        """Refuse to go on with other arguments.

        Raises
        ------
        ValueError
            Naming the first that differs.
        """
        if (ON_CLUSTER in arguments) is not (ON_CLUSTER in self.arguments):
            other = "fastprop.dask.fit" if ON_CLUSTER in self.arguments else "Network.fit"
            raise ValueError(
                f"the run in the checkpoint is one of {other}: go on with that, or give its weights to another network "
                f"by set_weights(net.get_weights())"
            )
        for name, value in arguments.items():
            if self.arguments.get(name) != value:
                raise ValueError(
                    f"{name} must be {self.arguments.get(name)!r} as in the checkpoint, got {value!r}; to train anew "
                    f"from its weights, give them to another network by set_weights(net.get_weights())"
                )
        if epochs < self.standing.n_epochs:
            raise ValueError(f"epochs must be at least the {self.standing.n_epochs} that are done, got {epochs}")

    def describe(self) -> dict[str, Any]:
        """Everything but arrays, as JSON."""
        standing = {name: getattr(self.standing, name) for name in ("n_epochs", "schedule", "watch")}
        return {
            "arguments": dict(self.arguments),
            "first_epoch": self.first_epoch,
            "standing": standing,
            "place": None if self.place is None else asdict(self.place),
            "sums": list(self.sums),
            "last_rate": self.last_rate,
            "rate": None if self.rate is None else describe_rate(self.rate),
            "history": self.history,
            "penalties": self.penalties,
            "seconds": self.seconds,
            "is_stopped": self.is_stopped,
        }


class Underway(Protocol):
    """What a network's run is: a `Run`, or a trainer that is at it."""

    is_pending: bool

    def now(self) -> Run:
        """Where it stands."""


def run_of(net: Network, settings: Settings, rows: Rows, stream: Any = None) -> Run:
    """The run of a fit: the network's, if it is pending, else a new one.

    Raises
    ------
    ValueError
        If the pending one had other arguments.
    """
    if not settings.counts:
        return Run({}, net.epochs_done)
    names = ("batch_size", "shuffle", "accumulate", "seed")
    arguments = {"n_samples": rows.matrix.n_rows, "n_features": rows.matrix.n_columns}
    arguments |= {name: getattr(settings, name) for name in names}
    if stream is None:
        arguments["n_samples without those of validation_fraction"] = rows.n_used
    else:
        arguments |= {"n_samples": stream.data.n_samples, "rows of a window (memory_limit)": stream.window_rows}
    return begun(net, arguments, settings.epochs)


def begun(net: Network, arguments: Mapping[str, Any], epochs: int) -> Run:
    """The network's pending run if there is one, else a new one with these arguments.

    Raises
    ------
    ValueError
        If the pending one had other arguments.
    """
    run = net._run
    if run is None or not run.is_pending:
        return Run(arguments, net.epochs_done)
    run = run.now()
    run.check(arguments, epochs)
    return replace(run, is_pending=False)


def run_from_description(
    description: Mapping[str, Any],
    best: Weights | None,
    state: Snapshot | None,
    outer: tuple[np.ndarray, ...],
    custom: Mapping[str, Any] | None,
) -> Run:
    """The pending run that `Run.describe` described.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the description is damaged.
    """
    values = dict(description)
    standing = Standing(**values.pop("standing"), best=best)
    place = values.pop("place")
    rate = values.pop("rate")
    run: Run = Run(
        **values,
        standing=standing,
        place=None if place is None else Place(**place),
        rate=None if rate is None else schedule_from_description(rate, custom),
        state=state,
        outer=outer,
        is_pending=True,
    )
    _check(run)
    a, b, c = run.sums
    return replace(run, sums=(a, b, c))


def _check(run: Run) -> None:
    """Refuse what no fit could have written."""
    place, n = run.place, run.standing.n_epochs
    numbers = [run.first_epoch, n, *((place.first, place.base, place.count) if place else ())]
    if not all(type(number) is int and 0 <= number < 2**62 for number in numbers):
        raise ValueError("the numbers of its epochs and updates are damaged")
    if place is not None and place.base > place.count:
        raise ValueError("the numbers of its updates are damaged")
    lists = [*run.history.values(), run.penalties]
    if not all(isinstance(values, list) and len(values) == n and _are_floats(values) for values in lists):
        raise ValueError("its history is damaged")
    if not (len(run.sums) == 3 and _are_floats([*run.sums, run.last_rate, run.seconds])):
        raise ValueError("its losses are damaged")
    if not (isinstance(run.arguments, dict) and isinstance(run.is_stopped, bool) and math.isfinite(run.seconds)):
        raise ValueError("its description is damaged")


def _are_floats(values: list[Any]) -> bool:
    return all(type(value) in (float, int) for value in values)
