"""The experiment of a configuration, ready to run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from kan_exp.config import Component, RunConfig, RunContext
from kan_exp.errors import KanExpError
from kan_exp.preparing.checks import ELEMENTWISE
from kan_exp.preparing.choices import flat_choices
from kan_exp.preparing.components import make_checked, make_data, make_partial, make_task
from kan_exp.preparing.constraints import check_constraints
from kan_exp.preparing.defaults import notes_on_defaults, with_defaults
from kan_exp.preparing.devices import training_accelerator, with_fast_device
from kan_exp.preparing.sources import check_schema
from kan_exp.preparing.tasks import data_options, note_on_task, with_task
from kan_exp.preparing.widths import are_known
from kan_exp.runs.cores import count_workers, usable_cores
from kan_exp.runs.identity import OBSERVERS

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer
    from torch import Tensor

    from kan_exp.data import ExperimentData
    from kan_exp.data.split_table import SplitTableData
    from kan_exp.ranks import Rank
    from kan_exp.tasks import Task
    from kan_exp.training.callbacks import SignalStop
    from kan_exp.training.experiment import Experiment
    from kan_exp.training.folds import FoldResult
    from kan_exp.training.module import KANModule
    from kan_exp.training.sinks import Sink

# Folds that are trained together: how many, numbers of their tables, and numbers of a mini-batch
# in the widest layer, above which one network keeps the processor busy alone.
MAX_STACKED, MAX_TABLE_NUMBERS, MAX_LAYER_NUMBERS = 10, 1 << 24, 1 << 17


def make_experiment(
    config: RunConfig,
    folder: Path | None = None,
    context: RunContext | None = None,
    rank: Rank | None = None,
    checkpoint: Path | None = None,
    data: ExperimentData | None = None,
    stop: SignalStop | None = None,
    masks: Sequence[Tensor] = (),
) -> Experiment:
    """Makes everything that the run needs, so that errors show before it begins.

    Args:
        config: A configuration that has been checked.
        folder: Where the run writes; if not given, nothing is written.
        context: How it was asked for.
        rank: This process, if it is one of several that train together.
        checkpoint: The state that the run is resumed from; from the start if not given.
        data: What it is trained on; made of the configuration if not given.
        stop: What ends it early on a signal; its own if not given.
        masks: See `make_module`.

    Raises:
        KanExpError: A part cannot be made, or the checkpoint is not of such a run.
    """
    import torch

    context = context or RunContext()
    asked, (config, context) = config, with_task(*with_defaults(config, context))
    dims, smoothing = config.dims, config.smoothing  # before the data have decided
    count = 1 if rank is None else rank.count
    accelerator = training_accelerator(config)
    _check_with_torch(config, count, accelerator)

    from lightning.pytorch.loggers import Logger

    from kan_exp.preparing.modules import make_module, num_steps
    from kan_exp.preparing.pruning import make_pruning
    from kan_exp.ranks.strategy import RankEnvironment
    from kan_exp.training.callbacks import SignalStop
    from kan_exp.training.experiment import Experiment, quiet_lightning
    from kan_exp.training.folds import CrossValidation
    from kan_exp.training.state import read_state

    quiet_lightning()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    elif count > 1:
        torch.set_num_threads(max(1, usable_cores() // count))
    stop = stop or SignalStop()
    task = make_task(config.task)
    if data is None:
        data = make_data(config.data, **data_options(config.data, task))
    given, data = data, _data_of_task(data, config, context, task)
    steps = num_steps(config, data)
    module = make_module(config, context, data, task, masks)
    config, note_on_device = with_fast_device(config, module.model, len(data.train.x))
    generators = [torch.Generator().manual_seed(config.seed + k) for k in range(config.replicas)]
    moments = (config.log_every_n_steps, config.evaluations)
    data.plan(config.batch_size, steps, *moments, *generators)
    if len(data.train.x) < count:
        raise KanExpError(f"{len(data.train.x)} training points are too few for {count} processes.")
    # Fails if the components do not belong to the formula.
    data.true_edges(data.train.x[:2])
    logger = False
    if config.logger is not None and folder is not None:
        logger = make_checked("logger", config.logger, Logger, "lightning.pytorch Logger")
    trainer = _make_trainer(
        config,
        steps,
        _make_callbacks(config, folder, stop),
        enable_checkpointing=folder is not None,
        logger=logger,
        **({} if rank is None else {"plugins": [RankEnvironment(rank)]}),
    )
    choices = flat_choices(config, context)
    sinks = [] if folder is None else _make_sinks(config, context, folder, trainer, choices)
    folds = None
    if data.num_folds:
        # What is left to the data is that of each fold.
        alone = replace(config.pruning, run=None)
        each = replace(config, dims=dims, smoothing=smoothing, pruning=alone)
        for number in range(data.num_folds if are_known(asked.dims) else 0):
            _check_fold(data.fold(number), number, config.widths[0])
        at_once = _folds_at_once(config, module, data)
        folds = CrossValidation(data, _fold_fitter(each, context, stop), folder, at_once)
    about = note_on_device, note_on_task(asked.task, data.schema)
    notes = [*filter(None, about), *notes_on_defaults(asked, config)]
    pruning = make_pruning(config, _masked_trainer(config, context, given, stop))
    experiment = Experiment(module, data, trainer, choices, folder, sinks, notes, folds, pruning)
    if checkpoint is not None:
        try:
            experiment.restore(read_state(checkpoint))
        except KanExpError as error:
            raise KanExpError(f"{folder}: {error}") from error
    return experiment


def _data_of_task(
    data: ExperimentData, config: RunConfig, context: RunContext, task: Task
) -> ExperimentData:
    """The data with the scaling and the weights of the task, after a check that they suit it."""
    check_constraints(config)
    left_out = getattr(data, "constant_columns", ())
    check_schema("data", data.schema, config, context, task, left_out, data.width)
    for part in (data.train, data.val, data.test):
        task.check_target(data.schema, part.y)
    data = copy(data)  # the given one may be of several trainings
    data.scaling = task.scaling(data.scaling)
    data.train, data.val = task.weigh(data.train, data.val, data.schema)
    return data


def _make_callbacks(config: RunConfig, folder: Path | None, stop: SignalStop) -> list[Callback]:
    from lightning.pytorch import Callback

    from kan_exp.training.callbacks import BestNetwork, RunCheckpoint

    callbacks: list[Callback] = [
        make_checked(f"callbacks.{name}", callback, Callback, "lightning.pytorch.Callback")
        for name, callback in config.callbacks.items()
        if callback is not None
    ]
    best = BestNetwork()
    callbacks += [best, stop]
    if folder is not None:
        callbacks.append(RunCheckpoint(folder / "checkpoints", config.checkpoint_seconds, best))
    return callbacks


def _make_trainer(
    config: RunConfig, steps: int, callbacks: Sequence[Callback], **options: Any
) -> Trainer:
    from lightning.pytorch import Trainer

    trainer: Trainer = make_checked(
        "trainer",
        config.trainer,
        Trainer,
        "lightning.pytorch.Trainer",
        accelerator=training_accelerator(config),
        max_steps=steps,
        max_epochs=-1,  # each pass over the loader is one evaluation's; the steps end the run
        callbacks=callbacks,
        **options,
    )
    return trainer


def _make_sinks(
    config: RunConfig,
    context: RunContext,
    folder: Path,
    trainer: Trainer,
    choices: Mapping[str, Any],
) -> list[Sink]:
    """The sinks of a run that writes to a folder."""
    from kan_exp.board.summaries import Trial
    from kan_exp.training.callbacks import EdgeFigures
    from kan_exp.training.sinks import FigureSink, FileSink, TensorBoardSink, TerminalSink
    from kan_exp.training.tensorboard import RunLogger

    board = trainer.logger if isinstance(trainer.logger, RunLogger) else None
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    edges = next((one for one in callbacks if isinstance(one, EdgeFigures)), None)
    there = board is not None, edges is not None
    sinks: list[Sink] = [
        FileSink(folder),
        TerminalSink(folder, trainer.max_steps, *there, context.arguments),
    ]
    if edges is not None:
        sinks.append(FigureSink(folder / "figures", edges, board))
    explain = config.explain
    if explain.enabled:
        from kan_exp.training.explaining import ExplainSink

        shown = config.callbacks.get("progress") is not None
        # The jobs of a sweep share the cores already.
        shares = context.job is not None and explain.workers == "auto"
        workers = 1 if shares else count_workers("explain.workers", explain.workers)
        options = explain.functions or {}, workers, shown, board
        sinks.append(ExplainSink(folder, explain.seconds, config.seed, *options))
    if board is not None:
        trial = Trial(context.overrides, folder, context.job, choices)
        plain = json.loads(json.dumps(config.to_values(), default=str))  # also Python's objects
        text = str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        sinks.append(TensorBoardSink(board, trial, text))
    return sinks


def _check_fold(data: ExperimentData, number: int, inputs: int) -> None:
    """Refuses widths that do not suit a fold, in which a column may be constant or lack levels."""
    if len(data.features) != inputs:
        raise KanExpError(
            f"fold {number + 1} has {len(data.features)} inputs, but dims starts with {inputs}: a "
            f"column does not vary in its training rows, or lacks a level: set dims=[auto,5,auto] "
            f"or dims=null"
        )


def _folds_at_once(config: RunConfig, module: KANModule, data: ExperimentData) -> int:
    """Number of folds to train as one stacked network; 1 where that is no faster or impossible.

    `module` is that of the run's own network, `data` those of the run.
    """
    points = data.train_dataloader().batch_size
    widest = max(layer.numbers_per_sample for layer in module.model.edge_layers)
    stacks = (
        config.optimizer.target in ELEMENTWISE
        and not config.compile
        and config.prune is None
        and not _quiet(config).callbacks  # which see one network
        and all(layer.target.startswith("kan_exp.") for layer in config.each_layer)
        and points * widest <= MAX_LAYER_NUMBERS
    )
    most = min(MAX_STACKED, MAX_TABLE_NUMBERS // data.test.x.numel())
    return max(1, most) if stacks else 1


def _fold_fitter(
    config: RunConfig, context: RunContext, stop: SignalStop
) -> Callable[[Sequence[ExperimentData]], Iterator[FoldResult]]:
    """A function that trains folds as the run is trained, without files and progress."""
    import torch

    from kan_exp.training.fold_stack import can_stack, train_stacked

    quiet = _quiet(config)

    def fit(folds: Sequence[ExperimentData]) -> Iterator[FoldResult]:
        made = [make_experiment(quiet, None, context, data=data, stop=stop) for data in folds]
        if len(made) > 1 and can_stack(made):
            steps = made[0].trainer.max_steps
            alone = {"enable_checkpointing": False, "logger": False}
            results = train_stacked(made, _make_trainer(quiet, steps, [stop], **alone))
        else:
            results = (experiment.fit() for experiment in made)
        for data, result in zip(folds, results, strict=True):
            if stop.received is not None:
                return
            yield result.of_fold(torch.from_numpy(cast("SplitTableData", data).test_rows))

    return fit


def _masked_trainer(
    config: RunConfig, context: RunContext, data: ExperimentData, stop: SignalStop
) -> Callable[[Sequence[int], Sequence[Tensor]], Experiment | None]:
    """A function that trains a network of given widths and masks; None from it after a signal."""
    smoothing = replace(config.smoothing, choose=False)

    def train(dims: Sequence[int], masks: Sequence[Tensor]) -> Experiment | None:
        layers = config.layers
        if isinstance(layers, list):
            layers = layers[: len(dims) - 1]
        sparse = replace(
            _quiet(config), dims=list(dims), layers=layers, smoothing=smoothing, prune=None
        )
        experiment = make_experiment(sparse, None, context, data=data, stop=stop, masks=masks)
        experiment.trainer.fit(experiment.module, datamodule=experiment.data)
        return None if stop.received is not None else experiment

    return train


def _quiet(config: RunConfig) -> RunConfig:
    """The configuration without its files and its progress."""
    acting: dict[str, Component | None] = {
        name: callback
        for name, callback in config.callbacks.items()
        if callback is not None and callback.target not in OBSERVERS.values()
    }
    return replace(config, logger=None, callbacks=acting)


def _check_with_torch(config: RunConfig, count: int, accelerator: str) -> None:
    """Checks the number of devices and the optimizer's options before Lightning is imported."""
    import torch

    from kan_exp.optimizers.checking import check_optimizer

    if config.num_ranks != count:
        raise KanExpError("trainer=ddp is for the command, which starts the other processes.")
    available = torch.cuda.device_count() if accelerator == "cuda" else 0
    if available and count > available:
        raise KanExpError(
            f"trainer.devices={count}: torch finds {available} GPU{'s' * (available > 1)}: "
            f"set trainer.accelerator=cpu, or fewer devices."
        )
    scheduler = config.scheduler
    check_optimizer(
        make_partial("optimizer", config.optimizer),
        None if scheduler is None else make_partial("scheduler", scheduler),
    )
