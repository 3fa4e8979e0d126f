"""The stages of a least-squares training: how many networks, on which grids, for how many steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from kan_exp.errors import KanExpError

COARSEST = 4  # intervals; starts on fewer differ too little
# Larger prime factors are not looked for: only grids of over 10**10 intervals have two of them.
LARGEST_FACTOR = 10**5


class Stage(NamedTuple):
    """Part of a training; `None` keeps the intervals, and takes all training points.

    Attributes:
        continuation: Which of the problems it solves that lead to a differential equation.
    """

    num_intervals: int | None
    num_candidates: int
    steps: int
    points: int | None = None
    continuation: int = 0


def make_stages(
    intervals: Sequence[int | None],
    grids: Sequence[int] | None,
    num_candidates: Sequence[int],
    steps: Sequence[int],
    points: Sequence[int] | None = None,
) -> list[Stage]:
    """Combines the lists of `refine`.

    Args:
        intervals: Intervals of each layer's edges, `None` for layers without a grid; the last grid
            if `grids` is not given.
        grids: Intervals at each stage; otherwise the layers' own number, divided by its prime
            factors as long as `COARSEST` or more are left.
        num_candidates: Networks of each stage; the last number holds for all stages that follow.
        steps: Steps of each stage, likewise.
        points: Training points of the first stages; all others, and always the last, see all.

    Raises:
        KanExpError: A number is below 1, a grid is no multiple of the one before, the number of
            networks rises, or layers differ in their intervals and `grids` is not given.
    """
    lists = {"grids": grids, "num_candidates": num_candidates, "steps": steps, "points": points}
    for name, numbers in lists.items():
        if numbers is not None and (not numbers or min(numbers) < 1):
            raise KanExpError(f"refine.{name} needs numbers of at least 1, got {list(numbers)}.")
    if any(fine % coarse for coarse, fine in itertools.pairwise(grids or ())):
        raise KanExpError(
            f"refine.grids must each be a multiple of the one before, got {list(grids or ())}."
        )
    if sorted(num_candidates, reverse=True) != list(num_candidates):
        raise KanExpError(f"refine.num_candidates must not rise, got {list(num_candidates)}.")
    sizes: list[int | None] = [*(_sizes(intervals) if grids is None else grids)]
    sizes = sizes or [None] * max(len(num_candidates), len(steps))
    count = len(sizes)
    limits = [*[*(points or ()), *[None] * count][: count - 1], None]
    return [
        Stage(
            size,
            num_candidates[min(stage, len(num_candidates) - 1)],
            steps[min(stage, len(steps) - 1)],
            limits[stage],
        )
        for stage, size in enumerate(sizes)
    ]


def continued(stages: Sequence[Stage], problems: int) -> list[Stage]:
    """Stages that solve several problems one after the other on the finest grid but one.

    Coarser grids solve the first problem, the finest grid solves the last one. Networks that were
    kept after the first problem solve all.
    """
    sizes = [stage.num_intervals for stage in stages]
    place = max(0, sizes.index(sizes[-1]) - 1)
    kept = stages[min(place + 1, len(stages) - 1)].num_candidates
    others = [
        stages[place]._replace(num_candidates=kept, continuation=number)
        for number in range(1, problems)
    ]
    last = [stage._replace(continuation=problems - 1) for stage in stages[place + 1 :]]
    return [*stages[: place + 1], *others, *last]


def _sizes(intervals: Sequence[int | None]) -> list[int]:
    """Grids from coarse to the layers' own; none where no layer has a grid."""
    sizes = sorted({size for size in intervals if size is not None})
    if len(sizes) > 1:
        raise KanExpError(
            f"refine: the layers have {' and '.join(map(str, sizes))} intervals: choose "
            f"refine.grids=[...]."
        )
    factor = 2
    # A number without a factor up to its root is a prime, which leaves no coarser grid.
    while sizes and factor <= min(sizes[0] // COARSEST, math.isqrt(sizes[0]), LARGEST_FACTOR):
        if sizes[0] % factor == 0:
            sizes.insert(0, sizes[0] // factor)
        else:
            factor += 1
    return sizes


def multiplications(sizes: Sequence[int], stages: Sequence[Stage], points: int) -> float:
    """Multiplications in the normal matrices of all steps: about all of a training's work.

    `sizes` are the parameters of one network at each stage.
    """
    total = 0.0
    for size, stage in zip(sizes, stages, strict=True):
        seen = points if stage.points is None else min(points, stage.points)
        total += stage.num_candidates * stage.steps * float(seen * size * min(seen, size))
    return total
