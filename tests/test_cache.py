"""The cache on disk: it saves compiling, never fails, and never gives code of another day."""

import itertools
import os
import pathlib
import shutil
import sys
import threading
import types

import llvmlite.binding as llvm
import numpy as np
import pytest

import fastprop as fp
from fastprop.kernels import handles, store
from fastprop.kernels.compiler import Code
from fastprop.kernels.components import fingerprint
from fastprop.kernels.target import target

# The smallest network: six kernels. Prints what it had to compile, and a number that depends on the arithmetic.
TRAIN = """
import sys, numpy as np, fastprop as fp
from fastprop.kernels import handles
X = np.arange(12, dtype=np.float32).reshape(6, 2) / 12
net = fp.Network([fp.Dense(1, init="zeros")], optimizer=fp.SGD(0.5))
net.fit(X, X[:, 0], epochs=3, batch_size=2, shuffle=False, progress=False, n_threads=1)
print(len(handles.compiled), repr(float(net.get_weights()[0][0][0, 0])))
"""
# One kernel.
COMPILE = """
import os, shutil, sys
from fastprop.kernels import handles, rowwise, store
if sys.argv[1:]:
    store.cache_folder()
    shutil.rmtree(sys.argv[1])
rowwise.emit.address("float32")
print(len(handles.compiled), store.cache_state()["problem"])
"""


def folder_of(cache):
    """The folder of this version's code."""
    return next(p for p in cache.iterdir() if p.is_dir())


@pytest.fixture(scope="module")
def trained(run_script, tmp_path_factory):
    """A cache folder after one process, and what that printed."""
    cache = tmp_path_factory.mktemp("cache") / "fastprop"
    return cache, run_script(TRAIN, FASTPROP_CACHE_DIR=cache).split()


@pytest.fixture
def cache(trained, tmp_path):
    """A copy of that folder, to be damaged."""
    shutil.copytree(trained[0], tmp_path / "cache")
    return tmp_path / "cache"


def test_a_second_process_compiles_nothing(run_script, trained):
    cache, (n_compiled, weight) = trained
    assert int(n_compiled) >= 5
    assert run_script(TRAIN, FASTPROP_CACHE_DIR=cache).split() == ["0", weight]
    assert os.name == "nt" or folder_of(cache).stat().st_mode & 0o077 == 0


def test_a_warm_process_does_not_import_numba(run_script, trained):
    script = TRAIN + 'print(*[name for name in sys.modules if name.split(".")[0] == "numba"])'
    assert run_script(script, FASTPROP_CACHE_DIR=trained[0]).split() == ["0", trained[1][1]]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def replace(path):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def zeros_inside(path):
    """As a file system may leave a file after a crash: the pickle is readable, the machine code is not."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 512] = bytes(512)
    path.write_bytes(content)


def test_damaged_files_cost_compiling_and_are_replaced(run_script, trained, cache):
    damages = itertools.cycle((truncate, empty, replace, zeros_inside))
    for path, damage in zip(sorted(folder_of(cache).iterdir()), damages, strict=False):
        damage(path)
    n_compiled, weight = run_script(TRAIN, FASTPROP_CACHE_DIR=cache).split()
    assert [n_compiled, weight] == trained[1]
    assert run_script(TRAIN, FASTPROP_CACHE_DIR=cache).split() == ["0", weight]


def test_a_file_of_another_kernel_is_not_taken(tmp_path):
    store.write(tmp_path, "kernel[a]", b"code of a")
    store.write(tmp_path, "kernel[b]", b"code of b")
    assert store.read(tmp_path, "kernel[a]") == b"code of a"
    assert store.read(tmp_path, "kernel[c]") is None
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_for_another_processor_is_not_taken(tmp_path, monkeypatch):
    store.write(tmp_path, "kernel", b"code")
    for change in ({"name": "i486"}, {"features": "+mmx"}):
        monkeypatch.setattr(store, "target", lambda change=change: target()._replace(**change))
        assert store.read(tmp_path, "kernel") is None


@pytest.mark.parametrize("damage", [truncate, empty, replace, zeros_inside])
def test_a_damaged_file_is_a_miss(tmp_path, damage):
    store.write(tmp_path, "kernel", b"code" * 1000)
    damage(next(tmp_path.iterdir()))
    assert store.read(tmp_path, "kernel") is None


def test_code_that_does_not_link_is_compiled_again(tmp_path, monkeypatch):
    """It may call a function that only the process that compiled it had."""
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "version")
    assembly = """declare void @a_function_of_nobody()
    define void @entry() {
        call void @a_function_of_nobody()
        ret void
    }"""
    store.save("dangling", target().machine().emit_object(llvm.parse_assembly(assembly)))
    store.save("nonsense", b"no machine code")
    whole = target().machine().emit_object(llvm.parse_assembly("define void @entry() { ret void }"))
    for title in ("dangling", "nonsense"):
        n_compiled = len(handles.compiled)
        assert handles.find(title, lambda jit: Code(whole, True, {})) > 0
        assert handles.compiled[n_compiled:] == [title]
        assert store.load(title) == whole


def test_code_with_addresses_of_this_process_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "version")
    whole = target().machine().emit_object(llvm.parse_assembly("define void @entry() { ret void }"))
    assert handles.find("kernel", lambda jit: Code(whole, False, {})) > 0
    assert store.load("kernel") is None


def test_many_writers_at_once(tmp_path):
    def save(k):
        for _ in range(50):
            store.write(tmp_path, f"kernel[{k % 4}]", b"code of %d" % (k % 4) * 1000)

    writers = [threading.Thread(target=save, args=(k,)) for k in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = [store.read(tmp_path, f"kernel[{k}]") for k in range(4)]
    assert found == [b"code of %d" % k * 1000 for k in range(4)]
    assert len(list(tmp_path.iterdir())) == 4  # and nothing temporary is left


def test_a_failed_write_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write(tmp_path, "kernel", b"code")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "version")
    store.save("kernel", b"code")


# ---- folders that will not do -------------------------------------------------------------------------------------


def unwritable(path):
    if os.name == "nt" or os.getuid() == 0:
        return pathlib.Path("/proc/fastprop-cache")  # where even root cannot make folders
    path.mkdir(mode=0o500)
    return path


def in_a_file(path):
    path.write_text("a file")
    return path / "cache"


def a_file(path):
    path.write_text("a file")
    return path


def writable_by_others(path):
    path.mkdir()
    path.chmod(0o777)
    return path


def inside_writable_by_others(path):
    """The root is fine, the version's folder is not."""
    path.mkdir(mode=0o700)
    (path / store.stamp()[:16]).mkdir()
    (path / store.stamp()[:16]).chmod(0o777)
    return path


def of_another_user(path):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    path.mkdir(mode=0o755)
    os.chown(path, 12345, 12345)
    return path


def a_link(path):
    real = path.with_name("real")
    real.mkdir()
    path.symlink_to(real)
    return path


FOLDERS = [unwritable, in_a_file, a_file, writable_by_others, inside_writable_by_others, of_another_user, a_link]


@pytest.mark.skipif(os.name == "nt", reason="no permission bits")
@pytest.mark.parametrize("make", FOLDERS)
def test_an_unsafe_folder_is_left_alone(run_script, tmp_path, make):
    path = make(tmp_path / "cache")
    before = sorted(tmp_path.rglob("*"))
    n_compiled, problem = run_script(COMPILE, FASTPROP_CACHE_DIR=path).split(maxsplit=1)
    assert n_compiled == "1"
    assert problem.strip() not in ("", "None")
    assert sorted(tmp_path.rglob("*")) == before


def test_training_without_a_cache(run_script, trained, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert run_script(TRAIN, FASTPROP_CACHE_DIR=tmp_path / "cache").split() == trained[1]


def test_a_folder_that_vanishes(run_script, tmp_path):
    cache = tmp_path / "cache"
    assert run_script(COMPILE, cache, FASTPROP_CACHE_DIR=cache).split()[0] == "1"
    assert run_script(COMPILE, FASTPROP_CACHE_DIR=cache).split() == ["0", "None"]  # it was made again


# ---- never old code -----------------------------------------------------------------------------------------------

KERNELS = pathlib.Path(store.__file__).parent


@pytest.mark.parametrize("name", [*sorted(p.name for p in KERNELS.glob("*.py")), "a_new_file.py"])
def test_the_stamp_sees_every_file(tmp_path, monkeypatch, name):
    shutil.copytree(KERNELS, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(store, "__file__", str(tmp_path / "kernels" / "store.py"))
    before = store.stamp.__wrapped__()
    with open(tmp_path / "kernels" / name, "a") as file:
        file.write("# edited\n")
    assert store.stamp.__wrapped__() != before


PREDICT = """
import numpy as np, fastprop as fp
net = fp.Network([fp.Dense(1, activation=ACTIVATION)])
net.set_weights([([[1.0]], [0.0])])
from fastprop.kernels import handles
print(*net.predict(np.float32([[1], [2]])), len(handles.compiled))
"""


def test_an_edit_in_the_package(run_script, tmp_path, monkeypatch):
    shutil.copytree(KERNELS, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    package = pathlib.Path(fp.__file__).parent
    shutil.copytree(package, tmp_path / "fastprop", ignore=shutil.ignore_patterns("__pycache__", "kernels"))
    monkeypatch.setattr(fp, "__file__", str(tmp_path / "fastprop" / "__init__.py"))  # where run_script looks
    script = PREDICT.replace("ACTIVATION", '"relu"')
    cache = {"FASTPROP_CACHE_DIR": tmp_path / "cache", "PYTHONSAFEPATH": 1}  # not the fastprop of the current folder
    assert run_script(script, **cache).split()[:2] == ["1.0", "2.0"]
    with open(tmp_path / "kernels" / "activations.py", "a") as file:
        file.write("\n\nRelu.value = lambda self, z: max(z, 0.0) * 3.0\n")
    assert run_script(script, **cache).split()[:2] == ["3.0", "6.0"]


MINE = """
import numba
import fastprop as fp
import mine_helpers
from mine_helpers import imported

SCALE = 1.0

@numba.njit
def own(z):
    return z * 1.0

@fp.activation
class Mine:
    def value(self, z):
        return own(z) * SCALE + imported(z) * mine_helpers.SCALE + mine_helpers.outer(z) + 0.0

    def derivative(self, z, a):
        return 1.0 + 0.0 * a
"""
HELPERS = """
import numba

SCALE = 1.0

@numba.njit
def imported(z):
    return z * 10.0

@numba.njit
def inner(z):
    return z * 100.0

@numba.njit
def outer(z):
    return inner(z)
"""
EDITS = {
    "the method": ("mine.py", "outer(z) + 0.0", "outer(z) + 0.5", 111.5),
    "a function that it calls": ("mine.py", "z * 1.0", "z * 2.0", 112.0),
    "a constant of its module": ("mine.py", "SCALE = 1.0", "SCALE = 3.0", 113.0),
    "a function of another module": ("mine_helpers.py", "z * 10.0", "z * 20.0", 121.0),
    "a constant of another module": ("mine_helpers.py", "SCALE = 1.0", "SCALE = 4.0", 141.0),
    "what a function of another module calls": ("mine_helpers.py", "z * 100.0", "z * 200.0", 211.0),
}


def load_mine(folder, monkeypatch, **edited):
    """Import the two modules anew, as another process would; returns the class."""
    for name, text in {"mine.py": MINE, "mine_helpers.py": HELPERS, **edited}.items():
        (folder / name).write_text(text)
    modules = {}
    for name in ("mine_helpers", "mine"):
        modules[name] = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, modules[name])
        exec(compile((folder / f"{name}.py").read_text(), name, "exec"), vars(modules[name]))
    return modules["mine"].Mine


@pytest.mark.parametrize("what", EDITS)
def test_the_fingerprint_sees_edits(tmp_path, monkeypatch, what):
    name, old, new, _ = EDITS[what]
    text = {"mine.py": MINE, "mine_helpers.py": HELPERS}[name]
    assert text.count(old) == 1
    before = fingerprint(load_mine(tmp_path, monkeypatch))
    assert fingerprint(load_mine(tmp_path, monkeypatch)) == before
    assert fingerprint(load_mine(tmp_path, monkeypatch, **{name: text.replace(old, new)})) != before


def test_edits_of_a_users_activation(run_script, tmp_path):
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from mine import Mine\n" + PREDICT.replace(
        "ACTIVATION", "Mine"
    )

    def first_output(**edited):
        for name, text in {"mine.py": MINE, "mine_helpers.py": HELPERS, **edited}.items():
            (tmp_path / name).write_text(text)
        one, _, n_compiled = run_script(
            script, FASTPROP_CACHE_DIR=tmp_path / "cache", PYTHONDONTWRITEBYTECODE=1
        ).split()
        return float(one), int(n_compiled)

    assert first_output()[0] == 111.0
    for what in ("the method", "a constant of another module", "what a function of another module calls"):
        name, old, new, expected = EDITS[what]
        text = {"mine.py": MINE, "mine_helpers.py": HELPERS}[name]
        assert first_output(**{name: text.replace(old, new)}) == (expected, 1), what
    assert first_output() == (111.0, 0)


SETTINGS = """
import sys, numpy as np, fastprop as fp
from fastprop.kernels import handles

@fp.loss
class Mine:
    def value(self, y, p):
        return (p - y) * (p - y)

    def gradient(self, y, p):
        return LOSS_FACTOR * (p - y)

@fp.optimizer
class Plain:
    n_slots = 0

    def update(self, w, g, slots, lr, t):
        return w - lr * g * RULE_FACTOR, slots

net = fp.Network([fp.Dense(1, bias=False)], loss=Mine(), optimizer=Plain(lr=1.0))
net.set_weights([([[0.0]], None)])
net.partial_fit(np.float32([[1.0]]), np.float32([1.0]))
print(float(net.get_weights()[0][0][0, 0]), len(handles.compiled))
"""


def test_classes_of_a_script_are_cached_and_do_not_pile_up(run_script, tmp_path):
    """In __main__, where Numba's own cache would add a file each run."""
    cache = tmp_path / "cache"

    def run(loss, rule):
        script = SETTINGS.replace("LOSS_FACTOR", str(loss)).replace("RULE_FACTOR", str(rule))
        weight, n_compiled = run_script(script, FASTPROP_CACHE_DIR=cache).split()
        return float(weight), int(n_compiled), len(list(folder_of(cache).iterdir()))

    weight, _, n_files = run(2.0, 1.0)
    assert weight == 2.0
    assert run(2.0, 1.0) == (2.0, 0, n_files)
    assert run(2.0, 1.0) == (2.0, 0, n_files)
    assert run(3.0, 1.0)[0] == 3.0  # an edit of the loss
    assert run(3.0, 0.5)[0] == 1.5  # of the rule
    assert run(2.0, 1.0)[:2] == (2.0, 0)


CLOCK = """
import math, numpy as np, fastprop as fp

@fp.optimizer
class Halving:
    n_slots = 0

    def clock(self, t):
        return math.ldexp(1.0, -int(t))

    def update(self, w, g, slots, lr, t):
        return w - lr * t, slots

net = fp.Network([fp.Dense(1, bias=False)], optimizer=Halving(lr=1.0))
net.set_weights([([[1.0]], None)])
net.partial_fit(np.float32([[1.0]]), np.float32([1.0]))
print(float(net.get_weights()[0][0][0, 0]))
"""


def test_a_function_that_only_numba_has(run_script, tmp_path):
    """Numba brings its own ldexp, which a process without Numba cannot find."""
    for _ in range(2):
        assert float(run_script(CLOCK, FASTPROP_CACHE_DIR=tmp_path / "cache")) == 0.5


INTERRUPTED = """
import builtins, signal
from fastprop.kernels import handles

emit, imported = handles.Module("rowwise").emit, builtins.__import__

def interrupting(name, *args, **kwargs):
    if name == "numba.stencils.stencil":  # in the middle of Numba
        builtins.__import__ = imported
        signal.raise_signal(signal.SIGINT)
    return imported(name, *args, **kwargs)

builtins.__import__ = interrupting
try:
    emit.address("float32")
except KeyboardInterrupt:
    print("interrupted")
print(emit.address("float32") > 0, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_ctrl_c_while_numba_is_imported(run_script, tmp_path):
    """Half of Numba would stay behind, and no later import would mend it."""
    assert run_script(INTERRUPTED, FASTPROP_CACHE_DIR=tmp_path / "cache").split() == ["interrupted", "True", "True"]


FORK = """
import os, signal, threading, time
from fastprop.kernels import handles
import logging  # after handles, as Numba does

def compiles():
    with handles._lock:
        held.set()
        time.sleep(0.3)
        logging.getLogger("numba").debug("")

signal.alarm(30)
held = threading.Event()
threading.Thread(target=compiles).start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_does_not_wait_for_a_thread_that_compiles(run_script):
    """It holds the lock of logging, which that thread needs: the one would wait for the other."""
    assert run_script(FORK).split() == ["0"]


def test_a_class_defined_anew_in_one_process():
    """As in a notebook: the cell is edited and run again."""
    cell = """
@fp.activation
class Cell:
    def value(self, z):
        return z * FACTOR

    def derivative(self, z, a):
        return 1.0 + 0.0 * a
"""
    X = np.float32([[1], [2]])
    for expected in (3.0, 5.0, 3.0):
        scope = {"fp": fp, "__name__": "notebook", "FACTOR": expected}
        exec(cell, scope)
        for activation in (scope["Cell"], "cell"):
            net = fp.Network([fp.Dense(1, activation=activation)])
            net.set_weights([([[1.0]], [0.0])])
            np.testing.assert_array_equal(net.predict(X), X[:, 0] * expected)
