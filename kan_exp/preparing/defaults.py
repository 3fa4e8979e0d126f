"""Defaults of a training that depend on the data, and on what else was typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml

from kan_exp.config import (
    ARRAYS,
    LINES,
    STREAM,
    TABLE,
    Component,
    RunConfig,
    RunContext,
    choice,
    config_folder,
)
from kan_exp.preparing.components import make_task
from kan_exp.preparing.constraints import read_constraints
from kan_exp.preparing.sources import SKLEARN, training_rows
from kan_exp.preparing.tasks import recognize_task
from kan_exp.preparing.widths import AUTO, shown_dims
from kan_exp.runs import option_name
from kan_exp.runs.identity import group_name
from kan_exp.training.smooth_plan import MAX_CURVE_NUMBERS

# Rows from which a step of least squares, which sees all of them, takes longer than a training by
# mini-batches needs.
MANY_ROWS = 10_000
MANY, WIDE = "adam", "adamw"
CHOICES = ("optimizer", "scheduler", "refine", "smoothing", "experiment")
CHOICES_OF_WIDE = (*CHOICES, "dims", "layers", "multiply", "penalty")
DIGITS = (1797, 64, 10)  # rows, inputs and classes of data=sklearn data.name=digits


def with_defaults(config: RunConfig, context: RunContext) -> tuple[RunConfig, RunContext]:
    """Replaces defaults that do not go with the data, or with options that were typed.

    Inputs that are to be monotone or convex need edges that can be, see `read_constraints`.

    Wide tables that have enough rows are trained as `wide` of conf/train.yaml says, beginning with
    the linear model, unless options of the network or the optimizer were typed.

    Streams, and other tables of `MANY_ROWS` training rows or more, are trained by adam instead of
    least squares, unless an option of the optimizer was typed. Other options keep the values that
    were typed, and are those of `optimizer=adam` if they were not. Where options of `refine` or
    `penalty` were typed, or nodes multiply, these decide the smoothness of edges.

    Raises:
        KanExpError: The table cannot be read.
    """
    config, context = read_constraints(config, context)
    if (size := _size_of_wide(config, context)) is not None:
        return _wide(config, context, size)
    config, context = _by_gradient(config, context)
    typed = _typed(context)
    asks_stages = typed & {"refine", "penalty"} and "smoothing" not in typed
    if config.smooths and (asks_stages or any(config.multiply or ())):
        config = replace(config, smoothing=replace(config.smoothing, method=None))
    return config, context


def _size_of_wide(config: RunConfig, context: RunContext) -> tuple[int, int, int] | None:
    """Training rows, inputs and outputs of a table that is wide and has rows enough."""
    layer = config.layers
    if context.wide is None or _typed(context) & {*CHOICES_OF_WIDE}:
        return None
    if not config.smooths or config.dims is not None or not isinstance(layer, Component):
        return None
    size = None if layer.target == LINES else _size(config)
    if size is None:
        return None
    rows, inputs, outputs = size
    is_wide = (
        2 * inputs * outputs > MAX_CURVE_NUMBERS
    )  # each edge would have less than two functions
    return size if is_wide and rows >= context.wide["rows"] * inputs else None


def _size(config: RunConfig) -> tuple[int, int, int] | None:
    """Training rows, inputs and outputs, where they are known before the data are made."""
    options = config.data.options
    if config.data.target == SKLEARN and (options["name"], options["target"]) == ("digits", None):
        return round(options["fractions"][0] * DIGITS[0]), *DIGITS[1:]
    if config.data.target not in (ARRAYS, TABLE):
        return None
    schema, rows = training_rows(config.data)
    task = make_task(recognize_task(config.task, config.data))
    if not schema.has_features:
        return None
    return rows, len(schema.features), task.num_outputs(schema)


def _wide(
    config: RunConfig, context: RunContext, size: tuple[int, int, int]
) -> tuple[RunConfig, RunContext]:
    assert context.wide is not None
    assert context.gradient is not None
    assert isinstance(config.layers, Component)
    wide, (rows, _, outputs) = context.wide, size
    values = {
        "steps": context.gradient["steps"] if rows >= MANY_ROWS else wide["steps"],
        "batch_size": context.gradient["batch_size"],
        "evaluations": wide["evaluations"],
        "log_every_n_steps": _base()["log_every_n_steps"],
    }
    options = {**config.layers.options, **_left_open(wide["layer"], context, "layer.")}
    config = replace(
        config,
        layers=replace(config.layers, options=options),
        dims=[AUTO, outputs + wide["hidden"], AUTO],
        smoothing=replace(config.smoothing, method="linear"),
    )
    numbers = {name: wide[name] for name in ("lr", "weight_decay")}
    return _trained_by(WIDE, config, context, values, **numbers)


def _by_gradient(config: RunConfig, context: RunContext) -> tuple[RunConfig, RunContext]:
    gradient = context.gradient
    if gradient is None or not config.uses_least_squares or _typed(context) & {*CHOICES}:
        return config, context
    data = config.data
    is_table = data.target in (ARRAYS, TABLE)
    has_many = training_rows(data)[1] >= MANY_ROWS if is_table else data.target == STREAM
    if not has_many:
        return config, context
    base = _base()
    values = {**gradient, **{name: base[name] for name in ("log_every_n_steps", "evaluations")}}
    penalty = {"roughness": values.pop("roughness"), "jerk": base["penalty"]["jerk"]}
    penalty = _left_open(penalty, context, "penalty.")
    config = replace(config, penalty=replace(config.penalty, **penalty))
    return _trained_by(MANY, config, context, values)


def _trained_by(
    name: str, config: RunConfig, context: RunContext, values: Mapping[str, Any], **options: Any
) -> tuple[RunConfig, RunContext]:
    """Sets an optimizer that follows gradients, and values for options that were not typed."""
    values = _left_open(values, context)
    config = replace(
        config,
        optimizer=choice("optimizer", name, **options),
        scheduler=choice("scheduler", "cosine", T_max=values.get("steps", config.steps)),
        **values,
    )
    choices = {**context.choices, "optimizer": name, "scheduler": "cosine"}
    return config, replace(context, choices=choices)


def _left_open(values: Mapping[str, Any], context: RunContext, group: str = "") -> dict[str, Any]:
    """The values of those options of a group that were not typed."""
    given = {option_name(text) for text in context.overrides}
    return {name: value for name, value in values.items() if f"{group}{name}" not in given}


def _typed(context: RunContext) -> set[str]:
    """Groups of options that were typed, and "experiment" if one is named."""
    experiment = {"experiment"} if context.choices.get("experiment") else set()
    return experiment | set(map(group_name, context.overrides))


def _base() -> dict[str, Any]:
    """The options of conf/train.yaml, without those of a layer or an optimizer."""
    text = Path(config_folder(), "train.yaml").read_text(encoding="utf-8")
    return cast("dict[str, Any]", yaml.safe_load(text))


def notes_on_defaults(asked: RunConfig, config: RunConfig) -> list[str]:
    """Lines about defaults that were replaced."""
    if asked.smoothing.method != config.smoothing.method == "linear":
        sizes = ",".join(map(str, config.widths))
        return [
            f"optimizer={WIDE} dims=[{sizes}], beginning with the linear model: with so many "
            f"inputs and outputs least squares affords no more than that; smoothing.method=reml "
            f"keeps to it"
        ]
    if asked.optimizer.target != config.optimizer.target:
        return [
            f"optimizer={MANY}: least squares is the default below {MANY_ROWS:,} training rows; "
            f"optimizer=lm takes the time"
        ]
    if asked.smoothing.method != config.smoothing.method:
        return ["smoothing.method=null: refine and penalty decide how smooth edges are"]
    if config.smoothing.method and config.uses_least_squares and len(config.widths) > 3:
        begins = (
            "begins as sums of curves, which are kept if no later network is clearly better on "
        )
        what = f"{begins}validation" if config.begins_smooth else "is trained as on noise-free data"
        return [
            f"{shown_dims(config.dims)} {what}; dims=null finds the smoothness of hidden units, too"
        ]
    return []
