"""The estimators among scikit-learn's tools, and what they know after a training."""

from __future__ import annotations

import inspect
import io
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes
from sklearn.ensemble import StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kan_exp.models.loading import model_from
from kan_exp.preparing.translation import run_config
from kan_exp.sklearn import KANClassifier, KANRegressor
from kan_exp.train import prepare
from tests.models.conftest import ArrowTable

PLAIN = {"dims": ["auto", "auto"]}
NOISE = 0.1


def rows(count: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The sine of one column, plus another; a third has no effect."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(count, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + NOISE * generator.normal(size=count)


@pytest.fixture(scope="module")
def trained() -> KANRegressor:
    return KANRegressor(**PLAIN).fit(*rows())


@pytest.fixture(scope="module")
def classifier() -> KANClassifier:
    X, y = rows()
    return KANClassifier(**PLAIN).fit(X, np.where(y > 0, "up", "down"))


# One source of defaults


@pytest.mark.parametrize("kind", [KANRegressor, KANClassifier])
def test_defaults_are_those_of_the_configs(kind):
    config = run_config(["data=table", "data.path=X", "data.target=y"], "run")
    given = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    assert given.pop("random_state") == config.seed
    assert given.pop("missing") == config.data.options["missing"]
    assert given.pop("layer") is None
    assert given.pop("verbose") is False
    assert given.pop("task", "regression") == "regression"
    assert {*given.values()} == {None}  # what conf/ says


def test_predictions_are_those_of_the_command(tmp_path):
    X, y = rows(60)
    order = np.lexsort([y, *X.T[::-1]])  # the rows as the estimator sorts them
    X, y = X[order], y[order]
    frame = pl.DataFrame({"x0": X[:, 0], "x1": X[:, 1], "x2": X[:, 2], "y": y})
    frame.write_csv(tmp_path / "rows.csv")
    options = [f"data.path={tmp_path / 'rows.csv'}", "data.target=y", "seed=3", "data.seed=3"]
    # With folds, the command's network is trained on all rows, too.
    overrides = ["data=table", "layer=spline", "data.folds=2", "logger=none", *options]
    experiment = prepare(overrides, tmp_path / "run")
    experiment.train()
    expected = model_from(experiment.best.checkpoint).predict(X).numpy()[:, 0]
    estimator = KANRegressor(random_state=3).fit(X[::-1], y[::-1])
    assert estimator.n_iter_ == experiment.trainer.global_step
    np.testing.assert_allclose(estimator.predict(X), expected, rtol=1e-12, atol=1e-12)


def test_a_default_fit_is_as_good_as_smoothing_can_be():
    X, y = rows(200)
    new, _ = rows(1000, seed=1)
    truth = np.sin(2 * new[:, 0]) + new[:, 1]
    estimator = KANRegressor().fit(X, y)
    inside = np.abs(new).max(1) < 2
    error = estimator.predict(new[inside]) - truth[inside]
    assert np.sqrt(np.mean(error**2)) < 0.6 * NOISE


# Weights


@pytest.mark.parametrize("kind", [KANRegressor, KANClassifier])
def test_a_weight_of_two_is_a_row_twice_and_one_of_zero_is_none(kind):
    X, y = rows(40)
    y = y if kind is KANRegressor else y > 0
    weight = np.random.default_rng(0).integers(0, 4, 40)
    weighted = kind(**PLAIN).fit(X, y, weight)
    repeated = kind(**PLAIN).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    method = "predict" if kind is KANRegressor else "decision_function"
    plain = kind(**PLAIN).fit(X, y)
    assert (getattr(weighted, method)(X) != getattr(plain, method)(X)).all()


def test_weights_that_are_no_whole_numbers_count_by_their_proportions():
    X, y = rows(60)
    near = X[:, 0] > 0
    y = np.where(near, y, y + 5)
    weighted = KANRegressor(**PLAIN).fit(X, y, np.where(near, 0.75, 1e-6))
    assert np.abs(weighted.predict(X[near]) - y[near]).max() < 0.6
    assert np.abs(weighted.predict(X[~near]) - y[~near]).mean() > 3


def test_class_weights_move_the_boundary(classifier):
    X, y = rows()
    names = np.where(y > 0, "up", "down")
    heavy = KANClassifier(class_weight={"up": 20.0}, **PLAIN).fit(X, names)
    assert heavy.predict_proba(X)[:, 1].mean() > classifier.predict_proba(X)[:, 1].mean() + 0.02
    few = np.r_[np.flatnonzero(y > 0)[:6], np.flatnonzero(y <= 0)]
    even = KANClassifier(class_weight="balanced", **PLAIN).fit(X[few], names[few])
    odd = KANClassifier(**PLAIN).fit(X[few], names[few])
    assert (even.predict(X) == "up").sum() > (odd.predict(X) == "up").sum()
    with pytest.raises(ValueError, match="has a weight for 'Up', which is no class of y: 'down', "):
        KANClassifier(class_weight={"Up": 20.0}).fit(X, names)


def test_random_states_decide_the_training():
    X, y = rows(60)
    first, second, third = (
        KANRegressor(random_state=one, **PLAIN).fit(X, y).predict(X)
        for one in (4, 5, np.random.RandomState(4))
    )
    np.testing.assert_array_equal(first, KANRegressor(random_state=4, **PLAIN).fit(X, y).predict(X))
    assert (first != second).any()
    assert (first != third).any()
    np.random.seed(7)
    before = np.random.get_state()[2]
    KANRegressor(random_state=None, **PLAIN).fit(X, y)
    assert np.random.get_state()[2] != before


# Tools


def test_pickles_hold_no_objects_but_the_estimators_own(trained, classifier):
    X, _ = rows()
    for estimator in (trained, classifier):
        content = pickle.dumps(estimator)
        assert b"torch" not in content
        assert b"kan_exp.models" not in content
        np.testing.assert_array_equal(pickle.loads(content).predict(X), estimator.predict(X))
        file = io.BytesIO()
        joblib.dump(estimator, file)
        file.seek(0)
        np.testing.assert_array_equal(joblib.load(file).predict(X), estimator.predict(X))


def test_skops_needs_to_trust_the_estimator_alone(trained):
    skops = pytest.importorskip("skops.io")
    content = skops.dumps(trained)
    unknown = skops.get_untrusted_types(data=content)
    assert unknown == ["kan_exp.sklearn.KANRegressor"]
    X, _ = rows()
    again = skops.loads(content, trusted=unknown)
    np.testing.assert_array_equal(again.predict(X), trained.predict(X))


@pytest.mark.parametrize(
    "backend",
    ["threading", pytest.param("loky", marks=pytest.mark.slow)],  # new interpreters
)
def test_a_search_by_two_jobs_over_a_pipeline(backend):
    X, y = rows(60)
    pipeline = make_pipeline(StandardScaler(), KANRegressor(**PLAIN))
    grid = {"kanregressor__layer": ["linear", "spline"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise")
    with joblib.parallel_config(backend):
        search.fit(X, y)
    assert search.best_params_ == {"kanregressor__layer": "spline"}
    alone = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_score_ == alone.best_score_


def test_cross_validation_stacking_and_calibration():
    X, y = rows(90)
    assert min(cross_val_score(KANRegressor(**PLAIN), X, y, cv=3)) > 0.8
    named = [("kan", KANRegressor(**PLAIN)), ("linear", LinearRegression())]
    stack = StackingRegressor(named, LinearRegression(), cv=2).fit(X, y)
    assert stack.final_estimator_.coef_[0] > 0.7 > 0.3 > abs(stack.final_estimator_.coef_[1])
    calibrated = CalibratedClassifierCV(KANClassifier(**PLAIN), cv=2).fit(X, y > 0)
    assert calibrated.score(X, y > 0) > 0.9


def test_importances_agree_with_permutation(trained):
    X, y = rows()
    permuted = permutation_importance(trained, X, y, n_repeats=3, random_state=0)
    assert permuted.importances_mean.argsort().tolist() == [2, 0, 1]
    assert trained.feature_importances_.argsort().tolist() == [2, 0, 1]
    assert trained.feature_importances_.sum() == pytest.approx(1)
    assert trained.feature_importances_[2] < 0.02


def test_partial_dependence_of_a_sum_of_curves_is_its_curve(trained):
    X, _ = rows()
    found = partial_dependence(trained, X, [0], grid_resolution=20, percentiles=(0.1, 0.9))
    average, grid = found["average"][0], found["grid_values"][0]
    curves = trained.edges_.filter(pl.col("input") == "x0")
    curve = np.interp(grid, curves["x"].to_numpy(), curves["y"].to_numpy())
    np.testing.assert_allclose(average - average.mean(), curve - curve.mean(), atol=2e-3)


def test_transformers_may_give_frames():
    X, y = rows(60)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    pipeline = make_pipeline(StandardScaler(), KANRegressor(**PLAIN))
    pipeline.set_output(transform="polars").fit(frame, y)
    assert pipeline[-1].feature_names_in_.tolist() == ["a", "b", "c"]
    assert pipeline.score(frame, y) > 0.95


def test_clones_and_changed_parameters_train_anew(trained):
    X, y = rows()
    other = clone(trained).set_params(options={"smoothing.intervals": 4})
    with pytest.raises(NotFittedError):
        other.predict(X)
    assert (other.fit(X, y).predict(X) != trained.predict(X)).any()


# What is known after a training


def test_derivatives_are_those_of_differences(trained):
    X, _ = rows(20, seed=2)
    step = 1e-5
    for place in range(3):
        moved = step * np.eye(3)[place]
        slope = (trained.predict(X + moved) - trained.predict(X - moved)) / (2 * step)
        np.testing.assert_allclose(trained.predict_derivative(X)[:, place], slope, atol=1e-6)


def test_intervals_hold_about_the_share_that_they_promise():
    X, y = load_diabetes(return_X_y=True)
    hits = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(X):
        estimator = KANRegressor(**PLAIN).fit(X[train], y[train])
        low, high = estimator.predict_interval(X[test], coverage=0.9).T
        hits += ((low <= y[test]) & (y[test] <= high)).tolist()
    assert 0.86 < np.mean(hits) < 0.94


def test_errors_of_few_rows_are_those_of_folds():
    generator = np.random.default_rng(3)
    X = generator.normal(size=(26, 9))
    y = X[:, 0] + X[:, 1] + generator.normal(size=26)
    estimator = KANRegressor(**PLAIN).fit(X, y)
    new = generator.normal(size=(500, 9))
    error = new[:, 0] + new[:, 1] + generator.normal(size=500) - estimator.predict(new)
    errors = estimator.model_.residuals.numpy()
    # A step without a row, with the weights of penalties that it had, errs by 0.77 of that.
    assert 0.9 < np.sqrt(np.mean(errors**2) / np.mean(error**2)) < 1.2
    # The copy of a row that is left out would tell all about it.
    copies = KANRegressor(**PLAIN).fit(np.repeat(X, 2, 0), np.repeat(y, 2)).model_.residuals
    assert copies.square().mean() > 0.8 * np.mean(errors**2)


def test_intervals_of_gradient_descent_come_from_validation_rows():
    X, y = rows(200)
    estimator = KANRegressor(optimizer="adam", steps=400, **PLAIN).fit(X, y)
    assert len(estimator.model_.residuals) == round(200 * 0.15 / 0.85)
    low, high = estimator.predict_interval(rows(400, seed=1)[0]).T
    truth = rows(400, seed=1)[1]
    assert 0.75 < ((low <= truth) & (truth <= high)).mean() <= 1


def test_several_outputs_are_one_training():
    X, y = rows()
    both = np.column_stack([y, X[:, 2] ** 2])
    estimator = KANRegressor(**PLAIN).fit(X, both)
    assert estimator.predict(X).shape == (100, 2)
    assert estimator.predict_interval(X).shape == (100, 2, 2)
    assert estimator.predict_derivative(X).shape == (100, 2, 3)
    assert estimator.score(X, both) > 0.95


def test_a_formula_is_found(trained):
    X, _ = rows()
    estimator = KANRegressor(**PLAIN).fit(X, 2 * X[:, 0] + 3)
    estimator.explain(X, 2 * X[:, 0] + 3, seconds=5)
    assert estimator.formula_ == "2*x0 + 3"
    assert pickle.loads(pickle.dumps(estimator)).formula_ == "2*x0 + 3"
    assert not hasattr(estimator.fit(X, X[:, 1]), "formula_")
    assert not hasattr(trained, "formula_")


def test_networks_leave_for_other_programs(trained, tmp_path):
    trained.export(tmp_path / "network.npz")
    assert (tmp_path / "network.npz").stat().st_size > 0
    with pytest.raises(ValueError, match="format"):
        trained.export(tmp_path / "network.doc")


def test_quantiles_and_counts_are_tasks():
    X, y = rows(200)
    options = {"task.quantile": [0.1, 0.9]}
    low, high = KANRegressor(task="quantile", options=options, **PLAIN).fit(X, y).predict(X).T
    assert (low < high).all()
    assert 0.7 < ((low < y) & (y < high)).mean() < 0.9
    counts = np.random.default_rng(0).poisson(np.exp(X[:, 0]))
    estimator = KANRegressor(task="count", **PLAIN).fit(X, counts)
    assert np.corrcoef(np.log(estimator.predict(X)), X[:, 0])[0, 1] > 0.95
    with pytest.raises(ValueError, match="whole numbers of at least 0"):
        KANRegressor(task="count", **PLAIN).fit(X, y)


def test_training_ends_in_time():
    X, y = rows()
    long = KANRegressor(optimizer="adam", steps=10**7, max_time=0.2).fit(X, y)
    assert 0 < long.n_iter_ < 10**7
    for options in ({}, {"options": {"smoothing.method": None}}):
        short = KANRegressor(max_time=1e-9, **options).fit(X, y)
        assert short.n_iter_ < KANRegressor(**options, **PLAIN).fit(X, y).n_iter_
        assert np.isfinite(short.predict(X)).all()


# Frames


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": generator.normal(size=80),
            "colour": generator.choice(["red", "green", "blue"], 80),
            "when": pd.date_range("2020-01-01", periods=80, freq="10D"),
            "old": generator.random(80) > 0.5,
        }
    )


def test_frames_of_any_columns_are_learned(frame):
    y = frame["size"] + 2 * (frame["colour"] == "red")
    estimator = KANRegressor(**PLAIN).fit(frame, y)
    assert estimator.score(frame, y) > 0.999
    assert estimator.feature_names_in_.tolist() == ["size", "colour", "when", "old"]
    assert estimator.feature_importances_[:2].sum() > 0.99
    assert len(estimator.feature_importances_) == 4
    other = pl.DataFrame(frame.to_dict("list"))
    np.testing.assert_array_equal(estimator.predict(other), estimator.predict(frame))
    arrow = ArrowTable(other)
    np.testing.assert_array_equal(estimator.predict(arrow), estimator.predict(frame))
    same = KANRegressor(**PLAIN).fit(arrow, y)
    np.testing.assert_array_equal(same.predict(arrow), estimator.predict(frame))
    slopes = estimator.predict_derivative(frame)
    np.testing.assert_allclose(slopes[:, 0], 1, atol=0.02)
    assert np.isnan(slopes[:, 1:]).all()
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict(frame), estimator.predict(frame))


def test_wrong_frames_are_one_line(frame):
    y = frame["size"]
    estimator = KANRegressor(**PLAIN).fit(frame, y)
    with pytest.raises(ValueError, match="same order"):
        estimator.predict(frame[frame.columns[::-1]])
    with pytest.raises(ValueError, match="now missing"):
        estimator.predict(frame.drop(columns="old"))
    texts = frame["size"].astype(object)
    texts[2] = "big"
    with pytest.raises(ValueError, match="takes a number in column 'size', got 'big' in row 3"):
        estimator.predict(frame.assign(size=texts))
    with pytest.raises(ValueError, match="row 5 of X has a gap"):
        estimator.predict(frame.assign(size=frame["size"].where(frame.index != 4)))
    with pytest.raises(ValueError, match=r"'size' \(row 5\).* set missing='impute'$"):
        KANRegressor(**PLAIN).fit(frame.assign(size=frame["size"].where(frame.index != 4)), y)


def test_gaps_are_filled_if_asked_for():
    X, y = rows()
    X[::5, 2] = np.nan
    estimator = KANRegressor(missing="impute", **PLAIN).fit(X, y)
    assert estimator.score(X, y) > 0.95
    assert np.isfinite(estimator.predict([[np.nan, 0, 0]])).all()
    with pytest.raises(ValueError, match="contains NaN"):
        KANRegressor(**PLAIN).fit(X, y)


def test_columns_of_one_value_have_no_effect():
    X, y = rows()
    flat = np.insert(X, 1, 7.0, axis=1)
    estimator = KANRegressor(**PLAIN).fit(flat, y)
    plain = KANRegressor(**PLAIN).fit(X, y)
    flat[:, 1] = np.arange(100)
    np.testing.assert_array_equal(estimator.predict(flat), plain.predict(X))
    assert estimator.feature_importances_[1] == 0
    assert (estimator.predict_derivative(flat)[:, 1] == 0).all()


@pytest.mark.parametrize("count", [2, 5, 11])
def test_few_rows_are_all_for_training(count):
    X, y = rows(count)
    estimator = KANRegressor(**PLAIN).fit(X, y)
    assert np.isfinite(estimator.predict(X)).all()
    constant = KANRegressor(**PLAIN).fit(X, np.full(count, 3.0))
    np.testing.assert_allclose(constant.predict(X), 3)


# Wrong input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "splin"}, "Did you mean 'spline'"),
        ({"layer": "mlp", "options": {"layers": ["spline"]}}, "layer=mlp has no effect, since"),
        ({"dims": [2, 1]}, r"dims=\[2,1\] starts with 2: set dims=\[3,1\]"),
        ({"options": {"layer.foo": 1}}, "layer.foo: there is no such option"),
        ({"options": {"data.folds": 5}}, "data.folds is an option of commands"),
        ({"missing": "no"}, "The 'missing' parameter of KANRegressor must be one of"),
        ({"penalty": {"rough": 1}}, "Did you mean 'roughness'"),
        ({"options": "steps=3"}, "The 'options' parameter of KANRegressor must be a mapping"),
        ({"options": {"seed": 1}}, "the seed is random_state"),
        ({"max_time": 0}, "max_time must be above 0"),
        ({"batch_size": 3}, "optimizer=lm takes all points at once"),
        ({"options": {"steps": object()}}, "steps must be a number, a text, a list"),
    ],
)
def test_wrong_parameters_are_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        KANRegressor(**options).fit(*rows(30))
    assert "\n" not in str(error.value)


def test_columns_that_cannot_be_scaled_or_read_are_named(frame):
    X, y = rows(30)
    with pytest.raises(
        ValueError, match=r"column 'x1' ranges from .* beyond what float32 can scale"
    ):
        KANRegressor(**PLAIN).fit(X * [1, 1e300, 1], y)
    names = [f"name {k}" for k in range(80)]
    with pytest.raises(ValueError, match=r"column 'name' .*: leave such columns out\."):
        KANRegressor(**PLAIN).fit(frame.assign(name=names), frame["size"])


def test_unfitted_estimators_say_so():
    for attribute in ("edges_", "feature_importances_"):
        with pytest.raises(NotFittedError):
            getattr(KANRegressor(), attribute)
    with pytest.raises(NotFittedError):
        KANRegressor().plot()


def test_a_training_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    import torch
    from hydra.core.hydra_config import HydraConfig

    monkeypatch.chdir(tmp_path)
    threads, own = torch.get_num_threads(), HydraConfig.instance().cfg
    state = torch.get_rng_state().clone()
    torch.set_num_threads(2)
    try:
        # Options that no other test has, so that they are composed here.
        KANRegressor(options={"smoothing.intervals": 5}, **PLAIN).fit(*rows(30))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert HydraConfig.instance().cfg is own
    assert torch.equal(torch.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []


def test_the_package_needs_no_scikit_learn_and_the_estimators_no_torch():
    code = "import sys, kan_exp; assert 'sklearn' not in sys.modules; import kan_exp.sklearn; "
    code += "assert not {'torch', 'hydra', 'polars', 'lightning'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
