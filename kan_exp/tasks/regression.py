"""Regression by the squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kan_exp.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.tasks.losses import Loss


class Regression(Task):
    """Predicts numbers; minimizes the mean squared error."""

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import Squared

        return Squared()

    def training_error(self, loss: Tensor, y_std: Tensor) -> Tensor | None:
        if self.primary.name != "rmse" or y_std.numel() > 1:
            return None
        return loss.sqrt() * y_std.squeeze()
