"""Early stopping and the check of callbacks."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fastprop.callbacks import EarlyStopping, check_callbacks, higher_is_better, resolve_early_stopping

pytestmark = pytest.mark.quick


def watch(stopping, values, state=None):
    watched = stopping.start(state)
    return watched, [watched.update(v, epoch) for epoch, v in enumerate(values)]


def test_losses_are_better_lower():
    watched, verdicts = watch(EarlyStopping(patience=2), [3.0, 2.0, 2.0, 1.0, 1.0, 1.5])
    assert verdicts == [(True, False), (True, False), (False, False), (True, False), (False, False), (False, True)]
    assert (watched.best, watched.best_epoch) == (1.0, 3)


def test_accuracies_are_better_higher():
    watched, verdicts = watch(EarlyStopping(patience=1, monitor="val_accuracy"), [0.5, 0.6, 0.6])
    assert verdicts == [(True, False), (True, False), (False, True)]
    assert watched.best == 0.6


def test_min_delta_must_be_beaten():
    _, verdicts = watch(EarlyStopping(patience=5, min_delta=0.5), [2.0, 1.5, 1.4])
    assert [improved for improved, _ in verdicts] == [True, False, True]


def test_nan_never_improves():
    watched, verdicts = watch(EarlyStopping(patience=2), [math.nan, 1.0, math.nan, math.inf])
    assert verdicts == [(False, False), (True, False), (False, False), (False, True)]
    assert watched.best == 1.0


def test_state_goes_on():
    stopping, values = EarlyStopping(patience=3), [2.0, 3.0, 3.0, 3.0]
    first, _ = watch(stopping, values[:2])
    later, verdicts = watch(stopping, values[2:], json.loads(json.dumps(first.state)))
    assert verdicts == [(False, False), (False, True)]
    assert later.best_epoch == 0


@pytest.mark.parametrize(
    ("monitor", "higher"), [("val_loss", False), ("loss", False), ("accuracy", True), ("val_r2", True)]
)
def test_direction(monitor, higher):
    assert higher_is_better(monitor) is higher


def test_resolve():
    stopping = EarlyStopping(3)
    assert resolve_early_stopping(None) is None
    assert resolve_early_stopping(stopping) is stopping
    assert resolve_early_stopping(np.int32(4)) == EarlyStopping(patience=4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(patience=0), ValueError, "patience must be a positive integer, got 0"),
        (lambda: EarlyStopping(min_delta=-1), ValueError, "min_delta"),
        (lambda: EarlyStopping(monitor="val_los"), ValueError, "did you mean 'val_loss'"),
        (lambda: resolve_early_stopping(True), TypeError, "early_stopping must be None, an int"),
        (lambda: resolve_early_stopping("loss"), TypeError, "early_stopping must be None, an int"),
        (lambda: resolve_early_stopping(0), ValueError, "early_stopping must be a positive integer"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


class Watcher:
    every = 5

    def on_step(self, net, step, logs):
        return None


def test_callbacks():
    one = Watcher()
    assert check_callbacks(one) == check_callbacks([one]) == (one,)
    assert check_callbacks(()) == check_callbacks(None) == ()


def test_wrong_callbacks_are_refused():
    with pytest.raises(TypeError, match="a callback must be an object with a method on_epoch_end"):
        check_callbacks([print])
    with pytest.raises(TypeError, match="a callback must be an object"):
        check_callbacks([Watcher])
    never = Watcher()
    never.every = 0
    with pytest.raises(ValueError, match="every of Watcher must be a positive integer"):
        check_callbacks([never])
