"""The estimators learn what scikit-learn's learn: scores of the same defaults, objectives of convex problems.

A fast part of benchmarks/quality.py, on all of its data: fewer rows, epochs or seeds. Everything is seeded.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ is not beside the tests")


@pytest.fixture(scope="module")
def quality():
    """benchmarks/quality.py."""
    sys.path.insert(0, str(FOLDER))
    module = importlib.import_module("quality")
    yield module
    sys.path.remove(str(FOLDER))
    del sys.modules["quality"]


def load(quality, name):
    """The data of a problem; skips where they are absent."""
    try:
        return quality.load(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


# The mean of so many seeds has an error below a quarter of a point, on either side.
@pytest.mark.parametrize(
    ("problem", "n_seeds", "n_rows"),
    [
        ("digits", 20, None),
        ("covtype_20k", 10, 3_000),
        ("a9a", 10, 4_000),
        ("reuters_sparse", 10, None),
        ("reuters_as_it_is", 5, None),
        ("california_housing", 5, None),
        ("energy_heating", 5, None),
    ],
)
def test_linear_models_score_as_scikit_learn(quality, problem, n_seeds, n_rows):
    split = load(quality, problem)
    split = split._replace(X=split.X[:n_rows], y=split.y[:n_rows])
    ours, theirs = quality.classes_of("sgd", quality.PROBLEMS[problem].kind)
    found = quality.Score(problem, "", *(quality.scores(cls, split, n_seeds) for cls in (ours, theirs)))
    assert not found.is_worse, quality.line_of(found)


@pytest.mark.parametrize(
    ("problem", "n_seeds", "n_rows", "max_iter"),
    [
        ("digits", 5, None, 30),
        ("covtype_20k", 5, 3_000, 10),
        ("a9a", 5, 4_000, 5),
        ("reuters_sparse", 2, 600, 3),
        ("california_housing", 5, None, 5),
        ("energy", 5, None, 200),
    ],
)
def test_networks_score_as_scikit_learn(quality, problem, n_seeds, n_rows, max_iter):
    split = load(quality, problem)
    split = split._replace(X=split.X[:n_rows], y=split.y[:n_rows])
    ours, theirs = quality.classes_of("mlp", quality.PROBLEMS[problem].kind)
    lists = (quality.scores(cls, split, n_seeds, max_iter=max_iter) for cls in (ours, theirs))
    found = quality.Score(problem, "", *lists)
    assert not found.is_worse, quality.line_of(found)


def names_of_convex_problems():
    if not FOLDER.is_dir():
        return []
    sys.path.insert(0, str(FOLDER))
    try:
        return list(importlib.import_module("quality").CONVEX)
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("name", names_of_convex_problems())
def test_convex_problems_reach_the_objective(quality, name):
    pair, convex = quality.CONVEX[name]
    load(quality, convex.problem)
    ours, theirs = convex.fit(pair)
    assert quality.excess(ours, theirs) <= quality.OBJECTIVE


# ---- the comparison itself ----------------------------------------------------------------------------------------


def test_what_is_worse(quality):
    better = quality.Score("p", "e", [90.0, 91.0], [90.0, 91.8])
    assert not better.is_worse
    assert quality.line_of(better) == "| p | e | 90.50 [0.50] | 90.90 [0.90] | -0.40 |"
    worse = quality.Score("p", "e", [90.0], [90.6])
    assert worse.is_worse
    assert quality.line_of(worse).endswith("| -0.60 (!) |")
    assert quality.Score("p", "e", [float("nan")], [90.0]).is_worse


def test_the_objective_is_the_one_that_is_minimised(quality):
    """The gradient of the objective, by differences, vanishes where a solver of another kind stops."""
    from sklearn.linear_model import LogisticRegression

    _, convex = quality.CONVEX["log_loss, l2"]
    X, y = convex.data()
    model = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-8, max_iter=5_000).fit(X, y)
    model.alpha, model.penalty = 0.01, "l2"
    least, rng = convex.objective(model), np.random.default_rng(0)
    for _ in range(5):
        moved = model.coef_ + 1e-2 * rng.standard_normal(model.coef_.shape)
        kept, model.coef_ = model.coef_, moved
        assert convex.objective(model) > least
        model.coef_ = kept
