"""What fastprop finds on this machine: the facts that explain its speed, and that a report of a bug needs."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterator

from . import __version__, threads
from .kernels import store
from .kernels.target import target

Fact = tuple[str, str]


def facts() -> Iterator[Fact]:
    """Pairs of a name and what was found, one by one: the last ones take a second to measure.

    A part that fails says why in its place: the report must come out of a machine on which something is broken, too.
    """
    for name, look in _LOOKS.items():
        try:
            found = look()
        except Exception as error:
            found = f"failed: {type(error).__name__}: {error}"
        yield name, found


def _versions() -> str:
    others = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "llvmlite", "numpy"))
    return f"fastprop {__version__}, {others}"


def _processor() -> str:
    found = target()
    single, double = (found.shape(dtype).lanes for dtype in ("float32", "float64"))
    return f"{found.instruction_set} ({found.name}), {single} lanes of float32, {double} of float64"


def _ceiling() -> str:
    from .kernels import ceiling

    single, double = (ceiling.measure(dtype) for dtype in ("float32", "float64"))
    return f"{single:.0f} GFLOP/s in float32, {double:.0f} in float64, on one core (measured)"


def _threads() -> str:
    number, reason = threads.limit()
    return f"at most {number}: {reason}"


def _cache() -> str:
    state = store.cache_state()
    found = f"{state['path']}: {state['n_files']} files, {state['bytes'] / 1e6:.1f} MB"
    if state["problem"]:
        return f"{found}; not used: {state['problem']}; everything is compiled again in each process"
    return found + ("" if state["writable"] else "; not writable: what is missing is compiled again in each process")


_LOOKS: dict[str, Callable[[], str]] = {
    "versions": _versions,
    "python": lambda: f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}",
    "processor": _processor,
    "threads": _threads,
    "cache": _cache,
    "ceiling": _ceiling,
}
