"""What a run says at its end."""

from __future__ import annotations

import math
import shlex
from types import SimpleNamespace

import pytest
import torch

from kan_exp.data import SampledData, Schema, Split, TableData
from kan_exp.targets import Target
from kan_exp.train import prepare
from kan_exp.training.closing import SMOOTH, advice, result_rows
from kan_exp.training.smoothing import SmoothingModule
from tests.regression import TASK
from tests.training.test_ending import SMALL

METRICS = {
    "test_rmse": 60.0,
    "test_rmse_se": 2.34,
    "test_max_error": 151.2,
    "test_mae": 40.0,
    "test_r2": 0.3,
    "test_r": None,
    "linear_rmse": 51.2,
    "linear_max_error": 210.0,
    "linear_mae": 41.0,
    "linear_r2": 0.4,
    "linear_r": 0.5,
    "edge_r2": {},
    "outputs": {},
    "parameters": 1234,
    "steps": 60,
    "best_step": 40,
    "stopped": "steps",
    "train_seconds": 1.25,
}


def table(rows: int = 60) -> SimpleNamespace:
    """Data of which nothing is known but their size."""
    y = torch.randn(rows, 1, generator=torch.Generator().manual_seed(0))
    return SimpleNamespace(
        noise_free=False,
        num_folds=0,
        features=["a", "b"],
        schema=Schema.of_numbers("ab", "y"),
        train=Split(y, y),
        test=Split(y, y),
    )


def said(data=None, arguments=(), errors=None, **metrics) -> list[str]:
    data = table() if data is None else data
    errors = torch.ones(100, 1) if errors is None else errors
    return advice({**METRICS, **metrics}, TASK, data, errors, arguments)


def test_the_table_has_every_metric_and_the_linear_models():
    rows = dict(result_rows(METRICS, TASK, 100))
    assert rows["test RMSE"] == "60 ± 2 (linear model 51.2)"
    assert rows["test max error"] == "151 (linear model 210)"
    assert rows["test R²"] == "0.300 (linear model 0.400)"
    assert rows["test r"] == "undefined (linear model 0.500)"
    assert rows["steps"] == "60; kept the best on validation, of step 40"
    cut = dict(result_rows({**METRICS, "stopped": "overfitting", "best_step": 0}, TASK, 100))
    assert cut["steps"] == "60 of 100, overfitting; kept the start"
    nothing = {name: None for name in METRICS if name.startswith(("test_", "linear_"))}
    assert dict(result_rows({**METRICS, **nothing}, TASK, 100))["test RMSE"] == (
        "not finite (linear model not finite)"
    )


def test_a_result_better_than_linear_has_nothing_to_say():
    assert said(test_rmse=50.0) == []


def test_nor_has_one_that_differs_by_rounding():
    assert said(test_rmse=1e-6, test_rmse_se=1e-7, linear_rmse=1e-16) == []
    assert said(test_rmse=1e-4, test_rmse_se=1e-7, linear_rmse=1e-16) != []


def test_nor_has_one_within_its_standard_error():
    assert said(test_rmse=53.5) == []  # the standard error is 2.34
    assert len(said(test_rmse=53.6)) == 2
    folds = {"count": 2, "each": [{"test_rmse": 1.0, "linear_rmse": 0.9}] * 2}
    folds["each"] = [*folds["each"], {"test_rmse": 5.0, "linear_rmse": 0.9}]
    assert said(test_rmse=53.5, folds=folds) != []  # 1.6 over the folds
    assert said(test_rmse=52.7, folds=folds) == []


@pytest.mark.parametrize("rmse", [53.6, 60.0, None])
def test_one_that_is_worse_says_so_and_what_to_try(rmse):
    sentence, command = said(
        arguments=["data=table", "data.path=my data.csv", "data.target=y", "layer=mlp", "seed=3",
                   "dims=[2,5,1]", "steps=100", "optimizer.lr=0.1", "+callbacks.pruning.trial=1"],
        test_rmse=rmse,
    )  # fmt: skip
    assert sentence == (
        "The test RMSE is worse than that of a linear model (51.2) by more than its standard "
        "error. On noisy data, find the smoothness of edges from the data:"
    )
    assert command == (
        "  python -m kan_exp.train data=table 'data.path=my data.csv' data.target=y seed=3 "
        "layer=spline smoothing.method=reml dims=null"
    )


def test_the_command_for_a_pruned_run_trains_instead_of_pruning_again():
    given = ["data=table", "prune=auto", "pruning.run=/a/run", "pruning.seconds=3"]
    _, command = said(arguments=given, test_rmse=90.0)
    assert command == f"  python -m kan_exp.train data=table {' '.join(SMOOTH)}"
    trained = given[:2]
    assert "prune=auto" in said(arguments=trained, test_rmse=90.0)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["layer=mlp", "layer.fcn_hidden=4", "optimizer=adam", "scheduler=cosine", "batch_size=8"],
        ["layers=[mlp,spline]", "replicas=3", "optimizer=adam", "optimizer.lr=0.1", "steps=30"],
        ["trainer=ddp", "optimizer=sgd", "compile=true", "log_every_n_steps=7", "evaluations=3"],
        ["target=formula", "target.formula='sin(a)*b'", "target.noise=0.3", "penalty.smooth=0.1"],
        ["data=table", "data.path={}/t.csv", "data.target=y", "data.features=[a,b]"],
        [
            "refine.num_candidates=[2,1]",
            "refine.grids=[4,8]",
            "penalty.jerk=0.1",
            "gradient.steps=9",
        ],
    ],
    ids=" ".join,
)
def test_the_command_makes_a_run(arguments, tmp_path):
    rows = [f"{a % 7},{a % 5},{a % 13}" for a in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *rows]))
    arguments = [text.format(tmp_path) for text in arguments]
    _, command = said(arguments=["data.seed=1", *arguments])
    python, m, module, *options = shlex.split(command)
    assert (python, m, module) == ("python", "-m", "kan_exp.train")
    experiment = prepare([*options, "logger=none"], tmp_path)
    assert experiment.choices["layer"] == "spline"
    assert experiment.choices["dims"] is None
    assert experiment.choices["optimizer"] == "lm"
    assert experiment.data.seed == 1
    assert isinstance(experiment.module, SmoothingModule)


def test_a_network_that_is_smooth_already_is_tried_on_folds(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *(f"{a},{a % 7},{a}" for a in range(60))]))
    data = TableData(str(tmp_path / "t.csv"), "y", None, [0.7, 0.15, 0.15], 0, ",")
    sentence, command = said(data, ["data=table", "data.folds=null", "dims=[2,1]"], chosen="curves")
    assert sentence.endswith("standard error. It may be the split: average over folds:")
    assert command == "  python -m kan_exp.train data=table 'dims=[2,1]' data.folds=5"
    data.num_folds = 5
    (sentence,) = said(data, ["data=table"], chosen="curves")
    assert sentence.endswith("standard error: the data may hold no more than that.")


def test_where_a_command_would_not_do_the_options_are_named():
    options = "layer=spline smoothing.method=reml dims=null"
    (sentence,) = said(arguments=None)
    assert sentence.endswith(f"from the data: {options}.")
    (sentence,) = said(arguments=["experiment=diabetes", "seed=1"])
    assert sentence.endswith(f"{options} in the place of what experiment=diabetes sets.")


def test_an_overfitted_run_says_so_in_words():
    (sentence,) = said(stopped="overfitting", test_rmse=50.0)
    assert sentence.startswith("Overfitting: ")
    assert "step 40" in sentence
    assert len(said(stopped="overfitting")) == 3


@pytest.mark.parametrize("stopped", ["diverged", "interrupted", "pruned"])
def test_a_run_that_was_cut_short_gets_no_advice(stopped):
    assert said(stopped=stopped) == []


def sampled(formula: str, domain=(-1, 1)) -> SampledData:
    return SampledData(Target(formula, domain=domain), 500, 10, 2000, seed=0)


@pytest.mark.parametrize(
    ("formula", "domain"),
    [
        ("1/x", (-1, 1)),
        ("1/x**2", (-1, 1)),
        ("tan(x)", (-10, 10)),
        ("1/(x - y)", (-1, 1)),
        ("1e9 + 1e6/x", (-1, 1)),
    ],
)
def test_values_that_go_far_are_named_and_no_seed_is_advised(formula, domain):
    data = sampled(formula, domain)
    (sentence,) = said(data)
    assert "did not find the function: it leaves 70% of the variance unexplained" in sentence
    values = torch.cat([data.train.y, data.test.y])
    assert f"range from {values.min().item():.3g} to {values.max().item():.3g}" in sentence
    assert "target.domain" in sentence
    assert "seed" not in sentence.replace("whatever the seed", "")


@pytest.mark.parametrize(
    "formula",
    [
        "exp(sin(pi*x) + y**2)",
        "x*y",
        "abs(x)",
        "exp(3*x)",
        "sin(30*x)",
        "1/(x + 1.2)",
        "x**9",
        "exp(20*x)",
    ],
)
def test_others_may_be_found_from_another_seed(formula):
    (sentence,) = said(sampled(formula))
    assert sentence.endswith("Try another seed, more steps or other dims.")


def test_a_narrower_domain_is_no_such_case():
    (sentence,) = said(sampled("1/x", (0.1, 1)))
    assert "another seed" in sentence


def test_an_error_of_few_points_is_told():
    errors = torch.full((10_000, 1), 1e-3)
    errors[:7] = 0.1
    found = {"test_r2": 0.9999, "errors": errors}
    (note,) = said(sampled("x*y"), **found)
    share = 7 * 0.01 / (7 * 0.01 + 9993e-6)
    assert note.startswith(f"Note: 10 of 10,000 test points make up {100 * share:.0f}% of the squ")
    assert said(sampled("x*y"), test_r2=0.9999, errors=torch.randn(10_000, 1)) == []
    errors[0] = math.inf
    assert said(sampled("x*y"), **found) == []


def test_a_run_prints_it(tmp_path, caplog):
    caplog.set_level("INFO")
    rows = [f"{a % 7},{a % 5},{a % 13}" for a in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *rows]))
    options = [*SMALL, "data=table", f"data.path={tmp_path / 't.csv'}", "data.target=y"]
    options = [text for text in options if not text.startswith(("points", "data.num"))]
    prepare(
        [*options, "logger=none", "~callbacks.figures", "optimizer.lr=1e-9"], tmp_path / "r"
    ).run()
    text = caplog.text
    assert "The test RMSE is worse than that of a linear model" in text
    assert f"data.path={tmp_path / 't.csv'} data.target=y" in text
    assert "± " in text


def test_a_constant_target_and_one_that_is_worse_than_its_mean_are_told():
    constant = SampledData(Target("0*x+3"), 100, 50, 50, seed=0)
    (line,) = said(constant, test_r2=None)
    assert line.startswith("The target is 3 at all points: there is nothing to learn.")
    varying = SampledData(Target("sin(x)"), 100, 50, 50, seed=0)
    (line,) = said(varying, test_r2=-37.9)
    assert "its error is larger than that of the mean of the values" in line
    assert "%" not in line
    (line,) = said(varying, test_r2=0.5)
    assert "leaves 50% of the variance unexplained" in line
