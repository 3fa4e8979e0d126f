# ruff: noqa: T201 - a benchmark's output is its purpose.
"""What an optimizer step costs on two processes, or two threads, beside one of each.

python benchmarks/ddp.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from step import NO_FIGURES, Cost, Stopwatch, shown

from kan_exp.preparing.experiment import make_job
from kan_exp.preparing.translation import composed, translate
from kan_exp.ranks import Leader
from kan_exp.train import prepare

WARM_UP = 5
WAYS = {
    "one process": ["trainer=cpu", "threads=1"],
    "one process, two threads": ["trainer=cpu", "threads=2"],
    "two processes": ["trainer=ddp", "threads=1", "trainer.accelerator=cpu"],
}
SIZES = {
    "spline [2,5,1], batch 128": ["dims=[2,5,1]", "batch_size=128", "steps=1005"],
    "spline [10,64,64,1], batch 4096": [
        "target=many_inputs",
        "dims=[10,64,64,1]",
        "batch_size=4096",
        "steps=35",
    ],
    "spline [10,64,64,1], batch 16384": [
        "target=many_inputs",
        "dims=[10,64,64,1]",
        "points=20000",
        "batch_size=16384",
        "steps=25",
    ],
    "mlp [2,5,1], batch 4096": ["layer=mlp", "dims=[2,5,1]", "batch_size=4096", "steps=55"],
}


def other_rank(options: Sequence[str], folder: Path) -> Leader:
    """The second process, as the command would start it."""
    with composed(options, folder) as (cfg, hydra):
        config, context = translate(cfg, hydra)
    return Leader(2, make_job(config, folder, context, None), sys.exit)


def steps_cost(options: Sequence[str], folder: str) -> Cost:
    """Seconds that a step of the trainer takes after the first chunk; those of rank 0."""
    steps = next(int(text.partition("=")[2]) for text in options if text.startswith("steps="))
    shared = "trainer=ddp" in options
    with other_rank(options, Path(folder)) if shared else nullcontext() as member:
        experiment = prepare(options, folder, member=member)
        watch = Stopwatch()
        experiment.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        if member is not None:
            member.gather()
        experiment.trainer.fit(experiment.module, datamodule=experiment.data)
    spent = watch.marks[-1].since(watch.marks[0])
    return Cost(*(part / (steps - WARM_UP) for part in spent))


def in_turn(options: Sequence[str]) -> dict[str, Cost]:
    costs = {}
    for way, chosen in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            costs[way] = steps_cost([*options, *chosen], folder)
    return costs


def compare(name: str, repetitions: int, options: Sequence[str]) -> None:
    turns = [in_turn(options) for _ in range(repetitions)]
    for way in WAYS:
        for clock in Cost._fields:
            times = [1e3 * getattr(turn[way], clock) for turn in turns]
            ratios = [
                getattr(turn[way], clock) / getattr(turn["one process"], clock) for turn in turns
            ]
            row = (name, way, clock, shown(times, ".2f"), shown(ratios, ".2f"))
            print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    chosen = parser.parse_args()
    print("| network | trained by | clock | a step, ms | times one process |")
    print("| --- | --- | --- | --- | --- |")
    fixed = ["layer=spline", "optimizer=adam", "points=20000", "logger=none", NO_FIGURES]
    fixed += [f"log_every_n_steps={WARM_UP}", "evaluations=1", "data.num_val=100"]
    for name, options in SIZES.items():
        compare(name, chosen.repetitions, [*fixed, *options])


if __name__ == "__main__":
    main()
