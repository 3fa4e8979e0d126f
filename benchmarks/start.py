# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Time of `python -m kan_exp.train` from start to first step, next to `import torch`.

python benchmarks/start.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from statistics import median

# Ends the command at the first step of its optimizer.
COMMAND = """
import os, resource, runpy, sys
from torch.optim.optimizer import register_optimizer_step_pre_hook

def stop(*_):
    print("\\n", resource.getrusage(resource.RUSAGE_SELF).ru_utime, flush=True)
    os._exit(0)

register_optimizer_step_pre_hook(stop)
runpy.run_module("kan_exp.train", run_name="__main__", alter_sys=True)
"""
IMPORT = """
import resource, torch
print("\\n", resource.getrusage(resource.RUSAGE_SELF).ru_utime)
"""


def seconds(code: str, *options: str) -> float:
    """User processor time of a new interpreter until it prints it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, *options]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Prints medians, with the smallest and the largest of the repetitions in brackets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("options", nargs="*", default=["threads=1"])
    chosen = parser.parse_args()
    turns = [
        (seconds(COMMAND, *chosen.options), seconds(IMPORT)) for _ in range(chosen.repetitions)
    ]
    rows = {
        "start to first step, s": [start for start, _ in turns],
        "import torch, s": [torch for _, torch in turns],
        "ratio": [start / torch for start, torch in turns],
    }
    for name, values in rows.items():
        print(f"| {name} | {median(values):.2f} ({min(values):.2f} to {max(values):.2f}) |")


if __name__ == "__main__":
    main()
