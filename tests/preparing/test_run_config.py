"""A run's configuration made in Python: the defaults of conf/, and the same run without Hydra."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kan_exp.config import (
    Component,
    RefineConfig,
    RunConfig,
    RunContext,
    choice,
    to_component,
    to_values,
)
from kan_exp.errors import KanExpError
from kan_exp.preparing.checks import check
from kan_exp.preparing.components import make, make_task
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.translation import composed, composed_task, run_config
from tests.conftest import read_metrics

SMALL = ["layer=spline", "dims=[2,1,1]", "points=60", "data.num_val=20", "data.num_test=20"]
SMALL += ["refine.num_candidates=[2]", "refine.steps=[2]", "logger=none", "~callbacks.figures"]


def translated(*overrides: str) -> RunConfig:
    return run_config(overrides, "run")


def test_the_defaults_are_those_of_the_configs():
    config = translated("logger=none", "~callbacks")
    assert config == RunConfig()


def test_a_choice_brings_what_its_file_sets_elsewhere():
    config = translated("layer=spline", "dims=[2,1,1]")
    assert config.layers == choice("layer", "spline")
    assert config.refine.num_candidates == [16, 4, 3, 2, 1]
    assert config.refine.points is None
    assert config.penalty.jerk == config.refine.jerk == 1e-7
    config = translated("layer=interpo", "optimizer=adam")
    assert (config.steps, config.batch_size, config.penalty.roughness) == (8000, 256, 1e-4)


@pytest.mark.parametrize("options", [[], ["trainer=ddp", "optimizer=adam"], ["layers=[mlp,rbf]"]])
def test_plain_containers_hold_all_of_it(options):
    config = translated(*options)
    assert RunConfig.from_values(config.to_values()) == config


def small_config() -> RunConfig:
    target = choice("target", "exp_sin_square")
    counts = {"num_train": 60, "num_val": 20, "num_test": 20}
    return RunConfig(
        dims=[2, 1, 1],
        layers=choice("layer", "spline"),
        data=choice("data", "sampled", target=target, **counts),
        refine=RefineConfig(
            num_candidates=[2], steps=[2], points=None, jerk=1e-7, penalty_decay=5.0
        ),
        penalty=replace(RunConfig().penalty, jerk=1e-7),
        callbacks={"progress": Component("kan_exp.training.callbacks.ProgressLine")},
    )


def test_a_configuration_made_in_python_is_the_same_run(tmp_path):
    assert small_config() == translated(*SMALL)
    here = Path.cwd()
    for name, config in (("a", small_config()), ("b", translated(*SMALL))):
        make_experiment(config, tmp_path / name).run()
    first, second = (read_metrics(tmp_path / name) for name in "ab")
    assert first["test_rmse"] == second["test_rmse"]
    assert Path.cwd() == here
    assert not (tmp_path / "a" / ".hydra").exists()


def test_it_needs_no_hydra():
    code = (
        "import sys, kan_exp.preparing.checks, kan_exp.preparing.experiment as e, kan_exp.config\n"
        "from kan_exp.config import RunConfig, RunContext\n"
        "kan_exp.preparing.checks.check(RunConfig(), RunContext())\n"
        "assert not {'hydra', 'omegaconf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_checked_as_the_commands_are():
    with pytest.raises(KanExpError, match=r"^target has 2 inputs, but dims=\[3,1\]"):
        check(RunConfig(dims=[3, 1]), RunContext())
    few = replace(small_config(), data=Component("kan_exp.data.SampledData", {"seed": -1}))
    with pytest.raises(KanExpError, match=r"^data\.seed must be a whole number"):
        check(few, RunContext())


def test_a_choice_reads_the_options_of_its_file():
    spline = choice("layer", "spline", num_intervals=8)
    assert spline.target == "kan_exp.layers.KANSplineLayer"
    assert spline.options["num_intervals"] == 8
    assert spline.options["degree"] == 3
    with pytest.raises(KanExpError, match="Did you mean 'spline'"):
        choice("layer", "splin")
    with pytest.raises(KanExpError, match="scheduler=cosine needs the option 'T_max'"):
        choice("scheduler", "cosine")


NESTED = {"_target_": "collections.OrderedDict", "a": [{"_target_": "fractions.Fraction"}]}


def test_components_are_made_inside_out():
    component = to_component({**NESTED, "b": {"c": {"_target_": "datetime.date.today"}}})
    assert to_values(component) == {**NESTED, "b": {"c": {"_target_": "datetime.date.today"}}}
    made = make("it", component)
    assert made["a"] == [0]
    assert made["b"]["c"].year > 2000
    partial = to_component({"_target_": "builtins.dict", "_partial_": True, "a": 1})
    assert make("it", partial)(b=2) == {"a": 1, "b": 2}
    assert make("it", to_component({"_target_": "builtins.divmod", "_args_": [7, 2]})) == (3, 1)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nowhere_at_all.Thing", "cannot import it: No module named 'nowhere_at_all'."),
        ("kan_exp.tasks.Nothing", "cannot import it: module 'kan_exp.tasks' has no attribute"),
        ("kan_exp.tasks.metrics.TEST", "it is no class and no function."),
        ("a b", "cannot import it: "),
    ],
)
def test_what_cannot_be_imported_is_one_line(target, reason):
    with pytest.raises(KanExpError) as caught:
        make("task", Component(target))
    assert str(caught.value).startswith(f"task._target_={target}: {reason}")
    assert "\n" not in str(caught.value)


def test_options_that_a_class_refuses_are_one_line():
    strategy = Component("fractions.Fraction", {"x": 1})
    with pytest.raises(KanExpError, match=r"^trainer\.strategy: .*unexpected keyword"):
        make("trainer", Component("builtins.dict", {"strategy": strategy}))
    with pytest.raises(KanExpError, match=r"^task\._target_=builtins\.dict must make a kan_exp"):
        make_task(Component("builtins.dict"))


def test_a_configuration_is_trained_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = make_experiment(small_config()).fit()
    assert result.metrics["test_rmse"] < 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("optimizer", ["lm", "adam"])
def test_product_nodes_learn_a_product(optimizer):
    """A [2,1,1] network of sums cannot: it leaves a third of the variance."""
    options = ["layer=spline", "dims=[2,1,1]", "multiply=[1]", f"optimizer={optimizer}"]
    counts = ["points=200", "data.num_val=100", "data.num_test=100", "refine.grids=[4,8]"]
    few = ["layer.num_intervals=8"] + (["steps=600"] if optimizer == "adam" else [])
    result = make_experiment(translated("target=product", *options, *counts, *few)).fit()
    assert result.metrics["test_r2"] > (0.9999 if optimizer == "lm" else 0.97)
    assert result.model.network[0].node_operation == ("product",)
    assert result.metrics["choices"]["multiply"] == [1]


@pytest.mark.parametrize(
    ("options", "metric"),
    [([], "rmse"), (["pde=heat"], "relative_error"), (["pde=disc", "pde.exact=null"], "residual")],
)
def test_a_sweep_knows_the_metric_of_its_jobs(options, metric, tmp_path):
    with composed(options, tmp_path) as (cfg, _):
        assert composed_task(cfg).primary.name == metric


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["pde=heat", "data=sampled"], "pde=heat has no effect with data=sampled"),
        (["data=equation"], "choose one with pde="),
    ],
)
def test_what_is_no_problem_is_one_line(tmp_path, options, message):
    with pytest.raises(KanExpError, match=message):
        make_experiment(run_config(options, tmp_path))
