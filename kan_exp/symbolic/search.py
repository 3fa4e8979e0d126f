"""The search for a formula: from simple structures to larger ones, within a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
from threadpoolctl import threadpool_limits

from kan_exp.symbolic.dimensions import Dimensions
from kan_exp.symbolic.expression import Array, Expression
from kan_exp.symbolic.grouping import grouped, grouped_error
from kan_exp.symbolic.judge import Judge, Search, with_free_numbers
from kan_exp.symbolic.problem import Finder, Problem, Proposal, State
from kan_exp.symbolic.quotients import quotients
from kan_exp.symbolic.reduction import reductions
from kan_exp.symbolic.separation import separations
from kan_exp.symbolic.strategies import Strategy, in_state
from kan_exp.symbolic.sums import sums, sums_of_functions, sums_of_one_unit
from kan_exp.symbolic.trees import find_trees
from kan_exp.symbolic.waves import waves
from kan_exp.symbolic.workers import Workers

# A formula of a part that is nearly as good as the best one: the ratio of their errors.
_NEARLY = 1.2


def search(
    x: Array,
    y: Array,
    *,
    weight: Array | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    noise: float = 0.0,
    dimensions: Dimensions | None = None,
    progress: Callable[[str], None] = lambda name: None,
    workers: Workers | None = None,
) -> Search:
    """Finds a formula of the columns of `x` `(n, in)` for `y` `(n,)`.

    Args:
        weight: Weights of the rows `(n,)`; by default 1.
        seconds: Limit of time. The best so far is the result, also on Ctrl-C.
        seed: Of the split into training and validation rows, and of random starts.
        noise: The least standard deviation that the noise of y has, in its units, where that is
            known.
        dimensions: Of the columns and of y; formulas whose units are wrong are not taken.
        progress: Called with the names of the strategies that run.
        workers: Processes that run strategies side by side; by default this process runs all.
            Unless time runs out, the result is the same.
    """
    began = time.monotonic()
    weight = np.ones(len(y)) if weight is None else weight
    # Trials leave the domains of functions all the time: what is not finite is not taken. With
    # other numbers of BLAS threads, as in a worker, the last bits of results may differ.
    with np.errstate(all="ignore"), threadpool_limits(1, "blas"):
        judge = Judge(Problem(x, y, weight, noise, began + seconds, seed, dimensions))
        interrupted = False
        try:
            _run(judge, progress, workers or Workers(1))
        except KeyboardInterrupt:
            interrupted = True
        result = judge.result()
    result.interrupted = interrupted
    result.complete = not interrupted and (judge.settled or not judge.problem.over)
    result.seconds = time.monotonic() - began
    return result


def _run(judge: Judge, progress: Callable[[str], None], workers: Workers) -> None:
    """Runs strategies until the question is settled, or the time over."""
    if not judge.deviation or not judge.problem.x.shape[1]:
        return  # there is nothing to explain
    for strategy in _first_strategies(judge):
        progress(strategy.name)
        judge.take(strategy.run())
        if judge.is_over:
            return
    later = list(_later_strategies(judge))
    with closing(workers.run(later, judge.problem.deadline, progress)) as results:
        for trials in results:
            judge.take(trials)
            if judge.is_over:
                return


def _first_strategies(judge: Judge) -> Iterator[Strategy]:
    """The quick ones, which find most formulas. Each is made of what is known by then."""
    groups = grouped(judge.problem)
    if groups is not None:
        in_groups = partial(in_state, finder=reductions, state=groups)
        yield Strategy("dimensionless groups", judge.problem, in_groups)
        error = grouped_error(judge.problem, groups) / judge.deviation
        judge.states["units"] = replace(groups, error=error)
        judge.estimate_noise()
        if judge.problem.noise:
            yield Strategy("dimensionless groups, with noise", judge.problem, in_groups)
        yield Strategy("sums of products of one unit", judge.problem, sums_of_one_unit)
    noise = judge.problem.noise
    yield Strategy("factors and merged variables", judge.problem, reductions)
    judge.estimate_noise()
    if groups is None and judge.problem.dimensions is not None:
        yield Strategy("sums of products of one unit", judge.problem, sums_of_one_unit)
    if judge.problem.noise and not noise:
        judge.states.clear()
        yield Strategy("factors and merged variables, with noise", judge.problem, reductions)
        judge.estimate_noise()


def _later_strategies(judge: Judge) -> Iterator[Strategy]:
    """The other ones, the quick ones first: trees take 20 s and more where no formula holds."""
    problem, smaller = judge.problem, _smaller_problems(judge.states)

    def each(name: str, finder: Finder, most: int) -> Iterator[Strategy]:
        for state in smaller:
            if len(state.variables) <= most:
                yield Strategy(name, problem, partial(in_state, finder=finder, state=state))

    def whole(name: str, finder: Finder, most: int) -> Iterator[Strategy]:
        if any(len(state.variables) > most for state in smaller):  # else it is among them
            yield Strategy(name, problem, finder)

    products = "sums of products", sums, 6
    trees = "curves in a tree", find_trees, 3
    yield from each(*products)
    yield from each("waves", waves, 1)
    yield from each("quotients", quotients, 5)
    yield from each("sums of functions", sums_of_functions, 5)
    wider = partial(reductions, width=3, seen=frozenset(judge.states))
    yield Strategy("alternatives of merged variables", problem, wider)
    for state in smaller:
        if len(state.variables) > 1:
            parts = partial(in_state, finder=formulas_of_parts, state=state)
            yield Strategy("parts of fewer variables", problem, parts)
    yield from whole(*products)
    yield from each(*trees)
    yield from whole(*trees)


def _smaller_problems(found: dict[str, State]) -> list[State]:
    """The states with the fewest variables that still explain y, and the given problem."""
    states = [state for state in found.values() if state.variables]
    states.sort(key=lambda state: (len(state.variables), state.error))
    good = max(10 * min((state.error for state in states), default=0.0), 1e-4)
    chosen = [state for state in states if state.error <= good][:2]
    whole = max(states, key=lambda state: len(state.variables), default=None)
    if whole is not None and whole not in chosen:
        chosen.append(whole)
    return chosen


def formulas_of_parts(problem: Problem) -> Iterator[Proposal]:
    """Sums and products of functions of fewer variables, each of which is searched on its own."""
    for separation in separations(problem):
        choices: list[list[Expression]] = []
        for number, part in enumerate(separation.parts):
            left = problem.deadline - time.monotonic()
            seconds = left / (len(separation.parts) - number + 1)
            found = search(
                part.x,
                part.y,
                weight=part.weight,
                seconds=seconds,
                seed=problem.seed,
                noise=part.noise,
            )
            if found.interrupted:  # so is the search of the whole
                raise KeyboardInterrupt
            if not found.fits or found.best is None:
                break
            limit = _NEARLY * found.best.validation_rmse
            near = [c for c in found.candidates if c.validation_rmse < limit]
            # Also a simpler or larger formula that is nearly as good.
            every = dict.fromkeys(candidate.expression for candidate in (found.best, *near))
            choices.append([with_free_numbers(expression) for expression in [*every][:2]])
        else:
            origin = "product of parts" if separation.is_product else "sum of parts"
            for formulas in product(*choices):
                yield Proposal(separation.combined(formulas), origin)
