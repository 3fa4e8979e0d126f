"""Tables with many rows are trained by gradient descent, unless the user has chosen otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kan_exp.config import STREAM, TABLE, Component, RunConfig, RunContext, choice, config_folder
from kan_exp.preparing.sources import read_source, split_options
from kan_exp.runs import option_name
from kan_exp.runs.identity import group_name

# Rows from which a step of least squares, which sees all of them, takes longer than a training by
# mini-batches needs.
MANY_ROWS = 10_000
NAME = "adam"
CHOICES = ("optimizer", "scheduler", "refine", "smoothing", "experiment")


def for_many_rows(config: RunConfig, context: RunContext) -> tuple[RunConfig, RunContext]:
    """Replaces least squares by adam for streams, and tables of `MANY_ROWS` training rows or more.

    Not if any option of the optimizer was given. Other options keep the values that were given,
    and are those of `optimizer=adam` if they were not.

    Raises:
        KanExpError: The table cannot be read.
    """
    given = {option_name(text) for text in context.overrides}
    groups = {group_name(name) for name in given} | {
        name for name, chosen in context.choices.items() if name == "experiment" and chosen
    }
    gradient = context.gradient
    by_default = gradient is not None and config.uses_least_squares and not groups & {*CHOICES}
    if not by_default or gradient is None or not _has_many(config.data):
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


def note_on_optimizer(asked: RunConfig, config: RunConfig) -> str:
    """A line about an optimizer that was replaced; empty if it was not."""
    if asked.optimizer.target == config.optimizer.target:
        return ""
    return (
        f"optimizer={NAME}: least squares is the default below {MANY_ROWS:,} training rows; "
        f"optimizer=lm takes the time"
    )
