"""Formulas of tables of numbers and of networks: `kan_exp.explain`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from kan_exp.errors import KanExpError, listing
from kan_exp.runs.cores import count_workers
from kan_exp.symbolic.constants import simplified
from kan_exp.symbolic.differences import Difference, difference, domain_note
from kan_exp.symbolic.dimensions import Dimension
from kan_exp.symbolic.explanation import Explanation
from kan_exp.symbolic.expression import Array, Constant, Expression
from kan_exp.symbolic.functions import read_functions
from kan_exp.symbolic.judge import Candidate, Search
from kan_exp.symbolic.library import with_functions
from kan_exp.symbolic.notation import Notation
from kan_exp.symbolic.observations import Observations, of_data, of_model, vector_of
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.search import search
from kan_exp.symbolic.units import Units, check_units, read_units
from kan_exp.symbolic.workers import Workers

MAX_ROWS = 10_000  # that the search sees
FEW_ROWS = 50
LEAST_ROWS = 5
EDGE_SECONDS = 10.0  # for the names of all edges, or as long as the search if that is less
LESS = 0.9  # part of the error that a formula of wrong units must leave to be worth a note
MAX_REJECTED, REJECTED_SECONDS = 50, 1.0  # of these formulas are looked at
SMALLEST, LARGEST = 1e-70, 1e70  # sizes of columns whose squares and quotients float64 holds
LEARNED = 0.5  # R2 below which a network has not learned its data
Progress = Callable[[str], None]


def _silent(name: str) -> None:
    pass


def explain(
    first: Any,
    second: Any = None,
    third: Any = None,
    /,
    *,
    seconds: float = 60.0,
    names: Sequence[str] | None = None,
    output: int | str | None = None,
    weight: Any = None,
    seed: int = 0,
    functions: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    progress: Progress = _silent,
    workers: int | None = None,
) -> Explanation:
    """Finds a formula: `explain(X, y)` of data, `explain(model, X, y)` of what a network learned.

    The formula is sought in the data, and compared with the network. Without `y` it is sought in
    the network's own values, and for a classifier of two classes in its log-odds. One row in ten is
    kept from the search and used to compare formula, network and data.

    Args:
        first: X or a model. X is an array `(n, in)` or a table; columns without numbers are left
            out.
        second: y `(n,)` or `(n, out)`; after a model, X as the model takes it.
        third: After a model, y or nothing.
        seconds: Limit of time. Ctrl-C ends the search, too; both keep the best so far.
        names: Of the columns of X; by default those of the table, or x0, x1, ...
        output: Which column of y, or which output of the model, if there are several.
        weight: Of the rows `(n,)`.
        seed: Decides which rows are kept back, and the search's random starts.
        functions: Further functions of one variable that the formula may have, by name, such as
            `{"sinc2": "(sin(x)/x)**2"}`.
        units: Of columns of X, and of y, by name, such as `{"m": "kg", "v": "m/s", "y": "J"}`; 1
            for numbers without a unit. A formula whose units are wrong is not taken. Columns that
            are not named may have any unit; needs pint.
        progress: Called with the names of the strategies that run.
        workers: Processes that try things side by side; by default one for each core. With 1,
            everything is tried in this process. The result is the same, unless time runs out.

    Raises:
        KanExpError: The data cannot be used, an output must be chosen, or a function or unit
            cannot be read.

    Example:
        >>> import kan_exp, numpy as np
        >>> X = np.random.default_rng(0).uniform(1, 2, (30, 2))
        >>> found = kan_exp.explain(X, X[:, 0] * X[:, 1], seconds=60, workers=1)
        >>> found.formula, found.found
        ('x0*x1', True)
    """
    check_seconds(seconds)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise KanExpError(f"seed must be a whole number of at least 0, got {seed!r}.")
    library = read_functions(functions or {})
    count = count_workers("workers", workers)
    from kan_exp.models.model import KANModel

    weights = None if weight is None else vector_of("weight", weight)
    if isinstance(first, KANModel):
        if names is not None:
            raise KanExpError("names: the model has names of its inputs: leave it out.")
        observed = of_model(first, second, third, weights, output, seed)
    else:
        if third is not None or second is None:
            raise KanExpError(
                f"explain takes X and y, or a model of kan_exp, X and y, got "
                f"{type(first).__name__} first."
            )
        observed = of_data(first, second, weights, names, output, seed)
    columns = [*observed.names, observed.column] if observed.column else observed.names
    given = check_units(units, columns)
    with Workers(count) as processes:
        return solve(observed, seconds, seed, library, progress, processes, given)


def check_seconds(seconds: Any) -> None:
    """Refuses what is no limit of time."""
    is_number = isinstance(seconds, Real) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < math.inf:
        raise KanExpError(f"seconds must be a number above 0, got {seconds!r}.")


def solve(
    observed: Observations,
    seconds: float,
    seed: int,
    functions: Mapping[str, Expression],
    progress: Progress = _silent,
    workers: Workers | None = None,
    units: Mapping[str, str] | None = None,
) -> Explanation:
    """Searches for a formula, and measures it.

    Args:
        observed: The data.
        seconds: Limit of time.
        seed: Of the search.
        functions: Of the user.
        progress: Called with the names of the strategies that run.
        workers: What tries things side by side; by default this process tries all.
        units: By column, as `check_units` returns them.

    Raises:
        KanExpError: There are too few rows.
    """
    known = read_units(units or {}, observed.names, observed.column, observed.scale)
    notes = [*observed.notes, *(() if known is None else known.notes)]
    x, y, weight, about_rows = _searched_rows(observed, seed)
    notes += about_rows
    flat = [name for name, column in zip(observed.names, x.T, strict=True) if np.ptp(column) == 0]
    if flat:
        notes.append(f"constant inputs can have no effect: {listing(flat)}.")
    if np.ptp(y) == 0:
        notes.append("the target is constant: there is nothing to explain.")
        found = Search(found=True, fits=True, complete=True)
    elif len(flat) == len(observed.names):
        raise KanExpError("explain: no input varies, so that there is nothing to explain y by.")
    else:
        with with_functions(functions), np.errstate(all="ignore"):
            found = search(
                x,
                y,
                weight=weight,
                seconds=seconds,
                seed=seed,
                dimensions=None if known is None else known.dimensions,
                progress=progress,
                workers=workers,
            )
            if not found.found and (better := _rejected(found, x, y, weight)) is not None:
                positive = [bool(column.min() > 0) for column in x.T]
                errors = np.zeros(len(better.constants))
                formula = Notation(better, observed.names, errors, positive).text()
                notes.append(
                    f"{formula} fits better, but its units are wrong: check the units, or leave "
                    f"out those of which you are not sure."
                )
    return explanation_of(observed, found, notes, min(seconds, EDGE_SECONDS), known)


def _searched_rows(
    observed: Observations, seed: int
) -> tuple[Array, Array, Array | None, list[str]]:
    """Inputs, target and weights of the rows that the search sees, and notes about them."""
    x, y, weight, notes = observed.x, observed.y, observed.weight, []
    if weight is not None:  # rows of weight 0 are none
        x, y, weight = x[weight > 0], y[weight > 0], weight[weight > 0]
    if len(y) < LEAST_ROWS:
        raise KanExpError(f"explain needs at least {LEAST_ROWS} rows, got {len(y)}.")
    if len(y) < FEW_ROWS:
        notes.append(f"{len(y)} rows are few: a long formula can fit them by chance.")
    if len(y) > MAX_ROWS:
        notes.append(f"the search saw {MAX_ROWS:,} of {len(y):,} rows, drawn at random.")
        rows = np.random.default_rng(seed).choice(len(y), MAX_ROWS, replace=False)
        x, y, weight = x[rows], y[rows], None if weight is None else weight[rows]
    for name, column in zip((*observed.names, observed.target), (*x.T, y), strict=True):
        size = float(np.abs(column).max())
        if size and not SMALLEST < size < LARGEST:
            raise KanExpError(
                f"explain: {name} has values of size {size:.1g}, whose squares are beyond float64: "
                f"change its unit."
            )
    values = np.unique(y[:1000])
    if len(values) == 2 and np.isin(y, values).all():
        notes.append(
            "the target has two values: train a network with task=classification, and explain that."
        )
    return x, y, weight, notes


def _rejected(found: Search, x: Array, y: Array, weight: Array | None) -> Expression | None:
    """A formula that fits better than what was found, but for its units."""
    weight = np.ones(len(y)) if weight is None else weight
    least = math.sqrt(float(weight @ (y - np.average(y, weights=weight)) ** 2 / weight.sum()))
    least = least if found.best is None else found.best.rmse
    ends, better = time.monotonic() + REJECTED_SECONDS, None
    for expression in {str(one): one for one in found.rejected[:MAX_REJECTED]}.values():
        fit = refit(expression, x, y, weight)
        if (rmse := math.sqrt(fit.loss / weight.sum())) < LESS * least:
            least, better = rmse, fit.expression
        if time.monotonic() > ends:
            break
    return None if better is None else simplified(better, x, y, weight)


def explanation_of(
    observed: Observations,
    found: Search,
    notes: Sequence[str],
    edge_seconds: float = EDGE_SECONDS,
    units: Units | None = None,
) -> Explanation:
    """Measures what a search has found on rows that it has not seen.

    Args:
        observed: What was explained.
        found: The result of the search.
        notes: Lines about its limits.
        edge_seconds: For the names of the network's edges, where there is no formula.
        units: Of the formula, as far as they are known.
    """
    candidates, best = list(found.candidates), found.best
    if best is None:  # the mean, which is a formula, too
        mean = float(np.average(observed.y, weights=observed.weight))
        deviation = float(np.std(observed.y))
        error = deviation / math.sqrt(len(observed.y))
        best = Candidate(Constant(mean), deviation, deviation, np.array([error]), "the mean")
        candidates = [one for one in candidates if one.expression.inputs]
    if not any(one is best for one in candidates):
        candidates.append(best)
    candidates.sort(key=lambda one: one.complexity)
    points, truth = observed.compared
    fresh, compared = observed.fresh_x is not None, truth
    if compared is None:
        compared = observed.network_values
    differences, about_network = _differences(best.expression(points), observed)
    tests = [math.nan] * len(candidates)
    if fresh and compared is not None:
        each = [one.expression(points) for one in candidates]
        tests = [difference("", values, compared).rmse for values in each]
    ranges = np.stack([observed.x.min(0), observed.x.max(0)], 1)
    about_domain = domain_note(best.expression, observed.names, ranges)
    carried: list[Dimension] | None = None
    if units is not None:
        carried = units.dimensions.constants(best.expression)
    return Explanation(
        target=observed.target,
        names=observed.names,
        ranges=ranges,
        candidates=tuple(candidates),
        chosen=best,
        test_rmse=tuple(tests),
        found=found.found,
        fits=found.fits,
        noise=found.noise,
        seconds=found.seconds,
        complete=found.complete,
        fresh=fresh,
        differences=tuple(differences),
        notes=(*notes, *filter(None, (about_network, about_domain))),
        edge_names=(
            tuple(observed.edges(edge_seconds)) if observed.edges and not found.found else ()
        ),
        units={} if units is None else dict(units.given),
        constant_units=() if units is None else tuple(map(units.text, carried or ())),
    )


def _differences(predicted: Array, observed: Observations) -> tuple[list[Difference], str | None]:
    """Differences between formula, network and data, and a note about a network of no use."""
    (_, truth), network = observed.compared, observed.network_values
    known = [("network", network)] if network is not None else []
    known += [("data", truth)] if truth is not None else []
    found = [difference(f"formula - {name}", predicted, values) for name, values in known]
    if network is None or truth is None:
        return found, None
    found.append(difference("network - data", network, truth))
    spread = float(np.std(truth))
    if len(truth) >= 20 and found[-1].rmse ** 2 > (1 - LEARNED) * spread**2 > 0:
        return found, "the network has not learned these data: its curves say little."
    return found, None
