"""Labels as a classifier's network reads them, and the way back: scikit-learn's kinds of y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import type_of_target, unique_labels

from ..checks import Matrix
from ..losses import Loss
from ..targets import Targets, decode
from .classes import split_labels

SIMPLE = "biuU"  # dtype kinds of 1-D labels that need no look at each


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of a problem.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted; of a multilabel problem the numbers of its columns.
    kind : {"binary", "multiclass", "multilabel"}
        One class alone counts as binary.
    is_sparse : bool
        Whether predictions of a multilabel problem are a sparse matrix, as y was.
    """

    classes: np.ndarray
    kind: str
    is_sparse: bool = False

    @classmethod
    def of(cls, y: Any) -> Labels:
        """What y says; a ValueError for what is no classification."""
        if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in SIMPLE:
            return cls.known(split_labels(y)[0])
        kind = type_of_target(y, input_name="y")
        if "multioutput" in kind:
            raise ValueError(f"Multioutput target data is not supported: y is of the type {kind!r}")
        classes = unique_labels(y)
        return cls(classes, "multilabel", sparse.issparse(y)) if kind == "multilabel-indicator" else cls.known(classes)

    @classmethod
    def known(cls, classes: np.ndarray) -> Labels:
        """Those of a sorted list of classes."""
        return cls(classes, "binary" if len(classes) <= 2 else "multiclass")

    def n_outputs(self, loss: Loss) -> int:
        """Outputs of the network: one for two classes, but for losses that need one for each."""
        if self.kind == "binary":
            return 2 if loss.task == "classes" else 1
        return len(self.classes)

    def encode(self, y: Any) -> np.ndarray:
        """Codes (n_samples,), or answers (n_samples, n_classes) of a multilabel problem."""
        if self.kind == "multilabel":
            return np.ascontiguousarray(y.toarray() if sparse.issparse(y) else y).astype(np.uint8)
        codes: np.ndarray = np.searchsorted(self.classes, y)
        return codes

    def targets(self, codes: np.ndarray, loss: Loss) -> Targets:
        """The codes as kernels read them."""
        n_outputs = self.n_outputs(loss)
        if self.kind == "multilabel":
            return Targets(Matrix.of(codes, "y"), False, None, n_outputs, False)
        classes = np.arange(2) if len(self.classes) == 1 else self.classes
        return Targets(Matrix.of(codes[:, None], "y"), True, classes, n_outputs, True)

    def codes_of(self, raw: np.ndarray, loss: Loss) -> np.ndarray:
        """Predicted codes, in the shape of `encode`, from raw outputs."""
        if self.kind == "multilabel" or raw.shape[1] == 1:
            return decode(raw, loss, None)
        codes: np.ndarray = raw.argmax(axis=1)
        return codes

    def decode(self, raw: np.ndarray, loss: Loss) -> Any:
        """Predicted labels from raw outputs."""
        codes = self.codes_of(raw, loss)
        if self.kind == "multilabel":
            return sparse.csr_matrix(codes) if self.is_sparse else codes
        return self.classes[np.minimum(codes, len(self.classes) - 1)]
