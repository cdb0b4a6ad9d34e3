"""A thread that works ahead of the one that uses its results."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
_END = object()
PATIENCE = 1.0  # seconds


class Ahead(Generic[T]):
    """An iterator that another thread draws from `items`, up to `n_ahead` of them ahead.

    What `items` raises is raised here, in its place. `close` ends the thread; so does the end of a `with` block.

    Attributes
    ----------
    waited : float
        Seconds that the using thread has waited.
    """

    def __init__(self, items: Iterator[T], n_ahead: int = 1) -> None:
        self.waited = 0.0
        self._items = items
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(n_ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="fastprop-reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        start = time.perf_counter()
        try:
            item, error = self._ready.get()
        finally:
            self.waited += time.perf_counter() - start
        if error is not None or item is _END:
            self._ready.put((_END, None))  # for whoever asks again
            if error is not None:
                raise error
            raise StopIteration
        return item  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, and wait until the thread has let go of its files.

        Not longer than `PATIENCE`: an iterator of the user may wait for what never comes. The thread ends when that
        returns, and drops what it gives.
        """
        self._closed.set()
        end = time.monotonic() + PATIENCE
        while self._thread.is_alive() and time.monotonic() < end:
            try:  # it may wait for room
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item, None):
                    break
            else:
                self._put(_END, None)
        except BaseException as error:
            self._put(_END, error)
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()

    def _put(self, item: Any, error: BaseException | None) -> bool:
        """Whether there was still somebody to take it."""
        while not self._closed.is_set():
            try:
                self._ready.put((item, error), timeout=0.05)
                return True
            except queue.Full:
                continue
        return False
