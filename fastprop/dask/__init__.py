"""Training on a Dask cluster: the same bits for any number of workers. Needs the extra `dask`.

>>> from fastprop import dask as fpd
>>> history = fpd.fit(net, X, y, epochs=10)  # X and y: dask arrays or frames, delayed lists, paths of files
>>> labels = fpd.predict(net, X)  # lazily, partition by partition
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _find_spec("distributed") is None:
    raise ImportError('fastprop.dask needs Dask and its scheduler: pip install "fastprop-jit[dask]"')

from .course import fit
from .errors import ClusterError
from .lazy import decision_function, evaluate, predict, predict_proba

if _TYPE_CHECKING:
    from .mlp import DaskMLPClassifier, DaskMLPRegressor
    from .sgd import DaskSGDClassifier, DaskSGDRegressor

__all__ = [
    "ClusterError",
    "DaskMLPClassifier",
    "DaskMLPRegressor",
    "DaskSGDClassifier",
    "DaskSGDRegressor",
    "decision_function",
    "evaluate",
    "fit",
    "predict",
    "predict_proba",
]

# They import scikit-learn, which no worker needs: loaded when asked for.
_ESTIMATORS = {
    "DaskMLPClassifier": "mlp",
    "DaskMLPRegressor": "mlp",
    "DaskSGDClassifier": "sgd",
    "DaskSGDRegressor": "sgd",
}


def __getattr__(name: str) -> object:
    if name in _ESTIMATORS:
        return getattr(_import_module(f".{_ESTIMATORS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
