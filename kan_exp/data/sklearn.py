"""Measured data that ship with scikit-learn; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence

from kan_exp.data.bundled import load_table
from kan_exp.data.split_table import SplitTableData


class SklearnData(SplitTableData):
    """One of scikit-learn's own sets.

    `diabetes` (442 rows) predicts the disease's progression, `iris` (150) a petal's width from the
    other three measurements, `wine` (178) the alcohol from the other twelve.

    Args:
        name: `diabetes`, `iris` or `wine`.
        fractions: Of the rows for training, validation and test; they sum to 1.
        seed: Decides which rows go where.

    Raises:
        KanExpError: The name is unknown, or scikit-learn is not installed.
    """

    def __init__(self, name: str, fractions: Sequence[float], seed: int) -> None:
        super().__init__(load_table(name), fractions, seed)
