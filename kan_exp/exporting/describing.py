"""What an exported network takes and gives, as plain containers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from kan_exp.data.columns import FloatArray
from kan_exp.data.ranges import MARGIN
from kan_exp.data.schema import PARTS
from kan_exp.errors import listing
from kan_exp.exporting.tables import OUTSIDE, Tables, category_rows

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
    for column in tables.schema.inputs:
        one = {name: getattr(column, name) for name in ("name", "kind", "scale", "fill", "gaps")}
        one |= {"parts": [*column.parts]} if column.kind == "date" else {}
        if (rows := category_rows(column)) is not None:
            one |= {"levels": [*column.levels], "rows": _plain(rows)}
        columns.append(one)
    return {
        "columns": columns,
        "features": [*tables.schema.features],
        "outputs": tables.names,
        "classes": [*tables.schema.classes],
        "target": tables.schema.target_name,
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
        for column in tables.schema.inputs
    )


def prediction_names(tables: Tables) -> list[str]:
    """Names of the columns of predictions, as `kan_exp.predict` calls them."""
    if not tables.schema.classes:
        return [f"{name}_predicted" for name in tables.names]
    return [f"{tables.schema.target_name}_probability_{name}" for name in tables.schema.classes]


def inputs_text(tables: Tables) -> list[str]:
    """A line for each kind of column: how its values are given, and names."""
    named: dict[str, list[str]] = {}
    for column in tables.schema.inputs:
        named.setdefault(column.kind, []).append(column.name)
    return [f"{kind} ({KINDS[kind]}): {listing(names)}" for kind, names in named.items()]
