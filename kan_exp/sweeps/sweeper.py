"""What a sweep does by any plan, and the plan that runs every combination."""

from __future__ import annotations

import logging
import re
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
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from kan_exp.cli import as_typed
from kan_exp.errors import KanExpError, suggest
from kan_exp.preparing.paths import use_absolute_paths
from kan_exp.preparing.translation import check_groups, composed_task
from kan_exp.preparing.values import search_path_override
from kan_exp.quoting import expand_home, literal, typed
from kan_exp.runs import hold, option_name, release
from kan_exp.runs.folders import SWEEP
from kan_exp.runs.identity import group_name
from kan_exp.sweeps.jobs import Job, make_job_groups, plan_jobs
from kan_exp.sweeps.plugins import check_installed
from kan_exp.sweeps.runner import ENDING, SweepRunner, Terminated, remember, renumber
from kan_exp.tasks import Task

log = logging.getLogger(__name__)


class FolderSweeper(Sweeper):
    """Runs jobs in a folder that tells what came of them, and can go on there.

    Args:
        params: What is swept beside the command line's own, by name.
        metric: By what jobs are compared where `sweep.metric` names nothing else; by the task's
            primary metric if neither does.
    """

    def __init__(self, params: dict[str, str] | None, metric: str | None) -> None:
        self.params, self.given = params or {}, metric
        self.metric = ""
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        check_installed(config)
        if config.sweep.resume is not None:  # the launcher, too, is to know the folder
            with open_dict(config):
                folder = expand_home(config.sweep.resume)
                config.hydra.sweep.dir = literal(str(folder))
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        config = self.config
        assert config is not None
        options = config.sweep
        if options.most_stacked < 1:
            raise KanExpError(f"sweep.most_stacked must be at least 1, got {options.most_stacked}.")
        task = composed_task(config)
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
        asked = [text for text in arguments if group_name(text) != "sweep"]
        self.folder = Path(config.hydra.sweep.dir)
        try:
            if self.resumes:
                hold(self.folder, patience=ENDING)
            self._go(asked)
        finally:
            release(self.folder)

    def default_metric(self, task: Task) -> str:
        """By what jobs are compared where nothing else is asked for."""
        return task.judged_by

    def _go(self, asked: list[str]) -> None:
        runner = self.plan(asked)
        try:
            self.run(runner)
        except Terminated:
            self.finish(runner)  # which raises if jobs have failed: the exit code is then 1
            sys.exit(128 + signal.SIGTERM)
        except KeyboardInterrupt:
            self.finish(runner)
            raise
        self.finish(runner)

    @abstractmethod
    def plan(self, asked: list[str]) -> SweepRunner:
        """Looks at everything that can be told before the first job.

        Args:
            asked: What the command line says about the jobs.
        """

    @abstractmethod
    def run(self, runner: SweepRunner) -> None:
        """Runs the jobs."""

    def finish(self, runner: SweepRunner) -> None:
        """Tells what came of them."""
        runner.finish()

    @property
    def resumes(self) -> bool:
        """Whether an earlier attempt goes on."""
        assert self.config is not None
        return self.config.sweep.resume is not None

    @property
    def typed(self) -> list[str]:
        """What the user said, but for what begins or resumes a sweep."""
        assert self.config is not None
        said = self.config.hydra.overrides
        leave = ("sweep.resume", "hydra.sweep.dir", "hydra.mode")
        every = [*as_typed(said.hydra), *as_typed(said.task)]
        rest = [text for text in every if option_name(text) not in leave]
        known = any(option_name(text) == "hydra.searchpath" for text in rest)
        added = [] if known else search_path_override(self.config.hydra)
        return [*self.origin, *added, *rest]

    @property
    def origin(self) -> list[str]:
        """What the user said of the run whose configuration is swept over, if there is one."""
        assert self.config is not None
        return list(self.config.sweep.origin)

    def begin(self) -> None:
        """Makes the folder, with the configuration in it.

        Raises:
            KanExpError: It holds another sweep, or another process is at it.
        """
        hold(self.folder)
        if not self.resumes and (self.folder / SWEEP).exists():
            raise KanExpError(
                f"{self.folder} holds a sweep already: set hydra.sweep.dir=... to another, or go "
                f"on with -m {typed('sweep.resume', self.folder)}."
            )
        OmegaConf.save(self.config, self.folder / "multirun.yaml")

    def parse(self, arguments: list[str]) -> list[Override]:
        """Reads overrides."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides(arguments)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, without Hydra's part, to which `${hydra:...}` refers.

        Raises:
            KanExpError: The job asks for another launcher than the sweep has.
        """
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        cfg = loader.load_sweep_config(self.config, list(overrides))
        ours, asked = (
            one.hydra.runtime.choices.get("hydra/launcher") for one in (self.config, cfg)
        )
        if asked != ours:  # by an experiment that is swept
            raise KanExpError(
                f"{' '.join(overrides)}: asks for hydra/launcher={asked}, and the jobs of a sweep "
                f"have one launcher: set hydra/launcher={asked} for all of them."
            )
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        check_groups(cfg)
        use_absolute_paths(cfg, self.config.hydra.runtime.cwd)
        return cfg


class GridSweeper(FolderSweeper):
    """Runs every combination of what is swept, seeds stacked where that is faster."""

    def plan(self, asked: list[str]) -> SweepRunner:
        assert self.config is not None
        assert self.launcher is not None
        options = self.config.sweep
        # Not at the top: Hydra loads its own plugins anew, and a class from before would not fit.
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        swept = [f"{name}={values}" for name, values in self.params.items()]
        (combinations,) = BasicSweeper.split_arguments(self.parse([*swept, *asked]), None)
        if not combinations:
            empty = [text for text in asked if re.search(r"\b(glob|range)\(", text)] or asked
            raise KanExpError(f"{' '.join(empty)}: gives no value, so that there is no job to run.")
        jobs = plan_jobs(combinations, self.compose)
        known = []
        if self.resumes:
            jobs = renumber(self.folder, jobs)
            known = remember(self.folder, jobs)
        self.begin()
        over = {outcome.job.number for outcome in known}
        left = [job for job in jobs if job.number not in over]
        most = options.most_stacked if options.stack_seeds else 1
        self.stacks = make_job_groups(left, self.folder, most)
        self._announce(jobs, left)
        total = len(known) + len(left)
        return SweepRunner(self.launcher, self.config, self.folder, self.typed, known, total)

    def run(self, runner: SweepRunner) -> None:
        runner.run(self.stacks)

    def _announce(self, jobs: Sequence[Job], left: Sequence[Job]) -> None:
        count = len(self.stacks)
        parts = [f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"]
        if len(left) < len(jobs):
            parts.append(f"{len(jobs) - len(left)} done before")
        if count < len(left):
            parts.append(f"seeds stacked: {count} {'run' if count == 1 else 'runs'}")
        log.info("%s; %s", ", ".join(parts), self.folder)
