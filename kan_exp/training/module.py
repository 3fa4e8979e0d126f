"""The Lightning module: objective, optimizer steps in chunks, validation in original units."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kan_exp.data import Split
from kan_exp.errors import DivergedError
from kan_exp.layers import GridLayer, KANInterpoLayer
from kan_exp.layers.constraints import Constraint
from kan_exp.models.model import KANModel
from kan_exp.tasks import Task
from kan_exp.training.increments import Increments
from kan_exp.training.penalties import ON_EDGES, ON_LAYERS, objective_by_edges
from kan_exp.training.penalty_rules import check_group, check_smooth, check_weights

log = logging.getLogger(__name__)

Constraints = Callable[[Sequence[int]], Sequence[Constraint]]  # of each layer, from the widths
OBSERVE_EVERY = 200  # optimizer steps
OBSERVED_POINTS = 1024
CHOSEN_BY = "error/chosen_by"  # callback metric by which networks are chosen; to be minimized

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class KANModule(LightningModule):
    """Trains a `KANModel` on standardized chunks and validates it in the target's units.

    One `training_step` takes one optimizer step for each mini-batch of its chunk, because the
    trainer's overhead per step exceeds the cost of a small network's step.

    Args:
        model: The network with its scaling.
        task: Defines the loss and the metric by which networks are chosen.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler, stepped once per optimizer step, or `None`.
        penalty: Weights of the penalties that are added to the loss (see `ON_LAYERS`, `ON_EDGES`).
        description: Plain containers from which the model can be rebuilt; kept in checkpoints.
        compile_network: Whether to compile the forward pass before the first step.
        constraints: Of each layer, none if not given.

    Raises:
        KanExpError: A penalty is unknown or negative.
    """

    rate_name = "lr"
    logs_replicas = False
    selects = False  # whether it chooses the network that is kept; else that is the best validated
    # Share of the validation error by which later networks must be better than the one before the
    # first step, which is kept otherwise; None if that does not count.
    start_margin: float | None = None

    def __init__(
        self,
        model: KANModel,
        task: Task,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        penalty: Mapping[str, float],
        description: Mapping[str, Any],
        compile_network: bool = False,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.task, self.loss = task, task.loss()
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.description = dict(description)
        check_weights(penalty)
        self.penalty = {name: weight for name, weight in penalty.items() if weight > 0}
        tables = any(isinstance(layer, KANInterpoLayer) for layer in model.network)
        check_smooth(penalty, tables)
        splines = [
            isinstance(layer, GridLayer) and getattr(layer, "base_weight", None) is None
            for layer in model.edge_layers
        ]
        check_group(penalty, all(splines))
        self.bounds: Tensor | None = None  # of a table's points, see `observe_domains`
        self.converged: str | None = None  # the test by which the optimizer has converged
        self.overfits = False
        self.constraints = list(constraints)
        self._increments: Increments | None = None  # what is trained where there are constraints
        self._to_compile = compile_network
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self.train_history: list[tuple[int, float]] = []
        self.val_history: list[tuple[int, float]] = []
        # State of the optimizer and the scheduler of the training that is resumed.
        self._rules: Mapping[str, Any] | None = None

    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that the optimizer changes."""
        parameters = self.trained_network.parameters()
        return parameters if self._increments is None else self._increments.trained(parameters)

    @property
    def trained_network(self) -> nn.Sequential:
        """The network, or the stack of networks, that is trained."""
        return self.model.network

    @property
    def logs_penalties(self) -> bool:
        return bool(self.penalty)

    @property
    def size(self) -> str:
        """Widths and number of parameters, for the first line of a run."""
        parameters = sum(weight.numel() for weight in self.model.network.parameters())
        dims = ",".join(str(width) for width in self.description["dims"])
        return f"[{dims}], {parameters:,} parameters"

    @property
    def summary(self) -> str:
        """One line: how the network is trained."""
        rule = getattr(self.optimizer_factory, "func", self.optimizer_factory)
        return f"trained by {getattr(rule, '__name__', rule)}"

    def configure_optimizers(self) -> Any:
        if self.constraints:
            self._increments = Increments(self.trained_network, self.constraints)
            if self._rules is not None:
                for own, raw in zip(self._increments.raw, self._rules["increments"], strict=True):
                    own.data.copy_(raw)
                self._increments.write()
        optimizer = self.optimizer_factory(self.trained())
        make = self.scheduler_factory
        scheduler = None if make is None else make(optimizer)
        if self._rules is not None:
            optimizer.load_state_dict(self._rules["optimizer"])
            if scheduler is not None:
                scheduler.load_state_dict(self._rules["scheduler"])
        return optimizer if scheduler is None else ([optimizer], [scheduler])

    def _use_compiler(self, chunk: Split) -> None:
        """Compiles the forward pass for mini-batches of this shape; logs if no compiler works."""
        self._to_compile = False
        compiled = torch.compile(self.model.network.forward)
        try:
            self.loss.mean(compiled(chunk.x[0]), chunk.y[0]).backward()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            log.info("compile: no compiler works here (%s): training without.", reason)
        else:
            self._compiled = compiled
        self.model.zero_grad()

    @property
    def _optimizer(self) -> LightningOptimizer:
        return cast(LightningOptimizer, self.optimizers())

    def objective(
        self, x: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of standardized points, and the unweighted penalties by name."""
        network = self.model.network
        if self.penalty.keys() & ON_EDGES.keys():
            return objective_by_edges(network, (x, y, weight), tuple(self.penalty), self.loss)
        output = network(x) if self._compiled is None else self._compiled(x)
        penalties = {name: ON_LAYERS[name](network) for name in self.penalty}
        return self.loss.mean(output, y, weight), penalties

    def evaluate(
        self, x: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The objective, its loss and its penalties; leaves the gradients in the parameters."""
        loss, penalties = self.objective(x, y, weight)
        total = loss
        for name, value in penalties.items():
            total = total + self.penalty[name] * value
        self.manual_backward(total)
        if self._increments is not None:
            self._increments.pull()
        return total.detach(), loss.detach(), penalties

    def ask_to_stop(self) -> None:
        """Ends the training after the current step."""
        self.trainer.should_stop = True

    def training_step(self, chunk: Split, _: int) -> None:
        optimizer = self._optimizer
        scheduler = cast("LRScheduler | None", self.lr_schedulers())
        if self._to_compile:
            self._use_compiler(chunk)
        losses: list[Tensor] = []
        rates: list[float] = []
        penalties: dict[str, Tensor] = {}
        for points in chunk.unbind():
            evaluations: list[Tensor] = []

            def closure(points: Split = points, seen: list[Tensor] = evaluations) -> Tensor:
                nonlocal penalties
                if self._increments is not None:  # line searches change them
                    self._increments.write()
                optimizer.zero_grad()
                total, loss, penalties = self.evaluate(*points)
                seen.append(loss)
                return total

            if self.global_step % OBSERVE_EVERY == 0:
                self._observe()
            rates.append(self._rate())
            optimizer.step(closure)
            if self._increments is not None:
                self._increments.write()
            losses.append(evaluations[0])  # line searches evaluate several times
            if scheduler is not None:
                scheduler.step()
            if self.trainer.should_stop:  # a chunk of a wide network takes long
                break
        self._record(torch.stack(losses), rates, penalties)

    def _record(
        self, losses: Tensor, rates: Sequence[float], penalties: Mapping[str, Tensor]
    ) -> None:
        """Logs a chunk; raises a `DivergedError` if a loss is NaN or infinite."""
        losses = losses.cpu()
        broken = (~losses.isfinite()).nonzero()
        if len(broken):
            first = int(broken[0])
            step = self.global_step - len(losses) + first + 1
            raise DivergedError(self._diverged("training loss", step, rates[first]))
        mean = losses.mean()
        self.train_history.append((self.global_step, mean.item()))
        values = {
            "loss/train": mean.item(),
            self.rate_name: rates[-1],
            **{f"penalty/{name}": value.item() for name, value in penalties.items()},
        }
        error = self.task.training_error(mean, self._y_std)
        if error is not None:
            values[f"error/train_{self.task.primary.name}"] = error.item()
        self._log_at_step(values)

    @cached_property
    def _y_std(self) -> Tensor:
        """The model's, on the CPU."""
        return self.model.y_std.cpu()

    def _log_at_step(self, values: dict[str, float]) -> None:
        """Logs against optimizer steps; `self.log` counts chunks and is far slower."""
        for logger in self.loggers:
            logger.log_metrics(values, step=self.global_step)

    def _observe(self) -> None:
        """Updates the domains of the edges, on which roughness is measured, and their limits.

        Called by optimizer steps alone, so that results do not depend on logging or validation.
        """
        points = cast(Any, self.trainer).datamodule.train.x[:OBSERVED_POINTS]
        self.model.observe(points.to(self.device, non_blocking=True), self.bounds)

    def validation_step(self, split: Split, _: int) -> None:
        self._log_validation(*self._scores_of(split))

    def _scores_of(self, split: Split) -> tuple[float, dict[str, float]]:
        """`score`, which raises a `DivergedError` if the loss is not finite."""
        loss, scores = self.score(split)
        if not math.isfinite(loss):
            raise DivergedError(self._diverged("validation loss", self.global_step, self._rate()))
        return loss, scores

    def score(self, split: Split) -> tuple[float, dict[str, float]]:
        """The loss of points in the user's units, and their metrics."""
        outputs = self.model.predict_outputs(split.x)
        y_mean, y_std = self.model.y_mean, self.model.y_std
        predicted = self.task.predictions(outputs, y_mean, y_std)
        scores = self.task.score(predicted, split.y, self.task.curves, split.weight)
        return self.task.validation_loss(outputs, split.y, y_mean, y_std, split.weight), scores

    def _log_validation(self, loss: float, scores: Mapping[str, float]) -> None:
        self.val_history.append((self.global_step, loss))
        errors = {f"error/val_{name}": value for name, value in scores.items()}
        self._log_at_step({"loss/val": loss, **errors})
        # For the checkpoint. All ranks have the same value.
        error = self.choice_error(loss, scores)
        self.log(CHOSEN_BY, error, logger=False, batch_size=1, sync_dist=True)

    def validation_error(self, split: Split) -> float:
        """The error of points in the user's units by which networks are compared."""
        _, scores = self.score(split.map(lambda part: part.to(self.device)))
        return self.primary_error(scores)

    def primary_error(self, scores: Mapping[str, float]) -> float:
        """The error by which networks are compared, from their metrics; lower is better."""
        return self.task.primary.error(scores[self.task.primary.name])

    def choice_error(self, loss: float, scores: Mapping[str, float]) -> float:
        """The error by which the kept network is chosen, from validation loss and metrics."""
        return self.primary_error(scores)

    @property
    def validated(self) -> tuple[float, Mapping[str, float]] | None:
        """Loss and metrics of the validation points from before the last fit sees them, if so."""
        return None

    def left_out_errors(self) -> Tensor | None:
        """Standardized target minus output at points of the training, each without it, `(n, out)`.

        None if that is not known.
        """
        return None

    @property
    def details(self) -> dict[str, Any]:
        """Entries of `metrics.json` that this way of training adds."""
        return {}

    def _rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def _diverged(self, what: str, step: int, rate: float) -> str:
        return (
            f"the {what} became NaN or infinite at step {step:,}: lower optimizer.lr "
            f"(at that step {rate:.3g}) or raise the penalties."
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["kan_exp"] = self.description

    def training_state(self) -> dict[str, Any]:
        """The state of the training apart from the weights, in plain containers and tensors.

        Complete between two chunks only.
        """
        scheduler = cast("LRScheduler | None", self.lr_schedulers())
        return {
            "optimizer": self._optimizer.optimizer.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "train": pack(self.train_history),
            "val": pack(self.val_history),
            "converged": self.converged,
            "overfits": self.overfits,
            "increments": None if self._increments is None else self._increments.raw,
        }

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Restores the weights and the training state of a checkpoint, before the training."""
        self.load_state_dict(checkpoint["state_dict"])
        progress = self._rules = checkpoint["progress"]
        self.train_history, self.val_history = (
            [(step, value.item()) for step, value in unpack(progress[name])]
            for name in ("train", "val")
        )
        self.converged, self.overfits = progress["converged"], progress["overfits"]


def pack(history: Sequence[tuple[int, Any]]) -> dict[str, Tensor]:
    """Steps and values of a history as two tensors; thousands of small ones are slow to write."""
    values = [torch.as_tensor(value, dtype=torch.float64) for _, value in history]
    return {
        "steps": torch.tensor([step for step, _ in history], dtype=torch.long),
        "values": torch.stack(values) if values else torch.empty(0, dtype=torch.float64),
    }


def unpack(packed: Mapping[str, Tensor]) -> list[tuple[int, Tensor]]:
    """The inverse of `pack`."""
    return list(zip(packed["steps"].tolist(), packed["values"], strict=True))
