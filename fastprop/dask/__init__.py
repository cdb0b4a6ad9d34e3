"""Training on a Dask cluster: the same bits for any number of workers. Needs the extra `dask`."""

from .course import fit
from .errors import ClusterError
from .mlp import DaskMLPClassifier, DaskMLPRegressor
from .sgd import DaskSGDClassifier, DaskSGDRegressor

__all__ = ["ClusterError", "DaskMLPClassifier", "DaskMLPRegressor", "DaskSGDClassifier", "DaskSGDRegressor", "fit"]
