"""Machine code on disk: one file for each kernel, in a folder for each version of everything that it depends on.

The cache saves compiling and is never in the way: a damaged or foreign file, a full disk, a vanished folder is a miss.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import pathlib
import secrets
import shutil
import stat
import sys
import time
from typing import Any

import llvmlite

from .target import target

MONTH = 30 * 86400  # seconds
DIGEST_BYTES = 32


@functools.cache
def stamp() -> str:
    """A hash of everything that compiled code depends on, but for the processor and the users' classes."""
    digest = hashlib.sha256(f"{sys.version}{llvmlite.__version__}".encode())
    numba = importlib.util.find_spec("numba")
    if numba is not None and numba.origin is not None:  # read, not imported; importlib.metadata would take 20 ms
        digest.update(pathlib.Path(numba.origin).with_name("_version.py").read_bytes())
    folder = pathlib.Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def cache_root() -> pathlib.Path:
    """FASTPROP_CACHE_DIR, else `fastprop` in the user's cache folder."""
    if "FASTPROP_CACHE_DIR" in os.environ:
        return pathlib.Path(os.environ["FASTPROP_CACHE_DIR"])
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser() / "fastprop"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "fastprop"


def trouble(folder: pathlib.Path) -> str | None:
    """Why `folder` cannot serve as cache, or None. What lies there is executed: nobody else may write there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except (OSError, RuntimeError) as error:
        return f"cannot be made: {error}"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        return "may be written by other users"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "is not writable"
    return None


@functools.cache
def cache_folder() -> pathlib.Path | None:
    """Where this version's code is kept, or None if there is no safe place."""
    root = cache_root()
    folder = root / stamp()[:16]
    is_new = not folder.exists()
    if trouble(root) or trouble(folder):
        return None
    if is_new:
        forget_old_versions(root)
    return folder


def forget_old_versions(root: pathlib.Path) -> None:
    """Remove code of other versions that nobody has added to for a month."""
    for folder in root.glob("[0-9a-f]" * 16):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > MONTH and folder.name != stamp()[:16]:
                shutil.rmtree(folder, ignore_errors=True)


def cache_state() -> dict[str, Any]:
    """The cache for people: path, writable, n_files, bytes, problem (None if all is well)."""
    root = cache_root()
    folder = root / stamp()[:16]
    problem = trouble(root) or trouble(folder)
    files = [p.stat().st_size for p in folder.glob("*")] if problem is None else []
    return {
        "path": str(folder),
        "writable": problem is None,
        "n_files": len(files),
        "bytes": sum(files),
        "problem": problem,
    }


def path_of(folder: pathlib.Path, title: str) -> pathlib.Path:
    """The file for the code of `title` on the processor that is compiled for."""
    machine = target()
    key = repr((title, sys.platform, machine.triple, machine.name, machine.features))
    return folder / f"{title.partition('[')[0]}.{hashlib.sha256(key.encode()).hexdigest()[:24]}.o"


def read(folder: pathlib.Path, title: str) -> bytes | None:
    """The code of `title`, or None if there is none or the file is damaged."""
    try:
        content = path_of(folder, title).read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def write(folder: pathlib.Path, title: str, code: bytes) -> None:
    """Keep the code of `title`, in one stroke: other processes see the whole file or none."""
    path = path_of(folder, title)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(title: str) -> bytes | None:
    """The code of `title` from the cache, or None."""
    folder = cache_folder()
    return None if folder is None else read(folder, title)


def save(title: str, code: bytes) -> None:
    """Keep the code of `title` in the cache, if that is possible."""
    folder = cache_folder()
    if folder is None or trouble(folder.parent) or trouble(folder):  # they may have vanished, or changed
        return
    with contextlib.suppress(OSError):
        write(folder, title, code)
