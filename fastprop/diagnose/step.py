"""`explain_step`: one forward pass, one backward pass and one update, with every number in the open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import as_array
from ..data import Dataset
from ..losses import Loss
from ..network import Network
from ..optimizers import SGD, Optimizer
from .copies import Problem, check_network, prepare, step
from .loss_formulas import LINKS, formula_of
from .step_latex import latex_of
from .step_text import text_of
from .trace import Trace, penalty_scale, trace

MAX_NUMBERS = 20_000  # parameters that a step may have: more than anybody reads


@dataclass(frozen=True, eq=False)
class StepLayer:
    """What happened in one layer; arrays are float64, rows are samples.

    Attributes
    ----------
    name : str
        "layers[0]", "layers[2].layers[1]".
    kind : str
        "dense", "batch_norm", "layer_norm", "dropout" (which is off) or "residual" (the sum that ends a block).
    activation : str
        "identity" where there is none, or the loss applies it.
    number : int
        Counted from 1, as the superscripts in the text.
    x : ndarray of shape (n_samples, n_in)
        Its input.
    skip : int or None
        Of a residual: the number of the layer whose output is added to x; 0 is the input of the network.
    z, a : ndarray of shape (n_samples, n_out)
        Before and after the activation: z = x W + b, a = f(z). Of a norm, z is the normalised input and a = gamma z +
        beta.
    slope : ndarray of shape (n_samples, n_out), or None
        f'(z) of a dense layer.
    error : ndarray of shape (n_samples, n_out)
        The gradient of the loss with respect to a.
    delta : ndarray of shape (n_samples, n_out)
        The gradient of the loss with respect to z; of layers that are not dense, with respect to a.
    W, b : ndarray or None
        W of shape (n_in, n_out); gamma and beta of a norm.
    dW, db : ndarray or None
        Their gradients, with l1 and l2.
    W_new, b_new : ndarray or None
        After the update.
    """

    name: str
    kind: str
    activation: str
    number: int
    x: np.ndarray
    skip: int | None
    z: np.ndarray
    a: np.ndarray
    slope: np.ndarray | None
    error: np.ndarray
    delta: np.ndarray
    W: np.ndarray | None
    b: np.ndarray | None
    dW: np.ndarray | None
    db: np.ndarray | None
    W_new: np.ndarray | None
    b_new: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Step:
    """One step of training; `str` writes it out as text, `to_latex` as LaTeX. Notebooks show the latter.

    Attributes
    ----------
    layers : list of StepLayer
        In the order of the forward pass.
    x : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples, n_outputs)
        Numbers; labels as the loss takes them.
    output : ndarray of shape (n_samples, n_outputs)
        Of the last layer; losses with a link (sigmoid, softmax, exp) apply it themselves.
    p : ndarray of shape (n_samples, n_outputs)
        What the loss compares with y: the output after the link.
    loss, loss_after : float
        The training loss, l1 and l2 included, before and after the update.
    loss_of : Loss
    optimizer : Optimizer
    lr : float
        The learning rate of the update.
    l1, l2 : float
        The penalties on W as this step has them: divided by the number of samples where training does that.
    clipped : bool
        Whether clip_norm or clip_value changed the gradients before the update.
    """

    layers: list[StepLayer]
    x: np.ndarray
    y: np.ndarray
    output: np.ndarray
    p: np.ndarray
    loss: float
    loss_after: float
    loss_of: Loss
    optimizer: Optimizer
    lr: float
    l1: float
    l2: float
    clipped: bool

    @property
    def is_plain(self) -> bool:
        """Whether the update was W - lr dW and no more: SGD without momentum and weight decay, nothing clipped."""
        settings = self.optimizer.settings
        has_more = self.clipped or settings.get("momentum") or settings.get("weight_decay")
        return isinstance(self.optimizer, SGD) and not has_more

    def __str__(self) -> str:
        return text_of(self)

    def to_latex(self) -> str:
        """The step as LaTeX, in `align*` environments of amsmath."""
        return latex_of(self)

    def _repr_latex_(self) -> str:
        return self.to_latex()


def explain_step(net: Any, x: Any, y: Any) -> Step:
    """Write out one step of training: every z, a, delta, dW and db, and the weights after the update.

    Forward and backward are computed in float64, in the open; the update is a real one, by the network's own optimizer
    on a copy. Dropout is off, batch norm takes the statistics of x.

    Parameters
    ----------
    net : Network
        It is not changed. One that is not built yet starts from the weights that it would have.
    x : array-like of shape (n_features,) or (n_samples, n_features)
        One sample, or a few.
    y : scalar, or array-like of shape (n_outputs,) for one sample, (n_samples,) or (n_samples, n_outputs) for more

    Returns
    -------
    Step
        `print` writes it out, with the formula of the loss and where each number comes from.

    Raises
    ------
    ValueError
        If there are more numbers than anybody would read (above 20,000 parameters), a batch norm has one sample only,
        or an argument does not fit.
    TypeError
        If `net` is no Network, or an argument is of a wrong type.

    Examples
    --------
    >>> import fastprop as fp
    >>> net = fp.Network([fp.Dense(1, init=[[2.0]])], loss="squared_error", optimizer=fp.SGD(0.1), dtype="float64")
    >>> step = fp.diagnose.explain_step(net, [3.0], 5.0)
    >>> print(step.layers[0].delta, step.layers[0].dW, step.layers[0].W_new, step.loss)
    [[1.]] [[3.]] [[1.7]] 0.5
    """
    x, y = _one_or_more(check_network(net), x, y)
    problem = prepare(net, x, y, dropout=False)
    plan = problem.net._built()
    if plan.n_parameters > MAX_NUMBERS:
        raise ValueError(f"net has {plan.n_parameters:,} parameters: explain_step writes out at most {MAX_NUMBERS:,}")
    if plan.has_batch_norm and len(problem.X) < 2:
        raise ValueError("x must have at least 2 samples with BatchNorm: one sample has no variance")
    before = trace(problem)
    optimizer = problem.net.optimizer
    lr = optimizer.lr
    rate = float(lr(problem.net._parameters.count)) if callable(lr) else float(lr)
    step(problem)
    after = trace(problem)
    loss, scale = problem.net.loss, penalty_scale(problem)
    p = LINKS[formula_of(loss, before.outputs.shape[1]).link][1](before.outputs)
    return Step(
        _layers(before, after), problem.X, problem.Y, before.outputs, p, before.loss, after.loss, loss, optimizer, rate,
        scale * problem.net.l1, scale * problem.net.l2, _is_clipped(problem, before),
    )  # fmt: skip


def _is_clipped(problem: Problem, found: Trace) -> bool:
    arrays = [g.ravel() for record in found.records for g in (record.dW, record.db) if g is not None]
    gradient, net = np.concatenate(arrays), problem.net
    bound = np.inf if net.clip_value is None else net.clip_value
    norm = float(np.linalg.norm(np.clip(gradient, -bound, bound)))
    return bool(abs(gradient).max() > bound) or (net.clip_norm is not None and norm > net.clip_norm)


def _one_or_more(net: Network, x: Any, y: Any) -> tuple[Any, Any]:
    """x and y as 2-D and 1-D or 2-D; one sample may come without its axis."""
    if isinstance(x, Dataset):
        raise TypeError("x must be an array: one sample or a few, not a Dataset")
    if np.ndim(x) == 1 and not hasattr(x, "toarray"):
        x, y = as_array(x, "x")[None, :], as_array(y, "y")
        y = y[None] if y.ndim == 0 or len(y) != 1 else y
    return x, y


def _layers(before: Trace, after: Trace) -> list[StepLayer]:
    numbers = {before.records[0].op.x.index: 0} | {r.op.out.index: k for k, r in enumerate(before.records, 1)}
    return [
        StepLayer(
            old.op.name, old.op.kind, old.op.out.activation.component_name, k, old.x,
            None if old.op.skip is None else numbers[old.op.skip.index], old.z, old.a, old.slope, old.error,
            old.delta, old.W, old.b, old.dW, old.db, new.W, new.b,
        )
        for k, (old, new) in enumerate(zip(before.records, after.records, strict=True), 1)
    ]  # fmt: skip
