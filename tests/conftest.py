"""What the tests share: data files, scripts in a process of their own, and a count of what was compiled."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# The first example of a test may have to compile; a run is the same each time.
settings.register_profile(
    "fastprop", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastprop")

compiled_elsewhere = []  # kernels that scripts of `run_script` compiled


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="kill runs 200 times, fuzz readers with thousands of files")


@pytest.fixture(scope="session")
def long(request):
    """Whether tests of kills and of damaged files shall take their time."""
    return request.config.getoption("--long")


def pytest_configure(config):
    """Kernels are timed only if asked for (`make bench`), and called once otherwise.

    Not by an option in pyproject.toml: there pytest would refuse to start without pytest-benchmark.
    """
    option = config.option
    if not getattr(option, "benchmark_only", True) and not option.benchmark_enable:
        option.benchmark_disable = True


@pytest.fixture(scope="session")
def data_path():
    """A function from a name in the data folder to its path; skips where it is absent."""

    def path(name):
        if not (DATA / name).exists():
            pytest.skip(f"needs {DATA / name}")
        return DATA / name

    return path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


REPORT = """
import sys as _sys
_handles = _sys.modules.get("fastprop.kernels.handles")
print("compiled", len(_handles.compiled) if _handles else 0, file=_sys.stderr)
"""


def run_script(source, *arguments, timeout=300, **environment):
    """Run Python source in a process of its own that finds the same fastprop; returns what it printed.

    `environment` sets variables, or removes those given as None. The source may import `naive`.
    """
    import fastprop

    folders = [Path(fastprop.__file__).parents[1], Path(__file__).parent]
    path = os.pathsep.join(map(str, folders))
    variables = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **environment}  # not the current folder
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source) + REPORT, *map(str, arguments)],
        env={k: str(v) for k, v in variables.items() if v is not None}, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"the script failed\n{result.stdout}\n{result.stderr}"
    compiled_elsewhere.append(int(result.stderr.rpartition("compiled ")[2]))
    return result.stdout


@pytest.fixture(scope="session", name="run_script")
def run_script_fixture():
    return run_script


def pytest_terminal_summary(terminalreporter):
    """How many kernels had to be compiled: what the time of a run on a fresh cache goes into."""
    handles = sys.modules.get("fastprop.kernels.handles")
    if handles is not None:
        here, elsewhere = len(handles.compiled), sum(compiled_elsewhere)
        terminalreporter.write_line(f"compiled {here} kernels here, {elsewhere} in {len(compiled_elsewhere)} scripts")


@pytest.fixture(scope="session")
def problems():
    """X, y by kind, for the tests of MLPs."""
    from mlp_problems import make_problems

    return make_problems()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the test's own, which it runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; exit code, output, errors."""

    from fastprop import cli

    def run(*args):
        with pytest.raises(SystemExit) as exit:
            cli.main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    return run


@pytest.fixture
def ok(run):
    """Run a command that must succeed; its output."""

    def ok(*args):
        code, out, err = run(*args)
        assert (code, err) == (0, "")
        return out

    return ok
