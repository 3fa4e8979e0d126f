"""When a layer's own gradients cannot stand in for those of its definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_traced(*tensors: Tensor) -> bool:
    """Whether something records every operation or changes what it does.

    Compilers, exporters, tracers, transforms of `torch.func`, forward-mode derivatives and autocast
    do, and tensors that are more than numbers in memory.
    """
    # What torch.autograd.Function asks itself before it raises; there is no public way to ask.
    transformed: bool = torch._C._are_functorch_transforms_active()
    return (
        transformed
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch.autograd.forward_ad._current_level >= 0
        or torch.is_autocast_enabled("cpu")
        or (torch._C._len_torch_dispatch_stack() > 0 and _is_rewritten())
        or not all(map(_is_plain, tensors))
    )


def is_compiled() -> bool:
    """Whether a compiler or an exporter records every operation, and nothing else changes any."""
    transformed = torch._C._are_functorch_transforms_active()
    differentiated = torch.autograd.forward_ad._current_level >= 0
    return torch.compiler.is_compiling() and not transformed and not differentiated


def _is_rewritten() -> bool:
    """Whether the program runs on tensors without numbers, or is recorded by `make_fx`."""
    kinds = torch._C._TorchDispatchModeKey
    return any(torch._C._get_dispatch_mode(kind) is not None for kind in (kinds.FAKE, kinds.PROXY))


def _is_plain(tensor: Tensor) -> bool:
    """Whether the numbers lie in memory as they are: not fake, negated or a batch of gradients."""
    return (
        type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
        and not tensor.is_neg()
        and not torch._C._functorch.is_legacy_batchedtensor(tensor)  # `is_grads_batched`
    )


def plain_gradients(
    value: Tensor, inputs: Sequence[Tensor], grad: Tensor, create_graph: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of a value with gradient `grad` by autograd; `None` where an input needs none."""
    needed = [tensor for tensor in inputs if tensor.requires_grad]
    gradients = iter(torch.autograd.grad(value, needed, grad, create_graph=create_graph))
    return tuple(next(gradients) if tensor.requires_grad else None for tensor in inputs)
