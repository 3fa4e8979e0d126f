"""Many networks of one shape as one, whose tensors have a leading axis of replicas."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


@torch.no_grad()
def stack_networks(networks: Sequence[nn.Sequential]) -> nn.Sequential:
    """Stacks networks that differ in nothing but their numbers and masks.

    Args:
        networks: At least one. A layer has a mask in all of them or in none.

    Returns:
        A network whose parameters and persistent buffers have a leading axis of replicas. `walk`
        evaluates it with `stacked=True`, `over_replicas` calls any function of it.
    """
    stack = copy.deepcopy(networks[0])
    states = [network.state_dict() for network in networks]
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("stack_networks needs networks of one shape, with the same layers masked.")
    for name, tensor in stack.state_dict(keep_vars=True).items():
        tensor.data = torch.stack([state[name] for state in states])
    return stack


def over_replicas(module: nn.Module, function: Callable[..., Any], *args: Tensor) -> Any:
    """Calls a function of a module for each replica, all at once.

    Args:
        module: Of which every parameter and persistent buffer has a leading axis of replicas.
        function: Takes the module as one replica has it, and its share of `args`; returns tensors
            or containers of them.
        args: Tensors with a leading axis of replicas.

    Returns:
        What the function returns, with a leading axis of replicas.
    """
    caller = _Caller(module)
    state = caller.state_dict(keep_vars=True)

    def call(state: dict[str, Tensor], *args: Tensor) -> Any:
        return functional_call(caller, state, (function, *args))

    return vmap(call)(state, *args)


class _Caller(nn.Module):
    """Calls any function of a module, where `functional_call` calls its forward pass."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[..., Any], *args: Tensor) -> Any:
        return function(self.module, *args)
