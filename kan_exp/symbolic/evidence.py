"""Evidence for a formula with free constants: do rows with noise allow a curve just as short?

Over a short range, and with noise, many curves with two or three free constants agree with a
smooth function. A formula says more only if it is shorter than a polynomial in its place. Lengths
are of descriptions, in natural units (Rissanen 1978): a constant that is known to a part p of
itself takes -log(p).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from kan_exp.symbolic.expression import Array, Constant, Expression, Product, Sum
from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.regression import chebyshev, coordinate, line_through

# What a curve must be shorter by: with one constant, and for every further one.
_ONE, _MORE = 5.0, 13.0
# Lengths: of a node, of a unit such as pi, and those from which an exact constant counts as half a
# free one (3/2 is the first), and as one.
_NODE, _UNIT, _HALF, _WHOLE = 1.5, 1.5, 1.3, 3.0
_MOST_ROWS, _MOST_TERMS = 1000, 16
# The change of a part by which the slope of y is found, in deviations of the part.
_STEP = 1e-4
_AFFINE = 1e-9


def is_certain(expression: Expression, problem: Problem, rmse: float) -> bool:
    """Whether each curve in a formula is shorter than the polynomials that could stand for it.

    A curve is a part of the formula that reads a single input, or a single other part, and is no
    part of a larger such one. Straight lines are certain, also in a logarithm.

    Args:
        rmse: What the formula leaves, in units of y; above 0.
    """
    total = int((problem.weight > 0).sum())
    x = problem.thinned(_MOST_ROWS).x
    y = expression(x)
    # To what part of itself a constant is known.
    known = 0.5 * math.log(total) + max(math.log(float(np.std(y)) / rmse), 0.0)
    for curve, argument, around in _curves(expression):
        own = [*_between(curve, argument), *_outer_constants(argument)]
        count = sum(map(_counts, own))
        if not count:
            continue  # a form without constants is no choice among many
        values, inputs = curve(x), argument(x)
        lines = [inputs, np.log(inputs)] if inputs.min() > 0 else [inputs]
        if any(line_through(values, line)[2] <= _AFFINE for line in lines):
            continue
        step = _STEP * max(float(np.std(values)), 1e-300)
        higher, lower = (around(curve + Constant(by))(x) for by in (step, -step))
        slope = (higher - lower) / (2 * step) / rmse
        saved = _polynomial(values, inputs, slope, total, known)
        saved -= sum(_length(node, known) for node in own)
        if not saved > _ONE + _MORE * (count - 1):
            return False
    return True


def _curves(
    root: Expression,
) -> Iterator[tuple[Expression, Expression, Callable[[Expression], Expression]]]:
    """The largest parts that read the formula's inputs through one argument alone.

    Yields:
        The part, its argument, and what makes the whole formula with another part in its place.
    """
    seen: set[int] = set()
    for node in _outermost_first(root):
        for argument in node.walk():
            if argument is node or isinstance(argument, Constant) or id(argument) in seen:
                continue
            inside = [part for part in node.children() if _reads_only(part, argument)]
            outside = [part for part in node.children() if not _reads_only(part, argument)]
            if not any(argument in part.walk() for part in inside):
                continue
            if not outside:
                seen.add(id(argument))
                yield node, argument, partial(_with_part, root, node, [])
            elif isinstance(node, Sum | Product):
                seen.add(id(argument))
                curve = node.rebuilt(inside) if len(inside) > 1 else inside[0]
                if curve != argument:
                    yield curve, argument, partial(_with_part, root, node, outside)


def _outermost_first(node: Expression) -> Iterator[Expression]:
    yield node
    for child in node.children():
        yield from _outermost_first(child)


def _with_part(
    root: Expression, node: Expression, others: list[Expression], part: Expression
) -> Expression:
    """The whole formula with a part in the place of a node, or of what others leave of it."""
    new = node.rebuilt([part, *others]) if others else part
    return root.replaced(lambda one: new if one is node else None)


def _reads_only(node: Expression, argument: Expression) -> bool:
    if node == argument or not node.children():
        return node == argument or isinstance(node, Constant)
    return all(_reads_only(child, argument) for child in node.children())


def _between(curve: Expression, argument: Expression) -> Iterator[Expression]:
    """The nodes of a curve that are not of its argument."""
    if curve == argument:
        return
    yield curve
    for child in curve.children():
        yield from _between(child, argument)


def _outer_constants(argument: Expression) -> list[Constant]:
    """Constants that scale or shift an argument: they are of the curve, as it could hold them."""
    if not isinstance(argument, Sum | Product):
        return []
    return [child for child in argument.children() if isinstance(child, Constant)]


def _counts(node: Expression) -> float:
    """What a node counts for as a constant that was chosen to fit."""
    if not isinstance(node, Constant):
        return 0.0
    if node.free:
        return 1.0
    length = _exact_length(node)
    return 1.0 if length > _WHOLE else 0.5 if length > _HALF else 0.0


def _exact_length(constant: Constant) -> float:
    assert constant.fraction is not None
    length = math.log(abs(constant.fraction.numerator) + 0.5)
    length += math.log(constant.fraction.denominator)
    return length + _UNIT * (constant.unit != "1")


def _length(node: Expression, known: float) -> float:
    """Length of a node, without those below it; `known` is that of a free constant."""
    match node:
        case Constant():
            return known if node.free else _exact_length(node)
        case Sum() | Product():
            return _NODE * (len(node.children()) - 1)
    return _NODE


def _polynomial(values: Array, inputs: Array, slope: Array, rows: int, known: float) -> float:
    """Length of the shortest polynomial in the place of a curve, with what it misses.

    Args:
        values: Of the curve `(n,)`.
        inputs: Of its argument `(n,)`.
        slope: Of y by the curve, in units of the noise `(n,)`.
        rows: All rows.
        known: Length of a coefficient.
    """
    if not all(np.isfinite(part).all() for part in (values, inputs, slope)):
        return math.inf
    # In the argument, or its logarithm; even or odd where the argument changes its sign.
    bases = [
        (chebyshev(coordinate(inputs, tail), _MOST_TERMS - 1), 0.0) for tail in (8.0, math.inf)
    ]
    if inputs.min() < 0 < inputs.max():
        both = chebyshev(inputs / np.abs(inputs).max(), 2 * _MOST_TERMS - 1)
        bases += [(both[::2], 2.0), (both[1::2], 2.0)]
    least = math.inf
    for basis, extra in bases:
        q, _ = np.linalg.qr((basis * slope).T)
        target = values * slope
        # Of each number of terms the mean square that it misses; the terms are nested.
        missed = np.mean(target**2) - np.cumsum((q.T @ target) ** 2) / len(target)
        lengths = rows / 2 * np.log1p(np.maximum(missed, 0.0))
        lengths += known * np.arange(1, len(lengths) + 1) + extra
        least = min(least, float(lengths.min()))
    return least
