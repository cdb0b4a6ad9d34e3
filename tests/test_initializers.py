"""Initial weights: their distributions, checks, and independence of other layers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fastprop import initializers
from fastprop.initializers import INITIALIZERS, Normal, Uniform, automatic, check_init, generator, initial

pytestmark = pytest.mark.quick
SHAPE = (300, 200)
VARIANCES = {"he": 2 / 300, "glorot": 2 / 500, "lecun": 1 / 300}


def draw(init, shape=SHAPE, activation="relu", seed=0, layer=0):
    return initial(init, shape, activation, generator(seed, layer), "init of layer 0")


@pytest.mark.parametrize("family", VARIANCES)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_variance_is_that_of_the_paper(family, kind):
    W = draw(f"{family}_{kind}")
    variance = VARIANCES[family]
    assert W.dtype == np.float64
    assert W.shape == SHAPE
    assert abs(W.mean()) < 5 * math.sqrt(variance / W.size)
    assert W.var() == pytest.approx(variance, rel=0.03)
    if kind == "uniform":
        assert np.abs(W).max() <= math.sqrt(3 * variance)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 5), (1, 4)])
def test_orthogonal(shape):
    W = draw("orthogonal", shape)
    gram = W.T @ W if shape[0] >= shape[1] else W @ W.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "name"),
    [("relu", "he_normal"), ("softplus", "he_normal"), ("selu", "lecun_normal"), ("tanh", "glorot_uniform")],
)
def test_auto_depends_on_the_activation(activation, name):
    assert automatic(activation) == name
    np.testing.assert_array_equal(draw("auto", activation=activation), draw(name))


def test_normal_uniform_zeros_array_and_callable():
    assert draw(Normal(0.5)).std() == pytest.approx(0.5, rel=0.02)
    assert np.abs(draw(Uniform(0.1))).max() <= 0.1
    assert not draw("zeros").any()
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(draw(given, (2, 3)), given)
    np.testing.assert_array_equal(draw(lambda shape, rng: np.ones(shape), (2, 3)), np.ones((2, 3)))


def test_an_array_is_copied():
    given = np.zeros((2, 3))
    draw(given, (2, 3))[0, 0] = 1.0
    assert given[0, 0] == 0.0


def test_layers_and_seeds_have_numbers_of_their_own():
    first = draw("he_normal", layer=0)
    np.testing.assert_array_equal(first, draw("he_normal", layer=0))
    assert not np.array_equal(first, draw("he_normal", layer=1))
    assert not np.array_equal(first, draw("he_normal", seed=1))


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.zeros((3, 2)), r"init of layer 0 must have shape \(2, 3\), got \(3, 2\)"),
        (np.full((2, 3), np.nan), "init of layer 0 must be finite"),
        (lambda shape, rng: np.zeros(shape[0]), "must have shape"),
        (lambda shape, rng: np.full(shape, np.inf), "must be finite"),
    ],
)
def test_wrong_values_are_refused(init, message):
    with pytest.raises(ValueError, match=message):
        draw(init, (2, 3))


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        ("he_nrmal", ValueError, "did you mean 'he_normal'"),
        (Normal, TypeError, "must be an instance"),
        (object(), TypeError, "must be a name, an array"),
        ([[np.inf]], ValueError, "init must be finite"),
    ],
)
def test_check_init_refuses(init, error, message):
    with pytest.raises(error, match=message):
        check_init("init", init)


def test_biases_have_no_fan():
    assert check_init("bias_init", "zeros", is_bias=True) == "zeros"
    with pytest.raises(ValueError, match="bias_init"):
        check_init("bias_init", "he_normal", is_bias=True)


@pytest.mark.parametrize("make", [Normal, Uniform])
@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_scales_are_not_negative(make, value):
    with pytest.raises(ValueError, match=">= 0"):
        make(value)


@pytest.mark.parametrize("init", ["auto", *INITIALIZERS, Normal(0.1), Uniform(0.2)])
def test_description_round_trip(init):
    description = json.loads(json.dumps(initializers.describe_init(init)))
    assert initializers.init_from(description) == init


@pytest.mark.parametrize(("init", "kind"), [(np.zeros((2, 3)), "array"), (initializers.zeros, "callable")])
def test_arrays_and_callables_are_not_stored(init, kind):
    assert initializers.describe_init(init) == kind
    loaded = initializers.init_from(kind)
    assert initializers.describe_init(loaded) == kind
    with pytest.raises(ValueError, match=f"given as {kind} and are not in the file"):
        draw(loaded)
