"""Options that a run's stored configuration lacks, since they are newer than the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kan_exp.config import GROUPS, config_folder
from kan_exp.runs.identity import NON_RESULT_OPTIONS


def complete(config: dict[str, Any], today: Mapping[str, Any]) -> list[str]:
    """Adds to a stored configuration the options of `today`'s conf/train.yaml that it lacks.

    They take the value in conf/. Constructors have defaults of their own, which may be others.

    Returns:
        What was added and may affect the result, as `name=value`.
    """
    added: list[tuple[str, Any]] = []
    for name, value in today.items():
        if name in ("sweep", *GROUPS, "callbacks"):
            continue
        if name not in config:
            config[name] = value
            if name not in NON_RESULT_OPTIONS:
                added.append((name, value))
        elif isinstance(value, Mapping) and isinstance(config[name], dict):
            added += _fill(config[name], value, name)
    for group in GROUPS:
        if isinstance(stored := config.get(group), dict):
            added += _fill(stored, _options(group, stored), group)
    default = read_yaml(Path(config_folder(), "callbacks", "default.yaml"))
    for name, stored in (config.get("callbacks") or {}).items():
        if isinstance(stored, dict) and _same(stored, known := default.get(name)):
            added += _fill(stored, known, f"callbacks.{name}")
    return [
        f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for name, value in added
    ]


def _fill(stored: dict[str, Any], known: Mapping[str, Any], group: str) -> Iterator[Any]:
    for name, value in known.items():
        if name not in stored and not name.startswith("_") and value != "???":
            stored[name] = value
            yield f"{group}.{name}", value


def _options(group: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the config in conf/ that makes the same; none if there is no such config."""
    for path in sorted(Path(config_folder(), group).glob("*.yaml")):
        known = read_yaml(path)
        known = known.get(group) if isinstance(known.get(group), dict) else known
        if _same(stored, known):
            # Options of one choice among several, as the formula of a target, are always stored.
            return known
    return {}


def _same(stored: Mapping[str, Any], known: Any) -> bool:
    target = known.get("_target_") if isinstance(known, dict) else None
    return target is not None and stored.get("_target_") == target


def read_yaml(path: Path) -> Any:
    """A YAML file as plain containers, its references unresolved."""
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
