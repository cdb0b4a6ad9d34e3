"""The loop of `partial_fit` over a dataset, for estimators with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import check_positive_int

if TYPE_CHECKING:
    from .dataset import Dataset


def fit_parts(
    data: Dataset, model: Any, epochs: int, classes: Any, shuffle: bool, seed: int, options: Mapping[str, Any]
) -> Any:
    """`Dataset.partial_fit`."""
    check_positive_int("epochs", epochs)
    if not (hasattr(model, "partial_fit") and hasattr(model, "get_params")):
        raise TypeError(
            f"partial_fit takes an estimator with scikit-learn's interface, such as SGDClassifier, got {model!r}; "
            f"Network.fit takes a dataset itself"
        )
    if classes is None and _is_classifier(model) and not hasattr(model, "classes_"):
        classes = data.labels()[0]
    known = {} if classes is None else {"classes": classes}
    with data.windows(data.window_rows(), range(epochs), shuffle=shuffle, seed=seed) as windows:
        for window in windows:
            rows: Any = slice(None)
            if shuffle and not data.is_sparse:  # estimators of ours draw rows themselves; others may not
                rows = np.random.default_rng([seed, 3, window.epoch, window.number]).permutation(window.n_rows)
            model.partial_fit(window.X[rows], None if window.y is None else window.y[rows], **known, **options)
            window.release()
    return model


def _is_classifier(model: Any) -> bool:
    from sklearn.base import is_classifier

    return bool(is_classifier(model))
