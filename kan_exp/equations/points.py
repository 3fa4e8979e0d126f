"""Points of a problem, and its relations as functions of derivatives that are given as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kan_exp.equations.conditions import Relation
from kan_exp.equations.derivatives import Key
from kan_exp.equations.problem import Problem
from kan_exp.equations.reading import Ranges
from kan_exp.errors import KanExpError, explained, listing

MAX_DRAWS = 100  # of as many points as are wanted, until enough of them lie inside
HALVINGS = 60  # of a segment that crosses the border
PROBES = 3


class Compiled(NamedTuple):
    """A relation whose function has been called once.

    Attributes:
        relation: The equation and where it holds.
        keys: The derivatives that it uses.
        equations: How many residuals it has.
        names: The unknown functions and unknown coefficients that it uses.
    """

    relation: Relation
    keys: tuple[Key, ...]
    equations: int
    names: frozenset[str]


def compile_relation(problem: Problem, relation: Relation) -> Compiled:
    """Finds out what a relation uses.

    Raises:
        KanExpError: It uses none of the unknown functions, or cannot be evaluated.
    """
    generator = torch.Generator().manual_seed(0)
    x = draw_points(problem, relation, PROBES, problem.ranges, generator)
    made: dict[Any, Tensor] = {}  # by the name of a coefficient, or by function and derivative

    def random(what: Any) -> Tensor:
        if what not in made:
            value = torch.rand(1, len(x), generator=generator, dtype=torch.float64)
            made[what] = (value + 0.5).requires_grad_()
        return made[what]

    title = type(problem).__name__
    with explained(f"{title}: the equation on {relation.name} cannot be evaluated"):
        coefficients = {name: random(name) for name in problem.unknown}
        values = problem.evaluate(relation, x, lambda *which: random(which), coefficients)
    known = values.requires_grad
    grads = torch.autograd.grad(values.sum(), [*made.values()], allow_unused=True) if known else ()
    used = {what for what, grad in zip(made, grads, strict=False) if grad is not None}
    unknown = used & {*problem.unknown}
    if not (fields := used - unknown):
        raise KanExpError(
            f"{title}: the equation on {relation.name} uses none of "
            f"{listing(problem.outputs)} and none of their derivatives."
        )
    keys = {key for _, key in fields}
    names = unknown | {problem.outputs[place] for place, _ in fields}
    return Compiled(relation, tuple(sorted(keys)), values.shape[-1], frozenset(names))


def pointwise(
    problem: Problem, compiled: Compiled, known: Mapping[str, float], unknown: Sequence[str] = ()
) -> Callable[[Tensor, Mapping[Key, Tensor], Tensor], Tensor]:
    """A relation as `kan_exp.optimizers.residuals.Term` takes it.

    Args:
        problem: Has the equation.
        compiled: The relation.
        known: Values of coefficients that differ from the problem's.
        unknown: Names of others, which are the problem's values times the exponentials of what is
            found.
    """

    def residuals(points: Tensor, jets: Mapping[Key, Tensor], found: Tensor) -> Tensor:
        if problem.frame is not None:
            jets = problem.frame.jets(points, jets, compiled.keys)
        zero = torch.zeros_like(jets[()][..., 0])

        def derivative(place: int, key: Key) -> Tensor:
            return jets[key][..., place] if key in jets else zero

        sought = {
            name: problem.coefficients[name] * found[..., k].exp() for k, name in enumerate(unknown)
        }
        return problem.evaluate(compiled.relation, points, derivative, {**known, **sought})

    return residuals


def draw_points(
    problem: Problem,
    relation: Relation,
    count: int,
    ranges: Ranges,
    generator: torch.Generator,
) -> Tensor:
    """Points where a relation holds, spread evenly, `(at most count, in)` in float64.

    A relation that fixes all inputs has one point. On the border of a domain that is no rectangle
    they are found between points inside and outside.

    Raises:
        KanExpError: No points lie inside.
    """
    ends = torch.tensor([ranges[name] for name in problem.names], dtype=torch.float64)
    if relation.is_border:
        return _on_border(problem, count, ends, generator)
    fixed = {k: _moved(problem, ranges, k, value) for k, value in relation.fixed.items()}
    free = [k for k in range(len(ends)) if k not in fixed]
    if not free:
        return torch.tensor([[fixed[k] for k in range(len(ends))]], dtype=torch.float64)
    parts: list[Tensor] = []
    left = count
    for _ in range(MAX_DRAWS):
        x = torch.empty(count, len(ends), dtype=torch.float64)
        x[:, free] = _spread(count, ends[free], generator)
        for k, value in fixed.items():
            x[:, k] = value
        if problem.region is not None:
            x = x[problem.region(x) > 0]
        parts.append(x[:left])
        left -= len(parts[-1])
        if left == 0:
            return torch.cat(parts)
    raise KanExpError(
        f"pde.inside: hardly any point on {relation.name} lies inside: change the formula, which "
        f"must be above 0 there, or narrow pde.inputs."
    )


def _moved(problem: Problem, ranges: Ranges, place: int, value: float) -> float:
    """The fixed value of an input: an end of its range moves with that range."""
    name = problem.names[place]
    return ranges[name][1] if value == problem.ranges[name][1] else value


def _spread(count: int, ends: Tensor, generator: torch.Generator) -> Tensor:
    """Points of a scrambled Sobol sequence in a box of `ends` `(in, 2)`, `(count, in)`."""
    seed = int(torch.randint(2**31, (), generator=generator))
    engine = torch.quasirandom.SobolEngine(len(ends), scramble=True, seed=seed)
    return torch.lerp(ends[:, 0], ends[:, 1], engine.draw(count, dtype=torch.float64))


def _on_border(problem: Problem, count: int, ends: Tensor, generator: torch.Generator) -> Tensor:
    assert problem.region is not None
    wide = (ends[:, 1] - ends[:, 0])[:, None] * torch.tensor([-0.1, 0.1]) + ends
    inside, outside = [], []
    for _ in range(MAX_DRAWS):
        x = _spread(2 * count, wide, generator)
        within = ((x >= ends[:, 0]) & (x <= ends[:, 1])).all(1) & (problem.region(x) > 0)
        inside.append(x[within])
        outside.append(x[~within])
        if min(sum(map(len, inside)), sum(map(len, outside))) >= count:
            break
    first, last = (torch.cat(part)[:count] for part in (inside, outside))
    if len(first) < count or len(last) < count:
        raise KanExpError("pde.inside: its border was not found in the ranges of pde.inputs.")
    for _ in range(HALVINGS):
        middle = (first + last) / 2
        within = ((middle >= ends[:, 0]) & (middle <= ends[:, 1])).all(1)
        within &= problem.region(middle) > 0
        first = torch.where(within[:, None], middle, first)
        last = torch.where(within[:, None], last, middle)
    return first


def draw_anew(candidates: Tensor, sizes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Some of the candidates `(n, in)`, in proportion to their residuals' sizes `(n,)`.

    Source:
        C. Wu et al., "A comprehensive study of non-adaptive and residual-based adaptive sampling
        for physics-informed neural networks", 2023: RAD with k = c = 1.
    """
    weights = sizes / sizes.mean().clamp(min=torch.finfo(sizes.dtype).tiny) + 1
    return candidates[torch.multinomial(weights, count, generator=generator)]


def shown(problem: Problem, point: Tensor) -> str:
    """A point in words."""
    pairs = zip(problem.names, point.tolist(), strict=True)
    return ", ".join(f"{name}={value:.4g}" for name, value in pairs)
