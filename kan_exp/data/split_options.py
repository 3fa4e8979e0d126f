"""The options that say which rows of a table go where, checked without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kan_exp.data.checks import check_whole
from kan_exp.data.columns import shown
from kan_exp.data.splitting import Parts, Rows, Splitter, cross_validation, halves
from kan_exp.errors import KanExpError
from kan_exp.runs.printable import counted

if TYPE_CHECKING:
    from kan_exp.data.table import Table

RANDOM, IN_ORDER = "random", "order"
NAMES = ("training", "validation", "test")
MIN_TRAIN = 10
MIN_ROWS = MIN_TRAIN + 2  # one for validation, and one for the test
ROUNDED = 1e-3  # relative, of fractions that were typed


@dataclass(frozen=True)
class SplitOptions:
    """Which rows go where.

    Args:
        fractions: Of the rows for training, validation and test; they sum to 1.
        seed: Decides the order of the rows, unless `split` is `order`.
        split: `random`, or `order`: the last rows are the test, those before them for validation.
        group: Column whose values are in one part each.
        test_path: File of the test rows; all rows of the other file are then for the rest.
        weight: Column of the weights of the rows.
        folds: Number of folds of a cross-validation; `None` for a single test part.
        repeats: How often the rows are divided into folds, each time in another order.

    Raises:
        KanExpError: An option is out of range, or does not go with another.
    """

    fractions: Sequence[float]
    seed: int
    split: str = RANDOM
    group: str | None = None
    test_path: str | None = None
    weight: str | None = None
    folds: int | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        check_fractions(self.fractions)
        check_whole("data.seed", self.seed, least=0)
        check_whole("data.repeats", self.repeats, least=1)
        if self.split not in (RANDOM, IN_ORDER):
            raise KanExpError(f"data.split must be {RANDOM} or {IN_ORDER}, got {self.split!r}.")
        if self.folds is not None:
            check_whole("data.folds", self.folds, least=2)
        elif self.repeats > 1:
            raise KanExpError(
                f"data.repeats={self.repeats} repeats a cross-validation: set data.folds=5, or "
                f"leave it out."
            )
        if self.in_order and self.group is not None:
            raise KanExpError(
                "data.split=order does not go with data.group, which may tear rows out of their "
                "order: leave one of the two out."
            )
        if self.in_order and self.repeats > 1:
            raise KanExpError("data.split=order has one order of the rows: leave data.repeats out.")
        if self.folds is not None and self.test_path is not None:
            raise KanExpError(
                "data.test_path does not go with data.folds, where all rows take turns as test "
                "rows: leave one of the two out."
            )

    @property
    def in_order(self) -> bool:
        return self.split == IN_ORDER

    @property
    def num_folds(self) -> int:
        """Number of test parts of the cross-validation, 0 if there is none."""
        return 0 if self.folds is None else self.folds * self.repeats

    @property
    def val_share(self) -> float:
        """Validation's share of the rows that are not for the test."""
        train, val, _ = self.fractions
        return val / (train + val)

    def check(self, table: Table) -> int:
        """Checks that a table has enough rows and groups for each part.

        Returns:
            The number of training rows; where groups decide it, about so many.

        Raises:
            KanExpError: It has not.
        """
        source = table.source
        given = table.rows - table.test_rows
        if self.folds is None and not table.test_rows:
            train, needed = split_rows(source, table.rows, self.fractions)[0], 3
        else:
            fold = 0 if self.folds is None else math.ceil(given / (self.folds + self.in_order))
            rest = fold if fold and self.in_order else given - fold  # of the first fold
            train, needed = halves(rest, self.val_share)[0], (self.folds or 0) + 2
            if given < MIN_ROWS or train < MIN_TRAIN:
                raise KanExpError(
                    f"{source}: has {given} rows, which leaves {max(train, 0)} for training, but "
                    f"at least {MIN_TRAIN} are needed: add rows, or set fewer data.folds."
                )
        if self.folds is not None and self.folds + self.in_order > given:
            raise KanExpError(
                f"{source}: data.folds={self.folds} has more folds than the table has rows, "
                f"{given}: set fewer."
            )
        if table.groups is not None:
            needed = max(needed, 3) if not table.test_rows else 2
            count = len(np.unique(table.groups[:given]))
            if count < needed:
                what = "one value" if count == 1 else f"{count} values"
                parts = f"{self.folds} folds and their validation" if self.folds else "every part"
                raise KanExpError(
                    f"{source}: data.group={self.group} has {what} in all rows, too few for "
                    f"{parts} to have its own: choose another column, or leave data.group out."
                )
        return train

    def parts(self, table: Table, orders: Sequence[Rows]) -> list[Parts]:
        """The rows of each part: of each fold in turn, of a single division otherwise.

        Args:
            table: What is divided.
            orders: The numbers of its rows in a random order, without those of a test file; one
                for each repeat.

        Raises:
            KanExpError: Groups leave a part with too few rows, or a class is not in training.
        """
        given = table.rows - table.test_rows
        splitter = Splitter(table.groups, None if self.in_order else table.classes)
        orders = [np.arange(given)] if self.in_order else orders
        if self.folds is not None:
            found = [
                part
                for order in orders
                for part in cross_validation(
                    splitter, order, self.folds, self.val_share, in_order=self.in_order
                )
            ]
        elif table.test_rows:
            train, val = splitter.split(orders[0], halves(given, self.val_share))
            found = [Parts(train, val, np.arange(given, table.rows))]
        else:
            sizes = split_rows(table.source, given, self.fractions)
            found = [Parts(*splitter.split(orders[0], sizes))]
        for number, part in enumerate(found):
            self._check_part(table, part, f" of fold {number + 1}" if self.folds else "")
        return found

    def final(self, table: Table, order: Rows) -> Parts:
        """The parts of the network that is trained on all rows, whose error the folds estimate."""
        splitter = Splitter(table.groups, None if self.in_order else table.classes)
        rows = np.arange(table.rows)
        train, val = splitter.split(
            rows if self.in_order else order, halves(len(rows), self.val_share)
        )
        return Parts(train, val, rows)

    def _check_part(self, table: Table, parts: Parts, where: str) -> None:
        for name, rows, least in zip(NAMES, parts, (MIN_TRAIN, 1, 1), strict=True):
            if len(rows) < least:
                size = counted(len(rows), "row")
                raise KanExpError(
                    f"{table.source}: data.group={shown(self.group)} leaves the {name} part{where} "
                    f"{size}, but it needs {least}: its groups are too large; choose another "
                    f"column, or leave data.group out."
                )
        train = parts.train
        if (weight := table.weight) is not None:
            for name, rows in zip(NAMES, parts, strict=True):
                if not weight[rows].any():
                    raise KanExpError(
                        f"{table.source}: data.weight={shown(self.weight)} is 0 in all rows of the "
                        f"{name} part{where}: set another data.seed, or leave data.weight out."
                    )
            train = train[weight[train] > 0]
        if (classes := table.classes) is None:
            return
        absent = np.setdiff1d(classes, classes[train])
        if len(absent):
            rows = np.flatnonzero(classes == absent[0])
            name = table.schema.targets[0]
            raise KanExpError(
                f"{table.source}: column {shown(name)} has the class "
                f"{shown(table.frame[name][int(rows[0])])} in no training row{where}: "
                f"{self._cure(table, rows)}"
            )

    def _cure(self, table: Table, rows: Rows) -> str:
        """Advice on how to bring one of these rows into the training part."""
        given = rows[rows < table.rows - table.test_rows]
        usable = given if table.weight is None else given[table.weight[given] > 0]
        if not len(usable):
            lack = "are all in data.test_path" if not len(given) else "have the weight 0"
            return f"its rows {lack}: leave them out."
        if self.in_order:
            return "its rows come late: set data.split=random, or leave them out."
        units = len(usable) if table.groups is None else len(np.unique(table.groups[usable]))
        if units > 1:
            return "set another data.seed, or leave out its rows."
        what = "one row" if table.groups is None else f"rows of one {shown(self.group)}"
        other = f", or leave {'data.folds' if self.folds else 'data.group'} out"
        return f"it has {what} only: leave out its rows{other}."


def split_rows(source: str, rows: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    """Numbers of rows for training, validation and test; an error if they are too few."""
    train, val, test = check_fractions(fractions)
    if rows < MIN_ROWS:
        has = counted(rows, "row")
        raise KanExpError(f"{source}: has {has}, but training needs at least {MIN_ROWS}.")
    needed = max(MIN_TRAIN / train, 1 / val, 1 / test)
    if rows < needed * (1 - ROUNDED):
        raise KanExpError(
            f"{source}: has {rows} rows, but data.fractions=[{train:g},{val:g},{test:g}] needs "
            f"at least {math.ceil(needed)}: add rows, or set '{_fractions_for(rows)}'"
        )
    num_val, num_test = round(rows * val), round(rows * test)
    return rows - num_val - num_test, num_val, num_test


def _fractions_for(rows: int) -> str:
    """The option that suits so many rows: the usual, or one row for each of the smaller parts."""
    share = math.ceil(10_000 / rows) / 10_000
    shares = (0.7, 0.15, 0.15) if rows >= 15 else (1 - 2 * share, share, share)
    return f"data.fractions=[{','.join(f'{part:.4g}' for part in shares)}]"


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Fractions of training, validation and test: three positive numbers that sum to 1."""
    if isinstance(fractions, Sequence) and len(fractions) == 3:
        numbers = [share for share in fractions if isinstance(share, int | float) and share > 0]
        if len(numbers) == 3 and math.isclose(sum(numbers), 1, abs_tol=1e-6):
            return numbers[0], numbers[1], numbers[2]
    raise KanExpError(
        "data.fractions must be three positive numbers that sum to 1 (training, validation, test), "
        f"got {fractions}."
    )
