"""Reads tables: columns that are chosen and recognized, or those of a trained network; no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from kan_exp.data import columns
from kan_exp.data.column_notes import column_notes
from kan_exp.data.columns import CONSTANT, MISSING, Fault, one_of, shown, tidy
from kan_exp.data.faults import faulty
from kan_exp.data.fields import clean_fields, table_decimal
from kan_exp.data.kinds import Recognized, read_as, recognize
from kan_exp.data.new_levels import new_levels
from kan_exp.data.options import assign
from kan_exp.data.readers import open_columns
from kan_exp.data.schema import Schema
from kan_exp.data.table import Table, scale_fault
from kan_exp.data.table_file import TableFile
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError, listing
from kan_exp.lazy import polars as pl

INDEX = re.compile(r"(Unnamed: \d+)?")  # names of an index that was written with a table


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
    reader = _Reader(file, [*file.notes, *_unnamed(file, chosen)])
    fields = reader.fields(chosen.names, treatment.missing_values)
    decimal = treatment.decimal or table_decimal(fields.values())
    if decimal is None and getattr(file, "separator", "") == ",":
        decimal = "."  # a comma would have to be quoted
    for name, values in fields.items():
        is_target = name in chosen.targets
        one = recognize(name, values, treatment, decimal, is_target)
        if learns and not is_target and one.is_constant and len(values) > 1:
            reader.leave_out(one, values)
            continue
        if one.column.scale and one.column.kind != "number":
            raise file.error(
                f"data.scale names {shown(name)}, a {one.column.kind}, but is for columns of "
                f"numbers: leave it out there."
            )
        reader.take(one, values, treatment.missing == "error" or is_target)
        if learns and not one.fault and one.column.kind == "number":
            reader.faults += _scale_faults(one, is_target)
    if tolerates_gaps := treatment.missing != "error":  # rows without the target are left out
        reader.faults = [one for one in reader.faults if one.kind != MISSING or one.remedies]
    if reader.faults:
        raise faulty(file, reader.faults, chosen, treatment)
    inputs, outputs = (
        tuple(reader.found[name].column for name in names if name in reader.found)
        for names in (chosen.columns, chosen.targets)
    )
    if not inputs:
        raise file.error("has no column but the target that varies: add one to learn from.")
    table = reader.table(Schema(inputs, outputs, treatment.missing_values))
    if learns:
        table = table.with_notes(column_notes(table.schema, table.frame))
    return table.without_gaps() if tolerates_gaps else table


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
    reader = _Reader(file, list(file.notes))
    fields = reader.fields(schema.names, schema.missing_values)
    for column in (*schema.inputs, *schema.outputs):
        if (values := fields.get(column.name)) is not None:
            needs_all = not column.impute and missing == "error"
            reader.take(read_as(column, values), values, needs_all)
    if reader.faults:
        raise faulty(file, reader.faults, schema, None)
    table = reader.table(schema)
    if keeps_gaps:
        return table
    table = table.with_notes(new_levels(schema, table.frame))
    return table.without_gaps() if missing == "drop" else table


class _Reader:
    """Columns of a file as they are read one by one, their faults, and notes about them."""

    def __init__(self, file: TableFile, notes: list[str]) -> None:
        self.file, self.notes = file, notes
        self.faults: list[Fault] = []
        self.found: dict[str, Recognized] = {}

    def fields(self, names: Sequence[str], words: Sequence[str]) -> dict[str, pl.Series]:
        """The fields of columns, see `clean_fields`; a name of several columns is a fault."""
        fields = {}
        for name in names:
            places = self.file.places(name)
            if len(places) > 1:
                self.faults.append(Fault(columns.REPEATED, name, f"{len(places)} columns"))
                continue
            fields[name] = clean_fields(self.file.columns[places[0]], words)
            if not len(fields[name]):
                raise self.file.error("has column names but no rows.")
        return fields

    def leave_out(self, one: Recognized, fields: pl.Series) -> None:
        """Notes a column that has one value."""
        only = next(iter(fields.drop_nulls().head(1)), None)
        reason = f"it has {'no value' if only is None else shown(only)} in all rows"
        if columns.rounding_notes(one.column.name, fields, one.values):
            reason = f"all of its numbers are {float(one.values[0])!r} in float64"
        self.notes.append(f"column {shown(one.column.name)} is left out: {reason}.")

    def take(self, one: Recognized, fields: pl.Series, needs_all: bool) -> None:
        """Takes a column; gaps are faults only where it must have none."""
        name = one.column.name
        self.found[name] = one
        if one.fault:
            self.faults.append(Fault(one.fault, name, self._example(one, fields), one.remedies))
        if needs_all and not one.column.impute and (count := fields.null_count()):
            many = f"{count:,}, first in " if count > 1 else ""
            first = self.file.row_name(fields.is_null().arg_max() or 0)
            every = ("all",) if count == len(fields) else ()
            self.faults.append(Fault(MISSING, name, f"{many}{first}", every))
        self.notes += columns.rounding_notes(name, fields, one.values)

    def _example(self, one: Recognized, fields: pl.Series) -> str:
        """Where a fault shows first."""
        bad = [] if one.rows is None else one.rows.arg_true().to_list()
        if one.example or not bad:
            return one.example
        kind = self.file.types[self.file.places(one.column.name)[0]]
        field = shown(fields.gather(bad[:1]).to_list()[0])
        return (
            f"{field}{f' ({kind})' if kind else ''} in {self.file.row_name(bad[0])}"
            f"{one_of(len(bad))}"
        )

    def table(self, schema: Schema) -> Table:
        frame = pl.DataFrame({name: one.values for name, one in self.found.items()})
        return Table(self.file.source, schema, frame, tuple(self.notes))


def _unnamed(file: TableFile, chosen: Schema) -> list[str]:
    """A line about columns without a name that were not chosen."""
    count = sum(not name or INDEX.fullmatch(name) is not None for name in file.names)
    if not count or any(map(INDEX.fullmatch, chosen.names)):
        return []
    many = "a column without a name is" if count == 1 else f"{count} columns without a name are"
    return [f"{many} left out."]


def _scale_faults(one: Recognized, is_target: bool) -> list[Fault]:
    """The faults of numbers that float32 cannot scale."""
    values = one.column.encode(one.values.drop_nulls())[:, 0]
    fault = scale_fault(one.column.name, values) if len(values) else None
    return [fault] if fault and (is_target or fault.kind != CONSTANT) else []


def no_target(file: TableFile) -> KanExpError:
    # OmegaConf takes ??? for no value, so that no option can name a column of that name.
    named = [name for name in file.names if name and name != "???"]
    last = named[-1] if named else file.names[-1]
    option = file.options.target
    return file.error(
        f"{option} is needed, the column to learn, such as {assign(option, last)}; columns: "
        f"{listing(map(shown, file.names))}.{file.header_hint()}"
    )
