"""Training on a Dask cluster: the same bits for any number of workers. Needs the extra `dask`.

>>> from fastprop import dask as fpd
>>> history = fpd.fit(net, X, y, epochs=10)  # X and y: dask arrays or frames, delayed lists, paths of files
>>> labels = fpd.predict(net, X)  # lazily, partition by partition
"""

try:
    import dask as _dask  # absolute: Dask itself
    import distributed as _distributed
except ImportError as _error:
    raise ImportError(
        f'fastprop.dask needs Dask and its scheduler, dask[distributed]: pip install "fastprop-jit[dask]" ({_error})'
    ) from _error

from .course import fit
from .errors import ClusterError
from .lazy import decision_function, evaluate, predict, predict_proba
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
