# ruff: noqa: T201 - a benchmark's output is its purpose.
"""How long `python -m kan_exp.report` takes on many runs, as a share of the 10 s it may.

python benchmarks/report.py --runs 10000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

MAX_SECONDS = 10
SEEDS = 10
# Runs the command as `python -m` does, then says what it has imported.
CODE = """
import runpy, sys
try:
    runpy.run_module("kan_exp.report", run_name="__main__", alter_sys=True)
finally:
    print("imported:", *(n for n in ("torch", "lightning", "tensorboard") if n in sys.modules))
"""


def settings() -> list[dict[str, object]]:
    """A thousand settings such as a sweep has."""
    layers = ("mlp", "interpo", "spline", "chebyshev", "fourier")
    dims = [[2, width, 1] for width in range(1, 21)]
    steps = range(1000, 11000, 1000)
    return [
        {"layer": layer, "target": "exp_sin_square", "data": "sampled", "optimizer": "adam"}
        | {"scheduler": "cosine", "dims": widths, "steps": count, "batch_size": 128}
        | {f"layer.option_{n}": n for n in range(6)}
        | {f"optimizer.option_{n}": 0.1 * n for n in range(6)}
        | {f"penalty.option_{n}": 0.0 for n in range(6)}
        for layer, widths, count in product(layers, dims, steps)
    ]


def write_runs(root: Path, count: int) -> None:
    """Folders like those of a sweep; one of fifty runs has failed."""
    generator = np.random.default_rng(0)
    sweep = root / "sweeps" / "2026-01-31" / "12-00-00"
    known = settings()
    for job in range(count):
        choices = dict(known[job // SEEDS % len(known)], seed=job % SEEDS + SEEDS * (job // 10**4))
        typed = [f"{n}={json.dumps(choices[n])}" for n in ("layer", "dims", "steps", "seed")]
        folder = sweep / f"{job}_{choices['layer']}"
        (folder / ".hydra").mkdir(parents=True)
        (folder / "checkpoints").mkdir()
        failed = job % 50 == 49
        status = {"state": "failed" if failed else "done", "reason": "killed" if failed else None}
        status |= {"overrides": typed, "key": f"{job:016x}", "job": job, "pid": 1, "host": "a"}
        status |= {"started": "2026-01-31T12:00:00+00:00", "seconds": 3.0}
        (folder / "status.json").write_text(json.dumps(status, indent=2))
        if failed:
            continue
        error = float(generator.lognormal(-7 + job % 13 / 5, 0.4))
        metrics = {"test_rmse": error, "test_mae": error / 2, "test_r2": 1 - error, "test_r": 1.0}
        metrics |= {
            "val_rmse": error,
            "linear_rmse": 1.0,
            "linear_r2": 0.1,
            "parameters": job % 997,
        }
        metrics |= {
            "steps": 1000,
            "best_step": 900,
            "train_seconds": 1 + job % 7,
            "stopped": "steps",
        }
        metrics |= {"edge_r2": {f"x{n} to h{n}": 0.9 for n in range(15)}, "data": "x" * 200}
        metrics |= {"device": "cpu", "versions": {"kan_exp": "0", "torch": "2"}, "choices": choices}
        metrics |= {"test_points": "a" * 64}
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2))
        curve = [[step, error + 1 / step] for step in range(50, 4050, 50)]
        (folder / "history.json").write_text(json.dumps({"train": curve, "val": curve[::8]}))


def measure(root: Path) -> tuple[float, float, str]:
    """Seconds of the whole command by the clock and of the processor, and what it printed.

    The interpreter's start is included. The clock also measures whatever else the machine does.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(root)], capture_output=True, text=True, check=True
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used, done.stdout


def main() -> None:
    """Makes the folders, reads them, and prints one line for each repetition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder), options.runs)
        print(f"{options.runs:,} runs, {os.cpu_count()} cores")
        for _ in range(options.repetitions):
            seconds, used, output = measure(Path(folder))
            size = (Path(folder) / "report.html").stat().st_size
            print(
                f"{seconds:.1f} s, {seconds / MAX_SECONDS:.0%} of {MAX_SECONDS} s; processor "
                f"{used:.1f} s, {used / MAX_SECONDS:.0%}; page of {size / 1e6:.1f} MB; "
                f"{output.splitlines()[-1]} (must be none)"
            )


if __name__ == "__main__":
    main()
