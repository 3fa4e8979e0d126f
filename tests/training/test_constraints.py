"""Predictions that are monotone and convex, however networks are trained."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import kan_exp
from kan_exp.errors import KanExpError
from kan_exp.layers.constraints import layer_constraints
from kan_exp.optimizers.bounds import constrained_step, inequalities, violation
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.pursuit import hidden_basis
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks, split
from kan_exp.sklearn import KANClassifier, KANRegressor

ROWS = 120
generator = np.random.default_rng(0)
X = pl.DataFrame({name: generator.uniform(-1, 1, ROWS) for name in ("size", "age", "other")})
# It falls with size, bends to and fro, and depends on products.
Y = np.sin(3 * X["age"]) - 2 * X["size"] + np.sin(4 * X["size"]) + X["size"] * X["other"]
Y = Y.to_numpy() + 0.1 * generator.normal(size=ROWS)


def violations(outputs_of, column: str, signs=(0, 0)) -> float:
    """The largest step in the wrong direction, and bend, over the range of outputs."""
    places, worst = np.linspace(-9, 9, 1201), 0.0
    for row in np.random.default_rng(1).uniform(-2, 2, (4, 3)):
        rows = pl.DataFrame(np.tile(row, (len(places), 1)), X.columns)
        rows = rows.with_columns(pl.Series(column, places))
        outputs = np.asarray(outputs_of(rows), np.float64).reshape(len(places), -1)
        assert np.isfinite(outputs).all()
        scale = np.abs(outputs).max()
        for order, sign in enumerate(signs, 1):
            worst = max(worst, (-sign * np.diff(outputs, n=order, axis=0)).max() / scale)
    return worst


WAYS = {
    "curves": {"dims": [3, 1]},
    "hidden units": {"dims": [3, 3, 1], "smoothing__num_candidates": [2, 1]},
    "tables": {"dims": [3, 1], "layer": "interpo"},
    "degree 5": {"dims": [3, 2, 1], "layer__degree": 5, "layer__num_intervals": 6},
    "stages": {"dims": [3, 2, 2, 1], "refine__grids": [4, 8], "refine__num_candidates": [2, 1]},
    "adam": {"dims": [3, 2, 1], "optimizer": "adam", "steps": 60},
    "lbfgs": {
        **{"dims": [3, 2, 1], "optimizer": "lbfgs", "scheduler": "none", "steps": 4},
        **{"batch_size": None, "layer__num_intervals": 8},
    },
    "replicas": {"dims": [3, 2, 1], "optimizer": "adam", "steps": 30, "replicas": 2},
    "linear start": {
        **{"dims": [3, 3, 1], "optimizer": "adamw", "smoothing__method": "linear"},
        **{"layer": "interpo", "layer__num_x": 9, "steps": 20},
    },
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("signs", [(1, -1), (-1, 1)], ids=["against", "along"])
def test_predictions_are_what_was_asked_for(options, signs):
    monotone, convex = signs
    model = kan_exp.fit(
        X, Y, progress=False, monotone={"size": monotone}, convex={"size": convex}, **options
    )
    assert violations(model.predict, "size", signs) < 1e-9
    first = model.network[0].values[0]
    assert bool((monotone * first.diff(dim=0) >= 0).all())
    assert bool((convex * first.diff(n=2, dim=0) >= 0).all())
    model.network.float()
    assert bool((monotone * model.network[0].values[0].diff(dim=0) >= 0).all())
    assert violations(model.predict_outputs, "size", signs) < 1e-5  # rounding of four terms


def test_a_constraint_that_is_true_costs_little_and_a_false_one_leaves_a_flat_edge():
    options = {"dims": [3, 1], "progress": False}
    truth = (X["age"].exp() - X["size"] ** 3).to_numpy()
    noisy = [truth + 0.3 * np.random.default_rng(seed).normal(size=ROWS) for seed in range(4)]

    def error(y: np.ndarray, **signs: object) -> float:
        found = kan_exp.fit(X, y, **options, **signs).predict(X)[:, 0].numpy()
        return float(np.sqrt(np.mean((found - truth) ** 2)))

    free = sum(map(error, noisy))
    true = {"monotone": {"size": -1, "age": 1}, "convex": {"age": 1}}
    assert sum(error(y, **true) for y in noisy) < 1.05 * free
    wrong = kan_exp.fit(X, noisy[0], **options, monotone={"size": 1})
    edge = wrong.network[0].values[0]
    assert float(edge.max() - edge.min()) < 1e-3
    assert violations(wrong.predict, "size", (1,)) < 1e-9


def test_classes_several_outputs_and_gaps():
    rows = X.with_columns(pl.when(pl.col("other") > 0.6).then(None).otherwise("size").alias("size"))
    classes = np.where(Y > 0, "yes", "no")
    model = KANClassifier(dims=["auto", "auto"], monotone={"size": -1}, missing="impute")
    model.fit(rows, classes)
    fitted = model.model_
    assert "size=missing" in fitted.features
    assert violations(lambda r: model.predict_proba(r)[:, 1:], "size", (-1,)) < 1e-9
    both = KANRegressor(dims=["auto", "auto"], convex={"size": 1}, layer="interpo")
    both.fit(X, np.column_stack([Y, -Y]))
    assert violations(both.predict, "size", (0, 1)) < 1e-9


def test_counts_and_logarithms_stay_monotone():
    counts = np.floor(np.exp(1 + Y / 2))
    model = kan_exp.fit(X, counts, progress=False, task="count", dims=[3, 1], monotone={"size": 1})
    assert violations(model.predict, "size", (1,)) < 1e-9


def test_a_constrained_step_is_the_minimum():
    drawn = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 7, 5, generator=drawn, dtype=torch.double)
    root = torch.randn(2, 9, 5, generator=drawn, dtype=torch.double)
    hessian, q = root.mT @ root, torch.zeros(2, 5, dtype=torch.double)
    slope = torch.randn(2, 5, generator=drawn, dtype=torch.double)

    def objective(trial):
        change = trial - q
        curved = torch.einsum("rp,rpq,rq->r", change, hessian, change)
        return 2 * (slope * change).sum(1) + curved + violation(rows, trial)

    found, failed = constrained_step(hessian, slope, q, rows)
    assert not failed.any()
    trial = found.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(trial).sum(), trial)
    assert gradient.abs().max() < 1e-6
    assert violation(rows, found).max() < 1e-2


NUMBERS = {"dims": [3, 2, 1]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monotone": {"siz": 1}}, "there is no input 'siz'. Did you mean 'size'?"),
        ({"monotone": {"size": 2}}, "monotone: 'size' must be 1 for increasing, -1 for decreasing"),
        ({"convex": {"size": "up"}}, "convex: 'size' must be 1 for convex, -1 for concave"),
        ({"monotone": "size"}, "monotone must be signs by column, such as 'monotone={age: 1}'"),
        ({"monotone": [1, -1]}, "such as 'monotone={age: 1}', got [1, -1]"),
        ({"monotone": {"kind": 1}}, "monotone: 'kind' is a category"),
        ({"monotone": {"size": 1}, "layer": "rbf"}, "KANRBFLayer has no coefficients"),
        ({"monotone": {"size": 1}, "layer__base": "silu"}, "set layer.base=none"),
        (
            {"convex": {"size": 1}, "layer": "interpo", "layer__outside": "hold"},
            "set layer.outside=linear",
        ),
        (
            {"monotone": {"size": 1}, "multiply": [1], "dims": ["auto", 2, "auto"]},
            "leave multiply out",
        ),
        (
            {"convex": {"size": 1, "age": -1}, "dims": ["auto", 2, "auto"]},
            "convex in one input and concave in another: set dims=[auto,auto]",
        ),
        ({"convex": {"size": -1}, "task": "count"}, "convex: task=count learns a logarithm"),
        (
            {"monotone": {"size": 1}, "optimizer": "adam", "steps": 9, "prune": "auto"},
            "prune=auto fits edges anew without it",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options, message):
    rows = X.with_columns(kind=pl.Series(["a", "b", "c"] * (ROWS // 3)))
    with pytest.raises(KanExpError) as caught:
        kan_exp.fit(rows, np.floor(np.abs(Y)), progress=False, **{"task": "regression"} | options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_three_classes_are_refused():
    with pytest.raises(KanExpError, match="the target has 3 classes"):
        kan_exp.fit(X, ["a", "b", "c"] * (ROWS // 3), progress=False, monotone={"size": 1})


def test_without_hidden_units_there_may_be_both_bends():
    signs = {"size": 1, "age": -1}
    model = kan_exp.fit(X.rename({"age": "age (y)"}), Y, progress=False, convex={"age (y)": -1})
    assert float(model.network[0].values[1].diff(n=2, dim=0).max()) <= 0
    model = kan_exp.fit(X, Y, progress=False, convex=signs)
    assert [layer.dim_in for layer in model.network] == [3]
    assert layer_constraints([3, 1], (0,) * 3, (1, -1, 0))[0].convex == (1, -1, 0)


def test_hidden_units_of_small_values_obey_as_strictly():
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(40, 2, generator=draw).double()
    shape = Shape(2, 1, 2, 4, 4, 4)
    networks = SmoothNetworks(shape, x, NaturalBasis.of(x, 4, 3))
    q = torch.randn(1, sum(shape.sizes), generator=draw).double()
    small = q.clone()
    split(shape, small).inner.mul_(1e-4)
    constraints = layer_constraints([2, 3, 1], [1, 0], [0, 1])
    rows = [
        inequalities(shape, networks.first, hidden_basis(networks, one), constraints)
        for one in (q, small)
    ]
    torch.testing.assert_close(rows[1] @ small[0], rows[0] @ q[0])
