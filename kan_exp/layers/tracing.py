"""When a layer's own gradients cannot stand in for those of its definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_traced() -> bool:
    """Whether a compiler, an exporter or a transform of `torch.func` looks at every operation."""
    # What torch.autograd.Function asks itself before it refuses; there is no public way to ask.
    transformed: bool = torch._C._are_functorch_transforms_active()
    return transformed or torch.compiler.is_compiling()


def plain_gradients(
    value: Tensor, inputs: Sequence[Tensor], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of a value by autograd, which can be differentiated again.

    Args:
        value: What the definition makes of the inputs.
        inputs: Tensors, of which some may need no gradient.
        grad: Gradient of the value.
    """
    needed = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(torch.autograd.grad(value, needed, grad, create_graph=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)
