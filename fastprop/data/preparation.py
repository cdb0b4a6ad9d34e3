"""From the columns of tables to the matrix and the target that a network learns from, and back.

What is learnt in one pass over the training rows (medians, means, deviations, categories) is stored as JSON in the
model file and applied again to every table that the model meets.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import FileError
from . import stored
from .columns import BlockColumns
from .paths import option
from .source import Block
from .standardise import Scaling, standardise
from .statistics import Distinct, Moments, Sample
from .target import Target, TargetLearner

MAX_CATEGORIES = 1000  # more distinct strings than this are an identifier or free text, not categories
MAX_HASHED = 2**24  # features of one column
MAX_FEATURES = 2**31 - 1  # of CSR, whose indices are int32
SPARSE_FROM = 256  # columns of X, of which at most an eighth are not zero: then X is CSR


@dataclass(frozen=True)
class Prepare:
    """How columns become features, and targets what is learnt.

    Attributes
    ----------
    hash : dict of str to int
        Columns of text with an open vocabulary, such as {"url": 4096}: each text sets one of so many features to 1, by
        MurmurHash3 (32 bits, seed 0) of its UTF-8 modulo their number, without a sign. Nothing of it is learnt.
    log : bool, default False
        Learn the natural logarithm of the target, whose values must be > 0; predictions come back in its units.
    task : {"classification", "regression"}, optional
        By default classification for text, and for one column of whole numbers with at most 20 different values.
    standardise : bool, default True
        Subtract the mean of each column of numbers and divide by its deviation; else gaps are filled, no more.
    standardise_target : bool, default True
        The same for the target of a regression. False for a loss whose link fixes the scale, as that of Poisson.
    seed : int, default 0
        Of the sample of rows that medians are taken from; up to 100,000 rows they are exact.
    """

    hash: Mapping[str, int] = field(default_factory=dict)
    log: bool = False
    task: str | None = None
    standardise: bool = True
    standardise_target: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Number:
    """A column of numbers: `(x - mean) * factor`, with `fill` (the median) where x is missing.

    A column that was constant has the factor 0: its weights were never trained, so another value must not reach them.
    """

    fill: float
    mean: float
    factor: float


@dataclass(frozen=True)
class Hashed:
    """A column of text that sets one of `n_features` to 1."""

    n_features: int

    def codes(self, columns: BlockColumns, name: str) -> np.ndarray:
        """Which feature each row sets (n,)."""
        from sklearn.utils import murmurhash3_32

        texts = columns.distinct(name)
        places = np.array([murmurhash3_32(text, seed=0, positive=True) % self.n_features for text in texts], np.int32)
        return places[columns.codes(name, texts)] if texts else np.empty(0, np.int32)


How = Number | Hashed | list[str]


@dataclass(frozen=True)
class Preparation:
    """What turns a block into features and targets: numbers filled and standardised, text one-hot or hashed.

    Attributes
    ----------
    columns : dict of str to Number, Hashed or list of str
        In the order of the training files; a list holds the categories, "" among them if some were missing. A category
        never seen in training gives zeros.
    to_predict : Target, optional
    n_sparse : int, default 0
        Columns of sparse matrices, which are left as they are; then `columns` is empty.
    n_rows : int, default 0
        Rows it was learnt from; 0 in files of version 0.1.
    """

    columns: dict[str, How]
    to_predict: Target | None = None
    n_sparse: int = 0
    n_rows: int = 0

    @classmethod
    def fit(
        cls,
        blocks: Iterable[Block],
        columns: Mapping[str, str],
        target: str | Sequence[str] | None = None,
        options: Prepare | None = None,
        skip_bad: bool = False,
    ) -> Preparation:
        """Learn from the training rows in one pass.

        Parameters
        ----------
        blocks : iterable of Block
            Their rows are record batches, matrices (whose columns are named "0", "1", ...) or CSR (left as they are).
        columns : dict of str to {"number", "text"}
            The columns to learn from; targets among them are left out.
        target : str or list of str, optional
            By default the y beside the rows, where there is one.
        options : Prepare, optional
        skip_bad : bool, default False
            Leave targets without a logarithm to the reader, which will leave out their rows.

        Raises
        ------
        FileError
            If a column has too many categories or what is not its kind, or a target is missing, constant or has no
            logarithm; the message names file, row and column.
        """
        names = (target,) if isinstance(target, str) else tuple(target or ())
        learner = _Learner(
            {n: kind for n, kind in columns.items() if n not in names}, names, options or Prepare(), skip_bad
        )
        for block in blocks:
            learner.add(block)
        return learner.finish()

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Preparation:
        """The inverse of `to_dict`; reads what version 0.1 wrote, too.

        Raises
        ------
        FileError
            If it is not what `to_dict` gives: the file is damaged.
        """
        target = stored.mapping(description, "preparation").get("target")
        columns = stored.entry(description.get("preparation", description), "columns", "preparation")
        n_sparse = stored.count(description.get("n_sparse", 0), "preparation.n_sparse", 0, MAX_FEATURES)
        if n_sparse and columns:
            raise FileError("preparation must have no columns where it is of a sparse matrix")
        return cls(
            {name: _how(how, name) for name, how in stored.mapping(columns, "preparation.columns").items()},
            None if target is None else Target.from_dict(target),
            n_sparse,
            stored.count(description.get("n_rows", 0), "preparation.n_rows", 0, 2**63 - 1),
        )

    def to_dict(self) -> dict[str, Any]:
        """A description that JSON can hold exactly."""
        columns = {name: how if isinstance(how, list) else asdict(how) for name, how in self.columns.items()}
        target = None if self.to_predict is None else self.to_predict.to_dict()
        return {"columns": columns, "target": target, "n_sparse": self.n_sparse, "n_rows": self.n_rows}

    def with_target(self, target: Target | None) -> Preparation:
        """The same features with another target, or none: for rows that have none."""
        return replace(self, to_predict=target)

    def has_features_of(self, other: Preparation) -> bool:
        """Whether both make the same features, in the same order."""
        return list(self.columns.items()) == list(other.columns.items()) and self.n_sparse == other.n_sparse

    @property
    def text(self) -> list[str]:
        """The columns that hold text, the target among them: files must be read so."""
        target = self.to_predict.names if self.to_predict and self.to_predict.text else ()
        return [name for name, how in self.columns.items() if not isinstance(how, Number)] + list(target)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """One name a feature: `rooms`, `place=NEAR BAY` for a category, `url#17` for a hashed one."""
        if self.n_sparse:
            return None
        names: list[str] = []
        for name, how in self.columns.items():
            if isinstance(how, Number):
                names.append(name)
            elif isinstance(how, Hashed):
                names += [f"{name}#{i}" for i in range(how.n_features)]
            else:
                names += [f"{name}={category}" for category in how]
        return tuple(names)

    @property
    def n_features(self) -> int:
        return self.n_sparse or sum(map(_width, self.columns.values()))

    @property
    def has_target(self) -> bool:
        return self.to_predict is not None

    @property
    def is_sparse(self) -> bool:
        """Whether X is CSR: wide, and nearly all zeros."""
        return bool(self.n_sparse) or (self.n_features >= SPARSE_FROM and 8 * len(self.columns) <= self.n_features)

    def transform(self, block: Block) -> tuple[Any, np.ndarray | None]:
        """X (n, n_features), float32, row-major or CSR, and y; columns are found by name, others ignored.

        y is (n,) labels, or float64 (n,) or (n, k); None without a target. A number that is missing is filled, an
        infinite one is not: see `Features.transform`.

        Raises
        ------
        FileError
            Naming the columns that are missing, or hold text instead of numbers.
        """
        y = self.target(block)
        if self.n_sparse:
            return block.rows, y
        columns = BlockColumns(block)
        columns.require(self.columns)
        numbers = {name: how for name, how in self.columns.items() if isinstance(how, Number)}
        codes = {name: _codes(columns, name, how) for name, how in self.columns.items() if not isinstance(how, Number)}
        return (self._csr if self.is_sparse else self._dense)(columns, numbers, codes), y

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns of the target; none where it lies beside the rows."""
        return () if self.to_predict is None else self.to_predict.names

    def target(self, block: Block) -> np.ndarray | None:
        """The y of `transform`."""
        return None if self.to_predict is None else self.to_predict.encode(block)

    def decode(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions of the network in the units of the target: float64 (n,) or (n, k), or labels as they are."""
        return predictions if self.to_predict is None else self.to_predict.decode(predictions)

    def _dense(self, columns: BlockColumns, numbers: dict[str, Number], codes: dict[str, np.ndarray]) -> np.ndarray:
        X = (np.zeros if codes else np.empty)((len(columns), self.n_features), np.float32)
        starts = self._starts()
        standardise(columns, _scaling(numbers), X, [starts[name] for name in numbers])
        for name, code in codes.items():
            known = np.flatnonzero(code >= 0)
            X[known, starts[name] + code[known]] = 1
        return X

    def _csr(self, columns: BlockColumns, numbers: dict[str, Number], codes: dict[str, np.ndarray]) -> Any:
        """CSR with one entry a row for each column; that of a category never seen is a stored 0."""
        from scipy.sparse import csr_array

        n, starts = len(columns), self._starts()
        place = {name: j for j, name in enumerate(self.columns)}
        data, indices = np.empty((n, len(place)), np.float32), np.empty((n, len(place)), np.int32)
        standardise(columns, _scaling(numbers), data, [place[name] for name in numbers])
        for name, j in place.items():
            known = codes.get(name, np.zeros(1, np.int32))
            indices[:, j] = starts[name] + np.maximum(known, 0)
            if name in codes:
                data[:, j] = known >= 0
        indptr = np.arange(0, n * len(place) + 1, len(place), dtype=np.int64)
        return csr_array((data.ravel(), indices.ravel(), indptr), shape=(n, self.n_features))

    def _starts(self) -> dict[str, int]:
        """The first feature of each column."""
        ends = np.cumsum([0, *map(_width, self.columns.values())])
        return dict(zip(self.columns, ends.tolist(), strict=False))


def _how(how: Any, name: str) -> How:
    """What is done with a column, from a file."""
    where = f"preparation of column {name!r:.100}"
    if isinstance(how, list):
        return stored.different(how, where, str)
    if "n_features" in stored.mapping(how, where):
        return Hashed(stored.count(how["n_features"], where, 1, MAX_HASHED))
    fill, mean, factor = (stored.number(stored.entry(how, key, where), where) for key in ("fill", "mean", "factor"))
    if factor < 0:
        raise FileError(f"{where} must have a factor >= 0, got {factor}")
    return Number(fill, mean, factor)


def _width(how: How) -> int:
    return 1 if isinstance(how, Number) else how.n_features if isinstance(how, Hashed) else len(how)


def _codes(columns: BlockColumns, name: str, how: Hashed | list[str]) -> np.ndarray:
    return how.codes(columns, name) if isinstance(how, Hashed) else columns.codes(name, how)


def _scaling(numbers: dict[str, Number]) -> Scaling:
    hows = list(numbers.values())
    return Scaling(list(numbers), [n.fill for n in hows], [n.mean for n in hows], [n.factor for n in hows])


class _Learner:
    """One pass over the training rows."""

    def __init__(self, columns: Mapping[str, str], target: tuple[str, ...], options: Prepare, skip_bad: bool) -> None:
        unknown = [name for name in options.hash if columns.get(name) != "text"]
        if unknown:
            raise ValueError(f"hash must name columns of text to learn from, got {', '.join(map(repr, unknown))}")
        for name, n in options.hash.items():
            if not 1 <= n <= MAX_HASHED:
                raise ValueError(f"hash must give {name!r} from 1 to {MAX_HASHED} features, got {n}")
        self.columns, self.options = columns, options
        self.numbers = {name: Moments() for name, kind in columns.items() if kind == "number"}
        self.texts = {
            name: Distinct(MAX_CATEGORIES)
            for name, kind in columns.items()
            if kind == "text" and name not in options.hash
        }
        self.sample = Sample(len(self.numbers), options.seed)
        self.n_rows, self.n_sparse = 0, 0
        self.target = TargetLearner(target, options.task, options.log, options.standardise_target, skip_bad)
        self.has_target = bool(target)

    def add(self, block: Block) -> None:
        if self.has_target or block.y is not None:
            self.has_target = True
            self.target.add(block)
        self.n_rows += len(block)
        if hasattr(block.rows, "indptr"):
            self.n_sparse = block.rows.shape[1]
            return
        columns = BlockColumns(block)
        columns.require(self.columns)
        self.sample.draw(len(block))
        for j, (name, moments) in enumerate(self.numbers.items()):
            values = columns.numbers(name)
            moments.add(values)
            self.sample.put(j, values)
        for name, texts in self.texts.items():
            texts.add(columns.distinct(name))
            if texts.overflows:
                raise FileError(
                    f"{block.file}: column {name!r} holds more than {MAX_CATEGORIES} different texts: leave it out "
                    f"({option('ignore', name)}) or hash it (hash={{{name!r}: 4096}}, --hash {shlex.quote(name)}=4096)"
                )

    def finish(self) -> Preparation:
        if self.n_rows == 0:
            raise FileError("the data hold no rows")
        learnt: dict[str, How] = {name: self._number(j, name) for j, name in enumerate(self.numbers)}
        learnt |= {name: sorted(texts.values) for name, texts in self.texts.items()}
        learnt |= {name: Hashed(n) for name, n in self.options.hash.items()}
        columns = {} if self.n_sparse else {name: learnt[name] for name in self.columns}
        target = self.target.finish() if self.has_target else None
        return Preparation(columns, target, self.n_sparse, self.n_rows)

    def _number(self, j: int, name: str) -> Number:
        """Mean and deviation are those of the column after it was filled."""
        moments = self.numbers[name]
        median = self.sample.median(j)
        fill = moments.mean if median is None else median
        constant = moments.is_constant
        if moments.n < self.n_rows:
            moments.join(self.n_rows - moments.n, fill, 0.0)
        if not self.options.standardise:
            return Number(fill, 0.0, 1.0)
        if constant or moments.deviation == 0.0:  # of numbers as small as 1e-170
            return Number(fill, moments.mean, 0.0)
        return Number(fill, moments.mean, 1.0 / moments.deviation)
