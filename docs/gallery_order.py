"""The order of the gallery: from one step by hand to whole problems."""

from __future__ import annotations

ORDER = (
    "hand_worked", "moons", "sine", "linear_models", "custom_activation", "optimizers", "vanishing", "regularisation",
    "multi_output", "reaction_rates", "ising", "imbalanced", "online", "mnist",
)  # fmt: skip


def key(name: str) -> tuple[int, str]:
    """Where a script stands; those that are not listed come last."""
    stem = name.removesuffix(".py")
    return (ORDER.index(stem) if stem in ORDER else len(ORDER)), stem
