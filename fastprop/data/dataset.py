"""`Dataset`: rows on disk, or from an iterator, that a network trains on without holding them all."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..arguments import check_choice, check_positive_int
from ..errors import FileError
from ..labels import unique_labels
from .columns import PlainColumns
from .estimator_loop import fit_parts
from .filling import Cursor, stacked
from .order import uniform
from .pieces import PiecesOf
from .preparation import Preparation, Prepare
from .sizes import bytes_of, parse_bytes, row_bytes_of
from .source import AsTheyAre, Block, Features, Source
from .usable import Labels, finite_rows, one_column
from .windows import READING_SHARE, WINDOW_SHARE, Windows, WindowsAhead

CODE_BYTES = 4  # of a label: int32
LOAD_SHARE = 1 / 4  # of the memory limit: data that need no more are held in memory


class Dataset:
    """Rows that are read while they are used.

    `Network.fit`, `evaluate` and `predict` take it in place of X and y. Made by `fp.data.from_npy`, `from_parquet`,
    `from_csv`, `from_libsvm` and `from_batches`.

    Parameters
    ----------
    source : Source
    features : Features
        What makes X and y of its blocks.
    memory_limit : int or str
        For all that reading and shuffling hold, in bytes or as "500MB"; the network itself comes on top.
    on_bad_rows : {"error", "skip"}
        Whether a row that cannot be used (missing or infinite numbers, an unknown label, text that is no number) is an
        error, or is left out and counted in `history["skipped"]`.

    Attributes
    ----------
    n_samples : int or None
        Rows, where they are known without reading all of them; bad ones are counted.
    n_features : int
    feature_names : tuple of str, or None
    dtype : dtype
        Of X.
    dtypes : dict of str to str
        Of each column as it is read: Arrow's name of its type for tables, NumPy's for matrices.
    is_sequential : bool
        Whether rows can be read in one order only: shuffling then reaches as far as a window.
    shuffling : str
        How rows are shuffled, in words.
    """

    def __init__(
        self, source: Source, features: Features, memory_limit: int | str = "1GB", on_bad_rows: str = "error"
    ) -> None:
        self.source, self.features = source, features
        self.memory_limit = parse_bytes("memory_limit", memory_limit)
        self.skips = check_choice("on_bad_rows", on_bad_rows, ("error", "skip")) == "skip"
        self._shares: tuple[tuple[int, float, float], ...] = ()  # seed, and from where to where of 0..1 rows are ours

    # ---- what it is -----------------------------------------------------------------------------------------------

    @property
    def n_features(self) -> int:
        return self.features.n_features

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        return self.features.feature_names

    @property
    def has_target(self) -> bool:
        """Whether there is a y."""
        return self.features.has_target

    @property
    def is_sequential(self) -> bool:
        return self.source.is_sequential

    @functools.cached_property
    def n_samples(self) -> int | None:
        if not self._shares or self.source.n_samples is None:
            return self.source.n_samples
        pieces = range(self.source.n_pieces)
        sizes = [self.source.rows_of(piece) or 0 for piece in pieces]
        return sum(len(kept) for p in pieces if (kept := self.members(p, 0, sizes[p])) is not None)

    @functools.cached_property
    def _sample(self) -> tuple[Any, np.ndarray | None]:
        """X and y of the first block with rows, to know what they look like."""
        text = [name for name, kind in self._columns().items() if kind == "text"]
        if text and isinstance(self.features, PlainColumns):
            names = ", ".join(map(repr, text))
            raise ValueError(
                f"{self.source.name}: text in {names} is no number; prepare=True encodes it, ignore=[...] (--ignore) "
                f"leaves it out"
            )
        return self.features.transform(self._first_block())

    def _first_block(self) -> Block:
        peek = getattr(self.source, "peek", None)  # an iterator is not read twice
        if peek is not None:
            block: Block = peek()
            return block
        for piece in range(self.source.n_pieces):
            with contextlib.closing(self.source.read(piece, self.skips)) as blocks:  # type: ignore[type-var]
                for block in blocks:
                    if len(block):
                        return block
        raise self.without_rows()

    def without_rows(self) -> FileError:
        """The error for a dataset without rows."""
        name, good = self.source.name, " that are good" if self.skips else ""
        if self._shares and self.source.n_samples != 0:
            return FileError(f"this part of a split of {name} holds no rows{good}: split it otherwise")
        return FileError(f"{name} holds no rows{good}")

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._sample[0].dtype
        return dtype

    @functools.cached_property
    def dtypes(self) -> dict[str, str]:
        rows = self._first_block().rows
        if hasattr(rows, "schema"):
            return {field.name: str(field.type) for field in rows.schema}
        names = self.feature_names if isinstance(self.features, AsTheyAre) else None
        return dict.fromkeys(names or map(str, range(rows.shape[1])), str(rows.dtype))

    @property
    def is_sparse(self) -> bool:
        """Whether X is CSR."""
        return hasattr(self._sample[0], "indptr")

    @property
    def shuffling(self) -> str:
        window = f"windows of {self.window_rows():,} rows"
        if self.is_sequential:
            return f"within {window}, in the order of the source: sort it at random before, if it is sorted"
        return f"by the order of {self.source.n_pieces:,} pieces of the source, and within {window}"

    def __repr__(self) -> str:
        n = "unknown" if self.n_samples is None else f"{self.n_samples:,}"
        return f"Dataset({self.source.name!r}, n_samples={n}, n_features={self.n_features}, shuffled {self.shuffling})"

    # ---- parts ----------------------------------------------------------------------------------------------------

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two datasets that share the rows: 1 - fraction of them, and the rest.

        Each row is drawn by the seed and its number in the source: nothing is read or stored, and the same seed gives
        the same rows again, whatever `memory_limit` is. The shares are right but for chance (0.1 % for a million rows).
        Rows that cannot be read at all and are left out (`on_bad_rows="skip"`) count in the first part.

        Parameters
        ----------
        fraction : float within (0, 1)
            Of the second one.
        seed : int, default 0

        Returns
        -------
        rest, part : Dataset
        """
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"fraction must be within (0, 1), got {fraction!r}")
        return self._share(seed, 0.0, 1.0 - fraction), self._share(seed, 1.0 - fraction, 1.0)

    def _share(self, seed: int, first: float, last: float) -> Dataset:
        part = copy.copy(self)
        part.__dict__.pop("n_samples", None)
        part._shares = (*self._shares, (seed, first, last))
        return part

    def of_pieces(self, pieces: Sequence[int] | np.ndarray) -> Dataset:
        """The rows of these pieces of the source, in this order; a split draws the same of them as of the whole."""
        part = copy.copy(self)
        part.__dict__.pop("n_samples", None)
        part.source = PiecesOf(self.source, pieces)
        return part

    def members(self, piece: int, offset: int, n: int) -> np.ndarray | None:
        """Which of the rows offset..offset + n of a piece belong to this dataset; None if all do."""
        if not self._shares:
            return None
        kept = np.ones(n, bool)
        rows = np.arange(n) + self.source.starts[piece] + offset
        for level, (seed, first, last) in enumerate(self._shares):
            drawn = uniform(seed, level, rows)
            kept &= (drawn >= first) & (drawn < last)
        return np.flatnonzero(kept)

    @property
    def counts_unreadable(self) -> bool:
        """Whether rows that cannot be read are counted here: those of a split in its first part only."""
        return all(first == 0.0 for _, first, _ in self._shares)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_sample"}  # a block: megabytes

    # ---- preparation ----------------------------------------------------------------------------------------------

    @property
    def preparation(self) -> Preparation | None:
        """What prepares the columns, if something does."""
        return self.features if isinstance(self.features, Preparation) else None

    def prepare(self, how: bool | Prepare | Preparation = True) -> Dataset:
        """The same rows with their columns prepared: numbers filled and standardised, text one-hot or hashed.

        Parameters
        ----------
        how : True, Prepare or Preparation
            True and `Prepare(...)` read the rows once to learn means, medians and categories; a `Preparation`, that of
            other data (`preparation`) or of a network (`preparation_`), is applied as it is.

        Returns
        -------
        Dataset
        """
        part = copy.copy(self)
        part.__dict__.pop("_sample", None)
        if isinstance(how, Preparation):
            part.source, part.features = self.source.including(how.columns), self._with_our_target(how)
        else:
            options = Prepare() if how is True else how
            if not isinstance(options, Prepare):
                raise TypeError(f"prepare must be True, a Prepare or a Preparation, got {how!r}")
            part.features = Preparation.fit(
                self._raw_blocks(), self._columns(), self._targets(), options, skip_bad=self.skips
            )
        return part

    def for_network(
        self, feature_names: Sequence[str] | None, preparation: Preparation | None, is_trained: bool = False
    ) -> Dataset:
        """The same rows with their columns as a network knows them: prepared as it was trained, or found by name.

        Parameters
        ----------
        feature_names : sequence of str or None
        preparation : Preparation or None
            Of the network. That of the dataset may be learnt from other rows only if its features are the same; the
            target is the network's in any case, so that what is learnt, scored and predicted has its units.
        is_trained : bool
            Whether the network has seen data: without a preparation they were then as they are.

        Raises
        ------
        ValueError
            If they are prepared otherwise.
        """
        ours = self.preparation
        if preparation is not None:
            if ours is not None and not ours.has_features_of(preparation):
                raise ValueError(
                    f"{self.source.name} is prepared otherwise than what the network was trained on: leave prepare "
                    f"away, or give prepare=net.preparation_"
                )
            return self.prepare(preparation)
        if ours is not None and is_trained:
            raise ValueError(
                f"{self.source.name} is prepared, but the network was trained on columns as they are: leave prepare "
                f"away, or set net.preparation_ if it was given these columns prepared"
            )
        if isinstance(self.features, PlainColumns) and feature_names is not None:
            part = copy.copy(self)
            part.__dict__.pop("_sample", None)
            part.source = self.source.including(feature_names)
            part.features = replace(self.features, feature_names=tuple(feature_names))
            return part
        return self

    def _with_our_target(self, preparation: Preparation) -> Preparation:
        """A preparation that looks for the target where this dataset has it."""
        target = preparation.to_predict
        if target is None or not self.has_target:
            return preparation.with_target(None)
        return preparation.with_target(target.of(self._targets()))

    def _columns(self) -> dict[str, str]:
        """The columns to learn from, and their kinds."""
        if isinstance(self.features, PlainColumns):
            return {name: self.source.columns.get(name, "number") for name in self.features.feature_names}
        return {str(i): "number" for i in range(self.features.n_features)}

    def _targets(self) -> tuple[str, ...]:
        """The columns of the target; none where it lies beside the rows."""
        return tuple(getattr(self.features, "targets", ()))

    def _raw_blocks(self) -> Iterator[Block]:
        """Our rows, as they were read; FileError if there are none."""
        n_rows = 0
        for piece in range(self.source.n_pieces):
            offset = 0
            for block in self.source.read(piece, self.skips):
                kept = self.members(piece, offset, len(block))
                offset += len(block)
                n_rows += len(block) if kept is None else len(kept)
                yield block if kept is None else block.of(kept)
        if n_rows == 0:
            raise self.without_rows()

    # ---- rows -----------------------------------------------------------------------------------------------------

    def head(self, n: int = 5) -> tuple[Any, np.ndarray | None]:
        """The first n rows as X and y, to look at; fewer if there are no more."""
        check_positive_int("n", n)
        assert self._sample is not None  # refuses columns of text
        return self._first_rows(n)

    def _first_rows(self, n: int) -> tuple[Any, np.ndarray | None]:
        if hasattr(self.source, "peek"):
            X, y = self.features.transform(self._first_block())
            return X[:n], None if y is None else y[:n]
        Xs, ys, room = [], [], n
        for X, y, _ in self.blocks():
            Xs.append(X[:room].copy())
            ys.append(None if y is None else y[:room].copy())
            room -= Xs[-1].shape[0]
            if room == 0:
                break
        if not Xs:
            raise self.without_rows()
        X = stacked(Xs) if self.is_sparse else np.concatenate(Xs)
        return X, None if ys[0] is None else np.concatenate([y for y in ys if y is not None])

    def blocks(self) -> Iterator[tuple[Any, np.ndarray | None, Block]]:
        """X, y and the block that they come from, in the order of the source; bad rows as they are."""
        for piece in range(self.source.n_pieces):
            offset = 0
            for block in self.source.read(piece, self.skips):
                X, y = self.features.transform(block)
                kept = self.members(piece, offset, len(block))
                offset += len(block)
                if kept is not None:
                    X, y = X[kept], None if y is None else y[kept]
                if X.shape[0]:
                    yield X, y, block

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct labels in y, sorted, and how many rows have each; reads the targets, and little else if it can.

        Missing labels are left out. For numbers that are no labels there may be as many as rows.

        Raises
        ------
        ValueError
            If there are none, or the rows come from an iterator that can be read once: they would be gone.
        """
        if self.source.reads_once:
            raise ValueError(
                f"{self.source.name} can be read once, and not all labels are known: give from_batches a function that "
                f"makes a new iterator, such as a generator function"
            )
        found: dict[Any, int] = {}
        source = self.source.only(self._targets())
        for piece in range(source.n_pieces):
            offset = 0
            for block in source.read(piece, self.skips):
                y, kept = self.features.target(block), self.members(piece, offset, len(block))
                offset += len(block)
                assert y is not None
                y = one_column(y if kept is None else y[kept])
                good = finite_rows(y)
                distinct, codes = unique_labels(y if good is None else y[good], "y")
                for label, count in zip(distinct.tolist(), np.bincount(codes).tolist(), strict=True):
                    found[label] = found.get(label, 0) + count
                dtype = distinct.dtype
        if not found:
            raise ValueError(f"{self.source.name} has no labels")
        classes = np.array(sorted(found), dtype=dtype if dtype.kind not in "US" else None)
        return classes, np.array([found[label] for label in classes.tolist()])

    def load(self, **options: Any) -> tuple[Any, np.ndarray | None, int] | None:
        """All usable rows in memory, in the order of the source, and how many were left out.

        None if they need more than a quarter of `memory_limit`. `options` are those of `Windows`.
        """
        n_rows = self.rows_in(LOAD_SHARE)
        if self.source.reads_once or n_rows == 0 or (self.n_samples is not None and self.n_samples > n_rows):
            return None
        if self._likely_rows > 2 * n_rows:  # else a quarter of the limit would be read in vain
            return None
        window = next(Windows(self, n_rows, share=LOAD_SHARE, **options).of(0))
        return (window.X, window.y, window.n_skipped) if window.is_last else None

    @property
    def _likely_rows(self) -> float:
        """About how many rows there are; 0 where that is known, or nobody knows."""
        return (self.source.likely_rows or 0) * math.prod(last - first for _, first, last in self._shares)

    # ---- windows --------------------------------------------------------------------------------------------------

    @property
    def reading_bytes(self) -> int:
        """Memory for what is being read."""
        return int(READING_SHARE * self.memory_limit)

    def rows_in(
        self,
        share: float,
        multiple: int = 1,
        dtype: Any = None,
        labels: Labels | None = None,
        with_targets: bool = True,
    ) -> int:
        """Rows of X, and of y, in a share of the memory limit, a multiple of `multiple`.

        Parameters
        ----------
        share : float
        multiple : int, default 1
        dtype : dtype, optional
            Floats that are larger become this.
        labels : Labels, optional
            y becomes their codes.
        with_targets : bool, default True
            Whether y is there.
        """
        X, y = self._sample
        row_bytes = bytes_of(X) / max(1, X.shape[0]) if hasattr(X, "indptr") else row_bytes_of(X, dtype)
        if y is not None and with_targets:
            row_bytes += CODE_BYTES if labels is not None else row_bytes_of(y, dtype)
        return int(share * self.memory_limit / max(1.0, row_bytes)) // multiple * multiple

    def window_rows(self, update_rows: int = 1, dtype: Any = None, labels: Labels | None = None) -> int:
        """Rows of a window: as many whole updates as an eighth of the memory limit holds.

        Raises
        ------
        ValueError
            If it does not hold one.
        """
        n = self.rows_in(WINDOW_SHARE, update_rows, dtype, labels)
        if n == 0:
            most = self.rows_in(WINDOW_SHARE, 1, dtype, labels)
            raise ValueError(
                f"an update of {update_rows} rows does not fit into a window, which holds {most}: an eighth of "
                f"memory_limit ({self.memory_limit / 1e6:g} MB); raise memory_limit or take a smaller batch_size"
            )
        return n

    def partial_fit(
        self, model: Any, epochs: int = 1, classes: Any = None, shuffle: bool = True, seed: int = 0, **options: Any
    ) -> Any:
        """Call `model.partial_fit(X, y)` for the windows of some epochs, in random order.

        For estimators with scikit-learn's interface, ours or others.

        Parameters
        ----------
        model : estimator
        epochs : int, default 1
        classes : array-like, optional
            Of a classifier; by default the labels are looked through first.
        shuffle : bool, default True
        seed : int, default 0
        **options
            More arguments of `partial_fit`.

        Returns
        -------
        estimator
            `model`.
        """
        return fit_parts(self, model, epochs, classes, shuffle, seed, options)

    def windows(
        self,
        n_rows: int,
        epochs: Sequence[int] = (0,),
        begins: Cursor | None = None,
        **options: Any,
    ) -> WindowsAhead:
        """The windows of some epochs, read by another thread; `options` are those of `Windows`."""
        return WindowsAhead(Windows(self, n_rows, **options), epochs, begins)
