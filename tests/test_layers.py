"""Layers as descriptions: their checks and their way through JSON."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from fastprop.initializers import Normal
from fastprop.kernels.activations import ACTIVATIONS
from fastprop.layers import BatchNorm, Dense, Dropout, LayerNorm, Residual, activation, layer_from_description

pytestmark = pytest.mark.quick


@activation
class ScaledCube:
    """scale z^3."""

    scale: float = 2.0

    def value(self, z):
        return self.scale * z * z * z

    def derivative(self, z, a):
        return 3.0 * self.scale * z * z


LAYERS = [
    Dense(3),
    Dense(np.int64(4), activation="relu", init="he_uniform", bias=False),
    Dense(5, activation=ScaledCube(scale=3), init=Normal(0.1)),
    Dense(2, activation="softmax"),
    Dropout(0.2),
    BatchNorm(momentum=0.01, eps=1e-3),
    LayerNorm(),
    Residual([Dense(3, activation="tanh"), Residual([Dropout(0.0)])]),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_description_round_trip(layer):
    description = json.loads(json.dumps(layer.describe()))
    assert layer_from_description(description).describe() == description
    for copied in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert copied.describe() == description


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_every_activation_by_name_class_and_instance(name):
    cls = ACTIVATIONS[name]
    for given in (name, cls, cls()):
        resolved = Dense(3, activation=given).activation
        assert type(resolved) is cls
        assert resolved == cls()


def test_defaults():
    assert Dense(3).describe() == {
        "layer": "dense",
        "units": 3,
        "activation": {"name": "identity", "fields": {}},
        "init": "auto",
        "bias": True,
        "bias_init": "zeros",
    }
    assert BatchNorm().describe() == {"layer": "batch_norm", "momentum": 0.1, "eps": 1e-5}
    assert LayerNorm().eps == 1e-5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dense(0), ValueError, "units must be a positive integer, got 0"),
        (lambda: Dense(True), TypeError, "units must be a positive integer, got True"),
        (lambda: Dense(2.0), TypeError, "units must be a positive integer, got 2.0"),
        (lambda: Dense(2, activation="rleu"), ValueError, "did you mean 'relu'"),
        (lambda: Dense(2, activation=np.tanh), TypeError, "activation must be a name"),
        (lambda: Dense(2, activation=ScaledCube(np.nan)), ValueError, "scale of ScaledCube must be a finite number"),
        (lambda: Dense(2, init="henormal"), ValueError, "did you mean 'he_normal'"),
        (lambda: Dense(2, bias=1), TypeError, "bias must be True or False"),
        (lambda: Dense(2, bias_init="he_normal"), ValueError, "bias_init"),
        (lambda: Dropout(1.0), ValueError, r"rate must be a finite number in \[0, 1\), got 1"),
        (lambda: Dropout(-0.1), ValueError, "rate"),
        (lambda: Dropout("0.5"), TypeError, "rate"),
        (lambda: BatchNorm(momentum=1.1), ValueError, r"momentum must be a finite number in \[0, 1\]"),
        (lambda: BatchNorm(eps=0), ValueError, "eps must be a finite number > 0, got 0"),
        (lambda: LayerNorm(eps=np.inf), ValueError, "eps"),
        (lambda: Residual([]), ValueError, "at least one layer"),
        (lambda: Residual(Dense(3)), TypeError, "must be a list of layers"),
        (lambda: Residual([Dense(3), "relu"]), TypeError, r"\[1\] must be a layer"),
        (lambda: Residual([BatchNorm]), TypeError, "must be an instance, as BatchNorm"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_activations_that_files_name():
    description = {**Dense(2).describe(), "activation": {"name": "not_here", "fields": {"scale": 4.0}}}
    with pytest.raises(ValueError, match=r"needs the activation 'not_here'.*custom="):
        layer_from_description(description)
    nested = Residual([Dense(2)]).describe() | {"layers": [description]}
    layer = layer_from_description(nested, custom={"not_here": ScaledCube})
    assert layer.layers[0].activation == ScaledCube(4.0)
    with pytest.raises(TypeError, match=r"must be a class decorated with @fp\.activation"):
        layer_from_description(description, custom={"not_here": np.tanh})


def test_unknown_layer_in_a_file():
    with pytest.raises(ValueError, match="unknown layer 'conv'"):
        layer_from_description({"layer": "conv"})


@pytest.mark.parametrize("name", ["Relu", "Softmax"])
def test_built_in_names_are_taken(name):
    methods = {"value": ScaledCube.value, "derivative": ScaledCube.derivative}
    with pytest.raises(ValueError, match="has the name of the built-in activation"):
        activation(type(name, (), methods))


def test_layers_are_frozen():
    with pytest.raises(AttributeError):
        Dense(3).units = 4
