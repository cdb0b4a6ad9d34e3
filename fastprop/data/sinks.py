"""Writing predictions as a stream: .npy, .csv or .parquet, part by part, as a file that appears when it is complete."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

HEADER_BYTES = 256  # of .npy: its number of rows is written at the end
COPY_ROWS = 1 << 16


class Sink(ABC):
    """A file of rows that is written part by part.

    A context manager: when it ends, the file is flushed to disk and takes its name; after an error nothing is left.

    Parameters
    ----------
    path : Path
    names : sequence of str
        Of the columns.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        if path.is_dir():
            raise IsADirectoryError(21, "out must be a file, got the folder", str(path))
        if not path.parent.is_dir():
            raise FileNotFoundError(2, "no such folder", str(path.parent))
        self.path, self.names, self.n_rows = path, list(names), 0
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._file: IO[bytes] = self._part.open("wb+")

    def write(self, *arrays: np.ndarray) -> None:
        """Append rows.

        Parameters
        ----------
        *arrays : ndarray of shape (n,) or (n, k)
            Numbers or labels; side by side they make the columns of the file, and they are of the same dtypes in every
            call.

        Raises
        ------
        ValueError
            If they make another number of columns.
        """
        n_columns = sum(1 if array.ndim == 1 else array.shape[1] for array in arrays)
        if n_columns != len(self.names):
            raise ValueError(f"{self.path} has {len(self.names)} columns, got {n_columns}")
        self._write(arrays)
        self.n_rows += len(arrays[0])

    @abstractmethod
    def _write(self, arrays: tuple[np.ndarray, ...]) -> None:
        """Append rows of checked arrays."""

    def _finish(self) -> None:  # noqa: B027  most files end with their rows
        """Write what stands at the end of the file."""

    def _abandon(self) -> None:  # noqa: B027
        """Let go of the file before its end."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
            else:
                self._abandon()
        except OSError as failed:
            self._name(failed)
            raise
        finally:
            self._name(error)
            with contextlib.suppress(OSError):  # to a full disk what is left in the buffer cannot be written either
                self._file.close()
            self._part.unlink(missing_ok=True)

    def _complete(self) -> None:
        """Write what is left to disk, and give the file its name."""
        if self.n_rows == 0:
            self._write((np.empty((0, len(self.names)), np.float32),))
        self._finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self.path)

    def _name(self, error: BaseException | None) -> None:
        """Have an error say which file was written: that of a full disk does not."""
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(self.path)


def open_sink(path: str | os.PathLike[str], names: Sequence[str]) -> Sink:
    """A sink for a file, by what its name ends with.

    Parameters
    ----------
    path : path-like
        `.npy` (one array, (n,) or (n, k)), `.csv` or `.parquet`.
    names : sequence of str
        Of the columns; an .npy file has none.

    Raises
    ------
    ValueError
        For another ending.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> with open_sink("predictions.csv", ["price"]) as sink:
    ...     sink.write(np.array([1.5, 2.5]))
    """
    path = Path(path)
    kinds: dict[str, type[Sink]] = {".npy": NpySink, ".csv": CsvSink, ".parquet": ParquetSink}
    if path.suffix.lower() not in kinds:
        raise ValueError(f"predictions go to a .npy, .csv or .parquet file, got {str(path)!r}")
    return kinds[path.suffix.lower()](path, names)


class NpySink(Sink):
    """One array. Texts take the width of the longest: a longer one than all before has the file written anew."""

    _dtype: np.dtype[Any] | None = None
    _shape: tuple[int, ...] = ()

    def _write(self, arrays: tuple[np.ndarray, ...]) -> None:
        if len(arrays) > 1 and any(array.dtype.kind not in "biuf" for array in arrays):
            raise ValueError(f"{self.path}: an .npy file cannot hold labels and numbers; take .csv or .parquet")
        array = arrays[0] if len(arrays) == 1 else np.column_stack(arrays)
        if array.dtype.kind == "O":
            array = array.astype(np.str_)
        if self._dtype is None:
            self._dtype, self._shape = array.dtype, array.shape[1:]
            self._file.write(bytes(HEADER_BYTES))
        elif array.dtype.kind == "U" and array.dtype.itemsize > self._dtype.itemsize:
            self._widen(array.dtype)
        np.ascontiguousarray(array, self._dtype).tofile(self._file)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        """Write the file anew, with room for longer texts, from its last rows to its first."""
        assert self._dtype is not None
        n_values = self.n_rows * int(np.prod(self._shape, dtype=np.int64))
        for start in reversed(range(0, n_values, COPY_ROWS)):
            self._file.seek(HEADER_BYTES + start * self._dtype.itemsize)
            count = min(COPY_ROWS, n_values - start)
            values = np.frombuffer(self._file.read(count * self._dtype.itemsize), self._dtype)
            self._file.seek(HEADER_BYTES + start * dtype.itemsize)
            self._file.write(values.astype(dtype).tobytes())
        self._file.seek(0, os.SEEK_END)
        self._dtype = dtype

    def _finish(self) -> None:
        assert self._dtype is not None
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.n_rows, *self._shape)}
        text = repr(described).encode("latin-1")
        self._file.seek(0)
        # Version 1.0 of the format: magic, version, length of what follows, a dict, blanks and a line end.
        self._file.write(b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little"))
        self._file.write(text.ljust(HEADER_BYTES - 11) + b"\n")


class CsvSink(Sink):
    """UTF-8, with a header, commas and line feeds."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        super().__init__(path, names)
        self._file.write(csv_header(self.names).encode())

    def _write(self, arrays: tuple[np.ndarray, ...]) -> None:
        self._file.write(csv_rows(self.names, arrays))


class ParquetSink(Sink):
    """A row group for each part, so give parts of some MB."""

    _writer: Any = None

    def _write(self, arrays: tuple[np.ndarray, ...]) -> None:
        import pyarrow.parquet as pq

        batch = record_batch(self.names, arrays)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, batch.schema, compression="zstd")
        self._writer.write_batch(batch)

    def _finish(self) -> None:
        self._writer.close()

    def _abandon(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception):  # of what has failed already, as on a full disk
                self._writer.close()


def csv_header(names: Sequence[str]) -> str:
    """The first line."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(names)
    return line.getvalue()


def csv_rows(names: Sequence[str], arrays: Sequence[np.ndarray]) -> bytes:
    """Rows as CSV; numbers in the shortest form that gives them back."""
    import pyarrow as pa
    import pyarrow.csv as pc

    batch = record_batch(names, arrays)
    for style in ("none", "needed"):  # "needed" quotes every text; "none" refuses those that need it
        out = pa.BufferOutputStream()
        try:
            pc.write_csv(batch, out, pc.WriteOptions(include_header=False, quoting_style=style))
            break
        except pa.ArrowInvalid:
            if style == "needed":
                raise
    rows: bytes = out.getvalue().to_pybytes()
    return rows


def record_batch(names: Sequence[str], arrays: Sequence[np.ndarray]) -> Any:
    """Arrays side by side as columns of Arrow."""
    import pyarrow as pa

    columns = [column for array in arrays for column in (array.T if array.ndim == 2 else [array])]
    texts = [np.ascontiguousarray(c.astype(np.float32) if c.dtype == np.float16 else c) for c in columns]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in texts], names=list(names))
