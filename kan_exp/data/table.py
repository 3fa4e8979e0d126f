"""Tables: columns of numbers, checked without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kan_exp.data import columns
from kan_exp.data.classes import level_names, with_outputs
from kan_exp.data.columns import Fault, FloatArray, shown, tidy, to_numbers
from kan_exp.data.faults import faulty
from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.data.readers import open_columns
from kan_exp.data.row_columns import read_groups, read_weight
from kan_exp.data.schema import Schema
from kan_exp.data.splitting import Rows
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from polars import DataFrame, Series

    from kan_exp.data.points import Split
    from kan_exp.data.split_options import SplitOptions

FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True, eq=False)
class Table:
    """The chosen columns of a file, in the user's own units.

    Attributes:
        source: Where they come from, as the user named it.
        schema: Their kinds; those of a trained network are fitted, those of a new file are not.
        frame: The rows of `schema.names`, of the types in `Column.fit`.
        notes: Lines about what was recognized, rounded or left out.
        weight: Of each row, `(n,)`.
        groups: Number of each row's group, `(n,)`, without those of `test_rows`.
        test_rows: How many of the last rows come from a file of test rows.
    """

    source: str
    schema: Schema
    frame: DataFrame
    notes: tuple[str, ...] = ()
    weight: FloatArray | None = None
    groups: Rows | None = None
    test_rows: int = 0

    @classmethod
    def of_arrays(cls, source: str, schema: Schema, x: FloatArray, y: FloatArray) -> Table:
        """A table of numbers: inputs `(n, in)` and outputs `(n, out)`."""
        import polars as pl

        values = np.column_stack([x, y]).T
        return cls(source, schema, pl.DataFrame(dict(zip(schema.names, values, strict=True))))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        return self.schema.features

    @property
    def rows(self) -> int:
        return len(self.frame)

    @property
    def x(self) -> FloatArray:
        """What a network sees, `(n, in)`; the schema must be fitted."""
        return self.schema.encode(self.frame)

    @property
    def y(self) -> FloatArray:
        """Outputs `(n, out)`."""
        return self.schema.encode_outputs(self.frame)

    @property
    def classes(self) -> Rows | None:
        """A number for each row's class, `(n,)`; None if the output is a number."""
        import polars as pl

        if len(self.schema.outputs) != 1 or self.schema.outputs[0].kind != "class":
            return None
        return self.frame[self.schema.targets[0]].rank("dense").cast(pl.Int64).to_numpy()

    def split(self) -> Split:
        """All rows in the order of the file, float64; the schema must be fitted."""
        import torch

        from kan_exp.data.points import Split

        weight = None if self.weight is None else torch.from_numpy(self.weight)
        return Split(torch.from_numpy(self.x), torch.from_numpy(self.y), weight)


def read_table(
    path: object, features: Sequence[object] | None, target: object, separator: object = ","
) -> Table:
    """Reads inputs and, where `target` names it, the output from a file.

    Runs of blanks in names count as one. `true` and `false` are 1 and 0 in a column of text that
    has nothing else, as are the booleans of Parquet and npz.

    Args:
        path: A .csv, .tsv, .parquet or .npz file; relative to the current folder, `~` is home.
        features: Input columns in the wanted order; `None` takes all but the target.
        target: The output column; `None` reads inputs only.
        separator: Of the fields of a .csv file.

    Raises:
        KanExpError: The file cannot be read, a column is unknown or chosen twice, or chosen columns
            have fields that are missing, infinite or no number; it names them all.
    """
    file = open_columns(path, separator)
    return read_columns(file, choose(file, features, target))


def choose(
    file: TableFile,
    features: Sequence[object] | None,
    target: object,
    apart: Sequence[str] = (),
) -> Schema:
    """The columns that options name, see `read_table`; those `apart` must be named to be inputs."""
    options = file.options
    outputs = () if target is None else _targets(file, target)
    if features is None:
        # Columns without a name are kept: they are reported as faults.
        others = {*outputs, *map(tidy, apart)}
        inputs = tuple(dict.fromkeys(name for name in file.names if name not in others))
    elif isinstance(features, str) or not isinstance(features, Sequence):
        typed = assign(f"{options.features}", [tidy(features)])
        raise KanExpError(
            f"{options.features} must be a list of columns, got {shown(features)}: set {typed}."
        )
    else:
        inputs = tuple(map(tidy, features))
    for option, names in ((options.target, outputs), (options.features, inputs)):
        if "" in names and (features is not None or option == options.target):
            raise file.unknown([""], option)
    if features is None and not any(inputs):
        raise file.error(
            f"has no column but {listing(map(shown, outputs))}: add at least one to learn from."
        )
    if not inputs:
        raise file.error(f"{options.features} leaves no column to learn from: name at least one.")
    return Schema.of_numbers(inputs, outputs)


def _targets(file: TableFile, target: object) -> tuple[str, ...]:
    """Names of the outputs: one name, or a list of them."""
    option = file.options.target
    if isinstance(target, str | int | float):
        return (tidy(target),)
    if not isinstance(target, Sequence) or not target:
        raise KanExpError(f"{option} must be a column or a list of columns, got {target!r}.")
    names = tuple(map(tidy, target))
    # A column whose name looks like a list.
    text = f"[{','.join(names)}]"
    if own := next((name for name in file.names if name.replace(", ", ",") == text), None):
        raise KanExpError(
            f"{option} must name columns of the table, got {target!r}: set {assign(option, own)}"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise file.error(f"{option} names {shown(twice[0])} twice: name it once.")
    return names


def read_columns(file: TableFile, schema: Schema, learns: bool = False) -> Table:
    """Reads inputs and outputs of a file that is open, see `read_table`.

    Args:
        schema: Chosen by options, or that of a trained network.
        learns: Whether a network is to be trained on them; then a column must have a scale.
    """
    _check_names(file, schema)
    faults, notes = [], []
    numbers: dict[str, FloatArray] = {}
    classes: dict[str, Series] = {}
    for name in dict.fromkeys(schema.names):
        places = file.places(name)
        if not name:
            faults += [Fault(columns.UNNAMED, name, f"column {place + 1}") for place in places]
        elif len(places) > 1:
            faults.append(Fault(columns.REPEATED, name, f"{len(places)} columns"))
        elif _is_class(file, schema, name, places[0]):
            classes[name] = level_names(file.columns[places[0]])
            faults += _gaps(file, name, classes[name])
        else:
            numbers[name], fault = _read_column(file, name, places[0])
            if fault is None and learns:
                fault = scale_fault(name, numbers[name])
            faults += [fault] if fault else []
            notes += columns.rounding_notes(name, file.columns[places[0]], numbers[name])
    if faults:
        gaps = {name: names.is_null().to_numpy() for name, names in classes.items()}
        values = {name: np.where(gap, math.nan, 0.0) for name, gap in gaps.items()}
        raise faulty(file, faults, schema, {**numbers, **values})
    import polars as pl

    outputs = tuple(
        replace(column, kind="class") if column.name in classes else column
        for column in schema.outputs
    )
    frame = pl.DataFrame({**numbers, **classes})
    return Table(file.source, replace(schema, outputs=outputs), frame, tuple(notes))


def _is_class(file: TableFile, schema: Schema, name: str, place: int) -> bool:
    """Whether an output is a class: it is known as one, or most of its fields are text."""
    output = next((column for column in schema.outputs if column.name == name), None)
    if output is None or output.levels:
        return output is not None
    fields, kind = file.columns[place], file.types[place]
    if {*level_names(fields).str.to_lowercase().unique().drop_nulls()} <= {"true", "false"}:
        return True
    words = to_numbers(fields, typed=bool(kind))[1]
    is_text = bool(words) and columns.kind_of(fields[words[0]]) == columns.TEXT
    return is_text and 2 * len(words) > len(fields)


def _gaps(file: TableFile, name: str, names: Series) -> list[Fault]:
    rows = names.is_null().arg_true()
    if not len(rows):
        return []
    many = f"{len(rows):,}, first in " if len(rows) > 1 else ""
    return [Fault(columns.MISSING, name, f"{many}{file.row_name(int(rows[0]))}")]


def _check_names(file: TableFile, schema: Schema) -> None:
    """Checks that the columns exist, and that each is chosen once."""
    options, inputs = file.options, schema.columns
    for option, names in ((options.target, schema.targets), (options.features, inputs)):
        if unknown := [name for name in names if not file.places(name)]:
            raise file.unknown(unknown, option)
    for output in schema.targets:
        if output in inputs and options.features is None:
            raise file.error(
                f"column {shown(output)} is an input of the network: {options.target} is the "
                "column that its predictions are compared with."
            )
        if output in inputs:
            raise file.error(
                f"column {shown(output)} is {options.target} and among {options.features}: "
                "leave it out there."
            )
    for name, count in Counter(inputs).items():
        if count > 1:
            raise file.error(f"{options.features} names {shown(name)} twice: name it once.")


def _read_column(file: TableFile, name: str, place: int) -> tuple[FloatArray, Fault | None]:
    """The numbers of a column, and why it cannot be used if some are not finite."""
    fields, kind = file.columns[place], file.types[place]
    if not len(fields):
        raise file.error("has column names but no rows.")
    values, words = to_numbers(fields, typed=bool(kind))
    bad = np.flatnonzero(~np.isfinite(values))
    if words:
        (field,) = fields.gather([words[0]]).to_list()
        type_name = f" ({kind})" if kind else ""
        also = f", one of {len(words):,}" if len(words) > 1 else ""
        example = f"{shown(field)}{type_name} in {file.row_name(words[0])}{also}"
        return values, Fault(columns.kind_of(field), name, example)
    if len(bad):
        many = f"{len(bad):,}, first in " if len(bad) > 1 else ""
        example = f"{many}{file.row_name(int(bad[0]))}"
        return values, Fault(
            columns.MISSING if np.isnan(values[bad[0]]) else columns.INFINITE, name, example
        )
    return values, None


def scale_fault(name: str, values: FloatArray) -> Fault | None:
    """The fault of a column with one value throughout, or a range beyond float32."""
    low, high = values.min(), values.max()
    if low == high and len(values) > 1:
        return Fault(columns.CONSTANT, name, f"{low:g}")
    with np.errstate(over="ignore", invalid="ignore"):
        spread = values.std()
    if low < high and not FLOAT32.tiny < spread < FLOAT32.max:
        return Fault(columns.RANGE, name, f"{low:g} to {high:g}")
    return None


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
) -> Table:
    """Reads and checks the table of a training, without torch.

    A file that has not changed is not read twice in a row. `classes` is that of `with_outputs`.

    Raises:
        KanExpError: As `read_table` does; there is no target, too few rows, or a column without a
            scale.
    """
    choice = (target, features, separator, split.group, split.weight)
    key = (*_file_state(path), *_file_state(split.test_path), *map(str, choice))
    if key not in _last:
        file = open_columns(path, separator, options)
        if target is None:
            raise _no_target(file)
        apart = [name for name in (split.group, split.weight) if name is not None]
        schema = choose(file, features, target, apart)
        if split.weight is not None and tidy(split.weight) in schema.names:
            raise file.error(
                f"column {shown(split.weight)} is data.weight, and also learned from: leave it out "
                f"of {options.features}."
            )
        table = replace(
            read_columns(file, schema, learns=True),
            weight=None if split.weight is None else read_weight(file, split.weight),
            groups=None if split.group is None else read_groups(file, split.group),
        )
        if split.test_path is not None:
            table = _with_test_rows(table, separator, split, options)
        _last.clear()
        _last[key] = table
    table = with_outputs(_last[key], classes, options.target)
    split.check(table)
    return table


def _with_test_rows(
    table: Table, separator: object, split: SplitOptions, options: Options
) -> Table:
    """The table followed by the rows of `data.test_path`, which has the same columns."""
    file = open_columns(split.test_path, separator, replace(options, path="data.test_path"))
    test = read_columns(file, table.schema)
    weight = table.weight
    if weight is not None and split.weight is not None:
        weight = np.concatenate([weight, read_weight(file, split.weight)])
    frame = table.frame.vstack(test.frame)
    return replace(table, frame=frame, weight=weight, test_rows=test.rows)


def _no_target(file: TableFile) -> KanExpError:
    # OmegaConf takes ??? for no value, so that no option can name a column of that name.
    named = [name for name in file.names if name and name != "???"]
    last = named[-1] if named else file.names[-1]
    option = file.options.target
    return file.error(
        f"{option} is needed, the column to learn, such as {assign(option, last)}; columns: "
        f"{listing(map(shown, file.names))}.{file.header_hint()}"
    )


def _file_state(path: object) -> tuple[object, ...]:
    """What differs once a file has changed."""
    file = Path(str(path))
    try:
        file = file.expanduser()
        state = file.stat()
    except (OSError, RuntimeError, ValueError):
        return (path,)
    return (file.absolute(), state.st_mtime_ns, state.st_size, state.st_ino)
