"""Checks of a configuration that need no torch."""

from __future__ import annotations

import math
import sys
from operator import attrgetter

from kan_exp.config import EQUATION, Component, RunConfig, RunContext
from kan_exp.data.checks import check_batch_size, check_whole
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.preparing.components import make_task
from kan_exp.preparing.constraints import check_constraints, constrained_options
from kan_exp.preparing.defaults import with_defaults
from kan_exp.preparing.networks import check_network
from kan_exp.preparing.sources import check_source
from kan_exp.preparing.tasks import AUTO, with_task
from kan_exp.preparing.widths import check_dims
from kan_exp.runs.cores import count_workers
from kan_exp.runs.identity import OBSERVERS

MAX_SEED = 2**60
MAX_THREADS = 4096  # each takes memory, and the system ends a program that asks for more
# Options of Lightning's trainer that leave the steps and the results to the training.
TRAINER_OPTIONS = (
    *("accelerator", "devices", "strategy", "num_nodes", "precision", "log_every_n_steps"),
    *("num_sanity_val_steps", "enable_progress_bar", "enable_model_summary", "profiler"),
    *("benchmark", "deterministic", "detect_anomaly", "inference_mode", "default_root_dir"),
)
# Others, by what to set in their place.
INSTEAD = {
    ("max_steps", "max_epochs", "max_time", "min_steps", "min_epochs"): (
        "the length of a run is steps: set steps=..."
    ),
    ("limit_train_batches", "overfit_batches", "limit_test_batches", "limit_predict_batches"): (
        "a run sees all of its points: set points=... for fewer."
    ),
    ("limit_val_batches", "check_val_every_n_epoch", "val_check_interval"): (
        "validations are spread over the run: set evaluations=..."
    ),
    ("accumulate_grad_batches",): "set a larger batch_size=... instead.",
    ("callbacks",): "set callbacks.<name>=... instead.",
    ("logger",): "set logger=tensorboard, csv or none instead.",
    ("enable_checkpointing",): "checkpoints are always kept, every checkpoint_seconds=...",
}
# Optimizers whose step treats every number by itself, so that replicas cannot act on each other.
ELEMENTWISE = tuple(f"torch.optim.{name}" for name in ("Adam", "AdamW", "SGD"))


def check(config: RunConfig, context: RunContext) -> None:
    """Checks a configuration."""
    if config.uses_least_squares:
        check_full_batch(config.scheduler, config.batch_size, config.compile)
    check_numbers(config)
    check_replicas(config)
    check_devices(config)
    check_trainer(config.trainer)
    check_batch_size(config.batch_size)
    if config.task.target != AUTO:
        make_task(config.task)
    _check_figures(config)
    config, context = with_task(*with_defaults(config, context))
    check_constraints(config)
    check_equation(config)
    points = check_source(config, context, make_task(config.task))
    check_network(config, context, points)


def check_equation(config: RunConfig) -> None:
    """Refuses options that mean nothing where a differential equation is solved."""
    if config.data.target != EQUATION:
        return
    refused = {
        "replicas": config.replicas > 1,
        "trainer=ddp": config.shares_steps,
        "prune=auto": config.prune is not None,
        "explain=true": config.explain.enabled,
        "penalty.l1_edges": config.penalty.l1_edges > 0,
        "penalty.l1_outputs": config.penalty.l1_outputs > 0,
        **dict.fromkeys(constrained_options(config), True),
    }
    for name, given in refused.items():
        if given:
            raise KanExpError(
                f"{name} does not go with data=equation, which has no data: leave it out."
            )


def check_full_batch(scheduler: object, batch_size: int | None, compile: bool) -> None:
    """Checks that options of gradient descent are not combined with `optimizer=lm`."""
    if scheduler or batch_size is not None or compile:
        raise KanExpError(
            "optimizer=lm takes all points at once: it needs scheduler=none, batch_size=null and "
            "compile=false. Set these, or optimizer=adam"
        )


def check_numbers(config: RunConfig) -> None:
    """Checks the range of numbers at the top of a configuration."""
    for name in ("grids", "num_candidates", "steps", "points"):
        for place, item in enumerate(getattr(config.refine, name) or ()):
            if not isinstance(item, int):
                shown = str(item).replace(" ", "")
                raise KanExpError(f"refine.{name}[{place}]: must be a whole number, got {shown}.")
    check_dims(config.dims)
    for place, products in enumerate(config.multiply or ()):
        check_whole(f"multiply[{place}]", products, 0)
    check_smoothing(config)
    check_pruning(config)
    most = sys.float_info.max
    limits = {
        **dict.fromkeys(("steps", "log_every_n_steps", "evaluations"), (1, math.inf)),
        **dict.fromkeys(("refine.follow_every", "refine.max_rise"), (1, math.inf)),
        **{"checkpoint_seconds": (0, math.inf), "threads": (1, MAX_THREADS)},
        **{"pruning.max_rise": (1, most), "seed": (0, MAX_SEED - 1)},
        **dict.fromkeys(("refine.init_noise_std", "refine.penalty_decay"), (0, most)),
    }
    for name, (low, high) in limits.items():
        if (value := attrgetter(name)(config)) is not None and not low <= value <= high:
            rule = f" and at most {high:,}" if high < most else ""
            raise KanExpError(f"{name} must be at least {low}{rule}, got {value}.")
    for name in ("explain.seconds", "pruning.seconds"):
        if not 0 < (value := attrgetter(name)(config)) < math.inf:
            raise KanExpError(f"{name} must be above 0, got {value}.")
    count_workers("explain.workers", config.explain.workers)
    if config.explain.functions is not None:
        from kan_exp.symbolic.functions import read_functions

        read_functions(config.explain.functions, "explain.functions")


def check_smoothing(config: RunConfig) -> None:
    """Checks the options of `smoothing`."""
    smoothing, method = config.smoothing, config.smoothing.method
    if method not in (None, "reml", "linear"):
        raise KanExpError(f"smoothing.method must be reml, linear or null, got {method!r}.")
    if method == "linear" and config.uses_least_squares:
        raise KanExpError(
            "smoothing.method=linear is where optimizers that follow gradients begin: set "
            "optimizer=adamw, or smoothing.method=reml"
        )
    for name, count in (("num_candidates", 2), ("steps", 5)):
        got = list(getattr(smoothing, name))
        if len(got) != count or min(got) < 1:
            raise KanExpError(f"smoothing.{name} needs {count} numbers of at least 1, got {got}.")
    if (got := list(smoothing.num_candidates)) != sorted(got, reverse=True):
        raise KanExpError(f"smoothing.num_candidates must not rise, got {got}.")
    check_whole("smoothing.intervals", smoothing.intervals, 2)
    check_whole("smoothing.hidden", smoothing.hidden, 0)


def check_pruning(config: RunConfig) -> None:
    """Checks `prune`, and that it goes with the training."""
    if config.prune not in (None, "auto"):
        raise KanExpError(f"prune must be auto or null, got {config.prune!r}.")
    if config.prune is not None and (config.replicas > 1 or config.shares_steps):
        other = "trainer=ddp" if config.replicas == 1 else f"replicas={config.replicas}"
        raise KanExpError(
            f"prune=auto does not go with {other}: leave it out, and prune the run afterwards: "
            f"python -m kan_exp.prune run=FOLDER"
        )


def check_replicas(config: RunConfig) -> None:
    """Refuses `replicas` where networks cannot be trained as one stack."""
    if config.replicas < 1:
        raise KanExpError(f"replicas must be at least 1, got {config.replicas}.")
    if config.replicas == 1:
        return
    shown = f"replicas={config.replicas}"
    if config.uses_least_squares:
        raise KanExpError(
            f"{shown} does not go with optimizer=lm, which runs many starts anyway "
            f"(refine.num_candidates): set optimizer=adam, or leave replicas out."
        )
    if config.optimizer.target not in ELEMENTWISE:
        raise KanExpError(
            f"{shown} does not go with {config.optimizer.target}, whose step would mix the "
            f"replicas: set optimizer=adam, adamw or sgd."
        )
    if config.data.options.get("folds") is not None:
        raise KanExpError(
            f"{shown} does not go with data.folds, which trains a network for each fold: leave one "
            f"of the two out."
        )
    if config.compile:
        raise KanExpError(f"{shown} needs compile=false.")
    if config.shares_steps:
        raise KanExpError(f"{shown} does not go with trainer=ddp, which trains one network.")
    if config.seed + config.replicas > MAX_SEED:
        raise KanExpError(f"{shown} needs seeds up to seed + replicas: lower seed.")


def check_devices(config: RunConfig) -> None:
    """Refuses numbers of devices that cannot be had, and what cannot be shared by processes."""
    trainer = config.trainer.options
    devices = trainer.get("devices")
    shown = f"trainer.devices={devices}"
    if trainer.get("precision") != "32-true":
        raise KanExpError(f"trainer.precision must be 32-true, got {trainer.get('precision')}.")
    if not config.shares_steps:
        if devices != 1 or trainer.get("strategy", "auto") != "auto":
            raise KanExpError(
                f"{shown}: only trainer=ddp trains in any other way than on one device: "
                f"set trainer=ddp or trainer.devices=1, and no trainer.strategy."
            )
        return
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 2:
        raise KanExpError(
            f"{shown}: trainer=ddp is for 2 devices or more: set such a number, or trainer=auto."
        )
    if trainer.get("num_nodes", 1) != 1:
        raise KanExpError("trainer.num_nodes must be 1: trainer=ddp stays on one machine.")
    if config.uses_least_squares:
        raise KanExpError(
            "trainer=ddp does not go with optimizer=lm, which takes all points at once: "
            "set optimizer=adam"
        )
    if config.optimizer.target == "torch.optim.LBFGS":
        raise KanExpError(
            "trainer=ddp does not go with optimizer=lbfgs, whose line search would magnify the "
            "rounding by which sums over processes differ: set optimizer=adam"
        )
    if config.compile:
        raise KanExpError("trainer=ddp needs compile=false.")
    if config.data.options.get("folds") is not None:
        raise KanExpError("trainer=ddp does not go with data.folds: set trainer=cpu or gpu.")
    if "pruning" in config.callbacks:
        raise KanExpError(
            "trainer=ddp cannot be pruned, since each process would decide for itself: set "
            "hydra/sweeper/pruner=none."
        )
    if config.batch_size is not None and config.batch_size < devices:
        raise KanExpError(
            f"batch_size={config.batch_size} has no row for each of {devices} processes: "
            f"raise it, or lower trainer.devices."
        )


def check_trainer(trainer: Component) -> None:
    """Refuses options of the trainer that other options replace, or that no run can obey."""
    if trainer.target != "lightning.pytorch.Trainer":
        return
    for name in trainer.options:
        for names, cure in INSTEAD.items():
            if name in names:
                raise KanExpError(f"trainer.{name}: {cure}")
        if name not in TRAINER_OPTIONS:
            raise KanExpError(
                f"trainer.{name}: trainings take no such option.{suggest(name, TRAINER_OPTIONS)} "
                f"There are: {listing(TRAINER_OPTIONS, len(TRAINER_OPTIONS))}."
            )


def _check_figures(config: RunConfig) -> None:
    """Checks options of the final figures, which are drawn after the training."""
    for name, callback in config.callbacks.items():
        if callback is not None and callback.target == OBSERVERS["figures"]:
            for option, least in (("moments", 0), ("points", 1)):
                check_whole(f"callbacks.{name}.{option}", callback.options.get(option), least)
