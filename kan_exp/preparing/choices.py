"""What a user has chosen, in forms by which runs are shown and told apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kan_exp.preparing.layers import kind_and_options
from kan_exp.preparing.sources import uses_target

# They decide where and how a run is shown, not what comes of it.
BESIDE = ("logger", "callbacks", "sweep", "threads", "checkpoint_seconds")


def run_key(cfg: DictConfig) -> str:
    """A digest of all that decides what a run finds, by which a repeated job is recognised."""
    try:
        plain = {name: _plain(cfg[name]) for name in cfg if name not in BESIDE}
    except OmegaConfBaseException:  # it will be refused in better words
        plain = OmegaConf.to_container(cfg, resolve=False)  # type: ignore[assignment]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def setting_key(cfg: DictConfig) -> str:
    """The same for all seeds, whether they are trained as one stack or by themselves."""
    setting = cfg.copy()
    setting.seed, setting.replicas = 0, 1
    return run_key(setting)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def flat_choices(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """Groups, numbers of the run, options of layer and optimizer: one level, plain values."""
    groups = ("layer", "target", "data", "optimizer", "scheduler")
    flat: dict[str, Any] = {group: choices[group] for group in groups}
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
    for group in ("layer", "optimizer", "penalty"):
        options: dict[str, Any] = OmegaConf.to_container(cfg[group], resolve=True)  # type: ignore[assignment]
        for name, value in options.items():
            if not name.startswith("_"):
                flat[f"{group}.{name}"] = value
    return flat
