"""Networks of one shape as one function of a matrix of parameters, with its Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from kan_exp.layers import EdgeLayer
from kan_exp.layers.walk import LayerPass, walk, widths_of
from kan_exp.optimizers.grid_stack import GridStack


class BatchedNetworks:
    """Modules of one shape, evaluated and differentiated in float64.

    Args:
        modules: At least one, with different parameter values only. Each maps `(samples, in)` to
            `(samples, out)` row by row. Their buffers, such as grids, are not to change.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)

    @cached_property
    def _grids(self) -> GridStack | None:
        return GridStack(self.modules) if GridStack.takes(self.modules) else None

    @cached_property
    def _stacked_buffers(self) -> dict[str, Tensor]:
        buffers = [_buffers(module) for module in self.modules]
        return {name: torch.stack([each[name] for each in buffers]) for name in buffers[0]}

    def width(self, x: Tensor) -> int:
        """Number of outputs for inputs such as `x`."""
        first = self.modules[0]
        if _has_edges(first):
            return widths_of(first)[-1]
        return self.outputs(self.read(), x[:1]).shape[2]

    def read(self) -> Tensor:
        """All parameters, `(modules, parameters)`."""
        each = (part for module in self.modules for part in module.parameters())
        flat = torch.cat([part.detach().double().flatten() for part in each])
        return flat.view(len(self.modules), -1)

    @torch.no_grad()
    def write(self, parameters: Tensor) -> None:
        """Puts parameters back into the modules."""
        targets: list[Tensor] = [part for module in self.modules for part in module.parameters()]
        pairs = zip(self.modules, parameters, strict=True)
        torch._foreach_copy_(targets, [part for pair in pairs for part in _split(*pair).values()])

    def outputs(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Outputs of the modules with these parameters: `(modules, samples, out)`."""
        if self._grids is not None:
            return self._grids.outputs(parameters, x)
        if not x.is_cpu:
            return self._at_once(
                lambda module, state: functional_call(module, state, (x,)), parameters
            )
        calls = zip(self.modules, parameters, strict=True)
        return torch.stack([functional_call(m, state_of(m, row), (x,)) for m, row in calls])

    def jacobian(self, parameters: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and their derivatives `(modules, samples, out, parameters)`."""
        if self._grids is not None:
            return self._grids.jacobian(parameters, x)
        # Samples are last in memory, so that operations on them are on contiguous numbers.
        jacobian = x.new_empty(len(parameters), self.width(x), parameters.shape[1], len(x))
        jacobian = jacobian.permute(0, 3, 1, 2)
        if not x.is_cpu:

            def linearize(module: nn.Module, state: dict[str, Tensor], out: Tensor) -> Tensor:
                return _linearize(module, state, x, out)

            return self._at_once(linearize, parameters, jacobian), jacobian
        outputs = []
        for module, row, out in zip(self.modules, parameters, jacobian, strict=True):
            outputs.append(_linearize(module, state_of(module, row), x, out))
        return torch.stack(outputs), jacobian

    def _at_once(
        self, function: Callable[..., Tensor], parameters: Tensor, *args: Tensor
    ) -> Tensor:
        """Calls a function of a module and its state for all modules together.

        On a GPU, which waits for each operation to start; on a CPU it would take longer.
        """
        first = self.modules[0]

        def call(row: Tensor, buffers: dict[str, Tensor], *args: Tensor) -> Tensor:
            return function(first, {**_split(first, row), **buffers}, *args)

        return vmap(call)(parameters, self._stacked_buffers, *args)


def _has_edges(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether a module consists of layers of edges alone."""
    return isinstance(module, nn.Sequential) and all(isinstance(m, EdgeLayer) for m in module)


def _split(module: nn.Module, row: Tensor) -> dict[str, Tensor]:
    parts = dict(module.named_parameters())
    values = row.split([part.numel() for part in parts.values()])
    return {
        name: part.view(old.shape) for (name, old), part in zip(parts.items(), values, strict=True)
    }


def state_of(module: nn.Module, row: Tensor) -> dict[str, Tensor]:
    """These parameters and the module's buffers, in float64."""
    return {**_split(module, row), **_buffers(module)}


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: buffer.double() if buffer.is_floating_point() else buffer
        for name, buffer in module.named_buffers()
    }


def _linearize(module: nn.Module, state: dict[str, Tensor], x: Tensor, jacobian: Tensor) -> Tensor:
    state = {f"module.{name}": part for name, part in state.items()}
    return cast(Tensor, functional_call(_Linearized(module), state, (x, jacobian)))


class _Linearized(nn.Module):
    """Writes the Jacobian of a module `(samples, out, parameters)` and returns its outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, jacobian: Tensor) -> Tensor:
        module = self.module
        if _has_edges(module):
            return _through_layers(module, x, jacobian)
        return _sample_by_sample(module, x, jacobian)


def _through_layers(network: nn.Sequential, x: Tensor, jacobian: Tensor) -> Tensor:
    """Layer by layer, from each layer's own gradients."""
    visits: list[LayerPass] = []
    pulls: list[Callable[[Tensor], Tensor] | None] = []
    for visit in walk(network, x):
        pulls.append(visit.linearize() if visits else None)  # none by the inputs of the network
        visits.append(visit)
    output = visits[-1].outputs
    for unit, grad in enumerate(torch.eye(output.shape[1], dtype=x.dtype, device=x.device)):
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
    """For any module, one sample at a time."""
    parameters = dict(module.named_parameters())

    def call(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return cast(Tensor, functional_call(module, parameters, (sample.unsqueeze(0),)))[0]

    parts = vmap(jacrev(call), in_dims=(None, 0))(parameters, x)
    jacobian.copy_(torch.cat([part.flatten(2) for part in parts.values()], dim=2))
    return cast(Tensor, module(x))
