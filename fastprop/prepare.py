"""From the columns of a table to the matrix and the target that a network learns from, and back.

What is learnt from the training rows (categories, medians, means, deviations) is stored as JSON in the model file and
applied again to every table that the model meets. Plain NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .tables import Table

MAX_CATEGORIES = 1000  # more distinct strings than this are an identifier or free text, not categories
MAX_CLASSES = 20  # whole numbers with at most so many distinct values are labels unless the user says otherwise


@dataclass(frozen=True)
class Number:
    """A column of numbers: `(x - mean) * factor`, with `fill` (the median) where x is missing.

    A column that was constant has the factor 0: its weights were never trained, so another value must not reach them.
    """

    fill: float
    mean: float
    factor: float


@dataclass(frozen=True)
class Preparation:
    """What turns columns into features: numbers standardised, text one-hot.

    Attributes
    ----------
    columns : dict of str to Number or list of str
        In the order of the training file; a list holds the categories, "" among them if some were missing. A category
        never seen in training gives zeros.
    """

    columns: dict[str, Number | list[str]]

    @classmethod
    def fit(cls, table: Table) -> Preparation:
        """Learn from the training rows. ValueError for infinities and for text with too many categories."""
        return cls({name: _learn(table, name) for name in table.columns})

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Preparation:
        """The inverse of `to_dict`."""
        columns = description["columns"]
        return cls({name: Number(**how) if isinstance(how, dict) else list(how) for name, how in columns.items()})

    def to_dict(self) -> dict[str, Any]:
        """A description that JSON can hold exactly."""
        return {"columns": {name: how if isinstance(how, list) else asdict(how) for name, how in self.columns.items()}}

    @property
    def text(self) -> list[str]:
        """Names of the columns that hold text."""
        return [name for name, how in self.columns.items() if isinstance(how, list)]

    @property
    def feature_names(self) -> list[str]:
        """One name a feature: `rooms`, and `place=NEAR BAY` for a category."""
        names = []
        for name, how in self.columns.items():
            names += [f"{name}={category}" for category in how] if isinstance(how, list) else [name]
        return names

    def transform(self, table: Table, dtype: Any = np.float32) -> np.ndarray:
        """Features (n_rows, n_features), looked up by column name; columns that training did not have are ignored.

        Raises
        ------
        ValueError
            Naming the columns that are missing, hold text instead of numbers, or hold an infinity.
        """
        absent = [name for name in self.columns if name not in table.columns]
        if absent:
            raise ValueError(f"{table.path} lacks {_listed(absent)} that the model was trained on")
        features = np.zeros((table.n_rows, len(self.feature_names)), dtype)
        start = 0
        for name, how in self.columns.items():
            if isinstance(how, list):
                _one_hot(table, name, how, features[:, start : start + len(how)])
                start += len(how)
            else:
                values = _numbers(table, name)
                features[:, start] = (np.where(np.isnan(values), how.fill, values) - how.mean) * how.factor
                start += 1
        return features


def plain_features(table: Table, dtype: Any = np.float32) -> np.ndarray:
    """The columns as they are (n_rows, n_columns), for a network that was trained on arrays."""
    return np.column_stack([_numbers(table, name) for name in table.columns]).astype(dtype)


def _learn(table: Table, name: str) -> Number | list[str]:
    values = table.columns[name]
    if values.dtype == object:
        categories = sorted(set(values))
        if len(categories) > MAX_CATEGORIES:
            raise ValueError(
                f"column {name!r} of {table.path} may hold at most {MAX_CATEGORIES} different texts, got "
                f"{len(categories)}; leave it out with --ignore {name!r}"
            )
        return categories
    values = _numbers(table, name)
    present = values[~np.isnan(values)]
    if present.size == 0:
        return Number(0.0, 0.0, 0.0)
    fill = float(np.median(present))
    filled = np.where(np.isnan(values), fill, values)
    constant = present.min() == present.max()  # the deviation of equal numbers is not 0 but rounding
    return Number(fill, float(filled.mean()), 0.0 if constant else float(1.0 / filled.std()))


def _numbers(table: Table, name: str) -> np.ndarray:
    values = table.columns[name]
    if values.dtype == object:
        row = next((row for row, cell in enumerate(values) if cell and not _is_number(cell)), 0)
        raise _not_a_number(table, name, "numbers", row)
    values = np.asarray(values, np.float64)
    infinite = np.isinf(values)
    if infinite.any():
        raise _not_a_number(table, name, "finite numbers", int(infinite.argmax()))
    return values


def _not_a_number(table: Table, name: str, expected: str, row: int) -> ValueError:
    got = table.columns[name][row]
    return ValueError(f"column {name!r} of {table.path} must hold {expected}, got {str(got)!r} in data row {row + 1}")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _one_hot(table: Table, name: str, categories: list[str], out: np.ndarray) -> None:
    values = table.columns[name]
    if values.dtype != object:
        raise ValueError(f"column {name!r} of {table.path} must hold text as in training, got numbers ({values.dtype})")
    place = {category: index for index, category in enumerate(categories)}
    index = np.array([place.get(cell, -1) for cell in values])
    known = np.flatnonzero(index >= 0)
    out[known, index[known]] = 1


@dataclass(frozen=True)
class Target:
    """The column to predict.

    Attributes
    ----------
    name : str
    task : {"classification", "regression"}
    mean, scale : float
        A regression learns `(y - mean) / scale`; 0 and 1 for labels.
    text : bool
        Whether the labels are text, also where a file holds only some that look like numbers.
    """

    name: str
    task: str
    mean: float = 0.0
    scale: float = 1.0
    text: bool = False

    @classmethod
    def fit(cls, table: Table, name: str, task: str | None = None, standardise: bool = True) -> Target:
        """Learn what the column is.

        Parameters
        ----------
        task : {"classification", "regression"}, optional
            Default: classification for text, and for whole numbers with at most 20 different values.
        standardise : bool, default True
            False for a loss whose link fixes the scale, as that of Poisson.
        """
        values = _present(table, name)
        task = task or ("classification" if _is_label(values) else "regression")
        if task == "classification":
            if (values == values[0]).all():
                raise ValueError(f"target {name!r} of {table.path} must hold two classes or more, got {values[0]} only")
            return cls(name, task, text=values.dtype == object)
        if task != "regression":
            raise ValueError(f"task must be 'classification' or 'regression', got {task!r}")
        numbers = _numbers(table, name)
        if not standardise:
            return cls(name, task)
        constant = numbers.min() == numbers.max()
        return cls(name, task, float(numbers.mean()), 1.0 if constant else float(numbers.std()))

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON can hold them."""
        return asdict(self)

    def encode(self, table: Table) -> np.ndarray:
        """What the network learns (n_rows,): labels (text, or integers where whole), or standardised float64."""
        values = _present(table, self.name)
        if self.task == "classification":
            return values.astype(str) if values.dtype == object else _whole(values)
        return (_numbers(table, self.name) - self.mean) / self.scale

    def decode(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions of the network in the units of the column: float64, or labels as they are."""
        if self.task == "classification":
            return predictions
        return np.asarray(predictions, np.float64).reshape(len(predictions)) * self.scale + self.mean


def _present(table: Table, name: str) -> np.ndarray:
    values = table.column(name, "target")
    missing = values == "" if values.dtype == object else np.isnan(np.asarray(values, np.float64))
    if missing.any():
        rows = np.flatnonzero(missing)
        raise ValueError(
            f"target {name!r} of {table.path} must have a value in every row, got none in {rows.size} of "
            f"{table.n_rows} rows, the first being data row {rows[0] + 1}; remove those rows"
        )
    return values


def _is_label(values: np.ndarray) -> bool:
    if values.dtype == object or values.dtype.kind == "b":
        return True
    distinct = np.unique(values)
    return distinct.size <= MAX_CLASSES and bool((distinct == np.round(distinct)).all())


def _whole(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f" and (values == np.round(values)).all():
        return values.astype(np.int64)
    return values


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
    return f"the column{'s' if len(names) > 1 else ''} {shown}"
