"""Leaving an estimator as it was when a call fails."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from ..data.dataset import Dataset

Method = TypeVar("Method", bound=Callable[..., Any])

GROWING = ("loss_curve_", "validation_scores_")  # lists that a call appends to


@contextlib.contextmanager
def restored_on_error(estimator: Any) -> Iterator[None]:
    """Should what is done here fail, all attributes are what they were before it.

    Attributes are set before and during training, the network after it. Of two fits there must not be the number of
    features of one beside the network of the other: kernels would read and write beyond its weights.
    """
    before = estimator.__dict__.copy()
    lengths = [(before[name], len(before[name])) for name in GROWING if before.get(name) is not None]
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        for values, n in lengths:
            del values[n:]
        raise


def all_or_nothing(method: Method) -> Method:
    """A decorator: should the call fail, all attributes are what they were before it.

    A `Dataset` as X is refused here, before Python misses a y.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(args[0] if args else kwargs.get("X"), Dataset):
            raise TypeError(
                f"{type(self).__name__}.{method.__name__} takes arrays, got a Dataset: "
                f"data.partial_fit(model, epochs=1) trains on it"
            )
        self.__dict__.pop("_ready", None)  # nor may a call that failed have prepared quick ones
        with restored_on_error(self):
            return method(self, *args, **kwargs)

    return cast(Method, call)
