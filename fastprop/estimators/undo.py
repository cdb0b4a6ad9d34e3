"""Leaving an estimator as it was when a fit fails."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def undone_on_error(method: Method) -> Method:
    """Decorate `fit` or `partial_fit`: should it fail, or Ctrl-C end it, all attributes are what they were before.

    Not copied is what attributes refer to. To stand outside `_fit_context`, which has callbacks to take leave of.
    """

    @functools.wraps(method)
    def whole_or_not_at_all(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(self.__dict__)
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return whole_or_not_at_all  # type: ignore[return-value]
