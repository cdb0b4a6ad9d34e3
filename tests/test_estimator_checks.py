"""scikit-learn's checks of any estimator; those that it expects its own class to fail may fail, and no other."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastprop as fp

WEIGHTS = (
    "a row of weight 2 is one step of twice the length, not two steps; scikit-learn's class is excused for the same"
)
EXPECTED = {
    "SGDClassifier": {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
    },
    "SGDRegressor": {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
    },
}


@parametrize_with_checks(
    [fp.SGDClassifier(), fp.SGDRegressor(), fp.MLPClassifier(max_iter=100), fp.MLPRegressor(max_iter=100)],
    expected_failed_checks=lambda estimator: EXPECTED.get(type(estimator).__name__, {}),
    xfail_strict=True,
)
@pytest.mark.filterwarnings("ignore")
def test_check(estimator, check):
    check(estimator)
