"""Trains one network, or many: `python -m kan_exp.train`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from kan_exp.cli import (
    as_typed,
    config_folder,
    imports_are_done,
    run_command,
    store_schema,
)
from kan_exp.commandline.arguments import spelled
from kan_exp.commandline.explain import one_line
from kan_exp.commandline.starting import RESUMED, check_unused
from kan_exp.config import TrainConfig, rank_count
from kan_exp.errors import DivergedError, KanExpError
from kan_exp.preparing import (
    LAST,
    check,
    check_groups,
    check_least_squares,
    check_references,
    from_folder,
    make_experiment,
    run_key,
    setting_key,
    unfinished,
    use_absolute_paths,
)
from kan_exp.preparing.layers import spelled_out
from kan_exp.ranks import Processes, Rank
from kan_exp.runs import (
    StatusFile,
    changes,
    hold,
    read_status,
    release,
    write_status,
    write_text,
)
from kan_exp.runs.results import NAME as METRICS
from kan_exp.runs.traces import restore
from kan_exp.sweeps.jobs import number_of
from kan_exp.sweeps.summary import same_again

if TYPE_CHECKING:
    from kan_exp.training.experiment import Experiment

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> None:
    """Runs one job: checks its configuration, then trains, scores and writes the results.

    Where the folder holds an unfinished run of the same configuration, it goes on with that.

    Raises:
        KanExpError: The configuration makes no run, or another process writes in its folder.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    hold(folder)  # which a run has done at its start, before it looked into the folder
    try:
        _train(cfg, folder)
    finally:
        release(folder)


def _train(cfg: DictConfig, folder: Path) -> None:
    hydra = HydraConfig.get()
    overrides, choices = as_typed(hydra.overrides.task), dict(hydra.runtime.choices)
    alone, resumed = hydra.mode == RunMode.RUN, hydra.job.config_name == RESUMED
    if not alone:
        _leave_the_terminal(cfg)
    before = read_status(folder)
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
            raise KanExpError("sweep.resume goes on with a sweep: add -m.")
        with StatusFile(folder, overrides, key, job, one_line, setting) as status:
            check_least_squares(cfg)  # first: schedulers refer to options that it does not have
            check_references(cfg)
            check(cfg, overrides, choices)
            with _other_ranks(cfg, folder, status, checkpoint) as rank:
                experiment = make_experiment(cfg, folder, choices, rank, checkpoint)
                _store(cfg, folder, moved, resumed)
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
                imports_are_done()
                experiment.run()
    except BaseException:
        if not began and resumed and before is not None:
            write_status(folder, before)  # it is as unfinished as it was
        elif not began and alone:
            release(folder)
            restore(folder)  # a run that never began leaves nothing to mistake for a result
        raise


def _store(cfg: DictConfig, folder: Path, moved: bool, resumed: bool) -> None:
    """Stores what Hydra's copy of the configuration does not say.

    Args:
        cfg: The configuration.
        folder: Of the run.
        moved: Whether a path in it is another than Hydra has stored.
        resumed: Whether the options of its layers are stored already.
    """
    stored = folder / ".hydra" / "config.yaml"
    spell_out = cfg.layers is not None and not resumed
    if stored.is_file() and (moved or spell_out):
        write_text(stored, OmegaConf.to_yaml(spelled_out(cfg) if spell_out else cfg))


def _other_ranks(
    cfg: DictConfig, folder: Path, status: StatusFile, checkpoint: Path | None
) -> AbstractContextManager[Any]:
    """The other processes of `trainer=ddp`, as a context manager; gives this one's rank."""
    count, choices = rank_count(cfg), dict(HydraConfig.get().runtime.choices)
    if count == 1:
        return contextlib.nullcontext()

    def work(rank: Rank) -> None:
        cfg.logger = None
        experiment = make_experiment(cfg, folder, choices, rank, checkpoint)
        with contextlib.suppress(DivergedError):  # which every rank raises, and rank 0 reports
            experiment.trainer.fit(experiment.module, datamodule=experiment.data)

    def give_up(reason: str) -> None:
        error = KanExpError(reason)
        status.__exit__(KanExpError, error, None)
        print(f"Error: {one_line(error)}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)

    return Processes(count, work, one_line, give_up)


def prepare(
    overrides: Sequence[str],
    folder: str | Path,
    rank: Rank | None = None,
    resume: bool = False,
) -> Experiment:
    """Makes the experiment that the command would run, to run it or to look into it from Python.

    Args:
        overrides: What would stand on the command line, such as `["layer=spline", "seed=1"]`.
        folder: Where the run is to write. Held by this process while the experiment runs.
        rank: This process, if it is one of several that train together.
        resume: Whether it goes on from the checkpoint that the folder has.

    Raises:
        KanExpError: As the command would say; also if the folder holds another run's results.
    """
    store_schema("train_schema", TrainConfig)
    overrides = [*overrides, f"hydra.runtime.output_dir={folder}"]
    with initialize_config_dir(config_folder(), version_base=None):
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        choices = dict(cfg.hydra.runtime.choices)
        with open_dict(cfg):
            del cfg["hydra"]
        try:
            if not resume and rank is None:
                check_unused(Path(folder))
            check(cfg, overrides[:-1], choices)
            checkpoint = Path(folder) / LAST if resume else None
            return make_experiment(cfg, Path(folder), choices, rank, checkpoint)
        except InstantiationException as error:  # Hydra's frame around what we have to say
            if isinstance(error.__cause__, KanExpError):
                raise error.__cause__ from None
            raise


def _leave_the_terminal(cfg: DictConfig) -> None:
    """Keeps what a job says in its log: of many jobs, the sweep tells what is worth telling."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    with open_dict(cfg):
        cfg.callbacks.pop("progress", None)


def read_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """The primary config that a command line asks for, and what is left of it for Hydra.

    Raises:
        KanExpError: Something in it cannot be read, or is no UTF-8, which configurations are.
    """
    for text in (*arguments, str(Path.cwd())):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise KanExpError(f"{text!a} is not UTF-8: rename the file or folder, or link it.")
    return from_folder(same_again(spelled(arguments)))


if __name__ == "__main__":
    # Not the function of `__main__`: workers in other processes import it by its module's name.
    from kan_exp.train import read_arguments
    from kan_exp.train import train as task

    store_schema("train_schema", TrainConfig)
    run_command("train", task, read_arguments)
