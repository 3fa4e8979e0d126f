"""Classification by the cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kan_exp.tasks.base import Task
from kan_exp.tasks.metrics import CLASSES, recalls
from kan_exp.tasks.rules import check_number

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.data.schema import Schema
    from kan_exp.tasks.losses import Loss


class Classification(Task):
    """Predicts the probability of each class; minimizes the cross-entropy.

    The network has an output for each class, or one for two classes: the logit of the second.
    Predictions have a column for each class, also for two.

    Args:
        metrics: See `Scoring`.
        primary: See `Scoring`.
        ridge: Weight of the squared logits in the loss. Where classes are separable, the logits
            would grow without end.

    Raises:
        KanExpError: `ridge` is not a number of at least 0, or see `Task`.
    """

    predicts = CLASSES
    activation = "classes"
    scales_target = False
    figures = ("confusion", "roc", "calibration")

    def __init__(self, metrics: Sequence[str], primary: str, ridge: float) -> None:
        super().__init__(metrics, primary)
        self.ridge = check_number("task.ridge", ridge, at_least=0)

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import CrossEntropy

        return CrossEntropy(self.ridge)

    def details(
        self, predicted: Tensor, truth: Tensor, names: Sequence[str]
    ) -> dict[str, dict[str, float | None]]:
        """Recall of each class."""
        found = recalls(predicted.double(), truth).tolist()
        return {
            name: {"recall": None if math.isnan(value) else value}
            for name, value in zip(names, found, strict=True)
        }

    def output_names(self, schema: Schema) -> tuple[str, ...]:
        classes = schema.classes
        return classes[1:] if len(classes) == 2 else classes
