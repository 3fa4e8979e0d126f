"""Trains many seeds of one experiment as one stacked network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.errors import DivergedError, listing
from kan_exp.layers import EdgeLayer, over_replicas, stack_networks
from kan_exp.layers.walk import layers_of, observe_domains, walk
from kan_exp.models.model import EVALUATION_NUMBERS, KANModel, evaluation_mode
from kan_exp.tasks import Task
from kan_exp.training.module import (
    CHOSEN_BY,
    OBSERVE_EVERY,
    OBSERVED_POINTS,
    KANModule,
    pack,
    unpack,
)
from kan_exp.training.penalties import ON_EDGES, ON_LAYERS, objective_by_edges
from kan_exp.training.penalty_rules import ORDERS

log = logging.getLogger(__name__)

MAX_NAMED = 3
QUANTILES = {
    "best": 0.0,
    "lower_quartile": 0.25,
    "median": 0.5,
    "upper_quartile": 0.75,
    "worst": 1.0,
}

History = list[tuple[int, Tensor]]


class ReplicaModule(KANModule):
    """Trains independent replicas; the model's network is the best of them.

    A replica whose loss becomes NaN or infinite keeps its last weights; the others train on.

    Args:
        model: The scaling, with any one of the networks.
        task: Defines the loss and the metric by which replicas are compared.
        networks: The initial networks, of one shape.
        seed: Of the first replica; replica k has `seed + k`.
        arguments: Those of `KANModule`. The optimizer must be elementwise, as Adam, AdamW and SGD
            are, so that its step is a step of each replica.

    Shape:
        Chunks of training points `(steps, replicas, batch, in)`. `train_losses` and `val_losses`
        hold pairs of a step and the losses `(replicas,)`, NaN after divergence. `best_errors` (see
        `Metric.error`) and `best_steps` `(replicas,)` are those of each replica's best validation.
    """

    logs_replicas = True

    def __init__(
        self,
        model: KANModel,
        task: Task,
        networks: Sequence[nn.Sequential],
        seed: int,
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(model, task, *arguments, **options)
        self.seed = seed
        self.count = len(networks)
        self.stack = stack_networks(networks)
        self.diverged: dict[int, int] = {}  # replica -> step
        self.best_errors = torch.full((self.count,), torch.inf, dtype=torch.float64)
        self.best_steps = torch.zeros(self.count, dtype=torch.long)
        self.best_state: dict[str, Tensor] = {}
        self.train_losses: History = []
        self.val_losses: History = []
        self._before: list[Tensor] = []
        self._taken = 0  # the replica whose network is the model's

    @property
    def alive(self) -> Tensor:
        """Which replicas have not diverged, `(replicas,)`."""
        alive = torch.ones(self.count, dtype=torch.bool)
        alive[list(self.diverged)] = False
        return alive

    @property
    def summary(self) -> str:
        seeds = f"seeds {self.seed} to {self.seed + self.count - 1}"
        return f"{super().summary}; {self.count} replicas, {seeds}, as one stacked network"

    @property
    def trained_network(self) -> nn.Sequential:
        return self.stack

    def on_train_start(self) -> None:
        if self._before:  # a resumed training
            self._before = [weight.to(self.device) for weight in self._before]
            self.best_state = {name: part.to(self.device) for name, part in self.best_state.items()}
            return
        self._before = [weight.detach().clone() for weight in self.trained()]
        self.best_state = {name: part.clone() for name, part in self.stack.state_dict().items()}

    def objective(
        self, x: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Each replica's loss, and its unweighted penalties: `(replicas,)` each."""
        names = tuple(self.penalty)
        if self.penalty.keys() & ON_EDGES.keys():

            def by_edges(network: nn.Sequential, *parts: Tensor) -> Any:
                return objective_by_edges(network, Split(*parts), names, self.loss)

            parts = (x, y) if weight is None else (x, y, weight)
            found: tuple[Tensor, dict[str, Tensor]] = over_replicas(self.stack, by_edges, *parts)
            return found
        *_, last = walk(self.stack, x, stacked=True)
        losses = self.loss.weighted(last.outputs, y, weight).mean(1)
        return losses, {name: self._penalty(name) for name in names}

    def _penalty(self, name: str) -> Tensor:
        if name in ORDERS:
            layers = [cast(EdgeLayer, layer) for layer in self.stack]
            return torch.stack([layer.roughness_stacked(ORDERS[name]) for layer in layers]).sum(0)
        found: Tensor = over_replicas(self.stack, cast(Callable[..., Any], ON_LAYERS[name]))
        return found

    def training_step(self, chunk: Split, _: int) -> None:
        optimizer = self._optimizer
        scheduler = cast(Any, self.lr_schedulers())
        losses: list[Tensor] = []
        newly: list[int] = []
        for points in chunk.unbind():
            if self.global_step % OBSERVE_EVERY == 0:
                self._observe()
            optimizer.zero_grad()
            loss, penalties = self.objective(*points)
            losses.append(loss.detach())
            frozen = self._freeze(losses[-1], self.global_step + 1, "training loss")
            newly += frozen
            for name, value in penalties.items():
                loss = loss + self.penalty[name] * value
            # No replica enters the loss of another, so a NaN does not spread.
            self.manual_backward(loss.sum())
            if self._increments is not None:
                self._increments.pull()
            rate = self._rate()
            self._undo(frozen)
            self._step(optimizer)
            if scheduler is not None:
                scheduler.step()
            if self.trainer.should_stop:
                break
        self._log_diverged(newly)
        self._record_all(torch.stack(losses).mean(0), rate, penalties)

    def _step(self, optimizer: Any) -> None:
        """Takes a step with all replicas that have not diverged."""
        weights: list[Tensor] = list(self.trained())
        frozen = list(self.diverged)
        with torch.no_grad():
            torch._foreach_copy_(self._before, weights)
            if frozen:
                for weight in weights:
                    cast(Tensor, weight.grad)[frozen] = 0
        optimizer.step()
        if frozen:  # weight decay moves them although their gradients are zero
            self._restore(frozen)
        elif self._increments is not None:
            self._increments.write()

    @torch.no_grad()
    def _restore(self, replicas: list[int]) -> None:
        for weight, before in zip(self.trained(), self._before, strict=True):
            weight[replicas] = before[replicas]
        if self._increments is not None:
            self._increments.write()

    def _freeze(self, values: Tensor, step: int, what: str) -> list[int]:
        """Marks the replicas whose value is NaN or infinite; returns the new ones."""
        if values.isfinite().all():
            return []
        broken = (~values.isfinite()).nonzero().flatten().tolist()
        newly = [replica for replica in broken if replica not in self.diverged]
        self.diverged.update(dict.fromkeys(newly, step))
        if len(self.diverged) == self.count:
            said = self._diverged(what, step, self._rate())
            raise DivergedError(f"all {self.count} replicas diverged; in the last {said}")
        return newly

    def _undo(self, replicas: list[int]) -> None:
        """Restores the weights of replicas from before the last step and clears their momentum."""
        if not replicas:
            return
        self._restore(replicas)
        optimizer = self._optimizer.optimizer
        for weight in self.trained():
            for moment in optimizer.state[weight].values():
                if isinstance(moment, Tensor) and moment.shape == weight.shape:
                    moment[replicas] = 0

    def _log_diverged(self, newly: Sequence[int]) -> None:
        """Logs which replicas have diverged, the first few one by one."""
        for replica in newly[:MAX_NAMED]:
            step = self.diverged[replica]
            log.info("replica %d (seed %d) diverged at step %s", replica, self.seed + replica, step)
        if rest := newly[MAX_NAMED:]:
            names = listing(map(str, rest))
            log.info("%d more replicas diverged by step %s: %s", len(rest), self.global_step, names)

    def _observe(self) -> None:
        points = cast(Any, self.trainer).datamodule.train.x[:OBSERVED_POINTS].to(self.device)
        observe(self.stack, self.model.standardize(points), self.bounds)

    def _record_all(self, losses: Tensor, rate: float, penalties: Mapping[str, Tensor]) -> None:
        """Logs the quantiles of the replicas' losses."""
        losses = self._of_alive(losses)
        self.train_losses.append((self.global_step, losses))
        self.train_history.append((self.global_step, losses.nanmedian().item()))
        values = {
            **spread("loss/train", losses),
            self.rate_name: rate,
            "replicas/diverged": float(len(self.diverged)),
        }
        errors = self.task.training_error(losses, self.model.y_std.to(losses))
        if errors is not None:
            values.update(spread(f"error/train_{self.task.primary.name}", errors))
        for name, value in penalties.items():
            values[f"penalty/{name}"] = self._of_alive(value.detach()).nanmedian().item()
        self._log_at_step(values)

    def _of_alive(self, values: Tensor) -> Tensor:
        values = values.double().cpu()
        return values.where(self.alive, values.new_tensor(torch.nan))

    def validation_step(self, split: Split, _: int) -> None:
        errors = torch.full((self.count,), torch.nan, dtype=torch.float64)
        losses = errors.clone()
        y_mean, y_std = self.model.y_mean, self.model.y_std
        primary = self.task.primary
        outputs_of = self._predict_outputs(split.x)
        for replica in self.alive.nonzero().flatten().tolist():
            outputs = outputs_of[replica]
            predicted = self.task.predictions(outputs, y_mean, y_std)
            scores = self.task.score(predicted, split.y, [primary], split.weight)
            errors[replica] = primary.error(scores[primary.name])
            loss = self.task.validation_loss(outputs, split.y, y_mean, y_std, split.weight)
            losses[replica] = loss
        checked = errors.where(self.alive, errors.new_zeros(()))
        newly = self._freeze(checked, self.global_step, "validation loss")
        self._undo(newly)
        self._log_diverged(newly)
        self._keep(errors)
        self.take(int(errors.nan_to_num(torch.inf).argmin()))
        losses = self._of_alive(losses)
        self.val_losses.append((self.global_step, losses))
        self.val_history.append((self.global_step, losses.nanmedian().item()))
        values = spread(f"error/val_{primary.name}", primary.error(errors))  # its own inverse
        self._log_at_step({**spread("loss/val", losses), **values})
        # For the checkpoint; in double precision, as `best_errors` is.
        best = errors.nan_to_num(torch.inf).min()
        self.log(CHOSEN_BY, best, logger=False, batch_size=1)

    @torch.no_grad()
    def _predict_outputs(self, x: Tensor) -> Tensor:
        """`KANModel.predict_outputs` of each replica, `(replicas, n, out)`."""
        with evaluation_mode(self.stack):
            passes = (
                list(walk(self.stack, part, stacked=True))[-1]
                for part in _repeated(self.stack, self.model.standardize(x))
            )
            return torch.cat([last.outputs for last in passes], 1)

    def _keep(self, errors: Tensor) -> None:
        """Keeps the state of the replicas whose validation error is their lowest so far."""
        better = errors < self.best_errors
        self.best_errors = torch.where(better, errors, self.best_errors)
        self.best_steps[better] = self.global_step
        which = better.nonzero().flatten().to(self.device)
        for name, part in self.stack.state_dict().items():
            self.best_state[name][which] = part[which]

    @torch.no_grad()
    def take(self, replica: int, state: Mapping[str, Tensor] | None = None) -> None:
        """Copies a replica into the model: its present state, or that of a stacked state."""
        state = self.stack.state_dict() if state is None else state
        self._taken = replica
        for name, part in self.model.network.state_dict().items():
            part.copy_(state[name][replica])

    def best_models(self) -> Iterator[KANModel]:
        """The model of each replica in turn, as it was when it was best on validation."""
        self.cpu()
        state = {name: part.cpu() for name, part in self.best_state.items()}
        for replica in range(self.count):
            self.take(replica, state)
            yield self.model

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["kan_exp"] = {**self.description, "replica": self._taken}
        checkpoint["replicas"] = {
            "seeds": [self.seed + replica for replica in range(self.count)],
            "best_steps": self.best_steps.tolist(),
            "diverged": dict(self.diverged),
            "best": dict(self.best_state),
        }

    def training_state(self) -> dict[str, Any]:
        return {
            **super().training_state(),
            "before": self._before,
            "best_errors": self.best_errors,
            "train_errors": pack(self.train_losses),
            "val_errors": pack(self.val_losses),
        }

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        super().restore(checkpoint)
        progress, replicas = checkpoint["progress"], checkpoint["replicas"]
        self._before = progress["before"]
        self.best_state, self.diverged = replicas["best"], replicas["diverged"]
        self.best_errors = progress["best_errors"]
        self.best_steps = torch.tensor(replicas["best_steps"])
        self.train_losses = unpack(progress["train_errors"])
        self.val_losses = unpack(progress["val_errors"])


def spread(name: str, values: Tensor) -> dict[str, float]:
    """Median, quartiles, minimum and maximum of the values, NaN left out, as `name/median` etc."""
    found = values.double().nanquantile(torch.tensor(list(QUANTILES.values()), dtype=torch.float64))
    return {f"{name}/{key}": value for key, value in zip(QUANTILES, found.tolist(), strict=True)}


def observe(stack: nn.Sequential, x: Tensor, bounds: Tensor | None = None) -> None:
    """Sets the domains of stacked layers to the ranges of their inputs for `x` `(n, in)`.

    See `observe_domains` for `bounds`. Both may have a leading axis of replicas.
    """
    with evaluation_mode(stack):
        observe_domains(stack, _repeated(stack, x), stacked=True, bounds=bounds)


def _repeated(stack: nn.Sequential, x: Tensor) -> Iterator[Tensor]:
    """Parts of `x`, see `observe`, for all replicas, as large as memory allows."""
    replicas = len(next(stack.parameters()))
    widest = replicas * max(layer.numbers_per_sample for layer in layers_of(stack))
    for part in x.split(max(1, EVALUATION_NUMBERS // widest), -2):
        yield part.expand(replicas, -1, -1)
