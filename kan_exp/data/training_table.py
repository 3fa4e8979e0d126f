"""The table of a training, with weights, groups and test rows; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kan_exp.data.classes import with_outputs
from kan_exp.data.columns import shown, tidy
from kan_exp.data.options import TRAINING, Options
from kan_exp.data.readers import open_columns
from kan_exp.data.reading import choose, learn_columns, no_target, read_columns
from kan_exp.data.table import Table, ranks, read_groups
from kan_exp.data.table_file import TableFile
from kan_exp.data.treatment import Treatment
from kan_exp.lazy import polars as pl

if TYPE_CHECKING:
    from kan_exp.data.split_options import SplitOptions

# The last table that was read for a training, by its files and options.
_last: dict[tuple[object, ...], Table] = {}


def learning_table(
    path: object,
    target: object,
    features: Sequence[object] | None,
    split: SplitOptions,
    separator: object,
    options: Options = TRAINING,
    classes: bool | None = None,
    treatment: Treatment | None = None,
) -> Table:
    """Reads and checks the table of a training, without torch.

    A file that has not changed is not read twice in a row. `classes` is that of `with_outputs`.

    Raises:
        KanExpError: As `read_table` does; there is no target, too few rows, or a column without a
            scale.
    """
    treatment = treatment or Treatment()
    choice = (target, features, separator, split.group, split.weight, treatment)
    key = (*_file_state(path), *_file_state(split.test_path), *map(str, choice))
    if key not in _last:
        file = open_columns(path, separator, options)
        if target is None:
            raise no_target(file)
        apart = [name for name in (split.group, split.weight) if name is not None]
        schema = choose(file, features, target, treatment.drop, apart)
        for option, column in (("data.weight", split.weight), ("data.group", split.group)):
            if column is not None and tidy(column) in schema.targets:
                raise file.error(
                    f"column {shown(column)} is {options.target} and {option}: choose another "
                    f"{option}, or leave it out."
                )
        if split.weight is not None and tidy(split.weight) in schema.columns:
            raise file.error(
                f"column {shown(split.weight)} is data.weight, and also learned from: leave it out "
                f"of {options.features}."
            )
        table = learn_columns(file, schema, treatment, learns=True)
        table = table.with_weight(file, split.weight)
        groups = None
        if split.group is not None:
            groups = table.rows_of(read_groups(file, split.group))
            table = replace(table, groups=ranks(groups))
        if split.test_path is not None:
            table = _with_test_rows(table, file, separator, split, treatment.missing, groups)
        _last.clear()
        _last[key] = table
    table = with_outputs(_last[key], classes, options.target)
    split.check(table)
    return table


def _with_test_rows(
    table: Table,
    own: TableFile,
    separator: object,
    split: SplitOptions,
    missing: str,
    groups: pl.Series | None,
) -> Table:
    """The table followed by the rows of `data.test_path`, which has the same columns."""
    file = open_columns(split.test_path, separator, replace(own.options, path="data.test_path"))
    test = read_columns(file, table.schema, "error" if missing == "error" else "drop")
    test = test.with_weight(file, split.weight)
    weight, kept = table.weight, None
    if weight is not None and test.weight is not None:
        weight = np.concatenate([weight, test.weight])
    if table.kept is not None or test.kept is not None:
        every = [np.arange(one.rows) if one.kept is None else one.kept for one in (table, test)]
        kept = np.concatenate(every)
    notes = [*table.notes, *test.notes]
    if split.group is not None and groups is not None and file.places(tidy(split.group)):
        theirs = test.rows_of(read_groups(file, split.group))
        both = int(theirs.is_in(groups.unique()).sum())
        if both:
            notes.append(
                f"{both:,} of {test.rows:,} test rows have a {shown(split.group)} of data.path: "
                f"the test error says less about new groups than it seems."
            )
    return replace(
        table,
        frame=table.frame.vstack(test.frame),
        weight=weight,
        kept=kept,
        test_rows=test.rows,
        notes=tuple(notes),
    )


def _file_state(path: object) -> tuple[object, ...]:
    """A key that changes with the file."""
    file = Path(str(path))
    try:
        file = file.expanduser()
        state = file.stat()
    except (OSError, RuntimeError, ValueError):
        return (str(path),)
    return (file.absolute(), state.st_mtime_ns, state.st_size, state.st_ino)
