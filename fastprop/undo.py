"""Leaving a network as it was when its data are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .engines import Engines
from .errors import DivergenceError
from .quick import Quick

if TYPE_CHECKING:
    from .network import Network


@contextlib.contextmanager
def undone_on_error(net: Network) -> Iterator[None]:
    """Should the data be refused, or not be read, leave the network as it was: one that was not built is not built.

    After an update it is not the data that failed but, say, a callback: then the weights are kept.
    """
    before = dict(net.__dict__)
    count = net._parameters.count if net.is_built else 0
    try:
        yield
    except DivergenceError:
        raise
    except (ValueError, TypeError, OSError):
        if not net.is_built or net._parameters.count == count:
            if before["_plan"] is None:
                before["_engines"], before["_quick"] = Engines(), Quick()
            for name in net.__dict__.keys() - before.keys():
                del net.__dict__[name]
            net.__dict__.update(before)
        raise
