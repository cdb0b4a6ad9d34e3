"""scikit-learn's own tests pass for the estimators that take its classes' place; see sklearn_suite.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sklearn_suite

SCRIPT = Path(sklearn_suite.__file__)


@pytest.mark.parametrize("name", list(sklearn_suite.SUITES))
def test_suite_of_scikit_learn(name):
    if not sklearn_suite.is_installed(name):
        pytest.skip("scikit-learn is installed without its tests")
    done = subprocess.run([sys.executable, str(SCRIPT), name], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


# ---- the verdict of the script itself -----------------------------------------------------------------------------


@pytest.fixture
def plugin():
    suite = sklearn_suite.SUITES["mlp"]._replace(
        explained={"test_b": "why", "test_c[x]": "why"}, private={"test_private": "_name"}
    )
    plugin = sklearn_suite.Substitute(suite, is_own=False)
    plugin.n_ours = 40
    return plugin


def test_explained_failures_are_fine(plugin):
    plugin.outcomes = {"test_a": "passed", "test_b[1]": "failed", "test_c[x]": "failed", "test_c[y]": "passed"}
    assert plugin.complaints() == []
    assert "failed test_b[1]: why" in plugin.summary()


def test_other_failures_are_not(plugin):
    plugin.outcomes = {"test_a": "failed", "test_c[x]": "failed"}
    assert plugin.complaints() == ["test_a fails, unexplained"]


def test_explained_tests_must_fail(plugin):
    plugin.outcomes = {"test_b": "passed"}
    assert plugin.complaints() == ["test_b passes: take it off EXPLAINED"]


def test_private_names_must_be_missing(plugin):
    plugin.outcomes = {"test_a": "passed", "test_private[1]": "failed"}
    assert plugin.complaints() == []
    assert "failed test_private[1]: _name" in plugin.summary()
    plugin.outcomes = {"test_private[1]": "passed"}
    assert plugin.complaints() == ["test_private[1] passes: take it off PRIVATE"]


def test_few_may_fail(plugin):
    plugin.outcomes = dict.fromkeys(["test_b[1]", "test_b[2]", "test_b[3]"], "failed")
    assert plugin.complaints() == ["3 of 40 tests fail, more than 5%"]


def test_none_run_is_an_error(plugin):
    assert plugin.complaints() == ["no test was run"]
