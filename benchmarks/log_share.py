# ruff: noqa: T201 - a benchmark's output is its purpose.
"""How much of a run's time its logging takes, and which part of the logging.

python benchmarks/log_share.py
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from step import shown

from kan_exp.board.events import EventFile
from kan_exp.train import prepare
from kan_exp.training.callbacks import EdgeFigures
from kan_exp.training.sinks import FigureSink
from kan_exp.training.tensorboard import RunLogger

MAX_SHARE, AIM = 0.05, 0.02
RUNS = {
    "mlp by adam": ["optimizer=adam"],
    "mlp": [],
    "interpo": ["layer=interpo"],
    "spline, [2,1,1]": ["layer=spline", "dims=[2,1,1]"],
    "mlp by adam, 1,000 steps": ["optimizer=adam", "steps=1000"],
}
# Parts of the logging; what one of them calls of another counts for the one that was called.
PARTS: dict[str, list[tuple[type, str]]] = {
    "scalars": [(RunLogger, "log_metrics")],
    "figures while it trains": [(EdgeFigures, "_log")],
    "graph": [(RunLogger, "graph")],
    "choices, texts, layout, results": [
        (RunLogger, "describe"),
        (RunLogger, "lay_out"),
        (RunLogger, "figure"),
        (RunLogger, "conclude"),
    ],
    "records": [(EventFile, "add_event"), (EventFile, "flush")],
}
# Not logging: a run has these files without a logger too.
OTHER: dict[str, list[tuple[type, str]]] = {"(figures of the result)": [(FigureSink, "write")]}


class Meter:
    """Adds up the processor seconds of each part, from outside."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner: dict[int, list[float]] = {}  # per thread
        for part, methods in {**PARTS, **OTHER}.items():
            for owner, method in methods:
                self._watch(owner, method, part)

    def _watch(self, owner: type, method: str, part: str) -> None:
        plain: Callable[..., Any] = getattr(owner, method)

        def metered(*given: Any, **named: Any) -> Any:
            inner = self._inner.setdefault(threading.get_ident(), [])
            inner.append(0.0)
            start = time.thread_time()
            try:
                return plain(*given, **named)
            finally:
                spent = time.thread_time() - start
                self.spent[part] = self.spent.get(part, 0.0) + spent - inner.pop()
                if inner:
                    inner[-1] += spent

        setattr(owner, method, metered)


def run(meter: Meter, options: list[str]) -> dict[str, float]:
    """Processor seconds of each part, and of the whole run, in a process that is warm."""
    meter.spent.clear()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        prepare(options, folder).run()
        return {**meter.spent, "whole": time.process_time() - start}


def compare(repetitions: int, names: list[str]) -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    logging.disable(logging.INFO)
    meter = Meter()
    print("| run | part of the logging | processor ms | % of the run |")
    print("| --- | --- | --- | --- |")
    for name in names:
        run(meter, RUNS[name])
        rounds = [run(meter, RUNS[name]) for _ in range(repetitions)]
        for part in [*PARTS, "all", *OTHER]:
            parts = list(PARTS) if part == "all" else [part]
            seconds = [sum(costs.get(one, 0.0) for one in parts) for costs in rounds]
            shares = [100 * s / costs["whole"] for s, costs in zip(seconds, rounds, strict=True)]
            milliseconds = shown([1e3 * value for value in seconds], ".0f")
            print(f"| {name} | {part} | {milliseconds} | {shown(shares, '.1f')} |", flush=True)
            if part == "all":
                share = median(shares) / 100
                limit = f"must {MAX_SHARE:.0%}, " + ("met" if share <= MAX_SHARE else "not met")
                aim = f"aim {AIM:.0%}, " + ("met" if share <= AIM else "not met")
                print(f"| {name} | | {limit} | {aim} |")
        whole = [costs["whole"] for costs in rounds]
        print(f"| {name} | (the run) | {shown([1e3 * w for w in whole], '.0f')} | |", flush=True)


def main() -> None:
    """Reads how many repetitions of which runs are wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS))
    arguments = parser.parse_args()
    compare(arguments.repetitions, arguments.runs)


if __name__ == "__main__":
    main()
