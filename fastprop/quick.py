"""Prepared calls: a few plain rows reach the kernels in microseconds.

The general way describes X and y, finds an engine and lays out tables: 100 us and more, where the arithmetic of a row
of a small network takes 1 us. So a network keeps engines whose addresses are all set, with X and y in buffers of their
own. A call looks whether its rows are plain, copies them there and runs. Where anything is unusual, or wrong, the
answer is None and nothing has changed: the general way then does the same to the same bits, or raises the error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import DTYPE_CODES, Matrix
from .engine import Engine, chunk_limit, has_little_work
from .engines import next_power, recipe_of
from .kernels import records
from .kernels.catalogue import run_chunks
from .optimizers import depends_on_settings
from .plan import Plan
from .schedules import rate_of, watches
from .targets import is_multilabel
from .workspace import Form, Recipe

if TYPE_CHECKING:
    from .network import Network

ARRAYS = frozenset({np.ndarray, np.memmap})  # not their subclasses: a masked array is not plain
SCALARS = frozenset({bool, int, float, str})  # in lists of targets
NUMBERS, LABELS = "?bhilqBHILQefd", "?bhilqBHILQefdU"  # dtypes (`char`) of arrays of targets
LARGEST = 2.0**53  # targets beyond it might be rounded twice on their way through float64
MAX_KINDS = 16  # of prepared calls that are kept
MAX_BYTES = 1 << 18  # of X: copying them takes some 10 us

# What an engine for training is made from. Tuples compare by identity first: 0.3 us for all of it.
made_from = attrgetter(
    "_parameters", "loss", "optimizer", "l1", "l2", "divides_penalties", "clip_value", "clip_norm", "seed"
)


def cell(array: Any) -> Any:
    """One number of an array, as [0]: 0.06 us to read, where a record's field takes 0.4."""
    return memoryview(array)


class Prepared:
    """An engine, on one thread, with a buffer for up to `n_rows` rows of X of one dtype."""

    def __init__(self, net: Network, recipe: Recipe, form: Form, n_rows: int, dtype: np.dtype[Any]) -> None:
        plan = net._built()
        self.parameters = net._parameters
        self.engine = Engine(plan, self.parameters, recipe, form, n_rows)
        self.X, self.y = np.zeros((n_rows, plan.n_features), dtype), np.zeros((n_rows, form.n_targets))
        self.engine.bind(Matrix.of(self.X), Matrix.of(self.y))
        self.chunk = np.zeros(1, records.CHUNK)
        self.chunk["is_last"] = 1
        is_online = self.engine.is_online  # then rows and rates are counted in tables
        self.rates: Any = np.zeros(1) if is_online else self.chunk["lr"]
        self.engine.set_rows(np.zeros(1, np.int64) if is_online else None)
        self.engine.set_chunks(self.chunk, self.rates if is_online else None)
        self.run: Callable[[], int] = partial(run_chunks.function, self.engine.prepare(0, 1), 0, 1)
        self.status, self.done = cell(self.engine.job["status"]), cell(self.engine.job["done"])
        self.n_rows = 0

    def resize(self, n_rows: int) -> None:
        """Take calls of `n_rows` rows from now on."""
        self.n_rows, self.rows = n_rows, self.X[:n_rows]
        self.chunk["n_rows"], self.chunk["inverse_weight"] = n_rows, 1.0 / n_rows


class Outputs(Prepared):
    """The raw outputs of a few rows."""

    @staticmethod
    def serves(net: Network) -> bool:
        """Whether a built network may be called so."""
        return True

    def __init__(self, net: Network, n_rows: int, dtype: np.dtype[Any]) -> None:
        super().__init__(net, recipe_of(net, "predict"), Form(), n_rows, dtype)
        self.all_out = np.zeros((n_rows, net.n_outputs_), net.dtype)
        self.engine.set_out(self.all_out)

    def resize(self, n_rows: int) -> None:
        super().resize(n_rows)
        self.out = self.all_out[:n_rows]

    def is_current(self, net: Network) -> bool:
        """Whether the network still has the parameters that this was made for."""
        return self.parameters is net._parameters

    def __call__(self, net: Network, X: np.ndarray, y: None) -> np.ndarray | None:
        """The raw outputs, shape (n_rows, n_outputs)."""
        if len(X) != self.n_rows:
            self.resize(len(X))
        self.rows[...] = X
        self.run()
        if self.status[0] == records.OK:
            return self.out.copy()
        self.engine.prepare(0, 1)
        return None


class Update(Prepared):
    """One update on a few rows."""

    @staticmethod
    def serves(net: Network) -> bool:
        """Whether a built network may be called so: not where the general way does more than the update."""
        if not net._has_seen_data or net._built().has_batch_norm or net.loss.output_weights is not None:
            return False
        return depends_on_settings(net.optimizer) and net._parameters.rule is type(net.optimizer.rule())

    def __init__(self, net: Network, n_rows: int, dtype: np.dtype[Any]) -> None:
        task = net.loss.task
        has_codes = task != "regression" and not is_multilabel(net.loss, net.n_outputs_)
        self.n_targets = 1 if has_codes else net.n_outputs_
        super().__init__(net, recipe_of(net, "train"), Form(self.n_targets, has_codes), n_rows, dtype)
        self.made_from, self.settings, self.classes = made_from(net), dict(net.optimizer.settings), net.classes_
        self.targets, self.first_target = self.y.reshape(-1), cell(self.y.reshape(-1))
        self.count, self.lr = cell(self.chunk["count"]), cell(self.rates)
        self.loss, self.penalty = cell(self.chunk["loss"]), cell(self.chunk["penalty"])
        self.codes: dict[Any, float] | None = codes_of(net.classes_) if has_codes else None
        self.chars = LABELS if has_codes else NUMBERS
        self.low = -LARGEST if task == "regression" and net.loss.name != "poisson" else 0.0
        self.high = LARGEST if task == "regression" else 1.0

    def resize(self, n_rows: int) -> None:
        super().resize(n_rows)
        self.shapes = ((n_rows,), (n_rows, 1)) if self.n_targets == 1 else ((n_rows, self.n_targets),)

    def is_current(self, net: Network) -> bool:
        """Whether the network still is what this was made from."""
        return (
            made_from(net) == self.made_from
            and net.loss.output_weights is None  # an array has no truth value to compare with
            and net.classes_ is self.classes
            and net.optimizer.settings == self.settings
        )

    def read(self, y: Any) -> list[float] | None:
        """y as kernels read it, row by row; None if it is not plain."""
        if type(y) in ARRAYS:
            if y.shape not in self.shapes or y.dtype.char not in self.chars:
                return None
            values = y.tolist() if y.ndim == 1 else y.ravel().tolist()
        elif type(y) is list and (len(y),) in self.shapes and all(type(v) in SCALARS for v in y):
            values = y
        else:
            return None
        try:
            if self.codes is not None:
                return [self.codes[v] for v in values]
            return values if all(self.low <= v <= self.high for v in values) else None
        except (KeyError, TypeError):
            return None

    def __call__(self, net: Network, X: np.ndarray, y: Any) -> float | None:
        """The loss before the update."""
        if len(X) != self.n_rows:
            self.resize(len(X))
        self.rows[...] = X
        targets = self.read(y)
        if targets is None:
            return None
        rate, parameters = net.optimizer.lr, self.parameters
        if not isinstance(rate, float) and watches(rate):  # it wants to know the loss
            return None
        rate = rate_of(rate, parameters.count)
        if len(targets) == 1:
            self.first_target[0] = targets[0]
        else:
            self.targets[: len(targets)] = targets
        count = parameters.count + 1
        self.count[0], self.lr[0] = count, rate
        try:
            self.run()
        finally:  # Ctrl-C may come between the update and the next line
            if self.done[0]:
                self.done[0], parameters.count = 0, count
        if self.status[0] == records.OK:
            loss: float = self.loss[0] + self.penalty[0]
            return loss * self.n_rows / self.n_rows  # with the trainer's roundings
        self.engine.prepare(0, 1)
        return None


def codes_of(classes: np.ndarray | None) -> dict[Any, float]:
    """From labels to codes, as floats; equal numbers of several types are one key."""
    return {} if classes is None else {label: float(code) for code, label in enumerate(classes.tolist())}


def is_plain(X: np.ndarray, plan: Plan) -> bool:
    """Whether an array is a few rows for a network of this plan."""
    if X.ndim != 2 or X.shape[1] != plan.n_features or X.dtype.str not in DTYPE_CODES:
        return False
    return 0 < len(X) <= chunk_limit(plan) and X.nbytes <= MAX_BYTES and has_little_work(plan, len(X))


class Calls:
    """The prepared calls of one kind of a network; threads that call at once have one each."""

    def __init__(self, kind: type[Outputs] | type[Update]) -> None:
        self._kind = kind
        self._idle: dict[Any, list[Any]] = {}  # by rows, rounded up, and dtype
        self._of_shape: dict[Any, list[Any]] = {}  # the same lists, by shape and dtype

    def run(self, net: Network, X: Any, y: Any = None) -> Any:
        """What a prepared call gives for plain data; None, and nothing done, for other."""
        if type(X) not in ARRAYS:
            return None
        try:
            idle = self._of_shape[X.shape, X.dtype]
            call = idle.pop()
        except (KeyError, IndexError):
            idle, call = self._find(net, X)
        if call is not None and not call.is_current(net):
            self._idle, self._of_shape = {}, {}  # the others are as old, or older
            idle, call = self._find(net, X)
        if call is None:
            return None
        answer = call(net, X, y)
        idle.append(call)
        return answer

    def _find(self, net: Network, X: np.ndarray) -> tuple[list[Any], Any]:
        """A call that fits X, a new one if need be, and the list that it goes to afterwards."""
        if net._plan is None or not is_plain(X, net._plan) or not self._kind.serves(net):
            return [], None
        n_rows = min(next_power(len(X)), chunk_limit(net._plan))
        if (n_rows, X.dtype) not in self._idle and len(self._idle) >= MAX_KINDS:
            self._idle, self._of_shape = {}, {}
        idle = self._of_shape[X.shape, X.dtype] = self._idle.setdefault((n_rows, X.dtype), [])
        try:
            return idle, idle.pop()
        except IndexError:
            return idle, self._kind(net, n_rows, X.dtype)


class Quick:
    """The prepared calls of a network.

    Attributes
    ----------
    outputs : Calls
        (net, X) gives the raw outputs, shape (n_samples, n_outputs).
    update : Calls
        (net, X, y) gives the loss before one update.
    """

    def __init__(self) -> None:
        self.outputs, self.update = Calls(Outputs), Calls(Update)
