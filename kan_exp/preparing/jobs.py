"""What the first of several processes tells the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kan_exp.preparing.layers import search_path_override


def make_job(
    cfg: DictConfig, folder: Path, choices: dict[str, str], checkpoint: Path | None = None
) -> dict[str, Any]:
    """What rank 0 tells the others, in plain containers: the very configuration that it has."""
    return {
        "config": OmegaConf.to_container(cfg, resolve=False),
        "folder": str(folder),
        "choices": dict(choices),
        "search": search_path_override(),
        "checkpoint": None if checkpoint is None else str(checkpoint),
    }
