"""Checkpoints on disk: arrays and a description in a safetensors file with a checksum, of which the last two are kept.

The checksum is BLAKE2b of the whole file with zeros where it stands itself, so that one flipped bit shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import files
from .atomic import replacing
from .errors import FileError

START = b'{"__metadata__":{"checksum":"'
DIGITS = 64
BLOCK = 1 << 20  # bytes read at a time


def previous_name(path: str | os.PathLike[str]) -> str:
    """What the checkpoint before the one at `path` is called."""
    return os.path.basename(os.path.realpath(path)) + ".previous"


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Refuse to write a checkpoint over what is none, such as data.

    One whose beginning is damaged may be replaced if the one before it shows what it was.

    Raises
    ------
    FileError
        Naming the path.
    OSError
        If the name that the checkpoint will have as the one before is too long.
    """
    newest = os.path.realpath(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(_previous(path))
    if not os.path.isfile(newest) or not os.path.getsize(newest) or _begins_as_ours(newest):
        return
    if not _begins_as_ours(_previous(path)):
        raise FileError(f"cannot write a checkpoint to {os.fspath(path)}: there is a file that is none")


def write(path: str | os.PathLike[str], description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a checkpoint in one stroke; the former becomes "<name>.previous".

    Parameters
    ----------
    path : path-like
    description : dict
        Must go through JSON.
    arrays : dict of str to ndarray
        float32, float64 or int64.

    Raises
    ------
    OSError
        Naming the path.
    FileError
        See `check_replaceable`.
    """
    check_replaceable(path)
    parts = files.parts_of({"checksum": "0" * DIGITS, files.KEY: files.json_of(description)}, arrays)
    with replacing(path, previous_name(path), _is_whole) as temporary, open(temporary, "r+b") as file:
        digest = hashlib.blake2b(digest_size=DIGITS // 2)
        for part in parts:
            digest.update(part)  # of large parts this and `write` let other threads run
            file.write(part)
        file.seek(8 + len(START))
        file.write(digest.hexdigest().encode())


def _previous(path: str | os.PathLike[str]) -> str:
    """Where the checkpoint before the one at `path` is."""
    return os.path.join(os.path.dirname(os.path.realpath(path)), previous_name(path))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the arrays of the checkpoint that `opened` opens."""
    with opened(path) as contents:
        return contents.description, dict(contents)


def opened(path: str | os.PathLike[str]) -> files.Contents:
    """The checkpoint at `path`; if that is damaged or missing, with a RuntimeWarning the one before it.

    Its arrays are read when they are asked for, so that their shapes can be refused before memory is taken for them.

    Raises
    ------
    FileError
        If neither can be read; the message says why.
    FileNotFoundError
        If there is neither.
    """
    newest = os.path.realpath(path)
    previous = _previous(path)
    try:
        return _opened(newest)
    except (FileError, OSError) as error:
        if not os.path.exists(previous):
            raise
        reason = error
    try:
        found = _opened(previous)
    except (FileError, OSError) as error:
        raise FileError(f"{reason}; nor the one before it: {error}") from error
    warnings.warn(f"{reason}; the checkpoint before it, {previous}, is taken", RuntimeWarning, stacklevel=3)
    return found


def _opened(path: str) -> files.Contents:
    _verify(path)
    return files.Contents(path)


def _verify(path: str) -> None:
    """Compare the checksum with the file, a block at a time."""
    with open(path, "rb") as file:
        head = file.read(8 + len(START) + DIGITS)
        if head[8 : 8 + len(START)] != START:
            raise FileError(f"cannot read {path}: it is not a checkpoint, or its beginning is damaged")
        digest = hashlib.blake2b(head[: 8 + len(START)] + b"0" * DIGITS, digest_size=DIGITS // 2)
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest().encode() != head[-DIGITS:]:
        raise FileError(f"cannot read {path}: its checksum does not fit, so it is damaged or truncated")


def _is_whole(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a checkpoint without damage."""
    try:
        _verify(os.fspath(path))
    except (FileError, OSError):
        return False
    return True


def _begins_as_ours(path: str) -> bool:
    """Whether the file is there, and a checkpoint to judge by its first bytes."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(8 + len(START))[8:] == START
