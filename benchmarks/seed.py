# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Time and error of `kan_exp.train` beside the training recipe of MLP-KAN, command against command.

python benchmarks/seed.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

NETWORKS = ((2, 1, 1), (2, 5, 1))
STEPS, BATCH, TEST_POINTS = 10_000, 32, 10_000
MOST = 0.5  # of the recipe's time


class Run(NamedTuple):
    """One command: seconds on the clock, seconds of processor time, test RMSE."""

    wall: float
    cpu: float
    rmse: float


def recipe(dims: list[int], seed: int, folder: Path) -> float:
    """Trains as MLP-KAN's script does, with the package's own layer; gives the test RMSE."""
    import matplotlib as mpl
    import torch
    from mlp_kan import KANLayer
    from torch import Tensor, nn

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    def draw_points(count: int) -> tuple[Tensor, Tensor]:
        x = 2 * torch.rand(count, dims[0], generator=generator) - 1
        return x, (torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2).exp()

    torch.manual_seed(seed)  # the layer draws its start from the global generator
    generator = torch.Generator().manual_seed(seed)
    layers = [KANLayer(*widths) for widths in itertools.pairwise(dims)]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS, eta_min=1e-5)
    losses: list[float] = []
    for step in range(1, STEPS + 1):
        x, y = draw_points(BATCH)
        optimizer.zero_grad()
        error = nn.functional.mse_loss(network(x), y)
        sparsity = sum(torch.norm(weight, 1) for weight in network.parameters())
        (error + 0.0 * sparsity).backward()
        optimizer.step()
        scheduler.step()
        losses.append(error.item())
        if step % 100 == 0:
            sys.stderr.write(f"\r{step}/{STEPS} {losses[-1]:.2e}")

    with torch.no_grad():
        x, y = draw_points(TEST_POINTS)
        rmse = nn.functional.mse_loss(network(x), y).sqrt().item()
        line = torch.linspace(-1, 1, 1000).unsqueeze(1)
        curves = [layers[0].take_function(i, 0)(line).squeeze(1) for i in range(2)]
    plt.figure()
    plt.semilogy(losses)
    plt.savefig(folder / "loss.png")
    for number, curve in enumerate(curves, 1):
        plt.figure()
        plt.plot(line.squeeze(1), curve)
        plt.savefig(folder / f"edge_{number}.png")
    return rmse


def timed(command: list[str]) -> tuple[float, float, str]:
    """Runs a command on one thread: wall seconds, processor seconds, what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, found.stdout


def run_recipe(dims: str, seed: int) -> Run:
    """MLP-KAN's recipe as a process of its own."""
    wall, cpu, printed = timed([sys.executable, __file__, "--recipe", dims, "--seed", str(seed)])
    return Run(wall, cpu, float(printed))


def run_ours(dims: str, seed: int) -> Run:
    """The default training command, from its start to its last line."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"dims=[{dims}]", f"seed={seed}", f"hydra.run.dir={folder}/run"]
        wall, cpu, _ = timed([sys.executable, "-m", "kan_exp.train", *options])
        metrics = json.loads(Path(folder, "run", "metrics.json").read_text())
    return Run(wall, cpu, metrics["test_rmse"])


def shown(values: list[float], digits: str) -> str:
    """Median and range."""
    return f"{median(values):{digits}} ({min(values):{digits}}-{max(values):{digits}})"


def compare(repetitions: int) -> None:
    """Prints the table: medians, with smallest and largest of the repetitions in brackets."""
    print("| network | what | wall seconds | processor seconds | test RMSE |")
    print("| --- | --- | --- | --- | --- |")
    for widths in NETWORKS:
        dims = ",".join(map(str, widths))
        pairs = [(run_recipe(dims, seed), run_ours(dims, seed)) for seed in range(repetitions)]
        columns = zip(*pairs, strict=True)
        for name, runs in zip(("mlp-kan's recipe", "kan_exp"), columns, strict=True):
            walls, cpus, errors = (list(column) for column in zip(*runs, strict=True))
            seconds = f"{shown(walls, '.1f')} | {shown(cpus, '.1f')}"
            print(f"| [{dims}] | {name} | {seconds} | {shown(errors, '.2g')} |")
        wall = [ours.wall / theirs.wall for theirs, ours in pairs]
        cpu = [ours.cpu / theirs.cpu for theirs, ours in pairs]
        verdict = "met" if median(cpu) <= MOST else "MISSED"
        ratios = f"{shown(wall, '.2f')} | {shown(cpu, '.2f')}"
        print(f"| [{dims}] | ratio, at most {MOST}: {verdict} | {ratios} | |", flush=True)


def main() -> None:
    """Compares, or is one of the compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--recipe", metavar="DIMS", help="run MLP-KAN's recipe once, on [DIMS]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.recipe is None:
        compare(options.repetitions)
        return
    dims = [int(width) for width in options.recipe.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        print(recipe(dims, options.seed, Path(folder)))


if __name__ == "__main__":
    main()
