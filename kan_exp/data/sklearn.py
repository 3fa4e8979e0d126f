"""Measured data that ship with scikit-learn; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from kan_exp.data.checks import sklearn_schema
from kan_exp.data.classes import with_outputs
from kan_exp.data.schema import Column, Schema
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.split_table import SplitTableData
from kan_exp.data.table import Table
from kan_exp.errors import KanExpError, listing


class SklearnData(SplitTableData):
    """One of scikit-learn's own sets in its own units.

    `iris` (150 rows), `wine` (178), `breast_cancer` (569) and `digits` (1797) have classes,
    `diabetes` (442) the disease's progression.

    Args:
        name: One of these.
        fractions: See `SplitOptions` for this, `seed` and `others`.
        target: A measured column to learn from the other ones, instead of the set's own output.
        classes: Whether the set's own output is a class; if `None`, where it has names.

    Raises:
        KanExpError: The name or the column is unknown, or scikit-learn is not installed.
    """

    def __init__(
        self,
        name: str,
        fractions: Sequence[float],
        seed: int,
        target: str | None = None,
        classes: bool | None = None,
        **others: Any,
    ) -> None:
        sklearn_schema(name, target)
        try:
            from sklearn import datasets
        except ImportError:
            raise KanExpError(
                "data=sklearn needs scikit-learn: pip install scikit-learn."
            ) from None
        options = {"scaled": False} if name == "diabetes" else {}
        bunch = getattr(datasets, f"load_{name}")(**options)
        features = map(str, bunch.feature_names)  # some are NumPy's, which no checkpoint holds
        columns = dict(zip(features, np.asarray(bunch.data, np.float64).T, strict=True))
        if target is not None and target not in columns:
            known = listing(map(repr, columns))
            raise KanExpError(f"data.target: {name} has no column {target!r}: choose from {known}.")
        y = np.asarray(bunch.target, np.float64) if target is None else columns.pop(target)
        x = np.column_stack(list(columns.values()))
        output = "progression" if name == "diabetes" else "class"
        schema = Schema.of_numbers(columns, [target or output])
        table = Table.of_arrays(f"scikit-learn's {name}", schema, x, y[:, None])
        if classes is None:
            classes = name != "diabetes" and target is None
        if classes and target is None and name != "diabetes":
            names = dict(enumerate(map(str, bunch.target_names)))
            values = pl.Series(output, [names[k] for k in y.astype(int)])
            column = Column(output, kind="class")
            table = replace(
                table,
                schema=replace(schema, outputs=(column,)),
                frame=table.frame.with_columns(values),
            )
        table = with_outputs(table, classes)
        super().__init__(table, SplitOptions(fractions, seed, **others))
