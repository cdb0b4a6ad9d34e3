"""What is timed of the estimators: each row's data, its contestants, and what scikit-learn or Vowpal Wabbit do beside.

A contestant is called for one timing and returns seconds of one unit: a fit, or a call. What a unit holds is what a
user waits for: validation, classes, shuffling and training are in it, making the estimator and its data are not.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Seconds = Callable[[], float]

N_EXAMPLES = 2_000  # that Vowpal Wabbit learns again and again
N_COLUMNS, N_NONZERO = 47_236, 38  # of the sparse rows: the shape of a corpus of news
DIGITS = {"max_iter": 20, "n_iter_no_change": 20}  # of the search
TINY = {"hidden_layer_sizes": (8,), "max_iter": 50, "n_iter_no_change": 50}
MANY_PASSES = 5

# ---- data ---------------------------------------------------------------------------------------------------------


def dense(n_rows: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """28 normal features; the class is the sign of a noisy linear function."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 28), np.float32)
    score = X @ rng.standard_normal(28, np.float32) + rng.standard_normal(n_rows, np.float32)
    return X.astype(dtype), (score > 0).astype(np.int64)


def zipf_columns(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    """38 distinct columns a row, sorted, shape (n_rows, 38), the k-th most frequent drawn 1 / k as often."""
    frequency = np.cumsum(1.0 / np.arange(1, N_COLUMNS + 1))
    frequency /= frequency[-1]
    name = rng.permutation(N_COLUMNS)  # frequent columns do not lie side by side
    found = np.empty((n_rows, N_NONZERO), np.int32)
    waiting = np.arange(n_rows)
    while len(waiting):
        drawn = np.searchsorted(frequency, rng.random((len(waiting), 3 * N_NONZERO)))
        order = np.argsort(drawn, axis=1, kind="stable")
        ranked = np.take_along_axis(drawn, order, axis=1)
        is_new = np.ones(drawn.shape, bool)
        np.put_along_axis(is_new, order[:, 1:], ranked[:, 1:] != ranked[:, :-1], axis=1)
        chosen = is_new & (np.cumsum(is_new, axis=1) <= N_NONZERO)
        full = chosen.sum(axis=1) == N_NONZERO
        found[waiting[full]] = name[drawn[full][chosen[full]]].reshape(-1, N_NONZERO)
        waiting = waiting[~full]
    return np.sort(found, axis=1)


def sparse(n_rows: int) -> tuple[Any, np.ndarray]:
    """Rows of unit length as CSR in float64; the class is the sign of a linear function."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng(0)
    columns = zipf_columns(rng, n_rows)
    values = rng.exponential(size=columns.shape)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    truth = rng.standard_normal(N_COLUMNS)
    y = (np.sum(values * truth[columns], axis=1) > 0).astype(np.int64)
    starts = np.arange(n_rows + 1, dtype=np.int32) * N_NONZERO
    return csr_array((values.ravel(), columns.ravel(), starts), shape=(n_rows, N_COLUMNS)), y


# ---- contestants --------------------------------------------------------------------------------------------------


class Fits:
    """Fits of new estimators, one after the other; `seconds` are those of all of them."""

    def __init__(self, make: Callable[[int], Any], X: Any, y: np.ndarray, n_fits: int = 1) -> None:
        self.make, self.X, self.y, self.n_fits = make, X, y, n_fits

    def __call__(self) -> float:
        estimators = [self.make(seed) for seed in range(self.n_fits)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that so few epochs do not converge
            start = time.perf_counter()
            for estimator in estimators:
                estimator.fit(self.X, self.y)
            seconds = time.perf_counter() - start
        self.last = estimators[-1]
        return seconds

    def accuracy(self) -> float:
        """On the first rows, of the last fit: what tells whether the contestants learnt alike."""
        return float(self.last.score(self.X[:20_000], self.y[:20_000]))

    def epochs(self) -> int:
        """Epochs of the last fit; a search has none."""
        return int(getattr(self.last, "n_iter_", 0))


class Calls:
    """Calls of a method on one row, in a loop; `seconds` are those of one call."""

    def __init__(self, method: Callable[..., Any], *arguments: Any, n_calls: int) -> None:
        self.method, self.arguments, self.n_calls = method, arguments, n_calls

    def __call__(self) -> float:
        method, arguments = self.method, self.arguments
        start = time.perf_counter()
        for _ in range(self.n_calls):
            method(*arguments)
        return (time.perf_counter() - start) / self.n_calls


class Vowpal:
    """Seconds that `learn` takes for as many examples as there are rows, one after the other, by plain SGD.

    Only learning is timed, of examples that were parsed beforehand and that are handed over without the checks of the
    Python wrapper. They are few, so that they stay in its caches: a million would take twice the time (32 KB each), and
    parsing the text several times that.
    """

    def __init__(self, loss: str, X: np.ndarray, y: np.ndarray) -> None:
        from vowpalwabbit import Workspace

        options = f"--sgd --learning_rate 0.01 --power_t 0.5 --loss_function {loss} --quiet --no_stdin -b 18"
        self.n_rows, model = len(X), Workspace(options)
        self.learn = super(Workspace, model).learn
        rows = (" ".join(f"{k}:{value:.9g}" for k, value in enumerate(x)) for x in X[:N_EXAMPLES].tolist())
        labels = (2 * y[:N_EXAMPLES] - 1).tolist()
        self.examples = [model.example(f"{label} | {row}") for label, row in zip(labels, rows, strict=True)]
        self.model = model  # it owns the examples

    def __call__(self) -> float:
        learn, examples = self.learn, self.examples
        start = time.perf_counter()
        for example in examples:
            learn(example)
        return (time.perf_counter() - start) * self.n_rows / len(examples)


# ---- rows: each gives its contestants by name, fastprop first -----------------------------------------------------


def both(name: str) -> dict[str, Any]:
    """fastprop's class and scikit-learn's of the same name."""
    from sklearn import linear_model, neural_network

    import fastprop as fp

    theirs = neural_network if name.startswith("MLP") else linear_model
    return {"fastprop": getattr(fp, name), "sklearn": getattr(theirs, name)}


def one_pass(scale: float, loss: str, dtype: str) -> dict[str, Seconds]:
    """A pass of SGDClassifier over dense rows, beside `learn` of Vowpal Wabbit."""
    X, y = dense(int(1_000_000 * scale), dtype)
    found: dict[str, Seconds] = {
        name: Fits(lambda seed, cls=cls: cls(loss=loss, max_iter=1, tol=None, random_state=seed), X, y)
        for name, cls in both("SGDClassifier").items()
    }
    with contextlib.suppress(ImportError):
        found["vw"] = Vowpal("logistic" if loss == "log_loss" else loss, X, y)
    return found


def sparse_classifier(cls: Any, **parameters: Any) -> Callable[[int], Any]:
    """Makers of a logistic regression on sparse rows."""
    return lambda seed: cls(loss="log_loss", max_iter=MANY_PASSES, tol=None, random_state=seed, **parameters)


def sparse_passes(scale: float) -> dict[str, Seconds]:
    """Five passes of SGDClassifier over CSR."""
    X, y = sparse(int(200_000 * scale))
    return {name: Fits(sparse_classifier(cls), X, y) for name, cls in both("SGDClassifier").items()}


def hogwild(scale: float) -> dict[str, Seconds]:
    """The same on all processors, without locks, beside one sample after the other."""
    X, y = sparse(int(200_000 * scale))
    cls = both("SGDClassifier")["fastprop"]
    return {"fastprop": Fits(sparse_classifier(cls, mode="hogwild"), X, y), "one": Fits(sparse_classifier(cls), X, y)}


def digits(scale: float) -> dict[str, Seconds]:
    """`MLPClassifier().fit` on the digits with its defaults: 100 hidden units, Adam, up to 200 epochs."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    few = {} if scale == 1 else {"max_iter": 2}
    return {
        name: Fits(lambda seed, cls=cls: cls(random_state=seed, **few), X, y)
        for name, cls in both("MLPClassifier").items()
    }


def tiny_models(scale: float) -> dict[str, Seconds]:
    """20 fits of 2-8-1 on 100 rows, 50 epochs each: batches of all rows, scikit-learn's default."""
    X, y = dense(100, "float64")
    n_fits = max(1, round(20 * scale))
    return {
        name: Fits(lambda seed, cls=cls: cls(random_state=seed, **TINY), X[:, :2].copy(), y, n_fits)
        for name, cls in both("MLPClassifier").items()
    }


def one_row(scale: float, method: str) -> dict[str, Seconds]:
    """Calls with one row of 28 numbers on a classifier with hidden layers (64, 64)."""
    X, y = dense(512, "float64")
    found: dict[str, Seconds] = {}
    for name, cls in both("MLPClassifier").items():
        model = cls((64, 64), random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(3):
                model.partial_fit(X, y, classes=[0, 1])
        arguments = (X[:1], y[:1]) if method == "partial_fit" else (X[:1],)
        n_calls = 500 if name == "fastprop" else 50
        found[name] = Calls(getattr(model, method), *arguments, n_calls=max(5, round(n_calls * scale)))
    return found


class Search:
    """GridSearchCV on joblib's threads; each fit inside has one."""

    def __init__(self, estimator: Any, n_jobs: int, scale: float) -> None:
        from sklearn.model_selection import GridSearchCV

        grid = {"alpha": np.logspace(-5, -2, 8 if scale == 1 else 2).tolist()}
        self.search, self.n_jobs = GridSearchCV(estimator, grid, cv=3, refit=False, n_jobs=n_jobs), n_jobs

    def fit(self, X: Any, y: np.ndarray) -> None:
        import joblib

        with joblib.parallel_config(backend="threading"):
            self.search.fit(X, y)

    def score(self, X: Any, y: np.ndarray) -> float:
        return float(self.search.best_score_)


def search(scale: float, name: str) -> dict[str, Seconds]:
    """24 fits of fastprop's class, on two threads and on one."""
    from sklearn.datasets import load_digits

    if name == "MLPClassifier":
        X, y = load_digits(return_X_y=True)
        X, parameters = X / 16.0, DIGITS if scale == 1 else {"max_iter": 2}
    else:
        X, y = dense(int(100_000 * scale), "float64")
        parameters = {"loss": "log_loss", "max_iter": 10, "tol": None}
    estimator = both(name)["fastprop"](random_state=0, n_threads=1, **parameters)
    return {
        "fastprop": Fits(lambda seed: Search(estimator, 2, scale), X, y),
        "one": Fits(lambda seed: Search(estimator, 1, scale), X, y),
    }


class Row(NamedTuple):
    """A line of the table.

    Attributes
    ----------
    title : str
    make : callable
        From a scale (1: as promised, below: a trial) to the contestants.
    wanted : dict
        The ratio that is promised beside each of them.
    seconds : float or None
        What fastprop may take at most.
    n_threads : int
        Processors of the process.
    """

    title: str
    make: Callable[[float], dict[str, Seconds]]
    wanted: dict[str, float]
    seconds: float | None = None
    n_threads: int = 1


def dense_row(loss: str, dtype: str) -> Row:
    return Row(
        f"SGDClassifier, {loss}, dense 1,000,000 x 28 {dtype}, one pass",
        lambda scale: one_pass(scale, loss, dtype),
        {"sklearn": 6.0, "vw": 3.0},
    )


ROWS = {
    "log": dense_row("log_loss", "float64"),
    "log32": dense_row("log_loss", "float32"),
    "hinge": dense_row("hinge", "float64"),
    "hinge32": dense_row("hinge", "float32"),
    "sparse": Row("SGDClassifier, log_loss, sparse 200,000 x 47,236, five passes", sparse_passes, {"sklearn": 5.0}),
    "digits": Row("MLPClassifier, digits, defaults", digits, {"sklearn": 8.0}),
    "tiny": Row("MLPClassifier, 20 fits of 100 rows, 2-8-1, 50 epochs", tiny_models, {"sklearn": 20.0}),
    "partial_fit": Row("MLPClassifier (64, 64), partial_fit of a row", lambda s: one_row(s, "partial_fit"), {}, 40e-6),
    "proba": Row("MLPClassifier (64, 64), predict_proba of a row", lambda s: one_row(s, "predict_proba"), {}, 30e-6),
    "hogwild": Row('SGDClassifier, the sparse rows, mode="hogwild"', hogwild, {"one": 1.7}, n_threads=2),
    "grid-mlp": Row(
        "GridSearchCV of MLPClassifier, 24 fits, joblib's threads",
        lambda scale: search(scale, "MLPClassifier"), {"one": 1.7}, n_threads=2,
    ),
    "grid-sgd": Row(
        "GridSearchCV of SGDClassifier, 24 fits, joblib's threads",
        lambda scale: search(scale, "SGDClassifier"), {"one": 1.7}, n_threads=2,
    ),
}  # fmt: skip
