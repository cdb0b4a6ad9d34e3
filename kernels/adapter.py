"""Compiled functions of plain integers as functions of Python.

A call through ctypes costs 1.2 us, one through Numba's dispatcher 0.5, one through this 0.2: training and prediction
sample by sample take a few microseconds in all.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

METH_FASTCALL = 0x80
API = {  # of Python, as C declares it
    "PyLong_AsLongLong": "i64 (ptr)",
    "PyLong_FromLongLong": "ptr (i64)",
    "PyEval_SaveThread": "ptr ()",
    "PyEval_RestoreThread": "void (ptr)",
}


@functools.cache
def addresses() -> dict[str, int]:
    """Where the functions of `API` are: an interpreter inside another program need not export them."""
    found = {name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in API}
    return {name: address for name, address in found.items() if address is not None}


def adapter(symbol: str, function: str, n_arguments: int) -> str:
    """LLVM's text of `symbol`, a function for Python that calls `function`, int64 from int64, without the GIL.

    It looks neither at the number of arguments nor at their types: only this package calls it.
    """
    declared = "\n".join(f"declare {kind.replace('(', f'@{name}(', 1)}" for name, kind in API.items())
    numbers = [f"i64 %number{k}" for k in range(n_arguments)]
    unpacked = "\n".join(
        f"""%place{k} = getelementptr ptr, ptr %arguments, i64 {k}
        %object{k} = load ptr, ptr %place{k}
        %number{k} = call i64 @PyLong_AsLongLong(ptr %object{k})"""
        for k in range(n_arguments)
    )
    return f"""{declared}
    declare i64 @{function}({", ".join(["i64"] * n_arguments)})
    define ptr @{symbol}(ptr %self, ptr %arguments, i64 %n) {{
        {unpacked}
        %thread = call ptr @PyEval_SaveThread()
        %result = call i64 @{function}({", ".join(numbers)})
        call void @PyEval_RestoreThread(ptr %thread)
        %object = call ptr @PyLong_FromLongLong(i64 %result)
        ret ptr %object
    }}"""


class MethodDefinition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_definitions: list[MethodDefinition] = []  # Python keeps pointers to them


def python_function(name: str, address: int) -> Callable[..., int]:
    """The function of Python whose adapter is at `address`."""
    _definitions.append(MethodDefinition(name.encode(), address, METH_FASTCALL, None))
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    make = kind(("PyCFunction_NewEx", ctypes.pythonapi))  # of our own: the shared one may have other types elsewhere
    return make(ctypes.addressof(_definitions[-1]), None, None)
