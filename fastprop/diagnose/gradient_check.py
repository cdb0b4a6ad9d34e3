"""`check_gradients`: the gradients of the engine against central differences of its own loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments import check_number, check_positive_int
from ..engines import job_of
from ..models import parameter_names
from ..passes import loss_and_gradients, one_pass
from .copies import Problem, prepare
from .differences import SMALLER_STEPS, STEP, noise, relative_error
from .errors import GradientError
from .formula_check import FormulaCheck, check_formulas
from .formulas import evaluate
from .tables import table
from .trace import forward, loss_and_gradient, trace

CORNER = 1e-3  # a derivative that changes by more than this within a step has a corner there


@dataclass(frozen=True)
class ArrayCheck:
    """The parameters of one array.

    Attributes
    ----------
    name : str
        As in `state_dict`: "layers.0.W".
    n_parameters : int
        Numbers in it.
    n_checked : int
        Those of them that were checked.
    n_corners : int
        Those that were left out after all, for within the smallest step a corner (of relu, hinge, ...) is crossed.
    error : float
        The largest relative error, |analytic - numeric| / max(|analytic|, |numeric|, r); r keeps what is only rounding
        of the loss below the tolerance.
    place : tuple of int
        Its index.
    analytic, numeric : float
        The engine's gradient there, and the central difference.
    """

    name: str
    n_parameters: int
    n_checked: int
    n_corners: int
    error: float
    place: tuple[int, ...]
    analytic: float
    numeric: float

    @property
    def parameter(self) -> str:
        """The place with its index: "layers.0.W[3, 5]"."""
        return f"{self.name}[{', '.join(map(str, self.place))}]"


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` found; `str` gives a table.

    Attributes
    ----------
    rows : list of ArrayCheck
        In the order of the layers.
    formulas : list of FormulaCheck
        Each activation that is in use, and the loss.
    tol : float
        The largest relative error that passes.
    """

    rows: list[ArrayCheck]
    formulas: list[FormulaCheck] = field(repr=False)
    tol: float

    @property
    def worst(self) -> ArrayCheck:
        """The row with the largest error."""
        return max(self.rows, key=lambda row: row.error)

    @property
    def passed(self) -> bool:
        """Whether all errors are within the tolerance."""
        return not self.wrong_formulas and self.worst.error <= self.tol

    @property
    def wrong_formulas(self) -> list[FormulaCheck]:
        """The formulas that are wrong, the worst first."""
        return sorted((f for f in self.formulas if not f.error <= self.tol), key=lambda f: -f.error)

    def __str__(self) -> str:
        header = ("array", "checked", "worst at", "analytic", "numeric", "relative error")
        rows = [
            (
                r.name, _of(r.n_checked, r.n_parameters), str(list(r.place)), f"{r.analytic:.6e}", f"{r.numeric:.6e}",
                f"{r.error:.1e}",
            )
            for r in self.rows
        ]  # fmt: skip
        corners = sum(row.n_corners for row in self.rows)
        left_out = f"; {corners:,} beside a corner were left out" if corners else ""
        n, w = _of(sum(r.n_checked for r in self.rows), sum(r.n_parameters for r in self.rows)), self.worst
        verdict = "agree" if self.passed else "DISAGREE"
        end = f"{n} parameters: gradients and central differences {verdict}; largest relative error {w.error:.1e}"
        return "\n".join([table(header, rows), f"{end} at {w.parameter}{left_out}"])


def _of(n_checked: int, n_parameters: int) -> str:
    """ "200 of 4,096", or "64" if that is all."""
    return f"{n_checked:,}" + (f" of {n_parameters:,}" if n_checked < n_parameters else "")


def check_gradients(
    net: Any, X: Any, y: Any, sample_weight: Any = None, tol: float = 1e-5, max_per_array: int | None = 1000
) -> GradientCheck:
    """Compare the gradient of each parameter with a central difference of the loss, in float64.

    What is checked is the engine, on a float64 copy of the network: `Network.gradients` against differences of its own
    training loss (dropout off, batch norm with the statistics of X, l1 and l2 included). The formulas of activations
    and of the loss are compared with the slopes of their values as well, at the points that occur, so that an error in
    one of your own is named; so they are on a fixed grid from -31 to 31, for a slip may show only where a unit is
    nearly saturated. A few rows of X are enough, and quick: each parameter takes two passes over them.

    Parameters
    ----------
    net : Network
        It is not changed. One that is not built yet is checked with the weights that it would start from.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like of shape (n_samples,), optional
    tol : float > 0, default 1e-5
        The largest relative error that passes. Right formulas stay below 1e-6 as a rule; a factor of 1.0001 that is
        wrong shows as 1e-4.
    max_per_array : int >= 1, or None, default 1000
        Of a larger array so many parameters are checked, always the same ones, drawn at random; the table says so. None
        checks all: 20 rows through 784-512-10 would take half an hour, with the default it is 10 s.

    Returns
    -------
    GradientCheck
        `str` of it is a table with a row for each array.

    Raises
    ------
    GradientError
        A ValueError, if a gradient is off by more; it names the worst parameter, and the formula that is wrong.
    TypeError, ValueError
        If an argument does not fit, as `Network.gradients`.

    Notes
    -----
    A derivative that jumps, as relu's, has no central difference beside its corner: smaller steps are tried, and a
    parameter that crosses a corner even with the smallest (1e-7) is left out and counted. Differences that rounding
    of the loss could make are no errors, and neither are those below the second difference of the loss, as where a
    network fits its targets exactly.

    Examples
    --------
    >>> import fastprop as fp
    >>> net = fp.Network([fp.Dense(3, activation="tanh"), fp.Dense(1)])
    >>> fp.diagnose.check_gradients(net, [[0.1, 0.2], [0.3, -0.4]], [1.0, 2.0]).passed
    True
    """
    tol = check_number("tol", tol, 0.0, inclusive="neither")
    max_per_array = check_positive_int("max_per_array", max_per_array, allow_none=True)
    problem = prepare(net, X, y, sample_weight, dtype="float64", dropout=False)
    formulas = check_formulas(problem.net, trace(problem), problem.Y, tol)
    check = GradientCheck(Differences(problem, tol, max_per_array).rows(), formulas, tol)
    if not check.passed:
        raise GradientError(_message(check), check)
    return check


def _message(check: GradientCheck) -> str:
    w = check.worst
    parts = [f"{formula}." for formula in check.wrong_formulas]
    if w.error > check.tol:
        parts.append(
            f"The gradient of {w.parameter} is {w.analytic:.6g}, but the central difference of the loss is "
            f"{w.numeric:.6g} (relative error {w.error:.1e}, allowed {check.tol:g})."
        )
    text = " ".join(parts)
    return text[0].upper() + text[1:] + f"\n{check}"


class Differences:
    """Central differences of the engine's training loss with respect to each parameter."""

    def __init__(self, problem: Problem, tol: float, max_per_array: int | None) -> None:
        self.problem, self.tol, self.net, self.max_per_array = problem, tol, problem.net, max_per_array
        self.rng = np.random.default_rng(0)  # the same parameters each time
        self.plan = self.net._built()
        self.vector = self.net._parameters.rows[0]
        p = problem
        self.gradients = loss_and_gradients(self.net, p.matrix, p.targets, p.weights)[1]

    def rows(self) -> list[ArrayCheck]:
        """A row for each array."""
        p, found = self.problem, []
        numbers = np.arange(len(self.vector), dtype=np.float64)  # where each parameter lies in the vector
        with self.net._engines.lend(job_of(self.net, "store", p.matrix, p.targets), p.matrix.n_rows, 1) as engine:
            engine.bind(p.matrix, p.targets.matrix, p.weights)
            self.engine = engine
            self.loss = self._data_loss()
            for op, gradients in zip(self.plan.parametric, self.gradients, strict=True):
                for name, at, gradient in zip(
                    parameter_names(op), self.plan.unpack(op, numbers), gradients, strict=True
                ):
                    if at is not None and gradient is not None:
                        found.append(self._row(f"{op.key}.{name}", at.astype(np.intp), gradient))
        return found

    def _row(self, name: str, at: np.ndarray, gradient: np.ndarray) -> ArrayCheck:
        chosen = self._choose(at.size)
        flat, analytic = at.ravel()[chosen], gradient.ravel()[chosen]
        corners, numeric, errors = 0, np.empty(len(chosen)), np.empty(len(chosen))
        for i, k in enumerate(flat.tolist()):
            numeric[i], errors[i], is_corner = self._compare(k, float(analytic[i]))
            corners += is_corner
        worst = int(errors.argmax())
        place = tuple(int(i) for i in np.unravel_index(int(chosen[worst]), at.shape))
        error, there = float(errors[worst]), (float(analytic[worst]), float(numeric[worst]))
        return ArrayCheck(name, at.size, len(chosen), corners, error, place, *there)

    def _choose(self, n: int) -> np.ndarray:
        """Which of n parameters are checked."""
        most = n if self.max_per_array is None else self.max_per_array
        return np.arange(n) if n <= most else np.sort(self.rng.choice(n, most, replace=False))

    def _compare(self, k: int, analytic: float) -> tuple[float, float, bool]:
        """The difference that agrees best among those of smaller and smaller steps, its error, and whether a corner is
        to blame."""
        numeric, error = analytic, np.inf
        for step in (STEP, *SMALLER_STEPS):
            closer, closer_error = self._difference(k, analytic, step)
            if not closer_error >= error:
                numeric, error = closer, closer_error
            if error <= self.tol:
                return numeric, error, False
        if self._crosses_corner(k, self._step(k, SMALLER_STEPS[-1])):
            return analytic, 0.0, True
        return numeric, error, False

    def _step(self, k: int, step: float) -> float:
        return step * max(1.0, abs(float(self.vector[k])))

    def _difference(self, k: int, analytic: float, step: float) -> tuple[float, float]:
        """The central difference of the loss for parameter k, and the error of `analytic` against it."""
        h = self._step(k, step)
        above, here, below = self._loss_at(k, h), self._loss_at(k, 0.0), self._loss_at(k, -h)
        numeric = (above - below) / (2 * h)
        # The first difference is off by h^2 / 6 times the third derivative: where a network fits exactly, and the true
        # derivative is 0, that is all there is. The second difference, h^2 times the second one, is of that size.
        floor = noise(max(abs(above), abs(here), abs(below)), h) + abs(above - 2 * here + below)
        return numeric, float(relative_error(analytic, numeric, floor, self.tol))

    def _loss_at(self, k: int, h: float) -> float:
        """The training loss with parameter k moved by h; of the penalties, that of k only."""
        before = float(self.vector[k])
        self.vector[k] = before + h
        try:
            return (self._data_loss() if h else self.loss) + self._penalty(k, before + h)
        finally:
            self.vector[k] = before

    def _data_loss(self) -> float:
        p = self.problem
        try:
            return float(one_pass(self.engine, p.matrix.n_rows, p.weights)["loss"].sum())
        finally:
            self.net._parameters.rows[1] = 0.0  # the gradients, which are stored with the loss

    def _penalty(self, k: int, w: float) -> float:
        """What l1 and l2 add for parameter k, if it is of a W; the others' shares cancel from a difference."""
        net, p = self.net, self.problem
        if not (net.l1 or net.l2):
            return 0.0
        if not any(op.is_dense and op.w <= k < op.w + op.n_weights for op in self.plan.parametric):
            return 0.0
        total = p.matrix.n_rows if p.weights is None else float(p.weights.sum())
        return (0.5 * net.l2 * w * w + net.l1 * abs(w)) / (total if net.divides_penalties else 1.0)

    def _crosses_corner(self, k: int, h: float) -> bool:
        """Whether a derivative of an activation, or the gradient of the loss, jumps between w - h and w + h."""
        sides = []
        for sign in (-1.0, 1.0):
            before = self.vector[k]
            self.vector[k] = before + sign * h
            sides.append(self._derivatives())
            self.vector[k] = before
        here = self._derivatives()
        return any(
            bool((abs(side - middle) > CORNER * np.maximum(1.0, abs(middle))).any())
            for one_side in sides
            for side, middle in zip(one_side, here, strict=True)
        )

    def _derivatives(self) -> list[np.ndarray]:
        p = self.problem
        records, outputs = forward(self.net, p.X)
        gradient = loss_and_gradient(self.net.loss, p.Y, outputs, np.ones(len(p.X)))[1]
        return [
            gradient,
            *(evaluate(r.op.out.activation, "derivative", r.z, r.a) for r in records if r.op.is_dense),
        ]
