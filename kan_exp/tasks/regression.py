"""Regression by the squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kan_exp.tasks.base import Task
from kan_exp.tasks.metrics import rmse

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.tasks.losses import Loss


class Regression(Task):
    """Predicts numbers; minimizes the mean squared error."""

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import Squared

        return Squared()

    def validation_loss(
        self,
        outputs: Tensor,
        truth: Tensor,
        y_mean: Tensor,
        y_std: Tensor,
        weight: Tensor | None = None,
    ) -> float:
        if y_std.numel() > 1 or weight is not None:
            return super().validation_loss(outputs, truth, y_mean, y_std, weight)
        predicted = self.predictions(outputs, y_mean, y_std)
        error: float = rmse(predicted.double(), truth.double()).item()
        return (error / y_std.item()) ** 2

    def training_error(self, loss: Tensor, y_std: Tensor) -> Tensor | None:
        if self.primary.name != "rmse" or y_std.numel() > 1:
            return None
        return loss.sqrt() * y_std.squeeze()
