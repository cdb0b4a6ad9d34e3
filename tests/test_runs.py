"""Runs: a fit that stops anywhere, is resumed and ends, gives the same bits as one that never stopped."""

import contextlib
import copy
import functools
import pickle
import random
import time

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop import keeping, models, trainer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5)).astype(np.float32)
Y = X[:, 0] * X[:, 1] > 0
X_VAL, Y_VAL = X[200:], Y[200:]
WEIGHTS = np.where(np.arange(300) // 32 % 3 == 1, 0.0, RNG.uniform(0.5, 2, 300))  # whole updates have none
QUIET = {"progress": False}


def network(*between, lr=0.01, **options):
    layers = [fp.Dense(16, activation="tanh"), *between, fp.Dense(1)]
    return fp.Network(layers, loss="bce", optimizer=fp.Adam(lr), **options)


class Horizon:
    """A callback that looks at what ran ahead: short epochs run in one go, and it stops in the middle of one."""

    def __init__(self, stop=None):
        self.stop, self.seen = stop, []

    @property
    def horizon(self):
        return 7

    def on_epoch_end(self, net, epoch, logs):
        self.seen.append((epoch, logs["loss"]))
        return epoch == self.stop


class Halving:
    """A callback that changes the rate within an epoch and at its end."""

    every = 7

    def on_step(self, net, step, logs):
        net.optimizer.lr = 0.01 / (1 + step)

    def on_epoch_end(self, net, epoch, logs):
        net.optimizer.lr = 0.02 / (1 + epoch)


# A function that makes the network, and how to fit it.
CASES = {
    "batch": (network, {}),
    "online": (network, {"batch_size": 1}),
    "online zero weights": (network, {"batch_size": 1, "sample_weight": WEIGHTS}),
    "full batch": (network, {"batch_size": None}),
    "in order": (network, {"shuffle": False}),
    "accumulate": (network, {"batch_size": 10, "accumulate": 3}),
    "dropout": (lambda: network(fp.Dropout(0.3)), {}),
    "batch norm": (lambda: network(fp.BatchNorm()), {"X_val": X_VAL, "y_val": Y_VAL}),
    "early stopping": (
        lambda: network(fp.BatchNorm(), lr=0.3),
        {"X_val": X_VAL, "y_val": Y_VAL, "early_stopping": 2, "epochs": 12},
    ),
    "best weights": (
        lambda: network(lr=fp.schedules.Step(0.01, 20, 100.0)),
        {"early_stopping": fp.EarlyStopping(50, monitor="loss")},
    ),
    "plateau": (lambda: network(lr=fp.schedules.Plateau(0.3, patience=0, factor=0.5)), {"epochs": 8}),
    "one cycle": (lambda: network(lr=fp.schedules.OneCycle(0.05, 50)), {}),
    "zero weights": (network, {"sample_weight": WEIGHTS}),
    "tiny epochs": (network, {"epochs": 60, "batch_size": 100}),
    "horizon": (network, {"epochs": 60, "batch_size": 100, "callbacks": lambda: Horizon()}),
    "horizon that stops": (network, {"epochs": 60, "batch_size": 100, "callbacks": lambda: Horizon(17)}),
    "rates set by a callback": (network, {"callbacks": lambda: Halving()}),
    "sparse": (network, {"X": scipy.sparse.csr_array(X * (X > 0.3))}),
    "float64": (lambda: network(dtype="float64"), {}),
    "validation fraction": (network, {"validation_fraction": 0.2}),
    "class weight": (network, {"class_weight": "balanced"}),
    "penalties": (lambda: network(l2=0.01), {}),
}


def fit(net, options, **more):
    options = {"X": X, "epochs": 4, "batch_size": 32} | options | QUIET | more
    if "callbacks" in options:
        options["callbacks"] = options["callbacks"]()
    return net.fit(y=Y, **options)


class Stop(Exception):
    """Ends a fit from a callback."""


def stop_after(monkeypatch, n_slices, chunks=1, error=KeyboardInterrupt):
    """Have the next fit run in slices of so many chunks, and end before the one after `n_slices`."""
    run, left = trainer.Trainer._run_slice, [n_slices]

    def run_slice(self, first, last):
        if not left[0]:
            raise error
        left[0] -= 1
        run(self, first, last)

    monkeypatch.setattr(trainer.Trainer, "_run_slice", run_slice)
    monkeypatch.setattr(trainer.Trainer, "_slice_chunks", lambda self: chunks)


def interrupted(net, options, n_slices, chunks=1):
    """A fit that ends after so many slices; returns whether it did."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, n_slices, chunks)
        try:
            fit(net, options)
        except KeyboardInterrupt:
            return True
    return False


def everything(net):
    """All that training changes, as bytes and numbers, the clock apart."""
    plan, parameters = net._built(), net._parameters
    arrays = {
        f"{row} {name}": array.tobytes()
        for row in (0, *range(2, len(parameters.rows)))
        for name, array in models.named_arrays(plan, parameters, row).items()
    }
    history = {name: np.array(values).tobytes() for name, values in net.history_.items() if name != "time"}
    schedule = getattr(net.optimizer.lr, "state", None)
    return {**arrays, **history, "count": parameters.count, "epochs": net.epochs_done, "schedule": schedule}


@functools.cache
def reference(name):
    """A fit that was never stopped."""
    make, options = CASES[name]
    net = make()
    fit(net, options)
    return everything(net), len(net.history_["loss"])


def resumed(net, path, options, **more):
    net.checkpoint(path)
    net = fp.resume(path)
    fit(net, options, **more)
    return net


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n_slices", [0, 1, 8, 18, 31, 1000])
def test_a_resumed_run_gives_the_same_bits(name, n_slices, tmp_path):
    make, options = CASES[name]
    expected, n_epochs = reference(name)
    net = make()
    was_stopped = interrupted(net, options, n_slices)
    assert was_stopped or n_slices > 3
    net = resumed(net, tmp_path / "run.ckpt", options)
    assert everything(net) == expected
    assert len(net.history_["loss"]) == n_epochs
    assert np.all(np.diff(net.history_["time"]) >= 0)


KINDS = ["batch", "dropout", "early stopping", "zero weights", "plateau", "accumulate"]


@given(st.sampled_from(KINDS), st.sampled_from([2, 7, 50, 298, None]), st.lists(st.integers(0, 400), max_size=4))
@settings(max_examples=25)
def test_stopped_again_and_again(tmp_path_factory, kind, batch_size, stops):
    make, options = CASES[kind]
    options = options | {"batch_size": batch_size, "epochs": 3}
    net, stopped = make(), make()
    fit(net, options)
    path = tmp_path_factory.mktemp("runs") / "run.ckpt"
    for n_slices in stops:
        if not interrupted(stopped, options, n_slices, chunks=2):
            break
        stopped.checkpoint(path)
        stopped = fp.resume(path)
    else:
        fit(stopped, options)
    assert everything(stopped) == everything(net)


@pytest.mark.parametrize("updates", [3, 7])
@pytest.mark.parametrize("name", ["batch", "online", "zero weights"])
def test_epochs_of_many_segments(name, updates, tmp_path, monkeypatch):
    monkeypatch.setattr("fastprop.segments.SEGMENT_UPDATES", updates)
    make, options = CASES[name]
    net = make()
    for n_slices in (2, 5, 9, 14):
        assert interrupted(net, options, n_slices)
        net.checkpoint(tmp_path / "run.ckpt")
        net = fp.resume(tmp_path / "run.ckpt")
    fit(net, options)
    expected, _ = reference(name)
    if name == "online":  # a segment ends a chunk, and losses are added chunk by chunk
        expected = {k: v for k, v in expected.items() if k != "loss"}
    found = everything(net)
    assert {k: found[k] for k in expected} == expected


def test_updates_of_several_chunks(tmp_path):
    """A position is never within an update, and its losses are not counted twice."""
    many, y = np.tile(X, (40, 1)), np.tile(Y, 40)  # three chunks
    options = {"X": many, "batch_size": None, "epochs": 3, **QUIET}
    net, stopped = network(), network()
    net.fit(y=y, **options)
    for n_slices in (3, 1, 4):
        with pytest.MonkeyPatch.context() as monkeypatch:
            stop_after(monkeypatch, n_slices)
            with pytest.raises(KeyboardInterrupt):
                stopped.fit(y=y, **options)
        stopped.checkpoint(tmp_path / "run.ckpt")
        stopped = fp.resume(tmp_path / "run.ckpt")
    stopped.fit(y=y, **options)
    assert everything(stopped) == everything(net)


# ---- callbacks ----------------------------------------------------------------------------------------------------


class Checkpoints:
    """Writes a checkpoint after some update or epoch; `error` ends the fit then."""

    def __init__(self, path, step=None, epoch=None, error=None):
        self.path, self.step, self.epoch, self.error = path, step, epoch, error

    def on_step(self, net, step, logs):
        self.write(net, step == self.step)

    def on_epoch_end(self, net, epoch, logs):
        self.write(net, epoch == self.epoch)

    def write(self, net, is_now):
        if is_now:
            net.checkpoint(self.path)
            if self.error:
                raise self.error


@pytest.mark.parametrize("name", ["batch", "batch norm", "plateau", "best weights", "accumulate", "online"])
@pytest.mark.parametrize("when", [{"step": 0}, {"step": 11}, {"step": 9}, {"epoch": 0}, {"epoch": 2}, {"epoch": 3}])
@pytest.mark.parametrize("error", [None, Stop])
def test_checkpoints_of_callbacks(name, when, error, tmp_path):
    make, options = CASES[name]
    path = tmp_path / "run.ckpt"
    net, expected = make(), make()
    with contextlib.suppress(Stop):
        fit(net, options, callbacks=lambda: Checkpoints(path, **when, error=error))
    idle = functools.partial(Checkpoints, path)
    fit(expected, options, callbacks=idle)
    net = fp.resume(path)
    fit(net, options, callbacks=idle)
    assert everything(net) == everything(expected)


def test_a_callback_is_asked_about_every_epoch_once_it_counts(tmp_path):
    """What ran ahead of it when the run was stopped runs again."""
    callback = Horizon()
    options = {"epochs": 60, "batch_size": 100, "callbacks": lambda: callback}
    net = network()
    for n_slices in (30, 44):
        assert interrupted(net, options, n_slices)
        net.checkpoint(tmp_path / "run.ckpt")
        net = fp.resume(tmp_path / "run.ckpt")
    fit(net, options)
    assert callback.seen == list(enumerate(net.history_["loss"]))


def test_a_run_that_a_callback_stopped_is_over(tmp_path):
    net = network()
    history = fit(net, {}, callbacks=lambda: Horizon(1))
    again = resumed(net, tmp_path / "run.ckpt", {})
    assert again.history_ == history
    assert everything(again) == everything(net)


@pytest.mark.parametrize("place", ["fastprop.callbacks.Watch.update", "fastprop.trainer.Trainer._validated"])
@pytest.mark.parametrize("after", [False, True])
def test_an_epoch_that_was_being_closed_is_closed_again(place, after, tmp_path):
    """Schedules and early stopping hear of it once."""
    options = {"X_val": X_VAL, "y_val": Y_VAL, "early_stopping": 6, "epochs": 12}
    expected, net = (network(lr=fp.schedules.Plateau(0.3, patience=0, factor=0.5)) for _ in range(2))
    fit(expected, options)
    for _ in range(3):
        calls = []
        with pytest.MonkeyPatch.context() as monkeypatch:
            owner, name = getattr(trainer, place.split(".")[2]), place.split(".")[3]
            method = getattr(owner, name)

            def closing(*args, method=method, calls=calls):
                calls.append(1)
                if len(calls) == 2 and not after:
                    raise KeyboardInterrupt
                result = method(*args)
                if len(calls) == 2:
                    raise KeyboardInterrupt
                return result

            monkeypatch.setattr(owner, name, closing)
            with pytest.raises(KeyboardInterrupt):
                fit(net, options)
        net.checkpoint(tmp_path / "run.ckpt")
        net = fp.resume(tmp_path / "run.ckpt")
    fit(net, options)
    assert everything(net) == everything(expected)


# ---- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["batch", "best weights", "plateau"])
def test_a_finished_run_trains_nothing_more_and_may_grow(name, tmp_path):
    make, options = CASES[name]
    net, longer = make(), make()
    fit(net, options | {"epochs": 5})
    again = resumed(net, tmp_path / "run.ckpt", options, epochs=5)
    assert everything(again) == everything(net)
    assert again.history_ == net.history_
    fit(longer, options | {"epochs": 9})
    grown = resumed(again, tmp_path / "run.ckpt", options, epochs=9)
    assert everything(grown) == everything(longer)


def test_best_weights_are_those_that_a_resumed_network_predicts_with(tmp_path):
    make, options = CASES["best weights"]
    net = make()
    fit(net, options)
    assert not np.array_equal(net._run.state[0][0], net._parameters.rows[0])  # the last are others
    net.checkpoint(tmp_path / "run.ckpt")
    assert np.array_equal(fp.resume(tmp_path / "run.ckpt").predict_proba(X), net.predict_proba(X))


def test_the_progress_bar_begins_with_the_epochs_that_are_done(tmp_path, monkeypatch):
    net = network()
    assert interrupted(net, {}, 25)
    net.checkpoint(tmp_path / "run.ckpt")
    told = []
    monkeypatch.setattr("fastprop.progress.Silent.epoch", lambda self, epoch, logs: told.append((epoch, logs["loss"])))
    net = fp.resume(tmp_path / "run.ckpt")
    history = fit(net, {})
    assert told == [(2, history["loss"][1]), (4, history["loss"][3])]  # two epochs run in one go


REFUSED = {
    "batch_size": {"batch_size": 33},
    "shuffle": {"shuffle": False},
    "accumulate": {"accumulate": 2},
    "n_samples": {"X": X[:-1], "y": Y[:-1]},
    "validation_fraction": {"validation_fraction": 0.1},
    "epochs": {"epochs": 1},
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_arguments_are_refused_by_name_and_change_nothing(name, tmp_path):
    net = network()
    assert interrupted(net, {}, 25)
    net.checkpoint(tmp_path / "run.ckpt")
    net = fp.resume(tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match=name):
        net.fit(**{"X": X, "y": Y, "epochs": 4, "batch_size": 32, **QUIET, **REFUSED[name]})
    fit(net, {})
    assert everything(net) == reference("batch")[0]


def test_another_seed_is_refused(tmp_path):
    net = network()
    interrupted(net, {}, 25)
    net.checkpoint(tmp_path / "run.ckpt")
    net = fp.resume(tmp_path / "run.ckpt")
    net.seed = 1
    with pytest.raises(ValueError, match="seed must be 0 as in the checkpoint, got 1"):
        fit(net, {})


@pytest.mark.parametrize(
    "drop", [lambda net: net.partial_fit(X[:3], Y[:3]), lambda net: net.set_weights(net.get_weights())]
)
def test_a_run_is_given_up_for_other_weights(drop, tmp_path):
    net = network()
    interrupted(net, {}, 25)
    net.checkpoint(tmp_path / "run.ckpt")
    net = fp.resume(tmp_path / "run.ckpt")
    drop(net)
    drop(net)  # by the quick way now
    assert len(fit(net, {}, batch_size=50)["loss"]) == 4  # any arguments: a new fit


def test_only_a_resumed_network_goes_on(tmp_path):
    net, other = network(), network()
    for n in (net, other):
        interrupted(n, {}, 25)
    copy = pickle.loads(pickle.dumps(net))
    net.checkpoint(tmp_path / "run.ckpt")
    for n in (net, copy):
        assert len(fit(n, {}, epochs=2)["loss"]) == 2
    fit(other, {}, epochs=2)
    assert everything(net) == everything(other) == everything(copy)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("name", ["batch", "best weights", "batch norm", "plateau", "rates set by a callback"])
@pytest.mark.parametrize("n_slices", [25, 1000])
def test_copies_of_a_resumed_network_go_on(copied, name, n_slices, tmp_path):
    make, options = CASES[name]
    net, longer = make(), options | {"epochs": 9}
    interrupted(net, options, n_slices)
    net.checkpoint(tmp_path / "run.ckpt")
    net = fp.resume(tmp_path / "run.ckpt")
    other = copied(net)
    assert everything(other) == everything(net)
    assert np.array_equal(other.predict(X), net.predict(X))
    fit(net, longer)
    fit(other, longer)
    assert everything(other) == everything(net)
    assert len(other.history_["loss"]) == 9


def test_without_a_run(tmp_path):
    net = network()
    with pytest.raises(ValueError, match="no weights yet"):
        net.checkpoint(tmp_path / "run.ckpt")
    net.partial_fit(X, Y)
    net.checkpoint(tmp_path / "run.ckpt")
    again = fp.resume(tmp_path / "run.ckpt")
    for n in (net, again):
        n.partial_fit(X, Y)
        n.fit(X, Y, epochs=2, **QUIET)
    assert everything(net) == everything(again)


def test_a_second_fit_is_resumed_as_the_second(tmp_path):
    """Its epochs have other orders of rows than the first's."""
    net, stopped = network(), network()
    for n in (net, stopped):
        fit(n, {}, epochs=2)
    fit(net, {})
    interrupted(stopped, {}, 15)
    assert everything(resumed(stopped, tmp_path / "run.ckpt", {})) == everything(net)


def test_divergence_leaves_a_run_before_the_bad_epoch(tmp_path):
    net = fp.Network([fp.Dense(1)], "mse", fp.SGD(3.0))
    with pytest.raises(fp.DivergenceError):
        net.fit(X, Y, epochs=500, batch_size=32, **QUIET)
    weights = net.get_weights()[0][0]
    net.checkpoint(tmp_path / "run.ckpt")
    again = fp.resume(tmp_path / "run.ckpt")
    assert np.array_equal(again.get_weights()[0][0], weights)
    assert len(again.history_["loss"]) == len(net.history_["loss"])
    with pytest.raises(fp.DivergenceError):
        again.fit(X, Y, epochs=500, batch_size=32, **QUIET)
    assert np.array_equal(again.get_weights()[0][0], weights)


@pytest.mark.parametrize(
    ("n_slices", "restored"),
    [
        (14, "after step 13, from which the run went on in epoch 1"),
        (20, "after epoch 1, the last good one"),
        (3, "after step 2, from which the run went on in epoch 0"),
    ],
)
def test_divergence_in_the_epoch_that_a_run_went_on_in(n_slices, restored, tmp_path):
    """It goes back to the checkpoint, and says so."""
    net = network()
    interrupted(net, {}, n_slices)
    net.checkpoint(tmp_path / "run.ckpt")
    weights = net.get_weights()[0][0]
    net = fp.resume(tmp_path / "run.ckpt")
    net.optimizer.lr = 1e38
    with pytest.raises(fp.DivergenceError, match=f"the weights {restored}.* are restored"):
        fit(net, {})
    assert np.array_equal(net.get_weights()[0][0], weights)


class Renewing:
    """A callback that sets a new schedule within an epoch."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_step(self, net, step, logs):
        if step == self.step:
            net.optimizer.lr = fp.schedules.Plateau(0.1, patience=0, factor=0.5)
            net.checkpoint(self.path)


def test_a_schedule_that_was_set_within_an_epoch_begins_anew(tmp_path):
    """It has not seen the losses that the former remembers."""
    path, plateau = tmp_path / "run.ckpt", fp.schedules.Plateau(0.3, patience=0, factor=0.5)
    net = network(lr=plateau)
    fit(net, {}, epochs=8, callbacks=lambda: Renewing(path, 65))
    assert plateau.state != fp.schedules.Plateau(0.3).state
    again = fp.resume(path)
    fit(again, {}, epochs=8, callbacks=lambda: Renewing(path, -1))
    assert everything(again) == everything(net)


def test_own_classes_are_found_by_name(tmp_path):
    def rate(update):
        return 0.01 / (1 + update)

    net, expected = network(lr=rate), network(lr=rate)
    fit(expected, {})
    interrupted(net, {}, 17)
    net.checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="rate"):
        fp.resume(tmp_path / "run.ckpt")
    net = fp.resume(tmp_path / "run.ckpt", custom={"rate": rate})
    fit(net, {})
    assert everything(net) == everything(expected)


# ---- while training -----------------------------------------------------------------------------------------------


def test_checkpoints_while_training_change_no_bits(tmp_path):
    path = tmp_path / "run.ckpt"
    plain, kept = network(), network()
    fit(plain, {}, epochs=300)
    fit(kept, {}, epochs=300, checkpoint=path, checkpoint_every=0.002)
    assert everything(kept) == everything(plain)
    assert (tmp_path / "run.ckpt.previous").exists()
    assert everything(fp.resume(path)) == everything(plain)


@pytest.mark.parametrize("name", ["batch", "online", "full batch", "early stopping", "horizon", "accumulate"])
def test_what_is_written_while_training_can_be_resumed(name, tmp_path, monkeypatch):
    """Every checkpoint of a fit, each a run of its own."""
    make, options = CASES[name]
    expected, _ = reference(name)
    written = []
    write = fp.keeping.checkpoints.write

    def keep_all(path, *args):
        written.append(path.with_name(f"{len(written)}.ckpt"))
        write(written[-1], *args)
        time.sleep(0.001)

    monkeypatch.setattr(trainer, "SLICE_SECONDS", 1e-5)
    with monkeypatch.context() as context:
        context.setattr(fp.keeping.checkpoints, "write", keep_all)
        fit(make(), options, checkpoint=tmp_path / "run.ckpt", checkpoint_every=1e-6)
    assert len(written) >= 2
    for path in random.Random(0).sample(written, min(8, len(written))):
        net = fp.resume(path)
        assert net.epochs_done == len(net.history_["loss"])
        fit(net, options)
        assert everything(net) == expected


@pytest.mark.parametrize("name", ["batch", "accumulate"])
def test_a_checkpoint_that_is_due_ends_the_slice(name, tmp_path, monkeypatch):
    """At the end of the next update, however long slices are."""
    seen = []
    monkeypatch.setattr(keeping.Keeper, "is_due", True)
    monkeypatch.setattr(keeping.Keeper, "look", lambda self, trainer: seen.append(trainer.engine.parameters.count))
    monkeypatch.setattr(trainer.Trainer, "_slice_chunks", lambda self: 10**6)
    make, options = CASES[name]
    net = make()
    fit(net, options, checkpoint=tmp_path / "run.ckpt")
    assert seen == list(range(1, net._parameters.count + 1))


@pytest.mark.parametrize("every", [0, -1, float("nan"), "often", None])
def test_bad_intervals_are_refused(every, tmp_path):
    with pytest.raises((ValueError, TypeError), match="checkpoint_every"):
        fit(network(), {}, checkpoint=tmp_path / "run.ckpt", checkpoint_every=every)


@pytest.mark.parametrize("every", [0, -3, "often"])
def test_bad_intervals_are_refused_without_a_checkpoint_too(every):
    with pytest.raises((ValueError, TypeError), match="checkpoint_every"):
        fit(network(), {}, checkpoint_every=every)


@pytest.mark.parametrize("path", [3, True, b"run.ckpt", ""])
def test_what_is_no_path_is_refused_by_name(path):
    net = network()
    with pytest.raises((TypeError, ValueError), match=r"checkpoint must be a path.*got " + repr(path)):
        fit(net, {}, checkpoint=path)
    assert not net.is_built
    with pytest.raises((TypeError, ValueError), match=r"path must be a path.*got " + repr(path)):
        net.build(5).checkpoint(path)


def test_a_path_is_where_the_fit_began(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)

    class Leave:
        def on_step(self, net, step, logs):
            monkeypatch.chdir(tmp_path / "other")

    fit(network(), {}, checkpoint="run.ckpt", checkpoint_every=1e-4, callbacks=lambda: Leave())
    assert fp.resume(tmp_path / "run.ckpt").epochs_done == 4
    assert not list((tmp_path / "other").iterdir())


# ---- streams ------------------------------------------------------------------------------------------------------

LONG = RNG.normal(size=(3_001, 6)).astype(np.float32)
TARGETS = (LONG[:, 0] * LONG[:, 1]).astype(np.float32)
HOLES = np.where(np.arange(LONG.size).reshape(LONG.shape) % 1009 == 1008, np.nan, LONG)  # some rows are left out


def stream(folder, X=LONG, **options):
    """A dataset in windows of some 300 rows."""
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", TARGETS)
    made = fp.data.from_npy(folder / "X.npy", folder / "y.npy", memory_limit="64kB", **options)
    assert made.load() is None
    return made


STREAMS = {
    "batch": ({}, {}),
    "online": ({}, {"batch_size": 1}),
    "in order": ({}, {"shuffle": False}),
    "accumulate": ({}, {"batch_size": 10, "accumulate": 3}),
    "early stopping": ({}, {"early_stopping": fp.EarlyStopping(1, 1.0, "loss")}),
    "rows are skipped": ({"X": HOLES, "on_bad_rows": "skip"}, {}),
}


def fit_stream(net, folder, name):
    data, options = STREAMS[name]
    options = {"epochs": 3, "batch_size": 32, **QUIET} | options
    history = net.fit(stream(folder, **data), **options)
    history.pop("waited", None)  # seconds
    return everything(net)


def regressor():
    return fp.Network([fp.Dense(9, activation="tanh"), fp.Dense(1)], "mse", fp.Adam(0.01), seed=3)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("n_slices", [0, 4, 9, 10, 150])
def test_a_resumed_stream_gives_the_same_bits(name, n_slices, tmp_path):
    expected = fit_stream(regressor(), tmp_path, name)
    net = regressor()
    for _ in range(2):
        with pytest.MonkeyPatch.context() as monkeypatch:
            stop_after(monkeypatch, n_slices)
            with contextlib.suppress(KeyboardInterrupt):
                fit_stream(net, tmp_path, name)
        net.checkpoint(tmp_path / "run.ckpt")
        net = fp.resume(tmp_path / "run.ckpt")
    assert fit_stream(net, tmp_path, name) == expected


def test_a_stream_that_fails_goes_on_where_it_did(tmp_path):
    """After an error of reading the weights are those of the last update, and so is the position."""
    fails = [True]

    def batches():
        for start in range(0, len(LONG), 100):
            if fails[0] and start == 2_000 and net._parameters.count > 100:
                raise fp.FileError("row 2000 is damaged")
            yield LONG[start : start + 100], TARGETS[start : start + 100]

    def train(net):
        made = fp.data.from_batches(batches, n_samples=len(LONG), memory_limit="64kB")
        net.fit(made, epochs=4, batch_size=32, **QUIET).pop("waited")
        return everything(net)

    net = regressor()
    with pytest.raises(fp.FileError, match="row 2000"):
        train(net)
    assert len(net.history_["loss"]) < 4
    net.checkpoint(tmp_path / "run.ckpt")
    fails[0] = False
    assert train(fp.resume(tmp_path / "run.ckpt")) == train(regressor())


def test_another_window_of_a_stream_is_refused(tmp_path):
    net, data = regressor(), stream(tmp_path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 5)
        with pytest.raises(KeyboardInterrupt):
            net.fit(data, **QUIET)
    net.checkpoint(tmp_path / "run.ckpt")
    net = fp.resume(tmp_path / "run.ckpt")
    data = fp.data.from_npy(tmp_path / "X.npy", tmp_path / "y.npy", memory_limit="100kB")
    with pytest.raises(ValueError, match="memory_limit"):
        net.fit(data, **QUIET)
