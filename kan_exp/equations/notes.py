"""What cannot be known of a problem's solution, or may go wrong, in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor

from kan_exp.equations.conditions import Relation
from kan_exp.equations.derivatives import Key
from kan_exp.equations.frame import Frame, Jets
from kan_exp.equations.points import Compiled, draw_points, shown
from kan_exp.equations.problem import Problem
from kan_exp.errors import KanExpError
from kan_exp.layers.jets import closure

CONFLICT = 1e-6  # relative difference of two values that are to be the same
JUMP = 0.2  # of the range of values along a part of the border, between neighbors of many
EDGE_POINTS = 1000
ZOOMS = (1e-2, 1e-4, 1e-6)  # of a range, around the point where an equation is largest
ORDINALS = {1: "first", 2: "second", 3: "third"}
LARGE = 3e3  # values that networks, which begin with values near 1, do not reach
UNBOUNDED = 1e3  # factor by which it grows there


def notes_on(problem: Problem, relations: Sequence[Compiled]) -> list[str]:
    """Lines about missing or contradicting conditions, jumps, and a solution that is unknown."""
    return [
        *_too_few(problem, relations),
        *_contradictions(problem, relations),
        *_jumps(problem, relations),
        *_inside(problem, relations),
        *_singular(problem, relations),
        *_unused(problem, relations),
        *_large(problem, relations),
        *_unknown(problem),
    ]


def _unknown(problem: Problem) -> list[str]:
    if problem.has_exact:
        return []
    return [
        "no exact solution is given (pde.exact): the residual says how well the equation is met, "
        "not how far the solution is from the true one, which is estimated"
    ]


def _too_few(problem: Problem, relations: Sequence[Compiled]) -> Iterator[str]:
    if problem.factor is not None or problem.offset is not None or problem.features is not None:
        return  # these may take the place of conditions
    inside = relations[0]
    orders = [
        max((key.count(place) for key in inside.keys), default=0)
        for place in range(len(problem.names))
    ]
    for place, (name, order) in enumerate(zip(problem.names, orders, strict=True)):
        known = sum(
            (2 if one.relation.is_border else place in one.relation.fixed) * one.equations
            for one in relations[1:]
        )
        # Of several equations each may have derivatives by each input, or not.
        if order and known < order and (len(problem.outputs) == 1 or not known):
            yield (
                f"the equation has {ORDINALS.get(order, f'{order}th')} derivatives by {name}, but "
                f"{known or 'no'} condition{'s' * (known != 1)} at an end of {name}: there may be "
                f"many solutions, of which one is found"
            )


def _values(problem: Problem, one: Compiled, x: Tensor) -> dict[int, Tensor]:
    """Values that equations `a u - b = 0` of a condition give to functions, by their places."""

    def residuals(place: int, u: float, others: float) -> Tensor:
        def derivative(k: int, key: Key) -> Tensor:
            return x.new_full((1, len(x)), u if (k, key) == (place, ()) else others)

        return problem.evaluate(one.relation, x, derivative, {})[0]

    found = {}
    for place in range(len(problem.outputs)):
        pairs = (0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (0.0, 1.0)
        for zero, first, second, other in zip(
            *(residuals(place, *pair).unbind(1) for pair in pairs), strict=True
        ):
            slope = first - zero
            is_linear = torch.allclose(second - first, slope) and bool((slope != 0).all())
            if is_linear and torch.equal(other, zero):
                found[place] = -zero / slope + 0.0  # not -0
    return found


def _contradictions(problem: Problem, relations: Sequence[Compiled]) -> Iterator[str]:
    generator = torch.Generator().manual_seed(0)
    conditions = [one for one in relations[1:] if not one.relation.is_border]
    for one, other in combinations(conditions, 2):
        fixed = {**one.relation.fixed, **other.relation.fixed}
        if fixed != {**other.relation.fixed, **one.relation.fixed}:  # at different ends
            continue
        both = Relation("both", fixed, one.relation.function, 1.0)
        try:
            x = draw_points(problem, both, EDGE_POINTS, problem.ranges, generator)
        except KanExpError:  # they meet outside of the domain
            continue
        if problem.region is not None and bool((problem.region(x) <= 0).any()):
            continue
        first, second = (_values(problem, each, x) for each in (one, other))
        for place in sorted(first.keys() & second.keys()):
            gap = (first[place] - second[place]).abs()
            worst = int(gap.argmax())
            if gap[worst] > CONFLICT * (1 + first[place].abs().max()):
                yield (
                    f"the conditions on {one.relation.name} and {other.relation.name} contradict "
                    f"each other at {shown(problem, x[worst])}: {problem.outputs[place]} is "
                    f"{float(first[place][worst]):.4g} and {float(second[place][worst]):.4g}; a "
                    f"smooth solution meets neither there"
                )


def _jumps(problem: Problem, relations: Sequence[Compiled]) -> Iterator[str]:
    for one in relations[1:]:
        free = [k for k in range(len(problem.names)) if k not in one.relation.fixed]
        if len(free) != 1 or one.relation.is_border:
            continue
        low, high = problem.ranges[problem.names[free[0]]]
        x = torch.zeros(EDGE_POINTS, len(problem.names), dtype=torch.float64)
        for place, value in one.relation.fixed.items():
            x[:, place] = value
        x[:, free[0]] = torch.linspace(low, high, EDGE_POINTS, dtype=torch.float64)
        for values in _values(problem, one, x).values():
            steps = values.diff().abs()
            worst = int(steps.argmax())
            if steps[worst] > JUMP * (values.max() - values.min()) > 0:
                yield (
                    f"the condition on {one.relation.name} jumps at {shown(problem, x[worst])}: "
                    f"networks are smooth, so that the error there stays large"
                )


def _inside(problem: Problem, relations: Sequence[Compiled]) -> Iterator[str]:
    for one in relations[1:]:
        for place, value in one.relation.fixed.items():
            if value not in problem.ranges[problem.names[place]]:
                yield f"the condition on {one.relation.name} is off the border, inside the domain"


def _unused(problem: Problem, relations: Sequence[Compiled]) -> Iterator[str]:
    used = frozenset[str]().union(*(one.names for one in relations))
    for name in problem.outputs:
        if name not in used:
            yield f"no equation and no condition has {name}: only data can tell what it is"


def _large(problem: Problem, relations: Sequence[Compiled]) -> Iterator[str]:
    for one in relations[1:] if problem.factor is None else ():
        generator = torch.Generator().manual_seed(0)
        x = draw_points(problem, one.relation, EDGE_POINTS, problem.ranges, generator)
        found = _values(problem, one, x).values()
        if (size := max((float(values.abs().max()) for values in found), default=0.0)) > LARGE:
            yield (
                f"the condition on {one.relation.name} has values of {size:.2g}, which networks, "
                f"whose values begin near 1, hardly reach: set pde.factor={size:.0e}"
            )
            return


def _singular(problem: Problem, relations: Sequence[Compiled]) -> Iterator[str]:
    """Notes on points where an equation has no value or no bound, whatever the solution."""
    for one in relations:
        if (x := _singular_point(problem, one, None)) is not None:
            yield (
                f"the equation on {one.relation.name} has no finite value at or near "
                f"{shown(problem, x)}: leave this point out by pde.inputs or pde.inside"
            )
        elif problem.frame and (x := _singular_point(problem, one, problem.frame)) is not None:
            yield (
                f"the equation on {one.relation.name} has no finite value at or near "
                f"{shown(problem, x)}, where pde.factor or pde.offset, or their derivatives, have "
                f"none: change them"
            )


def _singular_point(problem: Problem, one: Compiled, frame: Frame | None) -> Tensor | None:
    """Where the residual has no bound, if there is such a point."""
    generator = torch.Generator().manual_seed(0)
    x = draw_points(problem, one.relation, EDGE_POINTS, problem.ranges, generator)
    first = sizes = _sizes(problem, one, x, frame)
    ends = torch.tensor([*problem.ranges.values()], dtype=torch.float64)
    free = [k for k in range(len(ends)) if k not in one.relation.fixed]
    for zoom in ZOOMS if free and not one.relation.is_border else ():
        if not bool(sizes.isfinite().all()):
            break
        around = torch.rand(EDGE_POINTS, len(free), generator=generator, dtype=torch.float64)
        x = x[sizes.argmax()].repeat(EDGE_POINTS, 1)
        x[:, free] += zoom * (2 * around - 1) * (ends[free, 1] - ends[free, 0])
        x = x.clamp(ends[:, 0], ends[:, 1])
        sizes = _sizes(problem, one, x, frame)
    if len(bad := (~sizes.isfinite()).nonzero()):
        return x[int(bad[0])]
    return x[sizes.argmax()] if sizes.max() > UNBOUNDED * first.max() else None


def _sizes(problem: Problem, one: Compiled, x: Tensor, frame: Frame | None) -> Tensor:
    """The largest residual at each point where all functions and derivatives are 1.

    With a frame those of the network are 1.
    """
    jets: Jets = dict.fromkeys(closure(one.keys), x.new_ones(len(x), len(problem.outputs)))
    if frame is not None:
        jets = frame.jets(x, jets, one.keys)
    known = {key: values.unsqueeze(0) for key, values in jets.items()}
    ones = x.new_ones(1, len(x))

    def derivative(place: int, key: Key) -> Tensor:
        return known[key][..., place] if key in known else ones

    return problem.evaluate(one.relation, x, derivative, {})[0].abs().amax(1)
