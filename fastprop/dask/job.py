"""What a worker needs to know once a fit, and what it must be like."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from .. import models
from ..arguments import check_choice
from ..kernels.target import target
from ..layers import BatchNorm, Layer, Residual

if TYPE_CHECKING:
    from ..network import Network

MODES = ("local", "sync")
# One group at a time in a process, on all threads of its worker: Dask may give it several when another worker dies.
working = threading.Lock()


class Unfit(RuntimeError):
    """A worker has other versions than it should have."""


def stamp() -> dict[str, str]:
    """What the bits of a round depend on, besides what it is given."""
    from .. import __version__

    return {
        "fastprop": __version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
        "instruction set": target().instruction_set,
    }


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """In which ways a stamp is not as expected, in words; "" if it is."""
    odd = [name for name in expected if found.get(name) != expected[name]]
    return ", ".join(f"{name} {found.get(name)} instead of {expected[name]}" for name in odd)


def this_worker() -> tuple[str, int]:
    """The address and the threads of the Dask worker whose task this is; ("", 1) in no task."""
    distributed = sys.modules.get("distributed")
    if distributed is None:  # nobody can have called from a task
        return "", 1
    try:
        worker = distributed.get_worker()
    except ValueError:
        return "", 1
    return worker.address, worker.state.nthreads


def this_task() -> Any:
    """The key of the Dask task that this is called in; None in none."""
    worker = sys.modules.get("distributed.worker")
    return None if worker is None else getattr(worker.thread_state, "key", None)


def check_wanted() -> None:
    """End the Dask task that this is called in, if it was cancelled: the next fit would wait for its thread."""
    key = this_task()
    if key is not None:
        from distributed import Reschedule, get_worker

        task = get_worker().state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise Reschedule  # Dask forgets it without a word, or does it again should it be wanted again


def check_mode(net: Network, mode: Any) -> str:
    """A way to learn that a network can: "local" or "sync".

    Raises
    ------
    ValueError
        If it is another, or "sync" for a network with BatchNorm.
    """
    check_choice("mode", mode, MODES)
    if mode == "sync" and _has_batch_norm(net.layers):
        raise ValueError(
            "mode='sync' cannot train BatchNorm: it takes the mean and variance of a whole batch in each layer, and "
            "the rows of a batch lie on several workers; use mode='local', or LayerNorm"
        )
    return str(mode)


def _has_batch_norm(layers: Sequence[Layer]) -> bool:
    return any(
        isinstance(layer, BatchNorm) or (isinstance(layer, Residual) and _has_batch_norm(layer.layers))
        for layer in layers
    )


@dataclass(eq=False)
class Job:
    """How workers train, the same for all rounds of a fit; in a worker's memory from one to the next.

    Attributes
    ----------
    net : Network
        A copy, of which everything but the state is used: it is the engines' that are made for it. Its learning rate
        comes with each round, so that the user's function need not travel.
    batch_size : int or None
        Rows of an update of a replica; None for all of a partition. In mode "sync" steps say which rows.
    shuffle : bool
    seed : int
    class_weight : dict of label to weight, or None
    validation_fraction : float
        Of each partition.
    mode : "local" or "sync"
    stamp : dict
        What workers must be like: see `stamp`.

    Raises
    ------
    ValueError
        See `check_mode`; if `batch_size` is 1 with BatchNorm.
    """

    net: Network
    batch_size: int | None = 128
    shuffle: bool = True
    seed: int = 0
    class_weight: dict[Any, float] | None = None
    validation_fraction: float = 0.0
    mode: str = "local"
    stamp: dict[str, str] = field(default_factory=stamp)

    def __post_init__(self) -> None:
        check_mode(self.net, self.mode)
        if self.batch_size == 1 and _has_batch_norm(self.net.layers):
            raise ValueError("batch_size must be at least 2 with BatchNorm: one sample has no variance")
        self.net = twin(self.net)

    def check_worker(self) -> tuple[str, int]:
        """The address and the threads of this worker.

        Raises
        ------
        Unfit
            If its results would have other bits than those of the other workers.
        """
        address, n_threads = this_worker()
        odd = difference(stamp(), self.stamp)
        if odd:
            raise Unfit(f"worker {address} has {odd}: the same is needed everywhere")
        return address, n_threads


def twin(net: Network) -> Network:
    """A copy of a built network that shares what nobody changes, without its learning rate, run and notes."""
    made = copy.copy(net)
    made.optimizer, made._run, made.extra = copy.copy(net.optimizer), None, {}
    made.optimizer.lr = 0.0
    made._parameters = models.fitting(made._built(), made._parameters, made.optimizer.rule())
    return made
