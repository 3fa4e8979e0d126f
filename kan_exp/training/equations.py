"""Trains networks on the residuals of differential equations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.data.equation import EquationData
from kan_exp.equations.features import Features
from kan_exp.equations.frame import inputs_of
from kan_exp.equations.points import Compiled, draw_anew, draw_points, pointwise
from kan_exp.errors import DivergedError
from kan_exp.layers.jets import Jets, Key, closure, network_jets
from kan_exp.models.model import KANModel, evaluation_mode
from kan_exp.optimizers import LevenbergMarquardt, ResidualFit, Residuals, Term
from kan_exp.optimizers.residuals import Pointwise
from kan_exp.tasks import Task
from kan_exp.tasks.metrics import OF_EQUATIONS, RESIDUAL
from kan_exp.training.least_squares import LeastSquaresModule
from kan_exp.training.module import KANModule
from kan_exp.training.penalties import ON_LAYERS

LARGEST = 700.0  # logarithm of a float
RUN_AWAY = 1e4  # factor by which an unknown coefficient may differ from its start
CANDIDATES = 5  # points among which one is drawn anew


class Residue:
    """The terms of a problem at some points.

    Args:
        data: The problem.
        continuation: Which of the problems that lead to it.
        frees: Whether unknown coefficients are found, from what is known of the solution. Before,
            they have the values where they start.
    """

    def __init__(self, data: EquationData, continuation: int, frees: bool = True) -> None:
        self.data, problem = data, data.problem
        self.unknown = problem.unknown if frees else ()
        self.observations = data.observations if frees else None
        self.ranges, self.known = problem.continued(continuation)
        self.scaling = data.scaling_of(self.ranges if problem.stretch else problem.ranges)

    def draw(self, inside: int, generator: torch.Generator) -> list[Tensor]:
        """Points of each relation, of which `inside` in the interior."""
        edge, problem = int(self.data.problem.points["edge"]), self.data.problem
        points = [
            draw_points(problem, one.relation, count, self.ranges, generator)
            for one, count in zip(
                self.data.relations, [inside] + [edge] * len(self.data.relations), strict=False
            )
        ]
        features = self._features
        return points if features is None else [features.grade(x, self.ranges) for x in points]

    def moved(self, x: Tensor) -> Tensor:
        """Points that are even in the whole domain, `(n, in)`, as those that `draw` returns."""
        ends = [
            torch.tensor([*ranges.values()]).to(x).T
            for ranges in (self.data.problem.ranges, self.ranges)
        ]
        (low, high), (start, stop) = ends
        x = start + (x - low) / (high - low) * (stop - start)
        return x if self._features is None else self._features.grade(x, self.ranges)

    def sizes(self, x: Tensor) -> Tensor:
        """The part of the domain of each point relative to the mean one, `(n, 1)`."""
        features = self._features
        sizes = x.new_ones(len(x)) if features is None else features.sizes(x, self.ranges)
        return sizes.unsqueeze(1)

    @property
    def _features(self) -> Features | None:
        frame = self.data.problem.frame
        return None if frame is None else frame.features

    def terms(self, points: Sequence[Tensor], device: torch.device) -> list[Term]:
        """What is minimized at these points of each relation."""
        pairs = zip(self.data.relations, points, strict=True)
        terms = [self.term(one, x.to(device)) for one, x in pairs]
        if self.observations is not None:
            x, y = (part.to(device) for part in self.observations[:2])
            known, weight = torch.cat([x, y], 1), self.data.data_weight
            terms.append(Term(self._inputs(x, [()]), known, [()], self._misfit, weight))
        return terms

    def term(self, one: Compiled, x: Tensor) -> Term:
        problem, inputs = self.data.problem, self._inputs(x, one.keys)
        function = pointwise(problem, one, self.known, self.unknown)
        if self._features is not None:  # a mean over the domain, in which points are not even
            function, x = weighted(function), torch.cat([x, self.sizes(x).sqrt()], 1)
        return Term(inputs, x, one.keys, function, one.relation.weight)

    def _misfit(self, points: Tensor, jets: Mapping[Key, Tensor], _: Tensor) -> Tensor:
        """Differences of the solution from the last columns of the points."""
        width = len(self.data.problem.names)
        if (frame := self.data.problem.frame) is not None:
            jets = frame.jets(points[..., :width], jets, [()])
        return jets[()][..., self.data.measured] - points[..., width:]

    def _inputs(self, x: Tensor, keys: Sequence[Key]) -> Jets:
        mean, std = self.scaling.x_mean.to(x), self.scaling.x_std.to(x)
        return inputs_of(self.data.problem.frame, x, closure(keys), mean, std)


def weighted(function: Pointwise) -> Pointwise:
    """Residuals times the last column of the points."""

    def residuals(points: Tensor, jets: Jets, known: Tensor) -> Tensor:
        return points[..., -1:] * function(points[..., :-1], jets, known)

    return residuals


class _Solves(KANModule):
    """Scores of a module that solves a differential equation, in its `data`."""

    data: EquationData
    _residue: Residue
    _val_points: Sequence[Tensor]

    @property
    def coefficients(self) -> dict[str, float]:
        """The unknown coefficients of the model."""
        raise NotImplementedError

    def _set_problem(self, continuation: int, frees: bool = True) -> None:
        """Chooses a problem, and scales the model's inputs to its ranges."""
        self._residue = Residue(self.data, continuation, frees)
        for name, value in self._residue.scaling._asdict().items():
            getattr(self.model, name).copy_(value)
        self._val_points = self._residue.draw(self.data.num_val, self.data.generator(1))

    def score(self, split: Split) -> tuple[float, dict[str, float]]:
        scores = equation_scores(self.task, self.data, self.model, split, self.coefficients)
        known = {**self._residue.known, **self.coefficients}
        loss = 0.0
        for one, x in zip(self.data.relations, self._val_points, strict=True):
            left = residuals_of(self.data, self.model, one, x, known)
            sizes = self._residue.sizes(x).to(left)
            loss += one.relation.weight * (sizes * left.square()).sum(1).mean().item()
        if (seen := self._residue.observations) is not None:
            left = self.model.predict(seen.x).cpu()[:, self.data.measured] - seen.y
            loss += self.data.data_weight * left.square().sum(1).mean().item()
        return loss, {name: value for name, value in scores.items() if math.isfinite(value)}

    def _times_starts(self, logs: Sequence[float]) -> dict[str, float]:
        """Unknown coefficients: where they start, times exponentials."""
        problem = self.data.problem
        pairs = zip(problem.unknown, logs, strict=True)
        return {
            name: problem.coefficients[name] * math.exp(min(log, LARGEST)) for name, log in pairs
        }

    def _check_found(self, logs: Sequence[float], cure: str) -> None:
        """Ends a training in which an unknown coefficient is far from its start."""
        for (name, value), log in zip(self._times_starts(logs).items(), logs, strict=True):
            if abs(log) > math.log(RUN_AWAY):
                start = self.data.problem.coefficients[name]
                raise DivergedError(
                    f"{name} ran away from {start:g} to {value:.3g}: what is known of the solution "
                    f"does not determine it, or the first solutions were too far off: start "
                    f"nearer, or {cure}."
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        frame = self.data.problem.frame
        about = {
            **checkpoint["kan_exp"],
            "coefficients": self.coefficients,
            "frame": None if frame is None else frame.describe(),
        }
        checkpoint["kan_exp"] = about


class EquationGradientModule(_Solves):
    """Solves a differential equation by an optimizer that follows gradients.

    A mini-batch has some of the points inside, and all of those on the border. Problems that lead
    to the last one share the first half of the steps.

    Args:
        data: The problem and its points.
        steps: Of the whole training.
        arguments: Those of `KANModule`.
    """

    def __init__(self, data: EquationData, steps: int, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.data, self._steps = data, steps
        count = len(data.problem.unknown)
        self.found = nn.Parameter(torch.zeros(count)) if count else None
        self._begin(0)

    def _begin(self, continuation: int) -> None:
        self._continuation = continuation
        self._set_problem(continuation)
        self._points = self._residue.draw(1, self.data.generator(0))
        self._terms: list[Term] = []

    def trained(self) -> Iterable[nn.Parameter]:
        return self.parameters()

    def objective(
        self, x: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.found is not None:
            self._check_found(self.found.tolist(), "lower optimizer.lr")
        network, last = self.model.network, self.data.problem.num_continuations - 1
        continuation = min(last, 2 * last * self.global_step // self._steps)
        if continuation != self._continuation:
            self._begin(continuation)
        if not self._terms:
            self._terms = self._residue.terms(self._points, self.device)
        # Those of the whole range, moved to the present one.
        points = self._residue.moved(y.double())
        terms = [self._residue.term(self.data.relations[0], points), *self._terms[1:]]
        found = self.found if self.found is not None else x.new_zeros(0)
        losses = []
        for term in terms:
            inputs = {key: one.to(x) for key, one in term.inputs.items()}
            jets = network_jets(network, inputs, closure(term.keys))
            left = term.function(term.points.to(x), jets, found.expand(len(term.points), -1))
            losses.append(term.weight * left.square().sum(1).mean())
        penalties = {name: ON_LAYERS[name](network) for name in self.penalty}
        return torch.stack(losses).sum(), penalties

    def choice_error(self, loss: float, scores: Mapping[str, float]) -> float:
        left = self.data.problem.num_continuations - 1 - self._continuation
        return left + loss / (1 + loss)

    @property
    def coefficients(self) -> dict[str, float]:
        return {} if self.found is None else self._times_starts(self.found.tolist())


class EquationModule(_Solves, LeastSquaresModule):
    """Solves a differential equation by least squares on its residuals.

    Stages may solve other problems first, on shorter ranges or with other coefficients; the
    network's inputs are scaled to the ranges, so that each solution is where the next one starts.
    Each stage draws points of its own, some of them where the residual is large. Networks are
    chosen by the residuals at the validation points.

    Args:
        data: The problem and its points.
        arguments: Those of `LeastSquaresModule`.
    """

    def __init__(self, data: EquationData, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.data = data
        self._draws = data.generator(0)
        self._points: list[Tensor] = []
        self._terms: list[Term] = []
        count = len(data.problem.unknown)
        self.found = torch.zeros(len(self._starts), count, dtype=torch.float64)
        self.chosen = 0

    def configure_optimizers(self) -> Any:
        self.found = self.found.to(self.device)
        self._set_problem(self.stages[self._stage].continuation, self._frees)
        return super().configure_optimizers()

    @property
    def _frees(self) -> bool:
        """Whether coefficients are found: in all stages but the first that solves the last problem.

        Solutions for coefficients that are far off would take them away.
        """
        last = len(self.stages) - 1
        first = sum(one.continuation < self.stages[-1].continuation for one in self.stages)
        return not self.data.problem.unknown or self._stage > min(first, last - 1)

    def _seen(self, points: Split) -> Any:
        if not self._points:
            self._points = self._residue.draw(self._num_points, self._draws)
        if not self._terms:
            self._terms = self._residue.terms(self._points, self.device)
        return Residuals(self._terms, self.found)

    @property
    def _num_points(self) -> int:
        count, limit = int(self.data.problem.points["interior"]), self.stages[self._stage].points
        return count if limit is None else min(count, limit)

    def _fit_of(self, engine: LevenbergMarquardt, points: Sequence[Tensor]) -> ResidualFit:
        terms = self._residue.terms(points, self.device)
        return cast(ResidualFit, engine.problem(Residuals(terms, self.found)))

    def _validate(self, engine: LevenbergMarquardt) -> Tensor:
        fit = self._fit_of(engine, self._val_points)
        return fit.evaluate(fit.read()).loss.nan_to_num(torch.inf)

    def _choose(self, engine: LevenbergMarquardt) -> None:
        super()._choose(engine)
        self.chosen = [network is self.model.network for network in engine.modules].index(True)

    def _overfits(self, engine: LevenbergMarquardt) -> bool:
        return False  # each stage draws other points

    def _keep(self, engine: LevenbergMarquardt, order: Sequence[int]) -> None:
        super()._keep(engine, order)
        self.found = self.found[list(order)]

    def _begin_stage(self, engine: LevenbergMarquardt) -> None:
        super()._begin_stage(engine)
        self._set_problem(self.stages[self._stage].continuation, self._frees)
        self._terms = []
        points = self._residue.draw(self._num_points, self._draws)
        share = self.data.problem.points["drawn_anew"]
        if share and (count := round(share * len(points[0]))):
            inside = self._residue.draw(CANDIDATES * self._num_points, self._draws)[0]
            fit = self._fit_of(engine, [inside, *points[1:]])
            sizes = fit.sizes(fit.read(), 0).mean(0).cpu()
            anew = draw_anew(inside, sizes, count, self._draws)
            points[0] = torch.cat([points[0][count:], anew])
        self._points = points

    def _diverged(self, what: str, step: int, rate: float) -> str:
        return (
            f"the {what} is no number at step {step:,}: the equation may have a singular point, or "
            f"its solution may not exist on the whole domain: narrow pde.inputs."
        )

    def choice_error(self, loss: float, scores: Mapping[str, float]) -> float:
        left = self.stages[-1].continuation - self.stages[self._stage].continuation
        left += bool(self.data.problem.unknown) and not self._frees
        return left + loss / (1 + loss)

    def _record(self, *arguments: Any) -> None:
        super()._record(*arguments)
        self._check_found(self.found[self.chosen].tolist(), "give more steps in refine.steps")

    @property
    def coefficients(self) -> dict[str, float]:
        """Those that are unknown, as the chosen network has them."""
        return self._times_starts(self.found[self.chosen].tolist())

    def training_state(self) -> dict[str, Any]:
        return {
            **super().training_state(),
            "points": [x.cpu() for x in self._points],
            "found": self.found.cpu(),
            "draws": self._draws.get_state(),
        }

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        super().restore(checkpoint)
        progress = checkpoint["progress"]
        self._points, self.found = list(progress["points"]), progress["found"].clone()
        self._draws.set_state(progress["draws"])
        self.chosen = progress["chosen"]


def equation_scores(
    task: Task,
    data: EquationData,
    model: KANModel,
    split: Split,
    coefficients: Mapping[str, float],
) -> dict[str, float]:
    """The metrics of a solution: those against the exact values, if known, and the residual."""
    scores: dict[str, float] = {}
    if bool(split.y.isfinite().all()):
        compared = [one for one in task.metrics if one.name not in OF_EQUATIONS]
        scores = task.score(model.predict(split.x), split.y, compared)
    left = residuals_of(data, model, data.relations[0], split.x, coefficients)
    scores[RESIDUAL] = left.square().mean().sqrt().item()
    return {one.name: scores[one.name] for one in task.metrics if one.name in scores}


@torch.no_grad()
def residuals_of(
    data: EquationData,
    model: KANModel,
    one: Compiled,
    x: Tensor,
    coefficients: Mapping[str, float],
) -> Tensor:
    """What is left of a relation at points `(n, in)`, `(n, equations)`."""
    function = pointwise(data.problem, one, {**data.problem.coefficients, **coefficients})
    x = x.to(model.x_mean.device)
    parts = []
    with evaluation_mode(model):
        for part in x.split(1000):
            jets = model.jets(part, one.keys)
            parts.append(function(part, jets, part[:, :0]))
    return torch.cat(parts)
