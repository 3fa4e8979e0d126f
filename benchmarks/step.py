# ruff: noqa: T201 - a benchmark's output is its purpose.
"""What the trainer adds to a bare PyTorch loop per optimizer step.

python benchmarks/step.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple, cast

import torch
from lightning.pytorch import Callback
from torch.nn import functional

from kan_exp.preparing.translation import composed, translate
from kan_exp.train import prepare
from kan_exp.training.experiment import Experiment

STEPS, WARM_UP = 2000, 50
LAYERS, BATCHES = ("mlp", "interpo"), (32, 128)
MAX_RATIO = 1.5
NO_FIGURES = "~callbacks.figures"


class Cost(NamedTuple):
    """Seconds on the clock, and of processor time, which other programs disturb less."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Cost:
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: Cost) -> Cost:
        return Cost(self.wall - start.wall, self.cpu - start.cpu)


class Stopwatch(Callback):
    """Times the training from the end of its first chunk to the end of its last."""

    def __init__(self) -> None:
        self.marks: list[Cost] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.marks.append(Cost.now())


def trainer_steps(options: Sequence[str]) -> tuple[Cost, torch.Tensor]:
    """Cost of the trainer's steps after the first chunk, and the weights they end with."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = prepare(options, folder)
        watch = Stopwatch()
        trainer: Any = experiment.trainer
        trainer.callbacks.append(watch)
        trainer.fit(experiment.module, datamodule=experiment.data)
        cast(Any, trainer.logger).experiment.close()
    return watch.marks[-1].since(watch.marks[0]), weights_of(experiment)


def bare_steps(options: Sequence[str]) -> tuple[Cost, torch.Tensor]:
    """Cost of the same steps, written as plainly as PyTorch allows."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = prepare(options, folder)
        with composed(options, folder) as (cfg, hydra):
            config, _ = translate(cfg, hydra)
    data, network = experiment.data, cast(Any, experiment.module.model.network)
    points = data.scaling.standardize(data.train)
    optimizer = experiment.module.optimizer_factory(network.parameters())
    scheduler = cast(Any, experiment.module.scheduler_factory)(optimizer)
    generator, order = torch.Generator().manual_seed(config.seed), torch.empty(0, dtype=torch.long)
    for step in range(STEPS):
        if step == WARM_UP:
            start = Cost.now()
        if len(order) < config.batch_size:
            order = torch.cat([order, torch.randperm(len(points.x), generator=generator)])
        index, order = order[: config.batch_size], order[config.batch_size :]
        optimizer.zero_grad()
        loss = functional.mse_loss(network(points.x[index]), points.y[index])
        if config.penalty.roughness:
            loss = loss + config.penalty.roughness * sum(
                layer.roughness().mean() for layer in network
            )
        loss.backward()
        optimizer.step()
        scheduler.step()
    return Cost.now().since(start), weights_of(experiment)


def weights_of(experiment: Experiment) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(experiment.module.model.network.parameters())


def shown(values: Sequence[float], digits: str) -> str:
    """Median and range."""
    return f"{median(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


def compare_steps(repetitions: int) -> None:
    print("| layer | batch | clock | bare loop, us | trainer, us | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for layer in LAYERS:
        for batch in BATCHES:
            options = [
                f"layer={layer}",
                "optimizer=adam",
                f"batch_size={batch}",
                f"steps={STEPS}",
                "dims=[2,5,1]",
            ]
            options += ["trainer=cpu", "threads=1", "evaluations=1", NO_FIGURES]
            options += [f"log_every_n_steps={WARM_UP}"]
            pairs = [(bare_steps(options), trainer_steps(options)) for _ in range(repetitions)]
            for (_, bare_end), (_, our_end) in pairs:
                torch.testing.assert_close(our_end, bare_end)  # both did the same work
            for clock in Cost._fields:
                bare = [1e6 * getattr(cost, clock) / (STEPS - WARM_UP) for (cost, _), _ in pairs]
                ours = [1e6 * getattr(cost, clock) / (STEPS - WARM_UP) for _, (cost, _) in pairs]
                ratios = [our / plain for our, plain in zip(ours, bare, strict=True)]
                cells = f"{shown(bare, '.0f')} | {shown(ours, '.0f')} | {shown(ratios, '.2f')}"
                print(f"| {layer} | {batch} | {clock} | {cells} |", flush=True)
    print(f"\nThe ratio may be at most {MAX_RATIO}.\n")


def main() -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    compare_steps(parser.parse_args().repetitions)


if __name__ == "__main__":
    main()
