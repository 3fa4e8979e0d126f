"""An Optuna study in the folder of its search; every trial is a job of the same number."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.utils import instantiate
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from kan_exp.errors import KanExpError
from kan_exp.sweeps.outcomes import Outcome

JOURNAL = "study.journal"
MIN_TRIALS = 5  # for importances


@dataclass(frozen=True)
class Settings:
    """How a search chooses."""

    metric: str  # the metric to minimize, by its name in `metrics.json`
    study_name: str  # in the file
    sampler: Any  # config of Optuna's sampler, to which the seed is added
    pruner: Any  # config of Optuna's pruner
    seed: int  # of the random choices, together with a trial's number


class StoredStudy:
    """A study that is on the disk after every call.

    Every trial is chosen with random numbers of its own, so that a resumed search continues as it
    would have without the interruption.

    Raises:
        KanExpError: The folder holds a search by another metric.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.settings = settings
        _cut_partial_line(folder / JOURNAL)
        self.storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        self.study = optuna.create_study(
            study_name=settings.study_name,
            storage=self.storage,
            direction="minimize",
            pruner=instantiate(settings.pruner),
            load_if_exists=True,
        )
        known = self.study.user_attrs.get("metric", settings.metric)
        if known != settings.metric:
            raise KanExpError(
                f"{folder}: this search goes by {known}: leave out sweep.metric={settings.metric}, "
                f"or begin a new one."
            )
        self.study.set_user_attr("metric", known)
        self.open = [trial.number for trial in self.trials(TrialState.RUNNING)]

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials, or those in some states, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def finished(self) -> list[FrozenTrial]:
        """Trials that have ended."""
        return [trial for trial in self.trials() if trial.state.is_finished()]

    def next(self) -> Trial:
        """An unfinished trial, or else a new one."""
        if not self.open:
            self._seed(len(self.trials()))
            return self.study.ask()
        number = self.open.pop(0)
        self._seed(number)
        study_id = self.storage.get_study_id_from_name(self.settings.study_name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return Trial(self.study, trial_id)

    def _seed(self, number: int) -> None:
        seed = int(np.random.SeedSequence((self.settings.seed, number)).generate_state(1)[0])
        self.study.sampler = instantiate(self.settings.sampler, seed=seed)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Ends a trial with the outcome of its job; one that has not begun stays open."""
        value = outcome.metric(self.settings.metric)
        if outcome.state == "waiting":
            self.open.append(trial.number)
        elif outcome.pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif outcome.state == "done" and value is not None and math.isfinite(value):
            self.study.tell(trial, value)
        else:
            reason = outcome.reason
            if reason is None and outcome.state == "done":
                reason = f"metrics.json has no {self.settings.metric}."
            trial.set_user_attr("reason", reason or outcome.state)
            self.study.tell(trial, state=TrialState.FAIL)

    def with_key(self, key: str) -> FrozenTrial | None:
        """A complete trial whose configuration has this key."""
        complete = self.trials(TrialState.COMPLETE)
        return next((trial for trial in complete if trial.user_attrs["job"]["key"] == key), None)

    def best(self) -> FrozenTrial | None:
        """The best complete trial."""
        return self.study.best_trial if self.trials(TrialState.COMPLETE) else None

    def importances(self) -> Mapping[str, float]:
        """How much each option decides whether a trial is among the best (PED-ANOVA).

        Empty if there are too few complete trials.
        """
        if len(self.trials(TrialState.COMPLETE)) < MIN_TRIALS:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that few trials have
            return optuna.importance.get_param_importances(self.study)


def _cut_partial_line(journal: Path) -> None:
    """Removes the end of a line that a full disk has cut: Optuna would append to it."""
    content = journal.read_bytes() if journal.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(journal, len(whole))
