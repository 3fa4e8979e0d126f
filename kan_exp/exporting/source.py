"""The model that is exported, and the file that a format makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from kan_exp.data.columns import FloatArray
from kan_exp.errors import KanExpError
from kan_exp.exporting.fresh import difference, fresh_rows
from kan_exp.exporting.tables import Tables
from kan_exp.layers import KANNamedLayer
from kan_exp.models.model import KANModel

if TYPE_CHECKING:
    from polars import DataFrame

EXACT = 1e-3  # of predictions, by which a file may differ from its model at most
SEED = 0  # of the rows by which files are compared with models


@dataclass(frozen=True)
class ExportedFile:
    """The bytes of a file, lines about it, and by name the texts of files that it needs."""

    data: bytes
    lines: list[str]
    companions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A model on its way into a file.

    Attributes:
        model: The model, on the CPU.
        tables: Its tables.
        name: What the file calls it.
        dtype: Of tables in npz.
        table: Of a query in SQL.
    """

    model: KANModel
    tables: Tables
    name: str
    dtype: str
    table: str

    @cached_property
    def rows(self) -> DataFrame:
        """Rows by which the file is compared with the model; of a formula those in its domain."""
        rows = fresh_rows(self.tables, torch.Generator().manual_seed(SEED))
        if not any(isinstance(layer, KANNamedLayer) for layer in self.model.network):
            return rows
        return rows.filter(self.model.predict(rows).isfinite().all(1).tolist())

    def check_tables(self) -> None:
        """Raises a `KanExpError` if a known function cannot be tabulated."""
        names = list(self.tables.schema.features)
        for layer, table in zip(self.model.network, self.tables.layers, strict=True):
            if isinstance(layer, KANNamedLayer):
                labels = layer.labels(names)
                size = np.abs(table.coefficients).max(initial=0.0)
                for i, j in np.argwhere(~(table.error <= EXACT * size)):
                    low, high = layer.domain[i].tolist()
                    raise KanExpError(
                        f"export: {labels[i][j]} is too steep for a table where its input runs "
                        f"from {low:.3g} to {high:.3g}: choose format=torch, which has functions."
                    )
            names = [f"h{place + 1}" for place in range(len(table.products))]

    @cached_property
    def expected(self) -> FloatArray:
        """The model's predictions for these rows, `(n, outputs)`."""
        return self.model.predict(self.rows).double().cpu().numpy()

    def compare(self, found: FloatArray, most: float = EXACT) -> str:
        """A line about the difference of predictions from the model's.

        Raises:
            KanExpError: It is larger than `most`, see `difference`.
        """
        with np.errstate(over="ignore"):  # of squares of formulas near poles
            apart = difference(found, self.expected)
        if not apart <= most:
            raise KanExpError(
                f"export: predictions differ from the model's by {apart:.2g} of their size in "
                f"{len(found)} new rows, more than {most:.2g}: nothing is written."
            )
        return f"differs from the model by {apart:.2g} of its predictions in {len(found)} new rows."
