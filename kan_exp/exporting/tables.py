"""A trained network with its preprocessing as tables of splines, in NumPy arrays."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kan_exp.data.columns import FloatArray
from kan_exp.data.points import Scaling
from kan_exp.data.ranges import MARGIN
from kan_exp.data.schema import Column, Schema
from kan_exp.errors import KanExpError
from kan_exp.layers import EdgeLayer, KANInterpoLayer, KANNamedLayer
from kan_exp.layers.grid import GridLayer
from kan_exp.layers.kernels import interval_polynomials
from kan_exp.models.model import KANModel

DEGREE = 3  # of the tables of edges that are no splines
ROOM = 0.5  # of an input's trained range, by which such tables exceed it on both sides
MAX_ROOM = 2.0  # of a hidden unit's range, by which they exceed it at most
TOLERANCE = 1e-7  # of such a table's error, in units of the largest value of the layer's edges
MAX_CELLS = 4096
PROBES = 7  # in each cell, at which tables are compared with what they stand for
SLACK = 1.25  # of the largest difference there, because the largest of all lies between them
OUTSIDE = (
    "Outside the tables each edge is a straight line. Rows that lie more than "
    f"{MARGIN:.0%} of an input's range outside of what it was trained on are marked: their "
    "predictions are guesses."
)
EPSILON = 2.0**-23  # of float32
CUBIC = (4.0, -6.0, 4.0, -1.0)  # the next value of a cubic, by the last four


@dataclass(frozen=True)
class SplineTable:
    """The edges of one layer, splines on evenly spaced knots that end in straight lines.

    Attributes:
        first: First knot of each input, `(in,)`.
        spacing: Distance of two knots, `(in,)`.
        coefficients: `(in, cells + degree, out)`. A missing edge is 0, in a product 1.
        degree: Of the polynomials.
        products: Which outputs are products, `(out,)`; the others are sums.
        error: Upper bound for the error of each edge, `(in, out)`.
        beyond: By how many cells inputs can lie outside, `(in,)`, in rows that are not marked.
        bends: By how much the lines before and behind are steeper than the spline is at its ends,
            per cell, `(in, 2, out)`; None if they only continue it.
    """

    first: FloatArray
    spacing: FloatArray
    coefficients: FloatArray
    degree: int
    products: NDArray[np.bool_]
    error: FloatArray
    beyond: FloatArray
    bends: FloatArray | None = None

    @property
    def cells(self) -> int:
        return self.coefficients.shape[1] - self.degree

    def polynomials(self) -> FloatArray:
        """Each cell's edges as polynomials of the place in it, `(in, cells, degree + 1, out)`."""
        windows = np.lib.stride_tricks.sliding_window_view(
            self.coefficients, self.degree + 1, axis=1
        )  # (in, cells, out, degree + 1)
        return np.einsum("icok,pk->icpo", windows, basis_polynomials(self.degree))

    def with_ends(self) -> FloatArray:
        """`polynomials`, with one more cell at each end, where edges go on as straight lines."""
        cells = self.polynomials()
        ends = np.zeros((2, len(cells), *cells.shape[2:]))
        ends[0, :, 1] = cells[:, 0, 1]
        ends[0, :, 0] = cells[:, 0, 0] - cells[:, 0, 1]
        ends[1, :, 0] = cells[:, -1].sum(1)
        ends[1, :, 1] = (cells[:, -1] * np.arange(self.degree + 1)[:, None]).sum(1)
        if self.bends is not None:
            ends[0, :, 0] -= self.bends[:, 0]
            ends[:, :, 1] += self.bends.swapaxes(0, 1)
        return np.concatenate([ends[0][:, None], cells, ends[1][:, None]], axis=1)


@dataclass(frozen=True)
class Tables:
    """A model without torch.

    Attributes:
        schema: Of the columns of inputs and outputs.
        ranges: Smallest and largest value of each of the network's inputs in training, `(in, 2)`;
            NaN where unknown.
        x_mean, x_std, y_mean, y_std: Standardization of inputs and outputs.
        layers: From the inputs to the outputs; a logit of each class.
        activation: "identity", "sigmoid", "softmax" or "exp", see `kan_exp.tasks.activations`.
        scales: Of each prediction, a name in `SCALES` or empty.
        smearing: What is added to each prediction on its scale.
        names: Of the predictions: a class, a target or a quantile.
        bound: Upper bound for the error of each output of the network, `(out,)`, standardized, in
            rows that are not marked as outside.
    """

    schema: Schema
    ranges: FloatArray
    x_mean: FloatArray
    x_std: FloatArray
    y_mean: FloatArray
    y_std: FloatArray
    layers: list[SplineTable]
    activation: str
    scales: list[str]
    smearing: list[float]
    names: list[str]
    bound: FloatArray = field(repr=False)


def make_tables(model: KANModel) -> Tables:
    """Makes the tables of a trained model.

    Raises:
        KanExpError: The network has other modules than layers of edges.
    """
    layers, schema, names = _tabulated(model.network), model.schema, model.names
    if model.activation == "classes" and len(names) > len(layers[-1].products):
        layers[-1] = _with_zero(layers[-1])
    scales = [one.scale for one in schema.outputs] or [""]
    if len(scales) != len(names):  # several predictions of one output
        scales = scales[:1] * len(names)
    scaling = {name: getattr(model, name).double().cpu().numpy() for name in Scaling._fields}
    return Tables(
        schema=schema,
        ranges=model.trained_ranges,
        layers=layers,
        activation="softmax" if model.activation == "classes" else model.activation,
        scales=scales,
        smearing=[*model.smearing] if any(scales) and model.smearing else [0.0] * len(names),
        names=names,
        bound=error_bound(layers),
        **scaling,
    )


def _tabulated(network: nn.Sequential) -> list[SplineTable]:
    """A table for each layer of a network."""
    layers: list[SplineTable] = []
    low = high = np.zeros(0)
    for module in copy.deepcopy(network).cpu().double().eval():
        if not isinstance(module, EdgeLayer):
            raise KanExpError(
                f"export: the network has a {type(module).__name__} among its layers, which cannot "
                f"be written as tables of curves."
            )
        named = isinstance(module, KANNamedLayer)
        if named:  # a known function may not be defined further out
            module.set_limits(module.domain)
        # What the inputs can be in rows that are not marked as outside.
        least, most = _widened(module, MAX_ROOM if layers else MARGIN)
        low, high = (np.maximum(low, least), np.minimum(high, most)) if layers else (least, most)
        with torch.no_grad():
            ends = (low, high) if layers else _widened(module, ROOM)
            ends = _observed(module) if named else ends
            layers.append(_table(module, ends, low, high))
            low, high = _reached(module, low, high)
    return layers


def _with_zero(layer: SplineTable) -> SplineTable:
    """The last layer of a network with one logit, that of the second class: the other is 0."""

    def widened(part: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([np.zeros_like(part[..., :1]), part], axis=-1)

    return replace(
        layer,
        coefficients=widened(layer.coefficients),
        products=widened(layer.products),
        error=widened(layer.error),
        bends=None if layer.bends is None else widened(layer.bends),
    )


def category_rows(column: Column) -> FloatArray | None:
    """What each level of a category becomes, `(levels + 2, features)`.

    The last two rows are those of other texts and of gaps. None for columns of other kinds.
    """
    if column.kind != "category":
        return None
    import polars as pl

    unknown = "".join(column.levels) + "?"  # longer than any level
    return column.encode(pl.Series([*column.levels, unknown, None], dtype=pl.String))


def basis_polynomials(degree: int) -> FloatArray:
    """The basis functions of a cell as polynomials of the place in it, `(powers, functions)`."""
    polynomials = interval_polynomials(degree).numpy()[:, : degree + 1]
    return polynomials / float(np.prod(np.arange(1, degree + 1)))


def error_bound(layers: Sequence[SplineTable]) -> FloatArray:
    """Upper bound for the error of each output of the network, `(out,)`.

    The errors of a layer's edges, and of float32, are passed on by the steepest slopes behind it.
    """
    bound = np.zeros(len(layers[0].first))
    for layer in layers:
        steepest = np.abs(np.diff(layer.coefficients, axis=1)).max(1) / layer.spacing[:, None]
        if layer.bends is not None:
            slopes = np.abs(layer.with_ends()[:, [0, -1], 1]).max(1)
            steepest = np.maximum(steepest, slopes / layer.spacing[:, None])
        largest = np.abs(layer.coefficients).max(1)
        largest = largest + steepest * (layer.beyond * layer.spacing)[:, None]
        # Rounding: of the place in a cell, of the weights and of the coefficients.
        places = np.abs(layer.first) + (layer.cells + layer.beyond) * layer.spacing
        rounded = 4 * EPSILON * (steepest * places[:, None] + largest)
        errors = steepest * bound[:, None] + layer.error + rounded  # (in, out)
        sums = errors.sum(0) + 4 * EPSILON * largest.sum(0)
        products = (largest + errors).prod(0) * (1 + 4 * EPSILON * len(largest)) - largest.prod(0)
        bound = np.where(layer.products, products, sums)
    return bound


def _table(
    layer: EdgeLayer, ends: tuple[FloatArray, FloatArray], low: FloatArray, high: FloatArray
) -> SplineTable:
    """The table of a layer in float64: exact for splines, as near as need be for other edges.

    Args:
        layer: The layer.
        ends: Where the tables of other edges begin and end.
        low, high: What the inputs can be.
    """
    table = _spline(layer) if isinstance(layer, GridLayer) else None
    if table is None and layer.limits is not None and not isinstance(layer, KANNamedLayer):
        table = _limited(layer)
    table = table or _fitted(layer, *ends)
    exists = layer.exists.numpy()
    neutral = np.where(table.products, 1.0, 0.0)
    coefficients = np.where(exists[:, None], table.coefficients, neutral)
    error = np.where(exists, table.error, 0.0)
    beyond = np.maximum(table.first - low, high - table.first - table.cells * table.spacing)
    beyond = np.maximum(beyond / table.spacing, 0.0)
    bends = None if table.bends is None else np.where(exists[:, None], table.bends, 0.0)
    return replace(table, coefficients=coefficients, error=error, beyond=beyond, bends=bends)


def _limited(layer: EdgeLayer) -> SplineTable:
    """The table of edges that are straight lines beyond their limits, where they may have corners.

    The table ends there, so that its splines need not follow corners.
    """
    limits = layer.limits
    assert limits is not None
    low, high = limits.numpy().T
    layer.set_limits(None)
    table = _fitted(layer, low, high)
    layer.set_limits(limits)
    # Of a constant, at which alone the edges are known.
    table = replace(table, spacing=np.where(high > low, table.spacing, 1.0))
    ends = np.stack([low - table.spacing, low, high, high + table.spacing])
    values = _edges(layer, ends)  # (4, in, out)
    slopes = np.stack([values[1] - values[0], values[3] - values[2]], 1)
    return replace(table, bends=slopes - table.with_ends()[:, [0, -1], 1])


def _reached(layer: EdgeLayer, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Bounds of the outputs `(out,)` for inputs between bounds `(in,)`."""
    places = np.linspace(0, 1, 257)[:, None]
    edges = _edges(layer, low + places * (high - low))
    if layer.products is None:
        return edges.min(0).sum(0), edges.max(0).sum(0)
    factors = np.where(layer.exists.numpy(), np.abs(edges).max(0), 1.0).prod(0)
    products = layer.products.numpy()
    return (
        np.where(products, -factors, edges.min(0).sum(0)),
        np.where(products, factors, edges.max(0).sum(0)),
    )


def _widened(layer: EdgeLayer, room: float) -> tuple[FloatArray, FloatArray]:
    """The ranges that the inputs of a layer had in training, made wider on both sides."""
    low, high = _observed(layer)
    width = high - low
    return low - room * width, layer.domain[:, 1].numpy() + room * width


def _observed(layer: EdgeLayer) -> tuple[FloatArray, FloatArray]:
    """The ranges that the inputs of a layer had in training; of constants, some width."""
    low, high = layer.domain.numpy().T
    return low, np.where(high > low, high, low + np.maximum(1e-3 * np.abs(low), 1.0))


def _spline(layer: GridLayer) -> SplineTable | None:
    """The coefficients of a layer of splines; None if its edges are more than splines."""
    first, spacing = layer.first_knot.numpy(), layer.spacing.numpy()
    values = layer.values.detach().numpy()
    if isinstance(layer, KANInterpoLayer) and layer.outside != "linear":
        # A last cell is flat, and so is what continues it.
        zero = layer.outside == "zero"
        values = np.pad(values, ((0, 0), (1, 1), (0, 0)), mode="constant" if zero else "edge")
        values = np.pad(values, ((0, 0), (int(zero),) * 2, (0, 0)))
        first = first - spacing * (1 + zero)
    elif not layer.only_splines:
        return None
    if layer.straight is not None and layer.lines is not None:
        slope, offset = layer.lines.detach().numpy()
        line = _abscissae(first, spacing, values.shape[1], layer.degree)[..., None] * slope[:, None]
        values = np.where(layer.straight.numpy()[:, None], line + offset[:, None], values)
    return SplineTable(
        first,
        spacing,
        values,
        layer.degree,
        _products(layer),
        np.zeros(layer.exists.shape),
        np.zeros_like(first),
    )


def _products(layer: EdgeLayer) -> NDArray[np.bool_]:
    none = np.zeros(layer.dim_out, dtype=bool)
    return none if layer.products is None else layer.products.numpy()


def _abscissae(first: FloatArray, spacing: FloatArray, rows: int, degree: int) -> FloatArray:
    """Greville's abscissae `(in, rows)`, the coefficients of the identity."""
    return first[:, None] + spacing[:, None] * (np.arange(rows) - (degree - 1) / 2)


def _fitted(layer: EdgeLayer, low: FloatArray, high: FloatArray) -> SplineTable:
    """Cubic splines near any edges, with more cells until they are near enough."""
    cells = 4
    while True:
        table = _with_cells(layer, low, (high - low) / cells, cells)
        size = np.abs(table.coefficients).max()
        excess = table.error.max() / max(TOLERANCE * size, np.finfo(float).tiny)
        if excess <= 1 or cells == MAX_CELLS:
            return table
        # The error falls with the fourth power of the cells' width, at best.
        cells = min(MAX_CELLS, cells * 2 ** math.ceil(max(1.0, math.log2(excess) / 4)))


def _with_cells(
    layer: EdgeLayer, first: FloatArray, spacing: FloatArray, cells: int
) -> SplineTable:
    """Cubic splines by values at their knots and at two beyond each end.

    The coefficients are those of the interpolating spline but for terms of sixth order.
    """
    beyond = 0 if isinstance(layer, KANNamedLayer) else 3
    steps = np.arange(-beyond, cells + beyond + 1.0)
    values = _edges(layer, first + steps[:, None] * spacing)  # (places, in, out)
    while len(values) < cells + 7:  # beyond its data a known function is continued as a cubic
        ends = [np.einsum("p,pij->ij", CUBIC, side[:4]) for side in (values, values[::-1])]
        values = np.concatenate([ends[0][None], values, ends[1][None]])
    second = np.diff(values, n=2, axis=0)
    fourth = np.diff(second, n=2, axis=0)
    coefficients = values[2:-2] - second[1:-1] / 6 + fourth / 36
    rows = coefficients.transpose(1, 0, 2)
    none = np.zeros_like(first)
    table = SplineTable(first, spacing, rows, DEGREE, _products(layer), np.zeros(0), none)
    places = (np.arange(PROBES) + 0.5) / PROBES
    polynomials = table.polynomials()  # (in, cells, powers, out)
    error = np.zeros(polynomials.shape[::3])
    for place in places:
        power = place ** np.arange(DEGREE + 1)
        found = np.einsum("icpo,p->cio", polynomials, power)
        true = _edges(layer, first + (np.arange(cells) + place)[:, None] * spacing)
        error = np.maximum(error, np.abs(found - true).max(0))
    return replace(table, error=SLACK * error)


def _edges(layer: EdgeLayer, x: FloatArray) -> FloatArray:
    """Values of all edges at `(places, in)`, a part at a time."""
    parts = torch.from_numpy(x).split(max(1, 2**22 // layer.numbers_per_sample))
    found: Tensor = torch.cat([layer.edges(part) for part in parts])
    return found.detach().numpy()
