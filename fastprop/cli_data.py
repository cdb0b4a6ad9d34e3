"""From the paths of the command line to a dataset: one way for all kinds of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .data import from_csv, from_libsvm, from_npy, from_parquet
from .data.columns import PlainColumns
from .data.dataset import Dataset
from .data.npz import NpzSource
from .data.paths import check_names, find_files
from .data.preparation import Preparation, Prepare

Format = Literal["csv", "parquet", "npy", "npz", "libsvm"]

FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".parq": "parquet", ".pq": "parquet",
    ".npy": "npy", ".npz": "npz", ".libsvm": "libsvm", ".svm": "libsvm", ".svmlight": "libsvm",
}  # fmt: skip
PACKED = (".gz", ".bz2", ".zst")


@dataclass(frozen=True)
class Given:
    """What the command line says about data.

    Attributes
    ----------
    paths : sequence of str
        Files, folders or patterns, all of one format.
    format : str, optional
        Default: by the ending of the first path, or of the first file in a folder that has a known one.
    memory_limit : str
    on_bad_rows : {"error", "skip"}
    """

    paths: Sequence[str]
    format: Format | None = None
    memory_limit: str = "1GB"
    on_bad_rows: str = "error"

    @property
    def kind(self) -> Format:
        """The format, given or found.

        Raises
        ------
        ValueError
            If it is not known, or the files have several.
        """
        if self.format:
            return self.format
        first = format_of(self.paths[0])
        for path in self.paths[1:]:
            with contextlib.suppress(UnknownFormatError):
                other = format_of(path)
                if other != first:
                    what = f"{self.paths[0]} ({first}) and {path} ({other})"
                    raise ValueError(f"data must be files of one format, got {what}")
        return first

    def absolute(self) -> Given:
        """The same files, for processes with another working directory."""
        return replace(self, paths=[os.path.abspath(path) for path in self.paths])

    def dataset(
        self,
        target: Sequence[str] = (),
        prepare: Preparation | Prepare | None = None,
        ignore: Collection[str] = (),
        n_features: int | None = None,
        text: Collection[str] = (),
    ) -> Dataset:
        """The rows as X and y.

        Parameters
        ----------
        target : sequence of str
            Columns; of .npy files their numbers, or a second .npy file. None for libsvm.
        prepare : Preparation or Prepare, optional
            See `Dataset.prepare`.
        ignore : collection of str
        n_features : int, optional
            Of the model, for libsvm, which does not say how many there are.
        text : collection of str
            Columns of CSV that are text even where they look like numbers, besides those that were in training.

        Raises
        ------
        ValueError
            For `text` of another format, whose files say what is text.
        """
        if text and self.kind != "csv":
            raise ValueError(f"text is for CSV only, got .{self.kind} files, which say themselves what is text")
        options: Any = {"memory_limit": self.memory_limit, "on_bad_rows": self.on_bad_rows}
        files, columns = list(self.paths), list(target) or None
        if self.kind == "csv":
            data = from_csv(files, columns, ignore=ignore, text=text, **options)
            more = _text_that_looks_like_numbers(data, prepare)
            data = from_csv(files, columns, ignore=ignore, text=[*text, *more], **options) if more else data
        elif self.kind == "parquet":
            data = from_parquet(files, columns, ignore=ignore, **options)
        elif self.kind == "libsvm":
            data = from_libsvm(files, n_features, **options)
        else:
            data = self._arrays(target, ignore, options)
        return data if prepare is None else data.prepare(prepare)

    def _arrays(self, target: Sequence[str], ignore: Collection[str], options: Mapping[str, Any]) -> Dataset:
        """The rows of an .npy or .npz file."""
        if len(self.paths) > 1:
            raise ValueError(f"data must be one .{self.kind} file, got {len(self.paths)}")
        path = self.paths[0]
        if self.kind == "npy":
            beside = [name for name in target if name.lower().endswith(".npy")]
            numbers = [_number(path, name) for name in target if name not in beside]
            left_out = [_number(path, name) for name in ignore]
            y_path = beside[0] if beside else None
            return from_npy(path, y_path, numbers or None, ignore=left_out, **options)
        source = NpzSource(path)
        check_names(path, list(source.columns), [*target, *ignore])
        left = tuple(name for name in source.columns if name not in {*target, *ignore})
        return Dataset(source, PlainColumns(left, tuple(target), bool(target)), **options)

    def is_same_file(self, out: Path, target: Sequence[str] = ()) -> bool:
        """Whether `out` is one of the files that are read: those of patterns, of folders and a second .npy file too."""
        if not out.exists():
            return False
        endings = [ending + packed for ending, kind in FORMATS.items() if kind == self.kind for packed in ("", *PACKED)]
        beside = [path for path in target if self.kind == "npy" and os.path.isfile(path)]
        return any(out.samefile(path) for path in [*find_files(self.paths, endings), *beside])


def _text_that_looks_like_numbers(data: Dataset, prepare: Any) -> list[str]:
    """Columns that are text in training, but numbers in these files."""
    text = prepare.text if isinstance(prepare, Preparation) else ()
    return [name for name in text if data.source.columns.get(name) == "number"]


def absolute_targets(target: Sequence[str]) -> list[str]:
    """The target, of which a second .npy file has its absolute path."""
    return [os.path.abspath(name) if name.lower().endswith(".npy") else name for name in target]


def _number(path: str, name: str) -> int:
    if not name.isdigit():
        raise ValueError(f"columns of {path} are named by their numbers, from 0, got {name!r}")
    return int(name)


class UnknownFormatError(ValueError):
    """The name of a file does not say its format."""


def format_of(path: str) -> Format:
    """The format of a file, of the files of a pattern, or of those in a folder.

    Raises
    ------
    UnknownFormatError
        If the ending is not one that we know; the message has the option that says it.
    """
    names = sorted(file.name for file in Path(path).rglob("*")) if os.path.isdir(path) else [path]
    for name in names:
        stem, ending = os.path.splitext(name.lower())
        if ending in PACKED:
            ending = os.path.splitext(stem)[1]
        if ending in FORMATS:
            return FORMATS[ending]
    raise UnknownFormatError(
        f"data must be .csv, .tsv, .parquet, .npy, .npz or .libsvm files, got {path!r}; --format says what others are, "
        f"as --format libsvm"
    )
