"""The network of a configuration, and the module that trains it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from kan_exp.config import EQUATION, LINES, SAMPLED, RunConfig, RunContext, to_values
from kan_exp.data import EquationData, ExperimentData
from kan_exp.errors import KanExpError, message_of
from kan_exp.layers import EdgeLayer, GridLayer, LayerSpec, find_layer, make_network
from kan_exp.layers.constraints import Constraint, constrain, layer_constraints
from kan_exp.layers.walk import observe_domains
from kan_exp.models.loading import describe_model
from kan_exp.models.model import KANModel
from kan_exp.preparing.checks import check_equation
from kan_exp.preparing.components import make_partial
from kan_exp.preparing.constraints import constrained_options, input_signs
from kan_exp.preparing.devices import training_device
from kan_exp.preparing.networks import MULTIPLICATIONS_PER_MINUTE, check_work, stages_of
from kan_exp.preparing.widths import shown_dims
from kan_exp.tasks import Task
from kan_exp.training.equations import EquationGradientModule, EquationModule
from kan_exp.training.increments import orient
from kan_exp.training.least_squares import LeastSquaresModule
from kan_exp.training.memory import Sizes, check_memory
from kan_exp.training.module import OBSERVED_POINTS, Constraints, KANModule
from kan_exp.training.replicas import ReplicaModule
from kan_exp.training.shared import SharedModule
from kan_exp.training.smooth_plan import Plan
from kan_exp.training.stages import Stage, continued, multiplications
from kan_exp.training.starts import count_parameters, make_starts

# Of a training with hidden units that the data may choose: about a minute on one core.
MAX_HIDDEN_WORK = MULTIPLICATIONS_PER_MINUTE


def layer_specs(config: RunConfig) -> list[LayerSpec]:
    """The class and the options of each layer."""
    return [
        LayerSpec(_layer_class(layer.target), to_values(layer.options))
        for layer in config.each_layer
    ]


def _layer_class(path: str) -> type[EdgeLayer]:
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

    Args:
        data: With the scaling and the weights of the task.
        masks: Which edges of each layer exist `(in, out)`; used where the smoothness of edges is
            found from the data.
    """
    return _ModuleFactory(config, context, data, task, masks, layer_specs(config)).module()


@dataclass(frozen=True)
class _ModuleFactory:
    """Makes one of the modules; the arguments are those of `make_module`."""

    config: RunConfig
    context: RunContext
    data: ExperimentData
    task: Task
    masks: Sequence[Tensor]
    specs: Sequence[LayerSpec]

    def module(self) -> KANModule:
        if self.config.data.target == EQUATION:
            return self._equation()
        if self.config.smooths:
            return self._smoothing()
        if self.config.uses_least_squares:
            module = self._least_squares()
        else:
            module = self._replicas() if self.config.replicas > 1 else self._by_gradient()
        module.bounds = self._bounds()
        return module

    def _by_gradient(self) -> KANModule:
        config = self.config
        network = self._network(config.seed)
        self._start([network])
        model, options = self._model(network), self._gradient_options()
        options["compile_network"] = config.compile
        if config.num_ranks > 1:
            module: KANModule = SharedModule(model, self.task, count=config.num_ranks, **options)
        else:
            module = KANModule(model, self.task, **options)
        module.start_margin = 0.0 if config.smoothing.method == "linear" else None
        return module

    def _replicas(self) -> KANModule:
        """The networks of all seeds as one, after a check that they fit into memory."""
        config, options = self.config, self._gradient_options()

        def make(count: int) -> ReplicaModule:
            networks = [self._network(config.seed + replica) for replica in range(count)]
            self._start(networks)
            model = self._model(networks[0])
            return ReplicaModule(model, self.task, networks, config.seed, **options)

        count = len(self.data.train.x)
        batch = min(config.batch_size or count, count)
        sizes = Sizes(config.log_every_n_steps, batch, count)
        check_memory(make(1), config.replicas, sizes, training_device(config))
        return make(config.replicas)

    def _network(self, seed: int) -> nn.Sequential:
        # The weights have a generator of their own: all kinds see the same order of points.
        generator = torch.Generator().manual_seed(seed)
        return make_network(self.specs, self.config.widths, generator, self.config.multiply or ())

    def _start(self, networks: Sequence[nn.Sequential]) -> None:
        """Makes networks the linear model, if asked for, and limits the edges of tables."""
        self._apply_constraints(networks)
        if self.config.smoothing.method == "linear":
            self._start_linear(networks)
        if (bounds := self._bounds()) is None:
            return

        x = self.data.scaling.standardize(self.data.train).x[:OBSERVED_POINTS].float()
        for network in networks:
            observe_domains(network.eval(), [x], bounds=bounds)
            network.train()

    def _start_linear(self, networks: Sequence[nn.Sequential]) -> None:
        from kan_exp.training.linear_start import start_linear  # which few runs need

        dims = self.config.widths
        if len(dims) != 3 or dims[1] < dims[2]:
            raise KanExpError(
                f"smoothing.method=linear needs one hidden layer of at least as many units as "
                f"outputs, got {shown_dims(dims)}: set dims=[auto,{dims[-1] + 32},auto] or "
                f"smoothing.method=null"
            )
        points = self.data.scaling.standardize(self.data.train)
        start_linear(networks, points, self.task.loss(), self._layer_constraints)

    def _apply_constraints(self, networks: Sequence[nn.Sequential]) -> None:
        """Makes random straight lines obey the constraints."""
        if not self._layer_constraints:
            return

        for network in networks:
            orient(network, self._layer_constraints)
            constrain(network, self._layer_constraints)

    @property
    def _layer_constraints(self) -> Sequence[Constraint]:
        """The constraints of each layer of the network; none if there are none."""
        make = self._constraints
        return () if make is None else make(self.config.widths)

    @property
    def _constraints(self) -> Constraints | None:
        """Makes the constraints of each layer from widths; None if there are none."""
        if not constrained_options(self.config):
            return None

        signs = input_signs(self.config, self.data.schema)
        return lambda dims: layer_constraints(dims, *signs)

    def _bounds(self) -> Tensor | None:
        """The standardized ranges of a table, outside of which edges mean nothing."""
        if self.config.data.target == SAMPLED:
            return None
        return self.data.scaling.standardize_bounds(self.data.read_bounds)

    def _model(self, network: nn.Sequential) -> KANModel:
        data, task, problem = self.data, self.task, getattr(self.data, "problem", None)
        return KANModel(
            network,
            data.scaling,
            data.schema,
            task.activation,
            task.output_names(data.schema),
            frame=None if problem is None else problem.frame,
        )

    def _description(self, specs: Sequence[LayerSpec], dims: Sequence[int]) -> dict[str, Any]:
        return describe_model(specs, dims, self.data, self.task)

    def _options(self, specs: Sequence[LayerSpec]) -> dict[str, Any]:
        """Options of all modules; `specs` describe the layers."""
        return {
            "optimizer": make_partial("optimizer", self.config.optimizer),
            "penalty": asdict(self.config.penalty),
            "description": self._description(specs, self.config.widths),
            "constraints": self._layer_constraints,
        }

    def _gradient_options(self) -> dict[str, Any]:
        scheduler = self.config.scheduler
        made = None if scheduler is None else make_partial("scheduler", scheduler)
        return {**self._options(self.specs), "scheduler": made}

    def _stage_options(self, specs: Sequence[LayerSpec]) -> dict[str, Any]:
        refine = self.config.refine
        names = ("penalty_decay", "follow_every", "max_rise")
        return {**self._options(specs), **{name: getattr(refine, name) for name in names}}

    def _starts(self, specs: Sequence[LayerSpec], stage: Stage, x: Tensor) -> list[nn.Sequential]:
        """The networks that the first stage begins with; `x` are standardized inputs."""
        config, data = self.config, self.data
        noise = config.refine.init_noise_std
        bounds = data.scaling.standardize_bounds(data.read_bounds)
        products = config.multiply or ()
        return make_starts(specs, config.widths, stage, config.seed, noise, x, bounds, products)

    def _least_squares(self) -> KANModule:
        config, data, specs = self.config, self.data, self.specs
        dims, scaling = config.widths, data.scaling
        stages = stages_of(config.refine, intervals_of(specs))
        points = scaling.standardize(data.train)
        x = points.x.double()
        self._network(config.seed)  # errors in options are about the layer as the user asked for it
        sizes = [count_parameters(specs, dims, stage) for stage in stages]
        check_work(multiplications(sizes, stages, len(x)), len(x), self.context)
        begin = None
        if config.begins_smooth:
            from kan_exp.training.linear_start import additive_network

            about = self.task.loss(), config.smoothing.intervals, config.seed
            made = additive_network(specs, dims, points, *about, self._layer_constraints)
            begin, specs = made.network, made.specs(specs)
        starts = self._starts(specs, stages[0], x)
        self._apply_constraints(starts)
        model, options = self._model(begin or starts[0]), self._stage_options(specs)
        validation = scaling.standardize(data.val)
        module = LeastSquaresModule(model, self.task, starts, stages, validation, **options)
        if begin is not None:  # a standard error of root mean squares
            module.start_margin = (2 * len(data.val.x)) ** -0.5
        return module

    def _equation(self) -> KANModule:
        """The module that solves a differential equation."""
        from kan_exp.equations.frame import read

        config, data, specs = self.config, cast("EquationData", self.data), self.specs
        check_equation(config)
        network = self._network(config.seed)
        order = max(len(key) for one in data.relations for key in one.keys)
        for layer in network:
            if isinstance(layer, GridLayer) and layer.degree < order:
                cure = "set layer=spline5" if order <= 5 else "write a system of lower order"
                raise KanExpError(
                    f"pde: the equation has derivatives of order {order}, which edges of degree "
                    f"{layer.degree} do not have: {cure}"
                )
        if not config.uses_least_squares:
            options = self._gradient_options()
            steps = cast(int, config.steps)
            return EquationGradientModule(data, steps, self._model(network), self.task, **options)
        scaling, stages = data.scaling, equation_stages(config, data)
        x = (read(data.problem.frame, data.train.x) - scaling.x_mean) / scaling.x_std
        starts = self._starts(specs, stages[0], x)
        model, options = self._model(starts[0]), self._stage_options(specs)
        return EquationModule(data, model, self.task, starts, stages, data.val, **options)

    def _smoothing(self) -> KANModule:
        from kan_exp.training.smoothing import SmoothingModule

        config, data = self.config, self.data
        dims, plan = config.widths, plan_of(config, self.specs, data)
        chooses = bool(config.smoothing.choose) and len(dims) == 3
        rows = len(data.train.x) + len(data.val.x)
        check_work(plan.multiplications(rows), rows, self.context)
        shown = [dims[0], dims[-1]] if chooses else dims  # until the data have decided
        specs = self.specs[: len(shown) - 1]
        generator = torch.Generator().manual_seed(config.seed)
        points = data.scaling.standardize(data.train)
        return SmoothingModule(
            self._model(make_network(specs, shown, generator).double()),
            self.task,
            self.specs,
            dims,
            chooses,
            plan,
            points,
            points if data.val is data.train else data.scaling.standardize(data.val),
            make_partial("optimizer", config.optimizer),
            config.seed,
            self._description(specs, shown),
            self.masks,
            self._constraints,
        )


def num_steps(config: RunConfig, data: ExperimentData) -> int:
    """Number of optimizer steps: `steps`, or those of least squares if that is null."""
    if config.steps is not None:
        return config.steps
    specs = layer_specs(config)
    if config.data.target == EQUATION:
        return sum(stage.steps for stage in equation_stages(config, data))
    if config.smooths:
        return plan_of(config, specs, data).total_steps
    return sum(stage.steps for stage in stages_of(config.refine, intervals_of(specs)))


def equation_stages(config: RunConfig, data: ExperimentData) -> list[Stage]:
    """The stages of a training that solves a differential equation."""
    stages = stages_of(config.refine, intervals_of(layer_specs(config)))
    return continued(stages, cast("EquationData", data).problem.num_continuations)


def plan_of(config: RunConfig, specs: Sequence[LayerSpec], data: ExperimentData) -> Plan:
    """The sizes of a training that finds the smoothness of edges.

    If the data decide about hidden units, these are left out where they would take long.
    """
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
    work = plan.multiplications(len(data.train.x) + len(data.val.x))
    is_long = config.smoothing.choose and work > MAX_HIDDEN_WORK
    return plan._replace(hidden=0) if is_long else plan


def intervals_of(specs: Sequence[LayerSpec]) -> list[int | None]:
    """Intervals per edge of each layer, `None` for layers without a grid."""
    try:
        return [kind.count_intervals(options) for kind, options in specs]
    except (TypeError, ValueError, KeyError) as error:
        raise KanExpError(f"layer: {error}") from error
