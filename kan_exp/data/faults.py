"""Describes all faults of a table in one line, with what to do about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np

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
    FloatArray,
    shown,
)
from kan_exp.data.csv_reader import CsvReader
from kan_exp.data.options import assign
from kan_exp.errors import KanExpError
from kan_exp.quoting import shell

UNNAMED, REPEATED, CONSTANT, RANGE = (
    "no name",
    "a repeated name",
    "one value throughout",
    "a range beyond what float32 can scale",
)
# What to do about each kind of fault, in the order of the message.
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
MAX_EACH = 4  # columns that are named for each kind of fault
MAX_LOST = 0.1  # of all rows
GAPS = (MISSING, TEXT)  # rows with such cells may be left out


def faulty(
    reader: ColumnReader,
    faults: Iterable[Fault],
    inputs: Sequence[str],
    target: str | None,
    values: Mapping[str, FloatArray],
) -> KanExpError:
    """The error for a table with faults in columns that are used.

    Args:
        reader: The table.
        faults: At least one.
        inputs: Columns that were chosen as inputs.
        target: The output, if there is one.
        values: Of the columns that could be read, by name.
    """
    order = list(CURES)
    faults = sorted(faults, key=lambda fault: order.index(fault.kind))
    groups = [(kind, list(group)) for kind, group in groupby(faults, lambda fault: fault.kind)]
    found = "; ".join(_group(kind, group, target) for kind, group in groups)
    cures = [text for kind, _ in groups if (text := _cure(kind, reader)) is not None]
    bad = {fault.name: fault.kind for fault in faults}
    advice = _choice(reader, inputs, target, bad, values)
    if cures:
        advice.append(f"{'or ' if advice else ''}{', '.join(cures)}")
    text = f"{found}: {'; '.join(advice) or 'mend it'}"
    # No full stop after a command, which would be pasted with it.
    typed = text.endswith(("'", "]", ".", reader.path.suffix))
    return reader.error(text if typed else f"{text}.")


def _choice(
    reader: ColumnReader,
    inputs: Sequence[str],
    target: str | None,
    bad: Mapping[str, str],
    values: Mapping[str, FloatArray],
) -> list[str]:
    """Options to type in order to use the sound columns only."""
    options = reader.options
    if (kept := _without_gaps(reader, inputs, target, bad, values)) is not None:
        return [kept]
    if options.features is None:  # the network needs them all
        return []
    advice = []
    sound = [name for name in inputs if name not in bad]
    if len(sound) < len(inputs):
        choice = f"learn from the others: {options.choice(sound)}"
        advice.append(choice if sound else "no other column is left to learn from")
    if target in bad:
        advice.append(f"mend the target, or choose another with {options.target}=...")
    return advice


def _without_gaps(
    reader: ColumnReader,
    inputs: Sequence[str],
    target: str | None,
    bad: Mapping[str, str],
    values: Mapping[str, FloatArray],
) -> str | None:
    """A command that removes rows without numbers, if they are few or lack the target."""
    options = reader.options
    outputs = [target] if target is not None and target in bad else []
    gaps = [name for name in inputs if bad.get(name) in GAPS]
    if any(bad[name] not in GAPS for name in outputs) or not (gaps or outputs):
        return None
    kept = [name for name in inputs if name in gaps or name not in bad]
    rows = np.isnan(np.stack([values[name] for name in (*outputs, *gaps)])).any(0)
    if rows.mean() > MAX_LOST:
        # Columns of text are to be left out as a whole.
        gaps = [name for name in gaps if bad[name] == MISSING or _few(values[name])]
        kept = [name for name in inputs if name in gaps or name not in bad]
        named = [values[name] for name in (*outputs, *gaps)]
        rows = np.isnan(np.stack(named)).any(0) if named else np.ones(1, dtype=bool)
    if rows.mean() > MAX_LOST:
        if not outputs or (bad[outputs[0]] != MISSING and not _few(values[outputs[0]])):
            return None
        rows, kept = np.isnan(values[outputs[0]]), [name for name in kept if name not in gaps]
    copy = reader.new_name("rows")
    command = reader.deletion(np.flatnonzero(rows).tolist(), copy) if kept else None
    if command is None or (options.features is None and kept != list(inputs)):
        return None
    typed = options.widths(len(kept)) if kept == list(inputs) else f" {options.choice(kept)}"
    many = "1 row" if rows.sum() == 1 else f"{int(rows.sum()):,} rows"
    return f"leave out {many}: {command} and set {assign(options.path, copy)}{typed}"


def _few(values: FloatArray) -> bool:
    return bool(np.isnan(values).mean() <= MAX_LOST)


def _group(kind: str, group: Sequence[Fault], target: str | None) -> str:
    parts = []
    for fault in group[:MAX_EACH]:
        if kind == UNNAMED:
            parts.append(fault.example)
            continue
        role = "the target " if fault.name == target else ""
        example = f" ({fault.example})" if fault.example else ""
        parts.append(f"{role}column {shown(fault.name)}{example}")
    more = f" and {len(group) - MAX_EACH:,} more columns" if len(group) > MAX_EACH else ""
    return f"{kind} {'for' if kind == UNNAMED else 'in'} {', '.join(parts)}{more}"


def _cure(kind: str, reader: ColumnReader) -> str | None:
    if kind == COMMAS and isinstance(reader, CsvReader) and reader.separator != ",":
        copy = shell(reader.new_name("points"))
        return f"write decimal points for commas: tr , . < {reader.typed} > {copy}"
    return CURES[kind]
