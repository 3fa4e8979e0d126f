"""Describes all faults of a table in one line, with options under which it can be learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from kan_exp.data import columns
from kan_exp.data.columns import Fault, shown
from kan_exp.data.options import MAX_TYPED, assign, assign_words
from kan_exp.data.schema import Schema
from kan_exp.data.table_file import TableFile
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError
from kan_exp.quoting import shell

# What to do about each kind of fault in rows for a trained network, in the order of the message.
CURES = {
    columns.REPEATED: "rename columns of the same name",
    columns.TEXT: "write what the network was trained on",
    columns.NAMES: "write numbers or categories",
    columns.OTHER: "write numbers in their place",
    columns.SWAPPED: "write dates as YYYY-MM-DD",
    columns.COMMAS: "write numbers with a decimal point",
    columns.UNITS: "write numbers in the unit of the training",
    columns.MISSING: "fill in missing cells",
    columns.INFINITE: "replace infinite values",
    columns.SCALE: "write positive numbers",
    columns.CONSTANT: None,
    columns.RANGE: "change the unit",
}
# The same where rows in memory are learned from, whose columns no option chooses.
CURES_IN_MEMORY = CURES | {
    columns.TEXT: "write numbers in their place",
    columns.NAMES: "leave such columns out",
}
MAX_NAMED = 4  # columns of each kind of fault
MAX_WORDS = 3  # texts of a column that may stand for missing values


def faulty(
    file: TableFile, faults: Iterable[Fault], schema: Schema, treatment: Treatment | None
) -> KanExpError:
    """The error for a table with faults in its columns.

    Args:
        schema: Columns that are used.
        treatment: The options of the training; None for rows for a trained network. They are
            spelled out where an option chooses the columns.
    """
    order = list(CURES)
    faults = sorted(faults, key=lambda fault: order.index(fault.kind))
    groups = [(kind, list(group)) for kind, group in groupby(faults, lambda fault: fault.kind)]
    kinds = "; ".join(_describe(kind, group, schema.targets) for kind, group in groups)
    if treatment is not None and file.options.features is not None:
        return file.error(f"{kinds}: {_command(file, faults, schema, treatment)}")
    learned = treatment is not None or file.options.missing is None
    known = CURES_IN_MEMORY if learned else CURES
    cures = [text for kind, _ in groups if (text := known[kind]) is not None]
    text = ", ".join(cures)
    blank = any(fault.remedies and fault.name in schema.targets for fault in faults)
    fillable = {*(kind for kind, _ in groups)} == {columns.MISSING} and not blank
    if fillable and file.options.missing:
        choice = "leave such rows out: set {}=drop" if treatment is None else "set {}='impute'"
        return file.error(f"{kinds}: {text}, or {choice.format(file.options.missing)}")
    return file.error(f"{kinds}: {text}.")


def _describe(kind: str, group: Sequence[Fault], targets: Sequence[str]) -> str:
    parts = []
    for fault in group[:MAX_NAMED]:
        role = "the target " if fault.name in targets else ""
        example = f" ({fault.example})" if fault.example else ""
        parts.append(f"{role}column {shown(fault.name)}{example}")
    more = f" and {len(group) - MAX_NAMED:,} more columns" if len(group) > MAX_NAMED else ""
    return f"{kind} in {', '.join(parts)}{more}"


def _command(file: TableFile, faults: Sequence[Fault], schema: Schema, treatment: Treatment) -> str:
    """The options with which the table can be learned, if there are any, and what is left to do."""
    options = file.options
    drop = list(treatment.drop)
    words = list(treatment.missing_values)
    kinds = dict(treatment.kinds)
    scale, decimal, gaps, lost = dict(treatment.scale), treatment.decimal, False, []
    repeated = any(fault.kind == columns.REPEATED for fault in faults)
    for fault in faults:
        is_target = fault.name in schema.targets
        if fault.kind == columns.MISSING and fault.remedies != ("all",):
            gaps = True
        elif fault.remedies and fault.kind in (columns.TEXT, columns.INFINITE):
            words += [word for word in fault.remedies if word not in words]
            gaps = True
        elif fault.kind == columns.SWAPPED:
            kinds[fault.name] = fault.remedies[0]
        elif fault.kind == columns.COMMAS:
            decimal = fault.remedies[0]
        elif fault.kind == columns.SCALE:
            del scale[fault.name]
            if fault.remedies:
                (scale[fault.name],) = fault.remedies
        elif is_target:
            lost.append(fault.name)
        else:
            drop.append(fault.name)
    typed = []
    if lost:
        typed.append(f"{options.target}=...")
    if len(drop) > len(treatment.drop):
        kept = [name for name in schema.columns if name not in drop]
        if not kept:
            rename = f"{CURES[columns.REPEATED]}: without them, " if repeated else ""
            return f"{rename}no other column is left to learn from."
        choice = assign("data.drop", drop)
        typed.append(choice if len(choice) <= MAX_TYPED else f"{options.features}=[...]")
    if kinds != treatment.kinds:
        typed.append(assign("data.kinds", kinds))
    if scale != treatment.scale:
        typed.append(assign("data.scale", scale) if scale else "data.scale=null")
    if decimal != treatment.decimal:
        typed.append(assign("data.decimal", str(decimal)))
    if len(words) > len(treatment.missing_values):
        typed.append(assign_words(words))
    if gaps and treatment.missing == "error":
        typed.append(f"{options.missing}=impute")
    if options.dims is not None and typed:
        widths = ",".join(map(str, ("auto", *options.dims[1:])))
        typed.append(shell(f"dims=[{widths}]"))
    if lost:
        many = "targets" if len(lost) > 1 else "target"
        mend = CURES[columns.REPEATED] if repeated else f"mend the {many}"
        return f"{mend}, or choose another with {' '.join(typed)}"
    return f"set {' '.join(typed)}"
