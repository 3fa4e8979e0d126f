"""Least squares on functions of networks and of their derivatives by the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from kan_exp.layers.jets import Jets, Key, closure, network_jets
from kan_exp.optimizers.fit import BYTES, Limits
from kan_exp.optimizers.jacobian import BatchedNetworks, state_of
from kan_exp.optimizers.jet_stack import JetStack, stack_layers
from kan_exp.optimizers.least_squares import Problem, Value
from kan_exp.optimizers.penalties import Penalty, Sum
from kan_exp.optimizers.systems import Block, ParameterSystem, System

# From points `(n, columns)`, derivatives of the outputs, `(networks, n, out)` by their keys, and
# coefficients `(networks, n, coefficients)` to residuals `(networks, n, equations)`.
Pointwise = Callable[[Tensor, Mapping[Key, Tensor], Tensor], Tensor]


class Term(NamedTuple):
    """Residuals of the same equations at many points.

    Attributes:
        inputs: Jets of the inputs of the networks, `(n, in)` each.
        points: What `function` knows of each point, `(n, columns)`.
        keys: The derivatives that `function` uses.
        function: Makes the residuals.
        weight: The loss has this times the sum over equations of the mean square over points.
    """

    inputs: Jets
    points: Tensor
    keys: Sequence[Key]
    function: Pointwise
    weight: float = 1.0


class Residuals(NamedTuple):
    """Terms, and the coefficients of each network that are found with its parameters."""

    terms: Sequence[Term]
    coefficients: Tensor  # (networks, coefficients)


class ResidualFit(Problem):
    """Minimizes the weighted mean squares of residuals.

    Parameters are those of the networks, followed by the coefficients.

    Args:
        networks: Networks of one shape.
        residuals: What is minimized.
        penalties: Added to the loss; functions of the networks' parameters.
        limits: Limits of a step; conjugate gradients are not used.
    """

    def __init__(
        self,
        networks: BatchedNetworks,
        residuals: Residuals,
        penalties: Sequence[Penalty],
        limits: Limits,
    ) -> None:
        self.networks, self._layers = networks, stack_layers(networks.modules)
        self.terms = [
            term._replace(keys=closure(term.keys)) for term in residuals.terms if len(term.points)
        ]
        self.coefficients = residuals.coefficients
        self.penalty, self.limits = Sum(penalties), limits

    def read(self) -> Tensor:
        """All parameters, `(networks, parameters + coefficients)`."""
        return torch.cat([self.networks.read(), self.coefficients], 1)

    def write(self, parameters: Tensor) -> None:
        """Puts parameters back into the networks, and coefficients into their tensor."""
        weights, coefficients = self._split(parameters)
        self.networks.write(weights)
        self.coefficients.copy_(coefficients)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        count = self.coefficients.shape[1]
        return parameters[:, : parameters.shape[1] - count], parameters[
            :, parameters.shape[1] - count :
        ]

    def evaluate(self, parameters: Tensor) -> Value:
        loss = parameters.new_zeros(len(parameters))
        for part in self._blocks(parameters):
            loss += self._residuals(parameters, part).square().sum((1, 2))
        return self._value(parameters, loss)

    def expand(self, parameters: Tensor) -> tuple[Value, System]:
        def blocks() -> Iterator[Block]:
            for term in self._blocks(parameters):
                for rows, residuals in self._rows(parameters, term):
                    yield rows, residuals, residuals.square().sum(1)

        system = ParameterSystem(blocks, 1, self.penalty.expand(parameters), self.limits.qr)
        return self._value(parameters, system.loss), system

    def sizes(self, parameters: Tensor, place: int) -> Tensor:
        """Norm of the residuals of a term at each point, `(networks, n)`."""
        return self._residuals(parameters, self.terms[place]).norm(dim=2)

    def _rows(self, parameters: Tensor, term: Term) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows `(networks, n, parameters)` and residuals `(networks, n)`, an equation at a time."""
        weights, coefficients = self._split(parameters)
        points = term.points
        if self._layers is None:
            yield from self._by_sample(parameters, term)
            return
        stack = JetStack(self._layers, weights, term.inputs, term.keys)
        with torch.enable_grad():
            jets = {key: part.detach().requires_grad_() for key, part in stack.outputs.items()}
            known = coefficients.unsqueeze(1).expand(-1, len(points), -1).detach().requires_grad_()
            each = (self._scale(term) * term.function(points, jets, known)).unbind(2)
            sums = [residual.sum() for residual in each]
        size = weights.shape[1]
        for residual, total in zip(each, sums, strict=True):
            grads = torch.autograd.grad(
                total, [*jets.values(), known], retain_graph=True, allow_unused=True
            )
            by_jets = {
                key: grad for key, grad in zip(jets, grads, strict=False) if grad is not None
            }
            rows = parameters.new_zeros(*residual.shape, parameters.shape[1])
            if by_jets:
                stack.pull_back(by_jets, rows[:, :, :size])
            if grads[-1] is not None:
                rows[:, :, size:] = grads[-1]
            yield rows, residual.detach()

    def _by_sample(self, parameters: Tensor, term: Term) -> Iterator[tuple[Tensor, Tensor]]:
        """For any kind of network, one sample at a time."""
        made = []
        for module, row in zip(self.networks.modules, parameters, strict=True):

            def residual(
                row: Tensor, inputs: Jets, at: Tensor, module: nn.Module = module
            ) -> tuple[Tensor, Tensor]:
                weights, known = self._split(row.unsqueeze(0))
                jets = _jets(module, weights[0], _lead(inputs), term.keys)
                values = term.function(at.unsqueeze(0), _lead(jets), known.unsqueeze(1))[0, 0]
                return values, values

            jacobian, values = vmap(jacrev(residual, has_aux=True), (None, 0, 0))(
                row, dict(term.inputs), term.points
            )
            made.append((jacobian, values))
        rows = self._scale(term) * torch.stack([jacobian for jacobian, _ in made])
        residuals = self._scale(term) * torch.stack([values for _, values in made])
        yield rows.flatten(1, 2), residuals.flatten(1)

    def _residuals(self, parameters: Tensor, term: Term) -> Tensor:
        weights, coefficients = self._split(parameters)
        if self._layers is not None:
            jets = JetStack(self._layers, weights, term.inputs, term.keys).outputs
        else:
            pairs = zip(self.networks.modules, weights, strict=True)
            each = [_jets(*pair, term.inputs, term.keys) for pair in pairs]
            jets = {key: torch.stack([one[key] for one in each]) for key in each[0]}
        known = coefficients.unsqueeze(1).expand(-1, len(term.points), -1)
        return self._scale(term) * term.function(term.points, jets, known)

    def _scale(self, term: Term) -> float:
        return cast(float, (term.weight / len(term.points)) ** 0.5)

    def _value(self, parameters: Tensor, loss: Tensor) -> Value:
        return Value(loss, loss + self.penalty.value(parameters))

    def _blocks(self, parameters: Tensor) -> Iterator[Term]:
        """Parts of the terms whose Jacobians fit into memory."""
        size = max(1, int(self.limits.memory // (parameters.numel() * BYTES)))
        for term in self.terms:
            for start in range(0, len(term.points), size):
                points = term.points[start : start + size]
                inputs = {key: one[start : start + size] for key, one in term.inputs.items()}
                weight = term.weight * (len(points) / len(term.points))
                yield term._replace(inputs=inputs, points=points, weight=weight)


class _Jets(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = cast(nn.Sequential, module)

    def forward(self, inputs: Jets, keys: Sequence[Key]) -> dict[Key, Tensor]:
        return network_jets(self.module, inputs, keys)


def _jets(module: nn.Module, row: Tensor, inputs: Jets, keys: Sequence[Key]) -> dict[Key, Tensor]:
    state = {f"module.{name}": part for name, part in state_of(module, row).items()}
    return cast("dict[Key, Tensor]", functional_call(_Jets(module), state, (inputs, keys)))


def _lead(jets: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
    return {key: part.unsqueeze(0) for key, part in jets.items()}
