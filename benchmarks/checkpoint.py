# ruff: noqa: T201 - a benchmark's output is its purpose.
"""What keeping checkpoints takes of a run's training, in time and on the disk.

python benchmarks/checkpoint.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from step import NO_FIGURES, shown

from kan_exp.train import prepare
from kan_exp.training.callbacks import RunCheckpoint, checkpoint

HOOKS = ("on_fit_start", "on_train_start", "on_train_batch_start", "on_validation_end")
HOOKS += ("on_train_end",)
RUNS = {
    "adam, [2,5,1], 4,000 steps": ["layer=mlp", "optimizer=adam", "dims=[2,5,1]"],
    "lm, spline, [2,1,1]": ["layer=spline", "dims=[2,1,1]"],
    "64 replicas, 1,000 steps": ["layer=interpo", "optimizer=adam", "replicas=64", "steps=1000"],
    "adam, 1,000 steps": ["layer=interpo", "optimizer=adam", "steps=1000"],
}
MAX_SHARE = 0.01


def costs(options: list[str], seconds: float) -> tuple[float, float, int, int]:
    """Seconds of a training and of its checkpoints, how many were written, and bytes of the last.

    By the clock: waiting for the disk counts.
    """
    spent, written = [0.0], []

    def meter(plain: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return plain(*given, **named)
            finally:
                spent[0] += time.perf_counter() - start

        return metered

    with tempfile.TemporaryDirectory() as folder:
        overrides = [*options, NO_FIGURES, "logger=none", f"checkpoint_seconds={seconds}"]
        experiment = prepare(overrides, folder)
        (keep,) = (c for c in experiment.trainer.callbacks if isinstance(c, RunCheckpoint))  # type: ignore[attr-defined]
        for hook in HOOKS:
            setattr(keep, hook, meter(getattr(keep, hook)))
        plain = checkpoint.save
        checkpoint.save = lambda path, content: (written.append(path), plain(path, content))  # type: ignore[assignment]
        try:
            start = time.perf_counter()
            experiment.fit()
            whole = time.perf_counter() - start
        finally:
            checkpoint.save = plain
        size = (Path(folder) / "checkpoints" / "last.ckpt").stat().st_size
    return whole, spent[0], len(written), size


def main() -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    print("| run | checkpoint_seconds | training, s | files written | last.ckpt, kB | share, % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, options in RUNS.items():
        for seconds in (5.0, 0.0):
            found = [costs(options, seconds) for _ in range(repetitions)]
            whole, files = [one[0] for one in found], [float(one[2]) for one in found]
            shares = [100 * one[1] / one[0] for one in found]
            print(
                f"| {name} | {seconds:g} | {shown(whole, '.2f')} | {shown(files, '.0f')} "
                f"| {found[0][3] / 1e3:.0f} | {shown(shares, '.2f')} |",
                flush=True,
            )
    print(f"\nA share of at most {MAX_SHARE:.0%} is wanted.")


if __name__ == "__main__":
    main()
