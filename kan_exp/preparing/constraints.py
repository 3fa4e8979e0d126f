"""Monotone and convex inputs: checks of the options, and the signs of a network's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kan_exp.config import (
    EQUATION,
    Component,
    RefineConfig,
    RunConfig,
    RunContext,
    choice,
    config_folder,
)
from kan_exp.data.columns import by_column
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.runs import option_name
from kan_exp.runs.identity import group_name
from kan_exp.tasks.metrics import CLASSES

if TYPE_CHECKING:
    from kan_exp.data.schema import Column, Schema
    from kan_exp.tasks import Task

OPTIONS = ("monotone", "convex")
USUAL, DEFAULT = "mlp", "spline"  # the layer of conf/train.yaml, and that with these options
SPLINES, TABLES = "kan_exp.layers.KANSplineLayer", "kan_exp.layers.KANInterpoLayer"
SIGNS = {"1": 1, "+1": 1, "-1": -1, "0": 0}
COUNTS = "exp"  # the output activation of counts


def constrained_options(config: RunConfig) -> list[str]:
    """Which of `monotone` and `convex` are given."""
    return [name for name in OPTIONS if any(_values(getattr(config, name)))]


def read_constraints(config: RunConfig, context: RunContext) -> tuple[RunConfig, RunContext]:
    """Reads `monotone` and `convex`, with which splines are the default layer.

    Of inputs that are convex and others that are concave, no hidden unit can be made: without
    `dims`, there are none.

    Raises:
        KanExpError: A value is no sign.
    """
    monotone, convex = (_signs(name, getattr(config, name)) for name in OPTIONS)
    config = replace(config, monotone=monotone, convex=convex)
    if not constrained_options(config):
        return config, context
    if config.dims is None and len({*_values(config.convex)} - {0}) == 2:
        config = replace(config, dims=["auto", "auto"])
    named = {group_name(text) for text in context.overrides} & {"layer", "layers"}
    if named or context.choices.get("experiment") or config.layers != choice("layer", USUAL):
        return config, context
    text = Path(config_folder(), "layer", f"{DEFAULT}.yaml").read_text(encoding="utf-8")
    given = {option_name(one) for one in context.overrides}
    recipe = {
        name: value
        for name, value in yaml.safe_load(text)["refine"].items()
        if f"refine.{name}" not in given
    }
    refine: RefineConfig = replace(config.refine, **recipe)
    config = replace(config, layers=choice("layer", DEFAULT), refine=refine)
    return config, replace(context, choices={**context.choices, "layer": DEFAULT})


def check_constraints(config: RunConfig) -> None:
    """Raises a `KanExpError` if network or training cannot keep to `monotone` and `convex`."""
    if not (given := constrained_options(config)):
        return
    shown = " and ".join(given)
    if config.data.target == EQUATION:
        raise KanExpError(
            f"{shown}: what a solution is like follows from its equation: leave {shown} out."
        )
    layers = [config.layers] if isinstance(config.layers, Component) else config.layers
    for layer in layers:
        _check_layer(shown, layer, "convex" in given)
    if any(config.multiply or ()):
        raise KanExpError(
            f"{shown}: a product of monotone edges need not be monotone: leave multiply out."
        )
    if config.prune is not None and not config.smooths:
        raise KanExpError(
            f"{shown}: prune=auto fits edges anew without it: leave prune out, or set "
            f"optimizer=lm smoothing.method=reml dims=null"
        )
    if len(config.dims or ()) > 2 and len({*_values(config.convex)} - {0}) == 2:
        raise KanExpError(
            "convex: hidden units cannot be convex in one input and concave in another: set "
            "dims=[auto,auto]"
        )


def check_constrained_columns(
    config: RunConfig, schema: Schema, task: Task, left_out: Sequence[str] | None = ()
) -> None:
    """Raises a `KanExpError` if `monotone` and `convex` do not suit the columns.

    Each must be a column whose kind has an order, and for `convex` without a scale; the outputs
    must not be probabilities of several classes. `left_out` are columns that the schema lacks since
    they do not vary in the training rows; None if it does not have the names of columns.
    """
    given = constrained_options(config)
    if not given:
        return
    if task.predicts == CLASSES and len(schema.classes) > 2:
        raise KanExpError(
            f"{' and '.join(given)}: the target has {len(schema.classes)} classes, whose "
            f"probabilities cannot all rise or fall: of two classes they can."
        )
    columns = {column.name: column for column in schema.inputs}
    for name in given:
        for key, sign in getattr(config, name).items():
            if key in columns:
                _check_column(name, columns[key], sign)
            elif left_out is not None and key not in left_out:
                raise KanExpError(
                    f"{name}: there is no input {key!r}.{suggest(key, columns)} Choose from: "
                    f"{listing(columns)}."
                )
    if -1 in _values(config.convex):
        scaled = next((column for column in schema.outputs if column.scale), None)
        if scaled is not None or task.activation == COUNTS:
            what = "task=count" if scaled is None else f"data.scale={scaled.scale} of the target"
            raise KanExpError(
                f"convex: {what} learns a logarithm, of which a concave function need not be "
                f"concave in the target's own units: leave -1 out, or {what.split('=')[0]}."
            )


def input_signs(config: RunConfig, schema: Schema) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The signs of `monotone` and `convex` for each input of the network.

    An input that says where a column has gaps is free.
    """
    monotone: list[int] = []
    convex: list[int] = []
    for column in schema.inputs:
        rest = [0] * (len(column.features) - 1)
        for signs, option in ((monotone, config.monotone), (convex, config.convex)):
            signs += [(option or {}).get(column.name, 0), *rest]
    return tuple(monotone), tuple(convex)


def _values(option: Mapping[Any, int] | None) -> list[int]:
    return list((option or {}).values())


def _signs(name: str, signs: Any) -> dict[str, int] | None:
    """Signs by column, see `by_column`; the command line may give them as text."""
    if signs is None:
        return None
    signs = by_column(signs, name)
    if not isinstance(signs, Mapping):
        raise KanExpError(
            f"{name} must be signs by column, such as '{name}={{age: 1}}', got {signs!r}."
        )
    rising = "convex, -1 for concave" if name == "convex" else "increasing, -1 for decreasing"
    signs = {c: SIGNS.get(s, s) if isinstance(s, str) else s for c, s in signs.items()}
    for column, sign in signs.items():
        if isinstance(sign, bool) or sign not in SIGNS.values():
            raise KanExpError(
                f"{name}: {column!r} must be 1 for {rising} or 0 for any, got {sign!r}."
            )
    return {column: int(sign) for column, sign in signs.items()}


def _check_layer(shown: str, layer: Component, bends: bool) -> None:
    name = layer.target.rpartition(".")[2]
    options = layer.options
    if layer.target not in (SPLINES, TABLES):
        raise KanExpError(
            f"{shown}: {name} has no coefficients that decide it: set layer=spline or layer=interpo"
        )
    if options.get("base", "none") != "none":
        raise KanExpError(f"{shown}: edges with a base need not be so: set layer.base=none")
    outside = options.get("outside", "linear")
    if outside == "zero" or (outside == "hold" and bends):
        raise KanExpError(
            f"{shown}: edges of outside={outside} are not so beyond their grids: set "
            f"layer.outside=linear"
        )


def _check_column(name: str, column: Column, sign: int) -> None:
    if sign and column.kind not in ("number", "boolean"):
        raise KanExpError(
            f"{name}: {column.name!r} is a {column.kind}, which becomes several inputs without an "
            f"order: leave it out there, or write it as a number if it has one."
        )
    if sign and name == "convex" and column.scale:
        raise KanExpError(
            f"convex: {column.name!r} is learned on data.scale={column.scale}, in which a convex "
            f"function need not be convex in the column itself: leave one of the two out."
        )
