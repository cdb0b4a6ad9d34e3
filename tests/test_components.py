"""Every activation, loss and update rule: its formulas, its compiled code, and what the decorators refuse."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numba as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import types
from numba.extending import intrinsic

from fastprop.kernels import vmath  # noqa: F401  what components may call
from fastprop.kernels.activations import ACTIVATIONS, needs_z
from fastprop.kernels.components import Registry
from fastprop.kernels.losses import LOSSES, LossRegistry
from fastprop.kernels.optimizers import RULES, RuleRegistry
from fastprop.kernels.simd import load, store
from fastprop.kernels.target import target

OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}


def own(registry):
    """The built-in classes by name: estimators and other tests register some of their own."""
    return [(name, cls) for name, cls in registry.items() if cls.__module__.startswith("fastprop.kernels.")]


ELEMENTWISE = [name for name, cls in own(LOSSES) if not cls.across_outputs]
LANES = target().shape("float32").lanes


@pytest.fixture
def registries():
    """Empty registries like the real ones, so that tests leave nothing behind."""
    return (
        Registry(ACTIVATIONS.kind, ACTIVATIONS.methods),
        LossRegistry(LOSSES.kind, LOSSES.methods),
        RuleRegistry(RULES.kind, RULES.methods),
    )


def slope(f, x, h=1e-5):
    """The derivative of f at x by central differences; error some 1e-10."""
    return (f(x + h) - f(x - h)) / (2 * h)


# ---- activations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", dict(own(ACTIVATIONS)))
def test_derivative_is_the_slope_of_the_value(name):
    act = ACTIVATIONS[name]()
    for z in np.linspace(-6, 6, 97) + 0.013:  # the corners, at 0 and 1, are no points of it
        got = act.derivative(z, act.value(z))
        assert got == pytest.approx(slope(act.value, z), rel=1e-6, abs=1e-8), z


@pytest.mark.parametrize("name", dict(own(ACTIVATIONS)))
def test_a_nan_is_passed_on(name):
    act = ACTIVATIONS[name]()
    assert math.isnan(act.value(math.nan))
    if name != "identity":
        assert math.isnan(act.derivative(math.nan, math.nan))


@pytest.mark.parametrize(
    ("name", "z", "value", "derivative"),
    [
        ("relu", 0.0, 0.0, 0.0),
        ("leaky_relu", -2.0, -0.02, 0.01),
        ("elu", -1.0, math.exp(-1) - 1, math.exp(-1)),
        ("selu", 1.0, 1.0507009873554805, 1.0507009873554805),
        ("selu", -1.0, 1.7580993408473768 * math.expm1(-1), 1.7580993408473768 * math.exp(-1)),
        ("gelu", 1.0, 0.8413447460685429, 1.0833154705876871),
        ("silu", 1.0, 0.7310585786300049, 0.9276705118714869),
        ("softplus", 0.0, math.log(2), 0.5),
        ("softsign", -3.0, -0.75, 1 / 16),
        ("hard_tanh", 1.0, 1.0, 0.0),
        ("x_tanh", -1.0, math.tanh(1), -math.tanh(1) - 1 / math.cosh(1) ** 2),
    ],
)
def test_known_values(name, z, value, derivative):
    act = ACTIVATIONS[name]()
    assert act.value(z) == pytest.approx(value, rel=1e-12)
    assert act.derivative(z, act.value(z)) == pytest.approx(derivative, rel=1e-12)


def test_only_these_need_z():
    assert {name for name, cls in own(ACTIVATIONS) if needs_z(cls)} == {"gelu", "silu", "x_tanh"}


def test_needs_z_sees_z_in_any_place():
    class Both:
        def derivative(self, z, a):
            return a + z

    class Captured:
        def derivative(self, z, a):
            return functools.reduce(lambda s, k: s + k * z, (1, 2), a)

    class Neither:
        def derivative(self, z, a):
            return self.z * a

    assert needs_z(Both)
    assert needs_z(Captured)
    assert not needs_z(Neither)


# ---- losses --------------------------------------------------------------------------------------------------------


def targets_of(cls):
    """Targets that a loss is defined for."""
    if cls.task == "binary":
        return (cls.target_low, 1.0)
    return (0.0, 1.0, 3.0) if cls.component_name == "poisson" else (-1.3, 0.0, 2.7)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradient_is_the_slope_of_the_value(name):
    fn = LOSSES[name]()
    for y in targets_of(LOSSES[name]):
        for p in np.linspace(-4, 4, 81) + 0.0137:
            got = fn.gradient(y, p)
            assert got == pytest.approx(slope(functools.partial(fn.value, y), p), rel=1e-6, abs=1e-8), (y, p)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_nan_in_the_output_is_passed_on(name):
    fn = LOSSES[name]()
    assert math.isnan(fn.value(1.0, math.nan))
    assert math.isnan(fn.gradient(1.0, math.nan))


@pytest.mark.parametrize("name", sorted({*ELEMENTWISE} - {"poisson"}))  # which leaves out the terms in y alone
def test_no_loss_is_below_zero_nor_its_gradient_off_at_the_best_output(name):
    fn, cls = LOSSES[name](), LOSSES[name]
    for y in targets_of(cls):
        best = 60.0 * (1 if y > 0 else -1) if cls.task == "binary" else y
        assert fn.value(y, best) == pytest.approx(0, abs=1e-25)
        assert fn.gradient(y, best) == pytest.approx(0, abs=1e-25)
        assert all(fn.value(y, p) >= 0 for p in np.linspace(-50, 50, 41))


@settings(deadline=None)
@given(st.sampled_from([0.0, 1.0]), st.floats(-60, 60) | st.floats(-1e4, 1e4))
def test_bce_neither_overflows_nor_cancels(y, p):
    fn = LOSSES["bce"]()
    with np.errstate(over="raise", invalid="raise"):
        got = fn.value(y, p)
    signed = p if y else -p
    want = math.log1p(math.exp(-signed)) if signed > -30 else -signed + math.exp(signed) if signed > -700 else -signed
    assert got == pytest.approx(want, rel=1e-12, abs=1e-300)


@settings(deadline=None)
@given(st.sampled_from([-1.0, 1.0]), st.floats(-100, 100))
def test_modified_huber_has_scikit_learns_definition(y, p):
    z = y * p
    want = 0.0 if z >= 1 else (1 - z) ** 2 if z >= -1 else -4 * z
    slope_ = 0.0 if z >= 1 else -2 * y * (1 - z) if z >= -1 else -4 * y
    fn = LOSSES["modified_huber"]()
    assert fn.value(y, p) == pytest.approx(want, rel=1e-12, abs=1e-12)
    assert fn.gradient(y, p) == pytest.approx(slope_, rel=1e-12, abs=1e-12)


def test_settings_of_losses():
    assert LOSSES["huber"](delta=2.0).value(0.0, 5.0) == 2.0 * (5.0 - 1.0)
    assert LOSSES["quantile"](q=0.9).value(1.0, 0.0) == 0.9
    assert LOSSES["quantile"](q=0.9).gradient(0.0, 1.0) == pytest.approx(0.1)


def test_how_losses_are_used():
    of = {name: (cls.averages, cls.target_low, cls.task, cls.across_outputs) for name, cls in own(LOSSES)}
    assert of.pop("cross_entropy") == (False, 0.0, "classes", True)
    assert of.pop("squared_error") == (False, 0.0, "regression", False)
    assert of.pop("bce") == (True, 0.0, "binary", False)
    for name in ("hinge", "squared_hinge", "modified_huber"):
        assert of.pop(name) == (True, -1.0, "binary", False)
    assert set(of) == {"mse", "mae", "huber", "quantile", "poisson"}
    assert set(of.values()) == {(True, 0.0, "regression", False)}


# ---- update rules --------------------------------------------------------------------------------------------------


def torch_steps(name, w, gradients, lr, wd):
    """The weights after each update in float64, by the formulas of PyTorch's documentation."""
    buffer, second, path = np.zeros_like(w), np.zeros_like(w), []
    for t, g in enumerate(gradients, 1):
        if name != "adamw":
            g = g + wd * w
        if name in ("momentum", "nesterov"):
            buffer = g if t == 1 else 0.9 * buffer + g
        if name == "sgd":
            step = g
        elif name == "momentum":
            step = buffer
        elif name == "nesterov":
            step = g + 0.9 * buffer
        elif name == "rmsprop":
            second = 0.99 * second + (1 - 0.99) * g * g
            step = g / (np.sqrt(second) + 1e-8)
        elif name == "adagrad":
            second = second + g * g
            step = g / (np.sqrt(second) + 1e-10)
        else:
            w = w * (1 - lr * wd) if name == "adamw" else w
            buffer = buffer + (g - buffer) * (1 - 0.9)
            second = second * 0.999 + (1 - 0.999) * g * g
            step = buffer / (1 - 0.9**t) / (np.sqrt(second) / np.sqrt(1 - 0.999**t) + 1e-8)
        w = w - lr * step
        path.append(w)
    return np.array(path)


def run_rule(update, rule, w, gradients, lr):
    """The weights after each update by one of our rules."""
    slots, path = (np.zeros_like(w),) * rule.n_slots, []
    for t, g in enumerate(gradients, 1):
        clock = rule.clock(float(t)) if hasattr(rule, "clock") else float(t)
        w, slots = update(rule, w, g, slots, lr, clock)
        path.append(w)
    return np.array(path)


@pytest.mark.parametrize("wd", [0.0, 0.05])
@pytest.mark.parametrize("name", dict(own(RULES)))
def test_rules_follow_pytorchs_formulas(name, wd):
    rng = np.random.default_rng(0)
    w, gradients = rng.normal(size=7), rng.normal(size=(50, 7)) * np.logspace(-6, 2, 7)
    rule = RULES[name](weight_decay=wd)
    got = run_rule(RULES[name].update, rule, w, gradients, 0.03)
    np.testing.assert_allclose(got, torch_steps(name, w, gradients, 0.03, wd), rtol=1e-10)


def test_adagrad_lets_the_rate_decay():
    rule = RULES["adagrad"](lr_decay=0.5)
    w, _ = rule.update(1.0, 2.0, (0.0,), 0.1, rule.clock(3.0))
    assert w == pytest.approx(1.0 - 0.1 / (1 + 2 * 0.5) * 2.0 / 2.0)


def test_pytorch_agrees_where_it_is_installed():
    torch = pytest.importorskip("torch")
    made = {
        "sgd": functools.partial(torch.optim.SGD),
        "momentum": functools.partial(torch.optim.SGD, momentum=0.9),
        "nesterov": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    gradients = np.random.default_rng(0).normal(size=(5, 3))
    for name, make in made.items():
        w = torch.ones(3, dtype=torch.float64, requires_grad=True)
        optimizer = make([w], lr=0.03, weight_decay=0.05)
        for g in gradients:
            w.grad = torch.tensor(g)
            optimizer.step()
        got = run_rule(RULES[name].update, RULES[name](weight_decay=0.05), np.ones(3), gradients, 0.03)[-1]
        np.testing.assert_allclose(got, w.detach().numpy(), rtol=1e-10, err_msg=name)


# ---- the same methods, compiled, on registers ----------------------------------------------------------------------


@intrinsic
def data(typingctx, array):
    """The pointer to an array's first number."""
    kind = types.CPointer(array.dtype)
    return kind(array), lambda context, builder, sig, args: context.make_array(array)(context, builder, args[0]).data


def compiled_pair(first, second, arity):
    """A function (component, x, y, out) that writes one register of both methods; `first` has `arity` arguments."""
    f, g = nb.njit(**OPTIONS)(first), nb.njit(**OPTIONS)(second)
    if arity == 1:

        @nb.njit(**OPTIONS)
        def run(component, x, y, out):
            for i in range(0, x.shape[0], LANES):
                z = load(data(x), i)
                a = f(component, z)
                store(data(out), i, a)
                store(data(out), x.shape[0] + i, a * g(component, z, a))
    else:

        @nb.njit(**OPTIONS)
        def run(component, x, y, out):
            for i in range(0, x.shape[0], LANES):
                p, t = load(data(x), i), load(data(y), i)
                store(data(out), i, f(component, t, p))
                store(data(out), x.shape[0] + i, g(component, t, p))

    return run


@pytest.mark.parametrize("name", dict(own(ACTIVATIONS)))
def test_activations_on_registers(name):
    cls = ACTIVATIONS[name]
    x = np.linspace(-6, 6, 4 * LANES).astype(np.float32)
    x[:2] = 0, np.nan
    out = np.empty((2, len(x)), np.float32)
    compiled_pair(cls.value, cls.derivative, 1)(cls(), x, x, out.reshape(-1))
    act = cls()
    a = np.array([act.value(z) for z in x.astype(float)])
    d = np.array([act.derivative(z, v) for z, v in zip(x.astype(float), a, strict=True)])
    np.testing.assert_allclose(out, [a, a * d], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_losses_on_registers(name):
    cls = LOSSES[name]
    p = np.linspace(-6, 6, 4 * LANES).astype(np.float32)
    p[1] = np.nan
    y = np.resize(np.array(targets_of(cls), np.float32), len(p))
    out = np.empty((2, len(p)), np.float32)
    compiled_pair(cls.value, cls.gradient, 2)(cls(), p, y, out.reshape(-1))
    fn = cls()
    pairs = list(zip(y.astype(float), p.astype(float), strict=True))
    want = [[fn.value(*pair) for pair in pairs], [fn.gradient(*pair) for pair in pairs]]
    np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", dict(own(RULES)))
def test_rules_on_registers(name):
    cls = RULES[name]
    n, update = cls.n_slots, nb.njit(**OPTIONS)(cls.update)

    if n == 0:

        @nb.njit(**OPTIONS)
        def run(rule, w, g, state, lr, t):
            store(data(w), 0, update(rule, load(data(w), 0), load(data(g), 0), (), lr, t)[0])
    elif n == 1:

        @nb.njit(**OPTIONS)
        def run(rule, w, g, state, lr, t):
            w_new, s = update(rule, load(data(w), 0), load(data(g), 0), (load(data(state), 0),), lr, t)
            store(data(w), 0, w_new)
            store(data(state), 0, s[0])
    else:

        @nb.njit(**OPTIONS)
        def run(rule, w, g, state, lr, t):
            slots = (load(data(state), 0), load(data(state), LANES))
            w_new, s = update(rule, load(data(w), 0), load(data(g), 0), slots, lr, t)
            store(data(w), 0, w_new)
            store(data(state), 0, s[0])
            store(data(state), LANES, s[1])

    rng, rule = np.random.default_rng(0), cls()
    w, gradients = rng.normal(size=LANES).astype(np.float32), rng.normal(size=(20, LANES)).astype(np.float32)
    want = run_rule(cls.update, rule, w.astype(float), gradients.astype(float), 0.03)[-1]
    state = np.zeros(2 * LANES, np.float32)
    for t, g in enumerate(gradients, 1):
        run(rule, w, g, state, 0.03, rule.clock(float(t)) if hasattr(rule, "clock") else float(t))
    np.testing.assert_allclose(w, want, rtol=2e-5, atol=2e-6)


# ---- registries and decorators -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registry", "typed", "meant"),
    [(ACTIVATIONS, "leaky_rleu", "leaky_relu"), (LOSSES, "cross_entrpoy", "cross_entropy"), (RULES, "adamm", "adam")],
)
def test_an_unknown_name_gets_the_nearest_one(registry, typed, meant):
    with pytest.raises(ValueError, match=f"unknown {registry.kind} '{typed}'; did you mean '{meant}'"):
        registry[typed]


def test_the_names_are_those_of_the_interface():
    def names(registry):
        return ", ".join(name for name, _ in own(registry))

    assert names(ACTIVATIONS) == (
        "identity, relu, leaky_relu, elu, selu, gelu, silu, softplus, sigmoid, tanh, softsign, hard_tanh, x_tanh"
    )
    assert names(LOSSES) == (
        "mse, squared_error, mae, huber, quantile, poisson, bce, hinge, squared_hinge, modified_huber, cross_entropy"
    )
    assert names(RULES) == "sgd, momentum, nesterov, rmsprop, adagrad, adam, adamw"


def test_a_plain_class_becomes_a_named_tuple(registries):
    class SquareRoot:
        """sqrt(z^2 + c)."""

        c: float = 2.0
        colour = "red"

        def value(self, z):
            return np.sqrt(z * z + self.c)

        def derivative(self, z, a):
            return z / a

    made = registries[0].register(SquareRoot)
    assert made._fields == ("c",)
    assert made().value(1.0) == math.sqrt(3)
    assert made(c=8.0).value(1.0) == 3.0
    assert made.colour == "red"
    assert made.__doc__ == "sqrt(z^2 + c)."
    assert registries[0]["square_root"] is made
    assert "square_root" not in set(ACTIVATIONS)


def test_a_users_loss_gets_the_defaults_and_keeps_its_own(registries):
    class Cubic(NamedTuple):
        averages = False

        def value(self, y, p):
            return abs(p - y) ** 3

        def gradient(self, y, p):
            return 3 * (p - y) * abs(p - y)

    made = registries[1].register(Cubic)
    assert (made.averages, made.target_low, made.task, made.across_outputs) == (False, 0.0, "regression", False)


def methods(**functions):
    """A class with the given attributes."""
    return type("Mine", (), functions)


def update(self, w, g, slots, lr, t):
    return w, slots


@pytest.mark.parametrize(
    ("kind", "cls", "error", "match"),
    [
        (0, methods(value=lambda self, z: z), TypeError, "needs a method derivative"),
        (0, methods(value=lambda self, x: x, derivative=lambda self, z, a: a), TypeError, r"must take \(self, z\)"),
        (1, methods(value=lambda self, y, p: p), TypeError, "needs a method gradient"),
        (1, methods(across_outputs=True, task="ranking"), ValueError, "task must be one of regression"),
        (1, methods(across_outputs=True, averages="yes"), TypeError, "averages must be a bool, got 'yes'"),
        (1, methods(across_outputs=True, __annotations__={"averages": bool}), TypeError, "write averages"),
        (2, methods(update=update), TypeError, "n_slots"),
        (2, methods(update=update, n_slots=-1), TypeError, "n_slots"),
        (2, methods(update=update, n_slots=1, clock=lambda self: 1.0), TypeError, r"clock must take \(self, t\)"),
        (2, methods(update=lambda self, w, g: w, n_slots=0), TypeError, "update must take"),
    ],
)
def test_what_the_decorators_refuse(registries, kind, cls, error, match):
    with pytest.raises(error, match=match):
        registries[kind].register(cls)
    assert not registries[kind], "a refused class must not be registered"


def test_a_field_that_is_no_number_is_refused(registries):
    class Named:
        mode: str = "fast"

        def value(self, z):
            return z

        def derivative(self, z, a):
            return 1.0

    with pytest.raises(TypeError, match="field 'mode' of activation Named must be a number, got 'fast'"):
        registries[0].register(Named)
