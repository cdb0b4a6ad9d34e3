"""Forward and backward in plain NumPy and float64, with everything kept: what the kernels compute and throw away.

It follows the plan of the network as the kernels do, in the notation of the textbook: z = x W + b, a = f(z),
delta = dL/dz, dW = x^T delta. Dropout is off, batch norm takes the statistics of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DivergenceError
from ..losses import Loss
from ..network import Network
from ..plan import Operation
from .copies import Problem
from .formulas import evaluate


@dataclass(eq=False)
class Record:
    """What happened in one operation; arrays are float64, rows are samples.

    Attributes
    ----------
    op : Operation
        From the plan: its kind is "dense", "batch_norm", "layer_norm", "dropout" or "residual".
    x : ndarray of shape (n_samples, n_in)
        Its input.
    z, a : ndarray of shape (n_samples, n_out)
        Before and after the activation; z of a norm is its input made mean 0 and variance 1.
    W, b : ndarray or None
        Of a norm gamma and beta.
    slope : ndarray of shape (n_samples, n_out), or None
        Of a dense layer: f'(z).
    error : ndarray of shape (n_samples, n_out)
        The gradient of the mean loss with respect to a.
    delta : ndarray of shape (n_samples, n_out)
        The gradient of the mean loss with respect to z; of a norm, dropout or residual with respect to a.
    dW, db : ndarray or None
        With l1 and l2.
    """

    op: Operation
    x: np.ndarray
    z: np.ndarray
    a: np.ndarray
    W: np.ndarray | None = None
    b: np.ndarray | None = None
    spread: np.ndarray | None = None  # of a norm: the standard deviation that it divides by
    slope: Any = None
    error: Any = None
    delta: Any = None
    dW: np.ndarray | None = None
    db: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward and a backward pass.

    Attributes
    ----------
    records : list of Record
        In the order of the forward pass.
    outputs : ndarray of shape (n_samples, n_outputs)
        Raw: before the link of the loss.
    data_loss, penalty : float
        The mean loss, and what l1 and l2 add to it.
    """

    records: list[Record]
    outputs: np.ndarray
    data_loss: float
    penalty: float

    @property
    def loss(self) -> float:
        """The training loss."""
        return self.data_loss + self.penalty


def trace(problem: Problem) -> Trace:
    """Run a problem forward and backward.

    Raises
    ------
    DivergenceError
        If a number on the way is not finite; it names the layer and the sample.
    """
    with np.errstate(all="ignore"):
        records, outputs = forward(problem.net, problem.X)
        loss, gradient = loss_and_gradient(problem.net.loss, problem.Y, outputs, problem.shares)
        if not np.isfinite(loss):
            row = int(np.flatnonzero(~np.isfinite(gradient).all(axis=1)).tolist()[0]) if _bad(gradient) else 0
            raise DivergenceError(f"the loss is {loss} (sample {row}): the outputs or the targets are too large")
        backward(records, gradient, problem.net)
        penalty = add_penalties(records, problem)
    return Trace(records, outputs, loss, penalty)


def loss_of(problem: Problem) -> float:
    """The training loss alone; inf or NaN where it has left the finite numbers."""
    net, scale = problem.net, penalty_scale(problem)
    with np.errstate(all="ignore"):
        try:
            records, outputs = forward(net, problem.X)
        except DivergenceError:
            return float("inf")
        loss, _ = loss_and_gradient(net.loss, problem.Y, outputs, problem.shares)
        return loss + sum(scale * penalty_of(net, record.W) for record in records if record.op.is_dense)


# ---- forward ------------------------------------------------------------------------------------------------------


def forward(net: Network, X: np.ndarray) -> tuple[list[Record], np.ndarray]:
    """All operations in order, and the raw outputs."""
    plan, pairs = net._built(), iter(net.get_weights())
    values, records = {plan.values[0].index: X}, []
    for op in plan.operations:
        x = values[op.x.index]
        if op.is_dense or op.is_norm:
            W, b = (None if p is None else p.astype(np.float64) for p in next(pairs))
            record = (_dense if op.is_dense else _norm)(op, x, W, b)
        elif op.skip is not None:
            a = x + values[op.skip.index]
            record = Record(op, x, a, a)
        else:  # dropout, which is off
            record = Record(op, x, x, x)
        for name in ("z", "a"):
            check_finite(getattr(record, name), name, op)
        values[op.out.index] = record.a
        records.append(record)
    return records, records[-1].a


def _dense(op: Operation, x: np.ndarray, W: Any, b: Any) -> Record:
    z = x @ W + (0.0 if b is None else b)
    return Record(op, x, z, evaluate(op.out.activation, "value", z), W, b)


def _norm(op: Operation, x: np.ndarray, gamma: Any, beta: Any) -> Record:
    axis, eps = _axis(op), op.layer.eps  # type: ignore[union-attr]
    spread = np.sqrt(x.var(axis=axis, keepdims=True) + eps)
    z = (x - x.mean(axis=axis, keepdims=True)) / spread
    return Record(op, x, z, z * gamma + beta, gamma, beta, spread)


def _axis(op: Operation) -> int:
    """Along which a norm takes its statistics: samples or features."""
    return 0 if op.kind == "batch_norm" else 1


def _bad(array: np.ndarray) -> bool:
    return not np.isfinite(array).all()


def check_finite(array: np.ndarray, what: str, op: Operation) -> None:
    """A DivergenceError that names the first number that is not finite."""
    if not _bad(array):
        return
    row, unit = np.argwhere(~np.isfinite(array))[0].tolist()
    remedy = "a smaller init, clip_norm=1.0 in training, or inputs of mean 0 and deviation 1"
    raise DivergenceError(f"{what} of {op.name} is {array[row, unit]} in sample {row}, unit {unit}: try {remedy}")


# ---- the loss -----------------------------------------------------------------------------------------------------


def loss_and_gradient(loss: Loss, Y: np.ndarray, p: np.ndarray, shares: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss sum_i share_i l(y_i, p_i) without penalties, and its gradient with respect to the raw outputs p."""
    c = loss.coefficients(p.shape[1])
    if loss.across_outputs:
        values, gradients = _cross_entropy(c, loss.kernel.label_smoothing, Y, p)
    else:
        values = c * evaluate(loss.kernel, "value", Y, p)
        gradients = c * evaluate(loss.kernel, "gradient", Y, p)
    used = shares > 0.0  # a weight of zero also hides a loss that overflows
    return float(shares[used] @ values.sum(axis=1)[used]), np.where(used[:, None], shares[:, None] * gradients, 0.0)


def _cross_entropy(c: np.ndarray, smoothing: float, Y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = c * ((1.0 - smoothing) * Y + smoothing / p.shape[1])
    log_softmax = p - np.logaddexp.reduce(p, axis=1, keepdims=True)
    return -t * log_softmax, t.sum(axis=1, keepdims=True) * np.exp(log_softmax) - t


# ---- backward -----------------------------------------------------------------------------------------------------


def backward(records: list[Record], gradient: np.ndarray, net: Network) -> None:
    """Fill in delta, dW and db of all records, from the gradient of the raw outputs."""
    errors: dict[int, Any] = {net._built().output.index: gradient}
    for record in reversed(records):
        op, error = record.op, errors[record.op.out.index]
        record.error = dx = error
        if op.is_dense:
            record.slope = evaluate(op.out.activation, "derivative", record.z, record.a)
            record.delta = error * record.slope
            record.dW = record.x.T @ record.delta
            record.db = None if record.b is None else record.delta.sum(axis=0)
            assert record.W is not None
            dx = record.delta @ record.W.T
        else:
            record.delta = error
            if op.is_norm:
                record.dW, record.db = (error * record.z).sum(axis=0), error.sum(axis=0)
                dx = _norm_backward(record, error)
        check_finite(record.delta, "delta", op)
        for value in (op.x, op.skip):
            if value is not None:
                errors[value.index] = errors.get(value.index, 0.0) + dx


def _norm_backward(record: Record, error: np.ndarray) -> np.ndarray:
    axis, g = _axis(record.op), error * record.W
    dx = g - g.mean(axis=axis, keepdims=True) - record.z * (g * record.z).mean(axis=axis, keepdims=True)
    return np.asarray(dx / record.spread)


def penalty_scale(problem: Problem) -> float:
    """What l1 and l2 are multiplied with."""
    if not problem.net.divides_penalties:
        return 1.0
    return 1.0 / (len(problem.X) if problem.weights is None else float(problem.weights.sum()))


def penalty_of(net: Network, W: np.ndarray | None) -> float:
    """What l1 and l2 add to the loss for the W of a dense layer."""
    if W is None or not (net.l1 or net.l2):
        return 0.0
    return 0.5 * net.l2 * float((W**2).sum()) + net.l1 * float(abs(W).sum())


def add_penalties(records: list[Record], problem: Problem) -> float:
    """Add l1 and l2 to the gradients of W, as training does; returns what they add to the loss."""
    net, scale, penalty = problem.net, penalty_scale(problem), 0.0
    for record in records:
        if record.op.is_dense and (net.l1 or net.l2):
            assert record.W is not None
            assert record.dW is not None
            record.dW += scale * (net.l2 * record.W + net.l1 * np.sign(record.W))
            penalty += scale * penalty_of(net, record.W)
    return penalty
