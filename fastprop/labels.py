"""Labels and their codes: any type in, 0..k-1 for the kernels, and the labels of a file."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import first_row

Array = NDArray[Any]

KINDS = "biufUMO"  # of labels that go to files
DTYPE = re.compile(rf"[<>=|]?[{KINDS}]\d{{0,9}}(\[[a-zA-Z]{{1,2}}\])?")  # NumPy would parse whole records
MAX_BYTES = 2**24  # of labels from a file that says no other number


def encode(array: Array, n_classes: int, classes: Array | None, may_infer: bool, name: str) -> tuple[Array, Array]:
    """Codes of labels, and the sorted labels.

    Parameters
    ----------
    array : ndarray of shape (n_samples,)
        Floats must be whole and finite.
    n_classes : int
    classes : ndarray of shape (n_classes,), optional
        The sorted labels, where they are known.
    may_infer : bool
        Whether `array` may be taken to hold all labels.
    name : str
        What errors call it.

    Returns
    -------
    codes : ndarray of shape (n_samples,)
        int32; or `array` itself where it holds codes already.
    classes : ndarray of shape (n_classes,)
    """
    if array.dtype.kind in "biuf" and (classes is None or is_range(classes)):
        in_range = array.min() >= 0 and array.max() < n_classes
        if in_range and (array.dtype.kind != "b" or n_classes == 2):
            return array, _range_like(array, n_classes) if classes is None else classes
    if classes is not None:
        return _positions(array, classes, name), classes
    if not may_infer:
        raise ValueError(
            f"the first partial_fit needs classes=, unless labels are integers within 0..{n_classes - 1}; "
            f"got labels {some(unique_labels(array, name)[0])}"
        )
    distinct, codes = unique_labels(array, name)
    if len(distinct) != n_classes:
        raise ValueError(
            f"{name} has {len(distinct)} distinct labels ({some(distinct)}), but the network is for {n_classes} "
            f"classes: give integers within 0..{n_classes - 1}, or exactly {n_classes} distinct labels"
        )
    return codes, distinct


def _range_like(array: Array, n_classes: int) -> Array:
    """0..n_classes - 1 as labels of the kind that y has."""
    kinds: dict[str, type] = {"b": np.bool_, "f": np.float64}
    return np.arange(n_classes).astype(kinds.get(array.dtype.kind, np.int64))


def unique_labels(array: Array, name: str) -> tuple[Array, Array]:
    """The sorted labels, and the codes as int32."""
    try:
        distinct, codes = np.unique(array, return_inverse=True)
    except TypeError as error:
        missing = [row for row, label in enumerate(array.tolist()) if label is None or label != label]
        why = f"row {missing[0]} has none" if missing else str(error)
        raise TypeError(f"labels in {name} must be of one type that can be sorted: {why}") from error
    return distinct, codes.astype(np.int32)


def _positions(array: Array, classes: Array, name: str) -> Array:
    """Codes of labels under known classes."""
    codes, known = positions(array, classes)
    if not known.all():
        unseen = list(dict.fromkeys(array[~known].tolist()))
        raise ValueError(f"{name} has labels never seen in fit: {some(unseen)}; known are {some(classes)}")
    return codes


def positions(array: Array, classes: Array) -> tuple[Array, Array]:
    """Codes int32 of labels under sorted classes, and which labels are among them."""
    try:
        # Numbers and strings: NumPy would compare 1 with "1" and find them equal.
        if (array.dtype.kind in "biuf") != (classes.dtype.kind in "biuf"):
            array = array.astype(object)
        codes = np.minimum(np.searchsorted(classes, array), len(classes) - 1)
        known = np.asarray(classes[codes] == array)
    except TypeError:  # labels that cannot be compared with ours, or missing ones among them
        place = {label: code for code, label in enumerate(classes.tolist())}
        found = np.array([place.get(label, -1) for label in array.tolist()])
        codes, known = np.maximum(found, 0), found >= 0
    return codes.astype(np.int32), known


def is_range(classes: Array) -> bool:
    """Whether a label is its own code."""
    return classes.dtype.kind in "biuf" and np.array_equal(classes, np.arange(len(classes)))


def first_fraction(array: Array) -> int | None:
    """The first row that is not a whole number."""
    return first_row(array, lambda rows: rows != np.rint(rows))


def some(labels: Any, most: int = 8) -> str:
    """Some labels for a message."""
    shown = [repr(v) for v in (labels.tolist() if isinstance(labels, np.ndarray) else labels)[: most + 1]]
    return ", ".join(shown[:most] + ["..."] * (len(shown) > most))


# ---- labels in files ----------------------------------------------------------------------------------------------


def describe_classes(classes: Array | None) -> dict[str, Any] | None:
    """Labels as JSON; `classes_from_description` gives them back.

    Raises
    ------
    TypeError
        If a label is an object other than a string or a number.
    """
    if classes is None:
        return None
    kind = classes.dtype.kind
    values = classes.astype(str).tolist() if kind == "M" else classes.tolist()
    if kind not in KINDS or (kind == "O" and not all(isinstance(v, (str, bool, int, float)) for v in values)):
        raise TypeError(f"labels must be strings or numbers to be saved, got {some(classes)} of dtype {classes.dtype}")
    return {"dtype": classes.dtype.str, "values": values}


def classes_from_description(description: dict[str, Any] | None, most: int = MAX_BYTES) -> Array | None:
    """The labels that `describe_classes` described.

    Parameters
    ----------
    description : dict or None
    most : int
        Bytes that they may take: each string takes the room of the longest.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError
        If they are damaged.
    """
    if description is None:
        return None
    name, values = description["dtype"], description["values"]
    if not (isinstance(name, str) and DTYPE.fullmatch(name)):
        raise ValueError("labels of this dtype in the file are unknown")
    if not isinstance(values, list) or not all(isinstance(v, (str, bool, int, float)) for v in values):
        raise ValueError("labels in the file must be a list of strings or numbers")
    dtype = np.dtype(name)
    longest = max((len(v) for v in values if isinstance(v, str)), default=0)
    if len(values) * max(dtype.itemsize, 4 * longest) > most:
        raise ValueError(f"labels of dtype {dtype} in the file take more than {most} bytes")
    with np.errstate(all="ignore"):
        classes = np.array(values, dtype=object if dtype.kind == "O" else None).astype(dtype)
    if dtype.kind != "O" and not all(a < b for a, b in itertools.pairwise(classes.tolist())):
        raise ValueError("labels in the file must be sorted, each there once")
    return classes
