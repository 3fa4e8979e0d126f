"""Trains one network, or many: `python -m kan_exp.train`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import as_typed, hydra_config, resume_gc, run_command, store_schema
from kan_exp.commandline.arguments import spelled
from kan_exp.commandline.explain import one_line
from kan_exp.commandline.renamed import renamed_options
from kan_exp.commandline.starting import RESUMED, check_unused
from kan_exp.config import RunConfig, RunContext, TrainConfig
from kan_exp.errors import DivergedError, KanExpError
from kan_exp.preparing.checks import check
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.forked import call_in_fork
from kan_exp.preparing.keys import run_key, setting_key
from kan_exp.preparing.paths import use_absolute_paths
from kan_exp.preparing.stored_config import LAST, from_folder, unfinished
from kan_exp.preparing.tasks import recognize_task
from kan_exp.preparing.translation import check_groups, composed, explicit_config, translate
from kan_exp.ranks import Processes, Rank
from kan_exp.runs import StatusFile, changes, hold, read_status, release, write_status, write_text
from kan_exp.runs.results import NAME as METRICS
from kan_exp.runs.traces import restore
from kan_exp.sweeps.jobs import number_of
from kan_exp.sweeps.summary import resumed_arguments

if TYPE_CHECKING:
    from kan_exp.training.experiment import Experiment

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> None:
    """Runs one job: checks its configuration, then trains, scores and writes the results.

    If the folder holds an unfinished run of the same configuration, that run is resumed.
    """
    folder = Path(hydra_config().runtime.output_dir)
    hold(folder)  # which a run has done at its start, before it looked into the folder
    try:
        _train(cfg, hydra_config(), folder)
    finally:
        release(folder)


def _train(cfg: DictConfig, hydra: DictConfig, folder: Path) -> None:
    alone, resumed = hydra.mode == RunMode.RUN, hydra.job.config_name == RESUMED
    if not alone:
        _leave_the_terminal()
    before = read_status(folder)
    overrides = as_typed(hydra.overrides.task)
    began = False
    try:
        check_groups(cfg)
        # From where the command was given: `hydra.job.chdir=true` has left that already.
        moved = use_absolute_paths(cfg, hydra.runtime.cwd)
        key, setting = run_key(cfg), setting_key(cfg)
        job = None if alone else number_of(folder)
        if resumed and before is not None:  # an option that is new since then would change the keys
            key, setting, job = before.key, before.setting or setting, before.job
            moved = moved or overrides != list(before.overrides)
        checkpoint = unfinished(folder, key)
        if alone and cfg.sweep.resume is not None:
            raise KanExpError("sweep.resume resumes a sweep: add -m.")
        with StatusFile(folder, overrides, key, job, one_line, setting) as status:
            config, context = translate(cfg, hydra)
            if config.num_ranks == 1:
                check(config, context)
            else:  # before this process is forked into ranks
                call_in_fork(lambda: check(config, context))
            if not alone:
                config.callbacks.pop("progress", None)
            with _other_ranks(config, folder, context, status, checkpoint) as rank:
                experiment = make_experiment(config, folder, context, rank, checkpoint)
                _store(cfg, config, folder, moved, resumed)
                began = True
                status.add_versions(experiment.versions)
                if checkpoint is not None:
                    for line in changes(before.versions, experiment.versions) if before else []:
                        log.info("Note: %s", line)
                elif before is not None:
                    experiment.start_over()
                    log.info("Note: it had no checkpoint yet, and starts from the beginning.")
                (folder / METRICS).unlink(missing_ok=True)  # it would say that it is done
                status.began = True
                resume_gc()
                experiment.run()
    except BaseException:
        if not began and resumed and before is not None:
            write_status(folder, before)  # it is as unfinished as it was
        elif not began and alone:
            release(folder)
            restore(folder)  # a run that never began leaves nothing to mistake for a result
        raise


def _store(cfg: DictConfig, config: RunConfig, folder: Path, moved: bool, resumed: bool) -> None:
    """Adds to Hydra's copy of the configuration what it lacks."""
    stored = folder / ".hydra" / "config.yaml"
    task = recognize_task(config.task, config.data)
    spell_out = (cfg.layers is not None or task is not config.task) and not resumed
    if stored.is_file() and (moved or spell_out):
        write_text(stored, OmegaConf.to_yaml(explicit_config(cfg, task) if spell_out else cfg))


def _other_ranks(
    config: RunConfig,
    folder: Path,
    context: RunContext,
    status: StatusFile,
    checkpoint: Path | None,
) -> AbstractContextManager[Any]:
    """The other processes of `trainer=ddp`, as a context manager; gives this one's rank."""
    if config.num_ranks == 1:
        return contextlib.nullcontext()

    def work(rank: Rank) -> None:
        silent = replace(config, logger=None)
        experiment = make_experiment(silent, folder, context, rank, checkpoint)
        with contextlib.suppress(DivergedError):  # which every rank raises, and rank 0 reports
            experiment.trainer.fit(experiment.module, datamodule=experiment.data)

    def give_up(reason: str) -> None:
        error = KanExpError(reason)
        status.__exit__(KanExpError, error, None)
        print(f"Error: {one_line(error)}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)

    return Processes(config.num_ranks, work, one_line, give_up)


def prepare(
    overrides: Sequence[str], folder: str | Path, rank: Rank | None = None, resume: bool = False
) -> Experiment:
    """Makes the experiment that the command would run, to run or to inspect it from Python.

    Args:
        overrides: As on the command line, such as `["layer=spline", "seed=1"]`.
        folder: Where the run is to write. Held by this process while the experiment runs.
        rank: This process, if it is one of several that train together.
        resume: Whether it is resumed from the checkpoint in the folder.

    Raises:
        KanExpError: As for the command; also if the folder holds another run's results.
    """
    if not resume and rank is None:
        check_unused(Path(folder))
    with composed(overrides, folder) as (cfg, hydra):
        config, context = translate(cfg, hydra)
    check(config, context)
    checkpoint = Path(folder) / LAST if resume else None
    return make_experiment(config, Path(folder), context, rank, checkpoint)


def _leave_the_terminal() -> None:
    """Stops logging to the terminal: of jobs, the sweep prints what is needed."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


def read_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """The primary config that a command line asks for, and what is left of it for Hydra."""
    for text in (*arguments, str(Path.cwd())):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise KanExpError(f"{text!a} is not UTF-8: rename the file or folder, or link it.")
    return from_folder(renamed_options(resumed_arguments(spelled(arguments))))


if __name__ == "__main__":
    # Not the function of `__main__`: workers in other processes import it by its module's name.
    from kan_exp.train import read_arguments
    from kan_exp.train import train as task

    store_schema("train_schema", TrainConfig)
    run_command("train", task, read_arguments)
