"""Learning rates over time; public as `fp.schedules`.

A schedule is a callable from the 0-based number of an update to its rate. Ours take arrays of numbers as well, and are
described in files; any other callable works too. The trainer tabulates the rates of an epoch before it starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .arguments import check_number, check_positive_int
from .components import Description
from .errors import MissingClassError
from .kernels.components import nearest

Floats: TypeAlias = NDArray[np.float64]
Rate: TypeAlias = "float | Callable[[int], float]"


class Schedule:
    """The base of our schedules: `rates(t)` on an array of update numbers, float64."""

    def rates(self, t: Floats) -> Floats:
        """The rates of the updates `t`."""
        raise NotImplementedError

    def __call__(self, update: Any) -> Any:
        """The rate of an update, or an array of them."""
        rates = self.rates(np.asarray(update, dtype=np.float64))
        return float(rates) if np.ndim(update) == 0 else rates

    @property
    def state(self) -> dict[str, Any]:
        """What changes while training, as JSON."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a former `state`; {} starts anew."""

    def after_epoch(self, monitored: float) -> None:
        """Take note of the validation loss of an epoch, or the training loss where there is none."""

    @property
    def watches(self) -> bool:
        """Whether rates depend on losses; where they do not, short epochs run many in a go."""
        return type(self).after_epoch is not Schedule.after_epoch

    def describe(self) -> Description:
        """The schedule as JSON; `schedule_from_description` gives it back."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}  # type: ignore[arg-type]
        return {"schedule": type(self).__name__, **values, **({"state": self.state} if self.state else {})}

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _rate(name: str, value: Any) -> float:
    return check_number(name, value, 0.0)


def _factor(name: str, value: Any) -> float:
    return check_number(name, value, 0.0, inclusive="neither")


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate always."""

    lr: float

    def __post_init__(self) -> None:
        self._set(lr=_rate("lr", self.lr))

    def rates(self, t: Floats) -> Floats:
        return np.full(t.shape, self.lr)


@dataclass(frozen=True)
class Step(Schedule):
    """lr factor^(t // every): PyTorch's StepLR, counted in updates."""

    lr: float
    every: int
    factor: float

    def __post_init__(self) -> None:
        self._set(
            lr=_rate("lr", self.lr),
            every=check_positive_int("every", self.every),
            factor=_factor("factor", self.factor),
        )

    def rates(self, t: Floats) -> Floats:
        return self.lr * self.factor ** (t // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr rate^t: PyTorch's ExponentialLR, counted in updates."""

    lr: float
    rate: float

    def __post_init__(self) -> None:
        self._set(lr=_rate("lr", self.lr), rate=_factor("rate", self.rate))

    def rates(self, t: Floats) -> Floats:
        return self.lr * self.rate**t


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from lr to lr_min within `steps` updates, then lr_min. Loshchilov and Hutter 2017, eq. 5."""

    lr: float
    steps: int
    lr_min: float = 0.0

    def __post_init__(self) -> None:
        self._set(
            lr=_rate("lr", self.lr),
            steps=check_positive_int("steps", self.steps),
            lr_min=_rate("lr_min", self.lr_min),
        )

    def rates(self, t: Floats) -> Floats:
        return _cosine(self.lr, self.lr_min, t / self.steps)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from lr_max / 25 to lr_max in the first 30 % of `steps` updates, then down to lr_max / 250,000.

    PyTorch's OneCycleLR with its defaults: cosines both ways; the last rate stays. Smith and Topin 2018.
    """

    lr_max: float
    steps: int

    def __post_init__(self) -> None:
        self._set(lr_max=_rate("lr_max", self.lr_max), steps=check_positive_int("steps", self.steps))

    def rates(self, t: Floats) -> Floats:
        first = self.lr_max / 25
        peak, last = 0.3 * self.steps - 1, self.steps - 1  # as PyTorch: peak is negative for 3 steps and fewer
        up = _cosine(first, self.lr_max, t / peak) if peak > 0 else first
        down = _cosine(self.lr_max, first / 1e4, (t - peak) / (last - peak))
        return np.where(t <= peak, up, down)


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear growth to the first rate of `schedule` within `steps` updates, then `schedule` from its beginning.

    Update t < steps has the rate schedule(0) (t + 1) / steps, a later one schedule(t - steps).

    Parameters
    ----------
    schedule : float or schedule
        Of ours, or any callable.
    steps : int
    """

    schedule: Any
    steps: int

    def __post_init__(self) -> None:
        self._set(schedule=check_rate("schedule", self.schedule), steps=check_positive_int("steps", self.steps))

    def rates(self, t: Floats) -> Floats:
        growth = np.minimum((t + 1) / self.steps, 1.0)
        return growth * _rates_at(self.schedule, np.maximum(t - self.steps, 0.0))

    @property
    def state(self) -> dict[str, Any]:
        return self.schedule.state if isinstance(self.schedule, Schedule) else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if isinstance(self.schedule, Schedule):
            self.schedule.load_state(state)

    def after_epoch(self, monitored: float) -> None:
        if self.watches:
            self.schedule.after_epoch(monitored)

    @property
    def watches(self) -> bool:
        return watches(self.schedule)

    def describe(self) -> Description:
        return {"schedule": "Warmup", "inner": describe_rate(self.schedule), "steps": self.steps}


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """lr / (t + 1)^power: scikit-learn's "invscaling", counted in updates."""

    lr: float
    power: float

    def __post_init__(self) -> None:
        self._set(lr=_rate("lr", self.lr), power=check_number("power", self.power, 0.0))

    def rates(self, t: Floats) -> Floats:
        return self.lr / (t + 1) ** self.power


@dataclass(frozen=True)
class Plateau(Schedule):
    """lr, multiplied by `factor` whenever more than `patience` epochs in a row bring no lower loss.

    PyTorch's ReduceLROnPlateau with its defaults: a loss counts as lower below best (1 - 1e-4), and changes of the
    rate by 1e-8 or less are left out.
    """

    lr: float
    patience: int = 10
    factor: float = 0.1
    _state: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._set(
            lr=_rate("lr", self.lr),
            patience=_count("patience", self.patience),
            factor=check_number("factor", self.factor, 0.0, 1.0, "neither"),
        )
        self.load_state({})

    @property
    def state(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state(self, state: Mapping[str, Any]) -> None:
        made = {"lr": self.lr, "best": None, "n_bad": 0, **state}
        check_number("best", made["best"], allow_none=True)
        self._set(_state={**made, "lr": _rate("lr", made["lr"]), "n_bad": _count("n_bad", made["n_bad"])})

    def rates(self, t: Floats) -> Floats:
        return np.full(t.shape, self._state["lr"])

    def after_epoch(self, monitored: float) -> None:
        state = self._state
        if math.isfinite(monitored) and (state["best"] is None or monitored < state["best"] * (1 - 1e-4)):
            state["best"], state["n_bad"] = float(monitored), 0
        else:
            state["n_bad"] += 1
        if state["n_bad"] > self.patience:
            state["n_bad"] = 0
            reduced = state["lr"] * self.factor
            if state["lr"] - reduced > 1e-8:
                state["lr"] = reduced


def _cosine(start: float, end: float, fraction: Floats) -> Floats:
    """From start to end along half a cosine as `fraction` goes from 0 to 1, and constant beyond."""
    return end + (start - end) * (1 + np.cos(np.pi * np.clip(fraction, 0.0, 1.0))) / 2


def _count(name: str, value: Any) -> int:
    return 0 if not isinstance(value, (bool, np.bool_)) and value == 0 else check_positive_int(name, value)


# ---- any rate: a number, a schedule or a callable -----------------------------------------------------------------


def check_rate(name: str, rate: Any) -> Rate:
    """A learning rate as an optimizer keeps it: a float >= 0, or a callable."""
    if isinstance(rate, type):
        raise TypeError(f"{name} must be an instance, as {rate.__name__}(...), got the class")
    return rate if callable(rate) else _rate(name, rate)


def watches(rate: Any) -> bool:
    """Whether a rate wants to know the loss of each epoch: ours that say so, other objects with `after_epoch`."""
    return rate.watches if isinstance(rate, Schedule) else hasattr(rate, "after_epoch")


def tabulate(schedule: Rate, first: int, n: int) -> Floats:
    """The rates of the updates first..first + n - 1.

    Parameters
    ----------
    schedule : float, schedule or callable
        Callables that are not ours are called once an update, with an int.
    first, n : int

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ValueError
        If a rate is negative or not finite; the message names the update.
    TypeError
        If a callable gives no number.
    """
    t = np.arange(first, first + n, dtype=np.float64)
    rates = _rates_at(schedule, t)
    if n and not (rates.min() >= 0 and rates.max() < math.inf):  # two passes: they count in per-sample training
        i = int(np.argmin(np.isfinite(rates) & (rates >= 0)))
        raise _bad_rate(first + i, rates[i])
    return rates


def rate_of(schedule: Rate, update: int) -> float:
    """The rate of one update: `tabulate` for one, a few times faster."""
    if isinstance(schedule, float):
        rate = schedule
    elif isinstance(schedule, Schedule):
        rate = float(_rates_at(schedule, np.array([update], np.float64))[0])
    else:
        rate = _called(schedule, update) if callable(schedule) else float(np.float64(schedule))
    if not 0.0 <= rate < math.inf:
        raise _bad_rate(update, rate)
    return rate


def _bad_rate(update: int, rate: float) -> ValueError:
    return ValueError(f"the learning rate of update {update} must be finite and >= 0, got {rate:g}")


def _rates_at(schedule: Any, t: Floats) -> Floats:
    if isinstance(schedule, Schedule):
        with np.errstate(over="ignore"):  # an infinite rate is reported with its update
            return np.asarray(schedule.rates(t), dtype=np.float64)
    if not callable(schedule):
        return np.full(t.shape, schedule, dtype=np.float64)
    return np.array([_called(schedule, int(update)) for update in t.ravel()], dtype=np.float64).reshape(t.shape)


def _called(schedule: Callable[[int], Any], update: int) -> float:
    rate = schedule(update)
    try:
        return float(rate)
    except (TypeError, ValueError):
        raise TypeError(f"the learning rate of update {update} must be a number, got {rate!r}") from None


SCHEDULES: dict[str, type[Schedule]] = {
    cls.__name__: cls for cls in (Constant, Step, Exponential, Cosine, OneCycle, Warmup, InverseScaling, Plateau)
}


def callable_name(function: Any) -> str:
    """The name under which a file remembers a callable: "module.qualname" of it or of its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def describe_rate(rate: Any) -> Any:
    """A rate as JSON: a number, a schedule's description, or a callable's name."""
    if isinstance(rate, Schedule):
        return rate.describe()
    return {"callable": callable_name(rate)} if callable(rate) else rate


def schedule_from_description(description: Any, custom: Mapping[str, Any] | None = None) -> Rate:
    """The rate that `describe_rate` described.

    Parameters
    ----------
    description : float or dict
    custom : dict of str to callable, optional
        The callables, by name or by "module.name".

    Raises
    ------
    ValueError
        If a schedule is unknown, or a callable is not in `custom`; the message names it.
    """
    if not isinstance(description, dict):
        return check_rate("lr", description)
    values = dict(description)
    if "callable" in values:
        return _custom_callable(values["callable"], custom or {})
    name, state = values.pop("schedule", None), values.pop("state", {})
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r} in the file; {nearest(name, SCHEDULES)}")
    if name == "Warmup":
        return Warmup(schedule_from_description(values["inner"], custom), values["steps"])
    schedule = SCHEDULES[name](**values)
    schedule.load_state(state)
    return schedule


def _custom_callable(name: str, custom: Mapping[str, Any]) -> Rate:
    for key in (name, name.rpartition(".")[2]):
        if key in custom:
            return check_rate(f"custom[{key!r}]", custom[key])
    short = name.rpartition(".")[2]
    raise MissingClassError(f"the file needs the learning rate schedule {name!r}: give custom={{{short!r}: ...}}")
