"""Sums of curves, and hidden units beside them, in coordinates for smoothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kan_exp.optimizers.natural_basis import NaturalBasis

ALL = slice(None)


class Shape(NamedTuple):
    """Sizes of a network `[inputs, outputs + hidden, outputs]`.

    The first `outputs` units are sums of curves, which pass to their output unchanged.

    Args:
        inputs: Number of inputs.
        outputs: Number of outputs.
        hidden: Number of hidden units.
        additive: Functions of each curve, the straight line included.
        inner: Functions of each edge to a hidden unit.
        outer: Functions of each edge from a hidden unit.
    """

    inputs: int
    outputs: int
    hidden: int
    additive: int
    inner: int
    outer: int

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Coordinates: biases, curves, edges to hidden units, edges from them."""
        return (
            self.outputs,
            self.inputs * self.additive * self.outputs,
            self.inputs * self.inner * self.hidden,
            self.hidden * self.outer * self.outputs,
        )

    @property
    def edges(self) -> tuple[tuple[int, int, int], ...]:
        """Inputs, functions and outputs of the curves, of edges to hidden units, and from them."""
        return (
            (self.inputs, self.additive, self.outputs),
            (self.inputs, self.inner, self.hidden),
            (self.hidden, self.outer, self.outputs),
        )

    def numbers(self) -> Tensor:
        """Number of each coordinate's function: 0 for a bias or a line, 1 and more for bends."""
        parts = [torch.zeros(self.outputs, dtype=torch.long)]
        for dim_in, functions, dim_out in self.edges:
            number = torch.arange(functions).view(1, -1, 1)
            parts.append(number.expand(dim_in, functions, dim_out).flatten())
        return torch.cat(parts)

    def groups(self) -> Tensor:
        """The group of each coordinate, which shares one weight; -1 without a weight.

        Each edge's bends are a group. The slopes of all curves of an output are one, those into a
        hidden unit are one, and so are those out of all of them to an output.
        """
        parts, count = [torch.full((self.outputs,), -1)], 0
        for dim_in, functions, dim_out in self.edges:
            slopes = count + torch.arange(dim_out).expand(dim_in, 1, dim_out)
            count += dim_out
            bends = count + torch.arange(dim_in * dim_out).view(dim_in, 1, dim_out)
            count += dim_in * dim_out
            parts.append(torch.cat([slopes, bends.expand(-1, functions - 1, -1)], 1).flatten())
        return torch.unique(torch.cat(parts), return_inverse=True)[1] - 1

    def active(self, masks: Sequence[Tensor]) -> Tensor:
        """Which coordinates belong to edges that exist, `(size,)`.

        Args:
            masks: Of the layers of a network `[inputs, outputs + hidden, outputs]`, or of its
                first `[inputs, outputs]`, if there are no hidden units.
        """
        curves, inner = masks[0].split([self.outputs, masks[0].shape[1] - self.outputs], dim=1)
        outer = masks[1][self.outputs :] if self.hidden else masks[0][:0, : self.outputs]
        parts = [torch.ones(self.outputs, dtype=torch.bool, device=masks[0].device)]
        each = (curves, inner[:, : self.hidden], outer)
        for mask, (_, functions, _) in zip(each, self.edges, strict=True):
            parts.append(mask.unsqueeze(1).expand(-1, functions, -1).flatten())
        return torch.cat(parts)


class Parts(NamedTuple):
    """Coordinates of all networks by what they are, each with a leading axis of networks."""

    bias: Tensor  # (r, out)
    curves: Tensor  # (r, in, functions, out)
    inner: Tensor  # (r, in, functions, hidden)
    outer: Tensor  # (r, hidden, functions, out)


def split(shape: Shape, q: Tensor) -> Parts:
    """Coordinates `(r, size)` by what they are."""
    bias, curves, inner, outer = q.split(shape.sizes, dim=1)
    return Parts(
        bias,
        curves.unflatten(1, (shape.inputs, shape.additive, shape.outputs)),
        inner.unflatten(1, (shape.inputs, shape.inner, shape.hidden)),
        outer.unflatten(1, (shape.hidden, shape.outer, shape.outputs)),
    )


class SmoothNetworks:
    """Networks of one shape on the same points.

    Args:
        shape: Their sizes.
        x: Points, `(n, in)`.
        first: Basis of the inputs, with at least as many functions as any edge of them needs.
        active: Which coordinates count, `(size,)`; the others count as 0. All if not given.
    """

    def __init__(
        self, shape: Shape, x: Tensor, first: NaturalBasis, active: Tensor | None = None
    ) -> None:
        self.shape, self.x, self.first, self.active = shape, x, first, active
        values = first.values(x)
        self.additive = values[..., : shape.additive].contiguous()  # (n, in, functions)
        self.inner = values[..., : shape.inner].contiguous()

    def hidden(self, q: Tensor) -> Tensor:
        """Values of the hidden units, `(r, n, hidden)`."""
        inner = self._parts(q).inner
        return self.inner.flatten(1) @ inner.flatten(1, 2)

    def outputs(self, q: Tensor, second: NaturalBasis | None) -> Tensor:
        """Coordinates `(r, size)` -> `(r, n, out)`; `second` is the basis of hidden units."""
        parts = self._parts(q)
        total = self.additive.flatten(1) @ parts.curves.flatten(1, 2) + parts.bias.unsqueeze(1)
        if second is not None:
            basis = second.values(self.hidden(q))
            total = total + basis.flatten(2) @ parts.outer.flatten(1, 2)
        return total

    def jacobian(
        self, q: Tensor, second: NaturalBasis | None, rows: slice = ALL
    ) -> tuple[Tensor, Tensor]:
        """Outputs of some points, and their derivatives `(r, n, out, size)`."""
        parts, shape = self._parts(q), self.shape
        out, values, inner_values = shape.outputs, self.additive[rows], self.inner[rows]
        total = values.flatten(1) @ parts.curves.flatten(1, 2) + parts.bias.unsqueeze(1)
        jacobian = q.new_zeros(len(q), len(values), out, q.shape[1])
        bias, curves, inner, outer = jacobian.split(shape.sizes, dim=3)
        curves = curves.unflatten(3, (shape.inputs, shape.additive, out))
        for unit in range(out):
            bias[:, :, unit, unit] = 1
            curves[:, :, unit, :, :, unit] = values
        if second is None:
            return total, self._active(jacobian)
        hidden = inner_values.flatten(1) @ parts.inner.flatten(1, 2)
        basis, slopes = second.expand(hidden)  # (r, n, hidden, functions)
        total = total + basis.flatten(2) @ parts.outer.flatten(1, 2)
        outer = outer.unflatten(3, (shape.hidden, shape.outer, out))
        for unit in range(out):
            outer[:, :, unit, :, :, unit] = basis
        tilt = torch.einsum("rnhk,rhko->rnoh", slopes, parts.outer)
        for unit in range(out):
            torch.mul(
                inner_values[None, :, :, :, None],
                tilt[:, :, unit, None, None, :],
                out=inner[:, :, unit].unflatten(2, (shape.inputs, shape.inner, shape.hidden)),
            )
        return total, self._active(jacobian)

    def _parts(self, q: Tensor) -> Parts:
        return split(self.shape, self._active(q))

    def _active(self, values: Tensor) -> Tensor:
        """Values `(..., size)`, 0 for coordinates that do not count."""
        return values if self.active is None else values * self.active
