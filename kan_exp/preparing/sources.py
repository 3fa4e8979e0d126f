"""Checks of the data that need no torch: names, numbers, and whole tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from kan_exp.config import (
    ARRAYS,
    EQUATION,
    SAMPLED,
    STREAM,
    TABLE,
    Component,
    RunConfig,
    RunContext,
)
from kan_exp.data.checks import check_sampled, check_whole, sklearn_schema
from kan_exp.data.options import Options
from kan_exp.errors import KanExpError, listing
from kan_exp.options import check_attributes
from kan_exp.preparing.components import make
from kan_exp.preparing.constraints import check_constrained_columns
from kan_exp.preparing.widths import are_known, resolve_widths, shown_dims
from kan_exp.tasks.metrics import CLASSES
from kan_exp.training.host_memory import check_points_fit

if TYPE_CHECKING:
    from kan_exp.data.schema import Schema
    from kan_exp.data.split_options import SplitOptions
    from kan_exp.data.table import Table
    from kan_exp.equations import Problem
    from kan_exp.tasks import Task

SKLEARN = "kan_exp.data.SklearnData"


def check_source(config: RunConfig, context: RunContext, task: Task) -> int | None:
    """Checks the source of the points, and whether the task can learn its outputs.

    A table is read here, and kept for the data that are made of it.

    Returns:
        The number of training points, where it is known.
    """
    from kan_exp.data.schema import Column, Schema  # needs numpy, a quarter of a command's start

    kind, options = config.data.target, config.data.options
    if kind in (SAMPLED, TABLE, SKLEARN, STREAM, EQUATION):
        check_whole("data.seed", options.get("seed"), least=0)
    if kind == TABLE:
        return _check_table(options, config, context, task)
    if kind == ARRAYS:
        columns, rows = training_rows(config.data)
        check_schema("data", columns, config, context, task)
        return rows
    if kind == STREAM:
        from kan_exp.data.large_table import LargeTable

        names = ("path", "target", "features", "separator", "missing")
        table = LargeTable(**{name: options[name] for name in names if name in options})
        check_schema("data", table.schema, config, context, task)
    if kind == SKLEARN:
        width, classes = sklearn_schema(options["name"], options.get("target"))
        if width is not None:
            output = Column("class", "class", levels=classes) if classes else Column("y")
            schema = Schema(tuple(Column(str(k)) for k in range(width)), (output,))
            check_schema("data", schema, config, context, task, left_out=None)
    if kind == EQUATION:
        problem = problem_of(options)
        columns = Schema.of_numbers(problem.names, problem.outputs)
        check_schema("pde", columns, config, context, task, width=len(problem.columns))
        return int(problem.points["interior"])
    is_formula = kind == SAMPLED or isinstance(options.get("target"), Component)
    return _check_formula(config, context, task) if is_formula else None


def _check_formula(config: RunConfig, context: RunContext, task: Task) -> int | None:
    """Checks data that are drawn from a formula, also by a source of the user's own."""
    from kan_exp.data.schema import Schema

    options, formula = config.data.options, config.data.options.get("target")
    if not isinstance(formula, Component):
        raise KanExpError(
            f"data.target={formula}: data=sampled draws from a formula: choose one with "
            f"target=..., or set data=table and data.path=FILE to learn a column."
        )
    target = make("target", formula)
    check_schema("target", Schema.of_numbers(target.inputs, ["f"]), config, context, task)
    if config.data.target != SAMPLED:
        return None
    train, val, test = (options[name] for name in ("num_train", "num_val", "num_test"))
    named = context.points_option
    check_sampled(target, train, val, test, named, options.get("border", 0.0))
    check_points_fit(
        f"{named} and data.num_val, data.num_test", train + val + test, len(target.inputs) + 1
    )
    return int(train)


def problem_of(options: Mapping[str, Any]) -> Problem:
    """The differential equation of a configuration, made without torch."""
    component = options.get("problem")
    if not isinstance(component, Component):
        raise KanExpError(
            "data=equation solves a differential equation: choose one with pde=..., such as "
            "pde=poisson"
        )
    from kan_exp.equations.problem import Problem

    check_attributes("pde", Problem, component.options)
    problem: Problem = make("pde", component)
    return problem


def check_schema(
    group: str,
    schema: Schema,
    config: RunConfig,
    context: RunContext,
    task: Task,
    left_out: Sequence[str] | None = (),
    width: int | None = None,
) -> None:
    """Refuses data that the task cannot learn, and widths that do not fit their columns.

    Widths that `dims` leaves to the data are put into it. `left_out` are columns that the schema
    lacks since they do not vary; None if its columns have no names yet. `width` is how many numbers
    a network reads, if not one for each feature.
    """
    task.check_schema(schema)
    check_constrained_columns(config, schema, task, left_out)
    count, outputs = width or len(schema.features), task.num_outputs(schema)
    if not schema.has_features:  # which the training rows decide
        return
    resolve_widths(config, count, outputs)
    dims = config.widths
    if count != dims[0]:
        source = f"{group} {context.choices[group]!r}" if group in context.choices else group
        inputs = "1 input" if count == 1 else f"{count} inputs"
        raise KanExpError(
            f"{source} has {inputs}, but {shown_dims(dims)} starts with {dims[0]}: "
            f"set {shown_dims([count, *dims[1:-1], outputs])}"
        )
    if outputs != dims[-1]:
        names = f" ({listing(map(repr, task.output_names(schema)))})" if outputs > 1 else ""
        raise KanExpError(
            f"{shown_dims(dims)}: the data have {outputs} output{'s'[: outputs > 1]}{names}, so "
            f"the last width must be {outputs}: set {shown_dims([*dims[:-1], outputs])}"
        )


def _check_table(
    options: dict[str, Any], config: RunConfig, context: RunContext, task: Task
) -> int:
    dims = tuple(config.widths) if are_known(config.dims) else None
    table = read_source(options, dims, task.predicts == CLASSES)
    check_schema("data", table.schema, config, context, task)
    task.check_target(table.schema, table.y, table.row_name)
    return split_options(options).check(table)


def read_source(
    options: Mapping[str, Any], dims: tuple[int, ...] | None = None, classes: bool | None = None
) -> Table:
    """Reads and checks the table of `data=table`, see `learning_table`; it is kept for the data."""
    from kan_exp.data.training_table import learning_table
    from kan_exp.data.treatment import take_treatment

    if options.get("path") in (None, "???"):
        raise KanExpError("data.path is needed, the file of the table: set it with data.path=...")
    if options.get("target") in (None, "???"):  # the error lists the columns
        options, dims = {**options, "target": None}, None
    names = ("path", "target", "features", "separator")
    given: dict[str, Any] = {name: options.get(name) for name in names}
    given |= {"split": split_options(options), "options": Options(dims=dims), "classes": classes}
    return learning_table(**given, treatment=take_treatment(options)[0])


def training_rows(data: Component) -> tuple[Schema, int]:
    """The columns of a table in a file or in memory, and its number of training rows."""
    split = split_options(data.options)
    if data.target == ARRAYS:
        from kan_exp.data.splitting import halves

        table: Table = data.options["table"]
        return table.schema, halves(table.rows, split.val_share)[0]
    table = read_source(data.options)
    return table.schema, split.check(table)


def split_options(options: Mapping[str, Any]) -> SplitOptions:
    from kan_exp.data.split_options import SplitOptions

    names = {each.name for each in fields(SplitOptions)}
    return SplitOptions(**{name: value for name, value in options.items() if name in names})
