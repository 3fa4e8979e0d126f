"""The shape of a run's configuration, and the checks that need no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kan_exp.errors import KanExpError, listing, suggest

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
NUMBER_LISTS = ("dims", "refine.grids", "refine.num_candidates", "refine.steps", "refine.points")


@dataclass
class PenaltyConfig:
    """Weights of the penalties; conf/train.yaml has the numbers."""

    roughness: float
    curvature: float
    jerk: float
    smooth: float
    l1_edges: float
    l1_outputs: float


@dataclass
class GradientConfig:
    """What layers recommend to optimizers that follow gradients."""

    steps: int
    batch_size: int
    roughness: float


@dataclass
class RefineConfig:
    """How optimizer=lm goes from coarse to fine."""

    grids: list[int] | None
    num_candidates: list[int]
    steps: list[int]
    points: list[int] | None
    init_noise_std: float
    jerk: float
    penalty_decay: float
    follow_every: int
    max_rise: float


@dataclass
class SweepConfig:
    """What a multirun does with its jobs."""

    metric: str | None
    stack_seeds: bool
    most_stacked: int
    most_stacked_work: int
    resume: str | None
    origin: list[str]


@dataclass
class TrainConfig:
    """Names and types of conf/train.yaml, so that a misspelt name or a word for a number is told.

    Groups are open: what they hold is checked by what they make.
    """

    seed: int
    replicas: int
    dims: list[int]
    steps: int | None
    threads: int | None
    compile: bool
    batch_size: int | None
    points: int
    log_every_n_steps: int
    evaluations: int
    checkpoint_seconds: float
    penalty: PenaltyConfig
    gradient: GradientConfig
    refine: RefineConfig
    layers: list[Any] | None
    sweep: SweepConfig
    target: Any = None
    data: Any = None
    layer: Any = None
    task: Any = None
    optimizer: Any = None
    scheduler: Any = None
    trainer: Any = None
    logger: Any = None
    callbacks: dict[str, Any] = field(default_factory=dict)


@dataclass
class BootstrapConfig:
    """How intervals are drawn."""

    level: float
    resamples: int
    seed: int


@dataclass
class MostConfig:
    """How much of what there is a report shows."""

    rows: int
    terminal_rows: int
    drawn: int
    curves: int
    histories: int
    pictured_sections: int
    unfinished: int


@dataclass
class ReportConfig:
    """Names and types of conf/report.yaml."""

    folders: list[str]
    metric: str | None
    group_by: Any
    output: str | None
    bootstrap: BootstrapConfig
    most: MostConfig


# Optimizers whose step treats every number by itself, so that replicas cannot act on each other.
ELEMENTWISE = ("Adam", "AdamW", "SGD")


def uses_least_squares(cfg: DictConfig) -> bool:
    """Whether the optimizer is Levenberg-Marquardt."""
    return bool(cfg.optimizer._target_ == "kan_exp.optimizers.LevenbergMarquardt")


def check_replicas(cfg: DictConfig) -> None:
    """Refuses `replicas` where networks cannot be trained as one stack.

    Raises:
        KanExpError: `replicas` is below 1, or does not go with another option.
    """
    if cfg.replicas < 1:
        raise KanExpError(f"replicas must be at least 1, got {cfg.replicas}.")
    if cfg.replicas == 1:
        return
    shown = f"replicas={cfg.replicas}"
    if uses_least_squares(cfg):
        raise KanExpError(
            f"{shown} does not go with optimizer=lm, which runs many starts anyway "
            f"(refine.num_candidates): "
            f"set optimizer=adam, or leave replicas out."
        )
    if cfg.optimizer._target_ not in [f"torch.optim.{name}" for name in ELEMENTWISE]:
        raise KanExpError(
            f"{shown} does not go with {cfg.optimizer._target_}, whose step would mix the "
            f"replicas: set optimizer=adam, adamw or sgd."
        )
    if cfg.compile:
        raise KanExpError(f"{shown} needs compile=false.")
    if _shares_steps(cfg):
        raise KanExpError(f"{shown} does not go with trainer=ddp, which trains one network.")
    if cfg.seed + cfg.replicas > MAX_SEED:
        raise KanExpError(f"{shown} needs seeds up to seed + replicas: lower seed.")


def rank_count(cfg: DictConfig) -> int:
    """How many processes train the network, as `check_devices` lets them."""
    return int(cfg.trainer.devices) if _shares_steps(cfg) else 1


def _shares_steps(cfg: DictConfig) -> bool:
    strategy = OmegaConf.select(cfg, "trainer.strategy._target_")
    return bool(strategy == "kan_exp.ranks.strategy.RankStrategy")


def check_devices(cfg: DictConfig) -> None:
    """Refuses numbers of devices that cannot be had, and what cannot be shared by processes.

    Raises:
        KanExpError: `trainer.devices` is no such number, or does not go with another option.
    """
    devices = cfg.trainer.devices
    shown = f"trainer.devices={devices}"
    if not _shares_steps(cfg):
        if devices != 1 or cfg.trainer.get("strategy", "auto") != "auto":
            raise KanExpError(
                f"{shown}: only trainer=ddp trains in any other way than on one device: "
                f"set trainer=ddp or trainer.devices=1, and no trainer.strategy."
            )
        return
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 2:
        raise KanExpError(
            f"{shown}: trainer=ddp is for 2 devices or more: set such a number, or trainer=auto."
        )
    if cfg.trainer.get("num_nodes", 1) != 1:
        raise KanExpError("trainer.num_nodes must be 1: trainer=ddp stays on one machine.")
    if uses_least_squares(cfg):
        raise KanExpError(
            "trainer=ddp does not go with optimizer=lm, which takes all points at once: "
            "set optimizer=adam"
        )
    if cfg.optimizer._target_ == "torch.optim.LBFGS":
        raise KanExpError(
            "trainer=ddp does not go with optimizer=lbfgs, whose line search would magnify the "
            "rounding by which sums over processes differ: set optimizer=adam"
        )
    if cfg.compile:
        raise KanExpError("trainer=ddp needs compile=false.")
    if "pruning" in cfg.callbacks:
        raise KanExpError(
            "trainer=ddp cannot be pruned, since each process would decide for itself: set "
            "hydra/sweeper/pruner=none."
        )
    if cfg.batch_size is not None and cfg.batch_size < devices:
        raise KanExpError(
            f"batch_size={cfg.batch_size} has no row for each of {devices} processes: "
            f"raise it, or lower trainer.devices."
        )


def check_trainer(cfg: DictConfig) -> None:
    """Refuses options of Lightning's trainer that another option stands for, or no training can do.

    Raises:
        KanExpError: There is one.
    """
    if cfg.trainer.get("_target_") != "lightning.pytorch.Trainer":
        return
    for name in map(str, cfg.trainer):
        instead = next((cure for names, cure in INSTEAD.items() if name in names), None)
        if instead is not None:
            raise KanExpError(f"trainer.{name}: {instead}")
        if name not in TRAINER_OPTIONS and name != "_target_":
            raise KanExpError(
                f"trainer.{name}: trainings take no such option.{suggest(name, TRAINER_OPTIONS)} "
                f"There are: {listing(TRAINER_OPTIONS, len(TRAINER_OPTIONS))}."
            )


def check_lists(cfg: DictConfig) -> None:
    """Refuses lists and groups within lists of numbers, which OmegaConf lets pass.

    Raises:
        KanExpError: One of them holds such a thing.
    """
    for name in NUMBER_LISTS:
        for place, item in enumerate(OmegaConf.select(cfg, name) or ()):
            if OmegaConf.is_config(item):
                shown = str(OmegaConf.to_container(item)).replace(" ", "")
                raise KanExpError(f"{name}[{place}]: must be a whole number, got {shown}.")


def check_numbers(cfg: DictConfig) -> None:
    """Refuses numbers that make no run, before anything heavy is imported.

    Raises:
        KanExpError: `dims` or a count is out of range.
    """
    for name in sorted(OmegaConf.missing_keys(cfg)):
        raise KanExpError(f"{name} is needed: set it with {name}=...")
    check_lists(cfg)
    dims = list(cfg.dims)
    shown = f"dims=[{','.join(map(str, dims))}]"
    if len(dims) < 2:
        raise KanExpError(
            f"{shown}: a network needs at least an input and an output width: set dims=[2,5,1]"
        )
    if any(width < 1 for width in dims):
        raise KanExpError(f"{shown}: every width must be at least 1.")
    if dims[-1] != 1:
        raise KanExpError(
            f"{shown}: the data have 1 output, so the last width must be 1: "
            f"set dims=[{','.join(map(str, [*dims[:-1], 1]))}]"
        )
    for name in ("steps", "log_every_n_steps", "evaluations"):
        if cfg[name] is not None and cfg[name] < 1:
            raise KanExpError(f"{name} must be at least 1, got {cfg[name]}.")
    if cfg.refine.follow_every < 1:
        raise KanExpError(f"refine.follow_every must be at least 1, got {cfg.refine.follow_every}.")
    if not cfg.refine.max_rise >= 1:
        raise KanExpError(f"refine.max_rise must be at least 1, got {cfg.refine.max_rise}.")
    check_trainer(cfg)
    if not cfg.checkpoint_seconds >= 0:
        raise KanExpError(f"checkpoint_seconds must be at least 0, got {cfg.checkpoint_seconds}.")
    if cfg.threads is not None and cfg.threads < 1:
        raise KanExpError(f"threads must be at least 1 or null (torch decides), got {cfg.threads}.")
    if cfg.threads is not None and cfg.threads > MAX_THREADS:
        raise KanExpError(f"threads must be at most {MAX_THREADS}, got {cfg.threads}.")
    if not 0 <= cfg.seed < MAX_SEED:
        raise KanExpError(f"seed must be at least 0 and below {MAX_SEED:,}, got {cfg.seed}.")
    check_replicas(cfg)
    check_devices(cfg)
    if cfg.trainer.precision != "32-true":
        raise KanExpError(f"trainer.precision must be 32-true, got {cfg.trainer.precision}.")


def check_width(source: str, count: int, dims: list[int]) -> None:
    """Refuses a first width that is not the number of inputs, `count`.

    Raises:
        KanExpError: They differ; the message has the `dims` to set.
    """
    if count != dims[0]:
        mended = ",".join(map(str, [count, *dims[1:]]))
        inputs = "1 input" if count == 1 else f"{count} inputs"
        raise KanExpError(
            f"{source} has {inputs}, but dims=[{','.join(map(str, dims))}] starts with "
            f"{dims[0]}: set dims=[{mended}]"
        )
