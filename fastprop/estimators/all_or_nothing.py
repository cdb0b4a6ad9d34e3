"""Leaving an estimator as it was when a call fails."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..data.dataset import Dataset

Method = TypeVar("Method", bound=Callable[..., Any])

GROWING = ("loss_curve_", "validation_scores_")  # lists that a call appends to


def all_or_nothing(method: Method) -> Method:
    """A decorator: should the call fail, all attributes are what they were before it.

    Attributes are set before and during training, the network after it. Of two fits there must not be the number of
    features of one beside the network of the other: kernels would read and write beyond its weights.

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
        before = self.__dict__.copy()
        lengths = [(before[name], len(before[name])) for name in GROWING if before.get(name) is not None]
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            for values, n in lengths:
                del values[n:]
            raise

    return cast(Method, call)
