"""Every combination of what is swept."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from kan_exp.errors import KanExpError
from kan_exp.sweeps.jobs import Job, make_stacks, plan_jobs
from kan_exp.sweeps.plugins import check_installed
from kan_exp.sweeps.runner import SweepRunner, Terminated, remember
from kan_exp.sweeps.summary import NAME, read_summary

log = logging.getLogger(__name__)


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which also stacks seeds, can go on, and tells what came of its jobs.

    Args:
        params: What is swept beside the command line's own, by name.
    """

    def __init__(self, params: dict[str, str] | None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        check_installed(config)
        if config.sweep.resume is not None:  # the launcher, too, is to know the folder
            with open_dict(config):
                config.hydra.sweep.dir = str(Path(config.sweep.resume).expanduser())
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        config, context = self.config, self.hydra_context
        assert config is not None
        assert context is not None
        assert self.launcher is not None
        options = config.sweep
        if options.most_stacked < 1:
            raise KanExpError(f"sweep.most_stacked must be at least 1, got {options.most_stacked}.")
        asked = [text for text in arguments if not text.lstrip("+").startswith("sweep.")]
        folder = Path(config.hydra.sweep.dir)
        if options.resume is not None:
            asked = asked or self._overrides_of(folder)
        jobs = plan_jobs(self._combinations([*self._parse_config(), *asked]), self._compose)
        known = remember(folder, jobs) if options.resume is not None else []
        self._begin(folder, config)
        over = {outcome.job.number for outcome in known}
        left = [job for job in jobs if job.number not in over]
        stacks = make_stacks(left, folder, options.most_stacked if options.stack_seeds else 1)
        self._announce(jobs, left, len(stacks), folder)
        runner = SweepRunner(self.launcher, config, folder, asked, known, len(jobs))
        try:
            runner.run(stacks)
        except Terminated:
            runner.finish()
            sys.exit(128 + signal.SIGTERM)
        except KeyboardInterrupt:
            runner.finish()
            raise
        runner.finish()

    def _combinations(self, arguments: list[str]) -> list[list[str]]:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        (combinations,) = self.split_arguments(parser.parse_overrides(arguments), None)
        return combinations

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, without Hydra's part."""
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        cfg = loader.load_sweep_config(self.config, list(overrides))  # type: ignore[arg-type]
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    def _overrides_of(self, folder: Path) -> list[str]:
        try:
            return read_summary(folder)[0]
        except (OSError, ValueError) as error:
            raise KanExpError(
                f"sweep.resume={folder}: no sweep is known there ({NAME} cannot be read: {error})."
            ) from error

    def _begin(self, folder: Path, config: DictConfig) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "multirun.yaml")

    def _announce(self, jobs: Sequence[Job], left: Sequence[Job], count: int, folder: Path) -> None:
        parts = [f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"]
        if len(left) < len(jobs):
            parts.append(f"{len(jobs) - len(left)} done before")
        if count < len(left):
            parts.append(f"seeds stacked: {count} {'run' if count == 1 else 'runs'}")
        log.info("%s; %s", ", ".join(parts), folder)
