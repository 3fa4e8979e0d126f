"""Rows in memory, of which none are kept for a test."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kan_exp.data.base import ExperimentData
from kan_exp.data.split_options import MIN_ROWS, SplitOptions
from kan_exp.data.split_table import SplitTableData
from kan_exp.data.table import Table
from kan_exp.errors import KanExpError


class ArrayData(SplitTableData):
    """The rows of a table, split into training and validation.

    Fewer than `MIN_ROWS` rows, or rows of which a class is missing among those for training, are
    all for training, and are the validation rows, too: then `val` is `train`. The test rows are all
    rows.

    Args:
        table: Inputs and outputs.
        fractions: As in `SplitOptions`; the share of validation rows follows from it.
        seed: Decides which rows are for validation.

    Raises:
        KanExpError: No input varies over the training rows.
    """

    _takes_constants = True
    _cure = "there is nothing to learn from"

    def __init__(self, table: Table, fractions: Sequence[float], seed: int) -> None:
        ExperimentData.__init__(self, seed)
        self.options = SplitOptions(fractions, seed)
        order = torch.randperm(table.rows, generator=torch.Generator().manual_seed(seed)).numpy()
        self.parts, classes = self.options.final(table, order), table.classes
        lacks = classes is not None and len({*classes[self.parts.train]}) < len({*classes})
        if lacks or table.rows < MIN_ROWS:
            self.parts = self.parts._replace(train=self.parts.test, val=self.parts.test)
        self._take(table)
        self._check_spread()
        if self.parts.val is self.parts.train:
            self.val = self.train

    def fold(self, number: int) -> SplitTableData:
        raise KanExpError("rows in memory are not divided into folds.")

    @property
    def summary(self) -> str:
        train, val = len(self.parts.train), len(self.parts.val)
        return f"{self.table.rows:,} rows, {train:,} train, {val:,} validation"
