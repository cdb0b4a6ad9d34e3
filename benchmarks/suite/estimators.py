"""The scikit-learn estimators, as `fit` and one-row calls cost a user: validation, classes and training."""

from __future__ import annotations

import functools
import warnings

import fastprop as fp

from .steps import Timed, clock_of

N_CALLS = 500  # of a timing
LINEAR = {
    "log_loss": dict(loss="log_loss"),
    "hinge": dict(loss="hinge"),
    "elasticnet": dict(loss="log_loss", penalty="elasticnet"),
    "average": dict(loss="log_loss", average=True),
}


@functools.cache
def rows(kind: str, n_rows: int):
    """Dense rows of 28 columns, or sparse ones of 47,236; setup runs before every sample."""
    import estimator_rows

    return estimator_rows.sparse(n_rows) if kind == "csr" else estimator_rows.dense(n_rows, kind)


class Linear(Timed):
    """Seconds a row of one pass of SGDClassifier."""

    params = [["float32", "float64", "csr"], list(LINEAR)]
    param_names = ["X", "model"]
    n_rows = {"float32": 100_000, "float64": 100_000, "csr": 20_000}

    def setup(self, kind: str, model: str) -> None:
        warnings.simplefilter("ignore")  # that one pass does not converge
        self.data = rows(kind, self.n_rows[kind])
        self.estimator = fp.SGDClassifier(max_iter=1, tol=None, random_state=0, **LINEAR[model])
        self.timer = clock_of(self.n_rows[kind])
        self.estimator.fit(*self.data)

    def time_pass(self, kind: str, model: str) -> None:
        self.estimator.fit(*self.data)


class TinyFits(Timed):
    """Seconds a fit of 2-8-1 on 100 rows, 50 epochs: what searches and ensembles do."""

    n_fits = 20

    def setup(self) -> None:
        warnings.simplefilter("ignore")
        X, self.y = rows("float64", 100)
        self.X = X[:, :2].copy()
        self.timer = clock_of(self.n_fits)
        self.time_fit()

    def time_fit(self) -> None:
        for seed in range(self.n_fits):
            fp.MLPClassifier((8,), max_iter=50, n_iter_no_change=50, random_state=seed).fit(self.X, self.y)


class OneRowOfAnEstimator(Timed):
    """Seconds a call with one row, the checks of it included, of MLPClassifier((64, 64))."""

    def setup(self) -> None:
        X, y = rows("float64", 512)
        self.model = fp.MLPClassifier((64, 64), random_state=0)
        for _ in range(3):
            self.model.partial_fit(X, y, classes=[0, 1])
        self.X, self.y = X[:1], y[:1]
        self.timer = clock_of(N_CALLS)
        for _ in range(10):
            self.model.partial_fit(self.X, self.y)
            self.model.predict_proba(self.X)

    def time_partial_fit(self) -> None:
        X, y, partial_fit = self.X, self.y, self.model.partial_fit
        for _ in range(N_CALLS):
            partial_fit(X, y)

    def time_predict_proba(self) -> None:
        X, predict_proba = self.X, self.model.predict_proba
        for _ in range(N_CALLS):
            predict_proba(X)
