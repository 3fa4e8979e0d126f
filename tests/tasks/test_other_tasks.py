"""Counts, quantiles and several targets, from a table to predictions."""

from __future__ import annotations

import polars as pl
import pytest
import torch

import kan_exp
from kan_exp.data import Schema
from kan_exp.errors import KanExpError
from kan_exp.tasks.count import CountRegression
from kan_exp.tasks.quantile import QuantileRegression
from kan_exp.train import prepare
from tests.conftest import read_metrics, run_command

QUIET = ["logger=none", "~callbacks.figures", "data=table", "layer=spline"]
LEAST_SQUARES = [
    *("smoothing.method=null", "dims=[auto,auto]", "refine.grids=[4]"),
    *("refine.num_candidates=[2]", "refine.steps=[25]", "penalty.roughness=1e-3"),
]
ADAM = [
    *("smoothing.method=null", "dims=[auto,auto]", "layer.num_intervals=4", "steps=400"),
    *("optimizer=adam", "optimizer.lr=0.05"),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """1500 rows: counts of mean 40 exp(sin 2x), and numbers with a spread that grows."""
    draw = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(1500, generator=draw) - 1
    count = torch.poisson(40 * (2 * x).sin().exp(), generator=draw)
    y = x + (2 + x) * torch.randn(1500, generator=draw)
    path = tmp_path_factory.mktemp("table") / "t.csv"
    columns = {"x": x, "count": count.int(), "y": y, "big": 1000 * x.square()}
    pl.DataFrame({name: part.tolist() for name, part in columns.items()}).write_csv(path)
    return path


def trained(table, folder, *options: str):
    given = [*QUIET, f"data.path={table}", "data.features=[x]", *options]
    return prepare(given, folder).run()


@pytest.mark.parametrize("options", [LEAST_SQUARES, ADAM], ids=["lm", "adam"])
def test_means_of_counts_are_learned(table, tmp_path, options):
    result = trained(table, tmp_path, "data.target=count", "task=count", *options)
    x = torch.linspace(-0.9, 0.9, 30)[:, None]
    found = kan_exp.load(tmp_path)(x)
    assert (found / (40 * (2 * x).sin().exp()) - 1).abs().max() < 0.12
    metrics = read_metrics(tmp_path)
    assert metrics["test_poisson_deviance"] < 1.3
    assert metrics["test_poisson_deviance"] < metrics["linear_poisson_deviance"]
    loss = min(value for _, value in result.history["val"])
    assert loss * result.data.train.y.mean() < 1  # half the deviance, relative to the mean


@pytest.mark.parametrize("options", [LEAST_SQUARES, ADAM], ids=["lm", "adam"])
def test_quantiles_are_learned(table, tmp_path, options):
    quantile = "task.quantile=[0.1,0.5,0.9]"
    trained(table, tmp_path, "data.target=y", "task=quantile", quantile, *options)
    model = kan_exp.load(tmp_path)
    assert model.names == ["y q0.1", "y q0.5", "y q0.9"]
    x = torch.linspace(-0.8, 0.8, 30)[:, None]
    normal = torch.distributions.Normal(0, 1).icdf(torch.tensor([0.1, 0.5, 0.9]))
    assert (model(x) - (x + (2 + x) * normal)).abs().max() < 1
    assert read_metrics(tmp_path)["test_coverage_error"] < 0.06


def test_several_targets_are_learned_each_in_its_unit(table, tmp_path):
    trained(table, tmp_path / "run", "data.target=[y,big]", *LEAST_SQUARES)
    model = kan_exp.load(tmp_path / "run")
    assert model.names == ["y", "big"]
    x = torch.linspace(-0.9, 0.9, 30)[:, None]
    assert (model(x)[:, 1:] - 1000 * x.square()).abs().max() < 30
    metrics = read_metrics(tmp_path / "run")
    assert metrics["scoring"]["primary"] == "r2"  # no unit dominates it
    each = metrics["outputs"]
    assert each["big"]["R²"] > 0.99 > each["y"]["R²"]
    assert metrics["test_r2"] == pytest.approx((each["big"]["R²"] + each["y"]["R²"]) / 2)
    assert metrics["choices"]["dims"] == [1, 2]
    (tmp_path / "new.csv").write_text("x\n0.5\n")
    run_command("predict", "run=run", "input=new.csv", "output=out.csv", cwd=tmp_path)
    written = pl.read_csv(tmp_path / "out.csv")
    assert written.columns == ["x", "y_predicted", "big_predicted"]
    assert written["big_predicted"].item() == pytest.approx(250, abs=30)


@pytest.mark.parametrize("wrong", [-1.0, 2.5])
def test_what_is_no_count_is_told(wrong):
    task = CountRegression(["poisson_deviance"], "poisson_deviance", 0.0)
    y = torch.tensor([[3.0], [wrong]])
    with pytest.raises(KanExpError, match=rf"but 'n' has {wrong:g}: set task=regression"):
        task.check_target(Schema.of_numbers("x", ["n"]), y)
    with pytest.raises(KanExpError, match=rf"'n' has {wrong:g} in row 1, one of 2: set"):
        task.check_target(
            Schema.of_numbers("x", ["n"]), y[[1, 0, 1]].numpy(), lambda k: f"row {k + 1}"
        )
    task.check_target(Schema.of_numbers("x", ["n"]), y[:1].numpy())


@pytest.mark.parametrize(
    "quantile", [0, 1, "a", [], [0.5, 0.1], [0.5, 0.5], True, None, [0.5, "b"]]
)
def test_bad_quantiles_are_told(quantile):
    with pytest.raises(KanExpError, match=r"task.quantile must be a number between 0 and 1"):
        QuantileRegression(["pinball"], "pinball", quantile, 0.01)


def test_widths_are_those_of_the_outputs(table, tmp_path):
    options = ["data.target=y", "task=quantile", "task.quantile=[0.1,0.9]", "smoothing.method=null"]
    with pytest.raises(KanExpError) as caught:
        trained(table, tmp_path, *options, "dims=[1,3]")
    assert str(caught.value) == (
        "dims=[1,3]: the data have 2 outputs ('y q0.1', 'y q0.9'), so the last width must be 2: "
        "set dims=[1,2]"
    )
