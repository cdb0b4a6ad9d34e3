"""What fastprop's estimators learn beside scikit-learn's: same defaults, same data, inputs standardised.

    python benchmarks/quality.py                            every problem, five seeds; some 15 minutes
    python benchmarks/quality.py --problems digits,energy --pairs sgd --seeds 20
    python benchmarks/quality.py --json quality.json        keep the scores; --reference quality.json takes
                                                            scikit-learn's from there

Scores are accuracy or R2 on rows held out, in points of a hundred: the mean over seeds, which draw the initial weights
and the order of rows, and in brackets the error of that mean. More than half a point below scikit-learn's is marked
(!); where the error is as large, more seeds tell. Convex problems, run to convergence, must reach its objective.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
POINTS = 0.5  # that a mean score may lie below scikit-learn's
OBJECTIVE = 1e-4  # that an objective may lie above scikit-learn's, relative to it

# ---- data ---------------------------------------------------------------------------------------------------------


class Split(NamedTuple):
    """Standardised rows to learn from, and to score on."""

    X: Any
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray


def standardised(X: Any, X_test: Any) -> tuple[Any, Any]:
    """Mean 0 and variance 1 of what is learnt from."""
    from scipy.sparse import issparse
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=not issparse(X)).fit(X)  # a mean would fill the zeros
    return scaler.transform(X), scaler.transform(X_test)


def held_out(X: np.ndarray, y: np.ndarray, classes: np.ndarray | None = None) -> Split:
    """A quarter of the rows is held out, of each class alike."""
    from sklearn.model_selection import train_test_split

    X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=classes)
    X, X_test = standardised(X, X_test)
    return Split(X, y, X_test, y_test)


def path_of(name: str) -> Path:
    """A file of the data folder; a FileNotFoundError that names it where it is absent."""
    if not (DATA / name).exists():
        raise FileNotFoundError(f"needs {DATA / name}")
    return DATA / name


def digits() -> Split:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return held_out(X, y, y)


def narrow(X: Any) -> Any:
    """The CSR with indices of 32 bits: scikit-learn's SGD takes no others."""
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X


def svmlight(train: str, test: str, n_features: int) -> tuple[Any, np.ndarray, Any, np.ndarray]:
    from sklearn.datasets import load_svmlight_files

    paths = [str(path_of(train)), str(path_of(test))]
    X, y, X_test, y_test = load_svmlight_files(paths, n_features=n_features)
    return narrow(X), y, narrow(X_test), y_test


def a9a() -> Split:
    X, y, X_test, y_test = svmlight("a9a/a9a", "a9a/a9a.t", 123)
    X, X_test = standardised(X.toarray(), X_test.toarray())
    return Split(X, y, X_test, y_test)


def reuters() -> Split:
    split = load("reuters_as_it_is")
    X, X_test = standardised(split.X, split.X_test)
    return split._replace(X=X, X_test=X_test)


def reuters_as_it_is() -> Split:
    """Rows of unit length: scaling its rare columns to variance 1 makes them large."""
    return Split(*svmlight("reuters_sparse/reuters.trn.bz2", "reuters_sparse/reuters.tst.bz2", 8315))


def covtype() -> Split:
    table = np.loadtxt(path_of("covtype_20k/covtype.20k.data.gz"), delimiter=",")
    y = table[:, -1].astype(int)
    return held_out(table[:, :-1], y, y)


def california() -> Split:
    """The eight numbers; values in units of 100,000 dollars; bedrooms that are missing get the median."""
    path = path_of("california_housing/housing.csv")
    table = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=range(9))
    X = np.where(np.isnan(table[:, :8]), np.nanmedian(table[:, :8], axis=0), table[:, :8])
    return held_out(X, table[:, 8] / 1e5)


def energy() -> Split:
    """Two targets, the loads of heating and cooling."""
    table = np.loadtxt(path_of("energy_efficiency/ENB2012_data.csv"), delimiter=",", skiprows=1)
    return held_out(table[:, :8], table[:, 8:])


def energy_heating() -> Split:
    split = load("energy")
    return split._replace(y=split.y[:, 0], y_test=split.y_test[:, 0])


class Problem(NamedTuple):
    """Data, and whether classes or numbers are learnt."""

    read: Callable[[], Split]
    kind: str  # "Classifier" or "Regressor"
    pairs: tuple[str, ...] = ("mlp", "sgd")


PROBLEMS = {
    "digits": Problem(digits, "Classifier"),
    "a9a": Problem(a9a, "Classifier"),
    "covtype_20k": Problem(covtype, "Classifier"),
    "reuters_sparse": Problem(reuters, "Classifier"),
    "reuters_as_it_is": Problem(reuters_as_it_is, "Classifier", ("sgd",)),
    "california_housing": Problem(california, "Regressor"),
    "energy": Problem(energy, "Regressor", ("mlp",)),
    "energy_heating": Problem(energy_heating, "Regressor", ("sgd",)),
}


@functools.cache
def load(name: str) -> Split:
    """The data of a problem."""
    return PROBLEMS[name].read()


# ---- scores -------------------------------------------------------------------------------------------------------


def classes_of(pair: str, kind: str) -> tuple[Any, Any]:
    """Ours and scikit-learn's."""
    from sklearn import linear_model, neural_network

    import fastprop as fp

    name = pair.upper() + kind
    return getattr(fp, name), getattr(neural_network if pair == "mlp" else linear_model, name)


def scores(cls: Any, split: Split, n_seeds: int, **parameters: Any) -> list[float]:
    """Accuracy or R2 on the rows held out, in points, for seeds 0, 1, ..."""
    found = []
    for seed in range(n_seeds):
        estimator = cls(random_state=seed, **parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 200 epochs are not always enough: for neither
            estimator.fit(split.X, split.y)
        found.append(100.0 * float(estimator.score(split.X_test, split.y_test)))
    return found


class Score(NamedTuple):
    """Scores of both on a problem."""

    problem: str
    estimator: str
    ours: list[float]
    theirs: list[float]

    @property
    def difference(self) -> float:
        """Points that our mean lies above theirs."""
        return float(np.mean(self.ours) - np.mean(self.theirs))

    @property
    def is_worse(self) -> bool:
        """Whether more is lost than may be; a score that is no number is."""
        return not self.difference >= -POINTS


def score(problem: str, pair: str, n_seeds: int, reference: dict[str, list[float]] | None = None) -> Score:
    """Fit both with their defaults; scikit-learn's scores may be known."""
    kind = PROBLEMS[problem].kind
    ours, theirs = classes_of(pair, kind)
    split, known = load(problem), (reference or {}).get(f"{problem} {pair}", [])
    found = known[:n_seeds] if len(known) >= n_seeds else scores(theirs, split, n_seeds)
    return Score(problem, pair.upper() + kind, scores(ours, split, n_seeds), found)


# ---- objectives of convex problems --------------------------------------------------------------------------------


def mean_loss(name: str, z: np.ndarray, y: np.ndarray) -> float:
    """The data term in float64; y is -1 or 1 for log_loss, and the target for squared_error."""
    values = np.logaddexp(0.0, -y * z) if name == "log_loss" else 0.5 * (z - y) ** 2
    return float(np.mean(values))


def penalty_of(name: str, w: np.ndarray) -> float:
    """Of the weights, without alpha; elasticnet with scikit-learn's share of 0.15 for l1."""
    l1, l2 = np.abs(w).sum(), 0.5 * np.sum(w**2)
    return float({"l1": l1, "l2": l2, "elasticnet": 0.15 * l1 + 0.85 * l2}[name])


class Convex(NamedTuple):
    """A convex problem: the first classes or the target of some data, and how to run to convergence."""

    problem: str
    loss: str
    parameters: dict[str, Any]
    n_rows: int = 2_000

    def data(self) -> tuple[Any, np.ndarray]:
        split = load(self.problem)
        X, y = split.X[: self.n_rows], split.y[: self.n_rows]
        if self.loss == "log_loss":
            return X, np.where(y > np.median(y), 1.0, -1.0)
        return X, y

    def objective(self, estimator: Any) -> float:
        """Of an estimator that was fitted."""
        X, y = self.data()
        if hasattr(estimator, "coefs_"):  # a multi-layer perceptron without hidden layers; alpha over the rows
            w, b, alpha = estimator.coefs_[0].ravel(), estimator.intercepts_[0], estimator.alpha / len(y)
        else:
            w, b, alpha = estimator.coef_.ravel(), estimator.intercept_, estimator.alpha
        penalty = penalty_of(getattr(estimator, "penalty", "l2"), w)
        return mean_loss(self.loss, np.asarray(X @ w + b).ravel(), y) + alpha * penalty

    def fit(self, pair: str) -> tuple[float, float]:
        """Objectives of ours and of scikit-learn's."""
        kind = "Classifier" if self.loss == "log_loss" else "Regressor"
        X, y = self.data()
        found = []
        for cls in classes_of(pair, kind):
            estimator = cls(random_state=0, **self.parameters)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(self.objective(estimator.fit(X, y)))
        return found[0], found[1]


# Averages converge where the penalty is smooth; l1 wants a rate that falls to nothing. So long, two seeds of
# scikit-learn's differ by less than 1e-5.
AVERAGED: dict[str, Any] = {"tol": None, "max_iter": 500, "average": 500_000, "alpha": 1e-2}
FALLING: dict[str, Any] = {"learning_rate": "adaptive", "max_iter": 3_000, "alpha": 1e-2}
DENSE: dict[str, Any] = {"loss": "log_loss", "penalty": "l1", "eta0": 0.02, "tol": 1e-7, "n_iter_no_change": 10}
SPARSE: dict[str, Any] = {"loss": "log_loss", "eta0": 0.5, "tol": 1e-6, "n_iter_no_change": 20}
SQUARES: dict[str, Any] = {**AVERAGED, "learning_rate": "constant", "eta0": 1e-3}
LBFGS: dict[str, Any] = {"hidden_layer_sizes": (), "solver": "lbfgs", "max_iter": 5_000, "tol": 1e-10, "alpha": 1.0}
CONVEX: dict[str, tuple[str, Convex]] = {
    "log_loss, l2": ("sgd", Convex("digits", "log_loss", {"loss": "log_loss", **AVERAGED}, 1_000)),
    "log_loss, l1": ("sgd", Convex("digits", "log_loss", {**DENSE, **FALLING}, 1_000)),
    "log_loss, l2, sparse": ("sgd", Convex("reuters_as_it_is", "log_loss", {**SPARSE, **FALLING}, 1_000)),
    "log_loss, elasticnet, sparse": (
        "sgd",
        Convex("reuters_as_it_is", "log_loss", {**SPARSE, **FALLING, "penalty": "elasticnet"}, 1_000),
    ),
    "log_loss, a9a": ("sgd", Convex("a9a", "log_loss", {"loss": "log_loss", **AVERAGED})),
    "squared_error": ("sgd", Convex("california_housing", "squared_error", SQUARES)),
    "squared_error, energy": ("sgd", Convex("energy_heating", "squared_error", {**SQUARES, "max_iter": 2_000})),
    "lbfgs, log_loss": ("mlp", Convex("digits", "log_loss", LBFGS, 1_000)),
    "lbfgs, squared_error": ("mlp", Convex("energy_heating", "squared_error", LBFGS)),
}


def excess(ours: float, theirs: float) -> float:
    """How far our objective lies above theirs, relative to it."""
    return (ours - theirs) / abs(theirs)


# ---- the report ---------------------------------------------------------------------------------------------------


def mean_and_error(found: list[float]) -> str:
    error = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else 0.0
    return f"{np.mean(found):.2f} [{error:.2f}]"


def line_of(found: Score) -> str:
    """A row of the table."""
    mark = " (!)" if found.is_worse else ""
    ours, theirs = mean_and_error(found.ours), mean_and_error(found.theirs)
    return f"| {found.problem} | {found.estimator} | {ours} | {theirs} | {found.difference:+.2f}{mark} |"


def names_in(known: Any) -> Callable[[str], list[str]]:
    """A parser of comma-separated names."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def compare_scores(options: argparse.Namespace) -> list[Score]:
    """Print a row for each problem and pair, or why there is none."""
    reference = json.loads(options.reference.read_text())["theirs"] if options.reference else {}
    found = []
    print("| data | estimator | fastprop | scikit-learn | points |\n| --- | --- | ---: | ---: | ---: |")
    for name in options.problems:
        for pair in (pair for pair in PROBLEMS[name].pairs if pair in options.pairs):
            try:
                found.append(score(name, pair, options.seeds, reference))
            except FileNotFoundError as error:
                print(f"| {name} | skipped: {error} | | | |")
            else:
                print(line_of(found[-1]), flush=True)
    return found


def compare_objectives(pairs: list[str]) -> list[str]:
    """Print a row for each convex problem; returns the names of those that are worse."""
    worse = []
    print("\n| objective | fastprop | scikit-learn | above it |\n| --- | ---: | ---: | ---: |")
    for name, (pair, convex) in CONVEX.items():
        if pair not in pairs:
            continue
        try:
            ours, theirs = convex.fit(pair)
        except FileNotFoundError as error:
            print(f"| {name} | skipped: {error} | | |")
            continue
        is_worse = not excess(ours, theirs) <= OBJECTIVE
        worse += [name] * is_worse
        mark = " (!)" if is_worse else ""
        print(f"| {name} | {ours:.7f} | {theirs:.7f} | {excess(ours, theirs):+.1e}{mark} |", flush=True)
    return worse


def main() -> int:
    """Run the command line; 1 if anything is worse than scikit-learn's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=names_in(PROBLEMS), default=list(PROBLEMS), help=", ".join(PROBLEMS))
    parser.add_argument("--pairs", type=names_in(("mlp", "sgd")), default=["sgd", "mlp"], help="default: both")
    parser.add_argument("--seeds", type=int, default=5, help="default: 5")
    parser.add_argument("--json", type=Path, help="write all scores to this file")
    parser.add_argument("--reference", type=Path, help="a file of --json with scikit-learn's scores")
    options = parser.parse_args()
    found = compare_scores(options)
    if options.json:
        by_name = {f"{s.problem} {s.estimator[:3].lower()}": s for s in found}
        content = {who: {name: getattr(s, who) for name, s in by_name.items()} for who in ("ours", "theirs")}
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    worse = compare_objectives(options.pairs)
    return 1 if worse or any(s.is_worse for s in found) else 0


if __name__ == "__main__":
    sys.exit(main())
