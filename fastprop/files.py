"""Arrays and a description in one safetensors file. Nothing in a file is ever executed.

The description is JSON in the file's metadata, under "fastprop"; any safetensors reader shows it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .atomic import replacing
from .errors import FileError

Path: TypeAlias = "str | os.PathLike[str]"

VERSION = 1
KEY = "fastprop"
MAX_HEADER = 100 * 10**6  # bytes; the limit of safetensors itself
MAX_OBJECTS = (
    2**26
)  # bytes that a header takes as Python objects beyond the size of its file: names of 600,000 features
MAX_DEPTH = 64  # of objects and lists in each other: Residual in Residual takes two
MAX_DIMENSIONS = 8
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write(path: Path, description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file in one stroke: a crash leaves the old one or the new one, never a part.

    Parameters
    ----------
    path : str or path
    description : dict
        Must go through JSON. "version" is added.
    arrays : dict of str to ndarray
        float32, float64 or int64.

    Raises
    ------
    TypeError
        If an array has another dtype, or the description holds what JSON cannot.
    ValueError
        If the description holds more than `read` takes.
    OSError
        If the file cannot be written.
    """
    parts = parts_of({KEY: json_of(description)}, arrays)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:  # safetensors' own writer says of a full disk neither the number nor the path
            file.write(part)


def json_of(description: Mapping[str, Any]) -> str:
    """The description as JSON, with the version."""
    text = json.dumps({**description, "version": VERSION}, default=_plain)
    if not is_shallow(text):
        raise ValueError(f"the description must not be nested deeper than {MAX_DEPTH}")
    return text


def parts_of(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
    """What a safetensors file consists of: the length of its header, the header, the bytes of each array.

    Spaces make the header a multiple of 8 bytes.
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        if array.dtype not in NAMES:
            raise TypeError(f"array {name!r} must be float32, float64 or int64, got {array.dtype}")
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": NAMES[array.dtype], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(entries, separators=(",", ":"))
    if object_bytes(text) > MAX_OBJECTS + len(text):
        raise ValueError(f"the description holds too much: more than {MAX_OBJECTS} bytes of strings and numbers")
    header = text.encode() + b" " * (-len(text) % 8)
    return [len(header).to_bytes(8, "little"), header, *map(_bytes, arrays.values())]


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write` wrote.

    Returns
    -------
    description : dict
    arrays : dict of str to ndarray
        Of their own memory, writable.

    Raises
    ------
    FileError
        If the file is not one of ours, is damaged or from a newer version; the message has the path and the reason.
    OSError
        If it cannot be opened.
    """
    with Contents(path) as contents:
        return contents.description, dict(contents)


class Contents(Mapping[str, "NDArray[Any]"]):
    """An open file: its description and the shapes of its arrays, checked; an array is read when it is asked for.

    So whoever knows what the arrays must be can refuse a file before memory is taken for them. The reader trusts
    nothing: lengths are held against the file's size before anything of that length is read, and what the JSON would
    take as Python objects is bounded too. Opening a file takes at most twice its size and `MAX_OBJECTS`, whatever it
    holds; three times its size where half of it is one long string. A memory map (safetensors' way) would double the
    resident memory, and kill the process if the file shrinks.

    Parameters
    ----------
    path : str or path

    Attributes
    ----------
    description : dict
        Without "version".
    entries : dict of str to Entry
        What the header says of each array.
    size : int
        Bytes of the file.

    Raises
    ------
    FileError, OSError
        As `read`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115  closed by `__exit__`, or here
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            header = self._read_header()
            self.description = self._describe(header.pop("__metadata__", {}))
            self.entries = self._check_entries(header)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Contents:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> NDArray[Any]:
        entry = self.entries[name]
        array = np.empty(entry.shape, entry.dtype)
        self._file.seek(self._start + entry.begin)
        if self._file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise self._error("it was cut short while it was read")
        return array.astype(entry.dtype.newbyteorder("="), copy=False)

    def _read_header(self) -> dict[str, Any]:
        """The JSON header: its length as 8 bytes, then the text."""
        n = int.from_bytes(self._file.read(8), "little")
        if self.size < 8 or n > min(MAX_HEADER, self.size - 8):
            raise self._error("it is truncated or not a safetensors file")
        self._start = 8 + n
        return self._parse(self._decode(self._file.read(n)))

    def _describe(self, metadata: Any) -> dict[str, Any]:
        if not isinstance(metadata, dict):
            raise self._error("its metadata are damaged")
        text = metadata.pop(KEY, None)
        if not isinstance(text, str):
            raise self._error("it was not written by fastprop")
        description = self._parse(text)
        version = description.pop("version", None)
        if not isinstance(version, int) or version < 1:
            raise self._error("its description has no version")
        if version > VERSION:
            raise self._error(f"it has format {version}, this fastprop reads up to {VERSION}: upgrade fastprop")
        return description

    def _decode(self, text: bytes) -> str:
        """All that we write is ASCII; one wide character would make the string four times as long as the text."""
        try:
            return text.decode("ascii")
        except ValueError as error:
            raise self._error(f"its header is damaged or not JSON: {error}") from error

    def _parse(self, text: str) -> dict[str, Any]:
        if object_bytes(text) > MAX_OBJECTS + self.size:
            raise self._error(f"its header would take more than {MAX_OBJECTS} bytes")
        if not is_shallow(text):
            raise self._error("its header is damaged or not JSON: it is nested too deep")
        try:
            parsed = json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise self._error(f"its header is damaged or not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise self._error("its header is not a JSON object")
        return parsed

    def _check_entries(self, header: Mapping[str, Any]) -> dict[str, Entry]:
        """What the header says of the arrays: they must fill the file, one after the other."""
        entries = {name: self._check_entry(name, entry) for name, entry in header.items()}
        end = 0
        for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
            if entry.begin != end:
                raise self._error(f"array {_short(name)} overlaps another, or lies behind a gap")
            end = entry.end
        if self._start + end != self.size:
            raise self._error("its arrays do not fill it: it is truncated or damaged")
        return entries

    def _check_entry(self, name: str, entry: Any) -> Entry:
        if not (isinstance(entry, dict) and isinstance(entry.get("dtype"), str) and entry["dtype"] in DTYPES):
            raise self._error(f"array {_short(name)} is not float32, float64 or int64")
        shape = _counts(entry.get("shape"), self.size, MAX_DIMENSIONS)
        place = _counts(entry.get("data_offsets"), self.size, 2)
        if shape is None or place is None or len(entry) != 3 or len(place) != 2:
            raise self._error(f"array {_short(name)} has no shape or no place in the file")
        made = Entry(DTYPES[entry["dtype"]], shape, *place)
        if made.end - made.begin != math.prod(shape) * made.dtype.itemsize:
            raise self._error(f"array {_short(name)} has another shape than bytes")
        return made

    def _error(self, reason: str) -> FileError:
        return FileError(f"cannot read {os.fspath(self.path)}: {reason}")


class Entry(NamedTuple):
    """Where an array lies, in bytes from the end of the header."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


# ---- JSON ---------------------------------------------------------------------------------------------------------


def object_bytes(text: str) -> int:
    """At least what a JSON text takes as Python objects, while it is read; without reading it.

    Some 64 bytes for a list or a string and 32 for a number; a member of an object takes 128 more, for the table of
    hashes, which doubles as it grows, and the pair that `_distinct` looks at.
    """
    members, texts, lists = text.count(":"), text.count('"'), text.count("[") + text.count("{")
    return 128 * members + 64 * lists + 32 * (texts + text.count(",") + 1)


def is_shallow(text: str) -> bool:
    """Whether objects and lists are nested at most `MAX_DEPTH` deep; without recursion, which a text could exhaust."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return True
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += _STEPS.get(token[0], 0)
        if depth > MAX_DEPTH:
            return False
    return True


# Strings, closed or not, and brackets. Possessive: without it the stack of a long string is longer than the string.
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers may take different ones of two values of one key, so there must not be two."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {_short(twice)} is there twice")
    return made


def _counts(values: Any, most: int, length: int) -> tuple[int, ...] | None:
    """A list of at most `length` integers within 0..most as a tuple; None for anything else."""
    if not isinstance(values, list) or len(values) > length:
        return None
    return tuple(values) if all(type(v) is int and 0 <= v <= most for v in values) else None  # a bool is no int here


def _short(name: str) -> str:
    return repr(name if len(name) < 100 else name[:100] + "...")


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"the description holds {value!r}, which JSON cannot")
