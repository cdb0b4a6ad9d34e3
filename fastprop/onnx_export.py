"""A network as an ONNX graph: what `predict` and `predict_proba` give, with the preparation of columns inside.

Operators of opset 15 (and `LabelEncoder` of ai.onnx.ml 2 for text) and no others: any runtime of the last years takes
the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .atomic import replacing
from .data.preparation import Hashed, Number, Preparation
from .kernels.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from .layers import BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual
from .models import is_output_linear
from .targets import is_multilabel

if TYPE_CHECKING:
    from .network import Network

OPSET, ML_OPSET, IR_VERSION = 15, 2, 8  # ONNX 1.10, of 2021
BATCH = "n"  # the name of the dimension of rows


def to_onnx(net: Network, path: str | os.PathLike[str], preparation: bool = True) -> list[str]:
    """Write the network as ONNX; see `Network.to_onnx`."""
    import onnx

    graph = Graph(net.dtype)
    prepared = net.preparation_ if preparation else None
    x = _features(graph, net, prepared)
    raw = _network(graph, net, x)
    _outputs(graph, net, raw, prepared)
    model = graph.model(_metadata(net))
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return [value.name for value in model.graph.input]


class Graph:
    """An ONNX graph that grows: nodes, constants, inputs and outputs.

    Parameters
    ----------
    dtype : str
        "float32" or "float64", of the arithmetic.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: dict[tuple[bytes, str, tuple[int, ...]], Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def add(self, op: str, *inputs: str, name: str | None = None, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is given back."""
        from onnx import helper

        out = name or f"fastprop/{op.lower()}_{len(self.nodes)}"  # no column is called so
        self.nodes.append(helper.make_node(op, inputs, [out], domain=domain, **attributes))
        return out

    def constant(self, values: Any, dtype: Any = None) -> str:
        """An array as an input of nodes; of the graph's dtype unless another is given."""
        from onnx import numpy_helper

        array = np.asarray(values, self.dtype if dtype is None else dtype)
        content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()  # -0.0 is not 0.0
        key = content, array.dtype.str, array.shape
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"fastprop/constant_{len(self.constants)}")
        return str(self.constants[key].name)

    def input(self, name: str, dtype: Any, n: int) -> str:
        """An input of shape (rows, n)."""
        self.inputs.append(_value_info(name, dtype, n))
        return name

    def output(self, source: str, name: str, dtype: Any, *sizes: int) -> None:
        """Give a value out as `name`, of shape (rows, *sizes); "name_" where a column is called so."""
        while name in {value.name for value in self.inputs}:
            name += "_"
        self.add("Identity", source, name=name)
        self.outputs.append(_value_info(name, dtype, *sizes))

    def model(self, metadata: dict[str, str]) -> Any:
        """The finished model."""
        from onnx import helper

        graph = helper.make_graph(
            self.nodes, "fastprop", self.inputs, self.outputs, initializer=list(self.constants.values())
        )
        domains = {"": OPSET, "ai.onnx.ml": ML_OPSET}
        used = {node.domain for node in self.nodes} | {""}
        opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items() if domain in used]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fastprop")
        helper.set_model_props(model, metadata)
        return model


def _value_info(name: str, dtype: Any, *sizes: int) -> Any:
    from onnx import helper

    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, code, [BATCH, *sizes])


# ---- layers -------------------------------------------------------------------------------------------------------


def _network(graph: Graph, net: Network, x: str) -> str:
    """The raw outputs."""
    linear = is_output_linear(net.layers, net.loss)
    arrays = net.state_dict()
    last = net.layers[-1] if linear else None
    return _chain(graph, net.layers, x, "layers", arrays, last)


def _chain(
    graph: Graph, layers: Sequence[Layer], x: str, where: str, arrays: dict[str, np.ndarray], linear: Layer | None
) -> str:
    for k, layer in enumerate(layers):
        key = f"{where}.{k}"
        if isinstance(layer, Dense):
            x = _dense(graph, layer, x, key, arrays, layer is linear)
        elif isinstance(layer, Residual):
            x = graph.add("Add", x, _chain(graph, layer.layers, x, f"{key}.layers", arrays, None))
        elif isinstance(layer, BatchNorm):
            x = _scaled(graph, x, key, arrays, *_running(arrays, key, layer.eps))
        elif isinstance(layer, LayerNorm):
            mean = graph.add("ReduceMean", x, axes=[1])
            centred = graph.add("Sub", x, mean)
            variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[1])
            deviation = graph.add("Sqrt", graph.add("Add", variance, graph.constant(layer.eps)))
            x = _scaled(graph, x, key, arrays, mean, deviation)
        elif not isinstance(layer, Dropout):  # which only training has
            raise TypeError(f"ONNX export does not know the layer {type(layer).__name__}")
    return x


def _running(arrays: dict[str, np.ndarray], key: str, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of a batch norm, as prediction takes them."""
    return arrays[f"{key}.running_mean"], np.sqrt(arrays[f"{key}.running_variance"].astype(np.float64) + eps)


def _scaled(graph: Graph, x: str, key: str, arrays: dict[str, np.ndarray], mean: Any, deviation: Any) -> str:
    """gamma (x - mean) / deviation + beta; by elementary operators: those of norms are of float32 in some runtimes."""
    mean, deviation = (value if isinstance(value, str) else graph.constant(value) for value in (mean, deviation))
    normal = graph.add("Div", graph.add("Sub", x, mean), deviation)
    x = graph.add("Mul", normal, graph.constant(arrays[f"{key}.gamma"]))
    return graph.add("Add", x, graph.constant(arrays[f"{key}.beta"]))


def _dense(graph: Graph, layer: Dense, x: str, key: str, arrays: dict[str, np.ndarray], linear: bool) -> str:
    z = graph.add("MatMul", x, graph.constant(arrays[f"{key}.W"]))
    if layer.bias:
        z = graph.add("Add", z, graph.constant(arrays[f"{key}.b"]))
    activation = layer.activation
    name = activation.component_name
    if linear or name in ("identity", "softmax"):  # the loss applies softmax
        return z
    if name not in FORMULAS or type(activation) is not ACTIVATIONS[name]:
        raise ValueError(
            f"to_onnx cannot export the activation {name!r} of layer {key}: it is not one of fastprop's own, and ONNX "
            f"cannot hold Python"
        )
    return FORMULAS[name](graph, z, activation)


def _elu(graph: Graph, z: str, alpha: float, scale: float = 1.0) -> str:
    """scale z above 0, scale alpha (exp z - 1) below; the exponential of the negative part only cannot overflow."""
    below = graph.add("Sub", graph.add("Exp", graph.add("Min", z, graph.constant(0))), graph.constant(1))
    above = graph.add("Max", z, graph.constant(0))
    if scale != 1.0:  # not after the sum: onnxruntime would join it with the next product, as a factor of float32
        above = graph.add("Mul", above, graph.constant(scale))
    return graph.add("Add", above, graph.add("Mul", below, graph.constant(scale * alpha)))


def _gelu(graph: Graph, z: str, _: Any) -> str:
    """z Phi(z). The erf is of float32, to 1e-7: onnxruntime has no other."""
    scaled = graph.add("Cast", graph.add("Mul", z, graph.constant(np.sqrt(0.5))), to=_code(np.float32))
    erf = graph.add("Cast", graph.add("Erf", scaled), to=_code(graph.dtype))
    return graph.add("Mul", graph.add("Mul", z, graph.constant(0.5)), graph.add("Add", erf, graph.constant(1)))


def _softplus(graph: Graph, z: str, _: Any = None) -> str:
    """max(z, 0) + log(1 + exp(-|z|)), which cannot overflow."""
    power = graph.add("Exp", graph.add("Neg", graph.add("Abs", z)))
    tail = graph.add("Log", graph.add("Add", power, graph.constant(1)))
    return graph.add("Add", graph.add("Max", z, graph.constant(0)), tail)


def _leaky_relu(graph: Graph, z: str, activation: Any) -> str:
    below = graph.add("Mul", graph.add("Min", z, graph.constant(0)), graph.constant(activation.slope))
    return graph.add("Add", graph.add("Max", z, graph.constant(0)), below)


FORMULAS: dict[str, Callable[[Graph, str, Any], str]] = {
    "relu": lambda graph, z, _: graph.add("Max", z, graph.constant(0)),
    "leaky_relu": _leaky_relu,
    "elu": lambda graph, z, activation: _elu(graph, z, activation.alpha),
    "selu": lambda graph, z, _: _elu(graph, z, SELU_ALPHA, SELU_SCALE),
    "gelu": _gelu,
    "silu": lambda graph, z, _: graph.add("Mul", z, graph.add("Sigmoid", z)),
    "softplus": _softplus,
    "sigmoid": lambda graph, z, _: graph.add("Sigmoid", z),
    "tanh": lambda graph, z, _: graph.add("Tanh", z),
    "softsign": lambda graph, z, _: graph.add("Div", z, graph.add("Add", graph.add("Abs", z), graph.constant(1))),
    "hard_tanh": lambda graph, z, _: graph.add("Min", graph.add("Max", z, graph.constant(-1)), graph.constant(1)),
    "x_tanh": lambda graph, z, _: graph.add("Mul", z, graph.add("Tanh", z)),
}

# ---- columns in ---------------------------------------------------------------------------------------------------


def _features(graph: Graph, net: Network, preparation: Preparation | None) -> str:
    """The matrix that the network takes: the input "X", or one input for each column."""
    if preparation is None or preparation.n_sparse or not preparation.columns:
        return graph.input("X", graph.dtype, net.n_features_)
    hashed = [name for name, how in preparation.columns.items() if isinstance(how, Hashed)]
    if hashed:
        raise ValueError(
            f"to_onnx cannot export the hashing of column {hashed[0]!r}: ONNX has no operator for it; give "
            f"preparation=False, and the graph begins at the {net.n_features_} features that the preparation gives"
        )
    return graph.add("Concat", *(_column(graph, name, how) for name, how in preparation.columns.items()), axis=1)


def _column(graph: Graph, name: str, how: Any) -> str:
    if not isinstance(how, Number):
        return _one_hot(graph, graph.input(name, object, 1), how)
    # As in training: the mean is subtracted in float64, the rest is float32.
    x = graph.add("Sub", graph.input(name, np.float64, 1), graph.constant(how.mean, np.float64))
    z = graph.add("Cast", x, to=_code(np.float32))
    fill = graph.constant(how.fill - how.mean, np.float32)
    z = graph.add("Where", graph.add("IsNaN", z), fill, z)
    return graph.add("Cast", graph.add("Mul", z, graph.constant(how.factor, np.float32)), to=_code(graph.dtype))


def _one_hot(graph: Graph, column: str, categories: Sequence[str]) -> str:
    """(rows, k): the number of each text, compared with all numbers; one that was never seen has -1 and gives zeros."""
    numbers = list(range(len(categories)))
    code = graph.add(
        "LabelEncoder", column, domain="ai.onnx.ml", keys_strings=list(categories), values_int64s=numbers,
        default_int64=-1,
    )  # fmt: skip
    return graph.add("Cast", graph.add("Equal", code, graph.constant([numbers], np.int64)), to=_code(graph.dtype))


def _code(dtype: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


# ---- outputs ------------------------------------------------------------------------------------------------------


def _outputs(graph: Graph, net: Network, raw: str, preparation: Preparation | None) -> None:
    """Labels and probabilities, or predictions, as `predict` and `predict_proba` give them."""
    if net.loss.task == "regression":
        _numbers_out(graph, net, raw, preparation)
        return
    n = net.n_outputs_
    if is_multilabel(net.loss, n):
        yes = graph.add("Greater", raw, graph.constant(0))
        graph.output(graph.add("Cast", yes, to=_code(np.int64)), "label", np.int64, n)
    else:
        _labels_out(graph, net, raw)
    probability = _probabilities(graph, net, raw)
    if probability:
        graph.output(probability, "probabilities", graph.dtype, max(n, 2) if not is_multilabel(net.loss, n) else n)
    else:
        graph.output(raw, "scores", graph.dtype, n)


def _numbers_out(graph: Graph, net: Network, raw: str, preparation: Preparation | None) -> None:
    if net.loss.name == "poisson":
        raw = graph.add("Exp", raw)
    target, dtype = preparation and preparation.to_predict, graph.dtype
    if target:
        dtype = np.dtype(np.float64)
        raw = graph.add("Cast", raw, to=_code(dtype))
        raw = graph.add("Mul", raw, graph.constant(target.scale, dtype))
        raw = graph.add("Add", raw, graph.constant(target.mean, dtype))
        raw = graph.add("Exp", raw) if target.log else raw
    if net._one_dimensional and net.n_outputs_ == 1:
        graph.output(graph.add("Squeeze", raw, graph.constant([1], np.int64)), "prediction", dtype)
    else:
        graph.output(raw, "prediction", dtype, net.n_outputs_)


def _labels_out(graph: Graph, net: Network, raw: str) -> None:
    """The label of the highest output, or of the sign of the only one."""
    n, classes = net.n_outputs_, net.classes_
    if n == 1:
        yes = graph.add("Greater", raw, graph.constant(0))
        code = graph.add("Squeeze", graph.add("Cast", yes, to=_code(np.int64)), graph.constant([1], np.int64))
    else:
        code = graph.add("ArgMax", raw, axis=1, keepdims=0)
    if classes is None or (np.array_equal(classes, np.arange(max(n, 2))) and classes.dtype.kind in "iu"):
        graph.output(code, "label", np.int64)
        return
    labels, dtype = _labels(classes)
    graph.output(graph.add("Gather", graph.constant(labels, dtype), code), "label", dtype)


def _labels(classes: np.ndarray) -> tuple[Any, Any]:
    """Labels as ONNX can hold them: integers, float64, booleans, else text."""
    if classes.dtype.kind == "u" and classes.max() > np.iinfo(np.int64).max:
        raise ValueError(f"to_onnx cannot export the label {classes.max()}: integers in ONNX end at 2^63 - 1")
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
    if classes.dtype.kind in kinds:
        return classes, kinds[classes.dtype.kind]
    return np.array(
        [str(label) for label in classes.astype(object if classes.dtype.kind == "O" else str)], object
    ), object


def _probabilities(graph: Graph, net: Network, raw: str) -> str | None:
    """What `predict_proba` gives; None where the loss has no probabilities."""
    loss, n = net.loss, net.n_outputs_
    if loss.name == "modified_huber":
        return _modified_huber(graph, raw, n)
    if loss.task == "binary" and not loss.is_margin:
        z = raw if n > 1 else graph.add("Concat", graph.add("Neg", raw), raw, axis=1)
        return graph.add("Exp", graph.add("Neg", _softplus(graph, graph.add("Neg", z))))  # exact for small ones too
    return graph.add("Softmax", raw, axis=1) if loss.task == "classes" and loss.across_outputs else None


def _modified_huber(graph: Graph, raw: str, n: int) -> str:
    one, zero = graph.constant(1), graph.constant(0)
    clipped = graph.add("Max", graph.add("Min", raw, one), graph.constant(-1))
    yes = graph.add("Div", graph.add("Add", clipped, one), graph.constant(2))
    if n == 1:
        return graph.add("Concat", graph.add("Sub", one, yes), yes, axis=1)
    total = graph.add("ReduceSum", yes, graph.constant([1], np.int64), keepdims=1)
    is_some = graph.add("Greater", total, zero)
    share = graph.add("Div", yes, graph.add("Where", is_some, total, one))
    return graph.add("Where", is_some, share, graph.constant(np.full(n, 1.0 / n)))


def _metadata(net: Network) -> dict[str, str]:
    """What a reader of the file may want to know: the loss, the labels, names of the features."""
    import json

    found = {"loss": net.loss.name}
    if net.classes_ is not None:
        found["classes"] = json.dumps(np.asarray(_labels(net.classes_)[0]).tolist())
    if hasattr(net, "feature_names_in_"):
        found["feature_names"] = json.dumps([str(name) for name in net.feature_names_in_])
    return found
