"""The house: imports run one way, downwards; kernels know nobody; `import fastprop` loads what everybody needs."""

from __future__ import annotations

import ast
import graphlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

# From the top of the house to its ground. A module imports from its own floor and from those below it.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"cli_training"},
    {"cli_cluster", "cli_outputs"},
    {"cli_data", "cli_values", "demo", "doctor", "tabular"},
    {"dask"},
    {"plot"},
    {"diagnose"},
    {"warmup", "__init__"},
    {"loading", "estimators"},
    {"network"},
    {"keeping", "stream_training"},
    {"streams"},
    {"onnx_export", "torch_export"},
    {"models", "summary", "validation", "undo"},
    {"trainer"},
    {"ledger"},
    {"samples", "passes", "quick", "runs"},
    {"failures"},
    {"segments", "engines"},
    {"engine"},
    {"pace", "progress", "hogwild"},
    {"linear"},
    {"threads"},
    {"programs"},
    {"workspace"},
    {"plan"},
    {"checkpoints", "data"},
    {"targets", "labels", "callbacks", "files"},
    {"layers", "losses", "optimizers"},
    {"schedules", "initializers"},
    {"checks", "components"},
    {"frames"},
    {"arguments", "arrow", "atomic", "errors"},
    {"kernels"},
]
FLOOR = {module: -height for height, floor in enumerate(FLOORS) for module in floor}

# What only some users need, or what costs more to load than all of fastprop.
LAZY = [
    "numba", "sklearn", "scipy", "pandas", "pyarrow", "matplotlib", "onnx", "torch", "jax", "typer", "rich", "pydantic",
    "IPython", "dask", "distributed",
]  # fmt: skip


def folders():
    """The folders of fastprop and of its kernels, in the repository as in an installation."""
    package = Path(importlib.util.find_spec("fastprop").origin).parent
    kernels = package / "kernels"
    return package, kernels if kernels.is_dir() else package.parent / "kernels"


def imports(path):
    """The modules that a file names, absolute or as it writes them ('.layers'); those for type checking apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from [base] if node.module else (base + alias.name for alias in node.names)


def inner(path, prefix, folder):
    """The modules of its own package that a file imports; a name that is no module comes from `__init__`."""
    names = {name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)}
    modules = {module.stem for module in folder.glob("*.py")} | {"kernels", *(part.name for part in PARTS)}
    return {name if name in modules else "__init__" for name in names}


PACKAGE, KERNELS = folders()
PARTS = [PACKAGE / name for name in ("dask", "data", "diagnose", "estimators", "plot")]
GRAPH = {path.stem: inner(path, ".", PACKAGE) | inner(path, "fastprop.", PACKAGE) for path in PACKAGE.glob("*.py")}
GRAPH |= {part.name: set().union(*(inner(path, "..", PACKAGE) for path in part.glob("*.py"))) for part in PARTS}


def test_every_module_has_a_floor():
    assert set(GRAPH) <= set(FLOOR), "put the new module on a floor of FLOORS"


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_imports_run_downwards(module):
    above = {name for name in GRAPH[module] if FLOOR[name] > FLOOR[module]}
    assert not above, f"{module} imports {above} from above"


def test_no_import_runs_in_circles():
    kernels = {path.stem: inner(path, ".", KERNELS) for path in KERNELS.glob("*.py")}
    parts = [{path.stem: inner(path, ".", part) - {"__init__"} for path in part.glob("*.py")} for part in PARTS]
    for graph in (GRAPH, kernels, *parts):
        assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.py")), ids=lambda path: path.stem)
def test_kernels_know_numpy_and_numba_only(path):
    outside = {name.split(".")[0] for name in imports(path) if not name.startswith(".")}
    assert outside <= {"numpy", "numba", "llvmlite"} | sys.stdlib_module_names
    assert not any(name.startswith("..") for name in imports(path)), "kernels import each other only"


def test_nothing_imports_kernels_by_its_folder():
    for path in [*PACKAGE.rglob("*.py"), *KERNELS.rglob("*.py")]:
        assert "kernels" not in {name.split(".")[0] for name in imports(path)}, path


def test_import_loads_no_more_than_everybody_needs():
    code = f"import sys, fastprop; print(*[name for name in sys.modules if name.split('.')[0] in {LAZY!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_workers_of_a_cluster_load_no_scikit_learn():
    pytest.importorskip("distributed")
    code = "import sys, fastprop.dask; print('sklearn' in sys.modules); fastprop.dask.DaskSGDRegressor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
