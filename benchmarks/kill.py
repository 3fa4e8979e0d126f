# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Kills a real command with -9 at random moments, lets it go on, and compares what came of it.

python benchmarks/kill.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import kan_exp.training.experiment  # noqa: F401 - for all processes at once
from kan_exp.runs import read_status
from kan_exp.training.callbacks import checkpoint

COMMON = ["dims=[2,2,1]", "points=1000", "logger=none", "checkpoint_seconds=0.1", "evaluations=8"]


class Case(NamedTuple):
    """A command that is killed.

    Args:
        start: Its arguments, in a folder `{folder}`.
        go_on: Those with which it goes on.
        began: A file in the folder from which on there is something to lose.
        outcome: What it leaves in the folder, times aside; compared to the last bit.
        victims: Which processes may be killed, of the command's own and those it has started.
    """

    start: Sequence[str]
    go_on: Sequence[str]
    began: str
    outcome: Callable[[Path], Any]
    victims: Callable[[Path, int], list[int]] = lambda _, number: [number]


def run_outcome(folder: Path) -> Any:
    """Metrics, curves and weights of one run."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for name in ("train_seconds", "versions"):  # neither is of the result
        del metrics[name]
    parts = [metrics, json.loads((folder / "history.json").read_text())]
    for name in ("best", "last"):
        checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        weights = checkpoint["state_dict"].items()
        parts.append({key: part.numpy().tobytes() for key, part in weights})
    return parts


def one_run(*options: str) -> Case:
    start = [*COMMON, *options, "hydra.run.dir={folder}"]
    return Case(start, ["resume={folder}"], "status.json", run_outcome)


def sweep_outcome(folder: Path) -> Any:
    """What is known of every job, and what each run has left."""
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    for job in jobs:
        del job["seconds"]
    return [jobs, [run_outcome(folder / name) for name in sorted({job["folder"] for job in jobs})]]


def running_jobs(folder: Path, _: int) -> list[int]:
    """The processes of a sweep's jobs."""
    found = [read_status(path.parent) for path in folder.glob("*/status.json")]
    return [status.pid for status in found if status is not None and status.state == "running"]


def one_sweep(*options: str) -> Case:
    swept = ["-m", "layer=interpo,spline", "optimizer=adam", "seed=0,1,3", "steps=400"]
    start = [*swept, *COMMON, *options, "hydra.launcher.workers=2", "hydra.sweep.dir={folder}"]
    return Case(start, ["-m", "sweep.resume={folder}"], "sweep.json", sweep_outcome)


CASES = {
    "adam": one_run("layer=interpo", "optimizer=adam", "steps=1000"),
    "lm": one_run("layer=spline", "optimizer=lm", "refine.num_candidates=[16,8,4,2,1]"),
    "replicas": one_run("layer=interpo", "optimizer=adam", "replicas=4", "steps=400"),
    "sweep": one_sweep(),
    # Of stacked seeds the rest would go on one by one at once, equal to rounding only.
    "job": one_sweep("sweep.stack_seeds=false")._replace(victims=running_jobs),
}


def launch(arguments: Sequence[str], folder: Path) -> int:
    """Starts the command in a process of its own, with the imports that this one has done.

    Returns:
        Its number.
    """
    number = os.fork()
    if number:
        return number
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            sys.argv = ["train", *(text.format(folder=folder) for text in arguments)]
            runpy.run_module("kan_exp.train", run_name="__main__")
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 1)
    finally:
        os._exit(1)


def ended(number: int) -> int | None:
    """The exit code of a process that is over, negative for a signal."""
    found, status = os.waitpid(number, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait_for(path: Path, number: int) -> float:
    """The moment at which a file of a process appears."""
    while not path.exists():
        if ended(number) is not None:
            raise SystemExit(f"the command ended before {path.name} was there.")
        time.sleep(0.001)
    return time.perf_counter()


def finish(number: int, arguments: Sequence[str]) -> None:
    """Waits for a command that must not fail."""
    if os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]):
        raise SystemExit(f"it failed: {' '.join(arguments)}")


def whole(case: Case, folder: Path) -> tuple[Any, float]:
    """What an uninterrupted command leaves, and its seconds once it has begun."""
    number = launch(case.start, folder)
    began = wait_for(folder / case.began, number)
    finish(number, case.start)
    return case.outcome(folder), time.perf_counter() - began


def killed(case: Case, folder: Path, delay: float) -> float | None:
    """Kills the command, or a process of it, so long after it has begun, and lets it go on.

    Returns:
        The moment of the kill; nothing if there was nothing to kill any more.
    """
    number = launch(case.start, folder)
    began = wait_for(folder / case.began, number)
    time.sleep(max(0.0, began + delay - time.perf_counter()))
    if ended(number) is not None:
        return None
    victims = case.victims(folder, number)
    if victims:
        os.kill(victims[0], signal.SIGKILL)
    at = time.perf_counter() - began
    os.waitpid(number, 0)
    if not victims:
        return None
    if not (folder / "metrics.json").exists():  # else it was done, and on its way out
        finish(launch(case.go_on, folder), case.go_on)
    return at


def main() -> None:
    """Prints a line for each kill, and how many ended as the uninterrupted command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    chosen = parser.parse_args()
    checkpoint.MAX_SHARE = 0.5  # so that many are killed while they write one
    torch.set_num_threads(1)  # a process with threads cannot be forked
    moments = random.Random(chosen.seed)
    same = 0
    with tempfile.TemporaryDirectory() as top:
        expected = {name: whole(CASES[name], Path(top) / name) for name in chosen.cases}
        print("| kill | command | killed at | of | resumed at step | same result |")
        print("| --- | --- | --- | --- | --- | --- |")
        for number in range(chosen.kills):
            name = chosen.cases[number % len(chosen.cases)]
            outcome, seconds = expected[name]
            at = None
            while at is None:  # a loaded machine may be faster this time: it was done already
                folder = Path(tempfile.mkdtemp(dir=top)) / "run"
                at = killed(CASES[name], folder, moments.random() * seconds)
            equal = CASES[name].outcome(folder) == outcome
            same += equal
            print(
                f"| {number + 1} | {name} | {at:.2f} s | {seconds:.2f} s | {went_on(folder)} "
                f"| {'yes' if equal else 'NO'} |",
                flush=True,
            )
    print(f"\n{same} of {chosen.kills} ended with the same bits.")
    sys.exit(same != chosen.kills)


def went_on(folder: Path) -> str:
    """The steps from which runs went on, as their logs tell."""
    logs = sorted(folder.glob("train.log")) or sorted(folder.glob("*/train.log"))
    steps = [log.read_text().split("resumes at step ")[1:] for log in logs]
    found = [words[-1].split()[0] for words in steps if words]
    return ", ".join(found) or "the start"


if __name__ == "__main__":
    main()
