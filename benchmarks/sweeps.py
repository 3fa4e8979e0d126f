# ruff: noqa: T201 - a benchmark's output is its purpose.
"""What a sweep saves: against separate commands, by stacked seeds, and by more processes.

python benchmarks/sweeps.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from step import shown

SETTINGS = [
    [layer, dims] for layer in ("layer=mlp", "layer=interpo") for dims in ("[2,1,1]", "[2,5,1]")
]
ALONE, ONE = "sweep.stack_seeds=false", "hydra.launcher.workers=1"
Measure = Callable[[], float]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        seeds: Of each of the four settings, in one sweep.
        commands: How many of these jobs are also run as commands of their own.
        steps: Of a short job.
        stacked: Seeds that are trained together.
        stacked_steps: Of each of them.
        alone: How many of these seeds are also run as commands of their own.
        long_jobs: Jobs that two processes share.
        long_steps: Of each.
    """

    seeds: int = 10
    commands: int = 8
    steps: int = 1000
    stacked: int = 10
    stacked_steps: int = 4000
    alone: int = 3
    long_jobs: int = 4
    long_steps: int = 40000


QUICK = Size(1, 4, 100, 3, 200, 1, 2, 400)


def seconds(*arguments: str) -> float:
    """Seconds of a whole command, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "kan_exp.train", "optimizer=adam", *arguments],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - begun


def separate(size: Size) -> float:
    """Seconds of the short jobs as commands of their own, from those of some of them."""
    spent = 0.0
    for number in range(size.commands):
        layer, dims = SETTINGS[number % len(SETTINGS)]
        seed = f"seed={number // len(SETTINGS)}"
        spent += seconds(layer, f"dims={dims}", seed, f"steps={size.steps}")
    return spent * size.seeds * len(SETTINGS) / size.commands


def together(size: Size, *options: str) -> float:
    """Seconds of the short jobs as one sweep."""
    swept = ["layer=mlp,interpo", "dims=[2,1,1],[2,5,1]", f"seed=range(0,{size.seeds})"]
    return seconds("-m", *swept, f"steps={size.steps}", *options)


def seeds(size: Size, *options: str) -> float:
    """Seconds of a sweep over seeds alone."""
    swept = ["layer=interpo", f"seed=range(0,{size.stacked})", f"steps={size.stacked_steps}"]
    return seconds("-m", *swept, *options)


def each_alone(size: Size) -> float:
    """Seconds of the same seeds as commands of their own, from those of some of them."""
    each = ["layer=interpo", f"steps={size.stacked_steps}"]
    spent = sum(seconds(*each, f"seed={seed}") for seed in range(size.alone))
    return spent * size.stacked / size.alone


def joblib(size: Size, processes: int) -> float:
    """Seconds of long jobs in so many processes."""
    options = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={processes}"]
    swept = ["layer=interpo", f"seed=range(0,{size.long_jobs})", f"steps={size.long_steps}"]
    return seconds("-m", *swept, *options, ALONE)


def compare(
    repetitions: int, base: str, measure: Measure, others: Sequence[tuple[str, float, Measure]]
) -> None:
    """Prints a row for each way, with how many times faster than the first it is."""
    spent: dict[str, list[float]] = {}
    for _ in range(repetitions):  # in turns
        for name, one in [(base, measure), *((name, one) for name, _, one in others)]:
            spent.setdefault(name, []).append(one())
    print(f"| {base} | {shown(spent[base], '.1f')} | 1 | |", flush=True)
    for name, least, _ in others:
        ratios = [first / one for first, one in zip(spent[base], spent[name], strict=True)]
        met = "met" if median(ratios) >= least else "not met"
        must = f"at least {least:g}: {met}" if least else ""
        row = f"| {name} | {shown(spent[name], '.1f')} | {shown(ratios, '.2f')} | {must} |"
        print(row, flush=True)


def short(size: Size, repetitions: int, judged: bool) -> None:
    """Many short jobs: commands of their own, or one sweep."""
    jobs = size.seeds * len(SETTINGS)
    compare(
        repetitions,
        f"{jobs} commands of {size.steps:,} steps, from {size.commands} of them",
        lambda: separate(size),
        [
            ("one sweep", 5.0 * judged, lambda: together(size)),
            ("one sweep, one job at a time", 0.0, lambda: together(size, ONE)),
            ("one sweep, seeds not stacked", 0.0, lambda: together(size, ALONE)),
            ("the same, one job at a time", 0.0, lambda: together(size, ALONE, ONE)),
        ],
    )


def stacked(size: Size, repetitions: int, judged: bool) -> None:
    """Seeds of one experiment: one after the other, or stacked."""
    compare(
        repetitions,
        f"{size.stacked} seeds of {size.stacked_steps:,} steps, one job at a time",
        lambda: seeds(size, ALONE, ONE),
        [
            ("the same, stacked", 4.0 * judged, lambda: seeds(size, ONE)),
            (f"commands of their own, from {size.alone}", 0.0, lambda: each_alone(size)),
        ],
    )


def processes(size: Size, repetitions: int, judged: bool) -> None:
    """Long jobs in one process of joblib's, or in two."""
    compare(
        repetitions,
        f"{size.long_jobs} jobs of {size.long_steps:,} steps, joblib with one process",
        lambda: joblib(size, 1),
        [("the same, two processes", 1.7 * judged, lambda: joblib(size, 2))],
    )


PARTS = {"short": short, "stacked": stacked, "processes": processes}


def main() -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny jobs, only to see it work")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else Size()
    judged = size != QUICK  # in tiny jobs there is little to save
    print("| | seconds | times as fast | must |\n| --- | --- | --- | --- |", flush=True)
    for part in chosen.parts:
        PARTS[part](size, chosen.repetitions, judged)


if __name__ == "__main__":
    main()
