"""The experiment of a configuration, ready to run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import as_typed
from kan_exp.config import check_width, rank_count
from kan_exp.errors import KanExpError
from kan_exp.options import check_options
from kan_exp.preparing.choices import flat_choices
from kan_exp.preparing.devices import training_accelerator
from kan_exp.preparing.layers import layer_specs, search_path_override
from kan_exp.preparing.modules import intervals_of, make_module
from kan_exp.preparing.networks import stages_of
from kan_exp.quoting import literal

if TYPE_CHECKING:
    from kan_exp.ranks import Rank
    from kan_exp.training.experiment import Experiment


def make_experiment(
    cfg: DictConfig,
    folder: Path,
    choices: dict[str, str],
    rank: Rank | None = None,
    checkpoint: Path | None = None,
) -> Experiment:
    """Makes everything that the run needs; all that can be wrong with it shows here.

    Args:
        cfg: A configuration that has been checked.
        folder: Where the run writes.
        choices: The choice of every group.
        rank: This process, if it is one of several that train together.
        checkpoint: The whole state from which the run goes on; from the start if not given.

    Raises:
        KanExpError: What was asked for cannot be made, or the checkpoint is not of such a run.
    """
    import torch

    count = 1 if rank is None else rank.count
    accelerator = training_accelerator(cfg)
    _check_with_torch(cfg, count, accelerator)

    from kan_exp.board.summaries import Trial
    from kan_exp.ranks.strategy import RankEnvironment
    from kan_exp.training.callbacks import BestNetwork, EdgeFigures, RunCheckpoint, SignalStop
    from kan_exp.training.experiment import Experiment, quiet_lightning
    from kan_exp.training.sinks import FigureSink, FileSink, Sink, TensorBoardSink, TerminalSink
    from kan_exp.training.state import read_state
    from kan_exp.training.tensorboard import RunLogger

    quiet_lightning()
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    elif count > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    dims = list(cfg.dims)
    data = instantiate(_resolved_twice(OmegaConf.to_container(cfg.data, resolve=True)))
    check_width(f"data '{choices['data']}'", len(data.features), dims)
    steps = _steps(cfg)
    module = make_module(cfg, data)
    generators = [torch.Generator().manual_seed(cfg.seed + k) for k in range(cfg.replicas)]
    data.plan(cfg.batch_size, steps, cfg.log_every_n_steps, cfg.evaluations, *generators)
    if len(data.train.x) < count:
        raise KanExpError(f"{len(data.train.x)} training points are too few for {count} processes.")
    # Fails if the components do not belong to the formula.
    data.true_edges(data.train.x[:2])
    best = BestNetwork()
    callbacks = [
        *_callbacks(cfg),
        best,
        RunCheckpoint(folder / "checkpoints", cfg.checkpoint_seconds, best),
        SignalStop(),
    ]
    logger = _logger(cfg)
    edges = next((one for one in callbacks if isinstance(one, EdgeFigures)), None)
    _check_kinds("trainer", cfg.trainer)
    hydra, flat = HydraConfig.get(), flat_choices(cfg, choices)
    job = int(hydra.job.num) if hydra.mode == RunMode.MULTIRUN else None
    board = logger if isinstance(logger, RunLogger) else None
    sinks: list[Sink] = [
        FileSink(folder),
        TerminalSink(folder, steps, board is not None, _arguments(cfg)),
        FigureSink(folder / "figures", edges, board),
    ]
    if board is not None:
        trial = Trial(as_typed(hydra.overrides.task), folder, job, flat)
        sinks.append(TensorBoardSink(board, trial, OmegaConf.to_yaml(cfg, resolve=True)))
    experiment = Experiment(
        module=module,
        data=data,
        trainer=instantiate(
            cfg.trainer,
            accelerator=accelerator,
            max_steps=steps,
            max_epochs=-1,  # each pass over the loader is one evaluation's; the steps end the run
            callbacks=callbacks,
            logger=logger,
            **({} if rank is None else {"plugins": [RankEnvironment(rank)]}),
        ),
        choices=flat,
        folder=folder,
        sinks=sinks,
    )
    if checkpoint is not None:
        try:
            experiment.restore(read_state(checkpoint))
        except KanExpError as error:
            raise KanExpError(f"{folder}: {error}") from error
    return experiment


def _resolved_twice(value: Any) -> Any:
    """Escapes `${` in texts, which Hydra's `instantiate` resolves twice: in names of files, say."""
    if isinstance(value, dict):
        return {name: _resolved_twice(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_resolved_twice(one) for one in value]
    return literal(literal(value)) if isinstance(value, str) else value


def _callbacks(cfg: DictConfig) -> list[Any]:
    """The callbacks of a run; one that is set to null is left out.

    Raises:
        KanExpError: An entry makes something else.
    """
    from lightning.pytorch import Callback

    for name, config in cfg.callbacks.items():
        if config is not None:
            _check_kinds(f"callbacks.{name}", config)
    made = {name: one for name, one in instantiate(cfg.callbacks).items() if one is not None}
    for name, one in made.items():
        if not isinstance(one, Callback):
            raise KanExpError(
                f"callbacks.{name}._target_={cfg.callbacks[name]._target_} must make a "
                f"lightning.pytorch.Callback, got {type(one).__name__}."
            )
    return list(made.values())


def _check_kinds(group: str, config: DictConfig) -> None:
    """Compares options with the signature of what they make: some are first used in the end.

    Raises:
        KanExpError: One is of another kind.
    """
    options: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    try:
        make = get_object(options["_target_"])
    except Exception:  # noqa: BLE001 - making it says what is wrong
        return
    check_options(group, make, {n: v for n, v in options.items() if not n.startswith("_")})


def _logger(cfg: DictConfig) -> Any:
    """The logger of a run, or False.

    Raises:
        KanExpError: `logger` makes something else.
    """
    from lightning.pytorch.loggers import Logger

    if cfg.logger:
        _check_kinds("logger", cfg.logger)
    made = instantiate(cfg.logger) if cfg.logger else False
    if made is not False and not isinstance(made, Logger):
        raise KanExpError(
            f"logger._target_={cfg.logger._target_} must make a lightning.pytorch Logger, got "
            f"{type(made).__name__}."
        )
    return made


def _arguments(cfg: DictConfig) -> list[str] | None:
    """Arguments that repeat the run; None if its overrides alone do not."""
    if cfg.sweep.origin:  # the rest is stored in another run's folder
        return None
    return [*search_path_override(), *as_typed(HydraConfig.get().overrides.task)]


def _steps(cfg: DictConfig) -> int:
    """How many optimizer steps the run has: `steps`, or those of `refine` if that is null."""
    if cfg.steps is not None:
        return int(cfg.steps)
    return sum(stage.steps for stage in stages_of(cfg, intervals_of(layer_specs(cfg))))


def _check_with_torch(cfg: DictConfig, count: int, accelerator: str) -> None:
    """Checks the number of devices and the optimizer's options before Lightning is imported."""
    import torch

    from kan_exp.optimizers.checking import check_optimizer

    if rank_count(cfg) != count:
        raise KanExpError("trainer=ddp is for the command, which starts the other processes.")
    there = torch.cuda.device_count() if accelerator == "cuda" else 0
    if there and count > there:
        raise KanExpError(
            f"trainer.devices={count}: torch finds {there} GPU{'s' if there > 1 else ''}: "
            f"set trainer.accelerator=cpu, or fewer devices."
        )
    scheduler = instantiate(cfg.scheduler) if cfg.scheduler else None
    check_optimizer(instantiate(cfg.optimizer), scheduler)
