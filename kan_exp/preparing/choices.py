"""The user's choices as flat values, by which runs are shown and distinguished."""

from __future__ import annotations

import math
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kan_exp.preparing.keys import follows_seed
from kan_exp.preparing.layers import kind_and_options
from kan_exp.preparing.sources import uses_target


def flat_choices(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """Groups, numbers of the run, options of layer and optimizer: one level, plain values.

    Options that follow the seed are given unresolved, so that all seeds share them.
    """
    groups = ("layer", "target", "data", "task", "optimizer", "scheduler")
    flat: dict[str, Any] = {group: choices.get(group, "none") for group in groups}
    if not uses_target(cfg):
        del flat["target"]
    if cfg.layers is not None:
        entries: list[Any] = OmegaConf.to_container(cfg.layers, resolve=True)  # type: ignore[assignment]
        flat["layer"] = "+".join(kind_and_options(entry)[0] for entry in entries)
    for name in ("seed", "steps", "batch_size"):
        flat[name] = cfg[name]
    flat["dims"] = list(cfg.dims)
    if cfg.replicas > 1:
        flat["replicas"] = cfg.replicas
    for group in ("layer", "task", "optimizer", "penalty"):
        options: dict[str, Any] = OmegaConf.to_container(cfg[group], resolve=True)  # type: ignore[assignment]
        for name, value in options.items():
            if not name.startswith("_"):
                flat[f"{group}.{name}"] = _storable(value)
    return {**flat, **follows_seed(cfg)}


def _storable(value: Any) -> Any:
    """A value with text for infinity and NaN, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_storable(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
