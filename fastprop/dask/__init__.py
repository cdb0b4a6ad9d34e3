"""Training on a Dask cluster: the same bits for any number of workers. Needs the extra `dask`."""

from .course import fit
from .errors import ClusterError

__all__ = ["ClusterError", "fit"]
