"""The contract of a task: its loss, its output activation and its metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.runs.results import RUN_METRICS
from kan_exp.tasks.activations import find_activation
from kan_exp.tasks.metrics import (
    CLASSES,
    LINEAR,
    METRICS,
    NUMBERS,
    OF_EQUATIONS,
    STANDARD_ERROR,
    TEST,
    VALIDATION,
    Metric,
)

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.data.points import Scaling, Split
    from kan_exp.data.schema import Schema
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
            compared.
        quantiles: What is predicted, if it is quantiles.

    Raises:
        KanExpError: A metric is unknown, given twice or judges other predictions than the first, or
            `primary` is not one of them.
    """

    def __init__(
        self, metrics: Sequence[str], primary: str, quantiles: Sequence[float] = ()
    ) -> None:
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
        self.judges = METRICS[names[0]].judges
        for name in names:
            if METRICS[name].judges != self.judges:
                raise KanExpError(
                    f"task.metrics: {names[0]} judges {self.judges}, but {name} "
                    f"{METRICS[name].judges}: {_choices(self.judges)}"
                )
        self.quantiles = tuple(quantiles)
        self.metrics = tuple(METRICS[name].of_quantiles(self.quantiles) for name in names)
        self.primary = next(one for one in self.metrics if one.name == primary)

    def score(
        self,
        predicted: Tensor,
        truth: Tensor,
        metrics: Iterable[Metric] | None = None,
        weight: Tensor | None = None,
    ) -> dict[str, float]:
        """Metrics, all if not given, of predictions `(n, out)` in the target's units, by name.

        Weights of the points `(n,)` count in metrics that are functions of a mean.
        """
        predicted, truth = predicted.double(), truth.double()
        chosen = self.metrics if metrics is None else metrics
        return {one.name: one.measure(predicted, truth, weight).item() for one in chosen}

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
        about = {"metrics": [one.name for one in self.metrics], "primary": self.primary.name}
        return {**about, "quantiles": [*self.quantiles]} if self.quantiles else about


class Task(Scoring, ABC):
    """What a training minimizes, what its outputs mean, and how predictions are judged.

    A subclass defines `loss`, and overrides the rest where its outputs are not plain numbers. Its
    constructor takes the arguments of `Scoring`, and options of its own. Training, checkpoints,
    pruning, sweeps, reports and TensorBoard know no more about a task than this.

    Attributes:
        predicts: What predictions are, and so which metrics judge them: `NUMBERS`, `CLASSES` or
            `QUANTILES` of `kan_exp.tasks.metrics`.
        activation: Name in `kan_exp.tasks.activations.ACTIVATIONS`: makes predictions of outputs.
        scales_target: Whether the network learns the standardized target instead of the target.
        figures: Names in `kan_exp.plots.TASK_FIGURES` of what is drawn on the test points.

    Raises:
        KanExpError: A metric judges other predictions; see also `Scoring`.
    """

    predicts = NUMBERS
    activation = "identity"
    scales_target = True
    figures: tuple[str, ...] = ("prediction",)
    solves = False  # a differential equation

    def __init__(
        self, metrics: Sequence[str], primary: str, quantiles: Sequence[float] = ()
    ) -> None:
        super().__init__(metrics, primary, quantiles)
        if self.judges != self.predicts:
            raise KanExpError(
                f"task.metrics: {self.metrics[0].name} judges {self.judges}, but the task predicts "
                f"{self.predicts}: {_choices(self.predicts)}"
            )
        for one in self.metrics:
            if one.name in OF_EQUATIONS and not self.solves:
                raise KanExpError(
                    f"task.metrics: {one.name} is of solutions of differential equations (pde=...):"
                    f" leave it out."
                )

    @abstractmethod
    def loss(self) -> Loss:
        """The loss of standardized outputs, with its derivatives."""

    def output_names(self, schema: Schema) -> tuple[str, ...]:
        """A name for each output of the network."""
        return schema.targets

    def num_outputs(self, schema: Schema) -> int:
        """The last width of the network."""
        return len(self.output_names(schema))

    def details(
        self,
        predicted: Tensor,
        truth: Tensor,
        names: Sequence[str],
        weight: Tensor | None = None,
    ) -> dict[str, dict[str, float | None]]:
        """Metrics of each of several columns of the predictions, by name and title.

        Args:
            predicted: In the units of the target, `(n, columns)`.
            truth: `(n, out)`.
            names: Of the columns.
            weight: Of each point, `(n,)`, see `score`.
        """
        if truth.shape[1] == 1:
            return {}
        of_one = [one for one in self.metrics if one.name not in OF_EQUATIONS]
        parts = zip(names, predicted.split(1, 1), truth.split(1, 1), strict=True)
        return {name: self.titled(self.score(p, t, of_one, weight)) for name, p, t in parts}

    def titled(self, scores: Mapping[str, float]) -> dict[str, float | None]:
        """Finite values by the titles of their metrics, None for others."""
        return {METRICS[n].title: v if math.isfinite(v) else None for n, v in scores.items()}

    def check_schema(self, schema: Schema) -> None:
        """Checks the kinds of the outputs.

        Raises:
            KanExpError: They are classes, but the task predicts numbers, or the reverse.
        """
        if bool(schema.classes) != (self.predicts == CLASSES):
            kind = "a class" if schema.classes else "a number"
            raise KanExpError(
                f"the output {schema.target_name} is {kind}, but the task predicts "
                f"{self.predicts}: set task={'classification' if schema.classes else 'regression'}"
            )

    def weigh(self, train: Split, val: Split, schema: Schema) -> tuple[Split, Split]:
        """Training and validation points with the weights that the task gives them."""
        return train, val

    def check_target(
        self, schema: Schema, y: Any, where: Callable[[int], str] | None = None
    ) -> None:
        """Checks the values of the target.

        Args:
            schema: Of the data.
            y: Values `(n, out)`, an array or a tensor.
            where: Names a row of `y`, for messages.

        Raises:
            KanExpError: The task cannot learn them.
        """

    def scaling(self, scaling: Scaling) -> Scaling:
        """The scaling between data and network, given the statistics of the training points."""
        if self.scales_target:
            return scaling
        import torch

        y_mean, y_std = torch.zeros_like(scaling.y_mean), torch.ones_like(scaling.y_std)
        return scaling._replace(y_mean=y_mean, y_std=y_std)

    def predictions(self, outputs: Tensor, y_mean: Tensor, y_std: Tensor) -> Tensor:
        """Predictions in the units of the target, from standardized outputs `(n, out)`."""
        return find_activation(self.activation)(outputs) * y_std + y_mean

    def selection_error(
        self,
        outputs: Tensor,
        y: Tensor,
        y_mean: Tensor,
        y_std: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:
        """What networks are chosen by: the primary metric as an error, see `Metric.error`.

        Outputs and `y` are standardized, `(n, out)`; weights are `(n,)`.
        """
        primary = self.primary
        if primary.in_target_units and self.activation == "identity" and y_std.numel() == 1:
            return primary.measure(outputs, y, weight) * y_std.squeeze()
        predicted = self.predictions(outputs, y_mean, y_std)
        error: Tensor = primary.error(primary.measure(predicted, y * y_std + y_mean, weight))
        return error

    def validation_loss(
        self,
        outputs: Tensor,
        truth: Tensor,
        y_mean: Tensor,
        y_std: Tensor,
        weight: Tensor | None = None,
    ) -> float:
        """The loss of standardized outputs, and truth in the units of the target, `(n, out)`."""
        y = (truth.double() - y_mean) / y_std
        if weight is not None:
            weight = weight / weight.mean()
        return self.loss().mean(outputs.double(), y, weight).item()

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


def _choices(judges: str) -> str:
    """Advice: the metrics of such predictions."""
    names = [one.name for one in METRICS.values() if one.judges == judges]
    return f"set task.metrics=[{','.join(names)}] or some of these."
