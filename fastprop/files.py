"""Arrays and a description in one safetensors file. Nothing in a file is ever executed.

The description is JSON in the file's metadata, under "fastprop"; any safetensors reader shows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .atomic import replacing
from .errors import FileError

Path: TypeAlias = "str | os.PathLike[str]"

VERSION = 1
KEY = "fastprop"
MAX_HEADER = 100 * 10**6  # bytes; the limit of safetensors itself
DTYPES = {"F32": np.dtype(np.float32), "F64": np.dtype(np.float64), "I64": np.dtype(np.int64)}


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
    OSError
        If the file cannot be written.
    """
    from safetensors.numpy import save_file

    for name, array in arrays.items():
        if array.dtype not in DTYPES.values():
            raise TypeError(f"array {name!r} must be float32, float64 or int64, got {array.dtype}")
    metadata = metadata_of(description)
    with replacing(path) as temporary:
        save_file({name: np.asarray(a, order="C") for name, a in arrays.items()}, temporary, metadata)


def metadata_of(description: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file: the description as JSON, with the version."""
    return {KEY: json.dumps({**description, "version": VERSION}, default=_plain)}


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
    header = _read_header(path)
    description = _description_of(path, header)
    for name, entry in header.items():
        if name != "__metadata__" and not (isinstance(entry, dict) and entry.get("dtype") in DTYPES):
            raise _error(path, f"array {name!r} is not float32, float64 or int64")
    return description, _read_arrays(path)


def _read_header(path: Path) -> dict[str, Any]:
    """The JSON header: its length as 8 bytes, then the text. Lengths are checked before memory is taken."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        n = int.from_bytes(file.read(8), "little")
        if size < 8 or n > min(MAX_HEADER, size - 8):
            raise _error(path, "it is truncated or not a safetensors file")
        text = file.read(n)
    header = _parse(path, text)
    if not isinstance(header.get("__metadata__", {}), dict):
        raise _error(path, "its metadata are damaged")
    return header


def _description_of(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    text = header.get("__metadata__", {}).get(KEY)
    if not isinstance(text, str):
        raise _error(path, "it was not written by fastprop")
    description = _parse(path, text)
    version = description.pop("version", None)
    if not isinstance(version, int) or version < 1:
        raise _error(path, "its description has no version")
    if version > VERSION:
        raise _error(path, f"it has format {version}, this fastprop reads up to {VERSION}: upgrade fastprop")
    return description


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays, by safetensors, which checks that shapes and offsets agree and fill the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, ValueError, TypeError, OverflowError) as error:
        raise _error(path, str(error)) from error


def _parse(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _error(path, "its header is damaged or not JSON") from error
    if not isinstance(parsed, dict):
        raise _error(path, "its header is not a JSON object")
    return parsed


def _error(path: Path, reason: str) -> FileError:
    return FileError(f"cannot read {os.fspath(path)}: {reason}")


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"the description holds {value!r}, which JSON cannot")
