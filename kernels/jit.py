"""The only place with Numba's options: compiling kernels, calling them by address, and the cache on disk.

A *kernel* is a function (spec, operation, step, first, last). It is compiled for a `Spec` (a dtype and the classes
whose arithmetic it holds) into a unit of its own, and called through its address. So another activation, loss or rule
compiles its own small kernels and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import pathlib
import pickle
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
from llvmlite import ir
from numba.core import caching, types
from numba.core.serialize import dumps
from numba.extending import intrinsic, models, overload_method, register_model

from . import records
from .activations import needs_z
from .components import fingerprint
from .simd import Spec

# "nsz" and "contract" only: with all of fastmath, isnan and isfinite are folded away and divergence goes unseen.
# Without Numba's reference counting, which nothing here needs, compiling takes a tenth less.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "nsz"}, "_nrt": False}
INNER: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called by kernels only
inner = numba.njit(**INNER)  # a function that kernels call
forced = numba.njit(**INNER, forceinline=True)  # the same, without a call: registers as arguments would go by memory

compiled: list[str] = []  # what this process had to compile, for reports and tests


def skip_blas_check() -> None:
    """Keep Numba from importing scipy.linalg (0.24 s of a first fit's 0.7 in a warm process) to see if there is a BLAS.

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


# ---- the cache ----------------------------------------------------------------------------------------------------


MONTH = 30 * 86400  # seconds


@functools.cache
def stamp() -> str:
    """A hash of everything that compiled code depends on; Numba's own stamp does not see edits in other files."""
    digest = hashlib.sha256(f"{sys.version}{numba.__version__}{llvmlite.__version__}".encode())
    folder = pathlib.Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def cache_root() -> pathlib.Path:
    """FASTPROP_CACHE_DIR, else `fastprop` in the user's cache folder."""
    if "FASTPROP_CACHE_DIR" in os.environ:
        return pathlib.Path(os.environ["FASTPROP_CACHE_DIR"])
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser() / "fastprop"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "fastprop"


def trouble(folder: pathlib.Path) -> str | None:
    """Why `folder` cannot serve as cache, or None. Index files are pickles: nobody else may write there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except (OSError, RuntimeError) as error:
        return f"cannot be made: {error}"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        return "may be written by other users"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "is not writable"
    return None


@functools.cache
def cache_folder() -> pathlib.Path | None:
    """Where this version's code is kept, or None if there is no safe place."""
    root = cache_root()
    folder = root / stamp()[:16]
    is_new = not folder.exists()
    if trouble(root) or trouble(folder):
        return None
    if is_new:
        forget_old_versions(root)
    return folder


def forget_old_versions(root: pathlib.Path) -> None:
    """Remove code of other versions that nobody has added to for a month."""
    for folder in root.glob("[0-9a-f]" * 16):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > MONTH and folder.name != stamp()[:16]:
                shutil.rmtree(folder, ignore_errors=True)


def cache_state() -> dict[str, Any]:
    """The cache for people: path, writable, n_files, bytes, problem (None if all is well)."""
    root = cache_root()
    folder = root / stamp()[:16]
    problem = trouble(root) or trouble(folder)
    files = [p.stat().st_size for p in folder.glob("*")] if problem is None else []
    return {
        "path": str(folder),
        "writable": problem is None,
        "n_files": len(files),
        "bytes": sum(files),
        "problem": problem,
    }


class Locator(caching._SourceFileBackedLocatorMixin, caching._CacheLocator):  # type: ignore[misc]
    """Puts every kernel's files into `cache_folder()`, stamped by the whole package."""

    def __init__(self, py_func: Callable, py_file: str) -> None:
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return stamp()

    @classmethod
    def from_function(cls, py_func: Callable, py_file: str) -> Locator | None:
        return cls(py_func, py_file) if cache_folder() else None


class Implementation(caching.CompileResultCacheImpl):
    _locator_classes = (Locator,)


class Files:
    """One file for each key, named by it: a digest, then the pickle.

    Numba's index of numbered files lets processes that compile at once hand each other the wrong code.
    """

    def __init__(self, folder: str, prefix: str) -> None:
        self._folder, self._prefix = pathlib.Path(folder), prefix

    def _path(self, key: tuple) -> pathlib.Path:
        return self._folder / f"{self._prefix}.{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.nbc"

    def load(self, key: tuple) -> Any:
        """What was saved, or None if it is damaged."""
        content = self._path(key).read_bytes()
        digest, data = content[:32], content[32:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None

    def save(self, key: tuple, data: Any) -> None:
        """Write in one stroke: other processes see the whole file or none."""
        path, content = self._path(key), dumps(data)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


class Cache(caching.FunctionCache):
    """Numba's cache, keyed by text (a key that holds a class could not be read without that class), never in the way.

    A damaged or foreign file, a full disk, a vanished folder: a miss, and compilation goes on.
    """

    _impl_class = Implementation

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file = Files(self._cache_path, self._impl.filename_base)

    def _index_key(self, sig: Any, codegen: Any) -> tuple:
        return str(sig), codegen.magic_tuple()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # no file, or whatever a pickle raises
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError, pickle.PickleError, ValueError, TypeError, AttributeError, ImportError):
            super().save_overload(sig, data)


def cached(function: Callable, **options: Any) -> Any:
    """`numba.njit` with our options and our cache."""
    dispatcher = numba.njit(**OPTIONS, **options)(function)
    if cache_folder() is not None:
        dispatcher._cache = Cache(function)
    return dispatcher


# ---- kernels ------------------------------------------------------------------------------------------------------


def arguments(spec: Spec) -> tuple:
    """The types of a kernel's arguments."""
    return spec, records.Operation, records.Step, types.int64, types.int64


class Kernel:
    """A function (spec, operation, step, first, last) that is compiled on demand for a spec."""

    def __init__(self, function: Callable) -> None:
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self._function = function
        self._addresses: dict[Spec, int] = {}

    @functools.cached_property
    def _dispatcher(self) -> Any:
        skip_blas_check()
        return cached(self._function, no_cpython_wrapper=True, no_cfunc_wrapper=True)

    def address(self, dtype: str, *classes: type) -> int:
        """Where the machine code for `dtype` and `classes` starts; compiles it, or loads it from the cache, once."""
        spec = Spec(getattr(types, dtype), classes, tuple(map(fingerprint, classes)))
        if spec not in self._addresses:
            with numba.core.compiler_lock.global_compiler_lock:
                kernel = self._dispatcher
                kernel.compile(arguments(spec))
                if not sum(kernel.stats.cache_hits.values()) or not kernel.stats.cache_hits.get(arguments(spec)):
                    compiled.append(f"{self.name}[{spec.name}]")
                result = kernel.overloads[arguments(spec)]
                self._addresses[spec] = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        return self._addresses[spec]


def kernel(function: Callable) -> Kernel:
    """Decorator: make a kernel."""
    return Kernel(function)


@intrinsic
def invoke(typingctx, address, operation, step, first, last):
    """Call the kernel at `address`."""
    kinds = arguments(Spec(types.float32))  # every spec is passed alike: as nothing

    def codegen(context, builder, sig, args):
        signature = context.call_conv.get_function_type(types.none, kinds)
        function = builder.inttoptr(args[0], signature.as_pointer())
        nothing = context.get_dummy_value()
        context.call_conv.call_function(builder, function, types.none, kinds, [nothing, *args[1:]])
        return nothing

    return types.void(types.int64, records.Operation, records.Step, types.int64, types.int64), codegen


# ---- components inside kernels ------------------------------------------------------------------------------------


class ActivationType(types.NamedTuple):
    """An activation in compiled code."""


class LossType(types.NamedTuple):
    """A loss in compiled code."""


class RuleType(types.NamedTuple):
    """An update rule in compiled code."""


KINDS = {"activation": ActivationType, "loss": LossType, "optimizer": RuleType}
for kind in KINDS.values():
    register_model(kind)(models.TupleModel)


@intrinsic(prefer_literal=True)
def component(typingctx, spec, k, address):
    """The instance of the spec's class number k (a literal) whose float64 fields lie at `address`."""
    cls = spec.classes[k.literal_value]
    n = max(1, len(cls._fields))  # Numba cannot pass an empty tuple to a function: a class without fields has a pad
    kind = KINDS[cls.component_kind]([types.float64] * n, cls)

    def codegen(context, builder, sig, args):
        p = builder.inttoptr(args[2], ir.DoubleType().as_pointer())
        values = [builder.load(builder.gep(p, [ir.IntType(64)(i)])) for i in range(n)]
        return context.make_tuple(builder, kind, values)

    return kind(spec, k, types.int64), codegen


@intrinsic
def keeps_z(typingctx, spec):
    """Whether the derivative of the spec's activation needs z, not only a: a constant."""
    value = needs_z(spec.classes[0])
    return types.boolean(spec), lambda context, builder, sig, args: ir.IntType(1)(value)


@overload_method(ActivationType, "value", jit_options=INNER)
def activation_value(self, z):
    return self.instance_class.value


@overload_method(ActivationType, "derivative", jit_options=INNER)
def activation_derivative(self, z, a):
    return self.instance_class.derivative


@overload_method(LossType, "value", jit_options=INNER)
def loss_value(self, y, p):
    return self.instance_class.value


@overload_method(LossType, "gradient", jit_options=INNER)
def loss_gradient(self, y, p):
    return self.instance_class.gradient


@overload_method(RuleType, "update", jit_options=INNER)
def rule_update(self, w, g, slots, lr, t):
    return self.instance_class.update


@overload_method(RuleType, "clock", jit_options=INNER)
def rule_clock(self, t):
    """What `update` receives in place of the count of updates; the count itself if the rule has no `clock`."""
    return getattr(self.instance_class, "clock", None) or (lambda self, t: t)
