"""An Optuna study in the folder of its search, in which every trial is a job of the same number."""

from __future__ import annotations

import math
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
FEWEST = 5  # trials that importances are told from


@dataclass(frozen=True)
class Settings:
    """How a search chooses.

    Args:
        metric: What it makes least: a name in `metrics.json`.
        study_name: Of the study in its file.
        sampler: Config of Optuna's sampler, to which the seed is added.
        pruner: Config of Optuna's pruner.
        seed: From which, with a trial's number, all that is random in a choice is drawn.
    """

    metric: str
    study_name: str
    sampler: Any
    pruner: Any
    seed: int


class StoredStudy:
    """Asks for trials and is told what came of them; all is on the disk at once.

    Every trial is chosen with random numbers of its own, so that a search that was cut short goes
    on as it would have gone.

    Args:
        folder: Of the search.
        settings: How it chooses.

    Raises:
        KanExpError: The folder holds a search by another metric.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.settings = settings
        self.study = optuna.create_study(
            study_name=settings.study_name,
            storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
            direction="minimize",  # of what a search may go by, less is better
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
        self.open = [one.number for one in self.trials(TrialState.RUNNING)]

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials, or those in some states, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def finished(self) -> list[FrozenTrial]:
        """Trials that are over, however they ended."""
        return [trial for trial in self.trials() if trial.state.is_finished()]

    def next(self) -> Trial:
        """A trial that was begun and is not over, or else a new one."""
        if self.open:
            number = self.open.pop(0)
            self._seed(number)
            return Trial(self.study, self.trials()[number]._trial_id)
        self._seed(len(self.trials()))
        return self.study.ask()

    def _seed(self, number: int) -> None:
        seed = int(np.random.SeedSequence((self.settings.seed, number)).generate_state(1)[0])
        self.study.sampler = instantiate(self.settings.sampler, seed=seed)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Ends a trial with what came of its job."""
        figure = outcome.figure(self.settings.metric)
        if outcome.metrics.get("stopped") == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        elif outcome.state == "done" and figure is not None and math.isfinite(figure):
            self.study.tell(trial, figure)
        else:
            reason = outcome.reason
            if reason is None and outcome.state == "done":
                reason = f"metrics.json has no {self.settings.metric}."
            trial.set_user_attr("reason", reason or outcome.state)
            self.study.tell(trial, state=TrialState.FAIL)

    def twin(self, key: str) -> FrozenTrial | None:
        """A trial that ran to its end with the same configuration."""
        complete = self.trials(TrialState.COMPLETE)
        return next((one for one in complete if one.user_attrs["job"]["key"] == key), None)

    def best(self) -> FrozenTrial | None:
        """The best trial that ran to its end."""
        complete = self.trials(TrialState.COMPLETE)
        return self.study.best_trial if complete else None

    def importances(self) -> Mapping[str, float]:
        """How much each option decides whether a trial is among the best (PED-ANOVA).

        It comes from the trials that ran to their ends; with few, there is nothing to tell.
        """
        if len(self.trials(TrialState.COMPLETE)) < FEWEST:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that few trials have
            return optuna.importance.get_param_importances(self.study)


def check_metric(metric: str, chosen_by: str) -> None:
    """Refuses to choose by the test points.

    Args:
        metric: By which the search chooses.
        chosen_by: The task's own choice.

    Raises:
        KanExpError: The metric is one of theirs.
    """
    if metric.startswith(("test_", "linear_")):
        raise KanExpError(
            f"sweep.metric={metric} would choose by the test points, whose error then says nothing "
            f"about new ones: set sweep.metric={chosen_by}"
        )
