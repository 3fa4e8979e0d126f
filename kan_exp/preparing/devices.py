"""The device that a configuration trains on."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from kan_exp.config import RunConfig
from kan_exp.errors import KanExpError

if TYPE_CHECKING:
    import torch

    from kan_exp.models.model import KANModel

log = logging.getLogger(__name__)

KINDS = {"auto": None, "cpu": "cpu", "gpu": "cuda", "cuda": "cuda"}

# Numbers of a step below which a CPU is faster. A step is some 400 launches, which took 4 ms on an
# H100 whatever the network; a core of a CPU computes so many values of edges in 1 ms (splines) to
# 8 ms (Chebyshev).
SMALL_STEP = 2**20


def training_accelerator(config: RunConfig) -> str:
    """The accelerator to train on, `cpu` or `cuda`; `auto` means CUDA if it is available.

    MPS is never chosen: it lacks float64, which least squares and tables need.
    """
    import torch

    accelerator = config.trainer.options["accelerator"]
    if accelerator not in KINDS:
        raise KanExpError(
            f"trainer.accelerator must be one of {', '.join(KINDS)}, got {accelerator!r}"
            f"{' (which has no float64)' if accelerator == 'mps' else ''}: set trainer=auto"
        )
    has_cuda = torch.cuda.is_available()
    if KINDS[accelerator] == "cuda" and not has_cuda:
        raise KanExpError(
            "trainer=gpu needs a GPU with CUDA, and torch finds none: "
            "set trainer=cpu or trainer=auto"
        )
    if accelerator == "auto" and not has_cuda and torch.backends.mps.is_available():
        log.info("Note: trains on the CPU: the GPU of this machine (MPS) has no float64.")
    return KINDS[accelerator] or ("cuda" if has_cuda else "cpu")


def with_fast_device(config: RunConfig, model: KANModel, rows: int) -> tuple[RunConfig, str | None]:
    """With `trainer=auto` and a GPU, the CPU for steps that are too small, and a note about it.

    Args:
        config: Settled.
        model: Of the run; of one replica.
        rows: How many there are to train on.
    """
    import torch

    asked = config.trainer.options["accelerator"]
    if config.shares_steps or asked != "auto" or not torch.cuda.is_available():
        return config, None
    if config.uses_least_squares or config.smooths:  # the Jacobians of all starts
        starts = config.smoothing.num_candidates if config.smooths else config.refine.num_candidates
        numbers = rows * max(starts) * sum(part.numel() for part in model.parameters())
    else:
        each = sum(layer.numbers_per_sample for layer in model.edge_layers)
        numbers = min(config.batch_size or rows, rows) * config.replicas * each
    if numbers >= SMALL_STEP:
        return config, None
    options = {**config.trainer.options, "accelerator": "cpu"}
    note = (
        f"trains on the CPU, which is faster than a GPU at steps of fewer than {SMALL_STEP:,} "
        f"numbers ({numbers:,} here); trainer=gpu takes the GPU."
    )
    return replace(config, trainer=replace(config.trainer, options=options)), note


def training_device(config: RunConfig) -> torch.device:
    """The first device of the training."""
    import torch

    trainer = config.trainer.options
    if trainer["accelerator"] == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    devices = trainer.get("devices")
    return torch.device("cuda", int(devices[0]) if isinstance(devices, list) and devices else 0)
