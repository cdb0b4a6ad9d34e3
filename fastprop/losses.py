"""Public losses: a kernel's formula, its settings, and weights of the outputs; public as `fp.losses`.

The formulas are the component classes of `fastprop.kernels.losses`. `make_loss` gives any of them, built in or a
user's, the same public face.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .arguments import Inclusive, check_number
from .checks import as_array
from .components import Description, describe_component, find_class, is_component, refuse_built_in_name, with_numbers
from .kernels.losses import LOSSES

# Ranges of the built-in settings; a user's may be any finite number.
_RANGES: dict[str, tuple[float, float | None, Inclusive]] = {
    "delta": (0.0, None, "neither"),
    "q": (0.0, 1.0, "neither"),
    "label_smoothing": (0.0, 1.0, "left"),
}


class Loss:
    """The base of public losses: the settings of a kernel, and weights of the outputs.

    Parameters
    ----------
    *args, **fields : float
        The settings of the formula.
    output_weights : array-like of shape (n_outputs,), optional
        Finite weights >= 0, not all zero. A loss that averages over outputs divides by their sum.

    Attributes
    ----------
    kernel : NamedTuple
        The component with its settings, for kernels.
    output_weights : ndarray of shape (n_outputs,), float64, or None
    averages : bool
        Whether the loss of a sample is the mean over its outputs, not the sum; the component's, if it is not set.
    """

    component: ClassVar[Any]

    def __init__(self, *args: Any, output_weights: Any = None, **fields: Any) -> None:
        self.kernel = _checked(self.component, inspect.signature(type(self)).bind(*args, **fields).arguments)
        self.output_weights = _check_output_weights(output_weights)

    @functools.cached_property
    def name(self) -> str:
        """The registered name."""
        return str(self.component.component_name)

    @functools.cached_property
    def averages(self) -> bool:
        """Settable, since scikit-learn sums where we average."""
        return bool(self.component.averages)

    @functools.cached_property
    def task(self) -> str:
        """What y may be: "regression", "binary" or "classes"."""
        return str(self.component.task)

    @functools.cached_property
    def target_low(self) -> float:
        """What the lower of two labels becomes; the upper becomes 1."""
        return float(self.component.target_low)

    @functools.cached_property
    def across_outputs(self) -> bool:
        """Whether an output's loss depends on the others."""
        return bool(self.component.across_outputs)

    @functools.cached_property
    def is_margin(self) -> bool:
        """Whether two labels become -1 and 1 (or other than 0 and 1): the hinge losses."""
        return self.task == "binary" and self.target_low != 0.0

    def coefficients(self, n_outputs: int) -> NDArray[np.float64]:
        """What each output's loss is multiplied with.

        Returns
        -------
        ndarray of shape (n_outputs,), float64
            `w / sum(w)` if the loss averages, else `w`; w is 1 without `output_weights`.

        Raises
        ------
        ValueError
            If there are more or fewer output weights than outputs.
        """
        weights = np.ones(n_outputs) if self.output_weights is None else self.output_weights
        if len(weights) != n_outputs:
            raise ValueError(f"output_weights of {self!r} must have {n_outputs} numbers, one an output")
        return weights / weights.sum() if self.averages else weights.copy()

    def describe(self) -> Description:
        """The loss as JSON; `loss_from_description` gives it back."""
        weights = None if self.output_weights is None else self.output_weights.tolist()
        return {**describe_component(self.kernel), "output_weights": weights, "averages": self.averages}

    def __repr__(self) -> str:
        parts = [f"{f}={v:g}" for f, v in self.kernel._asdict().items()]
        if self.output_weights is not None:
            parts.append(f"output_weights={self.output_weights.tolist()}")
        return f"{type(self).__name__}({', '.join(parts)})"

    # The kernel's class bears the name of the public one in a user's module, so it cannot be pickled by name.
    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (type(self), self.kernel._asdict(), self.output_weights, self.averages)


def _remake(cls: type[Loss], fields: dict[str, float], output_weights: Any, averages: bool) -> Loss:
    made = cls(output_weights=output_weights, **fields)
    made.averages = averages
    return made


def _checked(component: Any, fields: Mapping[str, Any]) -> Any:
    if component.__module__ == LOSSES["mse"].__module__:
        for name in _RANGES.keys() & fields.keys():
            check_number(name, fields[name], *_RANGES[name])
    return with_numbers(component, fields)


def _check_output_weights(weights: Any) -> NDArray[np.float64] | None:
    if weights is None:
        return None
    array = as_array(weights, "output_weights")
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "fiu":
        raise ValueError(f"output_weights must be a 1-D list of numbers, got {weights!r}")
    array = array.astype(np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all() and (array > 0).any()):
        raise ValueError(f"output_weights must be finite, >= 0 and not all zero, got {array.tolist()}")
    return array


def make_loss(component: Any, name: str | None = None, module: str | None = None) -> type[Loss]:
    """The public class of a kernel's loss.

    Parameters
    ----------
    component : type
        A class registered in `kernels.losses.LOSSES`.
    name : str, optional
        Of the public class; default is the component's.
    module : str, optional
        Where it lives, for pickle and reports; default is the component's.

    Returns
    -------
    type
        A `Loss` whose arguments and properties are the component's fields.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    defaults = component._field_defaults
    parameters = [
        inspect.Parameter(f, kind, default=defaults.get(f, inspect.Parameter.empty)) for f in component._fields
    ]
    weights = inspect.Parameter("output_weights", inspect.Parameter.KEYWORD_ONLY, default=None)
    body: dict[str, Any] = {f: _field(f) for f in component._fields}
    for method in ("value", "gradient"):
        if hasattr(component, method):
            body[method] = _formula(method)
    body |= {
        "component": component,
        "__signature__": inspect.Signature([*parameters, weights]),
        "__module__": module or component.__module__,
        "__qualname__": name or component.__qualname__,
        "__doc__": component.__doc__,
    }
    return type(name or component.__name__, (Loss,), body)


def _field(name: str) -> property:
    return property(lambda self: getattr(self.kernel, name))


def _formula(method: str) -> Any:
    def formula(self: Loss, y: Any, p: Any) -> Any:
        return getattr(self.kernel, method)(y, p)

    formula.__name__, formula.__doc__ = method, f"The kernel's {method} at target y and raw output p of one output."
    return formula


def _built_in(name: str, public: str) -> type[Loss]:
    return make_loss(LOSSES[name], public, __name__)


MSE = _built_in("mse", "MSE")
SquaredError = _built_in("squared_error", "SquaredError")
MAE = _built_in("mae", "MAE")
Huber = _built_in("huber", "Huber")
Quantile = _built_in("quantile", "Quantile")
Poisson = _built_in("poisson", "Poisson")
BCE = _built_in("bce", "BCE")
CrossEntropy = _built_in("cross_entropy", "CrossEntropy")
Hinge = _built_in("hinge", "Hinge")
SquaredHinge = _built_in("squared_hinge", "SquaredHinge")
ModifiedHuber = _built_in("modified_huber", "ModifiedHuber")

PUBLIC: dict[str, type[Loss]] = {
    cls.component.component_name: cls
    for cls in (
        MSE, SquaredError, MAE, Huber, Quantile, Poisson, BCE, CrossEntropy, Hinge, SquaredHinge, ModifiedHuber,
    )
}  # fmt: skip


def loss(cls: type) -> type[Loss]:
    """Class decorator: make a loss of a class with `value(self, y, p)` and `gradient(self, y, p)`.

    Parameters
    ----------
    cls : type
        y is the target and p the raw output of one output of the network; both methods are plain arithmetic. Annotated
        attributes are settings (floats). `averages`, `task`, `target_low` may be set as class attributes.

    Returns
    -------
    type
        A public loss: `MyLoss(setting=..., output_weights=...)`, or its snake-case name.

    Raises
    ------
    TypeError
        If a method is missing or has other arguments, or a field is not a number.
    ValueError
        If the name is that of a built-in loss.

    Examples
    --------
    >>> @loss
    ... class LogCosh:
    ...     def value(self, y, p):
    ...         r = abs(p - y)
    ...         return r + np.log1p(np.exp(-2.0 * r)) - np.log(2.0)
    ...     def gradient(self, y, p):
    ...         return np.tanh(p - y)
    >>> LogCosh()
    LogCosh()
    """
    name = refuse_built_in_name(cls, LOSSES)
    if "output_weights" in inspect.get_annotations(cls):
        raise TypeError(f"loss {cls.__name__}: every loss takes output_weights; do not declare it")
    PUBLIC[name] = make_loss(LOSSES.register(cls))
    return PUBLIC[name]


def resolve_loss(value: Any) -> Loss:
    """A loss from its name, its class (the defaults) or an instance; kernels' classes and instances work too.

    Raises
    ------
    ValueError
        If the name is unknown; the message has the nearest one.
    TypeError
        If it is something else.
    """
    if isinstance(value, Loss):
        return value
    if isinstance(value, str):
        return _public(LOSSES[value])()
    if isinstance(value, type) and issubclass(value, Loss) and value is not Loss:
        return value()
    if isinstance(value, type) and _is_kernel(value):
        return _public(value)()
    if _is_kernel(type(value)):
        return _public(type(value))(**value._asdict())
    raise TypeError(f"loss must be a name ({', '.join(sorted(LOSSES))}) or an object of fp.losses, got {value!r}")


def _is_kernel(cls: type) -> bool:
    return hasattr(cls, "_fields") and (is_component(cls, LOSSES) or getattr(cls, "across_outputs", False))


def _public(component: Any) -> type[Loss]:
    known = PUBLIC.get(component.component_name)
    return known if known is not None and known.component is component else make_loss(component)


def loss_from_description(description: Description, custom: Mapping[str, Any] | None = None) -> Loss:
    """The loss that `Loss.describe` described.

    Parameters
    ----------
    description : dict
    custom : dict of str to class, optional
        Losses by registered name, for those that are not registered in this process.

    Raises
    ------
    ValueError
        If the loss is neither in `custom` nor registered; the message names it.
    """
    cls = find_class(description["name"], "loss", LOSSES, custom)
    if isinstance(cls, type) and _is_kernel(cls):
        cls = _public(cls)
    if not (isinstance(cls, type) and issubclass(cls, Loss)):
        raise TypeError(f"custom[{description['name']!r}] must be a class decorated with @fp.loss")
    weights: Sequence[float] | None = description["output_weights"]
    averages = bool(description.get("averages", cls.component.averages))  # older files do not say
    return _remake(cls, description["fields"], weights, averages)
