"""Many networks of one shape as one function of a matrix of parameters, with its Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from kan_exp.layers import EdgeLayer
from kan_exp.layers.walk import LayerPass, walk
from kan_exp.optimizers.grid_stack import GridStack


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
        calls = zip(self.modules, parameters, strict=True)
        return torch.stack([_call(module, module, row, x) for module, row in calls])

    def jacobian(self, parameters: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and their derivatives `(modules, samples, out, parameters)`."""
        if GridStack.takes(self.modules):
            return GridStack(self.modules, parameters).jacobian(x)
        width = len(self.modules[0](x[:1].to(next(self.modules[0].parameters())))[0])
        # In memory the samples come last: what is done to them is done to contiguous numbers.
        jacobian = x.new_empty(len(parameters), width, parameters.shape[1], len(x))
        jacobian = jacobian.permute(0, 3, 1, 2)
        outputs = [
            _call(module, _Linearized(module, out), row, x)
            for module, row, out in zip(self.modules, parameters, jacobian, strict=True)
        ]
        return torch.stack(outputs), jacobian


def _call(module: nn.Module, function: nn.Module, row: Tensor, x: Tensor) -> Tensor:
    """Calls a module, or a function of it, with these parameters, in float64."""
    parts = dict(module.named_parameters())
    numbers = row.split([part.numel() for part in parts.values()])
    state = {
        name: new.view_as(part) for (name, part), new in zip(parts.items(), numbers, strict=True)
    }
    for name, buffer in module.named_buffers():
        state[name] = buffer.double() if buffer.is_floating_point() else buffer
    prefix = "" if function is module else "module."
    return functional_call(
        function, {f"{prefix}{name}": part for name, part in state.items()}, (x,)
    )


class _Linearized(nn.Module):
    """A module's outputs and their Jacobian with respect to its parameters."""

    def __init__(self, module: nn.Module, jacobian: Tensor) -> None:
        super().__init__()
        self.module, self.jacobian = module, jacobian

    def forward(self, x: Tensor) -> Tensor:
        module = self.module
        if isinstance(module, nn.Sequential) and all(isinstance(m, EdgeLayer) for m in module):
            return _through_layers(module, x, self.jacobian)
        return _sample_by_sample(module, x, self.jacobian)


def _through_layers(network: nn.Sequential, x: Tensor, jacobian: Tensor) -> Tensor:
    """Derivatives layer by layer, from what each layer knows about its own."""
    visits: list[LayerPass] = []
    pulls: list[Callable[[Tensor], Tensor] | None] = []
    for visit in walk(network, x):
        pulls.append(visit.linearize() if visits else None)  # none by the inputs of the network
        visits.append(visit)
    output = visits[-1].outputs
    for unit, grad in enumerate(torch.eye(output.shape[1]).to(x)):
        grad = grad.expand_as(output)
        end = jacobian.shape[2]
        for visit, pull in zip(reversed(visits), reversed(pulls), strict=True):
            for part in reversed(visit.layer.sample_gradients(visit.inputs, grad)):
                start = end - part[0].numel()
                jacobian[:, unit, start:end].copy_(part.flatten(1))
                end = start
            if pull is not None:
                grad = pull(grad)
    return output


def _sample_by_sample(module: nn.Module, x: Tensor, jacobian: Tensor) -> Tensor:
    """Derivatives of any module, one sample at a time."""
    parameters = dict(module.named_parameters())

    def call(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return cast(Tensor, functional_call(module, parameters, (sample.unsqueeze(0),)))[0]

    found = vmap(jacrev(call), in_dims=(None, 0))(parameters, x)
    torch.cat([part.flatten(2) for part in found.values()], dim=2, out=jacobian)
    return cast(Tensor, module(x))
