"""A formula as the layers of a network whose edges are known functions of one variable."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np

from kan_exp.symbolic.expression import (
    CALLS,
    Call,
    Constant,
    Expression,
    Input,
    Power,
    Product,
    Sum,
)


class Number(NamedTuple):
    """A number of an edge, and whether it is free."""

    value: float
    free: bool = False

    def plus(self, other: Number) -> Number:
        return Number(self.value + other.value, self.free or other.free)

    def times(self, other: Number) -> Number:
        return Number(self.value * other.value, self.free or other.free)


ZERO, ONE = Number(0.0), Number(1.0)


class Edge(NamedTuple):
    """An edge `c f(a x + b) + d` from a node, see `kan_exp.layers.named.KANNamedLayer`."""

    node: int
    function: str = "identity"
    a: Number = ONE
    b: Number = ZERO
    n: Number = ONE
    c: Number = ONE
    d: Number = ZERO

    @property
    def numbers(self) -> tuple[Number, ...]:
        return self[2:]

    @property
    def free(self) -> str:
        """The letters of its free numbers."""
        pairs = zip("abncd", self.numbers, strict=True)
        return "".join(letter for letter, number in pairs if number.free)

    def shifted(self, offset: Number) -> Edge:
        return self._replace(d=self.d.plus(offset))


class Node(NamedTuple):
    """A sum or a product of edges."""

    edges: tuple[Edge, ...]
    is_product: bool


@dataclass(frozen=True)
class NamedEdges:
    """A layer."""

    width: int  # number of its outputs
    functions: list[list[int | str]]  # option of `kan_exp.layers.named.KANNamedLayer`
    numbers: list[list[float]]  # of each edge, `(edges, 5)`
    products: list[bool]  # which outputs are products


def layers_of(expression: Expression, inputs: int) -> list[NamedEdges]:
    """The layers of a network that computes a formula.

    Sums and products are nodes. Equal parts of the formula are one node. Where two functions of one
    node are added or multiplied, each becomes a node first, since two nodes have one edge at most.
    A node that is needed further on is passed on by edges that are the identity. A power whose base
    and exponent both vary is `exp(exponent * log(base))`.

    Args:
        expression: The formula.
        inputs: Number of its inputs, at least 1.
    """
    graph = _Graph(inputs)
    with np.errstate(all="ignore"):  # numbers may be outside of a function's domain
        output = graph.output(expression)
    last = graph.levels[output]
    until = {output: last}  # the level to which each node is passed on
    for node in range(output, inputs - 1, -1):
        if node in until:
            for edge in graph.nodes[node - inputs].edges:
                until[edge.node] = max(until.get(edge.node, 0), graph.levels[node] - 1)
    found, before = [], [*range(inputs)]
    for level in range(1, last + 1):
        after = sorted(node for node, end in until.items() if graph.levels[node] <= level <= end)
        places = {node: place for place, node in enumerate(before)}
        rows = []
        for j, node in enumerate(after):
            is_new = graph.levels[node] == level
            edges = graph.nodes[node - inputs].edges if is_new else (Edge(node),)
            rows += [(places[edge.node], j, edge) for edge in edges]
        rows.sort(key=lambda row: (row[2].function, row[2].n.free, *row[:2]))
        products = [
            graph.levels[node] == level and graph.nodes[node - inputs].is_product for node in after
        ]
        functions: list[list[int | str]] = [[i, j, edge.function, edge.free] for i, j, edge in rows]
        numbers = [[number.value for number in edge.numbers] for *_, edge in rows]
        found.append(NamedEdges(len(after), functions, numbers, products))
        before = after
    return found


def _operands(expression: Expression) -> Iterator[Expression]:
    """The children, in the place of a sum in a sum and a product in a product theirs."""
    for child in expression.children():
        if isinstance(expression, Sum | Product) and type(child) is type(expression):
            yield from _operands(child)
        else:
            yield child


def _is_one_power(edge: Edge, n: Number) -> bool:
    """Whether a power of an edge is one of its argument, for arguments of both signs."""
    if edge != Edge(edge.node, "power", edge.a, edge.b, edge.n) or edge.n.free or n.free:
        return False
    whole, both = edge.n.value.is_integer(), (edge.n.value * n.value).is_integer()
    return edge.n.value == -1 or (n.value.is_integer() if whole else not both)


class _Graph:
    """The nodes of a formula: its inputs, then sums and products, each after those it needs."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.levels = [0] * inputs
        self.nodes: list[Node] = []
        self._places: dict[Node, int] = {}

    def output(self, expression: Expression) -> int:
        edge = self._edge(expression)
        if isinstance(edge, Number):
            edge = Edge(0, "constant", c=edge)
        if edge == Edge(edge.node) and edge.node >= self.inputs:
            return edge.node
        return self._node((edge,))

    def _node(self, edges: Sequence[Edge], is_product: bool = False) -> int:
        level = 1 + max(self.levels[edge.node] for edge in edges)
        # What is needed later is computed at once, then passed on: edges of inputs say most.
        early = [self._early(edge, level - 2) for edge in edges]
        if len({edge.node for edge in early}) < len(early):  # another edge reads it, too
            return self._node(self._apart(early, is_product), is_product)
        node = Node(tuple(early), is_product)
        if node not in self._places:
            self._places[node] = len(self.levels)
            self.nodes.append(node)
            self.levels.append(level)
        return self._places[node]

    def _early(self, edge: Edge, level: int) -> Edge:
        is_late = self.levels[edge.node] <= level and edge != Edge(edge.node)
        return Edge(self._node((edge,))) if is_late else edge

    def _edge(self, expression: Expression) -> Edge | Number:
        below = [self._edge(child) for child in _operands(expression)]
        edges = [one for one in below if isinstance(one, Edge)]
        numbers = [one for one in below if isinstance(one, Number)]
        match expression:
            case Constant(value):
                return Number(float(value), expression.free)
            case Input(index):
                return Edge(index)
            case Sum():
                offset = reduce(Number.plus, numbers, ZERO)
                if not edges:
                    return offset
                *first, last = self._apart(edges)
                return self._joined([*first, last.shifted(offset)])
            case Product():
                factor = reduce(Number.times, numbers, ONE)
                if not edges:
                    return factor
                head, *rest = self._apart(edges, is_product=True)
                return self._joined([self._scaled(head, factor), *rest], is_product=True)
            case Power():
                return self._power(*below)
            case Call(name):
                (argument,) = below
                if isinstance(argument, Edge):
                    return self._applied(name, argument)
                (value,) = CALLS[name][0](np.array([argument.value]))
                return Number(float(value), argument.free)
        raise TypeError(expression)

    def _power(self, base: Edge | Number, exponent: Edge | Number) -> Edge | Number:
        if isinstance(exponent, Number):
            if isinstance(base, Edge):
                return base if exponent == ONE else self._applied("power", base, exponent)
            value = np.power(np.float64(base.value), exponent.value)
            return Number(float(value), base.free or exponent.free)
        if isinstance(base, Number):
            if base == Number(math.e):
                return self._applied("exp", exponent)
            return self._applied("exponential", exponent, base)
        factors = self._apart([exponent, self._applied("log", base)], is_product=True)
        return self._applied("exp", self._joined(factors, is_product=True))

    def _applied(self, function: str, edge: Edge, n: Number = ONE) -> Edge:
        if function == "power" and _is_one_power(edge, n):
            return edge._replace(n=edge.n.times(n))
        if edge.function != "identity":
            edge = Edge(self._node((edge,)))
        return Edge(edge.node, function, edge.c, edge.d, n)

    def _joined(self, edges: Sequence[Edge], is_product: bool = False) -> Edge:
        return edges[0] if len(edges) == 1 else Edge(self._node(edges, is_product))

    def _apart(self, edges: Sequence[Edge], is_product: bool = False) -> list[Edge]:
        """The terms or factors as edges from different nodes."""
        while True:
            counts = Counter(edges)
            edges = [
                edge if count == 1 else self._repeated(edge, count, is_product)
                for edge, count in counts.items()
            ]
            shared = Counter(edge.node for edge in edges)
            if len(shared) == len(edges):
                return edges
            edges = [
                edge if shared[edge.node] == 1 else Edge(self._node((edge,))) for edge in edges
            ]

    def _repeated(self, edge: Edge, count: int, is_product: bool) -> Edge:
        times = Number(float(count))
        return self._applied("power", edge, times) if is_product else self._scaled(edge, times)

    def _scaled(self, edge: Edge, factor: Number) -> Edge:
        if factor == ONE:
            return edge
        if edge.d != ZERO:  # one constant must not become a part of two numbers
            edge = Edge(self._node((edge,)))
        return edge._replace(c=edge.c.times(factor))
