"""Classification by the cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kan_exp.errors import KanExpError, listing
from kan_exp.tasks.base import Task
from kan_exp.tasks.metrics import CLASSES, recalls
from kan_exp.tasks.rules import check_number

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.data.points import Split
    from kan_exp.data.schema import Schema
    from kan_exp.tasks.losses import Loss


BALANCED = "balanced"


class Classification(Task):
    """Predicts the probability of each class; minimizes the cross-entropy.

    The network has an output for each class, or one for two classes: the logit of the second.
    Predictions have a column for each class, also for two.

    Args:
        metrics: See `Scoring`.
        primary: See `Scoring`.
        class_weights: `balanced`, by which all classes count alike; weights by class, 1 for those
            that are not named; or `None`.
        ridge: Weight of the squared logits in the loss. Where classes are separable, the logits
            would grow without end.

    Raises:
        KanExpError: `class_weights` are no such weights, `ridge` is not a number of at least 0, or
            see `Task`.
    """

    predicts = CLASSES
    activation = "classes"
    scales_target = False
    figures = ("confusion", "roc", "calibration")

    def __init__(
        self,
        metrics: Sequence[str],
        primary: str,
        class_weights: str | Mapping[str, float] | None,
        ridge: float,
    ) -> None:
        super().__init__(metrics, primary)
        self.ridge = check_number("task.ridge", ridge, at_least=0)
        self.class_weights = class_weights
        if isinstance(class_weights, Mapping):
            self.class_weights = {
                _name(level): check_number(f"task.class_weights.{level}", weight, above=0)
                for level, weight in class_weights.items()
            }
        elif class_weights not in (None, BALANCED):
            raise KanExpError(
                f"task.class_weights must be {BALANCED}, weights by class such as "
                f"'{{yes: 3, no: 1}}', or null, got {class_weights!r}."
            )

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import CrossEntropy

        return CrossEntropy(self.ridge)

    def weigh(self, train: Split, val: Split, schema: Schema) -> tuple[Split, Split]:
        """Multiplies the weights of points by those of their classes.

        `balanced` follows the weights of the training points.
        """
        if self.class_weights is None:
            return train, val
        labels = train.y[:, 0].long()
        if self.class_weights == BALANCED:
            count = len(schema.classes)
            totals = labels.bincount(train.weight, minlength=count).double()
            factors = totals.sum() / (count * totals)
        else:
            factors = train.y.double().new_tensor(self._given(schema.classes))
        return _times(train, factors), _times(val, factors)

    def _given(self, classes: Sequence[str]) -> list[float]:
        assert isinstance(self.class_weights, dict)
        known = {_name(level): level for level in classes}
        if unknown := [level for level in self.class_weights if level not in known]:
            raise KanExpError(
                f"task.class_weights: there is no class {unknown[0]!r}. Choose from: "
                f"{listing(map(repr, classes))}."
            )
        return [self.class_weights.get(name, 1.0) for name in known]

    def details(
        self,
        predicted: Tensor,
        truth: Tensor,
        names: Sequence[str],
        weight: Tensor | None = None,
    ) -> dict[str, dict[str, float | None]]:
        """Recall of each class, of which each row counts once."""
        found = recalls(predicted.double(), truth).tolist()
        return {
            name: {"recall": None if math.isnan(value) else value}
            for name, value in zip(names, found, strict=True)
        }

    def output_names(self, schema: Schema) -> tuple[str, ...]:
        classes = schema.classes
        names = classes[1:] if len(classes) == 2 else classes
        if any(char.isalpha() for char in "".join(classes)):
            return names
        return tuple(f"{schema.target_name}={name}" for name in names)


def _name(level: object) -> str:
    """A class as options name it: YAML reads some names as booleans or numbers."""
    return str(level).lower() if isinstance(level, bool) else str(level)


def _times(split: Split, factors: Tensor) -> Split:
    weight = factors[split.y[:, 0].long()]
    return split._replace(weight=weight if split.weight is None else weight * split.weight)
