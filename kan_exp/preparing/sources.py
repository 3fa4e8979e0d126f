"""Checks of the data that need no torch: names, numbers, and whole tables."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from kan_exp.config import SAMPLED, TABLE, Component, RunConfig, RunContext
from kan_exp.data.checks import check_sampled, check_whole, sklearn_width
from kan_exp.data.options import Options
from kan_exp.errors import KanExpError
from kan_exp.preparing.components import make
from kan_exp.training.host_memory import check_points_fit

if TYPE_CHECKING:
    from kan_exp.data.split_options import SplitOptions
    from kan_exp.data.table import Table

SKLEARN = "kan_exp.data.SklearnData"


def check_source(config: RunConfig, context: RunContext) -> int | None:
    """Checks the source of the points.

    A table is read here, and kept for the data that are made of it.

    Returns:
        The number of training points, where it is known.

    Raises:
        KanExpError: The data cannot be had, or have another number of inputs than `dims`.
    """
    kind, options, dims = config.data.target, config.data.options, config.dims
    if kind in (SAMPLED, TABLE, SKLEARN):
        check_whole("data.seed", options.get("seed"), least=0)
    if kind == TABLE:
        return _check_table(options, dims, context)
    if kind == SKLEARN:
        check_width("data", sklearn_width(options["name"]), dims, context)
    formula = options.get("target")
    if kind == SAMPLED and not isinstance(formula, Component):
        raise KanExpError(
            f"data.target={formula}: data=sampled draws from a formula: choose one with "
            f"target=..., or set data=table and data.path=FILE to learn a column."
        )
    if not isinstance(formula, Component):
        return None
    target = make("target", formula)
    check_width("target", len(target.inputs), dims, context)
    if kind != SAMPLED:
        return None
    train, val, test = (options[name] for name in ("num_train", "num_val", "num_test"))
    named = context.points_option
    check_sampled(target, train, val, test, named, options.get("border", 0.0))
    check_points_fit(f"{named} and data.num_val, data.num_test", train + val + test, dims[0] + 1)
    return int(train)


def check_width(group: str, count: int, dims: list[int], context: RunContext) -> None:
    """Refuses a first width that is not the number of inputs, `count`."""
    if count != dims[0]:
        source = f"{group} {context.choices[group]!r}" if group in context.choices else group
        inputs = "1 input" if count == 1 else f"{count} inputs"
        raise KanExpError(
            f"{source} has {inputs}, but {shown_dims(dims)} starts with {dims[0]}: "
            f"set {shown_dims([count, *dims[1:]])}"
        )


def shown_dims(dims: list[int]) -> str:
    """The option as it is typed."""
    return f"dims=[{','.join(map(str, dims))}]"


def _check_table(options: dict[str, Any], dims: list[int], context: RunContext) -> int:
    if options.get("path") in (None, "???"):
        raise KanExpError("data.path is needed, the file of the table: set it with data.path=...")
    if options.get("target") in (None, "???"):  # the error lists the columns
        _read_table({**options, "target": None}, None)
    table = _read_table(options, tuple(dims))
    if table.schema.is_fixed:  # other widths depend on the training rows
        check_width("data", len(table.features), dims, context)
    return _split_options(options).check(table)


def _read_table(options: dict[str, Any], dims: tuple[int, ...] | None) -> Table:
    from kan_exp.data.kinds import take_treatment
    from kan_exp.data.table import learning_table  # numpy takes a quarter of a command's start

    given: dict[str, Any] = {
        name: options.get(name) for name in ("path", "target", "features", "separator")
    }
    return learning_table(
        **given,
        split=_split_options(options),
        options=Options(dims=dims),
        treatment=take_treatment(options)[0],
    )


def _split_options(options: dict[str, Any]) -> SplitOptions:
    from kan_exp.data.split_options import SplitOptions

    names = {each.name for each in fields(SplitOptions)}
    return SplitOptions(**{name: value for name, value in options.items() if name in names})
