"""The column, or columns, to predict: what they are, what the network learns instead, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import FileError
from . import stored
from .columns import BlockColumns, labels_of
from .source import Block
from .statistics import Distinct, Moments

MAX_CLASSES = 20  # whole numbers with at most so many different values are labels unless the user says otherwise
MOST_LABELS = 10_000  # an output each: more are no classes


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes
    ----------
    names : tuple of str
        The columns; none for a y that lies beside the rows.
    task : {"classification", "regression"}
    mean, scale : tuple of float
        For each output. A regression learns `(y - mean) / scale`; 0 and 1 for labels.
    log : bool
        Whether y is the natural logarithm of what the columns hold.
    text : bool
        Whether the labels are text, also where a file holds only some that look like numbers.
    classes : tuple of int or str, or of float beyond int64
        The labels of the training rows, sorted. Empty for a regression, and in files of version 0.1.
    """

    names: tuple[str, ...]
    task: str
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    log: bool = False
    text: bool = False
    classes: tuple[Any, ...] = ()

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Target:
        """The inverse of `to_dict`; reads what version 0.1 wrote, too.

        Raises
        ------
        FileError
            If it is not what `to_dict` gives: the file is damaged.
        """
        get = partial(stored.entry, description, name="target")
        names = [get("name")] if "name" in stored.mapping(description, "target") else get("names")
        mean, scale = (stored.numbers(get(key), f"target.{key}") for key in ("mean", "scale"))
        log, text = (stored.flag(description.get(key, False), f"target.{key}") for key in ("log", "text"))
        classes = stored.different(description.get("classes", []), "target.classes", str if text else int)
        made = cls(
            tuple(stored.different(names, "target.names", str)), get("task"), mean, scale, log, text, tuple(classes)
        )
        made._check()
        return made

    def _check(self) -> None:
        """Refuse what no `TargetLearner` gives."""
        if self.task not in ("classification", "regression"):
            raise FileError("target.task must be 'classification' or 'regression'")
        if not (len(self.mean) == len(self.scale) > 0) or (self.names and len(self.names) != len(self.mean)):
            raise FileError("target must have one mean and one scale for each of its names")
        if min(self.scale) <= 0:
            raise FileError(f"target.scale must be > 0, got {min(self.scale)}")
        if self.task == "regression" and (self.text or self.classes):
            raise FileError("target must be numbers for a regression, got labels")
        if self.task == "classification" and (self.mean, self.scale, self.log) != ((0.0,), (1.0,), False):
            raise FileError("target must be labels for a classification, got numbers")

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON holds them exactly."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def of(self, names: Sequence[str]) -> Target:
        """The same for columns with other names, or none: for a y beside the rows."""
        if names and len(names) != len(self.mean):
            raise ValueError(f"target must name {len(self.mean)} columns as in training, got {', '.join(names)}")
        return replace(self, names=tuple(names))

    def encode(self, block: Block) -> np.ndarray:
        """What the network learns from a block.

        Returns
        -------
        ndarray
            Labels (n,): strings, or integers; where one is missing None or NaN among them. Of a regression float64
            (n,), or (n, k) for several columns, NaN and infinite where the column is, or where its logarithm is.
        """
        if self.names:
            BlockColumns(block).require(self.names)
        if self.task == "classification":
            return _labels(block, self.names, self.text)
        y = _numbers(block, self.names, self.log)
        y -= self.mean
        y /= self.scale
        return y[:, 0] if len(self.mean) == 1 else y

    def decode(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions of the network in the units of the columns, float64 (n,) or (n, k); labels as they are."""
        if self.task == "classification":
            return predictions
        shape = (len(predictions), len(self.mean))
        values = predictions.astype(np.float64).reshape(shape) * self.scale + self.mean
        if self.log:
            values = np.exp(values)
        return values[:, 0] if shape[1] == 1 else values


class TargetLearner:
    """Finds out in one pass what a target is.

    Parameters
    ----------
    names : tuple of str
    task : {"classification", "regression"}, optional
        By default classification for text, and for one column of whole numbers with at most 20 different values.
    log, standardise : bool
    skip_bad : bool
        Leave rows without a logarithm to the reader.
    """

    def __init__(self, names: tuple[str, ...], task: str | None, log: bool, standardise: bool, skip_bad: bool) -> None:
        if task not in (None, "classification", "regression"):
            raise ValueError(f"task must be 'classification' or 'regression', got {task!r}")
        if log and task == "classification":
            raise ValueError("log must be False for classes: labels have no logarithm")
        self.names, self.task, self.log, self.standardise, self.skip_bad = names, task, log, standardise, skip_bad
        self.moments: list[Moments] = []
        self.labels = Distinct(MOST_LABELS if task == "classification" else MAX_CLASSES)
        self.labels.overflows = log or task == "regression"
        self.text = False
        self.where = "the data"

    def add(self, block: Block) -> None:
        """Take in the rows of a block."""
        self.where = block.file
        if self.names:
            BlockColumns(block).require(self.names)
        if self._is_text(block):
            self._add_text(block)
            return
        if self.text:
            raise FileError(
                f"{block.file}: target {self.names[0]!r} must hold text as in the files before, got numbers"
            )
        values = _numbers(block, self.names, False)
        if self.log:
            self._check_positive(block, values)
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.log(values)
        self.moments = self.moments or [Moments() for _ in range(values.shape[1])]
        for moments, column in zip(self.moments, values.T, strict=True):
            moments.add(column)
        if values.shape[1] > 1:
            self.labels.overflows = True
        elif not self.labels.overflows:
            self._add_numbers(np.unique(values[np.isfinite(values)]))

    def finish(self) -> Target:
        """The target; FileError if there is nothing to tell apart."""
        name = ", ".join(self.names) or "y"
        is_class = self.task == "classification" or (self.task is None and not self.labels.overflows)
        if is_class:
            classes = tuple(sorted(self.labels.values))
            if len(self.moments) > 1:
                raise ValueError(f"task must be 'regression' for several targets ({name})")
            if self.labels.overflows:
                raise FileError(
                    f"target {name!r} of {self.where} must hold at most {MOST_LABELS} classes, all of them text "
                    f"or whole numbers"
                )
            if len(classes) < 2:
                only = f", got {classes[0]} only" if classes else ", got nothing but gaps"
                raise FileError(f"target {name!r} of {self.where} must hold two classes or more{only}")
            return Target(self.names, "classification", text=self.text, classes=classes)
        if not all(moments.n for moments in self.moments):
            raise FileError(f"target {name!r} of {self.where} must hold numbers, got nothing but gaps")
        if not self.standardise:
            return Target(self.names, "regression", *_unscaled(len(self.moments)), log=self.log)
        mean = tuple(moments.mean for moments in self.moments)
        scale = tuple(1.0 if moments.is_constant else moments.deviation for moments in self.moments)
        return Target(self.names, "regression", mean, scale, self.log)

    def _is_text(self, block: Block) -> bool:
        if not self.names:
            return block.y is not None and block.y.dtype.kind in "OUS"
        text = [name for name in self.names if BlockColumns(block).is_text(name)]
        if text and (len(self.names) > 1 or self.task == "regression" or self.log):
            if all(text_is_gaps(block, name) for name in text):
                return False
            wanted = "several targets" if len(self.names) > 1 else "a logarithm" if self.log else "a regression"
            raise FileError(f"{block.file}: target {text[0]!r} must hold numbers for {wanted}, got text")
        return bool(text)

    def _add_text(self, block: Block) -> None:
        if self.moments and any(moments.n for moments in self.moments):
            raise FileError(
                f"{block.file}: target {self.names[0]!r} must hold numbers as in the files before, got text"
            )
        if not self.text:
            self.text, self.labels = True, Distinct(MOST_LABELS)
        labels = _labels(block, self.names, True)
        self.labels.add(str(label) for label in set(labels.tolist()) if label is not None)
        self.task = "classification"

    def _add_numbers(self, distinct: np.ndarray) -> None:
        """Take in the sorted different numbers of a block; fractions are no labels."""
        if (distinct != np.rint(distinct)).any():
            self.labels.overflows = True
        else:
            self.labels.add(_integers(distinct).tolist())

    def _check_positive(self, block: Block, values: np.ndarray) -> None:
        if self.skip_bad or not (bad := values <= 0).any():
            return
        i, j = (int(at) for at in np.argwhere(bad)[0])
        name = self.names[j] if self.names else "y"
        what = f"got {values[i, j]:g}, expected a number > 0, whose logarithm can be learnt"
        raise block.bad(i, what, name, of_y=not self.names)


def text_is_gaps(block: Block, name: str) -> bool:
    """Whether a column of text holds nothing."""
    return set(BlockColumns(block).distinct(name)) <= {""}


def _unscaled(n_outputs: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (0.0,) * n_outputs, (1.0,) * n_outputs


def _numbers(block: Block, names: Sequence[str], log: bool) -> np.ndarray:
    """The columns, or the y beside the rows, as a new array (n, k) of float64; their logarithms where `log`."""
    if names:
        columns = BlockColumns(block)
        y = np.stack([columns.numbers(name).astype(np.float64) for name in names], axis=1)
    elif block.y is None:
        raise FileError(f"{block.file} has no targets beside its rows")
    else:
        y = block.y.astype(np.float64).reshape(len(block), -1)
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):  # what has none is not finite: the reader says so
            np.log(y, out=y)
    return y


def _labels(block: Block, names: Sequence[str], text: bool) -> np.ndarray:
    """Labels (n,): text, or integers where all of them are whole and within int64."""
    if not names:
        if block.y is None:
            raise FileError(f"{block.file} has no labels beside its rows")
        values = block.y.reshape(len(block))
    elif text:
        return labels_of(BlockColumns(block), names[0])
    else:
        values = BlockColumns(block).numbers(names[0])
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.rint(values)).all():
        return _integers(values)
    return values


def _integers(whole: np.ndarray) -> np.ndarray:
    """Whole numbers as int64; as they are where that does not hold one of them."""
    return whole.astype(np.int64) if (np.abs(whole, dtype=np.float64) < 2.0**63).all() else whole
