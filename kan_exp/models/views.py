"""What the edges of a trained layer do, for figures and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.layers.walk import LayerPass

IDENTITY = "identity"  # label of an edge that passes its input on
MAX_EDGES = 36  # of a layer's figure: more small diagrams cannot be read
CURVE_POINTS = 200
CURVE_MARGIN = 0.15  # of the range of the data, by which curves exceed it on both sides


@dataclass(frozen=True)
class LayerView:
    """What a layer's edges do.

    Shape:
        `x` `(n, in)` values that reach the layer, `y` `(n, in, out)` what the edges make of them;
        `curve_x` `(points, in)` and `curve_y` `(points, in, out)` the curves to draw; `domain`
        `(in, 2)` the range on which they were trained; `truth` `(n, in)` the known true
        edge of each input at the same points, or `None`; `mask` `(in, out)` which edges exist, all
        if `None`; `products` `(out,)` which outputs are products, none if `None`; `labels`
        `(in, out)` formulas of edges that are known functions.
    """

    number: int
    input_names: list[str]
    output_names: list[str]
    x: np.ndarray
    y: np.ndarray
    curve_x: np.ndarray
    curve_y: np.ndarray
    domain: np.ndarray
    truth: np.ndarray | None
    mask: np.ndarray | None = None
    products: np.ndarray | None = None
    labels: list[list[str]] | None = None

    def name(self, i: int, j: int) -> str:
        return f"{self.input_names[i]} → {self.output_names[j]}"

    def agreement(self, i: int, j: int) -> tuple[float, np.ndarray] | None:
        """R2 between an edge and the true one at its best scale and shift, and its values there.

        Edges are only defined up to scale and shift: the next layer can undo both.
        """
        if self.truth is None:
            return None
        learned, true = self.y[:, i, j], self.truth[:, i]
        centered = true - true.mean()
        spread = float(centered @ centered)
        variation = float(((learned - learned.mean()) ** 2).sum())
        if spread == 0:
            return None  # any constant would do
        if variation == 0:
            return 0.0, np.full_like(true, learned.mean())
        scale = float(centered @ learned) / spread
        fitted = learned.mean() + scale * centered
        return 1 - float(((learned - fitted) ** 2).sum()) / variation, fitted

    def shown(self) -> list[tuple[int, int]]:
        """The edges to draw: all that exist, or those that vary most if there are too many."""
        mask = np.ones(self.y.shape[1:]) if self.mask is None else self.mask
        edges = [(int(i), int(j)) for i, j in np.argwhere(mask)]
        if len(edges) <= MAX_EDGES:
            return edges
        variation = self.y.std(axis=0)
        return sorted(sorted(edges, key=lambda edge: -variation[edge])[:MAX_EDGES])


def make_view(
    visits: Sequence[LayerPass],
    names: Sequence[list[str]],
    x_scale: tuple[Tensor | float, Tensor | float],
    y_scale: Tensor | float,
    truth: Tensor | None,
) -> LayerView:
    """The view of a layer that points have passed, one batch after the other.

    Args:
        visits: Its passes, one for each batch.
        names: Of its inputs and of its outputs.
        x_scale: Standard deviation and mean by which inputs are shown in the user's units.
        y_scale: Standard deviation by which values are.
        truth: See `LayerView`.
    """
    import torch

    from kan_exp.layers.nodes import PRODUCT

    first, (size, shift) = visits[0], x_scale
    layer = first.layer
    inputs = torch.cat([visit.inputs for visit in visits])
    edges = torch.cat([visit.edges for visit in visits])
    unit = torch.linspace(0, 1, CURVE_POINTS).to(inputs)
    low, high = inputs.amin(0), inputs.amax(0)
    labels = layer.labels(names[0])
    # A known function, such as a root, may not be defined beyond its data.
    margin = (0.0 if labels else CURVE_MARGIN) * (high - low)
    curve = (low - margin) + unit[:, None] * (high - low + 2 * margin)
    return LayerView(
        number=first.index + 1,
        input_names=names[0],
        output_names=names[1],
        x=_array(inputs * size + shift),
        y=_array(edges * y_scale),
        curve_x=_array(curve * size + shift),
        curve_y=_array(layer.edges(curve) * y_scale),
        domain=_array((layer.domain.T * size + shift).T),
        mask=first.mask.cpu().numpy(),
        products=np.array(first.node_operation) == PRODUCT,
        labels=labels,
        truth=None if truth is None else _array(truth),
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()
