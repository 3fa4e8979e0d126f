"""The importance of the edges of a trained network, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class EdgeImportance(NamedTuple):
    """A row of the table: an edge by the names of its ends, its layer counted from 1."""

    layer: int
    input: str
    output: str
    importance: float


@dataclass(frozen=True)
class Importance:
    """The importance of every edge, see `kan_exp.layers.importance.edge_importance`.

    Attributes:
        layers: For each layer `(in, out)`; 0 where there is no edge.
        masks: For each layer `(in, out)`, which edges exist.
        names: Of the inputs, of the hidden units of each layer, and of the outputs.
        method: "ablation", or "gradient" where the network is too large for it.
    """

    layers: Sequence[NDArray[np.float64]]
    masks: Sequence[NDArray[np.bool_]]
    names: Sequence[Sequence[str]]
    method: str

    @property
    def estimated(self) -> bool:
        """Whether gradients took the place of ablation."""
        return self.method != "ablation"

    def table(self) -> list[EdgeImportance]:
        """The edges that exist, the most important first."""
        rows = [
            EdgeImportance(
                depth + 1, self.names[depth][i], self.names[depth + 1][j], float(values[i, j])
            )
            for depth, (values, mask) in enumerate(zip(self.layers, self.masks, strict=True))
            for i, j in np.argwhere(mask)
        ]
        return sorted(rows, key=lambda row: -row.importance)
