"""The base of all sweepers, and the sweep over every combination."""

from __future__ import annotations

import itertools
import logging
import signal
import sys
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kan_exp.cli import as_typed
from kan_exp.data.checks import check_whole
from kan_exp.errors import KanExpError, suggest
from kan_exp.preparing.paths import use_absolute_paths
from kan_exp.preparing.references import check_additions
from kan_exp.preparing.tasks import AUTO
from kan_exp.preparing.translation import check_groups, composed_task
from kan_exp.preparing.values import search_path_override
from kan_exp.quoting import expand_home, literal, typed
from kan_exp.runs import hold, option_name, release
from kan_exp.runs.folders import SWEEP
from kan_exp.runs.identity import group_name
from kan_exp.runs.printable import counted
from kan_exp.sweeps.jobs import Job, make_job_groups, plan_jobs
from kan_exp.sweeps.launching import check_installed
from kan_exp.sweeps.outcomes import Outcome
from kan_exp.sweeps.runner import ENDING, SweepRunner, Terminated, finished_jobs, renumber
from kan_exp.tasks import Task

log = logging.getLogger(__name__)


class FolderSweeper(Sweeper):
    """Runs jobs in a folder with a table of their outcomes, and can resume there.

    Args:
        params: Swept options and their values, in addition to those on the command line.
        metric: Compares jobs unless `sweep.metric` is set; the task's primary metric by default.
    """

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(self, params: dict[str, str] | None, metric: str | None) -> None:
        self.params, self.given = params or {}, metric
        self.metric = ""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        check_installed(config)
        if config.sweep.resume is not None:  # the launcher needs the folder, too
            with open_dict(config):
                folder = expand_home(config.sweep.resume)
                config.hydra.sweep.dir = literal(str(folder))
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        options = self.config.sweep
        check_whole("sweep.most_stacked", options.most_stacked, least=1)
        self.task = task = composed_task(self._first(arguments))
        self.metric = options.metric = options.metric or self.given or self.default_metric(task)
        if self.metric not in (known := task.numbers):
            raise KanExpError(
                f"sweep.metric={self.metric}: runs have no such metric."
                f"{suggest(self.metric, known)} There are: {', '.join(known)}."
            )
        if any(option_name(text) == "hydra.sweep.subdir" for text in self.typed):
            raise KanExpError(
                "hydra.sweep.subdir has no effect: jobs' folders are named by their numbers and "
                "options. Leave it out; hydra.sweep.dir=... is the sweep's folder."
            )
        overrides = [text for text in arguments if group_name(text) != "sweep"]
        self.folder = Path(self.config.hydra.sweep.dir)
        try:
            if self.resumes:
                hold(self.folder, patience=ENDING)
            self._sweep(overrides)
        finally:
            release(self.folder)

    def _first(self, arguments: list[str]) -> DictConfig:
        """The configuration with the first of each swept option's values, where there is one."""
        if self.config.task.get("_target_") != AUTO:
            return self.config
        chosen = []
        for each in self.parse(arguments):
            text = str(each.input_line)
            if each.is_discrete_sweep():
                values = itertools.islice(each.sweep_string_iterator(), 1)
                chosen += [f"{text.partition('=')[0]}={value}" for value in values]
            elif not each.is_sweep_override():
                chosen.append(text)
        try:
            return self.compose(chosen)
        except (KanExpError, HydraException, OmegaConfBaseException):  # which the job reports
            return self.config

    def default_metric(self, task: Task) -> str:
        """The metric that compares jobs by default."""
        return task.judged_by

    def _sweep(self, overrides: list[str]) -> None:
        runner = self.plan(overrides)
        try:
            self.run(runner)
        except Terminated:
            self.finish(runner)  # raises if jobs have failed: the exit code is then 1
            sys.exit(128 + signal.SIGTERM)
        except KeyboardInterrupt:
            self.finish(runner)
            raise
        self.finish(runner)

    @abstractmethod
    def plan(self, overrides: list[str]) -> SweepRunner:
        """Checks everything that can be checked before the first job."""

    def runner(self, known: Sequence[Outcome], total: int) -> SweepRunner:
        """What runs `total` jobs, of which some are known."""
        return SweepRunner(self.launcher, self.config, self.folder, self.typed, known, total)

    @abstractmethod
    def run(self, runner: SweepRunner) -> None:
        """Runs the jobs."""

    def finish(self, runner: SweepRunner) -> None:
        """Prints the outcomes."""
        runner.finish()

    @property
    def resumes(self) -> bool:
        """Whether an earlier attempt is resumed."""
        return self.config.sweep.resume is not None

    @property
    def typed(self) -> list[str]:
        """The arguments that repeat the sweep: those typed, without its folder."""
        overrides = self.config.hydra.overrides
        typed = [*as_typed(overrides.hydra), *as_typed(overrides.task)]
        left_out = ("sweep.resume", "hydra.sweep.dir", "hydra.mode")
        rest = [text for text in typed if option_name(text) not in left_out]
        known = any(option_name(text) == "hydra.searchpath" for text in rest)
        added = [] if known else search_path_override(self.config.hydra)
        return [*self.origin, *added, *rest]

    @property
    def origin(self) -> list[str]:
        """Arguments that name the run whose configuration is swept over, if there is one."""
        return list(self.config.sweep.origin)

    def begin(self) -> None:
        """Makes the folder, with the configuration in it.

        Raises:
            KanExpError: It holds another sweep, or another process writes there.
        """
        hold(self.folder)
        if not self.resumes and (self.folder / SWEEP).exists():
            raise KanExpError(
                f"{self.folder} holds a sweep already: set hydra.sweep.dir=... to another, or "
                f"resume it with -m {typed('sweep.resume', self.folder)}."
            )
        OmegaConf.save(self.config, self.folder / "multirun.yaml")

    def parse(self, arguments: list[str]) -> list[Override]:
        """Parses overrides."""
        loader = self.hydra_context.config_loader
        return OverridesParser.create(config_loader=loader).parse_overrides(arguments)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, without Hydra's part, to which `${hydra:...}` refers.

        Raises:
            KanExpError: The job asks for another launcher, or has an option without effect.
        """
        loader = self.hydra_context.config_loader
        cfg = loader.load_sweep_config(self.config, list(overrides))
        choices = dict(cfg.hydra.runtime.choices)
        launcher = choices.get("hydra/launcher")
        if launcher != self.config.hydra.runtime.choices.get("hydra/launcher"):  # by an experiment
            raise KanExpError(
                f"{' '.join(overrides)}: asks for hydra/launcher={launcher}, and the jobs of a "
                f"sweep have one launcher: set hydra/launcher={launcher} for all of them."
            )
        HydraConfig.instance().set_config(cfg)
        hydra = cfg.hydra
        with open_dict(cfg):
            del cfg["hydra"]
        check_groups(cfg)
        check_additions(cfg, hydra, overrides, list(choices))
        use_absolute_paths(cfg, self.config.hydra.runtime.cwd)
        return cfg


class GridSweeper(FolderSweeper):
    """Runs every combination of the swept values; seeds are stacked if that is faster."""

    def plan(self, overrides: list[str]) -> SweepRunner:
        options = self.config.sweep
        swept = [f"{name}={values}" for name, values in self.params.items()]
        jobs = plan_jobs(self._combinations([*swept, *overrides]), self.compose)
        known = []
        if self.resumes:
            jobs = renumber(self.folder, jobs)
            known = finished_jobs(self.folder, jobs)
        self.begin()
        finished = {outcome.job.number for outcome in known}
        left = [job for job in jobs if job.number not in finished]
        self.groups = make_job_groups(
            left, self.folder, options.most_stacked if options.stack_seeds else 1
        )
        self._announce(jobs, left)
        return self.runner(known, len(known) + len(left))

    def _combinations(self, arguments: list[str]) -> list[list[str]]:
        """The overrides of each job; of an option that is given twice the last counts."""
        values: dict[str, list[str]] = {}
        for override in self.parse(arguments):
            if override.is_interval_sweep():
                raise KanExpError(
                    f"{override.input_line}: interval(...) is for a search, which draws values: "
                    f"add search=..., or name the values, as in seed=range(0,3)."
                )
            if override.is_sweep_override():
                texts = list(override.sweep_string_iterator())
            else:
                texts = [override.get_value_element_as_str()]
            if not texts:
                raise KanExpError(
                    f"{override.input_line}: gives no value, so that there is no job to run."
                )
            option = override.get_key_element()
            values[option] = [f"{option}={text}" for text in texts]
        return [list(texts) for texts in itertools.product(*values.values())]

    def run(self, runner: SweepRunner) -> None:
        runner.run(self.groups)

    def _announce(self, jobs: Sequence[Job], left: Sequence[Job]) -> None:
        parts = [counted(len(jobs), "job")]
        if len(left) < len(jobs):
            parts.append(f"{len(jobs) - len(left)} done before")
        if len(self.groups) < len(left):
            parts.append(f"seeds stacked: {counted(len(self.groups), 'run')}")
        log.info("%s; %s", ", ".join(parts), self.folder)
