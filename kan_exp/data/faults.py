"""All that is wrong with a table, in one line with what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby

from kan_exp.data.columns import (
    COMMAS,
    DATES,
    INFINITE,
    MISSING,
    OTHER,
    TEXT,
    UNITS,
    ColumnReader,
    Fault,
    shown,
)
from kan_exp.data.csv_reader import CsvReader
from kan_exp.errors import KanExpError

UNNAMED, REPEATED, CONSTANT, RANGE = (
    "no name",
    "one name for several columns",
    "one value throughout",
    "a range beyond what float32 can scale",
)
# What to do about each kind, in the order in which they are told.
CURES = {
    UNNAMED: "name every column",
    REPEATED: "rename columns of the same name",
    TEXT: "write numbers for text",
    OTHER: "write numbers in their place",
    DATES: "write dates and times as numbers",
    UNITS: "write numbers without units and signs",
    COMMAS: "write numbers with a decimal point and nothing between thousands",
    MISSING: "fill in missing cells or delete their rows",
    INFINITE: "replace infinite values",
    CONSTANT: None,
    RANGE: "change the unit",
}
MOST_EACH = 4  # columns that are named for each kind of fault


def faulty(
    reader: ColumnReader,
    faults: Iterable[Fault],
    inputs: Sequence[str],
    target: str | None,
) -> KanExpError:
    """What to say of a table with faults in columns that are needed.

    Args:
        reader: The table.
        faults: At least one.
        inputs: Columns that were chosen as inputs.
        target: The output, if there is one.
    """
    order = list(CURES)
    faults = sorted(faults, key=lambda fault: order.index(fault.kind))
    groups = [(kind, list(group)) for kind, group in groupby(faults, lambda fault: fault.kind)]
    found = "; ".join(_group(kind, group, target) for kind, group in groups)
    bad = {fault.name for fault in faults}
    usable = [name for name in inputs if name not in bad]
    cures = [text for kind, _ in groups if (text := _cure(kind, reader)) is not None]
    advice = []
    if reader.options.features is not None and any(name in bad for name in inputs):
        if usable:
            advice.append(f"learn from the others: {reader.options.choice(usable)}")
        else:
            advice.append("no other column is left to learn from")
    if cures:
        advice.append(f"{'or ' if usable and advice else ''}{', '.join(cures)}")
    if target in bad:
        advice.append(f"the target cannot be left out: mend it, or choose {reader.options.target}")
    return reader.error(f"{found}: {'; '.join(advice) or 'mend it'}.")


def _group(kind: str, group: Sequence[Fault], target: str | None) -> str:
    parts = []
    for fault in group[:MOST_EACH]:
        if kind == UNNAMED:
            parts.append(fault.example)
            continue
        role = "the target " if fault.name == target else ""
        example = f" ({fault.example})" if fault.example else ""
        parts.append(f"{role}column {shown(fault.name)}{example}")
    more = f" and {len(group) - MOST_EACH:,} more columns" if len(group) > MOST_EACH else ""
    return f"{kind} {'of' if kind == UNNAMED else 'in'} {', '.join(parts)}{more}"


def _cure(kind: str, reader: ColumnReader) -> str | None:
    if kind == COMMAS and isinstance(reader, CsvReader) and reader.separator != ",":
        path = shlex.quote(str(reader.path))
        return f"write decimal points for commas: tr , . < {path} > points.csv"
    return CURES[kind]
