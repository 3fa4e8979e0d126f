"""Regression by Huber's loss, for targets with outliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kan_exp.tasks.base import Task
from kan_exp.tasks.rules import check_number

if TYPE_CHECKING:
    from kan_exp.tasks.losses import Loss


class HuberRegression(Task):
    """Predicts numbers; minimizes Huber's loss, which is linear in errors above `delta`.

    Args:
        metrics: See `Scoring`.
        primary: See `Scoring`.
        delta: Largest error that is squared, in standard deviations of the target.

    Raises:
        KanExpError: `delta` is not a positive number, or see `Scoring`.

    Source:
        P. Huber, "Robust estimation of a location parameter", 1964.
    """

    def __init__(self, metrics: Sequence[str], primary: str, delta: float) -> None:
        super().__init__(metrics, primary)
        self.delta = check_number("task.delta", delta, above=0)

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import Huber

        return Huber(self.delta)
