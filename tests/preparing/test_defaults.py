"""Defaults that depend on the data, and on what was typed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from kan_exp.config import RunConfig, SmoothingConfig, choice
from kan_exp.preparing.defaults import MANY_ROWS, notes_on_defaults, with_defaults
from kan_exp.preparing.translation import composed, translate


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The smallest table that is large, and one with a row less."""
    folder = tmp_path_factory.mktemp("tables")
    rows = round(MANY_ROWS / 0.7)
    x = np.linspace(-1, 1, rows)
    pl.DataFrame({"x": x, "y": x**2}).write_parquet(folder / "large.parquet")
    pl.DataFrame({"x": x[:-2], "y": x[:-2] ** 2}).write_parquet(folder / "small.parquet")
    return folder


def prepared(tables, name, *more):
    overrides = ["data=table", f"data.path={tables / name}.parquet", "data.target=y", *more]
    with composed([*overrides, "dims=[1,1]"], tables / "run") as (cfg, hydra):
        config, context = translate(cfg, hydra)
    return config, *with_defaults(config, context)


@pytest.mark.parametrize("layer", ["spline", "interpo"])
def test_many_rows_are_trained_as_with_adam(tables, layer):
    asked, found, context = prepared(tables, "large", f"layer={layer}")
    expected, _, _ = prepared(tables, "large", f"layer={layer}", "optimizer=adam")
    assert found == expected
    assert context.choices["optimizer"] == "adam"
    (note,) = notes_on_defaults(asked, found)
    assert note.startswith("optimizer=adam: least squares is")


def test_what_was_given_is_kept(tables):
    more = ["steps=70", "penalty.roughness=0.5", "evaluations=3"]
    _, found, _ = prepared(tables, "large", "layer=spline", *more)
    assert (found.steps, found.penalty.roughness, found.evaluations) == (70, 0.5, 3)
    assert found.scheduler is not None
    assert found.scheduler.options["T_max"] == 70


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("small", []),
        ("large", ["optimizer=lm"]),
        ("large", ["optimizer.damping=0.1"]),
        ("large", ["smoothing.hidden=2"]),
    ],
    ids=str,
)
def test_least_squares_stay_for_few_rows_and_where_they_were_chosen(tables, name, more):
    asked, found, _ = prepared(tables, name, "layer=spline", *more)
    assert found == asked
    assert found.uses_least_squares
    assert notes_on_defaults(asked, found) == []


@pytest.mark.parametrize("typed", ["refine.steps=[3]", "penalty.roughness=1"])
def test_stages_that_were_typed_are_used(tables, typed):
    asked, found, _ = prepared(tables, "small", "layer=spline", "optimizer=lm", typed)
    assert asked.smooths
    assert not found.smooths
    assert found.uses_least_squares
    (note,) = notes_on_defaults(asked, found)
    assert "refine and penalty decide" in note


def test_smoothing_that_was_typed_stays(tables):
    asked, found, _ = prepared(tables, "small", "smoothing.hidden=2", "refine.steps=[3]")
    assert found == asked


def test_networks_too_deep_for_smoothing_are_told(tables):
    asked, found, _ = prepared(tables, "small", "layer=spline")
    assert notes_on_defaults(asked, replace(found, dims=[1, 3, 1])) == []
    (said,) = notes_on_defaults(asked, replace(found, dims=[1, 3, 3, 1]))
    assert said.startswith("dims=[1,3,3,1] begins as sums of curves, which are kept if no later")
    (said,) = notes_on_defaults(asked, replace(found, dims=[1, 3, 1, 2]))  # too narrow for these
    assert said.startswith("dims=[1,3,1,2] is trained as on noise-free data")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """70 inputs and ten classes; 500 training rows."""
    folder = tmp_path_factory.mktemp("wide")
    x = np.random.default_rng(0).normal(size=(720, 70))
    columns = {f"x{k}": column for k, column in enumerate(x.T)}
    classes = [f"class {k % 10}" for k in range(len(x))]
    pl.DataFrame({**columns, "y": classes, "z": x[:, 0]}).write_parquet(folder / "wide.parquet")
    return folder


def of_wide(wide, *more):
    options = ["data=table", f"data.path={wide / 'wide.parquet'}", "data.target=y", *more]
    with composed(options, wide / "run") as (cfg, hydra):
        config, context = translate(cfg, hydra)
    return config, *with_defaults(config, context)


SIZES = {
    "spline": {"num_intervals": 4},
    "interpo": {"num_x": 5},
    "mlp": {"fcn_hidden": 4},
    "chebyshev": {"degree": 3},
    "fourier": {"num_frequencies": 2},
    "rbf": {"num_centers": 5},
    "rational": {"degree": 3},
    "wavelet": {"num_wavelets": 2},
}


@pytest.mark.parametrize("kind", SIZES)
def test_wide_tables_have_hidden_units_with_small_edges(wide, kind):
    _, found, context = of_wide(wide, "data.drop=[z]", f"layer={kind}")
    assert (found.optimizer.target, found.smoothing.method) == ("torch.optim.AdamW", "linear")
    assert (found.dims, found.steps) == (["auto", 42, "auto"], 600)
    assert found.optimizer.options["weight_decay"] == 1
    assert SIZES[kind].items() <= found.layers.options.items()
    assert context.choices["optimizer"] == "adamw"


def test_options_of_wide_tables_can_be_set(wide):
    more = ["data.drop=[z]", "layer=spline", "wide.hidden=7", "layer.num_intervals=9", "steps=5"]
    _, found, _ = of_wide(wide, *more)
    assert (found.dims[1], found.layers.options["num_intervals"], found.steps) == (17, 9, 5)
    assert found.scheduler.options["T_max"] == 5


@pytest.mark.parametrize(
    "more",
    [
        ["smoothing.method=reml"],
        ["dims=[auto,auto]"],
        ["layer=linear"],
        ["optimizer=lm"],
        ["wide.rows=8"],
        ["data.target=z", "data.drop=[y]"],
    ],
    ids=str,
)
def test_other_tables_and_typed_networks_keep_least_squares(wide, more):
    asked, found, _ = of_wide(wide, "data.drop=[z]", "layer=spline", *more)
    assert found == asked


def test_scikit_learns_digits_are_wide(tmp_path):
    with composed(["data=sklearn", "data.name=digits"], tmp_path) as (cfg, hydra):
        found, _ = with_defaults(*translate(cfg, hydra))
    assert (found.dims, found.smoothing.method) == (["auto", 42, "auto"], "linear")


def test_a_layer_without_room_beside_sums_of_curves_is_trained_by_stages():
    spline, lm = choice("layer", "spline"), choice("optimizer", "lm")

    def asked(dims, choose=None):
        smoothing = SmoothingConfig(method="reml", choose=choose)
        return RunConfig(dims=dims, layers=spline, optimizer=lm, smoothing=smoothing)

    assert not asked([2, 1, 1]).smooths
    assert asked([2, 1, 1]).begins_smooth
    assert not asked([2, 3, 3]).smooths
    assert asked([2, 4, 3]).smooths
    assert asked([2, 1, 1], choose=True).smooths
