"""Tables: columns that are recognized or those of a trained network, checked without torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kan_exp.data import columns
from kan_exp.data.classes import with_outputs
from kan_exp.data.columns import CONSTANT, MISSING, Fault, FloatArray, shown, tidy
from kan_exp.data.faults import faulty
from kan_exp.data.fields import table_decimal, without_words
from kan_exp.data.kinds import Found, adapt, recognize
from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.data.readers import open_columns
from kan_exp.data.remarks import remarks
from kan_exp.data.row_columns import read_groups, read_weight
from kan_exp.data.schema import Schema
from kan_exp.data.splitting import Rows
from kan_exp.data.table_file import TableFile
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from polars import DataFrame, Series

    from kan_exp.data.points import Split
    from kan_exp.data.split_options import SplitOptions

FLOAT32 = np.finfo(np.float32)
INDEX = re.compile(r"(Unnamed: \d+)?")  # names of an index that was written with a table


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
        kept: Number of each row in its file, from 0, if some were left out.
    """

    source: str
    schema: Schema
    frame: DataFrame
    notes: tuple[str, ...] = ()
    weight: FloatArray | None = None
    groups: Rows | None = None
    test_rows: int = 0
    kept: Rows | None = None

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

    def row_name(self, row: int) -> str:
        """A row, counted from 0, as its file counts it."""
        given = self.rows - self.test_rows
        number = row - given * (row >= given) if self.kept is None else int(self.kept[row])
        return f"row {number + 1:,} of {self.source if row < given else 'data.test_path'}"

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

    @property
    def gaps(self) -> Series:
        """Which rows have a gap that is not filled."""
        import polars as pl

        needed = [one.name for one in (*self.schema.inputs, *self.schema.outputs) if not one.impute]
        if not needed:
            return pl.repeat(False, self.rows, eager=True)
        return self.frame.select(pl.any_horizontal(pl.col(needed).is_null())).to_series()

    def without_gaps(self) -> Table:
        """The rows that have no gap, but for those that are filled."""
        gaps = self.gaps
        if not gaps.any():
            return self
        if gaps.all():
            raise KanExpError(
                f"{self.source}: every row has a gap: leave columns out with data.drop=[...]"
            )
        note = f"{int(gaps.sum()):,} of {self.rows:,} rows with gaps are left out."
        kept = (~gaps).arg_true().to_numpy().astype(np.int64)  # torch adds no uint32
        return replace(self, frame=self.frame.filter(~gaps), notes=(*self.notes, note), kept=kept)

    def with_weight(self, file: TableFile, name: str | None) -> Table:
        """The table with the weights of its rows, from a column of its file if one is named."""
        return self if name is None else replace(self, weight=self.rows_of(read_weight(file, name)))

    def rows_of(self, values: Any) -> Any:
        """Values of all rows of the file, of those that are kept."""
        return values if self.kept is None else values[self.kept]

    def split(self) -> Split:
        """All rows in the order of the file, float64; the schema must be fitted."""
        import torch

        from kan_exp.data.points import Split

        weight = None if self.weight is None else torch.from_numpy(self.weight)
        return Split(torch.from_numpy(self.x), torch.from_numpy(self.y), weight)


def read_table(
    path: object,
    features: Sequence[object] | None,
    target: object,
    separator: object = None,
    treatment: Treatment | None = None,
) -> Table:
    """Reads inputs and, where `target` names it, the output from a file.

    Runs of blanks in names count as one. The kinds of the columns are recognized.

    Args:
        path: See `open_columns`.
        features: Input columns in the wanted order; `None` takes all but the target.
        target: The output column, or a list of them; `None` reads inputs only.
        separator: Of the fields of text; `None` where it is recognized.
        treatment: Options of how columns are read.

    Raises:
        KanExpError: The file cannot be read, a column is unknown or chosen twice, or chosen columns
            have fields that cannot be used; it names them all.
    """
    treatment = treatment or Treatment()
    file = open_columns(path, separator)
    return learn_columns(file, choose(file, features, target, treatment.drop), treatment)


def choose(
    file: TableFile,
    features: Sequence[object] | None,
    target: object,
    drop: Sequence[str] = (),
    apart: Sequence[str] = (),
) -> Schema:
    """The columns that options name, see `read_table`; those `apart` must be named to be inputs."""
    options = file.options
    if unknown := [name for name in drop if not file.places(name)]:
        raise file.unknown(unknown, "data.drop")
    outputs = _targets(file, target)
    if both := [name for name in outputs if name in drop]:
        raise file.error(
            f"column {shown(both[0])} is {options.target} and in data.drop: leave it out of one."
        )
    if features is None:
        others = {"", *outputs, *map(tidy, apart), *drop}
        named = dict.fromkeys(name for name in file.names if name not in others)
        inputs = tuple(name for name in named if not INDEX.fullmatch(name))
    elif isinstance(features, str) or not isinstance(features, Sequence):
        typed = assign(f"{options.features}", [tidy(features)])
        raise KanExpError(
            f"{options.features} must be a list of columns, got {shown(features)}: set {typed}."
        )
    else:
        inputs = tuple(name for name in map(tidy, features) if name not in drop)
    for option, names in ((options.target, outputs), (options.features, inputs)):
        if "" in names:
            raise file.unknown([""], option)
    if features is None and not inputs:
        raise file.error(
            f"has no column but {listing(map(shown, outputs))}: add at least one to learn from."
        )
    if not inputs:
        raise file.error(f"{options.features} leaves no column to learn from: name at least one.")
    schema = Schema.of_numbers(inputs, outputs)
    _check_names(file, schema)
    return schema


def _targets(file: TableFile, target: object) -> tuple[str, ...]:
    """The output columns, of one name or a list."""
    option = file.options.target
    if target is None or isinstance(target, str | int | float):
        return () if target is None else (tidy(target),)
    if not isinstance(target, Sequence) or not target:
        raise KanExpError(f"{option} must be a column or a list of columns, got {target!r}.")
    names = tuple(map(tidy, target))
    text = f"[{','.join(names)}]"
    meant = next((name for name in file.names if name.replace(", ", ",") == text), None)
    if meant is not None and not all(map(file.places, names)):
        raise KanExpError(
            f"{option} names {listing(map(shown, names))}, got as a list: "
            f"set {assign(option, meant)}"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise file.error(f"{option} names {shown(twice[0])} twice: name it once.")
    return names


def learn_columns(
    file: TableFile, chosen: Schema, treatment: Treatment, learns: bool = False
) -> Table:
    """Recognizes the columns of a file that is open, see `read_table`.

    Args:
        chosen: Names of the columns.
        treatment: Options of how they are read.
        learns: Whether a network is to be trained on them: inputs of one value are then left out,
            and the others must have a scale.

    Raises:
        KanExpError: Columns cannot be used as they are, or options name others.
    """
    for option in ("kinds", "scale"):
        if unknown := [name for name in getattr(treatment, option) if not file.places(name)]:
            raise file.unknown(unknown, f"data.{option}")
    notes = [*file.notes, *_unnamed(file, chosen)]
    faults: list[Fault] = []
    found: dict[str, Found] = {}
    fields = _fields(file, chosen.names, treatment.missing_values, faults)
    decimal = treatment.decimal or table_decimal(fields.values())
    if decimal is None and getattr(file, "separator", "") == ",":
        decimal = "."  # a comma would have to be quoted
    for name, values in fields.items():
        is_target = name in chosen.targets
        one = recognize(name, values, treatment, decimal, is_target)
        if learns and not is_target and one.is_constant and len(values) > 1:
            only = next(iter(values.drop_nulls().head(1)), None)
            value = "no value" if only is None else shown(only)
            reason = f"it has {value} in all rows"
            if columns.rounding_notes(name, values, one.values):
                reason = f"all of its numbers are {float(one.values[0])!r} in float64"
            notes.append(f"column {shown(name)} is left out: {reason}.")
            continue
        if one.column.scale and one.column.kind != "number":
            raise file.error(
                f"data.scale names {shown(name)}, a {one.column.kind}, but is for columns of "
                f"numbers: leave it out there."
            )
        found[name] = one
        faults += _faults(file, one, values, treatment.missing == "error" or is_target)
        if learns and not one.fault and one.column.kind == "number":
            faults += _scale_faults(one, is_target)
        notes += columns.rounding_notes(name, values, one.values)
    if is_gapless := treatment.missing != "error":  # rows without the target are left out
        faults = [fault for fault in faults if fault.kind != MISSING or fault.words]
    if faults:
        raise faulty(file, faults, chosen, treatment)
    inputs, outputs = (
        tuple(found[name].column for name in names if name in found)
        for names in (chosen.columns, chosen.targets)
    )
    if not inputs:
        raise file.error("has no column but the target that varies: add one to learn from.")
    schema = Schema(inputs, outputs, treatment.missing_values)
    frame = _frame(found)
    notes += remarks(schema, frame) if learns else []
    table = Table(file.source, schema, frame, tuple(notes))
    return table.without_gaps() if is_gapless else table


def read_columns(
    file: TableFile, schema: Schema, missing: str = "error", keeps_gaps: bool = False
) -> Table:
    """Reads the columns of a trained network from a file that is open.

    Args:
        schema: Of the network, or with another column as its output.
        missing: `drop` leaves out rows with gaps, unless the network has learned to fill them.
        keeps_gaps: Whether such rows stay. Levels that are new are then not noted.

    Raises:
        KanExpError: A column is not there, or its fields are not of its kind.
    """
    _check_names(file, schema)
    faults: list[Fault] = []
    found: dict[str, Found] = {}
    notes = list(file.notes)
    fields = _fields(file, schema.names, schema.missing_values, faults)
    for column in (*schema.inputs, *schema.outputs):
        if (values := fields.get(column.name)) is not None:
            found[column.name] = one = adapt(column, values)
            faults += _faults(file, one, values, not column.impute and missing == "error")
            notes += columns.rounding_notes(column.name, values, one.values)
    if faults:
        raise faulty(file, faults, schema, None)
    frame = _frame(found)
    if keeps_gaps:
        return Table(file.source, schema, frame, tuple(notes))
    notes += schema.unknown_levels(frame)
    table = Table(file.source, schema, frame, tuple(notes))
    return table.without_gaps() if missing == "drop" else table


def _frame(found: Mapping[str, Found]) -> DataFrame:
    import polars as pl

    return pl.DataFrame({name: one.values for name, one in found.items()})


def _fields(
    file: TableFile, names: Sequence[str], words: Sequence[str], faults: list[Fault]
) -> dict[str, Series]:
    """The fields of columns, see `without_words`; adds a fault for each name of several."""
    fields = {}
    for name in names:
        places = file.places(name)
        if len(places) > 1:
            faults.append(Fault(columns.REPEATED, name, f"{len(places)} columns"))
            continue
        fields[name] = without_words(file.columns[places[0]], words)
        if not len(fields[name]):
            raise file.error("has column names but no rows.")
    return fields


def _unnamed(file: TableFile, chosen: Schema) -> list[str]:
    """A line about columns without a name, which nobody has chosen."""
    count = sum(not name or INDEX.fullmatch(name) is not None for name in file.names)
    if not count or any(map(INDEX.fullmatch, chosen.names)):
        return []
    many = "a column without a name is" if count == 1 else f"{count} columns without a name are"
    return [f"{many} left out."]


def _faults(file: TableFile, one: Found, fields: Series, needs_all: bool) -> list[Fault]:
    """Why a column cannot be used; gaps only where it must have none."""
    name, rows = one.column.name, one.rows
    faults = []
    if one.fault:
        bad = [] if rows is None else rows.arg_true().to_list()
        kind = file.types[file.places(name)[0]]
        example = one.example
        if bad:
            (field,) = fields.gather(bad[:1]).to_list()
            many = f", one of {len(bad):,}" if len(bad) > 1 else ""
            type_name = f" ({kind})" if kind else ""
            example = example or f"{shown(field)}{type_name} in {file.row_name(bad[0])}{many}"
        faults.append(Fault(one.fault, name, example, one.words))
    if needs_all and not one.column.impute and fields.null_count():
        count, first = fields.null_count(), fields.is_null().arg_max() or 0
        many = f"{count:,}, first in " if count > 1 else ""
        every = ("all",) if count == len(fields) else ()
        faults.append(Fault(MISSING, name, f"{many}{file.row_name(first)}", every))
    return faults


def _scale_faults(one: Found, is_target: bool) -> list[Fault]:
    """The faults of numbers that float32 cannot scale."""
    values = one.column.encode(one.values.drop_nulls())[:, 0]
    fault = scale_fault(one.column.name, values) if len(values) else None
    return [fault] if fault and (is_target or fault.kind != CONSTANT) else []


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


def scale_fault(name: str, values: FloatArray) -> Fault | None:
    """The fault of a column with one value throughout, or a range beyond float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread = values.std()
    low, high = values.min(), values.max()
    return scale_fault_of(name, low, high, spread) if len(values) > 1 else None


def scale_fault_of(name: str, low: float, high: float, spread: float) -> Fault | None:
    """`scale_fault` of a column by its range and its standard deviation."""
    if low == high:
        return Fault(columns.CONSTANT, name, f"{low:g}")
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
            raise _no_target(file)
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
            table = replace(table, groups=_rank(groups))
        if split.test_path is not None:
            table = _with_test_rows(table, file, separator, split, treatment.missing, groups)
        _last.clear()
        _last[key] = table
    table = with_outputs(_last[key], classes, options.target)
    split.check(table)
    return table


def _rank(groups: Series) -> Rows:
    import polars as pl

    return groups.rank("dense").cast(pl.Int64).to_numpy()


def _with_test_rows(
    table: Table,
    own: TableFile,
    separator: object,
    split: SplitOptions,
    missing: str,
    groups: Series | None,
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
