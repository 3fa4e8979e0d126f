"""The trained network in the user's own units, and what each of its edges has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kan_exp.data.points import Scaling
from kan_exp.layers import EdgeLayer
from kan_exp.models.inputs import as_points
from kan_exp.models.views import LayerView
from kan_exp.tasks.activations import find_activation

# Numbers that one layer may hold at a time when points are only looked at, 64 MB in float32.
EVALUATION_NUMBERS = 2**24
MAX_POINTS = 4096
CURVE_POINTS = 200


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Puts modules into evaluation mode for a while; afterwards each has the mode it had before."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class KANModel(nn.Module):
    """A network between the standardisation of its inputs and that of its output.

    Args:
        network: `nn.Sequential` of layers that maps standardised inputs to a standardised output.
        scaling: Means and deviations of the training data.
        features: Name of each input.
        target_name: Name of the output.
        activation: Makes predictions of the outputs, see `kan_exp.tasks.activations`.

    Shape:
        x `(n, in)` -> `(n, 1)`, both in the user's units. `x` may be anything that
        `kan_exp.models.inputs.as_points` takes: a tensor, an array, a list, a table with the
        features among its columns. A row with a NaN gives NaN.
    """

    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor
    y_std: Tensor

    def __init__(
        self,
        network: nn.Sequential,
        scaling: Scaling,
        features: Sequence[str],
        target_name: str,
        activation: str = "identity",
    ) -> None:
        super().__init__()
        self.network = network
        self.features = tuple(features)
        self.target_name = target_name
        self.activation = activation
        self._activate = find_activation(activation)
        for name, value in scaling._asdict().items():
            self.register_buffer(name, value)

    def forward(self, x: Any) -> Tensor:
        return self._activate(self.outputs(x))

    def outputs(self, x: Any) -> Tensor:
        """The outputs before the activation, in the units of the target, `(n, out)`."""
        x = as_points(x, self.features, self.x_mean.device)
        outputs: Tensor = self.network(self.standardise(x)) * self.y_std + self.y_mean
        return outputs

    def standardise(self, x: Tensor) -> Tensor:
        """Inputs as the network takes them, in its own dtype."""
        scaled = (x - self.x_mean) / self.x_std
        parameter = next(self.network.parameters(), scaled)
        return scaled.to(parameter.dtype)

    @torch.no_grad()
    def predict(self, x: Any) -> Tensor:
        """`forward` in evaluation mode, without gradients and a batch at a time."""
        return self._in_batches(self, x)

    @torch.no_grad()
    def predict_outputs(self, x: Any) -> Tensor:
        """`outputs` in evaluation mode, without gradients and a batch at a time."""
        return self._in_batches(self.outputs, x)

    def _in_batches(self, function: Callable[[Tensor], Tensor], x: Any) -> Tensor:
        points = as_points(x, self.features, self.x_mean.device)
        with evaluation_mode(self):
            return torch.cat([function(part) for part in points.split(self._points_at_a_time)])

    @property
    def _points_at_a_time(self) -> int:
        widest = max((layer.numbers_per_sample for layer in self.edge_layers), default=1)
        return max(1, min(MAX_POINTS, EVALUATION_NUMBERS // widest))

    @property
    def edge_layers(self) -> list[EdgeLayer]:
        return [layer for layer in self.network if isinstance(layer, EdgeLayer)]

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Tells every layer the range of what reaches it when the network sees `x` `(n, in)`."""
        ranges: list[list[Tensor]] = [[] for _ in self.edge_layers]
        with evaluation_mode(self.network):
            for part in x.split(self._points_at_a_time):
                hidden = self.standardise(part)
                for layer, found in zip(self.edge_layers, ranges, strict=True):
                    found += [hidden.amin(0), hidden.amax(0)]
                    hidden = layer(hidden)
        for layer, found in zip(self.edge_layers, ranges, strict=True):
            layer.observe(torch.stack(found))

    def unit_names(self) -> list[list[str]]:
        """Names of inputs, hidden units (`h1`, or `h2.1` in deep networks) and the output."""
        hidden = [layer.dim_out for layer in self.edge_layers[:-1]]
        names = [list(self.features)]
        for depth, width in enumerate(hidden, 1):
            prefix = f"h{depth}." if len(hidden) > 1 else "h"
            names.append([f"{prefix}{unit}" for unit in range(1, width + 1)])
        return [*names, [self.target_name]]

    @torch.no_grad()
    def views(self, x: Tensor, true_edges: Sequence[Tensor] = ()) -> list[LayerView]:
        """What every layer does to the points `x` `(n, in)`.

        Args:
            x: Points in the user's units.
            true_edges: Per layer, the values of the known true edges at these points, `(n, 1)` or
                `(n, in)`; a layer that they do not fit is left without.
        """
        with evaluation_mode(self.network):
            return self._views(x, true_edges)

    def _views(self, x: Tensor, true_edges: Sequence[Tensor]) -> list[LayerView]:
        names = self.unit_names()
        hidden = self.standardise(x)
        views = []
        for depth, layer in enumerate(self.edge_layers):
            parts = hidden.split(self._points_at_a_time)
            edges = torch.cat([layer.edges(part) for part in parts])
            unit = torch.linspace(0, 1, CURVE_POINTS).to(hidden)
            low, high = hidden.amin(0), hidden.amax(0)
            margin = 0.15 * (high - low)
            curve = (low - margin) + unit[:, None] * (high - low + 2 * margin)
            first, last = depth == 0, depth == len(self.edge_layers) - 1
            # The first layer's axis and the last layer's values are shown in the user's units.
            size, shift = (self.x_std, self.x_mean) if first else (1.0, 0.0)
            gain = self.y_std if last else 1.0
            views.append(
                LayerView(
                    number=depth + 1,
                    input_names=names[depth],
                    output_names=names[depth + 1],
                    x=(hidden * size + shift).double().cpu().numpy(),
                    y=(edges * gain).double().cpu().numpy(),
                    curve_x=(curve * size + shift).double().cpu().numpy(),
                    curve_y=(layer.edges(curve) * gain).double().cpu().numpy(),
                    domain=((layer.domain.T * size + shift).T).double().cpu().numpy(),
                    truth=_fitting(true_edges, depth, hidden, self.edge_layers),
                )
            )
            hidden = edges.sum(1)
        return views


def _fitting(
    true_edges: Sequence[Tensor], depth: int, hidden: Tensor, layers: list[EdgeLayer]
) -> NDArray[np.float64] | None:
    """The true edges of a layer, where they mean the same as the network's.

    The first layer's edges read the inputs themselves. Later ones read hidden units, which are
    those of the known formula only if the network has its shape.
    """
    if len(true_edges) != len(layers) or true_edges[depth].shape[1] != hidden.shape[1]:
        return None
    same_shape = all(
        layer.dim_in == true.shape[1] for layer, true in zip(layers, true_edges, strict=True)
    )
    if depth > 0 and not same_shape:
        return None
    return true_edges[depth].double().cpu().numpy()
