"""scikit-learn estimators: its parameters, attributes and meaning, trained by fastprop's kernels."""

from .sgd_classifier import SGDClassifier
from .sgd_regressor import SGDRegressor

__all__ = ["SGDClassifier", "SGDRegressor"]
