"""Poisson regression, for counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kan_exp.errors import KanExpError
from kan_exp.tasks.base import Task
from kan_exp.tasks.rules import check_number

if TYPE_CHECKING:
    from kan_exp.data.points import Scaling
    from kan_exp.data.schema import Schema
    from kan_exp.tasks.losses import Loss


class CountRegression(Task):
    """Predicts means of counts above 0; minimizes the Poisson deviance.

    The network learns the logarithm of the mean, relative to the mean of the training points.

    Args:
        metrics: See `Scoring`.
        primary: See `Scoring`.
        ridge: Weight of the squared outputs in the loss. Where all counts are 0, the logarithm
            would fall without end.

    Raises:
        KanExpError: `ridge` is not a number of at least 0, or see `Task`.

    Source:
        P. McCullagh and J. Nelder, "Generalized Linear Models", 1989, chapter 6.
    """

    activation = "exp"

    def __init__(self, metrics: Sequence[str], primary: str, ridge: float) -> None:
        super().__init__(metrics, primary)
        self.ridge = check_number("task.ridge", ridge, at_least=0)

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import Poisson

        return Poisson(self.ridge)

    def scaling(self, scaling: Scaling) -> Scaling:
        """Divides by the mean; its logarithm is then the network's zero."""
        import torch

        y_mean = scaling.y_mean
        scale = torch.where(y_mean > 0, y_mean, torch.ones_like(y_mean))
        return scaling._replace(y_mean=torch.zeros_like(y_mean), y_std=scale)

    def check_target(
        self, schema: Schema, y: Any, where: Callable[[int], str] | None = None
    ) -> None:
        for name, values in zip(schema.targets, y.T, strict=True):
            wrong = ((values < 0) | (values % 1 != 0)).nonzero()
            rows = wrong[0] if isinstance(wrong, tuple) else wrong[:, 0]  # of NumPy, of torch
            if len(rows):
                row = int(rows[0])
                place = "" if where is None else f" in {where(row)}"
                many = f", one of {len(rows):,}" if len(rows) > 1 else ""
                raise KanExpError(
                    f"task=count needs whole numbers of at least 0, but {name!r} has "
                    f"{float(values[row]):g}{place}{many}: set task=regression"
                )
