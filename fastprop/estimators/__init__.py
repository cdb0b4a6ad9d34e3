"""scikit-learn estimators: its parameters, attributes and meaning, trained by fastprop's kernels."""
