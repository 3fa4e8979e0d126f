"""Edges that are small neural networks over sines and cosines of their input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vjp
from torch.nn import functional

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.kernels import Grid, interval_polynomials, spline_sum
from kan_exp.layers.rules import KINDS
from kan_exp.layers.tracing import is_traced, plain_gradients

Activation = Callable[[Tensor], Tensor]

BLOCK = 2**17  # numbers of a block, measured (benchmarks/README.md): half a megabyte in float32
SMALL = 2**20  # hidden activations, below which one pass over all of them is faster
GPU_BLOCK = 2**25  # hidden activations of a block on a GPU, whose products are large; not measured

# Each of these satisfies a(z) - a(-z) = z, on which the start below rests.
ACTIVATIONS: dict[str, Activation] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "softplus": functional.softplus,
}


class KANLayer(EdgeLayer):
    """One MLP with one hidden layer per edge, on a positional encoding of the input.

    The edge reads `[x, sin(2^k x), cos(2^k x)]` for `k < fcn_n_sin`, which is computed once per
    input. The start preserves variance at any width: hidden units come in pairs with opposite
    weights, so that an edge begins as a nearly straight line and bends as it learns.

    Args:
        fcn_hidden: Hidden units per edge, at least 1.
        fcn_n_sin: Frequencies in the positional encoding, 0 or more.
        activation: `silu`, `gelu`, `relu` or `softplus`.
        table_points: While training, in batches of more samples than this, edges are evaluated at
            so many points across the batch's range, and samples are interpolated between them;
            gradients flow through the table. It then costs what a table costs, and errs as much
            (`tabulate` measures it). After `eval()`, with 0, and in layers with a mask or product
            nodes every sample is evaluated, so that none depends on the others in its batch.

    Shape:
        Parameters `hidden_weight` `(dim_in, dim_out, fcn_hidden, 1 + 2 fcn_n_sin)`, `hidden_bias`
        and `output_weight` `(dim_in, dim_out, fcn_hidden)`, `output_bias` `(dim_in, dim_out)`.

    Source:
        Y. Zhang, MLP-KAN (PyPI `mlp-kan`), after Liu et al., "KAN: Kolmogorov-Arnold Networks",
        arXiv 2404.19756, section 2.2; positional encoding as in Mildenhall et al., "NeRF",
        arXiv 2003.08934, section 5.1.
    """

    frequencies: Tensor

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        # As in mlp-kan, whose layer this replaces; conf/ has fewer, for least squares.
        fcn_hidden: int = 32,
        fcn_n_sin: int = 3,
        activation: str = "silu",
        generator: torch.Generator | None = None,
        table_points: int = 0,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min=-1.0, x_max=1.0)
        KINDS["KANLayer"].check(
            type(self).__name__,
            fcn_hidden=fcn_hidden,
            fcn_n_sin=fcn_n_sin,
            activation=activation,
            table_points=table_points,
        )
        self.table_points = table_points
        self.fcn_hidden = fcn_hidden
        self.fcn_n_sin = fcn_n_sin
        self.activation = activation
        self.register_buffer("frequencies", 2.0 ** torch.arange(fcn_n_sin), persistent=False)
        hidden = (dim_in, dim_out, fcn_hidden)
        self.hidden_weight = nn.Parameter(torch.empty(*hidden, 1 + 2 * fcn_n_sin))
        self.hidden_bias = nn.Parameter(torch.empty(hidden))
        self.output_weight = nn.Parameter(torch.empty(hidden))
        self.output_bias = nn.Parameter(torch.empty(dim_in, dim_out))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws a new start in which `x` of unit variance gives outputs of unit variance."""
        # High frequencies start small, so that edges start smooth.
        damping = 4.0 ** -torch.arange(self.fcn_n_sin, device="cpu")
        scale = torch.cat([torch.ones(1, device="cpu"), damping, damping])
        # For x ~ N(0, 1), sin(wx) and cos(wx) together have variance 1 - exp(-w^2).
        variance = 1 + (damping.square() * (1 - torch.exp(-self.frequencies.cpu().square()))).sum()
        pairs = self.fcn_hidden // 2
        output_std = 1 / math.sqrt(variance * max(1, pairs) * self.dim_in)

        self.hidden_weight.normal_(generator=generator).mul_(scale.to(self.domain))
        self.hidden_bias.normal_(std=0.5, generator=generator)
        self.output_weight.normal_(std=output_std, generator=generator)
        self.output_bias.zero_()
        for part in (self.hidden_weight, self.hidden_bias, self.output_weight):
            part[:, :, pairs : 2 * pairs] = -part[:, :, :pairs]
        if pairs:
            self.output_weight[:, :, 2 * pairs :] = 0  # an odd unit has no partner to cancel it

    def edges(self, x: Tensor) -> Tensor:
        features = self._features(self._batch(x))
        hidden = _hidden(features, self._weights, ACTIVATIONS[self.activation])
        values = (hidden * self.output_weight.unsqueeze(1)).sum(-1)  # (in, batch, out)
        return values.transpose(0, 1) + self.output_bias

    def forward(self, x: Tensor) -> Tensor:
        x = self._batch(x)
        if self.training and 0 < self.table_points < self._batch_size(x):
            return self._tabulated(x)
        features, activation = self._features(x), ACTIVATIONS[self.activation]
        if is_traced(x) or len(x) * self.numbers_per_sample < SMALL:
            values = _edge_sum(features, self._weights, self.output_weight, activation)
        else:
            values = _BlockedSum.apply(features, self._weights, self.output_weight, activation)
        return values + self.output_bias.sum(0)

    def _batch_size(self, x: Tensor) -> int:
        return len(x) if self.whole_batch is None else self.whole_batch.size

    def _tabulated(self, x: Tensor) -> Tensor:
        """The sum of the edges, each a table of `table_points` values over the batch's range."""
        # The places of the points get no gradient; NaNs are ignored.
        known = x.detach().nan_to_num(0, 0, 0)
        low, high = known.amin(0), known.amax(0)
        if self.whole_batch is not None:  # all shares of a batch use the same table
            below, high = self.whole_batch.maximum(torch.stack([-low, high])).unbind()
            low = -below
        spacing = (high - low).clamp(min=torch.finfo(self.output_bias.dtype).eps) / (
            self.table_points - 1
        )
        places = torch.arange(self.table_points, device=x.device).to(x)
        table = self.edges(low + places[:, None] * spacing).transpose(0, 1)
        return spline_sum(x, table, Grid(low, spacing, interval_polynomials(1).to(x)))

    def sample_gradients(self, x: Tensor, grad: Tensor) -> list[Tensor]:
        # Samples come last in memory: all that follows is done to long contiguous vectors.
        features = self._features(x).mT.contiguous()  # (in, features, batch)
        hidden = (self._weights.flatten(1, 2) @ features).unflatten(1, self.output_weight.shape[1:])
        grad = grad.T.unsqueeze(1)  # (out, 1, batch)
        weighed = self.output_weight.detach().unsqueeze(-1) * grad  # (in, out, hidden, batch)
        activation = ACTIVATIONS[self.activation]
        if is_traced(hidden):
            active, pull = vjp(activation, hidden)[:2]
            (by_hidden,) = pull(weighed)
        else:
            with torch.enable_grad():  # torch.func would import a compiler
                hidden = hidden.detach().requires_grad_()
                active = activation(hidden)
                (by_hidden,) = torch.autograd.grad(active, hidden, weighed)
        by_weights = by_hidden.unsqueeze(3) * features[:, None, None, 1:]
        by_bias = grad.squeeze(1).expand(self.dim_in, -1, -1)
        parts = [by_weights, by_hidden, active.detach() * grad, by_bias]
        return [part.movedim(-1, 0) for part in parts]

    @property
    def numbers_per_sample(self) -> int:
        return self.dim_in * self.dim_out * self.fcn_hidden

    @property
    def sums_splines(self) -> bool:
        return self.table_points > 0

    def _features(self, x: Tensor) -> Tensor:
        """A 1 for the bias and the positional encoding of every input, `(in, batch, features)`."""
        x = x.unsqueeze(-1)
        phase = x * self.frequencies.to(x)
        return torch.cat([torch.ones_like(x), x, phase.sin(), phase.cos()], -1).transpose(0, 1)

    @property
    def _weights(self) -> Tensor:
        """Biases and weights of the hidden units, `(in, out, hidden, features)`."""
        return torch.cat([self.hidden_bias.unsqueeze(-1), self.hidden_weight], dim=-1)


def _hidden(features: Tensor, weights: Tensor, activation: Activation) -> Tensor:
    """Hidden activations of every edge, `(in, batch, out, hidden)`."""
    hidden = features @ weights.flatten(1, 2).transpose(1, 2)
    return activation(hidden).unflatten(-1, weights.shape[1:3])


def _edge_sum(features: Tensor, weights: Tensor, output: Tensor, activation: Activation) -> Tensor:
    """The sum of the edges without their output biases, `(batch, out)`."""
    return torch.einsum("iboh,ioh->bo", _hidden(features, weights, activation), output)


class _BlockedSum(torch.autograd.Function):
    """`_edge_sum` in blocks: on a CPU of one input and a few samples, which stay in the cache; on a
    GPU of all inputs and `GPU_BLOCK` hidden activations.

    Hidden activations are computed again for the gradient, which is faster than reading them back.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weights: Tensor, output: Tensor, activation: Activation
    ) -> Tensor:
        ctx.save_for_backward(features, weights, output)
        ctx.activation = activation
        if not _has_cache(features):
            blocks = _large_blocks(features, output)
            return torch.cat([_edge_sum(block, weights, output, activation) for block in blocks])
        dim_out, batch = weights.shape[1], features.shape[1]
        total = features.new_zeros(dim_out, batch)
        for columns in _blocks(weights, batch):
            for feature, weight, out in zip(features, weights, output, strict=True):
                hidden = activation(weight.flatten(0, 1) @ feature[columns].T)
                values = out.unsqueeze(1) @ hidden.unflatten(0, out.shape)  # (out, 1, samples)
                total[:, columns] += values.squeeze(1)
        return total.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        tensors, activation = ctx.saved_tensors, ctx.activation
        twice = torch.is_grad_enabled()  # whether this derivative is to be differentiated
        if twice or is_traced(grad):
            with torch.enable_grad():
                total = _edge_sum(tensors[0], tensors[1], tensors[2], activation)
            return *plain_gradients(total, tensors, grad, twice), None
        features, weights, output = tensors
        if not _has_cache(features):
            return *_large_gradients(features, weights, output, activation, grad), None
        by_features, by_weights, by_output = map(torch.zeros_like, tensors)
        scaled = weights * output.unsqueeze(-1)
        for columns in _blocks(weights, features.shape[1]):
            slope_of_outputs = grad[columns].T.unsqueeze(1).contiguous()  # (out, 1, samples)
            for i, feature in enumerate(features[:, columns]):
                hidden = (weights[i].flatten(0, 1) @ feature.T).unflatten(0, output.shape[1:])
                with torch.enable_grad():
                    active = activation(hidden.requires_grad_())
                (slope,) = torch.autograd.grad(active, hidden, slope_of_outputs.expand_as(hidden))
                slope = slope.flatten(0, 1)  # (out * hidden, samples), without the output weights
                # Transposed, these products would be far slower.
                by_output[i] += (slope_of_outputs @ active.detach().transpose(1, 2)).squeeze(1)
                by_weights[i] += (feature.T @ slope.T).T.unflatten(0, output.shape[1:])
                by_features[i, columns] = (scaled[i].flatten(0, 1).T @ slope).T
        return by_features, by_weights * output.unsqueeze(-1), by_output, None


def _blocks(weights: Tensor, batch: int) -> list[slice]:
    """Slices of samples for which one input's hidden activations fit into the cache."""
    samples = max(16, BLOCK // weights[0, :, :, 0].numel())
    return [slice(start, start + samples) for start in range(0, batch, samples)]


def _has_cache(features: Tensor) -> bool:
    """Whether small blocks pay; on a GPU they would be many small launches."""
    return features.is_cpu


def _large_blocks(features: Tensor, output: Tensor) -> tuple[Tensor, ...]:
    return features.split(max(1, GPU_BLOCK // output.numel()), dim=1)


def _large_gradients(
    features: Tensor, weights: Tensor, output: Tensor, activation: Activation, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the tensors of `_edge_sum` by autograd, of one large block after the other."""
    by_features, by_weights, by_output = [], torch.zeros_like(weights), torch.zeros_like(output)
    blocks = _large_blocks(features, output)
    for block, slope in zip(blocks, grad.split([block.shape[1] for block in blocks]), strict=True):
        with torch.enable_grad():
            parts = [part.detach().requires_grad_() for part in (block, weights, output)]
            total = _edge_sum(parts[0], parts[1], parts[2], activation)
        found = torch.autograd.grad(total, parts, slope)
        by_features.append(found[0])
        by_weights += found[1]
        by_output += found[2]
    return torch.cat(by_features, dim=1), by_weights, by_output
