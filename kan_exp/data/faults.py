"""Describes all faults of a table in one line, with what to do about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np

from kan_exp.data import columns
from kan_exp.data.columns import MISSING, TEXT, Fault, FloatArray, shown
from kan_exp.data.csv_file import CsvFile
from kan_exp.data.options import assign
from kan_exp.data.schema import Schema
from kan_exp.data.table_file import TableFile
from kan_exp.errors import KanExpError
from kan_exp.quoting import shell

# What to do about each kind of fault, in the order of the message.
CURES = {
    columns.UNNAMED: "name every column",
    columns.REPEATED: "rename columns of the same name",
    columns.TEXT: "write numbers for text",
    columns.OTHER: "write numbers in their place",
    columns.DATES: "write dates and times as numbers",
    columns.UNITS: "write numbers without units and signs",
    columns.COMMAS: "write numbers with a decimal point and nothing between thousands",
    columns.MISSING: "fill in missing cells or delete their rows",
    columns.INFINITE: "replace infinite values",
    columns.CONSTANT: None,
    columns.RANGE: "change the unit",
}
MAX_NAMED = 4  # columns of each kind of fault
MAX_LOST = 0.1  # of all rows
GAPS = (MISSING, TEXT)  # rows with such fields may be left out


def faulty(
    file: TableFile, faults: Iterable[Fault], schema: Schema, values: Mapping[str, FloatArray]
) -> KanExpError:
    """The error for a table with faults in used columns, and the numbers of those that have any."""
    order = list(CURES)
    faults = sorted(faults, key=lambda fault: order.index(fault.kind))
    groups = [(kind, list(group)) for kind, group in groupby(faults, lambda fault: fault.kind)]
    kinds = "; ".join(_describe(kind, group, schema.targets) for kind, group in groups)
    cures = [text for kind, _ in groups if (text := _cure(kind, file)) is not None]
    advice = _choice(file, schema, {fault.name: fault.kind for fault in faults}, values)
    if cures:
        advice.append(f"{'or ' if advice else ''}{', '.join(cures)}")
    text = f"{kinds}: {'; '.join(advice) or 'mend it'}"
    # No full stop after a command, which would be pasted with it.
    typed = text.endswith(("'", "]", ".", file.path.suffix))
    return file.error(text if typed else f"{text}.")


def _choice(
    file: TableFile, schema: Schema, bad: Mapping[str, str], values: Mapping[str, FloatArray]
) -> list[str]:
    """Options to type in order to use only columns without faults."""
    options = file.options
    if (kept := _without_gaps(file, schema, bad, values)) is not None:
        return [kept]
    if options.features is None:  # the network needs them all
        return []
    advice = []
    good = [name for name in schema.columns if name not in bad]
    if len(good) < len(schema.columns):
        choice = f"learn from the others: {options.choice(good)}"
        advice.append(choice if good else "no other column is left to learn from")
    if bad.keys() & schema.targets:
        advice.append(f"mend the target, or choose another with {options.target}=...")
    return advice


def _without_gaps(
    file: TableFile, schema: Schema, bad: Mapping[str, str], values: Mapping[str, FloatArray]
) -> str | None:
    """A command that removes rows without numbers, if they are few or lack the target."""
    options = file.options
    targets = [name for name in schema.targets if name in bad]
    gaps = [name for name in schema.columns if bad.get(name) in GAPS]
    if any(bad[name] not in GAPS for name in targets) or not (gaps or targets):
        return None
    missing = {name: np.isnan(values[name]) for name in (*targets, *gaps)}
    # Columns of text are rather left out as a whole, and then all columns with gaps.
    words = {name for name in missing if bad[name] == TEXT and missing[name].mean() > MAX_LOST}
    for mended in (gaps, [name for name in gaps if name not in words], []):
        parts = [missing[name] for name in (*targets, *mended)]
        lost = np.any(parts, axis=0) if parts else np.ones(1, dtype=bool)
        if lost.mean() <= MAX_LOST:
            break
    else:  # many rows lack the target, which costs them in any case
        if not targets or words.intersection(targets):
            return None
    kept = [name for name in schema.columns if name in mended or name not in bad]
    copy = file.copy_name("rows")
    command = file.deletion(np.flatnonzero(lost).tolist(), copy) if kept else None
    every = len(kept) == len(schema.columns)
    if command is None or (options.features is None and not every):
        return None
    typed = options.widths(len(kept)) if every else f" {options.choice(kept)}"
    many = "1 row" if lost.sum() == 1 else f"{int(lost.sum()):,} rows"
    return f"leave out {many}: {command} and set {assign(options.path, copy)}{typed}"


def _describe(kind: str, group: Sequence[Fault], targets: Sequence[str]) -> str:
    parts = []
    for fault in group[:MAX_NAMED]:
        role = "the target " if fault.name in targets else ""
        example = f" ({fault.example})" if fault.example else ""
        column = f"{role}column {shown(fault.name)}{example}"
        parts.append(fault.example if kind == columns.UNNAMED else column)
    more = f" and {len(group) - MAX_NAMED:,} more columns" if len(group) > MAX_NAMED else ""
    return f"{kind} {'for' if kind == columns.UNNAMED else 'in'} {', '.join(parts)}{more}"


def _cure(kind: str, file: TableFile) -> str | None:
    if kind == columns.COMMAS and isinstance(file, CsvFile) and file.separator != ",":
        copy = shell(file.copy_name("points"))
        return f"write decimal points for commas: tr , . < {file.shell_path} > {copy}"
    return CURES[kind]
