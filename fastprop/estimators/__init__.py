"""scikit-learn estimators: its parameters, attributes and meaning, trained by fastprop's kernels."""

from .mlp_classifier import MLPClassifier
from .mlp_regressor import MLPRegressor
from .sgd_classifier import SGDClassifier
from .sgd_regressor import SGDRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "SGDClassifier", "SGDRegressor"]
