"""Trainings on noisy tables: what is chosen, and what is reported about it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from kan_exp import load
from kan_exp.errors import KanExpError
from kan_exp.train import prepare

ROWS = 160


def targets(x, noise):
    return {
        "linear": 2 * x[:, 0] - x[:, 1] + noise,
        "curves": np.sin(3 * x[:, 0]) + x[:, 1] ** 2 + 0.2 * noise,
        "product": 3 * x[:, 0] * x[:, 1] + 0.2 * noise,
        "noise": noise,
        "class": np.where(2 * x[:, 0] * x[:, 1] + 0.1 * noise > 0, 1.0, 0.0),
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (ROWS, 3))
    columns = {f"x{k}": x[:, k] for k in range(3)}
    path = tmp_path_factory.mktemp("tables") / "table.csv"
    pl.DataFrame({**columns, **targets(x, generator.normal(size=ROWS))}).write_csv(path)
    return path


def run(table, folder, target, *more):
    features = "data.features=[x0,x1,x2]"
    options = ["data=table", f"data.path={table}", f"data.target={target}", features]
    return prepare([*options, "layer=spline", "logger=none", *more], folder).fit()


@pytest.mark.parametrize(
    ("target", "chosen", "dims"),
    [
        ("linear", "curves", [3, 1]),
        ("noise", "curves", [3, 1]),
        ("curves", "curves", [3, 1]),
        ("product", "hidden units", [3, 4, 1]),
    ],
)
def test_the_data_decide_about_hidden_units(table, tmp_path, target, chosen, dims):
    result = run(table, tmp_path / "run", target)
    metrics = result.metrics
    assert (metrics["chosen"], metrics["choices"]["dims"]) == (chosen, dims)
    assert [layer.dim_in for layer in result.model.edge_layers] == dims[:-1]
    linear = metrics["linear_rmse"]
    if target in ("linear", "noise"):
        assert metrics["test_rmse"] < 1.05 * linear
        assert metrics["effective_parameters"] < 8  # a linear model has 4
        assert metrics["noise"] == pytest.approx(1, abs=0.15)
    else:
        assert metrics["test_rmse"] < 0.6 * linear
        assert metrics["noise"] == pytest.approx(0.2, abs=0.07)


def test_units_that_follow_the_noisiest_rows_are_not_taken(tmp_path):
    generator = np.random.default_rng(0)
    columns = {name: generator.normal(size=200) for name in ("a", "b", "noise")}
    y = 2 * columns["a"] + columns["b"] + 0.5 * columns.pop("noise")
    columns["town"] = generator.choice(["Oslo", "Bergen", "Bodo"], 200)
    a = [None if k % 7 == 0 else value for k, value in enumerate(columns.pop("a"))]
    path = tmp_path / "gaps.csv"
    pl.DataFrame({"a": a, **columns, "y": y}).write_csv(path)
    options = ["data=table", f"data.path={path}", "data.target=y", "data.missing=impute"]
    metrics = prepare([*options, "layer=spline", "logger=none"], tmp_path / "run").fit().metrics
    assert metrics["chosen"] == "curves"
    assert metrics["test_rmse"] < 1.1 * metrics["linear_rmse"]


def test_a_linear_table_gives_the_linear_model(table, tmp_path):
    result = run(table, tmp_path / "run", "linear", "data.fractions=[0.5,0.2,0.3]")
    data, model = result.data, result.model
    seen = torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])
    design = torch.cat([seen[0], torch.ones(len(seen[0]), 1)], 1)
    weights = torch.linalg.lstsq(design.double(), seen[1].double()).solution
    x = torch.cat([data.test.x, torch.ones(len(data.test.x), 1)], 1).double()
    assert (model.predict(data.test.x) - x @ weights).abs().max() < 0.3
    # Far outside the trained range the curves are straight lines.
    far = model.predict(torch.tensor([[8.0, 0, 0], [9.0, 0, 0], [10.0, 0, 0]]).double())
    assert abs(far[2] - 2 * far[1] + far[0]) < 1e-9
    assert float(far[1] - far[0]) == pytest.approx(2, abs=1)


def test_the_same_seed_gives_the_same_bits(table, tmp_path):
    first, again = (run(table, tmp_path / name, "product").predictions for name in "ab")
    assert torch.equal(first, again)


@pytest.mark.parametrize("kind", ["interpo", "chebyshev", "linear"])
def test_other_kinds_of_edges_get_the_same_functions(table, tmp_path, kind):
    known = run(table, tmp_path / "spline", "curves").metrics
    found = run(table, tmp_path / kind, "curves", f"layer={kind}").metrics
    if kind == "linear":
        assert found["choices"]["dims"] == [3, 1]
        assert found["test_rmse"] == pytest.approx(found["linear_rmse"], rel=0.05)
    else:
        assert found["test_rmse"] == pytest.approx(known["test_rmse"], rel=0.1)


def test_edges_without_a_grid_follow_inputs_of_long_tails(tmp_path):
    generator = np.random.default_rng(0)
    x = np.exp(generator.normal(size=(300, 2)))
    y = np.log(x[:, 0]) + np.tanh(x[:, 1] - 1) + 0.2 * generator.normal(size=300)
    path = tmp_path / "tails.csv"
    pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y}).write_csv(path)
    options = ["data=table", f"data.path={path}", "data.target=y", "smoothing.hidden=0"]
    known, found = (
        prepare([*options, "logger=none", f"layer={layer}"], tmp_path / layer).fit()
        for layer in ("spline", "fourier")
    )
    assert found.metrics["test_rmse"] < 1.15 * known.metrics["test_rmse"]
    far = torch.tensor([[1.0, x[:, 1].max() * k] for k in (1, 2, 3)], dtype=torch.float64)
    lines = [result.model.predict(far).double().diff(dim=0) for result in (known, found)]
    torch.testing.assert_close(lines[1][0], lines[1][1], rtol=1e-3, atol=1e-3)
    assert (lines[1] - lines[0]).abs().max() < 0.05 * np.ptp(y)


@pytest.mark.parametrize("more", [["replicas=1"], ["replicas=2"], ["optimizer=lm", "steps=5"]])
def test_trained_edges_of_tables_are_straight_lines_beyond_the_data(table, tmp_path, more):
    options = ["layer=fourier", "dims=[auto,2,auto]", "smoothing.method=null", "optimizer=adam"]
    result = run(table, tmp_path / "run", "curves", *options, "steps=20", *more)
    first, second = result.model.edge_layers
    data = result.data
    bounds = data.scaling.standardize_bounds(data.bounds)
    torch.testing.assert_close(first.limits.double(), bounds, rtol=1e-5, atol=1e-5)
    assert (second.limits[:, 0] < second.domain[:, 0]).all()
    assert (second.limits[:, 1] > second.domain[:, 1]).all()


def test_edges_of_functions_have_no_limits(tmp_path):
    options = ["target=exp_sin_square", "layer=fourier", "dims=[2,1,1]", "optimizer=adam"]
    result = prepare([*options, "steps=20", "logger=none"], tmp_path / "run").fit()
    assert all(layer.limits is None for layer in result.model.edge_layers)


def test_widths_that_are_given_are_kept(table, tmp_path):
    result = run(table, tmp_path / "run", "linear", "dims=[auto,3,auto]")
    assert result.metrics["choices"]["dims"] == [3, 3, 1]
    assert [layer.dim_in for layer in result.model.edge_layers] == [3, 3]
    assert result.metrics["test_rmse"] < 1.05 * result.metrics["linear_rmse"]


@pytest.mark.parametrize("kind", ["spline", "fourier"])
def test_deep_networks_begin_as_sums_of_curves_and_keep_to_them_on_noise(table, tmp_path, kind):
    options = ["dims=[auto,3,2,auto]", "refine.num_candidates=[2,1]", "refine.steps=[5,5]"]
    options += ["smoothing.method=reml", f"layer={kind}", "logger=none"]
    given = ["data=table", f"data.path={table}", "data.target=linear", "data.features=[x0,x1,x2]"]
    experiment = prepare([*given, *options], tmp_path / "run")
    (note,) = experiment.notes
    assert note.startswith("dims=[3,3,2,1] begins as sums of curves, which are kept if no later")
    result = experiment.fit()
    assert result.metrics["best_step"] == 0
    assert result.metrics["test_rmse"] < 1.05 * result.metrics["linear_rmse"]
    assert [layer.dim_in for layer in result.model.edge_layers] == [3, 3, 2]


def test_deep_networks_leave_their_start_where_another_is_clearly_better(table, tmp_path):
    options = ["dims=[auto,2,2,auto]", "refine.num_candidates=[4,1]", "smoothing.method=reml"]
    metrics = run(table, tmp_path / "run", "product", *options).metrics
    assert metrics["best_step"] > 0
    assert metrics["test_rmse"] < 0.6 * metrics["linear_rmse"]


def test_classes_of_a_product_are_found(table, tmp_path):
    result = run(table, tmp_path / "run", "class", "task=classification")
    assert result.metrics["chosen"] == "hidden units"
    assert result.metrics["test_log_loss"] < 0.6 * result.metrics["linear_log_loss"]
    assert result.metrics["noise"] is None


@pytest.mark.parametrize(("task", "known"), [("quantile", False), ("huber", True)])
def test_noise_is_that_of_losses_in_squared_units(table, tmp_path, task, known):
    result = run(table, tmp_path / "run", "noise", f"task={task}", "smoothing.hidden=0")
    assert (result.metrics["noise"] is not None) == known


def test_a_resumed_search_is_moved_to_the_device(table, tmp_path):
    options = ["data=table", f"data.path={table}", "data.target=product", "logger=none"]
    module = prepare([*options, "data.features=[x0,x1,x2]", "layer=spline"], tmp_path).module
    module.configure_optimizers()
    module._search.step()
    state, moved = module._search.to_dict(), []
    module._restored = {"search": state, "hidden": 0, "kept": {"curves": state["best"]}}
    module._restore_search = moved.append  # a meta tensor has no values to go on with
    module._device = torch.device("meta")
    module.configure_optimizers()
    (found,) = moved
    networks = [found["search"]["best"], found["kept"]["curves"]]
    tensors = [found["search"]["state"]["q"], *(one["state"]["weights"] for one in networks)]
    tensors += [module.points.x, module.validation.y, module.problems.every.x]
    assert {part.device.type for part in tensors} == {"meta"}


def test_the_validation_error_is_of_the_network_before_the_last_fit(table, tmp_path):
    result = run(table, tmp_path / "run", "curves")
    (validated,) = {loss for _, loss in result.history["val"][-2:]}
    y_std = float(result.model.y_std)
    assert result.metrics["val_rmse"] == pytest.approx(y_std * validated**0.5)
    val = result.data.val
    now = (result.model.predict(val.x) - val.y).square().mean().sqrt().item()
    assert now != pytest.approx(result.metrics["val_rmse"], rel=1e-3)


def test_a_run_that_is_cut_short_has_the_curves(table, tmp_path):
    result = run(table, tmp_path / "run", "curves", "steps=6", "evaluations=3")
    assert result.metrics["stopped"] == "steps"
    assert "chosen" not in result.metrics
    assert result.metrics["test_rmse"] < result.metrics["linear_rmse"]


def test_a_stored_network_is_the_one_that_was_chosen(table, tmp_path):
    features = "data.features=[x0,x1,x2]"
    options = ["data=table", f"data.path={table}", "data.target=product", features]
    folder = tmp_path / "run"
    result = prepare([*options, "layer=spline", "~callbacks.figures"], folder).run()
    assert torch.equal(load(folder).predict(result.data.test.x), result.predictions)


def test_weights_of_penalties_are_refused(table, tmp_path):
    with pytest.raises(KanExpError, match=r"penalty\.roughness=1 has no effect with smoothing"):
        run(table, tmp_path / "run", "linear", "penalty.roughness=1", "smoothing.method=reml")
