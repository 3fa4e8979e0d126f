"""The device that a configuration trains on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kan_exp.config import RunConfig
from kan_exp.errors import KanExpError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

KINDS = {"auto": None, "cpu": "cpu", "gpu": "cuda", "cuda": "cuda"}


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


def training_device(config: RunConfig) -> torch.device:
    """The first device of the training."""
    import torch

    trainer = config.trainer.options
    if trainer["accelerator"] == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    devices = trainer.get("devices")
    return torch.device("cuda", int(devices[0]) if isinstance(devices, list) and devices else 0)
