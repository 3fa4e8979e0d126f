"""Configurations as plain dataclasses, which Python makes as easily as Hydra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from kan_exp.errors import KanExpError, suggest

# Groups of conf/ whose configs name a class or a function, in the order of conf/train.yaml.
OPTIONAL_GROUPS = ("scheduler", "logger")
GROUPS = ("layer", "data", "target", "task", "optimizer", "scheduler", "trainer", "logger")
LEAST_SQUARES = "kan_exp.optimizers.LevenbergMarquardt"
RANK_STRATEGY = "kan_exp.ranks.strategy.RankStrategy"
LINES = "kan_exp.layers.KANLinearLayer"
TABLE, SAMPLED = "kan_exp.data.TableData", "kan_exp.data.SampledData"
STREAM = "kan_exp.data.StreamData"
ARRAYS = "kan_exp.data.ArrayData"
EQUATION = "kan_exp.data.EquationData"


def config_folder() -> str:
    """The folder of the configs: inside the package if installed, next to it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


@dataclass
class Component:
    """A class or function, and the options it is called with.

    Args:
        target: Its dotted path.
        options: Keyword arguments; components among them are made first.
        partial: Whether the result is a function of the arguments that are missing.
    """

    target: str
    options: dict[str, Any] = field(default_factory=dict)
    partial: bool = False


def to_component(value: Any) -> Any:
    """Replaces each mapping with `_target_` in plain containers by a component."""
    if isinstance(value, Mapping):
        options = {str(name): to_component(item) for name, item in value.items()}
        if "_target_" not in options:
            return options
        for name in ("_convert_", "_recursive_"):  # components are made first, of plain containers
            options.pop(name, None)
        target, partial = str(options.pop("_target_")), bool(options.pop("_partial_", False))
        return Component(target, options, partial)
    return [to_component(item) for item in value] if isinstance(value, list) else value


def to_values(value: Any) -> Any:
    """The inverse of `to_component`."""
    if isinstance(value, Component):
        partial = {"_partial_": True} if value.partial else {}
        return {"_target_": value.target, **partial, **to_values(value.options)}
    if isinstance(value, Mapping):
        return {name: to_values(item) for name, item in value.items()}
    return [to_values(item) for item in value] if isinstance(value, list | tuple) else value


def choice(group: str, name: str, **options: Any) -> Component:
    """Reads a component from `conf/<group>/<name>.yaml`; `options` replace those of the file.

    What else the file sets, such as the stages of least squares, is left to the caller.

    Raises:
        KanExpError: There is no such file, or it takes an option from elsewhere (`${...}`, `???`)
            that is not among `options`.
    """
    folder = Path(config_folder(), group)
    if not (path := folder / f"{name}.yaml").is_file():
        hint = suggest(name, [known.stem for known in folder.glob("*.yaml")])
        raise KanExpError(f"{group}={name}: there is no such {group}.{hint}")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values.pop("defaults", None)
    component: Component = to_component({**values.get(group, values), **options})
    for option, value in component.options.items():
        if isinstance(value, str) and (value == "???" or "${" in value):
            raise KanExpError(f"{group}={name} needs the option {option!r}.")
    return component


@dataclass
class PenaltyConfig:
    """Weights of the penalties."""

    roughness: float = 0.0
    curvature: float = 0.0
    jerk: float = 0.0
    smooth: float = 0.0
    group: float = 0.0
    l1_edges: float = 0.0
    l1_outputs: float = 0.0


@dataclass
class RefineConfig:
    """Stages of optimizer=lm, from coarse grids to fine ones; see conf/train.yaml."""

    grids: list[int] | None = None
    num_candidates: list[int] = field(default_factory=lambda: [8, 4, 2, 1])
    steps: list[int] = field(default_factory=lambda: [10, 20, 30, 140])
    points: list[int] | None = field(default_factory=lambda: [300, 300])
    init_noise_std: float = 0.3
    jerk: float = 0.0
    penalty_decay: float = 0.0
    follow_every: int = 5
    max_rise: float = 2.0


@dataclass
class SmoothingConfig:
    """Search for the smoothness of edges on noisy data by optimizer=lm; see conf/train.yaml."""

    method: str | None = None
    choose: bool | None = None
    intervals: int = 8
    hidden: int = 3
    num_candidates: list[int] = field(default_factory=lambda: [6, 2])
    steps: list[int] = field(default_factory=lambda: [30, 8, 15, 10, 30])


@dataclass
class PruningConfig:
    """Options of `prune=auto`; see conf/train.yaml."""

    max_rise: float = 1.02
    seconds: float = 120.0
    run: str | None = None


@dataclass
class ExplainConfig:
    """Whether and how a formula is sought at the end of a run; see conf/train.yaml."""

    enabled: bool = False
    seconds: float = 60.0
    functions: Any = None
    workers: Any = "auto"


PARTS: Mapping[str, type[Any]] = {
    "penalty": PenaltyConfig,
    "refine": RefineConfig,
    "smoothing": SmoothingConfig,
    "pruning": PruningConfig,
    "explain": ExplainConfig,
}


@dataclass(kw_only=True)
class RunOptions:
    """Options that are the same in Python and in conf/train.yaml, which describes them.

    The defaults are what conf/ composes if nothing is chosen.
    """

    seed: int = 0
    replicas: int = 1
    dims: list[Any] | None = field(default_factory=lambda: ["auto", 5, "auto"])
    multiply: list[int] | None = None
    monotone: Any = None  # signs by column
    convex: Any = None
    steps: int | None = None
    batch_size: int | None = None
    log_every_n_steps: int = 1
    evaluations: int = 30
    checkpoint_seconds: float = 5.0
    threads: int | None = 1
    compile: bool = False
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    prune: str | None = None
    pruning: PruningConfig = field(default_factory=PruningConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)


@dataclass(kw_only=True)
class RunConfig(RunOptions):
    """One training.

    Args:
        layers: A component for all layers, or one for each.
        data: What is trained on.
        task: What is minimized and measured.
        optimizer: Called with what it optimizes.
        scheduler: Called with the optimizer.
        trainer: Lightning's trainer; its length, callbacks and logger are set by the run.
        logger: Where curves are written, if anywhere.
        callbacks: By name; `None` leaves one out.
    """

    layers: Component | list[Component] = field(default_factory=lambda: choice("layer", "mlp"))
    data: Component = field(
        default_factory=lambda: choice(
            "data", "sampled", target=choice("target", "exp_sin_square"), num_train=1000
        )
    )
    task: Component = field(default_factory=lambda: choice("task", "auto"))
    optimizer: Component = field(default_factory=lambda: choice("optimizer", "lm"))
    scheduler: Component | None = None
    trainer: Component = field(default_factory=lambda: choice("trainer", "cpu"))
    logger: Component | None = None
    callbacks: dict[str, Component | None] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> RunConfig:
        """Makes a configuration from plain containers, as `to_values` gives them."""
        options = {each.name: to_component(values[each.name]) for each in fields(cls)}
        return cls(**options | {name: kind(**options[name]) for name, kind in PARTS.items()})

    def to_values(self) -> dict[str, Any]:
        """The configuration in plain containers, as in a YAML file."""
        values = {each.name: to_values(getattr(self, each.name)) for each in fields(self)}
        return values | {name: asdict(values[name]) for name in PARTS}

    @property
    def each_layer(self) -> list[Component]:
        """A component for each layer."""
        if isinstance(self.layers, Component):
            return [self.layers] * (len(self.widths) - 1)
        return self.layers

    @property
    def widths(self) -> list[int]:
        """`dims`, once the data have decided what it leaves to them."""
        assert self.dims is not None
        return self.dims

    @property
    def smooths(self) -> bool:
        """Whether the smoothness of edges is found from the data.

        That is for networks of one or two layers; the edges of the second must be curves. Unless
        the data decide about hidden units, there must be more than those that carry sums of curves.
        """
        count = 0 if self.dims is None else len(self.dims) - 1
        later = self.layers if isinstance(self.layers, list) else [self.layers] * count
        if self.smoothing.method is None or not self.uses_least_squares or len(later) > 2:
            return False
        if len(later) == 2 and self.dims is not None and not self.smoothing.choose:
            hidden, outputs = self.dims[1:]
            if isinstance(hidden, int) and hidden <= (outputs if isinstance(outputs, int) else 1):
                return False
        return all(layer.target != LINES for layer in later[1:])

    @property
    def begins_smooth(self) -> bool:
        """Whether a network that the stages of `refine` train begins as sums of curves."""
        if self.smoothing.method != "reml" or not self.uses_least_squares or self.smooths:
            return False
        return min(self.widths[1:-1], default=0) >= self.widths[-1] and not any(self.multiply or ())

    @property
    def uses_least_squares(self) -> bool:
        """Whether the optimizer is Levenberg-Marquardt."""
        return self.optimizer.target == LEAST_SQUARES

    @property
    def shares_steps(self) -> bool:
        """Whether several processes train the network together."""
        strategy = self.trainer.options.get("strategy")
        return isinstance(strategy, Component) and strategy.target == RANK_STRATEGY

    @property
    def num_ranks(self) -> int:
        """Processes that train the network."""
        return int(self.trainer.options["devices"]) if self.shares_steps else 1


@dataclass(frozen=True)
class RunContext:
    """The request for a run; none of it changes the result."""

    overrides: Sequence[str] = ()  # what the user typed
    choices: Mapping[str, str] = field(default_factory=dict)  # of every group
    job: int | None = None  # its number in its sweep
    arguments: Sequence[str] | None = None  # command line that repeats the run, if there is one
    follows_seed: Mapping[str, Any] = field(default_factory=dict)  # options, unresolved
    points_option: str = "data.num_train"  # sets the number of sampled training points
    gradient: Mapping[str, Any] | None = None  # what layers recommend to gradient descent
    wide: Mapping[str, Any] | None = None  # what wide tables are trained with


@dataclass
class GradientConfig:
    """Recommendations of layers for gradient-based optimizers."""

    steps: int
    batch_size: int
    roughness: float


@dataclass
class WideConfig:
    """Defaults for wide tables; see conf/train.yaml."""

    rows: int
    hidden: int
    steps: int
    evaluations: int
    lr: float
    weight_decay: float
    layer: dict[str, Any]


@dataclass
class SweepConfig:
    """Options of a multirun."""

    metric: str | None
    stack_seeds: bool
    most_stacked: int
    most_stacked_work: int
    resume: str | None
    origin: list[str]


@dataclass(kw_only=True)
class TrainConfig(RunOptions):
    """Hydra's schema of conf/train.yaml. Groups are open: what they make checks their options."""

    points: int
    gradient: GradientConfig
    wide: WideConfig | None = None  # not in the folders of older runs
    layers: list[Any] | None
    sweep: SweepConfig
    target: Any = None
    pde: Any = None
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
    """Options of confidence intervals."""

    level: float
    resamples: int
    seed: int


@dataclass
class MostConfig:
    """Limits of what a report shows."""

    rows: int
    terminal_rows: int
    drawn: int
    curves: int
    histories: int
    pictured_sections: int
    unfinished: int


@dataclass
class ReportConfig:
    """Hydra's schema of conf/report.yaml."""

    folders: list[str]
    metric: str | None
    group_by: Any
    output: str | None
    bootstrap: BootstrapConfig
    most: MostConfig
