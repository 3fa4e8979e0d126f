"""What an exported network takes and gives, as plain containers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from kan_exp.data.columns import FloatArray
from kan_exp.data.ranges import MARGIN
from kan_exp.data.schema import PARTS
from kan_exp.errors import listing
from kan_exp.exporting.tables import OUTSIDE, Tables

DATE_PARTS = [name for names in PARTS.values() for name in names]  # as evaluators have them
# What stands for a gap, and how the values of each kind of column are given.
KINDS = {
    "number": "NaN if missing",
    "boolean": "1 for yes, 0 for no; NaN if missing",
    "category": "empty text if missing",
    "date": "microseconds since 1970-01-01; the smallest integer if missing",
}


def about(tables: Tables) -> dict[str, Any]:
    """All but the large arrays: columns, outputs, and what happens outside of the tables."""
    columns = []
    for column, rows in zip(tables.columns, tables.encodings, strict=True):
        one = {name: getattr(column, name) for name in ("name", "kind", "scale", "fill", "gaps")}
        one |= {"parts": [*column.parts]} if column.kind == "date" else {}
        if rows is not None:
            one |= {"levels": [*column.levels], "rows": _plain(rows)}
        columns.append(one)
    return {
        "columns": columns,
        "features": [*tables.features],
        "outputs": tables.names,
        "classes": [*tables.classes],
        "target": tables.target,
        "activation": tables.activation,
        "scales": tables.scales,
        "smearing": tables.smearing,
        "ranges": _plain(tables.ranges),
        "margin": MARGIN,
        "outside": OUTSIDE,
        "error_bound": tables.bound.tolist(),
    }


def _plain(values: FloatArray) -> list[Any]:
    """Nested lists, None for NaN, which JSON has not."""
    found = values.astype(object)
    found[~np.isfinite(values)] = None
    return list(found.tolist())


def is_plain(tables: Tables) -> bool:
    """Whether every column is a number that is an input of the network as it is."""
    return all(
        column.kind in ("number", "boolean") and not column.scale and column.fill is None
        for column in tables.columns
    )


def prediction_names(tables: Tables) -> list[str]:
    """Names of the columns of predictions, as `kan_exp.predict` calls them."""
    if not tables.classes:
        return [f"{name}_predicted" for name in tables.names]
    return [f"{tables.target}_probability_{name}" for name in tables.classes]


def inputs_text(tables: Tables) -> list[str]:
    """A line for each kind of column: how its values are given, and names."""
    kinds = {column.kind: KINDS[column.kind] for column in tables.columns}
    named = {
        kind: listing(one.name for one in tables.columns if one.kind == kind) for kind in kinds
    }
    return [f"{kind} ({text}): {named[kind]}" for kind, text in kinds.items()]
