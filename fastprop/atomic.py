"""Files that appear in one stroke: a crash leaves the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pathlib
import platform
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator

HOST = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()  # a folder may be of several machines
ABANDONED_SECONDS = 86400.0  # of a temporary file whose writer cannot be asked for
NAME_CHARACTERS = 48  # of a target in the name of its temporary file: 4 bytes each, and 255 are allowed

_writing = threading.Lock()  # of one process: what is left over under its own number then belongs to nobody


def _unlock() -> None:
    """The thread that writes is not there in the child of a fork."""
    global _writing
    _writing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str],
    previous: str | None = None,
    is_whole: Callable[[pathlib.Path], bool] = pathlib.Path.exists,
) -> Iterator[pathlib.Path]:
    """A temporary file to be written, which then takes the place of `path`, on disk before it does.

    What writers that were killed left behind is removed.

    Parameters
    ----------
    path : path-like
        A symbolic link stays one: its target is replaced.
    previous : str, optional
        What the file that was there is called from now on, in the same folder. At every moment one of the two names
        leads to a whole file; where the file system has links, `path` itself does.
    is_whole : callable, optional
        Whether the file that was there is worth to be kept as `previous`.

    Raises
    ------
    OSError
        Naming the path: if it is a folder or a device, the folder is not there or not writable, or the disk is full.
    """
    target = pathlib.Path(os.path.realpath(path))
    with _writing, _naming(path):
        _check_kind(target, path)
        _remove_abandoned(target)
        temporary = _temporary(target)
        try:
            temporary.touch(exist_ok=False)  # an unwritable folder says so itself, as OSError
            mode = (target if target.exists() else temporary).stat().st_mode
            yield temporary
            temporary.chmod(stat.S_IMODE(mode))  # the rights of the file that it replaces
            _flush(temporary, os.O_RDWR)
            if previous is not None and target.exists() and is_whole(target):
                _keep(target, target.with_name(previous))
            os.replace(temporary, target)
            _flush_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now the OSError that writing `path` would raise, as far as can be known."""
    target = pathlib.Path(os.path.realpath(path))
    with _naming(path):
        _check_kind(target, path)
        temporary = _temporary(target)
        temporary.touch(exist_ok=False)
        temporary.unlink()


def _check_kind(target: pathlib.Path, path: str | os.PathLike[str]) -> None:
    """Refuse to replace what is no regular file: a folder, a device, a pipe."""
    if target.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)} is a directory")
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))


def _temporary(target: pathlib.Path) -> pathlib.Path:
    return target.with_name(f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(4)}-{HOST}.tmp")


def _prefix(target: pathlib.Path) -> str:
    """What the names of its temporary files begin with."""
    return f".{target.name[:NAME_CHARACTERS]}."


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors name the path that the user gave: of a full disk they name none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"cannot write: {error.strerror}", os.fspath(path)) from error


def _keep(target: pathlib.Path, previous: pathlib.Path) -> None:
    """Give the file at `target` the name `previous` as well."""
    link = _temporary(target)
    try:
        os.link(target, link)
    except (OSError, NotImplementedError, AttributeError):  # no links here: for a moment only `previous` is there
        os.replace(target, previous)
        return
    try:
        os.replace(link, previous)
    finally:
        link.unlink(missing_ok=True)  # it stays where both are the same file already, as after a kill in between


def _remove_abandoned(target: pathlib.Path) -> None:
    """Remove temporary files of writers that are no more."""
    pattern = re.compile(re.escape(_prefix(target)) + r"(\d+)-[0-9a-f]{8}-([0-9a-f]{8})\.tmp")
    for name in os.listdir(target.parent):
        if match := pattern.fullmatch(name):
            file = target.with_name(name)
            with contextlib.suppress(OSError):
                if not _is_alive(int(match[1]), match[2], file):
                    file.unlink()


def _is_alive(number: int, host: str, file: pathlib.Path) -> bool:
    """Whether the process of this number may still write the file."""
    if os.name == "posix" and host == HOST:
        if number == os.getpid():
            return False
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            pass
    return time.time() - file.stat().st_mtime < ABANDONED_SECONDS


def _flush(path: pathlib.Path, mode: int) -> None:
    """Have what `path` holds on disk."""
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: pathlib.Path) -> None:
    """Have the names in a folder on disk, where that can be asked for."""
    if os.name != "posix":
        return
    try:
        _flush(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of some network file systems
            raise
