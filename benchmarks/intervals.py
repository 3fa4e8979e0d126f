# ruff: noqa: T201 - a benchmark's output is its purpose.
"""How far the report's intervals can be trusted, by the number of seeds.

Errors are drawn from a log-normal law, whose median is known: how often the 95% interval holds it,
and how often two settings of the same law show a difference.

python benchmarks/intervals.py
"""

from __future__ import annotations

import argparse

import numpy as np

from kan_exp.reporting.statistics import Bootstrap, Interval, Values

TRUE_MEDIAN = 1.0


def rates(seeds: int, trials: int, bootstrap: Bootstrap) -> tuple[float, float, float]:
    """Shares of trials: median held; false difference, seeds independent, and paired."""
    generator = np.random.default_rng(seeds)
    held = false = false_paired = 0
    for _ in range(trials):
        first, other = generator.lognormal(size=(2, seeds))
        base = bootstrap.medians(first)
        held += bootstrap.interval(base).includes(TRUE_MEDIAN)
        false += not _ratio(bootstrap, bootstrap.medians(other, stream=1), base).includes(1)
        false_paired += not _ratio(bootstrap, bootstrap.medians(other), base).includes(1)
    return held / trials, false / trials, false_paired / trials


def _ratio(bootstrap: Bootstrap, other: Values, first: Values) -> Interval:
    return bootstrap.interval(other / first)


def main() -> None:
    """Prints a row for each number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4000)
    trials = parser.parse_args().trials
    print("| seeds | median in its interval | false difference | false, paired |")
    print("| --- | --- | --- | --- |")
    for seeds in (3, 4, 5, 7, 10, 20):
        shares = rates(seeds, trials, Bootstrap(level=0.95, resamples=2000, seed=0))
        print(f"| {seeds} | {' | '.join(f'{100 * share:.0f}%' for share in shares)} |")


if __name__ == "__main__":
    main()
