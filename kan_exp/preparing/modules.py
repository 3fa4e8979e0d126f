"""The network of a configuration, and the module that trains it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kan_exp.config import EQUATION, LINES, SAMPLED, RunConfig, RunContext, choice, to_values
from kan_exp.errors import KanExpError, message_of
from kan_exp.preparing.components import make_partial
from kan_exp.preparing.devices import training_device
from kan_exp.preparing.networks import MULTIPLICATIONS_PER_MINUTE, check_work, stages_of
from kan_exp.preparing.widths import shown_dims
from kan_exp.runs.files import parse_json
from kan_exp.runs.results import read_metrics

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kan_exp.data import EquationData, ExperimentData
    from kan_exp.layers import EdgeLayer, LayerSpec
    from kan_exp.models.model import KANModel
    from kan_exp.tasks import Task
    from kan_exp.training.module import KANModule
    from kan_exp.training.pruning import Pruning, Trained
    from kan_exp.training.smooth_plan import Plan
    from kan_exp.training.stages import Stage


# Of a training with hidden units that the data may choose: about a minute on one core.
MAX_HIDDEN_WORK = MULTIPLICATIONS_PER_MINUTE


def layer_specs(config: RunConfig) -> list[LayerSpec]:
    """The class and the options of each layer."""
    from kan_exp.layers import LayerSpec

    return [
        LayerSpec(_layer_class(layer.target), to_values(layer.options))
        for layer in config.each_layer
    ]


def _layer_class(path: str) -> type[EdgeLayer]:
    from kan_exp.layers import find_layer

    module, _, name = path.rpartition(".")
    try:
        getattr(importlib.import_module(module), name, None)  # some modules import their parts late
    except Exception as error:  # a user's module may raise anything
        raise KanExpError(
            f"layer._target_={path}: cannot import {module!r}: {message_of(error)}"
        ) from error
    return find_layer(path)


def make_module(
    config: RunConfig,
    context: RunContext,
    data: ExperimentData,
    task: Task,
    masks: Sequence[Tensor] = (),
) -> KANModule:
    """The network, or the networks to choose from, and what trains them.

    The data have the scaling and the weights of the task.

    Args:
        config: The configuration.
        context: How it was asked for.
        data: What is trained on.
        task: What is minimized and measured.
        masks: Which edges exist, where the smoothness of edges is found from the data.
    """
    specs = layer_specs(config)
    if config.data.target == EQUATION:
        return _make_equation(config, context, data, specs, task)
    if config.smooths:
        return _make_smoothing(config, context, data, specs, task, masks)
    if config.uses_least_squares:
        module = _make_least_squares(config, context, data, specs, task)
    elif config.replicas > 1:
        module = _make_replicas(config, data, specs, task)
    else:
        module = _make_by_gradient(config, data, specs, task)
    module.bounds = _bounds(config, data)
    return module


def _make_by_gradient(
    config: RunConfig, data: ExperimentData, specs: Sequence[LayerSpec], task: Task
) -> KANModule:
    import torch

    from kan_exp.layers import make_network
    from kan_exp.training.module import KANModule
    from kan_exp.training.shared import SharedModule

    # The weights have a generator of their own: all kinds see the same order of points.
    generator = torch.Generator().manual_seed(config.seed)
    network = make_network(specs, config.widths, generator, config.multiply or ())
    _start([network], config, data, task)
    model = _model(network, data, task)
    options = _gradient_options(config, data, specs, task)
    options["compile_network"] = config.compile
    if config.num_ranks > 1:
        module: KANModule = SharedModule(model, task, count=config.num_ranks, **options)
    else:
        module = KANModule(model, task, **options)
    module.start_margin = 0.0 if config.smoothing.method == "linear" else None
    return module


def _start(
    networks: Sequence[nn.Sequential], config: RunConfig, data: ExperimentData, task: Task
) -> None:
    """Makes networks the linear model, if asked for, and limits the edges of tables."""
    if config.smoothing.method == "linear":
        _start_linear(networks, config, data, task)
    if (bounds := _bounds(config, data)) is None:
        return
    from kan_exp.layers.walk import observe_domains
    from kan_exp.training.module import OBSERVED_POINTS

    x = data.scaling.standardize(data.train).x[:OBSERVED_POINTS].float()
    for network in networks:
        observe_domains(network.eval(), [x], bounds=bounds)
        network.train()


def _bounds(config: RunConfig, data: ExperimentData) -> Tensor | None:
    """The standardized ranges of a table, beyond which edges mean nothing; None of a formula."""
    if config.data.target == SAMPLED:
        return None
    return data.scaling.standardize_bounds(data.bounds)


def _start_linear(
    networks: Sequence[nn.Sequential], config: RunConfig, data: ExperimentData, task: Task
) -> None:
    from kan_exp.training.linear_start import start_linear

    dims = config.widths
    if len(dims) != 3 or dims[1] < dims[2]:
        raise KanExpError(
            f"smoothing.method=linear needs one hidden layer of at least as many units as outputs, "
            f"got {shown_dims(dims)}: set dims=[auto,{dims[-1] + 32},auto] or smoothing.method=null"
        )
    start_linear(networks, data.scaling.standardize(data.train), task.loss())


def _model(network: nn.Sequential, data: ExperimentData, task: Task) -> KANModel:
    from kan_exp.models.model import KANModel

    schema = data.schema
    names = task.output_names(schema), schema.classes, schema
    model = KANModel(
        network, data.scaling, data.features, data.target_name, task.activation, *names
    )
    problem = getattr(data, "problem", None)
    model.frame = None if problem is None else problem.frame
    return model


def _gradient_options(
    config: RunConfig, data: ExperimentData, specs: Sequence[LayerSpec], task: Task
) -> dict[str, Any]:
    from kan_exp.models.loading import describe_model

    scheduler = config.scheduler
    return {
        "optimizer": make_partial("optimizer", config.optimizer),
        "scheduler": None if scheduler is None else make_partial("scheduler", scheduler),
        "penalty": asdict(config.penalty),
        "description": describe_model(specs, config.widths, data, task),
    }


def _make_least_squares(
    config: RunConfig,
    context: RunContext,
    data: ExperimentData,
    specs: Sequence[LayerSpec],
    task: Task,
) -> KANModule:
    import torch

    from kan_exp.layers import make_network
    from kan_exp.models.loading import describe_model
    from kan_exp.training.least_squares import LeastSquaresModule
    from kan_exp.training.stages import multiplications
    from kan_exp.training.starts import count_parameters, make_starts

    dims, refine, scaling = config.widths, config.refine, data.scaling
    stages = stages_of(refine, intervals_of(specs))
    x = scaling.standardize(data.train).x.double()
    bounds = scaling.standardize_bounds(data.bounds)
    # Errors in options are about the layer as the user asked for it, not that of the first stage.
    make_network(specs, dims, torch.Generator())
    sizes = [count_parameters(specs, dims, stage) for stage in stages]
    check_work(multiplications(sizes, stages, len(x)), len(x), context)
    begin = None
    if config.begins_smooth:
        from kan_exp.training.linear_start import additive_network

        points, intervals = scaling.standardize(data.train), config.smoothing.intervals
        made = additive_network(specs, dims, points, task.loss(), intervals, config.seed)
        begin, specs = made.network, made.specs(specs)
    products = config.multiply or ()
    noise = refine.init_noise_std
    starts = make_starts(specs, dims, stages[0], config.seed, noise, x, bounds, products)
    module = LeastSquaresModule(
        _model(begin or starts[0], data, task),
        task,
        starts,
        stages,
        scaling.standardize(data.val),
        make_partial("optimizer", config.optimizer),
        asdict(config.penalty),
        refine.penalty_decay,
        describe_model(specs, dims, data, task),
        follow_every=refine.follow_every,
        max_rise=refine.max_rise,
    )
    if begin is not None:  # a standard error of root mean squares
        module.start_margin = (2 * len(data.val.x)) ** -0.5
    return module


def equation_stages(config: RunConfig, data: ExperimentData) -> list[Stage]:
    """The stages of a training that solves a differential equation."""
    from kan_exp.data.equation import EquationData
    from kan_exp.training.stages import continued

    assert isinstance(data, EquationData)
    stages = stages_of(config.refine, intervals_of(layer_specs(config)))
    return continued(stages, data.problem.num_continuations)


def _make_equation(
    config: RunConfig,
    context: RunContext,
    data: ExperimentData,
    specs: Sequence[LayerSpec],
    task: Task,
) -> KANModule:
    import torch

    from kan_exp.layers import make_network
    from kan_exp.models.loading import describe_model
    from kan_exp.training.equations import EquationModule
    from kan_exp.training.starts import make_starts

    if not config.uses_least_squares:
        from kan_exp.training.equations import EquationGradientModule

        generator = torch.Generator().manual_seed(config.seed)
        network = make_network(specs, config.widths, generator, config.multiply or ())
        options = _gradient_options(config, data, specs, task)
        model = _model(network, data, task)
        return EquationGradientModule(cast("EquationData", data), model, task, **options)
    dims, refine, scaling = config.widths, config.refine, data.scaling
    stages = equation_stages(config, data)
    make_network(specs, dims, torch.Generator())  # errors in options are about the layer as asked
    x = ((data.train.x - scaling.x_mean) / scaling.x_std).double()
    bounds = scaling.standardize_bounds(data.bounds)
    noise, products = refine.init_noise_std, config.multiply or ()
    starts = make_starts(specs, dims, stages[0], config.seed, noise, x, bounds, products)
    return EquationModule(
        cast("EquationData", data),
        _model(starts[0], data, task),
        task,
        starts,
        stages,
        data.val,
        make_partial("optimizer", config.optimizer),
        asdict(config.penalty),
        refine.penalty_decay,
        describe_model(specs, dims, data, task),
        follow_every=refine.follow_every,
        max_rise=refine.max_rise,
    )


def _make_smoothing(
    config: RunConfig,
    context: RunContext,
    data: ExperimentData,
    specs: Sequence[LayerSpec],
    task: Task,
    masks: Sequence[Tensor],
) -> KANModule:
    import torch

    from kan_exp.layers import make_network
    from kan_exp.models.loading import describe_model
    from kan_exp.training.smoothing import SmoothingModule

    dims, plan = config.widths, plan_of(config, specs, data)
    chooses = bool(config.smoothing.choose) and len(dims) == 3
    rows = _rows(data)
    check_work(plan.multiplications(rows), rows, context)
    shown = [dims[0], dims[-1]] if chooses else dims  # until the data have decided
    specs_shown = specs[: len(shown) - 1]
    generator = torch.Generator().manual_seed(config.seed)
    network = make_network(specs_shown, shown, generator).double()
    points = data.scaling.standardize(data.train)
    return SmoothingModule(
        _model(network, data, task),
        task,
        specs,
        dims,
        chooses,
        plan,
        points,
        points if data.val is data.train else data.scaling.standardize(data.val),
        make_partial("optimizer", config.optimizer),
        config.seed,
        describe_model(specs_shown, shown, data, task),
        masks,
    )


def make_pruning(config: RunConfig, train: Callable[..., Any]) -> Pruning | None:
    """What makes the trained network smaller; None if that is not asked for.

    Args:
        config: The configuration.
        train: Trains a network of given widths and masks anew, see `Pruning`; used where the
            smoothness of edges is found from the data.
    """
    if config.prune is None:
        return None
    from kan_exp.training.penalty_rules import ORDERS
    from kan_exp.training.pruning import Pruning
    from kan_exp.training.sparse_fit import Recipe

    specs, refine = layer_specs(config), config.refine
    weights = asdict(config.penalty)
    weights["jerk"] = max(weights["jerk"], refine.jerk)
    optimizer = config.optimizer if config.uses_least_squares else choice("optimizer", "lm")
    run = config.pruning.run
    recipe = Recipe(
        stages_of(refine, intervals_of(specs)),
        make_partial("optimizer", optimizer),
        {ORDERS[name]: weight for name, weight in weights.items() if name in ORDERS and weight},
        refine.penalty_decay,
        refine.init_noise_std,
        refine.follow_every,
        config.seed,
    )
    return Pruning(
        specs,
        recipe,
        config.pruning.max_rise,
        config.pruning.seconds,
        None if run is None else _trained(Path(run)),
        train if config.smooths else None,
    )


def _trained(run: Path) -> Trained:
    """The network of a run, and what is known about its training."""
    from kan_exp.models.loading import read_checkpoint
    from kan_exp.training.pruning import Trained

    checkpoint, metrics = read_checkpoint(run), read_metrics(run)
    about: dict[str, Any] = {
        name: metrics[name] for name in ("steps", "stopped") if name in metrics
    }
    return Trained(checkpoint, about, _history(run))


def _history(run: Path) -> dict[str, Any]:
    """The losses of a run; empty if they cannot be read."""
    try:
        history = parse_json((run / "history.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return history if isinstance(history, dict) else {}


def _rows(data: ExperimentData) -> int:
    return len(data.train.x) + len(data.val.x)


def plan_of(config: RunConfig, specs: Sequence[LayerSpec], data: ExperimentData) -> Plan:
    """The sizes of a training that finds the smoothness of edges.

    If the data decide about hidden units, these are left out where they would take long.
    """
    from kan_exp.training.smooth_plan import Plan

    dims, smoothing = config.widths, config.smoothing
    counts = intervals_of(specs)
    least = min((count for count in counts if count is not None), default=smoothing.intervals)
    # Other kinds of edges than grids would not follow finer grids.
    finest = least if None not in counts else min(least, smoothing.intervals)
    plan = Plan(
        inputs=dims[0],
        outputs=dims[-1],
        hidden=dims[1] - dims[-1] if len(dims) == 3 else 0,
        straight=config.each_layer[0].target == LINES,
        intervals=min(smoothing.intervals, least),
        max_intervals=finest,
        num_candidates=smoothing.num_candidates,
        steps=smoothing.steps,
    )
    too_long = config.smoothing.choose and plan.multiplications(_rows(data)) > MAX_HIDDEN_WORK
    return plan._replace(hidden=0) if too_long else plan


def intervals_of(specs: Sequence[LayerSpec]) -> list[int | None]:
    """Intervals per edge of each layer, `None` for layers without a grid."""
    try:
        return [kind.count_intervals(options) for kind, options in specs]
    except (TypeError, ValueError, KeyError) as error:
        raise KanExpError(f"layer: {error}") from error


def _make_replicas(
    config: RunConfig, data: ExperimentData, specs: Sequence[LayerSpec], task: Task
) -> KANModule:
    """The networks of all seeds as one, after a check that they fit into memory."""
    import torch

    from kan_exp.layers import make_network
    from kan_exp.training.memory import Sizes, check_memory
    from kan_exp.training.replicas import ReplicaModule

    options = _gradient_options(config, data, specs, task)

    def make(count: int) -> ReplicaModule:
        seeds = range(config.seed, config.seed + count)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        sizes = specs, config.widths
        networks = [make_network(*sizes, one, config.multiply or ()) for one in generators]
        _start(networks, config, data, task)
        model = _model(networks[0], data, task)
        return ReplicaModule(model, task, networks, config.seed, **options)

    count = len(data.train.x)
    batch = min(config.batch_size or count, count)
    sizes = Sizes(config.log_every_n_steps, batch, count)
    check_memory(make(1), config.replicas, sizes, training_device(config))
    return make(config.replicas)
