"""Trains one network in several processes, each on its share of every mini-batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kan_exp.data import Split
from kan_exp.layers import WholeBatch
from kan_exp.training.module import KANModule


class SharedModule(KANModule):
    """A `KANModule` whose steps are those of one process, to rounding.

    All ranks draw the same mini-batches and each takes its rows of them. What they find is added up
    in one tensor: the gradients, the loss, the penalties, and whether rank 0 was asked to stop.
    Layers whose samples depend on each other learn the range of the whole batch from each other. So
    all ranks take the same step, see a loss that is no number at the same time, and stop together.

    Args:
        count: Processes.
        others: What a `KANModule` takes.

    Shape:
        Chunks `(steps, batch, in)` as they are for one process, `batch` at least `count`.
    """

    def __init__(self, *others: Any, count: int, **options: Any) -> None:
        super().__init__(*others, **options)
        self.count = count
        self._asked = False
        self._batch = 0

    @property
    def summary(self) -> str:
        return f"{super().summary} in {self.count} processes, each with its share of every batch"

    def ask_to_stop(self) -> None:
        self._asked = True  # the next step tells all ranks

    def training_step(self, chunk: Split, index: int) -> None:
        self._batch = chunk.x.shape[1]
        rank = self.global_rank
        first, end = (self._batch * edge // self.count for edge in (rank, rank + 1))
        with self._sharing():
            super().training_step(Split(*(part[:, first:end] for part in chunk)), index)

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Tells the layers of the whole batch for as long as they see a share of it."""
        layers = self.model.edge_layers
        for layer in layers:
            layer.whole_batch = WholeBatch(self._batch, self._maximum)
        try:
            yield
        finally:
            for layer in layers:
                layer.whole_batch = None

    def _maximum(self, values: Tensor) -> Tensor:
        found: Tensor = self.trainer.strategy.reduce(values.detach().clone(), reduce_op="max")
        return found

    def objective(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's parts of the loss and the penalties: the sums over ranks are the whole.

        Means over the batch count by rows. So may what depends on the parameters alone: it is the
        same on every rank, and all shares are one together.
        """
        loss, penalties = super().objective(x, y)
        share = len(x) / self._batch
        return loss * share, {name: value * share for name, value in penalties.items()}

    def evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        total, loss, penalties = super().evaluate(x, y)
        weights = [weight for weight in self.trained() if weight.grad is not None]
        gradients = [weight.grad.flatten() for weight in weights if weight.grad is not None]
        asked = torch.full_like(total, self._asked)
        values = torch.stack([total, loss, *penalties.values(), asked]).detach()
        together = torch.cat([*gradients, values])
        summed = self.trainer.strategy.reduce(together, reduce_op="sum")
        sizes = [*(len(part) for part in gradients), len(values)]
        *gradients, values = summed.split(sizes)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.view_as(weight)
        total, loss, *rest, asked = values.unbind()
        if asked > 0:
            self.trainer.should_stop = True
        return total, loss, dict(zip(penalties, rest, strict=True))
