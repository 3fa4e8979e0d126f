"""Formulas as trees: values, derivatives by their constants, and other notations.

Trees are immutable. A `Constant` is free, so that least squares fits it, or exact, such as `2/3` or
`pi/4`. Values are computed in numpy, in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import sympy

Array = NDArray[np.float64]
# What a node returns: its value, and its derivatives by the constants below it, by their place.
_Jet = tuple[Array, dict[int, Array]]

# The units of exact constants, from the functions of `math` or of `sympy`. A constant is a fraction
# times one of them.
_UNITS: dict[str, Callable[[Any], Any]] = {
    "1": lambda m: 1,
    "pi": lambda m: m.pi,
    "sqrt(2)": lambda m: m.sqrt(2),
    "E": lambda m: m.exp(1),
    "1/pi": lambda m: 1 / m.pi,
    "pi**2": lambda m: m.pi**2,
    "1/pi**2": lambda m: 1 / m.pi**2,
    "sqrt(pi)": lambda m: m.sqrt(m.pi),
    "1/sqrt(pi)": lambda m: 1 / m.sqrt(m.pi),
    "1/sqrt(2*pi)": lambda m: 1 / m.sqrt(2 * m.pi),
    "sqrt(3)": lambda m: m.sqrt(3),
    "log(2)": lambda m: m.log(2),
}
UNITS: dict[str, float] = {name: float(value(math)) for name, value in _UNITS.items()}


@dataclass(frozen=True)
class Expression:
    """A node of a formula. The operators `+ - * / **` build larger ones."""

    def children(self) -> tuple[Expression, ...]:
        return ()

    def rebuilt(self, children: Sequence[Expression]) -> Expression:
        """The same node above other children."""
        return self

    def _jet(self, x: Array, below: Sequence[_Jet]) -> _Jet:
        raise NotImplementedError

    def walk(self) -> Iterator[Expression]:
        """Every node: a node's children, from left to right, then the node."""
        for child in self.children():
            yield from child.walk()
        yield self

    def __call__(self, x: Array) -> Array:
        """Values at `x`, `(n, in) -> (n,)`; NaN outside a function's domain."""
        with np.errstate(all="ignore"):
            return self._value(x)

    def _value(self, x: Array) -> Array:
        value, _ = self._jet(x, [(child._value(x), {}) for child in self.children()])
        return value

    def jacobian(self, x: Array) -> tuple[Array, Array]:
        """Values `(n,)` and derivatives by the free constants `(n, k)`, in the order of `walk`."""
        counter = itertools.count()

        def visit(node: Expression) -> _Jet:
            below = [visit(child) for child in node.children()]
            if isinstance(node, Constant) and node.free:
                one = np.ones(len(x))
                return node.value * one, {next(counter): one}
            return node._jet(x, below)

        with np.errstate(all="ignore"):
            value, derivatives = visit(self)
        columns = [derivatives[place] for place in range(len(self.constants))]
        return value, np.stack(columns, 1) if columns else np.empty((len(x), 0))

    def _free(self) -> list[Constant]:
        return [node for node in self.walk() if isinstance(node, Constant) and node.free]

    @property
    def constants(self) -> Array:
        """Values of the free constants `(k,)`."""
        return np.array([node.value for node in self._free()])

    def replaced(self, new: Callable[[Expression], Expression | None]) -> Expression:
        """The formula with other nodes: what `new` returns for a node, unless that is None.

        Nodes are visited in the order of `walk`, but for those below a node that is replaced.
        """
        if (node := new(self)) is not None:
            return node
        return self.rebuilt([child.replaced(new) for child in self.children()])

    def alternatives(
        self, forms: Callable[[Expression], Iterable[Expression]]
    ) -> Iterator[Expression]:
        """The formula with one node, wherever in it, in each of the forms that the node has."""
        children = self.children()
        for place, child in enumerate(children):
            for other in child.alternatives(forms):
                yield self.rebuilt([*children[:place], other, *children[place + 1 :]])
        yield from forms(self)

    def with_constants(self, constants: Sequence[Expression | float] | Array) -> Expression:
        """The same formula with other values in the place of its free constants `(k,)`."""
        values = iter(constants)

        def new(node: Expression) -> Expression | None:
            if not (isinstance(node, Constant) and node.free):
                return None
            value = next(values)
            return value if isinstance(value, Expression) else Constant(float(value))

        return self.replaced(new)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The columns that the formula reads, in order."""
        return tuple(sorted({node.index for node in self.walk() if isinstance(node, Input)}))

    def substituted(self, inputs: Sequence[Expression]) -> Expression:
        """The formula with an expression in the place of each input."""
        return self.replaced(lambda node: inputs[node.index] if isinstance(node, Input) else None)

    @property
    def complexity(self) -> int:
        """Number of nodes, as in SRBench: constants, inputs, operations on two, calls."""
        return sum(
            len(node.children()) - 1 if isinstance(node, Sum | Product) else 1
            for node in self.walk()
        )

    def sympy(self, names: Sequence[str]) -> sympy.Expr:
        """The formula as SymPy has it, not simplified."""
        import sympy

        symbols = [sympy.Symbol(name) for name in names]

        def visit(node: Expression) -> Any:
            below = [visit(child) for child in node.children()]
            match node:
                case Constant(value, fraction, unit):
                    if fraction is None:
                        return sympy.Float(value)
                    return sympy.Rational(*fraction.as_integer_ratio()) * _UNITS[unit](sympy)
                case Input(index):
                    return symbols[index]
                case Sum():
                    return sympy.Add(*below)
                case Product():
                    return sympy.Mul(*below)
                case Power():
                    return sympy.Pow(*below)
                case Call(name):
                    return getattr(sympy, "Abs" if name == "abs" else name)(*below)
            raise TypeError(node)

        return visit(self)

    def __add__(self, other: Expression | float) -> Expression:
        return Sum((self, as_expression(other)))

    def __radd__(self, other: float) -> Expression:
        return as_expression(other) + self

    def __sub__(self, other: Expression | float) -> Expression:
        return self + exact(-1) * as_expression(other)

    def __rsub__(self, other: float) -> Expression:
        return as_expression(other) - self

    def __mul__(self, other: Expression | float) -> Expression:
        return Product((self, as_expression(other)))

    def __rmul__(self, other: float) -> Expression:
        return as_expression(other) * self

    def __truediv__(self, other: Expression | float) -> Expression:
        return self * as_expression(other) ** -1

    def __rtruediv__(self, other: float) -> Expression:
        return as_expression(other) / self

    def __pow__(self, other: Expression | float) -> Expression:
        return Power(self, as_expression(other))

    def __neg__(self) -> Expression:
        return exact(-1) * self


@dataclass(frozen=True)
class Constant(Expression):
    """A number: free, or exactly `fraction` times one of `UNITS`."""

    value: float
    fraction: Fraction | None = None
    unit: str = "1"

    @property
    def free(self) -> bool:
        return self.fraction is None

    def _jet(self, x: Array, below: Sequence[_Jet]) -> _Jet:
        return np.full(len(x), self.value), {}


@dataclass(frozen=True)
class Input(Expression):
    """A column of x."""

    index: int

    def _jet(self, x: Array, below: Sequence[_Jet]) -> _Jet:
        return x[:, self.index], {}


@dataclass(frozen=True)
class Sum(Expression):
    """A sum of two terms or more."""

    terms: tuple[Expression, ...]

    def children(self) -> tuple[Expression, ...]:
        return self.terms

    def rebuilt(self, children: Sequence[Expression]) -> Expression:
        return Sum(tuple(children))

    def _jet(self, x: Array, below: Sequence[_Jet]) -> _Jet:
        value = below[0][0]
        for term, _ in below[1:]:
            value = value + term
        return value, {place: by for _, derivatives in below for place, by in derivatives.items()}


@dataclass(frozen=True)
class Product(Expression):
    """A product of two factors or more."""

    factors: tuple[Expression, ...]

    def children(self) -> tuple[Expression, ...]:
        return self.factors

    def rebuilt(self, children: Sequence[Expression]) -> Expression:
        return Product(tuple(children))

    def _jet(self, x: Array, below: Sequence[_Jet]) -> _Jet:
        value = below[0][0]
        for factor, _ in below[1:]:
            value = value * factor
        derivatives: dict[int, Array] = {}
        for which, (_, own) in enumerate(below):
            if own:
                others = np.ones(len(x))
                for other, (factor, _) in enumerate(below):
                    if other != which:
                        others = others * factor
                derivatives |= {place: by * others for place, by in own.items()}
        return value, derivatives


@dataclass(frozen=True)
class Power(Expression):
    """`base ** exponent`; real: NaN for a negative base and an exponent that is no integer."""

    base: Expression
    exponent: Expression

    def children(self) -> tuple[Expression, ...]:
        return self.base, self.exponent

    def rebuilt(self, children: Sequence[Expression]) -> Expression:
        return Power(*children)

    def _jet(self, x: Array, below: Sequence[_Jet]) -> _Jet:
        (base, by_base), (exponent, by_exponent) = below
        # A number is raised to faster than a column of it.
        power = self.exponent.value if isinstance(self.exponent, Constant) else exponent
        value = np.power(base, power)
        derivatives: dict[int, Array] = {}
        if by_base:
            slope = exponent * np.power(base, power - 1)
            derivatives |= {place: slope * by for place, by in by_base.items()}
        if by_exponent:
            # 0 to the power of p stays 0, whatever p.
            growth = np.where(value == 0, 0.0, value * np.log(np.where(value == 0, 1.0, base)))
            derivatives |= {place: growth * by for place, by in by_exponent.items()}
        return value, derivatives


_erf = np.vectorize(math.erf, otypes=[np.float64])

# The functions that a formula may call: their values and slopes.
CALLS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "exp": (np.exp, np.exp),
    "log": (np.log, lambda z: 1 / z),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda z: -np.sin(z)),
    "tan": (np.tan, lambda z: 1 / np.cos(z) ** 2),
    "asin": (np.arcsin, lambda z: 1 / np.sqrt(1 - z**2)),
    "acos": (np.arccos, lambda z: -1 / np.sqrt(1 - z**2)),
    "atan": (np.arctan, lambda z: 1 / (1 + z**2)),
    "sinh": (np.sinh, np.cosh),
    "cosh": (np.cosh, np.sinh),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "asinh": (np.arcsinh, lambda z: 1 / np.sqrt(1 + z**2)),
    "acosh": (np.arccosh, lambda z: 1 / np.sqrt(z**2 - 1)),
    "atanh": (np.arctanh, lambda z: 1 / (1 - z**2)),
    "abs": (np.abs, np.sign),
    "erf": (_erf, lambda z: 2 / math.sqrt(math.pi) * np.exp(-(z**2))),
}


@dataclass(frozen=True)
class Call(Expression):
    """A function of `CALLS`, applied to an expression."""

    function: str
    argument: Expression

    def children(self) -> tuple[Expression, ...]:
        return (self.argument,)

    def rebuilt(self, children: Sequence[Expression]) -> Expression:
        return Call(self.function, children[0])

    def _jet(self, x: Array, below: Sequence[_Jet]) -> _Jet:
        ((argument, derivatives),) = below
        function, slope = CALLS[self.function]
        if not derivatives:
            return function(argument), {}
        steep = slope(argument)
        return function(argument), {place: steep * by for place, by in derivatives.items()}


def as_expression(value: Expression | float) -> Expression:
    """Wraps a number: a whole number is exact, any other one free."""
    if isinstance(value, Expression):
        return value
    return exact(value) if float(value).is_integer() else Constant(float(value))


def exact(value: Fraction | float, unit: str = "1") -> Constant:
    """An exact constant: a fraction times one of `UNITS`."""
    fraction = Fraction(value).limit_denominator(10_000)
    return Constant(float(fraction) * UNITS[unit], fraction, unit)


def sum_of(terms: Iterable[Expression]) -> Expression:
    """The sum of any number of terms; 0 of none."""
    terms = tuple(terms)
    if len(terms) == 1:
        return terms[0]
    return Sum(terms) if terms else exact(0)


def product_of(factors: Iterable[Expression]) -> Expression:
    """The product of any number of factors; 1 of none."""
    factors = tuple(factors)
    if len(factors) == 1:
        return factors[0]
    return Product(factors) if factors else exact(1)


def power_product(powers: Iterable[tuple[Expression, Fraction | float]]) -> Expression:
    """The product of bases to exact exponents, without those to the power of 0."""
    return product_of(
        base if exponent == 1 else base ** exact(exponent) for base, exponent in powers if exponent
    )
