# ruff: noqa: T201 - a benchmark's output is its purpose.
"""How much of a default run's training its logging takes, and which part of the logging.

python benchmarks/log_share.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, cast

from step import prepare, shown

from kan_exp.plots.style import pixels
from kan_exp.training.callbacks import EdgeFigures
from kan_exp.training.module import KANModule
from kan_exp.training.tensorboard import RunLogger

MOST_SHARE = 0.05
PARTS: dict[str, list[tuple[type, str]]] = {
    "scalars": [(KANModule, "_log_at_step")],
    "figures": [(EdgeFigures, "_show")],
    "text and graph": [(RunLogger, "describe")],
}


def logging_costs() -> dict[str, float]:
    """Processor seconds of one default run: command, training, and each part of its logging."""
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    def meter(owner: type, method: str, part: str) -> None:
        plain: Callable[..., Any] = getattr(owner, method)

        def metered(*given: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return plain(*given, **named)
            finally:
                spent[part] += time.process_time() - start

        setattr(owner, method, metered)

    for part, methods in PARTS.items():
        for owner, method in methods:
            meter(owner, method, part)
    with tempfile.TemporaryDirectory() as folder:
        experiment, _ = prepare(
            folder, ["dims=[2,5,1]", "layer=mlp", "optimizer=adam", "threads=1"]
        )
        # The end of every run makes these figures, logger or not; drawing them again counts.
        for layer in experiment.figures.draw(experiment.module.model, experiment.data):
            pixels(layer.figure)
        start = time.process_time()
        experiment._fit()
        spent["training"] = time.process_time() - start
        cast(Any, experiment.trainer.logger).experiment.close()
        spent["command"] = time.process_time()  # imports and set-up included, final pictures not
    return spent


def compare(repetitions: int) -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    rounds = []
    for _ in range(repetitions):  # a fresh process each, since a run's first figure is its dearest
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rounds.append(pool.submit(logging_costs).result())
    print("| part of the logging | processor ms | % of the command | % of the training |")
    print("| --- | --- | --- | --- |")
    for part in [*PARTS, "all"]:
        seconds = [sum(costs[name] for name in PARTS if part in (name, "all")) for costs in rounds]
        cells = [shown([1e3 * value for value in seconds], ".0f")]
        for whole in ("command", "training"):
            pairs = zip(seconds, rounds, strict=True)
            cells.append(shown([100 * value / costs[whole] for value, costs in pairs], ".1f"))
        print(f"| {part} | {' | '.join(cells)} |")
    print(f"\nLogging may take at most {MOST_SHARE:.0%} of the command's time.")


def main() -> None:
    """Reads how many repetitions are wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    compare(parser.parse_args().repetitions)


if __name__ == "__main__":
    main()
