"""Options that are added with `+`: what has no effect, or cannot have any, is refused."""

from __future__ import annotations

import re

import pytest

from kan_exp.cli import hydra_config
from kan_exp.commandline.arguments import spelled
from kan_exp.config import Component
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.training_table import learning_table
from kan_exp.errors import KanExpError
from kan_exp.preparing.checks import check, check_trainer
from kan_exp.preparing.translation import translate
from tests.commands.in_process import Train

FAST = ("layer=interpo", "optimizer=adam", "dims=[2,1,1]", "points=50")


def check_all(cfg):
    check(*translate(cfg, hydra_config()))


@pytest.mark.parametrize(
    ("added", "meant"),
    [
        ("+sed=1", "Did you mean seed=1?"),
        ("++dim=[2,1]", "Did you mean dims=[2,1]?"),
        ("+optimiser.lr=1", "Did you mean optimizer.lr=1?"),
        ("+num=1", "leave it out."),  # though there is ${hydra.job.num}
    ],
)
def test_an_added_option_without_effect_is_refused(train: Train, added, meant):
    line = train(*FAST, added, task=check_all).line
    assert line.startswith(f"{added}: there is no such option, and nothing refers to it")
    assert line.endswith(meant)


def test_an_option_of_a_choice_that_varies_says_how_it_is_set(train: Train):
    line = train("-m", "pde=poisson,heat", "pde.points.interior=60").line
    assert line == "pde.points: pde=... varies in this sweep: write ++pde.points.interior=60"


@pytest.mark.parametrize(
    "options",
    [
        ("+size=7", "layer.num_x=${size}"),
        ("+size={a: 7}", "layer.num_x=${..size.a}", "seed=${.size.a}"),
        ("+size=7", "layer.num_x=${oc.select:size,3}"),
        ("+place=a", "hydra.run.dir=b/${place}"),
        ("+a=7", "+b=${a}", "layer.num_x=${b}"),
    ],
)
def test_an_added_option_serves_what_refers_to_it(train: Train, options):
    assert train(*FAST, *options, task=check_all).code == 0


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("max_epochs", "set steps=..."),
        ("min_steps", "set steps=..."),
        ("limit_val_batches", "set evaluations=..."),
        ("val_check_interval", "set evaluations=..."),
        ("limit_train_batches", "set points=..."),
        ("accumulate_grad_batches", "batch_size=..."),
        ("gradient_clip_val", "trainings take no such option"),
        ("fast_dev_run", "trainings take no such option"),
        ("enable_checkpointing", "checkpoint_seconds=..."),
        ("determinstic", "Did you mean 'deterministic'?"),
    ],
)
def test_options_of_the_trainer_that_a_training_cannot_obey_are_refused(name, cure):
    trainer = Component("lightning.pytorch.Trainer", {name: 1})
    with pytest.raises(KanExpError, match=rf"^trainer\.{name}: .*{re.escape(cure)}"):
        check_trainer(trainer)


def test_other_options_of_the_trainer_are_taken(train: Train):
    options = [f"+trainer.{name}=true" for name in ("deterministic", "benchmark")]
    assert train(*FAST, *options, task=check_all).code == 0


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("data.target=???", "or rename the column"),
        ("data.target='???'", "or rename the column"),
        ('data.features=[a,"???"]', "or rename the column"),
        ("data.features=???", "or rename the column"),
        ("data.path='???'", "or rename the file"),
        ("seed=???", "give one."),
    ],
)
def test_three_question_marks_are_no_value(option, hint):
    name = option.partition("=")[0]
    rule = rf"^{name}: \?\?\? stands for a value that is not set.*{hint}"
    with pytest.raises(KanExpError, match=rule):
        spelled(["data=table", option])


def test_a_column_of_question_marks_is_not_advised_as_the_target(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,???\n" + "1,2,3\n" * 30)
    with pytest.raises(KanExpError, match=r"such as data.target=b; columns: 'a', 'b', '\?\?\?'"):
        learning_table(str(tmp_path / "t.csv"), None, None, SplitOptions([0.7, 0.15, 0.15], 0), ",")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["points=100000000000"], "points and data.num_val, data.num_test: 100,000,"),
        (["layer=chebyshev", "layer.degree=1000000000"], "parameters and 50 points a step"),
        (["dims=[2,10000000,10000000,1]"], "parameters and 50 points a step"),
        (["layer.num_x=100000000"], "num_x to be at most 1048576"),
    ],
)
def test_what_no_memory_can_hold_is_refused_at_once(train: Train, options, message):
    assert message in train(*FAST, *options, task=check_all).line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.target=exp"], "data.target=exp: data=sampled draws from a formula"),
        (["threads=100000"], "threads must be at least 1 and at most 4,096, got 100000."),
        (["hydra.job.env_copy=[KAN_EXP_NOPE]"], "no environment variable KAN_EXP_NOPE"),
    ],
)
def test_what_used_to_end_far_from_its_cause_is_reported(train: Train, options, message):
    assert message in train(*FAST, *options, task=check_all).line


def test_a_current_folder_that_was_removed_is_reported(train: Train, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert train(*FAST).line == "the current folder is no longer there: change to another (cd)."
