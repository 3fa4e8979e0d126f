"""How much memory a stack of replicas takes, before it is taken."""

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
# The backward pass makes gradients of the kept tensors, and temporaries.
PASS_COPIES = 3.0
TRIAL_POINTS = 8


class Sizes(NamedTuple):
    """Steps of a chunk, points of a mini-batch, and points that there are."""

    steps: int
    batch: int
    points: int


def check_memory(module: Any, replicas: int, sizes: Sizes, device: torch.device) -> None:
    """Refuses more replicas than fit into the memory that is free.

    Args:
        module: A `ReplicaModule` of one replica, from which the rest is reckoned.
        replicas: How many there shall be.
        sizes: Of what is fed to each.
        device: Where they are trained.

    Raises:
        KanExpError: They would not fit; the message says how many would.
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

    What a pass keeps is measured on few points and extended to the batch, so that it holds for
    every kind of layer and penalty. The ranges of the edges are observed on more points than a
    small batch has, without gradients.
    """
    weights = sum(weight.numel() * weight.element_size() for weight in module.stack.parameters())
    few, more = (_kept_bytes(module, count) for count in (TRIAL_POINTS, 2 * TRIAL_POINTS))
    growing = (more - few) / TRIAL_POINTS
    kept = few + growing * (sizes.batch - TRIAL_POINTS)
    observed = few + growing * (min(OBSERVED_POINTS, sizes.points) - TRIAL_POINTS)
    inputs = len(module.model.features)
    fed = 0
    if sizes.batch < sizes.points:  # else all replicas share the points
        numbers = 2 * (inputs + 1) * 4 + 3 * 8  # float32, this chunk and the next, and indices
        fed = sizes.steps * sizes.batch * numbers + 2 * 8 * sizes.points
    return COPIES * weights + max(PASS_COPIES * kept, observed) + fed


def _kept_bytes(module: Any, points: int) -> int:
    """Bytes that the objective keeps for its backward pass, beside the parameters."""
    own = {part.untyped_storage().data_ptr() for part in module.state_dict().values()}
    # What is kept for a moment only is held here until the end: memory that is given back would be
    # taken again at the same address, and one address would stand for several tensors.
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
    x, y = (like.new_zeros(1, points, width) for width in (len(module.model.features), 1))
    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        loss, penalties = module.objective(x, y)
        torch.stack([loss, *penalties.values()]).sum()
    return sum(size for _, size in seen.values())


def free_bytes(device: torch.device) -> float:
    """Memory that can be taken on a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return host_bytes()
