"""Reports the validation errors of a trial to its search, which may prune the trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from kan_exp.errors import KanExpError
from kan_exp.training.module import CHOSEN_BY

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import Trial


class TrialPruning(Callback):
    """Reports the error of each validation at the completed part of the run, in thousandths.

    Trials are compared at equal parts because their numbers of steps and validations may differ.

    Args:
        journal: The file that holds the study.
        study_name: Of the study in it.
        trial: Number of the trial.
        pruner: Decides whether the trial is pruned.

    Raises:
        KanExpError: There is no such study or trial.
    """

    def __init__(self, journal: str, study_name: str, trial: int, pruner: BasePruner) -> None:
        if not Path(journal).is_file():
            raise KanExpError(f"callbacks.pruning belongs to a search, and {journal} is not there.")
        self.pruned = False
        self._trial = open_trial(journal, study_name, trial, pruner)
        self._known = max(self._trial.study.trials[trial].intermediate_values, default=0)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        share = cast(Any, trainer).datamodule.share(trainer.global_step)
        if share is None:  # a signal or the optimizer has ended the training between validations
            return
        thousandths = round(1000 * share)
        if thousandths <= self._known:  # reported by an attempt that was interrupted
            return
        self._known = thousandths
        self._trial.report(trainer.callback_metrics[CHOSEN_BY].item(), thousandths)
        over = trainer.should_stop or trainer.global_step >= trainer.max_steps
        if not over and self._trial.should_prune():
            self.pruned = trainer.should_stop = True


def open_trial(journal: str, study_name: str, number: int, pruner: BasePruner) -> Trial:
    """Opens a trial of a stored study; raises a `KanExpError` if there is none."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(journal))
    try:
        study = optuna.load_study(
            study_name=study_name,
            storage=storage,
            pruner=pruner,
            sampler=optuna.samplers.RandomSampler(),  # not used
        )
        study_id = storage.get_study_id_from_name(study_name)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return optuna.trial.Trial(study, trial_id)
    except (KeyError, IndexError) as error:
        raise KanExpError(f"{journal}: there is no trial {number} of {study_name!r}.") from error
