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
from omegaconf import DictConfig, open_dict

from kan_exp.cli import config_folder, one_line, run_command, store_schema
from kan_exp.config import TrainConfig, rank_count
from kan_exp.errors import KanExpError
from kan_exp.preparing import check, make_experiment, run_key
from kan_exp.rank import make_job
from kan_exp.ranks import Leader, Member
from kan_exp.runs import StatusFile

if TYPE_CHECKING:
    from kan_exp.training.experiment import Experiment


def train(cfg: DictConfig) -> None:
    """Runs one job: checks its configuration, then trains, scores and writes the results."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    overrides = list(hydra.overrides.task)
    alone = hydra.mode == RunMode.RUN
    if not alone:
        _leave_the_terminal(cfg)
    began = False
    try:
        if alone and cfg.sweep.resume is not None:
            raise KanExpError("sweep.resume goes on with a sweep: add -m.")
        job = None if alone else int(hydra.job.num)
        with StatusFile(folder, overrides, run_key(cfg), job, one_line) as status:
            check(cfg, overrides, dict(hydra.runtime.choices))
            with _other_ranks(cfg, folder, status) as member:
                experiment = make_experiment(cfg, folder, dict(hydra.runtime.choices), member)
                if member is not None:
                    member.gather()
                began = True
                experiment.run()
    except BaseException:
        if alone and not began:
            _remove_traces(folder)  # a run that never began leaves nothing to mistake for a result
        raise


def _other_ranks(cfg: DictConfig, folder: Path, status: StatusFile) -> AbstractContextManager[Any]:
    """The processes that train together with this one, where several were asked for."""
    count = rank_count(cfg)
    if count == 1:
        return contextlib.nullcontext()

    def give_up(reason: str) -> None:
        error = KanExpError(reason)
        status.__exit__(KanExpError, error, None)
        print(f"Error: {one_line(error)}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)

    choices = dict(HydraConfig.get().runtime.choices)
    return Leader(count, make_job(cfg, folder, choices), give_up)


def prepare(
    overrides: Sequence[str], folder: str | Path, member: Member | None = None
) -> Experiment:
    """Makes the experiment that the command would run, to run it or to look into it from Python.

    Args:
        overrides: What would stand on the command line, such as `["layer=spline", "seed=1"]`.
        folder: Where the run is to write.
        member: This process, where it is one of several that train together.

    Raises:
        KanExpError: As the command would say.
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
            check(cfg, overrides[:-1], choices)
            return make_experiment(cfg, Path(folder), choices, member)
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


def _remove_traces(folder: Path) -> None:
    """Removes what Hydra and we have written for this run, and folders that are empty without it.

    Nothing else: the folder may be one of the user's own, named by hydra.run.dir.
    """
    traces = [folder / ".hydra" / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
    for path in (*traces, folder / "train.log", folder / "status.json"):
        path.unlink(missing_ok=True)
    emptied = [folder / ".hydra", folder]
    if folder.parent.parent.name == "outputs":
        emptied += [folder.parent, folder.parent.parent]
    for path in emptied:
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()


if __name__ == "__main__":
    # Not the function of `__main__`: workers in other processes import it by its module's name.
    from kan_exp.train import train as task

    store_schema("train_schema", TrainConfig)
    run_command("train", task)
