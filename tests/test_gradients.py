"""Gradients agree with central differences in float64, and with the reference for all shapes in both precisions."""

import covering
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop.kernels.activations import ACTIVATIONS
from fastprop.kernels.losses import LOSSES

SIZES = (1, 2, 3, 7, 15, 16, 17, 31, 33, 65, 100)
BOUND = {"float64": 1e-10, "float32": 1e-5}
STEP = 5e-5  # of the differences: of fourth order, so that it may be large beside the rounding of the loss
MARGIN = 100 * STEP  # of every number from where a derivative jumps: layers amplify a step


def difference(f):
    """f'(0) by central differences of fourth order."""
    return (8 * (f(STEP) - f(-STEP)) - (f(2 * STEP) - f(-2 * STEP))) / (12 * STEP)


def smooth_case(k, n_rows):
    """A network of case k and data for which nothing is near a kink."""
    net = covering.network(k, l1=1e-3, l2=1e-2)
    net.divides_penalties = k % 2 == 1
    reference = naive.Reference(net)
    for seed in range(500):
        rng = np.random.default_rng([k, seed])
        X, y, Y = covering.data(k, n_rows, rng)
        weights = rng.uniform(0.5, 2.0, n_rows)
        reference.gradients(net.get_weights(), X, Y, weights)
        if reference.nearest_kink > MARGIN:
            return net, reference, X, y, Y, weights
    raise AssertionError("no data without kinks")


def check(got, expected, dtype, rounded=None):
    """Compare gradients array by array, relative to the largest entry.

    Where a gradient is a difference of large numbers (a bias that feeds a batch norm has none at all), rounding is all
    there is: `rounded`, the reference in float32, tells how much of it to expect.
    """
    for k, (ours, theirs) in enumerate(zip(naive.arrays(got), naive.arrays(expected), strict=True)):
        bound = BOUND[dtype]
        if rounded is not None:
            rounding = naive.error(naive.arrays(rounded)[k], theirs) / np.finfo("float32").eps
            bound = max(bound, 30 * rounding * np.finfo(dtype).eps)
        assert naive.error(ours, theirs) < bound or abs(ours - theirs).max() < 1e-13


def test_the_covering_design_holds_everything():
    activations, losses = (
        {name for name, cls in registry.items() if cls.__module__.startswith("fastprop.kernels.")}
        for registry in (ACTIVATIONS, LOSSES)
    )
    assert set(covering.ACTIVATIONS) == activations
    names = {covering.loss_name(k) for k in range(covering.N_CASES)}
    assert names == losses
    assert names == set(naive.LOSSES) | {"cross_entropy"}


@pytest.mark.parametrize("k", range(covering.N_CASES), ids=covering.loss_name)
def test_central_differences(k):
    net, reference, X, y, Y, sample_weight = smooth_case(k, n_rows=9)
    start = net.get_weights()
    loss, gradients = net.gradients(X, y, sample_weight)
    expected_loss, expected = reference.gradients(start, X, Y, sample_weight)
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    check(gradients, expected, "float64")

    rng = np.random.default_rng(k)
    for pair, pair_gradients in zip(range(len(start)), gradients, strict=True):
        for which, gradient in enumerate(pair_gradients):
            if gradient is None:
                continue
            largest = abs(gradient).max()
            at = {int(abs(gradient).argmax()), *rng.integers(0, gradient.size, 4).tolist()}
            for entry in map(lambda i, shape=gradient.shape: np.unravel_index(i, shape), at):

                def moved(h, pair=pair, which=which, entry=entry):
                    weights = [list(arrays) for arrays in start]
                    weights[pair][which] = weights[pair][which].copy()
                    weights[pair][which][entry] += h
                    net.set_weights(weights)
                    return net.gradients(X, y, sample_weight)[0]

                assert difference(moved) == pytest.approx(gradient[entry], abs=max(1e-7 * largest, 1e-11))
    assert net._parameters.count == 0


# ---- all shapes ---------------------------------------------------------------------------------------------------


@st.composite
def layer_lists(draw, width, depth=0):
    """Layers for an input of `width`, and the width of their output."""
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["dense", "dense", "layer_norm", "batch_norm", "dropout", "residual"]))
        if kind == "residual" and depth < 2:
            inner, n = draw(layer_lists(width, depth + 1))
            layers.append(fp.Residual([*inner, draw(denses(width))] if n != width else inner))
        elif kind in ("dense", "residual"):
            width = draw(st.sampled_from(SIZES))
            layers.append(draw(denses(width)))
        else:
            others = {"layer_norm": fp.LayerNorm(), "batch_norm": fp.BatchNorm(), "dropout": fp.Dropout(0.5)}
            layers.append(others[kind])
    return layers, width


def denses(width):
    return st.builds(fp.Dense, st.just(width), st.sampled_from(covering.ACTIVATIONS), bias=st.booleans())


@st.composite
def problems(draw):
    """A network, its data, targets and sample weights."""
    n_rows, n_features, n_outputs = (draw(st.sampled_from(SIZES)) for _ in range(3))
    layers, _ = draw(layer_lists(n_features))
    loss, _, kind = covering.LOSSES[draw(st.sampled_from([0, 1, 3, 5, 6, 7, 8, 9, 11]))]
    name = loss if isinstance(loss, str) else loss.name
    if name == "cross_entropy":
        n_outputs = max(2, n_outputs)
    labels = kind == "labels" and (n_outputs <= 3 or name == "cross_entropy")
    kind = kind if kind != "labels" or labels else "probabilities" if name == "bce" else "codes"
    seed = draw(st.integers(0, 2**32))
    weighted = draw(st.booleans())
    return layers, name, n_outputs, kind, n_rows, n_features, seed, weighted


def build(problem, dtype):
    layers, loss, n_outputs, kind, n_rows, n_features, seed, weighted = problem
    rng = np.random.default_rng(seed)
    net = fp.Network([*layers, fp.Dense(n_outputs, init="glorot_normal")], loss=loss, dtype=dtype, seed=seed % 1000)
    net.build(n_features)
    X = rng.normal(size=(n_rows, n_features)).astype(dtype)
    if kind in ("labels", "codes"):
        low = -1.0 if "hinge" in loss else 0.0
        y = rng.integers(0, max(2, n_outputs), n_rows)
        Y = naive.one_hot(y, max(2, n_outputs), low)[:, -n_outputs:]
        if "bce" in loss and n_outputs > 1:
            y = Y
    else:
        y, Y = covering.targets(loss, n_rows, n_outputs, kind, rng)
        y = Y = Y.astype(dtype)
    return net, X, y, Y, rng.uniform(0.0, 2.0, n_rows) if weighted else None


def compare(problem, dtype):
    net, X, y, Y, sample_weight = build(problem, dtype)
    weights, reference = net.get_weights(), naive.Reference(net)
    expected_loss, expected = reference.gradients(weights, X, Y, sample_weight)
    if reference.nearest_kink < 1e4 * np.finfo(dtype).eps:
        return  # either side of a kink is right
    loss, gradients = net.gradients(X, y, sample_weight)
    assert loss == pytest.approx(expected_loss, rel=BOUND[dtype])
    rounded = naive.Reference(net, np.float32).gradients(weights, X, Y, sample_weight)[1]
    check(gradients, expected, dtype, rounded)
    if "BatchNorm" not in repr(net.layers):  # which predicts with its running statistics
        assert naive.error(net._raw(X), reference.forward(weights, X)[0]) < BOUND[dtype]


@given(problems())
@settings(max_examples=100)
def test_all_shapes_float64(problem):
    compare(problem, "float64")


@given(problems())
@settings(max_examples=100)
def test_all_shapes_float32(problem):
    compare(problem, "float32")
