"""scikit-learn estimators: its parameters, attributes and meaning, trained by fastprop's kernels."""

from .sgd import SGDClassifier, SGDRegressor

__all__ = ["SGDClassifier", "SGDRegressor"]
