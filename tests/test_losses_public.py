"""Public losses: settings, output weights, registration, and the way through JSON and pickle."""

from __future__ import annotations

import copy
import inspect
import json
import pickle

import numpy as np
import pytest

from fastprop import losses
from fastprop.kernels.losses import LOSSES
from fastprop.losses import BCE, MAE, MSE, CrossEntropy, Hinge, Huber, Quantile, SquaredError, loss, resolve_loss

pytestmark = pytest.mark.quick
# Estimators and other tests register theirs in the same process.
BUILT_IN = {name: cls for name, cls in losses.PUBLIC.items() if LOSSES[name].__module__ == LOSSES["mse"].__module__}


@loss
class Tilted:
    """slope (p - y)^2."""

    slope: float = 2.0
    averages = False

    def value(self, y, p):
        return self.slope * (p - y) * (p - y)

    def gradient(self, y, p):
        return 2.0 * self.slope * (p - y)


def same(a, b):
    return type(a) is type(b) and a.describe() == b.describe()


@pytest.mark.parametrize("cls", [*BUILT_IN.values(), Tilted], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("output_weights", [None, [1, 0, 2.5]])
def test_round_trips(cls, output_weights):
    made = cls(output_weights=output_weights)
    assert same(losses.loss_from_description(json.loads(json.dumps(made.describe()))), made)
    assert same(pickle.loads(pickle.dumps(made)), made)
    assert same(copy.deepcopy(made), made)
    assert repr(made).startswith(cls.__name__ + "(")
    made.averages = not made.averages
    for again in (losses.loss_from_description(made.describe()), pickle.loads(pickle.dumps(made)), copy.copy(made)):
        assert same(again, made)
        np.testing.assert_array_equal(again.coefficients(3), made.coefficients(3))
    older = {key: value for key, value in made.describe().items() if key != "averages"}
    assert losses.loss_from_description(older).averages is cls.component.averages


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_every_built_in_by_name_class_instance_and_kernel(name):
    cls, kernel = BUILT_IN[name], LOSSES[name]
    for given in (name, cls, cls(), kernel, kernel()):
        resolved = resolve_loss(given)
        assert type(resolved) is cls
        assert type(resolved.kernel) is kernel
        assert resolved.name == name
        for attribute in ("averages", "task", "target_low", "across_outputs"):
            assert getattr(resolved, attribute) == getattr(kernel, attribute)


def test_all_kernels_have_a_public_class():
    assert {name for name in LOSSES if LOSSES[name].__module__ == LOSSES["mse"].__module__} == set(BUILT_IN)


def test_settings_by_position_and_name():
    assert Huber().delta == 1.0
    assert Huber(3).delta == Huber(delta=3).kernel.delta == 3.0
    assert str(inspect.signature(Quantile)) == "(q=0.5, *, output_weights=None)"
    assert CrossEntropy(label_smoothing=0.1).kernel.label_smoothing == 0.1
    with pytest.raises(TypeError, match="unexpected keyword argument 'detla'"):
        Huber(detla=1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Huber(delta=0), ValueError, "delta must be a finite number > 0, got 0"),
        (lambda: Huber("1"), TypeError, "delta must be a finite number > 0"),
        (lambda: Quantile(0), ValueError, r"q must be a finite number in \(0, 1\)"),
        (lambda: Quantile(1), ValueError, "q must be"),
        (lambda: CrossEntropy(label_smoothing=1), ValueError, r"label_smoothing must be a finite number in \[0, 1\)"),
        (lambda: Tilted(slope=np.inf), ValueError, "slope of Tilted must be a finite number"),
        (lambda: MSE(output_weights=[1, -1]), ValueError, "output_weights must be finite, >= 0"),
        (lambda: MSE(output_weights=[0, 0]), ValueError, "not all zero"),
        (lambda: MSE(output_weights=[np.nan]), ValueError, "finite"),
        (lambda: MSE(output_weights=[[1]]), ValueError, "1-D"),
        (lambda: MSE(output_weights=2), ValueError, "1-D"),
        (lambda: MSE(output_weights=["a"]), ValueError, "numbers"),
        (lambda: resolve_loss("huberr"), ValueError, "did you mean 'huber'"),
        (lambda: resolve_loss(3), TypeError, "loss must be a name"),
        (lambda: resolve_loss(losses.Loss), TypeError, "loss must be a name"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (MSE(), [0.25] * 4),
        (MSE(output_weights=[1, 3, 0, 4]), [0.125, 0.375, 0, 0.5]),
        (SquaredError(), [1.0] * 4),
        (CrossEntropy(output_weights=[1, 3, 0, 4]), [1.0, 3.0, 0.0, 4.0]),
        (BCE(), [0.25] * 4),
    ],
)
def test_coefficients(made, expected):
    np.testing.assert_array_equal(made.coefficients(4), expected)


def test_coefficients_need_a_weight_for_each_output():
    with pytest.raises(ValueError, match="must have 3 numbers"):
        MAE(output_weights=[1, 2]).coefficients(3)


def test_output_weights_are_copied():
    given = np.ones(2)
    made = CrossEntropy(output_weights=given)
    given[0] = 5.0
    made.coefficients(2)[1] = 7.0
    np.testing.assert_array_equal(made.output_weights, [1.0, 1.0])


def test_formulas_can_be_called():
    assert Huber(delta=1.0).value(0.0, 3.0) == 2.5
    assert Huber(delta=1.0).gradient(0.0, 3.0) == 1.0
    assert Tilted(slope=3.0).value(0.0, 2.0) == 12.0


def test_users_losses():
    assert same(resolve_loss("tilted"), Tilted())
    assert (Tilted().averages, Tilted().task, Tilted().is_margin) == (False, "regression", False)
    assert Hinge().is_margin
    assert not BCE().is_margin
    description = Tilted(slope=4).describe() | {"name": "gone"}
    with pytest.raises(ValueError, match=r"needs the loss 'gone'.*custom="):
        losses.loss_from_description(description)
    assert losses.loss_from_description(description, custom={"gone": Tilted}).slope == 4.0


def test_wrong_classes_are_refused():
    with pytest.raises(TypeError, match="gradient"):
        loss(type("Half", (), {"value": lambda self, y, p: p}))
    with pytest.raises(ValueError, match="built-in loss 'mse'"):
        loss(type("Mse", (), {"value": Tilted.value, "gradient": Tilted.gradient}))
    assert BUILT_IN["mse"] is MSE is losses.PUBLIC["mse"]
