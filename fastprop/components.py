"""Activations, losses and update rules as users name them: by name, class or instance, and as they stand in files."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any

from .arguments import check_number
from .errors import MissingClassError
from .kernels.components import Registry, nearest, snake_case

Description = dict[str, Any]

# Losses and rules that the estimators register when they are imported.
OF_ESTIMATORS = frozenset({
    "epsilon_insensitive", "squared_epsilon_insensitive", "perceptron", "velocity", "nesterov_velocity",
})  # fmt: skip


def is_component(cls: type, registry: Registry) -> bool:
    """Whether `cls` went through the registry's decorator."""
    return hasattr(cls, "component_name") and all(hasattr(cls, method) for method in registry.methods)


def resolve_component(value: Any, registry: Registry) -> Any:
    """A component instance from a registered name, a class (its defaults) or an instance.

    Raises
    ------
    ValueError
        If the name is unknown; the message has the nearest one. If a field is not finite.
    TypeError
        If it is none of these, or a class with a field that has no default.
    """
    if isinstance(value, str):
        value = registry[value]
    if isinstance(value, type) and is_component(value, registry):
        missing = [f for f in value._fields if f not in value._field_defaults]  # type: ignore[attr-defined]
        if missing:
            raise TypeError(f"{registry.kind} {value.__name__} needs {', '.join(missing)}: give an instance")
        value = value()
    if isinstance(value, type) or not is_component(type(value), registry):
        raise TypeError(
            f"{registry.kind} must be a name ({', '.join(sorted(registry))}), a class decorated with "
            f"@fp.{registry.kind} or an instance of one, got {value!r}"
        )
    return with_numbers(type(value), value._asdict())


def with_numbers(cls: Any, fields: Mapping[str, Any]) -> Any:
    """An instance of a component class whose fields are finite floats."""
    return cls(**{f: check_number(f"{f} of {cls.__name__}", v) for f, v in fields.items()})


def refuse_built_in_name(cls: type, registry: Registry, others: Collection[str] = ()) -> str:
    """The name that `cls` will have; a ValueError if it would hide a class of ours."""
    name = snake_case(cls.__name__)
    built_in = {n for n, known in registry.items() if known.__module__.startswith(__package__ + ".")}
    if name in built_in or name in others:
        raise ValueError(f"{cls.__name__} has the name of the built-in {registry.kind} {name!r}; choose another")
    return name


def describe_component(component: Any) -> Description:
    """A component as JSON: its registered name and its fields."""
    return {"name": component.component_name, "fields": component._asdict()}


def find_class(name: str, kind: str, known: Mapping[str, Any], custom: Mapping[str, Any] | None) -> Any:
    """What a file means by `name`: the user's class in `custom`, else the registered one.

    Raises
    ------
    MissingClassError
        If there is none; the message says how to give it.
    """
    if not isinstance(name, str) or len(name) > 1000:
        raise TypeError(f"the name of the {kind} must be a string of usual length")
    if custom and name in custom:
        return custom[name]
    if name in OF_ESTIMATORS:
        importlib.import_module(".estimators", __package__)  # scikit-learn with it, 80 MB: not for any odd name
    if name in tuple(known):
        return known[name]
    raise MissingClassError(
        f"the file needs the {kind} {name!r}, which is not registered: import the module that defines it, or give "
        f"custom={{{name!r}: ...}}; {nearest(name, known)}"
    )


def component_from(description: Description, registry: Registry, custom: Mapping[str, Any] | None = None) -> Any:
    """The component that `describe_component` described."""
    cls = find_class(description["name"], registry.kind, registry, custom)
    if not (isinstance(cls, type) and is_component(cls, registry)):
        raise TypeError(f"custom[{description['name']!r}] must be a class decorated with @fp.{registry.kind}")
    return with_numbers(cls, description["fields"])
