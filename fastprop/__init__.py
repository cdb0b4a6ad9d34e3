"""fastprop: train neural networks and linear models by backpropagation on a CPU, fast.

>>> import fastprop as fp
>>> net = fp.Network([fp.Dense(64, activation="relu"), fp.Dense(10)], loss="cross_entropy")
>>> history = net.fit(X, y, epochs=10)
>>> labels = net.predict(X)
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING

if not (_Path(__file__).parent / "kernels").is_dir():  # in the repository the kernels lie beside the package
    __path__.append(str(_Path(__file__).parent.parent))

from . import data, losses, schedules
from . import initializers as init
from .callbacks import EarlyStopping
from .errors import DivergenceError, FileError
from .layers import BatchNorm, Dense, Dropout, LayerNorm, Residual, activation
from .loading import load, resume
from .losses import loss
from .network import Network
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSProp, optimizer

if _TYPE_CHECKING:
    from . import dask, diagnose, plot
    from .estimators import MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "BatchNorm",
    "Dense",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "FileError",
    "LayerNorm",
    "MLPClassifier",
    "MLPRegressor",
    "Network",
    "RMSProp",
    "Residual",
    "SGDClassifier",
    "SGDRegressor",
    "activation",
    "dask",
    "data",
    "diagnose",
    "init",
    "load",
    "loss",
    "losses",
    "optimizer",
    "plot",
    "resume",
    "schedules",
]

# They import scikit-learn, or are for some users only: loaded when asked for.
_ESTIMATORS = ("MLPClassifier", "MLPRegressor", "SGDClassifier", "SGDRegressor")
_MODULES = ("dask", "diagnose", "plot")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return _import_module(f".{name}", __name__)
    if name in _ESTIMATORS:
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
