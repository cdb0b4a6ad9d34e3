"""The only place with Numba's options: from a function in Python to machine code.

Numba optimises every function and makes machine code of it on its own, so that it can be called from anywhere. Of ours
only the outermost is ever called, all others are linked into it: they stay as they are until LLVM sees the whole.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
from numba.core import codegen, typed_passes, types, untyped_passes
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock

from .adapter import adapter
from .target import target


class Part(codegen.JITCodeLibrary):
    """LLVM code that is only linked into other code."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_specific(self) -> None:
        pass

    def get_pointer_to_function(self, name: str) -> int:
        return 0


class PartsCodegen(codegen.JITCPUCodegen):
    """Makes parts, and gives none of them to the engine."""

    _library_class = Part

    def _add_module(self, module: Any) -> None:
        pass

    def set_env(self, name: str, env: Any) -> None:
        pass


parts = functools.cache(lambda: PartsCodegen("fastprop"))


class Pipeline(CompilerBase):
    """Numba's pipeline into a `Part`, without its rewriting of array expressions: kernels have none (3 % of the time).

    Closures are looked for only in functions that have some (another 3 %).
    """

    def define_pipelines(self) -> list[Any]:
        state = self.state
        state.library = parts().create_library(state.func_id.func_qualname)
        unused = {typed_passes.NopythonRewrites}
        if not any(isinstance(constant, CodeType) for constant in state.func_id.code.co_consts):
            unused.add(untyped_passes.InlineClosureLikes)
        pipeline = DefaultPassBuilder.define_nopython_pipeline(state)
        pipeline.passes = [entry for entry in pipeline.passes if entry[0] not in unused]
        pipeline.finalize()
        return [pipeline]


# "nsz" and "contract" only: with all of fastmath, isnan and isfinite are folded away and divergence goes unseen.
# Without Numba's reference counting, which nothing here needs, compiling takes a tenth less.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "nsz"}, "_nrt": False}
ROUTINE: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "pipeline_class": Pipeline}
INNER: dict[str, Any] = {**ROUTINE, "no_cfunc_wrapper": True}  # called by kernels only


def inner(function: Callable, **more: Any) -> Any:
    """Decorator: a function that kernels call; compiled for types of arguments, not anew for each literal number."""
    dispatcher = numba.njit(**INNER, **more)(function)
    template = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: template(tuple(map(types.unliteral, args)), kws)
    return dispatcher


forced = functools.partial(inner, forceinline=True)  # without a call: registers as arguments would go by memory


class Code(NamedTuple):
    """Machine code.

    image : an object file with one symbol.
    is_lasting : whether other processes can use it: it holds no addresses of this one.
    needs : the addresses of functions that it calls, of the process or of Numba, by name.
    """

    image: bytes
    is_lasting: bool
    needs: dict[str, int]


def machine_code(function: Callable, kinds: tuple, symbol: str, options: dict[str, Any]) -> Code:
    """Compile a function for arguments of Numba's types `kinds`.

    The symbol is the function as Numba calls it; or as Python does, unless the options are those of `INNER`.
    """
    skip_blas_check()
    with global_compiler_lock, no_collection():
        dispatcher = numba.njit(**options)(function)
        dispatcher.compile(kinds)
        result = dispatcher.overloads[kinds]
        result.library.finalize()
        module, names = result.library._final_module, result.fndesc
        if options == INNER:
            module.get_function(names.llvm_func_name).name = symbol
        else:
            module.get_function(names.llvm_cfunc_wrapper_name).name = "routine"
            module.link_in(llvm.parse_assembly(adapter(symbol, "routine", len(kinds))))
        hide_all_but(symbol, module)
        optimise(module)
        is_lasting = not any(v.name.startswith("numba.dynamic.globals") for v in module.global_variables)
        outside = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
        needs = {name: llvm.address_of_symbol(name) for name in outside}
        return Code(target().machine().emit_object(module), is_lasting, {name: at for name, at in needs.items() if at})


def hide_all_but(symbol: str, module: llvm.ModuleRef) -> None:
    """Make all functions of a module its own, so that they vanish where they are inlined."""
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"


def optimise(module: llvm.ModuleRef) -> None:
    """LLVM's passes for speed, once, over all that a kernel holds."""
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.slp_vectorization = False
    builder = llvm.create_pass_builder(target().machine(), tuning)
    # Loops in rotated form before all else: per-sample training lost 8 % without.
    early = llvm.create_new_module_pass_manager()
    early.add_loop_rotate_pass()
    early.add_instruction_combine_pass()
    early.add_jump_threading_pass()
    for passes in (early, builder.getModulePassManager()):
        passes.run(module, builder)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage: Numba allocates much and drops little (8 % of the time)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def skip_blas_check() -> None:
    """Keep Numba from importing scipy.linalg (0.24 s of a first fit) to see if there is a BLAS.

    The import happens once, in `numba.np.arraymath`, when Numba loads its implementations; its answer is used by
    `np.dot` and its like. With scipy installed it is yes.
    """
    name = "numba.np.arraymath"
    if name in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    import numba.np.linalg as linalg

    check, linalg.ensure_blas = linalg.ensure_blas, lambda: None
    try:
        importlib.import_module(name).ensure_blas = check
    finally:
        linalg.ensure_blas = check
