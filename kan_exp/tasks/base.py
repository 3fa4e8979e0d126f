"""The contract of a task: its loss, its output activation and its metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.runs.metrics import RUN_METRICS
from kan_exp.tasks.activations import find_activation
from kan_exp.tasks.metrics import LINEAR, METRICS, STANDARD_ERROR, TEST, VALIDATION, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.data.points import Scaling
    from kan_exp.tasks.losses import Loss

# That of runs and checkpoints which were written before there were tasks.
OLD_SCORING: Mapping[str, Any] = {
    "metrics": ("rmse", "mae", "r2", "max_error", "r"),
    "primary": "rmse",
}


class Scoring:
    """Metrics by which predictions are judged, one of which is primary.

    Args:
        metrics: Names in `kan_exp.tasks.metrics.METRICS`, in the order in which they are shown.
        primary: The metric by which networks are chosen on the validation points and runs are
            compared; it is minimized.

    Raises:
        KanExpError: A metric is unknown or given twice, or `primary` is not one of them or has a
            maximum instead of a minimum.
    """

    def __init__(self, metrics: Sequence[str], primary: str) -> None:
        if isinstance(metrics, str) or not isinstance(metrics, Sequence) or not metrics:
            raise KanExpError(
                f"task.metrics must be a list of metrics, got {metrics!r}: set "
                f"task.metrics=[{','.join(METRICS)}] or some of these."
            )
        names = [str(name) for name in metrics]
        for name in names:
            if name not in METRICS:
                raise KanExpError(
                    f"task.metrics: there is no metric {name!r}.{suggest(name, METRICS)} Choose "
                    f"from: {listing(METRICS)}."
                )
        if len({*names}) < len(names):
            raise KanExpError(f"task.metrics has a metric twice: {listing(names)}.")
        if primary not in names:
            raise KanExpError(
                f"task.primary={primary} must be one of task.metrics: {listing(names)}."
            )
        if METRICS[primary].higher_is_better:
            errors = [name for name in names if not METRICS[name].higher_is_better]
            raise KanExpError(
                f"task.primary={primary} must be a metric of which less is better: networks are "
                f"chosen by its minimum. Set task.primary={(errors or ['rmse'])[0]}"
            )
        self.metrics = tuple(METRICS[name] for name in names)
        self.primary = METRICS[primary]

    def score(self, predicted: Tensor, truth: Tensor) -> dict[str, float]:
        """All metrics of predictions `(n, out)` in the units of the target, by name."""
        predicted, truth = predicted.double(), truth.double()
        return {one.name: one.value(predicted, truth).item() for one in self.metrics}

    @property
    def curves(self) -> tuple[Metric, ...]:
        """The metrics that are logged at each validation."""
        return tuple(one for one in self.metrics if one.has_curve or one is self.primary)

    @property
    def judged_by(self) -> str:
        """The key in `metrics.json` by which runs are compared."""
        return TEST + self.primary.name

    @property
    def chosen_by(self) -> str:
        """The key in `metrics.json` by which networks are chosen."""
        return VALIDATION + self.primary.name

    @property
    def results(self) -> tuple[str, ...]:
        """The keys in `metrics.json` of the network's results, the primary metric first."""
        others = [TEST + one.name for one in self.metrics if one is not self.primary]
        error = [self.judged_by + STANDARD_ERROR] if self.primary.terms else []
        return (self.judged_by, *error, *others, self.chosen_by)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The keys in `metrics.json` of all numbers."""
        linear = [LINEAR + one.name for one in self.metrics]
        return (*self.results, *linear, *(one.name for one in RUN_METRICS))

    @property
    def sweep_columns(self) -> tuple[str, ...]:
        """The keys in `metrics.json` that are columns of `sweep.csv`."""
        run = [one.name for one in RUN_METRICS if one.in_sweeps]
        return (*self.results, LINEAR + self.primary.name, *run)

    def describe(self) -> dict[str, Any]:
        """The arguments from which `Scoring` can be rebuilt, as plain containers."""
        return {"metrics": [one.name for one in self.metrics], "primary": self.primary.name}


class Task(Scoring, ABC):
    """What a training minimizes, what its outputs mean, and how predictions are judged.

    A subclass defines `loss`, and overrides the rest where its outputs are not plain numbers. Its
    constructor takes the arguments of `Scoring`, and options of its own. Training, checkpoints,
    pruning, sweeps, reports and TensorBoard know no more about a task than this.

    Attributes:
        activation: Name in `kan_exp.tasks.activations.ACTIVATIONS`: makes predictions of outputs.
        scales_target: Whether the network learns the standardized target instead of the target.
        figures: Names in `kan_exp.plots.TASK_FIGURES` of what is drawn on the test points.
    """

    activation = "identity"
    scales_target = True
    figures: tuple[str, ...] = ("prediction",)

    @abstractmethod
    def loss(self) -> Loss:
        """The loss of standardized outputs, with its derivatives."""

    def scaling(self, scaling: Scaling) -> Scaling:
        """The scaling between data and network, given the statistics of the training points."""
        if self.scales_target:
            return scaling
        import torch

        y_mean, y_std = torch.zeros_like(scaling.y_mean), torch.ones_like(scaling.y_std)
        return scaling._replace(y_mean=y_mean, y_std=y_std)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Predictions from outputs `(n, out)` in the units of the target."""
        return find_activation(self.activation)(outputs)

    def selection_error(self, outputs: Tensor, y: Tensor, y_mean: Tensor, y_std: Tensor) -> Tensor:
        """The primary metric in the target's units, from standardized values `(n, out)`."""
        if self.primary.in_target_units and self.activation == "identity" and y_std.numel() == 1:
            return self.primary.value(outputs, y) * y_std.squeeze()
        predicted = self.predictions(outputs * y_std + y_mean)
        return self.primary.value(predicted, y * y_std + y_mean)

    def validation_loss(
        self, outputs: Tensor, truth: Tensor, y_mean: Tensor, y_std: Tensor
    ) -> float:
        """The loss of outputs and truth `(n, out)` in the units of the target."""
        scaled, y = ((part.double() - y_mean) / y_std for part in (outputs, truth))
        return self.loss().mean(scaled, y).item()

    def training_error(self, loss: Tensor, y_std: Tensor) -> Tensor | None:
        """The primary metric if it is a function of the training loss, else None."""
        return None


def scoring_of(metrics: Mapping[str, Any]) -> Scoring:
    """The metrics of a run.

    Args:
        metrics: The content of its `metrics.json`, or the description in its checkpoint.
    """
    found = metrics.get("scoring")
    try:
        return Scoring(**found) if isinstance(found, dict) else Scoring(**OLD_SCORING)
    except (KanExpError, TypeError):  # damaged, or by a later version
        return Scoring(**OLD_SCORING)
