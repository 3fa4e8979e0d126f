"""Groups that are removed or chosen by what is no name, and options of another kind."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from kan_exp.cli import hydra_config
from kan_exp.errors import KanExpError
from kan_exp.optimizers.checking import check_optimizer
from kan_exp.preparing.choices import flat_choices
from kan_exp.preparing.keys import check_shared
from kan_exp.preparing.translation import translate
from kan_exp.runs import read_status
from tests.commands.in_process import Train
from tests.conftest import read_metrics

TINY = ["layer=interpo", "optimizer=adam", "steps=4", "evaluations=1", "log_every_n_steps=2"]
TINY += ["points=20", "data.num_val=10", "data.num_test=10", "callbacks.figures.points=10"]


def check_all(cfg):
    translate(cfg, hydra_config())


@pytest.mark.parametrize("group", ["layer", "optimizer", "trainer", "target", "data"])
def test_a_run_without_a_needed_group_is_refused(train: Train, group):
    line = train("layer=interpo", "optimizer=adam", f"~{group}", task=check_all).line
    assert line.startswith(f"{group} is needed:")


@pytest.mark.parametrize("group", ["layer", "optimizer", "trainer", "data", "scheduler"])
def test_a_group_that_does_not_say_what_it_makes_is_refused(train: Train, group):
    options = ["layer=interpo", "optimizer=adam", f"~{group}._target_"]
    line = train(*options, task=check_all).line
    assert line == f"{group}._target_ is needed: it names what {group} makes."


@pytest.mark.parametrize("value", ["null", "5", "1.5", "true", "{a: 1}", "mlp,null"])
def test_a_choice_that_is_no_name_is_reported_with_the_names(train: Train, value):
    flags = ["-m"] if "," in value else []
    line = train(*flags, f"layer={value}").line
    assert line.startswith(f"layer={value.rpartition(',')[2]}: layer takes the name of a config:")
    assert "interpo, linear, mlp" in line


def test_null_is_answered_with_none_where_there_is_such_a_choice(train: Train):
    assert "set scheduler=none, or" in train("optimizer=adam", "scheduler=null").line
    assert "set hydra/sweeper/pruner=none" in train("hydra/sweeper/pruner=null").line


@pytest.mark.parametrize("text", ["layers=null", "batch_size=null", "data.seed=1"])
def test_options_that_are_no_groups_take_null_and_numbers(train: Train, text):
    assert train("layer=interpo", text).code == 0


def test_runs_go_without_what_was_removed(command, tmp_path):
    done = command(
        *("train", *TINY, "~scheduler", "~logger", "callbacks.figures=null"),
        *("callbacks.progress=null", "hydra.run.dir=run"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert read_metrics(tmp_path / "run")["choices"]["scheduler"] == "none"


def test_references_to_what_hydra_has_not_are_no_null(train: Train):
    line = train("optimizer=adam", "batch_size=${hydra:job.nmu}", task=check_all).line
    assert line == "${hydra:job.nmu} refers to Hydra's job.nmu, which is not there."
    line = train("optimizer=adam", "seed=${hydra:job.num}", task=check_all).line
    assert line.endswith("only jobs of a sweep have one.")
    named = ("+x=${hydra:job.name}", "hydra.run.dir=${x}")
    assert train("optimizer=adam", *named, task=check_all).code == 0


def test_jobs_whose_references_cannot_be_resolved_say_why(command, tmp_path):
    done = command("train", "-m", *TINY, "seed=0,1", "points=${eval:1}", "hydra.sweep.dir=s")
    assert done.returncode == 1
    assert done.stderr.count("points: ${eval:1}: there is no resolver 'eval'.") == 2
    assert {read_status(path).state for path in (tmp_path / "s").glob("?_*")} == {"failed"}


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("seed=glob(*)", "seed=glob(*): gives no value"),
        ("seed=interval(0,3)", "interval(...) is for a search"),
    ],
)
def test_a_sweep_of_nothing_is_refused(command, text, fragment):
    done = command("train", "-m", *TINY, text)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert fragment in line


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("+callbacks.x={_target_: datetime.date.today}", "must make a lightning.pytorch.Callback"),
        ("logger._target_=collections.OrderedDict", "must make a lightning.pytorch Logger"),
        ("+callbacks.x=1", "callbacks.x must be a config with options, got 1."),
    ],
)
def test_callbacks_and_loggers_that_are_none_are_named(command, text, fragment):
    done = command("train", *TINY, text)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert fragment in line


def test_a_folder_of_jobs_that_would_be_ignored_is_refused(command):
    done = command("train", "-m", *TINY, "seed=0,1", "hydra.sweep.subdir=x")
    assert "hydra.sweep.subdir has no effect" in done.stderr


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("hydra.sweeper.n_trials=2.5", "hydra.sweeper.n_trials must be a whole number"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials must be a whole number of at least 1"),
        ("hydra.sweeper.n_jobs=x", "hydra.sweeper.n_jobs must be a whole number"),
        ("hydra.sweeper.seed=x", "hydra.sweeper.seed must be a whole number"),
        ("hydra.sweeper.sampler.n_startup_trials=abc", "n_startup_trials must be a number"),
        ("hydra.sweeper.sampler.n_ei_candidates=1.5", "n_ei_candidates must be a whole number"),
        ("hydra.sweeper.pruner=null", "set hydra/sweeper/pruner=none"),
        ("hydra.sweeper.sampler=null", "set hydra/sweeper/sampler=tpe"),
    ],
)
def test_a_search_refuses_options_of_another_kind(command, text, fragment):
    done = command("train", "search=layer_and_grid", text)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert fragment in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--multirun=3"], "--multirun takes no value, got '3'."),
        (["-m=3"], "-m takes no value, got '3'."),
        (["--config-", "x"], "--config- may be any of --config-path, --config-name, --config-dir"),
        (["--", "seed=1"], "--: there is no such flag."),
    ],
)
def test_flags_that_cannot_be_read_are_reported_in_one_line(train: Train, arguments, line):
    assert train(*arguments).line.startswith(line)


ADAM, SGD = torch.optim.Adam, torch.optim.SGD
STEP, COSINE = torch.optim.lr_scheduler.StepLR, torch.optim.lr_scheduler.CosineAnnealingLR
WRONG = [
    (ADAM, {"lr": "abc"}, "optimizer.lr must be a number, got 'abc'."),
    (ADAM, {"lr": None}, "optimizer.lr must be a number, got null."),
    (ADAM, {"eps": True}, "optimizer.eps must be a number, got true."),
    (ADAM, {"lr": "0.01"}, "(text): leave out its quotes, or write ${oc.decode:${oc.env:NAME}}"),
    (ADAM, {"betas": 0.9}, "optimizer.betas must be a list, as [0.9,0.999], got 0.9."),
    (ADAM, {"betas": [0.9]}, "must be 2 numbers, as [0.9,0.999], got [0.9]."),
    (ADAM, {"betas": ["a", 1]}, "must be 2 numbers, as [0.9,0.999], got [a,1]."),
    (ADAM, {"fused": "no"}, "optimizer.fused must be true, false or null, got 'no'."),
    (SGD, {"lr": 0.1, "momentum": "x"}, "optimizer.momentum must be a number, got 'x'."),
]
WRONG_SCHEDULES = [
    (STEP, {"step_size": 2, "gamma": "abc"}, "scheduler.gamma must be a number, got 'abc'."),
    (STEP, {"step_size": 1.5}, "scheduler.step_size must be a whole number, got 1.5."),
    (COSINE, {"T_max": "9"}, "scheduler.T_max must be a number, got '9' (text)"),
]


def factory(kind, options):
    from hydra.utils import instantiate

    target = f"{kind.__module__}.{kind.__qualname__}"
    return instantiate(OmegaConf.create({"_target_": target, "_partial_": True, **options}))


@pytest.mark.parametrize(("kind", "options", "fragment"), WRONG)
def test_options_of_optimizers_of_another_kind_are_named(kind, options, fragment):
    with pytest.raises(KanExpError) as error:
        check_optimizer(factory(kind, options))
    assert fragment in str(error.value)


@pytest.mark.parametrize(("kind", "options", "fragment"), WRONG_SCHEDULES)
def test_options_of_schedulers_of_another_kind_are_named(kind, options, fragment):
    with pytest.raises(KanExpError) as error:
        check_optimizer(factory(ADAM, {"lr": 0.1}), factory(kind, options))
    assert fragment in str(error.value)


def test_options_of_the_right_kind_are_taken():
    check_optimizer(
        factory(ADAM, {"lr": 1, "betas": [0.5, 0.9], "fused": None, "foreach": False}),
        factory(STEP, {"step_size": 2.0, "gamma": 1}),
    )


def test_replicas_are_not_resolved_one_by_one_without_a_reference_to_the_seed(train: Train):
    def task(cfg):
        check_shared(cfg)

    assert train("optimizer=adam", "replicas=1000000000", task=task).code == 0
    for text in ("points=${seed}", "points=${${name}}", "points=${oc.select:seed,1}"):
        line = train("optimizer=adam", "replicas=9", "+name=seed", text, task=task).line
        assert line.startswith("replicas=9: replica k is the run with seed+k, and points=")


@pytest.mark.parametrize(
    "text",
    [
        *("layer=[mlp]", "optimizer=[adam,sgd]", "data=[]", "scheduler=[none]", "+search=[grid]"),
        *("layer=mlp.yaml", "layer=../layer/mlp", "layer=/etc/passwd", "optimizer=./adam"),
        *("experiment=diabetes.yaml", "trainer=..", "callbacks=default.yml"),
    ],
)
def test_a_list_or_a_path_is_no_choice(train: Train, text):
    group = text.lstrip("+").partition("=")[0]
    line = train(text, *(["layer=interpo", "optimizer=adam"] if group == "data" else [])).line
    assert line.startswith(f"{text.lstrip('+')}: {group} takes the name of a config:")


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_options_without_a_finite_value_can_be_stored(train: Train, value):
    options = ["layer=interpo", "optimizer=adam", f"layer.x_min={value}", f"optimizer.lr={value}"]
    answer = train(*options, f"optimizer.betas=[0.9,{value}]", "logger=none")
    flat = flat_choices(*translate(answer.cfg, answer.hydra))
    stored = json.loads(json.dumps(flat, allow_nan=False))
    assert stored["optimizer.lr"] == stored["layer.x_min"] == value
    assert stored["optimizer.betas"] == [0.9, value]
    assert stored["layer.x_max"] == 2.0
