"""What is written for a loss: its link, its value and its gradient, as text and as LaTeX.

p is what the loss compares with the target y: the raw output a of the network, or what the link makes of it. A value
and a gradient (with respect to a) are those of one output of one sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..kernels.functions import sigmoid
from ..losses import Loss
from ..targets import softmax
from .formulas import on_arrays


class Written(NamedTuple):
    """A formula in both notations."""

    text: str
    latex: str


@dataclass(frozen=True)
class LossFormula:
    """A loss in writing.

    Attributes
    ----------
    link : str
        A name of `LINKS`.
    value, gradient : Written
    target : Written or None
        What stands for y, if it is not y itself; `value` and `gradient` call it t.
    """

    link: str
    value: Written
    gradient: Written
    target: Written | None = None


LINKS: dict[str, tuple[Written, Callable[[np.ndarray], np.ndarray]]] = {
    "identity": (Written("{}", "{}"), lambda a: a),
    "sigmoid": (Written("sigmoid({})", r"\sigma\left({}\right)"), on_arrays(sigmoid)),
    "softmax": (Written("softmax({})", r"\operatorname{{softmax}}\left({}\right)"), softmax),
    "exp": (Written("exp({})", r"\exp\left({}\right)"), np.exp),
}

# In braces: settings of the loss.
FORMULAS = {
    "mse": LossFormula("identity", Written("(p - y)^2", "(p - y)^2"), Written("2 (p - y)", "2 (p - y)")),
    "squared_error": LossFormula(
        "identity", Written("(p - y)^2 / 2", r"\tfrac12 (p - y)^2"), Written("p - y", "p - y")
    ),
    "mae": LossFormula("identity", Written("|p - y|", "|p - y|"), Written("sign(p - y)", r"\mathrm{{sign}}(p - y)")),
    "huber": LossFormula(
        "identity",
        Written(
            "k (|p - y| - k / 2), k = min(|p - y|, {delta:g})", r"k (|p - y| - k / 2),\ k = \min(|p - y|, {delta:g})"
        ),
        Written("p - y between -{delta:g} and {delta:g}", r"\min(\max(p - y, -{delta:g}), {delta:g})"),
    ),
    "quantile": LossFormula(
        "identity",
        Written("max({q:g} (y - p), (1 - {q:g}) (p - y))", r"\max({q:g} (y - p), (1 - {q:g}) (p - y))"),
        Written("-{q:g} where p < y, 1 - {q:g} where p > y", r"[p > y] - {q:g} [p \neq y]"),
    ),
    "poisson": LossFormula("exp", Written("p - y log p", r"p - y \log p"), Written("p - y", "p - y")),
    "bce": LossFormula(
        "sigmoid",
        Written("-y log p - (1 - y) log(1 - p)", r"-y \log p - (1 - y) \log(1 - p)"),
        Written("p - y", "p - y"),
    ),
    "cross_entropy": LossFormula("softmax", Written("-y log p", r"-y \log p"), Written("p - y", "p - y")),
    "hinge": LossFormula(
        "identity",
        Written("max(1 - y p, 0)", r"\max(1 - y p, 0)"),
        Written("-y where y p <= 1, else 0", r"-y\,[y p \leq 1]"),
    ),
    "squared_hinge": LossFormula(
        "identity",
        Written("max(1 - y p, 0)^2", r"\max(1 - y p, 0)^2"),
        Written("-2 y max(1 - y p, 0)", r"-2 y \max(1 - y p, 0)"),
    ),
    "modified_huber": LossFormula(
        "identity",
        Written(
            "max(1 - y p, 0)^2 where y p >= -1, else -4 y p", r"k (2 m - k),\ m = \max(1 - y p, 0),\ k = \min(m, 2)"
        ),
        Written("-2 y min(max(1 - y p, 0), 2)", r"-2 y \min(\max(1 - y p, 0), 2)"),
    ),
}


def formula_of(loss: Loss, n_outputs: int) -> LossFormula:
    """How a loss is written; a loss of the user's by its name."""
    made = FORMULAS.get(loss.name)
    if made is None:
        name = loss.name.replace("_", r"\_")
        value = Written(f"{loss.name}(y, p)", rf"\mathrm{{{name}}}(y, p)")
        return LossFormula("identity", value, Written(f"{loss.name}'(y, p)", rf"\mathrm{{{name}}}'(y, p)"))
    settings = loss.kernel._asdict()
    if loss.across_outputs and (settings["label_smoothing"] or loss.output_weights is not None):
        made = replace(
            made,
            value=Written("-t log p", r"-t \log p"),
            gradient=Written("p * (sum of t) - t", r"p \textstyle\sum t - t"),
            target=_smoothed(settings["label_smoothing"], n_outputs, loss.output_weights is not None),
        )
    value, gradient = (Written(*(part.format(**settings) for part in w)) for w in (made.value, made.gradient))
    return replace(made, value=value, gradient=gradient)


def _smoothed(smoothing: float, n_outputs: int, has_weights: bool) -> Written:
    y = f"{1 - smoothing:g} y + {smoothing:g} / {n_outputs}" if smoothing else "y"
    return Written(f"w ({y})", f"w ({y})") if has_weights else Written(y, y)


def scale_of(loss: Loss, n_rows: int, n_outputs: int) -> tuple[int, bool, bool]:
    """By what the sum over samples and outputs is divided; whether w stands before a term; whether there is a sum.

    Weights w of the outputs have the share of each output in them, as `Loss.coefficients` gives them.
    """
    has_weights = loss.output_weights is not None
    n = n_rows * (n_outputs if loss.averages and not has_weights else 1)
    return n, has_weights and not loss.across_outputs, n_rows * n_outputs > 1
