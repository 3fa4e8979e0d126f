# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Cost of many stacked replicas next to that of one network: of a step, or of a whole training.

python benchmarks/replicas.py
python benchmarks/replicas.py --whole --repetitions 3
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from statistics import median

from step import NO_FIGURES, Cost, Stopwatch, shown

from kan_exp.train import prepare

REPLICAS = {1: None, 64: 3.0, 256: 5.0}  # at most so many times the cost of one
WARM_UP = 50


def steps_cost(count: int, steps: int, options: Sequence[str]) -> Cost:
    """Cost of a step of the trainer with so many replicas, after the first chunk, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*options, f"replicas={count}", f"steps={steps}", NO_FIGURES, "logger=none"]
        overrides += [f"log_every_n_steps={WARM_UP}", "evaluations=1", "trainer=cpu", "threads=1"]
        experiment = prepare([*overrides, "data.num_val=100"], folder)
        watch = Stopwatch()
        experiment.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        experiment.trainer.fit(experiment.module, datamodule=experiment.data)
    spent = watch.marks[-1].since(watch.marks[0])
    return Cost(*(part / (steps - WARM_UP) for part in spent))


def whole_cost(count: int, options: Sequence[str]) -> Cost:
    """Cost of a whole training with validation and checkpoints, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*options, f"replicas={count}", NO_FIGURES, "logger=none", "threads=1"]
        experiment = prepare(overrides, folder)
        start = Cost.now()
        experiment.trainer.fit(experiment.module, datamodule=experiment.data)
        return Cost.now().since(start)


def compare_trainings(repetitions: int, options: Sequence[str]) -> None:
    turns = [
        {count: whole_cost(count, options).cpu for count in (1, 64)} for _ in range(repetitions)
    ]
    ratios = [turn[64] / turn[1] for turn in turns]
    for count in (1, 64):
        print(f"| {count} | cpu | {shown([turn[count] for turn in turns], '.2f')} s |")
    print(f"64 replicas: {shown(ratios, '.2f')} times one, at most 2.5\n")


def compare(repetitions: int, steps: int, options: Sequence[str]) -> None:
    turns = [
        {count: steps_cost(count, steps, options) for count in REPLICAS} for _ in range(repetitions)
    ]
    print(f"{' '.join(options)}\n")
    print("| replicas | clock | a step, us | times one | must |")
    print("| --- | --- | --- | --- | --- |")
    for count, most in REPLICAS.items():
        for clock in Cost._fields:
            times = [1e6 * getattr(turn[count], clock) for turn in turns]
            ratios = [getattr(turn[count], clock) / getattr(turn[1], clock) for turn in turns]
            must = "" if most is None else f"at most {most:g}: "
            met = "" if most is None else "met" if median(ratios) <= most else "not met"
            print(
                f"| {count} | {clock} | {shown(times, '.0f')} | {shown(ratios, '.2f')} "
                f"| {must}{met} |",
                flush=True,
            )
    print()


def main() -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=550)
    parser.add_argument("--whole", action="store_true", help="measure whole trainings")
    parser.add_argument("options", nargs="*", default=["layer=interpo", "optimizer=adam"])
    chosen = parser.parse_args()
    options = [*chosen.options, "dims=[2,5,1]"]
    if chosen.whole:
        compare_trainings(chosen.repetitions, options)
    else:
        compare(chosen.repetitions, chosen.steps, [*options, "batch_size=32"])


if __name__ == "__main__":
    main()
