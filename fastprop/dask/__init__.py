"""Training on a Dask cluster: the same bits for any number of workers. Needs the extra `dask`."""

from .course import fit
from .errors import ClusterError
from .lazy import evaluate, predict, predict_proba
from .mlp import DaskMLPClassifier, DaskMLPRegressor
from .sgd import DaskSGDClassifier, DaskSGDRegressor

__all__ = [
    "ClusterError",
    "DaskMLPClassifier",
    "DaskMLPRegressor",
    "DaskSGDClassifier",
    "DaskSGDRegressor",
    "evaluate",
    "fit",
    "predict",
    "predict_proba",
]
