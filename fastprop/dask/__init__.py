"""Training on a Dask cluster: the same bits for any number of workers. Needs the extra `dask`.

>>> from fastprop import dask as fpd
>>> history = fpd.fit(net, X, y, epochs=10)  # X and y: dask arrays or frames, delayed lists, paths of files
>>> labels = fpd.predict(net, X)  # lazily, partition by partition
"""

import importlib.util as _util

if _util.find_spec("distributed") is None:
    raise ImportError('fastprop.dask needs Dask and its scheduler: pip install "fastprop-jit[dask]"')

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
