"""Defaults of a training that depend on the data, and on what else was typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kan_exp.config import STREAM, TABLE, Component, RunConfig, RunContext, choice, config_folder
from kan_exp.preparing.sources import read_source, split_options
from kan_exp.preparing.widths import shown_dims
from kan_exp.runs import option_name
from kan_exp.runs.identity import group_name

# Rows from which a step of least squares, which sees all of them, takes longer than a training by
# mini-batches needs.
MANY_ROWS = 10_000
NAME = "adam"
CHOICES = ("optimizer", "scheduler", "refine", "smoothing", "experiment")


def with_defaults(config: RunConfig, context: RunContext) -> tuple[RunConfig, RunContext]:
    """Replaces defaults that do not go with the data, or with options that were typed.

    Streams, and tables of `MANY_ROWS` training rows or more, are trained by adam instead of least
    squares, unless an option of the optimizer was typed. Other options keep the values that were
    typed, and are those of `optimizer=adam` if they were not. Where options of `refine` or
    `penalty` were typed, these decide the smoothness of edges.

    Raises:
        KanExpError: The table cannot be read.
    """
    config, context = _by_gradient(config, context)
    if config.smooths and _types_stages(context):
        config = replace(config, smoothing=replace(config.smoothing, method=None))
    return config, context


def _by_gradient(config: RunConfig, context: RunContext) -> tuple[RunConfig, RunContext]:
    given = {option_name(text) for text in context.overrides}
    groups = set(map(group_name, context.overrides))
    if context.choices.get("experiment"):
        groups.add("experiment")
    gradient = context.gradient
    if gradient is None or not config.uses_least_squares or groups & {*CHOICES}:
        return config, context
    if not _has_many(config.data):
        return config, context
    base = yaml.safe_load(Path(config_folder(), "train.yaml").read_text(encoding="utf-8"))
    names = ("log_every_n_steps", "evaluations")
    values: dict[str, Any] = {**gradient, **{name: base[name] for name in names}}
    roughness = values.pop("roughness")
    values = {name: value for name, value in values.items() if name not in given}
    penalty = {"roughness": roughness, "jerk": base["penalty"]["jerk"]}
    penalty = {name: v for name, v in penalty.items() if f"penalty.{name}" not in given}
    steps = values.get("steps", config.steps)
    config = replace(
        config,
        optimizer=choice("optimizer", NAME),
        scheduler=choice("scheduler", "cosine", T_max=steps),
        penalty=replace(config.penalty, **penalty),
        **values,
    )
    choices = {**context.choices, "optimizer": NAME, "scheduler": "cosine"}
    return config, replace(context, choices=choices)


def _has_many(data: Component) -> bool:
    if data.target != TABLE:
        return data.target == STREAM
    return split_options(data.options).check(read_source(data.options)) >= MANY_ROWS


def _types_stages(context: RunContext) -> bool:
    """Whether options of the stages of least squares were typed, and none of `smoothing`."""
    typed = set(map(group_name, context.overrides))
    return bool(typed & {"refine", "penalty"}) and "smoothing" not in typed


def notes_on_defaults(asked: RunConfig, config: RunConfig) -> list[str]:
    """Lines about defaults that were replaced."""
    if asked.optimizer.target != config.optimizer.target:
        return [
            f"optimizer={NAME}: least squares is the default below {MANY_ROWS:,} training rows; "
            f"optimizer=lm takes the time"
        ]
    if asked.smoothing.method != config.smoothing.method:
        return ["smoothing.method=null: refine and penalty decide how smooth edges are"]
    if config.smoothing.method and config.uses_least_squares and len(config.widths) > 3:
        return [
            f"{shown_dims(config.dims)}: smoothness is found from the data for one hidden layer at "
            f"most; on noisy data try dims=null"
        ]
    return []
