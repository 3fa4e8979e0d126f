"""Whether every group of a configuration has what a run is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kan_exp.errors import KanExpError
from kan_exp.preparing.sources import uses_target

# What no run can do without, and choices that can be removed.
NEEDED = ("layer", "data", "task", "optimizer", "trainer", "target")
OPTIONAL = ("scheduler", "logger")


def check_groups(cfg: DictConfig) -> None:
    """Refuses a configuration from which a group was removed, or its `_target_`.

    Raises:
        KanExpError: A group is not there, or does not say what it makes.
    """
    for group in NEEDED:
        if group == "target" and not uses_target(cfg):
            continue
        if not OmegaConf.select(cfg, group):
            raise KanExpError(f"{group} is needed: choose one by {group}=..., without ~{group}.")
        _check_target(cfg, group)
    for group in OPTIONAL:
        if OmegaConf.select(cfg, group):
            _check_target(cfg, group)
    callbacks = written(cfg, "callbacks")
    if callbacks is not None and not isinstance(callbacks, Mapping):
        raise KanExpError(f"callbacks must be options of callbacks, got {callbacks!r}.")
    for name in callbacks or {}:
        if cfg.callbacks[name] is not None:
            _check_target(cfg, f"callbacks.{name}")


def _check_target(cfg: DictConfig, path: str) -> None:
    value = written(cfg, path)
    if not isinstance(value, Mapping):
        raise KanExpError(f"{path} must be a config with options, got {value!r}.")
    if not isinstance(value.get("_target_"), str):
        raise KanExpError(f"{path}._target_ is needed: it names what {path} makes.")


def written(cfg: DictConfig, path: str) -> Any:
    """A part of a configuration in plain containers, its references unresolved."""
    value = OmegaConf.select(cfg, path)
    return OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value
