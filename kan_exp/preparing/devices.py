"""The device that a configuration trains on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from kan_exp.errors import KanExpError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

KINDS = {"auto": None, "cpu": "cpu", "gpu": "cuda", "cuda": "cuda"}


def training_accelerator(cfg: DictConfig) -> str:
    """The accelerator to train on, `cpu` or `cuda`; `auto` means CUDA if it is available.

    MPS is never chosen: it lacks float64, which least squares and tables need.

    Raises:
        KanExpError: The accelerator is not supported or not available.
    """
    import torch

    asked = cfg.trainer.accelerator
    if asked not in KINDS:
        raise KanExpError(
            f"trainer.accelerator must be one of {', '.join(KINDS)}, got {asked!r}"
            f"{' (which has no float64)' if asked == 'mps' else ''}: set trainer=auto"
        )
    there = torch.cuda.is_available()
    if KINDS[asked] == "cuda" and not there:
        raise KanExpError(
            "trainer=gpu needs a GPU with CUDA, and torch finds none: "
            "set trainer=cpu or trainer=auto"
        )
    if asked == "auto" and not there and torch.backends.mps.is_available():
        log.info("Note: trains on the CPU: the GPU of this machine (MPS) has no float64.")
    return KINDS[asked] or ("cuda" if there else "cpu")


def training_device(cfg: DictConfig) -> torch.device:
    """The first device of the training."""
    import torch

    if cfg.trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    devices = cfg.trainer.devices
    numbered = not isinstance(devices, int | str) and len(devices) > 0
    return torch.device("cuda", int(devices[0]) if numbered else 0)
