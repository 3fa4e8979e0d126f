# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Mini-batch least squares beside adam: 100,000 points, equal processor time.

    python benchmarks/large_data.py --seconds 20 --noise 0

Prints for every method and seed the RMSE on 10,000 fresh points without noise. Adam's rate falls to
nothing by a cosine over the time that it has.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kan_exp.layers import KANLayer
from kan_exp.optimizers import LevenbergMarquardt

POINTS, FRESH = 100_000, 10_000
Batch = Callable[[int], tuple[Tensor, Tensor]]
Step = Callable[[float], None]  # of the share of the time that is over


def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return x, torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:] ** 2)


def adam(model: nn.Module, batch: Batch, size: int, rate: float) -> Step:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)

    def step(share: float) -> None:
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * min(1, share))) / 2
        x, y = batch(size)
        optimizer.zero_grad()
        functional.mse_loss(model(x), y).backward()
        optimizer.step()

    return step


def least_squares(model: nn.Module, batch: Batch, size: int) -> Step:
    optimizer = LevenbergMarquardt(model)

    def step(share: float) -> None:
        optimizer.step(lambda: batch(size))

    return step


METHODS: dict[str, Callable[[nn.Module, Batch], Step]] = {
    "adam, batches of 128": lambda model, batch: adam(model, batch, 128, 0.02),
    "adam, batches of 512": lambda model, batch: adam(model, batch, 512, 0.02),
    "lm, batches of 256": lambda model, batch: least_squares(model, batch, 256),
    "lm, batches of 1,000": lambda model, batch: least_squares(model, batch, 1000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--noise", type=float, default=0.0, help="in deviations of the output")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x, y = sample(POINTS, seed=1)
    fresh, truth = sample(FRESH, seed=2)
    mean, std, scale = y.mean(), y.std(), x.std(0)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
    x, y = x / scale, (y - mean) / std + arguments.noise * noise
    for name, make in METHODS.items():
        for seed in range(arguments.seeds):
            generator = torch.Generator().manual_seed(seed)
            layers = [KANLayer(2, 5, generator=generator), KANLayer(5, 1, generator=generator)]
            model = nn.Sequential(*layers)

            def batch(size: int, generator: torch.Generator = generator) -> tuple[Tensor, Tensor]:
                chosen = torch.randint(POINTS, (size,), generator=generator)
                return x[chosen], y[chosen]

            step, steps, start = make(model, batch), 0, time.process_time()
            while (used := time.process_time() - start) < arguments.seconds:
                step(used / arguments.seconds)
                steps += 1
            with torch.no_grad():
                error = (model(fresh / scale) * std + mean - truth).square().mean().sqrt()
            print(f"{name:22} seed {seed}: RMSE {error:.2g}, {steps} steps", flush=True)


if __name__ == "__main__":
    main()
