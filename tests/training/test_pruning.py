"""A trial that fares worse than the others ends when Optuna would end it."""

from types import SimpleNamespace

import optuna
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from kan_exp.config import config_folder
from kan_exp.data import SampledData
from kan_exp.errors import KanExpError
from kan_exp.targets import Target
from kan_exp.training.callbacks import TrialPruning, pruning
from kan_exp.training.module import CHOSEN_BY

CURVES = [[3, 2, 1, 1], [3, 3, 2, 2], [4, 3, 3, 3], [5, 2, 2, 1], [2, 2, 2, 0.5], [9, 9, 9, 9]]
MAX_STEPS = 40


def pruner(warm_up):
    return optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=warm_up)


def optunas_way():
    """How many values each curve gets to report."""
    study = optuna.create_study(pruner=pruner(1))
    counts = []
    for curve in CURVES:
        trial = study.ask()
        for number, value in enumerate(curve, 1):
            trial.report(value, number)
            if number < len(curve) and trial.should_prune():
                break
        counts.append(number)
        study.tell(trial, value)
    return counts


def train(callback, curve, steps=MAX_STEPS):
    """Validates at these errors as a trainer would, until the end or until it is stopped.

    Gives the number of validations.
    """
    data = SampledData(Target("x"), 4, 4, 4, seed=0)
    data.plan(None, steps, 1, len(curve), torch.Generator())
    trainer = SimpleNamespace(should_stop=False, global_step=0, max_steps=steps, datamodule=data)
    for number, value in enumerate(curve, 1):
        trainer.global_step = round(number * steps / len(curve))
        trainer.callback_metrics = {CHOSEN_BY: torch.tensor(float(value))}
        callback.on_validation_end(trainer, None)
        if trainer.should_stop:
            break
    return number


def test_trials_end_where_optunas_own_loop_ends_them(monkeypatch):
    study = optuna.create_study(pruner=pruner(250))
    monkeypatch.setattr(pruning, "open_trial", lambda *_: trial)
    counts = []
    for number, curve in enumerate(CURVES):
        trial = study.ask()
        callback = TrialPruning(__file__, "search", number, pruner(250))
        counts.append(train(callback, curve))
        assert callback.pruned == (counts[-1] < len(curve))
        study.tell(trial, curve[counts[-1] - 1])
    assert counts == optunas_way()
    assert min(counts) < len(CURVES[0])


def test_a_trial_reports_to_the_study_on_the_disk_and_goes_on_where_it_was(tmp_path):
    journal = str(tmp_path / "study.journal")
    study = optuna.create_study(
        study_name="search", storage=JournalStorage(JournalFileBackend(journal))
    )
    for _ in range(2):
        study.ask()
    never = optuna.pruners.NopPruner()
    train(TrialPruning(journal, "search", 1, never), [4, 3, 2, 1], steps=4)
    train(TrialPruning(journal, "search", 1, never), [4, 3, 2, 1], steps=4)  # once more
    values = {250: 4, 500: 3, 750: 2, 1000: 1}
    assert [trial.intermediate_values for trial in study.trials] == [{}, values]
    with pytest.raises(KanExpError, match="no trial 2 of 'search'"):
        TrialPruning(journal, "search", 2, never)
    with pytest.raises(KanExpError, match="no trial 0 of 'other'"):
        TrialPruning(journal, "other", 0, never)
    with pytest.raises(KanExpError, match="belongs to a search"):
        TrialPruning(str(tmp_path / "none"), "search", 0, never)


def shares(monkeypatch, steps, evaluations):
    """At which thousandths a run reports."""
    trial = optuna.create_study().ask()
    monkeypatch.setattr(pruning, "open_trial", lambda *_: trial)
    callback = TrialPruning(__file__, "search", 0, optuna.pruners.NopPruner())
    train(callback, [1.0] * min(steps, evaluations), steps)
    return list(trial.study.trials[0].intermediate_values)


def test_runs_of_any_length_report_at_the_same_shares(monkeypatch):
    tenths = list(range(100, 1001, 100))
    assert shares(monkeypatch, 4000, 10) == tenths
    assert shares(monkeypatch, 31, 10) == tenths
    assert shares(monkeypatch, 170, 30)[2::3] == tenths  # as layer=interpo has it
    assert shares(monkeypatch, 31, 30) == shares(monkeypatch, 6000, 30)
    assert shares(monkeypatch, 5, 10) == tenths[1::2]


def test_what_is_validated_between_two_shares_is_not_compared(monkeypatch):
    """Where a signal or the optimizer has ended the training."""
    trial = optuna.create_study().ask()
    monkeypatch.setattr(pruning, "open_trial", lambda *_: trial)
    data = SampledData(Target("x"), 4, 4, 4, seed=0)
    data.plan(None, 40, 1, 4, torch.Generator())
    trainer = SimpleNamespace(should_stop=True, global_step=17, max_steps=40, datamodule=data)
    trainer.callback_metrics = {CHOSEN_BY: torch.tensor(1.0)}
    callback = TrialPruning(__file__, "search", 0, optuna.pruners.NopPruner())
    callback.on_validation_end(trainer, None)
    assert trial.study.trials[0].intermediate_values == {}
    assert not callback.pruned


@pytest.mark.parametrize("name", ["median", "hyperband"])
def test_the_pruners_of_the_configs_decide_within_a_run(name):
    """Their steps are thousandths: one trial is pruned against good ones, but not at once."""
    pruner = instantiate(OmegaConf.load(f"{config_folder()}/hydra/sweeper/pruner/{name}.yaml"))
    study = optuna.create_study(pruner=pruner)
    ends = []
    for number in range(40):
        trial = study.ask()
        for share in range(100, 1001, 100):
            trial.report(1.0 if number < 30 else 9.0, share)
            if trial.should_prune():
                break
        ends.append(share)
        study.tell(trial, 1.0)
    pruned = [share for share in ends[30:] if share < 1000]
    assert pruned
    assert min(pruned) >= 200
