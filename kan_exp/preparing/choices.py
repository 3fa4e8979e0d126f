"""The user's choices as flat values, by which runs are shown and distinguished."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from kan_exp.config import Component, RunConfig, RunContext, to_values


def flat_choices(config: RunConfig, context: RunContext) -> dict[str, Any]:
    """Groups, numbers of the run, options of layer and optimizer: one level, plain values.

    Options that follow the seed are given unresolved, so that all seeds share them.
    """
    targets = {
        "layer": "+".join(dict.fromkeys(_short(layer) for layer in config.each_layer)),
        "target": "none",
        "data": _short(config.data),
        "task": _short(config.task),
        "optimizer": _short(config.optimizer),
        "scheduler": "none" if config.scheduler is None else _short(config.scheduler),
    }
    flat: dict[str, Any] = {name: context.choices.get(name, targets[name]) for name in targets}
    if not isinstance(config.data.options.get("target"), Component):
        del flat["target"]
    flat |= {name: getattr(config, name) for name in ("seed", "steps", "batch_size")}
    # What is left to the data is known at the end of the training.
    flat["dims"] = None if config.smoothing.choose else list(config.widths)
    if config.prune is not None:
        flat["prune"] = config.prune
    if any(config.multiply or ()):
        flat["multiply"] = list(config.multiply or ())
    if config.replicas > 1:
        flat["replicas"] = config.replicas
    options = {
        "layer": config.layers.options if isinstance(config.layers, Component) else {},
        "task": config.task.options,
        "optimizer": config.optimizer.options,
        "penalty": asdict(config.penalty),
    }
    for group, values in options.items():
        for name, value in to_values(values).items():
            if not name.startswith("_"):
                flat[f"{group}.{name}"] = _storable(value)
    return {**flat, **context.follows_seed}


def _short(component: Component) -> str:
    return component.target.rpartition(".")[2]


def _storable(value: Any) -> Any:
    """A value with text for infinity and NaN, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_storable(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
