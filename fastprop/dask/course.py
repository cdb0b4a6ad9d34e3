"""`fit`: training a network on a Dask cluster."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import keeping
from ..arguments import check_bool, check_fraction, check_number, check_positive_int
from ..callbacks import check_callbacks, resolve_early_stopping
from ..optimizers import Optimizer
from ..progress import progress_for
from ..runs import Run, begun
from ..trainer import Settings
from ..undo import undone_on_error
from ..validation import check_monitor
from .cluster import Cluster, Lost
from .conversion import LEAST_ROWS, penalty_factor, rate_factor, replica_rows, schedule_steps
from .cost import sync_every_of
from .crew import Crew, Task, itself
from .drafts import Draft, Ready
from .errors import ClusterError
from .job import Job, check_mode
from .messages import State
from .opening import opened
from .outer import check_outer, first_slots
from .replica import evaluate_group
from .rounds import LocalRounds, Point, Rounds, SyncRounds
from .scores import Score, merged
from .state import layout_of, shown
from .survey import Partitions, partitions
from .training import Training, Validate

if TYPE_CHECKING:
    from distributed import Client

    from ..network import Network


def fit(
    net: Network | Draft,
    X: Any,
    y: Any = None,
    epochs: int = 10,
    batch_size: int | None = 128,
    mode: str = "local",
    sync_every: int | None = None,
    outer: Optimizer | None = None,
    client: Client | None = None,
    *,
    sample_weight: Any = None,
    class_weight: Any = None,
    shuffle: bool = True,
    X_val: Any = None,
    y_val: Any = None,
    validation_fraction: float = 0.0,
    early_stopping: Any = None,
    callbacks: Any = (),
    n_partitions: int = 8,
    progress: Any = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60,
) -> dict[str, list[float]]:
    """Train a network on a Dask cluster; a trained network goes on from its weights and optimizer state.

    The result depends on the partitions, not on the workers: it has the same bits for any number of them, wherever
    partitions lie, and whichever workers die or come while training.

    Parameters
    ----------
    net : Network
        Trained in place; built for the data if need be.
    X : dask array, dask dataframe, list of delayed or futures, path or list of paths, fp.data.Dataset, or array-like
        One partition for each chunk of rows, each partition of a frame, each member of a list. Files (Parquet, npy) are
        read by the workers, a round's share at a time, and cut into `n_partitions`; so are arrays in memory.
    y : likewise
        Partitioned as X. None for a list of (X, y); the name of a column for Parquet.
    epochs : int, default 10
    batch_size : int or None, default 128
        Rows of an update, over all partitions, as on one machine. In mode "local" a replica's update has its share of
        them, 16 at least (or `batch_size`, if that is smaller), and the learning rate of Adam, AdamW, RMSProp and
        Adagrad is multiplied by the root of `batch_size` over these rows: the same arguments learn about the same as on
        one machine; see `fastprop.dask.conversion`. With more than `batch_size` / 16 partitions there are fewer updates
        than on one machine. None takes all rows.
    mode : {"local", "sync"}, default "local"
        "local": each partition trains a replica of the network for `sync_every` updates; then the mean of what the
        replicas learnt, weighted by rows or the sums of their weights, is what the network learns. Optimizer state and
        running statistics are averaged alike. A round takes its slowest worker's time and some 40 ms.
        "sync": each update is made with the gradient of a whole batch, summed over partitions: what `Network.fit` does
        on all rows in one place, to rounding; only dropout drops other units, as many, unless `shuffle` is False. Each
        update costs a round, some 40 ms, whatever there is to compute.
    sync_every : int, optional
        Updates of the largest partition from one round to the next, at most; not in mode "sync". By default what one
        core should do in about 0.25 s, by the size of the network, but at most a sixteenth of an epoch, or 20 if that
        is more. The rounds of an epoch are of equal length, so that it ends with one.
    outer : optimizer, optional
        Such as ``fp.SGD(lr=0.7, momentum=0.9, nesterov=True)``: makes a step of the mean change of the parameters, with
        minus that as gradient, once a round. Its momentum begins with the fit. By default the change is added. Not in
        mode "sync".
    client : distributed.Client, optional
        By default Dask's current client; where there is none, a LocalCluster of this machine's cores is started, with
        one process each, and closed. Worker processes import the main module: call from within
        ``if __name__ == "__main__":`` in a script.
    sample_weight : optional
        Partitioned as X.
    class_weight : "balanced" or dict of label to weight, optional
        Multiplies `sample_weight`; the labels of all partitions are counted.
    shuffle : bool, default True
        Another order of rows in each epoch, by the seed: within partitions, in mode "sync" of all.
    X_val, y_val : optional
        Evaluated after each epoch, where the partitions are; as X and y.
    validation_fraction : float in [0, 1), default 0
        Part of each partition kept for validation instead, drawn by the seed.
    early_stopping : int or fp.EarlyStopping, optional
        Stop after so many epochs without improvement and restore the best weights.
    callbacks : object or sequence of objects, optional
        With `on_epoch_end(net, epoch, logs)`, called here, not on workers.
    n_partitions : int, default 8
        Of files and arrays in memory. The result depends on it; more than one a worker let work be shared evenly when
        workers come and go.
    progress : "auto" or bool, default "auto"
        A bar with rounds, rows a second and the loss.
    checkpoint : path-like, optional
        Write the run there, here and not on workers, after rounds and at the end. ``fp.resume`` and the same call of
        `fit` go on behind that round, with the same bits.
    checkpoint_every : float > 0, default 60
        Seconds.

    Returns
    -------
    dict of str to list of float
        One number an epoch: loss (penalties included; in mode "local" the mean of the replicas', while they train), lr,
        time (seconds since the start), rounds, val_loss and metrics.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, a partition does not (its number is named), or a worker has other versions of
        fastprop, numba or numpy. Before the first round, and the network is as before. After an epoch, if a callback
        changed a setting other than the learning rate.
    DivergenceError
        If a loss or a weight becomes NaN or infinite, naming partition and round.
    ClusterError
        If the cluster cannot go on: no worker for 20 seconds (60 at the beginning), the scheduler or the connection to
        it gone, data lost that Dask cannot compute again, or tasks that kill their workers. Its `net` is the network.
    KeyboardInterrupt
        At once; no task is left on the cluster. A worker ends the partition that it is at.

    All leave the network with the weights and optimizer state of the last complete round.

    Warns
    -----
    RuntimeWarning
        If partitions hold quite different rows or there are fewer of them than workers, or if a schedule of the
        learning rate neither comes to its end nor as far as on one machine.
    """
    draft = net if isinstance(net, Draft) else Ready(net)
    settings = Settings(
        epochs=check_positive_int("epochs", epochs),
        batch_size=check_positive_int("batch_size", batch_size, allow_none=True),
        shuffle=check_bool("shuffle", shuffle),
        seed=0,  # until there is a network
        early_stopping=resolve_early_stopping(early_stopping),
        callbacks=_check_callbacks(callbacks),
        checkpoint=None if checkpoint is None else keeping.check_path("checkpoint", checkpoint),
        checkpoint_every=check_number("checkpoint_every", checkpoint_every, 0.0, inclusive="neither"),
    )
    if draft.net is not None:
        check_mode(draft.net, mode)
    _check_beside(mode, sync_every, outer)
    check_positive_int("sync_every", sync_every, allow_none=True)
    check_positive_int("n_partitions", n_partitions)
    _check_validation(X_val, y_val, check_fraction("validation_fraction", validation_fraction))
    data: dict[str, Any] = {
        "X": X,
        "y": y,
        "sample_weight": sample_weight,
        "n_partitions": n_partitions,
        "class_weight": class_weight,
    }
    held = {"X": X_val, "y": y_val, "sample_weight": None, "n_partitions": n_partitions}
    bar = progress_for(progress, settings.epochs)
    try:
        undone = contextlib.nullcontext() if draft.net is None else undone_on_error(draft.net)
        with undone, opened(client) as cluster:
            cluster.check_versions(mode)
            common: dict[str, Any] = {"validation_fraction": validation_fraction, "mode": mode}
            parts = partitions(draft, cluster=cluster, **data, **common)
            trained = draft.net
            assert trained is not None
            settings.seed = trained.seed
            rest = None if X_val is None else _validation_parts(trained, cluster, held)
            course = Course(trained, cluster, settings, mode, sync_every, check_outer(outer), validation_fraction)
            return course.run(parts, rest, bar)
    except Lost as error:
        raise ClusterError(str(error), draft.net) from error
    finally:
        bar.close()


def _check_callbacks(callbacks: Any) -> tuple[Any, ...]:
    checked = check_callbacks(callbacks)
    for callback in checked:
        if hasattr(callback, "on_step"):
            raise ValueError(
                f"{type(callback).__name__} has on_step, but updates are made on workers, without a network to show: "
                f"on a cluster there is on_epoch_end only"
            )
    return checked


def _check_beside(mode: str, sync_every: Any, outer: Any) -> None:
    """Refuse what mode "sync" has no use for."""
    if mode != "sync":
        return
    for name, value in {"sync_every": sync_every, "outer": outer}.items():
        if value is not None:
            raise ValueError(f"{name} must be None in mode 'sync', where each update is a round, got {value!r}")


def _check_validation(X_val: Any, y_val: Any, fraction: float) -> None:
    if X_val is None and y_val is not None:
        raise ValueError("X_val and y_val must be given together, got only y_val")
    if X_val is not None and fraction:
        raise ValueError(f"give either X_val and y_val or validation_fraction, got both (fraction {fraction})")


def _validation_parts(net: Network, cluster: Cluster, held: Mapping[str, Any]) -> Partitions:
    """The partitions to validate with; that they are skewed or few is no matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return partitions(net, cluster=cluster, suffix="_val", **held)


class Course:
    """A fit on a cluster whose arguments are checked.

    Parameters
    ----------
    net : Network
        Built.
    cluster : Cluster
    settings : trainer.Settings
    mode : {"local", "sync"}
    sync_every : int or None
    outer : Optimizer or None
    fraction : float
        Of each partition, that is held out.
    """

    def __init__(
        self,
        net: Network,
        cluster: Cluster,
        settings: Settings,
        mode: str,
        sync_every: int | None,
        outer: Optimizer | None,
        fraction: float,
    ) -> None:
        self.net, self.cluster, self.settings, self.mode = net, cluster, settings, mode
        self.outer, self.fraction, self.sync_every = outer, fraction, sync_every

    def run(self, data: Partitions, held: Partitions | None, bar: Any) -> dict[str, list[float]]:
        """Train; returns the history."""
        net, settings = self.net, self.settings
        validates = held is not None or any(data.held)
        check_monitor(settings.early_stopping, net.loss, validates)
        batch_size, self.sync_every = self._updates(data)
        run = begun(net, self._arguments(data), settings.epochs)
        self._warn_of_few_updates(run, data, batch_size)
        common = settings.shuffle, net.seed, data.class_weight, self.fraction, self.mode, self.cluster.stamp
        told = Job(net, batch_size, *common)
        if self.mode == "local" and net.divides_penalties:
            factor = penalty_factor(settings.batch_size, batch_size, data.rows)
            told.net.l1, told.net.l2 = factor * net.l1, factor * net.l2
        self.cluster.loosen()
        job = self.cluster.submit(itself, told, name="job")
        crew = Crew(self.cluster, job, data.parts, data.rows)
        validate: Validate | None = None
        if held is not None:
            validate = validator(net, Crew(self.cluster, job, held.parts, held.rows), held_out=False)
        elif validates:
            validate = validator(net, crew, held_out=True)
        bar.compiling("kernels on the workers")
        rounds = self._rounds(crew, run, batch_size, data)
        slots = first_slots(self.outer, np.zeros(layout_of(net).n_parameters, net.dtype))
        with keeping.keeping(net, settings) as keeper:
            return Training(net, rounds, settings, validate, bar, run, slots, keeper).run()

    def _updates(self, data: Partitions) -> tuple[int | None, int]:
        """The rows of a worker's update, and how many of them make a round."""
        batch_size = self.settings.batch_size
        if self.mode == "sync":
            return batch_size, 1
        batch_size = replica_rows(batch_size, len(data.parts))
        return batch_size, sync_every_of(self.sync_every, self.net._built(), batch_size, max(data.updates(batch_size)))

    def _warn_of_few_updates(self, run: Run, data: Partitions, batch_size: int | None) -> None:
        """Warn where replicas make far fewer updates than one machine, or too few for the learning rate's schedule."""
        of_fit, epochs, n = self.settings.batch_size, self.settings.epochs, sum(data.rows)
        if self.mode == "sync" or run.place is not None or run.standing.n_epochs:
            return
        count, steps = self.net._parameters.count, schedule_steps(self.net.optimizer.lr)
        made, usual = epochs * max(data.updates(batch_size)), epochs * -(-n // min(n, of_fit or n))
        left = f"; its schedule of {steps} updates is left at update {count + made}" if count + made < steps else ""
        if (left and count + made < min(steps, count + usual)) or 2 * made < usual:
            warnings.warn(
                f"{len(data.parts)} partitions, each with {batch_size} rows of a batch of {of_fit}, make {made} "
                f"updates in {epochs} epochs, not {usual} as one machine does, and learn less{left}: take fewer "
                f"partitions, or batches of at least {LEAST_ROWS} rows a partition, and a learning rate for these",
                RuntimeWarning,
                stacklevel=4,
            )

    def _rounds(self, crew: Crew, run: Run, batch_size: int | None, data: Partitions) -> Rounds:
        first = run.first_epoch
        if self.mode == "sync":
            return SyncRounds(self.net, crew, first, batch_size, self.settings.shuffle)
        assert self.sync_every is not None
        factor = rate_factor(self.net.optimizer, self.settings.batch_size, batch_size)
        return LocalRounds(
            self.net, crew, first, batch_size, factor, self.sync_every, data.least_rounds, self.outer, data.mean_weight
        )

    def _arguments(self, data: Partitions) -> dict[str, Any]:
        """What must be the same when the run goes on from a checkpoint, through JSON as it will have gone."""
        settings = self.settings
        arguments = {
            "mode": self.mode,
            "n_samples": sum(data.rows) + sum(data.held),
            "n_features": data.n_features,
            "n_partitions": len(data.parts),
            "validation_fraction": self.fraction,
            "digest of the rows of each partition": _digest(data.rows),
            "batch_size": settings.batch_size,
            "shuffle": settings.shuffle,
            "seed": settings.seed,
            "sync_every": self.sync_every,
            "outer": None if self.outer is None else self.outer.describe(),
        }
        known: dict[str, Any] = json.loads(json.dumps(arguments))
        return known


def _digest(numbers: Sequence[int]) -> str:
    return hashlib.blake2b(np.array(numbers, "<i8").tobytes(), digest_size=8).hexdigest()


# ---- validation ---------------------------------------------------------------------------------------------------


def validator(net: Network, crew: Crew, held_out: bool) -> Validate:
    """What evaluates the network on all partitions: {"val_loss": ..., "val_accuracy": ...}."""

    def validate(point: Point) -> dict[str, float]:
        def work(state: Any, numbers: range) -> Task:
            return scored, crew.job, state, [crew.parts[i] for i in numbers], held_out

        scores = crew.ask(shown(net, point.state), work, f"the validation after epoch {point.epoch}", "validation")
        return {
            f"val_{name}": value for name, value in merged(one for some in scores for one in some).metrics().items()
        }

    return validate


def scored(job: Job, state: State, parts: Sequence[Any], held_out: bool) -> list[Score]:
    """On a worker: the scores of some partitions."""
    return evaluate_group(job, state.vector, parts, held_out)
