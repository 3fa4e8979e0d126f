"""What is known of a solution at the end: errors, residuals of each relation, and its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from kan_exp.data import Split
from kan_exp.data.equation import EquationData
from kan_exp.equations.derivatives import derivative
from kan_exp.equations.points import pointwise
from kan_exp.layers.jets import closure
from kan_exp.models.model import KANModel
from kan_exp.optimizers import LevenbergMarquardt, Residuals
from kan_exp.plots import Fields
from kan_exp.runs.best_effort import best_effort
from kan_exp.tasks import Task
from kan_exp.tasks.metrics import ESTIMATE, H1, METRICS, TEST
from kan_exp.training.equations import Residue, equation_scores, residuals_of
from kan_exp.training.score import finite
from kan_exp.training.starts import grid_layers

GRID_POINTS = {1: 501, 2: 121}  # along each input that is drawn, by their number
FRAMES = 30  # of a moving picture
MET = 1e-3  # relative residual up to which a condition counts as met
FINER = 2  # grid of an estimate
STEPS = 4  # of an estimate
TIMES = ("t", "time")  # names of an input over which a solution moves


class Remainder(NamedTuple):
    """What is left of a relation.

    Attributes:
        name: Of the relation.
        residuals: At points where it holds, `(n, equations)`.
        relative: Root mean square of the residuals of the worst equation, divided by the size of
            its terms.
    """

    name: str
    residuals: Tensor
    relative: float


@torch.no_grad()
def remainders(
    data: EquationData, model: KANModel, coefficients: Mapping[str, float]
) -> list[Remainder]:
    """What is left of each relation at new points.

    The size of an equation's terms is the root mean square of the sum of their derivatives by the
    network's outputs and their derivatives, each times the root mean square of these inside.
    """
    relations, problem = data.relations, data.problem
    residue = Residue(data, problem.num_continuations - 1)
    points = residue.draw(len(data.test.x), data.generator(2))
    keys = closure(key for one in relations for key in one.keys)
    typical = {k: v.square().mean(0).sqrt() for k, v in model.jets(points[0], keys).items()}
    known, made, names = {**problem.coefficients, **coefficients}, [], [""]
    for one, x in zip(relations, points, strict=True):
        function = pointwise(problem, one, known)
        jets = model.jets(x, one.keys)
        with torch.enable_grad():
            jets = {key: part.requires_grad_() for key, part in jets.items()}
            left = function(x, jets, x[:, :0])
            sizes = []
            for residual in left.unbind(1):
                grads = torch.autograd.grad(
                    residual.sum(), [*jets.values()], retain_graph=True, allow_unused=True
                )
                pairs = zip(jets, grads, strict=True)
                terms = [(grad.abs() @ typical[key]) for key, grad in pairs if grad is not None]
                sizes.append(torch.stack(terms).sum(0).square().mean().sqrt())
        left = left.detach()
        shares = left.square().mean(0).sqrt() / torch.stack(sizes)
        name = one.relation.name
        names.append(name)
        if (times := names.count(name)) > 1:
            name = f"{name} ({times})"
        made.append(Remainder(name, left, float(shares.nan_to_num(0.0).max())))
    return made


def equation_result(
    task: Task, data: EquationData, model: KANModel, split: Split
) -> dict[str, Any]:
    """Entries of `metrics.json`: the test metrics, and what is left of each relation."""
    coefficients = model.description.get("coefficients", {})
    scores = equation_scores(task, data, model, split, coefficients)
    asked = {one.name for one in task.metrics}
    if H1 in asked and data.problem.solution is not None:
        with best_effort("the H1 error needs an exact solution that torch can differentiate"):
            scores[H1] = _h1_error(data, model, split)
    if ESTIMATE in asked:
        with best_effort("the error could not be estimated"):
            scores[ESTIMATE] = _estimated_error(data, model, coefficients, split)
    known = {TEST + one.name: finite(scores.get(one.name, math.nan)) for one in task.metrics}
    left = remainders(data, model, coefficients)
    found = {"coefficients": dict(coefficients)} if coefficients else {}
    return {
        **known,
        **found,
        "residuals": {
            one.name: finite(one.residuals.square().mean().sqrt().item()) for one in left
        },
        "relative_residuals": {one.name: finite(one.relative) for one in left},
    }


def relations_row(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A row of the table of results: whether the equation and its conditions are met."""
    found: dict[str, float | None] = metrics.get("relative_residuals", {})
    shares = {name: math.inf if share is None else share for name, share in found.items()}
    if not shares:
        return []
    missed = [f"{name} ({share:.2g})" for name, share in shares.items() if share > MET]
    if missed:
        return [("not met", f"{', '.join(missed)} (residuals relative to the size of the terms)")]
    name = max(shares, key=lambda one: shares[one])
    return [("met", f"all; the largest relative residual is {shares[name]:.2g}, on {name}")]


def _h1_error(data: EquationData, model: KANModel, split: Split) -> float:
    """The relative error of the values with their first derivatives by all inputs."""
    exact = cast(Any, data.problem.solution)
    found, true = [model.predict(split.x)], [split.y]
    for place, name in enumerate(data.problem.names):
        found.append(model.derivative(split.x, f"d_{name}"))
        true.append(derivative(exact, split.x, [place]))
    pair = (torch.cat(part, 1).double() for part in (found, true))
    return METRICS[H1].value(*pair).item()


def _estimated_error(
    data: EquationData, model: KANModel, coefficients: Mapping[str, float], split: Split
) -> float:
    """The relative change of the solution by some more steps of least squares on finer grids.

    An estimate from residuals at new points; it is too small where the finer grids, or these
    steps, do not get much nearer to the solution.

    Source:
        R. Bank and R. Smith, "A posteriori error estimates based on hierarchical bases", SIAM
        Journal on Numerical Analysis 30 (1993).
    """
    residue = Residue(data, data.problem.num_continuations - 1)
    residue.known, residue.unknown = {**residue.known, **coefficients}, ()
    residue.scaling = data.scaling._replace(x_mean=model.x_mean, x_std=model.x_std)
    better = deepcopy(model)
    network = better.network.double().requires_grad_(True)
    for layer in grid_layers(network):
        layer.refine(FINER * layer.num_intervals)
    points = residue.draw(int(data.problem.points["interior"]), data.generator(2))
    terms, none = residue.terms(points, split.x.device), split.x.new_zeros(1, 0)
    engine = LevenbergMarquardt([network])
    for _ in range(STEPS):
        engine.step(lambda: Residuals(terms, none))
    return METRICS[ESTIMATE].value(model.predict(split.x).double(), better.predict(split.x)).item()


def solution_fields(
    data: EquationData, model: KANModel, at: Mapping[int, float] | None = None
) -> Fields:
    """The solution, its residual and, if it is known, the exact one, on a grid over two inputs.

    Args:
        data: The problem.
        model: Its solution.
        at: Values of inputs that are not drawn, by their places; the first two others are drawn,
            and what is left is in the middle of its range.
    """
    problem, fixed = data.problem, dict(at or {})
    ranges = torch.tensor([*problem.ranges.values()], dtype=torch.float64)
    places = [place for place in range(len(ranges)) if place not in fixed]
    drawn, middle = places[:2], places[2:]
    fixed |= {place: float(ranges[place].mean()) for place in middle}
    sides = GRID_POINTS[len(drawn)]
    axes = [torch.linspace(low, high, sides).double() for low, high in ranges[drawn].tolist()]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
    x = grid.new_empty(len(grid), len(ranges))
    x[:, drawn] = grid
    for place, value in fixed.items():
        x[:, place] = value
    found = model.predict(x).T
    coefficients = model.description.get("coefficients", {})
    left = residuals_of(data, model, data.relations[0], x, coefficients).abs().amax(1)
    exact = None if problem.solution is None else torch.as_tensor(problem.solution(x)).T
    if problem.region is not None:
        outside = problem.region(x) <= 0
        found, left = (part.masked_fill(outside, math.nan) for part in (found, left))
        exact = None if exact is None else exact.masked_fill(outside, math.nan)
    shape = [sides] * len(drawn)
    return Fields(
        tuple(problem.names[place] for place in drawn),
        tuple(axis.numpy() for axis in axes),
        tuple(problem.outputs),
        found.reshape(-1, *shape).numpy(),
        left.reshape(shape).numpy(),
        None if exact is None else exact.reshape(-1, *shape).numpy(),
        None if problem.reference is None or middle or at else _table(data, model),
        ", ".join(
            f"{problem.names[place]}={fixed[place]:.{_digits(ranges[place])}f}"
            for place in sorted(fixed)
        ),
    )


def _digits(ends: Tensor) -> int:
    """Digits after the point that tell a thousandth of a range."""
    return max(0, 2 - math.floor(math.log10(float(ends[1] - ends[0]))))


def _table(data: EquationData, model: KANModel) -> tuple[Any, Any, Any]:
    """Points of a table, its values, and the sizes of the errors."""
    x, y = data.test.x, data.test.y
    return x.T.numpy(), y.T.numpy(), (model.predict(x) - y).abs().T.numpy()


def time_of(data: EquationData) -> int | None:
    """The place of the input that is a time, if there are others beside it."""
    names = data.problem.names
    return next((names.index(one) for one in TIMES if one in names and len(names) > 1), None)


def moving_fields(data: EquationData, model: KANModel) -> Iterator[Fields]:
    """The solution at one time after the other."""
    place = cast(int, time_of(data))
    low, high = data.problem.ranges[data.problem.names[place]]
    for number in range(FRAMES):
        yield solution_fields(data, model, {place: low + (high - low) * number / (FRAMES - 1)})
