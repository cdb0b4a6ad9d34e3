"""Public optimizers: a learning rate over time and the settings of an update rule.

The formulas are the component classes of `fastprop.kernels.optimizers`; they are PyTorch's, and so are the defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from .arguments import check_bool, check_number
from .components import Description, find_class, is_component, refuse_built_in_name, with_numbers
from .kernels.components import nearest
from .kernels.optimizers import RULES
from .schedules import Rate, check_rate, describe_rate, schedule_from_description


class Optimizer:
    """The base of public optimizers.

    Attributes
    ----------
    lr : float, schedule of `fp.schedules`, or callable from the 0-based update to a rate
    settings : dict
        The other arguments, checked.
    """

    name: ClassVar[str]  #: of the optimizer, as in `Network(optimizer=name)`

    def __init__(self, lr: Any, **settings: Any) -> None:
        self.lr: Rate = check_rate("lr", lr)
        self.settings = settings

    def rule(self) -> Any:
        """The update rule with its settings, for kernels (a NamedTuple)."""
        return with_numbers(RULES[self.name], self.settings)

    def describe(self) -> Description:
        """The optimizer as JSON; `optimizer_from_description` gives it back."""
        return {"name": self.name, "lr": describe_rate(self.lr), "settings": dict(self.settings)}

    def __getattr__(self, name: str) -> Any:
        if name != "settings" and name in self.__dict__.get("settings", ()):
            return self.settings[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        parts = [f"lr={self.lr!r}", *(f"{k}={v!r}" for k, v in self.settings.items())]
        return f"{type(self).__name__}({', '.join(parts)})"


def _non_negative(name: str, value: Any) -> float:
    return check_number(name, value, 0.0)


def _below_one(name: str, value: Any) -> float:
    return check_number(name, value, 0.0, 1.0, "left")


class SGD(Optimizer):
    """v = momentum v + g; w - lr v, or w - lr (g + momentum v) with Nesterov's momentum; g with weight_decay w added.

    Parameters
    ----------
    lr : float >= 0, schedule or callable, default 1e-3
    momentum : float in [0, 1), default 0
    nesterov : bool, default False
        Needs momentum > 0.
    weight_decay : float >= 0, default 0
    """

    name = "sgd"

    def __init__(
        self, lr: Any = 1e-3, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(
            lr,
            momentum=_below_one("momentum", momentum),
            nesterov=check_bool("nesterov", nesterov),
            weight_decay=_non_negative("weight_decay", weight_decay),
        )
        if self.settings["nesterov"] and not self.settings["momentum"]:
            raise ValueError("nesterov=True needs momentum > 0, got momentum=0")

    def rule(self) -> Any:
        momentum, decay = self.settings["momentum"], self.settings["weight_decay"]
        if not momentum:
            return RULES["sgd"](weight_decay=decay)
        return RULES["nesterov" if self.settings["nesterov"] else "momentum"](momentum=momentum, weight_decay=decay)


class RMSProp(Optimizer):
    """v = alpha v + (1 - alpha) g^2; w - lr g / (sqrt v + eps). Hinton 2012, lecture 6e.

    Parameters
    ----------
    lr : float >= 0, schedule or callable, default 0.01
    alpha : float in [0, 1), default 0.99
    eps : float >= 0, default 1e-8
    weight_decay : float >= 0, default 0
    """

    name = "rmsprop"

    def __init__(self, lr: Any = 0.01, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        super().__init__(
            lr,
            alpha=_below_one("alpha", alpha),
            eps=_non_negative("eps", eps),
            weight_decay=_non_negative("weight_decay", weight_decay),
        )


class Adagrad(Optimizer):
    """v = v + g^2; w - lr / (1 + t lr_decay) g / (sqrt v + eps) in update t = 0, 1, ... Duchi et al. 2011.

    Parameters
    ----------
    lr : float >= 0, schedule or callable, default 0.01
    lr_decay : float >= 0, default 0
    eps : float >= 0, default 1e-10
    weight_decay : float >= 0, default 0
    """

    name = "adagrad"

    def __init__(self, lr: Any = 0.01, lr_decay: float = 0.0, eps: float = 1e-10, weight_decay: float = 0.0) -> None:
        super().__init__(
            lr,
            lr_decay=_non_negative("lr_decay", lr_decay),
            eps=_non_negative("eps", eps),
            weight_decay=_non_negative("weight_decay", weight_decay),
        )


class Adam(Optimizer):
    """Running means of g and g^2, corrected for their start at 0. Kingma and Ba 2014, algorithm 1.

    Parameters
    ----------
    lr : float >= 0, schedule or callable, default 1e-3
    betas : pair of floats in [0, 1), default (0.9, 0.999)
    eps : float >= 0, default 1e-8
    weight_decay : float >= 0, default 0
        Added to the gradient as weight_decay w.
    """

    name = "adam"

    def __init__(
        self, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__(
            lr,
            betas=_check_betas(betas),
            eps=_non_negative("eps", eps),
            weight_decay=_non_negative("weight_decay", weight_decay),
        )

    def rule(self) -> Any:
        settings = dict(self.settings)
        settings["beta1"], settings["beta2"] = settings.pop("betas")
        return RULES[self.name](**settings)


class AdamW(Adam):
    """Adam with the decay taken from the weights: w (1 - lr weight_decay). Loshchilov and Hutter 2017.

    Parameters
    ----------
    lr : float >= 0, schedule or callable, default 1e-3
    betas : pair of floats in [0, 1), default (0.9, 0.999)
    eps : float >= 0, default 1e-8
    weight_decay : float >= 0, default 0.01
    """

    name = "adamw"

    def __init__(
        self, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay)


def _check_betas(betas: Any) -> tuple[float, float]:
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"betas must be a pair of numbers in [0, 1), got {betas!r}")
    return _below_one("betas[0]", betas[0]), _below_one("betas[1]", betas[1])


PUBLIC: dict[str, type[Optimizer]] = {cls.name: cls for cls in (SGD, RMSProp, Adagrad, Adam, AdamW)}


# ---- users' rules -------------------------------------------------------------------------------------------------


class CustomOptimizer(Optimizer):
    """The base of what `optimizer` makes: the settings are the fields of the user's class."""

    component: ClassVar[Any]

    def __init__(self, lr: Any = 1e-3, *args: Any, **fields: Any) -> None:
        given = inspect.signature(type(self)).bind(lr, *args, **fields).arguments
        given.pop("lr")
        super().__init__(lr, **with_numbers(self.component, given)._asdict())

    def rule(self) -> Any:
        return self.component(**self.settings)


def optimizer(cls: type) -> type[Optimizer]:
    """Class decorator: make an optimizer of a class with `n_slots` and `update(self, w, g, slots, lr, t)`.

    Parameters
    ----------
    cls : type
        `n_slots` numbers of state a weight, which start at 0; `update` returns the new weight and the new tuple of
        states, by plain arithmetic; t counts updates from 1, unless a method `clock(self, t)` gives something else.
        Annotated attributes are settings (floats).

    Returns
    -------
    type
        A public optimizer, `Lion(lr=..., beta=...)`, or its snake-case name. `lr` is 1e-3 unless given.

    Raises
    ------
    TypeError
        If `n_slots` or `update` is missing or of another form, or a field is not a number.
    ValueError
        If the name is that of a built-in optimizer or rule.

    Examples
    --------
    >>> @optimizer
    ... class SignSGD:
    ...     n_slots = 0
    ...     def update(self, w, g, slots, lr, t):
    ...         return w - lr * np.sign(g), slots
    >>> SignSGD(lr=0.1)
    SignSGD(lr=0.1)
    """
    name = refuse_built_in_name(cls, RULES)
    if {"lr", "settings"} & set(inspect.get_annotations(cls)):
        raise TypeError(f"optimizer {cls.__name__}: lr is an argument of update; no field may be called lr or settings")
    PUBLIC[name] = _make_optimizer(RULES.register(cls))
    return PUBLIC[name]


def _make_optimizer(component: Any) -> type[Optimizer]:
    """The public class of a rule."""
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    parameters = [inspect.Parameter("lr", kind, default=1e-3)]
    parameters += [
        inspect.Parameter(f, inspect.Parameter.KEYWORD_ONLY, default=component._field_defaults.get(f, empty))
        for f in component._fields
    ]
    body = {
        "name": component.component_name,
        "component": component,
        "__signature__": inspect.Signature(parameters),
        "__module__": component.__module__,
        "__qualname__": component.__qualname__,
        "__doc__": component.__doc__,
    }
    return type(component.__name__, (CustomOptimizer,), body)


def depends_on_settings(optimizer: Optimizer) -> bool:
    """Whether the rule follows from `settings` alone; that of somebody's subclass may not."""
    return type(optimizer).rule.__module__ == __name__


def resolve_optimizer(value: Any) -> Optimizer:
    """An optimizer from its name, its class (the defaults) or an instance.

    Raises
    ------
    ValueError
        If the name is unknown; the message has the nearest one.
    TypeError
        If it is something else.
    """
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, str):
        if value not in PUBLIC:
            raise ValueError(f"unknown optimizer {value!r}; {nearest(value, PUBLIC)}")
        return PUBLIC[value]()  # type: ignore[call-arg]
    if isinstance(value, type) and issubclass(value, Optimizer):
        return value()  # type: ignore[call-arg]
    raise TypeError(f"optimizer must be a name ({', '.join(sorted(PUBLIC))}) or an object as fp.Adam(), got {value!r}")


def optimizer_from_description(description: Description, custom: Mapping[str, Any] | None = None) -> Optimizer:
    """The optimizer that `Optimizer.describe` described.

    Parameters
    ----------
    description : dict
    custom : dict of str to class or callable, optional
        Optimizers by registered name, and learning rate schedules by name.

    Raises
    ------
    ValueError
        If the optimizer or its schedule is neither in `custom` nor registered; the message names it.
    """
    cls = find_class(description["name"], "optimizer", PUBLIC, custom)
    if isinstance(cls, type) and is_component(cls, RULES):
        cls = _make_optimizer(cls)
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise TypeError(f"custom[{description['name']!r}] must be a class decorated with @fp.optimizer")
    return cls(schedule_from_description(description["lr"], custom), **description["settings"])
