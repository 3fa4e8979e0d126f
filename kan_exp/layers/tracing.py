"""When a layer's own gradients cannot stand in for those of its definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_traced() -> bool:
    """Whether something looks at every operation or changes what it does.

    Compilers do, exporters, transforms of `torch.func`, forward-mode derivatives and autocast.
    """
    # What torch.autograd.Function asks itself before it refuses; there is no public way to ask.
    transformed: bool = torch._C._are_functorch_transforms_active()
    return (
        transformed
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch.autograd.forward_ad._current_level >= 0
        or torch.is_autocast_enabled("cpu")
    )


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
