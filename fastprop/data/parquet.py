"""Parquet files: the pieces are their row groups, each decoded page by page."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..arrow import is_string, kind_of
from ..errors import FileError
from ..labels import some
from .arrow_types import cast, common_type, constant, usable_kind
from .paths import Paths, check_size, file_size, find_files, title, wanted
from .source import Block, Source, selected

ENDINGS = (".parquet", ".parq", ".pq")
BLOCK = 4 << 20  # bytes of a decoded block: 28 columns of float32 at 1.2 million rows/s, of 1 MB 1.06
LEAST_BLOCK = 1 << 19  # of small memory limits: with 50 MB, reading takes 143 MB instead of 184, at the same speed
BLOCK_SHARE = 1 / 64  # of the memory limit
UNNOTICED = 16 << 20  # bytes that an open row group may take whatever the limit: pyarrow itself takes some 40 MB
BUFFER = 1 << 16  # bytes read of a column at a time: without it a whole column chunk is held, 186 MB instead of 66
PAGE = 5 << 19  # what an open column holds: writers make pages of 1 MB, kept compressed, decompressed and as values
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Group:
    """A row group: number `index` of file number `file`, rows from `first` on."""

    file: int
    index: int
    first: int
    n_rows: int


@dataclass(frozen=True)
class ParquetFile:
    """What is kept of a file.

    Attributes
    ----------
    path : str
    n_bytes : int
    footer : pyarrow.parquet.FileMetaData
        Read once: that of many row groups takes longer than a group.
    types : dict of str to pyarrow.DataType
        As the columns are stored.
    keys : dict of str to str or None
        What the names of its folders say.
    index : frozenset of str
        Columns that are the index of a data frame.
    """

    path: str
    n_bytes: int
    footer: Any
    types: dict[str, Any]
    keys: dict[str, str | None]
    index: frozenset[str]

    def groups(self, number: int) -> Iterator[Group]:
        """The row groups that are not empty."""
        first = 0
        for index in range(self.footer.num_row_groups):
            n_rows = self.footer.row_group(index).num_rows
            if n_rows > 0:
                yield Group(number, index, first, n_rows)
                first += n_rows

    def chunks(self, index: int, names: Collection[str]) -> dict[str, Any]:
        """What the footer says of columns of a row group; `names` are neither nested nor missing."""
        group = self.footer.row_group(index)
        try:
            chunks = {chunk.path_in_schema: chunk for chunk in map(group.column, range(group.num_columns))}
            return {name: chunks[name] for name in names}
        except (KeyError, UnicodeDecodeError) as error:
            raise FileError(f"{self.path}, row group {index}: its footer is damaged: {error!r}") from None


def open_parquet(path: str) -> ParquetFile:
    """Read a footer; FileError if there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_bytes = file_size(path)  # its OSError names the path; those of pyarrow below are damage
    try:
        with pa.OSFile(path) as handle:
            footer = pq.read_metadata(handle)
        schema = footer.schema.to_arrow_schema()
        n_rows = sum(footer.row_group(index).num_rows for index in range(footer.num_row_groups))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is damaged, or not a Parquet file: {one_line(error)}") from None
    if n_rows != footer.num_rows:
        raise FileError(f"{path} is damaged: its row groups have {n_rows} rows, its footer says {footer.num_rows}")
    twice = [name for index, name in enumerate(schema.names) if name in schema.names[:index]]
    if twice:
        raise FileError(f"{path}: two columns are named {twice[0]!r}")
    types = dict(zip(schema.names, schema.types, strict=True))
    return ParquetFile(path, n_bytes, footer, types, folder_keys(path), index_columns(schema) & types.keys())


def index_columns(schema: Any) -> frozenset[str]:
    """The columns that a data frame was written with as its index: pandas notes them in the footer, and Dask has one.

    A range is noted without a column. Notes that cannot be read are none.
    """
    try:
        noted = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        return frozenset(name for name in noted if isinstance(name, str))
    except (KeyError, TypeError, ValueError):
        return frozenset()


def folder_keys(path: str) -> dict[str, str | None]:
    """The columns that folders named `key=value` give; None is a missing value."""
    parts = [part.partition("=") for part in Path(path).parts[:-1] if "=" in part]
    return {unquote(key): None if value == NO_PARTITION else unquote(value) for key, _, value in parts}


def one_line(error: BaseException) -> str:
    """The message of an error in at most 200 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def check_columns(files: Sequence[ParquetFile], names: Sequence[str], others: bool) -> None:
    """FileError unless the columns `names` are in all files, as numbers in all or text in all.

    Parameters
    ----------
    files : sequence of ParquetFile
    names : sequence of str
        Columns of the first file.
    others : bool
        Whether files may have other columns too.
    """
    first = files[0]
    stored = [name for name in names if name in first.types]
    kinds = {name: usable_kind(first.path, name, first.types[name]) for name in stored}
    for file in files[1:]:
        for name in names:
            if name not in (file.types if name in first.types else file.keys):
                raise FileError(f"{file.path} has no column {name!r}, which {first.path} has")
        more = [name for name in file.types if name not in first.types and name not in file.index]
        if more and not others:
            raise FileError(f"{file.path} has a column {more[0]!r}, which {first.path} has not")
        for name, kind in kinds.items():
            if usable_kind(file.path, name, file.types[name]) != kind:
                types = f"{file.types[name]}, but {first.types[name]} in {first.path}"
                raise FileError(f"{file.path}, column {name!r} holds {types}: it must be numbers in all files, or text")


def type_of_key(values: Collection[str | None]) -> Any:
    """float64 if all values are numbers, else text as a dictionary."""
    import pyarrow as pa

    try:
        _ = [float(value) for value in values if value is not None]
    except ValueError:
        return pa.dictionary(pa.int32(), pa.string())
    return pa.float64()


class ParquetSource(Source):
    """Rows of Parquet files, in pieces of a row group.

    Numbers come as integers or floats as they are stored (booleans as uint8, decimals as float64), text as strings or,
    where it is stored so, as a dictionary. Columns whose type differs between files come as float64 or as strings.
    Missing values are null. Folders named `key=value` add a column `key`.

    Parameters
    ----------
    paths : path, str with a pattern, or an iterable of them
        Files; folders are searched for .parquet, .parq and .pq.
    columns : collection of str, optional
        Columns to read; default all but the index of a data frame. Others are not decoded.
    ignore : collection of str, default=()
        Columns to leave out.
    keep : collection of str, default=()
        Columns to read although they are an index.
    memory_limit : int, optional
        In bytes; with a small one blocks are smaller.

    Raises
    ------
    FileError
        If a file is not Parquet or is damaged, a column is neither numbers nor text, or files have different columns.
    OSError
        If a file is missing or cannot be read.
    """

    def __init__(
        self,
        paths: Paths,
        columns: Collection[str] | None = None,
        ignore: Collection[str] = (),
        memory_limit: int | None = None,
        keep: Collection[str] = (),
    ) -> None:
        self._files = [open_parquet(path) for path in find_files(paths, ENDINGS)]
        self._pieces = [group for number, file in enumerate(self._files) for group in file.groups(number)]
        self._largest = max(self._pieces, key=self._bytes_of, default=None)
        self.name = title([file.path for file in self._files])
        self.n_samples: int | None = sum(group.n_rows for group in self._pieces)
        first = self._files[0]
        names = wanted(first.path, list(first.types | first.keys), columns, ignore)
        if columns is None and not (names := [name for name in names if name in keep or name not in first.index]):
            raise FileError(f"no column of {first.path} is left to learn from: {some(sorted(first.index))} is an index")
        self._left_out = frozenset() if columns is not None else first.index - {*names, *ignore}
        self._others = columns is not None or bool(ignore)
        self._take(names)
        self._whole: ParquetSource | None = None
        self._block = BLOCK if memory_limit is None else max(LEAST_BLOCK, min(BLOCK, int(BLOCK_SHARE * memory_limit)))

    def mixed(self) -> tuple[str, str, Any, str, Any] | None:
        """The first column that holds integers in one file and other numbers in another, and where; None is none."""
        from pyarrow import types

        first = self._files[0]
        for file in self._files[1:]:
            for name in self._stored:
                ours, theirs = first.types[name], file.types[name]
                if self.columns[name] == "number" and types.is_integer(ours) != types.is_integer(theirs):
                    return name, file.path, theirs, first.path, ours
        return None

    def _take(self, names: Sequence[str]) -> None:
        """Read these columns of the first file."""
        import pyarrow as pa

        check_columns(self._files, names, self._others)
        self._stored = [name for name in names if name in self._files[0].types]
        self._schema = pa.schema([(name, self._type_of(name)) for name in names])
        self.columns = {name: kind_of(self._schema.field(name).type) for name in names}

    def including(self, names: Collection[str]) -> ParquetSource:
        """Reads an index too, if it is among these names."""
        more = [name for name in self._files[0].types if name in self._left_out and name in names]
        if not more:
            return self
        wider = copy.copy(self)
        wider._left_out = self._left_out - set(more)
        wider._take([*self.columns, *more])
        return wider

    def warn_of_large_groups(self, n_bytes: int) -> None:
        """RuntimeWarning if reading the largest row group holds more than so many bytes, with what helps."""
        group = self._largest
        if group is None or self._held(group) <= max(n_bytes, UNNOTICED):
            return
        file = self._files[group.file]
        row_bytes = 2 * (sum(self._chunk_bytes(group)) / group.n_rows + self._row_bytes(group))
        most = int((n_bytes - BUFFER * len(self._stored)) / row_bytes)
        smaller = f"write the file with row groups of at most {most:,} rows, or " if most > 0 else ""
        warnings.warn(
            f"{file.path}: an open row group of {group.n_rows:,} rows takes about {self._held(group) / 1e6:.0f} MB, "
            f"more than the {n_bytes / 1e6:.0f} MB of memory_limit that are for reading: {smaller}raise memory_limit",
            RuntimeWarning,
            stacklevel=3,
        )

    def _type_of(self, name: str) -> Any:
        """The type in which a column comes."""
        first = self._files[0]
        if name not in first.types:
            return type_of_key({file.keys[name] for file in self._files})
        coded = False
        if self._largest is not None:
            chunk = self._files[self._largest.file].chunks(self._largest.index, [name])[name]
            coded = any("DICTIONARY" in encoding for encoding in chunk.encodings)
        return common_type({file.types[name] for file in self._files}, coded)

    def only(self, columns: Sequence[str] = ()) -> ParquetSource:
        """Reads these columns; all of them where bad rows are left out, so that the same rows are."""
        import pyarrow as pa

        if not columns:  # a record batch without columns would have no rows
            return self
        bare = copy.copy(self)
        bare.columns = {name: kind for name, kind in self.columns.items() if name in columns}
        bare._stored = [name for name in self._stored if name in columns]
        bare._schema = pa.schema([self._schema.field(name) for name in bare.columns])
        bare._whole = self
        return bare

    @property
    def n_pieces(self) -> int:
        return len(self._pieces)

    def rows_of(self, piece: int) -> int:
        return self._pieces[piece].n_rows

    def files_of(self, piece: int) -> tuple[str, ...]:
        return (self._files[self._pieces[piece].file].path,)

    def at_once(self, n_bytes: int) -> int:
        return 1 if self._largest is None else max(1, n_bytes // self._held(self._largest))

    def _bytes_of(self, group: Group) -> int:
        """Bytes of all columns of a row group, not compressed."""
        return int(self._files[group.file].footer.row_group(group.index).total_byte_size)

    def _held(self, group: Group) -> int:
        """Bytes that reading a row group holds: pages of each column, and a block before and after it is cast."""
        pages = sum(min(PAGE, 2 * n_bytes + BUFFER) for n_bytes in self._chunk_bytes(group))
        return pages + 2 * min(self._block, group.n_rows * self._row_bytes(group))

    def _chunk_bytes(self, group: Group) -> list[int]:
        """Bytes of each stored column of a row group, not compressed."""
        chunks = self._files[group.file].chunks(group.index, self._stored)
        return [chunk.total_uncompressed_size for chunk in chunks.values()]

    def _row_bytes(self, group: Group) -> int:
        """Bytes of a decoded row."""
        n_bytes = 8 * (len(self.columns) - len(self._stored))
        for name, chunk in zip(self._stored, self._chunk_bytes(group), strict=True):
            type_ = self._schema.field(name).type
            n_bytes += 8 + chunk // group.n_rows if is_string(type_) else type_.bit_width // 8
        return n_bytes

    def read(self, piece: int, skip_bad: bool = False) -> Iterator[Block]:
        import pyarrow as pa

        if skip_bad and self._whole is not None:
            yield from selected(self._whole.read(piece, skip_bad), self.columns)
            return
        group = self._pieces[piece]
        file = self._files[group.file]
        check_size(file.path, file.n_bytes)
        done = 0
        try:
            for batch in self._batches(file, group):
                yield Block(batch, None, file.path, group.first + done)
                done += batch.num_rows
            if done != group.n_rows:
                raise pa.ArrowInvalid(f"it ends there, and must have {group.n_rows}")
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            check_size(file.path, file.n_bytes)
            if not skip_bad:
                rows = f"rows {group.first} to {group.first + group.n_rows - 1}"
                what = f"damaged, {done} rows could be read: {one_line(error)}"
                raise FileError(f"{file.path}, row group {group.index} ({rows}): {what}") from None
            if done < group.n_rows:
                yield Block(self._empty(), None, file.path, group.first + done, n_bad=group.n_rows - done)

    def _batches(self, file: ParquetFile, group: Group) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        coded = [name for name in self._stored if pa.types.is_dictionary(self._schema.field(name).type)]
        options = {"pre_buffer": False, "buffer_size": BUFFER, "page_checksum_verification": True}
        n_rows = min(group.n_rows, max(1, self._block // max(1, self._row_bytes(group))))
        with pa.OSFile(file.path) as handle:
            reader = pq.ParquetFile(handle, metadata=file.footer, read_dictionary=coded, **options)
            for batch in reader.iter_batches(n_rows, [group.index], self._stored, use_threads=False):
                yield self._arranged(file, batch)

    def _arranged(self, file: ParquetFile, batch: Any) -> Any:
        """The batch with the columns and types of the schema; ArrowInvalid if text is damaged."""
        import pyarrow as pa

        arrays = []
        for column in self._schema:
            if column.name in file.types:
                arrays.append(cast(batch.column(column.name), column.type))
            else:
                arrays.append(constant(file.keys[column.name], column.type, batch.num_rows))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _empty(self) -> Any:
        import pyarrow as pa

        return pa.RecordBatch.from_arrays([pa.array([], column.type) for column in self._schema], schema=self._schema)
