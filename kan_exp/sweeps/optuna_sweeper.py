"""A search: Optuna chooses each job by the outcomes of those before."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class

from kan_exp.commandline.explain import USER_ERRORS, one_line
from kan_exp.data.checks import check_whole
from kan_exp.errors import KanExpError
from kan_exp.options import check_options
from kan_exp.preparing.keys import run_key
from kan_exp.quoting import shell
from kan_exp.runs import StatusFile, is_running, option_name, read_status
from kan_exp.runs.status import FAILED
from kan_exp.sweeps.jobs import Job, JobGroup, job_overrides, make_job_group, split_seed
from kan_exp.sweeps.outcomes import outcomes
from kan_exp.sweeps.runner import SweepRunner, still_runs
from kan_exp.sweeps.space import read_space
from kan_exp.sweeps.sweeper import FolderSweeper
from kan_exp.tasks import Task, scoring_of
from kan_exp.tasks.metrics import title
from kan_exp.tasks.numbers import number

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)

MAX_REFUSED = 3  # trials at the beginning that cannot be composed
PRUNING = "callbacks=pruning"  # reports a trial's progress to the pruner


class OptunaSweeper(FolderSweeper):
    """Runs a number of trials of a space of options.

    Args:
        n_trials: Jobs in all, including those of earlier attempts.
        n_jobs: Trials that are chosen, and launched, at once.
        params: Values of each option, in Hydra's grammar of sweeps.
        only: Options that exist only with one choice, by that choice.
        metric: The metric to minimize unless `sweep.metric` is set; the task's primary metric on
            the validation points by default.
        settings: See `study.Settings`.
    """

    def __init__(
        self,
        n_trials: int,
        n_jobs: int,
        params: dict[str, str] | None,
        only: dict[str, dict[str, str]] | None,
        metric: str | None,
        **settings: Any,
    ) -> None:
        super().__init__(params, metric)
        for name, count in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            check_whole(f"hydra.sweeper.{name}", count, least=1)
        check_whole("hydra.sweeper.seed", settings.get("seed"), least=0)
        for name in ("sampler", "pruner"):
            if not (config := settings.get(name)) or "_target_" not in config:
                raise KanExpError(
                    f"hydra.sweeper.{name} must be a config of that group, got {config}: "
                    f"set hydra/sweeper/{name}={'none' if name == 'pruner' else 'tpe'}"
                )
        self.n_trials, self.n_jobs, self.only = n_trials, n_jobs, only or {}
        self.settings = settings

    def default_metric(self, task: Task) -> str:
        return task.chosen_by

    def plan(self, overrides: list[str]) -> SweepRunner:
        try:
            from kan_exp.sweeps.study import Settings, StoredStudy
        except ImportError as error:
            needed = f"a search needs Optuna ({error}): pip install 'optuna>=5.0'"
            raise KanExpError(needed) from error
        if self.metric.startswith(("test_", "linear_")):
            raise KanExpError(
                f"sweep.metric={self.metric} would choose by the test points, whose error then "
                f"says nothing about new ones: set sweep.metric={self.task.chosen_by}"
            )
        for name in ("sampler", "pruner"):
            config = self.settings[name]
            options = {key: value for key, value in config.items() if not key.startswith("_")}
            check_options(f"hydra.sweeper.{name}", get_class(config._target_), options)
        groups = {name: str(choice) for name, choice in self.config.hydra.runtime.choices.items()}
        # A job gets the chosen values. The search by which they were chosen affects no result.
        extra = [text for text in overrides if text.startswith("search=")]
        rest = [text for text in overrides if text not in extra]
        self.space = read_space(self.params, self.only, rest, groups, self.parse)
        prunes = (
            not self.settings["pruner"]._target_.endswith(".NopPruner")
            and self.metric == self.task.chosen_by
            and not any(option_name(text) == "callbacks" for text in overrides)
        )
        if prunes and self.origin:
            raise KanExpError(
                "--from keeps the run's own callbacks, so that its repetitions cannot be pruned: "
                "set hydra/sweeper/pruner=none."
            )
        self.extra = (*extra, PRUNING) if prunes else (*extra,)
        self.begin()
        self.study = StoredStudy(self.folder, Settings(self.metric, **self.settings))
        known = [outcomes(_group(self.folder, trial))[0] for trial in self.study.finished()]
        # How many could not be composed, as long as none could.
        self.refused: int | None = None if known else 0
        before = f", {len(known)} done before" if known else ""
        log.info("a search of %d trials%s; %s", self.n_trials, before, self.folder)
        return self.runner(known, max(self.n_trials, len(known)))

    def run(self, runner: SweepRunner) -> None:
        while (left := self.n_trials - len(self.study.finished())) > 0:
            # Interrupted trials end first, as they would have, before others are chosen by them.
            count = min(self.n_jobs, len(self.study.open) or left)
            batch = [self._take() for _ in range(count)]
            ended = [group for _, group in batch if _has_ended(group)]
            waiting = [group for _, group in batch if group not in ended]
            for group in ended:
                runner.report(group)
            try:
                if waiting:
                    runner.run(waiting)
            except BaseException:  # a trial that has not ended stays open
                batch = [(trial, group) for trial, group in batch if _has_ended(group)]
                raise
            finally:
                for trial, group in batch:
                    self.study.tell(trial, outcomes(group)[0])

    def _take(self) -> tuple[Trial, JobGroup]:
        """The next trial and its job; if it cannot be composed, the job has failed.

        Raises:
            KanExpError: It still runs, or the space has changed.
            HydraException: None of the first few can be composed: the space is wrong.
        """
        trial = self.study.next()
        try:
            chosen = self.space.choose(trial)
        except ValueError as error:
            raise KanExpError(
                f"{self.folder}: the search began with other values ({error}): begin a new one."
            ) from error
        searched = {entry.option for entry in self.space.searched}
        overrides = job_overrides(self.space.overrides(chosen), trial.number)
        name = " ".join(
            f"{option}={value if isinstance(value, str) else number(value)}"
            for option, value in chosen.items()
            if option in searched
        )
        key, refusal, extra = "", None, self.extra
        try:
            cfg = self.compose([*extra, *overrides])
            key, self.refused = run_key(cfg), None
            if "pruning" in (cfg.get("callbacks") or {}):  # not all launchers count trials alike
                extra = (*extra, f"callbacks.pruning.trial={trial.number}")
        except USER_ERRORS as error:
            if self.refused is not None:
                self.refused += 1
                if self.refused == min(MAX_REFUSED, self.n_trials):
                    raise
            refusal = error
        group = make_job_group([_job(trial.number, overrides, key, name)], self.folder, extra)
        if (earlier := self.study.with_key(key)) is not None:  # whose result would be the same
            job = _job(trial.number, overrides, key, f"{name} (as job {earlier.number})")
            group = JobGroup((job,), _group(self.folder, earlier).folder)
        stored = {name: getattr(group.jobs[0], name) for name in ("overrides", "key", "name")}
        trial.set_user_attr("job", {**stored, "folder": group.folder.name})
        if refusal is not None:
            group.folder.mkdir(exist_ok=True)
            with (
                contextlib.suppress(*USER_ERRORS),
                StatusFile(group.folder, overrides, key, trial.number, one_line),
            ):
                raise refusal
        return trial, group

    def finish(self, runner: SweepRunner) -> None:
        from kan_exp.sweeps.search_figures import draw_search

        best = self.study.best()
        lines = []
        if best is not None:
            (outcome,) = (row for row in runner.outcomes() if row.job.number == best.number)
            judged_by = scoring_of(outcome.metrics).judged_by
            metrics = [
                f"{title(name)} {number(value)}"
                for name in dict.fromkeys((self.metric, judged_by))
                if (value := outcome.metric(name)) is not None
            ]
            lines = [
                f"best: job {best.number}, {', '.join(metrics)}",
                f"  python -m kan_exp.train {shell(*self.origin, *outcome.job.overrides)}",
            ]
        lines += draw_search(self.folder, self.study)
        runner.finish(lines, retries_failed=False)


def _job(number: int, overrides: Sequence[str], key: str, name: str) -> Job:
    return Job(number, tuple(overrides), key, name, *split_seed(overrides))


def _group(folder: Path, trial: FrozenTrial) -> JobGroup:
    """The job that a trial has launched."""
    stored = trial.user_attrs["job"]
    job = _job(trial.number, stored["overrides"], stored["key"], stored["name"])
    return JobGroup((job,), folder / Path(stored["folder"]).name)


def _has_ended(group: JobGroup) -> bool:
    """Whether a job has ended by itself.

    Raises:
        KanExpError: It still runs.
    """
    status = read_status(group.folder)
    if status is not None and is_running(status):
        raise still_runs(group, status)
    return status is not None and status.state in ("done", *FAILED) and not status.was_killed
