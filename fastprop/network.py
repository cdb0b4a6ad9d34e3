"""`Network`: what a user holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

from . import files, keeping, models, streams
from .arguments import check_bool, check_number, check_positive_int
from .callbacks import check_callbacks, resolve_early_stopping
from .checks import AnyMatrix, check_matrix
from .data.dataset import Dataset
from .data.preparation import Preparation
from .engine import Engine
from .engines import Engines, batch_rows, job_of
from .layers import Layer, check_layers
from .losses import Loss, resolve_loss
from .models import Pair
from .optimizers import Optimizer, resolve_optimizer
from .pace import candidates
from .passes import loss_and_gradients, loss_and_outputs, raw_outputs
from .plan import Plan
from .progress import progress_for
from .quick import Quick
from .runs import Run, Underway, run_of
from .stream_training import dataset_validator, fit_dataset, refuse_beside
from .summary import summary_table
from .targets import Targets, combine_weights, decode, prepare_targets, probabilities
from .trainer import Settings, Trainer, lay_out
from .undo import undone_on_error
from .validation import Rows, check_finite_in, check_monitor, check_some_weight, score, split, validator


class Network:
    """A feed-forward neural network.

    Parameters
    ----------
    layers : list of layers
        `fp.Dense`, `fp.Dropout`, `fp.BatchNorm`, `fp.LayerNorm`, `fp.Residual`.
    loss : str or object of `fp.losses`, default "mse"
    optimizer : str or optimizer, default "adam"
    l1, l2 : float >= 0, default 0
        Add l1 sum|W| and l2 / 2 sum W^2 over the weights of Dense layers to the training loss.
    clip_norm : float > 0, optional
        Scale the gradient of all parameters to this norm where its own is larger.
    clip_value : float > 0, optional
        Bound each number of the gradient.
    seed : int, default 0
        Of initial weights, shuffling, dropout and the validation split.
    dtype : "float32" or "float64", default "float32"
        Of parameters and arithmetic; X may have any.

    Attributes
    ----------
    n_features_, n_outputs_ : int
        Once built.
    classes_ : ndarray or None
        The sorted labels, for losses of classes.
    feature_names_in_ : ndarray of str
        If X was a data frame, or a dataset with named columns.
    preparation_ : fp.data.Preparation or None
        What prepared the columns of the dataset of the last `fit`, and its target. It is saved with the network and
        applied to datasets in `predict` and `evaluate`, whose predictions come back in the units of the target; arrays
        are taken as features that are prepared, and predictions for them are what the network learnt.
    history_ : dict of lists
        Of the last `fit`.
    divides_penalties : bool
        False; set it to True to divide l1 and l2 by the sum of the sample weights of each update, which is what
        scikit-learn's `alpha` means, and as there to average the losses of updates by their rows, not their weights.
    extra : dict
        What `save` stored with the model.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> net = Network([Dense(16, activation="tanh"), Dense(1)], loss="bce")
    >>> history = net.fit(X, X[:, 0] * X[:, 1] > 0, epochs=5, batch_size=20, progress=False)
    >>> len(history["loss"])
    5
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: str | Loss = "mse",
        optimizer: str | Optimizer = "adam",
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        self.layers = check_layers(layers)
        self.loss = resolve_loss(loss)
        self.optimizer = resolve_optimizer(optimizer)
        self.l1, self.l2 = check_number("l1", l1, 0.0), check_number("l2", l2, 0.0)
        self.divides_penalties = False
        self.clip_norm = None if clip_norm is None else check_number("clip_norm", clip_norm, 0.0, inclusive="neither")
        self.clip_value = (
            None if clip_value is None else check_number("clip_value", clip_value, 0.0, inclusive="neither")
        )
        self.seed = models.check_seed(seed)
        self.dtype = models.check_dtype(dtype)
        self.classes_: np.ndarray | None = None
        self.preparation_: Preparation | None = None
        self.history_: dict[str, list[float]]
        self._penalties: list[float]  # the part of each loss of history_ that is due to l1 and l2
        self.extra: dict[str, Any] = {}
        self.epochs_done = 0
        self._plan: Plan | None = None
        self._one_dimensional = True
        self._has_seen_data = False
        self._engines, self._quick = Engines(), Quick()
        self._run: Underway | None = None
        models.check_output(self.layers, self.loss)

    # ---- building -------------------------------------------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether the network knows its inputs and has weights."""
        return self._plan is not None

    def build(self, n_features: int, n_outputs: int | None = None) -> Network:
        """Lay out and draw the parameters.

        Parameters
        ----------
        n_features : int
        n_outputs : int, optional
            Checked against the last layer.

        Returns
        -------
        Network
            self.
        """
        if self._plan is not None:
            raise ValueError(f"the network is built already, for {self._plan.n_features} features")
        n_features = check_positive_int("n_features", n_features)
        plan = Plan(self.layers, n_features, self.dtype, models.is_output_linear(self.layers, self.loss))
        if n_outputs is not None and check_positive_int("n_outputs", n_outputs) != plan.output.n:
            raise ValueError(f"n_outputs is {n_outputs}, but the last layer gives {plan.output.n}")
        self.loss.coefficients(plan.output.n)
        models.check_width(self.loss, plan.output.n)
        self._parameters = models.initial_parameters(plan, self.optimizer.rule(), self.seed)
        self._plan = plan
        return self

    @property
    def n_features_(self) -> int:
        """Inputs of the network."""
        return self._built().n_features

    @property
    def n_outputs_(self) -> int:
        """Outputs of the network."""
        return self._built().output.n

    def _built(self) -> Plan:
        if self._plan is None:
            raise ValueError("the network has no weights yet: call fit, partial_fit, build or set_weights first")
        return self._plan

    # ---- training -------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        epochs: int = 10,
        batch_size: int | None = 128,
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        validation_fraction: float = 0.0,
        early_stopping: Any = None,
        callbacks: Any = (),
        accumulate: int = 1,
        n_threads: int | None = None,
        progress: Any = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 60,
    ) -> dict[str, list[float]]:
        """Train; a trained network goes on from its weights and optimizer state.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Any real dtype and strides, memory-mapped, CSR or a data frame; never copied whole. Or a `fp.data.Dataset`,
            which brings its own y and need not fit in memory.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels of any type for losses of classes, else numbers. For bce on one output fractions within 0..1 are
            probabilities: of a `Dataset` that is read while training, the first 4,096 rows decide.
        epochs : int, default 10
        batch_size : int or None, default 128
            Samples of an update; None takes all. 1 trains sample by sample. The last, smaller batch is trained too.
        shuffle : bool, default True
            Another order of rows in each epoch, by the seed.
        sample_weight : array-like of shape (n_samples,), optional
            The loss of an update is sum(w loss) / sum(w).
        class_weight : "balanced" or dict of label to weight, optional
            Multiplies `sample_weight`.
        X_val, y_val : array-like, optional
            Evaluated after each epoch. A `Dataset` brings its own y_val.
        validation_fraction : float in [0, 1), default 0
            Part of X kept for validation instead, drawn by the seed; of each class alike for labels.
        early_stopping : int or fp.EarlyStopping, optional
            Stop after so many epochs without improvement and restore the best weights.
        callbacks : object or sequence of objects, optional
            With `on_epoch_end(net, epoch, logs)` or `on_step(net, step, logs)`; see `fastprop.callbacks`.
        accumulate : int, default 1
            Batches whose gradients make one update.
        n_threads : int, optional
            By default what is fastest, up to `fastprop.threads.limit`. The result does not depend on it.
        progress : "auto" or bool, default "auto"
            A progress bar; "auto" shows it in terminals and notebooks.
        checkpoint : path-like, optional
            Write the run there for `fp.resume` while it goes on, and when it ends; the one before is kept as
            "<checkpoint>.previous".
        checkpoint_every : float > 0, default 60
            Seconds.

        Returns
        -------
        dict of str to list of float
            One number an epoch: loss (penalties included), lr, time (seconds since the start), val_loss and metrics.
            Of a `Dataset` that is read while training also waited (seconds that training waited for it) and, where bad
            rows are skipped, skipped (rows).

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit; the weights are as before.
        DivergenceError
            If the loss becomes NaN or infinite; the weights and the optimizer are as after the last good epoch.
        KeyboardInterrupt
            With the weights of the last completed update.
        OSError
            If the checkpoint cannot be written, naming it; likewise.
        FileError
            A ValueError: if there is a file at `checkpoint` that is no checkpoint.
        """
        settings = Settings(
            epochs=check_positive_int("epochs", epochs),
            batch_size=check_positive_int("batch_size", batch_size, allow_none=True),
            shuffle=check_bool("shuffle", shuffle),
            seed=self.seed,
            accumulate=check_positive_int("accumulate", accumulate),
            n_threads=check_positive_int("n_threads", n_threads, allow_none=True),
            early_stopping=resolve_early_stopping(early_stopping),
            callbacks=check_callbacks(callbacks),
            checkpoint=None if checkpoint is None else keeping.check_path("checkpoint", checkpoint),
            checkpoint_every=check_number("checkpoint_every", checkpoint_every, 0.0, inclusive="neither"),
        )
        bar = progress_for(progress, settings.epochs)
        held_out = X_val, y_val, validation_fraction
        try:
            with undone_on_error(self):
                if isinstance(X, Dataset):
                    refuse_beside(X, y=y, sample_weight=sample_weight)
                    return fit_dataset(self, X, settings, class_weight, held_out, bar)
                return self._fit(X, y, settings, (sample_weight, class_weight), held_out, bar)
        finally:
            bar.close()

    def _fit(
        self, X: Any, y: Any, settings: Settings, weights: tuple[Any, Any], held_out: tuple[Any, Any, Any], bar: Any
    ) -> dict[str, list[float]]:
        """Fit to data in memory."""
        matrix, targets = self._check_data(X, y)
        self._adopt(matrix, targets)
        rows, rest = Rows(matrix, targets, combine_weights(*weights, targets)), None
        if isinstance(held_out[0], Dataset):
            validate: Any = dataset_validator(self, *held_out)
        else:
            rows, rest = split(self, rows, *held_out)
            validate = validator(self, rest)
        check_some_weight(rows.weights_used)
        check_monitor(settings.early_stopping, self.loss, validate is not None)
        return self._train(rows, settings, validate, bar)

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, batch_size: int | None = None
    ) -> float:
        """Train one pass over the rows in their order.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            An update whose weights are all zero is skipped.
        classes : array-like, optional
            All labels there will be; needed in the first call, unless labels are integers within 0..n_outputs-1.
        batch_size : int, optional
            Samples of an update; by default all rows make one.

        Returns
        -------
        float
            The mean loss before the updates, penalties included; NaN if all were skipped.

        Raises
        ------
        ValueError, TypeError
            As `fit`.
        DivergenceError
            If the loss is NaN or infinite; no update of this call is made. An update that ruins the weights itself
            shows in the loss of the next.
        """
        if sample_weight is None and classes is None and batch_size is None:
            loss: float | None = self._quick.update.run(self, X, y)
            if loss is not None:
                self._run = None
                return loss
        size = check_positive_int("batch_size", batch_size, allow_none=True)
        with undone_on_error(self):
            matrix, targets = self._check_data(X, y, classes, may_infer=False)
            self._adopt(matrix, targets)
            weights = combine_weights(sample_weight, None, targets)
            settings = Settings(1, size, shuffle=False, seed=self.seed, counts=False)
            self._run = None
            return self._train(Rows(matrix, targets, weights), settings, None, progress_for(False, 1))["loss"][0]

    def _train(
        self, rows: Rows, settings: Settings, validate: Any, bar: Any, stream: Any = None
    ) -> dict[str, list[float]]:
        """Run a trainer on checked data: on `rows`, or on those of a `StreamFit` that look like them."""
        plan, run = self._built(), run_of(self, settings, rows, stream)
        self._parameters = models.fitting(plan, self._parameters, self.optimizer.rule())
        n_rows = rows.n_used if stream is None else stream.window_rows
        batch = batch_rows(plan, n_rows, settings.batch_size)
        if plan.has_batch_norm and batch == 1:
            what = "batch_size must be at least 2" if n_rows > 1 else "there must be at least 2 samples"
            raise ValueError(f"{what} with BatchNorm: one sample has no variance")
        accumulates = settings.accumulate > 1 and batch < n_rows
        bar.compiling("kernels")
        n_workers = candidates(settings.n_threads)[-1]
        job = job_of(self, "train", rows.matrix, rows.targets)
        try:
            with (
                keeping.keeping(self, settings) as keeper,
                self._engines.lend(job, batch, n_workers, accumulates) as engine,
            ):
                if stream is not None:
                    with contextlib.closing(stream.segments(engine, run.first_epoch)) as segments:
                        return Trainer(self, engine, segments, settings, validate, bar, run, keeper).run()
                return self._trainer(engine, rows, settings, run, validate, bar, keeper).run()
        finally:
            if settings.counts:  # a fit is over; calls of partial_fit follow each other
                self._engines.leave()

    def _trainer(
        self, engine: Engine, rows: Rows, settings: Settings, run: Run, validate: Any, bar: Any, keeper: Any = None
    ) -> Trainer:
        """A trainer on checked rows in memory."""
        # The weight of a sample cancels from an update of its own, and then from the loss of the epoch.
        cancels = engine.is_online and self.divides_penalties
        engine.bind(rows.matrix, rows.targets.matrix, None if cancels else rows.weights)
        tables = lay_out(self, engine, rows, settings, run.first_epoch)
        return Trainer(self, engine, tables, settings, validate, bar, run, keeper)

    def gradients(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, list[Pair]]:
        """The training loss of all rows as one batch, and its gradient; nothing is changed.

        Dropout is off, batch norm takes the statistics of X; l1 and l2 count.

        Returns
        -------
        loss : float
        gradients : list of (dW, db)
            In the order and shapes of `get_weights`.
        """
        self._built()
        matrix, targets = self._check_data(X, y)
        weights = combine_weights(sample_weight, None, targets)
        check_some_weight(weights)
        return loss_and_gradients(self, matrix, targets, weights)

    # ---- using ----------------------------------------------------------------------------------------------------

    @overload
    def predict(self, X: Any, out: None = None) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, out: str | os.PathLike[str]) -> None: ...

    def predict(self, X: Any, out: str | os.PathLike[str] | None = None) -> np.ndarray | None:
        """Labels for losses of classes, else numbers in the shape of y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or fp.data.Dataset
        out : path-like, optional
            Of a `Dataset`: a file .npy, .csv or .parquet to write to, row after row, instead of returning an array.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), or None

        Warns
        -----
        RuntimeWarning
            If bad rows of a `Dataset` are left out (`on_bad_rows="skip"`): they have no prediction, and those of the
            rows behind them move up. It says how many there are and names the first.
        """
        if isinstance(X, Dataset):
            return streams.predict(self, X, out)
        if out is not None:
            raise ValueError("out is for datasets: predictions of rows in memory are returned")
        return decode(self._raw(X), self.loss, self.classes_, self._one_dimensional)

    @overload
    def predict_proba(self, X: Any, out: None = None) -> np.ndarray: ...

    @overload
    def predict_proba(self, X: Any, out: str | os.PathLike[str]) -> None: ...

    def predict_proba(self, X: Any, out: str | os.PathLike[str] | None = None) -> np.ndarray | None:
        """Probabilities of the classes, shape (n_samples, n_classes); of each yes for several outputs of bce.

        X and `out` as for `predict`.

        Raises
        ------
        ValueError
            If the loss gives none.
        """
        if isinstance(X, Dataset):
            return streams.predict(self, X, out, proba=True)
        if out is not None:
            raise ValueError("out is for datasets: predictions of rows in memory are returned")
        return probabilities(self._raw(X), self.loss)

    def _raw(self, X: Any) -> np.ndarray:
        """The outputs before the link, shape (n_samples, n_outputs), in the network's dtype."""
        prepared: np.ndarray | None = self._quick.outputs.run(self, X)
        if prepared is not None:
            return prepared
        self._built()
        return raw_outputs(self, self._check_x(X))

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """The loss (without penalties), and accuracy for labels or R2 for numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or fp.data.Dataset
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            A `Dataset` brings its own.

        Returns
        -------
        dict
            "loss", and "accuracy" (several outputs of bce: all of a row's answers right) or "r2" (mean over outputs).

        Warns
        -----
        RuntimeWarning
            If bad rows of a `Dataset` are left out (`on_bad_rows="skip"`), with their number.
        """
        self._built()
        if isinstance(X, Dataset):
            refuse_beside(X, y=y)
            return streams.evaluate(self, X)
        matrix, targets = self._check_data(X, y)
        return self._evaluate(matrix, targets)

    def _evaluate(self, matrix: AnyMatrix, targets: Targets) -> dict[str, float]:
        loss, raw = loss_and_outputs(self, matrix, targets)
        return {"loss": loss, **score(raw, targets, self.loss)}

    # ---- weights --------------------------------------------------------------------------------------------------

    def get_weights(self) -> list[Pair]:
        """Copies of (W, b) of each Dense layer and (gamma, beta) of each norm, in order, inside Residual too.

        W has shape (n_in, n_out); b is None without bias.
        """
        plan = self._built()
        return [plan.unpack(op, self._parameters.rows[0]) for op in plan.parametric]

    def set_weights(self, weights: Sequence[Pair]) -> None:
        """Set all parameters, in the form of `get_weights`; builds the network if need be.

        Raises
        ------
        ValueError
            If their number, a shape or a number does not fit; nothing is changed then.
        """
        pairs = models.check_pairs(weights)
        with undone_on_error(self):
            if self._plan is None:
                self.build(models.n_features_of(pairs))
            plan = self._built()
            models.check_shapes(plan, pairs)
        for op, (W, b) in zip(plan.parametric, pairs, strict=True):
            plan.pack(op, self._parameters.rows[0], W, b)
        self._run = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters by name ("layers.0.W", ...), and the running statistics of batch norms."""
        return models.named_arrays(self._built(), self._parameters)

    def summary(self) -> str:
        """A table of layers with their output shape, parameters and bytes."""
        return summary_table(self._built())

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write the network to a safetensors file that `fp.load` reads.

        Parameters
        ----------
        path : path-like
        extra : dict, optional
            Anything that goes through JSON, to be found in `extra` after loading; by default what is there now.
        """
        files.write(path, models.describe(self, self.extra if extra is None else extra), self.state_dict())

    def to_onnx(self, path: str | os.PathLike[str], preparation: bool = True) -> list[str]:
        """Write the network as an ONNX file of opset 15, for any runtime; needs the package onnx.

        Its outputs, (n, ...) for n rows: for losses of classes "label" as `predict` gives it (dates and objects as
        text), and "probabilities" as `predict_proba`, or "scores", the raw outputs, where the loss has no
        probabilities; else "prediction". Dropout is left out, batch norms have their running statistics. The metadata
        hold the loss, the labels and the names of features. In float64 the erf of gelu is of float32 nevertheless.

        Parameters
        ----------
        path : path-like
        preparation : bool, default True
            Whether a network that was trained on the columns of a table takes these columns: one input of shape (n, 1)
            for each, under its name, of float64 or text, with NaN or "" where it is missing; what comes out is in the
            units of the target. Otherwise, and for a network that was trained on arrays, there is one input "X" of
            shape (n, n_features), in the network's dtype, and numbers come out as the network learnt them.

        Returns
        -------
        list of str
            The names of the inputs.

        Raises
        ------
        ValueError
            If an activation is your own, a column is hashed, or a label is an integer above 2^63 - 1: ONNX cannot hold
            that. The message names it.
        OSError
            If the file cannot be written; the one that was there stays.
        ImportError
            If the package onnx is missing.
        """
        from .onnx_export import to_onnx

        self._built()
        return to_onnx(self, path, preparation)

    def to_torch(self) -> Any:
        """The network as PyTorch modules with copies of its weights, in training mode; needs the package torch.

        It gives the raw outputs, before the link of the loss, as PyTorch's losses take them: logits for bce and
        cross_entropy, the logarithm of the rate for poisson; a last sigmoid or softmax that belongs to the loss is not
        there. In `eval()` mode these are the ones of this network. Linear layers, norms and dropout are PyTorch's own;
        Residual is a module of `fastprop.torch_export`, as is an activation that PyTorch has not.

        Returns
        -------
        torch.nn.Sequential
            Of the network's dtype.

        Raises
        ------
        ValueError
            If an activation is your own; the message names it.
        ImportError
            If torch is missing.
        """
        from .torch_export import to_torch

        self._built()
        return to_torch(self)

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write the network and its run, at any moment of it, for `fp.resume`.

        A run is the last `fit`: ended, interrupted, or under way where a callback calls this. The file has everything
        that training changes, and the position in the epoch. It is written in one stroke, with a checksum; the one that
        was there before is kept as "<path>.previous".

        Raises
        ------
        OSError
            If it cannot be written, naming the path.
        FileError
            If there is a file that is no checkpoint.
        """
        keeping.checkpoint(self, path)

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _check_x(self, X: Any, name: str = "X") -> AnyMatrix:
        names = getattr(self, "feature_names_in_", None)
        matrix = check_matrix(X, name, None if self._plan is None else self._plan.n_features, names)
        models.check_sparse(self.layers, matrix, name)
        return matrix

    def _check_data(
        self, X: Any, y: Any, classes: Any = None, may_infer: bool = True, names: tuple[str, str] = ("X", "y")
    ) -> tuple[AnyMatrix, Targets]:
        """Describe X and y."""
        matrix = self._check_x(X, names[0])
        n_outputs = models.n_outputs(self.layers, matrix.n_columns)
        known = self.classes_ if self.classes_ is not None else classes
        if self.classes_ is not None and classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_.tolist()}, got {classes!r}")
        targets = prepare_targets(y, self.loss, matrix.n_rows, n_outputs, known, may_infer, names[1])
        if not np.can_cast(targets.matrix.array.dtype, self.dtype):  # labels are codes: integers
            check_finite_in(targets.matrix, self.dtype, names[1])
        return matrix, targets

    def _adopt(self, matrix: AnyMatrix, targets: Targets) -> None:
        """Build for the first data, and remember what they look like."""
        if self._plan is None:
            self.build(matrix.n_columns)
        if not self._has_seen_data:
            self.classes_, self._one_dimensional = targets.classes_, targets.one_dimensional
            if matrix.feature_names is not None:
                self.feature_names_in_ = np.array(matrix.feature_names, dtype=object)
            self._has_seen_data = True

    # ---- copies ---------------------------------------------------------------------------------------------------

    _UNPICKLED = ("_engines", "_quick", "_plan", "_parameters", "_run")

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k not in self._UNPICKLED}
        if self._plan is not None:
            state["_arrays"] = models.portable(self._plan, self._parameters)
            state["_pending"] = keeping.portable(self)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays, pending = state.pop("_arrays", None), state.pop("_pending", None)
        self.__dict__.update(state)
        self._engines, self._quick, self._plan, self._run = Engines(), Quick(), None, None
        if arrays is not None:
            self._plan, self._parameters = models.from_portable(self, arrays)
            self._run = keeping.from_portable(self, pending)

    def __repr__(self) -> str:
        built = f", n_features={self.n_features_}" if self.is_built else ""
        return f"Network({list(self.layers)!r}, loss={self.loss!r}, optimizer={self.optimizer!r}{built})"
