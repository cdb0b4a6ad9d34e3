"""What estimators must not accept: scikit-learn's errors in its words, and a broken CSR before a kernel reads it.

Each class is tried in a process of its own, so that a crash is a failure of one test and not the end of the run.
"""

from __future__ import annotations

import json

import pytest

SCRIPT = """
import copy, json, sys, warnings
import numpy as np
import scipy.sparse as sp
import fastprop as fp

name = sys.argv[1]
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
N, D = 60, 5
X = rng.standard_normal((N, D))
y = (X[:, 0] > 0).astype(int)
small = {"hidden_layer_sizes": (4,)} if name.startswith("MLP") else {}
make = lambda: getattr(fp, name)(max_iter=3, random_state=0, **small)


def having(value, dtype=np.float64):
    bad = X.astype(dtype)
    bad[7, 3] = value
    return bad


def broken(kind, index):
    S = sp.csr_array(np.where(rng.random((N, D)) < 0.7, X, 0.0))
    data, indices, indptr = S.data.copy(), S.indices.astype(index), S.indptr.astype(index)
    wide = next(r for r in range(10, N) if indptr[r + 1] - indptr[r] >= 3)
    at = indptr[wide]
    S = sp.csr_array((data, indices, indptr), shape=(N, D))
    if kind == "out of range":
        S.indices[at + 2] = D + 1_000_000
    elif kind == "just out of range":
        S.indices[indptr[wide + 1] - 1] = D
    elif kind == "negative":
        S.indices[at] = -3
    elif kind == "unsorted":
        S.indices[[at, at + 1]] = S.indices[[at + 1, at]]
    elif kind == "duplicate":
        S.indices[at + 1] = S.indices[at]
    elif kind == "indptr beyond":
        S.indptr[-1] += 100_000
    elif kind == "indptr falls":
        S.indptr[5] = S.indptr[7] + 1
    elif kind == "indptr starts late":
        S.indptr[0] = 2
    elif kind == "indptr negative":
        S.indptr[3] = -1_000_000
    elif kind == "indptr short":
        S.indptr = S.indptr[:-5].copy()
    elif kind == "data short":
        S.data = S.data[:-9].copy()
    elif kind == "indices short":
        S.indices = S.indices[:-9].copy()
    elif kind == "nan":
        S.data[at] = np.nan
    elif kind == "inf":
        S.data[at] = np.inf
    return S


bad = {
    "nan": lambda: having(np.nan),
    "nan float32": lambda: having(np.nan, np.float32),
    "inf": lambda: having(np.inf),
    "-inf float32": lambda: having(-np.inf, np.float32),
    "strings": lambda: np.full((N, D), "a", dtype=object),
    "complex": lambda: X + 1j,
    "one axis": lambda: X[:, 0],
    "three axes": lambda: X[:, :, None],
    "no rows": lambda: X[:0],
    "no columns": lambda: X[:, :0],
    "wrong width": lambda: X[:, :-1],
}
KINDS = ["out of range", "just out of range", "negative", "unsorted", "duplicate", "indptr beyond", "indptr falls",
         "indptr starts late", "indptr negative", "indptr short", "data short", "indices short", "nan", "inf"]
for kind in KINDS:
    for index in (np.int32, np.int64):
        bad[f"csr {kind} {np.dtype(index).name}"] = lambda kind=kind, index=index: broken(kind, index)


def coo(axis):
    S = sp.coo_array(X)
    S.coords[axis][5] = 100_000_000
    return S


bad |= {"coo row": lambda: coo(0), "coo column": lambda: coo(1)}


def outcome(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        return [type(error).__name__, str(error)[:300], isinstance(error, ValueError)]
    return ["accepted", "", False]


found, changed = {}, {}


def try_on_fitted(method, what, *arguments):
    # What a fitted model says to bad input; having refused it, the model must be as it was.
    model = copy.deepcopy(FITTED)
    told = outcome(getattr(model, method), *arguments)
    found[f"{method}: {what}"] = told
    after = outcome(use, model)
    if told[2] and after[0] != "accepted":
        changed[f"{method}: {what}"] = after


def predictions(model):
    return [model.predict(X), model.predict(sp.csr_array(X)), model.predict(X[:1])]


def use(model):
    for now, before in zip(predictions(model), PREDICTIONS):
        np.testing.assert_array_equal(now, before)
    assert np.isfinite(model.partial_fit(X, y).predict(X)).all()


FITTED = make().fit(X, y)
PREDICTIONS = predictions(FITTED)
for what, data in bad.items():
    if what != "wrong width":
        found[f"first fit: {what}"] = outcome(make().fit, data(), y)
        try_on_fitted("fit", what, data(), y)
    try_on_fitted("partial_fit", what, data(), y)
    for method in ("predict", "predict_proba"):
        if hasattr(FITTED, method):
            try_on_fitted(method, what, data())
wide = np.full((N, 50_000), np.nan)
try_on_fitted("fit", "wide nan", wide, y)
try_on_fitted("fit", "wide csr nan", sp.csr_array(wide), y)
weights = np.ones(N)
for what, w in {"short": weights[:-1], "nan": np.where(np.arange(N) == 3, np.nan, 1.0), "two axes": X}.items():
    try_on_fitted("fit", f"weights {what}", X, y, *([None, None] if name.startswith("SGD") else []), w)
for what, target in {"short": y[:-1], "nan": np.where(np.arange(N) == 3, np.nan, y), "none": None}.items():
    try_on_fitted("fit", f"y {what}", X, target)
print(json.dumps([found, changed]))
"""

# scikit-learn's words, and of broken sparse matrices ours.
WORDS = {
    "nan": "Input X contains NaN",
    "wide nan": "Input X contains NaN",
    "wide csr nan": "Input X contains NaN",
    "nan float32": "Input X contains NaN",
    "inf": "Input X contains infinity",
    "-inf float32": "Input X contains infinity",
    "strings": "could not convert string to float",
    "complex": "Complex data not supported",
    "one axis": "Expected 2D array",
    "three axes": "dim 3",
    "no rows": "0 sample(s)",
    "no columns": "0 feature(s)",
    "wrong width": "X has 4 features, but {name} is expecting 5 features as input",
    "csr nan": "Input X contains NaN",
    "csr inf": "Input X contains infinity",
    "csr out of range": "indices must lie within 0..4",
    "csr just out of range": "indices must lie within 0..4",
    "csr negative": "indices must lie within 0..4",
    "csr unsorted": "unsorted column indices in row 1",
    "csr duplicate": "duplicate column indices in row 1",
    "csr indptr beyond": "but indptr ends with 100",
    "csr indptr falls": "indptr must not decrease",
    "csr indptr starts late": "indptr must start with 0",
    "csr indptr negative": "indptr must not decrease",
    "csr indptr short": "and have 61 elements",
    "csr data short": "data and",
    "csr indices short": "indices, but indptr ends with",
    "coo row": "must lie within its shape (60, 5)",
    "coo column": "must lie within its shape (60, 5)",
    "y short": "inconsistent numbers of samples: [60, 59]",
    "y nan": "Input y contains NaN",
    "y none": "the target y is None",
    "weights short": "sample_weight.shape == (59,), expected (60,)",
    "weights nan": "Input sample_weight contains NaN",
    "weights two axes": "Sample weights must be 1D array or scalar",
}


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor", "SGDClassifier", "SGDRegressor"])
def test_bad_input_is_refused(name, run_script):
    found, changed = json.loads(run_script(SCRIPT, name).splitlines()[0])
    assert len(found) > 130
    wrong = {what: error for what, error in found.items() if not error[2]}
    for what, (_, message, _) in found.items():
        words = WORDS[what.partition(": ")[2].removesuffix(" int32").removesuffix(" int64")].format(name=name)
        if what not in wrong and words not in message:
            wrong[what] = [f"expected {words!r}", message]
    assert not wrong, "\n".join(f"{what}: {error}" for what, error in wrong.items())
    assert not changed, "\n".join(f"after {what}: {error}" for what, error in changed.items())
