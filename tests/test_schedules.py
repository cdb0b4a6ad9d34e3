"""Schedules against PyTorch's, where it has them, and against their formulas."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
from names import shown

from fastprop import schedules
from fastprop.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    OneCycle,
    Plateau,
    Step,
    Warmup,
    schedule_from_description,
    tabulate,
)

pytestmark = pytest.mark.quick
EVERY = [
    Constant(0.1),
    Step(0.1, 3, 0.5),
    Exponential(0.1, 0.9),
    Cosine(0.1, 8, 0.01),
    OneCycle(0.1, 9),
    Warmup(Cosine(0.1, 8), 3),
    Warmup(0.1, 3),
    InverseScaling(0.1, 0.5),
    Plateau(0.1, 2, 0.5),
]


def torch_rates(make, n, lr=0.1):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("ours", "theirs", "n"),
    [
        (Step(0.1, 3, 0.5), lambda s, o: s.StepLR(o, 3, 0.5), 20),
        (Exponential(0.1, 0.9), lambda s, o: s.ExponentialLR(o, 0.9), 20),
        (Cosine(0.1, 17, 0.01), lambda s, o: s.CosineAnnealingLR(o, 17, 0.01), 18),
        (OneCycle(0.1, 31), lambda s, o: s.OneCycleLR(o, 0.1, 31), 31),
        (OneCycle(0.3, 100), lambda s, o: s.OneCycleLR(o, 0.3, 100), 100),
        (OneCycle(0.3, 4), lambda s, o: s.OneCycleLR(o, 0.3, 4), 4),
    ],
    ids=shown,
)
@pytest.mark.filterwarnings("ignore")
def test_against_pytorch(ours, theirs, n):
    np.testing.assert_allclose(tabulate(ours, 0, n), torch_rates(theirs, n), rtol=1e-9, atol=1e-15)


def test_one_cycle_recorded():
    """PyTorch 2.13, OneCycleLR(max_lr=0.1, total_steps=10)."""
    recorded = [0.004, 0.052, 0.1]
    np.testing.assert_allclose(tabulate(OneCycle(0.1, 10), 0, 3), recorded, rtol=1e-12)
    assert OneCycle(0.1, 10)(9) == pytest.approx(4e-7, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_short_one_cycle_is_finite_and_ends_low(steps):
    rates = tabulate(OneCycle(0.1, steps), 0, 2 * steps + 2)
    np.testing.assert_allclose(rates[steps - 1 :], 0.1 / 25e4, rtol=1e-9)


def test_plateau_against_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    monitored = np.concatenate([np.linspace(1, 0.5, 10), 0.5 + 1e-6 * rng.standard_normal(40), [0.1, np.nan, 0.2]])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3, factor=0.1)
    ours = Plateau(0.1, 3, 0.1)
    for epoch, loss in enumerate(monitored):
        theirs.step(float(loss))
        ours.after_epoch(float(loss))
        assert ours(epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert ours(0) < 1e-6


def test_formulas():
    t = np.arange(6)
    np.testing.assert_allclose(tabulate(InverseScaling(0.5, 0.25), 0, 6), 0.5 / (t + 1) ** 0.25)
    np.testing.assert_allclose(tabulate(Warmup(0.3, 3), 0, 6), [0.1, 0.2, 0.3, 0.3, 0.3, 0.3])
    expected = [0.05, 0.1, *tabulate(Cosine(0.1, 4), 0, 4)]
    np.testing.assert_allclose(tabulate(Warmup(Cosine(0.1, 4), 2), 0, 6), expected)
    np.testing.assert_allclose(tabulate(Cosine(0.1, 4, 0.02), 4, 3), 0.02)


def test_warmup_of_a_callable_and_of_plateau():
    np.testing.assert_allclose(tabulate(Warmup(lambda t: 1 / (t + 1), 2), 0, 4), [0.5, 1, 1, 0.5])
    warm = Warmup(Plateau(0.1, 0, 0.5), 2)
    warm.after_epoch(1.0)
    warm.after_epoch(1.0)
    assert warm(5) == 0.05
    assert warm.state["lr"] == 0.05


@pytest.mark.parametrize("schedule", EVERY, ids=shown)
def test_one_by_one_and_tabulated_agree(schedule):
    rates = tabulate(schedule, 2, 20)
    assert rates.dtype == np.float64
    assert [schedule(u) for u in range(2, 22)] == rates.tolist()
    assert isinstance(schedule(3), float)
    np.testing.assert_array_equal(schedule(np.arange(2, 22)), rates)


@pytest.mark.parametrize("schedule", EVERY, ids=shown)
def test_round_trips(schedule):
    schedule.after_epoch(1.0)
    description = json.loads(json.dumps(schedule.describe()))
    for copied in (
        schedule_from_description(description),
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
    ):
        assert copied.describe() == description
        assert copied == schedule


def test_state_can_be_put_back():
    plateau = Plateau(0.1, 0, 0.5)
    plateau.after_epoch(1.0)
    plateau.after_epoch(2.0)
    state = json.loads(json.dumps(plateau.state))
    other = Plateau(0.1, 0, 0.5)
    other.load_state(state)
    assert other(0) == 0.05
    other.after_epoch(0.5)
    assert plateau.state == state
    other.load_state({})
    assert other.state == Plateau(0.1, 0, 0.5).state


def test_numbers_and_callables():
    np.testing.assert_array_equal(tabulate(0.1, 5, 3), [0.1] * 3)
    np.testing.assert_array_equal(tabulate(lambda update: update * 2, 5, 3), [10, 12, 14])
    assert tabulate(0.1, 5, 0).shape == (0,)


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (lambda t: 1.0 - t, ValueError, "the learning rate of update 2 must be finite and >= 0, got -1"),
        (lambda t: math.nan, ValueError, "update 0 must be finite"),
        (lambda t: None, TypeError, "update 0 must be a number, got None"),
        (Exponential(1.0, 1e200), ValueError, "update 2 must be finite and >= 0, got inf"),
    ],
)
def test_bad_rates_are_named(schedule, error, message):
    with pytest.raises(error, match=message):
        tabulate(schedule, 0, 4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Constant(-1), ValueError, "lr must be a finite number >= 0"),
        (lambda: Step(0.1, 0, 0.5), ValueError, "every must be a positive integer"),
        (lambda: Step(0.1, 3, 0), ValueError, "factor must be a finite number > 0"),
        (lambda: Exponential(0.1, 0), ValueError, "rate"),
        (lambda: Cosine(0.1, 1.5), TypeError, "steps must be a positive integer"),
        (lambda: Cosine(0.1, 2, np.nan), ValueError, "lr_min"),
        (lambda: OneCycle(0.1, 0), ValueError, "steps"),
        (lambda: Warmup(Cosine, 3), TypeError, "schedule must be an instance"),
        (lambda: Warmup("a", 3), TypeError, "schedule must be a finite number"),
        (lambda: InverseScaling(0.1, -1), ValueError, "power"),
        (lambda: Plateau(0.1, -1, 0.5), ValueError, "patience"),
        (lambda: Plateau(0.1, 1, 1.0), ValueError, r"factor must be a finite number in \(0, 1\)"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


class Halving:
    def __call__(self, update):
        return 0.5**update


@pytest.mark.parametrize(("rate", "name"), [(Halving(), "Halving"), (torch_rates, "torch_rates")])
def test_callables_in_files(rate, name):
    description = json.loads(json.dumps(schedules.describe_rate(Warmup(rate, 2))))
    with pytest.raises(ValueError, match=rf"schedule '.*{name}'.*custom="):
        schedule_from_description(description)
    full = schedules.callable_name(rate)
    for key in (name, full):
        assert schedule_from_description(description, {key: rate}).schedule is rate


def test_unknown_schedule_in_a_file():
    with pytest.raises(ValueError, match="did you mean 'Cosine'"):
        schedule_from_description({"schedule": "Cosin"})
