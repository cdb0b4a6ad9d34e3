"""What y may be: labels of any type, soft targets or numbers, as the kernels read them; and the way back.

Labels become codes 0..k-1 in one column; the kernel spreads a code over k outputs, or maps 0 and 1 to the loss's two
targets on one output. Numbers and soft targets are read where they lie.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import check_number
from .checks import Matrix, as_array, check_finite, check_rows, check_weights, dtype_code, first_row, is_sparse
from .labels import encode, first_fraction, is_range, some, unique_labels
from .losses import Loss

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Targets:
    """y as the kernels read it.

    Attributes
    ----------
    matrix : Matrix
        Codes of labels (n_samples, 1), or numbers (n_samples, n_outputs).
    labels : bool
        Whether they are codes.
    classes_ : ndarray of shape (n_classes,), or None
        Sorted; the label of each code. None for regression and multilabel targets.
    n_outputs : int
    one_dimensional : bool
        Whether predictions are 1-D.
    """

    matrix: Matrix
    labels: bool
    classes_: Array | None = field(repr=False)
    n_outputs: int
    one_dimensional: bool

    @property
    def codes(self) -> NDArray[np.intp] | None:
        """The codes of the labels, shape (n_samples,); None without labels."""
        return self.matrix.array[:, 0].astype(np.intp) if self.labels else None


def prepare_targets(
    y: Any,
    loss: Loss,
    n_rows: int | None = None,
    n_outputs: int | None = None,
    classes: Any = None,
    may_infer: bool = True,
    name: str = "y",
) -> Targets:
    """Check y against a loss and a network, and find its classes.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    loss : Loss
    n_rows : int, optional
        Rows of X.
    n_outputs : int, optional
        Of the network; by default from y.
    classes : array-like, optional
        The labels of a former fit, or those that `partial_fit` was told.
    may_infer : bool, default True
        Whether y may be taken to hold all labels; False in the first `partial_fit`.
    name : str
        What errors call y.

    Raises
    ------
    TypeError
        If y holds what the loss cannot use.
    ValueError
        If its shape, number of labels or values do not fit; the message names the row or the labels.
    """
    array = read_targets(y, name)
    if n_rows is not None:
        check_rows(array, n_rows, name)
    if loss.task == "regression":
        if classes is not None:
            raise ValueError(f"classes must be None: the loss {loss.name} is for numbers, not labels")
        return _numbers(array, loss, n_outputs, name)
    if array.ndim == 2 and array.shape[1] > 1:
        return _rows_of_outputs(array, loss, n_outputs, classes, name)
    return _one_label_a_row(array.reshape(len(array)), loss, n_outputs, classes, may_infer, name)


def is_multilabel(loss: Loss, n_outputs: int) -> bool:
    """Whether each output answers a yes-or-no question of its own."""
    return loss.task == "binary" and not loss.is_margin and n_outputs > 1


def read_targets(y: Any, name: str) -> Array:
    """y as an array, 1-D or 2-D; numbers that came as Python objects as numbers."""
    if is_sparse(y):
        raise TypeError(f"{name} must be dense; give {name}.toarray()")
    array = as_array(y, name)
    if array.ndim not in (1, 2) or array.shape[-1] == 0 or array.shape[0] == 0:
        raise ValueError(f"{name} must be 1-D or 2-D and not empty, got shape {array.shape}")
    if array.dtype.kind == "O":  # Python numbers in an array of objects
        inferred = np.array(array.tolist()) if _are_numbers(array) else array
        return inferred if inferred.shape == array.shape and inferred.dtype.kind in "biuf" else array
    return array


def _are_numbers(objects: Array) -> bool:
    return all(isinstance(v, (int, float, np.number, np.bool_)) for v in objects.ravel())


def _check_width(array: Array, n_outputs: int | None, name: str) -> int:
    """The number of outputs, by the network or else by the 2-D array."""
    if n_outputs is not None and array.shape[1] != n_outputs:
        raise ValueError(f"{name} must have shape (n_samples, {n_outputs}), got {array.shape}")
    return int(array.shape[1])


def _check_range(array: Array, low: float, high: float, why: str, name: str) -> None:
    row = first_row(array, lambda rows: (rows < low) | (rows > high))
    if row is not None:
        raise ValueError(f"{name} must be {why}, got {array[row]} in row {row}")


# ---- numbers ------------------------------------------------------------------------------------------------------


def _numbers(array: Array, loss: Loss, n_outputs: int | None, name: str) -> Targets:
    """Targets of regression."""
    one_dimensional = array.ndim == 1
    if one_dimensional and n_outputs not in (None, 1):
        raise ValueError(f"{name} must have shape (n_samples, {n_outputs}), got {array.shape}")
    matrix = array[:, None] if one_dimensional else array
    dtype_code(array.dtype, name)
    n_outputs = _check_width(matrix, n_outputs, name)
    check_finite(array, name)
    if loss.name == "poisson":
        _check_range(array, 0.0, np.inf, ">= 0 for the loss poisson", name)
    return Targets(Matrix.of(matrix, name), False, None, n_outputs, one_dimensional)


def _rows_of_outputs(array: Array, loss: Loss, n_outputs: int | None, classes: Any, name: str) -> Targets:
    """2-D targets of classes: soft or one-hot rows, or several yes-or-no answers."""
    dtype_code(array.dtype, f"2-D {name}")
    n_outputs = _check_width(array, n_outputs, name)
    check_finite(array, name)
    if is_multilabel(loss, n_outputs):
        _check_range(array, 0.0, 1.0, f"within 0..1 for the loss {loss.name}", name)
        return Targets(Matrix.of(array, name), False, None, n_outputs, False)
    labels = np.arange(n_outputs) if classes is None else _check_classes(classes, n_outputs)
    if loss.is_margin:
        codes = _codes_of_one_hot(array, loss, name)
        return Targets(Matrix.of(codes[:, None], name), True, labels, n_outputs, True)
    _check_range(array, 0.0, np.inf, "soft targets >= 0", name)
    if loss.across_outputs:
        row = first_row(array, lambda rows: np.abs(rows.sum(axis=1, dtype=np.float64) - 1.0) > 1e-3)
        if row is not None:
            raise ValueError(
                f"each row of 2-D {name} must sum to 1 for the loss {loss.name}, got {array[row]} in row {row}"
            )
    return Targets(Matrix.of(array, name), False, labels, n_outputs, True)


def _codes_of_one_hot(array: Array, loss: Loss, name: str) -> Array:
    row = first_row(array, lambda rows: ((rows != 0) & (rows != 1)).any(axis=1) | (rows.sum(axis=1) != 1))
    if row is not None:
        raise ValueError(f"2-D {name} must be one-hot for the loss {loss.name}, got {array[row]} in row {row}")
    codes: Array = np.argmax(array, axis=1)
    return codes


def _one_label_a_row(
    array: Array, loss: Loss, n_outputs: int | None, classes: Any, may_infer: bool, name: str
) -> Targets:
    """1-D targets of classes: labels, or probabilities for a binary loss on one output."""
    if array.dtype.kind == "f":
        check_finite(array, name)
    elif array.dtype.kind in "cV":
        raise TypeError(f"{name} must hold labels, got dtype {array.dtype}")
    if n_outputs is None:
        n_outputs = _outputs_for(array, loss, classes, name)
    if is_multilabel(loss, n_outputs):
        raise ValueError(
            f"{name} must have shape (n_samples, {n_outputs}): several outputs of {loss.name} are separate yes-or-no "
            f"answers; cross_entropy is for one of {n_outputs} classes"
        )
    if loss.task == "classes" and n_outputs == 1:
        raise ValueError(f"the loss {loss.name} needs an output for each class, got 1 output; bce is for one output")
    n_classes = 2 if n_outputs == 1 else n_outputs
    known = None if classes is None else _check_classes(classes, n_classes)
    if n_outputs == 1 and not loss.is_margin and are_probabilities(array, known):
        known = np.arange(2) if known is None else known
        return Targets(Matrix.of(array[:, None], name), False, known, 1, True)
    if array.dtype.kind == "f" and (row := first_fraction(array)) is not None:
        probabilities = ", or all of them probabilities within 0..1" if n_outputs == 1 and not loss.is_margin else ""
        raise ValueError(f"labels in {name} must be whole numbers{probabilities}, got {array[row]} in row {row}")
    codes, known = encode(array, n_classes, known, may_infer, name)
    return Targets(Matrix.of(codes[:, None], name), True, known, n_outputs, True)


def _outputs_for(array: Array, loss: Loss, classes: Any, name: str) -> int:
    """How many outputs these labels need."""
    if array.dtype.kind == "f" and loss.task == "binary" and not loss.is_margin and are_probabilities(array, None):
        return 1
    n_classes = len(unique_labels(array, name)[0]) if classes is None else len(np.unique(as_array(classes, "classes")))
    if n_classes < 2:
        raise ValueError(f"{name} must have at least two distinct labels, got {n_classes}")
    return 1 if loss.task == "binary" and n_classes == 2 else n_classes


def are_probabilities(array: Array, classes: Array | None) -> bool:
    """Whether 1-D floats are soft targets: within 0..1 and not all whole."""
    if array.dtype.kind != "f" or not (classes is None or is_range(classes)):
        return False
    outside = first_row(array, lambda rows: (rows < 0) | (rows > 1))
    return outside is None and first_fraction(array) is not None


def _check_classes(classes: Any, n_classes: int) -> Array:
    """The labels that a network was told, sorted."""
    is_usual = isinstance(classes, np.ndarray) and classes.shape == (n_classes,) and classes.dtype.kind in "biufU"
    if is_usual and (classes[1:] > classes[:-1]).all():  # as a network keeps them: 3 us instead of 17
        return np.array(classes)
    distinct = unique_labels(read_targets(classes, "classes").ravel(), "classes")[0]
    if len(distinct) != n_classes:
        raise ValueError(f"classes must have {n_classes} distinct labels, got {len(distinct)} ({some(distinct)})")
    return distinct


# ---- weights ------------------------------------------------------------------------------------------------------


def combine_weights(sample_weight: Any, class_weight: Any, targets: Targets) -> NDArray[np.float64] | None:
    """The weight of each sample.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), or None
    class_weight : None, "balanced" or dict of label to weight
        "balanced" is n_samples / (n_classes count), over the classes in y and regardless of `sample_weight`, as in
        scikit-learn's SGDClassifier. Labels that a dict leaves out have weight 1.
    targets : Targets

    Returns
    -------
    ndarray of shape (n_samples,), float64, or None if all weights are 1

    Raises
    ------
    ValueError
        If a weight is negative or not finite, y has no labels, or a label in the dict is unknown.
    TypeError
        If `class_weight` is something else.
    """
    weights = _of_usual_size(check_weights(sample_weight, targets.matrix.n_rows))
    if class_weight is None:
        return weights
    codes, classes = targets.codes, targets.classes_
    if codes is None or classes is None:
        raise ValueError("class_weight needs labels in y, not numbers, soft or multilabel targets: use sample_weight")
    of_class = class_weights(class_weight, np.bincount(codes, minlength=len(classes)), classes)
    return of_class[codes] if weights is None else of_class[codes] * weights


def _of_usual_size(weights: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Only ratios of weights count: where their sum, or one over it, might overflow, those to the largest."""
    largest = 1.0 if weights is None else float(weights.max())
    if weights is None or largest == 0.0 or 1e-100 < largest < 1e100:
        return weights
    return weights / largest


def class_weights(class_weight: Any, counts: NDArray[np.intp], classes: Array) -> NDArray[np.float64]:
    """The weight of each class, which so many samples have."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        return float(counts.sum()) / (np.count_nonzero(counts) * np.maximum(counts, 1.0))
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight must be None, 'balanced' or a dict, got {class_weight!r}")
    positions = {label: i for i, label in enumerate(classes.tolist())}
    unknown = [label for label in class_weight if label not in positions]
    if unknown:
        raise ValueError(f"class_weight has unknown labels {some(unknown)}; known are {some(classes)}")
    weights = np.ones(len(classes))
    for label, weight in class_weight.items():
        weights[positions[label]] = check_number(f"class_weight[{label!r}]", weight, 0.0)
    return weights


# ---- the way back -------------------------------------------------------------------------------------------------


def decode(raw: Array, loss: Loss, classes: Array | None, one_dimensional: bool = True) -> Array:
    """Predictions from raw outputs.

    Parameters
    ----------
    raw : ndarray of shape (n_samples, n_outputs)
    loss : Loss
    classes : ndarray of shape (n_classes,), or None
        `Targets.classes_`; None gives codes.
    one_dimensional : bool
        Whether numbers come back as (n_samples,).

    Returns
    -------
    ndarray
        Labels (n_samples,); multilabel 0 and 1 (n_samples, n_outputs), int64; or numbers in the shape of y.
    """
    if loss.task == "regression":
        values = np.exp(raw) if loss.name == "poisson" else raw
        return values[:, 0] if one_dimensional and values.shape[1] == 1 else values
    if len(raw) == 1 and classes is not None:  # without arrays of codes: 1 us instead of 3
        code = int(raw.item() > 0 if raw.shape[1] == 1 else raw.argmax())
        return classes[code : code + 1].copy()
    if is_multilabel(loss, raw.shape[1]):
        return (raw > 0).astype(np.int64)
    codes = (raw[:, 0] > 0).astype(np.int64) if raw.shape[1] == 1 else raw.argmax(axis=1)
    return codes if classes is None else classes[codes]


def probabilities(raw: Array, loss: Loss) -> Array:
    """Probabilities of classes from raw outputs.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), of raw's dtype
        Multilabel: the probability of each yes.

    Raises
    ------
    ValueError
        If the loss gives none.
    """
    if loss.name == "modified_huber":
        return _modified_huber_probabilities(raw)
    if loss.task == "binary" and not loss.is_margin:
        z = raw if raw.shape[1] > 1 else np.concatenate([-raw, raw], axis=1)  # no, yes
        yes: Array = np.exp(-np.logaddexp(0, -z))  # the sigmoid, with small values exact
        return yes
    if loss.task == "classes" and loss.across_outputs:
        return softmax(raw)
    raise ValueError(
        f"predict_proba needs a loss with probabilities (bce, cross_entropy, modified_huber); {loss.name} has none: "
        f"use predict"
    )


def softmax(raw: Array) -> Array:
    """exp(raw), divided by its sum over a row."""
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _modified_huber_probabilities(raw: Array) -> Array:
    """(clip(p, -1, 1) + 1) / 2, for several outputs divided by their sum. Zhang 2004; as in scikit-learn."""
    yes = (np.clip(raw, -1.0, 1.0) + 1.0) / 2.0
    if raw.shape[1] == 1:
        return np.hstack([1.0 - yes, yes])
    total = yes.sum(axis=1, keepdims=True)
    return np.where(total > 0, yes / np.where(total > 0, total, 1.0), 1.0 / raw.shape[1])
