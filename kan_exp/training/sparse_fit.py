"""Fits sparse networks by least squares, from what they are or from new starts."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.layers import GridLayer, LayerSpec
from kan_exp.layers.network import make_layer
from kan_exp.layers.walk import layers_of, widths_of
from kan_exp.models.model import evaluation_mode
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.tasks.losses import Huber, Loss, Squared
from kan_exp.training.least_squares import ROUNDING
from kan_exp.training.stages import Stage
from kan_exp.training.starts import decayed_penalty, follow, grid_layers, make_starts

VALIDATE_EVERY = 2  # steps of a refit
# Larger networks have no penalty: without its matrix, a step takes little where points are few.
MAX_PENALIZED = 3000  # parameters
GRACE = 2.0  # seconds by which a step may exceed the time
RATE = 1e10  # multiplications a second and thread: what a step takes is known before it begins


class Fitted(NamedTuple):
    """A network and its validation error."""

    network: nn.Sequential
    error: float


class Clock:
    """Ends a search after some seconds, or when it is interrupted.

    Args:
        seconds: For the whole search.
        interrupted: Whether the user has asked to stop.
    """

    def __init__(self, seconds: float, interrupted: Callable[[], bool] = lambda: False) -> None:
        self.end = time.monotonic() + seconds
        self.interrupted = interrupted

    @property
    def left(self) -> float:
        """Seconds that are left, 0 after an interrupt."""
        return 0.0 if self.interrupted() else max(0.0, self.end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the search has to end."""
        return self.left == 0


@dataclass(frozen=True)
class Recipe:
    """Options of fitting sparse networks.

    Args:
        stages: Of a fit from new starts, see `make_stages`.
        optimizer: A partial `LevenbergMarquardt`.
        penalty: Weights of mean squared derivatives by order, on grids of `COARSEST` intervals.
        penalty_decay: The power of the number of intervals with which these weights fall.
        init_noise_std: Of new starts.
        follow_every: Steps after which hidden grids follow their values.
        seed: Of new starts.
    """

    stages: Sequence[Stage]
    optimizer: Any
    penalty: dict[int, float]
    penalty_decay: float
    init_noise_std: float
    follow_every: int
    seed: int


@dataclass
class SparseFit:
    """Fits sparse networks.

    Args:
        specs: The kind of each layer, with its options.
        loss: A mean over points.
        train: Standardized training points, float64.
        validation: Standardized points by which networks are compared.
        bounds: Range of each input, standardized, `(in, 2)`.
        recipe: How they are fitted.
        clock: Ends the fits.
    """

    specs: Sequence[LayerSpec]
    loss: Loss
    train: Split
    validation: Split
    bounds: Tensor
    recipe: Recipe
    clock: Clock

    @torch.no_grad()
    def error_of(self, outputs: Tensor) -> float:
        """The validation error of outputs `(n, out)`: of squared errors, the root of the mean."""
        _, y, weight = self.validation
        return self.error_of_loss(float(self.loss.weighted(outputs.unsqueeze(0), y, weight).mean()))

    def error_of_loss(self, loss: float) -> float:
        """A mean of the loss as an error; infinite if it is not finite."""
        if not math.isfinite(loss):
            return math.inf
        return math.sqrt(loss) if isinstance(self.loss, Squared | Huber) else loss

    @torch.no_grad()
    def error(self, network: nn.Sequential) -> float:
        """The validation error of a network."""
        with evaluation_mode(network):
            return self.error_of(network(self.validation.x))

    def refit(
        self, networks: Sequence[nn.Sequential], steps: int, points: int | None = None
    ) -> list[Fitted]:
        """Trains networks of one shape for a few steps; gives each as it was best on validation.

        The networks are changed. `points` is the number of training points; all if not given.
        """
        train = self.train.map(lambda part: part[:points])
        best = [Fitted(network, self.error(network)) for network in networks]
        states = [copy.deepcopy(network.state_dict()) for network in networks]
        follow(networks, train.x)
        engine = self._engine(networks)
        for step in range(1, steps + 1):
            if self._is_over(engine, len(train.x)):
                break
            engine.step(lambda: cast(Any, train))
            if step % VALIDATE_EVERY == 0 or step == steps or engine.stalled:
                for k, network in enumerate(networks):
                    if (error := self.error(network)) < best[k].error:
                        best[k] = Fitted(network, error)
                        states[k] = copy.deepcopy(network.state_dict())
            if engine.stalled:
                break
        for network, state in zip(networks, states, strict=True):
            network.load_state_dict(state)
        return best

    def fit(self, network: nn.Sequential, fresh: bool = True) -> Fitted:
        """Trains a structure through all stages, from what it is and, if `fresh`, from new starts.

        Returns:
            The best network on validation, of any stage; the given one is not changed.
        """
        best = Fitted(network, self.error(network))
        stages = self.recipe.stages
        starts = [self.resized(network, stages[0].num_intervals)]
        if fresh:
            starts += self._starts(network)
        engine = self._engine(starts)
        least = math.inf
        for number, stage in enumerate(stages):
            networks = cast("list[nn.Sequential]", engine.modules)
            if number:
                errors = [self.error(each) for each in networks]
                order = sorted(range(len(errors)), key=errors.__getitem__)
                least = errors[order[0]]
                engine.keep(order[: max(1, stage.num_candidates)])
                networks = cast("list[nn.Sequential]", engine.modules)
                for each in networks:
                    for layer in grid_layers(each):
                        if stage.num_intervals is not None:
                            layer.refine(stage.num_intervals)
            self._run(engine, stage)
            for each in networks:
                if (error := self.error(each)) < best.error:
                    best = Fitted(copy.deepcopy(each), error)
            over = number > 0 and stage.points is None
            if self.clock.is_over or (over and min(map(self.error, networks)) > ROUNDING * least):
                break
        return best

    def _run(self, engine: LevenbergMarquardt, stage: Stage) -> None:
        train = self.train.map(lambda part: part[: stage.points])
        for step in range(1, stage.steps + 1):
            if self._is_over(engine, len(train.x)):
                return
            engine.step(lambda: cast(Any, train))
            if engine.stalled:
                return
            if step % self.recipe.follow_every == 0:
                follow(cast("list[nn.Sequential]", engine.modules), train.x)

    def _starts(self, network: nn.Sequential) -> list[nn.Sequential]:
        """New starts of the structure of a network."""
        layers = layers_of(network)
        dims, stage = widths_of(network), self.recipe.stages[0]
        seed, noise = self.recipe.seed, self.recipe.init_noise_std
        starts = make_starts(self.specs, dims, stage, seed, noise, self.train.x, self.bounds)
        for start in starts:
            for layer, like in zip(layers_of(start), layers, strict=True):
                layer.set_mask(like.mask)
                layer.node_operation = like.node_operation
                layer.straighten(like.straight)
        follow(starts, self.train.x, slack=1)
        return starts

    def resized(self, network: nn.Sequential, intervals: int | None) -> nn.Sequential:
        """A copy of a network on grids of so many intervals, as near as these can come."""
        copied = copy.deepcopy(network)
        if intervals is None:
            return copied
        for place, (layer, spec) in enumerate(zip(copied, self.specs, strict=True)):
            if not isinstance(layer, GridLayer) or layer.num_intervals == intervals:
                continue
            sized = LayerSpec(spec.kind, spec.kind.with_intervals(spec.options, intervals))
            made = make_layer(sized, layer.dim_in, layer.dim_out, torch.Generator())
            made = cast(GridLayer, made.to(layer.domain))
            made.place(layer.grid, layer.edges)
            made.set_mask(layer.mask)
            made.node_operation = layer.node_operation
            made.straighten(layer.straight, layer.grid.T)
            made.domain.copy_(layer.domain)
            copied[place] = made
        return copied

    def _is_over(self, engine: LevenbergMarquardt, points: int) -> bool:
        """Whether the time is over, or would be long before the end of a step on so many points."""
        networks = cast("list[nn.Sequential]", engine.modules)
        size, rows = _size(networks[0]), points * widths_of(networks[0])[-1]
        fewest = min(size, rows) if engine.quadratic is None else size
        work = len(networks) * size * fewest * max(rows, fewest)
        left = self.clock.left
        return left == 0 or work / (RATE * torch.get_num_threads()) > left + GRACE

    def _engine(self, networks: Sequence[nn.Sequential]) -> LevenbergMarquardt:
        quadratic = None
        has_grids = all(isinstance(layer, GridLayer) for layer in networks[0])
        if self.recipe.penalty and has_grids and _size(networks[0]) <= MAX_PENALIZED:
            quadratic = self._quadratic
        made = self.recipe.optimizer(list(networks), loss=self.loss, quadratic=quadratic)
        return cast(LevenbergMarquardt, made)

    def _quadratic(self, network: nn.Module) -> Tensor:
        weights, decay = self.recipe.penalty, self.recipe.penalty_decay
        return decayed_penalty(cast(nn.Sequential, network), weights, decay)

    def present_specs(self, network: nn.Sequential) -> list[LayerSpec]:
        """The kinds of layers with their present options."""
        return [
            LayerSpec(spec.kind, layer.present_options(spec.options))
            for spec, layer in zip(self.specs, layers_of(network), strict=True)
        ]


def _size(network: nn.Sequential) -> int:
    return sum(part.numel() for part in network.parameters())
