"""Many networks of one shape as one function of a matrix of parameters, with its Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from kan_exp.layers import EdgeLayer
from kan_exp.layers.walk import walk
from kan_exp.optimizers.grid_stack import GridStack

MAX_NUMBERS = 2**25  # of the Jacobians that are built at a time, 256 MB in float64


class StackedNetworks:
    """Modules of the same shape, evaluated and differentiated together in float64.

    Args:
        modules: At least one; they must differ in their numbers only. Each maps `(samples, in)` to
            `(samples, out)` row by row.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.shapes = {name: part.shape for name, part in modules[0].named_parameters()}

    def read(self) -> Tensor:
        """All parameters, `(modules, parameters)`."""
        return torch.stack(
            [
                torch.cat([part.detach().double().flatten() for part in module.parameters()])
                for module in self.modules
            ]
        )

    @torch.no_grad()
    def write(self, parameters: Tensor) -> None:
        """Puts parameters back into the modules."""
        for module, row in zip(self.modules, parameters, strict=True):
            sizes = [part.numel() for part in module.parameters()]
            for part, numbers in zip(module.parameters(), row.split(sizes), strict=True):
                part.copy_(numbers.view_as(part))

    def outputs(self, parameters: Tensor, x: Tensor) -> Tensor:
        """What the modules with these parameters make of `x`: `(modules, samples, out)`."""
        if GridStack.takes(self.modules):
            return GridStack(self.modules, parameters).outputs(x)
        return cast(Tensor, self._map(self.modules[0], "", parameters, x, chunk=None))

    def jacobian(self, parameters: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and their derivatives `(modules, samples, out, parameters)`."""
        if GridStack.takes(self.modules):
            return GridStack(self.modules, parameters).jacobian(x)
        chunk = max(1, MAX_NUMBERS // max(1, len(x) * parameters.shape[1]))
        linearised = _Linearised(self.modules[0])
        return cast("tuple[Tensor, Tensor]", self._map(linearised, "module.", parameters, x, chunk))

    def _map(
        self, module: nn.Module, prefix: str, parameters: Tensor, x: Tensor, chunk: int | None
    ) -> Any:
        buffers = {
            f"{prefix}{name}": torch.stack([_double(part) for part in parts])
            for name, parts in self._buffers().items()
        }

        def call(row: Tensor, buffers: dict[str, Tensor]) -> Any:
            sizes = [shape.numel() for shape in self.shapes.values()]
            parts = zip(self.shapes.items(), row.split(sizes), strict=True)
            named = {f"{prefix}{name}": part.view(shape) for (name, shape), part in parts}
            return functional_call(module, {**named, **buffers}, (x,))

        return vmap(call, chunk_size=chunk)(parameters, buffers)

    def _buffers(self) -> dict[str, list[Tensor]]:
        each = [dict(module.named_buffers()) for module in self.modules]
        return {name: [one[name] for one in each] for name in each[0]}


def _double(part: Tensor) -> Tensor:
    return part.double() if part.is_floating_point() else part


class _Linearised(nn.Module):
    """A module's outputs and their Jacobian with respect to its parameters."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        module = self.module
        if isinstance(module, nn.Sequential) and all(isinstance(m, EdgeLayer) for m in module):
            return _through_layers(module, x)
        return _sample_by_sample(module, x)


def _through_layers(network: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives layer by layer, from what each layer knows about its own."""
    visits = [(visit, visit.linearize()) for visit in walk(network, x)]
    output = visits[-1][0].outputs
    rows = []
    for unit in torch.eye(output.shape[1], dtype=x.dtype, device=x.device):
        grad, parts = unit.expand_as(output), []
        for visit, pull in reversed(visits):
            found = visit.layer.sample_gradients(visit.inputs, grad)
            parts.append(torch.cat([part.flatten(1) for part in found], dim=1))
            grad = pull(grad)
        rows.append(torch.cat(parts[::-1], dim=1))
    return output, torch.stack(rows, dim=1)


def _sample_by_sample(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of any module, one sample at a time."""
    parameters = dict(module.named_parameters())

    def call(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return cast(Tensor, functional_call(module, parameters, (sample.unsqueeze(0),)))[0]

    found = vmap(jacrev(call), in_dims=(None, 0))(parameters, x)
    return module(x), torch.cat([part.flatten(2) for part in found.values()], dim=2)
