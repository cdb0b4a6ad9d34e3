"""Public optimizers: settings, rules, registration, and the way through JSON and pickle."""

from __future__ import annotations

import copy
import inspect
import json
import pickle

import numpy as np
import pytest
from names import shown

from fastprop import optimizers, schedules
from fastprop.kernels.optimizers import RULES
from fastprop.optimizers import SGD, Adagrad, Adam, AdamW, RMSProp, optimizer, resolve_optimizer

pytestmark = pytest.mark.quick
BUILT_IN = dict(optimizers.PUBLIC)


@optimizer
class Lioness:
    """Sign of a running mean."""

    beta: float = 0.9
    floor: float = 0.0
    n_slots = 1

    def update(self, w, g, slots, lr, t):
        m = self.beta * slots[0] + (1.0 - self.beta) * g
        return w - lr * np.sign(m), (m,)


def triangle(update):
    return 0.1 / (1 + update)


def same(a, b):
    return type(a) is type(b) and a.describe() == b.describe() and a.rule() == b.rule()


EXAMPLES = [
    SGD(),
    SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    RMSProp(alpha=0.9),
    Adagrad(lr_decay=0.1),
    Adam(betas=(0.8, 0.9)),
    AdamW(schedules.Warmup(schedules.Cosine(0.1, 100), 10)),
    Lioness(lr=0.2, beta=0.5),
    Adam(lr=triangle),
]


@pytest.mark.parametrize("made", EXAMPLES, ids=shown)
def test_round_trips(made):
    description = json.loads(json.dumps(made.describe()))
    loaded = optimizers.optimizer_from_description(description, custom={"triangle": triangle})
    assert json.loads(json.dumps(loaded.describe())) == description
    assert loaded.rule() == made.rule()
    assert same(pickle.loads(pickle.dumps(made)), made)
    assert same(copy.deepcopy(made), made)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_by_name_class_and_instance(name):
    cls = BUILT_IN[name]
    for given in (name, cls, cls()):
        assert same(resolve_optimizer(given), cls())


@pytest.mark.parametrize(
    ("made", "rule"),
    [
        (SGD(weight_decay=0.1), RULES["sgd"](weight_decay=0.1)),
        (SGD(momentum=0.9), RULES["momentum"](momentum=0.9, weight_decay=0.0)),
        (SGD(momentum=0.9, nesterov=True), RULES["nesterov"](momentum=0.9, weight_decay=0.0)),
        (RMSProp(), RULES["rmsprop"](alpha=0.99, eps=1e-8, weight_decay=0.0)),
        (Adagrad(lr_decay=0.5), RULES["adagrad"](lr_decay=0.5, eps=1e-10, weight_decay=0.0)),
        (Adam(betas=[0.5, 0.6]), RULES["adam"](beta1=0.5, beta2=0.6, eps=1e-8, weight_decay=0.0)),
        (AdamW(), RULES["adamw"](beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01)),
    ],
    ids=shown,
)
def test_rules(made, rule):
    assert type(made.rule()) is type(rule)
    assert made.rule() == rule


@pytest.mark.parametrize("cls", [SGD, RMSProp, Adagrad, Adam, AdamW])
def test_defaults_are_pytorchs(cls):
    torch = pytest.importorskip("torch")
    theirs = inspect.signature(getattr(torch.optim, {"RMSProp": "RMSprop"}.get(cls.__name__, cls.__name__))).parameters
    for name, parameter in inspect.signature(cls).parameters.items():
        assert parameter.default == theirs[name].default, name


def test_settings_are_attributes():
    made = Adam(0.5, betas=(0.8, 0.9))
    assert (made.lr, made.betas, made.weight_decay) == (0.5, (0.8, 0.9), 0.0)
    with pytest.raises(AttributeError, match="Adam has no attribute 'momentum'"):
        made.momentum  # noqa: B018


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD(lr=-1), ValueError, "lr must be a finite number >= 0, got -1"),
        (lambda: SGD(lr="0.1"), TypeError, "lr must be"),
        (lambda: SGD(lr=True), TypeError, "lr must be"),
        (lambda: SGD(lr=schedules.Cosine), TypeError, "lr must be an instance"),
        (lambda: SGD(momentum=1.0), ValueError, "momentum"),
        (lambda: SGD(nesterov=True), ValueError, "nesterov=True needs momentum > 0"),
        (lambda: SGD(momentum=0.9, nesterov=1), TypeError, "nesterov must be True or False"),
        (lambda: Adam(betas=0.9), TypeError, "betas must be a pair"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, r"betas\[1\] must be a finite number in \[0, 1\)"),
        (lambda: Adam(eps=-1e-8), ValueError, "eps"),
        (lambda: AdamW(weight_decay=np.nan), ValueError, "weight_decay"),
        (lambda: RMSProp(alpha=2), ValueError, "alpha"),
        (lambda: Adagrad(lr_decay=-1), ValueError, "lr_decay"),
        (lambda: Lioness(beta=np.nan), ValueError, "beta of Lioness must be a finite number"),
        (lambda: Lioness(gamma=1), TypeError, "unexpected keyword argument 'gamma'"),
        (lambda: resolve_optimizer("adamm"), ValueError, "did you mean 'adam"),
        (lambda: resolve_optimizer(0.1), TypeError, "optimizer must be a name"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_users_optimizers():
    made = Lioness(lr=0.5, beta=0.25)
    assert (made.lr, made.beta, made.floor) == (0.5, 0.25, 0.0)
    assert made.rule()._asdict() == {"beta": 0.25, "floor": 0.0}
    assert made.rule().n_slots == 1
    assert type(resolve_optimizer("lioness")) is Lioness
    description = made.describe() | {"name": "gone"}
    with pytest.raises(ValueError, match=r"needs the optimizer 'gone'.*custom="):
        optimizers.optimizer_from_description(description)
    assert optimizers.optimizer_from_description(description, custom={"gone": Lioness}).beta == 0.25


def test_wrong_classes_are_refused():
    def update(self, w, g, slots, lr, t):
        return w, slots

    with pytest.raises(TypeError, match="n_slots"):
        optimizer(type("NoSlots", (), {"update": update}))
    with pytest.raises(ValueError, match="built-in optimizer 'adam'"):
        optimizer(type("Adam", (), {"update": update, "n_slots": 0}))
    with pytest.raises(TypeError, match="no field may be called lr"):
        optimizer(type("Rated", (), {"update": update, "n_slots": 0, "__annotations__": {"lr": "float"}}))
