"""Trains one network in several processes, each on a part of every mini-batch."""

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
    """A `KANModule` whose steps equal those of a single process, up to rounding.

    All ranks draw the same mini-batches and each takes its rows. One reduction sums the gradients,
    the loss, the penalties and whether rank 0 was asked to stop. Layers whose samples depend on
    each other exchange the range of the whole batch. All ranks thus take the same step, detect
    divergence at the same step and stop together.

    Args:
        count: Number of processes.
        others: The arguments of a `KANModule`.

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
        return f"{super().summary} in {self.count} processes, each with a part of every batch"

    def ask_to_stop(self) -> None:
        self._asked = True  # the next step passes it to all ranks

    def training_step(self, chunk: Split, index: int) -> None:
        self._batch = chunk.x.shape[1]
        rank = self.global_rank
        first, end = (self._batch * edge // self.count for edge in (rank, rank + 1))
        with self._sharing():
            super().training_step(chunk.map(lambda part: part[:, first:end]), index)

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Gives the layers access to the whole batch while they process a part of it."""
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

    def objective(
        self, x: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's parts of the loss and the penalties, whose sums over ranks are the whole.

        Means over the batch are weighted by rows. So are terms of the parameters alone, which are
        equal on all ranks and whose weights sum to one.
        """
        loss, penalties = super().objective(x, y, weight)
        share = len(x) / self._batch
        return loss * share, {name: value * share for name, value in penalties.items()}

    def evaluate(
        self, x: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        total, loss, penalties = super().evaluate(x, y, weight)
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
