"""Kernels by name: machine code from the cache, or else from Numba, which is imported only then.

A *kernel* is a function (spec, operation, step, first, last). It is compiled for a dtype and the classes whose
arithmetic it holds, into a unit of its own, and called through its address. So another activation, loss or rule
compiles its own small kernels and nothing else. A *routine* is a function of plain numbers that Python calls.

Importing Numba and loading its tables take two thirds of the time from the start of a process to a trained network,
so whatever Python needs of the kernels in a process that finds them in the cache goes without it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import llvmlite.binding as llvm

from . import store
from .adapter import addresses, python_function
from .components import fingerprint
from .target import target

ENTRY = "entry"  # the only symbol that a kernel's code exports

compiled: list[str] = []  # what this process had to compile, for reports and tests
_lock = threading.RLock()  # one thread links or compiles at a time
_numbers = itertools.count()


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait for the end: Python cannot mend an import of Numba, or of its tables, that was cut short.

    All later imports would fail as well.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is None:  # not here, or not by Python
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            signal.raise_signal(signal.SIGINT)


@functools.cache
def linker() -> llvm.LLJIT:
    """LLVM's linker of machine code in memory."""
    found = llvm.create_lljit_compiler(target().machine(), suppress_errors=True)
    found._owned = False  # never freed: a thread may still run its code when the interpreter ends
    return found


def link(image: bytes, needs: Mapping[str, int] = MappingProxyType({})) -> int:
    """The address of machine code, made ready to run until the process ends.

    `needs` has addresses of functions that the process does not export. RuntimeError where others are missing.
    """
    builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process().export_symbol(ENTRY)
    for name, address in needs.items():
        builder.import_symbol(name, address)
    library = builder.link(linker(), f"kernel{next(_numbers)}")
    library.detach()  # or it would vanish with this object
    return library[ENTRY]


def find(title: str, compile_with: Callable[[Any], Any], needs: Mapping[str, int] = MappingProxyType({})) -> int:
    """The address of the code of `title`, from the cache or from `compile_with(jit)`. `needs` as in `link`."""
    image = store.load(title)
    if image is not None:
        with contextlib.suppress(RuntimeError):  # it calls what only Numba has
            return link(image, needs)
    with interrupts_later():
        code = compile_with(importlib.import_module(f"{__package__}.jit"))
    compiled.append(title)
    if code.is_lasting:
        store.save(title, code.image)
    return link(code.image, {**code.needs, **needs})


def source(module: str, name: str) -> Any:
    """What a module of this package, which is imported now, calls `name`."""
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)


class Kernel:
    """A function (spec, operation, step, first, last) that is compiled on demand for a dtype and classes.

    Parameters
    ----------
    module, name : str
        Where the function stands.

    Attributes
    ----------
    function : callable or None
        The function, once its module is imported.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self.function: Callable | None = None
        self._addresses: dict[tuple, int] = {}

    def address(self, dtype: str, *classes: type) -> int:
        """Where the machine code for `dtype` and `classes` starts; compiles it, or loads it from the cache, once."""
        key = dtype, classes
        if key not in self._addresses:
            with _lock:
                if key not in self._addresses:
                    self._addresses[key] = self._find(dtype, classes)
        return self._addresses[key]

    def _find(self, dtype: str, classes: tuple[type, ...]) -> int:
        names = [f"{cls.__module__}.{cls.__qualname__}#{fingerprint(cls)}" for cls in classes]
        title = f"{self.module}.{self.name}[{', '.join([dtype, *names])}]"

        def compile_with(jit: Any) -> Any:
            source(self.module, self.name)  # sets self.function
            return jit.compile_kernel(self.function, dtype, classes)

        return find(title, compile_with)


kernel_named = functools.cache(Kernel)  # one object for each kernel


class Routine:
    """A function int64 from int64, without the GIL; compiled, or loaded from the cache, when it is called first.

    Parameters
    ----------
    module, name : str
        Where the function stands.
    n_arguments : int
    """

    def __init__(self, module: str, name: str, n_arguments: int) -> None:
        self.module, self.name, self.n_arguments = module, name, n_arguments

    @functools.cached_property
    def function(self) -> Callable[..., int]:
        """The function of Python: calling the routine itself costs 0.2 us more."""
        title = f"{self.module}.{self.name}"
        with _lock:
            address = find(
                title, lambda jit: jit.compile_routine(source(self.module, self.name), self.n_arguments), addresses()
            )
        return python_function(self.name, address)

    def __call__(self, *arguments: int) -> int:
        return self.function(*arguments)


class Module:
    """The kernels of a module, by attribute."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Kernel:
        return kernel_named(self._name, name)
