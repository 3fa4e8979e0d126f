"""A trial that fares worse than the others ends when Optuna would end it."""

from types import SimpleNamespace

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from kan_exp.errors import KanExpError
from kan_exp.training.callbacks import TrialPruning, pruning

CURVES = [[3, 2, 1, 1], [3, 3, 2, 2], [4, 3, 3, 3], [5, 2, 2, 1], [2, 2, 2, 0.5], [9, 9, 9, 9]]
MOST_STEPS = 40


def pruner():
    return optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)


def optunas_way():
    """How many values each curve gets to report."""
    study = optuna.create_study(pruner=pruner())
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


def train(callback, curve):
    """Validates as a trainer would, ten steps apart, until the end or until it is stopped."""
    trainer = SimpleNamespace(should_stop=False, global_step=0, max_steps=MOST_STEPS)
    module = SimpleNamespace(val_history=[])
    for value in curve:
        trainer.global_step += MOST_STEPS // len(curve)
        module.val_history.append((trainer.global_step, value))
        trainer.callback_metrics = {"error/val_rmse": torch.tensor(float(value))}
        callback.on_validation_end(trainer, module)
        if trainer.should_stop:
            break
    return len(module.val_history)


def test_trials_end_where_optunas_own_loop_ends_them(monkeypatch):
    study = optuna.create_study(pruner=pruner())
    monkeypatch.setattr(pruning, "open_trial", lambda *_: trial)
    counts = []
    for number, curve in enumerate(CURVES):
        trial = study.ask()
        callback = TrialPruning(__file__, "search", number, pruner())
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
    train(TrialPruning(journal, "search", 1, never), [4, 3])
    train(TrialPruning(journal, "search", 1, never), [4, 3, 2, 1])  # from the start, once more
    assert [trial.intermediate_values for trial in study.trials] == [{}, {1: 4, 2: 3, 3: 2, 4: 1}]
    with pytest.raises(KanExpError, match="no trial 2 of 'search'"):
        TrialPruning(journal, "search", 2, never)
    with pytest.raises(KanExpError, match="no trial 0 of 'other'"):
        TrialPruning(journal, "other", 0, never)
    with pytest.raises(KanExpError, match="belongs to a search"):
        TrialPruning(str(tmp_path / "none"), "search", 0, never)
