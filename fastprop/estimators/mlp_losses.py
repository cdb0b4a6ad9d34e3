"""Which loss an MLP's network has, and what scikit-learn would call its value."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.losses import LOSSES
from ..losses import BCE, CrossEntropy, Loss, Poisson, SquaredError, resolve_loss
from .mlp_labels import Labels


def summed(loss: Loss) -> Loss:
    """The loss, from now on summed over outputs, as scikit-learn's are."""
    loss.averages = False
    return loss


LOG_LOSSES: dict[bool, Loss] = {False: summed(BCE()), True: CrossEntropy()}
USUAL: dict[str, Loss] = {"squared_error": SquaredError(), "poisson": summed(Poisson())}


def loss_names(is_classifier: bool) -> set[str]:
    """The names that `loss` may have at this moment: users register theirs."""
    own = {name for name, cls in LOSSES.items() if (cls.task != "regression") == is_classifier}  # type: ignore[attr-defined]
    return own | {"log_loss"} if is_classifier else own


def loss_of(loss: Any, labels: Labels | None, output_weights: Any) -> Loss:
    """The loss of a network.

    Parameters
    ----------
    loss : str or Loss
        The estimator's parameter; "log_loss", "squared_error" and "poisson" mean scikit-learn's.
    labels : Labels or None
        None for numbers.
    output_weights : array-like of shape (n_outputs,), or None

    Raises
    ------
    ValueError
        If the loss does not fit y, or has output weights of its own besides these.
    """
    kind = None if labels is None else labels.kind
    made = _named(loss, kind == "multiclass") if isinstance(loss, str) else resolve_loss(loss)
    if (made.task == "regression") != (labels is None):
        raise ValueError(f"loss {made.name!r} is for {'numbers' if made.task == 'regression' else 'classes'}")
    if kind == "multilabel" and (made.task != "binary" or made.is_margin):
        raise ValueError(f"loss {made.name!r} needs one class a row; for several labels a row use 'log_loss' or 'bce'")
    if output_weights is None:
        return made
    if made.output_weights is not None:
        raise ValueError("give output_weights either to the estimator or to its loss")
    weighted = type(made)(output_weights=output_weights, **made.kernel._asdict())
    weighted.averages = made.averages
    return weighted


def _named(name: str, is_multiclass: bool) -> Loss:
    """The loss that a name means; one object for all estimators, since making one takes 40 us."""
    if name == "log_loss":
        return LOG_LOSSES[is_multiclass]
    if name in USUAL:
        return USUAL[name]
    return resolve_loss(name)


def output_activation(loss: Loss) -> str:
    """scikit-learn's name of what turns raw outputs into predictions."""
    return {"cross_entropy": "softmax", "bce": "logistic", "poisson": "exp"}.get(loss.name, "identity")


def reported(loss: Loss, value: float, penalty: float, n_outputs: int) -> float:
    """The `loss_` that scikit-learn reports: the mean over outputs of a squared error that trains on their sum."""
    if loss.name != "squared_error" or n_outputs == 1:
        return value
    return (value - penalty) / n_outputs + penalty


def constant_of(loss: Loss, y: np.ndarray, weights: np.ndarray | None) -> float:
    """What scikit-learn's Poisson loss has besides ours: the mean of y log y - y, summed over outputs."""
    if loss.name != "poisson" or loss.averages:
        return 0.0
    y = y.reshape(len(y), -1).astype(np.float64)
    terms = y * np.log(np.where(y > 0, y, 1.0)) - y
    if loss.output_weights is not None:
        terms = terms * loss.output_weights
    return float(np.average(terms.sum(axis=1), weights=weights))
