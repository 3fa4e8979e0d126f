"""Quantile regression by the pinball loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kan_exp.errors import KanExpError
from kan_exp.tasks.base import Task
from kan_exp.tasks.metrics import QUANTILES
from kan_exp.tasks.rules import check_number

if TYPE_CHECKING:
    from kan_exp.data.schema import Schema
    from kan_exp.tasks.losses import Loss


class QuantileRegression(Task):
    """Predicts quantiles of a number, one output for each; minimizes the pinball loss.

    Args:
        metrics: See `Scoring`.
        primary: See `Scoring`.
        quantile: A number between 0 and 1, or several in ascending order.
        width: Errors below it are smoothed, in standard deviations of the target.

    Raises:
        KanExpError: A number is out of range, or see `Task`.
    """

    predicts = QUANTILES
    figures = ("quantiles",)

    def __init__(
        self,
        metrics: Sequence[str],
        primary: str,
        quantile: float | Sequence[float],
        width: float,
    ) -> None:
        shares = list(quantile) if isinstance(quantile, Sequence) else [quantile]
        numbers = [s for s in shares if isinstance(s, int | float) and 0 < s < 1]
        if not shares or isinstance(quantile, str) or numbers != sorted({*numbers}):
            numbers = []
        if not numbers or len(numbers) < len(shares):
            raise KanExpError(
                f"task.quantile must be a number between 0 and 1, or a list of such numbers in "
                f"ascending order, got {quantile!r}."
            )
        super().__init__(metrics, primary, [float(share) for share in numbers])
        self.width = check_number("task.width", width, above=0)

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import Pinball

        return Pinball(self.quantiles, self.width)

    def output_names(self, schema: Schema) -> tuple[str, ...]:
        return tuple(f"{schema.target_name} q{share:g}" for share in self.quantiles)

    def check_target(
        self, schema: Schema, y: Any, where: Callable[[int], str] | None = None
    ) -> None:
        if len(schema.targets) > 1:
            raise KanExpError(
                f"task=quantile takes one target, got {len(schema.targets)}: set data.target to "
                f"one of them."
            )
