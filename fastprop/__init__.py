"""fastprop: train neural networks and linear models by backpropagation on a CPU, fast.

>>> import fastprop as fp
>>> net = fp.Network([fp.Dense(64, activation="relu"), fp.Dense(10)], loss="cross_entropy")
>>> net.fit(X, y, epochs=10)
>>> net.predict(X)
"""

from pathlib import Path as _Path

if not (_Path(__file__).parent / "kernels").is_dir():  # in the repository the kernels lie beside the package
    __path__.append(str(_Path(__file__).parent.parent))

from . import initializers as init
from . import losses, schedules
from .callbacks import EarlyStopping
from .errors import DivergenceError, FileError
from .layers import BatchNorm, Dense, Dropout, LayerNorm, Residual, activation
from .loading import load
from .losses import loss
from .network import Network
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSProp, optimizer

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
    "Network",
    "RMSProp",
    "Residual",
    "activation",
    "init",
    "load",
    "loss",
    "losses",
    "optimizer",
    "schedules",
]
