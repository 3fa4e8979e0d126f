"""Estimates the memory of a stack of replicas before it is allocated."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kan_exp.errors import KanExpError
from kan_exp.training.host_memory import host_bytes
from kan_exp.training.module import OBSERVED_POINTS

# Weights, gradients, two moments, the step before, the best on validation, the single networks that
# are stacked, and temporaries of an update.
COPIES = 9
PASS_COPIES = 3.0  # tensors that a pass keeps, their gradients, and temporaries
TRIAL_POINTS = 8


class Sizes(NamedTuple):
    """Steps of a chunk, points of a mini-batch, and all points."""

    steps: int
    batch: int
    points: int


def check_memory(module: Any, replicas: int, sizes: Sizes, device: torch.device) -> None:
    """Raises a `KanExpError` if replicas do not fit into the free memory; it says how many would.

    The need is estimated from a `ReplicaModule` of one replica.
    """
    each, free = replica_bytes(module, sizes), free_bytes(device)
    if replicas * each > free:
        raise KanExpError(
            f"replicas={replicas} needs about {replicas * each / 1e9:,.1f} GB of memory, but "
            f"{free / 1e9:,.1f} GB are free: set replicas={max(1, int(free // each))}"
            f"{'' if free >= each else ' and a lower batch_size'}."
        )


def replica_bytes(module: Any, sizes: Sizes) -> float:
    """Bytes that one more replica takes: its weights, its points, and what a pass keeps.

    What a pass keeps is measured on few points and extrapolated to the batch, for every kind of
    layer and penalty. The ranges of the edges are observed on more points than a small batch has,
    without gradients.
    """
    weights = sum(weight.numel() * weight.element_size() for weight in module.stack.parameters())
    few, more = (_kept_bytes(module, count) for count in (TRIAL_POINTS, 2 * TRIAL_POINTS))
    growing = (more - few) / TRIAL_POINTS
    kept = few + growing * (sizes.batch - TRIAL_POINTS)
    observed = few + growing * (min(OBSERVED_POINTS, sizes.points) - TRIAL_POINTS)
    fed = 0
    if sizes.batch < sizes.points:  # else all replicas share the points
        # float32 of this chunk and the next, and indices
        numbers = 2 * sum(_widths(module)) * 4 + 3 * 8
        fed = sizes.steps * sizes.batch * numbers + 2 * 8 * sizes.points
    return COPIES * weights + max(PASS_COPIES * kept, observed) + fed


def _widths(module: Any) -> tuple[int, int]:
    """Numbers of a point's inputs and outputs."""
    return len(module.model.features), len(module.model.y_mean)


def _kept_bytes(module: Any, points: int) -> int:
    """Bytes that the objective keeps for its backward pass, without the parameters."""
    own = {part.untyped_storage().data_ptr() for part in module.state_dict().values()}
    # Tensors that are kept only for a moment are held until the end: memory that is given back
    # would be taken again at the same address, and one address would stand for several tensors.
    seen: dict[int, tuple[Tensor, int]] = {}

    def see(tensor: Tensor) -> Tensor:
        try:
            key, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        except RuntimeError:  # a wrapper of torch.func, which has no storage of its own
            key, size = id(tensor), tensor.nbytes
        if key not in own:
            seen[key] = tensor, size
        return tensor

    like = next(module.stack.parameters())
    x, y = (like.new_zeros(1, points, width) for width in _widths(module))
    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        loss, penalties = module.objective(x, y)
        torch.stack([loss, *penalties.values()]).sum()
    return sum(size for _, size in seen.values())


def free_bytes(device: torch.device) -> float:
    """Free memory of a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return host_bytes()
