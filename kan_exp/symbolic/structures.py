"""Structures: trees of curves, sums and products, from small to large."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """A function of one variable: of an input, by its column, or of a node."""

    source: int | Node

    def __str__(self) -> str:
        return f"f(x{self.source})" if isinstance(self.source, int) else f"g({self.source})"


@dataclass(frozen=True)
class Node:
    """A sum or a product."""

    product: bool
    parts: tuple[Structure, ...]

    def __str__(self) -> str:
        texts = [
            f"({part})" if self.product and isinstance(part, Node) else str(part)
            for part in self.parts
        ]
        return ("*" if self.product else "+").join(texts)


Structure = Curve | Node


def curves(structure: Structure) -> list[Curve]:
    """The curves of a structure, those below before those above, from left to right."""
    if isinstance(structure, Node):
        return [curve for part in structure.parts for curve in curves(part)]
    below = [] if isinstance(structure.source, int) else curves(structure.source)
    return [*below, structure]


def structures(inputs: Sequence[int]) -> Iterator[Structure]:
    """Structures of some inputs, from small to large, each once."""
    seen: set[Structure] = set()
    for structure in _ordered(tuple(map(Curve, inputs))):
        if structure not in seen:
            seen.add(structure)
            yield structure


def _ordered(leaves: tuple[Curve, ...]) -> Iterator[Structure]:
    if len(leaves) == 1:
        yield leaves[0]
        return
    flat, product = Node(False, leaves), Node(True, leaves)
    yield flat
    yield Curve(flat)
    yield Curve(product)
    if len(leaves) > 6:
        return
    yield Node(False, (*leaves, product))
    yield Curve(Node(False, (*leaves, product)))
    # Groups of inputs, each a curve of its sum, multiplied and added to the inputs' own curves.
    partitions = [partition for partition in _partitions(leaves) if len(partition) > 1]
    trees = list(_trees(leaves)) if len(leaves) < 5 else []
    trees.sort(key=_depth_and_sums)
    yield from (tree for tree in trees if _nodes(tree) == 2)
    for partition in partitions:
        curves_of_sums = [g[0] if len(g) == 1 else Curve(Node(False, g)) for g in partition]
        groups = Node(False, (*leaves, Node(True, tuple(curves_of_sums))))
        yield from (groups, Curve(groups))
    for partition in partitions:
        if len(partition) < len(leaves):
            products = [group[0] if len(group) == 1 else Node(True, group) for group in partition]
            yield from (Node(False, tuple(products)), Curve(Node(False, tuple(products))))
    yield from trees
    if len(leaves) < 5:
        yield Node(False, (Curve(flat), Curve(flat)))
        yield Curve(Node(True, (flat, flat)))
        yield Node(False, (Curve(product), Curve(flat)))
        yield Curve(Node(False, (Curve(flat), Curve(flat))))


def _partitions(leaves: tuple[Curve, ...]) -> Iterator[tuple[tuple[Curve, ...], ...]]:
    """Every partition of the inputs into groups, those into many groups first."""
    every: list[list[tuple[Curve, ...]]] = [[]]
    for leaf in leaves:
        grown = []
        for groups in every:
            grown.append([*groups, (leaf,)])
            grown += [
                [*groups[:place], (*groups[place], leaf), *groups[place + 1 :]]
                for place in range(len(groups))
            ]
        every = grown
    yield from sorted(map(tuple, every), key=lambda groups: -len(groups))


def _shapes(leaves: tuple[Curve, ...]) -> Iterator[Structure]:
    """Every tree of sums that reads each input once, with a curve on each node."""
    for partition in _partitions(leaves):
        if len(partition) > 1:
            parts = [[group[0]] if len(group) == 1 else list(_shapes(group)) for group in partition]
            for chosen in itertools.product(*parts):
                yield Curve(Node(False, chosen))


def _trees(leaves: tuple[Curve, ...]) -> Iterator[Structure]:
    """Trees that read each input once: of sums, of products, and a product above sums.

    Where factors do not change their signs a product is a sum of logarithms.
    """
    for shape in _shapes(leaves):
        yield shape
        yield _with_products(shape, everywhere=False)
        yield _with_products(shape, everywhere=True)


def _with_products(shape: Structure, *, everywhere: bool) -> Structure:
    """A tree of sums with products in the place of the outermost sum, or of all."""
    if isinstance(shape, Node) or isinstance(shape.source, int):
        return shape
    parts = shape.source.parts
    if everywhere:
        parts = tuple(_with_products(part, everywhere=True) for part in parts)
    return Curve(Node(True, parts))


def _nodes(structure: Structure) -> int:
    if isinstance(structure, Curve):
        return 0 if isinstance(structure.source, int) else _nodes(structure.source)
    return 1 + sum(map(_nodes, structure.parts))


def _depth_and_sums(tree: Structure) -> tuple[int, bool, int]:
    """Few nodes first, then a product at the top, then few products."""
    text = str(tree)
    top = isinstance(tree, Curve) and isinstance(tree.source, Node) and tree.source.product
    return _nodes(tree), not top, text.count("*")
