"""Files of text, plain or compressed, as blocks of bytes that end where a row ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import FileError
from .paths import check_size

BLOCK = 1 << 20  # bytes: decoded some 2 to 4 MB; of blocks of 8 MB pyarrow parses a third fewer a second (caches)
LONGEST = 1 << 24  # bytes of a row: a quote that is never closed is found out before it fills the memory
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def codec_of(path: str) -> str | None:
    """How a file is compressed, by its name; None is plain."""
    return CODECS.get(os.path.splitext(path)[1].lower())


def last_line(text: bytes) -> int:
    """Where the last whole line of a text ends."""
    return text.rfind(b"\n") + 1


def text_blocks(path: str, n_bytes: int, cut: Callable[[bytes], int], start: int = 0) -> Iterator[tuple[bytes, bool]]:
    """The text of a file in blocks of some 1 MB.

    Parameters
    ----------
    path : str
        With .gz, .bz2 or .zst it is decompressed.
    n_bytes : int
        Its size when it was opened first.
    cut : callable
        From a text that begins with a row: where the last row that is whole in it ends; 0 if none is.
    start : int, default=0
        Bytes of the text to leave out.

    Yields
    ------
    (text, is_whole) : bytes, bool
        Whole rows; or what stands behind the last one at the end of the file.

    Raises
    ------
    FileError
        If the file is damaged, has changed its size, or has a row of more than 16 MB; the message says where.
    """
    check_size(path, n_bytes)
    rest = b""
    n_read = 0
    with _open(path) as file:
        while n_read < start and (data := _read(path, file, start - n_read, n_read)):
            n_read += len(data)
        while data := _read(path, file, max(BLOCK, len(rest)), n_read):
            n_read += len(data)
            text = rest + data
            end = cut(text)
            if end:
                yield text[:end], True
            rest = text[end:]
            if len(rest) > LONGEST:
                row = f"the row at byte {n_read - len(rest):,} of the text"
                raise FileError(f"{path}: {row} is longer than {LONGEST:,} bytes; is a quote not closed?")
    check_size(path, n_bytes)
    if rest:
        yield rest, False


def _open(path: str) -> Any:
    codec = codec_of(path)
    if codec is None:
        return open(path, "rb", buffering=0)
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(path), codec)


def _read(path: str, file: Any, n: int, n_read: int) -> bytes:
    try:
        data: bytes = file.read(n)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        if codec_of(path) is None:
            raise
        raise FileError(f"{path} is damaged after {n_read:,} bytes of text: {error}") from None
    return data


def text_head(path: str) -> bytes:
    """The first 1 MB of a text or, if it has no line break there, all up to the first one."""
    head = b""
    with _open(path) as file:
        while data := _read(path, file, BLOCK, len(head)):
            head += data
            if len(head) >= LONGEST or (len(head) >= BLOCK and b"\n" in head):
                break
    return head
