"""What a network is apart from training: checks of its layers against its loss, its arrays by name, its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .arguments import check_choice
from .components import Description
from .initializers import generator, initial
from .labels import describe_classes
from .layers import Dense, Layer, Residual, Softmax
from .losses import Loss
from .plan import Operation, Plan
from .workspace import Parameters

if TYPE_CHECKING:
    from .network import Network

Pair: TypeAlias = tuple[np.ndarray, np.ndarray | None]
STATISTICS = ("running_mean", "running_variance")  # of a batch norm, in files

# ---- checks -------------------------------------------------------------------------------------------------------


def check_seed(seed: Any) -> int:
    """A whole number >= 0."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if not 0 <= int(seed) < 2**63:
        raise ValueError(f"seed must be within 0..2^63-1, got {seed}")
    return int(seed)


def check_dtype(dtype: Any) -> str:
    """ "float32" or "float64", from a name or a NumPy dtype."""
    try:
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    return check_choice("dtype", name, ("float32", "float64"))


def dense_layers(layers: Sequence[Layer]) -> list[Dense]:
    """All Dense layers, those inside Residual included."""
    found: list[Dense] = []
    for layer in layers:
        if isinstance(layer, Dense):
            found.append(layer)
        elif isinstance(layer, Residual):
            found += dense_layers(layer.layers)
    return found


def activation_name(layer: Layer) -> str:
    """The registered name of a Dense layer's activation."""
    return layer.activation.component_name if isinstance(layer, Dense) else "identity"


def check_output(layers: Sequence[Layer], loss: Loss) -> None:
    """Refuse a last activation that the loss does not fit."""
    last = layers[-1]
    for layer in dense_layers(layers):
        if isinstance(layer.activation, Softmax) and (layer is not last or loss.name != "cross_entropy"):
            raise ValueError(
                f"activation 'softmax' is for the last layer under loss='cross_entropy', which applies it; got it "
                f"{'with loss ' + repr(loss.name) if layer is last else 'in an inner layer'}"
            )
    if loss.name == "cross_entropy" and activation_name(last) == "sigmoid":
        raise ValueError(
            "loss='cross_entropy' applies softmax to the outputs: drop the last activation 'sigmoid', or use 'bce'"
        )


def is_output_linear(layers: Sequence[Layer], loss: Loss) -> bool:
    """Whether the loss applies the last activation: sigmoid under bce, softmax under cross_entropy."""
    link = {"bce": "sigmoid", "cross_entropy": "softmax"}.get(loss.name)
    return isinstance(layers[-1], Dense) and activation_name(layers[-1]) == link


def check_width(loss: Loss, n_outputs: int) -> None:
    """Refuse a number of outputs that the loss cannot use."""
    if loss.name == "cross_entropy" and n_outputs < 2:
        raise ValueError(
            "loss='cross_entropy' needs an output for each class, the last layer has 1; for two classes use Dense(2), "
            "or Dense(1) with loss='bce'"
        )


def check_sparse(layers: Sequence[Layer], matrix: Any, name: str) -> None:
    """Refuse CSR where the first layer is not Dense."""
    if matrix.is_sparse and not isinstance(layers[0], Dense):
        raise TypeError(f"{name} is sparse, so the first layer must be Dense, got {type(layers[0]).__name__}")


def n_outputs(layers: Sequence[Layer], n_features: int) -> int:
    """Outputs of the network: the units of the last layer that has any, else its inputs."""
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    return dense[-1].units if dense else n_features


# ---- parameters ---------------------------------------------------------------------------------------------------


def initial_parameters(plan: Plan, rule: Any, seed: int) -> Parameters:
    """Weights drawn by the layers' initialisers; norms with gamma 1, beta 0 and running variance 1."""
    parameters = Parameters(plan, type(rule))
    for k, op in enumerate(plan.parametric):
        if op.is_dense:
            assert isinstance(op.layer, Dense)
            layer = op.layer
            if isinstance(layer.init, str) and isinstance(layer.bias_init, str) and layer.init == "zeros":
                continue  # that is what there is; a generator takes 30 us
            rng = generator(seed, k)
            W = initial(layer.init, (op.x.n, op.out.n), activation_name(layer), rng, f"init of {op.name}")
            b = initial(layer.bias_init, (op.out.n,), "identity", rng, f"bias_init of {op.name}")
            plan.pack(op, parameters.rows[0], W, b if op.has_bias else None)
        else:
            plan.pack(op, parameters.rows[0], np.ones(op.out.n), np.zeros(op.out.n))
        if op.kind == "batch_norm":
            plan.statistics_of(op, parameters.statistics)[1][:] = 1.0
    return parameters


def fitting(plan: Plan, parameters: Parameters, rule: Any) -> Parameters:
    """Parameters with state for `rule`: these, or if they have another rule's, new ones with the same weights."""
    if parameters.rule is type(rule):
        return parameters
    made = Parameters(plan, type(rule))
    made.rows[0], made.statistics[:] = parameters.rows[0], parameters.statistics
    return made


def check_pairs(weights: Any) -> list[Pair]:
    """Weights as a list of pairs of finite float64 arrays."""
    if not isinstance(weights, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in weights):
        raise TypeError("weights must be a list of pairs (W, b), as get_weights gives them")
    pairs = []
    for k, pair in enumerate(weights):
        try:
            arrays = [None if a is None else np.asarray(a, dtype=np.float64) for a in pair]
        except (ValueError, TypeError) as error:
            raise type(error)(f"weights[{k}] must be a pair of arrays of real numbers: {error}") from error
        if arrays[0] is None or any(a is not None and not np.isfinite(a).all() for a in arrays):
            raise ValueError(f"weights[{k}] must be finite arrays")
        pairs.append((arrays[0], arrays[1]))
    if not pairs:
        raise ValueError("weights must hold at least one pair (W, b)")
    return pairs


def n_features_of(pairs: list[Pair]) -> int:
    """The inputs of a network with these weights."""
    if pairs[0][0].ndim == 0:
        raise ValueError(f"weights[0] must start with an array, got the number {pairs[0][0]}")
    return int(pairs[0][0].shape[0])


def expected_shapes(op: Operation) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The shapes of a pair of `get_weights`."""
    if op.is_dense:
        return (op.x.n, op.out.n), (op.out.n,) if op.has_bias else None
    return (op.out.n,), (op.out.n,)


def check_shapes(plan: Plan, pairs: list[Pair]) -> None:
    """Refuse weights that do not fit the plan."""
    if len(pairs) != len(plan.parametric):
        raise ValueError(
            f"weights must hold {len(plan.parametric)} pairs, one for each Dense or norm layer, got {len(pairs)}"
        )
    for k, (op, pair) in enumerate(zip(plan.parametric, pairs, strict=True)):
        got = tuple(None if a is None else a.shape for a in pair)
        if got != expected_shapes(op):
            raise ValueError(f"weights[{k}] ({op.name}) must have shapes {expected_shapes(op)}, got {got}")


def named_arrays(plan: Plan, parameters: Parameters, row: int = 0) -> dict[str, np.ndarray]:
    """Unpadded copies of a row of the parameters, and of the running statistics, by name."""
    arrays: dict[str, np.ndarray] = {}
    for op in plan.parametric:
        names = parameter_names(op)
        for name, array in zip(names, plan.unpack(op, parameters.rows[row]), strict=True):
            if array is not None:
                arrays[f"{op.key}.{name}"] = array
        if op.kind == "batch_norm" and row == 0:
            for kind, values in zip(STATISTICS, plan.statistics_of(op, parameters.statistics), strict=True):
                arrays[f"{op.key}.{kind}"] = values.copy()
    return arrays


def expected_arrays(plan: Plan, row: int = 0) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what `named_arrays` gives."""
    expected: dict[str, tuple[int, ...]] = {}
    for op in plan.parametric:
        for name, shape in zip(parameter_names(op), expected_shapes(op), strict=True):
            if shape is not None:
                expected[f"{op.key}.{name}"] = shape
        if op.kind == "batch_norm" and row == 0:
            expected |= {f"{op.key}.{kind}": (op.out.n,) for kind in STATISTICS}
    return expected


def check_named_shapes(plan: Plan, shapes: Mapping[str, tuple[int, ...]], row: int = 0) -> None:
    """Refuse arrays that are missing, superfluous or of another shape; takes no memory for the network."""
    expected = expected_arrays(plan, row)
    if set(shapes) != set(expected):
        odd = sorted(map(repr, set(shapes) ^ set(expected)), key=len)
        verb = "is" if len(odd) == 1 else "are"
        raise ValueError(f"arrays do not fit the network: {', '.join(odd[:5])} {verb} missing or unknown")
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise ValueError(f"array {name!r} must have shape {expected[name]}, got {shape}")


def parameter_names(op: Operation) -> tuple[str, str]:
    """What a pair of `get_weights` is called in files."""
    return ("W", "b") if op.is_dense else ("gamma", "beta")


def set_named_arrays(
    plan: Plan, parameters: Parameters, arrays: Mapping[str, np.ndarray], row: int = 0, finite: bool = True
) -> None:
    """The reverse of `named_arrays`, array by array: those of a file need not be in memory together.

    A ValueError names what has another shape, or is not `finite`; `parameters` are then half written.
    """
    for op in plan.parametric:
        values = []
        for name, shape in zip(parameter_names(op), expected_shapes(op), strict=True):
            values.append(None if shape is None else _checked(arrays, f"{op.key}.{name}", shape, finite))
        assert values[0] is not None
        plan.pack(op, parameters.rows[row], values[0], values[1])
        if op.kind == "batch_norm" and row == 0:
            for kind, target in zip(STATISTICS, plan.statistics_of(op, parameters.statistics), strict=True):
                target[:] = _checked(arrays, f"{op.key}.{kind}", target.shape, finite)


def _checked(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], finite: bool) -> np.ndarray:
    array = arrays[name]
    if array.shape != shape:
        raise ValueError(f"array {name!r} must have shape {shape}, got {array.shape}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"array {name!r} is not finite")
    if name.endswith(STATISTICS[1]) and array.min(initial=0.0) < 0:
        raise ValueError(f"array {name!r} must be >= 0")
    return array


def portable(plan: Plan, parameters: Parameters) -> dict[str, Any]:
    """Everything that training changes, without the pads of this machine's registers; for pickle."""
    slots = [named_arrays(plan, parameters, row) for row in range(2, len(parameters.rows))]
    return {
        "n_features": plan.n_features,
        "values": named_arrays(plan, parameters),
        "slots": slots,
        "count": parameters.count,
        "rule": parameters.rule.component_name,
    }


def from_portable(net: Network, state: Mapping[str, Any]) -> tuple[Plan, Parameters]:
    """The reverse of `portable`."""
    plan = Plan(net.layers, state["n_features"], net.dtype, is_output_linear(net.layers, net.loss))
    parameters = Parameters(plan, type(net.optimizer.rule()))
    check_named_shapes(plan, {name: array.shape for name, array in state["values"].items()})
    set_named_arrays(plan, parameters, state["values"])
    if state["rule"] == parameters.rule.component_name:  # else the optimizer was changed, and starts anew
        for row, arrays in enumerate(state["slots"], 2):
            set_named_arrays(plan, parameters, arrays, row)
        parameters.count = state["count"]
    return plan, parameters


# ---- the file -----------------------------------------------------------------------------------------------------


def describe(net: Network, extra: Mapping[str, Any]) -> Description:
    """The network as JSON."""
    return {
        "layers": [layer.describe() for layer in net.layers],
        "loss": net.loss.describe(),
        "optimizer": net.optimizer.describe(),
        "l1": net.l1, "l2": net.l2, "divides_penalties": net.divides_penalties,
        "clip_norm": net.clip_norm, "clip_value": net.clip_value,
        "seed": net.seed, "dtype": net.dtype, "n_features": net.n_features_,
        "classes": describe_classes(net.classes_),
        "one_dimensional": net._one_dimensional,
        "feature_names": [str(n) for n in net.feature_names_in_] if hasattr(net, "feature_names_in_") else None,
        "preparation": None if net.preparation_ is None else net.preparation_.to_dict(),
        "extra": dict(extra),
    }  # fmt: skip
