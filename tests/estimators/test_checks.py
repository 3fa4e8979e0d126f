"""scikit-learn's own checks of estimators; none is expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from kan_exp.sklearn import KANClassifier, KANRegressor

# As short as a training can be that goes through all of its phases; the checks train often.
SEARCH = {
    "smoothing.hidden": 1,
    "smoothing.intervals": 3,
    "smoothing.num_candidates": [1, 1],
    "smoothing.steps": [8, 2, 2, 2, 6],
}
STAGES = {"smoothing.method": None, "refine.num_candidates": [1], "refine.steps": [4]}
COARSE = {**STAGES, "refine.grids": [4]}
PLAIN = ["auto", "auto"]


@parametrize_with_checks(
    [
        kind(**options)
        for kind in (KANRegressor, KANClassifier)
        for options in (
            {"options": SEARCH},
            {"layer": "interpo", "dims": PLAIN, "options": COARSE},
            {"layer": "mlp", "dims": PLAIN, "options": STAGES},
        )
    ]
)
def test_estimators_keep_scikit_learns_contract(estimator, check):
    check(estimator)
