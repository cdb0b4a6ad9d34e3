"""`gradient_flow`: how large the error signal is in each layer, and what becomes of it on its way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_positive_int
from ..errors import DivergenceError
from ..initializers import automatic
from ..layers import Dense
from ..models import dense_layers
from ..network import Network
from .copies import Problem, check_network, prepare, step
from .tables import number, share, table
from .trace import Record, loss_of, trace
from .verdict import Verdict, judge

STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "hard_tanh": 1.0, "softsign": 1.0}  # slopes of activations with two bounds
FLAT = 0.05  # a unit is saturated where its slope is below this part of the steepest


@dataclass(frozen=True)
class LayerFlow:
    """What reaches one layer.

    Attributes
    ----------
    name : str
        "layers[0]", "layers[2].layers[1]".
    kind : str
        "dense", "batch_norm" or "layer_norm".
    activation : str
        "identity" for norms, and for a last layer whose activation the loss applies.
    gradient : float
        The norm of the gradient of its parameters, sqrt(|dW|^2 + |db|^2), l1 and l2 included.
    delta : float
        The size of its error signal: the norm over units of the gradient of a sample's loss with respect to z (of a
        norm: with respect to its output), as the root of its mean square over samples.
    ratio : float
        |W after an update - W| / |W|, of one real update with all rows on a copy; some 1e-3 is usual.
    dead : float or None
        The share of units whose slope is 0 for every sample: they learn nothing. None for activations with two bounds.
    saturated : float or None
        The share of outputs, over samples and units, where the slope is below 5 % of the steepest: for sigmoid beyond
        0.0127 and 0.9873, for tanh beyond 0.975 in size. None for activations without two bounds.
    error : float
        As `delta`, of the gradient with respect to a: before the slope of the activation makes it smaller.
    scale : float or None
        The root mean square of W as a multiple of the deviation that init="auto" draws with. None for norms.
    is_auto : bool
        Whether the layer's init is "auto".
    """

    name: str
    kind: str
    activation: str
    gradient: float
    delta: float
    ratio: float
    dead: float | None
    saturated: float | None
    error: float
    scale: float | None
    is_auto: bool


@dataclass(frozen=True)
class Flow:
    """What `gradient_flow` found; `str` gives a table and words.

    Attributes
    ----------
    layers : list of LayerFlow
        In the order of the forward pass: each Dense and norm layer, those inside Residual included.
    finding : str
        "vanishing", "exploding" or "healthy".
    where : str or None
        The layer where it starts, on the way back from the output.
    verdict : str
        The same in words, with numbers, and what to try.
    loss, loss_after : float
        The training loss of the rows, and after the update that the ratios are of; NaN or inf if it diverged.
    """

    layers: list[LayerFlow]
    finding: str
    where: str | None
    verdict: str
    loss: float
    loss_after: float

    def __str__(self) -> str:
        header = ("layer", "kind", "delta", "gradient", "update/W", "dead", "saturated")
        rows = [
            (
                layer.name, layer.activation if layer.kind == "dense" else layer.kind, number(layer.delta),
                number(layer.gradient), number(layer.ratio), share(layer.dead), share(layer.saturated),
            )
            for layer in self.layers
        ]  # fmt: skip
        return f"{table(header, rows, left=2)}\n{self.verdict}"


def gradient_flow(net: Any, X: Any, y: Any, sample_weight: Any = None) -> Flow:
    """Measure the gradients of each layer, and say whether they vanish or explode, where that starts, what to try.

    Forward and backward are computed in float64, in the open; dropout is off, batch norm takes the statistics of X.
    The error signal is said to vanish where it is below 1/100 of what the loss sends to the output layer, and to
    explode where it is above 100 times; a residual block counts with the largest signal in it, for its skip goes past
    the others. The advice follows from what is to blame: the output's activation, the size of the weights, saturated or
    dead units, the depth.

    Parameters
    ----------
    net : Network
        It is not changed. One that is not built yet is looked at with the weights that it would start from.
    X : array-like of shape (n_samples, n_features)
        Some hundred rows tell enough.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like of shape (n_samples,), optional

    Returns
    -------
    Flow
        A row of figures a layer, the finding, where it starts, and the advice in words.

    Raises
    ------
    DivergenceError
        A ValueError, if a number on the way is NaN or infinite; it names the layer and the sample.
    TypeError, ValueError
        If an argument does not fit, as `Network.gradients`.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(100, 8))
    >>> deep = fp.Network([*(fp.Dense(16, activation="sigmoid") for _ in range(20)), fp.Dense(1)])
    >>> fp.diagnose.gradient_flow(deep, X, X[:, 0]).finding
    'vanishing'
    """
    if not dense_layers(check_network(net).layers):
        raise ValueError("net must have a Dense layer: without one there are no gradients to follow")
    problem = prepare(net, X, y, sample_weight, dropout=False)
    found = trace(problem)
    ratios, loss_after = update_ratios(problem)
    records = [record for record in found.records if record.W is not None]
    layers = [_layer_flow(record, ratio, problem.shares) for record, ratio in zip(records, ratios, strict=True)]
    verdict: Verdict = judge(layers, int((problem.shares > 0.0).sum()), found.loss, loss_after)
    return Flow(layers, verdict.finding, verdict.where, verdict.text, found.loss, loss_after)


def _layer_flow(record: Record, ratio: float, shares: np.ndarray) -> LayerFlow:
    op = record.op
    name = op.out.activation.component_name
    gradient = np.hypot(np.linalg.norm(record.dW), 0.0 if record.db is None else np.linalg.norm(record.db))  # type: ignore[arg-type]
    dead, saturated = _idle_units(record) if op.is_dense else (None, None)
    delta, error = size(record.delta, shares), size(record.error, shares)
    scale = _scale(record.W, name) if op.is_dense else None
    is_auto = isinstance(op.layer, Dense) and isinstance(op.layer.init, str) and op.layer.init == "auto"
    return LayerFlow(op.name, op.kind, name, float(gradient), delta, ratio, dead, saturated, error, scale, is_auto)


def _scale(W: Any, activation: str) -> float:
    """The root mean square of W as a multiple of the deviation that init="auto" draws with."""
    n_in, n_out = W.shape
    variances = {"he_normal": 2 / n_in, "lecun_normal": 1 / n_in, "glorot_uniform": 2 / (n_in + n_out)}
    return float(np.sqrt((W**2).mean() / variances[automatic(activation)]))


def size(delta: np.ndarray, shares: np.ndarray) -> float:
    """Of an error signal: per sample the norm over units, over samples the root mean square.

    A row of delta has the sample's share of the mean loss in it, which is divided out: the size does not depend on
    the number of rows.
    """
    used = shares > 0.0
    rows = np.linalg.norm(delta[used], axis=1) / shares[used]
    largest = float(rows.max(initial=0.0))
    return largest * float(np.sqrt(shares[used] @ (rows / largest) ** 2)) if largest > 0.0 else 0.0  # no underflow


def _idle_units(record: Record) -> tuple[float | None, float | None]:
    """The shares of dead units and of saturated outputs."""
    name = record.op.out.activation.component_name
    if name in STEEPEST:
        return None, float((record.slope < FLAT * STEEPEST[name]).mean())
    return float((record.slope == 0.0).all(axis=0).mean()), None


def update_ratios(problem: Problem) -> tuple[list[float], float]:
    """|update| / |W| of each Dense and norm layer for one update with all rows, and the loss after it.

    The copy of the problem makes the update: with its own optimizer, its state and rate, clipping and penalties.
    """
    net: Network = problem.net
    before = [W.astype(np.float64) for W, _ in net.get_weights()]
    try:
        step(problem)
    except DivergenceError:  # in float32, where float64 is still finite
        return [np.inf] * len(before), np.nan
    after = [W.astype(np.float64) for W, _ in net.get_weights()]
    norms = [(np.linalg.norm(new - old), np.linalg.norm(old)) for new, old in zip(after, before, strict=True)]
    return [_ratio(*pair) for pair in norms], loss_of(problem)


def _ratio(update: Any, weight: Any) -> float:
    if weight > 0.0:
        return float(update / weight)
    return 0.0 if update == 0.0 else float("inf")


class GradientFlow:
    """Callback: a `gradient_flow` after every n-th epoch of a fit.

    Parameters
    ----------
    X, y : array-like
        The rows to look at; some hundred are enough, and quick.
    every : int, default 1
        Epochs from one look to the next; the first epoch is looked at.

    Attributes
    ----------
    epochs : list of int
        0-based; a second fit counts on where the first one ended.
    flows : list of Flow
        One for each of `epochs`.

    Examples
    --------
    >>> import numpy as np, fastprop as fp
    >>> X = np.random.default_rng(0).normal(size=(100, 8))
    >>> watch = fp.diagnose.GradientFlow(X, X[:, 0], every=2)
    >>> net = fp.Network([fp.Dense(8, activation="relu"), fp.Dense(1)])
    >>> history = net.fit(X, X[:, 0], epochs=5, callbacks=watch, progress=False)
    >>> watch.epochs
    [0, 2, 4]
    """

    def __init__(self, X: Any, y: Any, every: int = 1) -> None:
        for name, array in (("X", X), ("y", y)):
            if array is None or isinstance(array, str):
                raise TypeError(f"{name} must be array-like, got {array!r}")
        self.X, self.y = X, y
        self.every = check_positive_int("every", every)
        self.epochs: list[int] = []
        self.flows: list[Flow] = []
        self._before, self._last = 0, -1  # epochs of fits before this one, and the last epoch of this one

    def on_epoch_end(self, net: Network, epoch: int, logs: dict[str, float]) -> None:
        """Look at the network."""
        if epoch <= self._last:  # another fit has begun
            self._before += self._last + 1
        self._last = epoch
        if (self._before + epoch) % self.every == 0:
            self.flows.append(self._look(net))
            self.epochs.append(self._before + epoch)

    def _look(self, net: Network) -> Flow:
        try:
            return gradient_flow(net, self.X, self.y)
        except (TypeError, ValueError) as error:  # whose X and y are wrong: not those of fit
            raise type(error)(f"GradientFlow: {error}") from error
