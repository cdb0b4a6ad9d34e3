"""Which files a path, a list, a pattern or a folder stands for, and which of their columns are wanted."""

from __future__ import annotations

import difflib
import glob
import operator
import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import FileError

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def find_files(paths: Paths, endings: Collection[str]) -> list[str]:
    """The files that `paths` stands for: each file named, those of a pattern and those of a folder sorted.

    Parameters
    ----------
    paths : path, str with a pattern (*, ?, [...], ** for any folders), or an iterable of them
    endings : collection of str
        What names of files in a folder end with, such as ".parquet". Those that begin with "." or "_" are left out, as
        are the folders: writers keep their own notes there.

    Raises
    ------
    FileNotFoundError
        If there is none, for each path given.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise ValueError("paths must name at least one file, got an empty list")
    found = [file for path in given for file in _files_of(os.fspath(path), tuple(endings))]
    twice = sorted({file for file in found if found.count(file) > 1}) if len(set(found)) < len(found) else []
    if twice:
        raise ValueError(f"paths name {twice[0]} more than once")
    return found


def _files_of(path: str, endings: tuple[str, ...]) -> list[str]:
    if os.path.isdir(path):
        folder = Path(path)
        files = [file for file in folder.rglob("*") if file.name.lower().endswith(endings) and file.is_file()]
        shown = [file for file in files if not any(part[0] in "._" for part in file.relative_to(folder).parts)]
        if not shown:
            raise FileNotFoundError(f"no file in the folder {path} ends with {', '.join(endings)}")
        return sorted(map(str, shown))
    if not os.path.exists(path) and glob.has_magic(path):
        matches = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
        if not matches:
            raise FileNotFoundError(f"no file matches {path}")
        return matches
    os.stat(path)  # its error names the path
    return [path]


def title(files: Sequence[str]) -> str:
    """A name for people: the path of one file, "12 files, first train-00.parquet" of several."""
    return files[0] if len(files) == 1 else f"{len(files)} files, first {Path(files[0]).name}"


def file_size(path: str) -> int:
    """The bytes of a file; OSError that names the path if it cannot be read."""
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_size


def check_size(path: str, n_bytes: int) -> None:
    """FileError unless the file has as many bytes as when it was opened first: then other rows may stand in it."""
    try:
        now = os.stat(path).st_size
    except FileNotFoundError:
        raise FileError(f"{path} has vanished while it was read") from None
    if now != n_bytes:
        change = "shrank" if now < n_bytes else "grew"
        raise FileError(f"{path} {change} while it was read: it had {n_bytes:,} bytes and has {now:,}")


def wanted(file: str, names: Sequence[str], columns: Collection[str] | None, ignore: Collection[str]) -> list[str]:
    """Those of `names` that are among `columns` (None is all) and not in `ignore`.

    Raises
    ------
    FileError
        If one asked for is not there, or none is left.
    """
    check_names(file, names, [*(columns or ()), *ignore])
    left = [name for name in names if (columns is None or name in columns) and name not in ignore]
    if not left:
        raise FileError(f"no column of {file} is left to learn from")
    return left


def names_of(given: Any) -> tuple[str, ...]:
    """The columns that an argument names: one name is one column, and a number is the name of one, too."""
    if given is None:
        return ()
    several = [given] if isinstance(given, str) or hasattr(given, "__index__") else given
    return tuple(str(name) for name in several)


def places_of(argument: str, given: Any) -> tuple[str, ...]:
    """As `names_of` for columns that have numbers only.

    Raises
    ------
    TypeError
        If one is no integer.
    ValueError
        If one is negative.
    """
    if given is None:
        return ()
    several = [given] if isinstance(given, str) or not isinstance(given, Iterable) else given
    places = []
    for place in several:
        if isinstance(place, bool) or not hasattr(place, "__index__"):
            raise TypeError(f"{argument} must give columns by their numbers, got {place!r}")
        places.append(operator.index(place))
    if any(place < 0 for place in places):
        raise ValueError(f"{argument} must count columns from 0, got {min(places)}")
    return tuple(map(str, places))


def option(argument: str, name: str) -> str:
    """How to name a column in an argument, in Python and on the command line: "ignore=['a b'], --ignore 'a b'"."""
    return f"{argument}=[{name!r}], --{argument} {shlex.quote(name)}"


def check_names(file: str, names: Sequence[str], asked: Collection[str]) -> None:
    """FileError, with the nearest name, if a file has no column of a name."""
    for name in asked:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise FileError(f"no column {name!r} in {file}; {hint}its columns: {', '.join(names)}")
